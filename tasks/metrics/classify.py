"""Classification: accuracy, precision, recall, f1 and calibration, by torchmetrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.postprocess.classify import TOP_K, Classification
from tasks.metrics import Measured
from tasks.tables import Sample

FITNESS: Final = "accuracy_top1"
COLUMNS: Final = ("accuracy_top1", "accuracy_top5", "metric/precision", "recall", "f1", "calibration_error")
PER_CLASS: Final = ()
BINS: Final = 15
"""Bins of confidence of the calibration error (Guo et al., 2017, ICML, "On calibration of modern neural networks")."""


@dataclass(frozen=True)
class Accuracy(Measured):
    """Accuracy.

    Attributes:
        metrics: See `accuracy`.
        confusion: Counts int64 (C, C) of (true, predicted).
        probabilities: float32 (M, C), 0-1; 0 but for the greatest `TOP_K` of a row.
    """

    confusion: NDArray[np.int64]
    probabilities: NDArray[np.float32]


def measure(samples: Sequence[Sample], found: Sequence[Classification], classes: Sequence[str]) -> Accuracy:
    """Measures the most probable classes of each sample."""
    labels = np.array([sample.labels[0] for sample in samples], np.int64)
    probabilities = np.zeros((len(samples), len(classes)), np.float32)
    for row, result in enumerate(found):
        probabilities[row, result.labels] = result.scores
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, [result.labels[0] for result in found]), 1)
    return Accuracy(accuracy(labels, probabilities), confusion, probabilities)


def accuracy(labels: NDArray[np.int64], probabilities: NDArray[np.float32]) -> dict[str, float]:
    """How often the most probable class is the true one, and how far its probability tells that.

    Args:
        labels: int64 (M,), the ground truth.
        probabilities: float32 (M, C), 0-1; only the greatest `TOP_K` of a row count.

    Returns:
        `accuracy_top1`; `accuracy_top5` where there are more classes; `precision`, `recall` and `f1`, means over the classes;
        and `calibration_error`, the mean distance between confidence and accuracy over `BINS` bins, weighted by their images.
    """
    import torch
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_calibration_error,
        multiclass_f1_score,
        multiclass_precision,
        multiclass_recall,
    )

    pair = torch.from_numpy(probabilities), torch.from_numpy(labels)
    classes = probabilities.shape[1]
    top5 = {"accuracy_top5": multiclass_accuracy(*pair, classes, top_k=TOP_K, average="micro")} if classes > TOP_K else {}
    values = {
        "accuracy_top1": multiclass_accuracy(*pair, classes, average="micro"),
        **top5,
        "precision": multiclass_precision(*pair, classes),
        "recall": multiclass_recall(*pair, classes),
        "f1": multiclass_f1_score(*pair, classes),
        "calibration_error": multiclass_calibration_error(*pair, classes, n_bins=BINS),
    }
    return {name: float(value) for name, value in values.items()}
