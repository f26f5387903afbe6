"""Classification: probabilities are the outputs as they are."""

from typing import TYPE_CHECKING, Final

from sightline.contract import ModelDescription

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

RAW: Final = ("probabilities",)


def append(model: "onnx.ModelProto", description: ModelDescription, masks: "onnx.ModelProto | None") -> "onnx.ModelProto":
    """The graph."""
    return model


def finish(
    tensors: "tuple[Tensor, ...]", conf: float, description: ModelDescription, masks: "nn.Module | None"
) -> "tuple[Tensor, ...]":
    """The tensors."""
    return tensors
