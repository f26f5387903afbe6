"""A sheet of sample pictures with their ground truth, for the eye."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from sightline.preprocess import decode
from tasks.draw import draw
from tasks.masks import IGNORE, decode_rle
from tasks.tables import Sample

BOXED: Final = (4, 3, 280)
WHOLE: Final = (8, 4, 160)
"""Columns, rows, and the width of a picture in pixels."""
TINT: Final = 0.5
"""The weight of a class's colour over the picture, 0-1."""
COLOURS: Final = 10
"""Classes further on begin with the first colour again."""
GAP: Final = 8
CAPTION: Final = 18
"""Height of the line below a picture, pixels."""
INK: Final = (40, 40, 40)
PAPER: Final = (255, 255, 255)

Colour = tuple[int, int, int]


def contact_sheet(samples: Sequence[Sample], objects: pd.DataFrame, classes: Sequence[str], path: Path) -> None:
    """Writes a PNG of some samples: boxes with class names, polygons and masks as colours, or the class below the picture.

    Args:
        samples: A split. Drawn by a hash, every class among them where there is room.
        objects: The dataset's table, for polygons and masks of objects.
        classes: Class names; the index is the label.
        path: The PNG.
    """
    boxed = any(sample.mask is not None or np.isfinite(sample.boxes).any() for sample in samples)
    columns, rows, width = BOXED if boxed else WHOLE
    chosen = choose(samples, len(classes), columns * rows)
    if not boxed:
        chosen = sorted(chosen, key=lambda sample: (sample.labels[:1].tolist(), sample.image_id))
    columns = min(columns, len(chosen))
    aspect = float(np.median([sample.height / sample.width for sample in chosen]))
    height = round(width * min(max(aspect, 0.5), 1.5))
    lines = -(-len(chosen) // columns)
    size = (columns * (width + GAP) + GAP, lines * (height + CAPTION + GAP) + GAP)
    sheet = Image.new("RGB", size, PAPER)
    for place, sample in enumerate(chosen):
        x, y = GAP + place % columns * (width + GAP), GAP + place // columns * (height + CAPTION + GAP)
        picture = _picture(sample, objects[objects["image_id"] == sample.image_id], classes, width, height)
        sheet.paste(picture, (x + (width - picture.width) // 2, y + (height - picture.height) // 2))
        text = sample.image_id if boxed else ", ".join(classes[int(label)] for label in sample.labels)
        _caption(sheet, (x, y + height), width, text)
    _with_palette(sheet).save(path, optimize=True)


def choose(samples: Sequence[Sample], classes: int, count: int) -> list[Sample]:
    """At most `count` samples by image_id, an even number for each class where there is room."""
    samples_of: dict[int, list[Sample]] = defaultdict(list)
    for sample in samples:
        for label in set(sample.labels.tolist()):
            samples_of[label].append(sample)
    chosen: dict[str, Sample] = {}
    for label in sorted(samples_of):
        share = min(max(1, count // classes), count - len(chosen))
        if not share:
            break
        rest = [sample for sample in samples_of[label] if sample.image_id not in chosen]
        chosen |= {sample.image_id: sample for sample in draw(rest, share)}
    rest = [sample for sample in samples if sample.image_id not in chosen]
    chosen |= {sample.image_id: sample for sample in draw(rest, count - len(chosen))}
    return [chosen[name] for name in sorted(chosen)]


def _picture(sample: Sample, objects: pd.DataFrame, classes: Sequence[str], width: int, height: int) -> Image.Image:
    """The image, fitted into `width` x `height` pixels, its objects on it; small ones are enlarged."""
    image = Image.fromarray(decode(sample.path.read_bytes()))
    scale = min(width / image.width, height / image.height)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    picture = image.resize(size, Image.Resampling.LANCZOS)
    if sample.mask is not None:
        with Image.open(sample.mask, formats=("PNG",)) as opened:
            picture = _tint(picture, np.asarray(opened.resize(picture.size, Image.Resampling.NEAREST)))
    if objects["polygons"].notna().any() or objects["rle"].notna().any():
        picture = _tint(picture, _shapes(objects, sample, picture.size, scale))
    pen = ImageDraw.Draw(picture)
    font = _font(10)
    boxed = np.isfinite(sample.boxes).all(axis=1)
    marks = [(box * scale, int(label)) for box, label in zip(sample.boxes[boxed], sample.labels[boxed], strict=True)]
    for (xmin, ymin, xmax, ymax), label in marks:
        right, below = max(round(xmin), round(xmax) - 1), max(round(ymin), round(ymax) - 1)
        pen.rectangle((round(xmin), round(ymin), right, below), outline=_colour(label), width=2)
    for (xmin, ymin, _, _), label in marks:
        wide = round(pen.textlength(classes[label], font=font)) + 3
        x, y = max(0, min(round(xmin), picture.width - 1 - wide)), max(0, round(ymin) - 12)
        pen.rectangle((x, y, x + wide, y + 12), fill=_colour(label))
        pen.text((x + 2, y), classes[label], font=font, fill=PAPER)
    return picture


def _shapes(objects: pd.DataFrame, sample: Sample, size: tuple[int, int], scale: float) -> NDArray[np.uint8]:
    """The objects' polygons and masks as colours, uint8 (H, W), in a picture of `size`; `IGNORE` where there is none."""
    painted = Image.new("L", size, IGNORE)
    pen = ImageDraw.Draw(painted)
    for row in objects.itertuples():
        colour = int(row.label) % COLOURS
        if isinstance(row.rle, str):
            region = Image.fromarray(decode_rle(row.rle, (sample.width, sample.height)))
            painted.paste(colour, mask=region.resize(size, Image.Resampling.NEAREST))
        elif row.polygons is not None:
            for polygon in row.polygons:
                pen.polygon([float(value) * scale for value in polygon], fill=colour)
    return np.asarray(painted)


def _tint(picture: Image.Image, labels: NDArray[np.uint8]) -> Image.Image:
    """The picture with the colour of each pixel's class over it; ignored pixels stay as they are."""
    colours = np.array([_colour(label) for label in range(256)], np.uint8)[labels]
    weights = np.where(labels == IGNORE, 0, TINT)[..., None]
    return Image.fromarray(np.uint8(np.asarray(picture) * (1 - weights) + colours * weights))


def _with_palette(sheet: Image.Image) -> Image.Image:
    """The sheet in 256 colours, which takes less than half the bytes and looks the same."""
    palette = sheet.quantize(256, Image.Quantize.FASTOCTREE)
    return sheet.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG)


def _caption(sheet: Image.Image, corner: tuple[int, int], width: int, text: str) -> None:
    """One line, centred below a picture, cut where it is too long."""
    pen, font = ImageDraw.Draw(sheet), _font(12)
    while pen.textlength(text, font=font) > width and len(text) > 1:
        text = text.removesuffix("…")[:-1] + "…"
    pen.text((corner[0] + width / 2, corner[1] + CAPTION / 2), text, font=font, fill=INK, anchor="mm")


def _colour(label: int) -> Colour:
    red, green, blue, _ = mpl.colormaps["tab10"](label % COLOURS, bytes=True)
    return int(red), int(green), int(blue)


def _font(size: int) -> ImageFont.FreeTypeFont:
    """The font that matplotlib brings, so that every machine draws the same."""
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf", size)
