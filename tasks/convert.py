"""From one annotation format to another, by way of the canonical tables."""

import fcntl
import os
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pandas as pd

from sightline.contract import MAX_PIXELS
from sightline.errors import SightlineError
from tasks import formats
from tasks.expectations import box_errors
from tasks.findings import Finding, ordered
from tasks.formats import Item
from tasks.image_rules import check_foreign, check_images
from tasks.masks import COLOUR, encode, ids_of, read_values, to_ids
from tasks.rules import RULES
from tasks.scan import walk
from tasks.sources import _archive
from tasks.tables import Tables, learnt

TOLD: Final = frozenset({"truncated"})
"""Losses that are told alone: nothing is learnt or measured by them."""
WORK: Final = ".sightline-convert"
"""A folder that becomes the dataset once it is whole."""


@dataclass(frozen=True)
class Opened:
    """A dataset that was read.

    Attributes:
        raw: Where its images are, unless `transform` wrote them.
        root: The dataset: where its masks are, and the images that `transform` wrote.
        format: The name of its format; `canonical` where a stage wrote it.
        tables: What it holds.
        findings: What is wrong with its files; nothing for a canonical one.
    """

    raw: Path
    root: Path
    format: str
    tables: Tables
    findings: list[Finding]


@contextmanager
def open_dataset(path: Path, name: str = "auto", voc_origin: int = 1) -> Iterator[Opened]:
    """Reads a folder or a ZIP in any format, or what `transform` wrote; a ZIP is unpacked into a temporary folder.

    Args:
        path: The dataset.
        name: Its format, or `auto`.
        voc_origin: What the coordinates of VOC boxes count from, 1 or 0.

    Raises:
        SightlineError: It is not there, of no known format, or a ZIP with what must not be written.
    """
    with unpacked(path) as root:
        if (root / "images.parquet").is_file():
            yield Opened(root.parent / "raw", root, "canonical", Tables.read(root), [])
            return
        name, scans, reading = formats.open_folder(root, name, MAX_PIXELS, decode=False, voc_origin=voc_origin)
        found = [*reading.findings, *check_images(scans), *check_foreign(walk(root, root))]
        yield Opened(root, root, name, reading.tables, found)


@contextmanager
def unpacked(path: Path) -> Iterator[Path]:
    """A folder as it is, or a ZIP's files in a temporary one.

    Raises:
        SightlineError: Neither is there, or the ZIP holds what must not be written.
    """
    if path.is_dir():
        yield path
    elif path.is_file():
        with tempfile.TemporaryDirectory(prefix="sightline-") as folder:
            out = Path(folder) / "files"
            _archive.extract(path, out, str(path))
            yield out
    else:
        raise SightlineError(f"{path}: nothing there, expected a folder or a ZIP with a dataset")


def convert(opened: Opened, name: str, out: Path, *, link: bool = False, lossy: bool = False) -> int:
    """Writes a dataset in the format `name`, whole or not at all; returns the number of images. Tells what is left out.

    Args:
        opened: The dataset.
        name: The format to write.
        out: A folder that is not there yet, or is empty.
        link: Links to the images instead of copies of them.
        lossy: Whether to go on where the format cannot hold all that the dataset holds; crowds are left out then.

    Raises:
        SightlineError: There is something in `out`, an error in the dataset, or a loss that was not allowed.
    """
    check_free(out)
    refuse_errors((*opened.findings, *box_errors(opened.tables)))
    module = formats.load(name)
    lost = formats.holds(opened.tables) - module.HOLDS
    if lost - TOLD and not lossy:
        what = ", ".join(formats.HOLDABLE[key] for key in sorted(lost - TOLD))
        raise SightlineError(f"{name} cannot hold {what}: choose another format, or lose them with --lossy")
    for text in left_out(opened.findings):
        print(text, file=sys.stderr)
    tables = opened.tables
    if "iscrowd" in lost:
        is_crowd = tables.objects["iscrowd"].astype(bool)
        tables = replace(tables, objects=tables.objects[~is_crowd])
        print(f"{name}: {is_crowd.sum()} objects with the flag iscrowd are left out", file=sys.stderr)
    if "truncated" in lost:
        print(f"{name}: the flag truncated of {tables.objects['truncated'].sum()} objects is left out", file=sys.stderr)
    items = formats.items(tables, opened.raw, opened.root, link=link)
    if tables.images["mask"].notna().any():
        items = with_masks(items, tables, opened.root)
    with _at_once(out) as folder:
        module.write(items, folder, tuple(learnt(tables.classes)["name"]))
    return len(tables.images)


def refuse_errors(findings: Iterable[Finding], place: str = "") -> None:
    """Refuses a dataset that could not be read whole; `place` says which, with a colon.

    Raises:
        SightlineError: There is an error among the findings.
    """
    errors = sorted(item for item in findings if item.severity == "error")
    if errors:
        raise SightlineError(f"{place}{len(errors)} errors, first: {errors[0]}: run `sightline validate`, and mend them")


def left_out(findings: Sequence[Finding]) -> Iterator[str]:
    """A line for each rule whose findings mean that something is not in the tables."""
    found: dict[str, list[Finding]] = {}
    for item in ordered([item for item in findings if RULES[item.code].leaves_out]):
        found.setdefault(item.code, []).append(item)
    for code, items in found.items():
        yield f"{code}: {len(items)}, first {items[0]}"


def check_free(out: Path) -> None:
    """Refuses a folder with something in it.

    Raises:
        SightlineError: `out` is one, or a file.
    """
    if out.exists() and (not out.is_dir() or any(path.name != WORK for path in out.iterdir())):
        raise SightlineError(f"{out}: not empty, expected a new folder: name another")


@contextmanager
def _at_once(out: Path) -> Iterator[Path]:
    """A folder beside `out` that becomes it at the end, and is removed after a failure; inside it where `out` is there.

    What a process that was killed left there is removed by the next one that writes to the same place.

    Raises:
        SightlineError: Another process is writing there.
    """
    is_there = out.is_dir()
    parent = out if is_there else out.parent
    parent.mkdir(parents=True, exist_ok=True)
    with _locked(parent / (WORK if is_there else f"{WORK}-{out.name}"), out) as work:
        folder = work / "out"
        if folder.exists():
            shutil.rmtree(folder)
        folder.mkdir()
        yield folder
        if not is_there:
            folder.rename(out)
            return
        for path in sorted(folder.iterdir()):  # `out` itself stays: it may be a link or a mount
            path.rename(out / path.name)


@contextmanager
def _locked(work: Path, out: Path) -> Iterator[Path]:
    """The folder, this process's own while it lives, and gone afterwards."""
    work.mkdir(mode=0o700, exist_ok=True)
    handle = os.open(work, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # the kernel opens it when the process ends, however it does
        except BlockingIOError:
            raise SightlineError(f"{out}: another process writes there, expected none: wait for it, or name another") from None
        try:
            yield work
        finally:
            shutil.rmtree(work, ignore_errors=True)
    finally:
        os.close(handle)


def with_masks(items: Iterable[Item], tables: Tables, root: Path) -> Iterator[Item]:
    """Gives each sample its mask of class ids, where it has one.

    Args:
        items: `tasks.formats.items(tables, root)`.
        tables: As a format read them, or those of the canonical dataset.
        root: What the paths of masks are relative to.

    Raises:
        MaskDefect: A mask cannot be read.
    """
    ids = ids_of(tables.classes) if "value" in tables.classes else None
    for item, row in zip(items, tables.images.sort_values("image_id").itertuples(), strict=True):
        if pd.isna(row.mask):
            yield item
            continue
        if ids is None:  # the canonical dataset's
            yield replace(item, masks={**item.masks, "semantic": (root / row.mask).read_bytes()})
            continue
        size, orientation = (int(row.width), int(row.height)), int(row.orientation)
        values, _ = read_values(root / row.mask, size, orientation, colours=max(ids) >= COLOUR)
        yield replace(item, masks={**item.masks, "semantic": encode(to_ids(values, ids))})
