"""Classification: accuracy and f1, by torchmetrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.postprocess.classify import Classification
from tasks.metrics import Measured
from tasks.tables import Sample

FITNESS: Final = "accuracy_top1"
COLUMNS: Final = ("accuracy_top1", "f1")
PER_CLASS: Final = ()


@dataclass(frozen=True)
class Accuracy(Measured):
    """Accuracy.

    Attributes:
        metrics: `accuracy_top1`, and `f1`, the mean over the classes.
        confusion: Counts int64 (C, C) of (true, predicted).
    """

    confusion: NDArray[np.int64]


def measure(samples: Sequence[Sample], found: Sequence[Classification], classes: Sequence[str]) -> Accuracy:
    """Measures the most probable class of each sample."""
    labels = np.array([sample.labels[0] for sample in samples], np.int64)
    predicted = np.array([result.labels[0] for result in found], np.int64)
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    np.add.at(confusion, (labels, predicted), 1)
    return Accuracy(accuracy(labels, predicted, len(classes)), confusion)


def accuracy(labels: NDArray[np.int64], predicted: NDArray[np.int64], classes: int) -> dict[str, float]:
    """`accuracy_top1`, and `f1`, the mean over the classes.

    Args:
        labels: int64 (M,), the ground truth.
        predicted: int64 (M,), the most probable class of each image.
        classes: C.
    """
    import torch
    from torchmetrics.functional.classification import multiclass_accuracy, multiclass_f1_score

    pair = torch.from_numpy(predicted), torch.from_numpy(labels)
    return {
        "accuracy_top1": float(multiclass_accuracy(*pair, num_classes=classes, average="micro")),
        "f1": float(multiclass_f1_score(*pair, num_classes=classes, average="macro")),
    }
