"""Pictures of the worst errors: which are chosen, and that there is none where there is no error."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sightline.masks import encode as encode_rle
from sightline.postprocess.classify import Classification
from sightline.postprocess.detect import Detections
from sightline.postprocess.multilabel import Labels
from sightline.postprocess.segment import Segments
from sightline.postprocess.semantic import ClassMap
from sightline.preprocess import Placement, decode
from tasks import plots
from tasks.evaluate import Evaluation
from tasks.masks import encode
from tasks.metrics import load
from tasks.metrics.classify import BINS, accuracy
from tasks.plots import WORST_FILE, _scores, segment
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


def outline(x: int, y: int, width: int, height: int) -> str:
    """The mask of a rectangle."""
    return encode_rle(np.ones((height, width), np.bool_), x, y, 100, 100)


def polygon(box: list[int]) -> list[list[float]]:
    xmin, ymin, xmax, ymax = map(float, box)
    return [[xmin, ymin, xmax, ymin, xmax, ymax, xmin, ymax]]


def segments(boxes: list[list[int]], scores: list[float], labels: list[int], masks: list[str]) -> Segments:
    whole = found([[float(side) for side in box] for box in boxes], scores, labels)
    return Segments(whole.boxes, whole.scores, whole.labels, masks, 100, 100)


def _tasks(image: Path, folder: Path) -> dict[str, tuple[Sample, object, object]]:
    """For each task a sample, what is right of it, and what is wrong: not all of it."""
    (folder / "mask.png").write_bytes(encode(np.zeros((100, 100), np.uint8)))
    place = Placement(100, 100, 1.0, 1.0)
    maps = [ClassMap(np.full((100, 100), label, np.uint8), place) for label in (0, 1)]
    scores = np.array([0.9, 0.1], np.float32)
    square, stripe = outline(0, 0, 20, 20), outline(0, 0, 20, 5)
    outlined = replace(sample(image, [A, B], [0, 1]), shapes=(polygon(A), polygon(B)))
    return {
        "classify": (sample(image, [], [0]), *(Classification(np.array(order), scores) for order in ([0, 1], [1, 0]))),
        "multilabel": (sample(image, [], [0]), *(Labels(np.array(order), scores) for order in ([0, 1], [1, 0]))),
        "detect": (sample(image, [A], [0]), found([A], [0.9], [0]), found([A], [0.9], [1])),
        "semantic": (sample(image, [], [], folder / "mask.png"), *maps),
        "segment": (
            outlined,
            segments([A, B], [0.9, 0.8], [0, 1], [square, outline(30, 30, 30, 30)]),
            segments([A, FAR, B], [0.9, 0.8, 0.7], [0, 0, 0], [stripe, outline(70, 70, 20, 20), outline(30, 30, 30, 30)]),
        ),
    }


@pytest.mark.parametrize("task", ["classify", "multilabel", "detect", "semantic", "segment"])
def test_errors_are_drawn_where_there_are_any(task: str, image: Path, tmp_path: Path) -> None:
    given, right, wrong = _tasks(image, tmp_path)[task]
    for name, guess in (("right", right), ("wrong", wrong)):
        report = tmp_path / name
        report.mkdir()
        measured = load(task).measure([given], [guess], NAMES)
        plots.evaluation(Evaluation(task, measured.metrics, [guess], measured), [given], NAMES, report)  # type: ignore[arg-type, list-item]
        assert (report / "predictions.png").is_file()
        assert (report / WORST_FILE).is_file() == (name == "wrong")
        if task in ("classify", "multilabel"):
            assert {"precision_recall.png", "calibration.png"} <= {path.name for path in report.iterdir()}


def test_masks_show_an_error_that_boxes_do_not(image: Path) -> None:
    """The box is right, the mask is not."""
    given, _, wrong = _tasks(image, image.parent)["segment"]
    assert isinstance(wrong, Segments)
    measured = load("segment").measure([given], [wrong], NAMES)
    errors = worst([given], [wrong], 0.5, measured.outlines)
    assert [tuple(error.match) for error in errors] == [(0, None), (None, 0), (None, 1), (1, 2)]
    assert not [error for error in worst([given], [wrong], 0.5) if error.match.truth == 0]
    painted = segment.error_image(given, measured.outlines[0], errors[1].match)
    changed = (painted != decode(image.read_bytes())).any(axis=2)
    assert changed[:5, :20].all()
    assert not changed[5:].any()


def test_bins_are_those_of_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet((0.5, 0.5, 0.5), 200).astype(np.float32)
    labels = rng.integers(0, 3, 200)
    count, mean, share = _scores.bins(probabilities.max(axis=1), probabilities.argmax(axis=1) == labels)
    assert (count.sum(), len(count)) == (200, BINS)
    error = accuracy(labels, probabilities)["calibration_error"]
    assert float((np.abs(mean - share) * count).sum() / 200) == pytest.approx(error, abs=1e-6)


def test_curves_are_of_the_epochs_that_have_them(tmp_path: Path) -> None:
    history = [{"train/loss": 3.0 / epoch, "lr": 0.1} for epoch in range(1, 7)]
    plots.curves(history, tmp_path / "losses.png")
    with_metrics = [{**epoch, **({"val/mIoU": 0.1 * place} if place % 2 else {})} for place, epoch in enumerate(history)]
    plots.curves(with_metrics, tmp_path / "metrics.png")
    sizes = [len((tmp_path / name).read_bytes()) for name in ("losses.png", "metrics.png")]
    assert sizes[1] > 1.3 * sizes[0]
