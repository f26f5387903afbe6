"""Measures one candidate in this process: `python -m tasks.measure JOB RESULT`, both JSON.

Latency, load time and memory are taken first, while nothing is loaded that a service would not load; accuracy comes after.
"""

import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline.errors import MissingExtraError, SightlineError
from sightline.predictor import Predictor


@dataclass(frozen=True)
class Job:
    """What to measure.

    Attributes:
        candidate: `<engine>-<precision>`.
        folder: The model folder.
        package: Where the engine's module is.
        threads: Threads of one inference.
        conf: The service's score threshold, 0-1.
        images: Image files that are the requests, over and over.
        samples: Requests that are measured.
        warmup: Requests before them.
        raw: The raw dataset, for accuracy.
        dataset: The canonical dataset, for accuracy.
        champion: The checkpoint's folder, which names the images that judge it.
    """

    candidate: str
    folder: str
    package: str
    threads: int
    conf: float
    images: list[str]
    samples: int
    warmup: int
    raw: str
    dataset: str
    champion: str


def measure(job: Job) -> dict[str, Any]:
    """Measures a candidate.

    Returns:
        `figures`: `p50_ms`, `p90_ms`, `p95_ms`, `p99_ms` from an image file's bytes to its result with one request in flight,
        `throughput` in images/s, `rss_mb`, `load_ms`, `first_ms`; the task's `metrics`; and the engine's `facts`.
    """
    requests = [Path(path).read_bytes() for path in job.images]
    start = time.perf_counter()
    predictor = Predictor(Path(job.folder), job.candidate, job.threads, job.package)
    load_ms = (time.perf_counter() - start) * 1000
    times_ms = []
    for index in range(1 + job.warmup + job.samples):
        data = requests[index % len(requests)]
        start = time.perf_counter()
        predictor(data, job.conf)
        times_ms.append((time.perf_counter() - start) * 1000)
    rss_mb = peak_rss_mb()
    measured = times_ms[1 + job.warmup :]
    latency = {f"p{share}_ms": float(np.percentile(measured, share)) for share in (50, 90, 95, 99)}
    throughput = 1000 / float(np.mean(measured))
    figures = {**latency, "throughput": throughput, "rss_mb": rss_mb, "load_ms": load_ms, "first_ms": times_ms[0]}
    accuracy = _accuracy(predictor, job)
    return {
        "figures": {key: round(value, 3) for key, value in figures.items()},
        "metrics": {key: round(value, 6) for key, value in accuracy.items()},
        "facts": predictor.engine.facts(),
    }


def peak_rss_mb() -> float:
    """Peak resident memory of this process, MB (10^6 bytes).

    Linux carries `ru_maxrss` of the parent over fork and exec; VmHWM of proc(5) starts anew with the program.
    """
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise OSError("/proc/self/status has no VmHWM: expected Linux 2.6 or later")


def _accuracy(predictor: Predictor, job: Job) -> dict[str, float]:
    from tasks import gates
    from tasks.evaluate import evaluate
    from tasks.tables import Dataset

    samples = gates.samples(Dataset.read(Path(job.raw), Path(job.dataset)), Path(job.champion))
    return evaluate(predictor.engine, samples, name=job.candidate).metrics


def main() -> None:
    """Runs the job of the first argument and writes its result, or the user's mistake that stopped it, to the second."""
    job = Job(**json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    try:
        result: dict[str, Any] = {"status": "ok", "message": "", **measure(job)}
    except MissingExtraError as error:
        result = {"status": "not available", "message": str(error)}
    except SightlineError as error:
        result = {"status": "failed", "message": str(error)}
    Path(sys.argv[2]).write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
