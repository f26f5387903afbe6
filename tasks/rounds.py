"""Candidates measured side by side: in turns, window by window, so that a machine that drifts does so for all of them."""

import itertools
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np

from sightline.engines import Candidate
from tasks import schema
from tasks.energy import GpuWatch, Meter
from tasks.isolation import Worker
from tasks.measure import COLD, Job
from tasks.progress import Progress
from tasks.windows import AGREE, stable_from, trimmed_mean

WINDOW: Final = 100
"""Requests of a window at most."""
PATIENCE: Final = 10
"""Windows among which three in turn are to agree; a candidate of which none do is taken from its first one on."""
BELIEVED: Final = 20
"""Windows of which the error of a p99 is believed: of fewer it may be small by chance."""
SCREENED: Final = 10
"""Requests of each of two short looks at a candidate's numbers of threads and batch sizes, before the best are measured."""
LOOK_NOISE: Final = 0.05
"""By which the medians of two such looks at the same candidate may differ."""
SHARES: Final = (50, 90, 95, 99)
TURNS: Final = 3
"""Of what is measured after the windows."""
SLOWER: Final = 3
"""Times as long as warm requests others may take, where that is longer than `benchmark.timeout_s` allows."""
STREAMS_MS: Final = 500.0
"""Of requests of each session, at least, where all of a service are busy: of fewer, starting and ending count too much."""
GROWTH: Final = 0.1
"""By which share a process's memory grows while it is measured, at least, where it may leak."""


class Contender:
    """A candidate under measurement.

    Args:
        row: Its row of the benchmark; what is measured is added, and why it is not.
        job: What to measure.
        settings: How.
        judged: How many images its accuracy is taken on.
    """

    def __init__(self, row: dict[str, Any], job: Job, settings: schema.Benchmark, judged: int) -> None:
        self.row, self.job, self.settings, self.judged = row, job, settings, judged
        self.windows: list[dict[str, Any]] = []
        self.start: int | None = None  # the first window of those that agree
        self.turns: defaultdict[str, list[float]] = defaultdict(list)
        self.worker: Worker | None = None
        self.warm_ms = 0.0

    @property
    def runs(self) -> bool:
        """Whether there is more to measure."""
        return self.worker is not None

    @property
    def is_stable(self) -> bool:
        """Whether three of its windows in turn agreed."""
        return self.start is not None

    @property
    def is_measured(self) -> bool:
        """Whether it has as many requests that count as are asked for."""
        return (self.is_stable or len(self.windows) >= PATIENCE) and len(self.counted) >= self.fewest

    @property
    def is_settled(self) -> bool:
        """Whether another window has nothing to add: its p99 is known as well as is asked for, or it cannot win."""
        is_known = len(self.counted) >= BELIEVED and self.p99_error <= self.settings.p99_error
        return self.is_measured and (is_known or not self.row["shipped"])

    @property
    def p99_error(self) -> float:
        """The standard error of its p99, as a share of it."""
        mean, error = trimmed_mean([window["p99_ms"] for window in self.counted])
        return error / mean

    @property
    def counted(self) -> list[dict[str, Any]]:
        """The windows from where they are stable; all of them where they are not."""
        return self.windows[self.start or 0 :]

    @property
    def window_size(self) -> int:
        """Requests of a window."""
        return min(WINDOW, -(-self.settings.samples // AGREE))

    @property
    def fewest(self) -> int:
        """Windows that it has at least."""
        return max(AGREE, -(-self.settings.samples // self.window_size))

    def ask(self, command: str, *, limit_s: float | None = None, sessions: int = 1, **arguments: Any) -> dict[str, Any]:
        """The answer of its process; where that ends, the row says why, and the answer is empty."""
        assert self.worker is not None
        answer = self.worker.ask({"do": command, **arguments}, limit_s or self.settings.timeout_s, sessions)
        if answer["status"] != "ok":
            self.end(answer["status"], answer["message"])
            return {}
        return answer

    def end(self, status: str, message: str) -> None:
        """Measures nothing more."""
        self.row |= {"status": status, "message": message}
        self.close()

    def close(self) -> None:
        """Ends its process."""
        if self.worker is not None:
            self.worker.close()
            self.worker = None

    def _time_s(self, requests: float) -> float:
        """What so many requests may take."""
        return SLOWER * requests * self.warm_ms / 1000

    def load(self) -> None:
        """Starts its process, and loads the model there."""
        self.worker = Worker("tasks.measure", self.settings.memory_mb)
        if answer := self.ask("load", **asdict(self.job)):
            self.row |= {key: _rounded(answer[key]) for key in ("size_mb", "load_ms", "first_ms", "streams", "facts")}
            self.warm_ms = answer["warm_ms"]

    def look(self) -> float:
        """The median of a few requests, milliseconds; infinite where there is none."""
        answer = self.ask("window", samples=SCREENED, cold=1) if self.runs else {}
        return float(np.median(answer["times_ms"])) if answer else float("inf")

    def window(self) -> None:
        """Measures another window."""
        limit_s = max(self.settings.timeout_s, self._time_s(self.window_size + COLD))
        meter = Meter()
        with GpuWatch(self.worker.pid if self.worker else 0) as gpu:
            answer = self.ask("window", limit_s=limit_s, samples=self.window_size)
        joules = meter.read()
        bare = self.ask("bare", samples=-(-self.window_size // 10)) if answer else {}
        if bare:
            images = (self.window_size + COLD) * self.row["batch"]  # those that do not count take energy too
            more = {"energy_j": None if joules is None else joules / images, **gpu.read()}
            usage = {key: answer[key] for key in ("cpu_percent", "rss_mb")}
            self.windows.append({**usage, **_summary(answer["times_ms"]), "bare_ms": bare["times_ms"], **more})
            if self.start is None and len(self.windows) <= PATIENCE:
                self.start = stable_from([window["p50_ms"] for window in self.windows])

    def memory_of_all_sessions(self) -> None:
        """The memory of as many sessions as a service has, each with a request in flight."""
        if self.row["shipped"] and (answer := self._all_sessions(samples=1)):
            self.row["streams_rss_mb"] = _rounded(answer["rss_mb"])

    def _all_sessions(self, samples: int, least_ms: float = 0) -> dict[str, Any]:
        count = self.row["streams"]
        limit_s, more = count * self.settings.timeout_s, {"count": count, "samples": samples, "least_ms": least_ms}
        return self.ask("streams", limit_s=limit_s, sessions=count, **more)

    def accuracy(self) -> None:
        """The task's metrics; a detector's `precision` is not the precision of its arithmetic."""
        share = max(1.0, self.judged / self.window_size)
        limit_s = max(share * self.settings.timeout_s, self._time_s(self.judged / self.row["batch"]))
        sessions = self.row["streams"]  # whose memory may not be given back yet
        if answer := self.ask("accuracy", limit_s=limit_s, sessions=sessions):
            metrics = answer["metrics"].items()
            self.row |= {f"metric/{key}" if key in self.row else key: value for key, value in metrics} | self._latency()
            self.row |= {"status": "ok", "message": self._growth()}

    def rest(self) -> None:
        """Another turn of what is not needed: the model alone in batches, a video, and all cores busy.

        Columns are the medians of the turns; where one fails, they stay as they are, and the message says why.
        """
        samples = max(1, self.settings.samples // 10 // TURNS)
        asked: dict[str, Callable[[], dict[str, Any]]] = {}
        if self.row["shipped"]:  # first: selections go by it
            asked["streams_images_s"] = partial(self._all_sessions, samples, least_ms=STREAMS_MS)
        for size in self.settings.batches:
            asked[f"batch{size}_images_s"] = partial(self.ask, "batch", size=size, samples=samples)
        asked["video_fps"] = partial(self.ask, "video", frames=samples)
        for column, ask in asked.items():
            said, answer = self.row["message"], ask()
            if not answer:
                why = f"{column}: {self.row['status']}: {self.row['message']}"
                self.row |= {"status": "ok", "message": "; ".join(filter(None, (said, why)))}
                return
            value = answer["frames_s" if column == "video_fps" else "images_s"]
            if value is not None:
                self.turns[column].append(value)
                self.row[column] = _rounded(float(np.median(self.turns[column])))

    def _growth(self) -> str:
        """What is said of a process whose peak memory grew in each half of its windows, and by more than windows differ."""
        first, middle, last = (self.windows[index]["rss_mb"] for index in (0, len(self.windows) // 2, -1))
        if not first < middle < last or last <= first * (1 + GROWTH):
            return ""
        return (
            f"rss_mb grew from {first:.4g} to {last:.4g} from the first to the last of {len(self.windows)} windows: it may leak"
        )

    def _latency(self) -> dict[str, Any]:
        """What the windows say from where they are stable: trimmed means of each window's figure."""
        counted = self.counted
        energy = [window["energy_j"] for window in counted]
        found = {
            **{key: trimmed_mean([window[key] for window in counted])[0] for key in (f"p{share}_ms" for share in SHARES)},
            "bare_p50_ms": float(np.median(np.concatenate([window["bare_ms"] for window in counted]))),
            "throughput": 1000 * self.row["batch"] / trimmed_mean([window["mean_ms"] for window in counted])[0],
            "cpu_percent": float(np.mean([window["cpu_percent"] for window in counted])),
            "rss_mb": counted[-1]["rss_mb"],
            "energy_j": None if None in energy else float(np.mean(energy)),
            "gpu_percent": _mean(window["gpu_percent"] for window in counted),
            "vram_mb": max((window["vram_mb"] for window in counted if window["vram_mb"] is not None), default=None),
            "samples": sum(window["samples"] for window in counted),
            "windows": len(self.windows),
            "is_stable": self.is_stable,
        }
        error = round(self.p99_error, 4) if math.isfinite(self.p99_error) else None
        return {key: _rounded(value) for key, value in found.items()} | {"p99_error": error}


def measure(contenders: Sequence[Contender], *, screen: bool) -> None:
    """Fills the contenders' rows; ends their processes.

    Args:
        contenders: Not loaded yet.
        screen: Look at them shortly first, and leave out what is best at nothing.
    """
    try:
        steps = sum(each.fewest + TURNS + 2 for each in contenders)  # load, windows, accuracy, the rest
        with Progress("benchmark", steps, "steps") as progress:
            for group in _groups(contenders) if screen else [contenders]:
                for each in group:
                    each.load()
                    progress.update(note=each.row["candidate"])
                if screen:  # before the next ones are loaded: memory holds what is left of each group
                    _screen(group)
            _take_turns(contenders, progress)
            for each in _running(contenders):
                each.memory_of_all_sessions()
            for each in _running(contenders):
                each.accuracy()
                progress.update(note=f"{each.row['candidate']} {each.row['status']}")
            for _ in range(TURNS):
                for each in _running(contenders):
                    each.rest()
                    progress.update(note=each.row["candidate"])
    finally:
        for each in contenders:
            each.close()


def _take_turns(contenders: Sequence[Contender], progress: Progress) -> None:
    """Measures windows: until each has its requests, then of those whose p99 is not known well enough, while time is left."""
    measured_at = None
    for turn in itertools.count():
        running = _running(contenders)
        if all(each.is_measured for each in running):
            measured_at = measured_at or time.monotonic()
            running = [each for each in running if not each.is_settled]
            if not running or time.monotonic() - measured_at >= running[0].settings.settle_s:
                return
        shift = turn % max(1, len(running))  # who comes first has no advantage of it
        for each in (*running[shift:], *running[:shift]):
            each.window()
            note = f" p99 ±{each.p99_error:.1%}" if measured_at and each.runs else ""
            progress.update(int(len(each.windows) <= each.fewest), each.row["candidate"] + note)


def _running(contenders: Sequence[Contender]) -> list[Contender]:
    return [each for each in contenders if each.runs]


def _groups(contenders: Sequence[Contender]) -> list[list[Contender]]:
    """Those of the same engine, precision and number of streams, of which a look sees nothing."""
    groups: defaultdict[tuple[str, str, int], list[Contender]] = defaultdict(list)
    for each in contenders:
        candidate = Candidate.parse(each.row["candidate"])
        groups[candidate.engine, candidate.precision, candidate.streams].append(each)
    return list(groups.values())


def _screen(group: Sequence[Contender]) -> None:
    """Leaves of a group the threads and batch sizes that are best at something at a short look.

    Best at one of: the median, images/s, and images/s of each thread, which is what a machine with all its cores busy gives.
    """
    running = _running(group)
    if len(running) < 2:
        return
    looks = [[each.look() for each in running] for _ in range(2)]
    pairs = zip(running, zip(*looks, strict=True), strict=True)
    seen = {each: _Look.of(each, min(pair)) for each, pair in pairs if each.runs}
    for each, look in seen.items():
        better = min((other for other in seen if seen[other].beats(look)), key=lambda other: seen[other], default=None)
        if better:  # the fastest one of them, which no other beats
            each.end("screened out", f"{look} at a short look, {better.row['candidate']} has {seen[better]}")


class _Look(NamedTuple):
    """What a short look at a candidate says."""

    p50_ms: float
    images_s: float
    images_s_thread: float

    @classmethod
    def of(cls, contender: Contender, p50_ms: float) -> "_Look":
        images_s = 1000 * contender.row["batch"] / p50_ms
        return cls(p50_ms, images_s, images_s / contender.row["threads"])

    def beats(self, other: "_Look") -> bool:
        """Whether it is faster by more than such a look may be wrong, and brings as many images at least."""
        return (
            self.p50_ms * (1 + LOOK_NOISE) <= other.p50_ms
            and self.images_s >= other.images_s
            and self.images_s_thread >= other.images_s_thread
        )

    def __str__(self) -> str:
        return f"p50_ms {self.p50_ms:.3g}, {self.images_s:.3g} images/s, {self.images_s_thread:.3g} a thread"


def _summary(times_ms: Sequence[float]) -> dict[str, float]:
    """Percentiles and mean of a window, milliseconds, and its number of requests.

    Percentiles are by mean ranks (type 6 of Hyndman and Fan, Sample quantiles in statistical packages, 1996): p99 of 100
    requests is nearly the slowest one. The second slowest, which NumPy's default takes, would be a p98.
    """
    shares = zip(SHARES, np.percentile(times_ms, SHARES, method="weibull").tolist(), strict=True)
    return {**{f"p{share}_ms": value for share, value in shares}, "mean_ms": float(np.mean(times_ms)), "samples": len(times_ms)}


def _mean(values: Iterable[float | None]) -> float | None:
    """Of values that are all there."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
