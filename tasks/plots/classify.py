"""Classification: the confusion matrix, and images with what they were taken for."""

from collections.abc import Sequence
from pathlib import Path

from sightline.postprocess.classify import Classification
from sightline.preprocess import decode
from tasks.metrics.classify import Accuracy
from tasks.plots import SHOWN, WORST_FILE, Picture, confusion_matrix, gallery, spread
from tasks.tables import Sample


def draw(
    samples: Sequence[Sample], found: Sequence[Classification], measured: Accuracy, classes: Sequence[str], report: Path
) -> None:
    """Writes confusion_matrix.png, predictions.png, and the mistakes of the greatest confidence."""
    confusion_matrix(measured.confusion, classes, report / "confusion_matrix.png")
    wrong = [index for index, (sample, result) in enumerate(zip(samples, found, strict=True)) if not _is_right(sample, result)]
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
