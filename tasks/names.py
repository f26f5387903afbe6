"""Names of a million files in little memory: their text in one piece, and their hashes for who looks for one."""

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final

import numpy as np

from tasks.lazy import Lazy

_HALVES: Final = "surrogatepass"  # JSON may have halves of characters


def without_suffix(name: str) -> str:
    """The name of a file without the last `.` and what follows: an image's is its image_id."""
    return name[: name.rfind(".")]


class Names(Lazy[str]):
    """Texts, of which each takes 8 bytes besides its own."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self._text = bytearray()
        self._ends = array("q", [0])
        for name in names:
            self.append(name)

    def append(self, name: str) -> None:
        """Adds a text at the end."""
        self._text += name.encode(errors=_HALVES)
        self._ends.append(len(self._text))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def at(self, row: int) -> str:
        return self._text[self._ends[row] : self._ends[row + 1]].decode(errors=_HALVES)

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in islice(self._ends, 1, None):
            yield self._text[start:end].decode(errors=_HALVES)
            start = end


class Index:
    """The rows of names by what is looked for, by 12 bytes a row besides the names.

    Args:
        names: Kept, not copied.
        key: What is looked for of a name; the name itself if not given.
    """

    def __init__(self, names: Sequence[str], key: Callable[[str], str] = str) -> None:
        self._names, self._key = names, key
        hashes = np.fromiter((hash(key(name)) for name in names), np.int64)
        order = np.argsort(hashes, kind="stable")
        self._hashes = array("q", hashes[order].tobytes())
        self._rows = array("I", order.astype(np.uint32).tobytes())

    def rows(self, text: str) -> Iterator[int]:
        """The rows with a key, in order."""
        wanted = hash(text)
        place = bisect_left(self._hashes, wanted)
        while place < len(self._hashes) and self._hashes[place] == wanted:
            if self._key(self._names[self._rows[place]]) == text:  # others may have its hash
                yield self._rows[place]
            place += 1

    def shared(self) -> list[int]:
        """The rows that may not be the only ones with their key, in order."""
        hashes, rows = np.frombuffer(self._hashes, np.int64), np.frombuffer(self._rows, np.uint32)
        is_next = hashes[1:] == hashes[:-1]
        return sorted({*rows[1:][is_next].tolist(), *rows[:-1][is_next].tolist()})
