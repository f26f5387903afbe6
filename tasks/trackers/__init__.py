"""Experiment trackers, one file each, found by the name in conf/tracking.

Each has the functions `start`, `record`, `fail`, `link_cached`, `finish` and `register`, as none.py, the shortest, shows.
A stage knows no tracker: it writes files, and what they say is recorded when it ends.
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


@contextmanager
def attempt(stage: str, config: Mapping[str, Any]) -> Iterator[None]:
    """Notes that a stage runs, and records the error that it ends with. An interrupted stage is recorded by what was noted.

    The stage ends with its own error, whatever happens to the tracker.

    Args:
        stage: The stage's name.
        config: The sections of params.yaml that it reads.
    """

    def start() -> None:
        tracking, tracker = _tracker()
        tracker.start(tracking, stage, config)

    def fail(message: str) -> None:
        tracking, tracker = _tracker()
        tracker.fail(tracking, stage, config, message)

    is_noted = _try(start)
    try:
        yield
    except Exception as error:
        message = str(error) if isinstance(error, SightlineError) else "".join(traceback.format_exception_only(error)).strip()
        if is_noted:
            _try(lambda: fail(message))
        raise


def record(stage: str, key: str, config: Mapping[str, Any], metrics: Mapping[str, float], outputs: Mapping[str, Path]) -> None:
    """Records a finished stage with the tracker of params.yaml.

    Args:
        stage: The stage's name.
        key: A hash of what the stage depends on (`tasks.stage.key_of`); tells by what run a cached stage was made.
        config: The sections of params.yaml that it read.
        metrics: What it returned.
        outputs: The files and folders that it wrote, by the name of the argument.
    """
    tracking, tracker = _tracker()
    tracker.record(tracking, stage, key, config, metrics, outputs)


def link_cached(keys: Mapping[str, str]) -> None:
    """Links the pipeline's run to the runs that made what its cached stages hold, by each stage's key."""
    tracking, tracker = _tracker()
    tracker.link_cached(tracking, keys)


def finish() -> None:
    """Waits until all is recorded, or says what waits and why."""
    tracking, tracker = _tracker()
    tracker.finish(tracking)


def register(name: str, folder: Path, manifest_sha256: str, source: str) -> str:
    """Registers a package, once for each manifest; returns what was done, for people.

    Args:
        name: The registered model's name.
        folder: The package.
        manifest_sha256: What tells one package from another.
        source: Where it was published to.
    """
    tracking, tracker = _tracker()
    done: str = tracker.register(tracking, name, folder, manifest_sha256, source)
    return done


def _try(action: Callable[[], None]) -> bool:
    """Whether `action` was done; says why not."""
    try:
        action()
    except Exception as trouble:  # noqa: BLE001  the stage's result, or its own error, comes first
        print(f"tracking: {trouble}", file=sys.stderr, flush=True)
        return False
    return True


def _tracker() -> tuple[Tracking, Any]:
    """The settings and the module of the tracker that params.yaml names."""
    tracking = parse(Tracking, read_params().get("tracking", {}))
    return tracking, variants.load("trackers", tracking.name, "tracking.name")
