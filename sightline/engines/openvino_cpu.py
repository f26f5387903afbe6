"""OpenVINO on a CPU, from the ONNX file."""

import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sightline.engines import BaseEngine, Outputs
from sightline.errors import MissingExtraError, SightlineError


class Engine(BaseEngine):
    """The folder's FP32 file, its arithmetic pinned: left alone, OpenVINO runs bf16 on processors that have it."""

    arithmetic: ClassVar[dict[str, str]] = {"fp32": "f32"}

    def load(self, folder: Path) -> None:
        if self.precision not in self.arithmetic:
            expected = ", ".join(self.arithmetic)
            raise SightlineError(f"openvino-cpu: precision {self.precision}, expected {expected}: choose another candidate")
        path = self.description.file(folder, self.precision)
        sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # or the import reports over HTTPS
        try:
            import openvino
        except ModuleNotFoundError as error:
            raise MissingExtraError("openvino", "openvino") from error
        asked = {
            "INFERENCE_PRECISION_HINT": self.arithmetic[self.precision],
            "INFERENCE_NUM_THREADS": self.threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # two engines of one process would be pinned to the same core
        }
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(path), "CPU", asked)
        self._facts = {
            "library": "openvino",
            "version": openvino.__version__.split("-")[0],
            "provider": "CPU",
            "precision": compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name(),
            "threads": str(compiled.get_property("INFERENCE_NUM_THREADS")),
        }
        got = (self._facts["precision"], self._facts["threads"])
        if got != (self.arithmetic[self.precision], str(self.threads)):
            raise SightlineError(
                f"{path}: OpenVINO runs {got[0]} on {got[1]} threads, expected {self.arithmetic[self.precision]} on "
                f"{self.threads}: choose another candidate, or fewer threads"
            )
        self._takes_conf = any("conf" in node.get_names() for node in compiled.inputs)
        self._request = compiled.create_infer_request()

    def run(self, images: NDArray[np.uint8], conf: float) -> Outputs:
        feed: dict[str, NDArray[np.generic]] = {"images": images}
        if self._takes_conf:
            feed["conf"] = np.array([conf], np.float32)
        results = self._request.infer(feed, share_inputs=True)
        return {name: results[name] for name in self.description.outputs}

    def facts(self) -> dict[str, str]:
        return dict(self._facts)
