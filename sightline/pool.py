"""A bounded first-in, first-out queue and its workers: a thread for each session, each with a predictor of its own."""

import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final

from sightline.cores import available_cores
from sightline.engines import BaseEngine
from sightline.errors import SightlineError
from sightline.predictor import Predictor, Timings

GPU_SESSIONS: Final = 2
"""One computes while the other's images are decoded and copied."""


class QueueFullError(SightlineError):
    """As many requests wait as may."""


@dataclass(frozen=True)
class Answer:
    """A result, and how long its request waited and ran."""

    result: dict[str, Any]
    queue_ms: float
    timings: Timings


@dataclass(frozen=True)
class _Job:
    data: bytes
    conf: float | None
    future: "Future[Answer]" = field(default_factory=Future)
    queued: float = field(default_factory=time.perf_counter)


class Pool:
    """Runs predictors in threads; each takes up to its `max_batch` of the requests that wait in one inference.

    Args:
        predictors: One a thread.
        size: How many requests may wait beside those that run.
    """

    def __init__(self, predictors: Sequence[Predictor], size: int) -> None:
        self.size = size
        self._jobs: queue.Queue[_Job | None] = queue.Queue(size)
        self._warm: list[Future[None]] = [Future() for _ in predictors]
        self._threads = [
            threading.Thread(target=self._work, args=pair, name=f"inference-{index}", daemon=True)
            for index, pair in enumerate(zip(predictors, self._warm, strict=True))
        ]

    def __len__(self) -> int:
        return len(self._threads)

    @property
    def ready(self) -> bool:
        """Whether every worker has run its model.

        Raises:
            Exception: What stopped one of them from it.
        """
        warm = [future.result() is None if future.done() else False for future in self._warm]
        return all(warm)

    @property
    def full(self) -> bool:
        """Whether a request would be refused now."""
        return self._jobs.full()

    def start(self) -> None:
        """Starts the threads; each runs its model on an empty image first."""
        for thread in self._threads:
            thread.start()

    def submit(self, data: bytes, conf: float | None = None) -> "Future[Answer]":
        """Queues an encoded image.

        Raises:
            QueueFullError: As many wait as may.
        """
        job = _Job(data, conf)
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise QueueFullError(f"{self.size} requests wait, which is the most: try again, or start more workers") from None
        return job.future

    def close(self) -> None:
        """Answers what is queued, then ends the threads."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self, predictor: Predictor, warm: "Future[None]") -> None:
        try:
            predictor.warm_up()
        except Exception as error:  # noqa: BLE001  whoever asks whether the pool is ready gets it
            warm.set_exception(error)
        else:
            warm.set_result(None)
        is_open = True
        while is_open:
            waiting = [self._jobs.get()]
            with contextlib.suppress(queue.Empty):  # what waits already goes along, as far as the candidate takes it
                while waiting[-1] is not None and len(waiting) < predictor.max_batch:
                    waiting.append(self._jobs.get_nowait())
            is_open = waiting[-1] is not None
            jobs = [job for job in waiting if job is not None and job.future.set_running_or_notify_cancel()]
            for conf in dict.fromkeys(job.conf for job in jobs):
                _answer(predictor, [job for job in jobs if job.conf == conf], conf)


def _answer(predictor: Predictor, jobs: Sequence[_Job], conf: float | None) -> None:
    """Answers jobs of one threshold by one inference."""
    waited_ms = [(time.perf_counter() - job.queued) * 1000 for job in jobs]
    try:
        found = predictor.batch([job.data for job in jobs], conf)
    except Exception as error:  # noqa: BLE001  whoever waits for the answer gets it
        for job in jobs:
            job.future.set_exception(error)
        return
    for job, queue_ms, each in zip(jobs, waited_ms, found, strict=True):
        if isinstance(each, SightlineError):
            job.future.set_exception(each)
        else:
            job.future.set_result(Answer(each[0], queue_ms, each[1]))


def sessions(engine: BaseEngine) -> int:
    """How many sessions of an engine a service has: its candidate's, or what keeps the machine busy.

    That is as many as its threads leave room for, or a GPU's few.
    """
    return engine.streams or (GPU_SESSIONS if engine.on_gpu else max(1, available_cores() // engine.threads))
