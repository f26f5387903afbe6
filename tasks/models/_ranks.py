"""Several processes that train one network together, a device each; they die with the one that started them.

Lightning's own launchers start the stage's command again, or take no function to call after an epoch. Lightning joins the
processes into a group itself; a loop of ours does so by `joined`, and outside of it each process is the only one.
"""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from multiprocessing.connection import wait
from typing import Any, Final, cast

import torch
from torch import Tensor, distributed, multiprocessing, nn
from torch.multiprocessing.spawn import ProcessExitedException, ProcessRaisedException, spawn

from sightline.errors import SightlineError
from tasks import schema
from tasks.models import OnEpoch
from tasks.models._torch import device_of, is_out_of_memory

POLL_S: Final = 0.2
PATIENCE: Final = timedelta(days=7)
"""How long a process waits for another, which may look at the validation split; one that died is noticed at once."""
_PR_SET_PDEATHSIG = 1  # prctl(2)


def run(function: Callable[..., None], ranks: int, arguments: tuple[Any, ...], on_epoch: OnEpoch) -> None:
    """Calls `function(*arguments, report)` in `ranks` processes, in the environment that Lightning and PyTorch expect.

    What the first process reports reaches `on_epoch` here. Where one process fails, the others are stopped.

    Raises:
        SightlineError: As one of the processes raised it, or one was killed.
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
            wait(started.sentinels, POLL_S)
            _receive(messages, on_epoch)
            for place, process in enumerate(started.processes):
                if (process.exitcode or 0) < 0:  # what the others then fail with is not the reason
                    raise _killed(place, ranks, process.exitcode)
            is_done = started.join(0, grace_period=0)
        _receive(messages, on_epoch)
    except ProcessExitedException as error:
        _receive(messages, on_epoch)
        if error.exit_code < 0:
            raise _killed(error.error_index, ranks, error.exit_code) from None
        raise
    except ProcessRaisedException:
        _receive(messages, on_epoch)
        raise
    finally:
        for process in started.processes:
            process.kill()
            process.join()


def check_devices(recipe: schema.Train, images: int) -> None:
    """Looks for as many devices as the recipe names, with an image for each.

    Raises:
        SightlineError: There are fewer.
    """
    if recipe.devices > images:
        raise SightlineError(f"train.devices: got {recipe.devices} for {images} images, expected at most as many: lower it")
    device = device_of(recipe.device)
    if device.type == "cuda" and recipe.devices > (there := torch.cuda.device_count()):
        raise SightlineError(f"train.devices: got {recipe.devices}, expected at most {there}: this machine has no more")


@contextmanager
def joined(recipe: schema.Train) -> Iterator[None]:
    """Joins this process, one that `run` started, with the others: by NCCL between GPUs, by Gloo between processors."""
    is_cuda = device_of(recipe.device).type == "cuda"
    rank = int(os.environ["LOCAL_RANK"])
    if is_cuda:
        torch.cuda.set_device(rank)
    distributed.init_process_group(
        "nccl" if is_cuda else "gloo", rank=rank, world_size=int(os.environ["WORLD_SIZE"]), timeout=PATIENCE
    )
    yield
    distributed.destroy_process_group()  # not after a failure: it may wait for the others, and the process ends anyway


def rank() -> int:
    """This process's place among those that train together, from 0."""
    return distributed.get_rank() if distributed.is_initialized() else 0


def synchronised(network: nn.Module) -> nn.Module:
    """The network, which begins as the first process has it and whose gradients become the mean over all processes."""
    return nn.parallel.DistributedDataParallel(network) if distributed.is_initialized() else network


def mean(values: Mapping[str, Tensor]) -> dict[str, float]:
    """The mean of each scalar over all processes, which all have the same names."""
    if distributed.is_initialized():
        for value in values.values():
            distributed.all_reduce(value)
    count = distributed.get_world_size() if distributed.is_initialized() else 1
    return {name: float(value) / count for name, value in values.items()}


def told(value: dict[str, float]) -> dict[str, float]:
    """What the first process has."""
    content = [value]
    if distributed.is_initialized():
        distributed.broadcast_object_list(content)
    return content[0]


def _killed(place: int, ranks: int, exit_code: int) -> SightlineError:
    names = {each.value: each.name for each in signal.Signals}
    name = names.get(-exit_code, f"signal {-exit_code}")
    why = ", as the system does where memory runs out" if name == "SIGKILL" else ""
    return SightlineError(
        f"train: process {place + 1} of {ranks} was ended by {name}{why}: run again, it goes on from its last checkpoint; "
        "lower train.devices, or train.batch, if it ends again"
    )


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
