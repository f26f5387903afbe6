"""SegmentationObject: value i is the mask of the i-th object of the XML, 0 the background, 255 void.

Everingham and Winn, The PASCAL Visual Object Classes Challenge 2012 Development Kit, section 4.2.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from sightline.errors import SightlineError
from tasks.formats import Item
from tasks.formats._voc_xml import Object
from tasks.masks import IGNORE, Ids, Values, decode_rle, distinct, encode_rle

MOST: Final = IGNORE - 1
"""Objects that a mask can number."""


class MisfitError(Exception):
    """Numbers and objects that do not fit each other; the message says which."""


def objects_of(values: Values, objects: Sequence[Object]) -> dict[int, str]:
    """The mask of each object in the tables' run-length code, by its place from 0.

    Args:
        values: Of SegmentationObject, int32 (H, W).
        objects: Of the annotation, in the order of the XML.

    Raises:
        MisfitError: A number has no object, or lies beside its object's box.
    """
    found: dict[int, str] = {}
    columns = np.asfortranarray(values.astype(np.uint8))
    for number in distinct(values):
        if number in (0, IGNORE):
            continue
        if number > len(objects):
            raise MisfitError(f"number {number}, and {len(objects)} objects")
        own = columns == number
        rows, across = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
        _, (xmin, ymin, xmax, ymax), *_ = objects[number - 1]
        if across[-1] + 1 <= xmin or across[0] >= xmax or rows[-1] + 1 <= ymin or rows[0] >= ymax:
            place = f"columns {across[0]}-{across[-1]}, rows {rows[0]}-{rows[-1]}"
            raise MisfitError(f"number {number} in {place}, beside its object's box")
        found[number - 1] = encode_rle(own)
    return found


def paint(item: Item) -> Ids:
    """The masks of a sample's objects in one, uint8 (H, W): 0, or 1 + the place of the object.

    Raises:
        SightlineError: They overlap, or are too many.
    """
    painted = np.zeros((item.height, item.width), np.uint8)
    if len(item.objects) > MOST:
        raise SightlineError(f"{item.name}: {len(item.objects)} objects with masks, expected at most {MOST}: write coco")
    for number, each in enumerate(item.objects, 1):
        if each.rle:
            own = decode_rle(each.rle, (item.width, item.height))
            if painted[own].any():
                other = int(painted[own].max())
                raise SightlineError(
                    f"{item.name}: the masks of objects {other} and {number} overlap, expected none: write coco"
                )
            painted[own] = number
    return painted
