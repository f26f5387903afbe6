"""package: the winner with all that its service needs, measured once on the test split."""

import dataclasses
import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sightline import engines
from sightline.contract import MANIFEST_FILE, ModelDescription, dump_json
from sightline.engines import BaseEngine
from sightline.errors import SightlineError
from tasks import bundle, plots, schema, stage
from tasks.content_hash import content_hash
from tasks.evaluate import evaluate
from tasks.lineage import lineage
from tasks.noise import fitness_without
from tasks.provenance import METADATA_FILE
from tasks.tables import Dataset


@dataclass(frozen=True)
class Paths:
    raw: Path
    dataset: Path
    fingerprint: Path
    exported: Path
    benchmark: Path
    selection: Path
    out: stage.Output
    report: stage.Output


class Config(schema.Section):
    package: schema.Package


def package(paths: Paths, config: Config) -> dict[str, float]:
    """Writes a build context: model, manifest, wheel, locked requirements, Dockerfile, README and model card."""
    paths.out.mkdir()
    paths.report.mkdir()
    selection = _read(paths.selection / "selection.json")
    benchmark = _read(paths.benchmark / "benchmark.json")
    data = _read(paths.fingerprint / METADATA_FILE)
    engine = _ship(selection["winner"], paths.exported, paths.out)
    dataset = Dataset.read(paths.raw, paths.dataset)
    samples = dataset.samples("test")
    evaluation = evaluate(engine, samples, name="package: test")
    plots.evaluation(evaluation, samples, engine.description.classes, paths.report)
    manifest = {
        "name": config.package.name,
        "candidate": selection["winner"],
        "model": dataclasses.asdict(engine.description),
        "engine": engine.facts(),
        "test": evaluation.metrics,
        "test_split": {
            "hash": content_hash(dataset.tables.of_split("test"), paths.dataset),
            "images": len(samples),
            "fitness_without": fitness_without(evaluation, samples, engine.description.classes),
        },
        "measurements": _row(benchmark, selection["winner"]),
        "machine": benchmark["machine"],
        "constraints": selection["constraints"],
        "objective": selection["objective"],
        "lineage": lineage(data["content_hash"]),
    }
    (paths.out / MANIFEST_FILE).write_text(dump_json(manifest), encoding="utf-8")
    wheel = bundle.build_wheel(paths.out)
    bundle.write_requirements(paths.out, engine.extra)
    bundle.write_documents(paths.out, manifest, data, wheel.name)
    return evaluation.metrics


def _ship(candidate: str, exported: Path, out: Path) -> BaseEngine:
    """Copies the winner's file alone, with a `model.json` that names no other, and loads what was copied."""
    description, parsed = ModelDescription.read(exported), engines.Candidate.parse(candidate)
    name = engines.file_of(parsed)
    description.file(exported, name)  # compares checksums
    for file in description.files[name].all():
        shutil.copyfile(exported / file.path, out / file.path)
    calibration = description.calibration if parsed.precision == "int8" else None
    dataclasses.replace(description, files={name: description.files[name]}, calibration=calibration).write(out)
    return engines.load(candidate, out)


def _row(benchmark: dict[str, Any], candidate: str) -> dict[str, Any]:
    rows = [row for row in benchmark["rows"] if row["candidate"] == candidate]
    if len(rows) != 1:
        raise SightlineError(f"benchmark.json: {len(rows)} rows of the winner {candidate}, expected 1: run `dvc repro select`")
    return dict(rows[0])


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise SightlineError(f"{path}: not there: run `dvc repro {path.parent.name}`")
    return dict(json.loads(path.read_text(encoding="utf-8")))


if __name__ == "__main__":
    stage.main(package)
