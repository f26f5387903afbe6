"""Non-maximum suppression, once in PyTorch and once in ONNX, with the same result.

Every (anchor, class) pair with a score above `conf` is a candidate; within a class a box with an IoU above `iou` to a better
one is dropped; of what is left the best `max_det` over all classes remain, by descending score, ties by class and anchor.
Short of `max_det` the rest is padded with score 0, label 0 and a box of zeros.

Boxes are float32 (N, A, 4), one for each anchor, or (N, C, A, 4), one for each class and anchor.
"""

from typing import TYPE_CHECKING, Any, Final

from sightline.errors import SightlineError

if TYPE_CHECKING:
    import onnx
    from torch import Tensor


ANCHORS: Final = "anchors"
"""The anchor of each detection, int64 (N, K): an output of `append_nms` for a graph that goes on."""


def nms(boxes: "Tensor", scores: "Tensor", conf: float, iou: float, max_det: int) -> "tuple[Tensor, Tensor, Tensor]":
    """Suppresses non-maxima in PyTorch.

    Args:
        boxes: float32 (N, A, 4) or (N, C, A, 4), xyxy.
        scores: float32 (N, C, A), 0-1.
        conf: Candidates have a score above it, 0-1.
        iou: A box with an IoU above it to a better one of its class is dropped, 0-1.
        max_det: K, detections an image.

    Returns:
        boxes float32 (N, K, 4), scores float32 (N, K), labels int64 (N, K), by descending score.
    """
    return nms_with_anchors(boxes, scores, conf, iou, max_det)[:3]


def nms_with_anchors(
    boxes: "Tensor", scores: "Tensor", conf: float, iou: float, max_det: int
) -> "tuple[Tensor, Tensor, Tensor, Tensor]":
    """As `nms`, and the anchor of each detection, int64 (N, K), 0 where it is padding."""
    import torch

    count = len(boxes)
    kept_boxes, kept_scores = boxes.new_zeros(count, max_det, 4), scores.new_zeros(count, max_det)
    kept_labels = torch.zeros(count, max_det, dtype=torch.int64, device=boxes.device)
    kept_anchors = torch.zeros_like(kept_labels)
    if boxes.ndim == 3:
        boxes = boxes.unsqueeze(1).expand(-1, scores.shape[1], -1, -1)
    candidates = scores > conf
    for index in range(count):
        found = []  # (label, anchor) pairs
        for label in candidates[index].any(dim=1).nonzero().flatten().tolist():
            anchors = candidates[index, label].nonzero().flatten()
            anchors = anchors[_survivors(boxes[index, label, anchors], scores[index, label, anchors], iou, max_det)]
            found.append(torch.stack([torch.full_like(anchors, label), anchors]))
        if not found:
            continue
        labels, anchors = torch.cat(found, dim=1)
        order = scores[index, labels, anchors].argsort(descending=True, stable=True)[:max_det]
        labels, anchors = labels[order], anchors[order]
        kept_boxes[index, : len(order)] = boxes[index, labels, anchors]
        kept_scores[index, : len(order)] = scores[index, labels, anchors]
        kept_labels[index, : len(order)] = labels
        kept_anchors[index, : len(order)] = anchors
    return kept_boxes, kept_scores, kept_labels, kept_anchors


def _survivors(boxes: "Tensor", scores: "Tensor", iou: float, max_det: int) -> "Tensor":
    """The best `max_det` boxes of a class that NMS keeps, int64, by descending score.

    Only better boxes suppress one, so the best candidates are enough once they leave `max_det`: the time for all of them grows
    with their square, 20 s for the 77,000 anchors of a RetinaNet that has learnt nothing yet.
    """
    from torchvision.ops import nms as suppress

    order = scores.argsort(descending=True, stable=True)
    taken = 4 * max_det
    while True:
        best = order[:taken]
        kept = best[suppress(boxes[best], scores[best], iou)[:max_det]]
        if len(kept) == max_det or taken >= len(order):
            return kept
        taken *= 4


def append_nms(model: "onnx.ModelProto", iou: float, max_det: int) -> "onnx.ModelProto":
    """Appends the same to a detector's graph.

    The survivors' scores are scattered into zeros of the shape of `scores`, of which TopK then takes the best: no shape but
    that of the NonMaxSuppression op's own result depends on what was found, so any batch works. Where each class has boxes of
    its own, the op takes each class of an image for an image.

    Args:
        model: Its first output is boxes float32 (N, A, 4) or (N, C, A, 4), its second scores float32 (N, C, A); A and C are
            fixed.
        iou: As in `nms`.
        max_det: As in `nms`.

    Returns:
        A model with one more input, `conf` float32 (1,), and the outputs of `sightline.contract` for a detector; where `model`
        has more than two outputs, `ANCHORS` and those others follow.

    Raises:
        SightlineError: The outputs are not those.
    """
    import onnx
    from onnx import TensorProto, helper

    model = onnx.ModelProto.FromString(model.SerializeToString())
    graph = model.graph
    others = list(graph.output)[2:]
    shapes = [[dim.dim_value for dim in output.type.tensor_type.shape.dim] for output in graph.output]
    ranks = [len(shape) for shape in shapes[:2]]
    if (
        ranks not in ([3, 3], [4, 3])
        or shapes[0][-2:] != [shapes[1][2], 4]
        or (ranks[0] == 4 and shapes[0][1] != shapes[1][1])
        or 0 in shapes[1][1:]
    ):
        raise SightlineError(
            f"{graph.name}: got outputs of {shapes}, expected boxes (N, A, 4) or (N, C, A, 4), scores (N, C, A): fix its post"
        )
    own_boxes = ranks[0] == 4
    boxes, scores = (output.name for output in graph.output[:2])
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    classes, anchors = shapes[1][1:]
    found = min(max_det, classes * anchors)

    def constant(name: str, values: list[int] | list[float], kind: int = TensorProto.INT64, scalar: bool = False) -> str:
        graph.initializer.append(helper.make_tensor(f"nms/{name}", kind, [] if scalar else [len(values)], values))
        return f"nms/{name}"

    def node(op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        names = [f"nms/{output}"] if op != "TopK" else [f"nms/{output}", f"nms/{output}_index"]
        graph.node.append(helper.make_node(op, inputs, names, name=names[0], **attributes))
        return names[0]

    iou_name = constant("iou", [iou], TensorProto.FLOAT)
    per_class = constant("max_det", [max_det])
    zero, last, k = constant("zero", [0], scalar=True), constant("last", [-1]), constant("k", [found])
    if own_boxes:
        scores = node("Reshape", [scores, constant("scores_shape", [-1, 1, anchors])], "class_scores")
        one_class = node("Reshape", [boxes, constant("boxes_shape", [-1, anchors, 4])], "class_boxes")
        boxes = node("Reshape", [boxes, constant("all_boxes_shape", [0, classes * anchors, 4])], "all_boxes")
    selected = node("NonMaxSuppression", [one_class if own_boxes else boxes, scores, per_class, iou_name, "conf"], "selected")
    survivors = node("GatherND", [scores, selected], "survivors")
    nothing = node("ConstantOfShape", [node("Shape", [scores], "shape")], "nothing")
    dense = node("ScatterND", [nothing, selected, survivors], "dense")
    flat = node("Reshape", [dense, constant("flat_shape", [-1, classes * anchors])], "flat")
    best = node("TopK", [flat, k], "best", axis=1)
    is_real = node("Greater", [best, constant("zero_score", [0.0], TensorProto.FLOAT, scalar=True)], "is_real")
    anchors_name = constant("anchors", [anchors], scalar=True)
    label = node("Div", [f"{best}_index", anchors_name], "label")
    anchor = node("Mod", [f"{best}_index", anchors_name], "anchor")
    place = node("Unsqueeze", [f"{best}_index" if own_boxes else anchor, last], "place")
    box = node("GatherND", [boxes, place], "box", batch_dims=1)
    zero_box = constant("zero_box", [0.0], TensorProto.FLOAT, scalar=True)
    results = {
        "boxes": node("Where", [node("Unsqueeze", [is_real, last], "is_real_box"), box, zero_box], "real_boxes"),
        "scores": best,
        "labels": node("Where", [is_real, label, zero], "real_labels"),
    }
    if others:
        results[ANCHORS] = node("Where", [is_real, anchor, zero], "real_anchors")
    del graph.output[:]
    for name, result in results.items():
        end = [4] if name == "boxes" else []
        kind = TensorProto.FLOAT if name in ("boxes", "scores") else TensorProto.INT64
        pads = constant(f"{name}_pads", [0] * (2 + len(end)) + [0, max_det - found] + [0] * len(end))
        graph.node.append(helper.make_node("Pad", [result, pads], [name], name=f"nms/{name}"))
        graph.output.append(helper.make_tensor_value_info(name, kind, [batch, max_det, *end]))
    graph.output.extend(others)
    graph.input.append(helper.make_tensor_value_info("conf", TensorProto.FLOAT, [1]))
    return model
