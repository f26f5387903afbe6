"""A function over many items on all cores, in order, in chunks, with progress; memory holds a few chunks at a time."""

import multiprocessing
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Final, TypeVar

from sightline.cores import available_cores
from sightline.errors import SightlineError
from tasks.progress import Progress
from tasks.stage import die_with_parent

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
CHUNK: Final = 64
AHEAD: Final = 4  # chunks a worker that wait for their turn
SERIAL: Final = 32
"""So few items are done here: to start processes takes longer."""


def parallel(
    function: Callable[[ItemT], ResultT], items: Sequence[ItemT], name: str, unit: str, workers: int | None = None
) -> Iterator[ResultT]:
    """Yields `function(item)` for each item, in order.

    Args:
        function: Picklable: a module's function, or a partial of one.
        items: Picklable, and small beside the work.
        name: What is under way, for the progress, e.g. `validate`.
        unit: What an item is, plural.
        workers: Processes; all cores if not given.

    Raises:
        SightlineError: A worker was killed, as the kernel does where memory is short.
    """
    count = min(workers or available_cores(), -(-len(items) // CHUNK))
    with Progress(name, len(items), unit) as progress:
        if len(items) <= SERIAL or count == 1:
            for item in items:
                yield function(item)
                progress.update()
            return
        # fork: the workers need what is imported here already; threads of libraries that wait for work hold no lock
        context = multiprocessing.get_context("fork")
        with ProcessPoolExecutor(count, mp_context=context, initializer=die_with_parent) as pool:
            chunks = (items[start : start + CHUNK] for start in range(0, len(items), CHUNK))
            waiting: deque[Future[list[ResultT]]] = deque()
            try:
                for chunk in chunks:
                    waiting.append(pool.submit(_run, function, chunk))
                    if len(waiting) > AHEAD * count:
                        yield from _done(waiting, progress)
                while waiting:
                    yield from _done(waiting, progress)
            except BrokenProcessPool as error:
                raise SightlineError(f"{name}: a worker was killed, expected enough memory for {count} of them") from error
            finally:
                pool.shutdown(wait=True, cancel_futures=True)


def _run(function: Callable[[ItemT], ResultT], chunk: Sequence[ItemT]) -> list[ResultT]:
    return [function(item) for item in chunk]


def _done(waiting: "deque[Future[list[ResultT]]]", progress: Progress) -> Iterator[ResultT]:
    results = waiting.popleft().result()
    yield from results
    progress.update(len(results))
