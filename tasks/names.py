"""Names of a million files in little memory: their text in one piece, and their hashes for who looks for one."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, overload

import numpy as np

_HALVES: Final = "surrogatepass"  # JSON may have halves of characters


class Names(Sequence[str]):
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

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        row = range(len(self))[place]  # refuses what is beyond
        return self._text[self._ends[row] : self._ends[row + 1]].decode(errors=_HALVES)

    def __iter__(self) -> Iterator[str]:
        start = 0
        for end in islice(self._ends, 1, None):
            yield self._text[start:end].decode(errors=_HALVES)
            start = end


class Index:
    """The rows of each of some texts, by 12 bytes a row; whoever asks compares the texts, as others may have their hash."""

    def __init__(self, texts: Iterable[str]) -> None:
        hashes = np.fromiter(map(hash, texts), np.int64)
        order = np.argsort(hashes, kind="stable")
        self._hashes = array("q", hashes[order].tobytes())
        self._rows = array("I", order.astype(np.uint32).tobytes())

    def rows(self, text: str) -> Iterator[int]:
        """The rows that may have a text, in order."""
        wanted = hash(text)
        place = bisect_left(self._hashes, wanted)
        while place < len(self._hashes) and self._hashes[place] == wanted:
            yield self._rows[place]
            place += 1

    def shared(self) -> list[int]:
        """The rows that may not be the only ones with their text, in order."""
        hashes, rows = np.frombuffer(self._hashes, np.int64), np.frombuffer(self._rows, np.uint32)
        is_next = hashes[1:] == hashes[:-1]
        return sorted({*rows[1:][is_next].tolist(), *rows[:-1][is_next].tolist()})
