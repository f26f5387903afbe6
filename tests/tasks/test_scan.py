"""What an image file is, and that no bytes harm."""

import errno
import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin

from sightline.errors import SightlineError
from tasks.image_rules import check_foreign, check_images
from tasks.looks import look_of
from tasks.scan import Scan, Scans, images, linked_folders, scan, scan_file, subfolders, walk

LIMIT = 1_000_000


def scene(size: tuple[int, int] = (64, 48), mode: str = "RGB") -> Image.Image:
    small = Image.fromarray(np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8))
    return small.resize(size, Image.Resampling.BICUBIC).convert(mode)


def encoded(kind: str, mode: str = "RGB", **settings: object) -> bytes:
    data = io.BytesIO()
    scene(mode=mode).save(data, kind, **settings)
    return data.getvalue()


def look_at(folder: Path, data: bytes, name: str = "a.png", *, decode: bool = True) -> Scan:
    (folder / name).write_bytes(data)
    return scan_file(folder, name, max_pixels=LIMIT, decode=decode)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_without_its_second_half() -> bytes:
    """A PNG whose chunks are all whole, its last pixels left out."""
    noise = np.random.default_rng(0).integers(0, 255, (48, 64 * 3 + 1), np.uint8)
    noise[:, 0] = 0
    packed = zlib.compress(noise.tobytes())
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", packed[: len(packed) // 2]) + chunk(b"IEND", b"")


KINDS = {
    "JPEG": encoded("JPEG"), "PNG": encoded("PNG"), "WEBP": encoded("WEBP"), "BMP": encoded("BMP"), "TIFF": encoded("TIFF"),
    "GIF": encoded("GIF"),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_a_whole_image(kind: str, tmp_path: Path) -> None:
    found = look_at(tmp_path, KINDS[kind])
    assert (found.code, found.kind, found.width, found.height, found.frames, found.bits) == ("", kind, 64, 48, 1, 8)
    assert len(found.look) == 32
    assert 0 <= found.darkest <= found.brightness <= found.lightest <= 255
    assert not found.transparent


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (KINDS["JPEG"][:-300], "JPEG"),
        (KINDS["JPEG"][:-300] + b"\xff\xd9", "JPEG"),
        (encoded("JPEG", "CMYK")[:-300] + b"\xff\xd9", "JPEG"),
        (KINDS["PNG"][:-300], "truncated"),
        (png_without_its_second_half(), "truncated"),
        (KINDS["WEBP"][:-30], ""),
        (KINDS["BMP"][:-300], "truncated"),
        (KINDS["GIF"][:-300], ""),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic", "a HEIC"),
        (b"%PDF-1.7", "a PDF"),
        (b"\n<svg width='1'>", "an SVG"),
        (b"8BPS\x00\x01", "a PSD"),
        (b"version https://git-lfs.github.com/spec/v1\n", "a Git LFS pointer"),
        (b"hello", "bytes that are no image"),
    ],
)
def test_what_is_no_whole_image_is_named(data: bytes, got: str, tmp_path: Path) -> None:
    found = look_at(tmp_path, data)
    assert found.code == "image.unreadable"
    assert got in found.got
    assert found.got


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation(kind: str, tmp_path: Path) -> None:
    data = io.BytesIO()
    scene().save(data, kind, save_all=True, append_images=[scene().rotate(90), scene().rotate(180)])
    assert look_at(tmp_path, data.getvalue()).frames == 2


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_only_a_pixel_that_is_not_opaque_makes_an_image_transparent(mode: str, tmp_path: Path) -> None:
    for alpha in (255, 100):
        image = scene(mode="RGBA")
        image.paste((0, 0, 0, alpha), (0, 0, 20, 20))
        data = io.BytesIO()
        (image.quantize() if mode == "P" else image.convert(mode)).save(data, "PNG")
        assert look_at(tmp_path, data.getvalue()).transparent == (alpha < 255)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_of_16_bits_would_turn_white(kind: str, tmp_path: Path) -> None:
    for high, code in ((65_535, "image.deep"), (200, "")):
        data = io.BytesIO()
        Image.fromarray(np.linspace(0, high, 64 * 48).reshape(48, 64).astype(np.uint16)).save(data, kind)
        found = look_at(tmp_path, data.getvalue())
        assert (found.code, found.bits) == (code, 16)


def test_fractions_would_turn_black(tmp_path: Path) -> None:
    data = io.BytesIO()
    Image.fromarray(np.linspace(0, 1, 64 * 48).reshape(48, 64).astype(np.float32)).save(data, "TIFF")
    assert look_at(tmp_path, data.getvalue()).code == "image.deep"


def test_colours_of_16_bits_are_told(tmp_path: Path) -> None:
    rows = b"".join(b"\x00" + bytes(64 * 6) for _ in range(48))
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 16, 2, 0, 0, 0))
    data = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    assert look_at(tmp_path, data).bits == 16


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_look_is_that_of_the_upright_image(orientation: int, kind: str, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    lying = {
        1: [], 2: [Image.Transpose.FLIP_LEFT_RIGHT], 3: [Image.Transpose.ROTATE_180], 4: [Image.Transpose.FLIP_TOP_BOTTOM],
        5: [Image.Transpose.TRANSPOSE], 6: [Image.Transpose.ROTATE_90], 7: [Image.Transpose.TRANSVERSE],
        8: [Image.Transpose.ROTATE_270],
    }  # fmt: skip
    image = scene()
    for step in lying[orientation]:
        image = image.transpose(step)
    data = io.BytesIO()
    image.save(data, kind, exif=exif)
    found = look_at(tmp_path, data.getvalue())
    assert (found.width, found.height, found.orientation) == (64, 48, orientation)
    assert look_at(tmp_path, data.getvalue(), decode=False)[:3] == found[:3], "name and size"
    assert found.look == look_of(scene().convert("L"))


@pytest.mark.parametrize("value", [b"\x00\x02\x00\x00\x00\x026\x00\x00\x00", b"\x00\x03\x00\x00\x00\x01\x00\x09\x00\x00"])
def test_an_orientation_that_is_none_is_upright(value: bytes, tmp_path: Path) -> None:
    exif = b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\x00\x01\x01\x12" + value + bytes(4)  # a text, and 9
    found = look_at(tmp_path, encoded("JPEG", exif=exif))
    assert (found.code, found.orientation) == ("", 1)


@pytest.mark.parametrize("size", [(31, 40), (64, 48)])
def test_what_is_too_small_or_too_plain_for_a_look_has_a_digest_of_its_pixels(size: tuple[int, int], tmp_path: Path) -> None:
    image = scene(size) if min(size) < 32 else Image.new("RGB", size, (90, 20, 20))
    digests = set()
    for kind in ("PNG", "BMP"):
        data = io.BytesIO()
        image.save(data, kind)
        found = look_at(tmp_path, data.getvalue())
        packed = scan(tmp_path, ["a.png"], LIMIT)["a.png"]
        assert found.look == packed.look == b""
        assert found.pixels == packed.pixels
        digests.add(found.pixels)
    assert [len(digest) for digest in digests] == [32]


def test_headers_alone_tell_when_nothing_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(KINDS["JPEG"][:-300])
    found = scan(tmp_path, ["a.jpg"], LIMIT, decode=False)["a.jpg"]
    assert (found.code, found.width, found.look, found.pixels) == ("", 64, b"", b"")


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_bytes_harm(kind: str, data: st.DataObject, tmp_path: Path) -> None:
    broken = bytearray(KINDS[kind])
    for place in data.draw(st.lists(st.integers(0, min(len(broken), 400) - 1), min_size=1, max_size=12)):
        broken[place] = data.draw(st.integers(0, 255))
    found = look_at(tmp_path, bytes(broken[: data.draw(st.integers(0, len(broken)))]))
    assert not found.code or found.got


def test_folders_below_folders_without_end(tmp_path: Path) -> None:
    deep = tmp_path
    while len(str(deep)) < 3_000:  # deeper than Python's calls may be
        deep /= "d"
        deep.mkdir()
    (deep / "a.jpg").write_bytes(b"")
    (tmp_path / "loop").symlink_to(tmp_path)
    (tmp_path / ".hidden").write_bytes(b"")
    (tmp_path / "b.jpg").write_bytes(b"")
    try:
        names = list(walk(tmp_path, tmp_path))
    finally:
        (deep / "a.jpg").unlink()
        while deep != tmp_path:  # pytest's own cleaning calls itself
            deep.rmdir()
            deep = deep.parent
    assert names[0] == "b.jpg"
    assert names[1].endswith("/d/a.jpg")
    assert names[1].count("/") > 1_000
    assert len(names) == 2


def close(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lets nobody list a folder, or open a file by its Path: permissions alone would not keep root out."""

    def closing(function: Callable[..., Any]) -> Callable[..., Any]:
        def ask(given: object = ".", *arguments: object, **settings: object) -> Any:
            if str(given) == str(path):
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(given))
            return function(given, *arguments, **settings)

        return ask

    monkeypatch.setattr(os, "scandir", closing(os.scandir))
    monkeypatch.setattr(io, "open", closing(io.open))


def test_a_folder_that_cannot_be_read_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "closed"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "b.jpg").touch()
    close(tmp_path / "closed", monkeypatch)
    names = walk(tmp_path, tmp_path)
    assert next(names) == "a/b.jpg"
    with pytest.raises(SightlineError, match="closed: Permission denied, expected what can be read: make it readable"):
        next(names)


def test_what_fsck_keeps_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lost+found").mkdir()
    (tmp_path / "a.jpg").touch()
    close(tmp_path / "lost+found", monkeypatch)
    assert list(walk(tmp_path, tmp_path)) == ["a.jpg"]
    assert subfolders(tmp_path) == []


def test_links_to_folders_are_named_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b.jpg").touch()
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "c").symlink_to(tmp_path / "a")
    (tmp_path / "d.jpg").symlink_to(tmp_path / "a/b.jpg")
    assert list(walk(tmp_path, tmp_path)) == ["d.jpg", "a/b.jpg"]
    assert linked_folders(tmp_path) == ["a/loop", "c"]
    assert subfolders(tmp_path) == [tmp_path / "a"]


@pytest.mark.parametrize("suffix", ["jpe", "jfif", "JFI"])
def test_a_jpeg_may_have_each_of_its_suffixes(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(KINDS["JPEG"])
    names = images(tmp_path, tmp_path)
    assert list(names) == [f"a.{suffix}"]
    assert list(check_images(scan(tmp_path, names, LIMIT))) == []


def test_images_of_other_formats_are_told() -> None:
    found = check_foreign(["a.hif", "b.APNG", "c.pcx", "d.jfif", "e.txt"])
    assert [(each.code, each.file) for each in found] == [("image.foreign", name) for name in ("a.hif", "b.APNG", "c.pcx")]


def refuse(*_: object) -> None:
    raise AssertionError("decoded")


@pytest.mark.parametrize("decode", [True, False])
def test_a_png_of_too_many_pixels_is_never_decoded(decode: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(KINDS["PNG"])
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", refuse)
    found = scan_file(tmp_path, "a.png", max_pixels=64 * 48 - 1, decode=decode)
    assert (found.code, found.got, found.width, found.height) == ("image.too_large", "64x48", 64, 48)


@pytest.mark.parametrize("decode", [True, False])
@pytest.mark.parametrize("kind", ["BMP", "PNG"])
def test_a_side_that_no_signed_number_holds_is_told(kind: str, decode: bool, tmp_path: Path) -> None:
    side, bmp = 2**31 + 1, KINDS["BMP"]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, 48, 8, 2, 0, 0, 0))
    png = b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
    (tmp_path / "a.png").write_bytes(png if kind == "PNG" else bmp[:18] + struct.pack("<I", side) + bmp[22:])
    found = scan(tmp_path, ["a.png"], LIMIT, decode=decode)["a.png"]
    assert (found.code, found.got, found.width, found.height) == ("image.too_large", f"{side}x48", side, 48)


def test_a_side_that_no_number_of_32_bits_holds_is_kept_as_the_greatest() -> None:
    found = Scans(["a.tif"], [Scan("a.tif", 2**40, 7, code="image.too_large", got=f"{2**40}x7")])["a.tif"]
    assert (found.width, found.height, found.got) == (2**32 - 1, 7, f"{2**40}x7")


@pytest.mark.parametrize("bits", [8, 70_000])
def test_a_tiff_may_say_anything_of_its_bits(bits: int, tmp_path: Path) -> None:
    """Pillow opens an image of more values of BitsPerSample than it has channels, and passes the rest over."""
    tags = {256: 1, 257: 1, 258: (8, bits), 259: 1, 262: 1, 273: 200, 277: 1, 278: 1, 279: 1}  # LONGs
    entries, more = b"", b""
    for tag, value in tags.items():
        values = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"<{len(values)}I", *values)
        place = packed if len(packed) == 4 else struct.pack("<I", 150)
        more = packed if len(packed) > 4 else more
        entries += struct.pack("<HHI", tag, 4, len(values)) + place
    data = b"II*\x00" + struct.pack("<IH", 8, len(tags)) + entries + bytes(4)
    (tmp_path / "a.tif").write_bytes(data.ljust(150, b"\0") + more.ljust(50, b"\0") + b"\x40")
    found = scan(tmp_path, ["a.tif"], LIMIT)["a.tif"]
    assert (found.code, found.width, found.bits) == ("", 1, min(bits, 64))


def test_headers_of_a_png_are_read_without_its_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.png").write_bytes(KINDS["PNG"])
    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", refuse)
    found = scan_file(tmp_path, "a.png", max_pixels=LIMIT, decode=False)
    assert (found.code, found.width, found.height) == ("", 64, 48)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_few_bytes_before_the_end_of_a_jpeg_harm_nothing(mode: str, tmp_path: Path) -> None:
    whole = encoded("JPEG", mode)
    found = look_at(tmp_path, whole[:-2] + bytes(16) + whole[-2:])
    assert found == look_at(tmp_path, whole)._replace(digest=found.digest)


def test_many_bytes_before_the_end_of_a_jpeg_are_pixels_that_went_wrong(tmp_path: Path) -> None:
    whole = KINDS["JPEG"]
    found = look_at(tmp_path, whole[:-2] + bytes(100) + whole[-2:])
    assert found.code == "image.unreadable"
    assert "extraneous" in found.got


def of_another_scan(jpeg: bytes) -> bytes:
    """With an end of the spectral selection that sequential JPEGs do not have."""
    at = jpeg.index(b"\xff\xda")
    end = at + 6 + 2 * jpeg[at + 4]
    return jpeg[:end] + b"\0" + jpeg[end + 1 :]


def of_another_revision(jpeg: bytes) -> bytes:
    return jpeg.replace(b"JFIF\0\1", b"JFIF\0\2", 1)


def of_another_transform(jpeg: bytes) -> bytes:
    """With Adobe's marker instead of JFIF's, or beside it."""
    if b"Adobe" in jpeg:  # of four channels
        at = jpeg.index(b"Adobe") + 11
        return jpeg[:at] + b"\x09" + jpeg[at + 1 :]
    return jpeg[:2] + b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0\x09" + jpeg[20:]


ODD = (of_another_scan, of_another_revision, of_another_transform)
"""What libjpeg warns of, and decodes all the same."""


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_what_libjpeg_warns_of_in_a_header_harms_nothing(odd: Callable[[bytes], bytes], mode: str, tmp_path: Path) -> None:
    whole = encoded("JPEG", mode)
    assert odd(whole) != whole
    found = look_at(tmp_path, odd(whole))
    assert found == look_at(tmp_path, whole)._replace(digest=found.digest)


def test_a_colour_transform_that_adobe_does_not_have_harms_no_cmyk(tmp_path: Path) -> None:
    found = look_at(tmp_path, of_another_transform(encoded("JPEG", "CMYK")))
    assert (found.code, found.mode, len(found.look)) == ("", "CMYK", 32)


def test_all_that_harms_nothing_may_come_together(tmp_path: Path) -> None:
    whole = encoded("JPEG")
    odd = of_another_revision(of_another_scan(whole))
    assert look_at(tmp_path, odd[:-2] + bytes(16) + odd[-2:]).code == ""


@pytest.mark.parametrize("odd", ODD)
def test_a_warning_of_the_header_hides_no_missing_pixels(odd: Callable[[bytes], bytes], tmp_path: Path) -> None:
    found = look_at(tmp_path, odd(KINDS["JPEG"])[:-300] + b"\xff\xd9")
    assert found.code == "image.unreadable"
    assert "Corrupt JPEG data" in found.got


def test_a_name_that_is_not_utf_8_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.close(os.open(os.fsencode(tmp_path) + b"/folder/caf\xe9.jpg", os.O_CREAT))
    with pytest.raises(SightlineError, match="which is not UTF-8: rename it"):
        list(walk(tmp_path, tmp_path))
    (tmp_path / "other").mkdir()
    (tmp_path / "other/caf\u00e9.jpg").touch()
    assert list(walk(tmp_path / "other", tmp_path)) == ["other/caf\u00e9.jpg"]
