"""Random search."""

from tasks.strategies._nevergrad import NevergradStrategy


class Strategy(NevergradStrategy):
    optimizer = "RandomSearch"
