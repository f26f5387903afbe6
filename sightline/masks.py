"""Masks of objects: from the graph's small squares to the image's pixels, and to COCO's run-length code."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

THRESHOLD: Final = 127.5
"""A pixel belongs to an object where its mask, 0-255, is above: a probability of one half."""


def paste(mask: NDArray[np.uint8], box: NDArray[np.float32], width: int, height: int) -> tuple[NDArray[np.bool_], int, int]:
    """A mask in the image's pixels.

    Each pixel's centre takes the mask's value there, bilinear between the centres of its cells and zero beyond them, as
    Detectron2's `paste_masks_in_image` does; then the threshold decides.

    Args:
        mask: uint8 (M, M), 0-255, over the box.
        box: float32 (4,) xyxy, absolute pixels of the image.
        width: Of the image, pixels.
        height: Of the image, pixels.

    Returns:
        The part of the image that the box touches, bool (h, w), and the column and row where it begins.
    """
    xmin, ymin, xmax, ymax = (float(value) for value in box)
    first_x, last_x = max(0, math.floor(xmin)), min(width, math.ceil(xmax))
    first_y, last_y = max(0, math.floor(ymin)), min(height, math.ceil(ymax))
    if xmax <= xmin or ymax <= ymin or last_x <= first_x or last_y <= first_y:
        return np.zeros((0, 0), np.bool_), 0, 0
    columns = _weights(first_x, last_x, xmin, xmax, len(mask))
    rows = _weights(first_y, last_y, ymin, ymax, len(mask))
    return rows @ mask.astype(np.float32) @ columns.T > THRESHOLD, first_x, first_y


def _weights(first: int, last: int, low: float, high: float, cells: int) -> NDArray[np.float32]:
    """What each of `cells` between `low` and `high` adds to the pixels `first` to `last`, float32 (last - first, cells)."""
    places = (np.arange(first, last) + 0.5 - low) * (cells / (high - low)) - 0.5
    weights: NDArray[np.float32] = np.maximum(0, 1 - np.abs(places[:, None] - np.arange(cells))).astype(np.float32)
    return weights


def encode(part: NDArray[np.bool_], first_x: int, first_y: int, width: int, height: int) -> str:
    """COCO's compressed run-length code of a mask of which only a part is not empty.

    The runs alternate between outside and inside, by columns (https://cocodataset.org/#format-results); pycocotools reads it.

    Args:
        part: bool (h, w).
        first_x: The image's column where the part begins.
        first_y: The image's row where it begins.
        width: Of the image, pixels.
        height: Of the image, pixels.

    Returns:
        `counts`.
    """
    return _compress(_runs(part, first_x, first_y, width, height))


def _runs(part: NDArray[np.bool_], first_x: int, first_y: int, width: int, height: int) -> list[int]:
    """The lengths of the runs, outside first; see `encode`."""
    edges = np.diff(np.pad(part, ((1, 1), (0, 0))).T.astype(np.int8), axis=1)  # 1 where a column's run begins, -1 where it ends
    columns, begins = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)
    base = (columns + first_x) * height + first_y
    borders = np.stack([base + begins, base + ends], axis=1).ravel()
    joined = np.flatnonzero(borders[1:] == borders[:-1])  # a run down to the last row goes on in the next column
    borders = np.delete(borders, np.concatenate([joined, joined + 1]))
    lengths: list[int] = np.diff(borders, prepend=0).tolist()
    rest = width * height - sum(lengths)
    return [*lengths, rest] if rest else lengths


def _compress(lengths: list[int]) -> str:
    """Runs as text: from the fourth on as the difference to the run before the last, in 5 bits a character, lowest first."""
    text = []
    for index, length in enumerate(lengths):
        value = length - lengths[index - 2] if index > 2 else length
        more = True
        while more:
            bits = value & 31
            value >>= 5
            more = value != (-1 if bits & 16 else 0)
            text.append(chr(bits + 32 * more + 48))
    return "".join(text)
