"""Several processes that train one network together, a device each; they die with the one that started them.

Lightning's own launchers start the stage's command again, or take no function to call after an epoch.
"""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, Final, cast

import torch
from torch import multiprocessing
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from sightline.errors import SightlineError
from tasks.models import OnEpoch
from tasks.models._torch import is_out_of_memory

POLL_S: Final = 0.2
_PR_SET_PDEATHSIG = 1  # prctl(2)


def run(function: Callable[..., None], ranks: int, arguments: tuple[Any, ...], on_epoch: OnEpoch) -> None:
    """Calls `function(*arguments, report)` in `ranks` processes, in the environment that Lightning expects of a launcher.

    What the first process reports reaches `on_epoch` here. Where one process fails, the others are stopped.

    Raises:
        SightlineError: As one of the processes raised it.
        torch.OutOfMemoryError: A process had no memory left.
    """
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        port = chosen.getsockname()[1]
    messages = multiprocessing.get_context("spawn").SimpleQueue()
    started = cast("Any", spawn)(_rank, (function, ranks, port, os.getpid(), messages, arguments), nprocs=ranks, join=False)
    try:
        is_done = False
        while not is_done:
            is_done = started.join(POLL_S, grace_period=0)
            _receive(messages, on_epoch)
    except (ProcessExitedException, ProcessRaisedException):
        _receive(messages, on_epoch)
        raise
    finally:
        for process in started.processes:
            process.kill()
            process.join()


def _receive(messages: Any, on_epoch: OnEpoch) -> None:
    """Handles what has arrived: a failure is raised, an epoch reported."""
    while not messages.empty():
        message = messages.get()
        if isinstance(message, Exception):
            raise message
        on_epoch(*message)


def _rank(
    rank: int,
    function: Callable[..., None],
    ranks: int,
    port: int,
    parent: int,
    messages: Any,
    arguments: tuple[Any, ...],
) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit(128 + signal.SIGKILL)
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo"}
    os.environ.update(address, WORLD_SIZE=str(ranks), NODE_RANK="0", LOCAL_RANK=str(rank))
    torch.set_num_threads(max(1, torch.get_num_threads() // ranks))

    def report(*message: Any) -> None:
        if rank == 0:
            messages.put(message)

    try:
        function(*arguments, report)
    except SightlineError as error:
        messages.put(error)
        sys.exit(error.exit_code)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        messages.put(torch.OutOfMemoryError(str(error)))
        sys.exit(1)
