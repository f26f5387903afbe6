"""ONNX Runtime: what its execution providers share. A provider is a class with its name and the extra that brings it."""

import os
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from sightline.engines import BaseEngine, Outputs
from sightline.errors import MissingExtraError, NotAvailableError, SightlineError

_ERRORS_ONLY = 3  # SessionOptions.log_severity_level


class OnnxRuntimeEngine(BaseEngine):
    """A session of one execution provider; what a session cannot place there is an error, not a fallback."""

    provider: ClassVar[str]
    extra: ClassVar[str]

    def load(self, folder: Path) -> None:
        path = self.file(folder)
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at the import; from 1.31 it reports over HTTPS unless told
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise MissingExtraError("onnxruntime", self.extra) from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        for pool in ("intra_op", "inter_op"):  # a spinning thread takes its core from the other sessions
            options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
        available = onnxruntime.get_available_providers()
        if self.provider not in available:
            raise NotAvailableError(
                f"{self.provider}: not available, got {', '.join(available)}: install sightline[{self.extra}]"
            )
        self.session = onnxruntime.InferenceSession(str(path), options, providers=[self.provider])
        if self.session.get_providers()[0] != self.provider:
            got = ", ".join(self.session.get_providers())
            raise SightlineError(f"{path}: runs on {got}, expected {self.provider}: choose another candidate")
        self.version = onnxruntime.__version__
        self._takes_conf = any(node.name == "conf" for node in self.session.get_inputs())

    def run(self, images: NDArray[np.uint8], conf: float) -> Outputs:
        feed: dict[str, NDArray[np.generic]] = {"images": images}
        if self._takes_conf:
            feed["conf"] = np.array([conf], np.float32)
        names = self.description.outputs
        return dict(zip(names, self.session.run(list(names), feed), strict=True))

    def facts(self) -> dict[str, str]:
        return {
            "library": "onnxruntime",
            "version": self.version,
            "provider": self.provider,
            "precision": self.precision,
            "threads": str(self.threads),
        }
