"""Runs a command and ends it with its parent: `python guard.py PARENT COMMAND ...`, started in a session of its own.

DVC starts a stage by a shell, so that a signal to one process does not reach the others. The guard leads their group, and the
kernel tells it when its parent dies, by SIGKILL as well (prctl(2), Linux); it then kills the group.
"""

import ctypes
import os
import signal
import subprocess
import sys

_PR_SET_PDEATHSIG = 1  # prctl(2)


def main() -> int:
    """Runs the command in `sys.argv`; returns its exit code."""
    signal.signal(signal.SIGTERM, lambda *_: os.killpg(0, signal.SIGKILL))
    parent = int(sys.argv[1])
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        os.killpg(0, signal.SIGKILL)
    return subprocess.call(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
