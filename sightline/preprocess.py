"""From encoded images to a model's input: the only evaluation transform, for validation, benchmark and service alike.

Pillow decodes, applies the EXIF orientation, converts to RGB and resamples (its kernels are antialiased when they reduce).
Sizes round half up; the letterbox pads to the right and below only, so that coordinates differ by a scale alone.
"""

import io
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from sightline.contract import MAX_PIXELS, Input
from sightline.errors import SightlineError

KERNELS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")  # not all that Pillow reads: some of it runs programs
BROKEN: Final = (
    OSError, SyntaxError, ValueError, EOFError, TypeError, LookupError, ArithmeticError, NotImplementedError, AttributeError,
    struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises of bytes that are made to harm: not all of it is its own."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image upright, by its EXIF orientation (EXIF 2.32, section 4.6.4)."""


@dataclass(frozen=True)
class Placement:
    """Where an image lies in the model's input.

    Attributes:
        width: Of the image, pixels.
        height: Of the image, pixels.
        scale_x: Input pixels per image pixel.
        scale_y: Input pixels per image pixel.
    """

    width: int
    height: int
    scale_x: float
    scale_y: float

    def to_image(self, boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """Boxes (M, 4) xyxy from input pixels to image pixels, clipped to the image."""
        scaled = boxes / np.array([self.scale_x, self.scale_y] * 2, np.float32)
        return np.clip(scaled, 0, np.array([self.width, self.height] * 2, np.float32))

    def map_to_image(self, cells: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A map of the input's pixels, uint8 (H, W), to one of the image's: to each the input pixel that its centre lies in."""
        rows, columns = (
            np.minimum(((np.arange(side) + 0.5) * scale).astype(np.intp), round(side * scale) - 1)
            for side, scale in ((self.height, self.scale_y), (self.width, self.scale_x))
        )
        return cells[rows[:, None], columns]


def decode(data: bytes, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decodes an image to uint8 (H, W, 3) RGB, its EXIF orientation applied.

    Raises:
        SightlineError: The bytes are no image, a broken one, or one of more than `max_pixels`.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise SightlineError(
                    f"image of {image.width}x{image.height}, expected at most {max_pixels} pixels: send a smaller one"
                )
            image.load()  # which turns a TIFF by itself, and then says so
            turn = TURNS.get(image.getexif().get(0x0112, 1))
            upright = image if turn is None else image.transpose(turn)
            return np.asarray(upright.convert("RGB"))
    except UnidentifiedImageError:
        raise SightlineError(f"{len(data)} bytes that are no image: send a JPEG, PNG or WebP") from None
    except BROKEN as error:
        raise SightlineError(f"broken image ({error}): send it again, whole") from error


def prepare(image: NDArray[np.uint8], spec: Input) -> tuple[NDArray[np.uint8], Placement]:
    """Resizes uint8 (H, W, 3) RGB to the model's input, uint8 (spec.height, spec.width, 3) RGB."""
    height, width = image.shape[:2]
    if spec.resize == "letterbox":
        scale = min(spec.width / width, spec.height / height)
        size = (max(1, math.floor(width * scale + 0.5)), max(1, math.floor(height * scale + 0.5)))
    else:
        size = (spec.width, spec.height)
    placement = Placement(width, height, size[0] / width, size[1] / height)
    resized = image if size == (width, height) else np.asarray(Image.fromarray(image).resize(size, KERNELS[spec.kernel]))
    if resized.shape[:2] == (spec.height, spec.width):
        return np.ascontiguousarray(resized), placement
    canvas = np.empty((spec.height, spec.width, 3), np.uint8)
    canvas[:] = spec.fill
    canvas[: size[1], : size[0]] = resized
    return canvas, placement


def prepare_batch(images: Sequence[NDArray[np.uint8]], spec: Input) -> tuple[NDArray[np.uint8], list[Placement]]:
    """Prepares several images: uint8 (N, spec.height, spec.width, 3) RGB, and each one's placement."""
    prepared = [prepare(image, spec) for image in images]
    return np.stack([image for image, _ in prepared]), [placement for _, placement in prepared]
