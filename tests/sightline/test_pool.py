import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from graphs import jpeg

from sightline import cores as cores_module
from sightline.cores import available_cores
from sightline.errors import SightlineError
from sightline.pool import Answer, Pool, QueueFullError
from sightline.predictor import Predictor, Timings

IMAGE = jpeg((255, 0, 0))


class Gated(Predictor):
    """A real predictor that holds its jobs until the gate opens."""

    def __init__(self, folder: Path, candidate: str | None = None) -> None:
        super().__init__(folder, candidate)
        self.gate = threading.Event()
        self.entered = threading.Semaphore(0)
        self.seen: list[float | None] = []
        self.sizes: list[int] = []

    def batch(self, files: Sequence[bytes], conf: float | None = None) -> list[tuple[dict[str, Any], Timings] | SightlineError]:
        self.seen += [conf] * len(files)
        self.sizes.append(len(files))
        self.entered.release()
        assert self.gate.wait(10)
        return super().batch(files, conf)


@pytest.fixture
def gated(detector: Path) -> Iterator[tuple[Gated, Pool]]:
    """One worker that holds its jobs, and a queue of two."""
    predictor = Gated(detector)
    pool = Pool([predictor], size=2)
    pool.start()
    yield predictor, pool
    predictor.gate.set()
    pool.close()


def test_two_workers_answer_each_request(detector: Path) -> None:
    pool = Pool([Predictor(detector), Predictor(detector)], size=64)
    pool.start()
    images = [jpeg((value, 0, 0), (32, 32), "PNG") for value in range(100, 132)]
    futures = [pool.submit(image) for image in images]
    scores = [future.result(10).result["detections"][0]["score"] for future in futures]
    pool.close()
    assert scores == [pytest.approx(value / 255, abs=1e-6) for value in range(100, 132)]


def test_a_full_queue_refuses_at_once_and_answers_what_it_took(gated: tuple[Gated, Pool]) -> None:
    predictor, pool = gated
    running = pool.submit(IMAGE)
    assert predictor.entered.acquire(timeout=10)
    waiting = [pool.submit(IMAGE), pool.submit(IMAGE)]
    assert pool.full
    with pytest.raises(QueueFullError, match="2 requests wait"):
        pool.submit(IMAGE)
    predictor.gate.set()
    assert all(isinstance(future.result(10), Answer) for future in [running, *waiting])
    assert not pool.full


def test_the_first_in_is_the_first_out(gated: tuple[Gated, Pool]) -> None:
    predictor, pool = gated
    first = pool.submit(IMAGE, 0.1)
    assert predictor.entered.acquire(timeout=10)
    futures = [first, pool.submit(IMAGE, 0.2), pool.submit(IMAGE, 0.3)]
    predictor.gate.set()
    assert [future.result(10).result["task"] for future in futures] == ["detect"] * 3
    assert predictor.seen == [0.1, 0.2, 0.3]


def test_a_cancelled_request_is_not_run(gated: tuple[Gated, Pool]) -> None:
    predictor, pool = gated
    pool.submit(IMAGE, 0.1)
    assert predictor.entered.acquire(timeout=10)
    cancelled, last = pool.submit(IMAGE, 0.2), pool.submit(IMAGE, 0.3)
    assert cancelled.cancel()
    predictor.gate.set()
    last.result(10)
    assert predictor.seen == [0.1, 0.3]


def test_a_bad_image_fails_its_own_request_alone(detector: Path) -> None:
    pool = Pool([Predictor(detector)], size=4)
    pool.start()
    bad, good = pool.submit(b"noise"), pool.submit(IMAGE)
    with pytest.raises(SightlineError, match="no image"):
        bad.result(10)
    assert good.result(10).queue_ms >= 0
    pool.close()


@pytest.mark.parametrize("engine", ["onnxruntime-cpu", "openvino-cpu"])
def test_what_waits_goes_together_as_far_as_the_candidate_takes_it(detector: Path, engine: str) -> None:
    predictor = Gated(detector, f"{engine}-fp32-b3")
    pool = Pool([predictor], size=16)
    pool.start()
    images = [jpeg((value, 0, 0), (32, 32), "PNG") for value in range(100, 106)]
    futures = [pool.submit(images[0])]
    assert predictor.entered.acquire(timeout=10)
    futures += [pool.submit(image) for image in images[1:5]]
    futures += [pool.submit(b"noise"), pool.submit(images[5], 0.2)]
    predictor.gate.set()
    with pytest.raises(SightlineError, match="no image"):
        futures.pop(5).result(10)
    scores = [future.result(10).result["detections"][0]["score"] for future in futures]
    assert scores == [pytest.approx(value / 255, abs=1e-6) for value in range(100, 106)], "each got its own"
    pool.close()
    assert predictor.sizes == [1, 3, 2, 1], "another threshold is another inference"


def test_close_answers_what_is_queued(detector: Path) -> None:
    pool = Pool([Predictor(detector)], size=16)
    pool.start()
    futures = [pool.submit(IMAGE) for _ in range(16)]
    pool.close()
    assert all(future.done() and not future.exception() for future in futures)


def test_ready_once_every_worker_is_warm(detector: Path) -> None:
    class Slow(Predictor):
        gate = threading.Event()

        def warm_up(self, runs: int = 3) -> None:
            assert self.gate.wait(10)
            super().warm_up(runs)

    pool = Pool([Slow(detector), Predictor(detector)], size=4)
    pool.start()
    assert not pool.ready
    future: Future[Answer] = pool.submit(IMAGE)
    Slow.gate.set()
    future.result(10)
    pool.close()
    assert pool.ready


def test_a_worker_that_cannot_run_says_so(detector: Path) -> None:
    class Broken(Predictor):
        def warm_up(self, runs: int = 3) -> None:
            raise RuntimeError("no such instruction")

    pool = Pool([Broken(detector)], size=4)
    pool.start()
    pool.close()
    with pytest.raises(RuntimeError, match="no such instruction"):
        _ = pool.ready


@pytest.mark.parametrize(
    ("quota", "cores"), [("100000 100000", 1), ("50000 100000", 1), ("6400000 100000", 8), ("max 100000", 8)]
)
def test_cores_follow_affinity_and_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quota: str, cores: int) -> None:
    (tmp_path / "cpu.max").write_text(quota + "\n")
    monkeypatch.setattr(cores_module, "CGROUP_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)))
    assert available_cores() == cores
