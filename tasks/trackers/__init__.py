"""Experiment trackers, one file each, each on or off in conf/tracking; with all off nothing is recorded.

A stage knows no tracker and waits for none: it leaves a record (`_spool`), and one process in the background (`_writer`) gives
the record to each tracker that is on. What a record says is read in one place (`_record`), so that all trackers hold the same.

A tracker is a file `<name>.py`, a switch `<name>` in `tasks.schema.Tracking`, and has:

- `target(tracking)`: where it records, as text that the record carries; called by the stage, so it imports nothing heavy.
- `Writer(target)`, with the methods of `_record.Writer`; the writer's process alone makes one.
"""

import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sightline.errors import SightlineError
from tasks import variants
from tasks.schema import Tracking, parse, read_params
from tasks.trackers import _spool
from tasks.trackers._pipeline import LAST, pipeline_of, stage_record


@contextmanager
def attempt(stage: str, config: Mapping[str, Any]) -> Iterator[None]:
    """Notes that a stage runs, and records the error that it ends with. An interrupted stage is recorded by what was noted.

    The stage ends with its own error, whatever happens to the trackers.

    Args:
        stage: The stage's name.
        config: The sections of params.yaml that it reads.
    """

    def start() -> None:
        if targets := _targets():
            _spool.begin(stage, {"trackers": targets, **stage_record(stage, config, "KILLED")})

    def fail(message: str) -> None:
        if targets := _targets():
            _spool.end(stage, {"trackers": targets, **stage_record(stage, config, "FAILED"), "error": message})
            _spool.start_writer()

    is_noted = _try(start)
    try:
        yield
    except Exception as error:
        message = str(error) if isinstance(error, SightlineError) else "".join(traceback.format_exception_only(error)).strip()
        if is_noted:
            _try(lambda: fail(message))
        raise


def record(stage: str, key: str, config: Mapping[str, Any], metrics: Mapping[str, float], outputs: Mapping[str, Path]) -> None:
    """Leaves the record of a finished stage for the trackers that are on; the last stage waits until it is written.

    Args:
        stage: The stage's name.
        key: A hash of what the stage depends on (`tasks.stage.key_of`); tells by what run a cached stage was made.
        config: The sections of params.yaml that it read.
        metrics: What it returned.
        outputs: The files and folders that it wrote, by the name of the argument.
    """
    targets = _targets()
    if not targets:
        return
    data = stage_record(stage, config, "FINISHED", outputs.values())
    _spool.end(stage, {"trackers": targets, **data, "key": key, "metrics": dict(metrics)}, outputs.get("report"))
    if _spool.errors() and not data["is_last"]:
        print(f"tracking: {_waiting()}", file=sys.stderr, flush=True)
    _spool.start_writer()
    if data["is_last"]:
        finish()


def link_cached(keys: Mapping[str, str]) -> None:
    """Leaves a record that links the pipeline's run to the runs that made what its cached stages hold, by each stage's key."""
    if targets := _targets():
        data = {"kind": "cached", "pipeline": pipeline_of(), "is_last": LAST in keys, "keys": dict(keys)}
        _spool.add("cached", {"trackers": targets, **data})
        _spool.start_writer()


def finish() -> None:
    """Waits until all is recorded, or says what waits and why."""
    if not _spool.drain():
        print(f"tracking: {_waiting()}", file=sys.stderr, flush=True)


def read_settings() -> Tracking:
    """The section `tracking` of params.yaml."""
    return parse(Tracking, read_params().get("tracking", {}))


def _targets() -> dict[str, dict[str, str]]:
    """Where each tracker that is on records."""
    tracking = read_settings()
    return {name: variants.load("trackers", name, "tracking").target(tracking) for name in tracking.names_on()}


def _waiting() -> str:
    reason = "; ".join(f"{name}: {error}" for name, error in _spool.errors().items()) or "not done yet"
    count = len(_spool.pending())
    records = "1 record waits" if count == 1 else f"{count} records wait"
    return f"{reason}: {records} in {_spool.FOLDER}: the next stage, or `sightline summary`, tries again"


def _try(action: Callable[[], None]) -> bool:
    """Whether `action` was done; says why not."""
    try:
        action()
    except Exception as trouble:  # noqa: BLE001  the stage's result, or its own error, comes first
        print(f"tracking: {trouble}", file=sys.stderr, flush=True)
        return False
    return True
