"""Sequences of a million items in little memory: an item is made when it is asked for."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import TypeVar, overload

ItemT_co = TypeVar("ItemT_co", covariant=True)


class Lazy(Sequence[ItemT_co]):
    """A sequence that has a length, and makes the item of a row."""

    @abstractmethod
    def at(self, row: int) -> ItemT_co:
        """The item of a row, from 0."""

    @overload
    def __getitem__(self, place: int) -> ItemT_co: ...
    @overload
    def __getitem__(self, place: slice) -> list[ItemT_co]: ...
    def __getitem__(self, place: int | slice) -> ItemT_co | list[ItemT_co]:
        rows = range(len(self))[place]  # refuses what is beyond
        return self.at(rows) if isinstance(rows, int) else [self.at(row) for row in rows]
