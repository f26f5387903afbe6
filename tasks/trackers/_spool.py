"""Records that wait under work/tracking for the trackers' writer.

To import MLflow costs a stage 2.5 CPU seconds. So a stage only leaves a record here, and one writer in the background, which
imports each tracker once, writes it. When the process that runs the pipeline is gone, however it ended, the writer writes what
waits and ends, in `GRACE_S` at most. A record waits for each tracker by itself: what one could not write is tried again with
the next record, and held up no other.

A stage that starts leaves the record of its own interruption in `running`, and removes it when it leaves another one. Where its
process is gone and that record is there, the stage was killed: the writer, or the next stage, moves it to what waits.
"""

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import psutil

from sightline.contract import dump_json
from sightline.errors import SightlineError
from tasks.trackers._record import FILES, RECORD_FILE, SYSTEM_FILE

FOLDER = Path("work/tracking")
RUNNING = FOLDER / "running"
REJECTED = FOLDER / "rejected"
ERRORS = FOLDER / "errors"
RETRY_FILE = FOLDER / "retry"
LOCK_FILE = FOLDER / "writer.lock"
WAITS = "waits"
"""In a record's folder: an empty file for each tracker that it waits for."""
MODULE = "tasks.trackers._writer"
WATCH = "SIGHTLINE_WATCH"
"""Environment: the process whose end is the end of the pipeline run."""
KEPT = {".png", ".csv", ".json", ".md", ".html", ".yaml", ".txt"}
GRACE_S = 30.0
"""How long a writer may outlive the process that it watches."""
_SAME_START_MS = 5000
"""psutil derives a process's start from the clock, which may be set meanwhile; no process id is given out again so soon."""
_SHELLS = {"sh", "dash", "bash", "zsh", "fish", "ksh"}


class RejectedError(SightlineError):
    """The tracker will never take this record."""


def begin(stage: str, record: Mapping[str, Any]) -> None:
    """Leaves what to record if the stage is interrupted, and starts a writer, which a killed stage cannot do.

    Args:
        stage: The stage's name.
        record: Holds `trackers`, the target of each that is on, and `pid` and `start_ms`, the process that runs the stage and
            its start.
    """
    add_interrupted()
    watched = _watched() or os.getpid()
    temporary = _temporary(stage, {**record, "watched": watched})
    RUNNING.mkdir(exist_ok=True)
    shutil.rmtree(RUNNING / stage, ignore_errors=True)
    os.replace(temporary, RUNNING / stage)
    start_writer(watched)


def end(stage: str, record: Mapping[str, Any], report: Path | None = None) -> None:
    """Leaves what to record of a stage that was not interrupted, with what was sampled while it ran."""
    add(stage, record, report, RUNNING / stage / FILES / SYSTEM_FILE)
    _remove(RUNNING / stage)


def add(name: str, record: Mapping[str, Any], report: Path | None = None, samples: Path | None = None) -> None:
    """Leaves a record, whole or not at all, with a copy of the report's readable files."""
    os.replace(_temporary(name, record, report, samples), _place(name))
    RETRY_FILE.touch()


def pending(tracker: str | None = None) -> list[Path]:
    """The records that wait, for a tracker or for any, oldest first."""
    return sorted({mark.parents[1] for mark in (FOLDER / "spool").glob(f"[0-9]*/{WAITS}/{tracker or '*'}")})


def waiting() -> set[str]:
    """The trackers that records wait for."""
    return {mark.name for mark in (FOLDER / "spool").glob(f"[0-9]*/{WAITS}/*")}


def target(item: Path, tracker: str) -> dict[str, str]:
    """Where a tracker is to write a record of `pending`."""
    found: dict[str, str] = json.loads((item / RECORD_FILE).read_text(encoding="utf-8"))["trackers"][tracker]
    return found


def done(item: Path, tracker: str) -> None:
    """Notes that a tracker wrote a record; when all have, it is removed."""
    (item / WAITS / tracker).unlink()
    (ERRORS / tracker).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):  # another tracker was done at the same moment, and removes it
        if not any((item / WAITS).iterdir()):
            _remove(item)


def reject(item: Path, tracker: str, reason: str) -> None:
    """Sets a record aside that a tracker will never take."""
    aside = REJECTED / f"{item.name}-{tracker}"
    shutil.copytree(item, aside, ignore=shutil.ignore_patterns(WAITS), dirs_exist_ok=True)
    done(item, tracker)
    note_error(tracker, f"{reason}: set aside in {aside}")


def note_error(tracker: str, reason: str) -> None:
    """Notes why a tracker wrote nothing."""
    ERRORS.mkdir(exist_ok=True)
    (ERRORS / tracker).write_text(reason, encoding="utf-8")


def errors() -> dict[str, str]:
    """Why trackers wrote nothing, by their names."""
    return {file.name: file.read_text(encoding="utf-8").strip() for file in sorted(ERRORS.glob("*"))}


def start_writer(watched: int | None = None) -> None:
    """Starts `python -m tasks.trackers._writer LOCK PID`, niced and in a session of its own, unless one is at work.

    The writer inherits the lock that was taken for it, so that there is never a second one, however long it takes to start.

    Args:
        watched: The process PID; what runs the pipeline where it is None.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with LOCK_FILE.open("w") as lock, (FOLDER / "writer.log").open("a") as log:
        if take(lock):
            process = _watched() if watched is None else watched
            writer = ["nice", "-n", "10", sys.executable, "-m", MODULE, str(lock.fileno()), str(process)]
            subprocess.run(
                ["sh", "-c", '"$@" &', "sh", *writer],  # no child of this process, which may outlive it
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )


def drain(timeout_s: float = 60.0) -> bool:
    """Waits until nothing waits, starting a writer where there is none.

    Returns:
        False after `timeout_s`, or when every tracker that records wait for has failed.
    """
    shutil.rmtree(ERRORS, ignore_errors=True)
    if pending():
        RETRY_FILE.touch()
    deadline = time.monotonic() + timeout_s
    while pending():
        if waiting() <= set(errors()) or time.monotonic() > deadline:
            return not pending()
        start_writer()
        time.sleep(0.1)
    return True


def is_retry() -> bool:
    """Whether trackers that failed are to try again: a record came, or somebody waits; asked once."""
    try:
        RETRY_FILE.unlink()
    except FileNotFoundError:
        return False
    return True


def _temporary(name: str, record: Mapping[str, Any], report: Path | None = None, samples: Path | None = None) -> Path:
    """A record's folder, not in its place yet."""
    temporary = FOLDER / f".{os.getpid()}-{name}"
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / FILES).mkdir(parents=True)
    (temporary / WAITS).mkdir()
    for tracker in record["trackers"]:
        (temporary / WAITS / tracker).touch()
    for file in sorted(report.rglob("*")) if report else []:
        if report and file.suffix in KEPT and file.is_file():
            copy = temporary / FILES / file.relative_to(report)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    if samples and samples.is_file():
        shutil.copyfile(samples, temporary / FILES / SYSTEM_FILE)
    (temporary / RECORD_FILE).write_text(dump_json(dict(record)), encoding="utf-8")
    return temporary


def _remove(folder: Path) -> None:
    """Removes a record's folder, whole or not at all: a sample may be on its way into it."""
    removed = FOLDER / f".{os.getpid()}-removed-{folder.name}"
    os.replace(folder, removed)
    shutil.rmtree(removed)


def _place(name: str) -> Path:
    """Where a record that is left now waits."""
    spool = FOLDER / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    return spool / f"{time.time_ns():020d}-{name}"


def add_interrupted() -> None:
    """Moves the records of the stages that were interrupted to what waits."""
    for item, record in begun():
        if not runs(record):
            with contextlib.suppress(FileNotFoundError):  # another process was first
                os.replace(item, _place(item.name))
                RETRY_FILE.touch()


def is_over(watched: int) -> bool:
    """Whether the process is gone, and with it its stages: they end a moment after it."""
    return not (watched and is_alive(watched)) and not any(
        record["watched"] == watched and runs(record) for _, record in begun()
    )


def begun() -> Iterator[tuple[Path, dict[str, Any]]]:
    """The records that stages left when they started, and their folders."""
    for item in sorted(RUNNING.glob("*")):
        with contextlib.suppress(FileNotFoundError):  # the stage ends just now
            yield item, json.loads((item / RECORD_FILE).read_text(encoding="utf-8"))


def runs(record: Mapping[str, Any]) -> bool:
    """Whether the process that left the record when it started a stage is alive."""
    return is_alive(record["pid"], record["start_ms"])


def is_alive(pid: int, start_ms: int | None = None) -> bool:
    """Whether there is this process; one with another start only has its id."""
    try:
        process = psutil.Process(pid)
        is_same = start_ms is None or abs(process.create_time() * 1000 - start_ms) < _SAME_START_MS
        return is_same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def take(lock: IO[str]) -> bool:
    """Takes the writer's lock; False where another process holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def unlock(lock: IO[str]) -> None:
    """Gives the writer's lock back."""
    fcntl.flock(lock, fcntl.LOCK_UN)


def _watched() -> int:
    """The process that runs the pipeline: the flow, or DVC; 0, which is none, where a stage was started by hand."""
    if WATCH in os.environ:
        return int(os.environ[WATCH])
    if "DVC_STAGE" not in os.environ:
        return 0
    return next((process.pid for process in psutil.Process().parents() if process.name() not in _SHELLS), 0)
