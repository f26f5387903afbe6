"""Non-maximum suppression inside a network, as one operator of PyTorch that has an ONNX form.

`tasks.nms` ends a detector; this one stands in the middle of a two-stage detector, between proposals and their classification.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.ops import nms


@torch.library.custom_op("sightline::suppress", mutates_args=())
def suppress(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    """Scores float32 (N, A), 0 where a box has an IoU above `iou` to a better one of its image.

    Args:
        boxes: float32 (N, A, 4), xyxy.
        scores: float32 (N, A), 0-1.
        iou: 0-1.
    """
    kept = torch.zeros_like(scores)
    for index in range(len(boxes)):
        best = nms(boxes[index], scores[index], iou)
        kept[index, best] = scores[index, best]
    return kept


@suppress.register_fake
def _(boxes: Tensor, scores: Tensor, iou: float) -> Tensor:
    return torch.empty_like(scores)


def translations() -> dict[Any, Callable[..., Any]]:
    """The operator in ONNX, for `torch.onnx.export`."""
    from onnxscript import opset20

    op: Any = opset20

    def in_onnx(boxes: Any, scores: Any, iou: float) -> Any:
        axis, most = op.Constant(value_ints=[1]), op.Constant(value_ints=[2**31 - 1])
        scores = op.Unsqueeze(scores, axis)
        selected = op.NonMaxSuppression(boxes, scores, most, op.Constant(value_floats=[iou]))
        nothing = op.Mul(scores, op.Constant(value_float=0.0))
        return op.Squeeze(op.ScatterND(nothing, selected, op.GatherND(scores, selected)), axis)

    return {torch.ops.sightline.suppress.default: in_onnx}
