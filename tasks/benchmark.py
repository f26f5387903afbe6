"""benchmark: every candidate measured in a process of its own: latency, memory, size, and the task's own accuracy."""

import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sightline import engines as engines_that_ship
from sightline.contract import ModelDescription
from sightline.engines import Candidate
from sightline.errors import SightlineError
from tasks import benchmark_report, bundle, engines, gates, machine, schema, stage
from tasks.draw import draw
from tasks.exported import FILES
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
    parity: Path
    report: stage.Output


class Config(schema.Section):
    model: schema.Model
    benchmark: schema.Benchmark
    hardware: schema.Hardware
    export: schema.Export


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
    measure(contenders, screen=config.benchmark.screen)
    rows = [each.row for each in contenders]
    _compare(rows, config.hardware.price_per_hour, config.export)
    paths.report.mkdir()
    benchmark_report.write(paths.report, {"machine": here, "task": description.task, "model": description.name, "rows": rows})
    return {f"{row['candidate']}/{key}": row[key] for row in rows if row["status"] == "ok" for key in KEY_FIGURES}


def candidates(hardware: schema.Hardware) -> list[Candidate]:
    """What is measured, each once, the reference first.

    A candidate is one for each number of threads, batch size and number of streams, unless its name has its own; references
    have the least.
    """
    asked = [Candidate.parse(name) for name in dict.fromkeys([REFERENCE, *hardware.candidates])]
    threads, batches, streams = (sorted(set(each)) for each in (hardware.threads, hardware.batches, hardware.streams or (0,)))
    found: list[Candidate] = []
    for each in asked:
        if each != each.plain:
            found.append(each)
        elif _is_reference(each):
            found.append(each._replace(threads=threads[0], batch=batches[0]))
        else:
            shapes = itertools.product(threads, batches, streams)
            found += [each._replace(threads=count, batch=batch, streams=stream) for count, batch, stream in shapes]
    return list(dict.fromkeys(found))


def _is_reference(candidate: Candidate) -> bool:
    return (Path(engines.__path__[0]) / f"{candidate.engine.replace('-', '_')}.py").is_file()


def _is_shipped(candidate: Candidate) -> bool:
    """Whether `package` has locked requirements for it; TensorRT's wheels are in an index of NVIDIA's alone."""
    if _is_reference(candidate):
        return False
    try:
        return bundle.requirements(engines_that_ship.find(candidate.engine).extra).is_file()
    except SightlineError:  # an engine that is not there: its row will say so
        return True


def _contender(
    candidate: Candidate, description: ModelDescription, images: list[str], paths: Paths, config: Config, judged: int
) -> Contender:
    """A candidate with what its row says before it is measured."""
    is_reference = _is_reference(candidate)
    row: dict[str, Any] = {
        "candidate": str(candidate),
        "engine": candidate.engine,
        "precision": candidate.precision,
        "threads": candidate.threads,
        "batch": candidate.batch,
        "shipped": _is_shipped(candidate),
        "licence": description.licence,
        **_parity(candidate, paths.parity),
    }
    job = Job(
        candidate=str(candidate),
        folder=str(paths.champion if is_reference else paths.exported),
        package=engines.__name__ if is_reference else "sightline.engines",
        conf=description.conf,
        images=images,
        warmup=config.benchmark.warmup,
        raw=str(paths.raw),
        dataset=str(paths.dataset),
        champion=str(paths.champion),
    )
    return Contender(row, job, config.benchmark, judged)


def _parity(candidate: Candidate, path: Path) -> dict[str, float | None]:
    """What `export` found of a file, run by this candidate: its loss of the metric, and its tensors' largest difference."""
    judged = {str(file.judge): name for name, file in FILES.items() if file.judge == file.candidate}
    name = judged.get(str(candidate.plain))
    verdict = json.loads(path.read_text(encoding="utf-8")).get(name, {})
    return {"parity_drop": verdict.get("drop"), "parity_error": verdict.get("max_rel_error")}


def _compare(rows: list[dict[str, Any]], price_per_hour: float | None, export: schema.Export) -> None:
    """Adds what each candidate loses against the reference, and what a million images cost with the machine busy."""
    reference = rows[0].get("fitness")
    for row in rows:
        if row["status"] == "ok":
            if price_per_hour is not None and row.get("streams_images_s"):
                row["cost_per_million"] = round(price_per_hour / 3600 * 1e6 / row["streams_images_s"], 4)
            if reference is not None:
                row["drop"] = round(reference - row["fitness"], 6) + 0.0  # no -0.0
                if row["parity_drop"] is None and not _is_reference(Candidate.parse(row["candidate"])):
                    _judge(row, reference, export)


def _judge(row: dict[str, Any], reference: float, export: schema.Export) -> None:
    """The gate of `export`, for arithmetic or a device in which it did not run the file: bfloat16, and GPUs."""
    row["parity_drop"], allowed = row["drop"], export.allowed_drop(row["precision"])
    if allowed is not None and not row["drop"] <= allowed:
        expected = f"expected at most {allowed} (export.max_drop.{row['precision']}) below the reference's {reference:.4f}"
        command = f"sightline evaluate models/exported --candidate {Candidate.parse(row['candidate']).plain}"
        repeat = f"`{command}`, in the folder of this run, repeats it"
        row |= {"status": "failed", "message": f"fitness {row['fitness']:.4f}, {expected}: {repeat}"}


if __name__ == "__main__":
    stage.main(benchmark)
