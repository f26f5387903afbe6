"""What a person reads at the end of a run, from the reports that the stages wrote."""

import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows import graph
from flows.graph import Stage
from sightline.contract import MANIFEST_FILE
from sightline.errors import SightlineError
from tasks.file_kinds import SUFFIX_OF

ACCURACY: Final = ("mAP50", "mAP50-95", "mIoU", "accuracy_top1", "f1")
COLUMNS: Final = {
    "drop": "drop",
    "p50_ms": "p50 ms",
    "p99_ms": "p99 ms",
    "throughput": "images/s",
    "rss_mb": "RSS MB",
    "size_mb": "size MB",
}
IMAGES: Final = SUFFIX_OF["JPEG"] | {".png", ".webp"}
Report = dict[str, Any]


def show(stream: TextIO | None = None) -> None:
    """Prints the summary: with colours on a terminal, plain text in a log.

    Raises:
        SightlineError: No stage has written a report yet.
    """
    stages = graph.read()
    stream = stream or sys.stdout
    width = None if stream.isatty() else 120
    console = Console(file=stream, width=width, highlight=False, soft_wrap=not stream.isatty())
    packaged = _json(stages, "package", MANIFEST_FILE)
    manifest = packaged if graph.is_current(stages, "package") else None
    facts = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    facts.add_column(style="bold", no_wrap=True)
    facts.add_column()
    for name, text in _facts(stages, manifest):
        facts.add_row(name, Text(text))
    if packaged is not None and manifest is None:
        facts.add_row("Package", "of an earlier run: `dvc repro` first")
    benchmark = _json(stages, "benchmark", "benchmark.json")
    selection = _json(stages, "select", "selection.json")
    if not facts.row_count and benchmark is None:
        raise SightlineError("no reports: nothing has run here yet: run `dvc repro` or `sightline run`")
    console.print()
    console.print(facts)
    if benchmark is not None:
        console.print()
        champion = _json(stages, "evolve", "metrics.json") or {}
        console.print(_benchmark(benchmark, selection["winner"] if selection else None, _judges(champion)))
    if selection is not None:
        console.print()
        console.print(_verdict(selection), markup=False)
    if manifest is not None:
        console.print()
        console.print(_commands(stages), markup=False)


def _facts(stages: Sequence[Stage], manifest: Report | None) -> list[tuple[str, str]]:
    """Data, findings and accuracy, a line each."""
    lines = []
    if data := _json(stages, "fingerprint", "dataset_metadata.json"):
        origin = data.get("provenance", {})
        named = ", ".join(str(origin[key]) for key in ("name", "source", "format") if origin.get(key))
        splits = ", ".join(f"{split} {count}" for split, count in data["splits"].items())
        classes = ", ".join(data["classes"])
        lines.append(("Data", f"{named}: {data['images']} images ({splits}), {data['objects']} objects"))
        lines.append(("Classes", classes))
    if findings := _json(stages, "validate", "metrics.json"):
        lines.append(("Findings", f"{findings['errors']:.0f} errors, {findings['warnings']:.0f} warnings"))
    for name, stage in (("Baseline", "train"), ("Champion", "evolve")):
        if metrics := _json(stages, stage, "metrics.json"):
            lines.append((name, f"{_accuracy(metrics)} on {_judges(metrics)}"))
    if manifest is not None:
        model = manifest["model"]
        lines.append(
            ("Service", f"{_accuracy(manifest['test'])} on test, {model['name']}, {manifest['candidate']}, {model['licence']}")
        )
    return lines


def _judges(metrics: Mapping[str, float]) -> str:
    """What the champion was judged on, in words; see `evolve`."""
    kept = metrics.get("gate_images")
    return f"the {kept:.0f} images of val that its final fit did not see" if kept else "val"


def _accuracy(metrics: Mapping[str, float]) -> str:
    return ", ".join(f"{key} {metrics[key]:.3f}" for key in ACCURACY if key in metrics)


def _benchmark(benchmark: Report, winner: str | None, judges: str) -> Table:
    rows = benchmark["rows"]
    accuracy = [key for key in ACCURACY if any(row.get(key) is not None for row in rows)]
    title = f"Benchmark on {benchmark['machine']['name']}, one request at a time, accuracy on {judges}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("candidate", no_wrap=True)
    for column in [*accuracy, *COLUMNS.values()]:
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    for row in rows:
        figures = [_number(row.get(key), 3) for key in accuracy] + [
            _number(row.get(key), 4 if key == "drop" else 1) for key in COLUMNS
        ]
        note = "winner" if row["candidate"] == winner else "reference" if not row["shipped"] else ""
        status = note if row["status"] == "ok" else f"{row['status']}: {row.get('message', '')}"
        table.add_row(row["candidate"], *figures, status, style="bold green" if row["candidate"] == winner else None)
    return table


def _verdict(selection: Report) -> str:
    limits = [
        f"{key} at {word} {value:g}"
        for bound, word in (("max", "most"), ("min", "least"))
        for key, value in selection["constraints"].get(bound, {}).items()
    ]
    winner = selection["winner"]
    lines = [f"Constraints: {', '.join(limits) or 'none'}; best {selection['objective']}"]
    if winner:
        lines.append(f"Winner: {winner}")
    else:
        lines.append(f"Winner: none: no candidate meets the constraints; nearest: {selection['nearest'][0]}")
    for row in selection["candidates"]:
        if row["candidate"] != winner:
            lines.append(f"  {row['candidate']} lost: {'; '.join(row['reasons']) or 'satisfies them'}")
    return "\n".join(lines)


def _commands(stages: Sequence[Stage]) -> str:
    manifest = graph.find(stages, "package", MANIFEST_FILE)
    folder = manifest.parent if manifest else Path("dist")
    outs = [out for stage in stages if stage.name == "ingest" for out in stage.outs]
    image = min((file for out in outs for file in out.rglob("*") if file.suffix.lower() in IMAGES), default=Path("photo.jpg"))
    return (
        "Start the service, and send it an image:\n"
        f"  .venv/bin/sightline serve {folder}\n"
        f"  curl -F image=@{image} http://127.0.0.1:8000/predict"
    )


def _json(stages: Sequence[Stage], stage: str, file: str) -> Report | None:
    path = graph.find(stages, stage, file)
    return None if path is None else dict(json.loads(path.read_text(encoding="utf-8")))


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
