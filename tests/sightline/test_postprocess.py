import base64
import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from sightline.contract import Input, ModelDescription
from sightline.errors import SightlineError
from sightline.postprocess import detect, load, semantic, to_json
from sightline.postprocess.classify import classification
from sightline.preprocess import Placement, prepare

HALF = Placement(width=100, height=50, scale_x=0.5, scale_y=0.5)


def padded(scores: list[float], labels: list[int], boxes: list[list[float]]) -> dict[str, np.ndarray]:
    return {
        "scores": np.array([scores], np.float32),
        "labels": np.array([labels], np.int64),
        "boxes": np.array([boxes], np.float32),
    }


def test_padding_is_dropped_and_boxes_are_in_image_pixels() -> None:
    found = detect.read(padded([0.9, 0.2, 0], [1, 0, 0], [[1, 2, 11, 12], [0, 0, 5, 5], [0, 0, 0, 0]]), 0, HALF)
    np.testing.assert_array_equal(found.boxes, [[2, 4, 22, 24], [0, 0, 10, 10]])
    np.testing.assert_array_equal(found.labels, [1, 0])
    assert (len(found), found.boxes.dtype, found.scores.dtype, found.labels.dtype) == (2, np.float32, np.float32, np.int64)


def test_the_best_come_first_wherever_the_padding_is() -> None:
    found = detect.read(padded([0, 0.2, 0.9], [0, 1, 2], [[0, 0, 0, 0], [0, 0, 5, 5], [1, 1, 2, 2]]), 0, HALF)
    np.testing.assert_array_equal(found.labels, [2, 1])


def test_no_detection_keeps_its_shape() -> None:
    found = detect.read(padded([0], [0], [[0, 0, 0, 0]]), 0, HALF)
    assert (found.boxes.shape, found.scores.shape, found.labels.shape) == ((0, 4), (0,), (0,))


def test_boxes_are_clipped_to_the_image() -> None:
    found = detect.read(padded([0.9], [0], [[-3, -3, 60, 60]]), 0, HALF)
    np.testing.assert_array_equal(found.boxes, [[0, 0, 100, 50]])


@given(st.integers(1, 400), st.integers(1, 400), st.lists(st.floats(0, 1), min_size=4, max_size=4))
def test_a_box_survives_the_letterbox(width: int, height: int, corners: list[float]) -> None:
    _, placement = prepare(np.zeros((height, width, 3), np.uint8), Input(64, 96, "letterbox"))
    x1, x2 = sorted(value * width for value in corners[:2])
    y1, y2 = sorted(value * height for value in corners[2:])
    box = np.array([x1, y1, x2, y2], np.float32)
    there = box * ([placement.scale_x, placement.scale_y] * 2)
    found = detect.read(padded([0.5], [0], [there.tolist()]), 0, placement)
    np.testing.assert_allclose(found.boxes[0], box, rtol=1e-5, atol=1e-3)


def test_classes_by_probability_and_ties_by_label() -> None:
    best = classification({"probabilities": np.array([[0.1, 0.4, 0.1, 0.4]], np.float32)}, 0, top_k=3)
    assert best.labels.tolist() == [1, 3, 0]
    np.testing.assert_allclose(best.scores, [0.4, 0.4, 0.1])


def test_json_of_detections(detector: Path) -> None:
    answer = to_json(ModelDescription.read(detector), padded([0.912345678], [2], [[1, 2, 11, 12]]), 0, HALF)
    assert answer == {
        "task": "detect",
        "width": 100,
        "height": 50,
        "detections": [{"box": [2.0, 4.0, 22.0, 24.0], "label": 2, "name": "blue", "score": pytest.approx(0.912346, abs=1e-9)}],
    }


def test_json_of_classes(classifier: Path) -> None:
    answer = to_json(ModelDescription.read(classifier), {"probabilities": np.array([[0.25, 0, 0.75]], np.float32)}, 0, HALF)
    assert answer["classes"] == [
        {"label": 2, "name": "blue", "score": 0.75},
        {"label": 0, "name": "red", "score": 0.25},
        {"label": 1, "name": "green", "score": 0.0},
    ]


def test_json_of_a_class_map(segmenter: Path) -> None:
    cells = np.zeros((1, 32, 32), np.uint8)
    cells[0, :25, 10:50] = 2  # a letterbox of 25 rows
    answer = to_json(ModelDescription.read(segmenter), {"class_map": cells}, 0, Placement(100, 50, 0.32, 0.5))
    shares = [{"label": 2, "name": "blue", "share": 0.69}, {"label": 0, "name": "red", "share": 0.31}]
    assert answer["classes"] == shares
    with Image.open(io.BytesIO(base64.b64decode(answer["class_map"]))) as image:
        assert (image.format, image.mode, image.size) == ("PNG", "P", (100, 50))
        labels = np.asarray(image)
        assert image.convert("RGB").getpixel((99, 49)) == (0, 128, 0)  # of VOC's second class
    np.testing.assert_array_equal(labels, np.where(np.arange(100) < 31, 0, 2) * np.ones((50, 1)))


@given(st.integers(1, 60), st.integers(1, 60), st.sampled_from(["letterbox", "stretch"]))
def test_a_class_map_has_the_images_size_and_nothing_of_the_letterbox(width: int, height: int, resize: str) -> None:
    spec = Input(64, 96, resize)  # type: ignore[arg-type]
    image = np.arange(width * height, dtype=np.uint16).reshape(height, width) % 251
    prepared, placement = prepare(np.repeat(image[..., None], 3, axis=2).astype(np.uint8), spec)
    lies = np.zeros(prepared.shape[:2], np.uint8)
    lies[: round(height * placement.scale_y), : round(width * placement.scale_x)] = 1
    found = semantic.read({"class_map": lies[None]}, 0, placement).class_map
    assert found.shape == (height, width)
    assert found.all()


@given(st.integers(1, 20), st.integers(1, 20), st.integers(1, 4))
def test_a_class_map_of_enlarged_pixels_is_the_image_again(width: int, height: int, factor: int) -> None:
    labels = np.random.default_rng(0).integers(0, 200, (height, width), np.uint8)
    cells = labels.repeat(factor, axis=0).repeat(factor, axis=1)
    np.testing.assert_array_equal(Placement(width, height, factor, factor).map_to_image(cells), labels)


def test_the_palette_is_vocs() -> None:
    colours = semantic.palette().tolist()
    assert [colours[label] for label in (0, 1, 2, 15, 20, 255)] == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [192, 128, 128], [0, 64, 128], [224, 224, 192]
    ]  # fmt: skip


def test_a_task_without_results_is_refused() -> None:
    with pytest.raises(SightlineError, match="task nothing: got no JSON form, expected one of classify, detect"):
        load("nothing")


@pytest.mark.parametrize("task", ["classify", "detect", "semantic"])
def test_the_example_of_a_task_can_be_printed(task: str) -> None:
    module = load(task)
    assert "thing" in module.text(module.EXAMPLE.to_json(["thing"]))
    assert module.EXAMPLE.count == 1
