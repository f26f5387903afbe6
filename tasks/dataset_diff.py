"""What differs between two datasets: images by their content, objects by class and place."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.masks import COLOUR, ids_of, read_ids, read_values, to_ids
from tasks.parallel import parallel
from tasks.tables import BOX, Tables, learnt

SHOWN: Final = 10
"""Images of each kind in the text; the JSON has all."""
SAME_PX: Final = 0.01
"""Boxes whose corners differ by less are the same: formats round."""


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
    before, after = _by_content(old, roots[0], known), _by_content(new, roots[1], known)
    both = sorted(before.keys() & after.keys(), key=lambda digest: before[digest][0])
    relabelled, moved = [], []
    for digest in both:
        (name, old_split, old_objects), (_, new_split, new_objects) = before[digest], after[digest]
        if old_objects != new_objects:
            gone, come = Counter(old_objects), Counter(new_objects)
            relabelled.append((name, sorted((gone - come).elements()), sorted((come - gone).elements())))
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


def _by_content(tables: Tables, root: Path | None, known: Sequence[str]) -> dict[str, tuple[str, str, list[str]]]:
    """By the file's hash: image_id, split, and each object and the mask as text. Of several copies, the first counts.

    `known` has the classes that are learnt of both datasets.
    """
    names = dict(zip(tables.classes["id"], tables.classes["name"], strict=True))
    objects = tables.objects
    boxes = np.round(objects[BOX].to_numpy(np.float64) / SAME_PX) * SAME_PX + 0.0  # no -0
    texts: dict[str, list[str]] = {}
    columns = (objects["image_id"], objects["label"], boxes, objects["polygons"], objects["rle"])
    flags = (objects["difficult"], objects["iscrowd"])
    for image_id, label, box, polygons, rle, difficult, iscrowd in zip(*columns, *flags, strict=True):
        text = _object(names[label], box, polygons, rle) + ", difficult" * bool(difficult) + ", iscrowd" * bool(iscrowd)
        texts.setdefault(str(image_id), []).append(text)
    images = tables.images.sort_values("image_id").drop_duplicates("hash")
    masks = _masks(images[images["mask"].notna()], tables.classes, root, known)
    found: dict[str, tuple[str, str, list[str]]] = {}
    for row in images.itertuples():
        told = [*sorted(texts.get(str(row.image_id), [])), *masks.get(str(row.image_id), ())]
        found[str(row.hash)] = (str(row.image_id), str(row.split), told)
    return found


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


def _object(name: str, box: "np.ndarray[Any, np.dtype[np.float64]]", polygons: Any, rle: Any) -> str:
    """An object as text: its class, its box, and how it is outlined."""
    text = name if np.isnan(box[0]) else f"{name} {', '.join(f'{side:.10g}' for side in box)}"
    if polygons is not None and not isinstance(polygons, float):
        points = sum(len(polygon) for polygon in polygons) // 2
        rounded = [np.round(np.asarray(polygon, np.float64) / SAME_PX).astype(np.int64).tolist() for polygon in polygons]
        text += f", polygon of {points} points ({_digest(repr(rounded).encode())})"
    return f"{text}, mask {rle}" if isinstance(rle, str) else text


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
