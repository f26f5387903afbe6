"""VGG (torchvision, BSD-3-Clause, on Lightning): classification. https://arxiv.org/abs/1409.1556."""

from typing import Final

from torch import nn
from torchvision.models import get_model

from tasks.models import _lightning_classify

TASKS: Final = ("classify", "multilabel")
ARCHITECTURES: Final = ("vgg16", "vgg16_bn")
OPTIMIZERS: Final = ("SGD", "AdamW")
STRIDE: Final = 32  # of the last map, pixels
PAPER_IMGSZ: Final = 224


class Family(_lightning_classify.Family):
    """VGG-16, with or without batch normalisation.

    The paper's head reads 7x7 cells, which only 224 pixels or a multiple give. At other sizes it is the head of 512 units that
    VGG-16 has for CIFAR-10 (Liu and Deng, 2015, https://doi.org/10.1109/ACPR.2015.7486599), with 15 instead of 138 million
    parameters.
    """

    def build(self) -> nn.Module:
        network: nn.Module = get_model(self.config.arch, weights=None, num_classes=len(self.classes))
        times, rest = divmod(self.config.imgsz, PAPER_IMGSZ)
        if rest == 0:
            network.avgpool = nn.AvgPool2d(times)  # the adaptive one, which has no deterministic gradient on a GPU
            return network
        network.avgpool = nn.AdaptiveAvgPool2d(1)
        network.classifier = nn.Sequential(
            nn.Linear(512, 512), nn.ReLU(inplace=True), nn.Dropout(), nn.Linear(512, len(self.classes))
        )
        return network
