"""TensorRT, by ONNX Runtime's provider: engines are built at the first start and kept."""

import hashlib
import os
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import ClassVar

from sightline.engines._gpu import first_gpu
from sightline.engines._onnxruntime import CPU, OnnxRuntimeEngine
from sightline.errors import MissingExtraError, NotAvailableError, SightlineError


class Engine(OnnxRuntimeEngine):
    """The folder's FP16 file, or the INT8 file that is made for TensorRT, whose other layers may be float16.

    Engines and the timings that chose their kernels are kept in `$XDG_CACHE_HOME/sightline/tensorrt`, by GPU, driver,
    libraries and the model's checksum: where one of them differs, an engine is built anew, which takes minutes.
    """

    provider = "TensorrtExecutionProvider"
    extra = "tensorrt"
    on_gpu = True
    helpers = (("CUDAExecutionProvider", {"use_tf32": "0"}), CPU)
    flags: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "fp16": ("trt_fp16_enable",),
        "int8": ("trt_fp16_enable", "trt_int8_enable"),
    }
    files: ClassVar[Mapping[str, str]] = {"int8": "tensorrt-int8"}

    def provider_options(self, path: Path) -> dict[str, str]:
        if self.precision not in self.flags:
            expected = " or ".join(self.flags)
            raise NotAvailableError(f"{path}: TensorRT with {self.precision}, expected {expected}: choose another candidate")
        try:
            import tensorrt  # loads TensorRT's libraries, which the provider links
        except ModuleNotFoundError as error:
            raise MissingExtraError("tensorrt", self.extra) from error
        self.gpu, self.tensorrt = first_gpu(), str(tensorrt.__version__)
        model = self.description.files[self.file_name(self.precision)]
        machine = cache_root() / _digest(*self.gpu, self.tensorrt, metadata.version("onnxruntime-gpu"))
        engines = machine / f"{model.sha256[:16]}-{self.precision}"
        try:
            engines.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SightlineError(f"{engines}: {error.strerror}: set XDG_CACHE_HOME to a folder that can be written") from None
        return {
            "device_id": "0",
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(engines),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(machine),
            **dict.fromkeys(self.flags[self.precision], "1"),
        }

    def facts(self) -> dict[str, str]:
        return super().facts() | {"gpu": self.gpu.name, "driver": self.gpu.driver, "tensorrt": self.tensorrt}


def cache_root() -> Path:
    """Where engines are kept, by the XDG Base Directory Specification."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sightline" / "tensorrt"


def _digest(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
