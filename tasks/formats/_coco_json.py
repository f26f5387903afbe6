"""A strict reader of JSON that nobody vouches for: bounded in size and depth, with keys that stand twice and NaN told."""

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from tasks.findings import Finding, finding

SIZE_BYTES: Final = 2 * 1024**3
"""A larger file is not read; COCO's own largest is a quarter of it. Read, such a file takes about seven times its size."""
DEPTH: Final = 64
"""Levels of brackets; COCO needs five."""
_PART: Final = 1 << 20  # marks that are counted at once
_OPEN, _SHUT, _QUOTE = b"[{", b"]}", b'"'
_OTHERS: Final = bytes(set(range(256)) - set(_OPEN + _SHUT + _QUOTE))
_STEPS: Final = np.zeros(256, np.int64)
_STEPS[list(_OPEN)], _STEPS[list(_SHUT)] = 1, -1


class Repeated(dict[str, object]):
    """An object in which a key stood twice; the last value is kept."""


@dataclass
class Document:
    """What a file holds.

    Attributes:
        value: The parsed JSON; an object with a key twice is a `Repeated`.
        repeated: The first key that stood twice of each `Repeated`, from the inner to the outer ones.
        constants: Each NaN, Infinity and -Infinity.
    """

    value: object = None
    repeated: list[str] = field(default_factory=list)
    constants: list[str] = field(default_factory=list)

    def make_object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        """Makes an object of its keys and values."""
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        counts = Counter(key for key, _ in pairs)
        self.repeated.append(next(key for key, count in counts.items() if count > 1))
        return Repeated(made)

    def make_number(self, name: str) -> float:
        """Makes a number of NaN, Infinity or -Infinity."""
        self.constants.append(name)
        return float(name)


def load(path: Path, name: str) -> Document | Finding:
    """Reads a file.

    Args:
        path: The file.
        name: Its name in findings.

    Returns:
        What it holds, or why it cannot be read.
    """
    size = path.stat().st_size
    if size > SIZE_BYTES:
        return finding("json.too_large", f"{size} bytes", name, expected=f"at most {SIZE_BYTES} bytes")
    data = path.read_bytes()
    depth = nesting(data)
    if depth > DEPTH:
        return finding("json.too_deep", f"{depth} levels of brackets", name, expected=f"at most {DEPTH}")
    document = Document()
    try:
        text = data.decode("utf-8-sig")
        del data
        document.value = json.loads(text, object_pairs_hook=document.make_object, parse_constant=document.make_number)
    except UnicodeDecodeError as error:
        return finding("json.malformed", f"byte {error.start} is not UTF-8", name)
    except json.JSONDecodeError as error:
        return finding("json.malformed", error.msg, name, error.lineno)
    except ValueError:  # Python's limit of digits
        return finding("json.malformed", "a number of thousands of digits", name)
    return document


def nesting(data: bytes) -> int:
    """How deep brackets nest in JSON, at least up to where it is malformed; those in strings are not counted."""
    if b"\\" in data:
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    marks = np.frombuffer(data.translate(None, _OTHERS), np.uint8)
    deepest = depth = quotes = 0
    for start in range(0, len(marks), _PART):
        part = marks[start : start + _PART]
        seen = quotes + np.cumsum(part == _QUOTE[0])
        levels = depth + np.cumsum(np.where(seen % 2, 0, _STEPS[part]))
        deepest, depth, quotes = max(deepest, int(levels.max())), int(levels[-1]), int(seen[-1])
    return deepest
