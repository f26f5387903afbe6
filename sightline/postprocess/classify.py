"""Classification: the most probable classes of an image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.engines import Outputs
from sightline.postprocess import Result, named
from sightline.preprocess import Placement

TOP_K: Final = 5
HOW: Final = f"The most probable classes come first, {TOP_K} at most."


@dataclass(frozen=True)
class Classification(Result):
    """The classes of one image, the best first.

    Attributes:
        labels: int64 (M,).
        scores: float32 (M,), 0-1, descending.
    """

    labels: NDArray[np.int64]
    scores: NDArray[np.float32]

    @property
    def count(self) -> int:
        """1: an image has a class."""
        return 1

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """`classes`: for each `label`, `name` and `score`."""
        return {"classes": named(classes, self.labels, self.scores)}


EXAMPLE: Final = Classification(np.array([0]), np.array([0.91], np.float32))


def read(outputs: Outputs, index: int, placement: Placement) -> Classification:
    """The `TOP_K` most probable classes."""
    return classification(outputs, index)


def classification(outputs: Outputs, index: int, top_k: int = TOP_K) -> Classification:
    """The `top_k` most probable classes of image `index`; equal probabilities keep the order of the labels.

    Args:
        outputs: `probabilities` float32 (N, C).
        index: Which image of the batch, 0..N-1.
        top_k: At most so many classes.
    """
    probabilities = np.asarray(outputs["probabilities"][index], np.float32)
    labels = np.argsort(-probabilities, kind="stable")[:top_k].astype(np.int64)
    return Classification(labels, probabilities[labels])


def text(answer: Mapping[str, Any]) -> str:
    """A table of the classes."""
    return "\n".join(["", "  score  class", *(f"  {entry['score']:5.3f}  {entry['name']}" for entry in answer["classes"])])
