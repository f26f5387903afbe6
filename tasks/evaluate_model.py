"""Any model that the pipeline wrote, on a split of the canonical dataset, for `sightline evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sightline import engines
from sightline.contract import MANIFEST_FILE, MODEL_FILE, ModelDescription, dump_json
from sightline.engines import BaseEngine
from sightline.errors import SightlineError
from sightline.predictor import read_manifest
from tasks import gates
from tasks.evaluate import CHECKPOINT_BATCH, evaluate
from tasks.exported import FILES
from tasks.models import WEIGHTS_FILE
from tasks.stage import METRICS_FILE
from tasks.tables import Dataset

CHECKPOINT_CANDIDATE: Final = "pytorch-fp32"


@dataclass(frozen=True)
class Model:
    """What is run.

    Attributes:
        folder: Where its model.json is.
        candidate: `<engine>-<precision>`.
        package: Where the engine's module is.
    """

    folder: Path
    candidate: str
    package: str = "sightline.engines"

    def load(self, threads: int) -> BaseEngine:
        """The loaded model."""
        return engines.load(self.candidate, self.folder, threads, self.package)


def find(path: Path, candidate: str | None = None) -> Model:
    """What to run of a checkpoint folder, a folder that `export` or `package` wrote, or one of its ONNX files.

    Args:
        path: The folder or file.
        candidate: The engine and precision; None: PyTorch for a checkpoint, what a package was selected for, what
            `tasks.exported` says of a file, and of the FP32 file for a folder.

    Raises:
        SightlineError: There is no such model.
    """
    folder = path.parent if path.is_file() else path
    if not (folder / MODEL_FILE).is_file():
        place = "beside it" if path.is_file() else "in it"
        raise SightlineError(
            f"{path}: no {MODEL_FILE} {place}, expected what train, evolve, export or package wrote, e.g. models/champion, "
            "models/exported/model.onnx or dist/service"
        )
    description = ModelDescription.read(folder)
    if path.is_file():
        precision = next((name for name, file in description.files.items() if file.path == path.name), None)
        if precision is None:
            raise SightlineError(f"{path}: not in {folder / MODEL_FILE}, expected one of its files: {_files(description)}")
        return Model(folder, candidate or str(FILES[precision].candidate))
    if (folder / WEIGHTS_FILE).is_file() and candidate in (None, CHECKPOINT_CANDIDATE):
        return Model(folder, CHECKPOINT_CANDIDATE, "tasks.engines")
    if (folder / MANIFEST_FILE).is_file():
        return Model(folder, candidate or str(read_manifest(folder)["candidate"]))
    precision = min(description.files, key=lambda name: name != "fp32", default="fp32")
    return Model(folder, candidate or str(FILES[precision].candidate))


def run(
    model: Model, raw: Path, dataset: Path, split: str, report: Path, threads: int, champion: Path
) -> tuple[dict[str, float], str]:
    """Measures a model, and writes metrics.json and pictures into `report`.

    On `val` a champion that a final fit trained on a part of that split, and what was made of it, are judged by the other part.

    Args:
        model: What is run.
        raw: What `ingest` wrote.
        dataset: What `transform` wrote: its splits are those that the pipeline uses.
        split: `train`, `val` or `test`.
        report: A folder; files of an earlier run are replaced.
        threads: Threads of one inference.
        champion: The pipeline's: `tasks.gates` says which images judge what was made of it.

    Returns:
        The metrics, and what they were taken on, for a person.

    Raises:
        SightlineError: The dataset is not there, its split is empty, or the model knows other classes.
    """
    from tasks import plots

    data = Dataset.read(raw, dataset)
    engine = model.load(threads)
    known = engine.description.classes
    if known != data.classes:
        raise SightlineError(
            f"{model.folder}: a model of the classes {', '.join(known)}, and {dataset} has {', '.join(data.classes)}: "
            "name the dataset that it was trained on, with --raw and --dataset"
        )
    samples, images = data.samples(split), split
    if split == "val":
        kept = gates.judges_of(data, model.folder, champion, model.candidate == CHECKPOINT_CANDIDATE)
        if len(kept) < len(samples):
            images = f"{len(kept)} of the {len(samples)} images of val: the final fit learnt from the others"
            samples = kept
    batch = CHECKPOINT_BATCH if model.candidate == CHECKPOINT_CANDIDATE else 0
    result = evaluate(engine, samples, batch=batch, name=f"evaluate: {split}")
    report.mkdir(parents=True, exist_ok=True)
    (report / METRICS_FILE).write_text(dump_json(result.metrics), encoding="utf-8")
    plots.evaluation(result, samples, known, report)
    return result.metrics, images


def _files(description: ModelDescription) -> str:
    return ", ".join(file.path for file in description.files.values()) or "none"
