"""DeepLabV3 (torchvision, BSD-3-Clause, on Lightning): semantic segmentation. https://arxiv.org/abs/1706.05587."""

from typing import Final

from tasks.models import _lightning_semantic

TASKS: Final = ("semantic",)
ARCHITECTURES: Final = ("deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_mobilenet_v3_large")
OPTIMIZERS: Final = ("SGD", "AdamW")
STRIDE: Final = 16


class Family(_lightning_semantic.Torchvision):
    """DeepLabV3 on ResNet or MobileNetV3."""

    pools = True
