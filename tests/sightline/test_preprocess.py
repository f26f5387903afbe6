import io
from pathlib import Path

import numpy as np
import pytest
from graphs import jpeg
from PIL import Image, ImageOps

from sightline.contract import Input
from sightline.errors import SightlineError
from sightline.preprocess import decode, prepare, prepare_batch


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_decodes_to_rgb(kind: str) -> None:
    image = decode(jpeg((200, 100, 50), (20, 10), kind))
    assert (image.shape, image.dtype) == ((10, 20, 3), np.uint8)
    np.testing.assert_allclose(image[5, 5], [200, 100, 50], atol=4)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "1", "CMYK", "I;16"])
def test_every_mode_becomes_rgb(mode: str) -> None:
    stream = io.BytesIO()
    Image.new(mode, (6, 4)).save(stream, "TIFF")
    assert decode(stream.getvalue()).shape == (4, 6, 3)


def test_applies_the_exif_orientation() -> None:
    image = Image.new("RGB", (20, 10), (0, 0, 0))
    image.paste((255, 255, 255), (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    stream = io.BytesIO()
    image.save(stream, "JPEG", exif=exif)
    upright = decode(stream.getvalue())
    assert upright.shape == (20, 10, 3)
    assert upright[2, 5].min() > 200
    assert upright[17, 5].max() < 50


def test_exif_of_a_wrong_type_does_not_keep_an_image_from_being_turned() -> None:
    entries = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00\x06\x00\x00" + b"\x01\x1a\x00\x02\x00\x00\x00\x0272\x00\x00"
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x02" + entries + bytes(4)  # the resolution is a text
    stream = io.BytesIO()
    Image.new("RGB", (20, 10)).save(stream, "JPEG", exif=exif)
    assert decode(stream.getvalue()).shape == (20, 10, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(10))
def test_every_orientation_is_turned_as_pillow_does(orientation: int, kind: str) -> None:
    """Pillow turns a TIFF when it loads it, and any other image when it is asked to."""
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (10, 20, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    png, stream = io.BytesIO(), io.BytesIO()
    image.save(png, "PNG", exif=exif)
    image.save(stream, kind, exif=exif)
    with Image.open(png) as saved:
        np.testing.assert_array_equal(decode(stream.getvalue()), np.asarray(ImageOps.exif_transpose(saved)))


def test_a_packed_tiff_is_turned_once() -> None:
    image = Image.fromarray(np.random.default_rng(0).integers(0, 255, (10, 20, 3), np.uint8))
    stream = io.BytesIO()
    image.save(stream, "TIFF", compression="tiff_lzw", tiffinfo={0x0112: 6})
    np.testing.assert_array_equal(decode(stream.getvalue()), np.asarray(image.transpose(Image.Transpose.ROTATE_270)))


def test_a_format_that_runs_programs_is_no_image() -> None:
    with pytest.raises(SightlineError, match="no image: send a JPEG"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n")


@pytest.mark.parametrize("size", [0, 1, 100])
def test_noise_is_no_image(size: int) -> None:
    with pytest.raises(SightlineError, match=f"{size} bytes that are no image"):
        decode(b"\x01" * size)


def test_a_truncated_image_is_broken(real_data: Path) -> None:
    path = sorted((real_data / "bccd" / "JPEGImages").glob("*.jpg"))[0]
    with pytest.raises(SightlineError, match="broken image"):
        decode(path.read_bytes()[:4000])


def test_too_many_pixels_are_refused_before_they_are_decoded() -> None:
    with pytest.raises(SightlineError, match="image of 20x10, expected at most 199 pixels"):
        decode(jpeg((0, 0, 0), (20, 10)), max_pixels=199)


def test_letterbox_pads_right_and_below() -> None:
    image, placement = prepare(np.full((50, 100, 3), 7, np.uint8), Input(64, 32, "letterbox"))
    assert image.shape == (64, 32, 3)
    assert (image[:16] == 7).all()
    assert (image[16:] == 114).all()
    assert (placement.scale_x, placement.scale_y) == (0.32, 0.32)


def test_stretch_fills_the_input() -> None:
    image, placement = prepare(np.full((50, 100, 3), 7, np.uint8), Input(64, 32, "stretch"))
    assert (image == 7).all()
    assert (placement.scale_x, placement.scale_y) == (0.32, 1.28)


def test_a_batch_is_its_images() -> None:
    images = [np.full((8 * n, 16, 3), n, np.uint8) for n in (1, 2, 3)]
    batch, placements = prepare_batch(images, Input(32, 32, "letterbox"))
    assert (batch.shape, batch.flags.c_contiguous, len(placements)) == ((3, 32, 32, 3), True, 3)
    for image, one in zip(images, batch, strict=True):
        np.testing.assert_array_equal(one, prepare(image, Input(32, 32, "letterbox"))[0])
