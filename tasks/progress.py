"""Progress of long work: a bar on a terminal, plain lines in a log."""

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

T = TypeVar("T")
LINE_EVERY_S = 5.0


class Progress:
    """Counts steps of known number and shows them.

    On a terminal a bar with rate and time left; otherwise a line every few seconds, `train: 3/20 epochs, mAP50 0.41`, which
    the Prefect flow reads back.

    Args:
        name: What is under way, e.g. `train`.
        total: Number of steps.
        unit: What a step is, plural, e.g. `epochs`.
        done: Steps that an earlier, interrupted run has done.
    """

    def __init__(self, name: str, total: int, unit: str, done: int = 0) -> None:
        self.name, self.total, self.unit, self.done = name, total, unit, done
        self._last_line = 0.0
        self._bar = tqdm(total=total, initial=done, desc=name, unit=f" {unit}") if sys.stderr.isatty() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, steps: int = 1, note: str = "") -> None:
        """Counts `steps` and shows `note`, e.g. `mAP50 0.41`, beside them."""
        self.done += steps
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(steps)
            return
        now = time.monotonic()
        if now - self._last_line >= LINE_EVERY_S or self.done >= self.total:
            self._last_line = now
            print(f"{self.name}: {self.done}/{self.total} {self.unit}{', ' if note else ''}{note}", flush=True)


def track(items: Iterable[T], name: str, total: int, unit: str) -> Iterator[T]:
    """Yields `items`, showing progress."""
    with Progress(name, total, unit) as progress:
        for item in items:
            yield item
            progress.update()
