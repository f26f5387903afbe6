"""Pascal VOC: one XML annotation an image, boxes 1-based with both corners included.

Everingham and Winn, The PASCAL Visual Object Classes Challenge 2012 Development Kit, section 4. Either the kit's folders
(JPEGImages, Annotations, ImageSets/Main, SegmentationClass, SegmentationObject) or annotations beside their images. Polygons,
where they are written, stand as LabelMe's `<polygon><pt><x/><y/></pt></polygon>` in each object, 0-based.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from lxml import etree

from tasks.findings import Finding, finding
from tasks.formats import Item, Reading, base, read_image, tables
from tasks.images import SUFFIXES, find

ORIGIN: Final = 1.0  # of the pixel in the upper left corner
_MASKS = {"semantic": "SegmentationClass", "instances": "SegmentationObject"}
_PRECEDENCE = ("test", "val", "train")  # of an image that is listed twice


def detect(root: Path) -> str | None:
    """None where `root` is of this format, otherwise the first requirement that it does not meet."""
    root = base(root)
    annotations = _annotations(root)
    if not annotations:
        return "no *.xml in Annotations/ or beside the images"
    if not any(_is_annotation(path) for path in annotations[:20]):
        return f"{annotations[0].relative_to(root)}: no <annotation> at its root"
    return None if find(_images_folder(root)) else "no image in JPEGImages/ or beside the annotations"


def read(root: Path) -> Reading:
    """Reads every annotation with its image; boxes become 0-based and half-open."""
    top = base(root)
    annotations = _annotations(top)
    pictures = _pictures(root, top, annotations)
    images: list[dict[str, object]] = []
    objects: list[dict[str, object]] = []
    findings: list[Finding] = list(_ambiguous(root, pictures))
    annotated: set[Path] = set()
    for path in annotations:
        name = path.relative_to(root).as_posix()
        document = _parse(path, name)
        picture = _picture(path, document, pictures)
        image_id = picture.relative_to(root).as_posix().removesuffix(picture.suffix) if picture else ""
        if picture is not None:
            annotated.add(picture)
        if isinstance(document, Finding):
            findings.append(replace(document, image_id=image_id))
            continue
        if picture is None:
            findings.append(finding("image.missing", f"filename {document.findtext('filename')!r}", name))
            continue
        found = read_image(picture, root)
        if isinstance(found, Finding):
            findings.append(found)
            continue
        row, header = found
        images.append(row)
        findings += _check_head(document, name, image_id, picture, (header.width, header.height))
        if header.orientation != 1:
            findings.append(finding("image.oriented", f"EXIF orientation {header.orientation}", str(row["path"]), 0, image_id))
        for element in document.iterfind("object"):
            problem = _read_object(element, name, image_id, objects)
            if problem is not None:
                findings.append(problem)
    for group in pictures.values():
        findings += [
            finding("annotation.missing", "no XML", path.relative_to(root).as_posix(), image_id=_id(path, root))
            for path in group
            if path not in annotated
        ]
    findings += _read_splits(root, top, images)
    return Reading(tables(images, objects, (str(row["label"]) for row in objects)), findings)


def write(items: Iterable[Item], root: Path) -> None:
    """Writes samples in the kit's folders; box coordinates are written as whole numbers where they are whole."""
    lists: dict[str, list[str]] = {}
    for folder in ("JPEGImages", "Annotations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for item in items:
        (root / "JPEGImages" / f"{item.name}{item.suffix}").write_bytes(item.data)
        (root / "Annotations" / f"{item.name}.xml").write_bytes(_to_xml(item))
        for kind, data in item.masks.items():
            (root / _MASKS[kind]).mkdir(exist_ok=True)
            (root / _MASKS[kind] / f"{item.name}.png").write_bytes(data)
        if item.split:
            lists.setdefault(item.split, []).append(item.name)
    for split, names in lists.items():
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(
            "".join(f"{name}\n" for name in sorted(names)), encoding="utf-8"
        )


def _images_folder(root: Path) -> Path:
    return root / "JPEGImages" if (root / "JPEGImages").is_dir() else root


def _annotations(root: Path) -> list[Path]:
    folder = root / "Annotations"
    return sorted(path for path in (folder if folder.is_dir() else root).rglob("*.xml") if not path.name.startswith("."))


def _is_annotation(path: Path) -> bool:
    return b"<annotation" in path.read_bytes()[:4096]


def _id(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix().removesuffix(path.suffix)


def _pictures(root: Path, top: Path, annotations: list[Path]) -> dict[str, list[Path]]:
    """Images by the name that an annotation has: relative to JPEGImages, or to the top in the flat layout."""
    folder = _images_folder(top)
    grouped: dict[str, list[Path]] = {}
    for path in find(folder):
        grouped.setdefault(_id(path, folder), []).append(path)
    return grouped


def _ambiguous(root: Path, pictures: dict[str, list[Path]]) -> Iterator[Finding]:
    for group in pictures.values():
        if len(group) > 1:
            names = ", ".join(path.name for path in group)
            yield finding("image.ambiguous", names, group[0].relative_to(root).as_posix(), image_id=_id(group[0], root))


def _picture(path: Path, document: Any, pictures: dict[str, list[Path]]) -> Path | None:
    """The image of an annotation: the one of its own name, else the one that it names."""
    top = next((parent for parent in path.parents if parent.name == "Annotations"), None)
    key = _id(path, top) if top is not None else None
    candidates = [] if key is None else pictures.get(key, [])
    if not candidates and top is None:
        candidates = [
            picture for group in pictures.values() for picture in group if picture.with_suffix("") == path.with_suffix("")
        ]
    if not candidates and not isinstance(document, Finding):
        named = Path((document.findtext("filename") or "").replace("\\", "/")).name
        stem = named.removesuffix(Path(named).suffix) if Path(named).suffix.lower() in SUFFIXES else named
        candidates = [picture for picture in pictures.get(stem, []) if picture.name == named] or pictures.get(stem, [])
    return candidates[0] if candidates else None


def _parse(path: Path, name: str) -> Any:
    """The annotation's root element, or what is wrong with it. Entities, DTDs and the network are not touched."""
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True)
    try:
        tree = etree.parse(str(path), parser)
    except etree.XMLSyntaxError as error:
        return finding("xml.malformed", error.msg or "no XML", name, error.lineno or 0)
    if tree.docinfo.doctype:
        return finding("xml.dtd", tree.docinfo.doctype, name, 1)
    element = tree.getroot()
    if element.tag != "annotation":
        return finding(
            "voc.part_missing", f"<{element.tag}> at the root", name, element.sourceline or 0, expected="<annotation>"
        )
    return element


def _check_head(document: Any, name: str, image_id: str, picture: Path, size: tuple[int, int]) -> Iterator[Finding]:
    filename = document.find("filename")
    if filename is not None and (filename.text or "").strip() != picture.name:
        yield finding("voc.filename", repr(filename.text), name, filename.sourceline or 0, image_id, expected=picture.name)
    element = document.find("size")
    width, height = (_number(element, key) for key in ("width", "height"))
    if element is None or not width or not height:
        yield finding("size.missing", "no size" if element is None else f"{width}x{height}", name, 0, image_id)
    elif (width, height) != size:
        got = f"{width:g}x{height:g}"
        yield finding(
            "size.mismatch", got, name, element.sourceline or 0, image_id, expected=f"{size[0]}x{size[1]}, the image's own"
        )


def _number(element: Any, key: str) -> float | None:
    """A child's finite number, or None."""
    text = element.findtext(key) if element is not None else None
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _read_object(element: Any, name: str, image_id: str, objects: list[dict[str, object]]) -> Finding | None:
    """Adds an object's row, or says what is wrong with it."""
    line = element.sourceline or 0
    label = (element.findtext("name") or "").strip()
    if not label:
        return finding("voc.part_missing", "an object without name", name, line, image_id, expected="<name>")
    corners = element.find("bndbox")
    if corners is None:
        return finding("voc.part_missing", f"{label} without bndbox", name, line, image_id, expected="<bndbox>")
    box = [_number(corners, key) for key in ("xmin", "ymin", "xmax", "ymax")]
    if None in box:
        got = ", ".join(f"{key} {corners.findtext(key)!r}" for key in ("xmin", "ymin", "xmax", "ymax"))
        return finding("voc.not_a_number", got, name, corners.sourceline or line, image_id)
    xmin, ymin, xmax, ymax = (value if value is not None else math.nan for value in box)
    polygons = [
        [value for point in polygon.iterfind("pt") for value in (_number(point, "x"), _number(point, "y"))]
        for polygon in element.iterfind("polygon")
    ]
    if any(value is None for polygon in polygons for value in polygon):
        return finding("voc.not_a_number", f"a point of {label}'s polygon", name, line, image_id)
    objects.append(
        {
            "image_id": image_id, "label": label,
            "xmin": xmin - ORIGIN, "ymin": ymin - ORIGIN, "xmax": xmax - ORIGIN + 1, "ymax": ymax - ORIGIN + 1,
            "polygons": polygons or None, "iscrowd": False, "difficult": (element.findtext("difficult") or "0").strip() == "1",
            "file": name, "line": line,
        }
    )  # fmt: skip
    return None


def _read_splits(root: Path, top: Path, images: list[dict[str, object]]) -> Iterator[Finding]:
    """Fills in `split` from ImageSets/Main."""
    folder = top / "ImageSets" / "Main"
    known = {Path(str(row["path"])).stem: row for row in images}
    listed = False
    for split in _PRECEDENCE:
        path = folder / f"{split}.txt"
        if not path.is_file():
            continue
        listed = True
        name = path.relative_to(root).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if not line.split():
                continue
            entry = line.split()[0]
            row = known.get(entry)
            if row is None:
                yield finding("split.unknown_image", entry, name, number)
            elif row["split"]:
                yield finding("split.twice", f"{entry} in {row['split']} and {split}", name, number, str(row["image_id"]))
            else:
                row["split"] = split
    if listed:
        for row in images:
            if not row["split"]:
                yield finding("split.unlisted", "in no split file", str(row["path"]), 0, str(row["image_id"]))


def _to_xml(item: Item) -> bytes:
    """The annotation of a sample."""
    document = etree.Element("annotation")
    _add(document, "folder", "JPEGImages")
    _add(document, "filename", f"{item.name}{item.suffix}")
    size = etree.SubElement(document, "size")
    for key, value in (("width", item.width), ("height", item.height), ("depth", 3)):
        _add(size, key, value)
    _add(document, "segmented", int(bool(item.masks)))
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
