"""MobileNetV3 (torchvision, BSD-3-Clause, on Lightning): classification. https://arxiv.org/abs/1905.02244."""

from typing import Final

from torch import nn
from torchvision.models import get_model

from tasks.models import _lightning_classify

TASKS: Final = ("classify", "multilabel")
ARCHITECTURES: Final = ("mobilenet_v3_small", "mobilenet_v3_large")
OPTIMIZERS: Final = ("SGD", "AdamW")


class Family(_lightning_classify.Family):
    """MobileNetV3 in its two sizes."""

    def build(self) -> nn.Module:
        network: nn.Module = get_model(self.config.arch, weights=None, num_classes=len(self.classes))
        if self.config.imgsz <= _lightning_classify.SMALL_IMGSZ:
            _lightning_classify.keep_resolution(network)
        return network
