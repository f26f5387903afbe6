"""A strict reader of JSON that nobody vouches for: bounded in size and depth, with keys that stand twice and NaN told.

A file is read a part at a time: first all of it is checked, then the entries of its long lists are asked for.
"""

import codecs
import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np

from sightline.errors import SightlineError
from tasks.findings import Finding, finding

SIZE_BYTES: Final = 2 * 1024**3
"""A larger file is not read; COCO's own largest is a quarter of it."""
VALUE_CHARACTERS: Final = 64 * 1024**2
"""A longer value is not read, unless it is one of the lists; in memory it takes some ten times as much."""
DEPTH: Final = 64
"""Levels of brackets; COCO needs five."""
_PART: Final = 1 << 20  # bytes that are read at once
_OPEN, _SHUT, _QUOTE = b"[{", b"]}", b'"'
_OTHERS: Final = bytes(set(range(256)) - set(_OPEN + _SHUT + _QUOTE))
_STEPS: Final = np.zeros(256, np.int64)
_STEPS[list(_OPEN)], _STEPS[list(_SHUT)] = 1, -1
_SPACES: Final = re.compile(r"[ \t\n\r]*")
_TOKEN: Final = 12  # characters at the end of a part that may be a piece of a token: the longest of fixed text is -Infinity
_UNENDED: Final = "Unterminated string"


class Repeated(dict[str, object]):
    """An object in which a key stood twice; the last value is kept."""


class Seen(NamedTuple):
    """What was seen of something: the first and the last of it, and how often."""

    first: str = ""
    last: str = ""
    total: int = 0

    def add(self, name: str) -> "Seen":
        """With another one."""
        return Seen(self.first if self.total else name, name, self.total + 1)


NOTHING: Final = Seen()


class Entries:
    """The entries of a long list, read from the file each time.

    Args:
        path: The file.
        start: The byte at which the list begins.
        line: The line there, from 1.
    """

    def __init__(self, path: Path, start: int, line: int) -> None:
        self._path, self._start, self._line = path, start, line

    def __iter__(self) -> Iterator[object]:
        """One after the other; an object with a key twice is a `Repeated`.

        Raises:
            SightlineError: The file is not the one that was checked.
        """
        try:
            with self._path.open("rb") as file:
                yield from _Text(file, Document(), self._start, self._line).entries()
        except (_MalformedError, ValueError, OSError):
            raise changed(self._path) from None


def changed(path: Path) -> SightlineError:
    """A file is not the one that was checked."""
    return SightlineError(f"{path}: got other content, expected what it held a moment ago: let nothing write there meanwhile")


@dataclass
class Document:
    """What a file holds.

    Attributes:
        value: The parsed JSON; an object with a key twice is a `Repeated`. Of an object at the top, the long lists are
            `Entries`, and what was not asked for is None.
        repeated: The first key that stood twice of each `Repeated`, from the inner to the outer ones.
        constants: Each NaN, Infinity and -Infinity.
    """

    value: object = None
    repeated: Seen = NOTHING
    constants: Seen = NOTHING

    def make_object(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        """Makes an object of its keys and values."""
        made = dict(pairs)
        if len(made) == len(pairs):
            return made
        counts = Counter(key for key, _ in pairs)
        self.repeated = self.repeated.add(next(key for key, count in counts.items() if count > 1))
        return Repeated(made)

    def make_number(self, name: str) -> float:
        """Makes a number of NaN, Infinity or -Infinity."""
        self.constants = self.constants.add(name)
        return float(name)


class _MalformedError(Exception):
    """JSON is expected otherwise; what is wrong, and the line, from 1, or 0."""

    def __init__(self, message: str, line: int = 0, code: str = "json.malformed", expected: str = "") -> None:
        super().__init__(message)
        self.message, self.line, self.code, self.expected = message, line, code, expected


class _Text:
    """The text of a file from a place on, of which a part is in memory.

    Args:
        file: Open for bytes.
        document: Makes the objects and numbers.
        start: The first byte, at the beginning of a value.
        line: The line there, from 1.
    """

    def __init__(self, file: BinaryIO, document: Document, start: int = 0, line: int = 1) -> None:
        file.seek(start)
        decoder = json.JSONDecoder(object_pairs_hook=document.make_object, parse_constant=document.make_number)
        self._file, self._document, self._decode = file, document, decoder.raw_decode
        self._bytes, self._line = start, line
        self._decoder = codecs.getincrementaldecoder("utf-8" if start else "utf-8-sig")()
        self._text, self._at, self._is_whole = "", 0, False

    def place(self) -> tuple[int, int]:
        """The byte and the line of what comes next."""
        waiting = len(self._text[self._at :].encode()) + len(self._decoder.getstate()[0])
        return self._bytes - waiting, self._line_at(self._at)

    def peek(self) -> str:
        """The next character that is no space; empty at the end."""
        while True:
            spaces = _SPACES.match(self._text, self._at)
            self._at = spaces.end() if spaces else self._at
            if self._at < len(self._text) or self._is_whole:
                return self._text[self._at : self._at + 1]
            self._more()

    def value(self) -> object:
        """The next value."""
        self.peek()
        seen = self._document.repeated, self._document.constants
        while True:
            try:
                value, end = self._decode(self._text, self._at)
            except json.JSONDecodeError as error:
                is_cut = error.pos >= len(self._text) - _TOKEN or error.msg.startswith(_UNENDED)
                if self._is_whole or not is_cut:
                    raise _MalformedError(error.msg, self._line_at(error.pos)) from None
            else:
                if end < len(self._text) - _TOKEN or self._is_whole:  # a number may go on
                    self._at = end
                    return value
            self._document.repeated, self._document.constants = seen  # it will be made again
            self._more()

    def members(self) -> Iterator[str]:
        """The keys of the object that comes next; before the next one is asked for, its value must have been read."""
        self._take("{")
        while self.peek() != "}":
            if self.peek() != '"':
                raise _MalformedError("Expecting property name enclosed in double quotes", self._line_at(self._at))
            key = self.value()
            self._take(":")
            yield str(key)
            if self.peek() != ",":
                break
            self._take(",")
            if self.peek() == "}":
                raise _MalformedError("Illegal trailing comma", self._line_at(self._at))
        self._take("}")

    def entries(self) -> Iterator[object]:
        """Those of the list that comes next."""
        self._take("[")
        if self.peek() != "]":
            yield self.value()
        while self.peek() == ",":
            self._at += 1
            yield self.value()
        self._take("]")

    def end(self) -> None:
        """Nothing comes next."""
        if self.peek():
            raise _MalformedError("Extra data", self._line_at(self._at))

    def _take(self, mark: str) -> None:
        if self.peek() != mark:
            raise _MalformedError(f"Expecting {mark!r}", self._line_at(self._at))
        self._at += 1

    def _more(self) -> None:
        """Reads another part; what was taken goes."""
        rest = self._text[self._at :]
        if len(rest) > VALUE_CHARACTERS:
            got, expected = f"a value of {len(rest)} characters at least", f"at most {VALUE_CHARACTERS}"
            raise _MalformedError(got, self._line_at(self._at), "json.too_large", expected)
        data = self._file.read(max(_PART, len(rest)))
        self._line, self._is_whole = self._line_at(self._at), not data
        self._bytes += len(data)
        try:
            self._text, self._at = rest + self._decoder.decode(data, final=not data), 0
        except UnicodeDecodeError as error:
            place = self._bytes - len(error.object) + error.start
            raise _MalformedError(f"byte {place} is not UTF-8") from None

    def _line_at(self, place: int) -> int:
        return self._line + self._text.count("\n", 0, place)


def load(path: Path, name: str, lists: tuple[str, ...], note: Callable[[str, object], None]) -> Document | Finding:
    """Checks a file.

    Args:
        path: The file.
        name: Its name in findings.
        lists: Keys of an object at the top whose values are asked for; lists among them are long.
        note: Is given each entry of a long list, with its key.

    Returns:
        What it holds, or why it cannot be read.
    """
    size = path.stat().st_size
    if size > SIZE_BYTES:
        return finding("json.too_large", f"{size} bytes", name, expected=f"at most {SIZE_BYTES} bytes")
    with path.open("rb") as file:
        depth = nesting(file)
        if depth > DEPTH:
            return finding("json.too_deep", f"{depth} levels of brackets", name, expected=f"at most {DEPTH}")
        document = Document()
        try:
            text = _Text(file, document)
            if text.peek() == "{":
                document.value = document.make_object(list(_members(text, path, lists, note)))
            else:
                document.value = text.value()
            text.end()
        except _MalformedError as error:
            return finding(error.code, error.message, name, error.line, expected=error.expected)
        except ValueError:  # Python's limit of digits
            return finding("json.malformed", "a number of thousands of digits", name)
    return document


def _members(
    text: _Text, path: Path, lists: tuple[str, ...], note: Callable[[str, object], None]
) -> Iterator[tuple[str, object]]:
    """The keys and values of the object at the top."""
    for key in text.members():
        if key in lists and text.peek() == "[":
            place = text.place()
            for entry in text.entries():
                note(key, entry)
            yield key, Entries(path, *place)
        elif text.peek() == "[":
            for _ in text.entries():
                pass
            yield key, None
        else:
            value = text.value()
            yield key, value if key in lists else None


def nesting(file: BinaryIO) -> int:
    """How deep brackets nest in JSON, at least up to where it is malformed; those in strings are not counted."""
    deepest = depth = quotes = 0
    rest = b""
    while data := file.read(_PART):
        data = rest + data
        rest = b"\\" * ((len(data) - len(data.rstrip(b"\\"))) % 2)  # what it escapes comes next
        data = data[: len(data) - len(rest)]
        if b"\\" in data:
            data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
        marks = np.frombuffer(data.translate(None, _OTHERS), np.uint8)
        if len(marks):
            seen = quotes + np.cumsum(marks == _QUOTE[0])
            levels = depth + np.cumsum(np.where(seen % 2, 0, _STEPS[marks]))
            deepest, depth, quotes = max(deepest, int(levels.max())), int(levels[-1]), int(seen[-1])
    return deepest
