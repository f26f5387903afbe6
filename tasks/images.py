"""Image files: what their header says, whether they are whole, and turning them upright."""

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageOps, UnidentifiedImageError

from sightline.preprocess import FORMATS

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
_ORIENTATION = 0x0112  # EXIF 2.32, section 4.6.4
_TURNED = frozenset({5, 6, 7, 8})  # orientations that swap width and height
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


@dataclass(frozen=True)
class Header:
    """What an image file says of itself.

    Attributes:
        width: Pixels, after the EXIF orientation is applied.
        height: Pixels, after the EXIF orientation is applied.
        orientation: EXIF orientation, 1-8; 1 is upright.
    """

    width: int
    height: int
    orientation: int


def find(folder: Path) -> list[Path]:
    """The image files below a folder, hidden ones left out, sorted."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )


def read_header(path: Path) -> Header | str:
    """The header of an image, or what is wrong with it; not for threads."""
    if path.stat().st_size == 0:
        return "0 bytes"
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # nothing is decoded; large images have a rule of their own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # EXIF that Pillow dislikes has no effect
            with Image.open(path, formats=FORMATS) as image:
                orientation = int(image.getexif().get(_ORIENTATION, 1))
                width, height = image.size
    except UnidentifiedImageError:
        return "bytes that are no image"
    except _BROKEN as error:
        return str(error)
    finally:
        Image.MAX_IMAGE_PIXELS = limit
    if orientation in _TURNED:
        width, height = height, width
    return Header(width, height, orientation if orientation in range(1, 9) else 1)


def find_defect(path: Path) -> str | None:
    """Decodes every pixel; returns what is wrong with them, or None."""
    import simplejpeg

    data = path.read_bytes()
    if data[:2] == b"\xff\xd8":
        try:
            simplejpeg.decode_jpeg(data, "GRAY", fastdct=True, strict=True)
        except ValueError as error:
            if not _is_unusual_jpeg(path):
                return str(error)
        else:
            return None
    try:
        with Image.open(path, formats=FORMATS) as image:
            image.load()
    except _BROKEN as error:
        return str(error)
    return None


def _is_unusual_jpeg(path: Path) -> bool:
    """Whether a JPEG is of a colour space that the fast decoder does not turn to grey."""
    try:
        with Image.open(path, formats=FORMATS) as image:
            return image.mode not in ("L", "RGB")
    except _BROKEN:
        return False


def write_upright(path: Path, target: Path) -> None:
    """Writes a copy without EXIF orientation, its pixels turned; a PNG, so that nothing is lost."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(path, formats=FORMATS) as image:
        ImageOps.exif_transpose(image).convert("RGB").save(target, "PNG", compress_level=4)
