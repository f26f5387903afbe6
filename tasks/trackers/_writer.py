"""The process that gives the records of `_spool` to the trackers: `python -m tasks.trackers._writer LOCK PID`.

Each tracker writes on a thread of its own, so that one that does not answer holds up no other. Meanwhile the machine and the
stages that run are sampled here, so that no stage pays for it.
"""

import importlib
import json
import os
import sys
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO

from tasks.trackers import _record, _spool
from tasks.trackers._system import Sampler

POLL_S = 0.3


def main(lock: int, watched: int) -> None:
    """Writes what waits until the process `watched` is gone; `lock` is the inherited file of the writer's lock."""
    _end_with(watched)
    with open(lock, "w") as held:
        serve(held, watched)


def serve(lock: IO[str], watched: int) -> None:
    """Gives each record to its trackers, until the process `watched` is gone and nothing waits but for those that failed.

    Args:
        lock: The lock that `_spool.start_writer` took.
        watched: A process id; 0 is none.
    """
    trackers, sampler = Trackers(), Sampler()
    holds = True
    while holds:
        is_over = _spool.is_over(watched)  # asked first: what was left last is seen
        if is_over:
            _spool.add_interrupted()
        sampler.sample()
        is_busy = trackers.write()
        if is_busy or not is_over:
            time.sleep(POLL_S)
        else:
            trackers.close()
            _spool.unlock(lock)
            holds = trackers.has_work() and _spool.take(lock)  # what came after the last look


class Trackers:
    """The trackers that records wait for. One that fails is left alone until the next record."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(max_workers=8)
        self._writers: dict[str, _record.Writer] = {}
        self._busy: dict[str, Future[None]] = {}
        self._failed: set[str] = set()

    def has_work(self) -> bool:
        """Whether a record waits for a tracker that has not failed."""
        return bool(_spool.waiting() - self._failed)

    def write(self) -> bool:
        """Has each tracker write what waits for it; returns whether any is still at it."""
        if _spool.is_retry():
            self._failed.clear()
        self._busy = {name: future for name, future in self._busy.items() if not future.done()}
        for name in _spool.waiting() - self._failed - set(self._busy):
            self._busy[name] = self._pool.submit(self._write, name)
        return bool(self._busy)

    def close(self) -> None:
        """Ends what is open in each tracker that answered last."""
        for key, writer in self._writers.items():
            name = key.partition(" ")[0]
            if name not in self._failed:
                try:
                    writer.close()
                except Exception as error:  # noqa: BLE001  a tracker's trouble is its own
                    _spool.note_error(name, one_line(error))
        self._writers.clear()

    def _write(self, name: str) -> None:
        for item in _spool.pending(name):
            try:
                self._write_one(name, _spool.target(item, name), _record.read(item))
            except _spool.RejectedError as error:
                _spool.reject(item, name, one_line(error))
            except Exception as error:  # noqa: BLE001  a tracker's trouble is its own: the record waits
                _spool.note_error(name, one_line(error))
                self._failed.add(name)
                return
            else:
                _spool.done(item, name)

    def _write_one(self, name: str, target: dict[str, str], record: _record.StageRecord | _record.CachedRecord) -> None:
        key = f"{name} {json.dumps(target, sort_keys=True)}"
        if key not in self._writers:
            self._writers[key] = importlib.import_module(f"tasks.trackers.{name}").Writer(target)
        writer = self._writers[key]
        if isinstance(record, _record.CachedRecord):
            writer.link(record)
        else:
            writer.write(record)


def one_line(error: Exception) -> str:
    """An error's message, short enough to be printed beside a stage's own."""
    return " ".join(f"{error or type(error).__name__}".split())[:300]


def _end_with(watched: int) -> None:
    """Ends this process `GRACE_S` after the process `watched`, whatever it is doing; 0 is none."""

    def wait() -> None:
        while _spool.is_alive(watched):
            time.sleep(POLL_S)
        time.sleep(_spool.GRACE_S)
        os._exit(1)

    if watched:
        threading.Thread(target=wait, daemon=True).start()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
