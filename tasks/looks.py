"""How an image looks, in a few numbers: what near duplicates share, how sharp it is, how bright its parts are."""

from typing import Final

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from PIL import Image

LOOK: Final = 16
"""Rows, and steps of brightness in each row, of the grid that `look` is made of."""
SHARP_PX: Final = 256
"""Side of the middle of the image, in pixels, on which sharpness is measured."""
LOOK_PX: Final = 32
"""Shortest side of an image that has a look, in pixels: in less, different pictures look alike."""
PLAIN_BITS: Final = 24
"""A look with fewer bits set, or unset, is of a plain picture: it would be near to that of any other."""
MARGIN: Final = 2
"""Levels by which a cell must be brighter than the next, so that noise in even parts tells nothing."""
CELL_PX: Final = 8
"""Side of the cells whose means tell how dark and how bright an image gets, in pixels."""
UNEVEN: Final = 8.0
"""Levels between cells that tell that an image shows something: its pixels need not be asked for their contrast."""


def look_of(grey: Image.Image) -> bytes:
    """256 bits: whether each cell of a 17x16 grid is brighter than the next to its right (a difference hash).

    Cells overlap (a triangle filter over the whole image), so that a crop or another size changes few bits.

    Args:
        grey: Mode `L`, upright.

    Returns:
        32 bytes; none for an image of less than `LOOK_PX`, or a plain one.
    """
    if min(grey.size) < LOOK_PX:
        return b""
    picture = grey.resize((LOOK + 1, LOOK), Image.Resampling.BILINEAR, reducing_gap=8.0)
    grid = np.asarray(picture, np.int16)
    is_brighter = grid[:, :-1] > grid[:, 1:] + MARGIN
    count = int(is_brighter.sum())
    return b"" if min(count, is_brighter.size - count) < PLAIN_BITS else np.packbits(is_brighter).tobytes()


def pixels_of(grey: Image.Image) -> bytes:
    """32 bytes that images of one size share where all their grey pixels are equal: the BLAKE3 of both.

    Args:
        grey: Mode `L`, upright.
    """
    digest = blake3(f"{grey.width}x{grey.height}".encode())
    digest.update(grey.tobytes())
    return bytes(digest.digest())


def sharpness_of(grey: NDArray[np.uint8]) -> float:
    """Variance of the Laplacian in the middle of the image (Pech-Pacheco et al., 2000, ICPR 3, "Diatom autofocusing").

    It is taken at every other row, which is half the work.
    """
    top, left = max(0, (grey.shape[0] - SHARP_PX) // 2), max(0, (grey.shape[1] - SHARP_PX) // 2)
    middle = grey[top : top + SHARP_PX, left : left + SHARP_PX]
    if min(middle.shape) < 3:
        return float("nan")
    rows = middle[1:-1:2].astype(np.int16)
    laplacian = middle[:-2:2, 1:-1].astype(np.int16)
    laplacian += middle[2::2, 1:-1]
    laplacian += rows[:, :-2]
    laplacian += rows[:, 2:]
    rows <<= 2
    laplacian -= rows[:, 1:-1]
    values = laplacian.astype(np.float32).ravel()
    return float(np.dot(values, values)) / len(values) - (float(values.sum()) / len(values)) ** 2


def cells_of(grey: NDArray[np.uint8]) -> Image.Image:
    """Means of the cells of uint8 (H, W), contiguous; the image itself where it is smaller than a cell.

    Every fourth row tells as much, and is a quarter of the work.
    """
    height, width = grey.shape
    if min(height, width) < CELL_PX:
        return Image.fromarray(grey)
    every_fourth = Image.frombuffer("L", (width, height // 4), grey, "raw", "L", 4 * width, 1)
    return every_fourth.reduce((CELL_PX, CELL_PX // 4))
