"""Findings: what is wrong with a dataset, where, and what to do about it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from sightline.contract import dump_json
from tasks.rules import RULES

Severity = Literal["error", "warning", "info"]
SEVERITIES: Final = ("error", "warning", "info")
OF_MANY: Final = (".json", ".csv")
"""Suffixes of the files that hold the labels of many images."""
BATCH: Final = 65_536
"""Findings that are made rows of the table at once."""

_SCHEMA: Final = pa.schema(
    [
        ("code", pa.string()),
        ("severity", pa.string()),
        ("file", pa.string()),
        ("line", pa.int32()),
        ("got", pa.string()),
        ("expected", pa.string()),
        ("remedy", pa.string()),
        ("image_id", pa.string()),
    ]
)


@dataclass(frozen=True, order=True)
class Finding:
    """One defect.

    Attributes:
        code: Which rule of `tasks.rules` it breaks, e.g. `box.inverted`.
        severity: `error` stops the pipeline, `warning` is repaired in the copy or only told, `info` is told.
        file: Relative to the source's root; empty where the whole dataset is meant.
        line: From 1; 0 where the file has no lines.
        got: What stands there.
        expected: What should stand there.
        remedy: What to do.
        image_id: The image concerned, or what a file of many names and does not have; empty where there is none.
    """

    code: str
    severity: Severity
    file: str
    line: int
    got: str
    expected: str
    remedy: str
    image_id: str = ""

    @property
    def sample(self) -> str:
        """What is set aside for it: the image, or the file of one image that has none; empty where that cannot be."""
        return self.image_id or ("" if self.file.endswith(OF_MANY) else self.file)

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: " if self.line else f"{self.file}: " if self.file else ""
        return f"{place}{self.got}, expected {self.expected}: {self.remedy}"


def finding(code: str, got: str, file: str = "", line: int = 0, image_id: str = "", expected: str = "") -> Finding:
    """A finding by the rule `code`, whose severity, expectation and remedy it takes."""
    rule = RULES[code]
    return Finding(code, rule.severity, file, line, got, expected or rule.expected, rule.remedy, image_id)


def count(findings: Sequence[Finding]) -> dict[str, int]:
    """How many there are of each severity."""
    counts = Counter(item.severity for item in findings)
    return {severity: counts[severity] for severity in SEVERITIES}


def ordered(findings: Sequence[Finding]) -> list[Finding]:
    """The worst first, then by code and place."""
    return sorted(findings, key=lambda item: (SEVERITIES.index(item.severity), item))


def write(findings: Sequence[Finding], folder: Path, quarantined: Sequence[str]) -> None:
    """Writes `findings.parquet` and `findings.json`, sorted.

    Args:
        findings: In any order.
        folder: Made where it is not there.
        quarantined: The name of each sample that was set aside; `findings.json` says why.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = ordered(findings)
    why: dict[str, list[dict[str, object]]] = {name: [] for name in sorted(quarantined)}
    for item in found:
        if item.severity == "error" and item.sample in why:
            why[item.sample].append({"code": item.code, "file": item.file, "line": item.line, "got": item.got})
    aside = [{"sample": name, "why": reasons} for name, reasons in why.items()]
    with pq.ParquetWriter(folder / "findings.parquet", _SCHEMA, compression="zstd") as table:
        for start in range(0, max(1, len(found)), BATCH):
            rows = [asdict(item) for item in found[start : start + BATCH]]
            table.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA))
    _write_json({**count(found), "quarantined": aside}, found, folder / "findings.json")


def _write_json(head: Mapping[str, object], findings: Sequence[Finding], path: Path) -> None:
    """Writes what `dump_json` makes of `head` and the list of findings, one of these at a time."""
    opening, closing = dump_json({**head, "findings": []}).rsplit("]", 1)
    with path.open("w", encoding="utf-8") as file:
        file.write(opening)
        for place, item in enumerate(findings):
            text = dump_json(asdict(item)).rstrip().replace("\n", "\n    ")
            file.write(f"{',' if place else ''}\n    {text}")
        file.write("\n  ]" if findings else "]")
        file.write(closing)
