"""From a graph's padded outputs to results in the image's own pixels, and to the JSON that the service answers.

One file a task, found by the task's name. Each has a subclass of `Result`, and

- `read(outputs, index, placement)`: the result for image `index` of a batch, out of the outputs of `sightline.contract`;
- `text(answer)`: what the command line prints of an answer, after the image's name and size;
- `EXAMPLE`, a result, and `HOW`, what a caller has to know of the answer, for the package's README.
"""

import functools
import importlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline.contract import ModelDescription
from sightline.engines import Outputs
from sightline.errors import SightlineError
from sightline.preprocess import Placement


class Result(ABC):
    """What was found in one image."""

    @property
    @abstractmethod
    def count(self) -> int:
        """How many things were found; 0: nothing."""

    @abstractmethod
    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """The task's own part of an answer."""


@functools.cache
def load(task: str) -> ModuleType:
    """The module of a task.

    Raises:
        SightlineError: There is none.
    """
    names = sorted(path.stem for path in Path(__file__).parent.glob("[a-z]*.py"))
    if task not in names:
        raise SightlineError(f"task {task}: got no JSON form, expected one of {', '.join(names)}: use another model")
    return importlib.import_module(f"{__name__}.{task}")


def read(description: ModelDescription, outputs: Outputs, index: int, placement: Placement) -> Result:
    """The result for image `index` of a batch, in that image's pixels.

    Args:
        description: Of the model.
        outputs: Its outputs, as in `sightline.contract`.
        index: Which image of the batch, 0..N-1.
        placement: Where that image lies in its input.
    """
    result: Result = load(description.task).read(outputs, index, placement)
    return result


def to_json(description: ModelDescription, outputs: Outputs, index: int, placement: Placement) -> dict[str, Any]:
    """The answer for image `index` of a batch: `task`, `width` and `height` of the image, and the task's own part."""
    result = read(description, outputs, index, placement)
    answer = {"task": description.task, "width": placement.width, "height": placement.height}
    return {**answer, **result.to_json(description.classes)}


def named(classes: Sequence[str], labels: NDArray[np.int64], scores: NDArray[np.float32]) -> list[dict[str, Any]]:
    """Entries of an answer: `label`, `name` and `score`."""
    return [
        {"label": label, "name": classes[label], "score": round(score, 6)}
        for label, score in zip(labels.tolist(), scores.tolist(), strict=True)
    ]
