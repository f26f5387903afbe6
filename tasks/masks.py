"""Masks of classes and of objects: PNG files read safely, turned as their image, and brought to class ids.

A value is what a pixel of a mask says: an index (0-255), or a colour as `COLOUR | 0xRRGGBB`.
"""

import io
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sightline.errors import SightlineError
from sightline.preprocess import TURNS

Values = NDArray[np.int32]
Ids = NDArray[np.uint8]
IGNORE: Final = 255  # VOC's void
COLOUR: Final = 1 << 24
VOID: Final = frozenset({IGNORE, COLOUR | 0xE0E0C0})
"""Values that are ignored where no class has them: VOC's void, as index and in VOC's colours (VOC2012 kit, section 4.2)."""
MAX_CLASSES: Final = 255
_STRETCH: Final = {"L;2": 85, "L;4": 17}  # Pillow spreads grey pixels of 2 and 4 bits over 0-255
_BROKEN: Final = (OSError, SyntaxError, ValueError, EOFError)


class MaskDefect(SightlineError):
    """A mask that cannot be used.

    Attributes:
        path: Its file.
        code: The rule of `tasks.rules` that it breaks.
        got: What is wrong.
    """

    def __init__(self, path: Path, code: str, got: str) -> None:
        super().__init__(path, code, got)  # all of them, so that it can come out of a worker
        self.path, self.code, self.got = path, code, got

    def __str__(self) -> str:
        return f"{self.path}: {self.got}, expected a mask that `validate` lets pass: run it again"


def read_values(path: Path, size: tuple[int, int], orientation: int = 1, *, colours: bool = False) -> tuple[Values, bool]:
    """The values of a mask, as its image is shown, and whether it had to be turned.

    A mask of the shown image's size is taken as it is; one of the stored image's size is turned with it. Nothing is decoded
    that has not the size of the image.

    Args:
        path: A PNG.
        size: Width and height of the image, upright, in pixels.
        orientation: The image's EXIF orientation, 1-8.
        colours: Whether palettes and three channels are colours; otherwise every mask holds indices.

    Returns:
        int32 (H, W).

    Raises:
        MaskDefect: It is no whole PNG, of another size, or not of this kind.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, which the size tells, and of chunks that have no effect
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                if image.format == "JPEG":
                    raise MaskDefect(path, "mask.lossy", "a JPEG")
                turned = image.size != size
                if turned and (orientation < 5 or image.size != size[::-1]):
                    raise MaskDefect(path, "mask.size", f"{image.width}x{image.height}")
                stretch = _STRETCH.get(str(image.tile[0].args) if image.tile else "", 1)
                upright = image.transpose(TURNS[orientation]) if turned else image
                return _values(path, upright, colours) // stretch, turned
    except Image.DecompressionBombError:
        raise MaskDefect(path, "mask.size", "many more pixels") from None
    except UnidentifiedImageError:
        raise MaskDefect(path, "mask.unreadable", "bytes that are no PNG") from None
    except _BROKEN as error:
        raise MaskDefect(path, "mask.unreadable", str(error)) from None


def _values(path: Path, image: Image.Image, colours: bool) -> Values:
    if image.mode == "P" and colours:
        image = image.convert("RGB")
    if image.mode in ("RGB", "RGBA"):
        red, green, blue = (np.asarray(channel).astype(np.int32) for channel in image.split()[:3])
        if colours:
            packed: Values = COLOUR | red << 16 | green << 8 | blue
            return packed
        if not (np.array_equal(red, green) and np.array_equal(red, blue)):
            raise MaskDefect(path, "mask.kind", "colours")
        return red
    if colours or image.mode not in ("1", "L", "P"):
        names = {"1": "two levels", "L": "grey", "LA": "grey with alpha"}
        raise MaskDefect(path, "mask.kind", names.get(image.mode, f"{image.mode} pixels"))
    return np.asarray(image).astype(np.int32)


def kind_of(path: Path) -> str:
    """Pillow's mode of a PNG, by its header; empty where it is none."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(path, formats=("PNG",)) as image:
                return image.mode
    except (*_BROKEN, Image.DecompressionBombError):
        return ""


def distinct(values: Values) -> list[int]:
    """The values that occur, sorted."""
    if values.size and int(values.max()) < COLOUR:
        return [int(value) for value in np.flatnonzero(np.bincount(values.ravel(), minlength=1))]
    flat = values.ravel()
    return [int(value) for value in np.unique(flat[np.append(True, flat[1:] != flat[:-1])])]  # neighbours mostly agree


def text_of(value: int) -> str:
    """A value for people: an index, or `red,green,blue`."""
    return f"{value >> 16 & 255},{value >> 8 & 255},{value & 255}" if value >= COLOUR else str(value)


def ids_of(classes: pd.DataFrame) -> dict[int, int]:
    """The class id, from 0 without gaps, that stands for each value; `IGNORE` for ignored classes.

    Args:
        classes: The table as a format read it.
    """
    found, learnt = {}, 0
    for row in classes.sort_values("id").itertuples():
        found[int(row.value)] = IGNORE if row.ignore else learnt
        learnt += not row.ignore
    return found


def to_ids(values: Values, ids: Mapping[int, int]) -> Ids:
    """Class ids uint8 (H, W) of values; `IGNORE` where a value has none."""
    keys = np.array(sorted(ids), np.int32)
    table = np.array([ids[int(key)] for key in keys], np.uint8)
    places = np.searchsorted(keys, values).clip(max=len(keys) - 1)
    return np.where(keys[places] == values, table[places], np.uint8(IGNORE))


def read_ids(path: Path) -> Ids:
    """The ids of a mask of the dataset, uint8 (H, W), as `encode` wrote them."""
    with Image.open(path, formats=("PNG",)) as mask:
        return np.array(mask)


def encode(ids: Ids) -> bytes:
    """A PNG of one channel, uint8 (H, W)."""
    buffer = io.BytesIO()
    Image.fromarray(ids).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def encode_rle(mask: NDArray[np.bool_]) -> str:
    """COCO's compressed run-length code of a mask, bool (H, W); quickest where it lies in memory by columns."""
    from pycocotools import mask as coco

    return str(coco.encode(np.asfortranarray(mask).view(np.uint8))["counts"].decode("ascii"))


def decode_rle(rle: str, size: tuple[int, int]) -> NDArray[np.bool_]:
    """The mask, bool (H, W), of a code that the tables hold; `size` is the image's width and height."""
    from pycocotools import mask as coco

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # pycocotools has no numpy 2 `copy`
        found: NDArray[np.bool_] = coco.decode({"size": size[::-1], "counts": rle.encode("ascii")}).astype(bool)
    return found
