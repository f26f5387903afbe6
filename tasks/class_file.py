"""Class files beside masks: which value of a mask's pixels is which class.

The first pattern that fits every line tells how the file is read:

    64 128 64  Animal            label_colors.txt of CamVid
    road:128,64,128::            labelmap.txt of CVAT
    road,128,64,128              class_dict.csv, labelmap.csv, also with a header
    3: road                      an index and a name, parted by a colon, a comma (_classes.csv of Roboflow) or a tab
    road,3                       a name and an index, in a CSV
    road                         a name; its index is its place, from 0
"""

import csv
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from tasks.masks import COLOUR, MAX_CLASSES

CLASS_FILES: Final = (
    "labelmap.txt", "labelmap.csv", "label_colors.txt", "class_dict.csv", "codes.txt", "classes.txt", "_classes.csv",
)  # fmt: skip
"""The names that a class file may have; those that tell colours first."""
IGNORED: Final = frozenset({"void", "ignore", "ignored", "unlabelled", "unlabeled"})
"""Names, in lower case, of what is not learnt."""
MAX_BYTES: Final = 1 << 20
_CHANNELS: Final = ("r", "g", "b")
_PATTERNS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?P<r>\d{1,3})[ \t]+(?P<g>\d{1,3})[ \t]+(?P<b>\d{1,3})[ \t]+(?P<name>\S.*)",
        r"(?P<name>[^:]+):(?P<r>\d{1,3}),(?P<g>\d{1,3}),(?P<b>\d{1,3})(:.*)?",
        r"(?P<name>[^,]+),\s*(?P<r>\d{1,3}),\s*(?P<g>\d{1,3}),\s*(?P<b>\d{1,3})",
        r"(?P<index>\d{1,3})\s*[:,\t]\s*(?P<name>\S.*)",
        r"(?P<name>[^,]+),\s*(?P<index>\d{1,3})",
        r"(?P<name>\S.*)",
    )
)
_HEADER: Final = frozenset({"name", "class", "label", "index", "id", "pixelvalue", "r", "g", "b"})


class ClassFile(NamedTuple):
    """What a class file says.

    Attributes:
        names: By id.
        values: The value of each, as `tasks.masks` has them.
        problem: What is wrong, with its line; empty where there is nothing.
    """

    names: tuple[str, ...] = ()
    values: tuple[int, ...] = ()
    problem: str = ""

    @property
    def colours(self) -> bool:
        """Whether the classes have colours."""
        return any(value >= COLOUR for value in self.values)


def read_class_file(path: Path) -> ClassFile:
    """Reads a class file; a comment starts with `#`, empty lines are none."""
    if path.stat().st_size > MAX_BYTES:
        return ClassFile(problem=f"more than {MAX_BYTES} bytes")
    return parse_class_file(path.read_text(encoding="utf-8-sig", errors="replace"))


def parse_class_file(text: str) -> ClassFile:
    """Reads the text of a class file."""
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1)]
    lines = [(number, line) for number, line in lines if line and not line.startswith("#")]
    try:
        if lines and set(next(csv.reader([lines[0][1].lower().replace(" ", "")]))) <= _HEADER and "," in lines[0][1]:
            del lines[0]
    except csv.Error as error:  # its limit of characters
        return ClassFile(problem=f"line {lines[0][0]}: {error}")
    if not lines:
        return ClassFile(problem="no class")
    for pattern in _PATTERNS:
        found = [pattern.fullmatch(line) for _, line in lines]
        if all(found):
            break
    names: list[str] = []
    values: list[int] = []
    for place, ((number, _), match) in enumerate(zip(lines, found, strict=True)):
        given = match.groupdict() if match else {}
        numbers = [int(given[key]) for key in (*_CHANNELS, "index") if given.get(key)]
        if any(value > 255 for value in numbers):
            return ClassFile(problem=f"line {number}: {max(numbers)} in a colour or index of 0-255")
        red, green, blue = numbers if len(numbers) == 3 else (0, 0, 0)
        value = COLOUR | red << 16 | green << 8 | blue if len(numbers) == 3 else numbers[0] if numbers else place
        name = (given.get("name") or "").strip()
        if name in names:
            return ClassFile(problem=f"line {number}: a second {name!r}")
        if value in values:
            return ClassFile(problem=f"line {number}: {name!r} has the value of {names[values.index(value)]!r}")
        names.append(name)
        values.append(value)
    if sum(name.lower() not in IGNORED for name in names) > MAX_CLASSES or (not values[-1] >= COLOUR and len(names) > 256):
        return ClassFile(problem=f"{len(names)} classes")
    return ClassFile(tuple(names), tuple(values))


def class_file_text(names: Sequence[str]) -> str:
    """A class file of names alone; empty where the names would not be read back as they are."""
    text = "".join(f"{name}\n" for name in names)
    return text if parse_class_file(text).names == tuple(names) else ""
