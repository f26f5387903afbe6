"""Faster R-CNN (torchvision, BSD-3-Clause, on Lightning): proposals, then boxes. https://arxiv.org/abs/1506.01497."""

from typing import Final

from torch import nn
from torchvision.models.detection import FasterRCNN

from tasks.models import _lightning_two_stage

TASKS: Final = ("detect",)
ARCHITECTURES: Final = ("fasterrcnn_resnet50_fpn",)
OPTIMIZERS: Final = ("SGD", "AdamW")
STRIDE: Final = 32  # of the ResNet's last map, pixels


class Family(_lightning_two_stage.Family):
    """Faster R-CNN on ResNet-50 with a feature pyramid."""

    def build(self) -> nn.Module:
        network: nn.Module = FasterRCNN(self.backbone(), len(self.classes) + 1)
        return network
