"""benchmark: every candidate measured in a process of its own: latency, memory, size, and the task's own accuracy."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from sightline.contract import ModelDescription
from sightline.errors import SightlineError
from tasks import benchmark_report, engines, gates, machine, schema, stage
from tasks.draw import draw
from tasks.isolation import run_isolated
from tasks.measure import Job
from tasks.models import WEIGHTS_FILE
from tasks.progress import Progress
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
    requests = draw(gates.samples(Dataset.read(paths.raw, paths.dataset), paths.champion), REQUEST_IMAGES)
    names = list(dict.fromkeys([REFERENCE, *config.hardware.candidates]))
    rows: list[dict[str, Any]] = []
    with Progress("benchmark", len(names), "candidates") as progress:
        for name in names:
            rows.append(_measure(name, description, [str(sample.path) for sample in requests], paths, config))
            progress.update(note=" ".join(f"{key} {rows[-1][key]}" for key in ("candidate", "status")))
    _add_drop(rows)
    paths.report.mkdir()
    benchmark_report.write(paths.report, {"machine": here, "task": description.task, "model": description.name, "rows": rows})
    return {f"{row['candidate']}/{key}": row[key] for row in rows if row["status"] == "ok" for key in KEY_FIGURES}


def _measure(name: str, description: ModelDescription, images: list[str], paths: Paths, config: Config) -> dict[str, Any]:
    """The row of one candidate."""
    engine, _, precision = name.rpartition("-")
    shipped = not (Path(engines.__path__[0]) / f"{engine.replace('-', '_')}.py").is_file()
    row: dict[str, Any] = {
        "candidate": name,
        "engine": engine,
        "precision": precision,
        "shipped": shipped,
        "licence": description.licence,
    }
    if shipped and precision not in description.files:
        return row | {"status": "not available", "message": f"no {precision} file was exported: see its parity.json"}
    job = Job(
        candidate=name,
        folder=str(paths.exported if shipped else paths.champion),
        package="sightline.engines" if shipped else engines.__name__,
        threads=config.hardware.threads,
        conf=description.conf,
        images=images,
        samples=config.benchmark.samples,
        warmup=config.benchmark.warmup,
        raw=str(paths.raw),
        dataset=str(paths.dataset),
        champion=str(paths.champion),
    )
    result = run_isolated("tasks.measure", asdict(job), config.benchmark.timeout_s)
    if result["status"] != "ok":
        return row | result
    file = paths.exported / description.files[precision].path if shipped else paths.champion / WEIGHTS_FILE
    row |= {"status": "ok", "message": "", **result["figures"], "samples": job.samples, "facts": result["facts"]}
    row["size_mb"] = round(file.stat().st_size / 1e6, 3)
    # A detector's precision is not the precision of its arithmetic.
    return row | {f"metric/{key}" if key in row else key: value for key, value in result["metrics"].items()}


def _add_drop(rows: list[dict[str, Any]]) -> None:
    """Adds what each candidate loses against the reference, where both were measured."""
    reference = rows[0].get("fitness")
    for row in rows:
        if reference is not None and row["status"] == "ok":
            row["drop"] = round(reference - row["fitness"], 6) + 0.0  # no -0.0


if __name__ == "__main__":
    stage.main(benchmark)
