"""NMS in PyTorch against the same in ONNX, in both runtimes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper

from sightline.errors import SightlineError
from tasks.nms import append_nms, nms_with_anchors

ANCHORS, CLASSES, IOU = 60, 3, 0.5
Run = Callable[[dict[str, NDArray[Any]]], list[NDArray[Any]]]
Runtime = Callable[[onnx.ModelProto], Run]


def graph(anchors: int = ANCHORS, classes: int = CLASSES, own: bool = False, more: bool = False) -> onnx.ModelProto:
    """A graph that passes boxes, of each class its own or not, scores, and perhaps features through."""
    shapes: dict[str, list[Any]] = {
        "boxes": ["batch", *([classes] if own else []), anchors, 4],
        "scores": ["batch", classes, anchors],
        **({"features": ["batch", 2]} if more else {}),
    }
    return helper.make_model(
        helper.make_graph(
            [helper.make_node("Identity", [f"{name}_in"], [f"{name}_raw"]) for name in shapes],
            "identity",
            [helper.make_tensor_value_info(f"{name}_in", TensorProto.FLOAT, shape) for name, shape in shapes.items()],
            [helper.make_tensor_value_info(f"{name}_raw", TensorProto.FLOAT, shape) for name, shape in shapes.items()],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


def in_onnxruntime(model: onnx.ModelProto) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return lambda feed: list(session.run(None, feed))


def in_openvino(model: onnx.ModelProto) -> Run:
    import openvino

    core = openvino.Core()
    read = core.read_model(model.SerializeToString(), b"")
    compiled = core.compile_model(read, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda feed: [np.array(value) for value in compiled(feed).values()]


def scene(seed: int, batch: int, anchors: int = ANCHORS, classes: int = CLASSES) -> tuple[NDArray[Any], NDArray[Any]]:
    """Boxes that overlap a good deal, some of them empty, and scores without ties."""
    rng = np.random.default_rng(seed)
    low = rng.uniform(0, 60, (batch, anchors, 2))
    sides = rng.uniform(-3, 50, (batch, anchors, 2)).clip(0)
    scores = rng.permuted(np.linspace(0, 1, batch * classes * anchors)).reshape(batch, classes, anchors)
    return np.concatenate([low, low + sides], axis=-1).astype(np.float32), scores.astype(np.float32)


@pytest.mark.parametrize("runtime", [in_onnxruntime, in_openvino])
@pytest.mark.parametrize("batch", [1, 4])
@pytest.mark.parametrize("max_det", [7, 300])
@pytest.mark.parametrize("own", [False, True])
def test_graph_equals_pytorch(runtime: Runtime, batch: int, max_det: int, own: bool) -> None:
    model = append_nms(graph(own=own, more=True), IOU, max_det)
    onnx.checker.check_model(model, full_check=True)
    run = runtime(model)
    kept = []
    for seed in range(5):
        boxes, scores = scene(seed, batch)
        if own:
            boxes = np.stack([boxes + 3 * label for label in range(CLASSES)], axis=1)
        features = np.full((batch, 2), seed, np.float32)
        for conf in (0.0, 0.001, 0.25, 0.9, 1.0):
            expected = nms_with_anchors(torch.from_numpy(boxes), torch.from_numpy(scores), conf, IOU, max_det)
            given = {"boxes_in": boxes, "scores_in": scores, "features_in": features}
            got = run({**given, "conf": np.array([conf], np.float32)})
            for mine, theirs in zip(got, (*expected, torch.from_numpy(features)), strict=True):
                np.testing.assert_array_equal(mine, theirs.numpy())
            kept.append(int((expected[1] > 0).sum(dim=1).max()))
    assert max(kept) == 7 if max_det == 7 else 7 < max(kept) < ANCHORS * CLASSES
    assert min(kept) == 0


@pytest.mark.parametrize("runtime", [in_onnxruntime, in_openvino])
def test_shapes_hold_with_fewer_anchors_than_detections(runtime: Runtime) -> None:
    boxes, scores = scene(0, 2, anchors=3, classes=2)
    run = runtime(append_nms(graph(3, 2), IOU, 20))
    got = run({"boxes_in": boxes, "scores_in": scores, "conf": np.array([0.1], np.float32)})
    assert [value.shape for value in got] == [(2, 20, 4), (2, 20), (2, 20)]
    assert got[2].dtype == np.int64


def test_nms_by_hand() -> None:
    boxes = torch.tensor([[[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 4], [50, 50, 60, 60.0]]])
    scores = torch.tensor([[[0.9, 0.8, 0.7, 0.1], [0.0, 0.85, 0.0, 0.2]]])
    kept, confidence, labels, anchors = nms_with_anchors(boxes, scores, conf=0.15, iou=0.5, max_det=5)
    assert confidence[0].tolist() == pytest.approx([0.9, 0.85, 0.7, 0.2, 0.0]), "another class does not suppress"
    assert labels.tolist() == [[0, 1, 0, 1, 0]]
    assert kept[0, :, 3].tolist() == [10, 9, 4, 60, 0]
    assert anchors.tolist() == [[0, 1, 2, 3, 0]]


def test_other_outputs_are_refused() -> None:
    model = graph()
    del model.graph.output[1]
    with pytest.raises(SightlineError, match="expected boxes"):
        append_nms(model, IOU, 10)
