"""Training of a classifier by Lightning: deterministic, resumed from Lightning's own checkpoint, silent but for `on_epoch`."""

import logging
import os
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from sightline.contract import Input
from sightline.errors import MissingExtraError, SightlineError
from sightline.preprocess import decode, prepare
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
from tasks.tables import Sample

try:
    import pytorch_lightning as lightning
    from pytorch_lightning.callbacks import Checkpoint
except ModuleNotFoundError as error:
    if error.name != "pytorch_lightning":
        raise
    raise MissingExtraError("pytorch_lightning", "pipeline") from None

AUGMENT: Final = ("fliplr", "flipud", "crop", "jitter", "erasing")
CHECKPOINT: Final = "checkpoint.ckpt"


def fit(
    network: nn.Module,
    normalise: nn.Module,
    spec: Input,
    samples: list[Sample],
    recipe: schema.Train,
    *,
    work: Path,
    out: Path,
    on_epoch: OnEpoch,
) -> None:
    """Trains `network` on `samples`; see `tasks.models.Family.fit`.

    Args:
        network: float32 (N, 3, H, W), normalised, to logits float32 (N, C).
        normalise: uint8 (N, 3, H, W) RGB to the network's input.
        spec: The input's size and how an image is brought to it.
        samples: The training split.
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
    network.to(memory_format=torch.channels_last)
    images = Images(samples, spec, augmentation(recipe, spec))
    module = Classifier(network.to(device), normalise, images, recipe, on_epoch)
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


class Classifier(lightning.LightningModule):  # type: ignore[misc]
    """Cross-entropy on logits, with the recipe's optimizer and learning rate."""

    def __init__(
        self, network: nn.Module, normalise: nn.Module, images: "Images", recipe: schema.Train, on_epoch: OnEpoch
    ) -> None:
        super().__init__()
        self.network, self.normalise, self.images, self.recipe, self.report = network, normalise, images, recipe, on_epoch
        self.history: list[dict[str, float]] = []
        self.total, self.rate = 0.0, 0.0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return optimizer_of(self.network, self.recipe)

    def train_dataloader(self) -> "SeededLoader":
        return SeededLoader(self.images, self.recipe, self.current_epoch + 1)

    def on_train_epoch_start(self) -> None:
        self.total = 0.0

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.rate = learning_rate(self.recipe, self.current_epoch + batch_idx / self.trainer.num_training_batches)
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.rate

    def training_step(self, batch: tuple[Tensor, Tensor], batch_idx: int) -> Tensor:
        images, labels = batch
        images = self.normalise(images).contiguous(memory_format=torch.channels_last)
        loss = nn.functional.cross_entropy(self.network(images).float(), labels)
        if not torch.isfinite(loss):
            raise DivergedError(
                f"epoch {self.current_epoch + 1}: the loss is not finite: lower train.lr0 (now {self.recipe.lr0})"
            )
        self.total += float(loss.detach())
        return loss

    def on_train_epoch_end(self) -> None:
        self.history.append({"train/loss": self.total / self.trainer.num_training_batches, "lr": self.rate})
        self.trainer.should_stop = is_over(self.history, self.recipe)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["history"] = self.history

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self.history = checkpoint["history"]


class SeededLoader(DataLoader[tuple[Tensor, Tensor]]):
    """One epoch's batches, the same whenever it is iterated.

    Lightning draws the first batch before the epoch's first hook, and begins some epochs twice.
    """

    def __init__(self, images: "Images", recipe: schema.Train, epoch: int) -> None:
        whole = len(images) >= recipe.batch
        super().__init__(images, recipe.batch, shuffle=True, num_workers=recipe.workers, drop_last=whole)
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


class Images(Dataset[tuple[Tensor, Tensor]]):
    """A split in memory, decoded once: uint8 (3, H, W) RGB, augmented, and its label."""

    def __init__(self, samples: list[Sample], spec: Input, transform: v2.Transform) -> None:
        images = [prepare(decode(sample.path.read_bytes()), spec)[0] for sample in samples]
        self.images = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
        self.labels = torch.tensor([int(sample.labels[0]) for sample in samples])
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[index]), self.labels[index]


def augmentation(recipe: schema.Train, spec: Input) -> v2.Transform:
    """Transforms of uint8 (3, H, W); what is not named is off.

    `crop` shifts by up to that share of a side, `jitter` changes brightness, contrast and saturation by up to that share,
    `fliplr`, `flipud` and `erasing` are probabilities.

    Raises:
        SightlineError: A value outside 0-1.
    """
    outside = [name for name, value in recipe.augment.items() if not 0 <= value <= 1]
    if outside:
        raise SightlineError(f"train.augment.{outside[0]}: got {recipe.augment[outside[0]]}, expected 0-1")
    share = {name: recipe.augment.get(name, 0.0) for name in AUGMENT}
    padding = [round(share["crop"] * spec.width), round(share["crop"] * spec.height)]
    transforms = [
        v2.RandomCrop((spec.height, spec.width), padding=padding, padding_mode="reflect") if any(padding) else v2.Identity(),
        v2.RandomHorizontalFlip(share["fliplr"]),
        v2.RandomVerticalFlip(share["flipud"]),
        v2.ColorJitter(*[share["jitter"]] * 3) if share["jitter"] else v2.Identity(),
        v2.RandomErasing(share["erasing"], value=0) if share["erasing"] else v2.Identity(),
    ]
    return v2.Compose(transforms)
