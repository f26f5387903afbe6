"""Search strategies, one file each, found by the name in conf/strategy. Each module has a class `Strategy`."""

import difflib
from abc import ABC, abstractmethod
from collections.abc import Mapping

from sightline.errors import SightlineError
from tasks import schema, variants

Value = float | int | str | bool
Values = Mapping[str, Value]
"""Hyperparameters by the key of conf/model's `train`, nested ones with a dot: `lr0`, `augment.mosaic`."""


class BaseStrategy(ABC):
    """Proposes hyperparameters. Deterministic: told the same results, it proposes the same again.

    Args:
        space: What is searched.
        start: Hyperparameters to begin with.
        trials: The budget.
        seed: Of every draw.
    """

    @abstractmethod
    def __init__(self, space: Mapping[str, schema.Dimension], start: Values, trials: int, seed: int) -> None: ...

    @abstractmethod
    def ask(self) -> dict[str, Value]:
        """The next trial's hyperparameters."""

    @abstractmethod
    def tell(self, fitness: float) -> None:
        """The fitness, 0-1, of what was asked last."""


def load(config: schema.Strategy, space: Mapping[str, schema.Dimension], start: Values) -> BaseStrategy:
    """The strategy that conf/strategy names.

    Raises:
        SightlineError: No such strategy; the message names those that there are.
    """
    module = variants.load("strategies", config.name, "strategy.name")
    strategy: BaseStrategy = module.Strategy(space, start, config.trials, config.seed)
    return strategy


def values_of(recipe: schema.Train, space: Mapping[str, schema.Dimension]) -> dict[str, Value]:
    """The recipe's own values of what is searched; an augmentation that it does not name is 0.

    Raises:
        SightlineError: A key that is no hyperparameter, with the nearest that is one.
    """
    data = recipe.model_dump()
    augment = data.pop("augment")
    valid = {**data, **{f"augment.{name}": value for name, value in augment.items()}}
    values = {}
    for key in space:
        if key not in valid and not key.startswith("augment."):
            nearest = difflib.get_close_matches(key, valid, n=1)
            hint = f"did you mean {nearest[0]}?" if nearest else f"expected some of {', '.join(valid)}"
            raise SightlineError(f"space.{key}: no hyperparameter of `train`: {hint}")
        values[key] = valid.get(key, 0.0)
    return values


def with_values(recipe: schema.Train, values: Values) -> schema.Train:
    """The recipe with hyperparameters replaced.

    Raises:
        SightlineError: A value that `train` does not take.
    """
    data = recipe.model_dump()
    for key, value in values.items():
        name = key.removeprefix("augment.")
        (data if name == key else data["augment"])[name] = value
    return schema.parse(schema.Train, data, where="space")
