"""evolve: searches hyperparameters from the baseline's weights; the champion is the best of the baseline and the trials.

A final fit, where asked for, trains the champion on the validation split as well, but for a part on which it is judged from
then on, by export and benchmark too. It becomes the champion unless it is worse there. The stage's metrics are those of what is
shipped, on that part.
"""

import csv
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from tasks import gates, models, stage, strategies
from tasks.evaluate import evaluate_checkpoint
from tasks.journal import Journal
from tasks.progress import Progress
from tasks.schema import Dimension, Model, Section, Strategy, Train
from tasks.tables import Dataset

MAX_REPEATS: Final = 100
"""Proposals in a row that were tried before, after which the space counts as exhausted."""
Record = dict[str, Any]
"""A line of the journal: the `values` of what is searched, and the `metrics`, none where the training diverged."""
Metrics = dict[str, float]


@dataclass(frozen=True)
class Paths:
    raw: Path
    dataset: Path
    baseline: Path
    model: stage.Output
    report: stage.Output
    work: stage.Work


class Config(Section):
    model: Model
    train: Train
    space: dict[str, Dimension]
    strategy: Strategy


def evolve(paths: Paths, config: Config) -> stage.Metrics:
    """Writes the champion's folder with best_hyperparameters.yaml and gates.json, and the report: trials.csv and a picture.

    Trial 0 is the baseline, which stays the champion unless a trial has a better fitness on the validation split; without a
    trial where it is the user's own, `model.weights`.
    """
    if config.model.weights:  # to be exported as they are
        if config.strategy.final_fit:
            print("evolve: strategy.final_fit is left out: model.weights is taken as it is, nothing is trained", flush=True)
        untrained = config.strategy.model_copy(update={"trials": 0, "final_fit": False})
        config = config.model_copy(update={"strategy": untrained})
    dataset = Dataset.read(paths.raw, paths.dataset)
    family = models.load(config.model, dataset.classes)
    journal = Journal(paths.work / "trials.jsonl")
    if not journal.records:
        metrics = evaluate_checkpoint(paths.baseline, dataset.samples("val"), "evolve: baseline").metrics
        journal.append({"values": strategies.values_of(config.train, config.space), "metrics": metrics})
    epochs = config.strategy.epochs
    with Progress("evolve", config.strategy.trials * epochs, "epochs", done=(len(journal.records) - 1) * epochs) as progress:
        for values in proposals(config, journal.records):
            recipe = strategies.with_values(config.train, values).model_copy(update={"epochs": epochs})
            journal.append(
                {"values": values, "metrics": run_trial(paths, family, dataset, recipe, len(journal.records), progress)}
            )
            best = best_of(journal.records)
            for loser in range(1, len(journal.records)):
                if loser != best:
                    shutil.rmtree(trial_folder(paths, loser), ignore_errors=True)
            skipped = epochs * (len(journal.records) - 1) - progress.done
            progress.update(skipped, f"best fitness {fitness_of(journal.records[best]):.4f} in trial {best}")
    best = best_of(journal.records)
    champion, judges = trial_folder(paths, best), [sample.image_id for sample in dataset.samples("val")]
    metrics = {**journal.records[best]["metrics"], "baseline_fitness": fitness_of(journal.records[0])}
    if config.strategy.final_fit:
        champion, judges, metrics = final_fit(paths, config, family, dataset, journal.records)
    write_champion(paths, family, journal.records, champion / models.WEIGHTS_FILE)
    gates.write(paths.model, judges)
    return {**metrics, "best_trial": best}


def proposals(config: Config, records: Sequence[Record]) -> Iterator[dict[str, strategies.Value]]:
    """Hyperparameters to try; each one's result is in `records` when the next is asked for.

    What `records` holds already is told to the strategy again, and so is a proposal that was tried before. The first record is
    the baseline's: a strategy that asks for the values to begin with is told its fitness, and nothing is trained.
    """
    start = strategies.values_of(config.train, config.space)
    strategy = strategies.load(config.strategy, config.space, start)
    tried = {_key(start): fitness_of(records[0])}
    repeats = 0
    while len(tried) <= config.strategy.trials and repeats < MAX_REPEATS:
        values = strategy.ask()
        key = _key(values)
        repeats = repeats + 1 if key in tried else 0
        if key not in tried:
            if len(tried) == len(records):
                yield values
            tried[key] = fitness_of(records[len(tried)])
        strategy.tell(tried[key])


def _key(values: strategies.Values) -> tuple[strategies.Value, ...]:
    """What tells one proposal from another: strategies round reals to six significant digits."""
    return tuple(float(f"{value:.6g}") if isinstance(value, float) else value for value in values.values())


def run_trial(paths: Paths, family: models.Family, dataset: Dataset, recipe: Train, trial: int, progress: Progress) -> Metrics:
    """Trains from the baseline's weights and measures; a training that diverges has no metrics."""
    folder = trial_folder(paths, trial)
    folder.mkdir(exist_ok=True)

    def on_epoch(epoch: int, values: Mapping[str, float]) -> None:
        progress.update(1, f"trial {trial}, epoch {epoch}")

    start, out = paths.baseline / models.WEIGHTS_FILE, folder / models.WEIGHTS_FILE
    try:
        family.fit(dataset, recipe, start=start, work=folder, out=out, on_epoch=on_epoch)
    except models.DivergedError as error:
        print(f"evolve: trial {trial}: {error}", flush=True)
        return {}
    family.describe(folder)
    return evaluate_checkpoint(folder, dataset.samples("val"), f"evolve: trial {trial}").metrics


def final_fit(
    paths: Paths, config: Config, family: models.Family, dataset: Dataset, records: Sequence[Record]
) -> tuple[Path, list[str], Metrics]:
    """Goes on training the champion with what the validation split can spare.

    Returns:
        The folder of the better one, the images on which both were judged, and its metrics there, with the fitness of the
        champion before, `fitness_before_final_fit`, that of the baseline, and the number of images.
    """
    best = best_of(records)
    whole, judges = gates.hold_out(dataset, config.strategy.gate_share, config.strategy.seed)
    recipe = strategies.with_values(config.train, records[best]["values"])
    # What judges it chooses no epoch.
    recipe = recipe.model_copy(update={"epochs": config.strategy.epochs, "validate_every": 0})
    start, folder = trial_folder(paths, best), paths.work / "final"
    folder.mkdir(exist_ok=True)
    with Progress("evolve: final fit", recipe.epochs, "epochs") as progress:

        def on_epoch(epoch: int, values: Mapping[str, float]) -> None:
            progress.update(1)

        begin, out = start / models.WEIGHTS_FILE, folder / models.WEIGHTS_FILE
        family.fit(whole, recipe, start=begin, work=folder, out=out, on_epoch=on_epoch)
    family.describe(folder)
    samples = whole.samples("val")
    before, after = (
        evaluate_checkpoint(each, samples, f"evolve: {name}").metrics
        for each, name in ((start, "champion"), (folder, "final fit"))
    )
    baseline = evaluate_checkpoint(paths.baseline, samples, "evolve: baseline").metrics if best else before
    told = ", ".join(f"{values['fitness']:.4f} {name}" for values, name in ((after, "after it"), (before, "before")))
    print(f"evolve: final fit: fitness {told}, on {len(samples)} images of val kept out of it", flush=True)
    chosen, shipped = (folder, after) if after["fitness"] >= before["fitness"] else (start, before)
    facts = {"baseline_fitness": baseline["fitness"], "fitness_before_final_fit": before["fitness"]}
    return chosen, judges, {**shipped, **facts, "gate_images": len(samples)}


def write_champion(paths: Paths, family: models.Family, records: Sequence[Record], weights: Path) -> None:
    """Writes the champion with its weights, and the report."""
    from tasks import plots

    best = best_of(records)
    for folder in (paths.model, paths.report):
        folder.mkdir(parents=True)
    shutil.copyfile(weights, paths.model / models.WEIGHTS_FILE)
    family.describe(paths.model)
    hyperparameters = yaml.safe_dump(records[best]["values"], sort_keys=False)
    (paths.model / "best_hyperparameters.yaml").write_text(hyperparameters, encoding="utf-8")
    names = list(records[0]["metrics"])
    with (paths.report / "trials.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["trial", *records[0]["values"], *names, "status", "is_best"])
        for trial, record in enumerate(records):
            metrics = record["metrics"]
            figures = [f"{metrics[name]:.6g}" if name in metrics else "" for name in names]
            status = "ok" if metrics else "diverged"
            writer.writerow([trial, *record["values"].values(), *figures, status, str(trial == best).lower()])
    plots.trials([fitness_of(record) for record in records], paths.report / "tune_fitness.png")


def trial_folder(paths: Paths, trial: int) -> Path:
    """Where a trial's weights are; trial 0 is the baseline."""
    return paths.work / f"trial{trial}" if trial else paths.baseline


def fitness_of(record: Record) -> float:
    """0-1; 0 for a training that diverged."""
    return float(record["metrics"].get("fitness", 0.0))


def best_of(records: Sequence[Record]) -> int:
    """The trial with the best fitness, of equal ones the first."""
    return max(range(len(records)), key=lambda trial: fitness_of(records[trial]))


if __name__ == "__main__":
    stage.main(evolve)
