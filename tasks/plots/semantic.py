"""Semantic segmentation: the confusion matrix of pixels, and class maps beside the ground truth."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from sightline.postprocess.semantic import ClassMap, palette
from sightline.preprocess import decode
from tasks.masks import IGNORE, read_ids
from tasks.metrics.semantic import Overlap
from tasks.plots import confusion_matrix, save, spread
from tasks.tables import Sample


def draw(samples: Sequence[Sample], found: Sequence[ClassMap], measured: Overlap, classes: Sequence[str], report: Path) -> None:
    """Writes confusion_matrix.png, in shares of the true class's pixels, and predictions.png."""
    shares = measured.confusion / np.maximum(measured.confusion.sum(axis=1, keepdims=True), 1)
    confusion_matrix(shares, classes, report / "confusion_matrix.png")
    class_maps(samples, found, classes, report / "predictions.png")


def class_maps(samples: Sequence[Sample], found: Sequence[ClassMap], classes: Sequence[str], path: Path) -> None:
    """Images, each beside what is true and what was predicted; ignored pixels are white."""
    chosen = spread(len(samples))
    figure = Figure(figsize=(9, 2.3 * len(chosen) + 0.6), layout="constrained")
    grid = figure.subplots(len(chosen), 3, squeeze=False)
    for axes, index in zip(grid, chosen, strict=True):
        sample = samples[index]
        assert sample.mask is not None
        pictures = decode(sample.path.read_bytes()), coloured(read_ids(sample.mask)), coloured(found[index].class_map)
        for place, picture, title in zip(axes, pictures, (sample.image_id, "true", "predicted"), strict=True):
            place.set_axis_off()
            place.set_title(title, fontsize="small")
            place.imshow(picture)
    colours = palette()[: len(classes)] / 255
    handles = [Patch(color=colour, label=name) for colour, name in zip(colours, classes, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize="small")
    save(figure, path)


def coloured(class_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB of labels, uint8 (H, W)."""
    colours = palette()
    colours[IGNORE] = 255
    return colours[class_map]
