"""Runs a module in a process of its own: what it does there, crash and hang included, becomes an answer."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self

import psutil

from tasks.stage import QUIET, die_with_parent

TAIL_BYTES = 4096
ROOT = Path(__file__).parents[1]
LOOK_S: Final = 1.0
"""How often a worker's memory is looked at: each look takes a core from what is measured, for 0.05 to 0.3 ms."""
MB: Final = 1_000_000


def run_isolated(
    module: str, job: Mapping[str, Any], timeout_s: float, *, remedy: str = "raise benchmark.timeout_s", secrets: bool = True
) -> dict[str, Any]:
    """Runs `python -m MODULE JOB RESULT`, two JSON files, and waits for it.

    Args:
        module: What to run; it writes an object with `status` and `message` to RESULT.
        job: What it reads from JOB.
        timeout_s: How long it may take, seconds; it is killed then, with all that it started.
        remedy: What helps then.
        secrets: Whether it gets this process's environment; otherwise only where the code is, and a folder for a home.

    Returns:
        What the module wrote; or only `status` (`failed`, `timeout`) and a `message`.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        given, result, errors = folder / "job.json", folder / "result.json", folder / "stderr"
        given.write_text(json.dumps(job), encoding="utf-8")
        with errors.open("wb") as stderr:
            process = subprocess.Popen(
                [sys.executable, "-m", module, str(given), str(result)],
                stdin=subprocess.DEVNULL,
                stderr=stderr,
                env=None if secrets else {**QUIET, "PYTHONPATH": str(ROOT), "HOME": name, "TMPDIR": name},
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  stages have one thread
            )
        try:
            code = process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return {"status": "timeout", "message": f"took longer than {timeout_s:g} s: {remedy}"}
        finally:
            _end(process)
        if code == 0:
            answer: dict[str, Any] = json.loads(result.read_text(encoding="utf-8"))
            return answer
        return _failure(code, errors)


class Worker:
    """A module's process that answers one command after the other, as long as it lives.

    `python -m MODULE` reads a JSON object a line from its standard input and writes one a line to its standard output, with
    `status` and `message`; see `tasks.commands`. What ends it, a crash, a hang or too much memory, is the answer to the
    command that was under way, and to all that follow.

    Args:
        module: What to run.
        memory_mb: It is killed when it takes more resident memory, MB (10^6 bytes).
    """

    def __init__(self, module: str, memory_mb: float) -> None:
        self.memory_mb = memory_mb
        self._ended: dict[str, Any] | None = None
        self._closed = False
        self._folder = tempfile.TemporaryDirectory()
        self._errors = Path(self._folder.name) / "stderr"
        with self._errors.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509  stages have one thread
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it answers further commands."""
        return self._ended is None

    def ask(self, command: Mapping[str, Any], timeout_s: float, sessions: int = 1) -> dict[str, Any]:
        """Sends a command and waits for its answer.

        Args:
            command: What the module takes.
            timeout_s: How long it may take, seconds; it is killed then.
            sessions: It may take so many times the memory meanwhile.

        Returns:
            The answer; or only `status` (`failed`, `timeout`, `memory`) and a `message`.
        """
        if self._ended is None:
            answer = self._ask(command, timeout_s, sessions * self.memory_mb)
            if answer["status"] == "ok":
                return answer
            self._ended = answer
            self.close()
        return self._ended

    def close(self) -> None:
        """Ends the process; again it does nothing."""
        if self._closed:
            return
        self._closed = True
        _end(self._process)
        for pipe in (self._process.stdin, self._process.stdout):
            with contextlib.suppress(BrokenPipeError):
                pipe.close()  # type: ignore[union-attr]
        self._folder.cleanup()

    def _ask(self, command: Mapping[str, Any], timeout_s: float, limit_mb: float) -> dict[str, Any]:
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is over: there is no answer
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()
        until, data = time.monotonic() + timeout_s, b""
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)  # type: ignore[arg-type]
            while not data.endswith(b"\n"):
                if time.monotonic() > until:
                    return {"status": "timeout", "message": f"took longer than {timeout_s:g} s: raise benchmark.timeout_s"}
                if (takes_mb := self._takes_mb()) > limit_mb:
                    expected = f"expected at most {limit_mb:g} MB: raise benchmark.memory_mb"
                    return {"status": "memory", "message": f"got {takes_mb:.0f} MB, {expected}"}
                if selector.select(max(0.0, min(LOOK_S, until - time.monotonic()))):
                    part = os.read(self._process.stdout.fileno(), 1 << 20)  # type: ignore[union-attr]
                    if not part:
                        return _failure(self._process.wait(), self._errors)
                    data += part
        answer: dict[str, Any] = json.loads(data)
        return answer

    def _takes_mb(self) -> float:
        try:
            return float(psutil.Process(self._process.pid).memory_info().rss) / MB
        except psutil.Error:
            return 0.0


def _failure(code: int, errors: Path) -> dict[str, Any]:
    """The answer of a process that ended by itself."""
    last = errors.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace").strip().splitlines()
    reason = f"died of {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    if code == -signal.SIGKILL:
        reason += ", as where the machine's memory runs out: measure or run less at once"
    return {"status": "failed", "message": ": ".join([reason, *last[-1:]])}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kills what is left of the process's group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
