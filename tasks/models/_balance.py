"""Classes of unequal size evened out: how often each image is drawn, and the epoch that this gives."""

from collections.abc import Sequence

import torch
from torch import Tensor

from tasks import schema
from tasks.models._torch import seed_epoch
from tasks.tables import Sample


def inverse_frequency(labels: Tensor, classes: int) -> Tensor:
    """float32 (C,): how rare each class is among `labels`, int64 (N,); 1 on average over the labels, which may lack classes."""
    counts = labels.bincount(minlength=classes)
    return len(labels) / (int((counts > 0).sum()) * counts.clamp(min=1))


def of_objects(samples: Sequence[Sample], recipe: schema.Train) -> Tensor | None:
    """How often each image is drawn, by the classes of its objects; None: the recipe has no sampler."""
    return repeats([torch.from_numpy(sample.labels[~sample.crowd]) for sample in samples], recipe)


def repeats(labels: Sequence[Tensor], recipe: schema.Train) -> Tensor | None:
    """How often each image is drawn, where the recipe has a sampler: the repeat factors of LVIS (arXiv:1908.03195).

    A class that a share f of the images has, below t = `recipe.rare`, repeats them sqrt(t / f) times; an image is repeated as
    often as its rarest class asks for, and drawn at least once.

    Args:
        labels: Of each image its classes, int64 (M,), in any order and number.
        recipe: `balance` and `rare`.

    Returns:
        float64 (images,), at least 1; None: the recipe has no sampler.
    """
    if recipe.balance != "sampler":
        return None
    shown = torch.zeros(len(labels), 1 + max((int(each.max()) for each in labels if len(each)), default=0), dtype=torch.bool)
    for row, each in zip(shown, labels, strict=True):
        row[each] = True
    share = shown.double().mean(dim=0)
    factors = (shown * (recipe.rare / share).sqrt().nan_to_num(posinf=1.0).clamp(min=1)).amax(dim=1).clamp(min=1)
    if shown.any() and not (factors > 1).any():
        least = share[share > 0].min().item()
        print(
            f"train: balance sampler repeats no image: each class is in at least {least:.0%} of them: raise train.rare",
            flush=True,
        )
    return factors


def order(items: int, sampling: Tensor | None, recipe: schema.Train, epoch: int, rank: int = 0) -> list[int]:
    """The items of an epoch in their order, which the seed and the epoch decide; of several processes each has an equal share.

    Args:
        items: How many there are.
        sampling: How often each is drawn, as `draw` takes it; None: each once.
        recipe: `seed` and `devices`.
        epoch: From 1.
        rank: The process, from 0.
    """
    seed_epoch(recipe.seed, epoch)
    drawn = torch.randperm(items) if sampling is None else draw(sampling)
    share: list[int] = drawn[rank :: recipe.devices][: len(drawn) // recipe.devices].tolist()
    return share


def draw(sampling: Tensor) -> Tensor:
    """The items of an epoch in a random order, int64.

    Item i is there floor(s) or ceil(s) times, with s = `sampling[i]` the mean; so is the epoch's length with their sum.

    Args:
        sampling: How often each item is drawn, float64 (items,).
    """
    items = torch.randperm(len(sampling))
    ends = (sampling[items].cumsum(dim=0) + torch.rand((), dtype=torch.float64)).floor().long()
    drawn = items.repeat_interleave(ends.diff(prepend=ends.new_zeros(1)))
    return drawn[torch.randperm(len(drawn))]
