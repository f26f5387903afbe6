"""ResNet (torchvision, BSD-3-Clause, on Lightning): classification. https://arxiv.org/abs/1512.03385."""

from typing import Final

from torch import nn
from torchvision.models import get_model

from tasks.models import _lightning_classify

TASKS: Final = ("classify", "multilabel")
ARCHITECTURES: Final = ("resnet18", "resnet34", "resnet50")
OPTIMIZERS: Final = ("SGD", "AdamW")


class Family(_lightning_classify.Family):
    """ResNet in three depths; the stem for small images is that for CIFAR-10 in section 4.2 of the paper."""

    def build(self) -> nn.Module:
        network: nn.Module = get_model(self.config.arch, weights=None, num_classes=len(self.classes))
        if self.config.imgsz <= _lightning_classify.SMALL_IMGSZ:
            network.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
            nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
            network.maxpool = nn.Identity()
        return network
