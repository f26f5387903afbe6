"""Duplicates: what is found, and what is not called one."""

import io
from pathlib import Path

import numpy as np
import pytest
from datasets import picture, tables
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from tasks import duplicates
from tasks.duplicate_rules import measure_groups, measure_images, suites_of
from tasks.duplicates import NEAR_BITS, PLAIN_SHARE, Duplicates, near_groups
from tasks.scan import Scan, Scans, images, scan


def find(root: Path) -> tuple[Scans, Duplicates]:
    scans = scan(root, images(root, root), 50_000_000)
    return scans, duplicates.find(scans, root, 50_000_000)


def photograph(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A picture with large and small things in it."""
    rng = np.random.default_rng(seed)
    scene = Image.fromarray(rng.integers(0, 255, (9, 12, 3), np.uint8)).resize(size, Image.Resampling.BICUBIC)
    pen = ImageDraw.Draw(scene)
    for _ in range(12):
        x, y = int(rng.integers(0, size[0])), int(rng.integers(0, size[1]))
        pen.ellipse((x, y, x + int(rng.integers(8, 80)), y + int(rng.integers(8, 60))), fill=tuple(rng.integers(0, 255, 3)))
    return scene


def cropped(image: Image.Image) -> Image.Image:
    x, y = image.width // 100, image.height // 100
    return image.crop((x, y, image.width - x, image.height - y))


SAVED_AGAIN = {"png": {}, "jpg": {"quality": 60}, "webp": {"quality": 80}}
NEAR = {
    "half the size": lambda image: image.resize((160, 120), Image.Resampling.LANCZOS),
    "twice the size": lambda image: image.resize((640, 480), Image.Resampling.BICUBIC),
    "cropped": cropped,
    "brightened": lambda image: ImageEnhance.Brightness(image).enhance(1.15),
}


@pytest.mark.parametrize("suffix", SAVED_AGAIN)
def test_a_picture_that_was_saved_again_is_the_same(suffix: str, tmp_path: Path) -> None:
    photograph(1).save(tmp_path / "a.jpg", quality=92)
    Image.open(tmp_path / "a.jpg").save(tmp_path / f"b.{suffix}", **SAVED_AGAIN[suffix])
    photograph(2).save(tmp_path / "c.jpg")
    scans, found = find(tmp_path)
    pair = {scans["a.jpg"].digest, scans[f"b.{suffix}"].digest}
    assert found.same == found.near == dict.fromkeys(pair, min(pair))


@pytest.mark.parametrize("change", NEAR)
def test_a_picture_that_was_changed_a_little_is_near_and_not_the_same(change: str, tmp_path: Path) -> None:
    for seed in range(8):
        photograph(seed).save(tmp_path / f"{seed}.jpg", quality=92)
    NEAR[change](photograph(3)).save(tmp_path / "changed.jpg", quality=92)
    scans, found = find(tmp_path)
    pair = {scans["3.jpg"].digest, scans["changed.jpg"].digest}
    assert found.near == dict.fromkeys(pair, min(pair))
    assert not found.same


def test_a_frame_in_which_something_moved_is_near_and_not_the_same(tmp_path: Path) -> None:
    for index, x in enumerate((100, 112)):
        frame = photograph(1)
        ImageDraw.Draw(frame).rectangle((x, 100, x + 16, 116), fill=(255, 0, 0))
        frame.save(tmp_path / f"{index}.png")
    scans, found = find(tmp_path)
    assert set(found.near) == {item.digest for item in scans.values()}
    assert not found.same


def test_a_turned_picture_is_the_same_as_its_upright_copy(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    photograph(1).save(tmp_path / "turned.jpg", exif=exif, quality=95)
    photograph(1).transpose(Image.Transpose.ROTATE_270).save(tmp_path / "upright.png")
    assert len(find(tmp_path)[1].same) == 2


def test_plain_pictures_are_not_near_one_another(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    across = np.linspace(0, 200, 320).astype(np.uint8)
    for index in range(20):
        even = np.full((240, 320), 20 + 10 * index) + rng.normal(0, 2, (240, 320))
        Image.fromarray(even.astype(np.uint8)).save(tmp_path / f"even{index}.png")
        Image.fromarray(np.full((240, 320), 10 * index, np.uint8)).save(tmp_path / f"constant{index}.png")
        Image.fromarray(np.tile((across if index % 2 else across[::-1]) + index, (240, 1))).save(tmp_path / f"slope{index}.png")
        icon = Image.new("L", (320, 240), 250)
        x, y = rng.integers(20, 200), rng.integers(20, 140)
        ImageDraw.Draw(icon).rectangle((x, y, x + rng.integers(10, 60), y + rng.integers(10, 60)), fill=60)
        icon.save(tmp_path / f"icon{index}.jpg")
    assert find(tmp_path)[1] == Duplicates({}, {})


def test_different_pictures_are_not_near(tmp_path: Path) -> None:
    for seed in range(200):
        picture(tmp_path / f"{seed}.jpg", seed)
        photograph(seed, (64, 64)).save(tmp_path / f"p{seed}.png")
    assert find(tmp_path)[1] == Duplicates({}, {})


def test_a_broken_image_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no image")
    assert find(tmp_path)[1] == Duplicates({}, {})


def test_what_is_too_small_or_too_plain_to_be_compared_is_named(tmp_path: Path) -> None:
    photograph(1).save(tmp_path / "a.png")
    photograph(2, (31, 31)).save(tmp_path / "small.png")
    Image.new("L", (64, 64), 90).save(tmp_path / "plain.png")
    (tmp_path / "broken.png").write_bytes(b"no image")
    scans, _ = find(tmp_path)
    assert [scans.paths[row] for row in duplicates.not_compared(scans)] == ["plain.png", "small.png"]
    headers = scan(tmp_path, images(tmp_path, tmp_path), 50_000_000, decode=False)
    assert len(duplicates.not_compared(headers)) == 0


@pytest.mark.parametrize("size", [(28, 28), (20, 64), (64, 48)])
def test_what_has_no_look_is_the_same_where_all_pixels_are_equal(size: tuple[int, int], tmp_path: Path) -> None:
    small = photograph(1, size) if min(size) < 32 else Image.new("RGB", size, (90, 20, 20))
    small.save(tmp_path / "a.png")
    small.save(tmp_path / "b.bmp")
    exif = Image.Exif()
    exif[0x0112] = 6
    small.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "c.png", exif=exif)
    small.putpixel((3, 3), (0, 200, 0))
    small.save(tmp_path / "d.png")
    photograph(2, size).save(tmp_path / "e.png")
    scans, found = find(tmp_path)
    alike = [scans[name].digest for name in ("a.png", "b.bmp", "c.png")]
    assert found.same == found.near == dict.fromkeys(alike, min(alike))


def test_even_pictures_of_two_colours_that_are_as_bright_are_two(tmp_path: Path) -> None:
    for index in range(5):
        Image.new("RGB", (64, 48), (0, 0, index)).save(tmp_path / f"{index}.png")
    scans, found = find(tmp_path)
    assert len({scan.pixels for scan in scans.values()}) == 1
    assert found == Duplicates({}, {})


def test_what_moves_to_near_duplicates_is_told() -> None:
    found = tables([(0, 1, 1, 20, 20, False)] * 10)
    found.images["split"] = ["train"] * 6 + ["val"] * 2 + ["test"] * 2
    found.images["group"] = ["000"] * 4 + ["004", "005", "006", "007", "000", "009"]
    images = measure_images(found, Duplicates({}, {}))
    assert measure_groups(images)["got"].tolist() == [
        "5 near duplicates (1 in test, 4 in train; 4 to move to test): 000.jpg, 001.jpg, 002.jpg, ..."
    ]
    for count, is_told in ((4, True), (6, True), (8, False)):
        suite = suites_of(images, {"train": count, "val": 2, "test": 2})["moves"]
        assert [check.breaks(suite.frame).tolist() for check in suite.checks] == [[is_told]]
        (got,) = suite.frame["got"]
        assert got.startswith(f"4 of {count} images of train that would move")
        assert got.endswith("none that stays") == (count == 4)


def brute_force(looks: np.ndarray) -> list[int]:
    bits = np.unpackbits(looks, axis=1).astype(int)
    count = bits.sum(axis=1)
    told = np.minimum(count, 256 - count)
    limit = np.minimum(NEAR_BITS, np.minimum(told[:, None], told[None]) // PLAIN_SHARE)
    near = (bits[:, None] != bits[None]).sum(axis=2) <= limit
    labels = np.arange(len(looks))
    while True:
        least = np.array([min(labels[near[row] | (np.arange(len(looks)) == row)]) for row in range(len(looks))])
        if np.array_equal(least, labels):
            return labels.tolist()
        labels = least


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.05, 0.95))
def test_groups_are_those_of_all_pairs(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    bits = rng.random((60, 256)) < share
    for row in range(20, 60):  # changed copies, some of them of copies
        bits[row] = bits[rng.integers(0, row)]
        bits[row, rng.choice(256, rng.integers(1, 20), replace=False)] ^= True
    looks = np.unique(np.packbits(bits, axis=1), axis=0)
    assert near_groups(looks).tolist() == brute_force(looks)


def test_many_pictures_that_all_look_the_same_take_little_time_and_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = io.BytesIO()
    photograph(1).save(data, "PNG")
    look = scan_of(data.getvalue(), tmp_path)
    scans = [look._replace(path=f"{index}", digest=f"{index:064}", width=320 + index) for index in range(50_000)]
    film = Scans([scan.path for scan in scans], scans)
    monkeypatch.setattr(Scans, "at", None)  # a scan takes six times its record
    found = duplicates.find(film, tmp_path, 1)
    assert set(found.near.values()) == {"0" * 64}


def scan_of(data: bytes, folder: Path) -> Scan:
    (folder / "a.png").write_bytes(data)
    return scan(folder, ["a.png"], 50_000_000)["a.png"]
