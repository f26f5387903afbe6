"""Outlines as Ultralytics learns them: each object one ring of points."""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray
from ultralytics.data.converter import merge_multi_segment

from tasks.shapes import mask_of
from tasks.tables import Sample

FEWEST: Final = 3  # points of a ring
CENTRE: Final = 0.5  # of a pixel, which OpenCV's contours go through


def ring_of(sample: Sample, index: int) -> NDArray[np.float64]:
    """The outline of object `index`, float64 (P, 2) of x and y in absolute pixels.

    Parts are joined by lines where they are nearest, as Ultralytics converts COCO; holes are filled. An object too small to
    have an outline has its box.

    Raises:
        SightlineError: The object has neither polygons nor a mask.
    """
    shape = sample.shapes[index]
    if shape is None or isinstance(shape, str):
        mask = mask_of(sample, index).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        rings = [contour.reshape(-1, 2).astype(np.float64) + CENTRE for contour in contours]
    else:
        rings = [np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in shape]
    rings = [ring for ring in rings if len(ring) >= FEWEST]
    if not rings:
        xmin, ymin, xmax, ymax = sample.boxes[index]
        return np.array([[xmin, ymin], [xmax, ymin], [xmax, ymax], [xmin, ymax]])
    joined: NDArray[np.float64] = np.concatenate(merge_multi_segment(rings)) if len(rings) > 1 else rings[0]
    return joined
