"""Packed names are as a list of them, and are found."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.names import Index, Names

TEXTS = st.lists(st.text(st.characters(), max_size=8))  # halves of characters too


@given(TEXTS)
def test_names_are_as_a_list(texts: list[str]) -> None:
    names = Names(texts)
    assert list(names) == texts
    assert [names[place] for place in range(-len(texts), len(texts))] == [*texts, *texts]
    assert names[1:3] == texts[1:3]
    assert len(names) == len(texts)
    for place in (len(texts), -len(texts) - 1):
        with pytest.raises(IndexError):
            names[place]


@given(TEXTS, st.text(max_size=2))
def test_an_index_finds_all_rows_of_a_text(texts: list[str], other: str) -> None:
    index = Index(texts)
    for text in [*texts, other]:
        rows = [row for row, each in enumerate(texts) if each == text]
        assert list(index.rows(text)) == rows
    assert {row for row, text in enumerate(texts) if texts.count(text) > 1} <= set(index.shared())


def test_an_index_compares_what_it_finds() -> None:
    index = Index(["a.jpg", "b.jpg", "a.png"], key=lambda name: Same(name[0]))
    assert [list(index.rows(Same(key))) for key in ("a", "b", "c")] == [[0, 2], [1], []]


class Same(str):
    """A text whose hash all share."""

    def __hash__(self) -> int:
        return 1
