"""Copies of one picture whose labels differ: boxes of another class, number or place, or masks of other classes."""

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from tasks.findings import Finding, finding
from tasks.masks import COLOUR, IGNORE, ids_of, read_values, to_ids
from tasks.parallel import parallel
from tasks.tables import BOX, learnt

Pair = tuple[dict[str, Any], dict[str, Any]]  # rows of the images
ALIKE_IOU: Final = 0.5
"""Two boxes of one object overlap by so much (intersection over union), though two people drew them."""
MOST_BOXES: Final = 1000
"""Where an image has more boxes of a class, those of its copies are counted, not compared."""
COMPARED_PX: Final = 512
"""Longer side of the masks of copies as they are compared, in pixels."""
JITTER_SHARE: Final = 0.008
"""By how much two outlines of one object differ, as a share of the diagonal (Perazzi et al., 2016, CVPR, "A benchmark dataset
and evaluation methodology for video object segmentation", on the boundary measure)."""
JITTER_PX: Final = 2
"""The same in pixels, where that is more."""
SPECK_SHARE: Final = 0.002
"""So much of a mask may differ beyond that, as a share of its pixels."""
_NO_BOXES: Final = np.zeros((0, 4))


def label_conflicts(images: pd.DataFrame, objects: pd.DataFrame, classes: pd.DataFrame, root: Path) -> list[Finding]:
    """Copies of a picture whose labels are not those of the first one: rule `label.conflict`.

    Args:
        images: As `tasks.duplicate_rules.measure_images` gives them.
        objects: As `tasks.expectations.measure_objects` gives them.
        classes: The table, with the value of each class where images have masks.
        root: What the masks are relative to.
    """
    pairs = _copies(images)
    return [*_box_conflicts(pairs, objects, classes), *_mask_conflicts(pairs, classes, root)] if pairs else []


def _box_conflicts(pairs: Sequence[Pair], objects: pd.DataFrame, classes: pd.DataFrame) -> list[Finding]:
    """Copies whose boxes differ: another number, another class, or another place."""
    names = dict(zip(classes["id"], classes["name"], strict=True))
    objects = objects[(objects["side"] > 0) & (objects["repeats"] == 0)]
    objects = objects[objects["image_id"].isin({image["image_id"] for pair in pairs for image in pair})]
    boxes: dict[str, dict[int, NDArray[np.float64]]] = {}
    for (image_id, label), rows in objects.groupby(["image_id", "label"]):
        boxes.setdefault(image_id, {})[label] = rows[BOX].to_numpy(np.float64)
    found = []
    for first, other in pairs:
        ours, theirs = boxes.get(other["image_id"], {}), boxes.get(first["image_id"], {})
        for label in sorted({*ours, *theirs}):
            mine, its = ours.get(label, _NO_BOXES), theirs.get(label, _NO_BOXES)
            if len(mine) != len(its):
                got = f"{len(mine)} {names[label]}, and {len(its)} in {first['path']}, the same picture"
            elif not _lie_alike(mine, its):
                got = f"{names[label]} elsewhere than in {first['path']}, the same picture"
            else:
                continue
            found.append(finding("label.conflict", got, other["path"], image_id=other["image_id"]))
            break
    return found


def _mask_conflicts(pairs: Sequence[Pair], classes: pd.DataFrame, root: Path) -> list[Finding]:
    """Copies whose masks differ: one shows a class where the other shows another."""
    pairs = [pair for pair in pairs if all(isinstance(image["mask"], str) for image in pair)]
    if not pairs:
        return []
    names, found = list(learnt(classes)["name"]), []
    compare = partial(_mask_conflict, root, ids_of(classes))
    for (first, other), label in zip(pairs, parallel(compare, pairs, "validate", "copies"), strict=True):
        if label is not None:
            got = f"{names[label]} elsewhere in {other['mask']} than in {first['mask']} of {first['path']}, the same picture"
            found.append(finding("label.conflict", got, other["path"], image_id=other["image_id"]))
    return found


def _copies(images: pd.DataFrame) -> list[Pair]:
    """Each image that shows the same picture as one before it, after that one."""
    columns = ["image_id", "path", "width", "height", "orientation", "mask", "same"]
    copies = images.loc[images.duplicated("same", keep=False), columns].to_dict("records")
    first: dict[str, dict[str, Any]] = {}
    return [(first[image["same"]], image) for image in copies if first.setdefault(image["same"], image) is not image]


def _lie_alike(boxes: NDArray[np.float64], others: NDArray[np.float64]) -> bool:
    """Whether each box, float64 (N, 4) xyxy, has one in as many others that it overlaps, and each of those one."""
    if len(boxes) > MOST_BOXES or np.array_equal(boxes, others):
        return True
    from pycocotools import mask as coco

    overlap = coco.iou(*(np.hstack([each[:, :2], each[:, 2:] - each[:, :2]]) for each in (boxes, others)), [0] * len(others))
    return bool((overlap.max(axis=0) >= ALIKE_IOU).all() and (overlap.max(axis=1) >= ALIKE_IOU).all())


def _mask_conflict(root: Path, ids: dict[int, int], pair: Pair) -> int | None:
    """The first class that one of two masks shows where the other shows none of it nearby; None where there is none."""
    if len({(root / image["mask"]).read_bytes() for image in pair}) == 1:
        return None
    masks = []
    for image in pair:
        size, colours = (int(image["width"]), int(image["height"])), max(ids) >= COLOUR
        values, _ = read_values(root / image["mask"], size, int(image["orientation"]), colours=colours)
        small = Image.fromarray(to_ids(values, ids))
        small.thumbnail((COMPARED_PX, COMPARED_PX), Image.Resampling.NEAREST)
        masks.append(np.asarray(small))
    known = (masks[0] != IGNORE) & (masks[1] != IGNORE)
    least = SPECK_SHARE * known.size
    for label in sorted(set(ids.values()) - {IGNORE}):
        for here, there in (masks, masks[::-1]):
            apart = (here == label) & (there != label) & known
            if np.count_nonzero(apart) > least and np.count_nonzero(apart & ~_widened(there == label)) > least:
                return label
    return None


def _widened(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask, bool (H, W), with what is as near to it as two people's outlines are to one another."""
    spread = Image.fromarray(mask.astype(np.uint8))
    for _ in range(max(JITTER_PX, round(JITTER_SHARE * math.hypot(*mask.shape)))):
        spread = spread.filter(ImageFilter.MaxFilter(3))
    return np.asarray(spread).astype(bool)
