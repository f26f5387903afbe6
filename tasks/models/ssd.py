"""SSD (torchvision, BSD-3-Clause, on Lightning): detection by default boxes on six maps. https://arxiv.org/abs/1512.02325."""

import re
from typing import Any, ClassVar, Final

from torch import nn
from torchvision.models import get_model

from tasks.models import _lightning_one_stage

TASKS: Final = ("detect",)
ARCHITECTURES: Final = ("ssd300_vgg16",)
OPTIMIZERS: Final = ("SGD", "AdamW")
IMGSZ: Final = (300,)  # what its default boxes are laid out for
_CONV5: Final = 23  # of VGG-16's layers the first after conv4_3, where torchvision cuts it in two
_CONV2: Final = 4


class Family(_lightning_one_stage.Family):
    """SSD300 on VGG-16."""

    mean: ClassVar = (0.48235, 0.45882, 0.40784)  # what its published backbone was trained with, as is that it has no std
    std: ClassVar = (1 / 255, 1 / 255, 1 / 255)
    background: ClassVar = 1

    def build(self) -> nn.Module:
        classes = len(self.classes) + self.background
        network: Any = get_model(self.config.arch, weights=None, weights_backbone=None, num_classes=classes)
        if self.config.pretrained:
            network.backbone.features[:_CONV2].requires_grad_(False)  # as torchvision does by default
        return network  # type: ignore[no-any-return]

    def rename(self, name: str) -> str:
        """Also takes the weights of VGG-16, the classifier."""
        layer = re.fullmatch(r"features\.(\d+)\.(\w+)", name)
        if not layer:
            return name
        number = int(layer[1])
        place = f"features.{number}" if number < _CONV5 else f"extra.0.{number - _CONV5}"
        return f"backbone.{place}.{layer[2]}"
