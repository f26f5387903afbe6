"""What a record says: the one reading of it, so that each tracker holds the same names and values."""

import csv
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

RECORD_FILE, FILES, SYSTEM_FILE = "record.json", "files", "system.csv"
"""What is in a record's folder: itself, the files that the stage wrote, and among them what was sampled while it ran."""
Value = str | int | float


@dataclass(frozen=True)
class Point:
    """Metrics at one moment.

    Attributes:
        step: The epoch, from 1; of samples of the machine their number, from 0.
        time_ms: When, milliseconds since 1970.
        metrics: By name.
    """

    step: int
    time_ms: int
    metrics: dict[str, float]


@dataclass(frozen=True)
class Trial:
    """One trial of evolve; one that diverged has no metrics."""

    number: str
    params: dict[str, Value]
    metrics: dict[str, float]
    is_failed: bool


@dataclass(frozen=True)
class Pipeline:
    """The pipeline run that a stage belongs to; see `_pipeline.pipeline_of`."""

    id: str
    name: str
    commit: str
    digest: str
    params: dict[str, Value]

    @property
    def group(self) -> str:
        """A readable name that no run of other params or another commit has."""
        return f"{self.name}-{self.commit[:7]}"


@dataclass(frozen=True)
class StageRecord:
    """A stage that ended.

    Attributes:
        id: No other record has it.
        pipeline: What the stage is part of.
        stage: Its name.
        status: FINISHED, FAILED or KILLED.
        is_last: Whether the pipeline has run.
        key: See `tasks.trackers.record`; none of a stage that did not finish.
        error: The message of one that failed.
        params: The sections of params.yaml that it read, as `train.lr0`.
        metrics: What it returned.
        epochs: results.csv.
        system: What the machine did meanwhile, every few seconds.
        trials: trials.csv.
        dataset: `name`, `digest` and `path` of the dataset that it read.
        start_ms: When it started, milliseconds since 1970.
        end_ms: When it ended.
        folder: A copy of the files of its report.
        pictures: Those of them that are pictures, sorted.
    """

    id: str
    pipeline: Pipeline
    stage: str
    status: str
    is_last: bool
    key: str | None
    error: str | None
    params: dict[str, Value]
    metrics: dict[str, float]
    epochs: tuple[Point, ...]
    system: tuple[Point, ...]
    trials: tuple[Trial, ...]
    dataset: dict[str, str] | None
    start_ms: int
    end_ms: int
    folder: Path
    pictures: tuple[Path, ...]


@dataclass(frozen=True)
class CachedRecord:
    """Stages that the pipeline's run took from the cache: the key of each, by name."""

    pipeline: Pipeline
    is_last: bool
    keys: dict[str, str]


class Writer(Protocol):
    """What writes records to one tracker, in the background. A record that is written again replaces what it wrote before."""

    def __init__(self, target: Mapping[str, str]) -> None: ...

    def write(self, record: StageRecord) -> None:
        """Writes a stage. Whatever is raised lets the record wait; `_spool.RejectedError` sets it aside."""

    def link(self, record: CachedRecord) -> None:
        """Notes what the pipeline's run took from the cache."""

    def close(self) -> None:
        """Called when the pipeline's process is gone and nothing waits."""


def read(item: Path) -> StageRecord | CachedRecord:
    """What the folder `item` of the spool holds."""
    data = json.loads((item / RECORD_FILE).read_text(encoding="utf-8"))
    pipeline = Pipeline(**{**data["pipeline"], "params": flatten(data["pipeline"]["params"])})
    if data["kind"] == "cached":
        return CachedRecord(pipeline, data["is_last"], data["keys"])
    files, end_ms = item / FILES, int(item.name.partition("-")[0]) // 1_000_000
    return StageRecord(
        id=item.name,
        pipeline=pipeline,
        stage=data["stage"],
        status=data["status"],
        is_last=data["is_last"],
        key=data["key"],
        error=data["error"],
        params=flatten(data["config"]),
        metrics={_name(key): float(value) for key, value in data["metrics"].items()},
        epochs=tuple(Point(int(float(row["epoch"])), end_ms, _numbers(row, "epoch")) for row in _rows(files / "results.csv")),
        system=tuple(
            Point(step, int(row["time_ms"]), _numbers(row, "time_ms")) for step, row in enumerate(_rows(files / SYSTEM_FILE))
        ),
        trials=tuple(_trial(row, data["config"].get("space", {})) for row in _rows(files / "trials.csv")),
        dataset=data["dataset"],
        start_ms=data["start_ms"],
        end_ms=end_ms,
        folder=files,
        pictures=tuple(sorted(files.rglob("*.png"))),
    )


def flatten(data: Mapping[str, Any], prefix: str = "") -> dict[str, Value]:
    """Nested mappings as `train.lr0`; what is no number becomes text: TensorBoard takes truth values for numbers."""
    flat: dict[str, Value] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            flat[_name(f"{prefix}{key}")] = value if is_number else str(value)
    return flat


def _trial(row: Mapping[str, str], space: Mapping[str, Any]) -> Trial:
    """A trial's searched values are its params, its other numbers its metrics."""
    cells = {key: text for key, text in row.items() if text and key != "status"}
    metrics = _numbers({key: text for key, text in cells.items() if key not in space}, "trial")
    params: dict[str, Value] = {_name(key): text for key, text in cells.items() if _name(key) not in metrics}
    return Trial(row["trial"], params, metrics, row.get("status") == "diverged")


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows of a CSV file; none where there is no file. A line that a kill cut off is left out."""
    if path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if None not in row.values():
                    yield {key.strip(): value.strip() for key, value in row.items()}


def _numbers(row: Mapping[str, str], index: str) -> dict[str, float]:
    """The cells that are numbers, but for the column that counts the rows."""
    found = {}
    for key, text in row.items():
        try:
            value = float(text)
        except ValueError:
            continue
        if key != index:
            found[_name(key)] = value
    return found


def _name(key: str) -> str:
    """`key` with the characters alone that every tracker allows in names; MLflow's are the fewest."""
    return re.sub(r"[^\w\-. /:]", "_", key)
