"""Pixels that have to change: turned upright where EXIF says so, made smaller where a limit is set. Others stay in raw."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from blake3 import blake3
from PIL import Image

from sightline.preprocess import decode
from tasks.file_kinds import SUFFIX_OF
from tasks.masks import decode_rle, encode_rle
from tasks.parallel import parallel
from tasks.tables import BOX

QUALITY: Final = 95  # of JPEGs that are made smaller; without chroma subsampling


@dataclass(frozen=True)
class Change:
    """An image to write.

    Attributes:
        path: Relative to raw.
        target: Relative to the dataset.
        width: Of the copy, pixels.
        height: Of the copy, pixels.
    """

    path: str
    target: str
    width: int
    height: int


def rewrite(
    images: pd.DataFrame, objects: pd.DataFrame, raw: Path, out: Path, max_side: int | None, fixes: list[dict[str, str]]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Writes the images that have to change, on all cores; returns both tables as they are then.

    An upright copy is a PNG, so that nothing is lost; a smaller copy of a JPEG is a JPEG.

    Args:
        images: The table; `width` and `height` are those of the upright image.
        objects: The table, scaled with its images.
        raw: Where the images are.
        out: The dataset.
        max_side: The longer side may have so many pixels; None: any number.
        fixes: What is done is added.
    """
    too_large = images[["width", "height"]].max(axis=1) > (max_side or np.inf)
    wanted = images[(images["orientation"] != 1) | too_large]
    if wanted.empty:
        return images, objects
    changes = [_change(row, scaled((int(row.width), int(row.height)), max_side)) for row in wanted.itertuples()]
    for row, change in zip(wanted.itertuples(), changes, strict=True):
        is_smaller = (change.width, change.height) != (row.width, row.height)
        what = [f"EXIF orientation {row.orientation}"] if row.orientation != 1 else []
        what += [f"{row.width}x{row.height} to {change.width}x{change.height}"] if is_smaller else []
        fixes.append({"fix": "smaller" if is_smaller else "upright", "image_id": str(row.image_id), "what": ", ".join(what)})
    images = images.copy()
    values = {
        "store": ["dataset"] * len(changes),
        "path": [change.target for change in changes],
        "width": [change.width for change in changes],
        "height": [change.height for change in changes],
        "orientation": [1] * len(changes),
        "hash": list(parallel(partial(write, raw, out), changes, "transform", "images")),
    }
    for column, value in values.items():
        images.loc[wanted.index, column] = pd.Series(value, wanted.index).astype(images[column].dtype)
    return images, scale_objects(objects, wanted, images)


def scaled(size: tuple[int, int], max_side: int | None) -> tuple[int, int]:
    """Width and height with at most `max_side` pixels on the longer side, at least 1 on the other; sizes round half to even."""
    if not max_side or max(size) <= max_side:
        return size
    return max(1, round(size[0] * max_side / max(size))), max(1, round(size[1] * max_side / max(size)))


def write(raw: Path, out: Path, change: Change) -> str:
    """Writes one image; returns the BLAKE3 of the file."""
    target = out / change.target
    target.parent.mkdir(parents=True, exist_ok=True)
    upright = Image.fromarray(decode((raw / change.path).read_bytes()))
    if upright.size != (change.width, change.height):
        upright = upright.resize((change.width, change.height), Image.Resampling.LANCZOS)
    if target.suffix == ".jpg":
        upright.save(target, "JPEG", quality=QUALITY, subsampling=0)
    else:
        upright.save(target, "PNG", compress_level=4)
    return blake3(target.read_bytes()).hexdigest()


def scale_objects(objects: pd.DataFrame, before: pd.DataFrame, after: pd.DataFrame) -> pd.DataFrame:
    """Objects whose boxes, polygons and masks follow their images from the sizes in `before` to those in `after`."""
    names = ["image_id", "width", "height"]
    sizes = before[names].merge(after[names], on="image_id", suffixes=("_old", "_new"))
    is_changed = (sizes["width_old"] != sizes["width_new"]) | (sizes["height_old"] != sizes["height_new"])
    sizes = sizes[is_changed].set_index("image_id")
    scaled = objects[objects["image_id"].isin(sizes.index)].copy()
    if scaled.empty:
        return objects
    of_object = sizes.loc[scaled["image_id"]]
    x, y = (of_object[f"{side}_new"].to_numpy(np.float64) / of_object[f"{side}_old"].to_numpy() for side in ("width", "height"))
    scaled[BOX] = scaled[BOX].to_numpy(np.float64) * np.stack([x, y, x, y], axis=1)
    scaled["polygons"] = [
        None if polygons is None else [np.asarray(each, np.float64) * np.resize([a, b], len(each)) for each in polygons]
        for polygons, a, b in zip(scaled["polygons"], x, y, strict=True)
    ]
    scaled["rle"] = [
        _scale_rle(counts, *size) if isinstance(counts, str) else None
        for counts, *size in zip(scaled["rle"], *(of_object[name] for name in of_object), strict=True)
    ]
    return pd.concat([objects[~objects.index.isin(scaled.index)], scaled])


def _scale_rle(rle: str, width: int, height: int, new_width: int, new_height: int) -> str:
    """A mask in COCO's code in another size, by the nearest pixel."""
    pixels = Image.fromarray(decode_rle(rle, (int(width), int(height))))
    return encode_rle(np.asarray(pixels.resize((int(new_width), int(new_height)), Image.Resampling.NEAREST)))


def _change(row: Any, size: tuple[int, int]) -> Change:
    """How an image is written."""
    is_jpeg = size != (row.width, row.height) and Path(row.path).suffix.lower() in SUFFIX_OF["JPEG"]
    return Change(row.path, f"images/{row.image_id}{'.jpg' if is_jpeg else '.png'}", *size)
