"""What families on PyTorch do to pixels: their networks' normalisation, and the recipe's values for augmentation."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from sightline.contract import Input
from sightline.errors import SightlineError
from sightline.preprocess import decode, prepare
from tasks import schema
from tasks.tables import Sample

MEAN: Final = (0.485, 0.456, 0.406)  # of ImageNet's training images, RGB, 0-1: what pretrained weights expect
STD: Final = (0.229, 0.224, 0.225)


def shares(recipe: schema.Train, names: Sequence[str]) -> dict[str, float]:
    """The recipe's value, 0-1, of each augmentation in `names`; 0 where it has none.

    Raises:
        SightlineError: A value outside 0-1.
    """
    outside = [name for name, value in recipe.augment.items() if not 0 <= value <= 1]
    if outside:
        raise SightlineError(f"train.augment.{outside[0]}: got {recipe.augment[outside[0]]}, expected 0-1")
    return {name: recipe.augment.get(name, 0.0) for name in names}


def read(samples: Sequence[Sample], spec: Input) -> Tensor:
    """The images as for evaluation, uint8 (N, 3, H, W) RGB."""
    images = [prepare(decode(sample.path.read_bytes()), spec)[0] for sample in samples]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()


class Normalise(nn.Module):
    """uint8 (N, 3, H, W) RGB to float32 (N, 3, H, W), of zero mean and unit variance.

    Args:
        mean: Of the images that the network was made for, RGB, 0-1.
        std: Their standard deviation.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = MEAN, std: Sequence[float] = STD) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor) -> Tensor:
        return (images.to(torch.float32) / 255 - self.mean) / self.std


class Prepare(Normalise):
    """uint8 (N, H, W, 3) RGB to float32 (N, 3, H, W), normalised."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.permute(0, 3, 1, 2))
