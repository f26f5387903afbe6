"""COCO JSON: lists of images, annotations and categories in one file; boxes are [x, y, width, height] from 0.

https://cocodataset.org/#format-data. The file lies in annotations/ (`instances_train2017.json`), at the root, or in a split's
folder (Roboflow's `train/_annotations.coco.json`). An image's `file_name` is looked for beside the file, then in `<split>/`,
`images/<split>/`, `images/` and at the root, `<split>` being the file's own name for it; a backslash may stand for `/` there,
as tools on Windows write it. A split is told by the file's name, else by its folder's; a file of `trainval` is not read beside
one of train. Classes stand in the order of the category ids; the ids of annotations are not needed.

An annotation without bbox gets the box that just holds its segmentation. COCO's `area` is the segmentation's, and the box's
where there is none; it is compared and not used.

COCO says nothing of EXIF. Sizes and coordinates are taken to be those of the upright image. A file that gives the size of the
pixels as stored, where EXIF turns them by 90 degrees, is an error: tools differ in whether boxes were drawn before or after.
"""

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from sightline.errors import SightlineError
from tasks.file_kinds import is_hidden, is_image
from tasks.formats import JOINED, SPLIT_FOLDERS, Item, ItemObject, Reading, base, place
from tasks.formats._coco_reader import PARTS, Reader, Source
from tasks.formats._coco_shapes import decode, polygon_area
from tasks.names import Names
from tasks.once import once
from tasks.scan import Scan, has_images, subfolders, walk
from tasks.tables import Box

HOLDS: Final = frozenset({"box", "polygons", "rle", "iscrowd", "split", "empty", "classes"})
_PREFIX: Final = "instances_"
_PART: Final = 1 << 20  # bytes of a file that are looked at at once
_PANOPTIC: Final = "segments_info"  # https://cocodataset.org/#format-data, section 4


def detect(root: Path) -> str | None:
    """None where `root` is of this format, otherwise the first requirement that it does not meet."""
    top = _top(root)
    found = _json_files(top)
    if not found:
        return "no *.json in annotations/, at the root or in the folder of a split"
    missing = [_missing(path) for path in found]
    name = found[0].relative_to(root).as_posix()
    if None not in missing:
        return f"{name}: no list {missing[0]!r}"
    if all(_named(path, [_PANOPTIC]) for path in found):
        return f"{name}: {_PANOPTIC}, panoptic masks, expected objects with boxes, polygons or RLE"
    return None if has_images(top) else "no image beside the *.json, in images/ or in the folders of splits"


def image_files(root: Path) -> Names:
    """The image files, relative to `root`; masks of panoptic segments are none."""
    top = _top(root)
    masks = f"{(top / 'annotations').relative_to(root).as_posix()}/panoptic_"
    return Names(name for name in walk(top, root) if is_image(name) and not name.startswith(masks))


def read(root: Path, scans: Mapping[str, Scan]) -> Reading:
    """Reads every COCO file; boxes become xyxy."""
    reader = Reader(scans)
    for source in _sources(root):
        reader.read(source)
    return reader.finish()


def write(items: Iterable[Item], root: Path, classes: Sequence[str] = ()) -> None:
    """Writes annotations/instances_<split>.json and images/<split>/; `default` stands for no split.

    Ids count from 1. The images are written one by one; the annotations wait for the last, as all classes are known then.

    Raises:
        SightlineError: An object has no box, a broken mask, or a class that is not in `classes`.
    """
    by_split: dict[str, list[Item]] = {}
    for item in items:
        place(item.image, root / "images" / item.split / f"{item.name}{item.suffix}")
        by_split.setdefault(item.split, []).append(replace(item, image=b"", masks={}))
    names = list(classes) or sorted({each.label for group in by_split.values() for item in group for each in item.objects})
    ids = {name: number for number, name in enumerate(names, 1)}
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    for split, group in (by_split or {"": []}).items():
        lists: dict[str, Iterable[Mapping[str, object]]] = {
            "images": (
                {"id": number, "file_name": f"{item.name}{item.suffix}", "width": item.width, "height": item.height}
                for number, item in enumerate(group, 1)
            ),
            "annotations": _annotations(group, ids),
            "categories": ({"id": number, "name": name} for name, number in ids.items()),
        }
        with (root / "annotations" / f"{_PREFIX}{split or 'default'}.json").open("w", encoding="utf-8") as file:
            for key, entries in lists.items():
                file.write(f'{"{" if key == "images" else ","}\n"{key}": [')
                for number, entry in enumerate(entries):
                    file.write(",\n" if number else "\n")
                    file.write(json.dumps(entry, ensure_ascii=False, allow_nan=False))
                file.write("\n]")
            file.write("\n}\n")


def _top(root: Path) -> Path:
    """The folder that really holds the dataset: the one that a COCO file lies in, if that is all there is."""
    top = base(root)
    entries = [path for path in top.iterdir() if not is_hidden(path.name)]
    is_alone = len(entries) == 1 and entries == subfolders(top) and entries[0].name.lower() not in SPLIT_FOLDERS
    return entries[0] if is_alone and _jsons(entries[0]) else top


@once
def _json_files(top: Path) -> list[Path]:
    """The files of annotations/, else of the root, else of the splits' folders: the first of these that have COCO's."""
    folders = subfolders(top)
    annotations = [path for path in folders if path.name == "annotations"]
    others: list[Path] = []
    for group in (annotations, [top], [path for path in folders if path.name.lower() in SPLIT_FOLDERS]):
        found = [path for folder in group for path in _jsons(folder)]
        found = [path for path in found if path.name.startswith(_PREFIX)] or found
        missing = {path: _missing(path) for path in found}
        if None in missing.values():
            return [path for path in found if missing[path] in (None, PARTS[-1]) or path.name.startswith(_PREFIX)]
        others += found
    return others


def _jsons(folder: Path) -> list[Path]:
    """The JSON files right in a folder, sorted."""
    found = (path for path in folder.iterdir() if path.suffix == ".json" and not is_hidden(path.name))
    return sorted(path for path in found if path.is_file())


def _missing(path: Path) -> str | None:
    """The first of the three lists that is not named in a file; looks at its bytes alone, so that it is cheap."""
    named = _named(path, PARTS)
    return next((part for part in PARTS if part not in named), None)


def _named(path: Path, keys: Collection[str]) -> set[str]:
    """Those of some keys that are named in a file."""
    waiting = {f'"{key}"'.encode(): key for key in keys}
    longest = max(map(len, waiting))
    rest = b""
    with path.open("rb") as file:
        while waiting and (part := file.read(_PART)):
            rest += part
            waiting = {quoted: key for quoted, key in waiting.items() if quoted not in rest}
            rest = rest[-longest:]
    return set(keys) - set(waiting.values())


def _sources(root: Path) -> Iterator[Source]:
    top = _top(root)
    prefix = "" if top == root else f"{top.relative_to(root).as_posix()}/"
    splits = {path: _split_of(path, top) for path in _json_files(top)}
    joined = {path: JOINED in _words(path) for path, split in splits.items() if split == "train"}
    for path, split in sorted(splits.items(), key=lambda each: joined.get(each[0], False)):
        if joined.get(path) and not all(joined.values()):  # train has a file of its own
            continue
        own = path.stem.removeprefix(_PREFIX)
        name = path.relative_to(root).as_posix()
        words = [own, *(word for word, meant in SPLIT_FOLDERS.items() if meant == split)]
        folders = [f"{parent}{word}/" for word in words for parent in ("", "images/")]
        beside = name[: name.rfind("/") + 1]
        places = (beside, *(prefix + folder for folder in (*folders, "images/", "")))
        yield Source(path, name, split, places, joined.get(path, False))


def _split_of(path: Path, top: Path) -> str:
    """The split of a file by its name, such as `train2017`, else by its folder's; empty where that is none, or are several."""
    found = {SPLIT_FOLDERS[word] for word in _words(path) if word in SPLIT_FOLDERS}
    folder = "" if path.parent == top else SPLIT_FOLDERS.get(path.parent.name.lower(), "")
    return found.pop() if len(found) == 1 else folder


def _words(path: Path) -> list[str]:
    """The words of a file's name."""
    return re.split(r"[^a-z]+", path.stem.lower())


def _annotations(group: Iterable[Item], ids: Mapping[str, int]) -> Iterator[dict[str, object]]:
    objects = ((number, item, each) for number, item in enumerate(group, 1) for each in item.objects)
    for number, (image_id, item, each) in enumerate(objects, 1):
        if each.box is None:
            raise SightlineError(f"{item.name}: {each.label} without a box, expected one: write another format")
        if each.label not in ids:
            raise SightlineError(f"{item.name}: class {each.label!r}, expected one of {', '.join(ids)}")
        xmin, ymin, xmax, ymax = each.box
        box = [_plain(value) for value in (xmin, ymin, _side(xmin, xmax), _side(ymin, ymax))]
        entry = {"id": number, "image_id": image_id, "category_id": ids[each.label], "bbox": box}
        yield entry | {"area": _plain(_area(item, each, each.box)), "iscrowd": int(each.iscrowd)} | _segmentation(item, each)


def _segmentation(item: Item, each: ItemObject) -> dict[str, object]:
    if each.polygons:
        return {"segmentation": [[_plain(value) for value in polygon] for polygon in each.polygons]}
    return {"segmentation": {"size": [item.height, item.width], "counts": each.rle} if each.rle else []}


def _area(item: Item, each: ItemObject, box: Box) -> float:
    if each.polygons:
        return float(sum(polygon_area(list(map(float, polygon))) for polygon in each.polygons))
    if each.rle:
        try:
            return float(sum(decode(each.rle, item.width * item.height)[1::2]))
        except ValueError as error:
            raise SightlineError(f"{item.name}: the mask of {each.label}: {error}") from error
    return (box[2] - box[0]) * (box[3] - box[1])


def _side(start: float, end: float) -> float:
    """The length that added to `start` gives `end` exactly, or nearly where the box begins below 0 and there is none."""
    length = end - start
    near = (length, math.nextafter(length, -math.inf), math.nextafter(length, math.inf))
    return next((each for each in near if start + each == end), length)


def _plain(value: float) -> float:
    """A whole number without `.0`."""
    value = float(value)
    return int(value) if value.is_integer() and abs(value) < 2**53 else value
