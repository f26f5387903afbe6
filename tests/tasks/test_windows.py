"""What windows of a measurement say."""

import math

import numpy as np
import pytest

from tasks.windows import stable_from, trimmed_mean


@pytest.mark.parametrize(
    ("medians", "expected"),
    [
        ([], None),
        ([1.0, 1.0], None),
        ([1.0, 1.0, 1.0], 0),
        ([30.0, 20.0, 10.0, 10.5, 10.9], 2),
        ([1.0, 2.0, 1.0, 2.0], None),
        ([1.0, 1.05, 1.1], 0),
        ([1.0, 1.06, 1.12], None),
        ([1.0, 1.0, 1.0, 9.0, 9.0, 9.0], 0),
    ],
)
def test_stable_from_the_first_three_in_turn_within_a_tenth(medians: list[float], expected: int | None) -> None:
    assert stable_from(medians) == expected


@pytest.mark.parametrize(
    ("values", "mean"),
    [([2.0], 2.0), ([1.0, 3.0], 2.0), ([1.0, 2.0, 6.0], 2.0), ([0.0, 2.0, 4.0, 99.0], 3.0), ([5.0] * 9 + [500.0], 5.0)],
)
def test_trimmed_mean_leaves_a_quarter_out_at_each_end(values: list[float], mean: float) -> None:
    assert trimmed_mean(values)[0] == mean


def test_one_value_has_no_error_that_is_known() -> None:
    assert trimmed_mean([2.0]) == (2.0, math.inf)
    assert trimmed_mean([1.0, 2.0, 3.0]) == (2.0, math.inf)
    assert trimmed_mean([2.0] * 4) == (2.0, 0.0)


@pytest.mark.parametrize("count", [10, 40])
@pytest.mark.parametrize("burst", [0.0, 0.05])
def test_error_is_that_of_repeated_measurements(count: int, burst: float) -> None:
    """With windows disturbed by a burst too, which a plain mean would follow."""
    rng = np.random.default_rng(0)
    shape = (4000, count)
    values = rng.normal(10, 1, shape) + np.where(rng.random(shape) < burst, rng.exponential(30, shape), 0)
    means, errors = np.array([trimmed_mean(list(row)) for row in values]).T
    low, high = np.quantile(means, [0.16, 0.84])  # of a normal distribution, a deviation on each side
    assert float(np.median(errors)) == pytest.approx((high - low) / 2, rel=0.15)
    assert float(np.median(means)) == pytest.approx(10, abs=0.1)
