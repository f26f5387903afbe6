"""The noise between two models on the same test images."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from sightline.postprocess.classify import Classification
from tasks.evaluate import Evaluation
from tasks.metrics import Measured
from tasks.noise import GROUPS, STUDENT_T, fitness_without, noise
from tasks.tables import Sample

NONE = np.empty((0, 4)), np.zeros(0, bool), np.zeros(0, bool)


def samples(count: int) -> list[Sample]:
    return [Sample(str(index), Path(str(index)), 1, 1, np.array([0]), *NONE, None) for index in range(count)]


def evaluation(hits: NDArray[np.bool_]) -> Evaluation:
    found = [Classification(np.array([0 if hit else 1]), np.ones(1, np.float32)) for hit in hits]
    return Evaluation("classify", {}, found, Measured({}))


def without(hits: NDArray[np.bool_]) -> list[float]:
    return fitness_without(evaluation(hits), samples(len(hits)), ["a", "b"])


def test_each_group_is_left_out_once() -> None:
    hits = np.arange(60) % GROUPS != 3  # group 3 alone is wrong
    values = without(hits)
    assert len(values) == GROUPS
    assert values[3] == 1
    assert values[0] == pytest.approx(54 / 57)


def test_too_few_images_have_no_noise() -> None:
    assert without(np.ones(GROUPS - 1, bool)) == []


def test_of_accuracy_it_is_the_standard_error_of_the_paired_difference() -> None:
    random = np.random.default_rng(0)
    first = random.random(2000) < 0.8
    second = np.where(random.random(2000) < 0.1, ~first, first)
    expected = STUDENT_T * np.std(first.astype(float) - second) / np.sqrt(2000)
    assert noise(without(first), without(second)) == pytest.approx(expected, rel=0.4)


def test_a_model_beside_itself_has_none() -> None:
    values = without(np.arange(100) % 3 == 0)
    assert noise(values, values) == 0
