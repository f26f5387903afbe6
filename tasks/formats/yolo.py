"""YOLO: a text file an image, a line an object; boxes or polygons in shares of the upright image (see `_yolo_labels`).

Ultralytics' layout (`images/train` beside `labels/train`), Roboflow's (`train/images` beside `train/labels`), lists of images
(`train.txt`), `images` beside `labels` or `annotations` alone, and labels beside their images, as darknet has them. data.yaml
or classes.txt names the classes. A line holds either a box or one polygon, whose bounds are the box then: the box of an object
that has polygons is not written. An image without label is background where others of its folder have one, as for Ultralytics.
"""

import posixpath
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, islice
from pathlib import Path
from typing import Final

import yaml

from sightline.errors import SightlineError
from tasks.findings import Finding, finding
from tasks.formats import SPLIT_FOLDERS, Item, Reading, place
from tasks.formats._yolo_data import MAX_CLASSES, NAME_FILES, parents
from tasks.formats._yolo_labels import BOM, TOLD, looks_like_labels, parse, to_lines
from tasks.formats._yolo_layout import Layout, label_name, label_names, look
from tasks.lazy import Lazy
from tasks.names import Index, Names, without_suffix
from tasks.parallel import parallel
from tasks.scan import Scan, Scans
from tasks.table_builder import TableBuilder
from tasks.tables import SPLITS

HOLDS: Final = frozenset({"box", "polygons", "split", "empty", "classes"})
_LOOKS: Final = 20
"""Labels that tell whether a folder is of this format."""
_MAX_LIST_BYTES: Final = 64 * 2**20
_MAX_LINE: Final = 4096
_MAX_PARTS: Final = 64  # folders of a path in a list
_SPLITS: Final = ("", *SPLITS)  # by the number that stands for one; the first is none
_LISTS: Final = {"train.txt": "train", "val.txt": "val", "valid.txt": "val", "test.txt": "test"}


def detect(root: Path) -> str | None:
    """None where `root` is of this format, otherwise the first requirement that it does not meet."""
    layout = look(root)
    if not layout.images:
        return "no folder with images"
    if not layout:
        first = layout.images[0]
        return f"{first}: no label {' or '.join(label_names(first))}, and none for another image"
    labels = list(islice(filter(None, map(layout.label, range(len(layout.images)))), _LOOKS))
    looks = [looks_like_labels(layout.top / name) for name in labels]
    if False in looks and True not in looks:
        return f"{labels[looks.index(False)]}: its first line is no `class x y width height` in numbers"
    return None


def image_files(root: Path) -> Names:
    """The image files, relative to `root`: those below a folder `images` or one that data.yaml names, else all."""
    layout = look(root)
    return Names(layout.prefix + name for name in layout.images) if layout.prefix else layout.images


def read(root: Path, scans: Mapping[str, Scan]) -> Reading:
    """Reads every label with its image; shares become pixels of the upright image."""
    dataset = _Dataset(look(root), scans)
    layout = dataset.layout
    findings = [replace(item, file=item.file and layout.prefix + item.file) for item in layout.described.findings]
    findings += [*_missing(layout), *_orphans(layout)]
    splits, told = _splits(layout)
    findings += told
    has_splits = any(splits)
    accepted = array("i")
    alike = set(Index(_Owners(layout)).shared())
    owners: dict[str, str] = {}
    labelled = {posixpath.dirname(name) for row, name in enumerate(layout.images) if layout.label(row)}
    for row, name in enumerate(layout.images):
        scan = dataset.scan(row)
        if scan.code or posixpath.dirname(name) not in labelled:
            continue
        first = owners.setdefault(layout.label(row) or label_name(name), name) if row in alike else name
        if first != name:
            got = f"{layout.prefix}{first}, {scan.path}"
            findings.append(finding("image.ambiguous", got, scan.path, image_id=scan.image_id))
            continue
        accepted.append(row)
        if has_splits and not splits[row]:
            findings.append(finding("split.unlisted", "in no split", scan.path, image_id=scan.image_id))
    builder = TableBuilder()
    classes, told = _fill(builder, root, dataset, accepted, splits)
    return Reading(builder.tables(classes), [*findings, *told])


def write(items: Iterable[Item], root: Path, classes: Sequence[str] = ()) -> None:
    """Writes samples in Ultralytics' layout, each image with a label; data.yaml names no split where they have none.

    data.yaml has no `path`: its own folder is meant then, wherever the command runs.

    Raises:
        SightlineError: A sample has no box, polygons beside boxes, a class that is not in `classes` or has no name, or
            another's name.
    """
    lines: dict[str, list[tuple[str, str]]] = {}
    splits = set()
    for folder in ("images", "labels"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for item in items:
        name = posixpath.join("images", item.split, f"{item.name}{item.suffix}")
        label = label_name(name)
        if label in lines:
            raise SightlineError(f"{name}: another image has the label {label}, expected one: rename one of them")
        lines[label] = to_lines(item)
        splits.add(item.split)
        place(item.image, f"{root}/{name}")  # text: of many small files, paths would be a tenth of the time
    names = list(classes) or sorted({each for rows in lines.values() for each, _ in rows})
    if not all(map(str.strip, names)):
        raise SightlineError(f"classes: {names}, expected names that are not empty: rename them")
    ids = {name: number for number, name in enumerate(names)}
    for label, rows in lines.items():
        unknown = next((each for each, _ in rows if each not in ids), None)
        if unknown is not None:
            raise SightlineError(f"{label}: class {unknown}, expected one of {', '.join(names)}: add it to the classes")
        place("".join(f"{ids[each]} {numbers}\n" for each, numbers in rows).encode("ascii"), f"{root}/{label}")
    data = {split: f"images/{split}" for split in SPLITS if split in splits} | {"nc": len(names), "names": names}
    (root / "data.yaml").write_text(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), encoding="utf-8")


class _Dataset:
    """The images of a dataset, and what they are.

    Attributes:
        layout: Where they lie.
    """

    def __init__(self, layout: Layout, scans: Mapping[str, Scan]) -> None:
        self.layout, self._scans = layout, scans

    def scan(self, row: int) -> Scan:
        """What an image is."""
        path = self.layout.prefix + self.layout.images[row]
        if isinstance(self._scans, Scans) and row < len(self._scans):  # as a rule in the same order
            scan = self._scans.at(row)
            if scan.path == path:
                return scan
        return self._scans[path]


class _Owners(Lazy[str]):
    """Whose label each image's is, or would be."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout

    def __len__(self) -> int:
        return len(self._layout.images)

    def at(self, row: int) -> str:
        return self._layout.label(row) or label_name(self._layout.images[row])


class _Jobs(Lazy[tuple[str, int, int]]):
    """Labels to read, with the size of their images."""

    def __init__(self, dataset: _Dataset, rows: "array[int]") -> None:
        self._dataset, self._rows = dataset, rows

    def __len__(self) -> int:
        return len(self._rows)

    def at(self, row: int) -> tuple[str, int, int]:
        layout, scan = self._dataset.layout, self._dataset.scan(self._rows[row])
        return layout.prefix + layout.label(self._rows[row]), scan.width, scan.height


def _missing(layout: Layout) -> Iterator[Finding]:
    """Images without label, by their folder: where no image has one, the labels were left behind."""
    counts: Counter[str] = Counter()
    without: Counter[str] = Counter()
    firsts: dict[str, str] = {}
    for row, name in enumerate(layout.images):
        folder = posixpath.dirname(name)
        counts[folder] += 1
        if not layout.label(row):
            without[folder] += 1
            firsts.setdefault(folder, name)
    for folder, count in without.items():
        got = f"{count} of {counts[folder]} images without label, first {label_name(firsts[folder])}"
        code = "yolo.label_missing" if count < counts[folder] else "annotation.missing"
        yield finding(code, got, layout.prefix + (folder or firsts[folder]))


def _orphans(layout: Layout) -> Iterator[Finding]:
    """Labels without image; a text that is no label is none."""
    folders = {posixpath.dirname(name) for name in layout.images}
    used = {posixpath.dirname(layout.label(row)) for row in range(len(layout.images))}
    is_taken = bytearray(len(layout.files.texts) + 1)  # -1 is none of them
    for row in chain(layout.labels, (layout.files.text(name) for name, _ in _lists(layout))):
        is_taken[row] = True
    for row, name in enumerate(layout.files.texts):
        if is_taken[row]:
            continue
        folder, _, file = name.rpartition("/")
        in_labels = "/labels/" in f"/{name}" or ("/annotations/" in f"/{name}" and folder in used)
        if file not in NAME_FILES and (in_labels or folder in folders):
            looks = looks_like_labels(layout.top / name)
            if looks or (looks is None and in_labels):
                yield finding("image.missing", "a label without image", layout.prefix + name)


def _lists(layout: Layout) -> Sequence[tuple[str, str]]:
    """The lists of images with their splits."""
    if layout.described.lists or layout.described.folders:
        return layout.described.lists
    rows = {name: layout.files.text(name) for name in _LISTS}
    return [(name, split) for name, split in _LISTS.items() if rows[name] >= 0 and rows[name] not in layout.labels]


def _splits(layout: Layout) -> tuple[bytearray, list[Finding]]:
    """The place in `_SPLITS` of each image's split: by a list, by the nearest folder of data.yaml, or by the folders' names."""
    splits = bytearray(len(layout.images))
    findings = [item for name, split in _lists(layout) for item in _read_list(layout, name, split, splits)]
    folders: dict[str, int] = {}
    for row, name in enumerate(layout.images):
        folder = posixpath.dirname(name)
        if folder not in folders:
            named = (layout.described.folders.get(each, "") for each in parents(name))
            usual = (SPLIT_FOLDERS.get(part.lower().rstrip("0123456789"), "") for part in folder.split("/"))
            folders[folder] = _SPLITS.index(next(filter(None, (*named, *usual)), ""))
        splits[row] = splits[row] or folders[folder]
    return splits, findings


def _read_list(layout: Layout, name: str, split: str, splits: bytearray) -> Iterator[Finding]:
    """Adds what a list names to `splits`; its paths are compared, and begin anywhere above the dataset."""
    path, where, unknown = layout.top / name, layout.prefix + name, 0
    if path.stat().st_size > _MAX_LIST_BYTES:
        yield finding("split.unknown_image", f"a list of more than {_MAX_LIST_BYTES} bytes", where)
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            entry = line.removeprefix(BOM)[:_MAX_LINE].decode("utf-8", "replace").strip().replace("\\", "/")
            parts = [part for part in entry.split("/") if part not in ("", ".", "..")][-_MAX_PARTS:]
            candidates = (posixpath.join(posixpath.dirname(name), *parts), *("/".join(parts[at:]) for at in range(len(parts))))
            row = next((row for each in candidates for row in layout.rows(each)), None)
            if row is None and parts:
                unknown += 1
                if unknown <= TOLD:
                    yield finding("split.unknown_image", repr(entry[:200]), where, number)
            elif row is not None and splits[row] not in (0, _SPLITS.index(split)):
                image = layout.images[row]
                got = f"{image} in {_SPLITS[splits[row]]} and {split}"
                yield finding("split.twice", got, where, number, layout.prefix + without_suffix(image))
            elif row is not None:
                splits[row] = _SPLITS.index(split)
    if unknown > TOLD:
        yield finding("split.unknown_image", f"{unknown - TOLD} more in this file", where)


def _fill(
    builder: TableBuilder, root: Path, dataset: _Dataset, accepted: "array[int]", splits: bytearray
) -> tuple[Sequence[str], list[Finding]]:
    """Reads images and labels into `builder`; the classes in the order of their ids, and what is wrong with the labels.

    Args:
        builder: Has nothing.
        root: What names are relative to.
        dataset: What lies there.
        accepted: The rows of its images, each with a label of its own or none.
        splits: The place in `_SPLITS` of each image's split.
    """
    layout = dataset.layout
    names = layout.described.names
    work = partial(parse, root, len(names) or MAX_CLASSES, layout.described.keypoints)
    labelled = array("i", (row for row in accepted if layout.label(row)))
    findings: list[Finding] = []
    kinds: Counter[bool] = Counter()
    ids: set[int] = set()
    waiting = iter(accepted)
    for label in parallel(work, _Jobs(dataset, labelled), "validate", "labels"):
        image_id = ""
        for row in waiting:  # those before it without label, and its own
            image_id = builder.add_image(dataset.scan(row), _SPLITS[splits[row]])
            if layout.label(row):
                break
        for code, got, line, expected in label.problems:
            findings.append(finding(code, got, label.name, line, image_id, expected))
        outlined = [polygon is not None for _, _, polygon, _ in label.objects]
        if len(set(outlined)) > 1:
            *_, line = label.objects[outlined.index(not outlined[0])]
            findings.append(finding("yolo.mixed", "a box and a polygon", label.name, line, image_id))
        kinds.update(outlined)
        for class_id, box, polygon, line in label.objects:
            ids.add(class_id)
            polygons = None if polygon is None else [polygon]
            builder.add_object(image_id, names[class_id] if names else str(class_id), box, label.name, line, polygons=polygons)
    for row in waiting:
        builder.add_image(dataset.scan(row), _SPLITS[splits[row]])
    if len(kinds) > 1 and not any(item.code == "yolo.mixed" for item in findings):
        findings.append(finding("yolo.mixed", f"{kinds[False]} boxes and {kinds[True]} polygons"))
    return names or [str(number) for number in sorted(ids)], findings
