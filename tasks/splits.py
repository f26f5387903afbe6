"""Splits: a dataset's own, an earlier run's, or assigned by a hash, so that images that are added move no other."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Final, Literal, NamedTuple

import pandas as pd
from pydantic import BaseModel, ValidationError

from sightline.errors import SightlineError
from tasks import schema
from tasks.tables import SPLITS

PRECEDENCE: Final = ("test", "val", "train")  # where copies of one image are kept together

ANY: Final = -1
"""Stands for a class that each image shows: it comes last, so that no split is left without an image."""


class Placement(NamedTuple):
    """Where each image falls before classes are looked at.

    Attributes:
        split: Of each image: `train`, `val`, `test`, or empty where it is not used; the same in a group.
        draw: Of each image, 0-1; the same in a group.
        is_kept: Whether an earlier run placed an image of its group.
        origins: Of each split, whether it is the dataset's own (`source`) or assigned here (`hash`).
    """

    split: pd.Series
    draw: pd.Series
    is_kept: pd.Series
    origins: dict[str, str]


class Persisted(BaseModel):
    """What is read of a `splits.json` that `transform` wrote."""

    splits: dict[Literal["train", "val", "test"], list[str]]


def place(images: pd.DataFrame, config: schema.Transform) -> Placement:
    """Places each group of near duplicates as a whole.

    - `hash`: all by the hash.
    - `source`: the dataset's own splits; all three must be there. Images in none are not used.
    - `auto`: the dataset's own where it has `val` or `test`; the other one, where it is missing, is cut out of `train` by the
      hash, with the share that the configuration gives it. Where `train` is missing, the images in no split are taken for it:
      what the dataset tests on is never trained on. Without `val` and `test`, as `hash`.

    The hash is that of (seed, group), where a group is called after the least of its images' hashes. So each class has its
    share of each split in expectation, and an image that is added moves no other but its own near duplicates: where it leads
    their group of n from now on, 1 time in n + 1, and falls into another split than they did, 34 times in 100 with the
    shares 0.8, 0.1 and 0.1. No rule that knows neither the order nor the former splits does better for one image: of two that
    fall apart, one has to move, and nothing tells which was first.

    `keep` tells: groups with an image in an earlier run's splits.json stay there, whatever the dataset and the hash say. Where
    an added image joins two such groups, both go to the first of test, val, train.

    Args:
        images: The table.
        config: The section transform.

    Raises:
        SightlineError: A split that must be there is empty, or the file of `keep` cannot be used.
    """
    own = keep_together(images)
    present = {split for split in SPLITS if (images["split"] == split).any()}
    if config.splits == "source" and present != set(SPLITS):
        missing = ", ".join(split for split in SPLITS if split not in present)
        raise SightlineError(f"transform.splits: source, and the dataset has no {missing}: set transform.splits=hash")
    draw = images["group"].map(lambda group: draw_of(group, config.seed))
    if config.splits == "hash" or (config.splits == "auto" and present <= {"train"}):
        present, split = set(), pd.Series("train", index=images.index)
        split[draw < config.test + config.val] = "val"
        split[draw < config.test] = "test"
    else:
        rest = "train" if "train" in present else ""
        if not rest and (images["split"] != "").all():
            names = " and ".join(split for split in SPLITS if split in present)
            raise SightlineError(
                f"transform.splits: auto, and all {len(images)} images are in {names}, expected some in train or in no split: "
                "add images to train on, or set transform.splits=hash"
            )
        split = own.mask(own == rest, "train")
        for name, share in (("val", config.val), ("test", config.test)):
            if name not in present:
                split[(own == rest) & (draw < share)] = name
    earlier = pd.Series("", index=images.index)
    if config.keep and config.keep_sha256:
        earlier = images["image_id"].map(read_kept(Path(config.keep), config.keep_sha256)).fillna("")
        if not (earlier != "").any():
            raise SightlineError(f"transform.keep: {config.keep}: got none of this dataset's images: keep its own, or set null")
    kept = keep_together(images.assign(split=earlier))
    origins = {name: "source" if name in present else "hash" for name in SPLITS}
    return Placement(split.where(kept == "", kept), draw, kept != "", origins)


def stratify(placement: Placement, images: pd.DataFrame, labels: pd.DataFrame) -> pd.Series:
    """The split of each image, with one group moved for each class that an assigned split, or `train`, lacks; none stays empty.

    A class with a group for each split gets those with the nearest hashes into the splits that lack it; one with fewer gets
    one into `train`. The rarest class comes first, and no class takes from a rarer one what that needs. Added images may end
    such a move. What an earlier run placed stays, and so do the dataset's own val and test.

    Args:
        placement: Of all images.
        images: The table; images that are not used may be left out.
        labels: `image_id` and `label` of each class that an image shows, repeated or not.

    Raises:
        SightlineError: A split is empty.
    """
    split = placement.split.loc[images.index]
    drawn = [name for name in ("test", "val") if placement.origins[name] == "hash"]
    if drawn:
        split = _stratify(split, placement, images, labels, drawn)
    empty = next((name for name in SPLITS if not (split == name).any()), None)
    if empty is None:
        return split
    groups = images["group"].nunique()
    if groups < min(len(SPLITS), images["hash"].nunique()):
        which = "one group" if groups == 1 else f"{groups} groups"
        raise SightlineError(
            f"split {empty}: got no image, as all {len(images)} are {which} of near duplicates, each kept in one split, "
            "expected some: set transform.keep_together=false, or add images that differ"
        )
    raise SightlineError(f"split {empty}: got no image of {len(images)}, expected some: add images or name them in a split")


def _stratify(
    split: pd.Series, placement: Placement, images: pd.DataFrame, labels: pd.DataFrame, drawn: list[str]
) -> pd.Series:
    table = images[["image_id", "group"]].assign(split=split, draw=placement.draw, is_kept=placement.is_kept)
    table = table[table["split"] != ""]
    first = table.drop_duplicates("group").set_index("group")
    homes, order, is_kept = (first[name].to_dict() for name in ("split", "draw", "is_kept"))
    pairs = labels[["image_id", "label"]].drop_duplicates().merge(table[["image_id", "group"]], on="image_id")
    pairs = pd.concat([pairs[["group", "label"]].drop_duplicates(), pd.DataFrame({"group": list(homes), "label": ANY})])
    groups_of = {label: list(groups) for label, groups in pairs.groupby("label")["group"]}
    labels_of = {group: list(found) for group, found in pairs.groupby("group")["label"]}
    wanted = {label: [*drawn, "train"] if len(groups) >= len(SPLITS) else ["train"] for label, groups in groups_of.items()}
    counts = Counter((label, homes[group]) for label, groups in groups_of.items() for group in groups)
    settled: set[int] = set()
    for label in sorted(groups_of, key=lambda label: (len(groups_of[label]), label)):
        settled.add(label)
        for name in wanted[label]:
            if counts[label, name]:
                continue
            ordered = sorted(groups_of[label], key=lambda group: (order[group], group), reverse=name == "train")
            spare = (
                group
                for group in ordered
                if homes[group] in (*drawn, "train")
                and not is_kept[group]
                and all(
                    counts[each, homes[group]] > 1 or homes[group] not in wanted[each]
                    for each in labels_of[group]
                    if each in settled
                )
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


def read_kept(path: Path, sha256: str) -> dict[str, str]:
    """The split of each image_id that a `splits.json` names.

    Raises:
        SightlineError: The file is not there, is not that of the checksum, or is no such file.
    """
    if not path.is_file():
        raise SightlineError(f"transform.keep: {path}: not there: copy data/dataset/splits.json there, or set null")
    data = path.read_bytes()
    digest = hashlib.sha256(data).hexdigest()
    if digest != sha256:
        raise SightlineError(
            f"transform.keep: {path}: got SHA-256 {digest}, expected {sha256}: "
            "restore the file, or set transform.keep_sha256 to what it is"
        )
    try:
        splits = Persisted.model_validate_json(data).splits
    except ValidationError as error:
        problem = error.errors()[0]["msg"]
        raise SightlineError(f"transform.keep: {path}: {problem}, expected a splits.json that transform wrote") from None
    found: dict[str, str] = {}
    for name, image_ids in splits.items():
        twice = next((image_id for image_id in image_ids if found.setdefault(image_id, name) != name), None)
        if twice is not None:
            raise SightlineError(f"transform.keep: {path}: {twice} in {found[twice]} and {name}: delete one of them")
    return found


def draw_of(group: str, seed: int) -> float:
    """Where a group falls in [0, 1): uniform, and fixed by (seed, group)."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{group}".encode()).digest()[:8]) / 2**64
