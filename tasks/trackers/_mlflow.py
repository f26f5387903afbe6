"""What is said to MLflow's server: what each record holds, and what is registered. The one file that imports MLflow.

`python -m tasks.trackers._mlflow` writes what waits (see `_spool`). The pipeline's run is found by its tag, the git commit and
a digest of params.yaml without the sections that change no result. Its status follows its stages:

- RUNNING with a stage's record, until the process that runs the pipeline is gone; then FINISHED, as with the last stage's.
- FAILED or KILLED while the newest record of one of its stages is of a failure, or of an interruption.
"""

import csv
import json
import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sightline.errors import SightlineError
from tasks.trackers import _spool

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

T = TypeVar("T")
ALIAS = "champion"
PIPELINE, STAGE, KEY, RECORD, ERROR, MANIFEST = (
    f"sightline.{name}" for name in ("pipeline", "stage", "key", "record", "error", "manifest_sha256")
)
_ENDED_BADLY = ("FAILED", "KILLED")  # of MLflow's RunStatus
_PARAMS_A_CALL, _METRICS_A_CALL = 100, 1000  # MLflow's limits of log_batch
_TAG_CHARACTERS = 5000  # what every version of its server takes


def main(lock: int, watched: int) -> None:
    """Writes what waits until the process `watched` is gone; `lock` is the inherited file of the writer's lock."""
    open_runs: dict[str, MlflowClient] = {}
    _spool.end_with(watched)
    try:
        _prepare_environment()
        with open(lock, "w") as held:
            _spool.serve(lambda item: _write(item, open_runs), lambda: _close(open_runs), held, watched)
    except Exception as error:
        _spool.ERROR_FILE.write_text(_one_line(error), encoding="utf-8")
        raise


def register(
    target: Mapping[str, str], pipeline: Mapping[str, Any], name: str, folder: Path, manifest_sha256: str, source: str
) -> str:
    """Registers the package in `folder`; see `tasks.trackers.mlflow.register`."""
    _prepare_environment()
    from mlflow.exceptions import MlflowException

    try:
        client = _client(target)
        known = {version.tags.get(MANIFEST): version for version in client.search_model_versions(f"name='{name}'")}
        version = known.get(manifest_sha256)
        if version is not None:
            client.set_registered_model_alias(name, ALIAS, version.version)
            return f"registered already: {name} version {version.version}, alias {ALIAS}"
        run = _pipeline_run(client, _experiment(client, target), pipeline)
        client.log_artifacts(run.info.run_id, str(folder), "package")
        if not known and not client.search_registered_models(f"name='{name}'"):
            client.create_registered_model(name)
        uri = f"{run.info.artifact_uri}/package"
        tags = {MANIFEST: manifest_sha256, "sightline.source": source}
        version = client.create_model_version(name, uri, run.info.run_id, tags)
        client.set_registered_model_alias(name, ALIAS, version.version)
    except MlflowException as error:
        raise SightlineError(f"tracking: {target['uri']}: {_one_line(error)}: start the server, or set tracking.uri") from error
    return f"registered: {name} version {version.version}, alias {ALIAS}"


def _prepare_environment() -> None:
    """Settings that MLflow reads when it is imported."""
    os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")


def _client(target: Mapping[str, str]) -> "MlflowClient":
    from mlflow import MlflowClient

    if target["uri"].startswith("sqlite:///"):
        Path(target["uri"].removeprefix("sqlite:///")).parent.mkdir(parents=True, exist_ok=True)
    return MlflowClient(target["uri"], target["uri"])


def _experiment(client: "MlflowClient", target: Mapping[str, str]) -> str:
    """The experiment's id; of a local store, the artifacts lie beside it."""
    experiment = client.get_experiment_by_name(target["experiment"])
    if experiment is not None:
        return str(experiment.experiment_id)
    database = target["uri"].removeprefix("sqlite:///")
    location = (Path(database).parent / "artifacts").resolve().as_uri() if database != target["uri"] else None
    return str(client.create_experiment(target["experiment"], location))


def _write(item: Path, open_runs: "dict[str, MlflowClient]") -> None:
    """Writes one record; writing it again, after an interruption, fills the same run."""
    from mlflow.exceptions import MlflowException

    data = _spool.read(item)
    try:
        client = _client(data)
        experiment = _experiment(client, data)
        parent = _pipeline_run(client, experiment, data["pipeline"], data.get("start_ms"))
        open_runs[parent.info.run_id] = client
        if data["kind"] == "cached":
            _tag_cached(client, experiment, parent, data["keys"])
        else:
            _write_stage(client, experiment, parent, data, item)
        _set_status(client, experiment, parent, data)
    except MlflowException as error:
        if error.error_code in {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}:
            raise _spool.RejectedError(_one_line(error)) from error
        raise


def _set_status(client: "MlflowClient", experiment: str, parent: "Run", data: Mapping[str, Any]) -> None:
    """Sets the status of the pipeline's run after a record; that of cached stages alone says nothing of it."""
    if data["is_last"]:
        client.set_terminated(parent.info.run_id, "FINISHED")
    elif data["kind"] == "stage":
        newest: dict[str, str] = {}
        query = f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'"
        for run in client.search_runs([experiment], query, order_by=["attributes.start_time DESC"]):
            newest.setdefault(run.data.tags[STAGE], run.info.status)
        status = next((status for status in newest.values() if status in _ENDED_BADLY), None)
        if status:
            client.set_terminated(parent.info.run_id, status)
        else:
            client.update_run(parent.info.run_id, "RUNNING")


def _close(open_runs: "dict[str, MlflowClient]") -> None:
    """Ends the pipeline runs that no last stage has ended: it was cached, or not asked for."""
    for run_id, client in open_runs.items():
        if client.get_run(run_id).info.status == "RUNNING":
            client.set_terminated(run_id, "FINISHED")
    open_runs.clear()


def _pipeline_run(client: "MlflowClient", experiment: str, pipeline: Mapping[str, Any], start_ms: int | None = None) -> "Run":
    run = _newest(client, experiment, {PIPELINE: pipeline["id"]})
    if run is not None:
        return run
    tags = {PIPELINE: pipeline["id"], "mlflow.source.git.commit": pipeline["commit"], "params_digest": pipeline["digest"]}
    run = client.create_run(experiment, start_ms, tags, pipeline["name"])
    _log(client, run, params=pipeline["params"])
    return run


def _newest(client: "MlflowClient", experiment: str, tags: Mapping[str, str]) -> "Run | None":
    query = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items())
    runs = client.search_runs([experiment], query, max_results=1, order_by=["attributes.start_time DESC"])
    return runs[0] if runs else None


def _nested(client: "MlflowClient", experiment: str, parent: "Run", name: str, start: int, tags: Mapping[str, str]) -> "Run":
    known = _newest(client, experiment, tags)
    parent_tag = {"mlflow.parentRunId": parent.info.run_id}
    return known or client.create_run(experiment, start, {**tags, **parent_tag}, run_name=name)


def _write_stage(client: "MlflowClient", experiment: str, parent: "Run", data: Mapping[str, Any], item: Path) -> None:
    """Writes a stage's run; one that failed has no key, as no cached stage holds what it made."""
    files, end_ms = item / "files", _spool.left_ms(item)
    tags = {STAGE: data["stage"], RECORD: item.name}
    tags |= {KEY: data["key"]} if data["key"] else {}
    tags |= {ERROR: data["error"][:_TAG_CHARACTERS]} if data["error"] else {}
    run = _nested(client, experiment, parent, data["stage"], data["start_ms"], tags)
    _log(client, run, params=data["config"], metrics=data["metrics"], end_ms=end_ms)
    _log_epochs(client, run, files / "results.csv", end_ms)
    if data["dataset"]:
        datasets = [_dataset(data["dataset"])]
        client.log_inputs(run.info.run_id, datasets)
        client.log_inputs(parent.info.run_id, datasets)
    for row in _rows(files / "trials.csv"):
        _write_trial(client, experiment, run, row, data, end_ms)
    if any(files.iterdir()):
        client.log_artifacts(run.info.run_id, str(files))
    client.set_terminated(run.info.run_id, data["status"], end_ms)
    _log(client, parent, metrics={f"{data['stage']}/{key}": value for key, value in data["metrics"].items()}, end_ms=end_ms)


def _write_trial(
    client: "MlflowClient", experiment: str, stage: "Run", row: Mapping[str, str], data: Mapping[str, Any], end_ms: int
) -> None:
    """A trial's searched values are its params, its other numbers its metrics; one that diverged has no metrics."""
    number = row.get("trial", "")
    tags = {RECORD: f"{stage.data.tags.get(RECORD, stage.info.run_id)}/{number}"}
    run = _nested(client, experiment, stage, f"trial {number}", data["start_ms"], tags)
    cells = {key: text for key, text in row.items() if text and key != "status"}
    space = data["config"].get("space", {})
    metrics = {
        key: value for key, text in cells.items() if key not in {*space, "trial"} and (value := _number(text)) is not None
    }
    params = {key: text for key, text in cells.items() if key not in metrics}
    _log(client, run, params=params, metrics=metrics, end_ms=end_ms)
    client.set_terminated(run.info.run_id, "FAILED" if row.get("status") == "diverged" else "FINISHED", end_ms)


def _log_epochs(client: "MlflowClient", run: "Run", path: Path, timestamp: int) -> None:
    from mlflow.entities import Metric

    metrics = [
        Metric(_name(key), value, timestamp, int(float(row["epoch"])))
        for row in _rows(path)
        for key, text in row.items()
        if key != "epoch" and (value := _number(text)) is not None
    ]
    for chunk in _chunks(metrics, _METRICS_A_CALL):
        client.log_batch(run.info.run_id, metrics=chunk)


def _log(
    client: "MlflowClient",
    run: "Run",
    params: Mapping[str, Any] | None = None,
    metrics: Mapping[str, float] | None = None,
    end_ms: int = 0,
) -> None:
    from mlflow.entities import Metric, Param

    flat = [Param(_name(key), str(value)[:6000]) for key, value in _flatten(params or {})]
    for chunk in _chunks(flat, _PARAMS_A_CALL):
        client.log_batch(run.info.run_id, params=chunk)
    if metrics:
        client.log_batch(run.info.run_id, [Metric(_name(key), float(value), end_ms, 0) for key, value in metrics.items()])


def _dataset(dataset: Mapping[str, str]) -> "DatasetInput":
    from mlflow.entities import Dataset, DatasetInput, InputTag

    entity = Dataset(dataset["name"], dataset["digest"][:36], "local", json.dumps({"uri": dataset["path"]}))
    return DatasetInput(entity, [InputTag("content_hash", dataset["digest"])])


def _tag_cached(client: "MlflowClient", experiment: str, parent: "Run", keys: Mapping[str, str]) -> None:
    for stage, key in keys.items():
        run = _newest(client, experiment, {STAGE: stage, KEY: key})
        if run is not None and run.data.tags.get("mlflow.parentRunId") != parent.info.run_id:
            client.set_tag(parent.info.run_id, f"cached.{stage}", run.info.run_id)


def _flatten(data: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """Nested mappings as `train.lr0`."""
    flat = []
    for key, value in data.items():
        flat.extend(_flatten(value, f"{prefix}{key}.") if isinstance(value, Mapping) else [(f"{prefix}{key}", value)])
    return flat


def _rows(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file; none where there is no file."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [{key.strip(): value.strip() for key, value in row.items()} for row in csv.DictReader(file)]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _name(key: str) -> str:
    """`key` with the characters alone that MLflow allows in names."""
    return re.sub(r"[^\w\-. /:]", "_", key)


def _chunks(items: list[T], size: int) -> Iterable[list[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
