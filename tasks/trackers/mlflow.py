"""MLflow: a run for each pipeline run, with a nested run for each stage and each trial of evolve.

A stage leaves a record (see `_spool`); `python -m tasks.trackers.mlflow` writes what waits, in the background. The pipeline's
run is found by its tag, the git commit and a digest of params.yaml without the sections that change no result.
A server that does not answer costs no stage its result: the records wait, and the stages say so.
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
from tasks.schema import Tracking
from tasks.trackers import _spool
from tasks.trackers._pipeline import pipeline_of, stage_record

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import DatasetInput, Run

T = TypeVar("T")
MODULE = "tasks.trackers.mlflow"
ALIAS = "champion"
LAST = "package"  # the pipeline has run when this stage has
PIPELINE, STAGE, KEY, RECORD, MANIFEST = (
    f"sightline.{name}" for name in ("pipeline", "stage", "key", "record", "manifest_sha256")
)
_PARAMS_A_CALL, _METRICS_A_CALL = 100, 1000  # MLflow's limits of log_batch


def record(
    tracking: Tracking,
    stage: str,
    key: str,
    config: Mapping[str, Any],
    metrics: Mapping[str, float],
    outputs: Mapping[str, Path],
) -> None:
    """Leaves a record for the writer; the last stage of the graph waits for it."""
    data, is_last = stage_record(stage, key, config, metrics, outputs)
    _spool.add(stage, {**_target(tracking), **data}, outputs.get("report"))
    if _spool.ERROR_FILE.exists() and not is_last:
        print(f"tracking: {_waiting()}", file=sys.stderr, flush=True)
    _spool.start_writer(MODULE)
    if is_last:
        finish(tracking)


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
    """Registers a package under `champion`, once for each manifest.

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
    finish(tracking)
    target = _target(tracking)
    _prepare_environment()
    from mlflow.exceptions import MlflowException

    try:
        client = _client(target)
        known = {version.tags.get(MANIFEST): version for version in client.search_model_versions(f"name='{name}'")}
        version = known.get(manifest_sha256)
        if version is not None:
            client.set_registered_model_alias(name, ALIAS, version.version)
            return f"registered already: {name} version {version.version}, alias {ALIAS}"
        run = _pipeline_run(client, _experiment(client, target), pipeline_of())
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


def _target(tracking: Tracking) -> dict[str, str]:
    """The store's address, and the experiment in it."""
    local = f"sqlite:///{Path('mlflow/mlflow.db').resolve()}"
    return {"uri": tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or local, "experiment": tracking.experiment}


def _waiting() -> str:
    reason = _spool.ERROR_FILE.read_text(encoding="utf-8").strip() if _spool.ERROR_FILE.exists() else "not done yet"
    count = len(_spool.pending())
    records = "1 record waits" if count == 1 else f"{count} records wait"
    return f"{reason}: {records} in {_spool.FOLDER}: the next stage, or `sightline summary`, tries again"


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
        if data.get("is_last"):
            client.set_terminated(parent.info.run_id)
    except MlflowException as error:
        if error.error_code in {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}:
            raise _spool.RejectedError(_one_line(error)) from error
        raise


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
    files = item / "files"
    tags = {STAGE: data["stage"], KEY: data["key"], RECORD: item.name}
    run = _nested(client, experiment, parent, data["stage"], data["start_ms"], tags)
    _log(client, run, params=data["config"], metrics=data["metrics"], end_ms=data["end_ms"])
    _log_epochs(client, run, files / "results.csv", data["end_ms"])
    if data["dataset"]:
        datasets = [_dataset(data["dataset"])]
        client.log_inputs(run.info.run_id, datasets)
        client.log_inputs(parent.info.run_id, datasets)
    for row in _rows(files / "trials.csv"):
        _write_trial(client, experiment, run, row, data)
    if any(files.iterdir()):
        client.log_artifacts(run.info.run_id, str(files))
    client.set_terminated(run.info.run_id, "FINISHED", data["end_ms"])
    _log(
        client,
        parent,
        metrics={f"{data['stage']}/{key}": value for key, value in data["metrics"].items()},
        end_ms=data["end_ms"],
    )


def _write_trial(
    client: "MlflowClient", experiment: str, stage: "Run", row: Mapping[str, str], data: Mapping[str, Any]
) -> None:
    """A trial's searched values are its params, its other numbers its metrics."""
    number = row.get("trial", "")
    tags = {RECORD: f"{stage.data.tags.get(RECORD, stage.info.run_id)}/{number}"}
    run = _nested(client, experiment, stage, f"trial {number}", data["start_ms"], tags)
    space = data["config"].get("space", {})
    metrics = {key: value for key, text in row.items() if key not in {*space, "trial"} and (value := _number(text)) is not None}
    params = {key: text for key, text in row.items() if key not in metrics}
    _log(client, run, params=params, metrics=metrics, end_ms=data["end_ms"])
    client.set_terminated(run.info.run_id, "FINISHED", data["end_ms"])


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


def main(lock: int, watched: int) -> None:
    """Writes what waits until the process `watched` is gone; `lock` is the inherited file of the writer's lock."""
    open_runs: dict[str, MlflowClient] = {}
    _spool.end_with(watched)
    try:
        _prepare_environment()
        with open(lock, "w") as held:
            _spool.serve(lambda item: _write(item, open_runs), held, watched)
        for run_id, client in open_runs.items():
            if client.get_run(run_id).info.status == "RUNNING":
                client.set_terminated(run_id, "FAILED")  # its last stage did not end
    except Exception as error:
        _spool.ERROR_FILE.write_text(_one_line(error), encoding="utf-8")
        raise


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
