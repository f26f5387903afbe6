"""MLflow: what a run leaves in a real store."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.append(str(Path(__file__).parents[1] / "flows"))
from small_project import commit, dvc, make_project, shell

from flows import compose, processes, project
from sightline.errors import SightlineError
from tasks import trackers
from tasks.trackers import _pipeline, _spool

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own


@pytest.fixture
def tracked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small project that tracks with MLflow, the current folder."""
    root = tmp_path / "project"
    make_project(root)
    monkeypatch.chdir(root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    write_params()
    commit(root)
    yield root
    wait_for_writers(root)


def wait_for_writers(root: Path) -> None:
    end = time.monotonic() + 60
    while writers(root) and time.monotonic() < end:
        time.sleep(0.2)
    assert not writers(root)


def write_params(*overrides: str) -> None:
    compose.write_params(["train.epochs=3", *overrides])
    project.write_source()


def writers(root: Path) -> list[int]:
    found = []
    for process in psutil.process_iter():
        try:
            if "tasks.trackers._mlflow" in process.cmdline() and Path(process.cwd()) == root:
                found.append(process.pid)
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def client(root: Path) -> Any:
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{root}/mlflow/mlflow.db", f"sqlite:///{root}/mlflow/mlflow.db")


def runs(root: Path) -> dict[str, list[Any]]:
    """The runs of the experiment by name, the newest first."""
    store = client(root)
    found: dict[str, list[Any]] = {}
    for run in store.search_runs([store.get_experiment_by_name("sightline").experiment_id]):
        found.setdefault(run.info.run_name, []).append(run)
    return found


@pytest.mark.slow
def test_a_plain_repro_leaves_a_run_with_nested_runs(tracked: Path) -> None:
    done = dvc("repro")
    assert done.returncode == 0, done.stderr
    assert "tracking" not in done.stderr
    found = runs(tracked)
    parent_name = next(name for name in found if name.startswith("yolov8n-traffic-"))
    parent = found.pop(parent_name)[0]
    assert set(found) == {"config", "ingest", "fingerprint", "train", "evolve", "package", "trial 0", "trial 1"}
    assert all(len(same) == 1 for same in found.values())
    train, evolve, trial = found["train"][0], found["evolve"][0], found["trial 1"][0]
    assert {run[0].data.tags["mlflow.parentRunId"] for name, run in found.items() if "trial" not in name} == {
        parent.info.run_id
    }
    assert trial.data.tags["mlflow.parentRunId"] == evolve.info.run_id
    assert train.data.params["train.epochs"] == "3"
    assert train.data.metrics["mAP50"] == 0.5
    assert [(m.step, m.value) for m in client(tracked).get_metric_history(train.info.run_id, "train/loss")][:2] == [
        (1, 1.0),
        (2, 0.5),
    ]
    assert {item.path for item in client(tracked).list_artifacts(train.info.run_id)} == {
        "metrics.json",
        "results.csv",
        "curve.png",
    }
    assert trial.data.params == {"trial": "1", "lr0": "0.02"}
    assert trial.data.metrics == {"fitness": 0.3}
    assert [(item.dataset.name, item.dataset.digest) for item in parent.inputs.dataset_inputs] == [
        ("traffic", ("c0ffee" * 10)[:36])
    ]
    assert train.inputs.dataset_inputs
    assert parent.data.metrics["package/mAP50"] == 0.4
    assert parent.info.status == "FINISHED"

    write_params("train.lr0=0.5")
    assert dvc("repro").returncode == 0
    second = runs(tracked)
    assert len(second["train"]) == 2
    assert len(second["ingest"]) == 1
    trackers.link_cached(project.stage_keys(["ingest", "fingerprint", "train"]))
    trackers.finish()
    assert len(parents(tracked)) == 2
    newest = max(parents(tracked), key=lambda run: run.info.start_time)
    assert newest.data.tags["cached.ingest"] == second["ingest"][0].info.run_id
    assert newest.data.tags["cached.fingerprint"] == second["fingerprint"][0].info.run_id
    assert "cached.train" not in newest.data.tags


def parents(root: Path) -> list[Any]:
    return [run for name, same in runs(root).items() for run in same if name.startswith("yolov8n-traffic-")]


@pytest.mark.slow
def test_a_failure_is_recorded_and_a_rerun_that_ends_well_mends_the_run(tracked: Path) -> None:
    write_params("train.seed=668")
    failed = dvc("repro")
    assert failed.returncode != 0
    assert "train: the network is down" in failed.stderr
    wait_for_writers(tracked)  # nobody asked for the record, and DVC is gone
    assert not _spool.pending()
    found = runs(tracked)
    (parent,), (train,) = parents(tracked), found["train"]
    assert (train.info.status, train.data.tags["sightline.error"]) == ("FAILED", "the network is down")
    assert train.data.params["train.seed"] == "668"
    assert train.data.metrics == {}
    assert train.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert "sightline.key" not in train.data.tags, "a cached stage would be linked to it"
    assert parent.info.status == "FAILED"
    assert found["ingest"][0].info.status == "FINISHED"

    assert dvc("repro").returncode == 0
    assert sorted(run.info.status for run in runs(tracked)["train"]) == ["FAILED", "FINISHED"]
    (parent,) = parents(tracked)
    assert parent.info.status == "FINISHED"

    (tracked / "failed").unlink()
    assert dvc("repro", "-f", "-s", "train").returncode != 0
    wait_for_writers(tracked)
    (parent,) = parents(tracked)
    assert parent.info.status == "FAILED"
    assert run_by_hand("evolve").returncode == 0  # another stage mends nothing
    wait_for_writers(tracked)
    assert len(runs(tracked)["evolve"]) == 2
    (parent,) = parents(tracked)
    assert parent.info.status == "FAILED"


@pytest.mark.slow
def test_a_run_in_which_the_last_stage_was_cached_has_finished(tracked: Path) -> None:
    assert dvc("repro").returncode == 0
    write_params("train.epochs=2")  # trains again to the same weights
    again = dvc("repro")
    assert "Stage 'package' didn't change" in again.stdout
    wait_for_writers(tracked)
    assert len(runs(tracked)["train"]) == 2
    assert [parent.info.status for parent in parents(tracked)] == ["FINISHED", "FINISHED"]


@pytest.mark.slow
@pytest.mark.parametrize("whom", ["dvc", "stage", "terminal"])
def test_a_run_with_a_killed_stage_is_killed(tracked: Path, whom: str) -> None:
    write_params("train.epochs=300")
    environment = {**processes.environment(), "SLOW": "1"}
    with subprocess.Popen([sys.executable, "-m", "dvc", "repro"], env=environment, start_new_session=True) as run:
        started = tracked / "started"
        end = time.monotonic() + 60
        while not (started.is_file() and started.read_text()) and time.monotonic() < end:
            time.sleep(0.1)
        if whom == "dvc":
            run.kill()
        elif whom == "stage":
            os.kill(int(started.read_text()), signal.SIGKILL)
        else:
            os.killpg(run.pid, signal.SIGINT)  # Ctrl-C
    wait_for_writers(tracked)
    (parent,), (train,) = parents(tracked), runs(tracked)["train"]
    assert (parent.info.status, train.info.status) == ("KILLED", "KILLED")
    assert train.data.params["train.epochs"] == "300"
    assert not list(_spool.RUNNING.iterdir())


def run_by_hand(stage: str) -> "subprocess.CompletedProcess[str]":
    """Runs a stage of the small project without DVC, on empty inputs."""
    for folder in ("data/raw", "reports/fingerprint", "models/baseline"):
        Path(folder).mkdir(parents=True, exist_ok=True)
    arguments = {
        "train": ["--raw", "data/raw", "--fingerprint", "reports/fingerprint", "--model", "made/model"],
        "evolve": ["--baseline", "models/baseline"],
    }
    return shell(sys.executable, "stages.py", stage, *arguments[stage], "--report", "made/report")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("raise SightlineError(", "raise RuntimeError(", "RuntimeError: seed 666, expected another: set train.seed"),
        ("raise SightlineError(", "raise AnswerIsNo(", "seed 666, expected another: set train.seed"),
        ('"seed 666, expected another', '"x" * 9000 + "', "x" * 5000),
    ],
)
def test_any_error_is_recorded(tracked: Path, old: str, new: str, message: str) -> None:
    stages = tracked / "stages.py"
    stages.write_text(stages.read_text().replace(old, new))
    write_params("train.seed=666")
    assert run_by_hand("train").returncode != 0
    wait_for_writers(tracked)
    (train,) = runs(tracked)["train"]
    assert (train.info.status, train.data.tags["sightline.error"]) == ("FAILED", message)


def test_a_stage_fails_with_its_own_error_where_nothing_can_be_recorded(tracked: Path) -> None:
    write_params("train.seed=666")
    (tracked / "work").mkdir()
    (tracked / "work" / "tracking").touch()
    done = run_by_hand("train")
    assert done.returncode == 2
    said, error = done.stderr.splitlines()
    assert said.startswith("tracking: ")
    assert error == "train: seed 666, expected another: set train.seed"


@pytest.mark.slow
def test_a_failure_does_not_wait_for_a_server_that_does_not_answer(tracked: Path) -> None:
    write_params("train.seed=666", "tracking.uri=http://127.0.0.1:9")
    done = run_by_hand("train")
    assert (done.returncode, done.stderr) == (2, "train: seed 666, expected another: set train.seed\n")
    wait_for_writers(tracked)
    assert [_spool.read(item)["status"] for item in _spool.pending()] == ["FAILED"]


@pytest.mark.slow
def test_a_trial_that_diverged_has_failed_and_has_no_metrics(tracked: Path) -> None:
    stages = tracked / "stages.py"
    stages.write_text(stages.read_text().replace("1,0.02,0.3,ok", "1,0.02,,diverged"))
    assert run_by_hand("evolve").returncode == 0
    wait_for_writers(tracked)
    found = runs(tracked)
    (good,), (diverged,) = found["trial 0"], found["trial 1"]
    assert (good.info.status, good.data.metrics) == ("FINISHED", {"fitness": 0.2})
    assert (diverged.info.status, diverged.data.metrics) == ("FAILED", {})
    assert diverged.data.params == {"trial": "1", "lr0": "0.02"}


@pytest.mark.slow
def test_published_twice_is_registered_once(tracked: Path) -> None:
    package = tracked / "dist" / "service"
    package.mkdir(parents=True)
    (package / "manifest.json").write_text("{}")
    assert (
        trackers.register("service", package, "0" * 64, "s3://bucket/service")
        == "registered: service version 1, alias champion"
    )
    assert trackers.register("service", package, "0" * 64, "s3://bucket/service").startswith(
        "registered already: service version 1"
    )
    assert (
        trackers.register("service", package, "1" * 64, "s3://bucket/service")
        == "registered: service version 2, alias champion"
    )
    store = client(tracked)
    version = store.get_model_version_by_alias("service", "champion")
    assert version.version in ("2", 2)
    assert version.tags["sightline.manifest_sha256"] == "1" * 64
    assert {item.path for item in store.list_artifacts(version.run_id, "package")} == {"package/manifest.json"}


@pytest.mark.slow
def test_a_server_that_does_not_answer_costs_no_result(tracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_params("tracking.uri=http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = dvc("repro")
    assert done.returncode == 0, done.stderr
    assert "wait in work/tracking: the next stage, or `sightline summary`, tries again" in done.stderr
    assert "127.0.0.1" in done.stderr
    assert len(_spool.pending()) == 6
    with pytest.raises(SightlineError, match="start the server, or set tracking"):
        trackers.register("service", tracked, "0" * 64, "here")


def test_a_tracker_that_is_not_there(tracked: Path) -> None:
    params = tracked / "params.yaml"
    params.write_text(params.read_text().replace("name: mlflow", "name: mlfow"))
    with pytest.raises(SightlineError, match=r"tracking\.name: got 'mlfow', expected one of mlflow, none"):
        trackers.finish()


def test_no_second_writer_is_started_while_the_lock_is_held(tracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly a writer starts: each of those that once started here took memory and time from the others."""
    inherited: list[int] = []

    def slow(command: list[str], *, pass_fds: list[int], **_: Any) -> None:
        inherited.append(os.dup(pass_fds[0]))

    monkeypatch.setattr(_spool.subprocess, "run", slow)
    _spool.add("ingest", {"kind": "stage"})
    assert not _spool.drain("tasks.trackers._mlflow", timeout_s=1.0)
    assert len(inherited) == 1
    os.close(inherited[0])


def test_a_writer_writes_what_waits_when_its_run_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    _spool.add("ingest", {"kind": "stage"})
    done: list[str] = []
    with subprocess.Popen(["sleep", "60"]) as run, Path("lock").open("w") as lock:

        def write(item: Path) -> None:
            if not done:
                _spool.add("train", {"kind": "stage"})
                run.kill()
                run.wait()
            done.append(item.name.partition("-")[2])

        _spool.serve(write, lambda: done.append("closed"), lock, run.pid)
    assert done == ["ingest", "train", "closed"]
    assert not _spool.pending()


def test_a_stage_whose_process_is_gone_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where another process has its id by now, as after a container's restart."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_spool, "start_writer", lambda *_: None)
    start_ms = int(psutil.Process().create_time() * 1000)
    with subprocess.Popen(["sleep", "60"]) as gone:
        _spool.begin("train", {"pid": gone.pid, "start_ms": int(psutil.Process(gone.pid).create_time() * 1000)}, "")
        _spool.begin("evolve", {"pid": os.getpid(), "start_ms": start_ms - 3_600_000}, "")
        assert [item.name.partition("-")[2] for item in _spool.pending()] == []
        gone.kill()
    _spool.begin("export", {"pid": os.getpid(), "start_ms": start_ms}, "")
    _spool.begin("ingest", {"pid": os.getpid(), "start_ms": start_ms}, "")
    assert [item.name.partition("-")[2] for item in _spool.pending()] == ["evolve", "train"]
    _spool.end("ingest", {})
    assert [item.name for item in _spool.RUNNING.iterdir()] == ["export"]


@pytest.mark.slow
def test_a_writer_at_work_does_not_outlive_a_killed_run(tmp_path: Path) -> None:
    code = "import time; from tasks.trackers import _spool; _spool.GRACE_S = 0.5; _spool.end_with({}); time.sleep(60)"
    with subprocess.Popen(["sleep", "60"]) as run, subprocess.Popen([sys.executable, "-c", code.format(run.pid)]) as writer:
        run.kill()
        assert writer.wait(timeout=30) == 1


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _pipeline.pipeline_of(Path(__file__).parents[2])["commit"] == "none"
