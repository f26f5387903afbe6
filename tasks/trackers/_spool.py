"""Records that wait under work/tracking for the tracker's writer.

To import MLflow costs a stage 2.5 CPU seconds. So a stage only leaves a record here, and one writer in the background, which
imports MLflow once and records it. When the process that runs the pipeline is gone, however it ended, the writer writes what
waits and ends, in `GRACE_S` at most. What a writer could not write stays where it is: the next stage starts another one.

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
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import psutil

from sightline.contract import dump_json
from sightline.errors import SightlineError

FOLDER = Path("work/tracking")
RUNNING = FOLDER / "running"
ERROR_FILE = FOLDER / "error.txt"
LOCK_FILE = FOLDER / "writer.lock"
RECORD_FILE = "record.json"
WATCH = "SIGHTLINE_WATCH"
"""Environment: the process whose end is the end of the pipeline run."""
KEPT = {".png", ".csv", ".json", ".md", ".html", ".yaml", ".txt"}
POLL_S = 0.3
GRACE_S = 30.0
"""How long a writer may outlive the process that it watches."""
_SAME_START_MS = 5000
"""psutil derives a process's start from the clock, which may be set meanwhile; no process id is given out again so soon."""
_SHELLS = {"sh", "dash", "bash", "zsh", "fish", "ksh"}


class RejectedError(SightlineError):
    """The tracker will never take this record."""


def begin(stage: str, record: Mapping[str, Any], module: str) -> None:
    """Leaves what to record if the stage is interrupted, and starts a writer, which a killed stage cannot do.

    Args:
        stage: The stage's name.
        record: Holds `pid` and `start_ms`, the process that runs the stage and its start.
        module: What writes the records.
    """
    _add_interrupted()
    watched = _watched() or os.getpid()
    temporary = _temporary(stage, {**record, "watched": watched})
    RUNNING.mkdir(exist_ok=True)
    shutil.rmtree(RUNNING / stage, ignore_errors=True)
    os.replace(temporary, RUNNING / stage)
    start_writer(module, watched)


def end(stage: str, record: Mapping[str, Any], report: Path | None = None) -> None:
    """Leaves what to record of a stage that was not interrupted."""
    add(stage, record, report)
    shutil.rmtree(RUNNING / stage, ignore_errors=True)


def add(name: str, record: Mapping[str, Any], report: Path | None = None) -> None:
    """Leaves a record, whole or not at all, with a copy of the report's readable files."""
    os.replace(_temporary(name, record, report), _place(name))


def pending() -> list[Path]:
    """The records that wait, oldest first."""
    return sorted((FOLDER / "spool").glob("[0-9]*"))


def read(item: Path) -> dict[str, Any]:
    """The record of a folder of `pending`."""
    record: dict[str, Any] = json.loads((item / RECORD_FILE).read_text(encoding="utf-8"))
    return record


def left_ms(item: Path) -> int:
    """When a record of `pending` was left, milliseconds since 1970."""
    return int(item.name.partition("-")[0]) // 1_000_000


def start_writer(module: str, watched: int | None = None) -> None:
    """Starts `python -m module LOCK PID` in the background, niced and in a session of its own, unless one is at work.

    The writer inherits the lock that was taken for it, so that there is never a second one, however long it takes to start.

    Args:
        module: What writes the records.
        watched: The process PID; what runs the pipeline where it is None.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with LOCK_FILE.open("w") as lock, (FOLDER / "writer.log").open("a") as log:
        if _take(lock):
            process = _watched() if watched is None else watched
            writer = ["nice", "-n", "10", sys.executable, "-m", module, str(lock.fileno()), str(process)]
            subprocess.run(
                ["sh", "-c", '"$@" &', "sh", *writer],  # no child of this process, which may outlive it
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )


def serve(write: Callable[[Path], None], close: Callable[[], None], lock: IO[str], watched: int) -> None:
    """Gives each record to `write` and removes it, until the process `watched` is gone and nothing waits.

    Args:
        write: What it raises ends the writer; the record stays.
        close: Called when nothing waits any more.
        lock: The lock that `start_writer` took.
        watched: A process id; 0 is none.
    """
    holds = True
    while holds:
        is_over = _is_over(watched)  # asked first: what was left last is seen
        if is_over:
            _add_interrupted()
        for item in pending():
            _write_one(write, item)
        if is_over:
            close()
            fcntl.flock(lock, fcntl.LOCK_UN)
            holds = bool(pending()) and _take(lock)  # what came after the last look
        else:
            time.sleep(POLL_S)


def end_with(watched: int) -> None:
    """Ends this process `GRACE_S` after the process `watched`, whatever it is doing; 0 is none."""

    def wait() -> None:
        while _is_alive(watched):
            time.sleep(POLL_S)
        time.sleep(GRACE_S)
        os._exit(1)

    if watched:
        threading.Thread(target=wait, daemon=True).start()


def drain(module: str, timeout_s: float = 60.0) -> bool:
    """Waits until nothing waits, starting a writer where there is none; False after `timeout_s` or when it failed."""
    ERROR_FILE.unlink(missing_ok=True)
    deadline = time.monotonic() + timeout_s
    while pending():
        if ERROR_FILE.exists() or time.monotonic() > deadline:
            return False
        start_writer(module)
        time.sleep(0.1)
    return True


def _temporary(name: str, record: Mapping[str, Any], report: Path | None = None) -> Path:
    """A record's folder, not in its place yet."""
    temporary = FOLDER / f".{os.getpid()}-{name}"
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "files").mkdir(parents=True)
    for file in sorted(report.rglob("*")) if report else []:
        if report and file.suffix in KEPT and file.is_file():
            copy = temporary / "files" / file.relative_to(report)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    (temporary / RECORD_FILE).write_text(dump_json(dict(record)), encoding="utf-8")
    return temporary


def _place(name: str) -> Path:
    """Where a record that is left now waits."""
    spool = FOLDER / "spool"
    spool.mkdir(parents=True, exist_ok=True)
    return spool / f"{time.time_ns():020d}-{name}"


def _add_interrupted() -> None:
    """Moves the records of the stages that were interrupted to what waits."""
    for item, record in _begun():
        if not _runs(record):
            with contextlib.suppress(FileNotFoundError):  # another process was first
                os.replace(item, _place(item.name))


def _is_over(watched: int) -> bool:
    """Whether the process is gone, and with it its stages: they end a moment after it."""
    return not (watched and _is_alive(watched)) and not any(
        record["watched"] == watched and _runs(record) for _, record in _begun()
    )


def _begun() -> Iterator[tuple[Path, dict[str, Any]]]:
    """The records that stages left when they started, and their folders."""
    for item in sorted(RUNNING.glob("*")):
        with contextlib.suppress(FileNotFoundError):  # the stage ends just now
            yield item, read(item)


def _runs(record: Mapping[str, Any]) -> bool:
    """Whether the process that left the record when it started a stage is alive."""
    return _is_alive(record["pid"], record["start_ms"])


def _is_alive(pid: int, start_ms: int | None = None) -> bool:
    """Whether there is this process; one with another start only has its id."""
    try:
        process = psutil.Process(pid)
        is_same = start_ms is None or abs(process.create_time() * 1000 - start_ms) < _SAME_START_MS
        return is_same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _take(lock: IO[str]) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _write_one(write: Callable[[Path], None], item: Path) -> None:
    try:
        write(item)
    except RejectedError as error:
        aside = FOLDER / "rejected"
        aside.mkdir(exist_ok=True)
        os.replace(item, aside / item.name)
        ERROR_FILE.write_text(f"{error}: set aside in {aside / item.name}", encoding="utf-8")
    else:
        shutil.rmtree(item)


def _watched() -> int:
    """The process that runs the pipeline: the flow, or DVC; 0, which is none, where a stage was started by hand."""
    if WATCH in os.environ:
        return int(os.environ[WATCH])
    if "DVC_STAGE" not in os.environ:
        return 0
    return next((process.pid for process in psutil.Process().parents() if process.name() not in _SHELLS), 0)
