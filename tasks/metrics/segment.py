"""Instance segmentation: COCO's figures of masks, and of their boxes beside them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sightline.postprocess.segment import Segments
from tasks.metrics import detect
from tasks.metrics.detect import Average, Outlines, average
from tasks.shapes import rle_of
from tasks.tables import Sample

FITNESS: Final = "mAP50-95"
COLUMNS: Final = (
    "mAP50", "mAP75", "mAP50-95", "metric/precision", "recall", "f1", "box_mAP50", "box_mAP75", "box_mAP50-95",
)  # fmt: skip
PER_CLASS: Final = ("AP50", "AP50-95")


@dataclass(frozen=True)
class MaskAverage(Average):
    """Average precision of masks as COCO defines it, under the names that a detector's boxes have.

    Attributes:
        metrics: As a detector's; and that of the boxes, `box_mAP50`, `box_mAP75` and `box_mAP50-95`.
        outlines: The masks of each sample.
    """

    outlines: Sequence[Outlines]


def measure(samples: Sequence[Sample], found: Sequence[Segments], classes: Sequence[str]) -> MaskAverage:
    """Measures masks against the ground truth; see `tasks.metrics.detect.average`.

    Raises:
        SightlineError: An object has no outline.
    """
    outlines = _outlines(samples, found)
    masks, boxes = average(samples, found, classes, outlines), average(samples, found, classes)
    of_boxes = {f"box_{name}": boxes.metrics[name] for name in ("mAP50", "mAP75", "mAP50-95")}
    return MaskAverage({**masks.metrics, **of_boxes}, masks.curves, outlines)


def f1_at(samples: Sequence[Sample], found: Sequence[Segments], classes: Sequence[str], conf: float) -> float:
    """F1 of the objects of at least `conf`, 0-1, by the overlap of masks; see `tasks.metrics.detect.f1_at`.

    Raises:
        SightlineError: An object has no outline.
    """
    return detect.f1_at(samples, found, classes, conf, _outlines(samples, found))


def _outlines(samples: Sequence[Sample], found: Sequence[Segments]) -> list[Outlines]:
    return [
        Outlines([rle_of(sample, index) for index in range(len(sample.labels))], result.masks)
        for sample, result in zip(samples, found, strict=True)
    ]
