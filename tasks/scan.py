"""One look at each image file, on all cores: what it is, whether it is whole, and how it looks."""

import io
import os
import re
import struct
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal, NamedTuple

import numpy as np
from blake3 import blake3
from PIL import Image, UnidentifiedImageError

from sightline.errors import SightlineError
from sightline.preprocess import BROKEN, FORMATS, TURNS
from tasks.decoding import bits_of, decode_grey, is_transparent
from tasks.file_kinds import describe_bytes, is_hidden, is_image
from tasks.looks import LOOK, UNEVEN, cells_of, look_of, pixels_of, sharpness_of
from tasks.names import Index, Names, without_suffix
from tasks.parallel import parallel

_ESCAPED: Final = re.compile("[\udc80-\udcff]")  # what Python makes of bytes that are not UTF-8 (PEP 383)
_ORIENTATION: Final = 0x0112  # EXIF 2.32, section 4.6.4
_TURNED: Final = frozenset({5, 6, 7, 8})  # orientations that swap width and height
_MOST: Final = 2**32 - 1  # of a side, as it is packed; BigTIFF can say more
_PACKED: Final = struct.Struct("<?IIbhih??32s??32s5f")
_MEASURES: Final = ("brightness", "sharpness", "darkest", "lightest", "contrast")
RECORD: Final = np.dtype(
    [
        ("is_whole", "?"), ("width", "<u4"), ("height", "<u4"), ("orientation", "i1"), ("kind", "<i2"), ("frames", "<i4"),
        ("bits", "<i2"), ("transparent", "?"), ("has_digest", "?"), ("digest", "V32"), ("has_look", "?"), ("has_pixels", "?"),
        ("look", "V32"), *((name, "<f4") for name in _MEASURES),
    ]
)  # fmt: skip
"""A `Scan` as `Scans` keeps it; `is_whole` where there is no code, in `look` its look or its pixels, whichever it has."""


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
        look: 32 bytes that near duplicates share but for a few bits; empty where the image is too small or too plain for that,
            or was not decoded.
        pixels: 32 bytes that images with the same upright grey pixels share; empty where it has a look, or was not decoded.
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
    pixels: bytes = b""
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
        SightlineError: A folder cannot be read, or a name is not UTF-8: no table could hold it.
    """
    waiting = ["" if folder == root else f"{folder.relative_to(root).as_posix()}/"]
    while waiting:
        prefix = waiting.pop()
        folders: list[str] = []
        files: list[str] = []
        for name, kind in _entries(root, prefix):
            if kind != "link":
                (folders if kind == "folder" else files).append(name)
        files.sort()
        yield from (prefix + name for name in files)
        waiting += (f"{prefix}{name}/" for name in sorted(folders, reverse=True))


def linked_folders(root: Path) -> list[str]:
    """The links to folders below `root`, relative to it, sorted, behind which `walk` does not look.

    Raises:
        SightlineError: As for `walk`.
    """
    waiting, found = [""], []
    while waiting:
        prefix = waiting.pop()
        for name, kind in _entries(root, prefix):
            if kind == "folder":
                waiting.append(f"{prefix}{name}/")
            elif kind == "link":
                found.append(prefix + name)
    return sorted(found)


def subfolders(folder: Path) -> list[Path]:
    """The folders right in `folder`, sorted, without those that `walk` leaves out."""
    found = (path for path in folder.iterdir() if not is_hidden(path.name))
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def _entries(root: Path, prefix: str) -> Iterator[tuple[str, Literal["folder", "link", "file"]]]:
    """Names in a folder and what they are, in no order: folders, links to folders, and files."""
    try:
        with os.scandir(root / prefix) as entries:
            for entry in entries:
                if is_hidden(entry.name):
                    continue
                if not entry.name.isascii() and _ESCAPED.search(entry.name):
                    raise SightlineError(f"{root / prefix}: got the name {entry.name!r}, which is not UTF-8: rename it")
                if entry.is_dir(follow_symlinks=False):
                    yield entry.name, "folder"
                else:
                    yield entry.name, "link" if entry.is_dir() else "file"
    except OSError as error:
        expected = "expected what can be read: make it readable, or leave it out"
        raise SightlineError(f"{error.filename}: {error.strerror}, {expected}") from error


def images(folder: Path, root: Path) -> Names:
    """The image files below `folder`, relative to `root`."""
    return Names(filter(is_image, walk(folder, root)))


def has_images(folder: Path) -> bool:
    """Whether there is an image file below `folder`."""
    return any(map(is_image, walk(folder, folder)))


class Scans(Mapping[str, Scan]):
    """Scans by path, in the order of the files. Each takes 106 bytes, and its path 20 and its own length: a million fit.

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
                scan.transparent, bool(scan.digest), bytes.fromhex(scan.digest), bool(scan.look), bool(scan.pixels),
                scan.look or scan.pixels, scan.brightness, scan.sharpness, scan.darkest, scan.lightest, scan.contrast,
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
            _, width, height, orientation, kind, frames, bits, transparent, has_digest, digest, has_look, has_pixels, look,
            brightness, sharpness, darkest, lightest, contrast,
        ) = _PACKED.unpack_from(self._packed, row * _PACKED.size)  # fmt: skip
        kind, mode = self._kinds[kind]
        code, got = self._flaws.get(row, ("", ""))
        return Scan(
            self.paths[row], width, height, orientation, kind, mode, frames, bits, digest.hex() if has_digest else "", code,
            got, look if has_look else b"", look if has_pixels else b"", brightness, sharpness, darkest, lightest, contrast,
            transparent,
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
        return found._replace(code="image.unreadable", got=describe_bytes(data))
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
            bits=bits_of(image, data),
        )
        if not decode:
            return found
        grey, code, got = decode_grey(image, data)
        if grey is None:
            return found._replace(code=code, got=got)
        found = found._replace(transparent=is_transparent(image, found.mode))
    picture = cells_of(grey)
    cells = np.asarray(picture)
    darkest, lightest = float(cells.min()), float(cells.max())
    contrast = lightest - darkest
    if contrast <= UNEVEN:
        contrast = float(grey.max()) - float(grey.min())
    seen = picture if min(cells.shape) >= 2 * LOOK else Image.fromarray(grey)
    look = look_of(_upright(seen, turn))
    return found._replace(
        look=look,
        pixels=b"" if look else pixels_of(_upright(Image.fromarray(grey), turn)),
        brightness=float(cells.mean()),
        sharpness=sharpness_of(grey),
        darkest=darkest,
        lightest=lightest,
        contrast=contrast,
    )


def _upright(grey: Image.Image, orientation: int) -> Image.Image:
    """Applies an EXIF orientation."""
    return grey.transpose(TURNS[orientation]) if orientation in TURNS else grey
