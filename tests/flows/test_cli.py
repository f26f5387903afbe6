"""The commands as a user runs them: on a small project, each in a process of its own, with a real Prefect server."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from small_project import shell

from flows import processes

SIGHTLINE = [sys.executable, "-c", "from sightline.cli import main; main()"]


def sightline(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return shell(*SIGHTLINE, *arguments, **env)


def wait_for(condition: Callable[[], object], timeout_s: float = 120) -> None:
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, "timed out"
        time.sleep(0.2)


def processes_in(folder: Path) -> dict[int, str]:
    """The command lines of the processes that run in a folder, by their id."""
    found = {}
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and Path(process.cwd()).is_relative_to(folder):
                found[process.pid] = " ".join(process.cmdline())
        except (psutil.NoSuchProcess, psutil.AccessDenied, FileNotFoundError):
            continue
    return found


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "model=yolov8"], "sightline: model: got yolov8, did you mean yolov8n?"),
        (["compose", "train.epcohs=1"], "sightline: train.epcohs: unknown key, did you mean train.epochs?"),
        (["run", "yolo11n"], "sightline run: yolo11n: expected KEY=VALUE, e.g. model=yolo11n"),
        (["publish"], "sightline: dist/service/manifest.json: not there, nothing to publish: run `dvc repro`"),
        (["summary"], "sightline: no reports: nothing has run here yet: run `dvc repro` or `sightline run`"),
        (["ui", "--cron", "often"], "sightline: --cron: got 'often', expected five fields: '0 * * * *' is each full hour"),
    ],
)
def test_a_users_mistake_is_one_line_and_exit_code_2(tiny: Path, arguments: list[str], message: str) -> None:
    done = sightline(*arguments)
    assert done.stderr.strip() == message
    assert done.returncode == 2


def test_outside_a_checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    done = sightline("run")
    assert done.returncode == 2
    assert "no dvc.yaml here: expected the root of a checkout" in done.stderr


@pytest.mark.slow
def test_run_shows_the_stages_lines_and_a_summary(tiny: Path) -> None:
    done = sightline("run", "tracking=none", "train.epochs=2")
    assert done.returncode == 0, done.stderr
    assert "train: 2/2 epochs, mAP50 0.02" in done.stdout
    assert re.search(r"6 stages, 0 of them cached; \d+ s", done.stdout)
    assert "sightline serve dist/service" in done.stdout
    assert "Running stage" not in done.stdout
    assert done.stderr == ""
    again = sightline("run", "tracking=none", "train.epochs=2")
    assert "6 stages, 6 of them cached" in again.stdout
    assert again.stdout.count("\n") < 40

    failed = sightline("run", "tracking=none", "train.seed=667")
    assert failed.returncode == 1
    assert failed.stderr.strip() == "sightline: train: no model is good enough"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_ended_in_the_middle_of_a_stage_it_leaves_no_process(tiny: Path, number: signal.Signals) -> None:
    command = [*SIGHTLINE, "run", "tracking=none", "train.epochs=300"]
    environment = {**processes.environment(), "SLOW": "1"}
    flow = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for((tiny / "started").exists)
    running = processes_in(tiny)
    assert any("stages.py train" in line for line in running.values())
    flow.send_signal(number)
    flow.wait(timeout=30)
    wait_for(lambda: not processes_in(tiny), 20)
    wait_for(
        lambda: not any(psutil.pid_exists(pid) for pid in running), 60
    )  # until init has reaped them DVC takes them for alive
    again = shell(sys.executable, "-m", "dvc", "repro", "ingest")
    assert again.returncode == 0, again.stderr
