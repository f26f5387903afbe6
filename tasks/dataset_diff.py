"""What differs between two datasets: images by their content, objects by class and place."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import compress
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.masks import COLOUR, ids_of, read_ids, read_values, to_ids
from tasks.parallel import parallel
from tasks.tables import BOX, Tables, learnt

SHOWN: Final = 10
"""Images of each kind in the text; the JSON has all."""
SAME_PX: Final = 0.01
"""Boxes and outlines are the same where no coordinate differs by more: formats round."""


@dataclass(frozen=True)
class Difference:
    """From an old dataset to a new one. Images are named by image_id, classes by name.

    Attributes:
        added: Images whose content only the new one has.
        removed: Images whose content only the old one has.
        moved: Images of the same content in another split: name, old split, new split.
        relabelled: Images of the same content with other objects: name, what is gone, what is new.
        classes_added: Names of those that are learnt: what is void in masks is called as one likes.
        classes_removed: Names.
        classes_moved: The classes of both in the old order and in the new one; both empty where it is the same.
        objects: Objects of each class, old and new.
    """

    added: list[str]
    removed: list[str]
    moved: list[tuple[str, str, str]]
    relabelled: list[tuple[str, list[str], list[str]]]
    classes_added: list[str]
    classes_removed: list[str]
    classes_moved: tuple[list[str], list[str]]
    objects: dict[str, tuple[int, int]]

    @property
    def is_empty(self) -> bool:
        """Whether the two are the same."""
        images = (self.added, self.removed, self.moved, self.relabelled)
        return not any((*images, self.classes_added, self.classes_removed, *self.classes_moved))

    def to_json(self) -> str:
        """All of it."""
        return json.dumps(asdict(self), indent=2, ensure_ascii=False)

    def to_text(self) -> str:
        """For people; long lists are cut."""
        if self.is_empty:
            return "The same images with the same objects, classes and splits."
        lines = [
            f"Images   {len(self.added)} added, {len(self.removed)} removed, {len(self.relabelled)} relabelled, "
            f"{len(self.moved)} in another split"
        ]
        if self.classes_added or self.classes_removed:
            names = [f"+{name}" for name in self.classes_added] + [f"-{name}" for name in self.classes_removed]
            lines.append(f"Classes  {', '.join(names)}")
        if any(self.classes_moved):
            lines.append(f"Order    {' to '.join(', '.join(names) for names in self.classes_moved)}")
        width = max((len(name) for name in self.objects), default=0)
        for name, (old, new) in self.objects.items():
            if old != new:
                lines.append(f"Objects  {name:<{width}} {old} -> {new} ({new - old:+d})")
        lines += _listed("+", self.added)
        lines += _listed("-", self.removed)
        lines += _listed("~", [f"{name}: {_change(gone, come)}" for name, gone, come in self.relabelled])
        lines += _listed(">", [f"{name}: {old or 'no split'} to {new or 'no split'}" for name, old, new in self.moved])
        return "\n".join(lines)


def compare(old: Tables, new: Tables, old_root: Path | None = None, new_root: Path | None = None) -> Difference:
    """Compares two datasets; where the pixels are, the format, the order of files and how masks are written change nothing.

    Args:
        old: The one.
        new: The other.
        old_root: What the paths of masks are relative to, to compare what they show, for which both roots are needed.
        new_root: The same of the other.

    Raises:
        MaskDefect: A mask cannot be read.
    """
    roots = (old_root, new_root) if old_root and new_root else (None, None)
    names = {"old": list(learnt(old.classes)["name"]), "new": list(learnt(new.classes)["name"])}
    known = sorted({*names["old"], *names["new"]})
    sides = _Content(old, roots[0], known), _Content(new, roots[1], known)
    before, after = (side.images for side in sides)
    both = sorted(before.keys() & after.keys(), key=lambda digest: before[digest][0])
    relabelled, moved = [], []
    for digest in both:
        (name, old_split), (_, new_split) = before[digest], after[digest]
        gone, come = (sorted(map(str, each)) for each in _differing(*(side.objects(digest) for side in sides)))
        if gone or come:
            relabelled.append((name, gone, come))
        if old_split != new_split:
            moved.append((name, old_split, new_split))
    orders = [name for name in names["old"] if name in names["new"]], [name for name in names["new"] if name in names["old"]]
    counts = [_count(tables) for tables in (old, new)]
    return Difference(
        added=sorted(after[digest][0] for digest in after.keys() - before.keys()),
        removed=sorted(before[digest][0] for digest in before.keys() - after.keys()),
        moved=moved,
        relabelled=relabelled,
        classes_added=sorted(set(names["new"]) - set(names["old"])),
        classes_removed=sorted(set(names["old"]) - set(names["new"])),
        classes_moved=orders if orders[0] != orders[1] else ([], []),
        objects={name: (counts[0][name], counts[1][name]) for name in sorted(counts[0].keys() | counts[1].keys())},
    )


class _Object(NamedTuple):
    """An object, or a mask.

    Attributes:
        name: Its class; of a mask, what it shows.
        places: float64 (K,), pixels: its box, unless it is the whole image's class, and the points of its polygons.
        points: How many points each polygon has.
        rest: Its mask and its flags as text.
    """

    name: str
    places: NDArray[np.float64]
    points: tuple[int, ...] = ()
    rest: str = ""

    @property
    def kind(self) -> tuple[str, int, tuple[int, ...], str]:
        """What is equal in objects that may be the same."""
        return self.name, len(self.places), self.points, self.rest

    def __str__(self) -> str:
        steps = np.round(self.places / SAME_PX).astype(np.int64)
        text = self.name
        if len(steps):
            text += " " + ", ".join(f"{step * SAME_PX:.10g}" for step in steps[:4])
        if self.points:
            text += f", polygon of {sum(self.points)} points ({_digest(repr(self.points).encode() + steps[4:].tobytes())})"
        return text + self.rest


class _Content:
    """A dataset by the hashes of its files; of several copies, the first image counts.

    Attributes:
        images: image_id and split of each hash.
    """

    def __init__(self, tables: Tables, root: Path | None, known: Sequence[str]) -> None:
        """`known` has the classes that are learnt of both datasets."""
        images = tables.images.sort_values("image_id").drop_duplicates("hash")
        self.images = {str(row.hash): (str(row.image_id), str(row.split)) for row in images.itertuples()}
        self._masks = _masks(images[images["mask"].notna()], tables.classes, root, known)
        objects, names = tables.objects, tables.classes.set_index("id")["name"]
        self._rows = objects.groupby("image_id").indices
        self._columns = (
            objects["label"].map(names).to_numpy(object),
            objects[BOX].to_numpy(np.float64),
            *(objects[name].to_numpy(object) for name in ("polygons", "rle", "difficult", "iscrowd")),
        )

    def objects(self, digest: str) -> list[_Object]:
        """What an image shows; objects are made when they are asked for, as all of them would take much memory."""
        image_id, _ = self.images[digest]
        rows = self._rows.get(image_id, np.zeros(0, np.intp))
        found = [_object(*values) for values in zip(*(column[rows] for column in self._columns), strict=True)]
        return [*found, *(_Object(text, np.zeros(0)) for text in self._masks.get(image_id, ()))]


def _object(name: str, box: NDArray[np.float64], polygons: Any, rle: Any, difficult: bool, iscrowd: bool) -> _Object:
    """A row of the table `objects`."""
    is_outlined = polygons is not None and not isinstance(polygons, float)
    shapes = [np.asarray(polygon, np.float64) for polygon in polygons] if is_outlined else []
    places = np.concatenate([box[~np.isnan(box)], *shapes])
    rest = (f", mask {rle}" if isinstance(rle, str) else "") + ", difficult" * bool(difficult) + ", iscrowd" * bool(iscrowd)
    return _Object(name, places, tuple(len(shape) // 2 for shape in shapes), rest)


def _differing(old: Sequence[_Object], new: Sequence[_Object]) -> tuple[list[_Object], list[_Object]]:
    """Of each, what the other has not; equal objects are matched first, then those within `SAME_PX`."""
    kinds: dict[tuple[str, int, tuple[int, ...], str], tuple[list[_Object], list[_Object]]] = {}
    for side, objects in enumerate((old, new)):
        for item in objects:
            kinds.setdefault(item.kind, ([], []))[side].append(item)
    gone: list[_Object] = []
    come: list[_Object] = []
    for (_, size, _, _), (unmatched, its) in kinds.items():
        places = np.reshape([item.places for item in its], (len(its), size))
        is_left = np.ones(len(its), np.bool_)
        for tolerance in (0.0, SAME_PX):
            waiting, unmatched = unmatched, []
            for item in waiting:
                is_near = is_left & (np.abs(places - item.places) <= tolerance).all(axis=1)
                if is_near.any():
                    is_left[is_near.argmax()] = False
                else:
                    unmatched.append(item)
        gone += unmatched
        come += compress(its, is_left)
    return gone, come


def _masks(images: pd.DataFrame, classes: pd.DataFrame, root: Path | None, known: Sequence[str]) -> dict[str, list[str]]:
    """By image_id the mask as text: which of `known` each pixel shows, where a root is given."""
    if root is None or images.empty:
        return {name: ["mask"] for name in images["image_id"]}
    places = np.full(256, len(known), np.int16)  # of what is not learnt
    for number, name in enumerate(learnt(classes)["name"]):
        places[number] = known.index(name)
    compare = partial(_mask, root, ids_of(classes) if "value" in classes else None, places)
    jobs = list(zip(*(images[name].tolist() for name in ("mask", "width", "height", "orientation")), strict=True))
    return {name: [text] for name, text in zip(images["image_id"], parallel(compare, jobs, "diff", "masks"), strict=True)}


def _mask(root: Path, ids: dict[int, int] | None, places: NDArray[np.int16], job: tuple[str, int, int, int]) -> str:
    """A mask as text; `ids` is None where `transform` wrote it, `places` has what stands for each id."""
    name, width, height, orientation = job
    if ids is None:
        found = read_ids(root / name)
    else:
        found = to_ids(read_values(root / name, (width, height), orientation, colours=max(ids) >= COLOUR)[0], ids)
    return f"mask {_digest(repr(found.shape).encode() + places[found].tobytes())}"


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _count(tables: Tables) -> "Counter[str]":
    names = dict(zip(tables.classes["id"], tables.classes["name"], strict=True))
    return Counter(dict.fromkeys(names.values(), 0)) + Counter(pd.Series(tables.objects["label"]).map(names).tolist())


def _change(gone: Sequence[str], come: Sequence[str]) -> str:
    return "; ".join([*(f"- {text}" for text in gone[:2]), *(f"+ {text}" for text in come[:2])])


def _listed(sign: str, entries: Sequence[str]) -> list[str]:
    rest = [f"{sign} ... and {len(entries) - SHOWN} more"] if len(entries) > SHOWN else []
    return [f"{sign} {entry}" for entry in entries[:SHOWN]] + rest
