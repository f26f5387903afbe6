"""PyTorch on the processor, compiled."""

from tasks.engines._pytorch import PyTorchEngine


class Engine(PyTorchEngine):
    """The core by TorchInductor, which needs a C++ compiler."""

    compiles = True
