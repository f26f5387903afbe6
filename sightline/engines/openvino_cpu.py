"""OpenVINO on a CPU, from its own format."""

import sys
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from sightline.engines import BaseEngine, Outputs
from sightline.errors import MissingExtraError, NotAvailableError, SightlineError

if TYPE_CHECKING:
    import openvino


def silence() -> None:
    """Has OpenVINO and its tools, which report over HTTPS, report nothing; to be called before their import."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]


class Engine(BaseEngine):
    """The folder's FP32 file in float32 or bfloat16, or its INT8 file, whose other layers are float32.

    The arithmetic is pinned: left alone, OpenVINO runs bfloat16 on processors that have it, whatever the file says. One image
    runs in a graph of fixed shapes, in which more is fused and planned; several in one of its own, compiled at the start where
    the candidate takes several, else when first asked.
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
        silence()
        try:
            import openvino
        except ModuleNotFoundError as error:
            raise MissingExtraError("openvino", self.extra) from error
        self._folder = folder
        self._facts = {
            "library": "openvino",
            "version": openvino.__version__.split("-")[0],
            "provider": "CPU",
            "precision": self.precision,
        }
        self._one = self._compile(1)
        if self.batch > 1:
            self._several  # noqa: B018  compiled now, so that no request waits for it

    @cached_property
    def _several(self) -> "openvino.InferRequest":
        return self._compile(-1)

    def _compile(self, batch: int) -> "openvino.InferRequest":
        """For so many images; for any number if -1."""
        import openvino

        asked = {
            "INFERENCE_PRECISION_HINT": self.arithmetic[self.precision],
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # two engines of one process would be pinned to the same core
            "ENABLE_HYPER_THREADING": True,  # left alone, one request at a time is given no more threads than physical cores
        }
        core, path, size = openvino.Core(), self.file(self._folder), self.description.input
        model = core.read_model(path)
        model.reshape({"images": [batch, size.height, size.width, 3]})
        compiled = core.compile_model(model, "CPU", asked)
        arithmetic = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
        threads = str(compiled.get_property("INFERENCE_NUM_THREADS"))
        if arithmetic != asked["INFERENCE_PRECISION_HINT"]:
            raise NotAvailableError(
                f"{path}: OpenVINO runs {arithmetic} on this processor, expected {asked['INFERENCE_PRECISION_HINT']}: "
                "choose another candidate"
            )
        if threads != str(self.threads):
            raise SightlineError(f"{path}: OpenVINO runs on {threads} threads, expected {self.threads}: choose fewer threads")
        self._facts |= {"arithmetic": arithmetic, "threads": threads}
        self._takes_conf = any("conf" in node.get_names() for node in compiled.inputs)
        return compiled.create_infer_request()

    def run(self, images: NDArray[np.uint8], conf: float) -> Outputs:
        feed: dict[str, NDArray[np.generic]] = {"images": images}
        if self._takes_conf:
            feed["conf"] = np.array([conf], np.float32)
        request = self._one if len(images) == 1 else self._several
        results = request.infer(feed, share_inputs=True)
        return {name: results[name] for name in self.description.outputs}

    def facts(self) -> dict[str, str]:
        return dict(self._facts)
