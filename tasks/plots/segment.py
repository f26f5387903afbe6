"""Instance segmentation: what a detector shows, of masks, and the masks drawn on the images."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray

from sightline.postprocess.segment import Segments
from sightline.preprocess import decode
from tasks.masks import decode_rle
from tasks.metrics.segment import MaskAverage
from tasks.plots.detect import detections, figures, shown
from tasks.tables import Sample

OPACITY: Final = 0.5


def draw(
    samples: Sequence[Sample], found: Sequence[Segments], measured: MaskAverage, classes: Sequence[str], report: Path
) -> None:
    """Writes confusion_matrix.png, precision_recall.png, predictions.png and the worst errors."""
    conf = measured.metrics["conf"]
    figures(samples, found, measured, classes, report, measured.outlines)
    truth, guesses = [], []
    for sample, result, outlines in zip(shown(samples), shown(found), shown(measured.outlines), strict=True):
        image = decode(sample.path.read_bytes())
        kept = np.flatnonzero(result.scores >= conf).tolist()
        truth.append(paint(image, outlines.truth, sample.labels))
        guesses.append(paint(image, [result.masks[index] for index in kept], result.labels[kept]))
    detections(shown(samples), shown(found), classes, conf, report / "predictions.png", truth, guesses)


def paint(image: NDArray[np.uint8], masks: Sequence[str], labels: Iterable[np.int64]) -> NDArray[np.uint8]:
    """The image, uint8 (H, W, 3) RGB, with masks in the colours of their labels, the last below."""
    painted = image.astype(np.float64)
    palette = mpl.colormaps["tab10"]
    for mask, label in reversed(list(zip(masks, labels, strict=True))):
        inside = decode_rle(mask, (image.shape[1], image.shape[0]))
        painted[inside] = (1 - OPACITY) * image[inside] + OPACITY * 255 * np.array(palette(int(label) % 10)[:3])
    return painted.astype(np.uint8)
