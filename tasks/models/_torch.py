"""What families on PyTorch share: devices, seeds, and files that are the same bytes for the same content."""

import ctypes
import io
import math
import os
import pickle
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sightline.errors import SightlineError
from tasks import schema

State = Mapping[str, Any]
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # mallopt(3)


def device_of(name: str) -> torch.device:
    """The device `name`.

    Raises:
        SightlineError: There is no such device here.
    """
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise SightlineError(f"train.device: got {name!r} ({reason}), expected cpu, or cuda where there is one") from None
    return device


def is_bf16(recipe: schema.Train, device: torch.device) -> bool:
    """Whether to train in bfloat16: asked for, or `auto` on hardware that multiplies in it."""
    if recipe.precision != "auto":
        return recipe.precision == "bf16"
    return torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()


def keep_freed_memory() -> None:
    """Has glibc keep freed memory for the next step, whose large tensors otherwise cost a page fault for every 4 KiB."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        library.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def seed_epoch(seed: int, epoch: int) -> None:
    """Seeds every generator with a function of `(seed, epoch)`, so that a resumed run draws what an unbroken one draws."""
    words = np.random.SeedSequence([seed, epoch]).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))  # noqa: NPY002  libraries draw from the global generator
    torch.manual_seed(int(words[2]))


def optimizer_of(module: torch.nn.Module, recipe: schema.Train) -> torch.optim.Optimizer:
    """The recipe's optimizer; biases and normalisations do not decay.

    Raises:
        SightlineError: PyTorch does not have it.
    """
    if recipe.optimizer == "MuSGD":
        raise SightlineError("train.optimizer: got MuSGD, which is Ultralytics' own, expected SGD or AdamW")
    decaying = [parameter for parameter in module.parameters() if parameter.requires_grad and parameter.ndim > 1]
    others = [parameter for parameter in module.parameters() if parameter.requires_grad and parameter.ndim <= 1]
    groups = [{"params": decaying, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if recipe.optimizer == "SGD":
        return torch.optim.SGD(groups, lr=recipe.lr0, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True)
    return torch.optim.AdamW(groups, lr=recipe.lr0, betas=(recipe.momentum, 0.999), fused=True)


def learning_rate(recipe: schema.Train, epoch: float) -> float:
    """The learning rate after `epoch` epochs: a linear warm-up, then a cosine from `lr0` to `lr0 * lrf`."""
    warmup = min(recipe.warmup_epochs, recipe.epochs / 2)
    ramp = min(1.0, (epoch + 1e-3) / warmup) if warmup else 1.0
    cosine = (1 + math.cos(math.pi * min(1.0, epoch / recipe.epochs))) / 2
    return recipe.lr0 * ramp * (recipe.lrf + (1 - recipe.lrf) * cosine)


def is_over(history: Sequence[Mapping[str, float]], recipe: schema.Train) -> bool:
    """Whether all epochs are done, or the training loss has not fallen for `patience` epochs."""
    losses = [sum(value for name, value in epoch.items() if name.startswith("train/")) for epoch in history]
    stale = len(losses) - 1 - losses.index(min(losses)) if losses else 0
    return len(losses) >= recipe.epochs or stale >= recipe.patience


@contextmanager
def deterministic() -> Iterator[None]:
    """Has PyTorch choose deterministic algorithms."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


def save(content: Any, path: Path) -> None:
    """Writes `content` whole or not at all; the same content gives the same bytes, whatever the file is called."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    temporary = path.with_name(f"{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(buffer.getbuffer())
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_weights(path: Path) -> State:
    """Reads a state dict, on the CPU; no code in it runs.

    Raises:
        SightlineError: The file is missing or is no state dict.
    """
    if not path.is_file():
        raise SightlineError(f"{path}: not there: expected the weights of a model, a state dict saved by torch.save")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, OSError, pickle.UnpicklingError) as error:
        raise SightlineError(f"{path}: not the weights of a model ({str(error).splitlines()[0]}): train it again") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise SightlineError(f"{path}: got {type(state).__name__}, expected a state dict of tensors")
    return state


def start_from(module: torch.nn.Module, path: Path, rename: Callable[[str], str] = str) -> None:
    """Loads the weights of `path` that fit; a head for another number of classes keeps its random start.

    Args:
        module: Takes the weights.
        path: A state dict.
        rename: From the name of a tensor in `path` to that in `module`.

    Raises:
        SightlineError: Nothing fits.
    """
    given, own = {rename(name): value for name, value in load_weights(path).items()}, module.state_dict()
    fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise SightlineError(f"{path}: none of its {len(given)} tensors fits this architecture: set model.arch to its own")
    module.load_state_dict(fitting, strict=False)


def load_exactly(module: torch.nn.Module, path: Path) -> None:
    """Loads weights that must fit.

    Raises:
        SightlineError: They are of another architecture or of other classes.
    """
    try:
        module.load_state_dict(load_weights(path))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise SightlineError(f"{path}: weights of another model ({reason}): train again with this conf/model") from None
