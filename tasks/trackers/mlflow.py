"""MLflow: a run for each pipeline run, with a nested run for each stage and each trial of evolve.

The pipeline's run is found by its tag, the git commit and a digest of params.yaml without the sections that change no result.
Its status follows its stages:

- RUNNING with a stage's record, until the process that runs the pipeline is gone; then FINISHED, as with the last stage's.
- FAILED or KILLED while the newest record of one of its stages is of a failure, or of an interruption.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from tasks.schema import Tracking
from tasks.trackers import _mlflow
from tasks.trackers._mlflow import ERROR, KEY, PARENT, PIPELINE, RECORD, STAGE
from tasks.trackers._record import CachedRecord, Pipeline, Point, StageRecord, Trial

if TYPE_CHECKING:
    from mlflow.entities import Run

_ENDED_BADLY = ("FAILED", "KILLED")  # of MLflow's RunStatus


def target(tracking: Tracking) -> dict[str, str]:
    """The store's address, and the experiment in it."""
    return _mlflow.target(tracking.uri, tracking.experiment)


class Writer:
    """See `_record.Writer`. Writing a record again, after an interruption, fills the same run."""

    def __init__(self, target: Mapping[str, str]) -> None:
        self._target = target
        self._open: set[str] = set()

    @cached_property
    def _store(self) -> _mlflow.Store:
        return _mlflow.Store(**self._target)

    def write(self, record: StageRecord) -> None:
        """Writes a stage's run and its trials'; one that failed has no key, as no cached stage holds what it made."""
        with _mlflow.rejections():
            parent = pipeline_run(self._store, record.pipeline, record.start_ms)
            self._open.add(parent.info.run_id)
            self._write_stage(record, parent.info.run_id)
            self._set_status(record, parent.info.run_id)

    def link(self, record: CachedRecord) -> None:
        """Tags the pipeline's run with the runs that made what it took from the cache, and logs what they measured there."""
        with _mlflow.rejections():
            parent = pipeline_run(self._store, record.pipeline).info.run_id
            self._open.add(parent)
            for stage, key in record.keys.items():
                run = self._store.newest({STAGE: stage, KEY: key})
                if run is not None and run.data.tags.get(PARENT) != parent:
                    self._store.client.set_tag(parent, f"cached.{stage}", run.info.run_id)
                    measured = {f"{stage}/{name}": value for name, value in self._store.final_metrics(run).items()}
                    self._store.log_metrics(parent, [Point(0, run.info.end_time or run.info.start_time, measured)])
            if record.is_last:
                self._store.client.set_terminated(parent, "FINISHED")

    def close(self) -> None:
        """Ends the pipeline runs that no last stage has ended: it was cached, or not asked for."""
        for run_id in self._open:
            if self._store.client.get_run(run_id).info.status == "RUNNING":
                self._store.client.set_terminated(run_id, "FINISHED")
        self._open.clear()

    def _write_stage(self, record: StageRecord, parent: str) -> None:
        store, tags = self._store, {STAGE: record.stage, RECORD: record.id}
        tags |= {KEY: record.key} if record.key else {}
        tags |= {ERROR: record.error} if record.error else {}
        run = self._nested(parent, record.stage, record.start_ms, tags)
        store.log_params(run, record.params)
        store.log_metrics(run, [Point(0, record.end_ms, record.metrics), *record.epochs, *record.system])
        if record.dataset:
            store.log_dataset([run, parent], record.dataset)
        for trial in record.trials:
            self._write_trial(run, trial, record)
        if any(record.folder.iterdir()):
            store.client.log_artifacts(run, str(record.folder))
        store.client.set_terminated(run, record.status, record.end_ms)
        store.log_metrics(
            parent, [Point(0, record.end_ms, {f"{record.stage}/{key}": value for key, value in record.metrics.items()})]
        )

    def _write_trial(self, stage: str, trial: Trial, record: StageRecord) -> None:
        tags = {RECORD: f"{record.id}/{trial.number}"}
        run = self._nested(stage, f"trial {trial.number}", record.start_ms, tags)
        self._store.log_params(run, trial.params)
        self._store.log_metrics(run, [Point(0, record.end_ms, trial.metrics)])
        self._store.client.set_terminated(run, "FAILED" if trial.is_failed else "FINISHED", record.end_ms)

    def _nested(self, parent: str, name: str, start_ms: int, tags: Mapping[str, str]) -> str:
        """The id of the run of a record, started where it is not there."""
        run = self._store.newest({RECORD: tags[RECORD]}) or self._store.create(name, start_ms, {**tags, PARENT: parent})
        return str(run.info.run_id)

    def _set_status(self, record: StageRecord, parent: str) -> None:
        client = self._store.client
        if record.is_last:
            client.set_terminated(parent, "FINISHED")
            return
        newest: dict[str, str] = {}
        for run in self._store.runs({PARENT: parent}):
            newest.setdefault(run.data.tags[STAGE], run.info.status)
        status = next((status for status in newest.values() if status in _ENDED_BADLY), None)
        if status:
            client.set_terminated(parent, status)
        else:
            client.update_run(parent, "RUNNING")


def pipeline_run(store: _mlflow.Store, pipeline: Pipeline, start_ms: int | None = None) -> "Run":
    """The run of a pipeline, started where it is not there."""
    run = store.newest({PIPELINE: pipeline.id})
    if run is not None:
        return run
    tags = {PIPELINE: pipeline.id, "mlflow.source.git.commit": pipeline.commit, "params_digest": pipeline.digest}
    run = store.create(pipeline.name, start_ms, tags)
    store.log_params(run.info.run_id, pipeline.params)
    return run
