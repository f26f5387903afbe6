"""Metrics against pycocotools' own reading of files, and against values known by hand."""

import contextlib
import dataclasses
import io
import json
from pathlib import Path

import numpy as np
import pytest

from sightline.postprocess.classify import Classification
from sightline.postprocess.detect import Detections
from sightline.postprocess.semantic import ClassMap
from sightline.preprocess import Placement
from tasks.masks import IGNORE, encode
from tasks.metrics import classify, detect, semantic
from tasks.tables import Sample

NAMES = ("a", "b")


def sample(
    boxes: list[list[float]], labels: list[int], crowd: list[int] | None = None, difficult: list[int] | None = None
) -> Sample:
    count = len(boxes)
    return Sample(
        "x", Path("x"), 100, 100, np.array(labels, np.int64), np.array(boxes, np.float64).reshape(count, 4),
        np.array(crowd or [0] * count, bool), np.array(difficult or [0] * count, bool),
    )  # fmt: skip


def found(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64))


A, B, FAR = [0, 0, 20, 20], [30, 30, 60, 60], [70, 70, 90, 90]


def test_perfect_detections_score_one() -> None:
    result = detect.measure([sample([A, B], [0, 1])], [found([A, B], [0.9, 0.8], [0, 1])], NAMES).metrics
    expected = ("mAP50", "mAP50-95", "precision", "recall", "f1", "AP50/a", "AP50/b")
    assert {name: pytest.approx(1.0) for name in expected} == {name: result[name] for name in expected}
    assert result["conf"] == pytest.approx(0.8)


def test_an_object_found_at_iou_0_6_counts_at_three_of_ten_thresholds() -> None:
    result = detect.measure([sample([[0, 0, 10, 10]], [0])], [found([[0, 0, 10, 6.2]], [0.9], [0])], NAMES).metrics
    assert result["mAP50"] == pytest.approx(1.0)
    assert result["mAP50-95"] == pytest.approx(0.3)  # 0.50, 0.55, 0.60


def test_wrong_class_and_false_alarm() -> None:
    result = detect.measure([sample([A, B], [0, 1])], [found([A, FAR], [0.9, 0.8], [0, 1])], NAMES).metrics
    assert (result["AP50/a"], result["AP50/b"]) == (pytest.approx(1.0), 0.0)
    assert (result["precision"], result["recall"], result["f1"]) == (1.0, 0.5, pytest.approx(2 / 3))


@pytest.mark.parametrize("kind", ["crowd", "difficult"])
def test_crowd_and_difficult_are_neither_hit_nor_missed(kind: str) -> None:
    truth = sample([A, B], [0, 0], **{kind: [0, 1]})  # type: ignore[arg-type]
    for detections in (found([A], [0.9], [0]), found([B, A], [0.95, 0.9], [0, 0])):
        result = detect.measure([truth], [detections], NAMES).metrics
        assert (result["mAP50"], result["recall"], result["f1"]) == (pytest.approx(1.0), 1.0, 1.0)


def test_a_class_without_objects_is_left_out() -> None:
    result = detect.measure([sample([A], [0])], [found([A, FAR], [0.9, 0.1], [0, 1])], NAMES)
    assert list(result.curves) == ["a"]
    assert result.metrics["mAP50"] == pytest.approx(1.0)


@pytest.mark.parametrize("truth", [sample([A], [0]), sample([], [])])
def test_nothing_found_and_nothing_there(truth: Sample) -> None:
    result = detect.measure([truth], [found([], [], [])], NAMES).metrics
    assert {result[name] for name in ("mAP50", "mAP50-95", "precision", "recall", "f1")} == {0.0}


def test_agrees_with_pycocotools_from_files(tmp_path: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(0)
    samples, results, truth, detections = [], [], [], []
    for image in range(20):
        low = rng.uniform(0, 70, (6, 2))
        boxes = np.hstack([low, low + rng.uniform(5, 30, (6, 2))])
        labels = rng.integers(0, 2, 6)
        moved = (boxes + rng.normal(0, 2, boxes.shape)).astype(np.float32)
        scores = rng.uniform(0, 1, 6).astype(np.float32)
        samples.append(sample(boxes.tolist(), labels.tolist()))
        results.append(found(moved.tolist(), scores.tolist(), labels.tolist()))
        for box, label, near, score in zip(boxes, labels, moved, scores, strict=True):
            entry = {"image_id": image, "category_id": int(label)}
            wh = [box[0], box[1], box[2] - box[0], box[3] - box[1]]
            truth.append({**entry, "id": len(truth) + 1, "bbox": wh, "area": wh[2] * wh[3], "iscrowd": 0})
            near = near.astype(float)
            detections.append({**entry, "bbox": [*near[:2], *(near[2:] - near[:2])], "score": float(score)})
    images, categories = [{"id": image} for image in range(20)], [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]
    (tmp_path / "truth.json").write_text(json.dumps({"images": images, "categories": categories, "annotations": truth}))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(coco, coco.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    result = detect.measure(samples, results, NAMES).metrics
    for index, name in enumerate(("mAP50-95", "mAP50", "mAP75")):
        assert result[name] == pytest.approx(evaluation.stats[index], abs=1e-6)
    assert 0 < result["mAP75"] < result["mAP50-95"] < result["mAP50"]
    assert np.mean([result["AP50-95/a"], result["AP50-95/b"]]) == pytest.approx(result["mAP50-95"])


def test_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    detect.measure([sample([A], [0])], [found([A], [0.9], [0])], NAMES)
    assert capsys.readouterr() == ("", "")


def test_confusion_matrix_counts_each_object_once() -> None:
    truth = sample([A, B, FAR], [0, 1, 1], difficult=[0, 0, 1])
    result = found([A, A, B, FAR, [0, 80, 9, 99]], [0.9, 0.8, 0.7, 0.6, 0.1], [0, 0, 0, 1, 1])
    matrix = detect.confusion([truth], [result], 2, conf=0.25)
    assert matrix.tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]  # hit; b taken for a; the second a on A is a false alarm


def test_f1_at_a_threshold() -> None:
    truth = sample([A, B, FAR], [0, 1, 1], difficult=[0, 0, 1])
    result = found([A, A, B, FAR], [0.9, 0.8, 0.7, 0.6], [0, 0, 0, 1])
    assert detect.f1_at([truth], [result], NAMES, 0.25) == pytest.approx(2 / 5), "one of two objects, and three detections"
    assert detect.f1_at([truth], [result], NAMES, 0.85) == pytest.approx(2 / 3), "and one"
    assert detect.f1_at([truth], [result], NAMES, 0.95) == 0
    assert detect.f1_at([sample([], [])], [found([], [], [])], NAMES, 0.25) == 0


def test_classification() -> None:
    result = classify.accuracy(np.array([0, 0, 1, 2]), np.eye(3, dtype=np.float32)[[0, 1, 1, 2]])
    assert result == {
        "accuracy_top1": 0.75,
        "precision": pytest.approx((1 + 1 / 2 + 1) / 3),
        "recall": pytest.approx((1 / 2 + 1 + 1) / 3),
        "f1": pytest.approx((2 / 3 + 2 / 3 + 1) / 3),
        "calibration_error": pytest.approx(0.25),  # sure of four, right in three
    }


def test_calibration_error_is_the_mean_distance_of_the_bins() -> None:
    sure = np.array([[0.9, 0.1], [0.9, 0.1], [0.4, 0.6], [0.4, 0.6]], np.float32)
    result = classify.accuracy(np.array([0, 1, 1, 1]), sure)
    assert result["calibration_error"] == pytest.approx((abs(0.9 - 0.5) + abs(0.6 - 1.0)) / 2)


def test_the_true_class_among_five_counts_as_top5() -> None:
    descending = np.array([0.3, 0.25, 0.2, 0.1, 0.09, 0.04, 0.02], np.float32)
    samples = [sample([], [label]) for label in (0, 4, 5)]
    guess = Classification(np.arange(5), descending[:5])
    result = classify.measure(samples, [guess] * 3, tuple("abcdefg"))
    assert (result.metrics["accuracy_top1"], result.metrics["accuracy_top5"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))


def test_pixels_are_counted_at_the_masks_resolution_and_ignored_ones_are_not(tmp_path: Path) -> None:
    # 4x2 pixels, of which the last two are ignored; the network sees 2x2, and each of its pixels covers 2x1 of the mask.
    masks = [np.array([[0, 0, 1, 1], [1, 0, IGNORE, IGNORE]], np.uint8), np.full((2, 4), IGNORE, np.uint8)]
    for index, mask in enumerate(masks):
        (tmp_path / f"{index}.png").write_bytes(encode(mask))
    samples = [dataclasses.replace(sample([], []), width=4, height=2, mask=tmp_path / f"{index}.png") for index in (0, 1)]
    place = Placement(4, 2, 0.5, 1.0)
    maps = [ClassMap(np.array(cells, np.uint8), place) for cells in ([[0, 1], [0, 2]], [[2, 2], [2, 2]])]
    result = semantic.measure(samples, maps, ("a", "b", "c"))
    assert result.confusion.tolist() == [[3, 0, 0], [1, 2, 0], [0, 0, 0]]
    assert result.metrics == {
        "mIoU": pytest.approx((3 / 4 + 2 / 3) / 2),
        "pixel_accuracy": pytest.approx(5 / 6),
        "dice": pytest.approx((6 / 7 + 4 / 5) / 2),
        "IoU/a": pytest.approx(3 / 4),
        "IoU/b": pytest.approx(2 / 3),
        "dice/a": pytest.approx(6 / 7),
        "dice/b": pytest.approx(4 / 5),
    }


def test_a_class_that_is_predicted_alone_counts_as_missed(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_bytes(encode(np.zeros((2, 2), np.uint8)))
    truth = dataclasses.replace(sample([], []), width=2, height=2, mask=tmp_path / "mask.png")
    found = ClassMap(np.array([[0, 0], [0, 1]], np.uint8), Placement(2, 2, 1.0, 1.0))
    result = semantic.measure([truth], [found], ("a", "b", "c")).metrics
    assert (result["mIoU"], result["IoU/b"], "IoU/c" in result) == (pytest.approx(3 / 8), 0.0, False)
