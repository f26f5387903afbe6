"""Mask R-CNN (torchvision, BSD-3-Clause, on Lightning): Faster R-CNN with a mask of each box. https://arxiv.org/abs/1703.06870."""

from typing import Final

from torch import nn
from torchvision.models.detection import MaskRCNN

from tasks.models import _lightning_segment

TASKS: Final = ("segment",)
ARCHITECTURES: Final = ("maskrcnn_resnet50_fpn",)
OPTIMIZERS: Final = ("SGD", "AdamW")
STRIDE: Final = 32  # of the ResNet's last map, pixels


class Family(_lightning_segment.Family):
    """Mask R-CNN on ResNet-50 with a feature pyramid."""

    def build(self) -> nn.Module:
        network: nn.Module = MaskRCNN(self.backbone(), len(self.classes) + 1)
        return network
