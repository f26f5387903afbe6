"""Annotation formats, one file each, found by name. Each reads into the canonical tables and writes samples.

A format's module has the four functions of `Format`. What an image file is, `tasks.scan` finds out; a format reads annotations
alone, and says in findings what is wrong with them.
"""

import itertools
import math
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from pathlib import Path, PurePosixPath
from typing import Final, Protocol, cast

import pandas as pd

from sightline.errors import SightlineError
from tasks import variants
from tasks.file_kinds import RARE, SUFFIXES, is_hidden
from tasks.findings import Finding, finding
from tasks.once import unchanged
from tasks.rules import SHAPE_IOU, SHAPE_PX
from tasks.scan import Scan, Scans, has_images, linked_folders, scan, subfolders
from tasks.table_builder import StoredTables
from tasks.tables import BOX, SPLITS, Box, Polygons, Tables

NAN: Final = float("nan")
NO_BOX: Final[Box] = (NAN, NAN, NAN, NAN)  # of an object that is the whole image's class
SPLIT_FOLDERS: Final = {
    **{name: name for name in SPLITS},
    "training": "train",
    "trainval": "train",
    "valid": "val",
    "validation": "val",
    "testing": "test",
}
"""The split that a folder's name, in lower case, stands for."""
JOINED: Final = "trainval"
"""Of these, the one that may have the images of val as well."""
IMAGE_FOLDERS: Final = ("images", "image", "imgs", "img", "jpegimages", "leftimg8bit")
"""Names of folders of images beside those of their annotations, in lower case."""
PART_FOLDERS: Final = frozenset(
    {
        *SPLIT_FOLDERS, *IMAGE_FOLDERS, "annotations", "labels", "masks", "imagesets", "main", "segmentation",
        "segmentationclass", "segmentationobject",
    }
)  # fmt: skip
"""Names of folders that hold a part of a dataset, in lower case."""
HOLDABLE: Final = {
    "whole": "one class for a whole image",
    "several": "several classes for a whole image",
    "box": "boxes",
    "polygons": "polygons",
    "rle": "masks of objects",
    "mask": "masks of classes",
    "split": "splits",
    "difficult": "the flag difficult",
    "truncated": "the flag truncated",
    "iscrowd": "the flag iscrowd",
    "empty": "images without objects",
    "classes": "the order of the classes, and classes without objects",
}
"""What a dataset may hold, for people."""


@dataclass(frozen=True)
class Link:
    """A file that is linked to instead of copied."""

    path: Path


@dataclass(frozen=True)
class Item:
    """One image with its ground truth, to be written.

    Attributes:
        name: Unique, without suffix; may have folders.
        suffix: Of the image file, e.g. `.jpg`.
        image: The encoded image, or the file that holds it, to be copied or linked to.
        width: Pixels.
        height: Pixels.
        objects: Its objects; exactly one where the class is the whole image's.
        split: `train`, `val`, `test` or empty.
        masks: Encoded PNGs of palette indices by kind: `semantic`, `instances`.
    """

    name: str
    suffix: str
    image: bytes | Path | Link
    width: int
    height: int
    objects: "tuple[ItemObject, ...]"
    split: str = ""
    masks: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class ItemObject:
    """One object.

    Attributes:
        label: Its class's name.
        box: xyxy in absolute pixels, half-open; None where it is the whole image's class.
        polygons: x, y, x, y, ... in absolute pixels.
        rle: Its mask in COCO's compressed run-length code, of the image's size; empty where it has none.
        difficult: VOC's flag.
        truncated: VOC's flag.
        iscrowd: COCO's flag.
    """

    label: str
    box: Box | None = None
    polygons: Polygons = ()
    rle: str = ""
    difficult: bool = False
    truncated: bool = False
    iscrowd: bool = False


@dataclass(frozen=True)
class Reading:
    """What a format read: the tables of the source as it is, and what is wrong with its annotations."""

    stored: StoredTables
    findings: list[Finding]

    @cached_property
    def tables(self) -> Tables:
        """All of them in memory."""
        return self.stored.read()


class Format(Protocol):
    """What a format's module has.

    Attributes:
        HOLDS: What of a dataset it can hold, of `HOLDABLE`; what it cannot is lost when it is written.
    """

    HOLDS: frozenset[str]

    def detect(self, root: Path) -> str | None:
        """None where the folder is of this format, otherwise the first requirement that it does not meet."""

    def image_files(self, root: Path) -> Sequence[str]:
        """The image files, relative to `root`."""

    def read(self, root: Path, scans: Mapping[str, Scan]) -> Reading:
        """Reads the annotations of the images that were scanned; those with a `code` are in no table."""

    def write(self, items: Iterable[Item], root: Path, classes: Sequence[str] = ()) -> None:
        """Writes samples; `classes` in the order of their ids, those of the samples in sorted order if not given.

        Raises:
            SightlineError: A sample holds what the format cannot.
        """


def holds(tables: Tables) -> frozenset[str]:
    """What of `HOLDABLE` a dataset holds."""
    images, objects = tables.images, tables.objects
    boxed = objects["xmin"].notna()
    names = tables.classes.sort_values("id")["name"]
    shown = set(objects["image_id"].tolist())  # Series.isin takes fifty times as long with text
    found = {
        "whole": bool((~boxed).any()),
        "several": bool(objects.loc[~boxed, "image_id"].duplicated().any()),
        "box": bool(boxed.any()),
        "polygons": bool(objects["polygons"].notna().any()),
        "rle": bool(objects["rle"].notna().any()),
        "mask": bool(images["mask"].notna().any()),
        "split": bool((images["split"] != "").any()),
        "difficult": bool(objects["difficult"].any()),
        "truncated": bool(objects["truncated"].any()),
        "iscrowd": bool(objects["iscrowd"].any()),
        "empty": not shown.issuperset(images.loc[images["mask"].isna(), "image_id"].tolist()),
        "classes": list(names) != sorted(names) or bool((~tables.classes["id"].isin(objects["label"])).any()),
    }
    return frozenset(name for name, is_held in found.items() if is_held)


def open_folder(
    root: Path, name: str, max_pixels: int, *, decode: bool = True, voc_origin: int = 1
) -> tuple[str, Scans, Reading]:
    """The name of a dataset's format, what its images are, and what the format read.

    Args:
        root: The dataset; nothing changes in it meanwhile.
        name: Its format, or `auto`.
        max_pixels: Larger images are not decoded.
        decode: Whether every pixel is decoded; otherwise the headers alone tell.
        voc_origin: What Pascal VOC's annotations count from, 1 or 0.

    Raises:
        SightlineError: It is of no format, or not of the one it is said to be; the message says what each misses.
    """
    with unchanged():
        name = detect(root, name)
        scans = scan(root, load(name).image_files(root), max_pixels, decode=decode)
        reading = read(name, root, scans, voc_origin)
        reading.findings.extend(finding("folder.linked", "a link to a folder", link) for link in _missed(root))
        return name, scans, reading


def _missed(root: Path) -> Iterator[str]:
    """The links to folders that look like a part of the dataset: by their names, or by an image behind them."""
    for link in linked_folders(root):
        if link.rpartition("/")[2].lower() in PART_FOLDERS or has_images(root / link):
            yield link


def read(name: str, root: Path, scans: Mapping[str, Scan], voc_origin: int = 1) -> Reading:
    """What the format `name` reads.

    Args:
        name: The format.
        root: The dataset.
        scans: Its images.
        voc_origin: What Pascal VOC's annotations count from, 1 or 0: tools differ in this format alone.
    """
    if name == "voc":
        from tasks.formats import voc

        return voc.read(root, scans, voc_origin)
    return load(name).read(root, scans)


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
    if "class_folders" in fitting and len(fitting) > 1:
        fitting.remove("class_folders")  # any tree of images looks like them
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        raise SightlineError(f"{root}: {' and '.join(fitting)} fit alike: set dataset.format (--format)")
    reasons = "".join(f"\n  {each}: {reason}" for each, reason in missing.items())
    links = "".join(f"\n{link}: a link to a folder, which is not read: copy or move it there" for link in linked_folders(root))
    raise SightlineError(f"{root}: not a dataset of a known format:{reasons}{links}\nArrange it like one of these")


def bounds(polygons: Sequence[Sequence[float]]) -> Box:
    """The box, xyxy, that just holds polygons of x, y, x, y, ..."""
    xs, ys = [x for each in polygons for x in each[::2]], [y for each in polygons for y in each[1::2]]
    return float(min(xs)), float(min(ys)), float(max(xs)), float(max(ys))


def misfit(shape: Box, box: Box) -> str:
    """What is wrong where the bounds of an object's outline are not its box (rule `shape.box`); empty where they are.

    Boxes without size are none; they have a rule of their own.
    """
    xmin, ymin, xmax, ymax = box
    is_near = max(abs(one - other) for one, other in zip(shape, box, strict=True)) <= SHAPE_PX
    if is_near or xmax <= xmin or ymax <= ymin:
        return ""
    width, height = min(xmax, shape[2]) - max(xmin, shape[0]), min(ymax, shape[3]) - max(ymin, shape[1])
    common = width * height if width > 0 and height > 0 else 0.0
    if common >= SHAPE_IOU * ((xmax - xmin) * (ymax - ymin) + (shape[2] - shape[0]) * (shape[3] - shape[1]) - common):
        return ""
    own, others = (", ".join(f"{value:g}" for value in each) for each in (box, shape))
    return f"box {own} (from 0, half-open), its outline within {others}"


def base(root: Path) -> Path:
    """The folder that really holds the dataset: archives often wrap it in folders of their own."""
    while True:
        entries = [path for path in root.iterdir() if not is_hidden(path.name)]
        if len(entries) != 1 or entries != subfolders(root):
            return root
        if entries[0].name.lower() in SPLIT_FOLDERS.keys() - {JOINED}:  # that alone separates nothing
            return root
        if any(path.suffix.lower() in SUFFIXES for path in entries[0].iterdir()):
            return root
        root = entries[0]


def place(content: "bytes | Path | Link", target: str | Path) -> None:
    """Writes bytes, copies the file that holds them, or links to it: hard, or by name on another file system.

    Raises:
        SightlineError: `target` is there already.
        FileNotFoundError: There is nothing to copy or to link to.
    """
    try:
        _put(content, target)
    except FileNotFoundError:  # the first one of its folder
        os.makedirs(os.path.dirname(target) or ".", exist_ok=True)
        _put(content, target)


def _put(content: "bytes | Path | Link", target: str | Path) -> None:
    """See `place`; FileNotFoundError where the folder is not there, too."""
    try:
        if isinstance(content, bytes):
            with open(target, "xb") as file:
                file.write(content)
        elif isinstance(content, Path):
            if os.path.lexists(target):
                raise FileExistsError
            shutil.copyfile(content, target)
        else:
            _link(content.path, target)
    except FileExistsError:
        expected = "expected nothing: rename the image, or write into a new folder"
        raise SightlineError(f"{target}: there already, {expected}") from None


def _link(source: Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError:  # another file system, or one without hard links
        os.symlink(source.resolve(), target)


def items(tables: Tables, raw: Path, root: Path | None = None, *, link: bool = False) -> Iterator[Item]:
    """The samples of a dataset, to be written in another format, by image_id; without masks of classes (`tasks.masks`).

    Args:
        tables: The dataset.
        raw: What the paths of its images are relative to.
        root: The same for those that `transform` wrote.
        link: Links to the images instead of copies of them.
    """
    images = tables.images.sort_values("image_id")
    names = _names(images)
    groups = _grouped(tables)
    image_id, found = next(groups, ("", []))
    for row, name in zip(images.itertuples(), names, strict=True):
        while image_id and image_id < str(row.image_id):  # of an image that is in no table
            image_id, found = next(groups, ("", []))
        objects = tuple(found) if image_id == row.image_id else ()
        path = (root if root and row.store == "dataset" else raw) / str(row.path)
        suffix = ".jpg" if path.suffix.lower() in RARE else path.suffix
        yield Item(name, suffix, Link(path) if link else path, int(row.width), int(row.height), objects, str(row.split))


def _names(images: pd.DataFrame) -> list[str]:
    """A name for each image, each once: the stem of its file, else its image_id without folders, numbered where need be."""
    stems = images["path"].map(lambda path: PurePosixPath(path).stem)
    is_shared = stems.duplicated(keep=False)
    taken = set(stems[~is_shared])
    names = []
    for stem, shared, image_id in zip(stems, is_shared, images["image_id"], strict=True):
        name = plain = str(image_id).replace("/", "_") if shared else str(stem)
        number = 1
        while shared and name in taken:
            number += 1
            name = f"{plain}_{number}"
        taken.add(name)
        names.append(name)
    return names


def _grouped(tables: Tables) -> Iterator[tuple[str, list[ItemObject]]]:
    """The objects of each image, by image_id."""
    classes = dict(zip(tables.classes["id"], tables.classes["name"], strict=True))
    rows = tables.objects.sort_values("image_id", kind="stable").astype(dict.fromkeys(BOX, "float64"))
    columns = ("image_id", "label", *BOX, "polygons", "rle", "difficult", "truncated", "iscrowd")
    ordered = zip(*(rows[column].tolist() for column in columns), strict=True)
    for image_id, group in itertools.groupby(ordered, key=itemgetter(0)):
        yield (
            image_id,
            [
                ItemObject(
                    classes[label],
                    None if math.isnan(box[0]) else (box[0], box[1], box[2], box[3]),
                    () if polygons is None else tuple(tuple(polygon) for polygon in polygons),
                    rle if isinstance(rle, str) else "",
                    difficult=bool(difficult),
                    truncated=bool(truncated),
                    iscrowd=bool(iscrowd),
                )
                for _, label, *box, polygons, rle, difficult, truncated, iscrowd in group
            ],
        )
