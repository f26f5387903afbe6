"""Pascal VOC: one XML annotation an image, boxes 1-based with both corners included.

Everingham and Winn, The PASCAL Visual Object Classes Challenge 2012 Development Kit, section 4. Either the kit's folders
(JPEGImages, Annotations, ImageSets/Main, SegmentationClass, SegmentationObject) or annotations beside their images. Polygons,
where they are written, stand as LabelMe's `<polygon><pt><x/><y/></pt></polygon>` in each object, 0-based. SegmentationObject
gives objects their masks: value i is the i-th object of the XML, 0 the background, 255 void. `masks` reads SegmentationClass.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
from lxml import etree

from sightline.errors import SightlineError
from tasks.findings import Finding, finding
from tasks.formats import Box, Item, Reading, TableBuilder, base, place
from tasks.masks import IGNORE, Ids, MaskDefect, Values, decode_rle, distinct, encode, encode_rle, read_values
from tasks.parallel import parallel
from tasks.scan import SUFFIXES, Scan, images, walk

HOLDS: Final = frozenset({"box", "polygons", "rle", "split", "difficult", "empty"})
ORIGIN: Final = 1.0  # of the pixel in the upper left corner
_MASKS: Final = {"semantic": "SegmentationClass", "instances": "SegmentationObject"}
_NOT_IMAGES: Final = tuple(f"{folder}/" for folder in (*_MASKS.values(), "Annotations", "ImageSets"))
_NUMBERED: Final = re.compile(r"[xy][0-9]{1,9}")  # a coordinate of Roboflow's polygons
_PRECEDENCE: Final = ("test", "val", "train")  # of an image that is listed twice


class _Object(NamedTuple):
    label: str
    box: Box
    line: int
    polygons: list[list[float]]
    difficult: bool
    rle: str = ""


class _Job(NamedTuple):
    """An annotation to read, with the mask of its objects."""

    name: str
    mask: str = ""
    size: tuple[int, int] = (0, 0)
    orientation: int = 1


class _Annotation(NamedTuple):
    """What an XML file says; `problem` where it is no annotation."""

    name: str
    filename: str | None = None
    filename_line: int = 0
    size: tuple[float | None, float | None] | None = None
    size_line: int = 0
    objects: tuple[_Object, ...] = ()
    findings: tuple[Finding, ...] = ()
    problem: Finding | None = None


def detect(root: Path) -> str | None:
    """None where `root` is of this format, otherwise the first requirement that it does not meet."""
    root = base(root)
    kits = sorted({path.parts[-3] for path in root.glob("*/Annotations/*.xml")})
    if kits and not (root / "Annotations").is_dir():
        return f"{' and '.join(kits)} inside, each a dataset of its own: name {'one of them' if len(kits) > 1 else kits[0]}"
    annotations = _annotations(root, root)
    if not annotations:
        return "no *.xml in Annotations/ or beside the images"
    if not any(b"<annotation" in _head(root / name) for name in annotations[:20]):
        return f"{annotations[0]}: no <annotation> at its root"
    return None if images(_images_folder(root), root) else "no image in JPEGImages/ or beside the annotations"


def image_files(root: Path) -> list[str]:
    """The image files, relative to `root`; the kit's masks are none."""
    top = base(root)
    prefix = "" if top == root else f"{top.relative_to(root).as_posix()}/"
    return [name for name in images(_images_folder(top), root) if not name.removeprefix(prefix).startswith(_NOT_IMAGES)]


def read(root: Path, scans: Mapping[str, Scan]) -> Reading:
    """Reads every annotation with its image; boxes become 0-based and half-open."""
    top = base(root)
    prefix = "" if top == root else f"{top.relative_to(root).as_posix()}/"
    pictures = _Pictures(scans, prefix + ("JPEGImages/" if (top / "JPEGImages").is_dir() else ""))
    in_folder = prefix + "Annotations/" if (top / "Annotations").is_dir() else ""
    jobs = _jobs(_annotations(top, root), _instance_masks(top, root), pictures, in_folder)
    builder = TableBuilder()
    findings: list[Finding] = list(pictures.ambiguous())
    annotated: dict[str, str] = {}
    stems: dict[str, str] = {}
    for note in parallel(partial(_parse, root), jobs, "validate", "annotations"):
        scan = pictures.of(note, in_folder)
        image_id = scan.image_id if scan else ""
        if scan is not None and annotated.setdefault(scan.path, note.name) != note.name:
            got = f"{scan.path}, annotated in {annotated[scan.path]} too"
            findings.append(finding("voc.annotated_twice", got, note.name, image_id=image_id))
        elif note.problem is not None:
            findings.append(replace(note.problem, image_id=image_id))
        elif scan is None:
            findings.append(finding("image.missing", f"filename {note.filename!r}", note.name))
        elif not scan.code:
            stems[image_id.rpartition("/")[2]] = builder.add_image(scan)
            findings += _check_head(note, scan)
            findings += (replace(item, image_id=image_id) for item in note.findings)
            for each in note.objects:
                outlines, flag = each.polygons, each.difficult
                where = (note.name, each.line)
                builder.add_object(image_id, each.label, each.box, *where, polygons=outlines, rle=each.rle, difficult=flag)
    findings += [
        finding("annotation.missing", "no XML", scan.path, image_id=scan.image_id)
        for scan in pictures.all()
        if scan.path not in annotated
    ]
    splits, problems = read_splits(top, root, stems)
    return Reading(builder.tables(splits=splits), [*findings, *problems])


def write(items: Iterable[Item], root: Path, classes: Sequence[str] = ()) -> None:
    """Writes samples in the kit's folders; box coordinates are written as whole numbers where they are whole.

    Raises:
        SightlineError: Masks of objects overlap, or are too many: SegmentationObject gives each pixel to one of 254. Or XML
            cannot hold a name: it has a control character.
    """
    lists: dict[str, list[str]] = {}
    for folder in ("JPEGImages", "Annotations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for item in items:
        place(item.image, root / "JPEGImages" / f"{item.name}{item.suffix}")
        masks = dict(item.masks)
        if any(each.rle for each in item.objects):
            masks["instances"] = encode(_paint(item))
        try:
            document = _to_xml(item, segmented=bool(masks))
        except ValueError as error:  # lxml's, of control characters
            labels = sorted({each.label for each in item.objects})
            raise SightlineError(
                f"{item.name!r} of {labels}, expected names that XML can hold ({error}): rename them"
            ) from None
        (root / "Annotations" / f"{item.name}.xml").write_bytes(document)
        for kind, data in masks.items():
            place(data, root / _MASKS[kind] / f"{item.name}.png")
        if item.split:
            lists.setdefault(item.split, []).append(item.name)
    for split, names in lists.items():
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(
            "".join(f"{name}\n" for name in sorted(names)), encoding="utf-8"
        )


def _head(path: Path) -> bytes:
    """The first 4 KiB of a file; none where it cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError:
        return b""


def _images_folder(root: Path) -> Path:
    return root / "JPEGImages" if (root / "JPEGImages").is_dir() else root


def _annotations(top: Path, root: Path) -> list[str]:
    folder = top / "Annotations"
    return [name for name in walk(folder if folder.is_dir() else top, root) if name.endswith(".xml")]


class _Pictures:
    """The scanned images, by the name that an annotation has.

    Args:
        scans: The images.
        folder: Where they lie: JPEGImages/, or the top in the flat layout.
    """

    def __init__(self, scans: Mapping[str, Scan], folder: str) -> None:
        self._by_stem: dict[str, list[Scan]] = {}
        self._folder = folder
        for scan in scans.values():
            self._by_stem.setdefault(scan.image_id.removeprefix(folder), []).append(scan)

    def all(self) -> Iterator[Scan]:
        """Every image."""
        return (scan for group in self._by_stem.values() for scan in group)

    def ambiguous(self) -> Iterator[Finding]:
        """Images whose names differ by the suffix alone."""
        for group in self._by_stem.values():
            if len(group) > 1:
                names = ", ".join(scan.path.rpartition("/")[2] for scan in group)
                yield finding("image.ambiguous", names, group[0].path, image_id=group[0].image_id)

    def own(self, name: str, in_folder: str) -> list[Scan]:
        """The images of an annotation's own name."""
        return self._by_stem.get(name[:-4].removeprefix(in_folder or self._folder), [])

    def of(self, note: _Annotation, in_folder: str) -> Scan | None:
        """The image of an annotation: the one of its own name, else the one that it names."""
        candidates = self.own(note.name, in_folder)
        if not candidates and note.problem is None:
            named = (note.filename or "").replace("\\", "/").rpartition("/")[2]
            stem, dot, suffix = named.rpartition(".")
            stem = stem if f"{dot}{suffix.lower()}" in SUFFIXES else named
            others = self._by_stem.get(stem, [])
            candidates = [scan for scan in others if scan.path.rpartition("/")[2] == named] or others
        return candidates[0] if candidates else None


def _instance_masks(top: Path, root: Path) -> dict[str, str]:
    """The masks of SegmentationObject by the annotation's name without suffix, below its folder."""
    folder = top / _MASKS["instances"]
    if not folder.is_dir():
        return {}
    prefix = f"{folder.relative_to(root).as_posix()}/"
    return {name.removeprefix(prefix).rpartition(".")[0]: name for name in images(folder, root)}


def _jobs(names: Sequence[str], masks: Mapping[str, str], pictures: _Pictures, in_folder: str) -> list[_Job]:
    """The annotations, with their masks where their images can be used."""
    jobs = []
    for name in names:
        mask = masks.get(name[:-4].removeprefix(in_folder), "") if masks else ""
        scan = next((scan for scan in pictures.own(name, in_folder) if not scan.code), None) if mask else None
        jobs.append(_Job(name, mask, (scan.width, scan.height), scan.orientation) if scan else _Job(name))
    return jobs


def _parse(root: Path, job: _Job) -> _Annotation:
    """Reads an annotation with the masks of its objects."""
    note = _parse_xml(root, job.name)
    if not job.mask or note.problem is not None:
        return note
    try:
        values, _ = read_values(root / job.mask, job.size, job.orientation)
    except MaskDefect as defect:
        return note._replace(findings=(*note.findings, finding(defect.code, defect.got, job.mask)))
    return _with_masks(note, job.mask, values)


def _with_masks(note: _Annotation, mask: str, values: Values) -> _Annotation:
    """The annotation with the mask of each object; without any where numbers and objects do not fit each other."""
    if note.findings:  # an object that could not be read has a number, too
        return note
    numbers = [number for number in distinct(values) if number not in (0, IGNORE)]
    objects = list(note.objects)
    columns = np.asfortranarray(values.astype(np.uint8))
    for number in numbers:
        if number > len(objects):
            problem = f"number {number}, and {len(objects)} objects"
            return note._replace(findings=(*note.findings, finding("voc.instances", problem, mask)))
        own = columns == number
        rows, across = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
        xmin, ymin, xmax, ymax = objects[number - 1].box
        if across[-1] + 1 <= xmin or across[0] >= xmax or rows[-1] + 1 <= ymin or rows[0] >= ymax:
            problem = f"number {number} in columns {across[0]}-{across[-1]}, rows {rows[0]}-{rows[-1]}, beside its object's box"
            return note._replace(findings=(*note.findings, finding("voc.instances", problem, mask)))
        objects[number - 1] = objects[number - 1]._replace(rle=encode_rle(own))
    return note._replace(objects=tuple(objects))


def _paint(item: Item) -> Ids:
    """The masks of a sample's objects in one, uint8 (H, W): 0, or 1 + the place of the object."""
    painted = np.zeros((item.height, item.width), np.uint8)
    if len(item.objects) >= IGNORE:
        raise SightlineError(f"{item.name}: {len(item.objects)} objects with masks, expected at most 254: write coco")
    for number, each in enumerate(item.objects, 1):
        if each.rle:
            own = decode_rle(each.rle, (item.width, item.height))
            if painted[own].any():
                other = int(painted[own].max())
                raise SightlineError(
                    f"{item.name}: the masks of objects {other} and {number} overlap, expected none: write coco"
                )
            painted[own] = number
    return painted


def _parse_xml(root: Path, name: str) -> _Annotation:
    """Reads an XML file. Entities, DTDs and the network are not touched."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True)
    try:
        tree = etree.fromstring((root / name).read_bytes(), parser).getroottree()
    except OSError as error:
        return _Annotation(name, problem=finding("xml.malformed", error.strerror or "cannot be opened", name))
    except etree.XMLSyntaxError as error:
        return _Annotation(name, problem=finding("xml.malformed", error.msg or "no XML", name, error.lineno or 0))
    if tree.docinfo.doctype:
        return _Annotation(name, problem=finding("xml.dtd", tree.docinfo.doctype, name, 1))
    root_element = tree.getroot()
    if root_element.tag != "annotation":
        got, line = f"<{root_element.tag}> at the root", root_element.sourceline or 0
        return _Annotation(name, problem=finding("voc.part_missing", got, name, line, expected="<annotation>"))
    note = _Annotation(name)
    objects: list[_Object] = []
    findings: list[Finding] = []
    for element in root_element:
        if element.tag == "object":
            found = _object(element, name)
            (findings if isinstance(found, Finding) else objects).append(found)  # type: ignore[arg-type]
        elif element.tag == "filename":
            note = note._replace(filename=element.text or "", filename_line=element.sourceline or 0)
        elif element.tag == "size":
            size = {child.tag: _number(child.text) for child in element}
            note = note._replace(size=(size.get("width"), size.get("height")), size_line=element.sourceline or 0)
    return note._replace(objects=tuple(objects), findings=tuple(findings))


def _object(element: Any, name: str) -> _Object | Finding:
    """An object, or what is wrong with it."""
    line = element.sourceline or 0
    texts: dict[str, str] = {}
    corners, polygons = None, []
    for child in element:
        if child.tag == "bndbox":
            corners = child
        elif child.tag == "polygon":
            polygons.append(_polygon(child))
        else:
            texts[child.tag] = (child.text or "").strip()
    label = texts.get("name", "")
    if not label:
        return finding("voc.part_missing", "an object without name", name, line, expected="<name>")
    if corners is None:
        return finding("voc.part_missing", f"{label} without bndbox", name, line, expected="<bndbox>")
    given = {child.tag: child.text for child in corners}
    box = [_number(given.get(key)) for key in ("xmin", "ymin", "xmax", "ymax")]
    if None in box:
        got = ", ".join(f"{key} {given.get(key)!r}" for key in ("xmin", "ymin", "xmax", "ymax"))
        return finding("voc.not_a_number", got, name, corners.sourceline or line)
    if any(value is None for polygon in polygons for value in polygon):
        return finding("voc.not_a_number", f"a point of {label}'s polygon", name, line)
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            return finding("voc.polygon", f"{len(polygon)} numbers in {label}'s polygon", name, line)
    xmin, ymin, xmax, ymax = (value or 0.0 for value in box)
    place = (xmin - ORIGIN, ymin - ORIGIN, xmax - ORIGIN + 1, ymax - ORIGIN + 1)
    outlines = [[value or 0.0 for value in polygon] for polygon in polygons]
    return _Object(label, place, line, outlines, texts.get("difficult") == "1")


def _polygon(element: Any) -> list[float | None]:
    """The coordinates of LabelMe's points, or else of Roboflow's: x1, y1, x2, y2, ... in the order of their numbers."""
    points = [_number(value.text) for point in element if point.tag == "pt" for value in point]
    numbered = {str(child.tag): child.text for child in element if _NUMBERED.fullmatch(str(child.tag))}
    if points or not numbered:
        return points
    last = max(int(tag[1:]) for tag in numbered)
    if 2 * last != len(numbered):
        return [None]
    order = chain.from_iterable((f"x{number}", f"y{number}") for number in range(1, last + 1))
    return [_number(numbered.get(tag)) for tag in order]


def _number(text: str | None) -> float | None:
    """A finite number, or None."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _check_head(note: _Annotation, scan: Scan) -> Iterator[Finding]:
    own = scan.path.rpartition("/")[2]
    if note.filename is not None and note.filename.strip() != own:
        yield finding("voc.filename", repr(note.filename), note.name, note.filename_line, scan.image_id, expected=own)
    width, height = note.size or (None, None)
    if not width or not height:
        got = "no size" if note.size is None else f"{width}x{height}"
        yield finding("size.missing", got, note.name, 0, scan.image_id)
    elif (width, height) != (scan.width, scan.height):
        expected = f"{scan.width}x{scan.height}, the image's own"
        yield finding("size.mismatch", f"{width:g}x{height:g}", note.name, note.size_line, scan.image_id, expected=expected)


def read_splits(top: Path, root: Path, stems: Mapping[str, str], lists: str = "Main") -> tuple[dict[str, str], list[Finding]]:
    """The split of each image_id by ImageSets/, and what is wrong with its lists.

    Args:
        top: The folder of the kit.
        root: What names in findings are relative to.
        stems: image_id by the image's name without folders and suffix.
        lists: The folder in ImageSets/: `Main` or `Segmentation`.
    """
    splits: dict[str, str] = {}
    findings: list[Finding] = []
    listed = False
    for split in _PRECEDENCE:
        path = top / "ImageSets" / lists / f"{split}.txt"
        if not path.is_file():
            continue
        listed = True
        name = path.relative_to(root).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if not line.split():
                continue
            entry = _entry(line, stems)
            image_id = stems.get(entry)
            if image_id is None:
                findings.append(finding("split.unknown_image", entry, name, number))
            elif image_id in splits:
                findings.append(finding("split.twice", f"{entry} in {splits[image_id]} and {split}", name, number, image_id))
            else:
                splits[image_id] = split
    if listed:
        findings += [
            finding("split.unlisted", "in no split file", image_id, 0, image_id)
            for image_id in stems.values()
            if image_id not in splits
        ]
    return splits, findings


def _entry(line: str, stems: Mapping[str, str]) -> str:
    """The name in a line of a list: names may have spaces, and a class's lists say 1, -1 or 0 after them."""
    whole = line.strip()
    name, *flag = whole.rsplit(None, 1)
    if whole in stems:
        return whole
    return name if flag in (["1"], ["-1"], ["0"]) and name in stems else whole.split()[0]


def _to_xml(item: Item, segmented: bool) -> bytes:
    """The annotation of a sample."""
    document = etree.Element("annotation")
    _add(document, "folder", "JPEGImages")
    _add(document, "filename", f"{item.name}{item.suffix}")
    size = etree.SubElement(document, "size")
    for key, value in (("width", item.width), ("height", item.height), ("depth", 3)):
        _add(size, key, value)
    _add(document, "segmented", int(segmented))
    for each in item.objects:
        element = etree.SubElement(document, "object")
        _add(element, "name", each.label)
        _add(element, "truncated", int(each.truncated))
        _add(element, "difficult", int(each.difficult))
        xmin, ymin, xmax, ymax = each.box or (0.0, 0.0, float(item.width), float(item.height))
        corners = etree.SubElement(element, "bndbox")
        for key, number in (("xmin", xmin), ("ymin", ymin), ("xmax", xmax - 1), ("ymax", ymax - 1)):
            _add(corners, key, _plain(number + ORIGIN))
        for polygon in each.polygons:
            outline = etree.SubElement(element, "polygon")
            for x, y in zip(polygon[::2], polygon[1::2], strict=True):
                point = etree.SubElement(outline, "pt")
                _add(point, "x", _plain(x))
                _add(point, "y", _plain(y))
    return bytes(etree.tostring(document, pretty_print=True, encoding="utf-8"))


def _plain(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _add(parent: Any, tag: str, text: object) -> None:
    etree.SubElement(parent, tag).text = str(text)
