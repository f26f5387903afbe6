"""OpenVINO on a CPU, from its own format."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from sightline.engines import BaseEngine, Outputs
from sightline.errors import MissingExtraError, NotAvailableError, SightlineError

if TYPE_CHECKING:
    import openvino


class Engine(BaseEngine):
    """The folder's FP32 file in float32 or bfloat16, or its INT8 file, whose other layers are float32.

    The arithmetic is pinned: left alone, OpenVINO runs bfloat16 on processors that have it, whatever the file says. One image
    runs in a graph of fixed shapes, in which more is fused and planned; several in one of its own, compiled when first asked.
    """

    extra = "openvino"
    arithmetic: ClassVar[Mapping[str, str]] = {"fp32": "f32", "bf16": "bf16", "int8": "f32"}
    files: ClassVar[Mapping[str, str]] = {
        "fp32": "openvino-fp32",
        "bf16": "openvino-fp32",
        "int8": "openvino-int8",
    }

    def load(self, folder: Path) -> None:
        if self.precision not in self.arithmetic:
            expected = ", ".join(self.arithmetic)
            raise SightlineError(f"openvino-cpu: precision {self.precision}, expected {expected}: choose another candidate")
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # or the import reports over HTTPS
        try:
            import openvino
        except ModuleNotFoundError as error:
            raise MissingExtraError("openvino", self.extra) from error
        self._folder = folder
        path, compiled = self._compile(1)
        self._facts = {
            "library": "openvino",
            "version": openvino.__version__.split("-")[0],
            "provider": "CPU",
            "precision": self.precision,
            "arithmetic": compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
            "threads": str(compiled.get_property("INFERENCE_NUM_THREADS")),
        }
        got, asked_for = self._facts["arithmetic"], self.arithmetic[self.precision]
        if got != asked_for:
            raise NotAvailableError(
                f"{path}: OpenVINO runs {got} on this processor, expected {asked_for}: choose another candidate"
            )
        if self._facts["threads"] != str(self.threads):
            raise SightlineError(
                f"{path}: OpenVINO runs on {self._facts['threads']} threads, expected {self.threads}: choose fewer threads"
            )
        self._takes_conf = any("conf" in node.get_names() for node in compiled.inputs)
        self._one = compiled.create_infer_request()
        self._several: openvino.InferRequest | None = None

    def _compile(self, batch: int) -> "tuple[Path, openvino.CompiledModel]":
        """The model's file, compiled for so many images; for any number if -1."""
        import openvino

        asked = {
            "INFERENCE_PRECISION_HINT": self.arithmetic[self.precision],
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # two engines of one process would be pinned to the same core
        }
        core, path, size = openvino.Core(), self.file(self._folder), self.description.input
        model = core.read_model(path)
        model.reshape({"images": [batch, size.height, size.width, 3]})
        return path, core.compile_model(model, "CPU", asked)

    def run(self, images: NDArray[np.uint8], conf: float) -> Outputs:
        feed: dict[str, NDArray[np.generic]] = {"images": images}
        if self._takes_conf:
            feed["conf"] = np.array([conf], np.float32)
        if len(images) > 1 and self._several is None:
            self._several = self._compile(-1)[1].create_infer_request()
        request = self._several if len(images) > 1 and self._several else self._one
        results = request.infer(feed, share_inputs=True)
        return {name: results[name] for name in self.description.outputs}

    def facts(self) -> dict[str, str]:
        return dict(self._facts)
