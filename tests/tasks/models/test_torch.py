"""Learning rates, the moving average and memory, as every loop on PyTorch has them."""

import math
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from torch import nn

from sightline.errors import SightlineError
from tasks import schema
from tasks.models import OnEpoch
from tasks.models._torch import AVERAGE_TAU, is_out_of_memory, learning_rate, moving_average, within_memory

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_data


def recipe(**values: object) -> schema.Train:
    return tiny_data.recipe("resnet", **{"epochs": 9, "lr0": 1.0, "lrf": 0.1, "warmup_epochs": 0, **values})


@pytest.mark.parametrize(
    ("scheduler", "rates"),
    [
        ("constant", (1, 1, 1, 1)),
        ("linear", (1, 0.7, 0.4, 0.1)),
        ("cosine", (1, 0.775, 0.325, 0.1)),
        ("polynomial", (1, 0.1 + 0.9 * (2 / 3) ** 0.9, 0.1 + 0.9 * (1 / 3) ** 0.9, 0.1)),
        ("step", (1, 1, 0.1, 0.01)),
    ],
)
def test_learning_rate_follows_the_scheduler(scheduler: str, rates: tuple[float, ...]) -> None:
    found = [learning_rate(recipe(scheduler=scheduler), epoch) for epoch in (0, 3, 6, 9)]
    assert found == pytest.approx(rates)
    warm = recipe(scheduler=scheduler, warmup_epochs=2)
    assert learning_rate(warm, 0) < 0.01
    assert learning_rate(warm, 1) == pytest.approx(learning_rate(recipe(scheduler=scheduler), 1) / 2, rel=0.01)


def test_moving_average_is_that_of_the_formula() -> None:
    network = nn.BatchNorm1d(2)
    average, expected = moving_average(network, 0.9), network.weight.detach().clone()
    for step in range(5):
        with torch.no_grad():
            network.weight += 1
        network(torch.rand(4, 2))
        average.update_parameters(network)
        decay = 0.9 * (1 - math.exp(-step / AVERAGE_TAU))
        expected = decay * expected + (1 - decay) * network.weight.detach()
    assert torch.allclose(average.module.weight, expected)
    assert average.module.num_batches_tracked == 5
    assert not average.module.weight.requires_grad


def test_memory_errors_are_told_from_others() -> None:
    assert is_out_of_memory(torch.OutOfMemoryError("x"))
    assert is_out_of_memory(MemoryError())
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 60, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("shapes cannot be multiplied"))


def test_out_of_memory_halves_until_it_fits(capsys: pytest.CaptureFixture[str]) -> None:
    tried, reported = [], []

    def attempt(recipe: schema.Train, report: OnEpoch) -> None:
        tried.append((recipe.batch, recipe.accumulate))
        report(1, {})
        if recipe.batch > 2:
            raise MemoryError
        report(2, {})

    def on_epoch(epoch: int, losses: Mapping[str, float]) -> None:
        reported.append(epoch)

    within_memory(recipe(batch=8, accumulate=2), on_epoch, attempt)
    assert tried == [(8, 2), (4, 4), (2, 8)]
    assert reported == [1, 2]
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "train: out of memory: train.batch 4 -> 2, train.accumulate 4 -> 8, from the last checkpoint"


def test_out_of_memory_with_one_image_says_what_helps() -> None:
    def attempt(recipe: schema.Train, report: OnEpoch) -> None:
        raise MemoryError

    with pytest.raises(SightlineError, match=r"out of memory at train\.batch=1 on cpu: lower model\.imgsz"):
        within_memory(recipe(batch=3), lambda *_: None, attempt)


def test_out_of_memory_stops_at_the_smallest_batch_that_a_network_takes() -> None:
    tried = []

    def attempt(recipe: schema.Train, report: OnEpoch) -> None:
        tried.append(recipe.batch)
        raise MemoryError

    with pytest.raises(SightlineError, match=r"at train\.batch=2, the least that this network learns from, on cpu"):
        within_memory(recipe(batch=3), lambda *_: None, attempt, smallest=2)
    assert tried == [3, 2]


def test_other_errors_are_no_memory_errors() -> None:
    def attempt(recipe: schema.Train, report: OnEpoch) -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        within_memory(recipe(), lambda *_: None, attempt)
