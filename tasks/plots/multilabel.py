"""Multi-label classification: curves of the scores, and images with their classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.postprocess.multilabel import Labels
from sightline.preprocess import decode
from tasks.metrics.multilabel import THRESHOLD, Precisions
from tasks.plots import SHOWN, WORST_FILE, Picture, _scores, gallery, spread
from tasks.tables import Sample


def draw(
    samples: Sequence[Sample], found: Sequence[Labels], measured: Precisions, classes: Sequence[str], report: Path
) -> None:
    """Writes precision_recall.png, calibration.png, predictions.png, and the images with the scores furthest from the truth."""
    scores, truth = (dict(zip(classes, values.T, strict=True)) for values in (measured.scores, measured.truth))
    _scores.precision_recall(scores, truth, f"mAP {measured.metrics['mAP']:.3f}", report / "precision_recall.png")
    each, error = "images and classes", measured.metrics["calibration_error"]
    _scores.reliability(measured.scores.ravel(), measured.truth.ravel(), error, each, report / "calibration.png")
    wrong = np.flatnonzero(((measured.scores > THRESHOLD) != measured.truth).any(axis=1))
    far = np.abs(measured.scores - measured.truth).max(axis=1)
    worst = wrong[np.argsort(-far[wrong], kind="stable")].tolist()
    for name, indices in {"predictions.png": spread(len(samples), 2 * SHOWN), WORST_FILE: worst[: 2 * SHOWN]}.items():
        if indices:
            pictures = [_picture(samples[each], measured.scores[each], measured.truth[each], classes) for each in indices]
            gallery(pictures, SHOWN // 2, 2.6, report / name)


def _picture(sample: Sample, scores: NDArray[np.float32], truth: NDArray[np.bool_], classes: Sequence[str]) -> Picture:
    """An image with the classes that were found; those that are too many or missing are named."""
    names = [
        f"{'not ' if not true else 'missed ' if not got else ''}{name}"
        for name, got, true in zip(classes, scores > THRESHOLD, truth, strict=True)
        if got or true
    ]
    is_right = bool(((scores > THRESHOLD) == truth).all())
    return Picture(decode(sample.path.read_bytes()), ", ".join(names) or "no class", is_right)
