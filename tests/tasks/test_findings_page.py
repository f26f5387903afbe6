"""The pictures of the findings' page."""

import io
import re
import shutil
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from datasets import class_folders
from PIL import Image
from test_validate import run

SIZE = (64, 48)


def pictures(out: Path) -> list[Image.Image]:
    page = (out / "report/findings.html").read_text()
    return [Image.open(io.BytesIO(b64decode(data))) for data in re.findall(r"base64,([^\"]+)", page)]


@pytest.mark.parametrize("orientation", range(2, 9))
def test_pictures_are_upright(orientation: int, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data")
    shown = Image.new("RGB", SIZE, "black")
    shown.paste("red", (0, 0, 32, 24))  # in the upper left corner, once it is upright
    shown.paste("white", (32, 0, 64, 24))
    exif = Image.Exif()
    exif[0x0112] = orientation
    turn = {
        2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]  # fmt: skip
    shown.transpose(turn).save(root / "cat/005.jpg", exif=exif, quality=95, subsampling=0)
    run(root, tmp_path)
    (picture,) = pictures(tmp_path)
    assert picture.size == (160, 120)
    pixels = np.asarray(picture.convert("RGB")).astype(int)
    assert np.abs(pixels[30, 40] - [255, 0, 0]).max() < 40
    assert pixels[30, 120].min() > 215
    assert pixels[90].max() < 40


def lie(side: int) -> Callable[[bytes], bytes]:
    """Gives a PNG's header another size than its pixels have."""
    return lambda data: data[:16] + side.to_bytes(4, "big") * 2 + data[24:]


@pytest.mark.parametrize("harm", [lambda data: data[:40], lambda data: b"", lie(10_000), lie(40_000)])
def test_what_cannot_be_shown_has_no_picture(harm: Callable[[bytes], bytes], tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data")
    Image.new("RGB", SIZE, "red").save(root / "cat/100.png")
    (root / "cat/100.png").write_bytes(harm((root / "cat/100.png").read_bytes()))
    run(root, tmp_path, on_error="quarantine")
    assert pictures(tmp_path) == []


def test_a_browser_shows_the_page_offline(tmp_path: Path) -> None:
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no chromium here: apt-get install chromium")
    from playwright.sync_api import sync_playwright

    root = class_folders(tmp_path / "data")
    for index in range(5):
        Image.new("RGB", SIZE, (0, 0, index)).save(root / f"cat/{100 + index}.png")
    (root / "dog/100.jpg").write_bytes((root / "cat/000.jpg").read_bytes())
    run(root, tmp_path, on_error="quarantine")
    flags = "--no-sandbox --disable-gpu --disable-background-networking --disable-component-update --no-first-run"
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=flags.split())
        page = browser.new_context(offline=True, viewport={"width": 1400, "height": 1400}).new_page()
        asked: list[str] = []
        problems: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: problems.append(message.text))
        page.on("pageerror", lambda error: problems.append(str(error)))
        url = (tmp_path / "report/findings.html").as_uri()
        page.goto(url)
        sizes = page.locator("img").evaluate_all("images => images.map(each => [each.complete, each.naturalWidth])")
        text = page.inner_text("body")
        browser.close()
    assert len(sizes) == len(pictures(tmp_path)) > 2
    assert all(complete and width > 0 for complete, width in sizes)
    assert [each for each in asked if not each.startswith("data:")] == [url]
    assert problems == []
    assert "goes on without 2 samples" in text
    assert "one label for one picture" in text
