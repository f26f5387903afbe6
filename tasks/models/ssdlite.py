"""SSDlite (torchvision, BSD-3-Clause, on Lightning): detection by SSD's head made of separable convolutions.

Section 6.3 of https://arxiv.org/abs/1905.02244. torchvision trains it from scratch, with half the channels in the last layers of
MobileNetV3; so it is here, and the weights of the classifier do not fit.
"""

from pathlib import Path
from typing import ClassVar, Final

from torch import nn
from torchvision.models import get_model

from sightline.errors import SightlineError
from tasks import models, schema
from tasks.models import _lightning_one_stage
from tasks.tables import Dataset

ARCHITECTURES: Final = ("ssdlite320_mobilenet_v3_large",)
OPTIMIZERS: Final = ("SGD", "AdamW")
STRIDE: Final = 32  # of MobileNetV3's last map, pixels


class Family(_lightning_one_stage.Family):
    """SSDlite on MobileNetV3-Large; its default boxes are shares of the image, so it takes other sizes than 320."""

    mean: ClassVar = (0.5, 0.5, 0.5)
    std: ClassVar = (0.5, 0.5, 0.5)
    background: ClassVar = 1

    def build(self) -> nn.Module:
        classes = len(self.classes) + self.background
        network: nn.Module = get_model(self.config.arch, weights=None, weights_backbone=None, num_classes=classes)
        return network

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
        if min(recipe.batch, len(dataset.samples("train"))) < 2:
            raise SightlineError(
                "train.batch: got a batch of 1, expected 2 or more: the last map is one pixel, which has no variance"
            )
        super().fit(dataset, recipe, start=start, work=work, out=out, on_epoch=on_epoch)
