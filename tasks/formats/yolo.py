"""YOLO: a text file an image, a line an object; boxes or polygons in shares of the upright image (see `_yolo_labels`).

Ultralytics' layout (`images/train` beside `labels/train`), Roboflow's (`train/images` beside `train/labels`), lists of images
(`train.txt`), `images` beside `labels` or `annotations` alone, and labels beside their images, as darknet has them. data.yaml
or classes.txt names the classes. A line holds either a box or one polygon, whose bounds are the box then: the box of an object
that has polygons is not written. An image without label is background where others of its folder have one, as for Ultralytics.
"""

import posixpath
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

import yaml

from sightline.errors import SightlineError
from tasks.findings import Finding, finding
from tasks.formats import SPLIT_FOLDERS, Item, Reading, base, place
from tasks.formats._yolo_data import MAX_CLASSES, NAME_FILES, Description, describe, parents
from tasks.formats._yolo_labels import BOM, TOLD, looks_like_labels, parse, to_lines
from tasks.names import Names
from tasks.once import once
from tasks.parallel import parallel
from tasks.scan import Scan, is_image, walk
from tasks.table_builder import TableBuilder
from tasks.tables import SPLITS

HOLDS: Final = frozenset({"box", "polygons", "split", "empty", "classes"})
_LOOKS: Final = 20
"""Labels that tell whether a folder is of this format."""
_MAX_LIST_BYTES: Final = 64 * 2**20
_MAX_LINE: Final = 4096
_MAX_PARTS: Final = 64  # folders of a path in a list
_FOLDERS: Final = ("labels", "annotations")  # of labels; tools that write no images leave the name to people
_LISTS: Final = {"train.txt": "train", "val.txt": "val", "valid.txt": "val", "test.txt": "test"}


class _Dataset(NamedTuple):
    """What lies in a folder; names are relative to the top.

    Attributes:
        top: The folder that really holds the dataset.
        prefix: Of names, so that they are relative to the root.
        files: All files.
        described: What data.yaml and the lists of names say.
        labels: The label of each image, sorted by the image; empty where it has none.
    """

    top: Path
    prefix: str
    files: frozenset[str]
    described: Description
    labels: dict[str, str]


def detect(root: Path) -> str | None:
    """None where `root` is of this format, otherwise the first requirement that it does not meet."""
    top = base(root)
    pictures, texts = Names(), set()
    for name in walk(top, top):  # of a dataset in another format little is kept
        if name.endswith(".txt"):
            texts.add(name)
        elif is_image(name):
            pictures.append(name)
    has_label = any(label for _, label in _labels_of(pictures, frozenset(texts)))
    if not pictures:
        return "no folder with images"
    chosen = _look(root).labels if has_label else dict.fromkeys(pictures[:1], "")
    labels = [label for label in chosen.values() if label]
    if not labels:
        first = next(iter(chosen))
        return f"{first}: no label {' or '.join(_label_names(first))}, and none for another image"
    looks = [looks_like_labels(top / name) for name in labels[:_LOOKS]]
    if False in looks and True not in looks:
        return f"{labels[looks.index(False)]}: its first line is no `class x y width height` in numbers"
    return None


def image_files(root: Path) -> list[str]:
    """The image files, relative to `root`: those below a folder `images` or one that data.yaml names, else all."""
    dataset = _look(root)
    return [dataset.prefix + name for name in dataset.labels]


def read(root: Path, scans: Mapping[str, Scan]) -> Reading:
    """Reads every label with its image; shares become pixels of the upright image."""
    dataset = _look(root)
    prefix, described = dataset.prefix, dataset.described
    findings = [replace(item, file=item.file and prefix + item.file) for item in described.findings]
    findings += [*_missing(dataset), *_orphans(dataset)]
    splits, told = _splits(dataset)
    findings += told
    accepted: list[str] = []
    owners: dict[str, str] = {}
    labelled = {posixpath.dirname(name) for name, label in dataset.labels.items() if label}
    for name, label in dataset.labels.items():
        scan = scans[prefix + name]
        if scan.code or posixpath.dirname(name) not in labelled:
            continue
        first = owners.setdefault(label or _label_name(name), name)
        if first != name:
            findings.append(finding("image.ambiguous", f"{prefix}{first}, {scan.path}", scan.path, image_id=scan.image_id))
            continue
        accepted.append(name)
        if splits and name not in splits:
            findings.append(finding("split.unlisted", "in no split", scan.path, image_id=scan.image_id))
    builder = TableBuilder()
    classes, told = _fill(builder, root, dataset, accepted, splits, scans)
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
        label = _label_name(name)
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


@once
def _look(root: Path) -> _Dataset:
    top = base(root)
    files = frozenset(walk(top, top))
    described = describe(top, files)
    pictures = sorted(filter(is_image, files))
    if not described.lists:
        folders = described.folders
        chosen = [
            name for name in pictures if "/images/" in f"/{name}" or (folders and not folders.keys().isdisjoint(parents(name)))
        ]
        pictures = chosen or pictures
    prefix = "" if top == root else f"{top.relative_to(root).as_posix()}/"
    return _Dataset(top, prefix, files, described, dict(_labels_of(pictures, files)))


def _label_name(image: str) -> str:
    """Where an image's label belongs: in `labels` for the last `images` of its path, or beside it."""
    return _label_names(image)[0]


def _label_names(image: str) -> tuple[str, ...]:
    """Where an image's label may be, the usual place first."""
    folder, slash, file = image.rpartition("/")
    return tuple(f"{each}{file[: file.rfind('.')]}.txt" for each in _label_folders(f"{folder}{slash}"))


def _label_folders(images: str) -> list[str]:
    """Where the labels of a folder's images may be, the usual place first; folders have `/` at their ends, the top is empty."""
    parted = f"/{images}".rsplit("/images/", 1)
    return list(dict.fromkeys([*(f"/{each}/".join(parted)[1:] for each in _FOLDERS), images]))


def _labels_of(images: Iterable[str], files: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Each image with its label, or the empty string."""
    filled = {name[: name.rfind("/") + 1] for name in files if name.endswith(".txt")}
    places: dict[str, list[str]] = {}
    for image in images:
        start, end = image.rfind("/") + 1, image.rfind(".")
        folder = image[:start]
        if folder not in places:
            places[folder] = [each for each in _label_folders(folder) if each in filled]
        candidates = (f"{each}{image[start:end]}.txt" for each in places[folder])
        yield image, next((name for name in candidates if name in files), "")


def _missing(dataset: _Dataset) -> Iterator[Finding]:
    """Images without label, by their folder: where no image has one, the labels were left behind."""
    folders: dict[str, list[str]] = {}
    for name in dataset.labels:
        folders.setdefault(posixpath.dirname(name), []).append(name)
    for folder, names in folders.items():
        without = [name for name in names if not dataset.labels[name]]
        if without:
            got = f"{len(without)} of {len(names)} images without label, first {_label_name(without[0])}"
            code = "yolo.label_missing" if len(without) < len(names) else "annotation.missing"
            yield finding(code, got, dataset.prefix + (folder or without[0]))


def _orphans(dataset: _Dataset) -> Iterator[Finding]:
    """Labels without image; a text that is no label is none."""
    folders = {posixpath.dirname(name) for name in dataset.labels}
    lists = {name for name, _ in _lists(dataset)}
    used = {posixpath.dirname(name) for name in dataset.labels.values()}
    for name in sorted(dataset.files.difference(dataset.labels.values(), lists)):
        folder, _, file = name.rpartition("/")
        in_labels = "/labels/" in f"/{name}" or ("/annotations/" in f"/{name}" and folder in used)
        if name.endswith(".txt") and file not in NAME_FILES and (in_labels or folder in folders):
            looks = looks_like_labels(dataset.top / name)
            if looks or (looks is None and in_labels):
                yield finding("image.missing", "a label without image", dataset.prefix + name)


def _lists(dataset: _Dataset) -> Sequence[tuple[str, str]]:
    """The lists of images with their splits."""
    if dataset.described.lists or dataset.described.folders:
        return dataset.described.lists
    used = set(dataset.labels.values())
    return [(name, split) for name, split in _LISTS.items() if name in dataset.files and name not in used]


def _splits(dataset: _Dataset) -> tuple[dict[str, str], list[Finding]]:
    """The split of each image that has one: by a list, by the nearest folder of data.yaml, or by the folders' names."""
    splits: dict[str, str] = {}
    findings = [item for name, split in _lists(dataset) for item in _read_list(dataset, name, split, splits)]
    for name in dataset.labels:
        named = (dataset.described.folders.get(folder, "") for folder in parents(name))
        usual = (SPLIT_FOLDERS.get(part.lower().rstrip("0123456789"), "") for part in name.split("/")[:-1])
        split = splits.get(name) or next(filter(None, (*named, *usual)), "")
        if split:
            splits[name] = split
    return splits, findings


def _read_list(dataset: _Dataset, name: str, split: str, splits: dict[str, str]) -> Iterator[Finding]:
    """Adds what a list names to `splits`; its paths are compared, and begin anywhere above the dataset."""
    path, where, unknown = dataset.top / name, dataset.prefix + name, 0
    if path.stat().st_size > _MAX_LIST_BYTES:
        yield finding("split.unknown_image", f"a list of more than {_MAX_LIST_BYTES} bytes", where)
        return
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            entry = line.removeprefix(BOM)[:_MAX_LINE].decode("utf-8", "replace").strip().replace("\\", "/")
            parts = [part for part in entry.split("/") if part not in ("", ".", "..")][-_MAX_PARTS:]
            candidates = (posixpath.join(posixpath.dirname(name), *parts), *("/".join(parts[at:]) for at in range(len(parts))))
            image = next((each for each in candidates if each in dataset.labels), None)
            if image is None and parts:
                unknown += 1
                if unknown <= TOLD:
                    yield finding("split.unknown_image", repr(entry[:200]), where, number)
            elif image is not None and splits.setdefault(image, split) != split:
                got = f"{image} in {splits[image]} and {split}"
                yield finding("split.twice", got, where, number, dataset.prefix + image[: image.rfind(".")])
    if unknown > TOLD:
        yield finding("split.unknown_image", f"{unknown - TOLD} more in this file", where)


def _fill(
    builder: TableBuilder, root: Path, dataset: _Dataset, accepted: Sequence[str], splits: Mapping[str, str],
    scans: Mapping[str, Scan],
) -> tuple[Sequence[str], list[Finding]]:  # fmt: skip
    """Reads images and labels into `builder`; the classes in the order of their ids, and what is wrong with the labels.

    Args:
        builder: Has nothing.
        root: What names are relative to.
        dataset: What lies there.
        accepted: Its images, each with a label of its own or none.
        splits: The split of an image.
        scans: Its images, by their names relative to the root.
    """
    names, prefix = dataset.described.names, dataset.prefix
    work = partial(parse, root, len(names) or MAX_CLASSES, dataset.described.keypoints)
    tasks: list[tuple[str, int, int]] = []
    for name in accepted:
        if dataset.labels[name]:
            scan = scans[prefix + name]
            tasks.append((prefix + dataset.labels[name], scan.width, scan.height))
    findings: list[Finding] = []
    kinds: Counter[bool] = Counter()
    ids: set[int] = set()
    waiting = iter(accepted)
    for label in parallel(work, tasks, "validate", "labels"):
        image_id = ""
        for name in waiting:  # those before it without label, and its own
            image_id = builder.add_image(scans[prefix + name], splits.get(name, ""))
            if dataset.labels[name]:
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
    for name in waiting:
        builder.add_image(scans[prefix + name], splits.get(name, ""))
    if len(kinds) > 1 and not any(item.code == "yolo.mixed" for item in findings):
        findings.append(finding("yolo.mixed", f"{kinds[False]} boxes and {kinds[True]} polygons"))
    return names or [str(number) for number in sorted(ids)], findings
