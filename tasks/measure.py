"""Measures one candidate in this process, command by command: `python -m tasks.measure`, see `tasks.isolation.Worker`.

Load time and memory are taken while nothing is loaded that a service would not load; accuracy, which needs more, comes last.
"""

import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.allocator import keep_freed_memory
from sightline.engines import Candidate
from sightline.errors import NotAvailableError, SightlineError
from sightline.pool import sessions
from sightline.predictor import Predictor
from sightline.preprocess import decode, prepare_batch
from tasks.commands import answer_commands

COLD: Final = 10
"""Requests before each window: what ran meanwhile has the processor's caches, and the first request took 1.3 to 1.7 times as
long as the others, so that it alone was the p99."""
WARM_BATCHES: Final = 2
VIDEO_RATE: Final = 30.0
"""Frames a second that the video's file names; it is read as fast as it goes."""
VIDEO_FRAMES: Final = 30
"""Different frames of a video."""


@dataclass(frozen=True)
class Job:
    """What to measure.

    Attributes:
        candidate: Its name; see `sightline.engines`.
        folder: The model folder.
        package: Where the engine's module is.
        conf: The service's score threshold, 0-1.
        images: Image files that are the requests, over and over.
        warmup: Requests after the first that do not count.
        raw: The raw dataset, for accuracy.
        dataset: The canonical dataset, for accuracy.
        champion: The checkpoint's folder, which names the images that judge it.
    """

    candidate: str
    folder: str
    package: str
    conf: float
    images: list[str]
    warmup: int
    raw: str
    dataset: str
    champion: str


class Bench:
    """A loaded candidate, and the images that it is asked about.

    Args:
        job: What to measure.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.requests = [Path(path).read_bytes() for path in job.images]
        self.next = 0
        self.size = Candidate.parse(job.candidate).batch
        self.predictor, self.load_ms = _timed(self._predictor)
        self.first_ms = self._times(1)[0]
        self.warm_ms = float(np.median(self._times(job.warmup) or [self.first_ms]))

    def loaded(self) -> dict[str, Any]:
        """The model's size, milliseconds to load it, of the first request and of those that warm it up (the median), the
        engine's facts, and how many sessions a service has of it.
        """
        engine = self.predictor.engine
        times = {"load_ms": self.load_ms, "first_ms": self.first_ms, "warm_ms": self.warm_ms}
        return {"size_mb": engine.size_bytes / 1e6, **times, "streams": sessions(engine), "facts": engine.facts()}

    def window(self, samples: int, cold: int = COLD) -> dict[str, Any]:
        """Some requests, one in flight, each of as many images as the candidate takes; `cold` before them do not count.

        Returns:
            `times_ms` from image files' bytes to their results; `cpu_percent`, 100 is one core; `rss_mb`, the peak memory.
        """
        self._times(cold)
        used, begin = time.process_time(), time.perf_counter()
        times_ms = self._times(samples)
        share = (time.process_time() - used) / (time.perf_counter() - begin)
        return {"times_ms": times_ms, "cpu_percent": 100 * share, "rss_mb": peak_rss_mb()}

    def bare(self, samples: int) -> dict[str, Any]:
        """The model alone, on as many images as the candidate takes, decoded and prepared: `times_ms`."""
        run = partial(self.predictor.engine.run, self._prepared(self.size), self.job.conf)
        return {"times_ms": [_timed(run)[1] for _ in range(samples)]}

    def batch(self, size: int, samples: int) -> dict[str, Any]:
        """The model alone on batches: `images_s`, None where they are larger than it takes."""
        if size > self.predictor.description.max_batch:
            return {"images_s": None}
        images = self._prepared(size)
        run = partial(self.predictor.engine.run, images, self.job.conf)
        for _ in range(WARM_BATCHES):
            run()
        times_ms = [_timed(run)[1] for _ in range(max(1, samples // size))]
        return {"images_s": 1000 * size / float(np.median(times_ms))}

    def streams(self, count: int, samples: int, least_ms: float = 0) -> dict[str, Any]:
        """As many predictors as a service has on all cores, each with a request in flight.

        Args:
            count: Predictors.
            samples: Images for each, at least: a request has as many as the candidate takes.
            least_ms: As many more as take so long one after the other: of a few, starting and ending would count too much.

        Returns:
            `images_s` of all together; `rss_mb`, the peak memory of the process.
        """
        requests = max(-(-samples // self.size), round(least_ms / self.warm_ms))
        predictors = [self.predictor, *(self._predictor() for _ in range(count - 1))]
        for predictor in predictors:
            predictor.warm_up()
        with ThreadPoolExecutor(count) as pool:
            begin = time.perf_counter()
            for future in [pool.submit(self._work, predictor, requests) for predictor in predictors]:
                future.result()
            images_s = count * requests * self.size / (time.perf_counter() - begin)
        return {"images_s": images_s, "rss_mb": peak_rss_mb()}

    def video(self, frames: int) -> dict[str, Any]:
        """Frames of a video of the requests' images, one after the other, decoded on one thread: `frames_s`."""
        import cv2

        cv2.setNumThreads(1)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "video.mp4"
            write_video(path, [decode(data) for data in self.requests[: min(frames, VIDEO_FRAMES)]], frames)
            video = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
            if not video.isOpened():
                raise SightlineError("OpenCV reads no MPEG-4, expected a build with FFmpeg: install opencv-python-headless")
            shown, begin = 0, time.perf_counter()
            while (found := video.read())[0]:
                self.predictor.frame(cv2.cvtColor(found[1], cv2.COLOR_BGR2RGB), self.job.conf)
                shown += 1
            seconds = time.perf_counter() - begin
            video.release()
        return {"frames_s": shown / seconds}

    def accuracy(self) -> dict[str, Any]:
        """The task's `metrics` on the images that judge the champion."""
        from tasks import gates
        from tasks.evaluate import evaluate
        from tasks.tables import Dataset

        job = self.job
        samples = gates.samples(Dataset.read(Path(job.raw), Path(job.dataset)), Path(job.champion))
        metrics = evaluate(self.predictor.engine, samples, name=job.candidate).metrics
        return {"metrics": {key: round(value, 6) for key, value in metrics.items()}}

    def _predictor(self) -> Predictor:
        return Predictor(Path(self.job.folder), self.job.candidate, package=self.job.package)

    def _times(self, samples: int) -> list[float]:
        times_ms = []
        for _ in range(samples):
            files = [self.requests[(self.next + index) % len(self.requests)] for index in range(self.size)]
            self.next += self.size
            times_ms.append(_timed(partial(self.predictor.batch, files, self.job.conf))[1])
        return times_ms

    def _work(self, predictor: Predictor, requests: int) -> None:
        for index in range(requests):
            files = [self.requests[(index * self.size + place) % len(self.requests)] for place in range(self.size)]
            predictor.batch(files, self.job.conf)

    def _prepared(self, count: int) -> NDArray[np.uint8]:
        """`count` of the requests' images, uint8 (N, H, W, 3) of the model's input size."""
        chosen = [decode(self.requests[index % len(self.requests)]) for index in range(count)]
        return prepare_batch(chosen, self.predictor.description.input)[0]


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    """What a function returns, and how long it took, milliseconds."""
    begin = time.perf_counter()
    result = function()
    return result, (time.perf_counter() - begin) * 1000


def write_video(path: Path, images: Sequence[NDArray[np.uint8]], frames: int) -> None:
    """Writes an MPEG-4 video (Part 2) of the first image's size, of images that come over and over.

    Args:
        path: An .mp4.
        images: uint8 (H, W, 3) RGB; those of another size are resized.
        frames: How many there are to be.

    Raises:
        SightlineError: OpenCV has no encoder.
    """
    import cv2

    height, width = (side - side % 2 for side in images[0].shape[:2])  # its colours are of 2x2 pixels
    video = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), VIDEO_RATE, (width, height))
    if not video.isOpened():
        raise SightlineError("OpenCV writes no MPEG-4, expected a build with FFmpeg: install opencv-python-headless")
    pictures = [cv2.resize(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), (width, height)) for image in images]
    for index in range(frames):
        video.write(pictures[index % len(pictures)])
    video.release()


def peak_rss_mb() -> float:
    """Peak resident memory of this process, MB (10^6 bytes).

    Linux carries `ru_maxrss` of the parent over fork and exec; VmHWM of proc(5) starts anew with the program.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("/proc/self/status has no VmHWM: expected Linux 2.6 or later")


def main() -> None:
    """Answers commands, `{"do": NAME, ...}`: `load` with a `Job`, then the methods of `Bench` by their names and arguments."""
    keep_freed_memory()  # as the service does
    loaded: list[Bench] = []

    def answer(command: dict[str, Any]) -> dict[str, Any]:
        name = command.pop("do")
        try:
            if name == "load":
                loaded.append(Bench(Job(**command)))
                result = loaded[0].loaded()
            else:
                result = getattr(loaded[0], name)(**command)
        except NotAvailableError as error:
            return {"status": "not available", "message": str(error)}
        except SightlineError as error:
            return {"status": "failed", "message": str(error)}
        return {"status": "ok", "message": "", **result}

    answer_commands(answer)


if __name__ == "__main__":
    main()
