"""How much of the difference between two models' fitness on the same test images is chance: the grouped jackknife.

Resampling needs what each image contributes, which no mean average precision has. The jackknife asks for less: the fitness with
a group of the images left out, for each group in turn. Two models that leave out the same groups are compared pairwise, so that
images which are hard for both are no noise. Source: Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 11.
"""

import math
from collections.abc import Sequence
from typing import Final

from tasks import metrics
from tasks.evaluate import Evaluation
from tasks.tables import Sample

GROUPS: Final = 20
STUDENT_T: Final = 2.093
"""The 97.5 % quantile of Student's t with GROUPS - 1 degrees of freedom: a two-sided interval of 95 %."""


def fitness_without(evaluation: Evaluation, samples: Sequence[Sample], classes: Sequence[str]) -> list[float]:
    """The fitness with each of `GROUPS` groups of images left out: every 20th image, from the first, the second, ...

    Args:
        evaluation: What was found in the samples.
        samples: The ground truth, in the order of the predictions.
        classes: Class names.

    Returns:
        `GROUPS` values; none where there are fewer images.
    """
    if len(samples) < GROUPS:
        return []
    task = metrics.load(evaluation.task)
    values = []
    for group in range(GROUPS):
        kept = [index for index in range(len(samples)) if index % GROUPS != group]
        found = [evaluation.predictions[index] for index in kept]
        measured: metrics.Measured = task.measure([samples[index] for index in kept], found, classes)
        values.append(measured.metrics[task.FITNESS])
    return values


def noise(first: Sequence[float], second: Sequence[float]) -> float:
    """Half the width of the 95 % interval of the difference between two models' fitness.

    With d_g the difference without group g, and their mean d, the variance is (G - 1) / G * sum of (d_g - d)^2.

    Args:
        first: `fitness_without` of a model.
        second: That of the other, on the same images.
    """
    differences = [a - b for a, b in zip(first, second, strict=True)]
    mean = sum(differences) / len(differences)
    squares = sum((difference - mean) ** 2 for difference in differences)
    return STUDENT_T * math.sqrt((len(differences) - 1) / len(differences) * squares)
