"""Pictures for reports. The same content gives the same bytes: no date, no version."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from sightline.postprocess import Classification, Detections
from sightline.preprocess import decode
from tasks.evaluate import Evaluation
from tasks.metrics import RECALLS, detection_confusion
from tasks.tables import Sample

SHOWN: Final = 8
"""Images in a picture of predictions."""


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG without metadata."""
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None})


def losses(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Training losses and learning rate over epochs."""
    names = list(history[0])
    figure = Figure(figsize=(3.2 * len(names), 2.8), layout="constrained")
    for axes, name in zip(np.atleast_1d(figure.subplots(1, len(names))), names, strict=True):
        axes.plot(range(1, len(history) + 1), [epoch[name] for epoch in history], marker=".")
        axes.set(title=name, xlabel="epoch")
        axes.grid(alpha=0.3)
    save(figure, path)


def evaluation(result: Evaluation, samples: Sequence[Sample], classes: Sequence[str], report: Path) -> None:
    """What there is to see of an evaluation: confusion_matrix.png, predictions.png, and a detector's precision_recall.png."""
    found = [item for item in result.predictions if isinstance(item, Detections)]
    if found:
        conf = result.metrics["conf"]
        matrix = detection_confusion(samples, found, len(classes), conf)
        confusion_matrix(matrix, [*classes, "background"], report / "confusion_matrix.png")
        precision_recall(result.curves, report / "precision_recall.png")
        detections(samples, found, classes, conf, report / "predictions.png")
        return
    classified = [item for item in result.predictions if isinstance(item, Classification)]
    matrix = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(matrix, ([sample.labels[0] for sample in samples], [item.labels[0] for item in classified]), 1)
    confusion_matrix(matrix, classes, report / "confusion_matrix.png")
    classifications(samples, classified, classes, report / "predictions.png")


def precision_recall(curves: Mapping[str, NDArray[np.float64]], path: Path) -> None:
    """Precision over recall at an IoU of 0.5; each class's AP50 in the legend."""
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, precision in curves.items():
        axes.plot(RECALLS, precision, linewidth=1.2, label=f"{name} {precision.mean():.3f}")
    if curves:
        mean = np.mean(list(curves.values()), axis=0)
        axes.plot(RECALLS, mean, color="black", linewidth=2.5, label=f"mAP50 {mean.mean():.3f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="precision and recall at IoU 0.5")
    axes.grid(alpha=0.3)
    if len(curves) <= 20:
        axes.legend(fontsize="small")
    save(figure, path)


def confusion_matrix(matrix: NDArray[np.int64], names: Sequence[str], path: Path) -> None:
    """Counts of (true, predicted), coloured by their share of the true class.

    Args:
        matrix: int64 (C, C), rows true, columns predicted.
        names: What the rows and columns are.
        path: The PNG.
    """
    side = min(16.0, 2.5 + 0.75 * len(names))
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.subplots()
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    axes.set(xticks=range(len(names)), yticks=range(len(names)), xlabel="predicted", ylabel="true")
    axes.set_xticklabels(names, rotation=45, ha="right")
    axes.set_yticklabels(names)
    if len(names) <= 30:
        for row, column in np.ndindex(matrix.shape):
            colour = "white" if share[row, column] > 0.5 else "black"
            axes.text(column, row, str(matrix[row, column]), ha="center", va="center", color=colour, fontsize="small")
    save(figure, path)


def detections(samples: Sequence[Sample], found: Sequence[Detections], classes: Sequence[str], conf: float, path: Path) -> None:
    """The ground truth above, what was found at `conf` below."""
    chosen = _spread(len(samples))
    figure = Figure(figsize=(4.2 * len(chosen) / 2, 13), layout="constrained")
    grid = figure.subplots(4, (len(chosen) + 1) // 2, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, index in enumerate(chosen):
        sample, result = samples[index], found[index]
        image = decode(sample.path.read_bytes())
        row, column = 2 * (place // grid.shape[1]), place % grid.shape[1]
        truth, predicted = grid[row, column], grid[row + 1, column]
        truth.set_title(f"true: {sample.image_id}", fontsize="small")
        predicted.set_title(f"predicted at {conf:.2f}", fontsize="small")
        _draw(truth, image, sample.boxes, [classes[int(label)] for label in sample.labels], sample.labels)
        kept = result.scores >= conf
        texts = [
            f"{classes[int(label)]} {score:.2f}" for label, score in zip(result.labels[kept], result.scores[kept], strict=True)
        ]
        _draw(predicted, image, result.boxes[kept], texts, result.labels[kept])
    save(figure, path)


def classifications(samples: Sequence[Sample], found: Sequence[Classification], classes: Sequence[str], path: Path) -> None:
    """Images with what they were taken for; mistakes in red, with what is true."""
    chosen = _spread(len(samples), 4 * SHOWN)
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


def trials(fitness: Sequence[float], path: Path) -> None:
    """Fitness by trial, the baseline first, and the best so far."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    numbers = range(len(fitness))
    axes.step(numbers, np.maximum.accumulate(np.asarray(fitness)), where="post", label="best so far", color="tab:green")
    axes.scatter(numbers[1:], fitness[1:], label="trial", zorder=3)
    axes.scatter([0], fitness[:1], marker="s", color="black", label="baseline", zorder=3)
    axes.set(xlabel="trial", ylabel="fitness")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    save(figure, path)


def _spread(count: int, shown: int = SHOWN) -> list[int]:
    """Indices of up to `shown` of `count` items, evenly spread."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(shown, count))})


def _draw(axes: Any, image: NDArray[np.uint8], boxes: NDArray[Any], texts: Sequence[str], labels: NDArray[np.int64]) -> None:
    """Boxes, xyxy in pixels, on uint8 (H, W, 3) RGB, a colour for each label."""
    axes.imshow(image)
    palette = mpl.colormaps["tab10"]
    for (xmin, ymin, xmax, ymax), text, label in zip(boxes, texts, labels, strict=True):
        colour = palette(int(label) % 10)
        axes.add_patch(Rectangle((xmin, ymin), xmax - xmin, ymax - ymin, fill=False, edgecolor=colour, linewidth=1.4))
        axes.text(xmin, ymin - 2, text, color=colour, fontsize="xx-small", clip_on=True)
