"""Multi-label classifiers on Lightning: the networks of `_lightning_classify`, for images with any number of classes."""

from collections.abc import Sequence
from typing import Final

import torch
from torch import Tensor, nn

from sightline.contract import Input
from tasks import schema
from tasks.models import _balance, _lightning_classify
from tasks.models._lightning_classify import Images, augmentation
from tasks.tables import Sample

AUGMENT: Final = _lightning_classify.AUGMENT
BALANCE: Final = ("none", "weights", "sampler")
MAX_WEIGHT: Final = 100.0
"""Of the images that show a class: one that next to none shows would be all that is learnt."""


class Learning(_lightning_classify.Learning):
    """Binary cross-entropy on the logit of each class.

    Args:
        network: float32 (N, 3, H, W), normalised, to logits float32 (N, C).
        images: The training split, `labels` float32 (N, C), 1 where an image shows the class.
        classes: Class names.
        recipe: `balance: weights`: those images that show a class count as much as those that do not; `sampler`: images of rare
            classes are drawn more often; `none`: each counts once.
    """

    def __init__(self, network: nn.Module, images: Images, classes: Sequence[str], recipe: schema.Train) -> None:
        super().__init__(network, images, classes, "none")
        self.sampling = _balance.repeats([row.nonzero().flatten() for row in images.labels], recipe)
        shown = images.labels.sum(dim=0)
        rarity = ((len(images) - shown) / shown.clamp(min=1)).clamp(max=MAX_WEIGHT)
        self.weights = rarity if recipe.balance == "weights" else None

    def loss(self, logits: Tensor, labels: Tensor, weights: Tensor | None) -> Tensor:
        return nn.functional.binary_cross_entropy_with_logits(logits, labels, pos_weight=weights)


def learn(network: nn.Module, samples: Sequence[Sample], spec: Input, recipe: schema.Train, classes: Sequence[str]) -> Learning:
    """What `network` learns from."""
    labels = torch.zeros(len(samples), len(classes))
    for row, sample in enumerate(samples):
        labels[row, sample.labels] = 1
    return Learning(network, Images(samples, labels, spec, augmentation(recipe, spec)), classes, recipe)


def activation() -> nn.Module:
    """Logits float32 (N, C) to probabilities."""
    return nn.Sigmoid().eval()
