"""Accuracy of an engine on samples, through the transforms that the service uses: the only figures that are compared."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from sightline.engines import BaseEngine, load
from sightline.errors import SightlineError
from sightline.postprocess import Classification, Detections, classification, detections
from sightline.preprocess import decode, prepare_batch
from tasks import metrics
from tasks.progress import Progress
from tasks.tables import Sample

CONF: Final = 0.001
"""A detector's score threshold when its average precision is taken, as Ultralytics and COCO's toolkits set it."""


@dataclass(frozen=True)
class Evaluation:
    """What an engine found, and how good it is.

    Attributes:
        metrics: The task's metrics and `fitness`; see `tasks.metrics`.
        predictions: For each sample what was found, in its pixels.
        curves: A detector's precision over recall; see `tasks.metrics.Average`.
    """

    metrics: dict[str, float]
    predictions: Sequence[Detections] | Sequence[Classification]
    curves: dict[str, NDArray[np.float64]]


def evaluate(engine: BaseEngine, samples: Sequence[Sample], *, batch: int = 16, name: str = "evaluate") -> Evaluation:
    """Runs `engine` on `samples` and measures it.

    Args:
        engine: A loaded engine.
        samples: Images with their ground truth.
        batch: Images at a time, at most the model's `max_batch`.
        name: What the progress is called.

    Raises:
        SightlineError: No metric is known for the model's task.
    """
    description = engine.description
    if description.task not in metrics.FITNESS:
        raise SightlineError(f"task {description.task}: got no metric, expected one of {', '.join(metrics.FITNESS)}")
    found: list[Detections] = []
    classified: list[Classification] = []
    batch = min(batch, description.max_batch)
    with Progress(name, len(samples), "images") as progress:
        for start in range(0, len(samples), batch):
            part = samples[start : start + batch]
            images, placements = prepare_batch([decode(sample.path.read_bytes()) for sample in part], description.input)
            outputs = engine.run(images, CONF)
            if description.task == "detect":
                found += [detections(outputs, index, placement) for index, placement in enumerate(placements)]
            else:
                classified += [classification(outputs, index) for index in range(len(part))]
            progress.update(len(part))
    if description.task == "detect":
        average = metrics.detection(samples, found, description.classes)
        return Evaluation(_with_fitness(average.metrics, description.task), found, average.curves)
    labels = np.array([sample.labels[0] for sample in samples], np.int64)
    predicted = np.array([result.labels[0] for result in classified], np.int64)
    values = metrics.classification(labels, predicted, len(description.classes))
    return Evaluation(_with_fitness(values, description.task), classified, {})


def evaluate_checkpoint(folder: Path, samples: Sequence[Sample], name: str) -> Evaluation:
    """Measures the checkpoint of `train` or `evolve` in `folder` with PyTorch, on all cores."""
    engine = load("pytorch-fp32", folder, len(os.sched_getaffinity(0)), package="tasks.engines")
    return evaluate(engine, samples, name=name)


def _with_fitness(values: dict[str, float], task: str) -> dict[str, float]:
    return {"fitness": values[metrics.FITNESS[task]], **values}
