"""Splits: a dataset's own, or assigned by a hash, so that images that are added move no other."""

import hashlib
from collections import Counter
from typing import Final

import pandas as pd

from sightline.errors import SightlineError
from tasks import schema
from tasks.tables import SPLITS

PRECEDENCE: Final = ("test", "val", "train")  # where copies of one image are kept together


def assign(images: pd.DataFrame, objects: pd.DataFrame, config: schema.Transform) -> tuple[pd.Series, dict[str, str]]:
    """The split of each image: `train`, `val`, `test`, or empty where it is not used; and where each split is from.

    Images of one group (copies and near duplicates) stay together. Each group is placed by the hash of (seed, group) alone, so
    that every class has its share of each split in expectation, and images that are added move no other but their own near
    duplicates, whose group may have another name then. A class that a small dataset would leave out of a split gets its group
    with the nearest hash there, if it has a group for each split; added images may end that.

    - `hash`: all images by the hash.
    - `source`: the dataset's own; all three must be there. Images in none are not used.
    - `auto`: the dataset's own where it has `train` and at least one other; a missing one is cut out of `train` by the hash,
      with the share that the configuration gives it. Without such splits, as `hash`.

    Args:
        images: The table.
        objects: The table; an image may have several classes.
        config: The section transform.

    Raises:
        SightlineError: A split that must be there is empty.
    """
    own = keep_together(images)
    present = {split for split in SPLITS if (own == split).any()}
    if config.splits == "source" and present != set(SPLITS):
        missing = ", ".join(split for split in SPLITS if split not in present)
        raise SightlineError(f"transform.splits: source, and the dataset has no {missing}: set transform.splits=hash")
    draw = images["group"].map(lambda group: place(group, config.seed))
    if config.splits == "hash" or (config.splits == "auto" and not ("train" in present and len(present) > 1)):
        present, split = set(), pd.Series("train", index=images.index)
        split[draw < config.test + config.val] = "val"
        split[draw < config.test] = "test"
    else:
        split = own.copy()
        for name, share in (("val", config.val), ("test", config.test)):
            if name not in present:
                split[(own == "train") & (draw < share)] = name
    drawn = [name for name in ("test", "val") if name not in present]
    split = stratify(split, draw, images, objects, drawn)
    for name in SPLITS:
        if not (split == name).any():
            raise SightlineError(
                f"split {name}: got no image of {len(images)}, expected some: add images or name them in a split"
            )
    return split, {name: "source" if name in present else "hash" for name in SPLITS}


def stratify(split: pd.Series, draw: pd.Series, images: pd.DataFrame, objects: pd.DataFrame, drawn: list[str]) -> pd.Series:
    """`split`, with one group moved for each class that a drawn split, or then `train`, lacks.

    Args:
        split: Of each image.
        draw: Of each image, 0-1; the same in a group.
        images: The table.
        objects: The table.
        drawn: The splits other than `train` that were assigned here.
    """
    if not drawn:
        return split
    table = pd.DataFrame({"image_id": images["image_id"], "group": images["group"], "draw": draw, "split": split})
    table = table[table["split"] != ""]
    first = table.drop_duplicates("group")
    homes = dict(zip(first["group"], first["split"], strict=True))
    order = dict(zip(first["group"], first["draw"], strict=True))
    pairs = objects[["image_id", "label"]].merge(table[["image_id", "group"]], on="image_id").drop(columns="image_id")
    pairs = pairs.drop_duplicates()
    groups_of = {label: list(groups) for label, groups in pairs.groupby("label")["group"] if len(groups) >= len(SPLITS)}
    labels_of = {group: list(labels) for group, labels in pairs[pairs["label"].isin(groups_of)].groupby("group")["label"]}
    counts = Counter((label, homes[group]) for label, groups in groups_of.items() for group in groups)
    wanted = [*drawn, "train"]
    for label in sorted(groups_of, key=lambda label: (len(groups_of[label]), label)):  # the rarest first
        for name in wanted:
            if counts[label, name]:
                continue
            ordered = sorted(groups_of[label], key=lambda group: order[group], reverse=name == "train")
            spare = (
                group
                for group in ordered
                if homes[group] in wanted and all(counts[each, homes[group]] > 1 for each in labels_of[group])
            )
            moved = next(spare, None)
            if moved is not None:
                counts.subtract((each, homes[moved]) for each in labels_of[moved])
                homes[moved] = name
                counts.update((each, name) for each in labels_of[moved])
    return split.where(split == "", images["group"].map(homes))


def keep_together(images: pd.DataFrame) -> pd.Series:
    """The dataset's own splits, with each group in the first of test, val, train that any of its images is in."""
    ranks = {name: rank for rank, name in enumerate(PRECEDENCE)}
    rank = images["split"].map(ranks).fillna(len(PRECEDENCE))
    first = rank.groupby(images["group"]).transform("min")
    return first.map({**{rank: name for name, rank in ranks.items()}, len(PRECEDENCE): ""})


def place(group: str, seed: int) -> float:
    """Where a group falls in [0, 1): uniform, and fixed by (seed, group)."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8]) / 2**64
