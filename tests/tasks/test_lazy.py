"""Sequences whose items are made when they are asked for."""

import pytest

from tasks.lazy import Lazy


class Squares(Lazy[int]):
    def __init__(self) -> None:
        self.made: list[int] = []

    def __len__(self) -> int:
        return 5

    def at(self, row: int) -> int:
        self.made.append(row)
        return row**2


def test_items_are_made_as_those_of_a_list_are_taken() -> None:
    squares, whole = Squares(), [0, 1, 4, 9, 16]
    assert [squares[2], squares[-1]] == [4, 16]
    assert squares.made == [2, 4]
    for part in (slice(1, 3), slice(None, None, -2), slice(-2, 99)):
        assert squares[part] == whole[part]
    assert list(squares) == whole
    assert 9 in squares
    for row in (5, -6):
        with pytest.raises(IndexError):
            squares[row]
