"""A dataset's content hash: equal when the pixels, the splits, the classes and the ground truth are."""

import hashlib
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

from blake3 import blake3

from sightline.preprocess import decode
from tasks.parallel import parallel
from tasks.tables import BOX, Tables


def content_hash(tables: Tables, root: Path) -> str:
    """SHA-256, hexadecimal, over the class names in order and one entry an image, sorted.

    An entry holds the hash of the image's file, the size, the split, the hash of the mask's pixels, and the objects with
    their class's name. Of an image that `transform` wrote it holds the hash of the pixels: another version of the libraries
    that write PNG and JPEG gives other files of the same pixels. Names of images, the order of rows and where an object was
    read from change nothing.

    Args:
        tables: The canonical dataset's.
        root: Where `transform` wrote images and masks.
    """
    is_written = tables.images["store"] == "dataset"
    files = sorted({*tables.images.loc[is_written, "path"], *tables.images["mask"].dropna()})
    pixels = dict(zip(files, parallel(partial(pixel_hash, root), files, "fingerprint", "files"), strict=True)) if files else {}
    classes = tables.classes.sort_values("id")
    names = dict(zip(classes["id"], classes["name"], strict=True))
    objects: dict[str, list[str]] = {}
    row: Any
    for row in tables.objects.itertuples():
        box = [_number(getattr(row, side)) for side in BOX]
        entry = [names[row.label], box, _polygons(row.polygons), _given(row.rle), bool(row.iscrowd), bool(row.difficult)]
        objects.setdefault(str(row.image_id), []).append(_text(entry))
    images = []
    for row in tables.images.itertuples():
        truth = [pixels.get(row.mask), sorted(objects.get(str(row.image_id), []))]
        digest = pixels[row.path] if row.store == "dataset" else row.hash
        entry = [digest, int(row.width), int(row.height), row.split, *truth]
        images.append(_text(entry))
    return hashlib.sha256("\n".join([_text(list(names.values())), *sorted(images)]).encode()).hexdigest()


def pixel_hash(root: Path, name: str) -> str:
    """BLAKE3, hexadecimal, of the shape and the decoded pixels of an image file."""
    pixels = decode((root / name).read_bytes())
    return blake3(str(pixels.shape).encode() + pixels.tobytes()).hexdigest()


def _number(value: float) -> float | None:
    """A coordinate; none where there is no box. Adding 0 makes -0.0 the same as 0.0."""
    return None if math.isnan(value) else float(value) + 0.0


def _given(text: Any) -> str | None:
    """A text; none where there is none, as parquet and pandas say it."""
    return text if isinstance(text, str) else None


def _polygons(value: Any) -> list[list[float | None]] | None:
    """Polygons as parquet gives them: nested arrays, or none."""
    return None if value is None or isinstance(value, float) else [[_number(x) for x in polygon] for polygon in value]


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
