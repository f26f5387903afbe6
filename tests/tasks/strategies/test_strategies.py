"""Every strategy through the same expectations, found by its file's name."""

from pathlib import Path
from typing import Any

import pytest

from sightline.errors import SightlineError
from tasks import schema, strategies

ROOT = Path(__file__).parents[3]
SPACE: dict[str, schema.Dimension] = {
    "lr0": schema.Float(type="float", low=1e-4, high=1e-1, log=True),
    "momentum": schema.Float(type="float", low=0.8, high=0.95),
    "batch": schema.Int(type="int", low=4, high=16),
    "optimizer": schema.Choice(type="choice", values=("SGD", "AdamW")),
    "augment.fliplr": schema.Float(type="float", low=0.0, high=1.0),
}
START = {"lr0": 0.002, "momentum": 0.99, "batch": 8, "optimizer": "AdamW", "augment.fliplr": 0.5}


def recipe() -> schema.Train:
    return schema.Train(
        epochs=3, batch=8, accumulate=1, patience=3, optimizer="AdamW", scheduler="cosine", lr0=0.002, lrf=0.1, momentum=0.9,
        weight_decay=0.0, warmup_epochs=1.0, ema=0, balance="none", rare=0.1, dice=0, augment={"fliplr": 0.5}, seed=0,
        workers=0, device="cpu", devices=1, precision="fp32", channels_last=True, compile=False,
    )  # fmt: skip


@pytest.fixture(params=sorted(path.stem for path in (ROOT / "tasks" / "strategies").glob("[a-z]*.py")))
def config(request: pytest.FixtureRequest) -> schema.Strategy:
    return schema.Strategy(name=request.param, trials=30, epochs=1, seed=3, final_fit=False, gate_share=0.5)


def search(config: schema.Strategy) -> list[dict[str, Any]]:
    strategy = strategies.load(config, SPACE, START)
    asked = []
    for number in range(config.trials):
        asked.append(strategy.ask())
        strategy.tell((number * 7 % 10) / 10)
    return asked


def test_proposals_are_typed_and_inside_the_space(config: schema.Strategy) -> None:
    asked = search(config)
    for values in asked:
        assert list(values) == list(SPACE)
        assert strategies.with_values(recipe(), values).augment.keys() == {"fliplr"}
        assert type(values["batch"]) is int
        assert values["optimizer"] in ("SGD", "AdamW")
        for key in ("lr0", "momentum", "batch", "augment.fliplr"):
            dimension = SPACE[key]
            assert isinstance(dimension, schema.Float | schema.Int)
            assert dimension.low <= values[key] <= dimension.high
    assert len({values["lr0"] for values in asked}) > 3


def test_same_seed_and_results_give_the_same_proposals(config: schema.Strategy) -> None:
    assert search(config) == search(config)
    assert search(config) != search(config.model_copy(update={"seed": 4}))


def test_unknown_strategy_is_refused(config: schema.Strategy) -> None:
    with pytest.raises(SightlineError, match=rf"strategy\.name: got 'tpe', expected one of .*{config.name}"):
        strategies.load(config.model_copy(update={"name": "tpe"}), SPACE, START)


def test_empty_space_is_refused(config: schema.Strategy) -> None:
    with pytest.raises(SightlineError, match="space: empty"):
        strategies.load(config, {}, {})


def test_values_of_names_the_nearest_hyperparameter() -> None:
    assert strategies.values_of(recipe(), SPACE)["augment.fliplr"] == 0.5
    with pytest.raises(SightlineError, match=r"space\.lr: no hyperparameter of `train`: did you mean lr[0f]\?"):
        strategies.values_of(recipe(), {"lr": SPACE["lr0"]})


def test_with_values_checks_what_it_is_given() -> None:
    assert strategies.with_values(recipe(), {"lr0": 0.5, "augment.mosaic": 1.0}).augment == {"fliplr": 0.5, "mosaic": 1.0}
    with pytest.raises(SightlineError, match=r"space: lr0: got -1"):
        strategies.with_values(recipe(), {"lr0": -1})
