"""The journal survives what cuts it off."""

from pathlib import Path

from tasks.journal import Journal


def test_records_are_read_back_and_a_torn_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    journal = Journal(path)
    assert journal.records == []
    journal.append({"a": 1})
    journal.append({"b": [0.1]})
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"c": ')
    again = Journal(path)
    assert again.records == [{"a": 1}, {"b": [0.1]}]
    again.append({"c": 3})
    assert Journal(path).records == [{"a": 1}, {"b": [0.1]}, {"c": 3}]
