"""Weights & Biases: a run for each stage and each trial, in a group for each pipeline run; local files lie in wandb/.

Without an API key it writes offline, and `wandb sync wandb/offline-run-*` sends the runs later. WANDB_MODE decides otherwise.
"""

import hashlib
import netrc
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from tasks.schema import Tracking
from tasks.trackers._record import CachedRecord, StageRecord, Value

_FOLDER = Path("wandb")


def target(tracking: Tracking) -> dict[str, str]:
    """The project, and how it is reached."""
    return {"project": tracking.experiment, "mode": os.environ.get("WANDB_MODE") or ("online" if _has_key() else "offline")}


class Writer:
    """See `_record.Writer`. A record has its run's id, so that writing it again goes on with the same run."""

    def __init__(self, target: Mapping[str, str]) -> None:
        self._target = target

    def write(self, record: StageRecord) -> None:
        """Writes the runs of a stage and of its trials."""
        run = self._start(record, record.stage, record.stage, record.params)
        steps = {name for point in record.epochs for name in point.metrics}
        for name, step in [*dict.fromkeys(steps, "epoch").items(), ("system/*", "system/seconds")]:
            run.define_metric(name, step_metric=step)
        for point in record.epochs:
            run.log({"epoch": point.step, **point.metrics})
        for point in record.system:
            run.log({"system/seconds": (point.time_ms - record.start_ms) / 1000, **point.metrics})
        if record.pictures:
            run.log(
                {picture.relative_to(record.folder).with_suffix("").as_posix(): _image(picture) for picture in record.pictures}
            )
        run.summary.update({**record.metrics, "status": record.status, **({"error": record.error} if record.error else {})})
        run.finish(exit_code=int(record.status != "FINISHED"))
        for trial in record.trials:
            run = self._start(record, f"trial {trial.number}", "trial", trial.params)
            run.summary.update(trial.metrics)
            run.finish(exit_code=int(trial.is_failed))

    def link(self, record: CachedRecord) -> None:
        """Has nothing to note: Weights & Biases links no runs."""

    def close(self) -> None:
        """Has nothing open."""

    def _start(self, record: StageRecord, name: str, kind: str, params: Mapping[str, Value]) -> Any:
        """A run that takes what is logged, and nothing else of this machine or process."""
        os.environ.update(WANDB_ERROR_REPORTING="false", WANDB_SILENT="true")  # the former is wandb's telemetry
        import wandb

        run_id = hashlib.sha256(f"{record.pipeline.id}/{record.id}/{name}".encode()).hexdigest()[:16]
        for old in _FOLDER.glob(f"offline-run-*-{run_id}"):
            shutil.rmtree(old)
        settings = wandb.Settings(
            console="off",
            silent=True,
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            x_disable_meta=True,
            x_disable_machine_info=True,
            x_disable_stats=True,  # the stage's are logged, not this process's
        )
        return wandb.init(
            project=self._target["project"],
            dir=".",
            id=run_id,
            name=name,
            group=record.pipeline.group,
            job_type=kind,
            config=dict(params),
            mode=self._target["mode"],  # type: ignore[arg-type]
            resume="allow" if self._target["mode"] == "online" else None,
            reinit="create_new",
            settings=settings,
        )


def _image(path: Path) -> Any:
    import wandb

    return wandb.Image(str(path))


def _has_key() -> bool:
    """Whether somebody logged in: by WANDB_API_KEY, or by `wandb login`, which writes a netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError):
        return False
