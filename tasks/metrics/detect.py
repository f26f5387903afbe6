"""Detection: COCO's figures, by pycocotools."""

import contextlib
import io
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.postprocess.detect import Detections
from tasks.metrics import Measured
from tasks.tables import Sample

FITNESS: Final = "mAP50-95"
COLUMNS: Final = ("mAP50", "mAP75", "mAP50-95", "metric/precision", "recall", "f1")
PER_CLASS: Final = ("AP50", "AP50-95")
IOUS: Final = np.linspace(0.5, 0.95, 10)
"""What a detection must overlap its object by, in COCO."""
RECALLS: Final = np.linspace(0, 1, 101)
"""Where COCO interpolates precision."""
MAX_DET: Final = 100
"""Detections of a class and an image that count, as in COCO."""
_COUNTS, _IGNORED = 1.0, 0.0  # areas: pycocotools ignores what lies outside the range of areas, and matches it as usual


@dataclass(frozen=True)
class Average(Measured):
    """Average precision as COCO defines it.

    Attributes:
        metrics: `mAP50`, `mAP75`, `mAP50-95`, `precision`, `recall`, `f1`, `conf`, `AP50/<class>` and `AP50-95/<class>`, all
            0-1.
        curves: Precision, float64 (10, 101) at `IOUS` and `RECALLS`, of each class that has an object.
    """

    curves: dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class Outlines:
    """The masks of one image in COCO's compressed run-length code.

    Attributes:
        truth: Of the sample's objects.
        found: Of what was detected.
    """

    truth: Sequence[str]
    found: Sequence[str]


def measure(samples: Sequence[Sample], found: Sequence[Detections], classes: Sequence[str]) -> Average:
    """Measures detections against the ground truth; see `average`."""
    return average(samples, found, classes)


def average(
    samples: Sequence[Sample],
    found: Sequence[Detections],
    classes: Sequence[str],
    outlines: Sequence[Outlines] | None = None,
) -> Average:
    """Measures detections against the ground truth.

    Crowd regions and VOC's difficult objects are neither hit nor missed. A class without an object in `samples` is left out of
    the means. Precision, recall and f1 are taken at an IoU of 0.5, over all classes together, at the score `conf` where f1 is
    best.

    Args:
        samples: The ground truth.
        found: The detections of each sample, in its pixels.
        classes: Class names.
        outlines: Of each sample; with them overlaps are those of masks, without those of boxes.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = _run_pycocotools(samples, found, len(classes), outlines)
    precision = evaluation.eval["precision"][:, :, :, 0, 0]  # (IoU, recall, class), -1 where the class has no object
    present = [index for index in range(len(classes)) if precision[0, 0, index] >= 0]
    curves = {classes[index]: precision[:, :, index] for index in present}
    average = precision[:, :, present].mean(axis=(1, 2)) if present else np.zeros(len(IOUS))
    metrics = {
        "mAP50": float(average[0]),
        "mAP75": float(average[5]),
        "mAP50-95": float(average.mean()),
        **_best_f1(evaluation),
        **{f"AP50/{name}": float(curve[0].mean()) for name, curve in curves.items()},
        **{f"AP50-95/{name}": float(curve.mean()) for name, curve in curves.items()},
    }
    return Average(metrics, curves)


def _run_pycocotools(
    samples: Sequence[Sample], found: Sequence[Detections], classes: int, outlines: Sequence[Outlines] | None
) -> Any:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    truth: list[dict[str, Any]] = []
    detections: list[dict[str, Any]] = []
    for image, (sample, result) in enumerate(zip(samples, found, strict=True)):
        areas = np.where(sample.difficult, _IGNORED, _COUNTS)
        for box, label, crowd, area in zip(sample.boxes, sample.labels, sample.crowd, areas, strict=True):
            truth.append({**_entry(image, label, box, len(truth)), "iscrowd": int(crowd), "area": area})
        for box, label, score in zip(result.boxes, result.labels, result.scores, strict=True):
            detections.append({**_entry(image, label, box, len(detections)), "score": float(score), "area": _COUNTS})
    if outlines is not None:
        sizes = [(sample.height, sample.width) for sample in samples]
        pairs = (truth, [each.truth for each in outlines]), (detections, [each.found for each in outlines])
        for entries, masks in pairs:
            for entry, counts in zip(entries, itertools.chain.from_iterable(masks), strict=True):
                entry["segmentation"] = {"size": sizes[entry["image_id"]], "counts": counts.encode("ascii")}
    evaluation = COCOeval(iouType="bbox" if outlines is None else "segm")
    for side, annotations in (("cocoGt", truth), ("cocoDt", detections)):
        index = COCO()
        index.dataset = {
            "images": [{"id": image, "width": sample.width, "height": sample.height} for image, sample in enumerate(samples)],
            "categories": [{"id": label} for label in range(classes)],
            "annotations": annotations,
        }
        index.createIndex()
        setattr(evaluation, side, index)
    evaluation.params.imgIds, evaluation.params.catIds = list(range(len(samples))), list(range(classes))
    evaluation.params.maxDets, evaluation.params.areaRng, evaluation.params.areaRngLbl = [MAX_DET], [[0.5, 2.0]], ["all"]
    evaluation.evaluate()
    evaluation.accumulate()
    return evaluation


def _entry(image: int, label: np.int64, box: NDArray[np.floating[Any]], count: int) -> dict[str, Any]:
    xmin, ymin, xmax, ymax = (float(value) for value in box)
    # An id of 0 means "unmatched" to pycocotools.
    return {"id": count + 1, "image_id": image, "category_id": int(label), "bbox": [xmin, ymin, xmax - xmin, ymax - ymin]}


def _best_f1(evaluation: Any) -> dict[str, float]:
    """Precision, recall and f1 over all classes at an IoU of 0.5, at the threshold `conf` where f1 is best."""
    results = [result for result in evaluation.evalImgs if result is not None]
    objects = int(sum(np.count_nonzero(result["gtIgnore"] == 0) for result in results))
    scores = np.concatenate([np.asarray(result["dtScores"], float) for result in results]) if results else np.empty(0)
    if not objects or not len(scores):
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0, "conf": 0.0}
    ignored = np.concatenate([result["dtIgnore"][0] for result in results]).astype(bool)
    matched = np.concatenate([result["dtMatches"][0] for result in results]) > 0
    order = np.argsort(-scores[~ignored], kind="stable")
    hits, scores = np.cumsum(matched[~ignored][order]), scores[~ignored][order]
    if not len(hits):
        return {"precision": 0.0, "recall": 0.0, "f1": 0.0, "conf": 0.0}
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + objects)
    best = int(np.argmax(f1))
    return {
        "precision": float(hits[best] / (best + 1)),
        "recall": float(hits[best] / objects),
        "f1": float(f1[best]),
        "conf": float(scores[best]),
    }


class Match(NamedTuple):
    """An object and what was found there, as `matches` pairs them.

    Attributes:
        truth: Its number in the sample; None where nothing is: a false alarm.
        found: The detection's number; None where there is none: the object is missed.
    """

    truth: int | None
    found: int | None


def matches(sample: Sample, result: Detections, conf: float, iou: float = 0.5, outlines: Outlines | None = None) -> list[Match]:
    """Pairs an image's objects with the detections of at least `conf`.

    Best score first, a detection takes the free object that it overlaps most, of whatever class, from `iou` on. Crowd regions
    and difficult objects do not count, nor do the detections on them. With `outlines` overlaps are those of masks.
    """
    if outlines is None:
        overlaps = box_iou(sample.boxes, result.boxes.astype(np.float64))
    else:
        overlaps = mask_iou(outlines, sample.width, sample.height)
    taken = np.zeros(len(sample.boxes), bool)
    skipped = sample.crowd | sample.difficult
    pairs = []
    for index in np.flatnonzero(result.scores >= conf).tolist():
        free = np.where(taken, 0.0, overlaps[:, index])
        best = int(np.argmax(free)) if len(free) else -1
        if best < 0 or free[best] < iou:
            pairs.append(Match(None, index))
        elif not skipped[best]:
            taken[best] = True
            pairs.append(Match(best, index))
    return pairs + [Match(index, None) for index in np.flatnonzero(~taken & ~skipped).tolist()]


def confusion(
    samples: Sequence[Sample],
    found: Sequence[Detections],
    classes: int,
    conf: float,
    outlines: Sequence[Outlines] | None = None,
) -> NDArray[np.int64]:
    """Counts int64 (C + 1, C + 1) of (true, predicted) as `matches` pairs them; the last row and column are the background."""
    matrix = np.zeros((classes + 1, classes + 1), np.int64)
    for image, (sample, result) in enumerate(zip(samples, found, strict=True)):
        for truth, index in matches(sample, result, conf, outlines=outlines[image] if outlines is not None else None):
            row = classes if truth is None else int(sample.labels[truth])
            matrix[row, classes if index is None else int(result.labels[index])] += 1
    return matrix


def f1_at(
    samples: Sequence[Sample],
    found: Sequence[Detections],
    classes: Sequence[str],
    conf: float,
    outlines: Sequence[Outlines] | None = None,
) -> float:
    """F1 of the detections of at least `conf`, 0-1, over all classes, as `matches` pairs them at an IoU of 0.5."""
    counts = confusion(samples, found, len(classes), conf, outlines)
    return float(2 * np.trace(counts) / max(1, counts[:-1].sum() + counts[:, :-1].sum()))


def box_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union, float64 (M, K), of boxes (M, 4) and (K, 4), xyxy."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    inside = np.clip(high - low, 0, None).prod(axis=2)
    areas = [np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - inside
    overlap: NDArray[np.float64] = np.divide(inside, union, out=np.zeros_like(inside), where=union > 0)
    return overlap


def mask_iou(outlines: Outlines, width: int, height: int) -> NDArray[np.float64]:
    """Intersection over union, float64 (M, K), of an image's M objects and K detections."""
    from pycocotools import mask as coco

    if not len(outlines.truth) or not len(outlines.found):
        return np.zeros((len(outlines.truth), len(outlines.found)))
    truth, found = (
        [{"size": [height, width], "counts": counts.encode("ascii")} for counts in side]
        for side in (outlines.truth, outlines.found)
    )
    overlap: NDArray[np.float64] = coco.iou(truth, found, [False] * len(found))
    return overlap
