"""ONNX Runtime on an NVIDIA GPU, by CUDA."""

from pathlib import Path

from sightline.engines._gpu import first_gpu
from sightline.engines._onnxruntime import CPU, OnnxRuntimeEngine
from sightline.errors import NotAvailableError


class Engine(OnnxRuntimeEngine):
    """The folder's FP32 or FP16 file on ONNX Runtime's CUDA provider.

    Float32 is computed as float32: TensorFloat-32, which rounds to 10 bits, is off.
    """

    provider = "CUDAExecutionProvider"
    extra = "onnxruntime-gpu"
    on_gpu = True
    helpers = (CPU,)
    precisions = ("fp32", "fp16")

    def provider_options(self, path: Path) -> dict[str, str]:
        if self.precision not in self.precisions:
            raise NotAvailableError(f"{path}: CUDA with {self.precision}, expected fp32 or fp16: choose another candidate")
        self.gpu = first_gpu()
        return {"device_id": "0", "use_tf32": "0"}

    def facts(self) -> dict[str, str]:
        return super().facts() | {"gpu": self.gpu.name, "driver": self.gpu.driver}
