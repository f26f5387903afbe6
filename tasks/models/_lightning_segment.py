"""Instance segmentation by torchvision's two-stage detectors on Lightning: masks to learn from, and the runtime graph's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional
from torchvision.tv_tensors import Mask

from sightline.contract import Input
from sightline.preprocess import Placement
from tasks import models, schema
from tasks.models import _images, _lightning_detect, _lightning_two_stage
from tasks.models._lightning_two_stage import Classify, Core, pool_regions, regions_of
from tasks.shapes import mask_of
from tasks.tables import Sample

AUGMENT: Final = _lightning_detect.AUGMENT
BALANCE: Final = _lightning_detect.BALANCE
CELLS: Final = 14  # of what the mask head reads, on a side; it doubles them


class Family(_lightning_two_stage.Family):
    """A two-stage detector with a mask head."""

    def heads(self, network: Any) -> tuple[nn.Module, ...]:
        return (*super().heads(network), network.roi_heads.mask_predictor)

    def images(self, samples: Sequence[Sample], recipe: schema.Train) -> "Images":
        return Images(samples, self.description().input, recipe, self.background)

    def parts(self, weights: Path) -> models.Parts:
        network, imgsz = self.trained(weights), self.config.imgsz
        classify, masks = Classify(network, imgsz, goes_on=True), Masks(network, imgsz)
        return models.Parts(_images.Prepare().eval(), Core(network), classify.eval(), masks.eval())


class Images(_lightning_detect.Images):
    """As a detector's; a target has `masks` as well, uint8 (M, H, W), 0 or 1, of the input's size."""

    def __init__(self, samples: Sequence[Sample], spec: Input, recipe: schema.Train, background: int) -> None:
        super().__init__(samples, spec, recipe, background)
        self.samples = samples

    def target(self, index: int) -> dict[str, Tensor]:
        """Masks are decoded each time: those of all images would take more memory than the images."""
        sample, size = self.samples[index], list(self.images[index].shape[-2:])
        masks = [mask_of(sample, int(number)) for number in np.flatnonzero(~sample.crowd)]
        stacked = np.stack(masks).view(np.uint8) if masks else np.zeros((0, sample.height, sample.width), np.uint8)
        return {**super().target(index), "masks": resize(Mask(torch.from_numpy(stacked)), size)}

    def place(self, target: dict[str, Tensor], placement: Placement) -> dict[str, Tensor]:
        """The same in the network's input; the letterbox pads masks as it pads images."""
        height, width = round(placement.height * placement.scale_y), round(placement.width * placement.scale_x)
        masks = resize(target["masks"], [height, width])
        padded = functional.pad(masks, [0, 0, self.spec.width - width, self.spec.height - height])
        return {**super().place(target, placement), "masks": padded}


def resize(masks: Tensor, size: list[int]) -> Tensor:
    """Masks (M, H, W) at another height and width."""
    if list(masks.shape[-2:]) == size:
        return masks
    resized: Tensor = functional.resize(masks, size, InterpolationMode.NEAREST_EXACT)
    return resized


class Masks(nn.Module):
    """Masks uint8 (N, K, M, M) of `sightline.contract`, of the boxes that are no padding; https://arxiv.org/abs/1703.06870.

    Args:
        network: In eval mode.
        imgsz: Side of the input, pixels.
    """

    def __init__(self, network: Any, imgsz: int) -> None:
        super().__init__()
        self.head, self.predictor, self.imgsz = network.roi_heads.mask_head, network.roi_heads.mask_predictor, imgsz

    def forward(self, boxes: Tensor, labels: Tensor, anchors: Tensor, *levels: Tensor) -> Tensor:
        regions = regions_of(boxes)
        real = (regions[:, 3:] > regions[:, 1:3]).all(dim=1).nonzero().squeeze(1)
        logits = self.predictor(self.head(pool_regions(levels, regions[real], self.imgsz, CELLS)))
        labels_of = labels.flatten()[real] + 1  # 0 is the background
        own = logits.gather(1, labels_of.view(-1, 1, 1, 1).expand(-1, -1, *logits.shape[2:])).squeeze(1)
        cells = (own.sigmoid() * 255).round()
        masks = cells.new_zeros(regions.shape[0], *cells.shape[1:]).index_put((real,), cells)
        whole: Tensor = masks.to(torch.uint8).reshape(-1, boxes.shape[1], *cells.shape[1:])
        return whole
