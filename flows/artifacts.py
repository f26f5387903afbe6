"""A stage's results as artifacts of its task run: tables, plots and progress."""

import base64
import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from prefect.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

from flows.graph import Stage
from flows.output import Step

MAX_ROWS = 100
MAX_PLOT_BYTES = 500_000
MAX_PLOTS = 8


class ProgressArtifacts:
    """One progress artifact for each name that a stage reports."""

    def __init__(self) -> None:
        self._ids: dict[str, UUID] = {}

    def update(self, step: Step) -> None:
        """Shows `step`."""
        if step.name in self._ids:
            update_progress_artifact(self._ids[step.name], step.percent, step.description)
        else:
            key = f"{_key(step.name)}-progress"
            self._ids[step.name] = cast("UUID", create_progress_artifact(step.percent, key, step.description))


def publish(stage: Stage, with_plots: bool) -> None:
    """Makes artifacts of what `stage` wrote: its metrics, tables and, where asked, plots."""
    files = [
        file for out in stage.outs if out.parts[0] == "reports" for file in (sorted(out.rglob("*")) if out.is_dir() else [out])
    ]
    for file in files:
        rows = _table(file)
        if rows:
            key = f"{_key(stage.name)}-{'table' if file.stem == stage.name else _key(file.stem)}"
            create_table_artifact(rows[:MAX_ROWS], key, f"`{file.as_posix()}`, {len(rows)} rows")  # type: ignore[arg-type]
    plots = [file for file in files if with_plots and file.suffix == ".png" and file.stat().st_size <= MAX_PLOT_BYTES][
        :MAX_PLOTS
    ]
    if plots:
        create_markdown_artifact("\n\n".join(map(_image, plots)), f"{_key(stage.name)}-plots", f"Plots of {stage.name}")


def _table(file: Path) -> Sequence[dict[str, Any]]:
    """The rows of a table that people read; none for other files."""
    if file.suffix == ".csv":
        with file.open(encoding="utf-8", newline="") as stream:
            return list(csv.DictReader(stream))
    if file.name == "metrics.json":
        return [{"metric": key, "value": value} for key, value in json.loads(file.read_text(encoding="utf-8")).items()]
    if file.name == "selection.json":
        selection = json.loads(file.read_text(encoding="utf-8"))
        return [
            {
                "candidate": row["candidate"],
                "winner": row["candidate"] == selection["winner"],
                "satisfies_constraints": row["satisfies_constraints"],
                "reasons": "; ".join(row["reasons"]),
            }
            for row in selection["candidates"]
        ]
    return []


def _image(file: Path) -> str:
    """The plot within the markdown, so that the server needs no access to the file."""
    data = base64.b64encode(file.read_bytes()).decode()
    return f"### {file.name}\n\n![{file.stem}](data:image/png;base64,{data})"


def _key(name: str) -> str:
    """`name` as Prefect wants keys: lowercase letters, digits and dashes."""
    return "".join(character if character.isalnum() else "-" for character in name.lower())
