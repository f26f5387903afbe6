"""Semantic segmentation on Lightning: images and masks, augmentation, losses, and the runtime graph's first and last part."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision import tv_tensors
from torchvision.models import get_model
from torchvision.transforms import v2

from sightline.contract import Input
from sightline.errors import SightlineError
from sightline.preprocess import Placement, decode, prepare
from tasks import models, schema
from tasks.masks import IGNORE, read_ids
from tasks.models import _balance, _lightning
from tasks.models._images import Normalise, Prepare, shares
from tasks.models._torch import load_exactly
from tasks.tables import Sample

AUGMENT: Final = ("fliplr", "flipud", "scale", "jitter")
BALANCE: Final = ("none", "weights", "sampler")
LOSSES: Final = ("dice",)


class Family(_lightning.Family):
    """A segmentation network; a family says how it is built and what its heads give.

    Attributes:
        aux: The weight of an auxiliary head's cross-entropy.
        pools: Whether it normalises features pooled to one pixel, which takes a batch of two.
    """

    aux: float = 0.0
    pools: bool = False

    @abstractmethod
    def heads(self, network: nn.Module, pixels: Tensor) -> tuple[Tensor, ...]:
        """Logits of `pixels`, float32 (N, 3, H, W), normalised: float32 (N, C, h, w), at a resolution of the head's own.

        The main head's come first; those of auxiliary heads follow where the network is in training mode.
        """

    def learning(self, network: nn.Module, samples: list[Sample], recipe: schema.Train) -> _lightning.Learning:
        keep_exact(network)
        spec = self.description().input
        masked = MaskedImages(samples, spec, augmentation(recipe, spec))
        if self.pools and min(recipe.batch, len(masked)) < 2:
            raise SightlineError(
                f"train.batch: got {recipe.batch} and {len(masked)} images, expected two at a time: "
                f"{self.config.arch} normalises features pooled over the image"
            )
        return Learning(self, network, masked, recipe)

    def parts(self, weights: Path) -> models.Parts:
        network = self.build()
        load_exactly(network, weights)
        spec = self.description().input
        return models.Parts(Prepare().eval(), Main(self, network).eval(), Upsample(spec.height, spec.width).eval())


class Torchvision(Family):
    """A network of torchvision with its auxiliary head, by its name there; its published checkpoints fit.

    Weights of a classifier with the same backbone fit as well.
    """

    aux = 0.5  # torchvision's references/segmentation/train.py

    def build(self) -> nn.Module:
        network: nn.Module = get_model(
            self.config.arch, weights=None, weights_backbone=None, num_classes=len(self.classes), aux_loss=True
        )
        return network

    def heads(self, network: nn.Module, pixels: Tensor) -> tuple[Tensor, ...]:
        if network.training:
            found = network(pixels)
            return found["out"], found["aux"]
        parts: Any = network
        main: Tensor = parts.classifier(parts.backbone(pixels)["out"])  # not upsampled yet
        return (main,)

    def rename(self, name: str) -> str:
        """Classifiers have their backbone at the top; MobileNetV3's is in `features` there."""
        parts = ("backbone.", "classifier.", "aux_classifier.")
        return name if name.startswith(parts) else f"backbone.{name.removeprefix('features.')}"


class Main(nn.Module):
    """The main head's logits alone."""

    def __init__(self, family: Family, network: nn.Module) -> None:
        super().__init__()
        self.family, self.network = family, network

    def forward(self, pixels: Tensor) -> Tensor:
        return self.family.heads(self.network, pixels)[0]


class Upsample(nn.Module):
    """Logits (N, C, h, w) to (N, C, H, W), bilinearly, as the references do before they compare and predict."""

    def __init__(self, height: int, width: int) -> None:
        super().__init__()
        self.size = height, width

    def forward(self, logits: Tensor) -> Tensor:
        if logits.shape[2:] == self.size:
            return logits
        return nn.functional.interpolate(logits, self.size, mode="bilinear", align_corners=False)


class ExactConv2d(nn.Conv2d):
    """A convolution in float32, whatever the autocast around it."""

    def forward(self, maps: Tensor) -> Tensor:
        with torch.autocast(maps.device.type, enabled=False):
            return super().forward(maps.float())


def keep_exact(network: nn.Module) -> None:
    """Has dilated depthwise convolutions train in float32.

    On a CPU, in bfloat16 and channels-last, torch 2.15 gets their weights' gradients from memory that it did not clear: maps of
    52x52 pixels gave wrong or infinite ones.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d) and module.groups > 1 and max(module.dilation) > 1:
            module.__class__ = ExactConv2d


class Learning(_lightning.Learning):
    """Cross-entropy of each head, and Dice of the main one; ignored pixels do not count.

    Args:
        family: Whose network it is.
        network: Trained in place.
        images: The training split.
        recipe: `dice` is the weight of the Dice loss; `balance: weights` weighs the classes by how rare their pixels are,
            `sampler` draws images of rare classes more often.
    """

    def __init__(self, family: Family, network: nn.Module, images: "MaskedImages", recipe: schema.Train) -> None:
        self.family, self.network, self.data, self.classes, self.dice = family, network, images, family.classes, recipe.dice
        self.normalise, self.smallest = Normalise(), 2 if family.pools else 1
        count = len(family.classes)
        if recipe.balance == "sampler":
            shown = [mask.unique().long() for mask in images.masks]
            self.sampling = _balance.repeats([labels[labels != IGNORE] for labels in shown], recipe)
        self.weights = median_frequency(images.masks, count) if recipe.balance == "weights" else torch.ones(count)

    def losses(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        images, masks = batch
        pixels = self.normalise.to(images.device)(images).contiguous(memory_format=self.layout)
        labels, weights = masks.long(), self.weights.to(images.device)
        main, *others = (logits.float().contiguous() for logits in self.family.heads(self.network, pixels))
        main = Upsample(*masks.shape[1:])(main)
        losses = {"loss": cross_entropy(main, labels, weights)}
        if others:
            each = [cross_entropy(logits, subsample(labels, logits.shape[2:]), weights) for logits in others]
            losses["aux"] = self.family.aux * torch.stack(each).sum()
        if self.dice:
            losses["dice"] = self.dice * dice(main, labels)
        return losses


def subsample(labels: Tensor, size: Sequence[int]) -> Tensor:
    """Labels (N, H, W) at the resolution of a head, (N, h, w), where H and W are multiples of h and w: those in the middle."""
    steps = [side // smaller for side, smaller in zip(labels.shape[1:], size, strict=True)]
    return labels[:, steps[0] // 2 :: steps[0], steps[1] // 2 :: steps[1]]


def cross_entropy(logits: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """The mean over the pixels that are not ignored; 0 where all are.

    Args:
        logits: float32 (N, C, H, W).
        labels: int64 (N, H, W).
        weights: float32 (C,), of the classes.
    """
    total = labels.flatten().bincount(minlength=IGNORE + 1)[: len(weights)].double() @ weights.double()
    if logits.is_cuda:  # which has no deterministic gradient in two dimensions
        logits, labels = logits.permute(0, 2, 3, 1).flatten(0, 2), labels.flatten()
    loss = nn.functional.cross_entropy(logits, labels, weights, ignore_index=IGNORE, reduction="sum")
    return loss / total.clamp(min=1e-6).float()


def dice(logits: Tensor, labels: Tensor) -> Tensor:
    """1 less the Dice coefficient of soft predictions, the mean over the classes that occur (V-Net, arXiv:1606.04797, eq. 1).

    Args:
        logits: float32 (N, C, H, W).
        labels: int64 (N, H, W).
    """
    counted = labels.flatten() != IGNORE
    predicted = logits.permute(0, 2, 3, 1).flatten(0, 2).softmax(dim=1) * counted[:, None]
    truth = nn.functional.one_hot(labels.flatten().where(counted, 0), logits.shape[1]) * counted[:, None]
    occurs = truth.any(dim=0)
    overlap, total = (predicted * truth).sum(dim=0), predicted.square().sum(dim=0) + truth.sum(dim=0)
    loss = (1 - 2 * overlap / total.clamp(min=1e-6)) * occurs
    return loss.sum() / occurs.sum().clamp(min=1)


def median_frequency(masks: Tensor, classes: int) -> Tensor:
    """float32 (C,): the median of the classes' frequencies by each one's own (SegNet, arXiv:1511.00561, section 4).

    A class's frequency is its share of the pixels of the images that have it. One that never occurs weighs 1.

    Args:
        masks: uint8 (N, H, W).
        classes: C.
    """
    counts = torch.stack([mask.flatten().bincount(minlength=256)[:classes] for mask in masks]).double()
    pixels = counts.sum(dim=1, keepdim=True)
    frequency = counts.sum(dim=0) / ((counts > 0) * pixels).sum(dim=0)
    weights = frequency.nanmedian() / frequency
    return weights.nan_to_num(1.0).float()


class MaskedImages(Dataset[tuple[Tensor, Tensor]]):
    """A split in memory, decoded once: uint8 (3, H, W) RGB, and its mask, uint8 (H, W), augmented alike."""

    def __init__(self, samples: list[Sample], spec: Input, transform: v2.Transform) -> None:
        images, masks = [], []
        for sample in samples:
            assert sample.mask is not None
            image, placement = prepare(decode(sample.path.read_bytes()), spec)
            images.append(image)
            masks.append(prepare_mask(read_ids(sample.mask), placement, spec))
        self.images = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()
        self.masks = torch.from_numpy(np.stack(masks))
        self.transform = transform

    def __len__(self) -> int:
        return len(self.masks)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, mask = self.transform(tv_tensors.Image(self.images[index]), tv_tensors.Mask(self.masks[index]))
        return image.as_subclass(Tensor), mask.as_subclass(Tensor)


def prepare_mask(mask: NDArray[np.uint8], placement: Placement, spec: Input) -> NDArray[np.uint8]:
    """A mask, uint8 (H, W) of an image's size, as its image lies in the input; beside the image all is ignored."""
    size = round(placement.width * placement.scale_x), round(placement.height * placement.scale_y)
    canvas = np.full((spec.height, spec.width), IGNORE, np.uint8)
    canvas[: size[1], : size[0]] = np.asarray(Image.fromarray(mask).resize(size, Image.Resampling.NEAREST))
    return canvas


def augmentation(recipe: schema.Train, spec: Input) -> v2.Transform:
    """Transforms of an image, uint8 (3, H, W), and its mask, uint8 (H, W), alike; what is not named is off.

    `scale` resizes by a factor from 1 - scale to 1 / (1 - scale), then crops, or pads with ignored pixels, to the input's size:
    0.5 is what the references do. `jitter` changes brightness, contrast and saturation by up to that share. `fliplr` and
    `flipud` are probabilities.

    Raises:
        SightlineError: A value outside 0-1, or a scale of 1.
    """
    share = shares(recipe, AUGMENT)
    if share["scale"] == 1:
        raise SightlineError("train.augment.scale: got 1, expected less: images would vanish")
    size = spec.height, spec.width
    fill: dict[Any, Any] = {tv_tensors.Image: list(spec.fill), tv_tensors.Mask: IGNORE}
    resize = v2.ScaleJitter(size, (1 - share["scale"], 1 / (1 - share["scale"])), antialias=True)
    transforms = [
        *([resize, v2.RandomCrop(size, pad_if_needed=True, fill=fill)] if share["scale"] else []),
        v2.RandomHorizontalFlip(share["fliplr"]),
        v2.RandomVerticalFlip(share["flipud"]),
        v2.ColorJitter(*[share["jitter"]] * 3) if share["jitter"] else v2.Identity(),
    ]
    return v2.Compose(transforms)
