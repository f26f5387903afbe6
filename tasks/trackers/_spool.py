"""Records that wait under work/tracking for the tracker's writer.

To import MLflow costs a stage 2.5 CPU seconds. So a stage only leaves a record here, and one writer in the background, which
imports MLflow once, records it and ends with the pipeline run. A writer that cannot reach its server, or whose run was killed,
leaves the records where they are: the next stage starts another one.
"""

import fcntl
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import psutil

from sightline.contract import dump_json
from sightline.errors import SightlineError

FOLDER = Path("work/tracking")
ERROR_FILE = FOLDER / "error.txt"
LOCK_FILE = FOLDER / "writer.lock"
RECORD_FILE = "record.json"
WATCH = "SIGHTLINE_WATCH"
"""Environment: the process whose end is the end of the pipeline run."""
KEPT = {".png", ".csv", ".json", ".md", ".html", ".yaml", ".txt"}
POLL_S = 0.3
GRACE_S = 10.0
"""How long a writer may outlive the process that it watches."""
_SHELLS = {"sh", "dash", "bash", "zsh", "fish", "ksh"}


class RejectedError(SightlineError):
    """The tracker will never take this record."""


def add(name: str, record: Mapping[str, Any], report: Path | None = None) -> None:
    """Leaves a record, whole or not at all, with a copy of the report's readable files."""
    spool = FOLDER / "spool"
    temporary = FOLDER / f".{os.getpid()}-{name}"
    shutil.rmtree(temporary, ignore_errors=True)
    (temporary / "files").mkdir(parents=True)
    for file in sorted(report.rglob("*")) if report else []:
        if report and file.suffix in KEPT and file.is_file():
            copy = temporary / "files" / file.relative_to(report)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)
    (temporary / RECORD_FILE).write_text(dump_json(dict(record)), encoding="utf-8")
    spool.mkdir(exist_ok=True)
    os.replace(temporary, spool / f"{time.time_ns():020d}-{name}")


def pending() -> list[Path]:
    """The records that wait, oldest first."""
    return sorted((FOLDER / "spool").glob("[0-9]*"))


def read(item: Path) -> dict[str, Any]:
    """The record of a folder of `pending`."""
    record: dict[str, Any] = json.loads((item / RECORD_FILE).read_text(encoding="utf-8"))
    return record


def start_writer(module: str) -> None:
    """Starts `python -m module LOCK PID` in the background, niced and in a session of its own, unless one is at work.

    The writer inherits the lock that was taken for it, so that there is never a second one, however long it takes to start.
    """
    FOLDER.mkdir(parents=True, exist_ok=True)
    with LOCK_FILE.open("w") as lock, (FOLDER / "writer.log").open("a") as log:
        if _take(lock):
            writer = ["nice", "-n", "10", sys.executable, "-m", module, str(lock.fileno()), str(_watched())]
            subprocess.run(
                ["sh", "-c", '"$@" &', "sh", *writer],  # no child of this process, which may outlive it
                check=True,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                pass_fds=[lock.fileno()],
            )


def serve(write: Callable[[Path], None], lock: IO[str], watched: int) -> None:
    """Gives each record to `write` and removes it, until the process `watched` is gone or, without one, nothing waits.

    A run that ends by itself waits for its records (`drain`); those of one that was killed stay.

    Args:
        write: What it raises ends the writer; the record stays.
        lock: The lock that `start_writer` took.
        watched: A process id; 0 is none.
    """
    while watched and _is_alive(watched):
        for item in pending():
            if _is_alive(watched):
                _write_one(write, item)
        time.sleep(POLL_S)
    holds = not watched
    while holds:
        for item in pending():
            _write_one(write, item)
        fcntl.flock(lock, fcntl.LOCK_UN)
        holds = bool(pending()) and _take(lock)  # what came after the last look


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
    end = time.monotonic() + timeout_s
    while pending():
        if ERROR_FILE.exists() or time.monotonic() > end:
            return False
        start_writer(module)
        time.sleep(0.1)
    return True


def _is_alive(process: int) -> bool:
    try:
        return psutil.Process(process).status() != psutil.STATUS_ZOMBIE
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
