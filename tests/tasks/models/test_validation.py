"""Looks at the validation split while a network trains: what is kept, when it ends, and that they leave no trace."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from tasks import models
from tasks.evaluate import evaluate_checkpoint
from tasks.models import _validation
from tasks.models._torch import is_over
from tasks.models._validation import Validation
from tasks.tables import Dataset
from tasks.trackers import _record
from tasks.train import write_results

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_data
from tiny_data import StopError

pytestmark = pytest.mark.timeout(600)
FAMILIES = ("mobilenet_v3_small", "yolov8n")
"""One of each library."""
History = list[Mapping[str, float]]


@pytest.fixture(params=FAMILIES)
def file(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def fit(file: str, dataset: Dataset, folder: Path, stop_after: int = 0, **values: object) -> History:
    """Fits in `folder`; what was reported of each epoch."""
    history: History = []

    def on_epoch(epoch: int, measured: Mapping[str, float]) -> None:
        history.append(dict(measured))
        if epoch == stop_after:
            raise StopError

    folder.mkdir(exist_ok=True)
    family, recipe = models.load(tiny_data.model(file), dataset.classes), tiny_data.recipe(file, **values)
    family.fit(dataset, recipe, start=None, work=folder, out=folder / models.WEIGHTS_FILE, on_epoch=on_epoch)
    family.describe(folder)
    return history


def test_the_best_weights_are_kept_and_the_losses_are_as_without(file: str, dataset: Dataset, tmp_path: Path) -> None:
    values = {"epochs": 3, "ema": 0.9}
    whole = fit(file, dataset, tmp_path / "whole", validate_every=2, **values)
    assert ["val/fitness" in epoch for epoch in whole] == [False, True, True]
    assert not [name for name in whole[1] if name.count("/") > 1], "metrics of single classes"

    with pytest.raises(StopError):
        fit(file, dataset, tmp_path / "cut", stop_after=2, validate_every=2, **values)
    assert fit(file, dataset, tmp_path / "cut", validate_every=2, **values) == whole
    first, second = ((tmp_path / name / models.WEIGHTS_FILE).read_bytes() for name in ("whole", "cut"))
    assert first == second

    plain = fit(file, dataset, tmp_path / "plain", **values)
    assert plain == [{name: value for name, value in epoch.items() if not name.startswith("val/")} for epoch in whole]
    kept = evaluate_checkpoint(tmp_path / "whole", dataset.samples("val"), "test").metrics  # last: it takes all cores
    assert kept["fitness"] == max(epoch["val/fitness"] for epoch in whole[1:])


@pytest.mark.parametrize("file", [FAMILIES[0], pytest.param(FAMILIES[1], marks=pytest.mark.slow)])
def test_patience_and_the_kept_weights_go_by_fitness(
    file: str, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, seen = iter([0.3, 0.6, 0.5, 0.6, 0.9]), []

    def evaluate(folder: Path, *_: object) -> "Told":
        seen.append(torch.load(folder / models.WEIGHTS_FILE, weights_only=True))
        return Told({"fitness": next(given), "fitness/red": 0.0})

    monkeypatch.setattr(_validation, "evaluate_checkpoint", evaluate)
    history = fit(file, dataset, tmp_path / "fit", epochs=5, validate_every=1, patience=2)
    assert [epoch["val/fitness"] for epoch in history] == [0.3, 0.6, 0.5, 0.6]
    kept = torch.load(tmp_path / "fit" / models.WEIGHTS_FILE, weights_only=True)
    equal = [all(torch.equal(state[name], value) for name, value in kept.items()) for state in seen]
    assert equal == [False, True, False, False]


@dataclass
class Told:
    metrics: dict[str, float]


@pytest.mark.slow
def test_of_several_processes_the_first_looks_for_all(tmp_path: Path) -> None:
    dataset = tiny_data.dataset(tmp_path / "data", "classify")
    history = fit(FAMILIES[0], dataset, tmp_path / "fit", epochs=3, devices=2, batch=2, validate_every=1, patience=3)
    assert all("val/fitness" in epoch for epoch in history)
    kept = evaluate_checkpoint(tmp_path / "fit", dataset.samples("val"), "test").metrics
    assert kept["fitness"] == max(epoch["val/fitness"] for epoch in history)


def test_measuring_changes_no_number_of_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def evaluate(*_: object) -> Told:
        torch.set_num_threads(1)
        return Told({"fitness": 0.0})

    monkeypatch.setattr(_validation, "evaluate_checkpoint", evaluate)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        family = models.load(tiny_data.model("resnet"), ("a", "b"))
        assert Validation(family, [], 1, tmp_path).measure({}, [{}], 3) == {"val/fitness": 0.0}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("every", "fitness", "expected"),
    [
        (1, [0.5, 0.4], False),
        (1, [0.5, 0.4, 0.5], True),
        (2, [None, 0.5, None, 0.4, None], False),  # an epoch that is not measured ends nothing
        (2, [None, 0.5, None, 0.4], True),
        (2, [None, None, None], False),
        (0, [0.5, 0.4, 0.3, 0.2], False),  # off: the loss below falls
    ],
)
def test_patience_is_of_what_is_looked_at(every: int, fitness: list[float | None], expected: bool) -> None:
    recipe = tiny_data.recipe("resnet", epochs=9, patience=2, validate_every=every)
    history: History = [
        {"train/loss": 1 / epoch} if value is None else {"train/loss": 1 / epoch, "val/fitness": value}
        for epoch, value in enumerate(fitness, 1)
    ]
    assert is_over(history, recipe) == expected


def test_results_have_empty_cells_where_nothing_was_measured(tmp_path: Path) -> None:
    write_results([{"train/a": 2.0}, {"train/a": 1.0, "val/mAP50": 0.5}], tmp_path / "results.csv")
    assert (tmp_path / "results.csv").read_text().splitlines() == [
        "epoch,train/a,train/loss,val/mAP50",
        "1,2,2,",
        "2,1,1,0.5",
    ]
    rows = [_record._numbers(row, "epoch") for row in _record._rows(tmp_path / "results.csv")]
    assert rows == [{"train/a": 2, "train/loss": 2}, {"train/a": 1, "train/loss": 1, "val/mAP50": 0.5}], "what trackers get"
