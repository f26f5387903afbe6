"""Instance segmentation: what a detector shows, of masks, and the masks drawn on the images."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from sightline.postprocess.segment import Segments
from sightline.preprocess import decode
from tasks.masks import decode_rle
from tasks.metrics.detect import Match, Outlines
from tasks.metrics.segment import MaskAverage
from tasks.plots.detect import detections, figures, shown
from tasks.tables import Sample

OPACITY: Final = 0.5
Colour = tuple[float, float, float]
"""Red, green and blue, 0-1."""


def draw(
    samples: Sequence[Sample], found: Sequence[Segments], measured: MaskAverage, classes: Sequence[str], report: Path
) -> None:
    """Writes confusion_matrix.png, precision_recall.png, predictions.png and the worst errors."""
    conf = measured.metrics["conf"]
    figures(samples, found, measured, classes, report, measured.outlines, error_image)
    truth, guesses = [], []
    for sample, result, outlines in zip(shown(samples), shown(found), shown(measured.outlines), strict=True):
        image = decode(sample.path.read_bytes())
        kept = np.flatnonzero(result.scores >= conf).tolist()
        truth.append(paint(image, outlines.truth, _colours(sample.labels)))
        guesses.append(paint(image, [result.masks[index] for index in kept], _colours(result.labels[kept])))
    detections(shown(samples), shown(found), classes, conf, report / "predictions.png", truth, guesses)


def error_image(sample: Sample, outlines: Outlines, match: Match) -> NDArray[np.uint8]:
    """The image of an error, uint8 (H, W, 3) RGB, with the mask in question green and what was found red over it."""
    masks = [] if match.found is None else [outlines.found[match.found]]
    colours = ["red"] * len(masks)
    if match.truth is not None:
        masks, colours = [*masks, outlines.truth[match.truth]], [*colours, "lime"]
    return paint(decode(sample.path.read_bytes()), masks, [to_rgb(colour) for colour in colours])


def _colours(labels: Iterable[np.int64]) -> list[Colour]:
    """A colour for each label."""
    palette = mpl.colormaps["tab10"]
    return [palette(int(label) % 10)[:3] for label in labels]


def paint(image: NDArray[np.uint8], masks: Sequence[str], colours: Sequence[Colour]) -> NDArray[np.uint8]:
    """The image, uint8 (H, W, 3) RGB, with masks in their colours, the last below."""
    painted = image.astype(np.float64)
    for mask, colour in reversed(list(zip(masks, colours, strict=True))):
        inside = decode_rle(mask, (image.shape[1], image.shape[0]))
        painted[inside] = (1 - OPACITY) * image[inside] + OPACITY * 255 * np.array(colour)
    return painted.astype(np.uint8)
