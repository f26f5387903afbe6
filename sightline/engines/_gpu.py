"""The NVIDIA GPU that an engine runs on, by NVML."""

from typing import NamedTuple

from sightline.errors import MissingExtraError, NotAvailableError


class Gpu(NamedTuple):
    """What an engine that was built for one GPU depends on.

    Attributes:
        name: E.g. `NVIDIA H100 80GB HBM3`.
        capability: Its compute capability, e.g. `9.0`.
        driver: The driver's version.
    """

    name: str
    capability: str
    driver: str


def first_gpu() -> Gpu:
    """The first GPU, which engines run on; `CUDA_VISIBLE_DEVICES` is not looked at.

    Raises:
        NotAvailableError: There is none, or no driver.
        MissingExtraError: NVML's Python binding is not installed.
    """
    try:
        import pynvml
    except ModuleNotFoundError as error:
        raise MissingExtraError("nvidia-ml-py", "onnxruntime-gpu") from error
    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        major, minor = pynvml.nvmlDeviceGetCudaComputeCapability(handle)
        return Gpu(pynvml.nvmlDeviceGetName(handle), f"{major}.{minor}", pynvml.nvmlSystemGetDriverVersion())
    except pynvml.NVMLError as error:
        raise NotAvailableError(f"no NVIDIA GPU ({error}): choose a candidate of the processor") from None
