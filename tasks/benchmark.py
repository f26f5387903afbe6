"""benchmark: every candidate measured in a process of its own: latency, memory, size, and the task's own accuracy."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sightline.contract import ModelDescription
from sightline.engines import Candidate
from sightline.errors import SightlineError
from tasks import benchmark_report, engines, gates, machine, schema, stage
from tasks.draw import draw
from tasks.measure import Job
from tasks.rounds import Contender, measure
from tasks.tables import Dataset

REFERENCE: Final = "pytorch-fp32"
REQUEST_IMAGES: Final = 100  # different images that are sent, over and over
KEY_FIGURES: Final = ("fitness", "p50_ms", "p99_ms", "rss_mb", "size_mb")


@dataclass(frozen=True)
class Paths:
    raw: Path
    dataset: Path
    champion: Path
    exported: Path
    report: stage.Output


class Config(schema.Section):
    model: schema.Model
    benchmark: schema.Benchmark
    hardware: schema.Hardware


def benchmark(paths: Paths, config: Config) -> dict[str, float]:
    """Measures the reference and each candidate; one that fails becomes a row that says why.

    Raises:
        SightlineError: This is not the machine that hardware.machine names.
    """
    here = machine.describe()
    if config.hardware.machine not in ("any", here["name"]):
        raise SightlineError(
            f"hardware.machine: this is {here['name']!r}, expected {config.hardware.machine!r}: run it there, or set it to any"
        )
    description = ModelDescription.read(paths.exported)
    judged = gates.samples(Dataset.read(paths.raw, paths.dataset), paths.champion)
    images = [str(sample.path) for sample in draw(judged, REQUEST_IMAGES)]
    contenders = [
        _contender(candidate, description, images, paths, config, len(judged)) for candidate in candidates(config.hardware)
    ]
    measure(contenders)
    rows = [each.row for each in contenders]
    _compare(rows, config.hardware.price_per_hour)
    paths.report.mkdir()
    benchmark_report.write(paths.report, {"machine": here, "task": description.task, "model": description.name, "rows": rows})
    return {f"{row['candidate']}/{key}": row[key] for row in rows if row["status"] == "ok" for key in KEY_FIGURES}


def candidates(hardware: schema.Hardware) -> list[Candidate]:
    """What is measured, the reference first; each candidate with each number of threads, references with the least."""
    asked = [Candidate.parse(name) for name in dict.fromkeys([REFERENCE, *hardware.candidates])]
    numbers = sorted(set(hardware.threads))
    return [each._replace(threads=threads) for each in asked for threads in (numbers if _is_shipped(each) else numbers[:1])]


def _is_shipped(candidate: Candidate) -> bool:
    return not (Path(engines.__path__[0]) / f"{candidate.engine.replace('-', '_')}.py").is_file()


def _contender(
    candidate: Candidate, description: ModelDescription, images: list[str], paths: Paths, config: Config, judged: int
) -> Contender:
    """A candidate with what its row says before it is measured."""
    shipped = _is_shipped(candidate)
    row: dict[str, Any] = {
        "candidate": str(candidate),
        "engine": candidate.engine,
        "precision": candidate.precision,
        "threads": candidate.threads,
        "shipped": shipped,
        "licence": description.licence,
    }
    job = Job(
        candidate=str(candidate),
        folder=str(paths.exported if shipped else paths.champion),
        package="sightline.engines" if shipped else engines.__name__,
        conf=description.conf,
        images=images,
        warmup=config.benchmark.warmup,
        raw=str(paths.raw),
        dataset=str(paths.dataset),
        champion=str(paths.champion),
    )
    return Contender(row, job, config.benchmark, judged)


def _compare(rows: list[dict[str, Any]], price_per_hour: float | None) -> None:
    """Adds what each candidate loses against the reference, and what a million images cost with all cores busy."""
    reference = rows[0].get("fitness")
    for row in rows:
        if row["status"] == "ok":
            if reference is not None:
                row["drop"] = round(reference - row["fitness"], 6) + 0.0  # no -0.0
            if price_per_hour is not None:
                images_s = row.get("streams_images_s") or row["throughput"]
                row["cost_per_million"] = round(price_per_hour / 3600 * 1e6 / images_s, 4)


if __name__ == "__main__":
    stage.main(benchmark)
