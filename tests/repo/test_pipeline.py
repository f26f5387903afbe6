"""The whole DAG, run as a user runs it, at smoke size."""

import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml
from checkout import Checkout

from tasks.stage import hash_path

Fork = Callable[[], Checkout]
STAGES = [
    "config",
    "ingest",
    "validate",
    "transform",
    "fingerprint",
    "train",
    "evolve",
    "export",
    "benchmark",
    "select",
    "package",
]
SEEDED = [
    "data/raw",
    "data/tables",
    "data/dataset",
    "reports/fingerprint",
    "models/baseline",
    "models/champion",
    "models/exported",
]
QUICK = {"config", "transform", "fingerprint", "select"}
"""Killed while they start: afterwards DVC writes its own lock files, and not atomically."""
pytestmark = pytest.mark.timeout(600)


def test_every_output_of_every_stage_is_there(smoke: Checkout) -> None:
    lock = yaml.safe_load((smoke.folder / "dvc.lock").read_text())["stages"]
    assert sorted(lock) == sorted(STAGES)
    for stage in lock.values():
        assert all((smoke.folder / out["path"]).exists() for out in stage["outs"])
    assert (smoke.folder / "dist/service/README.md").is_file()


def test_a_second_repro_runs_nothing(smoke: Checkout) -> None:
    output = smoke.run("dvc repro").stdout
    assert smoke.stages_run(output) == []
    assert "up to date" in output


def test_metrics_and_plots_are_declared(smoke: Checkout) -> None:
    metrics = json.loads(smoke.run("dvc metrics show --json").stdout)
    names = {Path(name).parent.name for name in metrics[""]["data"]}
    assert {"train", "evolve", "package"} <= names
    plots = smoke.run("dvc plots show --out work/plots").stdout
    assert plots.strip().endswith("index.html")


def test_the_summary_says_what_came_out(smoke: Checkout) -> None:
    text = smoke.run("sightline summary").stdout
    winner = json.loads((smoke.folder / "reports/select/selection.json").read_text())["winner"]
    for word in (winner, "mAP50", "sightline serve dist/service", "curl"):
        assert word in text


def test_the_service_answers(smoke: Checkout) -> None:
    image = sorted((smoke.folder / "data/raw").rglob("*.jpg"))[0]
    result = json.loads(smoke.run(f"sightline predict dist/service {image} --json").stdout.splitlines()[-1])
    assert "detections" in json.dumps(result)


def test_a_new_model_file_reruns_nothing_and_an_edit_reruns_its_stages(fork: Fork) -> None:
    checkout = fork()
    (checkout.folder / "tasks/models/mine.py").write_text("class Family: ...\n")
    (checkout.folder / "conf/model/mine.yaml").write_text("# @package _global_\nmodel: {name: mine}\n")
    checkout.run("sightline compose experiment=smoke")
    assert checkout.stages_run(checkout.run("dvc repro --dry").stdout) == ["config"]
    with (checkout.folder / "tasks/select.py").open("a") as file:
        file.write("# an edit\n")
    assert "select" in checkout.stages_run(checkout.run("dvc repro --dry").stdout)
    assert "benchmark" not in checkout.stages_run(checkout.run("dvc repro --dry").stdout)


def test_a_comment_in_conf_reruns_config_alone(fork: Fork) -> None:
    checkout = fork()
    with (checkout.folder / "conf/config.yaml").open("a") as file:
        file.write("# a comment\n")
    stale = checkout.run("dvc repro", ok=False)
    assert stale.returncode != 0
    assert "sightline compose" in stale.stdout
    assert checkout.stages_run(checkout.run("dvc exp run -S experiment=smoke").stdout) == ["config"]


def test_a_wrong_value_stops_before_any_work(fork: Fork) -> None:
    checkout = fork()
    done = checkout.run("dvc exp run -S experiment=smoke -S +train.epcohs=5 -S train.epochs=abc", ok=False)
    assert done.returncode != 0
    assert "did you mean train.epochs?" in done.stdout
    assert "got 'abc'" in done.stdout
    assert checkout.stages_run(done.stdout) == ["config"]
    assert "Traceback" not in done.stdout


def test_constraints_that_nobody_meets_package_nothing(fork: Fork) -> None:
    checkout = fork()
    done = checkout.run("dvc exp run -S experiment=smoke -S constraints.max.p99_ms=0.001", ok=False)
    assert done.returncode != 0
    assert "p99_ms" in done.stdout
    assert "Traceback" not in done.stdout
    assert (
        "package" in checkout.stages_run(checkout.run("dvc repro --dry", ok=False).stdout)
        or "changed" in checkout.run("dvc status package").stdout
    )
    assert checkout.run("sightline publish", ok=False).returncode != 0, "what is in dist/ is of an earlier run"
    assert "nearest" in (checkout.folder / "reports/select/selection.md").read_text().lower()


def test_a_missing_dataset_is_one_clear_message(fork: Fork) -> None:
    checkout = fork()
    done = checkout.run("dvc exp run -S experiment=smoke -S dataset=folder -S dataset.path=nowhere", ok=False)
    assert done.returncode != 0
    assert re.search(r"ingest: .*nowhere", done.stdout)
    assert "Traceback" not in done.stdout


def wait_for_stage(pid: int, stage: str) -> list[psutil.Process]:
    """The processes of a run, once `stage` is one of them."""
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(pid).children(recursive=True)
            if any(f"tasks.{stage}" in child.cmdline() for child in children):
                return children
        time.sleep(0.05)
    raise AssertionError(f"{stage} did not start")


def test_a_second_clone_pulls_and_runs_nothing(fork: Fork) -> None:
    checkout = fork()
    second = Checkout(checkout.folder.with_name("second"))
    checkout.run("dvc push && git add -A && git commit -qm Results && git clone -q . ../second")
    assert not (second.folder / "models").exists()
    second.run("dvc pull")
    assert second.stages_run(second.run("dvc repro").stdout) == []
    assert (second.folder / "dist/service/manifest.json").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("stage", STAGES)
def test_kill_9_then_repro_ends_as_if_nothing_had_happened(smoke: Checkout, fork: Fork, stage: str) -> None:
    checkout = fork()
    forget(checkout, STAGES[STAGES.index(stage) :])
    process = checkout.start("dvc repro --no-run-cache")
    try:
        children = wait_for_stage(process.pid, stage)
        time.sleep(0 if stage in QUICK else 2)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    _, alive = psutil.wait_procs(children, timeout=10)
    assert not alive, "processes outlived the killed run"
    checkout.run("dvc repro --no-run-cache")
    for path in SEEDED:
        assert hash_path(checkout.folder / path) == hash_path(smoke.folder / path), path


@pytest.mark.slow
def test_finished_trials_are_not_repeated_after_kill_9(smoke: Checkout, fork: Fork) -> None:
    checkout = fork()
    forget(checkout, STAGES[STAGES.index("evolve") :])
    process = checkout.start("dvc repro --no-run-cache evolve")
    try:
        wait_for_stage(process.pid, "evolve")
        deadline = time.monotonic() + 120
        while len(trials(checkout)) < 2 and time.monotonic() < deadline:
            time.sleep(0.02)
    finally:
        os.kill(process.pid, signal.SIGKILL)
        process.communicate()
    done = trials(checkout)
    assert 2 <= len(done) < 3, "the baseline and the first of two trials"
    output = checkout.run("dvc repro --no-run-cache evolve").stdout
    assert trials(checkout)[:2] == done
    assert len(trials(checkout)) == 3
    assert "evolve: baseline" not in output
    assert "evolve: trial 1" not in output
    assert "evolve: trial 2" in output
    assert hash_path(checkout.folder / "models/champion") == hash_path(smoke.folder / "models/champion")


def forget(checkout: Checkout, stages: list[str]) -> None:
    """Removes the outputs of stages, what DVC knows of them, and their work."""
    lock = yaml.safe_load((checkout.folder / "dvc.lock").read_text())
    for name in stages:
        for out in lock["stages"].pop(name)["outs"]:
            checkout.run(f"rm -rf {out['path']} work/{name}")
    (checkout.folder / "dvc.lock").write_text(yaml.safe_dump(lock))


def trials(checkout: Checkout) -> list[str]:
    """The lines of evolve's journal."""
    return [line for path in checkout.folder.glob("work/evolve/*/state/trials.jsonl") for line in path.read_text().splitlines()]
