"""Pictures for reports. The same content gives the same bytes: no date, no version.

What an evaluation shows is one file a task, found by the task's name: `draw(samples, found, measured, classes, report)`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tasks import variants
from tasks.evaluate import Evaluation
from tasks.tables import Sample

SHOWN: Final = 8
"""Images in a picture of predictions."""
CURVES_A_ROW: Final = 5
WORST_FILE: Final = "worst_errors.png"
"""The mistakes that a model is surest of; not written where it makes none."""


class Picture(NamedTuple):
    """One of a gallery.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        title: What stands above it.
        is_right: The title is red where it is not.
    """

    image: NDArray[np.uint8]
    title: str
    is_right: bool = False


def save(figure: Figure, path: Path) -> None:
    """Writes a PNG without metadata, less than a fifth larger than by the default level, in a third of the time."""
    figure.savefig(path, dpi=110, bbox_inches="tight", metadata={"Software": None}, pil_kwargs={"compress_level": 3})


def curves(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Training losses, learning rate and metrics on the validation split over epochs, as far as each epoch has them."""
    names = list(dict.fromkeys(name for epoch in history for name in epoch))
    columns = min(len(names), CURVES_A_ROW)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(3.2 * columns, 2.8 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    for axes, name in zip(grid.flat, names, strict=False):
        points = [(number, epoch[name]) for number, epoch in enumerate(history, 1) if name in epoch]
        axes.plot(*zip(*points, strict=True), marker=".", color="tab:green" if name.startswith("val/") else "tab:blue")
        axes.set(title=name, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
    save(figure, path)


def evaluation(result: Evaluation, samples: Sequence[Sample], classes: Sequence[str], report: Path) -> None:
    """What there is to see of an evaluation: predictions.png, `WORST_FILE` where there are errors, and the task's own."""
    variants.load("plots", result.task, "model.task").draw(samples, result.predictions, result.measured, classes, report)


def confusion_matrix(matrix: NDArray[np.int64] | NDArray[np.float64], names: Sequence[str], path: Path) -> None:
    """Counts of (true, predicted), coloured by their share of the true class.

    Args:
        matrix: int64 (C, C), rows true, columns predicted; or their shares, float64.
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
            text = str(matrix[row, column]) if np.issubdtype(matrix.dtype, np.integer) else f"{matrix[row, column]:.2f}"
            axes.text(column, row, text, ha="center", va="center", color=colour, fontsize="small")
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


def gallery(pictures: Sequence[Picture], columns: int, side: float, path: Path) -> None:
    """Pictures with their titles, row by row.

    Args:
        pictures: At least one.
        columns: Pictures in a row.
        side: Of a picture, inches.
        path: The PNG.
    """
    columns = min(columns, len(pictures))
    rows = -(-len(pictures) // columns)
    figure = Figure(figsize=(side * columns, (side + 0.3) * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, picture in zip(grid.flat, pictures, strict=False):
        axes.imshow(picture.image)
        axes.set_title(picture.title, color="black" if picture.is_right else "red", fontsize="x-small", wrap=True)
    save(figure, path)


def spread(count: int, shown: int = SHOWN) -> list[int]:
    """Indices of up to `shown` of `count` items, evenly spread."""
    return sorted({int(index) for index in np.linspace(0, count - 1, min(shown, count))})
