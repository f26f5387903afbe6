"""U-Net (on Lightning, Apache-2.0): semantic segmentation. https://arxiv.org/abs/1505.04597.

As it is used today, and unlike the paper: convolutions keep the size of their maps, so that none is cropped, and each is
followed by batch normalisation.
"""

from typing import Final

import torch
from torch import Tensor, nn

from tasks.models import _lightning_semantic

TASKS: Final = ("semantic",)
ARCHITECTURES: Final = ("unet", "unet32", "unet16")
OPTIMIZERS: Final = ("SGD", "AdamW")
STRIDE: Final = 16
CHANNELS: Final = {"unet": 64, "unet32": 32, "unet16": 16}
"""Channels of the first level; each of the four below it has twice as many."""


class Family(_lightning_semantic.Family):
    """U-Net in three widths; the paper's has 64 channels."""

    def build(self) -> nn.Module:
        return UNet(CHANNELS[self.config.arch], len(self.classes))

    def heads(self, network: nn.Module, pixels: Tensor) -> tuple[Tensor, ...]:
        return (network(pixels),)


class UNet(nn.Module):
    """Float32 (N, 3, H, W) to logits float32 (N, C, H, W); H and W are multiples of 16.

    Args:
        channels: Of the first level.
        classes: C.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        widths = [channels * 2**level for level in range(5)]
        self.down = nn.ModuleList(double(before, after) for before, after in zip([3, *widths], widths, strict=False))
        pairs = list(zip(widths[:0:-1], widths[-2::-1], strict=True))
        self.up = nn.ModuleList(nn.ConvTranspose2d(below, here, 2, stride=2) for below, here in pairs)
        self.merge = nn.ModuleList(double(below, here) for below, here in pairs)
        self.head = nn.Conv2d(channels, classes, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        maps = [self.down[0](pixels)]
        for level in self.down[1:]:
            maps.append(level(nn.functional.max_pool2d(maps[-1], 2)))
        found = maps.pop()
        for up, merge in zip(self.up, self.merge, strict=True):
            found = merge(torch.cat([maps.pop(), up(found)], dim=1))
        logits: Tensor = self.head(found)
        return logits


def double(before: int, after: int) -> nn.Sequential:
    """Two 3x3 convolutions, each with batch normalisation and ReLU."""
    layers = []
    for channels in (before, after):
        layers += [nn.Conv2d(channels, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
