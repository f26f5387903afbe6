"""Classification: the confusion matrix, and images with what they were taken for."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from sightline.postprocess.classify import Classification
from sightline.preprocess import decode
from tasks.metrics.classify import Accuracy
from tasks.plots import SHOWN, confusion_matrix, save, spread
from tasks.tables import Sample


def draw(
    samples: Sequence[Sample], found: Sequence[Classification], measured: Accuracy, classes: Sequence[str], report: Path
) -> None:
    """Writes confusion_matrix.png and predictions.png."""
    confusion_matrix(measured.confusion, classes, report / "confusion_matrix.png")
    classifications(samples, found, classes, report / "predictions.png")


def classifications(samples: Sequence[Sample], found: Sequence[Classification], classes: Sequence[str], path: Path) -> None:
    """Images with what they were taken for; mistakes in red, with what is true."""
    chosen = spread(len(samples), 4 * SHOWN)
    columns = min(SHOWN, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(1.6 * columns, 1.9 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, index in zip(grid.flat, chosen, strict=False):
        truth, result = int(samples[index].labels[0]), found[index]
        guess = int(result.labels[0])
        axes.imshow(decode(samples[index].path.read_bytes()))
        text = f"{classes[guess]} {result.scores[0]:.2f}" + (f"\ntrue: {classes[truth]}" if guess != truth else "")
        axes.set_title(text, color="black" if guess == truth else "red", fontsize="x-small")
    save(figure, path)
