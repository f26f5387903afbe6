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
from tasks.plots import SHOWN, WORST_FILE, confusion_matrix, save, spread
from tasks.tables import Sample


def draw(samples: Sequence[Sample], found: Sequence[ClassMap], measured: Overlap, classes: Sequence[str], report: Path) -> None:
    """Writes confusion_matrix.png, in shares of the true class's pixels, predictions.png, and the images with most errors."""
    shares = measured.confusion / np.maximum(measured.confusion.sum(axis=1, keepdims=True), 1)
    confusion_matrix(shares, classes, report / "confusion_matrix.png")
    wrong = [float(_is_wrong(_truth(sample), result).mean()) for sample, result in zip(samples, found, strict=True)]
    worst = [index for index in np.argsort(np.negative(wrong), kind="stable").tolist() if wrong[index]]
    for name, chosen in {"predictions.png": spread(len(samples)), WORST_FILE: worst[:SHOWN]}.items():
        if chosen:
            class_maps([samples[index] for index in chosen], [found[index] for index in chosen], classes, report / name)


def class_maps(samples: Sequence[Sample], found: Sequence[ClassMap], classes: Sequence[str], path: Path) -> None:
    """Images, each beside what is true, what was predicted, and where that is wrong; ignored pixels are white."""
    figure = Figure(figsize=(12, 2.3 * len(samples) + 0.6), layout="constrained")
    grid = figure.subplots(len(samples), 4, squeeze=False)
    for axes, sample, result in zip(grid, samples, found, strict=True):
        truth, image = _truth(sample), decode(sample.path.read_bytes())
        wrong = _is_wrong(truth, result)
        errors = np.where(wrong[..., None], np.array((220, 30, 30), np.uint8), 96 + image // 4)
        pictures = image, coloured(truth), coloured(result.class_map), errors
        titles = sample.image_id, "true", "predicted", f"wrong: {wrong.mean():.1%}"
        for place, picture, title in zip(axes, pictures, titles, strict=True):
            place.set_axis_off()
            place.set_title(title, fontsize="small")
            place.imshow(picture)
    colours = palette()[: len(classes)] / 255
    handles = [Patch(color=colour, label=name) for colour, name in zip(colours, classes, strict=True)]
    figure.legend(handles=handles, loc="outside lower center", ncols=6, fontsize="small")
    save(figure, path)


def _truth(sample: Sample) -> NDArray[np.uint8]:
    assert sample.mask is not None
    return read_ids(sample.mask)


def _is_wrong(truth: NDArray[np.uint8], result: ClassMap) -> NDArray[np.bool_]:
    """Which pixels of a mask, bool (H, W), are of another class than was predicted; ignored ones are not."""
    wrong: NDArray[np.bool_] = (truth != result.class_map) & (truth != IGNORE)
    return wrong


def coloured(class_map: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """uint8 (H, W, 3) RGB of labels, uint8 (H, W)."""
    colours = palette()
    colours[IGNORE] = 255
    return colours[class_map]
