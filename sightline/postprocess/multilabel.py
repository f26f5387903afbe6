"""Multi-label classification: the classes that an image shows, any number of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.engines import Outputs
from sightline.postprocess import Result, named
from sightline.preprocess import Placement

HOW: Final = "An image shows any number of classes: those whose score is above `conf`, the most probable first."


@dataclass(frozen=True)
class Labels(Result):
    """The classes of one image, the best first.

    Attributes:
        labels: int64 (M,).
        scores: float32 (M,), above the threshold that the model was run with, descending.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float32]

    @property
    def count(self) -> int:
        """The number of classes."""
        return len(self.labels)

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """`classes`: for each `label`, `name` and `score`."""
        return {"classes": named(classes, self.labels, self.scores)}


EXAMPLE: Final = Labels(np.array([0]), np.array([0.91], np.float32))


def read(outputs: Outputs, index: int, placement: Placement) -> Labels:
    """The classes with a score; below the threshold the graph gives 0."""
    scores = np.asarray(outputs["probabilities"][index], np.float32)
    labels = np.argsort(-scores, kind="stable")[: np.count_nonzero(scores)].astype(np.int64)
    return Labels(labels, scores[labels])


def text(answer: Mapping[str, Any]) -> str:
    """A table of the classes."""
    found = answer["classes"]
    if not found:
        return ", no class"
    return "\n".join(["", "  score  class", *(f"  {entry['score']:5.3f}  {entry['name']}" for entry in found)])
