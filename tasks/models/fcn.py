"""FCN on ResNet (torchvision, BSD-3-Clause, on Lightning): semantic segmentation. https://arxiv.org/abs/1411.4038."""

from typing import Final

from tasks.models import _lightning_semantic

TASKS: Final = ("semantic",)
ARCHITECTURES: Final = ("fcn_resnet50", "fcn_resnet101")
OPTIMIZERS: Final = ("SGD", "AdamW")
STRIDE: Final = 8


class Family(_lightning_semantic.Torchvision):
    """FCN with a dilated backbone, whose maps are an eighth of the image."""
