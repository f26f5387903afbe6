"""Classification: the confusion matrix, curves of the scores, and images with what they were taken for."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sightline.postprocess.classify import TOP_K, Classification
from sightline.preprocess import decode
from tasks.metrics.classify import Accuracy
from tasks.plots import SHOWN, WORST_FILE, Picture, _scores, confusion_matrix, gallery, spread
from tasks.tables import Sample


def draw(
    samples: Sequence[Sample], found: Sequence[Classification], measured: Accuracy, classes: Sequence[str], report: Path
) -> None:
    """Writes confusion_matrix.png, precision_recall.png, calibration.png, predictions.png, and the surest mistakes."""
    confusion_matrix(measured.confusion, classes, report / "confusion_matrix.png")
    labels = np.array([sample.labels[0] for sample in samples])
    scores = dict(zip(classes, measured.probabilities.T, strict=True))
    title = "precision and recall, a class against the others"
    title += f"\n(of an image the best {TOP_K} scores count)" if len(classes) > TOP_K else ""
    _scores.precision_recall(
        scores, {name: labels == index for index, name in enumerate(classes)}, title, report / "precision_recall.png"
    )
    is_right = np.array([_is_right(sample, result) for sample, result in zip(samples, found, strict=True)])
    error = measured.metrics["calibration_error"]
    _scores.reliability(measured.probabilities.max(axis=1), is_right, error, "images", report / "calibration.png")
    wrong = np.flatnonzero(~is_right).tolist()
    wrong.sort(key=lambda index: -float(found[index].scores[0]))
    chosen = {"predictions.png": spread(len(samples), 4 * SHOWN), WORST_FILE: wrong[: 4 * SHOWN]}
    for name, indices in chosen.items():
        if indices:
            pictures = [_picture(samples[index], found[index], classes) for index in indices]
            gallery(pictures, SHOWN, 1.6, report / name)


def _is_right(sample: Sample, result: Classification) -> bool:
    return int(sample.labels[0]) == int(result.labels[0])


def _picture(sample: Sample, result: Classification, classes: Sequence[str]) -> Picture:
    """An image with what it was taken for, and with what is true where that is another class."""
    text, is_right = f"{classes[int(result.labels[0])]} {result.scores[0]:.2f}", _is_right(sample, result)
    title = text if is_right else f"{text}\ntrue: {classes[int(sample.labels[0])]}"
    return Picture(decode(sample.path.read_bytes()), title, is_right)
