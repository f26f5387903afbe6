"""From a graph's padded outputs to results in the image's own pixels, and to the JSON that the service answers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.contract import ModelDescription
from sightline.engines import Outputs
from sightline.errors import SightlineError
from sightline.preprocess import Placement

TOP_K = 5


@dataclass(frozen=True)
class Detections:
    """The objects found in one image, the best first.

    Attributes:
        boxes: float32 (M, 4) xyxy, absolute pixels of the image.
        scores: float32 (M,), 0-1, descending.
        labels: int64 (M,).
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.scores)


@dataclass(frozen=True)
class Classification:
    """The classes of one image, the best first.

    Attributes:
        labels: int64 (M,).
        scores: float32 (M,), 0-1, descending.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float32]


def detections(outputs: Outputs, index: int, placement: Placement) -> Detections:
    """The detections of image `index` of a batch, in image pixels; the padding (score 0) is dropped.

    Args:
        outputs: `boxes` float32 (N, K, 4) xyxy in input pixels, `scores` float32 (N, K), `labels` int64 (N, K).
        index: Which image of the batch, 0..N-1.
        placement: Where that image lies in its input.
    """
    scores = np.asarray(outputs["scores"][index], np.float32)
    real = np.flatnonzero(scores > 0)
    order = real[np.argsort(-scores[real], kind="stable")]
    boxes = np.asarray(outputs["boxes"][index], np.float32)[order]
    return Detections(placement.to_image(boxes), scores[order], np.asarray(outputs["labels"][index], np.int64)[order])


def classification(outputs: Outputs, index: int, top_k: int = TOP_K) -> Classification:
    """The `top_k` most probable classes of image `index`; equal probabilities keep the order of the labels.

    Args:
        outputs: `probabilities` float32 (N, C).
        index: Which image of the batch, 0..N-1.
        top_k: At most so many classes.
    """
    probabilities = np.asarray(outputs["probabilities"][index], np.float32)
    labels = np.argsort(-probabilities, kind="stable")[:top_k].astype(np.int64)
    return Classification(labels, probabilities[labels])


def to_json(description: ModelDescription, outputs: Outputs, index: int, placement: Placement) -> dict[str, Any]:
    """The answer for image `index` of a batch: `task`, `width` and `height` of the image, and `detections` or `classes`.

    Raises:
        SightlineError: The description's task has no JSON form yet.
    """
    answer: dict[str, Any] = {"task": description.task, "width": placement.width, "height": placement.height}
    if description.task == "detect":
        found = detections(outputs, index, placement)
        named = _named(description.classes, found.labels, found.scores)
        boxes = [[round(value, 2) for value in box] for box in found.boxes.tolist()]
        return {**answer, "detections": [{"box": box, **entry} for box, entry in zip(boxes, named, strict=True)]}
    if description.task == "classify":
        best = classification(outputs, index)
        return {**answer, "classes": _named(description.classes, best.labels, best.scores)}
    raise SightlineError(f"task {description.task}: got no JSON form, expected classify or detect: use another model")


def _named(classes: Sequence[str], labels: NDArray[np.int64], scores: NDArray[np.float32]) -> list[dict[str, Any]]:
    return [
        {"label": label, "name": classes[label], "score": round(score, 6)}
        for label, score in zip(labels.tolist(), scores.tolist(), strict=True)
    ]
