"""What a person reads at the end of a run, from the reports that the stages wrote."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table

from flows import graph
from flows.graph import Stage
from sightline.contract import MANIFEST_FILE
from sightline.errors import SightlineError

MEASURED = ("p50_ms", "p99_ms", "throughput", "rss_mb", "size_mb")
NO_METRICS = {
    *MEASURED, "candidate", "engine", "precision", "shipped", "status", "message", "licence", "facts",
    "p90_ms", "p95_ms", "load_ms", "first_ms", "samples",
}  # fmt: skip
IMAGES = {".jpg", ".jpeg", ".png", ".webp"}


def show(stream: TextIO | None = None) -> None:
    """Prints the summary: tables with colours on a terminal, plain text in a log.

    Raises:
        SightlineError: No stage has written a report yet.
    """
    stages = graph.read()
    stream = stream or sys.stdout
    console = Console(file=stream, width=None if stream.isatty() else 120, highlight=False, soft_wrap=not stream.isatty())
    parts = [_data(stages), _metrics(stages), _benchmark(stages), *_selection(stages), *_commands(stages)]
    found = [part for part in parts if part is not None]
    if not found:
        raise SightlineError("no reports: nothing has run here yet: run `dvc repro` or `sightline run`")
    for part in found:
        console.print()
        console.print(part, markup=False) if isinstance(part, str) else console.print(part)


def _data(stages: Sequence[Stage]) -> Table | None:
    metadata = _json(stages, "fingerprint", "dataset_metadata.json")
    if metadata is None:
        return None
    table = _table("Data", "", "")
    for key, value in metadata.items():
        text = _short(value)
        if text:
            table.add_row(key.replace("_", " "), text)
    return table


def _metrics(stages: Sequence[Stage]) -> Table | None:
    rows = [
        (stage.name, key, value) for stage in stages for key, value in (_json(stages, stage.name, "metrics.json") or {}).items()
    ]
    if not rows:
        return None
    table = _table("Metrics", "stage", "metric", "value")
    for stage, key, value in rows:
        table.add_row(stage, key, _number(value))
    return table


def _benchmark(stages: Sequence[Stage]) -> Table | None:
    benchmark = _json(stages, "benchmark", "benchmark.json")
    if benchmark is None:
        return None
    accuracy = [key for key in benchmark["rows"][0] if key not in NO_METRICS and key != "drop"]
    columns = [*accuracy, "drop", *MEASURED]
    machine = benchmark["machine"]
    table = _table(f"Benchmark on {_short(machine) if isinstance(machine, dict) else machine}", "candidate", *columns, "status")
    for row in benchmark["rows"]:
        status = row["status"] if row["status"] == "ok" else f"{row['status']}: {row.get('message', '')}"
        table.add_row(row["candidate"], *(_number(row.get(column)) for column in columns), status)
    return table


def _selection(stages: Sequence[Stage]) -> list[str]:
    selection = _json(stages, "select", "selection.json")
    if selection is None:
        return []
    limits = [
        f"{key} {sign} {_number(value)}"
        for group, sign in (("max", "<="), ("min", ">="))
        for key, value in selection["constraints"].get(group, {}).items()
    ]
    met = f"meets {', '.join(limits)}" if limits else "no constraints"
    lines = [f"Winner: {selection['winner']}: best {selection['objective']} of those that satisfy the constraints ({met})"]
    for row in selection["candidates"]:
        if row["candidate"] != selection["winner"]:
            lines.append(f"  {row['candidate']}: {'; '.join(row['reasons']) or 'satisfies them'}")
    return ["\n".join(lines)]


def _commands(stages: Sequence[Stage]) -> list[str]:
    manifest = graph.find(stages, "package", MANIFEST_FILE)
    if manifest is None:
        return []
    image = _an_image(stages)
    return [
        "Start the service, and send it an image:\n"
        f"  sightline serve {manifest.parent}\n"
        f"  curl -F image=@{image or 'photo.jpg'} http://127.0.0.1:8000/predict"
    ]


def _an_image(stages: Sequence[Stage]) -> Path | None:
    """The first image of the data."""
    outs = [out for stage in stages if stage.name == "ingest" for out in stage.outs]
    return min((file for out in outs for file in out.rglob("*") if file.suffix.lower() in IMAGES), default=None)


def _json(stages: Sequence[Stage], stage: str, file: str) -> dict[str, Any] | None:
    path = graph.find(stages, stage, file)
    return None if path is None else dict(json.loads(path.read_text(encoding="utf-8")))


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", show_header=any(columns), box=None, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 or not column or column in ("status", "metric") else "right")
    return table


def _number(value: Any) -> str:
    if value is None or value == "":
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _short(value: Any) -> str:
    """One line for a value of a report; nothing for what does not fit one."""
    if isinstance(value, dict):
        pairs = [f"{key} {_number(item)}" for key, item in value.items() if not isinstance(item, dict | list)]
        return ", ".join(pairs) if len(pairs) == len(value) and len(pairs) <= 12 else ""
    if isinstance(value, list):
        return (
            ", ".join(map(str, value)) if len(value) <= 12 and not any(isinstance(item, dict | list) for item in value) else ""
        )
    return _number(value)
