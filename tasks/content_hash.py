"""A dataset's content hash: equal when the pixels, the splits, the classes and the ground truth are."""

import hashlib
import json
import math
from typing import Any

from tasks.tables import BOX, Tables


def content_hash(tables: Tables) -> str:
    """SHA-256, hexadecimal, over the class names in order and one entry an image, sorted.

    An entry holds the file's hash, the size, the split, the mask's path, which `transform` makes of its content, and the
    objects with their class's name. Names of images, the order of rows, where the pixels are stored and where an object was
    read from change nothing.
    """
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
        truth = [_given(row.mask), sorted(objects.get(str(row.image_id), []))]
        entry = [row.hash, int(row.width), int(row.height), row.split, *truth]
        images.append(_text(entry))
    return hashlib.sha256("\n".join([_text(list(names.values())), *sorted(images)]).encode()).hexdigest()


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
