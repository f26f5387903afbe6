"""export: the champion as ONNX files of the runtime contract, each compared with the checkpoint before it may go on."""

import os
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from sightline.contract import ModelDescription, ModelFile, describe_file
from sightline.engines import Candidate, file_of
from sightline.errors import AnswerIsNo, NotAvailableError, SightlineError
from tasks import gates, models, schema, stage
from tasks.attempts import Source, attempts
from tasks.draw import draw
from tasks.exported import FILES
from tasks.graph import export_parts
from tasks.models import WEIGHTS_FILE
from tasks.parity import FAILED, PARITY_FILE, SCRIPT, SCRIPT_FILE, Gate, Parity, write_report
from tasks.quantise import calibration
from tasks.tables import Dataset


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
    source = Source(parts, export_parts(parts, description), training, description)
    paths.report.mkdir()
    verdicts: dict[str, Parity] = {}
    for precision in config.export.precisions:
        folder = paths.report / FAILED / precision
        folder.mkdir(parents=True)
        path, _, _, judge = FILES[precision]
        for attempt in attempts(source, precision, folder / path):
            try:
                whole = attempt()
                replace(description, files={file_of(judge): _describe(folder / path)}).write(folder)
                _write_script(folder, judge, paths, config.export.parity_images)
                verdicts[precision] = gate.judge(whole, folder, judge, config.export.allowed_drop(precision) or 0.0)
            except NotAvailableError as error:
                verdicts[precision] = gate.refuse(str(error))
            except SightlineError:
                raise
            except Exception as error:  # noqa: BLE001  a library's own, of any kind: the other files are none the worse
                verdicts[precision] = gate.refuse(f"{type(error).__name__}: {str(error).strip()[:500] or 'no reason given'}")
            if verdicts[precision].passed:
                break
    write_report(verdicts, paths.report)
    _keep(verdicts, description, paths)
    return {f"{name}/{key}": getattr(verdict, key) for name, verdict in verdicts.items() for key in ("metric", "drop")}


def _write_script(folder: Path, judge: Candidate, paths: Paths, images: int) -> None:
    """Writes what shows the file's failure again."""
    places = {name: str(getattr(paths, name)) for name in ("champion", "raw", "dataset")}
    text = SCRIPT.format(**places, candidate=str(judge), images=images)
    (folder / SCRIPT_FILE).write_text(text, encoding="utf-8")


def _describe(path: Path) -> ModelFile:
    """The entry of a file, with its weights' where they have one."""
    weights = path.with_suffix(".bin")
    return describe_file(path, weights if path.suffix == ".xml" else None)


def _keep(verdicts: dict[str, Parity], description: ModelDescription, paths: Paths) -> None:
    """Moves the files that passed into the model folder and describes them."""
    passed = [name for name, verdict in verdicts.items() if verdict.passed]
    for name, verdict in verdicts.items():
        print(f"export: {name} {'passed' if verdict.passed else f'left out: {verdict.message}'}", flush=True)
    if not passed:
        raise AnswerIsNo(f"no precision passes parity, see {PARITY_FILE} in the report: raise export.max_drop, or train longer")
    paths.model.mkdir()
    files = {name: _describe(paths.report / FAILED / name / FILES[name].path) for name in passed}
    for name in passed:
        for file in files[name].all():
            shutil.move(paths.report / FAILED / name / file.path, paths.model / file.path)
        shutil.rmtree(paths.report / FAILED / name)
    if len(passed) == len(verdicts):
        (paths.report / FAILED).rmdir()
    is_calibrated = any(name.endswith("int8") for name in files)
    replace(description, files=files, calibration=description.calibration if is_calibrated else None).write(paths.model)


if __name__ == "__main__":
    stage.main(export)
