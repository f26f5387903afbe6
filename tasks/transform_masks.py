"""Masks of the canonical dataset: PNGs of one channel that hold class ids, as the upright image is shown."""

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from blake3 import blake3
from PIL import Image

from tasks.masks import COLOUR, IGNORE, encode, ids_of, read_values, to_ids
from tasks.parallel import parallel
from tasks.pixels import scaled
from tasks.tables import CLASSES, learnt


class _Job(NamedTuple):
    mask: str
    size: tuple[int, int]
    orientation: int
    target: tuple[int, int]


def convert_masks(
    images: pd.DataFrame, classes: pd.DataFrame, raw: Path, out: Path, max_side: int | None, fixes: list[dict[str, str]]
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Writes every mask as `masks/<digest>.png` below `out`: ids from 0 without gaps, 255 where pixels are ignored.

    The digest is the BLAKE3 of the file, so that equal masks are one file, and a mask's path tells its content.

    Args:
        images: The table, sizes upright and orientations as in raw.
        classes: The table, with the value of each class.
        raw: What `mask` is relative to.
        out: Where the masks are written.
        max_side: As for the images: larger masks are made smaller, by the nearest pixel.
        fixes: Gets an entry for each mask that is turned.

    Returns:
        The images with the new paths, and the classes that are learnt, with the ids of the new masks; both as they are where
        no image has a mask. And `image_id` and `label` of each class that a mask shows.

    Raises:
        MaskDefect: A mask is not what `validate` has seen.
    """
    masked = images[images["mask"].notna()]
    if masked.empty:
        return images, classes, pd.DataFrame(columns=["image_id", "label"])
    ids = ids_of(classes)
    rows = masked[["mask", "width", "height", "orientation"]].itertuples(index=False)
    jobs = [
        _Job(row.mask, size, int(row.orientation), scaled(size, max_side))
        for row in rows
        for size in [(int(row.width), int(row.height))]
    ]
    (out / "masks").mkdir(parents=True, exist_ok=True)
    paths, shown = [], []
    convert = partial(_convert, raw, out, ids)
    for image_id, job, (path, labels, turned) in zip(
        masked["image_id"], jobs, parallel(convert, jobs, "transform", "masks"), strict=True
    ):
        paths.append(path)
        shown += [(image_id, label) for label in labels]
        if turned:
            fixes.append({"fix": "mask turned", "image_id": image_id, "what": f"EXIF orientation {job.orientation}"})
    own = learnt(classes)
    table = own.assign(id=[ids[int(value)] for value in own["value"]])[CLASSES.names]
    labels_of = pd.DataFrame(shown, columns=["image_id", "label"])
    return images.assign(mask=pd.Series(paths, index=masked.index, dtype="object")), table, labels_of


def _convert(raw: Path, out: Path, ids: dict[int, int], job: _Job) -> tuple[str, list[int], bool]:
    values, turned = read_values(raw / job.mask, job.size, job.orientation, colours=max(ids) >= COLOUR)
    found = to_ids(values, ids)
    if job.target != job.size:
        found = np.asarray(Image.fromarray(found).resize(job.target, Image.Resampling.NEAREST))
    data = encode(found)
    path = f"masks/{blake3(data).hexdigest()}.png"
    (out / path).write_bytes(data)
    counts = Image.fromarray(found).histogram()
    return path, [label for label, count in enumerate(counts[:IGNORE]) if count], turned
