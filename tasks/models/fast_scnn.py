"""Fast-SCNN (on Lightning, Apache-2.0): semantic segmentation. https://arxiv.org/abs/1902.04502."""

from typing import Final

import torch
from torch import Tensor, nn

from tasks.models import _lightning_semantic

TASKS: Final = ("semantic",)
ARCHITECTURES: Final = ("fast_scnn",)
OPTIMIZERS: Final = ("SGD", "AdamW")
STRIDE: Final = 32
BINS: Final = (1, 2, 3, 6)
"""Cells a side of the pyramid's pooled maps (PSPNet, arXiv:1612.01105, section 3.2)."""
EXPANSION: Final = 6
DROPOUT: Final = 0.1


class Family(_lightning_semantic.Family):
    """Fast-SCNN, with auxiliary heads on both branches while it trains (section 4)."""

    aux = 0.4
    pools = True

    def build(self) -> nn.Module:
        return FastSCNN(len(self.classes))

    def heads(self, network: nn.Module, pixels: Tensor) -> tuple[Tensor, ...]:
        found: tuple[Tensor, ...] = network(pixels)
        return found


class FastSCNN(nn.Module):
    """Float32 (N, 3, H, W) to logits float32 (N, C, H/8, W/8); in training mode also of both branches' heads. Table 1.

    Args:
        classes: C.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.downsample = nn.Sequential(Unit(3, 32, 3, stride=2), *separable(32, 48, 2), *separable(48, 64, 2))
        self.features = nn.Sequential(
            *bottlenecks(64, 64, 3, stride=2),
            *bottlenecks(64, 96, 3, stride=2),
            *bottlenecks(96, 128, 3, stride=1),
            Pyramid(128),
        )
        self.fusion = Fusion(64, 128, 128)
        self.classifier = nn.Sequential(
            *separable(128, 128, 1), *separable(128, 128, 1), nn.Dropout(DROPOUT), nn.Conv2d(128, classes, 1)
        )
        self.auxiliary = nn.ModuleList(
            nn.Sequential(Unit(channels, 32, 3), nn.Dropout(DROPOUT), nn.Conv2d(32, classes, 1)) for channels in (64, 128)
        )

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        fine = self.downsample(pixels)
        coarse = self.features(fine)
        logits = self.classifier(self.fusion(fine, coarse))
        if not self.training:
            return (logits,)
        return (logits, *(head(maps) for head, maps in zip(self.auxiliary, (fine, coarse), strict=True)))


class Unit(nn.Sequential):
    """A convolution that keeps the size but for its stride, with batch normalisation and, unless told, ReLU."""

    def __init__(
        self, before: int, after: int, kernel: int, stride: int = 1, groups: int = 1, dilation: int = 1, relu: bool = True
    ) -> None:
        padding = dilation * (kernel // 2)
        convolution = nn.Conv2d(before, after, kernel, stride, padding, dilation, groups, bias=False)
        super().__init__(convolution, nn.BatchNorm2d(after), *([nn.ReLU(inplace=True)] if relu else []))


def separable(before: int, after: int, stride: int) -> tuple[Unit, Unit]:
    """A depthwise and a pointwise convolution, without a nonlinearity between them (section 3.2.1)."""
    return Unit(before, before, 3, stride, groups=before, relu=False), Unit(before, after, 1)


class Bottleneck(nn.Module):
    """An inverted residual: expanded, filtered by depth, and projected without a nonlinearity. Table 2."""

    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        wide = before * EXPANSION
        self.layers = nn.Sequential(
            Unit(before, wide, 1), Unit(wide, wide, 3, stride, groups=wide), Unit(wide, after, 1, relu=False)
        )
        self.is_residual = stride == 1 and before == after

    def forward(self, maps: Tensor) -> Tensor:
        found: Tensor = self.layers(maps)
        return maps + found if self.is_residual else found


def bottlenecks(before: int, after: int, count: int, stride: int) -> list[Bottleneck]:
    """`count` bottlenecks, of which the first has the stride."""
    return [Bottleneck(before, after, stride), *(Bottleneck(after, after, 1) for _ in range(count - 1))]


class Pyramid(nn.Module):
    """Pooled over 1, 4, 9 and 36 regions, each brought to a quarter of the channels, and all seen together."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.levels = nn.ModuleList(Unit(channels, channels // len(BINS), 1) for _ in BINS)
        self.project = Unit(2 * channels, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        size = maps.shape[2:]
        found = [maps]
        for bins, level in zip(BINS, self.levels, strict=True):
            found.append(nn.functional.interpolate(level(pool(maps, bins)), size, mode="bilinear", align_corners=False))
        projected: Tensor = self.project(torch.cat(found, dim=1))
        return projected


def pool(maps: Tensor, bins: int) -> Tensor:
    """The means over `bins` x `bins` regions of (N, C, H, W): adaptive pooling as two products.

    ONNX has no adaptive pooling whose regions differ in size, and CUDA no deterministic gradient of it.
    """
    rows, columns = (regions(side, bins).to(maps) for side in maps.shape[2:])
    return rows @ maps @ columns.T


def regions(side: int, bins: int) -> Tensor:
    """float32 (bins, side): each row's mean over one region; regions overlap where `bins` does not divide `side`."""
    weights = torch.zeros(bins, side)
    for index in range(bins):
        start, end = index * side // bins, -(-(index + 1) * side // bins)
        weights[index, start:end] = 1 / (end - start)
    return weights


class Fusion(nn.Module):
    """The coarse branch, upsampled and filtered with as wide a step, added to the fine one. Table 3."""

    def __init__(self, fine: int, coarse: int, channels: int) -> None:
        super().__init__()
        self.depthwise = Unit(coarse, coarse, 3, groups=coarse, dilation=4)
        self.coarse = Unit(coarse, channels, 1, relu=False)
        self.fine = Unit(fine, channels, 1, relu=False)

    def forward(self, fine: Tensor, coarse: Tensor) -> Tensor:
        wide = nn.functional.interpolate(coarse, fine.shape[2:], mode="bilinear", align_corners=False)
        return nn.functional.relu(self.fine(fine) + self.coarse(self.depthwise(wide)))
