"""PyTorch on the processor, eager: `pytorch-fp32` is what every other candidate is compared with."""

from tasks.engines._pytorch import PyTorchEngine


class Engine(PyTorchEngine):
    """Each operator as it comes."""
