"""Candidates measured side by side: in turns, window by window, so that a machine that drifts does so for all of them."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from sightline.engines import Candidate
from tasks import schema
from tasks.isolation import Worker
from tasks.measure import Job
from tasks.parallel import cores
from tasks.progress import Progress

WINDOWS: Final = (3, 10)
"""The fewest and the most windows of a candidate."""
STABLE: Final = 0.1
"""The medians of the last three windows differ by this share at most, or there is another window."""
SCREENED: Final = 20
"""Requests of the short look at the numbers of threads of a candidate, before the best of them is measured."""
SHARES: Final = (50, 90, 95, 99)
STEPS: Final = WINDOWS[0] + 3
"""Of the progress: load, windows, the rest, accuracy."""


class Contender:
    """A candidate under measurement.

    Args:
        row: Its row of the benchmark; what is measured is added, and why it is not.
        job: What to measure.
        settings: How.
    """

    def __init__(self, row: dict[str, Any], job: Job, settings: schema.Benchmark) -> None:
        self.row, self.job, self.settings = row, job, settings
        self.windows: list[dict[str, Any]] = []
        self.worker: Worker | None = Worker("tasks.measure", settings.memory_mb)

    @property
    def runs(self) -> bool:
        """Whether there is more to measure."""
        return self.worker is not None and self.worker.alive

    @property
    def is_done(self) -> bool:
        """Whether its windows are enough."""
        return len(self.windows) >= WINDOWS[1] or self.is_stable

    @property
    def is_stable(self) -> bool:
        """Whether its last three windows agree."""
        last = [_median(window) for window in self.windows[-3:]]
        return len(self.windows) >= WINDOWS[0] and max(last) <= min(last) * (1 + STABLE)

    def ask(self, command: str, **arguments: Any) -> dict[str, Any]:
        """The answer of its process; where that ends, the row says why, and the answer is empty."""
        assert self.worker is not None
        answer = self.worker.ask({"do": command, **arguments}, self.settings.timeout_s)
        if answer["status"] != "ok":
            self.end(answer["status"], answer["message"])
            return {}
        return answer

    def end(self, status: str, message: str) -> None:
        """Measures nothing more."""
        self.row |= {"status": status, "message": message}
        if self.worker is not None:
            self.worker.close()
        self.worker = None

    def load(self) -> None:
        """Loads the model."""
        answer = self.ask("load", **asdict(self.job))
        self.row |= {key: _rounded(answer[key]) for key in ("size_mb", "load_ms", "first_ms", "facts") if key in answer}

    def window(self) -> None:
        """Measures another window."""
        if answer := self.ask("window", samples=-(-self.settings.samples // WINDOWS[0])):
            self.windows.append(answer)

    def rest(self) -> None:
        """The model alone, in batches, and on all cores."""
        samples, threads = max(1, self.settings.samples // 10), Candidate.parse(self.row["candidate"]).threads
        if answer := self.ask("bare", samples=samples):
            self.row["bare_p50_ms"] = _rounded(_median(answer))
        for size in self.settings.batches:
            if self.runs and (answer := self.ask("batch", size=size, samples=samples)):
                self.row[f"batch{size}_images_s"] = _rounded(answer["images_s"])
        streams = max(1, cores() // threads)
        if self.runs and (answer := self.ask("streams", count=streams, samples=samples)):
            self.row |= {"streams": streams, "streams_images_s": _rounded(answer["images_s"])}
            self.row["streams_rss_mb"] = _rounded(answer["rss_mb"])

    def accuracy(self) -> None:
        """The task's metrics; a detector's `precision` is not the precision of its arithmetic."""
        if answer := self.ask("accuracy"):
            metrics = answer["metrics"].items()
            self.row |= {f"metric/{key}" if key in self.row else key: value for key, value in metrics} | self._latency()
            self.end("ok", "")

    def _latency(self) -> dict[str, Any]:
        """What the last three windows say together."""
        last = self.windows[-3:]
        times = np.concatenate([window["times_ms"] for window in last])
        energy = [window["energy_j"] for window in last]
        found = {
            **{f"p{share}_ms": float(np.percentile(times, share)) for share in SHARES},
            "throughput": 1000 / float(times.mean()),
            "cpu_percent": float(np.mean([window["cpu_percent"] for window in last])),
            "rss_mb": last[-1]["rss_mb"],
            "energy_j": None if None in energy else float(np.mean(energy)),
            "samples": len(times),
            "windows": len(self.windows),
            "is_stable": self.is_stable,
        }
        return {key: _rounded(value) for key, value in found.items()}


def measure(contenders: Sequence[Contender]) -> None:
    """Fills the contenders' rows; ends their processes."""
    try:
        with Progress("benchmark", STEPS * len(contenders), "steps") as progress:
            for each in _running(contenders):
                each.load()
                progress.update(note=each.row["candidate"])
            _screen(contenders)
            for turn in range(WINDOWS[1]):
                for each in [each for each in _running(contenders) if not each.is_done]:
                    each.window()
                    progress.update(int(turn < WINDOWS[0]), each.row["candidate"])
            for each in _running(contenders):
                each.rest()
                progress.update(note=each.row["candidate"])
            for each in _running(contenders):
                each.accuracy()
                progress.update(note=f"{each.row['candidate']} {each.row['status']}")
    finally:
        for each in contenders:
            if each.worker is not None:
                each.worker.close()


def _running(contenders: Sequence[Contender]) -> list[Contender]:
    return [each for each in contenders if each.runs]


def _screen(contenders: Sequence[Contender]) -> None:
    """Of each engine and precision, leaves the number of threads that is fastest at a short look."""
    groups: Mapping[tuple[str, str], list[Contender]] = defaultdict(list)
    for each in _running(contenders):
        groups[each.row["engine"], each.row["precision"]].append(each)
    for group in groups.values():
        if len(group) < 2:
            continue
        looks = {each.row["candidate"]: each.ask("window", samples=SCREENED) for each in group}
        seen = {name: _median(look) for name, look in looks.items() if look}
        best = min(seen, key=lambda name: (seen[name], name), default="")
        for each in group:
            name = each.row["candidate"]
            if each.runs and name != best:
                message = f"p50_ms {seen[name]:.3g} at a short look, {best} has {seen[best]:.3g}"
                each.end("screened out", message)


def _median(window: Mapping[str, Any]) -> float:
    return float(np.median(window["times_ms"]))


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
