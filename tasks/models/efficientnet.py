"""EfficientNet (torchvision, BSD-3-Clause, on Lightning): classification. https://arxiv.org/abs/1905.11946."""

from typing import Final

from torch import nn
from torchvision.models import get_model

from tasks.models import _lightning_classify

TASKS: Final = ("classify", "multilabel")
ARCHITECTURES: Final = ("efficientnet_b0", "efficientnet_b1", "efficientnet_b2", "efficientnet_b3")
OPTIMIZERS: Final = ("SGD", "AdamW")


class Family(_lightning_classify.Family):
    """EfficientNet's smaller sizes."""

    def build(self) -> nn.Module:
        network: nn.Module = get_model(self.config.arch, weights=None, num_classes=len(self.classes))
        if self.config.imgsz <= _lightning_classify.SMALL_IMGSZ:
            _lightning_classify.keep_resolution(network)
        return network
