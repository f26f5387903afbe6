"""COCO's shapes: boxes, polygons and run-length codes, read from JSON that nobody vouches for.

A run-length code counts pixels column by column, background first; "compressed" writes each count in groups of five bits,
from the fourth on as the difference to the count before the last (Lin et al., 2014, ECCV, "Microsoft COCO", and its API's
maskApi.c). All of it is decoded here: the C code trusts its input, and never more is made than there are characters.
"""

import math
import reprlib
from array import array
from collections.abc import Sequence
from itertools import accumulate
from operator import mul
from typing import Final, NamedTuple

from tasks.formats import bounds
from tasks.tables import Box

_NUMBERS: Final = frozenset({int, float})
_GROUPS: Final = 6  # of five bits: 2^29 pixels at most


class BadShapeError(Exception):
    """What is wrong with an annotation.

    Attributes:
        code: The rule that it breaks.
        got: What stands there.
    """

    def __init__(self, code: str, got: str) -> None:
        super().__init__(got)
        self.code, self.got = code, got


class Shape(NamedTuple):
    """A segmentation.

    Attributes:
        box: xyxy in absolute pixels, half-open, that just holds it.
        area: Square pixels; of polygons the sum of their areas.
        polygons: x, y, x, y, ... each.
        rle: COCO's compressed run-length code; empty where there are polygons.
    """

    box: Box
    area: float
    polygons: Sequence[Sequence[float]]
    rle: str = ""


def short(value: object) -> str:
    """A value from JSON, for people, shortened."""
    return reprlib.repr(value)


def to_box(bbox: object) -> Box:
    """The box of `[x, y, width, height]`; its size may be negative.

    Raises:
        BadShapeError: It is not four finite numbers.
    """
    if type(bbox) is list and len(bbox) == 4 and _are_finite(bbox):
        x, y, width, height = map(float, bbox)
        if math.isfinite(x + width) and math.isfinite(y + height):
            return x, y, x + width, y + height
    raise BadShapeError("coco.box", f"bbox {short(bbox)}")


def to_shape(segmentation: object, width: int, height: int) -> Shape:
    """The shape of a list of polygons, or of an object with `size` and `counts`.

    Args:
        segmentation: From JSON.
        width: Of the image, pixels.
        height: The same.

    Raises:
        BadShapeError: It is neither, or of another image's size.
    """
    if isinstance(segmentation, list):
        return _polygons(segmentation)
    if not isinstance(segmentation, dict):
        raise BadShapeError("coco.type", f"segmentation {short(segmentation)}")
    size, counts = segmentation.get("size"), segmentation.get("counts")
    if size != [height, width]:
        raise BadShapeError("coco.rle_size", f"size {short(size)} in an image of height {height}, width {width}")
    try:
        if isinstance(counts, str):
            runs = decode(counts, width * height)
        elif isinstance(counts, list) and set(map(type, counts)) == {int} and min(counts) >= 0:
            runs = counts
        else:
            raise ValueError("neither text nor counts from 0")
        if sum(runs) != width * height:
            raise ValueError(f"its counts make another sum than {width * height} pixels")
    except ValueError as error:
        raise BadShapeError("coco.rle", f"counts {short(counts)}: {error}") from error
    return Shape(runs_box(runs, height), float(sum(runs[1::2])), [], encode(runs))


def decode(text: str, pixels: int) -> list[int]:
    """The counts of a compressed run-length code.

    Raises:
        ValueError: It is none, or counts more than `pixels`.
    """
    runs: list[int] = []
    total = value = shift = 0
    for byte in text.encode("utf-8", "surrogatepass"):
        code = byte - 48
        if not 0 <= code < 64 or shift >= 5 * _GROUPS:
            raise ValueError("no compressed run-length code")
        value |= (code & 31) << shift
        shift += 5
        if code & 32:  # another group follows
            continue
        if code & 16:  # its sign
            value -= 1 << shift
        if len(runs) > 2:
            value += runs[-2]
        total += value
        if value < 0 or total > pixels:
            raise ValueError(f"a count below 0 or beyond {pixels} pixels")
        runs.append(value)
        value = shift = 0
    if shift:
        raise ValueError("it breaks off")
    return runs


def encode(runs: Sequence[int]) -> str:
    """The compressed run-length code of counts from 0; those of 0, but for the first, are joined to their neighbours."""
    joined = list(runs[:1])
    for place, run in enumerate(runs[1:], 1):
        if place % 2 == len(joined) % 2:
            if run:
                joined.append(run)
        else:
            joined[-1] += run
    codes = bytearray()
    for place, run in enumerate(joined):
        value = run - joined[place - 2] if place > 2 else run
        while not -16 <= value < 16:
            codes.append((value & 31 | 32) + 48)
            value >>= 5
        codes.append((value & 31) + 48)
    return codes.decode("ascii")


def runs_box(runs: Sequence[int], height: int) -> Box:
    """The box that just holds the pixels of a mask of `height` rows; (0, 0, 0, 0) where it has none."""
    ends = list(accumulate(runs))
    spans = [(start, end - 1) for start, end in zip(ends[::2], ends[1::2], strict=False) if end > start]
    if not spans:
        return 0.0, 0.0, 0.0, 0.0
    over = any(first // height != last // height for first, last in spans)  # from one column into the next
    top = 0 if over else min(first % height for first, _ in spans)
    bottom = height - 1 if over else max(last % height for _, last in spans)
    return float(spans[0][0] // height), float(top), float(spans[-1][1] // height + 1), float(bottom + 1)


def polygon_area(polygon: Sequence[float]) -> float:
    """Square pixels inside x, y, x, y, ... (the shoelace formula)."""
    xs, ys = polygon[::2], polygon[1::2]
    twice: float = sum(map(mul, xs, [*ys[1:], ys[0]])) - sum(map(mul, ys, [*xs[1:], xs[0]]))
    return abs(twice) / 2


def _polygons(segmentation: list[object]) -> Shape:
    outlines: list[list[float]] = []
    for polygon in segmentation:
        if type(polygon) is not list or len(polygon) < 6 or len(polygon) % 2 or not _are_finite(polygon):
            raise BadShapeError("coco.polygon", f"polygon {short(polygon)}")
        outlines.append(polygon)
    return Shape(bounds(outlines), float(sum(map(polygon_area, outlines))), [array("d", each) for each in outlines])


def _are_finite(values: list[object]) -> bool:
    """Whether values from JSON are finite numbers, and no larger than a float holds."""
    try:
        return set(map(type, values)) <= _NUMBERS and math.isfinite(math.fsum(values))  # type: ignore[arg-type]
    except (OverflowError, ValueError):
        return False
