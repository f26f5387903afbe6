"""Semantic segmentation: a score for each class and pixel, of which the largest gives the pixel's class."""

from typing import TYPE_CHECKING, Final

from sightline.contract import OUTPUTS, ModelDescription

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

RAW: Final = ("logits",)


def append(model: "onnx.ModelProto", description: ModelDescription) -> "onnx.ModelProto":
    """The graph with `class_map` uint8 (N, H, W); of equal logits the first class's wins."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph, (name,) = model.graph, OUTPUTS["semantic"]
    batch, _, height, width = (dim.dim_param or dim.dim_value for dim in graph.output[0].type.tensor_type.shape.dim)
    graph.node.append(helper.make_node("ArgMax", [*RAW], ["semantic/best"], name="semantic/best", axis=1, keepdims=0))
    graph.node.append(helper.make_node("Cast", ["semantic/best"], [name], name="semantic/cast", to=TensorProto.UINT8))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info(name, TensorProto.UINT8, [batch, height, width]))
    return model


def finish(tensors: "tuple[Tensor, ...]", conf: float, description: ModelDescription) -> "tuple[Tensor, ...]":
    """`class_map` uint8 (N, H, W)."""
    import torch

    return (tensors[0].argmax(dim=1).to(torch.uint8),)
