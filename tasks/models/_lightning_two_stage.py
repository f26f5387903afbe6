"""Two-stage detectors of torchvision, proposals and then a box for each class of each: their runtime graph.

The core is the convolutions: backbone, feature pyramid and the proposals' head. What follows it selects, pools and classifies,
with as many proposals for every image, so that any batch works.
"""

import re
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import FrozenBatchNorm2d, roi_align

from sightline.contract import ModelDescription
from tasks import models
from tasks.models import _images, _lightning_detect
from tasks.models._torch import load_exactly
from tasks.suppression import suppress

BEFORE_NMS: Final = 1000  # proposals of a level that NMS sees, as torchvision tests its R-CNNs
PROPOSALS: Final = 1000  # P, of an image, that are classified
PROPOSAL_IOU: Final = 0.7
MIN_PROPOSAL: Final = 1e-3  # side, pixels
MIN_BOX: Final = 1e-2
CELLS: Final = 7  # of what the box head reads, on a side
SAMPLES: Final = 2  # in a cell of RoIAlign, in each direction
FINEST: Final = 2  # level of the pyramid that is pooled from, as its stride is 2 to the power of it
COARSEST: Final = 5
CANONICAL_LEVEL: Final = 4  # what a box of the side below is pooled from
CANONICAL_SIDE: Final = 224  # pixels
MAX_BATCH: Final = 8  # an image's pooled proposals take 50 MB


class Family(_lightning_detect.Family):
    """A backbone with a feature pyramid, a region proposal network and heads on its proposals."""

    background = 1

    def backbone(self) -> nn.Module:
        """ResNet-50 with a feature pyramid.

        From pretrained weights its first layers and its normalisations are frozen, as torchvision trains it; from scratch
        everything learns.
        """
        pretrained = bool(self.config.pretrained)
        backbone: nn.Module = resnet_fpn_backbone(
            backbone_name="resnet50",
            weights=None,
            norm_layer=FrozenBatchNorm2d if pretrained else nn.BatchNorm2d,
            trainable_layers=3 if pretrained else 5,
        )
        return backbone

    def rename(self, name: str) -> str:
        """Takes the first version of torchvision's names, which its published weights have, and those of ResNet-50 alone."""
        if re.match(r"(conv1|bn1|layer\d)\.", name):
            return f"backbone.body.{name}"
        name = _lightning_detect.pyramid_name(name)
        name = re.sub(r"^rpn\.head\.conv\.(weight|bias)$", r"rpn.head.conv.0.0.\1", name)
        if old := re.fullmatch(r"(roi_heads\.mask_head)\.mask_fcn(\d)\.(weight|bias)", name):
            return f"{old[1]}.{int(old[2]) - 1}.0.{old[3]}"
        return name

    def heads(self, network: Any) -> tuple[nn.Module, ...]:
        return (network.rpn.head, network.roi_heads.box_predictor)

    def description(self) -> ModelDescription:
        return replace(super().description(), max_batch=MAX_BATCH)

    def parts(self, weights: Path) -> models.Parts:
        network = self.trained(weights)
        return models.Parts(_images.Prepare().eval(), Core(network), Classify(network, self.config.imgsz).eval())

    def trained(self, weights: Path) -> Any:
        """The network with these weights, in eval mode."""
        network = self.build()
        load_exactly(network, weights)
        return network.eval()


class Core(nn.Module):
    """Backbone, pyramid and the proposals' head.

    Returns:
        The pyramid's levels float32 (N, 256, h, w), finest first; for each of them and one coarser the logits of its anchors
        float32 (N, A, h, w); and for each as well what is added to its anchors, float32 (N, 4 * A, h, w).
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.backbone, self.head = network.backbone, network.rpn.head

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        levels = list(self.backbone(pixels).values())
        logits, offsets = self.head(levels)
        return (*levels[:-1], *logits, *offsets)


class Classify(nn.Module):
    """What `Core` returns to boxes float32 (N, C, P, 4) xyxy in input pixels and scores float32 (N, C, P).

    https://arxiv.org/abs/1506.01497, with the pyramid of https://arxiv.org/abs/1612.03144. Proposals that NMS dropped have the
    score 0 and a box of zeros.

    Args:
        network: In eval mode.
        imgsz: Side of the input, pixels.
        goes_on: Whether the pyramid's levels are returned as well, for what comes after detection.
    """

    def __init__(self, network: Any, imgsz: int, goes_on: bool = False) -> None:
        super().__init__()
        self.proposals, self.imgsz, self.goes_on = Proposals(network.rpn, network.backbone, imgsz), imgsz, goes_on
        heads = network.roi_heads
        self.head, self.predictor, self.coder = heads.box_head, heads.box_predictor, heads.box_coder

    def forward(self, *maps: Tensor) -> tuple[Tensor, ...]:
        levels, others = maps[: COARSEST - FINEST + 1], maps[COARSEST - FINEST + 1 :]
        proposals, kept = self.proposals(*others)
        logits, offsets = self.predictor(self.head(pool_regions(levels, regions_of(proposals), self.imgsz, CELLS)))
        boxes = self.coder.decode_single(offsets, proposals.flatten(0, 1)).clamp(0, self.imgsz)
        count, labels = proposals.shape[1], logits.shape[1]
        boxes = boxes.reshape(-1, count, labels, 4)[:, :, 1:].transpose(1, 2)  # 0 is the background
        scores = logits.softmax(dim=1).reshape(-1, count, labels)[:, :, 1:].transpose(1, 2)
        real = kept.unsqueeze(1) & is_large(boxes, MIN_BOX)
        found = torch.where(real.unsqueeze(-1), boxes, 0.0), torch.where(real, scores, 0.0)
        return (*found, *levels) if self.goes_on else found


class Proposals(nn.Module):
    """The best proposals of each image after NMS within each level.

    Args:
        network: The region proposal network.
        backbone: For the sizes of its levels.
        imgsz: Side of the input, pixels.
    """

    def __init__(self, network: Any, backbone: nn.Module, imgsz: int) -> None:
        super().__init__()
        image = torch.zeros(1, 3, imgsz, imgsz)
        with torch.inference_mode():
            levels = list(backbone(image).values())
            boxes = network.anchor_generator(ImageList(image, [(imgsz, imgsz)]), levels)[0]
        sizes = [
            level.shape[2] * level.shape[3] * each
            for level, each in zip(levels, network.anchor_generator.num_anchors_per_location(), strict=True)
        ]
        for index, anchors in enumerate(boxes.clone().split(sizes)):
            self.register_buffer(f"anchors_{index}", anchors)
        self.levels, self.coder, self.imgsz = len(sizes), network.box_coder, imgsz

    def forward(self, *maps: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes float32 (N, P, 4) xyxy in input pixels, and whether each is a proposal, bool (N, P)."""
        found = [self.level(index, maps[index], maps[self.levels + index]) for index in range(self.levels)]
        boxes, scores = torch.cat([each for each, _ in found], dim=1), torch.cat([each for _, each in found], dim=1)
        best, places = scores.topk(min(PROPOSALS, scores.shape[1]))
        return take(boxes, places), best > 0

    def level(self, index: int, logits: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """A level's boxes float32 (N, B, 4) and their scores float32 (N, B), 0 where they are none."""
        anchors = self.get_buffer(f"anchors_{index}")
        logits = logits.permute(0, 2, 3, 1).flatten(1)
        offsets = torch.unflatten(offsets, 1, (-1, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3)
        best, places = logits.topk(min(BEFORE_NMS, len(anchors)))
        boxes = self.coder.decode_single(take(offsets, places).flatten(0, 1), anchors[places.flatten()])
        boxes = boxes.clamp(0, self.imgsz).reshape(-1, places.shape[1], 4)
        scores = torch.where(is_large(boxes, MIN_PROPOSAL), best.sigmoid(), 0.0)
        return boxes, suppress(boxes, scores, PROPOSAL_IOU)


def take(rows: Tensor, places: Tensor) -> Tensor:
    """The rows (N, K, D) of (N, A, D) at places int64 (N, K)."""
    return rows.gather(1, places.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))


def is_large(boxes: Tensor, side: float) -> Tensor:
    """Whether both sides of boxes (..., 4) are at least `side`."""
    return (boxes[..., 2:] - boxes[..., :2] >= side).all(dim=-1)


def regions_of(boxes: Tensor) -> Tensor:
    """Boxes (N, P, 4) as RoIAlign takes them, float32 (N * P, 5): the image's place in the batch, then the box."""
    images = torch.arange(boxes.shape[0], device=boxes.device).to(boxes.dtype)
    return torch.cat([images.view(-1, 1, 1).expand(-1, boxes.shape[1], -1), boxes], dim=-1).flatten(0, 1)


def pool_regions(levels: tuple[Tensor, ...], regions: Tensor, imgsz: int, cells: int) -> Tensor:
    """RoIAlign of regions, each from the level of its size (equation 1 of arXiv:1612.03144).

    Args:
        levels: float32 (N, D, h, w), finest first.
        regions: float32 (R, 5), as `regions_of` has them, in input pixels.
        imgsz: Side of the input, pixels.
        cells: Side of the result.

    Returns:
        float32 (R, D, cells, cells).
    """
    side = (regions[:, 3:] - regions[:, 1:3]).prod(dim=1).sqrt()
    level = (CANONICAL_LEVEL + (side / CANONICAL_SIDE).log2() + 1e-6).floor().clamp(FINEST, COARSEST)
    pooled = levels[0].new_zeros(regions.shape[0], levels[0].shape[1], cells, cells)
    for index, features in enumerate(levels):
        own = (level == FINEST + index).nonzero().squeeze(1)
        part = roi_align(features, regions[own], cells, features.shape[-1] / imgsz, SAMPLES)
        pooled = pooled.index_put((own,), part)
    return pooled
