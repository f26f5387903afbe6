"""What the windows of a latency measurement say: from where on they are stable, and their figure with its error."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

AGREE: Final = 3
"""Successive windows that must agree."""
WITHIN: Final = 0.1
"""By which share of the smallest the medians of windows that agree differ at most."""
TRIMMED: Final = 0.25
"""The share of windows, the smallest and the largest, that do not count: a neighbour's burst is not the candidate's tail."""


def stable_from(medians: Sequence[float]) -> int | None:
    """The first of the first three successive windows that agree; what came before is still warming up.

    Args:
        medians: Of each window, in the order of time.

    Returns:
        Its index; None where no three agree.
    """
    for start in range(len(medians) - AGREE + 1):
        found = medians[start : start + AGREE]
        if max(found) <= min(found) * (1 + WITHIN):
            return start
    return None


def trimmed_mean(values: Sequence[float]) -> tuple[float, float]:
    """The mean without the smallest and the largest quarter, of three or more without one at least, and its standard error.

    With g values cut off at each end and h = n - 2g left, the variance is the sum of squared deviations of the winsorized
    sample, in which the g ends are set to their inner neighbours, over h (h - 1). Source: Tukey and McLaughlin, Less vulnerable
    confidence and significance procedures for location based on a single sample, Sankhya A 25, 1963.

    Args:
        values: One at least.

    Returns:
        Both in the unit of the values; the error is infinite where one value is left.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    cut = max(int(TRIMMED * len(ordered)), int(len(ordered) > 2))
    kept = ordered[cut : len(ordered) - cut]
    if len(kept) < 2:
        return float(kept.mean()), math.inf
    winsorized = np.clip(ordered, kept[0], kept[-1])
    squares = float(((winsorized - winsorized.mean()) ** 2).sum())
    return float(kept.mean()), math.sqrt(squares / (len(kept) * (len(kept) - 1)))
