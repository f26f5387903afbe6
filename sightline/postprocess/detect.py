"""Detection: boxes in the image's pixels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.engines import Outputs
from sightline.postprocess import Result, named
from sightline.preprocess import Placement

HOW: Final = "Boxes are xyxy in pixels of the image that was sent, the best first; `?conf=0.5` sets another score threshold."


@dataclass(frozen=True)
class Detections(Result):
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

    @property
    def count(self) -> int:
        """The number of objects."""
        return len(self)

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """`detections`: for each `box`, `label`, `name` and `score`."""
        boxes = [[round(value, 2) for value in box] for box in self.boxes.tolist()]
        entries = named(classes, self.labels, self.scores)
        return {"detections": [{"box": box, **entry} for box, entry in zip(boxes, entries, strict=True)]}


EXAMPLE: Final = Detections(np.array([[12.5, 40, 96.25, 88.5]], np.float32), np.array([0.91], np.float32), np.array([0]))


def read(outputs: Outputs, index: int, placement: Placement) -> Detections:
    """The detections of image `index` of a batch, in image pixels; the padding (score 0) is dropped.

    Args:
        outputs: `boxes` float32 (N, K, 4) xyxy in input pixels, `scores` float32 (N, K), `labels` int64 (N, K).
        index: Which image of the batch, 0..N-1.
        placement: Where that image lies in its input.
    """
    scores = np.asarray(outputs["scores"][index], np.float32)
    order = real(scores)
    boxes = np.asarray(outputs["boxes"][index], np.float32)[order]
    return Detections(placement.to_image(boxes), scores[order], np.asarray(outputs["labels"][index], np.int64)[order])


def real(scores: NDArray[np.float32]) -> NDArray[np.intp]:
    """The places of what is no padding in scores float32 (K,), the best first."""
    found = np.flatnonzero(scores > 0)
    return found[np.argsort(-scores[found], kind="stable")]


def text(answer: Mapping[str, Any]) -> str:
    """The number of objects, and a table of them."""
    entries = answer["detections"]
    lines = [f", {len(entries)} {'object' if len(entries) == 1 else 'objects'}"]
    if entries:
        width = max(len(name) for name in ("class", *(entry["name"] for entry in entries)))
        corners = "".join(f"  {corner:>7}" for corner in ("x1", "y1", "x2", "y2"))
        lines.append(f"  score  {'class':<{width}}{corners}")
        for entry in entries:
            box = "".join(f"  {value:7.1f}" for value in entry["box"])
            lines.append(f"  {entry['score']:5.3f}  {entry['name']:<{width}}{box}")
    return "\n".join(lines)
