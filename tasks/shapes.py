"""The outlines of a sample's objects as masks."""

import numpy as np
from numpy.typing import NDArray

from sightline.errors import SightlineError
from tasks.masks import decode_rle
from tasks.tables import Sample


def rle_of(sample: Sample, index: int) -> str:
    """The mask of object `index` in COCO's compressed run-length code, of the image's size.

    Polygons are filled as COCO's toolkit fills them; several are parts of the one object.

    Raises:
        SightlineError: The object has no outline.
    """
    from pycocotools import mask as coco

    shape = sample.shapes[index]
    if shape is None:
        raise SightlineError(
            f"{sample.image_id}: object {index + 1} of {len(sample.labels)} has a box alone, expected polygons or a mask: "
            "label its outline, or choose a model for detect"
        )
    if isinstance(shape, str):
        return shape
    polygons = [np.asarray(polygon, np.float64).tolist() for polygon in shape]
    return str(coco.merge(coco.frPyObjects(polygons, sample.height, sample.width))["counts"].decode("ascii"))


def mask_of(sample: Sample, index: int) -> NDArray[np.bool_]:
    """The mask of object `index`, bool (H, W); see `rle_of`."""
    return decode_rle(rle_of(sample, index), (sample.width, sample.height))
