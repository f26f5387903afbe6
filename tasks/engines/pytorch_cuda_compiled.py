"""PyTorch on an NVIDIA GPU, compiled."""

from tasks.engines._pytorch import PyTorchEngine


class Engine(PyTorchEngine):
    """The core by TorchInductor, on the first GPU."""

    device = "cuda"
    precisions = ("fp32", "fp16", "bf16")
    compiles = True
