"""ResNet (torchvision, BSD-3-Clause, on Lightning): classification. https://arxiv.org/abs/1512.03385."""

from pathlib import Path
from typing import Final

import torch
from torch import Tensor, nn
from torchvision.models import get_model

from tasks import models, schema
from tasks.models import _lightning
from tasks.models._torch import load_exactly, seed_epoch, start_from
from tasks.tables import Dataset

ARCHITECTURES: Final = ("resnet18", "resnet34", "resnet50")
OPTIMIZERS: Final = ("SGD", "AdamW")
SMALL_IMGSZ: Final = 64
"""Up to this side the stem keeps the resolution: a 3x3 convolution, no pooling, as for CIFAR-10 in section 4.2 of the paper."""
MEAN: Final = (0.485, 0.456, 0.406)  # of ImageNet's training images, RGB, 0-1: what pretrained weights expect
STD: Final = (0.229, 0.224, 0.225)


class Family(models.Family):
    """ResNet in three depths."""

    def fit(
        self,
        dataset: Dataset,
        recipe: schema.Train,
        *,
        start: Path | None,
        work: Path,
        out: Path,
        on_epoch: models.OnEpoch,
    ) -> None:
        seed_epoch(recipe.seed, 0)
        network = self.build()
        if weights := models.starting_weights(self.config, start):
            start_from(network, weights)
        spec = self.description().input
        samples = dataset.samples("train")
        _lightning.fit(network, Normalise(), spec, samples, recipe, work=work, out=out, on_epoch=on_epoch)

    def parts(self, weights: Path) -> models.Parts:
        network = self.build()
        load_exactly(network, weights)
        return models.Parts(Prepare().eval(), network.eval(), nn.Softmax(dim=1).eval())

    def build(self) -> nn.Module:
        """The network with random weights."""
        network: nn.Module = get_model(self.config.arch, weights=None, num_classes=len(self.classes))
        if self.config.imgsz <= SMALL_IMGSZ:
            network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
            network.maxpool = nn.Identity()
        return network


class Normalise(nn.Module):
    """uint8 (N, 3, H, W) RGB to float32 (N, 3, H, W), of zero mean and unit variance over ImageNet."""

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images.to(torch.float32) / 255 - self.mean) / self.std


class Prepare(Normalise):
    """uint8 (N, H, W, 3) RGB to float32 (N, 3, H, W), normalised."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.permute(0, 3, 1, 2))
