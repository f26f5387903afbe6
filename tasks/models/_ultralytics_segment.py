"""Instance segmentation of Ultralytics: a detector, prototypes of masks, and coefficients for each anchor."""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torchvision.ops import roi_align

from tasks import models
from tasks.models import _ultralytics, _ultralytics_detect
from tasks.models._torch import load_exactly

SIDE: Final = 56
"""M, cells of a mask's side: Mask R-CNN's 28 doubled, as prototypes are finer than what that pools from."""
BALANCE: Final = _ultralytics_detect.BALANCE
SAMPLES: Final = 2  # in a cell, in each direction


class Family(_ultralytics_detect.Family):
    """A network that Ultralytics builds."""

    def parts(self, weights: Path) -> models.Parts:
        network = _ultralytics.build(self.config, self.classes)
        load_exactly(network, weights)
        network.end2end = self.is_end2end(network)
        network = network.eval().fuse(verbose=False)
        imgsz = self.config.imgsz
        scale, core, decode = _ultralytics.Scale().eval(), Core(network), Decode(network, imgsz).eval()
        return models.Parts(scale, core, decode, Masks(imgsz).eval())

    def around(self) -> tuple[nn.Module, nn.Module]:
        return _ultralytics.Scale().eval(), Split(len(self.classes)).eval()

    def masks_around(self) -> nn.Module:
        return Masks(self.config.imgsz).eval()


class Split(_ultralytics_detect.Split):
    """What Ultralytics' ONNX export gives to boxes and scores, and as features coefficients (N, A, D) and prototypes.

    Its first output is float32 (N, 4 + C + D, A), boxes as xywh in input pixels; its second are the prototypes, float32 (N, D,
    H / 4, W / 4).

    Args:
        classes: C.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.count = 4 + classes

    def forward(self, output: Tensor, prototypes: Tensor) -> tuple[Tensor, ...]:  # type: ignore[override]
        boxes, scores = super().forward(output[:, : self.count])
        return boxes, scores, output[:, self.count :].transpose(1, 2), prototypes.clone()


class Core(_ultralytics_detect.Core):
    """As a detector's, with the convolutions of the masks.

    Returns:
        What a detector's core does, then for each level coefficients float32 (N, D, h, w), then the prototypes, float32 (N, D,
        H / 4, W / 4).
    """

    def __init__(self, network: Any) -> None:
        super().__init__(network)
        head = network.model[-1]
        branches = head.one2one if head.end2end else head.one2many
        self.coefficients, self.prototypes = branches["mask_head"], head.proto
        self.fuses_levels = hasattr(head.proto, "feat_fuse")  # YOLO26 makes its prototypes of all levels

    def heads(self, levels: list[Tensor]) -> tuple[Tensor, ...]:
        coefficients = [branch(level) for branch, level in zip(self.coefficients, levels, strict=True)]
        prototypes = self.prototypes(levels if self.fuses_levels else levels[0])
        return (*super().heads(levels), *coefficients, prototypes)


class Decode(nn.Module):
    """Boxes and scores as a detector's, and as features the coefficients float32 (N, A, D) and the prototypes."""

    def __init__(self, network: Any, imgsz: int) -> None:
        super().__init__()
        self.detect = _ultralytics_detect.Decode(network, imgsz)

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        *maps_of_levels, prototypes = maps
        count = len(maps_of_levels) // 3
        boxes, scores = self.detect(*maps_of_levels[: 2 * count])
        coefficients = torch.cat([level.flatten(2) for level in maps_of_levels[2 * count :]], dim=2).transpose(1, 2)
        return boxes, scores, coefficients, prototypes


class Masks(nn.Module):
    """Masks uint8 (N, K, M, M) of `sightline.contract`: sums of prototypes (YOLACT, arXiv:1904.02689, equation 1).

    Args:
        imgsz: Side of the input, pixels.
    """

    def __init__(self, imgsz: int) -> None:
        super().__init__()
        self.imgsz = imgsz

    def forward(self, boxes: Tensor, labels: Tensor, anchors: Tensor, coefficients: Tensor, prototypes: Tensor) -> Tensor:
        own = coefficients.gather(1, anchors.unsqueeze(-1).expand(-1, -1, coefficients.shape[2]))
        whole = (own @ prototypes.flatten(2)).reshape(-1, 1, *prototypes.shape[2:])
        places = torch.arange(whole.shape[0], device=whole.device).to(boxes.dtype).unsqueeze(1)
        regions = torch.cat([places, boxes.flatten(0, 1)], dim=1)
        cells = roi_align(whole, regions, SIDE, prototypes.shape[-1] / self.imgsz, SAMPLES, aligned=True)
        masks: Tensor = (cells.sigmoid() * 255).round().to(torch.uint8).reshape(-1, boxes.shape[1], SIDE, SIDE)
        return masks
