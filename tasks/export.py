"""export: the champion as ONNX files of the runtime contract, each compared with the checkpoint before it may go on."""

import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sightline.contract import ModelDescription, describe_file
from sightline.errors import AnswerIsNo
from tasks import gates, models, schema, stage
from tasks.draw import draw
from tasks.graph import Graphs, export_parts, finish, join, write
from tasks.models import WEIGHTS_FILE
from tasks.parity import FAILED, PARITY_FILE, Gate, Parity, write_report
from tasks.quantise import calibration, quantise
from tasks.tables import Dataset, Sample

if TYPE_CHECKING:
    import onnx

FILES: Final = {"fp32": "model.onnx", "int8": "model.int8.onnx"}


@dataclass(frozen=True)
class Paths:
    raw: Path
    dataset: Path
    champion: Path
    model: stage.Output
    report: stage.Output


class Config(schema.Section):
    model: schema.Model
    export: schema.Export


def export(paths: Paths, config: Config) -> dict[str, float]:
    """Writes a file for each precision that passes; what fails is left out, and kept in the report.

    Raises:
        AnswerIsNo: No precision passes.
    """
    dataset = Dataset.read(paths.raw, paths.dataset)
    training = draw(dataset.samples("train"), config.export.calibration_images)
    description = replace(ModelDescription.read(paths.champion), conf=config.export.conf, calibration=calibration(training))
    parts = models.load(config.model, description.classes).parts(paths.champion / WEIGHTS_FILE)
    validation = draw(gates.samples(dataset, paths.champion), config.export.parity_images)
    gate = Gate(paths.champion, parts, validation, threads=len(os.sched_getaffinity(0)))
    graphs = export_parts(parts, description)
    paths.report.mkdir()
    verdicts: dict[str, Parity] = {}
    for precision in config.export.precisions:
        folder = paths.report / FAILED / precision
        folder.mkdir(parents=True)
        for whole in _attempts(graphs, precision, training, description):
            write(finish(whole, description, graphs.masks), folder / FILES[precision])
            replace(description, files={precision: describe_file(folder / FILES[precision])}).write(folder)
            verdicts[precision] = gate.judge(whole, folder, precision, config.export.max_drop[precision])
            if verdicts[precision].passed:
                break
    write_report(verdicts, paths.report)
    _keep(verdicts, description, paths)
    return {f"{name}/{key}": getattr(verdict, key) for name, verdict in verdicts.items() for key in ("metric", "drop")}


def _attempts(
    graphs: Graphs, precision: str, training: Sequence[Sample], description: ModelDescription
) -> "Iterator[onnx.ModelProto]":
    """The graphs to try for a precision, the best first, before NMS."""
    if precision == "fp32":
        yield join(graphs)
        return
    for spare_last in (False, True):
        yield join(quantise(graphs, training, description.input, spare_last))


def _keep(verdicts: dict[str, Parity], description: ModelDescription, paths: Paths) -> None:
    """Moves the files that passed into the model folder and describes them."""
    passed = [name for name, verdict in verdicts.items() if verdict.passed]
    for name, verdict in verdicts.items():
        print(f"export: {name} {'passed' if verdict.passed else f'left out: {verdict.message}'}", flush=True)
    if not passed:
        raise AnswerIsNo(f"no precision passes parity, see {PARITY_FILE} in the report: raise export.max_drop, or train longer")
    paths.model.mkdir()
    for name in passed:
        shutil.move(paths.report / FAILED / name / FILES[name], paths.model / FILES[name])
        shutil.rmtree(paths.report / FAILED / name)
    if len(passed) == len(verdicts):
        (paths.report / FAILED).rmdir()
    files = {name: describe_file(paths.model / FILES[name]) for name in passed}
    replace(description, files=files, calibration=description.calibration if "int8" in files else None).write(paths.model)


if __name__ == "__main__":
    stage.main(export)
