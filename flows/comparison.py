"""Pipeline runs side by side, from MLflow: the params that differ, and what each run measured.

Runs are columns, as on MLflow's own compare page, which shows the same under the same names.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, TextIO

from rich.console import Console
from rich.table import Table

from sightline.errors import SightlineError
from tasks import trackers
from tasks.trackers import _mlflow

if TYPE_CHECKING:
    from mlflow.entities import Run

STAGES: Final = ("train", "evolve", "benchmark", "package")
"""Those whose metrics are compared, in this order: on val, on val, on val with latency and size, on test."""
LOWER: Final = ("_ms", "_mb", "/drop", "/loss")
"""Endings of metrics of which less is better."""
NOT_RANKED: Final = ("/conf", "/best_trial", "/gate_images")


@dataclass(frozen=True)
class PipelineRun:
    """What MLflow holds of a pipeline run; its cached stages have the metrics of the runs that made them."""

    run_id: str
    name: str
    started: datetime
    status: str
    params: dict[str, str]
    metrics: dict[str, float]


def read(chosen: Sequence[str], last: int) -> list[PipelineRun]:
    """Pipeline runs, the newest first.

    Args:
        chosen: Names or ids, or what they begin with; the last runs where there is none.
        last: How many of these.

    Raises:
        SightlineError: No such run, or no tracking, or the server does not answer.
    """
    tracking = trackers.read_settings()
    if not tracking.mlflow:
        raise SightlineError("tracking.mlflow: got false, expected true: runs are compared from MLflow: set tracking=mlflow")
    trackers.finish()
    with _mlflow.connect(_mlflow.target(tracking.uri, tracking.experiment)) as store:
        runs = store.runs({_mlflow.PIPELINE: None}, None if chosen else last)
        for name in chosen:
            if not any(_is_named(run, name) for run in runs):
                there = ", ".join(run.info.run_name for run in runs[:10]) or "none"
                raise SightlineError(f"{name}: no run of this name or id, expected one of: {there}")
        return [_read(run) for run in runs if not chosen or any(_is_named(run, name) for name in chosen)]


def differing(runs: Sequence[PipelineRun]) -> list[str]:
    """The params that are not the same in all runs, in alphabetical order."""
    names = sorted({name for run in runs for name in run.params})
    return [name for name in names if len({run.params.get(name) for run in runs}) > 1]


def measured(runs: Sequence[PipelineRun]) -> list[str]:
    """The metrics that some run has, in the order of the stages."""
    names = {name for run in runs for name in run.metrics if name.partition("/")[0] in STAGES}
    return sorted(names, key=lambda name: (STAGES.index(name.partition("/")[0]), name))


def best(name: str, values: Sequence[float | None]) -> float | None:
    """The best of a metric's values; none where all are the same, or the metric is no better for being higher or lower."""
    there = [value for value in values if value is not None]
    if len(set(there)) < 2 or name.endswith(NOT_RANKED):
        return None
    return min(there) if name.endswith(LOWER) else max(there)


def show(runs: Sequence[PipelineRun], stream: TextIO) -> None:
    """Prints the comparison; the best of each metric is bold on a terminal, and starred."""
    if not runs:
        raise SightlineError("no pipeline run is recorded yet: run `dvc repro` or `sightline run`")
    table = Table(box=None, pad_edge=False)
    table.add_column("", no_wrap=True)
    for run in runs:
        table.add_column(run.name, justify="right", overflow="fold")
    table.add_row("run", *(run.run_id[:8] for run in runs))
    table.add_row("started", *(f"{run.started:%Y-%m-%d %H:%M}" for run in runs))
    table.add_row("status", *(run.status for run in runs))
    table.add_section()
    for name in differing(runs):
        table.add_row(name, *(run.params.get(name, "-") for run in runs))
    table.add_section()
    for name in measured(runs):
        values = [run.metrics.get(name) for run in runs]
        top = best(name, values)
        table.add_row(name, *(_figure(value, is_best=value is not None and value == top) for value in values))
    console = Console(file=stream, highlight=False, width=None if stream.isatty() else 40 + 30 * len(runs))
    console.print(table)


def as_rows(runs: Sequence[PipelineRun]) -> list[Mapping[str, object]]:
    """The same for programs: of each run its id, name, start, status, the params that differ, and the metrics."""
    params, metrics = differing(runs), measured(runs)
    return [
        {
            "run_id": run.run_id,
            "name": run.name,
            "started": run.started.isoformat(timespec="seconds"),
            "status": run.status,
            "params": {name: run.params.get(name) for name in params},
            "metrics": {name: run.metrics[name] for name in metrics if name in run.metrics},
        }
        for run in runs
    ]


def _is_named(run: "Run", name: str) -> bool:
    return str(run.info.run_id).startswith(name) or str(run.info.run_name).startswith(name)


def _read(run: "Run") -> PipelineRun:
    started, data = datetime.fromtimestamp(run.info.start_time / 1000).astimezone(), run.data
    return PipelineRun(run.info.run_id, run.info.run_name, started, run.info.status, dict(data.params), dict(data.metrics))


def _figure(value: float | None, is_best: bool) -> str:
    text = "-" if value is None else f"{value:.4g}"
    return f"[bold green]{text}*[/]" if is_best else text
