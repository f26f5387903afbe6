"""An annotation of Pascal VOC: the XML that untrusted bytes hold, and the XML of a sample."""

import math
import re
from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any, Final, NamedTuple

from lxml import etree

from tasks.findings import Finding, finding
from tasks.formats import Item
from tasks.tables import Box

MAX_BYTES: Final = 8 * 2**20
"""Of an annotation; a hundred thousand points fit."""
ORIGIN: Final = 1
"""Of the pixel in the upper left corner in the kit's annotations, in x and y."""
_PARSER: Final = etree.XMLParser(
    resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, remove_comments=True, remove_pis=True,
    collect_ids=False,
)  # fmt: skip
_CORNERS: Final = ("xmin", "ymin", "xmax", "ymax")
_corners = itemgetter(*_CORNERS)
_NUMBERED: Final = re.compile(r"[xy][0-9]{1,9}")  # a coordinate of Roboflow's polygons

Object = tuple[str, Box, int, list[list[float]], bool, bool]
"""Class, box (xyxy, absolute pixels, half-open), line from 1, polygons, the flags difficult and truncated. No class of its
own: workers send a million of them, and tuples are sent fastest."""


class Annotation(NamedTuple):
    """What an XML file says.

    Attributes:
        objects: Those that can be read.
        filename: The image that it names; None where it names none.
        filename_line: From 1.
        size: Width and height that it gives, in pixels; None where they are not there, or no numbers.
        size_line: From 1; 0 where there is no size.
        findings: What is wrong with other objects.
        problem: Why the file is no annotation; all else is empty then.
    """

    objects: Sequence[Object] = ()
    filename: str | None = None
    filename_line: int = 0
    size: tuple[float | None, float | None] | None = None
    size_line: int = 0
    findings: Sequence[Finding] = ()
    problem: Finding | None = None


def parse(data: bytes, name: str, origin: int = ORIGIN) -> Annotation:
    """Reads an XML file. Entities, DTDs and the network are not touched.

    Args:
        data: The file.
        name: Its name in findings.
        origin: Of the pixel in the upper left corner, 1 or 0.
    """
    if len(data) > MAX_BYTES:
        expected = f"at most {MAX_BYTES} bytes"
        return Annotation(problem=finding("xml.malformed", f"more than {MAX_BYTES} bytes", name, expected=expected))
    try:
        root = etree.fromstring(data, _PARSER)
    except etree.XMLSyntaxError as error:
        return Annotation(problem=finding("xml.malformed", error.msg or "no XML", name, error.lineno or 0))
    doctype = root.getroottree().docinfo.doctype
    if doctype:
        return Annotation(problem=finding("xml.dtd", doctype, name, 1))
    if root.tag != "annotation":
        got = f"<{root.tag}> at the root"
        return Annotation(problem=finding("voc.part_missing", got, name, root.sourceline or 0, expected="<annotation>"))
    objects: list[Object] = []
    findings: list[Finding] = []
    filename, filename_line, size, size_line = None, 0, None, 0
    for element in root:
        tag = element.tag
        if tag == "object":
            found = _object(element, name, origin)
            if isinstance(found, Finding):
                findings.append(found)
            else:
                objects.append(found)
        elif tag == "filename":
            filename, filename_line = element.text or "", element.sourceline or 0
        elif tag == "size":
            sides = {child.tag: child.text for child in element}
            size, size_line = (_number(sides.get("width")), _number(sides.get("height"))), element.sourceline or 0
    return Annotation(objects, filename, filename_line, size, size_line, findings)


def _object(element: Any, name: str, origin: int) -> Object | Finding:
    """An object, or what is wrong with it."""
    texts: dict[str, str | None] = {}
    corners, outlines = None, []
    for child in element:
        tag = child.tag
        if tag == "bndbox":
            corners = child
        elif tag == "polygon":
            outlines.append(child)
        else:
            texts[tag] = child.text
    line = element.sourceline or 0
    label = (texts.get("name") or "").strip()
    if not label:
        return finding("voc.part_missing", "an object without name", name, line, expected="<name>")
    if corners is None:
        return finding("voc.part_missing", f"{label} without bndbox", name, line, expected="<bndbox>")
    given = {child.tag: child.text for child in corners}
    try:
        values = _corners(given)
        xmin, ymin, xmax, ymax = map(float, values)
        is_finite = math.isfinite(xmin + ymin + xmax + ymax) and "_" not in "".join(values)  # Python's own 1_000
    except (KeyError, TypeError, ValueError):
        is_finite = False
    if not is_finite:
        got = ", ".join(f"{key} {given.get(key)!r}" for key in _CORNERS)
        return finding("voc.not_a_number", got, name, corners.sourceline or line)
    polygons: list[list[float]] = []
    for outline in outlines:
        numbers = _polygon(outline)
        whole = [value for value in numbers if value is not None]
        if len(whole) < len(numbers):
            return finding("voc.not_a_number", f"a point of {label}'s polygon", name, line)
        if len(whole) < 6 or len(whole) % 2:
            return finding("voc.polygon", f"{len(whole)} numbers in {label}'s polygon", name, line)
        polygons.append(whole)
    box = (xmin - origin, ymin - origin, xmax - origin + 1, ymax - origin + 1)
    return label, box, line, polygons, _is_set(texts.get("difficult")), _is_set(texts.get("truncated"))


def _polygon(element: Any) -> list[float | None]:
    """The coordinates of LabelMe's points, or else of Roboflow's: x1, y1, x2, y2, ... in the order of their numbers."""
    points = [_number(value.text) for point in element if point.tag == "pt" for value in point]
    numbered = {child.tag: child.text for child in element if _NUMBERED.fullmatch(child.tag)}
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
    return value if math.isfinite(value) and "_" not in (text or "") else None


def _is_set(text: str | None) -> bool:
    """Whether a flag is 1."""
    return text is not None and text.strip() == "1"


def to_xml(item: Item, *, segmented: bool) -> bytes:
    """The annotation of a sample; coordinates are written as whole numbers where they are whole.

    Raises:
        ValueError: XML cannot hold a name: it has a control character.
    """
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
        for key, number in zip(_CORNERS, (xmin, ymin, xmax - 1, ymax - 1), strict=True):
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
