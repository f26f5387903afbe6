"""The canonical tables that every format reads into and is written from.

Boxes are xyxy in absolute pixels, 0-based and half-open: a box that covers an image of 640x480 is (0, 0, 640, 480).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from sightline.errors import SightlineError

IMAGES: Final = pa.schema(
    [
        ("image_id", pa.string()),  # the path without its suffix; unique
        ("store", pa.string()),  # raw | dataset: the folder that `path` is relative to
        ("path", pa.string()),
        ("width", pa.int32()),  # pixels, after the EXIF orientation is applied
        ("height", pa.int32()),
        ("orientation", pa.int8()),  # EXIF's, 1-8; 1 is upright
        ("split", pa.string()),  # train | val | test; empty where the dataset names none
        ("hash", pa.string()),  # BLAKE3 of the file, hexadecimal
        ("group", pa.string()),  # what near duplicates share: the least of their hashes
        ("mask", pa.string()),  # a PNG of classes; in validate's tables relative to raw, then to the dataset; null without
    ]
)
OBJECTS: Final = pa.schema(
    [
        ("image_id", pa.string()),
        ("label", pa.int32()),  # classes.id
        ("xmin", pa.float64()),  # the box; null where the object is the whole image's class
        ("ymin", pa.float64()),
        ("xmax", pa.float64()),
        ("ymax", pa.float64()),
        ("polygons", pa.list_(pa.list_(pa.float64()))),  # x, y, x, y, ... in absolute pixels; null where there are none
        ("rle", pa.string()),  # the mask in COCO's compressed run-length code, of the image's size; null where there is none
        ("iscrowd", pa.bool_()),
        ("difficult", pa.bool_()),
        ("truncated", pa.bool_()),
        ("file", pa.string()),  # where it was read from, relative to the source's root
        ("line", pa.int32()),  # 0 where the format has no lines
    ]
)
CLASSES: Final = pa.schema([("id", pa.int32()), ("name", pa.string()), ("ignore", pa.bool_())])
VALUE: Final = pa.field("value", pa.int32())
"""A class's pixels in the masks of raw, as `tasks.masks` has values; `transform` takes this column and what is ignored away."""
BOX: Final = ["xmin", "ymin", "xmax", "ymax"]
SPLITS: Final = ("train", "val", "test")
Box = tuple[float, float, float, float]
Polygons = Sequence[Sequence[float]]
Shape = Sequence[Sequence[float]] | str | None
"""An object's polygons, each x, y, x, y, ... in absolute pixels, or its mask's run-length code; None where it has neither."""


class Chunked(Protocol):
    """Tables that can be read some at a time."""

    @property
    def classes(self) -> pd.DataFrame:
        """The table."""

    @property
    def counts(self) -> tuple[int, int, int]:
        """Of images, objects and classes."""

    def chunks(self) -> "Iterator[Tables]":
        """Some images at a time, each with all its objects; every chunk has all the classes."""


@dataclass(frozen=True)
class Tables:
    """A labelled dataset without its pixels."""

    images: pd.DataFrame
    objects: pd.DataFrame
    classes: pd.DataFrame

    @property
    def counts(self) -> tuple[int, int, int]:
        """Of images, objects and classes."""
        return len(self.images), len(self.objects), len(self.classes)

    def chunks(self) -> "Iterator[Tables]":
        """All of it at once."""
        yield self

    @classmethod
    def read(cls, folder: Path) -> "Tables":
        """Reads the three parquet files of `folder`.

        Raises:
            SightlineError: One is missing.
        """
        for name in ("images", "objects", "classes"):
            if not (folder / f"{name}.parquet").is_file():
                raise SightlineError(f"{folder / name}.parquet: not there: run `dvc repro transform`")
        return cls(*(pq.read_table(folder / f"{name}.parquet").to_pandas() for name in ("images", "objects", "classes")))

    def of_split(self, split: str) -> "Tables":
        """The images of a split, with their objects."""
        images = self.images[self.images["split"] == split]
        return Tables(images, self.objects[self.objects["image_id"].isin(images["image_id"])], self.classes)

    def write(self, folder: Path) -> None:
        """Writes the three parquet files, sorted, so that the same content gives the same bytes."""
        folder.mkdir(parents=True, exist_ok=True)
        sorted_tables = {
            "images": (self.images.sort_values("image_id"), IMAGES),
            "objects": (self.objects.sort_values(["image_id", "file", "line", *BOX, "label"], kind="stable"), OBJECTS),
            "classes": (self.classes.sort_values("id"), CLASSES.append(VALUE) if "value" in self.classes else CLASSES),
        }
        for name, (frame, schema) in sorted_tables.items():
            columns = frame[schema.names]
            table = pa.Table.from_pandas(columns, schema=schema, preserve_index=False) if len(columns) else schema.empty_table()
            pq.write_table(table.replace_schema_metadata(None), folder / f"{name}.parquet", compression="zstd")


def learnt(classes: pd.DataFrame) -> pd.DataFrame:
    """The classes that are learnt, in the order of the ids that masks have."""
    return classes[~classes["ignore"].astype(bool)].sort_values("id")


def select(tables: Chunked, is_chosen: Callable[[pd.DataFrame], pd.Series]) -> Tables:
    """The images that `is_chosen` says of a table `images`, bool (N,), with their objects."""
    parts: list[Tables] = []
    for chunk in tables.chunks():
        images = chunk.images[is_chosen(chunk.images)]
        if len(images) or not parts:
            parts.append(Tables(images, chunk.objects[chunk.objects["image_id"].isin(images["image_id"])], tables.classes))
    if len(parts) == 1:
        return parts[0]
    images = pd.concat([part.images for part in parts], ignore_index=True)
    return Tables(images, pd.concat([part.objects for part in parts], ignore_index=True), tables.classes)


@dataclass(frozen=True)
class Sample:
    """One image with its ground truth.

    Attributes:
        image_id: Unique name.
        path: The image file.
        width: Pixels.
        height: Pixels.
        labels: int64 (M,), indices of `Dataset.classes`.
        boxes: float64 (M, 4), xyxy, absolute pixels, half-open; NaN where the object is the whole image's class.
        crowd: bool (M,), regions that are neither hit nor missed (COCO's iscrowd).
        difficult: bool (M,), objects that VOC leaves out of its metric.
        mask: A PNG of one channel, uint8 (H, W), of indices of `Dataset.classes`; 255 is ignored. None where there is none.
        shapes: The outline of each of the M objects, as the table has it: polygons, COCO's compressed run-length code, or None.
            `tasks.shapes` rasterises them.
    """

    image_id: str
    path: Path
    width: int
    height: int
    labels: "np.ndarray[tuple[int], np.dtype[np.int64]]"
    boxes: "np.ndarray[tuple[int, int], np.dtype[np.float64]]"
    crowd: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
    difficult: "np.ndarray[tuple[int], np.dtype[np.bool_]]"
    mask: Path | None = None
    shapes: Sequence[Shape] = ()


@dataclass(frozen=True)
class Dataset:
    """The canonical dataset: what `transform` wrote, with the pixels that stayed in raw.

    Attributes:
        tables: The tables, without ignored classes.
        raw: The folder that `ingest` wrote.
        root: The folder that `transform` wrote.
        classes: Class names; the index is the label.
    """

    tables: Tables
    raw: Path
    root: Path
    classes: tuple[str, ...]

    @classmethod
    def read(cls, raw: Path, root: Path) -> "Dataset":
        """Reads the tables of `root`."""
        tables = Tables.read(root)
        return cls(tables, raw, root, tuple(tables.classes.sort_values("id")["name"]))

    def samples(self, split: str) -> list[Sample]:
        """The samples of a split (`train`, `val` or `test`), by image_id.

        Raises:
            SightlineError: The split is empty.
        """
        images = self.tables.images
        images = images[images["split"] == split].sort_values("image_id")
        if images.empty:
            raise SightlineError(f"{self.root}: no image in split {split}: give the dataset one, or set transform.{split}")
        objects = self.tables.objects.sort_values("image_id", kind="stable")
        labels, boxes = objects["label"].to_numpy(np.int64), objects[BOX].to_numpy(np.float64)
        crowd, difficult = (objects[name].to_numpy(np.bool_) for name in ("iscrowd", "difficult"))
        shapes = [
            polygons if polygons is not None else rle if isinstance(rle, str) else None
            for polygons, rle in zip(objects["polygons"], objects["rle"], strict=True)
        ]
        ids = objects["image_id"].to_numpy(object)
        starts, ends = (np.searchsorted(ids, images["image_id"].to_numpy(object), side) for side in ("left", "right"))
        return [
            Sample(
                image_id=row.image_id,
                path=(self.raw if row.store == "raw" else self.root) / row.path,
                width=int(row.width),
                height=int(row.height),
                labels=labels[start:end],
                boxes=boxes[start:end],
                crowd=crowd[start:end],
                difficult=difficult[start:end],
                mask=None if pd.isna(row.mask) else self.root / row.mask,
                shapes=shapes[start:end],
            )
            for row, start, end in zip(images.itertuples(), starts, ends, strict=True)
        ]
