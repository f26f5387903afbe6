"""train: the baseline, trained by its family or the user's own weights as they are, and measured on the validation split."""

import csv
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sightline.errors import SightlineError
from tasks import models, stage
from tasks.evaluate import Evaluation, evaluate_checkpoint
from tasks.progress import Progress
from tasks.provenance import METADATA_FILE
from tasks.schema import Model, Section, Train
from tasks.tables import Dataset, Sample

LOSS: Final = "train/loss"
"""The sum of an epoch's losses, whatever a family calls them."""
SHOWN: Final = ("val/fitness",)
"""Of the metrics on the validation split, what the progress shows."""


@dataclass(frozen=True)
class Paths:
    raw: Path
    dataset: Path
    fingerprint: Path
    model: stage.Output
    report: stage.Output
    work: stage.Work


class Config(Section):
    model: Model
    train: Train


def train(paths: Paths, config: Config) -> stage.Metrics:
    """Writes the checkpoint folder `model`, and the report: results.csv and pictures.

    Raises:
        SightlineError: The model is for another task than the dataset.
    """
    _check_labels(json.loads((paths.fingerprint / METADATA_FILE).read_text(encoding="utf-8")), config.model)
    dataset = Dataset.read(paths.raw, paths.dataset)
    family = models.load(config.model, dataset.classes)
    for folder in (paths.model, paths.report):
        folder.mkdir(parents=True)
    history: list[Mapping[str, float]] = []
    out = paths.model / models.WEIGHTS_FILE
    if config.model.weights:
        family.adopt(out)
        print(f"train: {config.model.weights} is taken as it is, nothing is trained", flush=True)
    else:
        with Progress("train", config.train.epochs, "epochs") as progress:

            def on_epoch(epoch: int, values: Mapping[str, float]) -> None:
                history.append(values)
                told = [name for name in values if not name.startswith("val/") or name in SHOWN]
                progress.update(1, ", ".join(f"{name.removeprefix('train/')} {values[name]:.3g}" for name in told))

            family.fit(dataset, config.train, start=None, work=paths.work, out=out, on_epoch=on_epoch)
        shutil.copyfile(paths.work / models.AUGMENTATION_FILE, paths.report / models.AUGMENTATION_FILE)
    family.describe(paths.model)
    samples = dataset.samples("val")
    evaluation = evaluate_checkpoint(paths.model, samples, "train: validation")
    write_report(paths.report, history, samples, evaluation, dataset.classes)
    return evaluation.metrics


def _check_labels(metadata: Mapping[str, Any], model: Model) -> None:
    """Refuses a model for another task than the dataset; outlines of objects are for `segment`, their boxes for `detect`."""
    labelled_for = metadata["task"]
    if (model.task, labelled_for) == ("segment", "detect"):
        if metadata["outlined"] == metadata["objects"]:
            return
        labelled_for = f"detect, with outlines of {metadata['outlined']} of {metadata['objects']} objects"
    if labelled_for != model.task:
        raise SightlineError(
            f"model: {model.name} is for the task {model.task}, and the dataset is labelled for {labelled_for}: "
            f"choose a model for {metadata['task']} (where a model takes both, set model.task), or another dataset"
        )


def write_report(
    report: Path,
    history: Sequence[Mapping[str, float]],
    samples: Sequence[Sample],
    evaluation: Evaluation,
    classes: Sequence[str],
) -> None:
    """Writes results.csv, and pictures of the training, where there was one, and of the predictions."""
    from tasks import plots

    write_results(history, report / "results.csv")
    if history:
        plots.curves(history, report / "results.png")
    plots.evaluation(evaluation, samples, classes, report)


def write_results(history: Sequence[Mapping[str, float]], path: Path) -> None:
    """Writes a row for each epoch; an epoch without some of the metrics has empty cells."""
    rows = [{**values, LOSS: values.get(LOSS, _sum(values))} for values in history]
    names = list(dict.fromkeys(name for row in rows for name in row)) or [LOSS]
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["epoch", *names])
        for epoch, row in enumerate(rows, 1):
            writer.writerow([epoch, *(f"{row[name]:.6g}" if name in row else "" for name in names)])


def _sum(values: Mapping[str, float]) -> float:
    return sum(value for name, value in values.items() if name.startswith("train/"))


if __name__ == "__main__":
    stage.main(train)
