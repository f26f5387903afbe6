"""Multi-label classification: average precision, f1 and calibration, by torchmetrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.postprocess.multilabel import Labels
from tasks.metrics import Measured
from tasks.metrics.classify import BINS
from tasks.tables import Sample

FITNESS: Final = "mAP"
COLUMNS: Final = ("mAP", "f1", "metric/precision", "recall", "exact_match", "calibration_error")
PER_CLASS: Final = ("AP",)
THRESHOLD: Final = 0.5
"""Above it a class counts as found, where scores do not count themselves."""


@dataclass(frozen=True)
class Precisions(Measured):
    """How good the classes are.

    Attributes:
        metrics: `mAP`, the mean of `AP/<class>` over the classes that a sample shows; `f1`, `precision` and `recall` over all
            labels together, and `exact_match`, the share of samples with all classes right, at `THRESHOLD`; and
            `calibration_error`, the mean distance between a score and how often it is right, over all labels together, as of
            classification.
        truth: bool (M, C).
        scores: float32 (M, C), 0-1.
    """

    truth: NDArray[np.bool_]
    scores: NDArray[np.float32]


def measure(samples: Sequence[Sample], found: Sequence[Labels], classes: Sequence[str]) -> Precisions:
    """Measures the scores of each class."""
    import torch
    from torchmetrics.functional.classification import (
        binary_average_precision,
        binary_calibration_error,
        binary_f1_score,
        binary_precision,
        binary_recall,
        multilabel_exact_match,
    )

    truth, scores = _tables(samples, found, len(classes))
    pair = torch.from_numpy(scores), torch.from_numpy(truth).long()
    flat = pair[0].flatten(), pair[1].flatten()
    shown = {
        name: float(binary_average_precision(pair[0][:, index], pair[1][:, index]))
        for index, name in enumerate(classes)
        if truth[:, index].any()
    }
    metrics = {
        "mAP": float(np.mean(list(shown.values()))) if shown else 0.0,
        "f1": float(binary_f1_score(*flat, threshold=THRESHOLD)),
        "precision": float(binary_precision(*flat, threshold=THRESHOLD)),
        "recall": float(binary_recall(*flat, threshold=THRESHOLD)),
        "exact_match": float(multilabel_exact_match(*pair, num_labels=len(classes), threshold=THRESHOLD)),
        "calibration_error": float(binary_calibration_error(*flat, n_bins=BINS)),
        **{f"AP/{name}": value for name, value in shown.items()},
    }
    return Precisions(metrics, truth, scores)


def f1_at(samples: Sequence[Sample], found: Sequence[Labels], classes: Sequence[str], conf: float) -> float:
    """F1 of the labels of at least `conf`, 0-1, all classes together."""
    truth, scores = _tables(samples, found, len(classes))
    chosen = scores >= conf
    return float(2 * (truth & chosen).sum() / max(1, truth.sum() + chosen.sum()))


def _tables(samples: Sequence[Sample], found: Sequence[Labels], classes: int) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """The truth bool (M, C) and the scores float32 (M, C)."""
    truth = np.zeros((len(samples), classes), bool)
    scores = np.zeros((len(samples), classes), np.float32)
    for row, (sample, result) in enumerate(zip(samples, found, strict=True)):
        truth[row, sample.labels] = True
        scores[row, result.labels] = result.scores
    return truth, scores
