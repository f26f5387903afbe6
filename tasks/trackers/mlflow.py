"""MLflow: a run for each pipeline run, with a nested run for each stage and each trial of evolve.

A stage leaves a record (see `_spool`); `_mlflow` writes what waits, in the background. A server that does not answer costs no
stage its result: the records wait, and the stages say so.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.schema import Tracking
from tasks.trackers import _spool
from tasks.trackers._pipeline import LAST, pipeline_of, stage_record

MODULE = "tasks.trackers._mlflow"


def start(tracking: Tracking, stage: str, config: Mapping[str, Any]) -> None:
    """Leaves the record that holds if the stage is interrupted, and starts the writer."""
    _spool.begin(stage, {**_target(tracking), **stage_record(stage, config, "KILLED")}, MODULE)


def record(
    tracking: Tracking,
    stage: str,
    key: str,
    config: Mapping[str, Any],
    metrics: Mapping[str, float],
    outputs: Mapping[str, Path],
) -> None:
    """Leaves a record for the writer; the last stage waits for it."""
    data = stage_record(stage, config, "FINISHED", outputs.values())
    _spool.end(stage, {**_target(tracking), **data, "key": key, "metrics": dict(metrics)}, outputs.get("report"))
    if _spool.ERROR_FILE.exists() and not data["is_last"]:
        print(f"tracking: {_waiting()}", file=sys.stderr, flush=True)
    _spool.start_writer(MODULE)
    if data["is_last"]:
        finish(tracking)


def fail(tracking: Tracking, stage: str, config: Mapping[str, Any], message: str) -> None:
    """Leaves a record of the failure for the writer, and waits for nothing."""
    _spool.end(stage, {**_target(tracking), **stage_record(stage, config, "FAILED"), "error": message})
    _spool.start_writer(MODULE)


def link_cached(tracking: Tracking, keys: Mapping[str, str]) -> None:
    """Leaves a record that links the pipeline's run to those that made what its cached stages hold."""
    data = {"kind": "cached", "pipeline": pipeline_of(), "is_last": LAST in keys, "keys": dict(keys)}
    _spool.add("cached", {**_target(tracking), **data})
    _spool.start_writer(MODULE)


def finish(tracking: Tracking) -> None:
    """Waits until all is recorded, or says what waits and why."""
    if not _spool.drain(MODULE):
        print(f"tracking: {_waiting()}", file=sys.stderr, flush=True)


def register(tracking: Tracking, name: str, folder: Path, manifest_sha256: str, source: str) -> str:
    """Registers a package under the alias `champion`, once for each manifest.

    Args:
        tracking: Where.
        name: The registered model's name.
        folder: The package; its files become artifacts of the pipeline's run.
        manifest_sha256: What tells one package from another.
        source: Where the package was published to; a tag.

    Returns:
        What was done, for people.

    Raises:
        SightlineError: The server does not answer.
    """
    from tasks.trackers import _mlflow

    finish(tracking)
    return _mlflow.register(_target(tracking), pipeline_of(), name, folder, manifest_sha256, source)


def _target(tracking: Tracking) -> dict[str, str]:
    """The store's address, and the experiment in it."""
    local = f"sqlite:///{Path('mlflow/mlflow.db').resolve()}"
    return {"uri": tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or local, "experiment": tracking.experiment}


def _waiting() -> str:
    reason = _spool.ERROR_FILE.read_text(encoding="utf-8").strip() if _spool.ERROR_FILE.exists() else "not done yet"
    count = len(_spool.pending())
    records = "1 record waits" if count == 1 else f"{count} records wait"
    return f"{reason}: {records} in {_spool.FOLDER}: the next stage, or `sightline summary`, tries again"
