"""export: the champion as ONNX files of the runtime contract, each compared with the checkpoint before it may go on."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from sightline.contract import ModelDescription, describe_file
from sightline.cores import available_cores
from sightline.engines import file_of
from sightline.errors import AnswerIsNo, SightlineError
from tasks import gates, models, schema, stage
from tasks.attempts import Source, attempts
from tasks.draw import draw
from tasks.evaluate import CHECKPOINT_BATCH
from tasks.exported import FILES
from tasks.graph import export_parts
from tasks.models import WEIGHTS_FILE
from tasks.parity import FAILED, PARITY_FILE, REPEAT, SCRIPT, SCRIPT_FILE, Gate, Parity, write_report
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
    source = Source(parts, export_parts(parts, description), training, description)  # an operator that it lacks is told first
    gate = Gate(paths.champion, parts, validation, threads=available_cores())
    paths.report.mkdir()
    verdicts: dict[str, Parity] = {}
    for precision in config.export.precisions:
        verdicts[precision] = _make(precision, source, gate, paths, config.export)
    write_report(verdicts, paths.report)
    _keep(verdicts, description, paths)
    figures = {f"{name}/{key}": getattr(verdict, key) for name, verdict in verdicts.items() for key in ("metric", "drop")}
    return {name: value for name, value in figures.items() if value is not None}


def _make(precision: str, source: Source, gate: Gate, paths: Paths, settings: schema.Export) -> Parity:
    """The verdict on the first file that passes, or on the last that was tried; what cannot be made is refused."""
    folder = paths.report / FAILED / precision
    folder.mkdir(parents=True)
    path, _, _, judge = FILES[precision]
    places = {name: str(getattr(paths, name)) for name in ("champion", "raw", "dataset")}
    script, repeat = folder / SCRIPT_FILE, REPEAT.format(**places, precision=precision)
    script.write_text(repeat, encoding="utf-8")
    verdict, allowed = gate.refuse("nothing was tried"), settings.allowed_drop(precision) or 0.0
    tries = attempts(source, precision, folder / path)
    while not verdict.passed:
        try:
            attempt = next(tries, None)
            if attempt is None:
                break
            whole = attempt()
            replace(source.description, files={file_of(judge): describe_file(folder / path)}).write(folder)
            given = {"candidate": str(judge), "images": settings.parity_images, "batch": CHECKPOINT_BATCH}
            script.write_text(SCRIPT.format(**places, **given), encoding="utf-8")
            verdict = gate.judge(whole, folder, judge, allowed)
            if verdict.found and verdict.drop is not None and verdict.drop <= allowed:  # the metrics do not tell
                script.write_text(repeat, encoding="utf-8")
        except SightlineError as error:
            verdict = gate.refuse(str(error))
        except Exception as error:  # noqa: BLE001  a library's own, of any kind: the other files are none the worse
            verdict = gate.refuse(f"{type(error).__name__}: {str(error).strip()[:500] or 'no reason given'}")
    return verdict


def _keep(verdicts: dict[str, Parity], description: ModelDescription, paths: Paths) -> None:
    """Moves the files that passed into the model folder and describes them."""
    passed = [name for name, verdict in verdicts.items() if verdict.passed]
    for name, verdict in verdicts.items():
        print(f"export: {name} {'passed' if verdict.passed else f'left out: {verdict.message}'}", flush=True)
    if not passed:
        raise AnswerIsNo(f"no precision passes parity, see {PARITY_FILE} in the report: raise export.max_drop, or train longer")
    paths.model.mkdir()
    files = {name: describe_file(paths.report / FAILED / name / FILES[name].path) for name in passed}
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
