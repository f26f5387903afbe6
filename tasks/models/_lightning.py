"""Training by Lightning: deterministic, resumed from Lightning's own checkpoint, silent but for `on_epoch`.

Several devices are several processes of this machine, each with an equal share of an epoch's images.
"""

import logging
import os
import shutil
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sequence, Sized
from copy import deepcopy
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader, Dataset, default_collate

from sightline.errors import MissingExtraError
from tasks import augmentation_sheet, models, schema, tables
from tasks.models import AUGMENTATION_FILE, DivergedError, OnEpoch, _ranks
from tasks.models._balance import order
from tasks.models._torch import (
    batches_of,
    deterministic,
    device_of,
    dtype_of,
    is_over,
    keep_freed_memory,
    learning_rate,
    moving_average,
    optimizer_of,
    save,
    seed_epoch,
    smaller,
    start_from,
    within_memory,
)
from tasks.models._validation import Validation, of_fit
from tasks.tables import Sample

try:
    import pytorch_lightning as lightning
    from pytorch_lightning.callbacks import Checkpoint
    from pytorch_lightning.plugins.io import TorchCheckpointIO
    from pytorch_lightning.strategies import DDPStrategy
except ModuleNotFoundError as error:
    if error.name != "pytorch_lightning":
        raise
    raise MissingExtraError("pytorch_lightning", "pipeline") from None

CHECKPOINT: Final = "checkpoint.ckpt"
PRECISIONS: Final = {torch.float32: "32-true", torch.bfloat16: "bf16-mixed", torch.float16: "16-mixed"}


class Learning(ABC):
    """What is learnt, and from what: the part of a training that differs between tasks. It can be pickled.

    Attributes:
        network: Trained in place.
        data: Map-style; its items stay on the CPU.
        classes: Class names, for pictures.
        sampling: How often each item is drawn in an epoch, on average, float64 (items,); None: each once.
        layout: In which images go into the network, as the recipe says.
        smallest: The smallest batch that can be learnt from: 2 where features of one pixel are normalised over the batch.
    """

    network: nn.Module
    data: Dataset[Any]
    classes: Sequence[str]
    sampling: Tensor | None = None
    layout: torch.memory_format = torch.channels_last
    smallest: int = 1

    @property
    def items(self) -> int:
        """How many `data` has."""
        return len(cast("Sized", self.data))

    def collate(self, items: list[Any]) -> Any:
        """A batch of items of `data`: tensors, or tuples, lists and dicts of tensors."""
        return default_collate(items)

    def picture(self, item: Any) -> augmentation_sheet.Picture:
        """What there is to see of an item of `data`."""
        return augmentation_sheet.picture(*item)

    @abstractmethod
    def losses(self, batch: Any) -> dict[str, Tensor]:
        """The losses of a batch on the network's device, scalars by name; their sum is minimised."""


class Family(models.Family):
    """A family that Lightning trains; it says how its network is built, and what that learns."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The network with random weights."""

    @abstractmethod
    def learning(self, network: nn.Module, samples: list[Sample], recipe: schema.Train) -> Learning:
        """What `network` learns from the training split."""

    def rename(self, name: str) -> str:
        """The name in the network of a tensor of published weights."""
        return name

    def fit(
        self,
        dataset: tables.Dataset,
        recipe: schema.Train,
        *,
        start: Path | None,
        work: Path,
        out: Path,
        on_epoch: OnEpoch,
    ) -> None:
        seed_epoch(recipe.seed, 0)
        network = self.build()
        if weights := models.starting_weights(self.config, start):
            start_from(network, weights, self.rename)
        learning, validation = self.learning(network, dataset.samples("train"), recipe), of_fit(self, dataset, recipe, work)
        fit(learning, recipe, work=work, out=out, on_epoch=on_epoch, validation=validation)


def fit(
    learning: Learning,
    recipe: schema.Train,
    *,
    work: Path,
    out: Path,
    on_epoch: OnEpoch,
    validation: Validation | None = None,
) -> None:
    """Trains `learning.network`; see `tasks.models.Family.fit`.

    Args:
        learning: The network, the data and the losses.
        recipe: Hyperparameters, device and precision.
        work: Where the checkpoint goes, and a sheet of the first images.
        out: Where the final weights go.
        on_epoch: Called after each epoch, those done before included.
        validation: Looks at the validation split, and keeps the best weights; None: the last ones are kept.
    """
    _ranks.check_devices(recipe, learning.items)
    write_sheet(learning, recipe, work / AUGMENTATION_FILE)
    start = deepcopy(learning.network.state_dict())

    def attempt(recipe: schema.Train, report: OnEpoch) -> None:
        learning.network.load_state_dict(start)
        if recipe.devices == 1:
            _fit(learning, recipe, work, out, validation, report)
        else:
            _ranks.run(_fit_share, recipe.devices, (learning, recipe, work, out, validation), report)

    within_memory(recipe, on_epoch, attempt, learning.smallest)


def write_sheet(learning: Learning, recipe: schema.Train, path: Path) -> None:
    """Shows the images that the first epoch begins with."""
    first = order(learning.items, learning.sampling, recipe, epoch=1)[: augmentation_sheet.SHOWN]
    seed_epoch(recipe.seed, 1)
    augmentation_sheet.write([learning.picture(learning.data[index]) for index in first], learning.classes, path)


def _fit_share(learning: Learning, *arguments: Any) -> None:
    """One attempt of one process: what it got lies in memory that all processes share, and only the data may stay there."""
    _fit(deepcopy(learning, {id(learning.data): learning.data}), *arguments)


def _fit(
    learning: Learning, recipe: schema.Train, work: Path, out: Path, validation: Validation | None, on_epoch: OnEpoch
) -> None:
    """One attempt, in the only process or in one of several."""
    keep_freed_memory()
    device = device_of(recipe.device)
    path = work / CHECKPOINT
    found = torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None
    history = found["history"] if found else []
    recipe = smaller(recipe, found["batches"]) if found else recipe
    for epoch, losses in enumerate(history, 1):
        on_epoch(epoch, losses)
    learning.layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
    learning.network.to(memory_format=learning.layout).to(device)
    module = Module(learning, recipe, on_epoch, validation)
    if recipe.compile:
        learning.network.compile()
    for name in ("pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)
    trainer = lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=[device.index or 0] if device.type == "cuda" and recipe.devices == 1 else recipe.devices,
        strategy="auto" if recipe.devices == 1 else DDPStrategy(timeout=_ranks.PATIENCE),
        use_distributed_sampler=False,
        precision=PRECISIONS[dtype_of(recipe, device)],
        accumulate_grad_batches=recipe.accumulate,
        max_epochs=recipe.epochs,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[AfterEpoch(path)],
        plugins=[FileIO()],
        logger=False,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=work,
    )
    with warnings.catch_warnings(), deterministic():
        warnings.simplefilter("ignore")  # advice on workers and logging
        if found and is_over(history, recipe):
            module.load_state_dict(found["state_dict"])
            module.on_load_checkpoint(found)
        else:
            trainer.fit(module, ckpt_path=path if history else None, weights_only=True)
    if trainer.is_global_zero and validation:
        shutil.copyfile(validation.best, out)
    elif trainer.is_global_zero:
        save(module.kept(), out)


class Module(lightning.LightningModule):  # type: ignore[misc]
    """A learning with the recipe's optimizer, learning rate, moving average and looks at the validation split."""

    def __init__(
        self, learning: Learning, recipe: schema.Train, on_epoch: OnEpoch, validation: Validation | None = None
    ) -> None:
        super().__init__()
        self.validation = validation
        self.learning, self.network, self.recipe, self.report = learning, learning.network, recipe, on_epoch
        averages = [moving_average(self.network, recipe.ema)] if recipe.ema else []
        self.averages = averages  # in a list, it is no part of the module: what is trained, moved and synchronised
        self.history: list[dict[str, float]] = []
        self.totals: dict[str, Tensor] = {}
        self.rate = 0.0

    @property
    def average(self) -> AveragedModel | None:
        """Of the network, where the recipe wants one."""
        return self.averages[0] if self.averages else None

    def kept(self) -> dict[str, Tensor]:
        """The weights that are worth keeping, on the CPU: the average's where there is one."""
        trained = self.average.module if self.average else self.network
        return {name: value.cpu().contiguous() for name, value in trained.state_dict().items()}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return optimizer_of(self.network, self.recipe)

    def train_dataloader(self) -> "SeededLoader":
        return SeededLoader(self.learning, self.recipe, self.current_epoch + 1, self.global_rank)

    def on_train_epoch_start(self) -> None:
        self.totals = {}

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.rate = learning_rate(self.recipe, self.current_epoch + batch_idx / self.trainer.num_training_batches)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.rate

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        losses = self.learning.losses(batch)
        loss = torch.stack([value.float() for value in losses.values()]).sum()
        if not torch.isfinite(loss):
            raise DivergedError(
                f"epoch {self.current_epoch + 1}: the loss is not finite: lower train.lr0 (now {self.recipe.lr0})"
            )
        for name, value in losses.items():
            self.totals[name] = self.totals.get(name, 0.0) + value.detach()
        return loss

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        super().optimizer_step(*arguments, **named)
        if self.average:
            self.average.update_parameters(self.network)

    def on_train_epoch_end(self) -> None:
        batches = self.trainer.num_training_batches
        means = {name: self.trainer.strategy.reduce(total, reduce_op="mean") for name, total in self.totals.items()}
        self.history.append({f"train/{name}": float(mean) / batches for name, mean in means.items()} | {"lr": self.rate})
        if self.validation:
            is_first = self.trainer.is_global_zero
            found = self.validation.measure(self.kept(), self.history, self.recipe.epochs) if is_first else {}
            self.history[-1] |= self.trainer.strategy.broadcast(found)
        self.trainer.should_stop = is_over(self.history, self.recipe)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"], checkpoint["batches"] = self.history, batches_of(self.recipe)
        if self.average:
            checkpoint["average"] = self.average.state_dict()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]
        if self.average:
            self.average.load_state_dict(checkpoint["average"])


class SeededLoader(DataLoader[Any]):
    """One epoch's batches, the same whenever it is iterated.

    Lightning draws the first batch before the epoch's first hook, and begins some epochs twice.
    """

    def __init__(self, learning: Learning, recipe: schema.Train, epoch: int, rank: int) -> None:
        self.seeds = recipe.seed, epoch, rank
        indices = order(learning.items, learning.sampling, recipe, epoch, rank)
        super().__init__(
            learning.data,
            recipe.batch,
            sampler=indices,
            num_workers=recipe.workers,
            collate_fn=learning.collate,
            drop_last=len(indices) >= recipe.batch,
        )

    def __iter__(self) -> Any:
        seed_epoch(*self.seeds)
        return super().__iter__()


class FileIO(TorchCheckpointIO):  # type: ignore[misc]
    """Writes a checkpoint straight into its file; Lightning makes it in memory first, which takes three times as long."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Not all at once: `AfterEpoch` renames the file once it is whole."""
        if storage_options is not None:
            raise TypeError(f"storage_options: got {storage_options!r}, expected none")
        with open(path, "wb") as file:
            torch.save(checkpoint, file)


class AfterEpoch(Checkpoint):  # type: ignore[misc]
    """Replaces the checkpoint, then reports the epoch. Lightning calls it last, after the module's own hook."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        temporary = self.path.with_suffix(".tmp")
        trainer.save_checkpoint(temporary)  # in the first process, with all others at hand
        if trainer.is_global_zero:
            os.replace(temporary, self.path)
        pl_module.report(len(pl_module.history), pl_module.history[-1])
