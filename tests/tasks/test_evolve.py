"""evolve: no finished trial is repeated, and the champion is never worse than the baseline."""

import csv
import json
import shutil
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from sightline.contract import ModelDescription
from sightline.errors import SightlineError
from tasks import evolve as module
from tasks import gates, models, schema, strategies
from tasks.evaluate import evaluate_checkpoint
from tasks.evolve import Config, Paths, best_of, evolve, proposals
from tasks.models import WEIGHTS_FILE, DivergedError, Family
from tasks.provenance import METADATA_FILE
from tasks.tables import Dataset
from tasks.train import Config as TrainConfig
from tasks.train import Paths as TrainPaths
from tasks.train import train

sys.path.insert(0, str(Path(__file__).parent))
import tiny_data
from tiny_data import StopError

pytestmark = pytest.mark.timeout(300)


def config(file: str, trials: int = 2) -> Config:
    data = tiny_data.conf(file)
    data["train"]["epochs"] = 1
    strategy = {"name": "random", "trials": trials, "epochs": 1, "seed": 0, "final_fit": False, "gate_share": 0.5}
    return schema.parse(Config, {**{key: data[key] for key in ("model", "train", "space")}, "strategy": strategy})


@pytest.fixture(scope="module", params=tiny_data.families(("resnet",)))
def paths(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Paths]:
    """A trained baseline."""
    file: str = request.param
    folder = tmp_path_factory.mktemp(file)
    dataset = tiny_data.dataset(folder, tiny_data.model(file).task)
    (folder / "work").mkdir()
    (folder / METADATA_FILE).write_text(json.dumps({"task": tiny_data.model(file).task}))
    given = TrainPaths(dataset.raw, dataset.root, folder, folder / "baseline", folder / "train", folder / "work")
    settings = config(file)
    metrics = train(given, TrainConfig(model=settings.model, train=settings.train))
    assert 0 <= metrics["fitness"] <= 1
    written = {path.name for path in (folder / "train").iterdir()}
    assert {"results.csv", "results.png", "confusion_matrix.png", "predictions.png", "augmentation.jpg"} <= written
    return file, Paths(dataset.raw, dataset.root, folder / "baseline", folder / "x", folder / "x", folder / "x")


def test_a_model_for_another_task_is_refused(paths: tuple[str, Paths], tmp_path: Path) -> None:
    file, given = paths
    settings = config(file)
    task = "detect" if settings.model.task == "semantic" else "semantic"
    (tmp_path / METADATA_FILE).write_text(json.dumps({"task": task}))
    wrong = TrainPaths(given.raw, given.dataset, tmp_path, tmp_path / "model", tmp_path / "report", tmp_path / "work")
    message = rf"is for the task {settings.model.task}, and the dataset is labelled for {task}"
    with pytest.raises(SightlineError, match=message):
        train(wrong, TrainConfig(model=settings.model, train=settings.train))
    assert not (tmp_path / "model").exists()


def at(paths: Paths, folder: Path) -> Paths:
    (folder / "work").mkdir(parents=True, exist_ok=True)
    return Paths(paths.raw, paths.dataset, paths.baseline, folder / "champion", folder / "report", folder / "work")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_interrupted_search_repeats_no_trial_and_ends_the_same(
    paths: tuple[str, Paths], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, given = paths
    whole = at(given, tmp_path / "whole")
    metrics = evolve(whole, config(file))
    rows = list(csv.DictReader((whole.report / "trials.csv").read_text().splitlines()))
    assert [row["trial"] for row in rows] == ["0", "1", "2"]
    assert [row["is_best"] for row in rows].count("true") == 1
    assert metrics["fitness"] == pytest.approx(max(float(row["fitness"]) for row in rows), abs=1e-5)
    assert metrics["fitness"] >= metrics["baseline_fitness"]
    best = yaml.safe_load((whole.model / "best_hyperparameters.yaml").read_text())
    assert list(best) == list(config(file).space)
    assert ModelDescription.read(whole.model).name == config(file).model.name
    assert {"weights.pt", "model.json", "model_config.json"} <= {path.name for path in whole.model.iterdir()}

    cut = at(given, tmp_path / "cut")
    trained: list[str] = []
    run = module.run_trial

    def run_trial(*arguments: Any) -> dict[str, float]:
        trained.append(f"trial {arguments[4]}")
        if trained == ["trial 1", "trial 2"]:
            raise StopError
        return run(*arguments)

    monkeypatch.setattr(module, "run_trial", run_trial)
    with pytest.raises(StopError):
        evolve(cut, config(file))
    assert not cut.model.exists()
    evolve(cut, config(file))
    assert trained == ["trial 1", "trial 2", "trial 2"]
    assert contents(cut.model) == contents(whole.model)
    assert contents(cut.report) == contents(whole.report)


def test_final_fit_learns_from_what_does_not_judge_it(
    paths: tuple[str, Paths], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, given = paths
    settings = config(file, trials=1)
    settings = settings.model_copy(update={"strategy": settings.strategy.model_copy(update={"final_fit": True})})
    learnt: list[set[str]] = []
    fit = type(models.load(settings.model, ("a", "b"))).fit

    def seen(self: Family, dataset: Dataset, *arguments: Any, **named: Any) -> None:
        learnt.append({sample.image_id for sample in dataset.samples("train")})
        fit(self, dataset, *arguments, **named)

    monkeypatch.setattr(type(models.load(settings.model, ("a", "b"))), "fit", seen)
    where = at(given, tmp_path)
    metrics = evolve(where, settings)
    dataset = Dataset.read(given.raw, given.dataset)
    judges = {sample.image_id for sample in gates.samples(dataset, where.model)}
    train, val, test = ({sample.image_id for sample in dataset.samples(split)} for split in ("train", "val", "test"))
    assert learnt[0] == train
    assert learnt[-1] == train | (val - judges)
    assert judges
    assert judges < val
    assert not learnt[-1] & test
    shipped = evaluate_checkpoint(where.model, gates.samples(dataset, where.model), "test").metrics
    assert {name: metrics[name] for name in shipped} == pytest.approx(shipped)
    assert metrics["gate_images"] == len(judges)
    assert metrics["fitness"] >= metrics["fitness_before_final_fit"]
    before = contents(where.model)
    shutil.rmtree(where.model)
    shutil.rmtree(where.report)
    evolve(where, settings)
    assert contents(where.model) == before


def test_gates_are_stable_and_keep_near_duplicates_together(tmp_path: Path) -> None:
    dataset = tiny_data.dataset(tmp_path, "classify", images=80)
    tables = dataset.tables
    groups = tables.images["group"].where(tables.images.index % 2 == 0, tables.images["group"].shift(1))
    dataset = replace(dataset, tables=replace(tables, images=tables.images.assign(group=groups)))
    whole, judges = gates.hold_out(dataset, 0.5, 0)
    assert gates.hold_out(dataset, 0.5, 0)[1] == judges
    assert gates.hold_out(dataset, 0.5, 1)[1] != judges
    assert whole.tables.images.groupby("group")["split"].nunique().max() == 1
    for share in (1e-9, 1 - 1e-9):
        kept = gates.hold_out(dataset, share, 0)[1]
        assert 0 < len(kept) < len(dataset.samples("val"))
    gates.write(tmp_path, judges)
    assert [sample.image_id for sample in gates.samples(dataset, tmp_path)] == judges
    gates.write(tmp_path, [*judges, "none"])
    with pytest.raises(SightlineError, match="of another dataset: run `dvc repro evolve`"):
        gates.samples(dataset, tmp_path)
    with pytest.raises(SightlineError, match="expected a champion written by `evolve`"):
        gates.samples(dataset, tmp_path / "nowhere")


def test_baseline_stays_champion_when_every_trial_diverges(
    paths: tuple[str, Paths], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, given = paths

    def fit(self: Family, *_: Any, **__: Any) -> None:
        raise DivergedError("epoch 1: the loss is not finite")

    monkeypatch.setattr(f"tasks.models.{file}.Family.fit", fit)
    metrics = evolve(at(given, tmp_path), config(file, trials=1))
    assert metrics["best_trial"] == 0
    rows = list(csv.DictReader((tmp_path / "report" / "trials.csv").read_text().splitlines()))
    assert [row["status"] for row in rows] == ["ok", "diverged"]
    assert rows[1]["fitness"] == ""
    assert (tmp_path / "champion" / WEIGHTS_FILE).read_bytes() == (given.baseline / WEIGHTS_FILE).read_bytes()


def test_no_trials_is_the_baseline(paths: tuple[str, Paths], tmp_path: Path) -> None:
    file, given = paths
    assert evolve(at(given, tmp_path), config(file, trials=0))["best_trial"] == 0


def record(values: Mapping[str, Any], fitness: float) -> dict[str, Any]:
    return {"values": dict(values), "metrics": {"fitness": fitness}}


def test_equal_fitness_keeps_the_first() -> None:
    assert best_of([record({}, 0.5), record({}, 0.5), record({}, 0.6), record({}, 0.6)]) == 2


def test_replayed_results_lead_to_the_same_proposals() -> None:
    settings = config("resnet", trials=6).model_copy(
        update={"strategy": schema.Strategy(name="one_plus_one", trials=6, epochs=1, seed=1, final_fit=False, gate_share=0.5)}
    )

    def search(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        for values in proposals(settings, records):
            records.append(record(values, len(records) / 10))
        return records

    start = record(strategies.values_of(settings.train, settings.space), 0.0)
    whole = search([start])
    assert len(whole) == 7
    assert len({json.dumps(entry["values"]) for entry in whole}) == 7, "a proposal, or the baseline's recipe, was tried twice"
    assert search([start, *whole[1:4]]) == whole


def test_an_exhausted_space_ends_the_search() -> None:
    settings = config("resnet", trials=5)
    space: dict[str, schema.Dimension] = {"optimizer": schema.Choice(type="choice", values=("SGD", "AdamW"))}
    settings = settings.model_copy(update={"space": space})
    records = [record({"optimizer": "SGD"}, 0.0)]
    for values in proposals(settings, records):
        records.append(record(values, 0.1))
    assert [entry["values"]["optimizer"] for entry in records] == ["SGD", "AdamW"]
