"""Semantic segmentation: IoU, Dice and pixel accuracy over all pixels of all images, by torchmetrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.postprocess.semantic import ClassMap
from tasks.masks import IGNORE, read_ids
from tasks.metrics import Measured
from tasks.tables import Sample

FITNESS: Final = "mIoU"
COLUMNS: Final = ("mIoU", "pixel_accuracy", "dice")
PER_CLASS: Final = ("IoU", "dice")


@dataclass(frozen=True)
class Overlap(Measured):
    """How far predicted and true pixels overlap.

    Attributes:
        metrics: `mIoU`, `pixel_accuracy`, `dice`, and `IoU/<class>` and `dice/<class>`.
        confusion: Counts of pixels, int64 (C, C), of (true, predicted).
    """

    confusion: NDArray[np.int64]


def measure(samples: Sequence[Sample], found: Sequence[ClassMap], classes: Sequence[str]) -> Overlap:
    """Measures class maps against the ground truth, at the resolution of the dataset's masks.

    Pixels of 255 in a mask do not count. A class that is neither in the masks nor predicted is left out of the means.

    Args:
        samples: The ground truth.
        found: The class map of each sample.
        classes: Class names.
    """
    import torch

    metrics = _metrics(len(classes))
    for sample, result in zip(samples, found, strict=True):
        assert sample.mask is not None
        pair = torch.from_numpy(result.class_map), torch.from_numpy(read_ids(sample.mask))
        for metric in metrics.values():
            metric.update(*(tensor.long().flatten() for tensor in pair))
    values = {name: metric.compute() for name, metric in metrics.items()}
    confusion = values["confusion"].numpy().astype(np.int64)
    present = [index for index in range(len(classes)) if confusion[index].sum() + confusion[:, index].sum()]
    return Overlap(
        {
            "mIoU": float(values["IoU"][present].mean()) if present else 0.0,
            "pixel_accuracy": float(values["pixel_accuracy"]),
            "dice": float(values["dice"][present].mean()) if present else 0.0,
            **{f"{name}/{classes[index]}": float(values[name][index]) for name in PER_CLASS for index in present},
        },
        confusion,
    )


def _metrics(classes: int) -> dict[str, Any]:
    from torchmetrics.classification import (
        MulticlassAccuracy,
        MulticlassConfusionMatrix,
        MulticlassF1Score,
        MulticlassJaccardIndex,
    )

    shared = {"num_classes": classes, "ignore_index": IGNORE, "validate_args": False}
    return {
        "confusion": MulticlassConfusionMatrix(**shared),
        "IoU": MulticlassJaccardIndex(**shared, average=None),
        "dice": MulticlassF1Score(**shared, average=None),  # the Dice coefficient of a class is its f1 over pixels
        "pixel_accuracy": MulticlassAccuracy(**shared, average="micro"),
    }
