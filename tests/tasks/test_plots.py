"""Pictures of the worst errors: which are chosen, and that there is none where there is no error."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.postprocess.classify import Classification
from sightline.postprocess.detect import Detections
from sightline.postprocess.multilabel import Labels
from sightline.postprocess.semantic import ClassMap
from sightline.preprocess import Placement
from tasks import plots
from tasks.evaluate import Evaluation
from tasks.masks import encode
from tasks.metrics import load
from tasks.plots import WORST_FILE
from tasks.plots.detect import worst
from tasks.tables import Sample

NAMES = ("a", "b")
A, B, C, FAR = [0, 0, 20, 20], [30, 30, 60, 60], [62, 0, 72, 10], [70, 70, 90, 90]


@pytest.fixture
def image(tmp_path: Path) -> Path:
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (100, 100, 3), np.uint8)).save(tmp_path / "image.png")
    return tmp_path / "image.png"


def sample(image: Path, boxes: list[list[float]], labels: list[int], mask: Path | None = None) -> Sample:
    flags = np.zeros(len(labels), bool)
    given = np.array(boxes, np.float64).reshape(-1, 4) if boxes else np.full((len(labels), 4), np.nan)
    return Sample("x", image, 100, 100, np.array(labels, np.int64), given, flags, flags, mask)


def found(boxes: list[list[float]], scores: list[float], labels: list[int]) -> Detections:
    return Detections(np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32), np.array(labels, np.int64))


def test_the_worst_of_each_kind_come_first(image: Path) -> None:
    samples = [sample(image, [C, B], [0, 1]), sample(image, [A, B], [0, 1])]
    guesses = [found([], [], []), found([A, FAR, FAR, B], [0.9, 0.8, 0.7, 0.6], [1, 0, 0, 1])]
    errors = worst(samples, guesses, 0.5)
    assert [(error.image, *error.match) for error in errors] == [
        (0, 1, None), (0, 0, None),  # missed, the larger one first
        (1, None, 1), (1, None, 2),  # false alarms, the surer one first
        (1, 0, 0),  # of another class
    ]  # fmt: skip
    assert [(error.image, *error.match) for error in worst(samples[1:], guesses[1:], 0.85)] == [(0, 1, None), (0, 0, 0)]


def _tasks(image: Path, folder: Path) -> dict[str, tuple[Sample, object, object]]:
    """For each task a sample, what is right of it, and what is wrong."""
    (folder / "mask.png").write_bytes(encode(np.zeros((100, 100), np.uint8)))
    place = Placement(100, 100, 1.0, 1.0)
    maps = [ClassMap(np.full((100, 100), label, np.uint8), place) for label in (0, 1)]
    scores = np.array([0.9, 0.1], np.float32)
    return {
        "classify": (sample(image, [], [0]), *(Classification(np.array(order), scores) for order in ([0, 1], [1, 0]))),
        "multilabel": (sample(image, [], [0]), *(Labels(np.array(order), scores) for order in ([0, 1], [1, 0]))),
        "detect": (sample(image, [A], [0]), found([A], [0.9], [0]), found([A], [0.9], [1])),
        "semantic": (sample(image, [], [], folder / "mask.png"), *maps),
    }


@pytest.mark.parametrize("task", ["classify", "multilabel", "detect", "semantic"])
def test_errors_are_drawn_where_there_are_any(task: str, image: Path, tmp_path: Path) -> None:
    given, right, wrong = _tasks(image, tmp_path)[task]
    for name, guess in (("right", right), ("wrong", wrong)):
        report = tmp_path / name
        report.mkdir()
        measured = load(task).measure([given], [guess], NAMES)
        plots.evaluation(Evaluation(task, measured.metrics, [guess], measured), [given], NAMES, report)  # type: ignore[arg-type, list-item]
        assert (report / "predictions.png").is_file()
        assert (report / WORST_FILE).is_file() == (name == "wrong")
