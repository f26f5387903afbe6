"""Instance segmentation: outlines, metrics against pycocotools' own reading of files, and pictures."""

import contextlib
import dataclasses
import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sightline.errors import SightlineError
from sightline.postprocess.segment import Segments
from tasks.masks import decode_rle, encode_rle
from tasks.metrics import segment
from tasks.metrics.detect import Outlines, confusion
from tasks.plots import segment as pictures
from tasks.shapes import mask_of
from tasks.tables import Sample, Shape

sys.path.insert(0, str(Path(__file__).parent))
import tiny_data

NAMES = ("a", "b")
SIDE = 60


def disc(x: float, y: float, radius: float) -> NDArray[np.bool_]:
    rows, columns = np.mgrid[:SIDE, :SIDE] + 0.5
    return np.hypot(columns - x, rows - y) < radius


def box_of(mask: NDArray[np.bool_]) -> list[float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def sample(masks: list[NDArray[np.bool_]], labels: list[int], shapes: list[Shape] | None = None) -> Sample:
    nothing = np.zeros(len(masks), bool)
    boxes = np.array([box_of(mask) for mask in masks], np.float64).reshape(-1, 4)
    shapes = shapes or [encode_rle(mask) for mask in masks]
    return Sample("x", Path("x"), SIDE, SIDE, np.array(labels, np.int64), boxes, nothing, nothing, shapes=shapes)


def found(masks: list[NDArray[np.bool_]], scores: list[float], labels: list[int]) -> Segments:
    boxes = np.array([box_of(mask) for mask in masks], np.float32).reshape(-1, 4)
    codes = [encode_rle(mask) for mask in masks]
    return Segments(boxes, np.array(scores, np.float32), np.array(labels, np.int64), codes, SIDE, SIDE)


def test_polygons_are_filled_and_parts_are_one_object() -> None:
    polygons: Shape = [[2, 3, 12, 3, 12, 9, 2, 9], [20, 20, 30, 20, 30, 30, 20, 30]]
    expected = np.zeros((SIDE, SIDE), bool)
    expected[3:9, 2:12] = expected[20:30, 20:30] = True
    np.testing.assert_array_equal(mask_of(sample([expected], [0], [polygons]), 0), expected)


def test_an_object_with_a_box_alone_is_refused() -> None:
    truth = dataclasses.replace(sample([disc(9, 9, 5)], [0]), shapes=[None])
    with pytest.raises(SightlineError, match="x: object 1 of 1 has a box alone"):
        segment.measure([truth], [found([], [], [])], NAMES)


def test_masks_count_and_boxes_stand_beside_them() -> None:
    whole = disc(30, 30, 20)
    half = whole & (np.arange(SIDE) < 30)
    half[29:31] = whole[29:31]  # as wide as the whole
    half[:, 29:31] = whole[:, 29:31]
    result = segment.measure([sample([whole], [0])], [found([half], [0.9], [0])], NAMES).metrics
    iou = (half & whole).sum() / (half | whole).sum()
    assert 0.5 < iou < 0.6
    assert (result["mAP50"], result["mAP50-95"]) == (pytest.approx(1.0), pytest.approx(0.1 * (1 + (iou >= 0.55))))
    assert result["box_mAP50-95"] == pytest.approx(1.0)


def test_agrees_with_pycocotools_from_files(tmp_path: Path) -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rng = np.random.default_rng(0)
    samples, results, truth, detections = [], [], [], []
    for image in range(12):
        places, radii, labels = rng.uniform(12, 48, (4, 2)), rng.uniform(5, 11, 4), rng.integers(0, 2, 4).tolist()
        masks = [disc(*place, radius) for place, radius in zip(places, radii, strict=True)]
        near = [disc(*(place + rng.normal(0, 1.5, 2)), radius) for place, radius in zip(places, radii, strict=True)]
        scores = rng.uniform(0, 1, 4).astype(np.float32).tolist()
        samples.append(sample(masks, labels))
        results.append(found(near, scores, labels))
        for mask, label, guess, score in zip(masks, labels, near, scores, strict=True):
            entry = {"image_id": image, "category_id": label}
            rle, guessed = ({"size": [SIDE, SIDE], "counts": encode_rle(each)} for each in (mask, guess))
            bbox, area = [0, 0, 1, 1], int(mask.sum())
            truth.append({**entry, "id": len(truth) + 1, "segmentation": rle, "bbox": bbox, "area": area, "iscrowd": 0})
            detections.append({**entry, "segmentation": guessed, "score": score})
    images = [{"id": image, "width": SIDE, "height": SIDE} for image in range(12)]
    categories = [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]
    (tmp_path / "truth.json").write_text(json.dumps({"images": images, "categories": categories, "annotations": truth}))
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(tmp_path / "truth.json"))
        evaluation = COCOeval(coco, coco.loadRes(detections), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    result = segment.measure(samples, results, NAMES).metrics
    expected = evaluation.stats[:2].tolist()
    assert [result["mAP50-95"], result["mAP50"]] == pytest.approx(expected, abs=1e-6)
    assert 0 < result["mAP50-95"] < result["mAP50"]


def test_the_confusion_matrix_is_of_masks() -> None:
    ring, core = disc(30, 30, 20) & ~disc(30, 30, 14), disc(30, 30, 14)
    truth, guess = sample([ring, core], [0, 1]), found([ring, core], [0.9, 0.8], [0, 1])
    outlines = [Outlines([encode_rle(ring), encode_rle(core)], guess.masks)]
    assert confusion([truth], [guess], 2, 0.25, outlines=outlines).tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_masks_are_painted_and_pictures_drawn(tmp_path: Path) -> None:
    image = np.full((SIDE, SIDE, 3), 100, np.uint8)
    mask = disc(30, 30, 12)
    painted = pictures.paint(image, [encode_rle(mask)], [(1.0, 0.0, 0.0)])
    np.testing.assert_array_equal((painted != image).any(axis=2), mask)

    samples = tiny_data.dataset(tmp_path / "data", "segment").samples("val")
    guesses = []
    for each in samples:
        masks = [mask_of(each, index) for index in range(len(each.labels))]
        scores = np.linspace(0.9, 0.8, len(masks), dtype=np.float32)
        codes = [encode_rle(mask) for mask in masks]
        guesses.append(Segments(each.boxes.astype(np.float32), scores, each.labels, codes, each.width, each.height))
        assert all(decode_rle(code, (each.width, each.height)).sum() == 400 for code in codes)
    measured = segment.measure(samples, guesses, tiny_data.CLASSES)
    assert measured.metrics["mAP50-95"] == pytest.approx(1.0)
    pictures.draw(samples, guesses, measured, tiny_data.CLASSES, tmp_path)
    for name in ("confusion_matrix.png", "precision_recall.png", "predictions.png"):
        with Image.open(tmp_path / name) as picture:
            assert min(picture.size) > 100
