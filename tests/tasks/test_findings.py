"""Findings as files."""

import json
from dataclasses import asdict
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sightline.contract import dump_json
from tasks import findings
from tasks.findings import Finding, finding


def some(count: int) -> list[Finding]:
    names = [f"a/{index % 3}" for index in range(count)]
    return [finding("box.inverted", f'line\n"{index}\u2028', f"{name}.xml", index, name) for index, name in enumerate(names)]


@pytest.mark.parametrize("count", [0, 1, 7])
def test_findings_are_written_a_batch_at_a_time(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "BATCH", 3)
    found = some(count)
    findings.write(found[::-1], tmp_path, ["a/1"])
    rows = [asdict(item) for item in findings.ordered(found)]
    text = (tmp_path / "findings.json").read_text(encoding="utf-8")
    summary = json.loads(text)
    assert summary["findings"] == rows
    assert (summary["error"], len(summary["quarantined"][0]["why"])) == (count, len(range(1, count, 3)))
    assert text == dump_json(summary)
    table = pq.ParquetFile(tmp_path / "findings.parquet")
    assert not count or table.num_row_groups == -(-count // 3)
    assert table.read().to_pylist() == rows


@pytest.mark.parametrize("count", [0, 7])
def test_the_table_is_the_one_that_is_written_at_once(count: int, tmp_path: Path) -> None:
    findings.write(some(count), tmp_path, ())
    rows = [asdict(item) for item in findings.ordered(some(count))]
    pq.write_table(pa.Table.from_pylist(rows, schema=findings._SCHEMA), tmp_path / "whole.parquet", compression="zstd")
    assert (tmp_path / "findings.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
