"""Annotation formats, one file each, found by name. Each reads into the canonical tables and writes samples.

A format's module has:
    detect(root) -> str | None: None where the folder is of this format, otherwise the first requirement that it does not meet.
    read(root) -> Reading.
    write(items, root) -> None.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, cast

import pandas as pd

from sightline.errors import SightlineError
from tasks import variants
from tasks.findings import Finding, finding
from tasks.images import SUFFIXES, Header, read_header
from tasks.tables import BOX, CLASSES, IMAGES, OBJECTS, SPLITS, Tables

NO_BOX: Final = dict.fromkeys(BOX)  # of an object that is the whole image's class

SPLIT_FOLDERS: Final = {
    **{name: name for name in SPLITS},
    "training": "train",
    "valid": "val",
    "validation": "val",
    "testing": "test",
}
"""The split that a folder's name, in lower case, stands for."""


@dataclass(frozen=True)
class Item:
    """One image with its ground truth, to be written.

    Attributes:
        name: Unique, without suffix.
        suffix: Of the image file, e.g. `.jpg`.
        data: The encoded image.
        width: Pixels.
        height: Pixels.
        objects: Its objects; exactly one where the class is the whole image's.
        split: `train`, `val`, `test` or empty.
        masks: Encoded PNGs of palette indices by kind: `semantic`, `instances`.
    """

    name: str
    suffix: str
    data: bytes
    width: int
    height: int
    objects: "tuple[ItemObject, ...]"
    split: str = ""
    masks: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class ItemObject:
    """One object: xyxy box in absolute pixels, half-open, or None where it is the whole image's class."""

    label: str
    box: tuple[float, float, float, float] | None = None
    polygons: tuple[tuple[float, ...], ...] = ()
    difficult: bool = False
    truncated: bool = False


@dataclass(frozen=True)
class Reading:
    """What a format read: the tables of the source as it is, what is wrong with its files, and its oriented images."""

    tables: Tables
    findings: list[Finding]


class Format(Protocol):
    """What a format's module has."""

    def detect(self, root: Path) -> str | None: ...
    def read(self, root: Path) -> Reading: ...
    def write(self, items: Iterable[Item], root: Path) -> None: ...


def load(name: str) -> Format:
    """A format by its name.

    Raises:
        SightlineError: No such format.
    """
    return cast("Format", variants.load("formats", name, "dataset.format"))


def detect(root: Path, name: str = "auto") -> str:
    """The name of the format that `root` is of.

    Args:
        root: A dataset.
        name: What it is said to be, or `auto`.

    Raises:
        SightlineError: It is of no format, or not of the one it is said to be; the message says what each misses.
    """
    asked = variants.names("formats") if name == "auto" else [name]
    missing = {each: load(each).detect(root) for each in asked}
    fitting = [each for each, reason in missing.items() if reason is None]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise SightlineError(f"{root}: {' and '.join(fitting)} fit alike: set dataset.format")
    reasons = "".join(f"\n  {each}: {reason}" for each, reason in missing.items())
    raise SightlineError(f"{root}: not a dataset of a known format:{reasons}\nArrange it like one of these")


def base(root: Path) -> Path:
    """The folder that really holds the dataset: archives often wrap it in folders of their own."""
    while True:
        entries = [path for path in root.iterdir() if not path.name.startswith(".")]
        if len(entries) != 1 or not entries[0].is_dir() or entries[0].name.lower() in SPLIT_FOLDERS:
            return root
        if any(path.suffix.lower() in SUFFIXES for path in entries[0].iterdir()):
            return root
        root = entries[0]


def read_image(path: Path, root: Path) -> tuple[dict[str, object], Header] | Finding:
    """The row of an image in the table `images`, without its split, and its header; or what is wrong with it."""
    from blake3 import blake3

    name = path.relative_to(root).as_posix()
    image_id = name.removesuffix(path.suffix)
    header = read_header(path)
    if isinstance(header, str):
        return finding("image.empty" if header == "0 bytes" else "image.unreadable", header, name, image_id=image_id)
    digest = blake3(path.read_bytes()).hexdigest()
    row = {"image_id": image_id, "store": "raw", "path": name, "width": header.width, "height": header.height}
    return {**row, "split": "", "hash": digest}, header


def tables(images: list[dict[str, object]], objects: list[dict[str, object]], classes: Iterable[str]) -> Tables:
    """Tables from rows; an object's `label` is a class's name here. Class ids follow the sorted names."""
    ids = {name: number for number, name in enumerate(sorted(set(classes)))}
    rows = [{**row, "label": ids[str(row["label"])]} for row in objects]
    frame = pd.DataFrame(rows, columns=OBJECTS.names)
    frame[BOX] = frame[BOX].astype("float64")
    return Tables(
        pd.DataFrame(images, columns=IMAGES.names),
        frame,
        pd.DataFrame([{"id": number, "name": name, "ignore": False} for name, number in ids.items()], columns=CLASSES.names),
    )


def items(tables: Tables, root: Path) -> Iterator[Item]:
    """The samples of tables that a format read from `root`, to be written in another."""
    classes = dict(zip(tables.classes["id"], tables.classes["name"], strict=True))
    groups = {str(name): group for name, group in tables.objects.groupby("image_id", sort=False)}
    for row in tables.images.sort_values("image_id").itertuples():
        path = root / str(row.path)
        objects = tuple(
            ItemObject(
                classes[each.label],
                None if pd.isna(each.xmin) else (each.xmin, each.ymin, each.xmax, each.ymax),
                tuple(tuple(polygon) for polygon in each.polygons) if each.polygons is not None else (),
                bool(each.difficult),
            )
            for each in groups.get(str(row.image_id), tables.objects.iloc[:0]).itertuples()
        )
        yield Item(path.stem, path.suffix, path.read_bytes(), int(row.width), int(row.height), objects, str(row.split))
