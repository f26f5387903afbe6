"""nevergrad's optimizers over the typed space."""

from collections.abc import Mapping
from typing import Any, ClassVar, cast

import numpy as np

from sightline.errors import SightlineError
from tasks import schema
from tasks.strategies import BaseStrategy, Value, Values


class NevergradStrategy(BaseStrategy):
    """One of nevergrad's optimizers, by the name of its registry."""

    optimizer: ClassVar[str]

    def __init__(self, space: Mapping[str, schema.Dimension], start: Values, trials: int, seed: int) -> None:
        import nevergrad

        if not space:
            raise SightlineError("space: empty, expected at least one hyperparameter: give conf/model a `space`")
        dimensions = {key: _dimension(key, dimension, start[key]) for key, dimension in space.items()}
        parametrization = nevergrad.p.Dict(**dimensions)
        parametrization.random_state = np.random.RandomState(seed)
        self._optimizer = nevergrad.optimizers.registry[self.optimizer](parametrization, budget=max(trials, 1))
        self._asked: Any = None

    def ask(self) -> dict[str, Value]:
        self._asked = self._optimizer.ask()
        return {key: _plain(value) for key, value in self._asked.value.items()}

    def tell(self, fitness: float) -> None:
        self._optimizer.tell(self._asked, 1.0 - fitness)


def _dimension(key: str, dimension: schema.Dimension, start: Value) -> Any:
    """A dimension in the form of nevergrad, beginning at `start`, or at the nearest value that it has."""
    import nevergrad

    if isinstance(dimension, schema.Choice):
        choice = nevergrad.p.Choice(list(dimension.values))
        if start in dimension.values:
            choice.value = start
        return choice
    begin = min(max(float(start), dimension.low), dimension.high)
    if isinstance(dimension, schema.Int):
        return nevergrad.p.Scalar(init=begin, lower=dimension.low, upper=dimension.high).set_integer_casting()
    if not dimension.log:
        return nevergrad.p.Scalar(init=begin, lower=dimension.low, upper=dimension.high)
    return nevergrad.p.Log(init=begin, lower=dimension.low, upper=dimension.high)


def _plain(value: Any) -> Value:
    """Scalars of numpy as Python's, reals with six significant digits, so that what is written is what was tried."""
    value = value.item() if isinstance(value, np.generic) else value
    return float(f"{value:.6g}") if isinstance(value, float) else cast("Value", value)
