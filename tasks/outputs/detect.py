"""Detection: boxes and scores of every anchor, then NMS."""

from typing import TYPE_CHECKING, Final

from sightline.contract import ModelDescription
from tasks.nms import append_nms, nms

if TYPE_CHECKING:
    import onnx
    from torch import Tensor

RAW: Final = ("raw_boxes", "raw_scores")


def append(model: "onnx.ModelProto", description: ModelDescription) -> "onnx.ModelProto":
    """The graph with NMS."""
    return append_nms(model, description.iou, description.max_det)


def finish(tensors: "tuple[Tensor, ...]", conf: float, description: ModelDescription) -> "tuple[Tensor, ...]":
    """What NMS leaves above `conf`."""
    boxes, scores = tensors
    return nms(boxes, scores, conf, description.iou, description.max_det)
