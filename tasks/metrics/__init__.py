"""Accuracy, one file a task, found by the task's name. Each has

- `measure(samples, found, classes)`: what was found in each sample against its ground truth, as a `Measured`;
- `f1_at(samples, found, classes, conf)`, where the service has a score threshold: F1 of what is found there, 0-1;
- `FITNESS`: the metric that is maximised;
- `COLUMNS` and `PER_CLASS`: the columns of the benchmark that constraints can bound, these and `<one of them>/<class>`.

The constants are annotated literals, so that params.yaml is checked without an import.
"""

from dataclasses import dataclass
from types import ModuleType

from tasks import variants


@dataclass(frozen=True)
class Measured:
    """What a task's `measure` returns; a task adds what its pictures show.

    Attributes:
        metrics: By name, 0-1.
    """

    metrics: dict[str, float]


def load(task: str) -> ModuleType:
    """The module of a task.

    Raises:
        SightlineError: There is none.
    """
    return variants.load("metrics", task, "model.task")
