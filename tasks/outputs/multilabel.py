"""Multi-label classification: the probability of each class, and 0 where it is not above `conf`."""

from typing import TYPE_CHECKING, Final

from sightline.contract import ModelDescription

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

RAW: Final = ("raw_probabilities",)


def append(model: "onnx.ModelProto", description: ModelDescription) -> "onnx.ModelProto":
    """The graph with one more input, `conf` float32 (1,), and `probabilities`."""
    import onnx
    from onnx import TensorProto, helper

    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    raw = graph.output[0]
    shape = [dim.dim_param or dim.dim_value for dim in raw.type.tensor_type.shape.dim]
    graph.initializer.append(helper.make_tensor("threshold/zero", TensorProto.FLOAT, [], [0.0]))
    graph.node.append(helper.make_node("Greater", [raw.name, "conf"], ["threshold/is_above"], name="threshold/is_above"))
    names = ["threshold/is_above", raw.name, "threshold/zero"]
    graph.node.append(helper.make_node("Where", names, ["probabilities"], name="threshold/probabilities"))
    graph.input.append(helper.make_tensor_value_info("conf", TensorProto.FLOAT, [1]))
    del graph.output[:]
    graph.output.append(helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, shape))
    return model


def finish(tensors: "tuple[Tensor, ...]", conf: float, description: ModelDescription) -> "tuple[Tensor, ...]":
    """The probabilities above `conf`."""
    (scores,) = tensors
    return (scores.where(scores > conf, scores.new_zeros(())),)
