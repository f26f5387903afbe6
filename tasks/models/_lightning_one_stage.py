"""One-stage detectors of torchvision, a box and its scores for each anchor: their runtime graph."""

import math
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from tasks import models
from tasks.models import _images, _lightning_detect
from tasks.models._torch import load_exactly

MAX_LOG_SIZE: Final = math.log(1000 / 16)  # of a box over its anchor, as torchvision's BoxCoder clips it


class Family(_lightning_detect.Family):
    """A backbone with several maps, and a head that gives `bbox_regression` and `cls_logits`."""

    def heads(self, network: Any) -> tuple[nn.Module, ...]:
        return (network.head,)

    def parts(self, weights: Path) -> models.Parts:
        network = self.build()
        load_exactly(network, weights)
        core = Core(network.eval())
        pre = _images.Prepare(self.mean, self.std).eval()
        return models.Parts(pre, core, Decode(network, self.config.imgsz, self.background).eval())


class Core(nn.Module):
    """Backbone and head.

    Returns:
        What is added to the anchors float32 (N, A, 4), and logits float32 (N, A, L) with the background's where there is one.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.head

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        found = self.head(list(self.backbone(pixels).values()))
        return found["bbox_regression"], found["cls_logits"]


class Decode(nn.Module):
    """What `Core` returns to boxes float32 (N, A, 4) xyxy in input pixels, clipped to the input, and scores float32 (N, C, A).

    Boxes as in Faster R-CNN, https://arxiv.org/abs/1506.01497, equation 2. Scores are a softmax over the classes and the
    background, which is left out, or each class's sigmoid where there is none.

    Args:
        network: For its anchors and the weights of its box coder.
        imgsz: Side of the input, pixels.
        background: Logits before those of the classes, 0 or 1.
    """

    centres: Tensor
    sizes: Tensor
    weights: Tensor

    def __init__(self, network: Any, imgsz: int, background: int) -> None:
        super().__init__()
        boxes = anchors(network, imgsz)
        self.register_buffer("centres", (boxes[:, :2] + boxes[:, 2:]) / 2)
        self.register_buffer("sizes", boxes[:, 2:] - boxes[:, :2])
        self.register_buffer("weights", torch.tensor(network.box_coder.weights))
        self.imgsz, self.background = imgsz, background

    def forward(self, offsets: Tensor, logits: Tensor) -> tuple[Tensor, Tensor]:
        offsets = offsets / self.weights
        centres = offsets[..., :2] * self.sizes + self.centres
        halves = offsets[..., 2:].clamp(max=MAX_LOG_SIZE).exp() * self.sizes / 2
        boxes = torch.cat([centres - halves, centres + halves], dim=-1).clamp(0, self.imgsz)
        scores = logits.softmax(dim=-1)[..., self.background :] if self.background else logits.sigmoid()
        return boxes, scores.transpose(1, 2)


def anchors(network: Any, imgsz: int) -> Tensor:
    """The anchors of a network in eval mode, float32 (A, 4) xyxy in pixels of a square input."""
    image = torch.zeros(1, 3, imgsz, imgsz)
    with torch.inference_mode():
        maps = list(network.backbone(image).values())
        boxes: Tensor = network.anchor_generator(ImageList(image, [(imgsz, imgsz)]), maps)[0]
    return boxes.clone()
