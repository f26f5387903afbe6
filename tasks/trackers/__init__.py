"""Experiment trackers, one file each, found by the name in conf/tracking.

A stage knows no tracker: it writes files, and what they say is recorded when it ends.
"""

import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sightline.errors import SightlineError
from tasks.schema import Tracking, parse, read_params


def record(stage: str, config: Mapping[str, Any], metrics: Mapping[str, float], outputs: Mapping[str, Path]) -> None:
    """Records a finished stage with the tracker of params.yaml.

    Args:
        stage: The stage's name.
        config: The sections of params.yaml that it read.
        metrics: What it returned.
        outputs: The files and folders that it wrote, by the name of the argument.
    """
    tracking = parse(Tracking, read_params().get("tracking", {}))
    try:
        tracker = importlib.import_module(f"tasks.trackers.{tracking.name}")
    except ModuleNotFoundError as error:
        if error.name != f"tasks.trackers.{tracking.name}":
            raise
        names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
        raise SightlineError(f"tracking.name: got {tracking.name!r}, expected one of {', '.join(names)}") from None
    tracker.record(tracking, stage, config, metrics, outputs)
