"""SSDlite (torchvision, BSD-3-Clause, on Lightning): detection by SSD's head made of separable convolutions.

Section 6.3 of https://arxiv.org/abs/1905.02244. Its backbone has half of MobileNetV3's channels in the last layers, as where
torchvision trains it from scratch; so the weights of the classifier do not fit.
"""

from typing import ClassVar, Final

from torch import nn
from torchvision.models import get_model

from sightline.errors import SightlineError
from tasks import schema
from tasks.models import _lightning, _lightning_one_stage
from tasks.tables import Sample

TASKS: Final = ("detect",)
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

    def learning(self, network: nn.Module, samples: list[Sample], recipe: schema.Train) -> _lightning.Learning:
        if min(recipe.batch, len(samples)) < 2:
            raise SightlineError(
                "train.batch: got one image at a time, expected at least 2: the last map is a pixel, which has no variance"
            )
        learning = super().learning(network, samples, recipe)
        learning.smallest = 2
        return learning
