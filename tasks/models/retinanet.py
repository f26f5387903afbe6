"""RetinaNet (torchvision, BSD-3-Clause, on Lightning): dense detection with the focal loss. https://arxiv.org/abs/1708.02002."""

import re
from typing import Final

from torch import nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops import FrozenBatchNorm2d
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from tasks.models import _lightning_detect, _lightning_one_stage

TASKS: Final = ("detect",)
ARCHITECTURES: Final = ("retinanet_resnet50_fpn",)
OPTIMIZERS: Final = ("SGD", "AdamW")
STRIDE: Final = 32  # of the ResNet's last map, pixels


class Family(_lightning_one_stage.Family):
    """RetinaNet on ResNet-50 with a feature pyramid.

    From pretrained weights the ResNet's first layers and its normalisations are frozen, as torchvision trains it; from scratch
    everything learns.
    """

    def build(self) -> nn.Module:
        pretrained = bool(self.config.pretrained)
        backbone = resnet_fpn_backbone(
            backbone_name="resnet50",
            weights=None,
            norm_layer=FrozenBatchNorm2d if pretrained else nn.BatchNorm2d,
            trainable_layers=3 if pretrained else 5,
            returned_layers=[2, 3, 4],
            extra_blocks=LastLevelP6P7(256, 256),
        )
        network: nn.Module = RetinaNet(backbone, len(self.classes))
        return network

    def rename(self, name: str) -> str:
        """Also takes the weights of ResNet-50, the classifier, and the older names in torchvision's published weights."""
        if old := re.fullmatch(r"(head\.\w+\.conv)\.(\d)\.(\w+)", name):
            return f"{old[1]}.{int(old[2]) // 2}.0.{old[3]}"
        return f"backbone.body.{name}" if re.match(r"(conv1|bn1|layer\d)\.", name) else _lightning_detect.pyramid_name(name)
