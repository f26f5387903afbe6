"""Splits: a dataset's own, or assigned by a hash, so that images that are added move no other."""

import hashlib
from typing import Final

import pandas as pd

from sightline.errors import SightlineError
from tasks import schema
from tasks.tables import SPLITS

PRECEDENCE: Final = ("test", "val", "train")  # where copies of one image are kept together


def assign(images: pd.DataFrame, config: schema.Transform) -> pd.Series:
    """The split of each image: `train`, `val`, `test`, or empty where it is not used.

    The group that a hash places is the content of a file, so that copies stay together.

    - `hash`: by the hash of (seed, content) alone.
    - `source`: the dataset's own; all three must be there. Images in none are not used.
    - `auto`: the dataset's own where it has `train` and at least one other; a missing one is cut out of `train` by the hash,
      with the share that the configuration gives it. Without such splits, as `hash`.

    Args:
        images: The table.
        config: The section transform.

    Raises:
        SightlineError: A split that must be there is empty.
    """
    if config.val + config.test >= 1:
        raise SightlineError(f"transform.val + transform.test: {config.val} + {config.test}, expected less than 1: lower one")
    own = keep_together(images)
    present = {split for split in SPLITS if (own == split).any()}
    draw = images["hash"].map(lambda digest: place(digest, config.seed))
    if config.splits == "source" and present != set(SPLITS):
        missing = ", ".join(split for split in SPLITS if split not in present)
        raise SightlineError(f"transform.splits: source, and the dataset has no {missing}: set transform.splits=hash")
    if config.splits == "hash" or (config.splits == "auto" and not ("train" in present and len(present) > 1)):
        split = pd.Series("train", index=images.index)
        split[draw < config.test + config.val] = "val"
        split[draw < config.test] = "test"
    else:
        split = own
        for name, share in (("val", config.val), ("test", config.test)):
            if name not in present:
                split[(own == "train") & (draw < share)] = name
    for name in SPLITS:
        if not (split == name).any():
            raise SightlineError(
                f"split {name}: got no image of {len(images)}, expected some: add images or name them in a split"
            )
    return split


def keep_together(images: pd.DataFrame) -> pd.Series:
    """The dataset's own splits, with copies of one image in the first of test, val, train that any of them is in."""
    ranks = {name: rank for rank, name in enumerate(PRECEDENCE)}
    rank = images["split"].map(ranks).fillna(len(PRECEDENCE))
    first = rank.groupby(images["hash"]).transform("min")
    return first.map({**{rank: name for name, rank in ranks.items()}, len(PRECEDENCE): ""})


def place(digest: str, seed: int) -> float:
    """Where a content falls in [0, 1): uniform, and fixed by (seed, content)."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{digest}".encode()).digest()[:8]) / 2**64
