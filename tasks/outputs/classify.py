"""Classification: probabilities are the outputs as they are."""

from typing import TYPE_CHECKING, Final

from sightline.contract import ModelDescription

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

RAW: Final = ("probabilities",)


def append(model: "onnx.ModelProto", description: ModelDescription) -> "onnx.ModelProto":
    """The graph."""
    return model


def finish(tensors: "tuple[Tensor, ...]", conf: float, description: ModelDescription) -> "tuple[Tensor, ...]":
    """The tensors."""
    return tensors
