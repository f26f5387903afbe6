"""`sightline run`: the flow in this process, and what a person sees of it."""

import logging
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import TextIO

from flows import compose, server
from flows.output import parse_progress
from sightline.errors import SightlineError


class Console(logging.Handler):
    """Shows the stages' own lines; on a terminal, progress stays on one line.

    Args:
        stream: Where to.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(logging.INFO)
        self.stream = stream
        self._terminal = stream.isatty()
        self._on_progress = False

    def emit(self, record: logging.LogRecord) -> None:
        """Shows the lines that the flow logs; Prefect's own are in its UI."""
        if record.module != "pipeline":
            return
        line = record.getMessage()
        is_progress = self._terminal and parse_progress(line) is not None
        if is_progress:
            width = shutil.get_terminal_size().columns - 1
            self.stream.write(f"\r{line[:width]:<{width}}")
        else:
            self.stream.write(f"{chr(10) if self._on_progress else ''}{line}\n")
        self._on_progress = is_progress
        self.stream.flush()


def run(overrides: Sequence[str], publish: bool) -> int:
    """Runs the flow to its end and shows the summary; returns the exit code.

    Raises:
        SightlineError: An override is wrong, or a stage failed.
    """
    compose.compose_params(overrides)  # before a server is started for nothing
    begin = time.monotonic()
    signal.signal(signal.SIGTERM, _interrupt)
    server.until_exit(server.available())
    from flows.pipeline import pipeline

    console = Console(sys.stdout)
    logging.getLogger("prefect").addHandler(console)
    try:
        state = pipeline(overrides=list(overrides), publish=publish, return_state=True)
    finally:
        logging.getLogger("prefect").removeHandler(console)
    if not state.is_completed():
        error = state.result(raise_on_failure=False)
        raise error if isinstance(error, SightlineError) else SightlineError(str(state.message))
    from flows import summary

    print(f"{state.message}; {time.monotonic() - begin:.0f} s", flush=True)
    summary.show()
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
