"""Reads COCO files into the canonical tables, and says what is wrong with them."""

from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Final, NamedTuple

from tasks.findings import Finding, finding
from tasks.formats import Reading, misfit
from tasks.formats._coco_ids import Id, Ids, is_id
from tasks.formats._coco_json import Document, Entries, Repeated, changed, load
from tasks.formats._coco_shapes import BadShapeError, short, to_box, to_shape
from tasks.names import Index, without_suffix
from tasks.scan import Scan, Scans
from tasks.table_builder import TableBuilder
from tasks.tables import SPLITS

AREA_SHARE: Final = 0.1
"""An area may be wrong by so much of itself, or by half a pixel all along the box: masks and outlines differ by that."""
PARTS: Final = ("images", "annotations", "categories")
_NOWHERE: Final = -1  # the row of an image with which something is wrong that was told
_SPLITS: Final = (None, "", *SPLITS)  # by the number that stands for one; None where the image is in no file
_FIRST: Final = 10  # classes that a finding names


class Source(NamedTuple):
    """A COCO file.

    Attributes:
        path: The file.
        name: Relative to the dataset's root.
        split: `train`, `val`, `test` or empty.
        folders: Where its images may lie, relative to the dataset's root, with `/` at their ends; the nearest first.
        is_joined: Whether it may have the images of val, which were read before, as well.
    """

    path: Path
    name: str
    split: str
    folders: tuple[str, ...]
    is_joined: bool = False


class _Pictures(NamedTuple):
    """The images of a file.

    Attributes:
        ids: Their ids.
        rows: The row of each one's scan, or `_NOWHERE`.
    """

    ids: Ids
    rows: "array[int]"


class Reader:
    """Reads COCO files into one dataset."""

    def __init__(self, scans: Mapping[str, Scan]) -> None:
        self._scans = scans if isinstance(scans, Scans) else Scans(list(scans), scans.values())
        self._builder = TableBuilder()
        self._findings: list[Finding] = []
        self._listed = bytearray(len(self._scans))  # in which split each image is, by `_SPLITS`
        self._numbers = array("i", [0]) * len(self._scans)  # of each image in the tables
        self._count = 0
        self._alike = set(Index(self._scans.paths, without_suffix).shared())  # images that may differ by the suffix alone
        self._image_ids: set[str] = set()  # of those
        self._order: dict[str, tuple[bool, bool, Id]] = {}  # where a class stands: used ids before others, by id
        self._names: dict[Id, str] = {}  # of category ids, over all files
        self._used: set[str] = set()
        self._groups: set[str] = set()  # supercategories

    def finish(self) -> Reading:
        """What was read."""
        for row, split in enumerate(self._listed):
            if _SPLITS[split] is None:
                scan = self._scans.at(row)
                self._tell("annotation.missing", "in no COCO file's images", scan.path, scan.image_id)
        unused = [name for name in self._order if name not in self._used]
        if unused:
            self._tell(
                "coco.category_unused", ", ".join(map(repr, unused[:_FIRST])) + (", ..." if len(unused) > _FIRST else "")
            )
        classes = [name for name in self._order if name in self._used or name not in self._groups]
        return Reading(self._builder.tables(sorted(classes, key=lambda name: self._order[name][1:])), self._findings)

    def read(self, source: Source) -> None:
        """Reads one file."""
        ids: dict[str, Ids] = defaultdict(Ids)

        def note(part: str, entry: object) -> None:
            if isinstance(entry, dict) and is_id(key := entry.get("id")):
                ids[part].append(key)

        document = load(source.path, source.name, PARTS, note)
        if isinstance(document, Finding):
            self._findings.append(document)
            return
        told = len(self._findings)
        lists = self._lists(document, source)
        if lists is not None:
            pictures = self._read_images(lists["images"], source, ids["images"])
            names = self._read_categories(lists["categories"], source, ids["categories"])
            self._read_annotations(lists["annotations"], source, pictures, names)
            repeated = ids["annotations"].repeated()
            if repeated:
                got = f"{len(repeated)} annotation ids more than once, e.g. {short(next(iter(repeated)))}"
                self._tell("coco.annotation_id", got, source.name)
        if document.constants.total:
            self._tell("json.not_finite", f"{document.constants.first}, {document.constants.total} in all", source.name)
        elsewhere = document.repeated.total - sum(item.code == "json.duplicate_key" for item in self._findings[told:])
        if elsewhere > 0:
            got = f"{short(document.repeated.first)} twice, {elsewhere} objects in all"
            self._tell("json.duplicate_key", got, source.name)

    def _lists(self, document: Document, source: Source) -> dict[str, Entries] | None:
        """The three lists; None where one is not there."""
        value = document.value
        if not isinstance(value, dict):
            self._tell("coco.type", short(value), source.name, expected=f"an object with {', '.join(PARTS)}")
            return None
        if isinstance(value, Repeated):
            self._tell("json.duplicate_key", f"{short(document.repeated.last)} twice at the top", source.name)
            return None
        wrong = [part for part in PARTS if not isinstance(value.get(part), Entries)]
        for part in wrong:
            code, got = ("coco.type", f"{part} {short(value[part])}") if part in value else ("coco.part_missing", f"no {part}")
            self._tell(code, got, source.name, expected=f"a list {part}")
        return None if wrong else {part: value[part] for part in PARTS}

    def _read_categories(self, entries: Iterable[object], source: Source, ids: Ids) -> dict[Id, str]:
        """The name of each category id; empty where something is wrong with it, which is told of the whole dataset."""
        counts = ids.repeated()
        names: dict[Id, str] = {}
        for index, entry in enumerate(entries):
            where = f"{source.name}: categories[{index}]"
            key = entry.get("id") if isinstance(entry, dict) else None
            if not isinstance(entry, dict) or not is_id(key):
                self._tell("coco.type", f"{where}: {short(entry)}", expected="an object with an id")
                continue
            name = entry.get("name")
            names[key] = ""
            if isinstance(entry, Repeated):
                self._tell("json.duplicate_key", f"{where}: {short(entry)}")
            elif not isinstance(name, str) or not _is_text(name):
                self._tell("coco.type", f"{where}: name {short(name)}", expected="a name")
            elif key in counts:
                self._tell("coco.duplicate_id", f"{where}: id {short(key)} {counts[key]} times")
            else:
                names[key] = name
                group = entry.get("supercategory")
                if isinstance(group, str) and group != name:
                    self._groups.add(group)
        numbers = [key for key in names if isinstance(key, int)]
        if numbers and max(numbers) - min(numbers) >= len(numbers):
            got = f"{len(numbers)} category ids from {min(numbers)} to {max(numbers)}"
            self._tell("coco.id_gap", got, source.name)
        moved = [key for key, name in names.items() if name and self._names.setdefault(key, name) != name]
        if moved:
            got = f"category id {short(moved[0])} is {names[moved[0]]!r}, and {self._names[moved[0]]!r} in another file"
            self._tell("coco.category_order", got, source.name)
        return names

    def _read_images(self, entries: Iterable[object], source: Source, ids: Ids) -> _Pictures:
        """The images, by their ids."""
        counts = ids.repeated()
        rows = array("i")
        for index, entry in enumerate(entries):
            where = f"images[{index}]"
            key = entry.get("id") if isinstance(entry, dict) else None
            row = self._find(entry, source, where) if isinstance(entry, dict) else None
            scan = None if row is None else self._scans.at(row)
            if not isinstance(entry, dict) or not is_id(key):
                sample = scan.image_id if scan else _entry(source, where)
                self._tell("coco.type", f"{where}: {short(entry)}", source.name, sample, expected="an object with an id")
                continue
            rows.append(_NOWHERE)
            if row is None or scan is None:
                continue
            split = _SPLITS[self._listed[row]]
            if split is None:
                self._listed[row] = _SPLITS.index(source.split)
            if isinstance(entry, Repeated):
                self._tell("json.duplicate_key", f"{where}: {short(entry)}", source.name, scan.image_id)
            elif key in counts:
                self._tell("coco.duplicate_id", f"{where}: id {short(key)} {counts[key]} times", source.name, scan.image_id)
            elif split == "val" and source.is_joined:
                continue
            elif split is not None and split != source.split:
                got = f"{scan.path} in {split or 'none'} and {source.split or 'none'}"
                self._tell("split.twice", got, source.name, scan.image_id)
            elif split is not None:
                self._tell("coco.duplicate_file", f"{where}: file_name {entry['file_name']!r}", source.name, scan.image_id)
            elif row in self._alike and scan.image_id in self._image_ids:
                self._tell("image.ambiguous", scan.path, scan.path, scan.image_id)
            elif not scan.code:
                self._builder.add_image(scan, source.split)
                self._numbers[row], self._count = self._count, self._count + 1
                if row in self._alike:
                    self._image_ids.add(scan.image_id)
                self._check_size(entry, scan, source, where)
                rows[-1] = row
        if len(rows) != len(ids):
            raise changed(source.path)
        return _Pictures(ids, rows)

    def _find(self, entry: dict[str, object], source: Source, where: str) -> int | None:
        """The row of the image that an entry names; None where there is none, which is told."""
        name, sample = entry.get("file_name"), _entry(source, where)
        if not isinstance(name, str) or not name:
            self._tell("coco.type", f"{where}: file_name {short(name)}", source.name, sample, expected="a file's name")
            return None
        plain = name.replace("\\", "/")
        is_inside = not ("\0" in plain or plain.startswith("/") or plain[1:2] == ":" or ".." in plain.split("/"))
        plain = PurePosixPath(plain).as_posix()
        for folder in source.folders if is_inside else ():
            row = self._scans.row(folder + plain)
            if row is not None:
                return row
        code = "image.missing" if is_inside and "\\" not in name else "coco.filename"
        self._tell(code, f"{where}: file_name {short(name)}", source.name, sample)
        return None

    def _check_size(self, entry: dict[str, object], scan: Scan, source: Source, where: str) -> None:
        width, height = entry.get("width"), entry.get("height")
        got = f"{where}: width {short(width)}, height {short(height)}"
        expected = f"{scan.width}x{scan.height}, the image's own"
        if type(width) not in (int, float) or type(height) not in (int, float) or not width or not height:
            self._tell("size.missing", got, source.name, scan.image_id)
        elif scan.orientation > 4 and (width, height) == (scan.height, scan.width) and width != height:
            self._tell("coco.orientation", got, source.name, scan.image_id, expected=expected)
        elif (width, height) != (scan.width, scan.height):
            self._tell("size.mismatch", got, source.name, scan.image_id, expected=expected)

    def _read_annotations(
        self, entries: Iterable[object], source: Source, pictures: _Pictures, names: Mapping[Id, str]
    ) -> None:
        used: dict[str, set[Id]] = {}
        wrong_areas: list[str] = []
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                where = f"annotations[{index}]"
                self._tell("coco.type", f"{where}: {short(entry)}", source.name, _entry(source, where), expected="an object")
                continue
            where = f"annotation {short(entry['id'])}" if "id" in entry else f"annotations[{index}]"
            image, category = entry.get("image_id"), entry.get("category_id")
            place = pictures.ids.find(image) if is_id(image) else None
            if place is None:
                missing = f"image_id {short(image)}"
                self._tell("coco.dangling_image", f"{where}: {missing}", source.name, _entry(source, missing))
                continue
            row = pictures.rows[place]
            if row == _NOWHERE:
                continue
            scan = self._scans.at(row)
            if not is_id(category) or category not in names:
                got = f"{where}: category_id {short(category)}"
                self._tell("coco.dangling_category", got, source.name, scan.image_id)
                continue
            name = names[category]
            if not name:
                continue
            used.setdefault(name, set()).add(category)
            try:
                area = self._add(entry, source, scan, self._numbers[row], name, where)
            except BadShapeError as bad:
                self._tell(bad.code, f"{where}: {bad.got}", source.name, scan.image_id)
                continue
            if area:
                wrong_areas.append(f"{where}: {area}")
        if wrong_areas:
            self._tell("coco.area", f"{len(wrong_areas)} areas, first of {wrong_areas[0]}", source.name)
        self._note_classes(source, names, used)

    def _add(self, entry: dict[str, object], source: Source, scan: Scan, number: int, label: str, where: str) -> str:
        """Adds the object of an annotation, which is called `where`; returns what its area is where that is wrong.

        Raises:
            BadShapeError: The annotation has something wrong with it.
        """
        if isinstance(entry, Repeated):
            raise BadShapeError("json.duplicate_key", short(entry))
        iscrowd, segmentation, bbox = entry.get("iscrowd", 0), entry.get("segmentation"), entry.get("bbox")
        if type(iscrowd) not in (int, bool) or iscrowd not in (0, 1):
            raise BadShapeError("coco.type", f"iscrowd {short(iscrowd)}")
        if isinstance(segmentation, Repeated):
            raise BadShapeError("json.duplicate_key", short(segmentation))
        shape = None if segmentation is None or segmentation == [] else to_shape(segmentation, scan.width, scan.height)
        if bbox is not None and bbox != []:
            box = to_box(bbox)
        elif shape is not None:
            box = shape.box
        else:
            raise BadShapeError("coco.part_missing", "neither bbox nor segmentation")
        if shape is not None and (got := misfit(shape.box, box)):
            self._tell("shape.box", f"{got}, of {where}", source.name, scan.image_id)
        width, height = box[2] - box[0], box[3] - box[1]
        self._builder.add_object(
            scan.image_id, label, box, source.name,
            polygons=shape.polygons if shape else None, rle=shape.rle if shape else "", iscrowd=bool(iscrowd), number=number,
        )  # fmt: skip
        area, own = entry.get("area"), shape.area if shape else width * height
        if area is None or (
            isinstance(area, int | float) and abs(area - own) <= max(AREA_SHARE * abs(own), abs(width) + abs(height))
        ):
            return ""
        return f"area {short(area)}, {'its segmentation' if shape else 'its box'} has {own:g}"

    def _note_classes(self, source: Source, names: Mapping[Id, str], used: Mapping[str, set[Id]]) -> None:
        """Keeps where each class stands; tells of names that several used categories share."""
        for key, name in names.items():
            ids = used.get(name, set())
            if name and (key in ids or not ids):
                place = (not ids, isinstance(key, str), key)
                self._order[name] = min(self._order.get(name, place), place)
        for name, ids in used.items():
            if len(ids) > 1:
                got = f"{source.name}: {name!r} is the name of the categories {', '.join(map(short, ids))}"
                self._tell("coco.duplicate_category", got)
        self._used |= used.keys()

    def _tell(self, code: str, got: str, file: str = "", image_id: str = "", expected: str = "") -> None:
        self._findings.append(finding(code, got, file, 0, image_id, expected))


def _entry(source: Source, where: str) -> str:
    """The name of an entry that belongs to no image, for what is set aside."""
    return f"{source.name}: {where}"


def _is_text(value: str) -> bool:
    """Whether it is not empty, and can be written: JSON may hold halves of characters."""
    try:
        return bool(value.encode())
    except UnicodeEncodeError:
        return False
