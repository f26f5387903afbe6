"""Classifiers on Lightning: their images, augmentation, loss, and the runtime graph's first part."""

import importlib
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.transforms import v2

from sightline.contract import Input
from tasks import models, schema
from tasks.models import _lightning
from tasks.models._balance import inverse_frequency
from tasks.models._images import Normalise, Prepare, read, shares
from tasks.models._torch import load_exactly
from tasks.tables import Sample

AUGMENT: Final = ("scale", "crop", "fliplr", "flipud", "jitter", "erasing")
RATIO: Final = (3 / 4, 4 / 3)  # of the sides of what `scale` leaves (Inception, arXiv:1409.4842, section 6)
SMALL_IMGSZ: Final = 64
"""Up to this side, pixels, an architecture made for 224 keeps more of the resolution."""
BALANCE: Final = ("none", "weights", "sampler")


class Family(_lightning.Family):
    """A classifier of torchvision; a family says how it is built."""

    @abstractmethod
    def build(self) -> nn.Module:
        """The network with random weights: float32 (N, 3, H, W), normalised, to logits float32 (N, C)."""

    def learning(self, network: nn.Module, samples: list[Sample], recipe: schema.Train) -> _lightning.Learning:
        learning: Learning = self.shared.learn(network, samples, self.description().input, recipe, self.classes)
        return learning

    def parts(self, weights: Path) -> models.Parts:
        network = self.build()
        load_exactly(network, weights)
        return models.Parts(Prepare().eval(), network.eval(), self.shared.activation())

    def around(self) -> tuple[nn.Module, nn.Module]:
        return Prepare().eval(), self.shared.activation()

    @property
    def shared(self) -> Any:
        """The module of the task, this one or `_lightning_multilabel`: what is learnt, and what logits become."""
        return importlib.import_module(f"tasks.models._lightning_{self.config.task}")


class Learning(_lightning.Learning):
    """Cross-entropy on logits.

    Args:
        network: float32 (N, 3, H, W), normalised, to logits float32 (N, C).
        images: The training split.
        classes: Class names.
        balance: What evens out classes of unequal size: `weights` of the loss, a `sampler` that draws rare ones more often, or
            `none`.
    """

    def __init__(self, network: nn.Module, images: "Images", classes: Sequence[str], balance: str) -> None:
        self.network, self.data, self.classes = network, images, classes
        self.normalise = Normalise()
        self.weights: Tensor | None = None
        if balance != "none":
            rarity = inverse_frequency(images.labels, len(classes))
            self.weights = rarity if balance == "weights" else None
            self.sampling = rarity.double()[images.labels] if balance == "sampler" else None

    def losses(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        images, labels = batch
        images = self.normalise.to(images.device)(images).contiguous(memory_format=self.layout)
        weights = self.weights.to(images.device) if self.weights is not None else None
        return {"loss": self.loss(self.network(images).float(), labels, weights)}

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        """The mean over a batch of logits float32 (N, C)."""
        return nn.functional.cross_entropy(logits, labels, weights)


def learn(network: nn.Module, samples: Sequence[Sample], spec: Input, recipe: schema.Train, classes: Sequence[str]) -> Learning:
    """What `network` learns from."""
    labels = torch.tensor([int(sample.labels[0]) for sample in samples])
    return Learning(network, Images(samples, labels, spec, augmentation(recipe, spec)), classes, recipe.balance)


def activation() -> nn.Module:
    """Logits float32 (N, C) to probabilities."""
    return nn.Softmax(dim=1).eval()


class Images(Dataset[tuple[Tensor, Tensor]]):
    """A split in memory, decoded once: uint8 (3, H, W) RGB, augmented, and its row of `labels`."""

    def __init__(self, samples: Sequence[Sample], labels: Tensor, spec: Input, transform: v2.Transform) -> None:
        self.images = read(samples, spec)
        self.labels = labels
        self.transform = transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        return self.transform(self.images[index]), self.labels[index]


def augmentation(recipe: schema.Train, spec: Input) -> v2.Transform:
    """Transforms of uint8 (3, H, W); what is not named is off.

    `scale` crops away up to that share of the area and resizes what is left: 0.92 is what torchvision's references do at 224
    pixels. `crop` shifts by up to that share of a side, `jitter` changes brightness, contrast and saturation by up to that
    share, `fliplr`, `flipud` and `erasing` are probabilities.

    Raises:
        SightlineError: A value outside 0-1.
    """
    share = shares(recipe, AUGMENT)
    size, padding = (spec.height, spec.width), [round(share["crop"] * spec.width), round(share["crop"] * spec.height)]
    transforms = [
        v2.RandomResizedCrop(size, scale=(1 - share["scale"], 1.0), ratio=RATIO) if share["scale"] else v2.Identity(),
        v2.RandomCrop(size, padding=padding, padding_mode="reflect") if any(padding) else v2.Identity(),
        v2.RandomHorizontalFlip(share["fliplr"]),
        v2.RandomVerticalFlip(share["flipud"]),
        v2.ColorJitter(*[share["jitter"]] * 3) if share["jitter"] else v2.Identity(),
        v2.RandomErasing(share["erasing"], value=0) if share["erasing"] else v2.Identity(),
    ]
    return v2.Compose(transforms)


def keep_resolution(network: nn.Module) -> None:
    """Has the first two convolutions that halve the resolution keep it: the last map of a 32-pixel image is then 4x4, not 1x1.

    So do the usual versions of these networks for CIFAR-10, after section 4.2 of https://arxiv.org/abs/1512.03385. The weights'
    shapes stay, so that pretrained weights fit.
    """
    halving = [module for module in network.modules() if isinstance(module, nn.Conv2d) and module.stride == (2, 2)]
    for convolution in halving[:2]:
        convolution.stride = (1, 1)
