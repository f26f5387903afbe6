"""What a run leaves in real trackers: MLflow's store, TensorBoard's event files, Weights & Biases' offline runs."""

import json
import os
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import psutil
import pytest

sys.path.append(str(Path(__file__).parents[1] / "flows"))
from small_project import commit, dvc, make_project, shell

from flows import compose, processes, project
from sightline.errors import SightlineError
from tasks import config_checks, provenance, schema, trackers, variants
from tasks.trackers import _pipeline, _record, _spool, _writer

pytestmark = pytest.mark.filterwarnings("default")  # MLflow's own

MLFLOW: dict[str, Any] = {"trackers": {"mlflow": {}}}


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
            if _spool.MODULE in process.cmdline() and Path(process.cwd()) == root:
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
    files = {item.path for item in client(tracked).list_artifacts(train.info.run_id)}
    assert files - {"system.csv"} == {"metrics.json", "results.csv", "curve.png"}
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


@pytest.mark.slow
def test_every_tracker_holds_the_same(tracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two of them without a network; the third in a file."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tracked))  # nobody has logged in
    write_params("tracking.tensorboard=true", "tracking.wandb=true")
    slow = dvc("repro", SLOW="1")
    assert slow.returncode == 0, slow.stderr
    assert "tracking" not in slow.stderr
    wait_for_writers(tracked)
    assert not _spool.errors()
    for stage in ("train", "evolve", "trial 0", "trial 1", "package"):
        held = {name: read(tracked, stage) for name, read in READERS.items()}
        assert held["mlflow"]["params"]
        for name in ("tensorboard", "wandb"):
            assert held[name] == held["mlflow"], (name, stage)
    train = READERS["wandb"](tracked, "train")
    assert train["params"]["train.epochs"] == "3"
    assert train["metrics"]["val/mAP50_B_"] == [(1, 0.01), (2, 0.02), (3, 0.03)]
    assert train["metrics"]["mAP50"] == [(0, 0.5)]
    assert train["pictures"] == ["curve"]
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(train["metrics"])
    assert train["metrics"]["system/stage_memory_megabytes"][0][1] > 20

    again = dvc("repro", "-f", "-s", "train", WANDB_MODE="disabled")
    assert again.returncode == 0, again.stderr
    wait_for_writers(tracked)
    assert len(list(tracked.glob("wandb/offline-run-*"))) == 8  # disabled: there is no new one
    assert len(list(tracked.glob("runs/*/train-*"))) == 2


Held = dict[str, Any]
"""What a tracker holds of a run: `params` as text, `metrics` as (step, value), sorted, and the names of the `pictures`."""


def plain(value: Any) -> str:
    """A param as text; not each tracker tells 1 from 1.0."""
    try:
        return f"{float(value):.6g}"
    except ValueError:
        return str(value)


def rounded(value: float) -> float:
    """As single precision holds it, which TensorBoard's scalars have."""
    return float(f"{value:.6g}")


def from_mlflow(root: Path, name: str) -> Held:
    run, store = runs(root)[name][0], client(root)
    histories = {key: store.get_metric_history(run.info.run_id, key) for key in run.data.metrics}
    metrics = {key: sorted((point.step, rounded(point.value)) for point in points) for key, points in histories.items()}
    params = {key: plain(value) for key, value in run.data.params.items()}
    pictures = [item.path.removesuffix(".png") for item in store.list_artifacts(run.info.run_id) if item.path.endswith(".png")]
    return {"params": params, "metrics": metrics, "pictures": sorted(pictures)}


def from_tensorboard(root: Path, name: str) -> Held:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

    pattern = f"runs/*/evolve-*/{name.replace(' ', '-')}" if name.startswith("trial") else f"runs/*/{name}-*"
    (folder,) = root.glob(pattern)
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    metrics = {
        tag: sorted((event.step, rounded(event.value)) for event in events.Scalars(tag)) for tag in events.Tags()["scalars"]
    }
    data = HParamsPluginData.FromString(events.summary_metadata["_hparams_/session_start_info"].plugin_data.content)
    params = {key: plain(getattr(value, value.WhichOneof("kind"))) for key, value in data.session_start_info.hparams.items()}
    return {"params": params, "metrics": metrics, "pictures": sorted(events.Tags()["images"])}


def from_wandb(root: Path, name: str) -> Held:
    """Reads an offline run as `wandb sync` does: a log of LevelDB's, of wandb's own records."""
    found = [held for file in root.glob("wandb/offline-run-*/*.wandb") if (held := read_wandb(file.read_bytes(), name))]
    (held,) = found
    return held


def read_wandb(data: bytes, name: str) -> Held | None:
    params: dict[str, str] = {}
    metrics: dict[str, list[tuple[int, float]]] = {}
    summary: dict[str, Any] = {}
    pictures: set[str] = set()
    seen: dict[str, int] = {}
    for record in wandb_records(data):
        if record.HasField("run"):
            if record.run.display_name != name:
                return None
            params = {item.key: plain(json.loads(item.value_json)) for item in record.run.config.update if item.key != "_wandb"}
        elif record.HasField("summary"):
            summary |= {item.key or item.nested_key[0]: json.loads(item.value_json) for item in record.summary.update}
        elif record.HasField("history"):
            row = {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in record.history.item}
            pictures |= {key.partition("/")[0] for key, value in row.items() if value == "image-file"}
            for key, value in row.items():
                if isinstance(value, int | float) and not key.startswith("_") and key not in ("epoch", "system/seconds"):
                    step = row["epoch"] if "epoch" in row else seen.get(key, -1) + 1
                    seen[key] = step
                    if key.partition("/")[0] not in pictures:
                        metrics.setdefault(key, []).append((step, rounded(value)))
    for key, value in summary.items():
        if key not in (*metrics, *pictures, "epoch", "status", "system/seconds") and not key.startswith("_"):
            metrics[key] = [(0, rounded(value))]
    return {"params": params, "metrics": metrics, "pictures": sorted(pictures)}


def wandb_records(data: bytes) -> Iterator[Any]:
    from wandb.proto import wandb_internal_pb2

    assert data[:4] == b":W&B"
    position, parts = 7, b""
    while position + 7 <= len(data):
        left = 32768 - position % 32768  # a block; less than a header at its end is padding
        if left < 7:
            position += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, position)
        parts += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):  # whole, or its last part
            yield wandb_internal_pb2.Record.FromString(parts)
            parts = b""


READERS = {"mlflow": from_mlflow, "tensorboard": from_tensorboard, "wandb": from_wandb}


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
    assert not {name for name in train.data.metrics if not name.startswith("system/")}
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
    assert [read_status(item) for item in _spool.pending()] == ["FAILED"]


def read_status(item: Path) -> str:
    record = _record.read(item)
    assert isinstance(record, _record.StageRecord)
    return record.status


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
def test_a_server_that_does_not_answer_costs_no_result(tracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_params("tracking.uri=http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    done = dvc("repro")
    assert done.returncode == 0, done.stderr
    assert "wait in work/tracking: the next stage, or `sightline summary`, tries again" in done.stderr
    assert "127.0.0.1" in done.stderr
    assert len(_spool.pending()) == 6


def test_each_tracker_has_its_switch() -> None:
    switches = [name for name, field in schema.Tracking.model_fields.items() if field.annotation is bool]
    assert switches == variants.names("trackers")


def test_a_tracker_whose_library_is_not_there_is_named_before_any_work(monkeypatch: pytest.MonkeyPatch, root: Path) -> None:
    monkeypatch.setattr(config_checks.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SightlineError, match=r"tracking\.wandb: true, but its library is not installed: `uv pip install"):
        compose.compose_params(["tracking=none", "tracking.wandb=true"], root)


def test_no_second_writer_is_started_while_the_lock_is_held(tracked: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However slowly a writer starts: each of those that once started here took memory and time from the others."""
    inherited: list[int] = []

    def slow(command: list[str], *, pass_fds: list[int], **_: Any) -> None:
        inherited.append(os.dup(pass_fds[0]))

    monkeypatch.setattr(_spool.subprocess, "run", slow)
    _spool.add("ingest", {"trackers": {"mlflow": {}}})
    assert not _spool.drain(timeout_s=1.0)
    assert len(inherited) == 1
    os.close(inherited[0])


class Recorder:
    """A tracker that keeps in a list what it is given, and fails where its target says so."""

    written: ClassVar[list[str]] = []

    def __init__(self, target: dict[str, str]) -> None:
        self.target = target

    def write(self, record: _record.StageRecord) -> None:
        if self.target.get("hangs"):
            time.sleep(float(self.target["hangs"]))
        if self.target.get("fails"):
            raise OSError("no answer")
        self.written.append(f"{self.target['name']} {record.stage}")

    def link(self, record: _record.CachedRecord) -> None:
        raise AssertionError("nothing was cached")

    def close(self) -> None:
        self.written.append(f"{self.target['name']} closed")


@pytest.fixture
def recorder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the trackers of the current folder, an empty one, are given."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_writer.importlib, "import_module", lambda name: SimpleNamespace(Writer=Recorder))
    monkeypatch.setattr(Recorder, "written", [])
    return Recorder.written


def leave(stage: str, **targets: dict[str, str]) -> None:
    record = {"kind": "stage", "stage": stage, "status": "FINISHED", "is_last": False, "key": None, "error": None}
    record |= {"config": {}, "metrics": {}, "dataset": None, "start_ms": 0}
    pipeline = {"id": "i", "name": "n", "commit": "c", "digest": "d", "params": {}}
    named = {name: {"name": name, **target} for name, target in targets.items()}
    _spool.add(stage, {**record, "pipeline": pipeline, "trackers": named})


def test_a_writer_writes_what_waits_when_its_run_is_gone(recorder: list[str]) -> None:
    leave("ingest", mlflow={})
    with subprocess.Popen(["sleep", "60"]) as run, Path("lock").open("w") as lock:

        def end() -> None:
            leave("train", mlflow={})
            run.kill()
            run.wait()

        threading.Timer(1.0, end).start()
        _writer.serve(lock, run.pid)
    assert recorder == ["mlflow ingest", "mlflow train", "mlflow closed"]
    assert not _spool.pending()


def test_a_tracker_that_fails_or_hangs_holds_up_no_other(recorder: list[str]) -> None:
    with Path("lock").open("w") as lock:
        leave("ingest", mlflow={"fails": "yes"}, wandb={"hangs": "2"}, tensorboard={})
        leave("train", mlflow={"fails": "yes"}, wandb={"hangs": "2"}, tensorboard={})
        _writer.serve(lock, 0)
        assert recorder[:2] == ["tensorboard ingest", "tensorboard train"]
        assert {"wandb ingest", "wandb train", "wandb closed", "tensorboard closed"} == set(recorder[2:])
        assert _spool.waiting() == {"mlflow"}
        assert _spool.errors() == {"mlflow": "no answer"}
        assert len(_spool.pending("mlflow")) == 2
        for item in _spool.pending("mlflow"):  # it answers again
            file = item / _record.RECORD_FILE
            file.write_text(file.read_text().replace('"fails"', '"failed"'))
        recorder.clear()
        _writer.serve(lock, 0)
        assert recorder == ["mlflow ingest", "mlflow train", "mlflow closed"]
        assert _spool.errors() == {}
        assert not _spool.pending()


def test_a_tracker_that_failed_is_tried_again_with_the_next_record(recorder: list[str]) -> None:
    writers = _writer.Trackers()

    def write() -> None:
        while writers.write():
            time.sleep(0.01)

    leave("ingest", mlflow={"fails": "yes"})
    write()
    write()
    assert not writers.has_work()
    leave("train", mlflow={"fails": "yes"})
    assert writers.write()


def test_a_record_that_a_tracker_will_never_take_is_set_aside_for_it_alone(
    recorder: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Recorder, record: _record.StageRecord) -> None:
        if self.target["name"] == "mlflow":
            raise _spool.RejectedError("a name is too long")
        self.written.append(record.stage)

    monkeypatch.setattr(Recorder, "write", refuse)
    leave("ingest", mlflow={}, tensorboard={})
    with Path("lock").open("w") as lock:
        _writer.serve(lock, 0)
    assert "ingest" in recorder
    assert not _spool.pending()
    (aside,) = _spool.REJECTED.iterdir()
    assert (aside / _record.RECORD_FILE).is_file()
    assert _spool.errors() == {"mlflow": f"a name is too long: set aside in {aside}"}


def test_a_stage_whose_process_is_gone_was_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where another process has its id by now, as after a container's restart."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_spool, "start_writer", lambda *_: None)
    start_ms = int(psutil.Process().create_time() * 1000)
    with subprocess.Popen(["sleep", "60"]) as gone:
        _spool.begin("train", {"pid": gone.pid, "start_ms": int(psutil.Process(gone.pid).create_time() * 1000), **MLFLOW})
        _spool.begin("evolve", {"pid": os.getpid(), "start_ms": start_ms - 3_600_000, **MLFLOW})
        assert [item.name.partition("-")[2] for item in _spool.pending()] == []
        gone.kill()
    _spool.begin("export", {"pid": os.getpid(), "start_ms": start_ms, **MLFLOW})
    _spool.begin("ingest", {"pid": os.getpid(), "start_ms": start_ms, **MLFLOW})
    assert [item.name.partition("-")[2] for item in _spool.pending()] == ["evolve", "train"]
    _spool.end("ingest", MLFLOW)
    assert [item.name for item in _spool.RUNNING.iterdir()] == ["export"]


@pytest.mark.slow
def test_a_writer_at_work_does_not_outlive_a_killed_run(tmp_path: Path) -> None:
    code = (
        "import time; from tasks.trackers import _spool, _writer; _spool.GRACE_S = 0.5; _writer._end_with({}); time.sleep(60)"
    )
    with subprocess.Popen(["sleep", "60"]) as run, subprocess.Popen([sys.executable, "-c", code.format(run.pid)]) as writer:
        run.kill()
        assert writer.wait(timeout=30) == 1


def test_the_dataset_is_found_where_fingerprint_writes_it() -> None:
    assert _pipeline.METADATA_FILE == provenance.METADATA_FILE


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _pipeline.pipeline_of(Path(__file__).parents[2])["commit"] == "none"
