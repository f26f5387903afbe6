"""ResNet (torchvision, BSD-3-Clause, on Lightning): classification. https://arxiv.org/abs/1512.03385."""

from typing import Final

from torch import nn
from torchvision.models import get_model

from tasks.models import _lightning_classify

ARCHITECTURES: Final = ("resnet18", "resnet34", "resnet50")
OPTIMIZERS: Final = ("SGD", "AdamW")
SMALL_IMGSZ: Final = 64
"""Up to this side the stem keeps the resolution: a 3x3 convolution, no pooling, as for CIFAR-10 in section 4.2 of the paper."""


class Family(_lightning_classify.Family):
    """ResNet in three depths."""

    def build(self) -> nn.Module:
        network: nn.Module = get_model(self.config.arch, weights=None, num_classes=len(self.classes))
        if self.config.imgsz <= SMALL_IMGSZ:
            network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
            network.maxpool = nn.Identity()
        return network
