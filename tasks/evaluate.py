"""Accuracy of an engine on samples, through the transforms that the service uses: the only figures that are compared."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sightline.contract import Task
from sightline.cores import available_cores
from sightline.engines import BaseEngine, load
from sightline.postprocess import Result, read
from sightline.preprocess import decode, prepare_batch
from tasks import metrics
from tasks.metrics import Measured
from tasks.progress import Progress
from tasks.tables import Sample

CHECKPOINT_BATCH: Final = 16
"""Images at a time of a checkpoint in PyTorch, at most the model's `max_batch`."""
CONF: Final = 0.001
"""A detector's score threshold when its average precision is taken, as Ultralytics and COCO's toolkits set it."""


@dataclass(frozen=True)
class Evaluation:
    """What an engine found, and how good it is.

    Attributes:
        task: The model's.
        metrics: The task's metrics and `fitness`; see `tasks.metrics`.
        predictions: For each sample what was found, in its pixels.
        measured: What the task's `measure` returned.
    """

    task: Task
    metrics: dict[str, float]
    predictions: Sequence[Result]
    measured: Measured


def evaluate(engine: BaseEngine, samples: Sequence[Sample], *, batch: int = 0, name: str = "evaluate") -> Evaluation:
    """Runs `engine` on `samples` and measures it.

    Args:
        engine: A loaded engine.
        samples: Images with their ground truth.
        batch: Images at a time, at most the model's `max_batch`; as many as the candidate takes in the service if 0.
        name: What the progress is called.

    Raises:
        SightlineError: No metric is known for the model's task.
    """
    description = engine.description
    task = metrics.load(description.task)
    found: list[Result] = []
    batch = min(batch or engine.batch, description.max_batch)
    with Progress(name, len(samples), "images") as progress:
        for start in range(0, len(samples), batch):
            part = samples[start : start + batch]
            images, placements = prepare_batch([decode(sample.path.read_bytes()) for sample in part], description.input)
            outputs = engine.run(images, CONF)
            found += [read(description, outputs, index, placement) for index, placement in enumerate(placements)]
            progress.update(len(part))
    measured: Measured = task.measure(samples, found, description.classes)
    return Evaluation(description.task, {"fitness": measured.metrics[task.FITNESS], **measured.metrics}, found, measured)


def evaluate_checkpoint(folder: Path, samples: Sequence[Sample], name: str) -> Evaluation:
    """Measures the checkpoint of `train` or `evolve` in `folder` with PyTorch, on all cores."""
    engine = load("pytorch-fp32", folder, available_cores(), package="tasks.engines")
    return evaluate(engine, samples, batch=CHECKPOINT_BATCH, name=name)
