"""Ids of a million entries in little memory: whole numbers of 64 bits, and texts."""

from array import array
from bisect import bisect_left
from collections import Counter
from functools import cached_property
from typing import Final, TypeGuard

import numpy as np

from tasks.names import Index, Names

Id = int | str
_LIMIT: Final = 2**63


def is_id(value: object) -> TypeGuard[Id]:
    """Whether it is a whole number of 64 bits or a text."""
    return type(value) is str or (type(value) is int and -_LIMIT <= value < _LIMIT)


class Ids:
    """Ids in the order in which they were added; once one is looked for, there may be no more."""

    def __init__(self) -> None:
        self._numbers, self._numbered = array("q"), array("I")
        self._texts, self._named = Names(), array("I")

    def __len__(self) -> int:
        return len(self._numbers) + len(self._texts)

    def append(self, key: Id) -> None:
        """Adds an id at the end."""
        if isinstance(key, int):
            self._numbered.append(len(self))
            self._numbers.append(key)
        else:
            self._named.append(len(self))
            self._texts.append(key)

    def find(self, key: Id) -> int | None:
        """The place of the first such id, from 0."""
        if isinstance(key, int):
            numbers, places = self._sorted
            at = bisect_left(numbers, key)
            return places[at] if at < len(numbers) and numbers[at] == key else None
        row = next(self._index.rows(key), None)
        return None if row is None else self._named[row]

    def repeated(self) -> dict[Id, int]:
        """The ids that stand there more than once, with how often they do."""
        numbers, counts = np.unique(np.frombuffer(self._numbers, np.int64), return_counts=True)
        found: dict[Id, int] = dict(zip(numbers[counts > 1].tolist(), counts[counts > 1].tolist(), strict=True))
        texts = Counter(self._texts[row] for row in self._index.shared())
        return found | {text: count for text, count in texts.items() if count > 1}

    @cached_property
    def _sorted(self) -> tuple["array[int]", "array[int]"]:
        """The numbers in order, and their places."""
        numbers, places = np.frombuffer(self._numbers, np.int64), np.frombuffer(self._numbered, np.uint32)
        order = np.argsort(numbers, kind="stable")
        return array("q", numbers[order].tobytes()), array("I", places[order].tobytes())

    @cached_property
    def _index(self) -> Index:
        return Index(self._texts)
