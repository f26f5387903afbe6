"""What families on PyTorch share: devices, memory, seeds, and files that are the same bytes for the same content."""

import ctypes
import gc
import io
import math
import os
import pickle
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from sightline.errors import SightlineError
from tasks import schema
from tasks.models import OnEpoch, Weights

State = Mapping[str, Any]
AVERAGE_TAU: Final = 2000
"""Steps in which the moving average's decay rises, so that a short run forgets its random start; Ultralytics' value."""
VALIDATION: Final = "val/"
"""What the names of an epoch's metrics on the validation split begin with."""
FITNESS: Final = f"{VALIDATION}fitness"
MILESTONES: Final = (2 / 3, 8 / 9)
"""Shares of the epochs after which `step` divides the learning rate by 10: 60k and 80k of 90k, Detectron's 1x schedule."""
POWER: Final = 0.9
"""Of the polynomial (DeepLab, arXiv:1606.00915, section 4.1)."""
_OUT_OF_MEMORY = ("out of memory", "DefaultCPUAllocator", "ALLOC_FAILED")  # CUDA and its allocator, the CPU's, cuBLAS and cuDNN
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


def dtype_of(recipe: schema.Train, device: torch.device) -> torch.dtype:
    """What to multiply in: as asked for; `auto` is bfloat16 on hardware that multiplies in it, else float32."""
    if recipe.precision != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}[recipe.precision]
    has_bf16 = torch.cuda.is_bf16_supported() if device.type == "cuda" else torch.cpu._is_avx512_bf16_supported()
    return torch.bfloat16 if has_bf16 else torch.float32


def within_memory(
    recipe: schema.Train, on_epoch: OnEpoch, attempt: Callable[[schema.Train, OnEpoch], None], smallest: int = 1
) -> None:
    """Calls `attempt(recipe, on_epoch)`; where memory runs out, again with half the batch and twice the accumulation.

    Args:
        recipe: The first attempt's.
        on_epoch: Called once for each epoch, however often attempts report it.
        attempt: Trains; goes on from its last checkpoint.
        smallest: The smallest batch that the network can learn from.

    Raises:
        SightlineError: Memory ran out at the smallest batch.
    """
    reported = 0

    def report(epoch: int, losses: Mapping[str, float]) -> None:
        nonlocal reported
        if epoch > reported:
            reported = epoch
            on_epoch(epoch, losses)

    while True:
        try:
            attempt(recipe, report)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
        else:
            return
        recipe = _halved(recipe, smallest)
        gc.collect()
        if recipe.device.startswith("cuda"):
            torch.cuda.empty_cache()


def is_out_of_memory(error: BaseException) -> bool:
    """Whether a device or the machine had no memory left."""
    return isinstance(error, MemoryError | torch.OutOfMemoryError) or any(text in str(error) for text in _OUT_OF_MEMORY)


def smaller(recipe: schema.Train, batches: dict[str, int]) -> schema.Train:
    """The recipe with the batch and the accumulation of a checkpoint, unless its own batch is smaller: memory ran out since."""
    return recipe.model_copy(update=batches) if batches["batch"] < recipe.batch else recipe


def _halved(recipe: schema.Train, smallest: int) -> schema.Train:
    if recipe.batch <= smallest:
        least = ", the least that this network learns from," if smallest > 1 else ""
        raise SightlineError(
            f"train: out of memory at train.batch={recipe.batch}{least} on {recipe.device}: "
            "lower model.imgsz, or choose a smaller model.arch"
        )
    smaller = {"batch": max(recipe.batch // 2, smallest), "accumulate": recipe.accumulate * 2}
    print(
        f"train: out of memory: train.batch {recipe.batch} -> {smaller['batch']}, train.accumulate {recipe.accumulate} -> "
        f"{smaller['accumulate']}, from the last checkpoint",
        flush=True,
    )
    return recipe.model_copy(update=smaller)


def batches_of(recipe: schema.Train) -> dict[str, int]:
    """What a checkpoint keeps of the recipe, since memory may have changed it: a resumed run goes on with it."""
    return {"batch": recipe.batch, "accumulate": recipe.accumulate}


def keep_freed_memory() -> None:
    """Has glibc keep freed memory for the next step, whose large tensors otherwise cost a page fault for every 4 KiB."""
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_M_MMAP_THRESHOLD, 1 << 30)
        library.mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)


def seed_epoch(seed: int, epoch: int, rank: int = 0) -> None:
    """Seeds every generator with a function of its arguments, so that a resumed run draws what an unbroken one draws."""
    words = np.random.SeedSequence([seed, epoch, rank]).generate_state(3)
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
    """The learning rate after `epoch` epochs: a linear warm-up, then as `scheduler` says.

    `cosine`, `linear` and `polynomial` fall from `lr0` to `lr0 * lrf`.
    """
    warmup = min(recipe.warmup_epochs, recipe.epochs / 2)
    ramp = min(1.0, (epoch + 1e-3) / warmup) if warmup else 1.0
    done = min(1.0, epoch / recipe.epochs)
    match recipe.scheduler:
        case "constant":
            return recipe.lr0 * ramp
        case "step":
            return recipe.lr0 * ramp * 0.1 ** sum(done >= milestone for milestone in MILESTONES)
        case "cosine":
            share = (1 + math.cos(math.pi * done)) / 2
        case "linear":
            share = 1 - done
        case "polynomial":
            share = (1 - done) ** POWER
    return recipe.lr0 * ramp * (recipe.lrf + (1 - recipe.lrf) * share)


def moving_average(network: torch.nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of the weights and statistics of `network`, which each step updates.

    Its decay after n steps is `decay * (1 - exp(-n / AVERAGE_TAU))`. Its count stays on the CPU: reading it waits for no GPU.
    """

    def update(averages: Any, current: Any, count: Any) -> None:
        if averages[0].is_floating_point():
            steps = int(average.n_averaged)
            torch._foreach_lerp_(averages, current, 1 - decay * (1 - math.exp(-steps / AVERAGE_TAU)))
        else:
            torch._foreach_copy_(averages, current)

    average = AveragedModel(network, multi_avg_fn=torch.no_grad()(update), use_buffers=True)
    return average.requires_grad_(False)


def is_over(history: Sequence[Mapping[str, float]], recipe: schema.Train) -> bool:
    """Whether all epochs are done, or nothing has become better for `patience` epochs.

    That is the training loss, or, where the validation split is looked at, the fitness there, in an epoch that has it.
    """
    if not history or len(history) >= recipe.epochs:
        return bool(history)
    if recipe.validate_every:
        scores = [epoch.get(FITNESS, -math.inf) for epoch in history]
        is_judged = FITNESS in history[-1]
    else:
        scores = [-sum(value for name, value in epoch.items() if name.startswith("train/")) for epoch in history]
        is_judged = True
    return is_judged and len(scores) - 1 - scores.index(max(scores)) >= recipe.patience


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


def start_from(module: torch.nn.Module, weights: Weights, rename: Callable[[str], str] = str) -> None:
    """Loads those weights that fit; a head for another number of classes keeps its random start.

    Args:
        module: Takes the weights.
        weights: A state dict.
        rename: From the name of a tensor in `weights` to that in `module`.

    Raises:
        SightlineError: Nothing fits.
    """
    given, own = {rename(name): value for name, value in weights.state.items()}, module.state_dict()
    fitting = {name: value for name, value in given.items() if name in own and own[name].shape == value.shape}
    if not fitting:
        raise SightlineError(
            f"{weights.where}: none of its {len(weights.state)} tensors fits this architecture: set model.arch to its own"
        )
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
