"""select: the candidate that meets the constraints and is best at the objective, and why each other one lost."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline.contract import dump_json
from sightline.errors import AnswerIsNo, SightlineError
from tasks import metrics, schema, stage
from tasks.benchmark_report import JSON_FILE, PLOT_FILE, plot
from tasks.selection import choose, to_markdown


@dataclass(frozen=True)
class Paths:
    benchmark: Path
    report: stage.Output


class Config(schema.Section):
    constraints: schema.Constraints


def select(paths: Paths, config: Config) -> dict[str, float]:
    """Writes selection.json, selection.md, and accuracy against latency with the constraints drawn in.

    Raises:
        AnswerIsNo: No candidate meets the constraints; the message names the nearest misses. Both files are written.
        SightlineError: A constraint is on no column of the benchmark.
    """
    table = _read(paths.benchmark / JSON_FILE)
    rows = table["rows"]
    selection = choose(rows, config.constraints)
    write(selection, table, config.constraints, paths.report)
    if selection["winner"] is None:
        raise AnswerIsNo("\n".join(["no candidate meets the constraints; the nearest misses:", *selection["nearest"]]))
    winner = next(row for row in rows if row["candidate"] == selection["winner"])
    reasons = next(entry["reasons"] for entry in selection["candidates"] if entry["candidate"] == selection["winner"])
    print(f"select: {selection['winner']}: {'; '.join(reasons)}")
    return {key: winner[key] for key in ("fitness", "p50_ms", "p99_ms", "throughput", "rss_mb", "size_mb")}


def write(selection: Mapping[str, Any], table: Mapping[str, Any], constraints: schema.Constraints, folder: Path) -> None:
    """Writes the three files.

    Args:
        selection: What `tasks.selection.choose` returned.
        table: Of the benchmark.
        constraints: That it was chosen by.
        folder: Where to; made where it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plot(folder / PLOT_FILE, table["rows"], metrics.load(table["task"]).FITNESS, constraints, selection)
    (folder / "selection.json").write_text(dump_json(selection), encoding="utf-8")
    (folder / "selection.md").write_text(to_markdown(selection), encoding="utf-8")


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SightlineError(f"{path}: not there: run `dvc repro benchmark`")
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return table


if __name__ == "__main__":
    stage.main(select)
