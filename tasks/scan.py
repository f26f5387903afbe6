"""One look at each image file, on all cores: what it is, whether it is whole, and how it looks."""

import io
import os
import re
import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
from blake3 import blake3
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sightline.errors import SightlineError
from sightline.preprocess import BROKEN, FORMATS, TURNS
from tasks.names import Index, Names, without_suffix
from tasks.parallel import parallel

SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"})
SUFFIX_OF: Final = {
    "JPEG": {".jpg", ".jpeg"}, "MPO": {".jpg", ".jpeg"}, "PNG": {".png"}, "WEBP": {".webp"}, "BMP": {".bmp"},
    "TIFF": {".tif", ".tiff"}, "GIF": {".gif"},
}  # fmt: skip
FOREIGN: Final = frozenset(
    {
        ".heic", ".heif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".psd", ".svg", ".ico", ".tga", ".ppm", ".pgm", ".pbm",
        ".pnm", ".exr", ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".dcm",
    }
)  # fmt: skip
"""Suffixes of images that are not read."""
LOOK: Final = 16
"""Rows, and steps of brightness in each row, of the grid that `look` is made of."""
SHARP_PX: Final = 256
"""Side of the middle of the image, in pixels, on which sharpness is measured."""
LOOK_PX: Final = 32
"""Shortest side of an image that has a look, in pixels: in less, different pictures look alike."""
MARGIN: Final = 2
"""Levels by which a cell must be brighter than the next, so that noise in even parts tells nothing."""
CELL_PX: Final = 8
"""Side of the cells whose means tell how dark and how bright an image gets, in pixels."""
UNEVEN: Final = 8.0
"""Levels between cells that tell that an image shows something: its pixels need not be asked for their contrast."""
_ESCAPED: Final = re.compile("[\udc80-\udcff]")  # what Python makes of bytes that are not UTF-8 (PEP 383)
_ORIENTATION: Final = 0x0112  # EXIF 2.32, section 4.6.4
_BITS_PER_SAMPLE: Final = 258  # TIFF 6.0, section 8
_DEEPEST: Final = 64  # bits of a channel; a header may say anything, in numbers of any kind
_TURNED: Final = frozenset({5, 6, 7, 8})  # orientations that swap width and height
FILLING: Final = 16
"""Bytes that may stand between a JPEG's pixels and its end, as cameras fill them; more are left of pixels that went wrong."""
_FILLING: Final = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_SCAN: Final = re.compile(rb"(\xff\xda\x00(?:\x08\x01.{2}|\x0a\x02.{4}|\x0c\x03.{6}|\x0e\x04.{8})).{3}", re.DOTALL)
_JFIF: Final = re.compile(rb"(\xff\xe0..JFIF\x00).", re.DOTALL)
_ADOBE: Final = re.compile(rb"(\xff\xee..Adobe.{6}).", re.DOTALL)
"""Before the bytes of a JPEG's header that libjpeg warns of: of a scan (ITU-T T.81, section B.2.3), the revision of JFIF, and
the transform of colours (Adobe Technical Note 5116, section 18)."""
_MOST: Final = 2**32 - 1  # of a side, as it is packed; BigTIFF can say more


_PACKED: Final = struct.Struct("<?IIbhih??32s?32s5f")
_MEASURES: Final = ("brightness", "sharpness", "darkest", "lightest", "contrast")
RECORD: Final = np.dtype(
    [
        ("is_whole", "?"), ("width", "<u4"), ("height", "<u4"), ("orientation", "i1"), ("kind", "<i2"), ("frames", "<i4"),
        ("bits", "<i2"), ("transparent", "?"), ("has_digest", "?"), ("digest", "V32"), ("has_look", "?"), ("look", "V32"),
        *((name, "<f4") for name in _MEASURES),
    ]
)  # fmt: skip
"""A `Scan` as `Scans` keeps it; `is_whole` where there is no code."""


class Scan(NamedTuple):
    """What an image file is.

    Attributes:
        path: Relative to the dataset's root, with `/`.
        width: Pixels, after the EXIF orientation is applied; 0 where the file cannot be read.
        height: The same.
        orientation: EXIF orientation, 1-8; 1 is upright.
        kind: Pillow's name of the format, e.g. `JPEG`; empty where it cannot be read.
        mode: Pillow's mode, e.g. `RGB`; `+alpha` after it where a palette or a chunk makes pixels transparent.
        frames: 2 where it is animated or has pages: there may be more.
        bits: Of each channel, as the file has them.
        digest: BLAKE3 of the file, hexadecimal.
        code: The rule of `tasks.rules` that it breaks so that it cannot be used; empty where there is none.
        got: What is wrong then.
        look: 32 bytes that near duplicates share but for a few bits; empty where the pixels were not decoded.
        brightness: Mean of the grey pixels, 0-255; NaN where they were not decoded.
        sharpness: Variance of their Laplacian; NaN where they were not decoded.
        darkest: The least mean of a cell of grey pixels, 0-255; NaN where they were not decoded.
        lightest: The greatest.
        contrast: Between the darkest and the lightest grey pixel, 0-255, or cell where that is more than `UNEVEN`; NaN where
            they were not decoded.
        transparent: Whether a pixel is not opaque.
    """

    path: str
    width: int = 0
    height: int = 0
    orientation: int = 1
    kind: str = ""
    mode: str = ""
    frames: int = 1
    bits: int = 8
    digest: str = ""
    code: str = ""
    got: str = ""
    look: bytes = b""
    brightness: float = float("nan")
    sharpness: float = float("nan")
    darkest: float = float("nan")
    lightest: float = float("nan")
    contrast: float = float("nan")
    transparent: bool = False

    @property
    def image_id(self) -> str:
        """The path without its suffix."""
        return without_suffix(self.path)


def walk(folder: Path, root: Path) -> Iterator[str]:
    """The files below `folder`, relative to `root`, in sorted order of their folders.

    Hidden ones are left out, and links to folders, which may never end.

    Raises:
        SightlineError: A name is not UTF-8: no table could hold it.
    """
    waiting = ["" if folder == root else f"{folder.relative_to(root).as_posix()}/"]
    while waiting:
        prefix = waiting.pop()
        folders: list[str] = []
        files: list[str] = []
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if not entry.name.isascii() and _ESCAPED.search(entry.name):
                    raise SightlineError(f"{root / prefix}: got the name {entry.name!r}, which is not UTF-8: rename it")
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif not entry.is_dir():
                    files.append(entry.name)
        for name in sorted(files):
            yield prefix + name
        waiting += (f"{prefix}{name}/" for name in sorted(folders, reverse=True))


def is_image(name: str) -> bool:
    """Whether a file is an image, by its suffix."""
    return name[name.rfind(".") :].lower() in SUFFIXES


def images(folder: Path, root: Path) -> Names:
    """The image files below `folder`, relative to `root`."""
    return Names(filter(is_image, walk(folder, root)))


def has_images(folder: Path) -> bool:
    """Whether there is an image file below `folder`."""
    return any(map(is_image, walk(folder, folder)))


class Scans(Mapping[str, Scan]):
    """Scans by path, in the order of the files. Each takes 105 bytes, and its path 20 and its own length: a million fit.

    Attributes:
        paths: The paths; a scan's place there is its row.
        records: Structured array (N,) of `RECORD`, in the same order.
    """

    def __init__(self, paths: Sequence[str], scans: Iterable[Scan]) -> None:
        """Keeps what `scans` tells of each of `paths`, which differ from each other."""
        self.paths = paths if isinstance(paths, Names) else Names(paths)
        self._index = Index(self.paths)
        self._packed = bytearray(_PACKED.size * len(paths))
        self._flaws: dict[int, tuple[str, str]] = {}
        kinds: dict[tuple[str, str], int] = {}
        for row, scan in enumerate(scans):
            kind = kinds.setdefault((scan.kind, scan.mode), len(kinds))
            if scan.code:
                self._flaws[row] = scan.code, scan.got
            _PACKED.pack_into(
                self._packed, row * _PACKED.size,
                not scan.code, min(scan.width, _MOST), min(scan.height, _MOST), scan.orientation, kind, scan.frames, scan.bits,
                scan.transparent, bool(scan.digest), bytes.fromhex(scan.digest), bool(scan.look), scan.look,
                scan.brightness, scan.sharpness, scan.darkest, scan.lightest, scan.contrast,
            )  # fmt: skip
        self._kinds = list(kinds)
        self.records = np.frombuffer(self._packed, RECORD)

    def __len__(self) -> int:
        return len(self.paths)

    def __iter__(self) -> Iterator[str]:
        return iter(self.paths)

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self.row(path) is not None

    def __getitem__(self, path: str) -> Scan:
        row = self.row(path)
        if row is None:
            raise KeyError(path)
        return self.at(row)

    def row(self, path: str) -> int | None:
        """The number of a file, from 0; None where it is not one of them."""
        return next(self._index.rows(path), None)

    def at(self, row: int) -> Scan:
        """The scan of the file of that number."""
        (
            _, width, height, orientation, kind, frames, bits, transparent, has_digest, digest, has_look, look,
            brightness, sharpness, darkest, lightest, contrast,
        ) = _PACKED.unpack_from(self._packed, row * _PACKED.size)  # fmt: skip
        kind, mode = self._kinds[kind]
        code, got = self._flaws.get(row, ("", ""))
        return Scan(
            self.paths[row], width, height, orientation, kind, mode, frames, bits, digest.hex() if has_digest else "", code,
            got, look if has_look else b"", brightness, sharpness, darkest, lightest, contrast, transparent,
        )  # fmt: skip


def scan(root: Path, names: Sequence[str], max_pixels: int, *, decode: bool = True) -> Scans:
    """Scans image files.

    Args:
        root: The dataset.
        names: Relative to it, each once.
        max_pixels: Larger images are not decoded: rule `image.too_large`.
        decode: Whether every pixel is decoded; otherwise the headers alone tell.
    """
    look = partial(scan_file, root, max_pixels=max_pixels, decode=decode)
    return Scans(names, parallel(look, names, "validate", "images"))


def scan_file(root: Path, name: str, *, max_pixels: int, decode: bool) -> Scan:
    """Scans one file; see `scan`."""
    try:
        with open(f"{root}/{name}", "rb", buffering=0) as file:  # twice as fast as Path's
            data = file.readall()
    except OSError as error:
        return Scan(name, code="image.unreadable", got=error.strerror or "cannot be opened")
    if not data:
        return Scan(name, code="image.empty", got="0 bytes")
    found = Scan(name, digest=blake3(data).hexdigest())
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # large images have a rule of their own
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # EXIF that Pillow dislikes has no effect
            return _scan_bytes(found, data, max_pixels, decode)
    except UnidentifiedImageError:
        return found._replace(code="image.unreadable", got=_kind_of(data))
    except BROKEN as error:
        return found._replace(code="image.unreadable", got=str(error))
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _scan_bytes(found: Scan, data: bytes, max_pixels: int, decode: bool) -> Scan:
    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        width, height = image.size
        transparent = "transparency" in image.info and "A" not in image.mode
        mode = image.mode + ("+alpha" if transparent else "")
        found = found._replace(width=width, height=height, kind=str(image.format), mode=mode)
        if width * height > max_pixels:  # before all that decodes
            return found._replace(code="image.too_large", got=f"{width}x{height}")
        # Pillow decodes a PNG to look for EXIF behind its pixels
        orientation = (image.getexif() if decode else Image.Image.getexif(image)).get(_ORIENTATION, 1)
        orientation = orientation if orientation in range(1, 9) else 1
        turn = 1 if image.format == "TIFF" else int(orientation)  # Pillow turns its size and its pixels
        found = found._replace(
            width=height if turn in _TURNED else width,
            height=width if turn in _TURNED else height,
            orientation=int(orientation),
            frames=2 if image.format != "MPO" and getattr(image, "is_animated", False) else 1,
            bits=_bits(image, data),
        )
        if not decode:
            return found
        grey, code, got = _decode(image, data)
        if grey is None:
            return found._replace(code=code, got=got)
        found = found._replace(transparent=_is_transparent(image, found.mode))
    picture = _cells(grey)
    cells = np.asarray(picture)
    darkest, lightest = float(cells.min()), float(cells.max())
    contrast = lightest - darkest
    if contrast <= UNEVEN:
        contrast = float(grey.max()) - float(grey.min())
    seen = picture if min(cells.shape) >= 2 * LOOK else Image.fromarray(grey)
    return found._replace(
        look=look_of(_upright(seen, turn)),
        brightness=float(cells.mean()),
        sharpness=sharpness_of(grey),
        darkest=darkest,
        lightest=lightest,
        contrast=contrast,
    )


def _cells(grey: NDArray[np.uint8]) -> Image.Image:
    """Means of the cells of uint8 (H, W), contiguous; the image itself where it is smaller than a cell.

    Every fourth row tells as much, and is a quarter of the work.
    """
    height, width = grey.shape
    if min(height, width) < CELL_PX:
        return Image.fromarray(grey)
    every_fourth = Image.frombuffer("L", (width, height // 4), grey, "raw", "L", 4 * width, 1)
    return every_fourth.reduce((CELL_PX, CELL_PX // 4))


def _bits(image: Image.Image, data: bytes) -> int:
    """Bits of a channel; Pillow keeps the upper 8 of 16 in colour images, and says so nowhere."""
    if image.format == "PNG":
        return max(8, data[24])  # PNG 3rd edition, section 11.2.1
    if image.format == "TIFF":
        given = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
        return int(min(max(8, *given), _DEEPEST)) if isinstance(given, tuple) else 8
    return 8


def _decode(image: Image.Image, data: bytes) -> tuple[NDArray[np.uint8] | None, str, str]:
    """Grey pixels uint8 (H, W), not oriented; or None, the rule that they break, and what is wrong with them."""
    if image.format in ("JPEG", "MPO"):
        try:
            decoded = _decode_jpeg(data, "CMYK" if image.mode == "CMYK" else "GRAY")
        except ValueError as error:
            return None, "image.unreadable", str(error)
        if image.mode in ("L", "RGB"):
            return decoded[:, :, 0], "", ""
    image.load()
    if image.mode.startswith(("I", "F")):
        levels = np.asarray(image, np.float64)
        low, high = float(np.nanmin(levels)), float(np.nanmax(levels))
        if not 0 <= low <= high <= 255 or (image.mode == "F" and high <= 1):
            return None, "image.deep", f"values from {low:g} to {high:g} ({image.mode})"
        return levels.astype(np.uint8), "", ""
    return np.asarray(image.convert("L")), "", ""


def _decode_jpeg(data: bytes, colours: str) -> NDArray[np.uint8]:
    """Pixels uint8 (H, W, C) of the colours `GRAY` or `CMYK`, not oriented.

    Raises:
        ValueError: libjpeg fails, or warns of what harms pixels, such as missing data, which Pillow passes over.
    """
    import simplejpeg

    try:
        decoded: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, colours, fastdct=True, strict=True)
    except ValueError as error:
        filling = _FILLING.search(str(error))
        if filling and int(filling[1]) <= FILLING:
            decoded = simplejpeg.decode_jpeg(data, colours, fastdct=True, strict=False)
        elif (plain := _plain(data, str(error), colours)) != data:
            decoded = _decode_jpeg(plain, colours)
        else:
            raise
    return decoded


def _plain(data: bytes, warning: str, colours: str) -> bytes:
    """The JPEG with what libjpeg takes instead of what it warns of, so that it may tell of more; as it is where that harms.

    It tells of the first warning alone, and stops at one of the header.
    """
    if "Invalid SOS parameters" in warning:  # of a sequential JPEG, which has no use for them
        return _SCAN.sub(b"\\g<1>\x00\x3f\x00", data)
    if "unknown JFIF revision" in warning:
        return _JFIF.sub(b"\\g<1>\x01", data)
    if "Unknown Adobe color transform" in warning:
        return _ADOBE.sub(b"\\g<1>\x02" if colours == "CMYK" else b"\\g<1>\x01", data)
    return data


def _is_transparent(image: Image.Image, mode: str) -> bool:
    """Whether a pixel is not opaque; the image may not have been loaded."""
    if mode.endswith("+alpha"):
        image = image.convert("RGBA")
    if "A" not in image.getbands():
        return False
    return bool(np.asarray(image.getchannel("A")).min() < 255)


def _upright(grey: Image.Image, orientation: int) -> Image.Image:
    """Applies an EXIF orientation."""
    return grey.transpose(TURNS[orientation]) if orientation in TURNS else grey


def look_of(grey: Image.Image) -> bytes:
    """256 bits: whether each cell of a 17x16 grid is brighter than the next to its right (a difference hash).

    Cells overlap (a triangle filter over the whole image), so that a crop or another size changes few bits.

    Args:
        grey: Mode `L`, upright.

    Returns:
        32 bytes; none for an image of less than `LOOK_PX`.
    """
    if min(grey.size) < LOOK_PX:
        return b""
    picture = grey.resize((LOOK + 1, LOOK), Image.Resampling.BILINEAR, reducing_gap=8.0)
    grid = np.asarray(picture, np.int16)
    return np.packbits(grid[:, :-1] > grid[:, 1:] + MARGIN).tobytes()


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


def _kind_of(data: bytes) -> str:
    """What bytes are that are no allowed image, for a person."""
    if data[4:8] == b"ftyp":  # ISO/IEC 14496-12, section 4.3
        brand = data[8:12]
        return _BRANDS.get(brand, f"a video or picture of the brand {brand.decode('ascii', 'replace')!r}")
    head = data[:256].lstrip().lower()
    for magic, name in _MAGIC:
        if data.startswith(magic) or head.startswith(magic.lower()):
            return name
    return "bytes that are no image"


_BRANDS: Final = {
    b"heic": "a HEIC", b"heix": "a HEIC", b"mif1": "a HEIF", b"msf1": "a HEIF", b"avif": "an AVIF", b"avis": "an AVIF",
}  # fmt: skip
_MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"%PDF", "a PDF"), (b"PK\x03\x04", "a ZIP"), (b"<svg", "an SVG"), (b"<?xml", "XML"), (b"<!DOCTYPE", "HTML"),
    (b"<html", "HTML"), (b"8BPS", "a PSD"), (b"\x00\x00\x01\x00", "an ICO"), (b"version https://git-lfs", "a Git LFS pointer"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"), (b"\xff\x4f\xff\x51", "a JPEG 2000"), (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (b"\xff\x0a", "a JPEG XL"), (b"\x1f\x8b", "a gzip"), (b"P5", "a PGM"), (b"P6", "a PPM"),
    (b"\x76\x2f\x31\x01", "an OpenEXR"), (b"\xff\xd8\xff", "the beginning of a JPEG"), (b"\x89PNG", "the beginning of a PNG"),
)  # fmt: skip
