"""What a file is: an image by its suffix, something else by its first bytes, or none of the dataset's."""

from typing import Final

_JPEG: Final = {".jpg", ".jpeg", ".jpe", ".jfif", ".jfi"}
SUFFIX_OF: Final = {
    "JPEG": _JPEG, "MPO": _JPEG, "PNG": {".png"}, "WEBP": {".webp"}, "BMP": {".bmp"}, "TIFF": {".tif", ".tiff"},
    "GIF": {".gif"},
}  # fmt: skip
"""The suffixes of each of Pillow's formats that is read."""
RARE: Final = frozenset(_JPEG - {".jpg", ".jpeg"})
"""Suffixes of JPEGs that other tools do not know."""
SUFFIXES: Final = frozenset(suffix for suffixes in SUFFIX_OF.values() for suffix in suffixes)
FOREIGN: Final = frozenset(
    {
        ".heic", ".heif", ".hif", ".avif", ".jxl", ".jp2", ".j2k", ".jpx", ".psd", ".svg", ".ico", ".tga", ".pcx", ".apng",
        ".ppm", ".pgm", ".pbm", ".pnm", ".exr", ".hdr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".dcm",
    }
)  # fmt: skip
"""Suffixes of images that are not read."""
BRANDS: Final = {
    b"heic": "a HEIC", b"heix": "a HEIC", b"mif1": "a HEIF", b"msf1": "a HEIF", b"avif": "an AVIF", b"avis": "an AVIF",
}  # fmt: skip
MAGIC: Final[tuple[tuple[bytes, str], ...]] = (
    (b"%PDF", "a PDF"), (b"PK\x03\x04", "a ZIP"), (b"<svg", "an SVG"), (b"<?xml", "XML"), (b"<!DOCTYPE", "HTML"),
    (b"<html", "HTML"), (b"8BPS", "a PSD"), (b"\x00\x00\x01\x00", "an ICO"), (b"version https://git-lfs", "a Git LFS pointer"),
    (b"\x00\x00\x00\x0cjP  ", "a JPEG 2000"), (b"\xff\x4f\xff\x51", "a JPEG 2000"), (b"\x00\x00\x00\x0cJXL ", "a JPEG XL"),
    (b"\xff\x0a", "a JPEG XL"), (b"\x1f\x8b", "a gzip"), (b"P5", "a PGM"), (b"P6", "a PPM"),
    (b"\x76\x2f\x31\x01", "an OpenEXR"), (b"\xff\xd8\xff", "the beginning of a JPEG"), (b"\x89PNG", "the beginning of a PNG"),
)  # fmt: skip


def is_image(name: str) -> bool:
    """Whether a file is an image, by its suffix."""
    return name[name.rfind(".") :].lower() in SUFFIXES


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is no data: it begins with a dot, or is fsck's own, at the root of a volume."""
    return name.startswith(".") or name == "lost+found"


def describe_bytes(data: bytes) -> str:
    """What bytes are that are no allowed image, for a person."""
    if data[4:8] == b"ftyp":  # ISO/IEC 14496-12, section 4.3
        brand = data[8:12]
        return BRANDS.get(brand, f"a video or picture of the brand {brand.decode('ascii', 'replace')!r}")
    head = data[:256].lstrip().lower()
    for magic, name in MAGIC:
        if data.startswith(magic) or head.startswith(magic.lower()):
            return name
    return "bytes that are no image"
