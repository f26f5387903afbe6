"""A core in another precision than its parts around it."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from sightline.errors import NotAvailableError
from tasks.models._onnx import Graph


class InPrecision(nn.Module):
    """A copy of a core that computes in `dtype` and takes and gives float32.

    Args:
        core: Of `tasks.models.Parts`.
        dtype: `torch.float16` or `torch.bfloat16`.

    Raises:
        NotAvailableError: The core is a graph of the user's own, whose precision is in the file.
    """

    def __init__(self, core: nn.Module, dtype: torch.dtype) -> None:
        super().__init__()
        if isinstance(core, Graph):
            raise NotAvailableError(f"the user's own ONNX graph keeps its precision, expected weights for {dtype}")
        self.core = copy.deepcopy(core).to(dtype)
        self.dtype = dtype

    def forward(self, pixels: Tensor) -> Any:
        """What the core gives, its floats as float32."""
        return _as_float(self.core(pixels.to(self.dtype)))


def _as_float(found: Any) -> Any:
    """A tensor, or tuples of them, in float32 where they are floats."""
    if isinstance(found, tuple):
        return tuple(_as_float(each) for each in found)
    return found.float() if found.is_floating_point() else found
