"""Runs a module in a process of its own: what it does there, crash and hang included, becomes an answer."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.stage import QUIET, die_with_parent

TAIL_BYTES = 4096
ROOT = Path(__file__).parents[1]


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
        last = errors.read_bytes()[-TAIL_BYTES:].decode("utf-8", "replace").strip().splitlines()
        reason = f"died of {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        return {"status": "failed", "message": ": ".join([reason, *last[-1:]])}


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kills what is left of the process's group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
