"""What a folder holds, found out once while nothing changes in it: formats are asked three times, and list it each time."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from pathlib import Path
from typing import Any, Final, TypeVar

T = TypeVar("T")
_FOUND: Final[ContextVar[dict[tuple[Callable[[Path], Any], Path], Any] | None]] = ContextVar("found", default=None)


@contextmanager
def unchanged() -> Iterator[None]:
    """In its block, functions that are `once` keep what they found; afterwards it is let go."""
    before = _FOUND.set({})
    try:
        yield
    finally:
        _FOUND.reset(before)


def once(function: Callable[[Path], T]) -> Callable[[Path], T]:
    """Asks a function once about a folder, in a block of `unchanged`; each time elsewhere.

    What is false is not kept, as all is that a format finds in a dataset of another one.
    """

    @wraps(function)
    def ask(folder: Path) -> T:
        found = _FOUND.get()
        if found is None:
            return function(folder)
        result: T | None = found.get((function, folder))
        if result is None:
            result = function(folder)
            if result:
                found[function, folder] = result
        return result

    return ask
