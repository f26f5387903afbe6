"""Decodes images for validation: strictly, so that a decoder's warnings count, and in grey, which is less work."""

import re
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_BITS_PER_SAMPLE: Final = 258  # TIFF 6.0, section 8
_DEEPEST: Final = 64  # bits of a channel; a header may say anything, in numbers of any kind
FILLING: Final = 16
"""Bytes that may stand between a JPEG's pixels and its end, as cameras fill them; more are left of pixels that went wrong."""
_FILLING: Final = re.compile(r"(\d+) extraneous bytes before marker 0xd9")
_SCAN: Final = re.compile(rb"(\xff\xda\x00(?:\x08\x01.{2}|\x0a\x02.{4}|\x0c\x03.{6}|\x0e\x04.{8})).{3}", re.DOTALL)
_JFIF: Final = re.compile(rb"(\xff\xe0..JFIF\x00).", re.DOTALL)
_ADOBE: Final = re.compile(rb"(\xff\xee..Adobe.{6}).", re.DOTALL)
"""Before the bytes of a JPEG's header that libjpeg warns of: of a scan (ITU-T T.81, section B.2.3), the revision of JFIF, and
the transform of colours (Adobe Technical Note 5116, section 18)."""


def decode_grey(image: Image.Image, data: bytes) -> tuple[NDArray[np.uint8] | None, str, str]:
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


def is_transparent(image: Image.Image, mode: str) -> bool:
    """Whether a pixel is not opaque; the image may not have been loaded."""
    if mode.endswith("+alpha"):
        image = image.convert("RGBA")
    if "A" not in image.getbands():
        return False
    return bool(np.asarray(image.getchannel("A")).min() < 255)


def bits_of(image: Image.Image, data: bytes) -> int:
    """Bits of a channel; Pillow keeps the upper 8 of 16 in colour images, and says so nowhere."""
    if image.format == "PNG":
        return max(8, data[24])  # PNG 3rd edition, section 11.2.1
    if image.format == "TIFF":
        given = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, (8,))
        return int(min(max(8, *given), _DEEPEST)) if isinstance(given, tuple) else 8
    return 8
