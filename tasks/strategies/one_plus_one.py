"""(1+1) evolution with nevergrad's portfolio of mutation rates: its best at small budgets."""

from tasks.strategies._nevergrad import NevergradStrategy


class Strategy(NevergradStrategy):
    optimizer = "PortfolioDiscreteOnePlusOne"
