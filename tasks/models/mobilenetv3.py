"""MobileNetV3 (torchvision, BSD-3-Clause, on Lightning): classification. https://arxiv.org/abs/1905.02244."""

from typing import Final

from torch import nn
from torchvision.models import get_model

from tasks.models import _lightning_classify

TASKS: Final = ("classify", "multilabel")
ARCHITECTURES: Final = ("mobilenet_v3_small", "mobilenet_v3_large")
OPTIMIZERS: Final = ("SGD", "AdamW")
MOMENTUM: Final = 0.1
"""Of the running means and variances: PyTorch's default. torchvision's 0.01 is for long trainings in large batches. After 300
steps the statistics are still those of earlier weights: on a part of CIFAR-10, top-1 0.46, where fresh ones give 0.73."""


class Family(_lightning_classify.Family):
    """MobileNetV3 in its two sizes."""

    def build(self) -> nn.Module:
        network: nn.Module = get_model(self.config.arch, weights=None, num_classes=len(self.classes))
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = MOMENTUM
        if self.config.imgsz <= _lightning_classify.SMALL_IMGSZ:
            _lightning_classify.keep_resolution(network)
        return network
