"""MLflow's store: an experiment, found by its name, and what is said to it in batches. The one file that imports MLflow."""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from sightline.errors import SightlineError
from tasks.trackers import _spool
from tasks.trackers._record import Point, Value

if TYPE_CHECKING:
    from mlflow.entities import Run

T = TypeVar("T")
PIPELINE, STAGE, KEY, RECORD, ERROR = (f"sightline.{name}" for name in ("pipeline", "stage", "key", "record", "error"))
"""Tags: of a pipeline's run its id; of a nested run its stage, its key, the record that it holds, and why it failed."""
PARENT = "mlflow.parentRunId"
SYSTEM = "system/"
"""What the names of the machine's own metrics begin with."""
_PARAMS_A_CALL, _METRICS_A_CALL = 100, 1000  # MLflow's limits of log_batch
_PARAM_CHARACTERS = 6000  # MLflow's limit
_TAG_CHARACTERS = 5000  # what every version of its server takes


class Store:
    """An experiment in a store, made where it is not there; of a local store, the artifacts lie beside it.

    Args:
        uri: Of the store: sqlite:///PATH, or a server's.
        name: The experiment's.
    """

    def __init__(self, uri: str, name: str) -> None:
        os.environ.update(MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")  # read when it is imported
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "30")
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        from mlflow import MlflowClient

        database = Path(uri.removeprefix("sqlite:///")) if uri.startswith("sqlite:///") else None
        if database:
            database.parent.mkdir(parents=True, exist_ok=True)
        self.client: MlflowClient = MlflowClient(uri, uri)
        experiment = self.client.get_experiment_by_name(name)
        location = (database.parent / "artifacts").resolve().as_uri() if database else None
        self.experiment = str(experiment.experiment_id if experiment else self.client.create_experiment(name, location))

    def runs(self, tags: Mapping[str, str | None], limit: int | None = None) -> "list[Run]":
        """The runs with these tags, the newest first; a tag of None is there, whatever it says."""
        query = " and ".join(
            f"tags.`{key}` != ''" if value is None else f"tags.`{key}` = '{value}'" for key, value in tags.items()
        )
        found: list[Run] = []
        token = None
        while limit is None or len(found) < limit:
            page = self.client.search_runs([self.experiment], query, order_by=["attributes.start_time DESC"], page_token=token)
            found += page
            token = page.token
            if not token:
                break
        return found[:limit]

    def newest(self, tags: Mapping[str, str | None]) -> "Run | None":
        """The newest run with these tags."""
        return next(iter(self.runs(tags, limit=1)), None)

    def create(self, name: str, start_ms: int | None, tags: Mapping[str, str]) -> "Run":
        """Starts a run."""
        cut = {key: value[:_TAG_CHARACTERS] for key, value in tags.items()}
        return self.client.create_run(self.experiment, start_ms, cut, name)

    def log_params(self, run_id: str, params: Mapping[str, Value]) -> None:
        """Logs params as text."""
        from mlflow.entities import Param

        for chunk in _chunks([Param(key, str(value)[:_PARAM_CHARACTERS]) for key, value in params.items()], _PARAMS_A_CALL):
            self.client.log_batch(run_id, params=chunk)

    def log_metrics(self, run_id: str, points: Iterable[Point]) -> None:
        """Logs metrics; those that are there already, at the same step and time, stay as they are."""
        from mlflow.entities import Metric

        metrics = [Metric(key, value, point.time_ms, point.step) for point in points for key, value in point.metrics.items()]
        for chunk in _chunks(metrics, _METRICS_A_CALL):
            self.client.log_batch(run_id, metrics=chunk)

    def final_metrics(self, run: "Run") -> dict[str, float]:
        """What a stage's run measured at its end: not its epochs, nor what the machine did meanwhile."""
        names = [name for name in run.data.metrics if not name.startswith(SYSTEM)]
        histories = {name: self.client.get_metric_history(run.info.run_id, name) for name in names}
        return {name: run.data.metrics[name] for name in names if all(point.step == 0 for point in histories[name])}

    def log_dataset(self, run_ids: Sequence[str], dataset: Mapping[str, str]) -> None:
        """Names the dataset that runs read."""
        from mlflow.entities import Dataset, DatasetInput, InputTag

        entity = Dataset(dataset["name"], dataset["digest"][:36], "local", json.dumps({"uri": dataset["path"]}))
        for run_id in run_ids:
            self.client.log_inputs(run_id, [DatasetInput(entity, [InputTag("content_hash", dataset["digest"])])])


def target(uri: str | None, experiment: str) -> dict[str, str]:
    """The arguments of `Store` for the settings `tracking.uri` and `tracking.experiment`; see conf/tracking."""
    local = f"sqlite:///{Path('mlflow/mlflow.db').resolve()}"
    return {"uri": uri or os.environ.get("MLFLOW_TRACKING_URI") or local, "name": experiment}


@contextmanager
def connect(place: Mapping[str, str]) -> Iterator[Store]:
    """The store of a `target`, for a command that a user waits for.

    Raises:
        SightlineError: The server does not answer, or refuses.
    """
    from mlflow.exceptions import MlflowException

    try:
        yield Store(**place)
    except MlflowException as error:
        said = " ".join(str(error).split())[:300]
        raise SightlineError(f"tracking: {place['uri']}: {said}: start the server, or set tracking.uri") from error


@contextmanager
def rejections() -> Iterator[None]:
    """Tells what the server will never take from what it may take later."""
    from mlflow.exceptions import MlflowException

    try:
        yield
    except MlflowException as error:
        if error.error_code in {"INVALID_PARAMETER_VALUE", "BAD_REQUEST"}:
            raise _spool.RejectedError(str(error)) from error
        raise


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
