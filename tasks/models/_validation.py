"""The validation split while a network trains: the task's metrics there, and the weights that did best."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from tasks import models, schema
from tasks.evaluate import evaluate_checkpoint
from tasks.models._torch import FITNESS, VALIDATION, save
from tasks.tables import Dataset, Sample

BEST_FILE: Final = "best.pt"
CURRENT: Final = "validation"
"""Where the checkpoint lies that is measured, under a fit's `work`."""


class Validation:
    """Measures weights as every later figure is taken: by the checkpoint's own graph, on the CPU. It can be pickled.

    Args:
        family: Whose weights they are.
        samples: The validation split.
        every: Epochs between two looks at it; the last epoch always has one.
        work: Of the fit; the best weights are kept there.
    """

    def __init__(self, family: models.Family, samples: Sequence[Sample], every: int, work: Path) -> None:
        self.family, self.samples, self.every, self.work = family, samples, every, work

    @property
    def best(self) -> Path:
        """The weights of the epoch with the best fitness, of equal ones the first."""
        return self.work / BEST_FILE

    def measure(self, state: Mapping[str, Tensor], history: Sequence[Mapping[str, float]], epochs: int) -> dict[str, float]:
        """Measures the weights after the last epoch of `history`, and keeps them if they are the best so far.

        It leaves no trace in what is trained: each epoch seeds the generators anew.

        Args:
            state: On the CPU.
            history: Of each epoch what was measured.
            epochs: How many there will be.

        Returns:
            `val/fitness` and the task's metrics over all classes, as `val/mAP50`; nothing where the epoch has no look.
        """
        epoch = len(history)
        if epoch % self.every and epoch != epochs:
            return {}
        folder = self.work / CURRENT
        folder.mkdir(exist_ok=True)
        save(dict(state), folder / models.WEIGHTS_FILE)
        self.family.describe(folder)
        threads = torch.get_num_threads()
        try:
            metrics = evaluate_checkpoint(folder, self.samples, f"validation after epoch {epoch}").metrics
        finally:
            torch.set_num_threads(threads)
        if metrics["fitness"] > max((values[FITNESS] for values in history if FITNESS in values), default=-1.0):
            (folder / models.WEIGHTS_FILE).replace(self.best)
        return {f"{VALIDATION}{name}": value for name, value in metrics.items() if "/" not in name}


def of_fit(family: models.Family, dataset: Dataset, recipe: schema.Train, work: Path) -> Validation | None:
    """What the recipe asks for; None: the validation split is not looked at."""
    if not recipe.validate_every:
        return None
    return Validation(family, dataset.samples("val"), recipe.validate_every, work)
