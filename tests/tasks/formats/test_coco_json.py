"""JSON that is read a part at a time says what Python's own reader says of all of it."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sightline.errors import SightlineError
from tasks.findings import Finding
from tasks.formats import _coco_json
from tasks.formats._coco_ids import Id, Ids, is_id
from tasks.formats._coco_json import Document, Entries, Seen, load

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from([10**30, "\\", '"', "Ä\n", "\\u"])
)
JSON = st.recursive(
    SCALARS,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)
TOP = st.dictionaries(st.sampled_from(["images", "annotations", "info"]), JSON | st.lists(JSON, max_size=6)) | JSON
LISTS = ("images", "annotations")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("json") / "a.json"


def whole(document: Document) -> object:
    """What was asked for, with the lists in memory."""
    value = document.value
    if not isinstance(value, dict):
        return value
    return {key: list(part) if isinstance(part, Entries) else part for key, part in value.items()}


@pytest.fixture(scope="module", autouse=True, params=[1, 7, 1 << 20])
def part(request: pytest.FixtureRequest) -> Iterator[None]:
    """Bytes that are read at once."""
    before, _coco_json._PART = _coco_json._PART, request.param  # type: ignore[misc]
    yield
    _coco_json._PART = before  # type: ignore[misc]


@settings(deadline=None, max_examples=200)
@given(value=TOP, is_ascii=st.booleans(), indent=st.sampled_from([None, 1]), mark=st.sampled_from(["", "\ufeff"]))
def test_any_value_is_read(value: Any, is_ascii: bool, indent: int | None, mark: str, path: Path) -> None:
    path.write_text(mark + json.dumps(value, ensure_ascii=is_ascii, indent=indent), encoding="utf-8")
    noted: dict[str, list[object]] = {}
    found = load(path, "a.json", LISTS, lambda key, entry: noted.setdefault(key, []).append(entry))
    assert isinstance(found, Document)
    expected = value
    if isinstance(value, dict):
        expected = {key: part if key in LISTS else None for key, part in value.items()}
        assert repr(noted) == repr(
            {key: part for key, part in value.items() if key in LISTS and isinstance(part, list) and part}
        )
    assert repr(whole(found)) == repr(expected)
    again = Document()
    json.loads(path.read_text("utf-8-sig"), object_pairs_hook=again.make_object, parse_constant=again.make_number)
    assert (found.repeated.total, found.constants) == (again.repeated.total, again.constants)


@settings(deadline=None, max_examples=300)
@given(value=TOP, data=st.data())
def test_what_is_no_json_is_told_with_its_line(value: Any, data: st.DataObject, path: Path) -> None:
    text = json.dumps(value, indent=1)
    place = data.draw(st.integers(0, len(text)))
    text = (
        text[:place]
        + data.draw(st.sampled_from(["", "]", "}", ",", '"', "\\", "\n", "-", "N", "e", "[1,]"]))
        + text[place + 1 :]
    )
    path.write_text(text, encoding="utf-8")
    found = load(path, "a.json", LISTS, lambda key, entry: None)
    expected = None
    try:
        json.loads(text)
    except json.JSONDecodeError as error:
        expected = "json.malformed", error.lineno
    assert (found.code, found.line) == expected if isinstance(found, Finding) else expected is None


@pytest.mark.parametrize(
    ("data", "got"),
    [
        (b'{"images": ["\xc3\xa4", "\xff"]}', "byte 19 is not UTF-8"),
        (b'\xef\xbb\xbf{"images": "\xff"}', "byte 15 is not UTF-8"),
        (b'{"images": ["\xc3', "byte 13 is not UTF-8"),
    ],
)
def test_a_byte_that_is_not_utf8_is_named(data: bytes, got: str, path: Path) -> None:
    path.write_bytes(data)
    found = load(path, "a.json", LISTS, lambda key, entry: None)
    assert isinstance(found, Finding)
    assert (found.code, found.got) == ("json.malformed", got)


def test_what_stands_twice_is_told_once(path: Path) -> None:
    path.write_text('{"images": [{"id": 1, "id": 2}, {"id": 3, "x": {"b": 1, "b": NaN}, "y": [NaN]}], "a": 1, "a": 2}')
    found = load(path, "a.json", LISTS, lambda key, entry: None)
    assert isinstance(found, Document)
    assert found.repeated == Seen("id", "a", 3)
    assert found.constants == Seen("NaN", "NaN", 2)


@pytest.mark.parametrize("count", [50_000, 50_001])
def test_a_long_run_of_backslashes_takes_no_time(count: int, path: Path) -> None:
    path.write_bytes(b'{"images": ["' + b"\\" * count + b'", [[]]]}')
    found = load(path, "a.json", LISTS, lambda key, entry: None)
    assert isinstance(found, Document) == (count % 2 == 0)


def test_a_list_that_nobody_asks_for_may_be_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_coco_json, "VALUE_CHARACTERS", 1000)
    monkeypatch.setattr(_coco_json, "_PART", 100)
    path.write_text(json.dumps({"videos": ["a" * 500] * 100}))
    found = load(path, "a.json", LISTS, lambda key, entry: None)
    assert isinstance(found, Document)
    assert found.value == {"videos": None}


def test_a_value_without_end_is_not_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_coco_json, "VALUE_CHARACTERS", 1000)
    monkeypatch.setattr(_coco_json, "_PART", 100)
    path.write_text(json.dumps({"images": ["a" * 500] * 100}))
    assert isinstance(load(path, "a.json", LISTS, lambda key, entry: None), Document), "a list may be long"
    path.write_text('{"info": 1,\n"images": ["' + "a" * 5000 + '"]}')
    found = load(path, "a.json", LISTS, lambda key, entry: None)
    assert isinstance(found, Finding)
    assert (found.code, found.line, found.expected) == ("json.too_large", 2, "at most 1000")


def test_a_file_that_changes_meanwhile_is_refused(path: Path) -> None:
    path.write_text('{"images": [1, 2, 3]}')
    found = load(path, "a.json", LISTS, lambda key, entry: None)
    assert isinstance(found, Document)
    assert isinstance(found.value, dict)
    path.write_text('{"images": {}}')
    with pytest.raises(SightlineError, match=r"a\.json: got other content"):
        list(found.value["images"])
    path.unlink()
    with pytest.raises(SightlineError, match=r"a\.json: got other content"):
        list(found.value["images"])


@given(st.lists(st.integers(-3, 3) | st.sampled_from(["", "1", "Ä", "\ud800", 2**63 - 1, -(2**63)])))
def test_ids_are_found_and_counted(given: list[Id]) -> None:
    ids = Ids()
    for key in given:
        ids.append(key)
    assert len(ids) == len(given)
    for key in (*given, 7, "7", 2**62):
        assert ids.find(key) == (given.index(key) if key in given else None)
    assert ids.repeated() == {key: count for key, count in Counter(given).items() if count > 1}


@pytest.mark.parametrize(
    ("value", "expected"), [(1, True), ("a", True), (True, False), (2**63, False), (1.0, False), (None, False)]
)
def test_an_id_is_a_whole_number_or_a_text(value: object, expected: bool) -> None:
    assert is_id(value) is expected
