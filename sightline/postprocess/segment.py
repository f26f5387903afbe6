"""Instance segmentation: boxes and masks in the image's pixels."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from sightline.engines import Outputs
from sightline.masks import encode, paste
from sightline.postprocess import detect
from sightline.postprocess.detect import Detections, text
from sightline.preprocess import Placement

__all__ = ["EXAMPLE", "HOW", "Segments", "read", "text"]

HOW: Final = (
    f"{detect.HOW} A mask is COCO's compressed run-length code of the object's pixels in the whole image: "
    "`pycocotools.mask.decode` reads it."
)


@dataclass(frozen=True)
class Segments(Detections):
    """The objects found in one image with their pixels, the best first.

    Attributes:
        masks: For each of the M objects COCO's compressed run-length code of its pixels.
        width: Of the image, pixels.
        height: Of the image, pixels.
    """

    masks: Sequence[str]
    width: int
    height: int

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """`detections`: for each `box`, `label`, `name`, `score` and `mask`, with `size`, height and width, and `counts`."""
        size = [self.height, self.width]
        entries = super().to_json(classes)["detections"]
        masks = ({"size": size, "counts": counts} for counts in self.masks)
        return {"detections": [{**entry, "mask": mask} for entry, mask in zip(entries, masks, strict=True)]}


EXAMPLE: Final = Segments(
    boxes=np.array([[2, 1, 5, 3]], np.float32),
    scores=np.array([0.91], np.float32),
    labels=np.array([0]),
    masks=[encode(np.ones((2, 3), np.bool_), 2, 1, 8, 5)],
    width=8,
    height=5,
)


def read(outputs: Outputs, index: int, placement: Placement) -> Segments:
    """The objects of image `index` of a batch, in image pixels; the padding (score 0) is dropped.

    Args:
        outputs: `boxes` float32 (N, K, 4) xyxy in input pixels, `scores` float32 (N, K), `labels` int64 (N, K), `masks` uint8
            (N, K, M, M).
        index: Which image of the batch, 0..N-1.
        placement: Where that image lies in its input.
    """
    found = detect.read(outputs, index, placement)
    order = detect.real(np.asarray(outputs["scores"][index], np.float32))
    scale = np.array([placement.scale_x, placement.scale_y] * 2, np.float32)
    whole = np.asarray(outputs["boxes"][index], np.float32)[order] / scale  # not clipped: a mask covers all of its box
    width, height = placement.width, placement.height
    masks = [
        encode(*paste(mask, box, width, height), width, height)
        for mask, box in zip(outputs["masks"][index][order], whole, strict=True)
    ]
    return Segments(found.boxes, found.scores, found.labels, masks, width, height)
