"""YOLO's label files: `class x y width height` or `class x1 y1 x2 y2 x3 y3 ...` a line, in shares of the upright image.

Ultralytics, "Object Detection Datasets Overview" and "Instance Segmentation Datasets Overview", label format.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from sightline.errors import SightlineError
from tasks.formats import Item, ItemObject
from tasks.tables import Box

MAX_BYTES: Final = 4 * 2**20
"""Of a label file; a million points fit."""
TOLD: Final = 100
"""Defects of one file that are told; they are of one cause then."""
BOM: Final = b"\xef\xbb\xbf"
_BOX_COLUMNS: Final = 5
_POLYGON_COLUMNS: Final = 7  # a class and three points
_ROUNDING: Final = 1e-5  # a share of the side: what five decimals of centre and size put beyond an edge
_DECIMALS: Final = 9  # of a pixel: below what shares in float64 can tell
_LOWEST, _HIGHEST = -1.0, 2.0  # a share beyond is none; what is between, the rules of boxes judge


Object = tuple[int, Box, list[float] | None, int]
"""A line: class id, box (xyxy, absolute pixels), polygon (x, y, ... in absolute pixels) or None, line from 1."""


class Problem(NamedTuple):
    """What is wrong with a line: the rule's code, what stands there, the line, and what is expected if the rule knows not."""

    code: str
    got: str
    line: int = 0
    expected: str = ""


class Label(NamedTuple):
    """What a label file says."""

    name: str
    objects: list[Object]
    problems: list[Problem]


def parse(root: Path, classes: int, keypoints: int, task: tuple[str, int, int]) -> Label:
    """Reads a label file.

    Args:
        root: The dataset.
        classes: How many there are.
        keypoints: Columns of them after a box; 0 where there are none.
        task: The file, relative to `root`; width and height of its image, upright, in pixels.
    """
    name, width, height = task
    try:
        with (root / name).open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return Label(name, [], [Problem("yolo.unreadable", error.strerror or "cannot be opened")])
    if len(data) > MAX_BYTES:
        return Label(name, [], [Problem("yolo.unreadable", f"more than {MAX_BYTES} bytes")])
    if b"\0" in data:
        return Label(name, [], [Problem("yolo.unreadable", "bytes that are no UTF-8 text")])
    objects: list[Object] = []
    problems: list[Problem] = []
    for number, line in enumerate(data.removeprefix(BOM).splitlines(), 1):
        if line.strip():
            found = _object(line, number, width, height, classes, keypoints)
            if isinstance(found, Problem):
                problems.append(found)
            else:
                objects.append(found)
    return Label(name, objects, _capped(problems))


def _object(text: bytes, line: int, width: int, height: int, classes: int, keypoints: int) -> Object | Problem:
    """An object, or what is wrong with it."""
    words = text.split()
    count = len(words)
    if keypoints and count == _BOX_COLUMNS + keypoints:
        words, count = words[:_BOX_COLUMNS], _BOX_COLUMNS
    if count < _BOX_COLUMNS or count == _BOX_COLUMNS + 1:
        return Problem("yolo.columns", f"{count} columns, {_text(text)}", line)
    if count > _BOX_COLUMNS and count % 2 == 0:
        return Problem("yolo.polygon_odd", f"{count - 1} coordinates", line)
    class_id = _class_id(words[0])
    if class_id is None:
        return Problem("yolo.class_id", f"class {_text(words[0])}", line, "a whole number from 0")
    if not 0 <= class_id < classes:
        return Problem("yolo.class_id", f"class {_text(words[0])}", line, f"0..{classes - 1}")
    try:
        values = list(map(float, words[1:]))
    except ValueError:
        values = [math.nan]
    if not math.isfinite(sum(values)) or b"_" in text:
        wrong = next((word for word in words[1:] if not _is_number(word)), text)
        return Problem("yolo.not_a_number", _text(wrong), line)
    if min(values) < _LOWEST or max(values) > _HIGHEST:
        return Problem("yolo.not_normalised", f"{max(values, key=abs):g}", line)
    if count == _BOX_COLUMNS:
        x, y, w, h = values
        box = (_pixel(x - w / 2, width), _pixel(y - h / 2, height), _pixel(x + w / 2, width), _pixel(y + h / 2, height))
        return class_id, box, None, line
    polygon = [_pixel(value, height if index % 2 else width) for index, value in enumerate(values)]
    xs, ys = polygon[::2], polygon[1::2]
    return class_id, (min(xs), min(ys), max(xs), max(ys)), polygon, line


def _class_id(word: bytes) -> int | None:
    """A whole number, also written as `3.0`; None where it is none."""
    try:
        return int(word) if word.isdigit() else int(float(word)) if float(word).is_integer() and b"_" not in word else None
    except (ValueError, OverflowError):
        return None


def _is_number(word: bytes) -> bool:
    try:
        return b"_" not in word and math.isfinite(float(word))
    except ValueError:
        return False


def _pixel(share: float, size: int) -> float:
    """A share of a side in pixels; what rounding alone put beyond an edge is put on it."""
    if -_ROUNDING <= share < 0.0:
        return 0.0
    if 1.0 < share <= 1.0 + _ROUNDING:
        return float(size)
    return round(share * size, _DECIMALS)


def _text(data: bytes) -> str:
    """Untrusted bytes for a message."""
    return repr(data[:60].decode("ascii", "replace").strip())


def _capped(problems: list[Problem]) -> list[Problem]:
    """The first problems; the last of them says how many more there are."""
    if len(problems) <= TOLD:
        return problems
    last = problems[TOLD - 1]
    return [*problems[: TOLD - 1], last._replace(got=f"{last.got} (and {len(problems) - TOLD} more in this file)")]


def looks_like_labels(path: Path) -> bool | None:
    """Whether the first line of a file is YOLO's; None where the file is empty.

    What follows is of no matter here: what is wrong with it is a finding.
    """
    try:
        with path.open("rb") as file:
            lines = file.read(4096).removeprefix(BOM).splitlines()
    except OSError:
        return False
    words = next((line.split() for line in lines if line.strip()), [])
    if not words:
        return None
    return len(words) >= _BOX_COLUMNS and all(_is_number(word) for word in words[:_BOX_COLUMNS])


def to_lines(item: Item) -> list[tuple[str, str]]:
    """The class and the numbers of each object's line, with the digits that float64 needs.

    The parts of an object of several polygons are joined by bridges without width, which add no area.

    Raises:
        SightlineError: An object has no box, a polygon is none, or boxes and polygons are mixed.
    """
    if len({bool(each.polygons) for each in item.objects}) > 1:
        raise SightlineError(f"{item.name}: boxes beside polygons, expected one of them in an image: write another format")
    return [(each.label, _numbers(item, each)) for each in item.objects]


def _numbers(item: Item, each: ItemObject) -> str:
    if each.box is None or not all(map(math.isfinite, each.box)):
        raise SightlineError(f"{item.name}: {each.label} without a box, expected one: write another format")
    if each.polygons:
        if any(len(polygon) < _POLYGON_COLUMNS - 1 or len(polygon) % 2 for polygon in each.polygons):
            raise SightlineError(f"{item.name}: a polygon of {each.label} is none, expected at least three points")
        outline = _joined(each.polygons)
        return " ".join(repr(float(value) / (item.height if index % 2 else item.width)) for index, value in enumerate(outline))
    xmin, ymin, xmax, ymax = map(float, each.box)
    centre = ((xmin + xmax) / 2 / item.width, (ymin + ymax) / 2 / item.height)
    return " ".join(map(repr, (*centre, (xmax - xmin) / item.width, (ymax - ymin) / item.height)))


def _joined(polygons: Sequence[Sequence[float]]) -> list[float]:
    """One outline of several: each part is closed and left from the point where it was entered."""
    if len(polygons) == 1:
        return list(polygons[0])
    start = list(polygons[0][:2])
    outline = [*polygons[0], *start]
    for polygon in polygons[1:]:
        outline += [*polygon, *polygon[:2], *start]
    return outline
