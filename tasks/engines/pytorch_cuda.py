"""PyTorch on an NVIDIA GPU, eager."""

from tasks.engines._pytorch import PyTorchEngine


class Engine(PyTorchEngine):
    """Each operator as it comes, on the first GPU."""

    device = "cuda"
    precisions = ("fp32", "fp16", "bf16")
