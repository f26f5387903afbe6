"""Instance segmentation: boxes and scores of every anchor, then NMS, then the masks of what it leaves."""

from typing import TYPE_CHECKING, Final

from sightline.contract import ModelDescription
from tasks.nms import append_nms, nms_with_anchors

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

RAW: Final = ("raw_boxes", "raw_scores")


def append(model: "onnx.ModelProto", description: ModelDescription, masks: "onnx.ModelProto") -> "onnx.ModelProto":
    """The graph with NMS and masks."""
    import onnx

    found = append_nms(model, description.iou, description.max_det)
    kept = {value.name: value for value in (*found.graph.output, *masks.graph.output)}
    whole: onnx.ModelProto = onnx.ModelProto.FromString(found.SerializeToString())
    for field in ("node", "initializer", "value_info"):
        getattr(whole.graph, field).extend(getattr(masks.graph, field))
    del whole.graph.output[:]
    whole.graph.output.extend(kept[name] for name in description.outputs)
    return whole


def finish(
    tensors: "tuple[Tensor, ...]", conf: float, description: ModelDescription, masks: "nn.Module"
) -> "tuple[Tensor, ...]":
    """What NMS leaves above `conf`, with its masks."""
    boxes, scores, *features = tensors
    boxes, scores, labels, anchors = nms_with_anchors(boxes, scores, conf, description.iou, description.max_det)
    return boxes, scores, labels, masks(boxes, labels, anchors, *features)
