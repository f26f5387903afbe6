"""The canonical tables while they are made: rows wait in a temporary file, so that memory holds some thousand of them.

A chunk is some thousand images with all their objects, wherever in the source these stood.
"""

import os
import tempfile
import weakref
from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pandas as pd
import pyarrow as pa

from sightline.errors import SightlineError
from tasks.scan import Scan
from tasks.tables import CLASSES, IMAGES, OBJECTS, Box, Polygons, Tables

CHUNK: Final = 8192
"""Images of a chunk."""
_ROWS: Final = CHUNK // 2
"""That are packed at once; they divide a chunk, as a batch of images must lie in one."""
_NUMBERED: Final = OBJECTS.append(pa.field("number", pa.int32()))
"""Objects with the number of their image."""


@dataclass(frozen=True, eq=False)
class StoredTables:
    """A dataset's tables in a temporary file, which is gone with the last of them.

    Attributes:
        classes: The table.
        counts: Of images, objects and classes.
        groups: The group of the images of a hash, where it is not the hash itself.
        declared: The names of the classes that the dataset names itself, whether or not it has objects of them.
    """

    classes: pd.DataFrame
    counts: tuple[int, int, int]
    _file: "_File"
    _labels: "np.ndarray[tuple[int], np.dtype[np.int32]]"
    _splits: Mapping[str, str]
    groups: Mapping[str, str] = field(default_factory=dict)
    declared: frozenset[str] = frozenset()

    def chunks(self) -> Iterator[Tables]:
        """Some thousand images at a time, each with all its objects; every chunk has all the classes."""
        for chunk in range(max(1, _chunks(self.counts[0]))):
            yield self._read([chunk])

    def ordered(self, names: Sequence[str]) -> "StoredTables":
        """With the classes `names` in this order, and behind them those others that objects are of."""
        own = self.classes.set_index("id")
        used = own["name"].loc[self._labels]
        ids = {name: number for number, name in enumerate(dict.fromkeys([*names, *sorted(used)]))}
        ignored = set(own.loc[own["ignore"].astype(bool), "name"])
        labels = np.array([ids[name] for name in used], np.int32)
        counts = (*self.counts[:2], len(ids))
        return replace(self, classes=_classes(ids, ignored), counts=counts, _labels=labels, declared=frozenset(names))

    def read(self) -> Tables:
        """All of them."""
        return self._read(range(_chunks(self.counts[0])))

    def _read(self, chunks: Sequence[int]) -> Tables:
        images = _frame(self._file.read("images", chunks), IMAGES)
        objects = _frame(self._file.read("objects", chunks), OBJECTS)
        objects["label"] = self._labels[objects["label"]]
        if self._splits:
            own = zip(images["image_id"], images["split"], strict=True)
            images["split"] = [self._splits.get(name) or split for name, split in own]
        group = images["hash"]
        images["group"] = group.map(lambda digest: self.groups.get(digest, digest)) if self.groups else group
        return Tables(images, objects, self.classes)


class TableBuilder:
    """Collects rows and makes the canonical tables."""

    def __init__(self) -> None:
        self._file = _File()
        self._images: list[tuple[object, ...]] = []
        self._objects: list[tuple[object, ...]] = []
        self._codes: dict[str, int] = {}
        self._count = self._object_count = 0

    def add_image(self, scan: Scan, split: str = "", mask: str = "", image_id: str = "") -> str:
        """Adds an image; returns its image_id, which no other may have: names are not kept here, so who reads sees to that."""
        image_id = image_id or scan.image_id
        size = (scan.width, scan.height, scan.orientation)
        self._images.append((image_id, "raw", scan.path, *size, split, scan.digest, "", mask or None))
        self._count += 1
        if self._count % _ROWS == 0:
            self._pack_images()
        return image_id

    def add_object(
        self, image_id: str, label: str, box: Box, file: str, line: int = 0, *,
        polygons: Polygons | None = None, rle: str = "", iscrowd: bool = False, difficult: bool = False,
        truncated: bool = False, number: int | None = None,
    ) -> None:  # fmt: skip
        """Adds an object of the class `label` to an image that was added; NaN in the box where it is the whole image's class.

        `number` is how many images were added before its own; if not given, it is the last one's.
        """
        number = self._count - 1 if number is None else number
        code = self._codes.setdefault(label, len(self._codes))
        flags = (iscrowd, difficult, truncated)
        self._objects.append((image_id, code, *box, polygons or None, rle or None, *flags, file, line, number))
        if len(self._objects) == _ROWS:
            self._pack_objects()

    def tables(
        self, classes: Iterable[str] = (), splits: Mapping[str, str] | None = None, ignore: Iterable[str] = ()
    ) -> StoredTables:
        """The tables.

        Args:
            classes: All classes in the order of their ids; the sorted names of those that objects have if not given.
            splits: The split of an image_id, instead of the one that was given with the image.
            ignore: Classes that are not learnt.
        """
        self._pack_images()
        self._pack_objects()
        declared = dict.fromkeys(classes)
        ids = {name: number for number, name in enumerate(declared or sorted(self._codes))}
        labels = np.array([ids[name] for name in self._codes], np.int32)
        counts = (self._count, self._object_count, len(ids))
        table = _classes(ids, set(ignore))
        return StoredTables(table, counts, self._file, labels, splits or {}, declared=frozenset(declared))

    def _pack_images(self) -> None:
        if self._images:
            self._file.write("images", (self._count - 1) // CHUNK, _batch(self._images, IMAGES))
            self._images.clear()

    def _pack_objects(self) -> None:
        if not self._objects:
            return
        self._object_count += len(self._objects)
        batch = _batch(self._objects, _NUMBERED)
        chunks = batch.column("number").to_numpy() // CHUNK
        for chunk in np.unique(chunks).tolist():
            self._file.write("objects", chunk, batch.filter(pa.array(chunks == chunk)).select(OBJECTS.names))
        self._objects.clear()


class _File:
    """A file without name that holds batches of rows, by table and chunk.

    Raises:
        SightlineError: The temporary folder takes no file, or no more of one.
    """

    def __init__(self) -> None:
        try:
            self._handle, name = tempfile.mkstemp(prefix="sightline-")
            os.unlink(name)
        except OSError as error:
            raise _no_room(error) from None
        weakref.finalize(self, os.close, self._handle)
        self._end = 0
        self._places: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)

    def write(self, table: str, chunk: int, batch: pa.RecordBatch) -> None:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, batch.schema) as writer:
            writer.write_batch(batch)
        data = sink.getvalue()
        written = 0
        try:
            while written < data.size:  # a full disk may take a part before it refuses the rest
                written += os.pwrite(self._handle, memoryview(data)[written:], self._end + written)
        except OSError as error:
            raise _no_room(error) from None
        self._places[table, chunk].append((self._end, data.size))
        self._end += data.size

    def read(self, table: str, chunks: Iterable[int]) -> Iterator[pa.RecordBatch]:
        for chunk in chunks:
            for start, size in self._places.get((table, chunk), ()):
                yield from pa.ipc.open_stream(os.pread(self._handle, size, start))


def _no_room(error: OSError) -> SightlineError:
    """For the user: gettempdir itself fails where no folder takes a file, and names those that it tried."""
    try:
        folder = tempfile.gettempdir()
    except OSError:
        folder = "the temporary folder"
    expected = "room for the tables, some hundred bytes an image and an object"
    return SightlineError(f"{folder}: got {error.strerror or error}, expected {expected}: set TMPDIR to a folder that has it")


def _classes(ids: Mapping[str, int], ignored: Container[str]) -> pd.DataFrame:
    """The table `classes` of names with their ids."""
    rows = [{"id": number, "name": name, "ignore": name in ignored} for name, number in ids.items()]
    return pd.DataFrame(rows, columns=CLASSES.names)


def _chunks(images: int) -> int:
    """How many chunks so many images fill."""
    return -(-images // CHUNK)


def _batch(rows: Sequence[tuple[object, ...]], schema: pa.Schema) -> pa.RecordBatch:
    columns = zip(zip(*rows, strict=True), schema, strict=True)
    return pa.RecordBatch.from_arrays([pa.array(column, field.type) for column, field in columns], schema=schema)


def _frame(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> pd.DataFrame:
    table = pa.Table.from_batches(batches, schema)
    frame: pd.DataFrame = table.to_pandas(split_blocks=True, self_destruct=True)  # a column at a time is in memory twice
    if frame.empty:  # pandas cannot join PyArrow's text without rows
        return pd.DataFrame(columns=frame.columns).astype(frame.dtypes)
    return frame
