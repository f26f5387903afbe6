"""Training by Lightning: deterministic, resumed from Lightning's own checkpoint, silent but for `on_epoch`."""

import logging
import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Sized
from pathlib import Path
from typing import Any, Final, cast

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, default_collate

from sightline.errors import MissingExtraError
from tasks import schema
from tasks.models import DivergedError, OnEpoch
from tasks.models._torch import (
    deterministic,
    device_of,
    is_bf16,
    is_over,
    keep_freed_memory,
    learning_rate,
    optimizer_of,
    save,
    seed_epoch,
)

try:
    import pytorch_lightning as lightning
    from pytorch_lightning.callbacks import Checkpoint
except ModuleNotFoundError as error:
    if error.name != "pytorch_lightning":
        raise
    raise MissingExtraError("pytorch_lightning", "pipeline") from None

CHECKPOINT: Final = "checkpoint.ckpt"


class Learning(ABC):
    """What is learnt, and from what: the part of a training that differs between tasks.

    Attributes:
        network: Trained in place.
        data: Map-style; its items stay on the CPU.
    """

    network: nn.Module
    data: Dataset[Any]

    def collate(self, items: list[Any]) -> Any:
        """A batch of items of `data`: tensors, or tuples, lists and dicts of tensors."""
        return default_collate(items)

    @abstractmethod
    def losses(self, batch: Any) -> dict[str, Tensor]:
        """The losses of a batch on the network's device, scalars by name; their sum is minimised."""


def fit(learning: Learning, recipe: schema.Train, *, work: Path, out: Path, on_epoch: OnEpoch) -> None:
    """Trains `learning.network`; see `tasks.models.Family.fit`.

    Args:
        learning: The network, the data and the losses.
        recipe: Hyperparameters, device and precision.
        work: Where the checkpoint goes.
        out: Where the final weights go.
        on_epoch: Called after each epoch, those done before included.
    """
    keep_freed_memory()
    device = device_of(recipe.device)
    path = work / CHECKPOINT
    history = torch.load(path, map_location="cpu", weights_only=True)["history"] if path.is_file() else []
    for epoch, losses in enumerate(history, 1):
        on_epoch(epoch, losses)
    network = learning.network.to(memory_format=torch.channels_last).to(device)
    module = Module(learning, recipe, on_epoch)
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    trainer = lightning.Trainer(
        accelerator="gpu" if device.type == "cuda" else device.type,
        devices=[device.index or 0] if device.type == "cuda" else 1,
        precision="bf16-mixed" if is_bf16(recipe, device) else "32-true",
        max_epochs=recipe.epochs,
        reload_dataloaders_every_n_epochs=1,
        callbacks=[AfterEpoch(path)],
        logger=False,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=work,
    )
    with warnings.catch_warnings(), deterministic():
        warnings.simplefilter("ignore")  # advice on workers and logging
        if is_over(history, recipe):
            network.load_state_dict(_network_of(torch.load(path, map_location=device, weights_only=True)))
        else:
            trainer.fit(module, ckpt_path=path if history else None, weights_only=True)
    save({name: value.cpu().contiguous() for name, value in network.state_dict().items()}, out)


def _network_of(checkpoint: dict[str, Any]) -> dict[str, Tensor]:
    return {name.removeprefix("network."): value for name, value in checkpoint["state_dict"].items()}


class Module(lightning.LightningModule):  # type: ignore[misc]
    """A learning with the recipe's optimizer and learning rate."""

    def __init__(self, learning: Learning, recipe: schema.Train, on_epoch: OnEpoch) -> None:
        super().__init__()
        self.learning, self.network, self.recipe, self.report = learning, learning.network, recipe, on_epoch
        self.history: list[dict[str, float]] = []
        self.totals: dict[str, float] = {}
        self.rate = 0.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return optimizer_of(self.network, self.recipe)

    def train_dataloader(self) -> "SeededLoader":
        return SeededLoader(self.learning, self.recipe, self.current_epoch + 1)

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
            self.totals[name] = self.totals.get(name, 0.0) + float(value.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        batches = self.trainer.num_training_batches
        self.history.append({f"train/{name}": total / batches for name, total in self.totals.items()} | {"lr": self.rate})
        self.trainer.should_stop = is_over(self.history, self.recipe)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]


class SeededLoader(DataLoader[Any]):
    """One epoch's batches, the same whenever it is iterated.

    Lightning draws the first batch before the epoch's first hook, and begins some epochs twice.
    """

    def __init__(self, learning: Learning, recipe: schema.Train, epoch: int) -> None:
        super().__init__(
            learning.data,
            recipe.batch,
            shuffle=True,
            num_workers=recipe.workers,
            collate_fn=learning.collate,
            drop_last=len(cast("Sized", learning.data)) >= recipe.batch,
        )
        self.seeds = recipe.seed, epoch

    def __iter__(self) -> Any:
        seed_epoch(*self.seeds)
        return super().__iter__()


class AfterEpoch(Checkpoint):  # type: ignore[misc]
    """Replaces the checkpoint, then reports the epoch. Lightning calls it last, after the module's own hook."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
        temporary = self.path.with_suffix(".tmp")
        trainer.save_checkpoint(temporary)
        os.replace(temporary, self.path)
        pl_module.report(len(pl_module.history), pl_module.history[-1])
