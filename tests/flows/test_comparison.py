"""Pipeline runs side by side, from a real store of MLflow's."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_project import commit, dvc, make_project

from flows import comparison, compose, project, versions
from sightline.errors import SightlineError
from tasks import trackers
from tasks.trackers import _spool

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("default")]  # MLflow's own


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A project with two runs, of which the second took from the cache what was before train."""
    root = tmp_path_factory.mktemp("compared") / "project"
    make_project(root)
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(root)
        patched.delenv("MLFLOW_TRACKING_URI", raising=False)
        for overrides in (["train.epochs=2"], ["train.epochs=2", "package.name=other"]):
            compose.write_params(overrides)
            project.write_source()
            commit(root)
            done = dvc("repro")
            assert done.returncode == 0, done.stderr
            trackers.link_cached(project.stage_keys(["ingest", "fingerprint", "train", "evolve"]))
            trackers.finish()
        yield root
    assert not _spool.pending()


@pytest.fixture(autouse=True)
def in_the_project(compared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(compared)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_the_newest_run_comes_first_with_what_its_cached_stages_measured() -> None:
    second, first = comparison.read([], 5)
    assert second.started > first.started
    assert comparison.differing([second, first]) == ["package.name"]
    assert second.metrics["train/mAP50"] == first.metrics["train/mAP50"] == 0.5
    assert second.metrics["package/mAP50"] == 0.4


def test_mlflows_own_page_has_what_cached_stages_measured() -> None:
    """It shows what is logged on the runs themselves."""
    from mlflow import MlflowClient

    store = "sqlite:///mlflow/mlflow.db"
    second, first = (MlflowClient(store, store).get_run(run.run_id) for run in comparison.read([], 5))
    assert "cached.train" in second.data.tags
    assert "cached.train" not in first.data.tags
    of_train = {name: value for name, value in second.data.metrics.items() if name.startswith("train/")}
    assert of_train["train/mAP50"] == 0.5
    assert of_train == {name: value for name, value in first.data.metrics.items() if name.startswith("train/")}


def test_a_table_for_people_and_json_for_programs(capsys: pytest.CaptureFixture[str]) -> None:
    assert versions.compare([]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["package.name", "other", "service"] in lines
    assert ["train/mAP50", "0.5", "0.5"] in lines
    assert not any(line and line[0] == "train.epochs" for line in lines)
    assert versions.compare(["--json", "--last", "1"]) == 0
    (row,) = json.loads(capsys.readouterr().out)
    assert row["metrics"]["package/mAP50"] == 0.4
    assert row["params"] == {}


def test_runs_are_named_by_what_their_name_or_id_begins_with() -> None:
    second, first = comparison.read([], 5)
    assert [run.run_id for run in comparison.read([first.run_id[:10]], 5)] == [first.run_id]
    assert len(comparison.read([first.name, second.name], 5)) == 2
    with pytest.raises(SightlineError, match=rf"nope: no run of this name or id, expected one of: {second.name}, {first.name}"):
        comparison.read(["nope"], 5)


@pytest.mark.parametrize(
    ("name", "values", "expected"),
    [
        ("package/mAP50", [0.4, 0.5, None], 0.5),
        ("benchmark/onnxruntime-cpu-int8/p99_ms", [4.0, 3.0], 3.0),
        ("train/mAP50", [0.5, 0.5], None),
        ("train/conf", [0.1, 0.2], None),
    ],
)
def test_the_best_value_depends_on_the_metric(name: str, values: list[float | None], expected: float | None) -> None:
    assert comparison.best(name, values) == expected


def test_no_run_is_one_clear_line() -> None:
    with pytest.raises(SightlineError, match="no pipeline run is recorded yet"):
        comparison.show([], io.StringIO())
