"""Commands in process groups of their own, which end with this process however it ends."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from flows import guard
from tasks.stage import QUIET


def environment() -> dict[str, str]:
    """This process's environment, with this Python's programs first on the PATH."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {**os.environ, **QUIET, "PATH": path, "PYTHONUNBUFFERED": "1"}


def start(
    command: Sequence[str], stdout: int | IO[str], root: Path = Path(), env: Mapping[str, str] | None = None
) -> "subprocess.Popen[str]":
    """Starts `command` under the guard, in `root`."""
    return subprocess.Popen(
        [sys.executable, "-I", "-S", guard.__file__, str(os.getpid()), *command],
        cwd=root,
        env={**environment(), **(env or {})},
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )


def stop(process: "subprocess.Popen[str]") -> None:
    """Kills the process's whole group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class Processes:
    """The commands that a flow runs; leaving the context, by an error or a signal as well, kills those that still run."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with self._lock:
            self._closed = True
            running = list(self._running)
        for process in running:
            stop(process)

    def run(
        self,
        command: Sequence[str],
        on_line: Callable[[str], None],
        root: Path = Path(),
        env: Mapping[str, str] | None = None,
    ) -> int:
        """Runs `command` to its end, giving each line of its output to `on_line`.

        Returns:
            Its exit code; negative where a signal ended it.
        """
        with self._lock:
            if self._closed:
                return -signal.SIGTERM
            process = start(command, subprocess.PIPE, root, env)
            self._running.add(process)
        try:
            assert process.stdout is not None
            with process.stdout:
                for line in process.stdout:
                    on_line(line.rstrip("\n"))
            return process.wait()
        finally:
            stop(process)
            with self._lock:
                self._running.discard(process)
