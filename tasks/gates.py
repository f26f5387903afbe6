"""The images on which a model is judged after its search: the validation split, or what a final fit keeps out of training."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from sightline.contract import dump_json
from sightline.errors import SightlineError
from tasks.splits import draw_of
from tasks.tables import Dataset, Sample

GATES_FILE: Final = "gates.json"


def write(folder: Path, image_ids: Sequence[str]) -> None:
    """Writes which images judge the checkpoint in `folder`."""
    (folder / GATES_FILE).write_text(dump_json({"images": sorted(image_ids)}), encoding="utf-8")


def samples(dataset: Dataset, folder: Path) -> list[Sample]:
    """The images of the validation split that judge the checkpoint in `folder`, by image_id.

    Raises:
        SightlineError: The checkpoint names none, or some that are not there.
    """
    path = folder / GATES_FILE
    if not path.is_file():
        raise SightlineError(f"{path}: not there: expected a champion written by `evolve`: run `dvc repro evolve`")
    named = _named(folder)
    found = [sample for sample in dataset.samples("val") if sample.image_id in named]
    if len(found) != len(named):
        raise SightlineError(
            f"{path}: {len(named)} images, {len(found)} of them in the split val: of another dataset: run `dvc repro evolve`"
        )
    return found


def judges_of(dataset: Dataset, folder: Path, champion: Path, is_checkpoint: bool) -> list[Sample]:
    """The images of the validation split that judge any model: those that no final fit of it has learnt from, by image_id.

    Args:
        dataset: The canonical dataset; one that the champion does not know judges with all of its images.
        folder: The model's.
        champion: That of the pipeline, which names the images for what was made of it.
        is_checkpoint: Whether the model is a checkpoint: one that names no images itself has seen none of the split.

    Raises:
        SightlineError: Some images that are named are not there.
    """
    every = dataset.samples("val")
    if not (folder / GATES_FILE).is_file():
        folder = folder if is_checkpoint else champion
    if not (folder / GATES_FILE).is_file() or not _named(folder) & {sample.image_id for sample in every}:
        return every
    return samples(dataset, folder)


def _named(folder: Path) -> set[str]:
    return set(json.loads((folder / GATES_FILE).read_text(encoding="utf-8"))["images"])


def hold_out(dataset: Dataset, share: float, seed: int) -> tuple[Dataset, list[str]]:
    """Moves all of the validation split to `train` but a part that is drawn by a hash; near duplicates stay together.

    Args:
        dataset: The canonical dataset.
        share: Of the validation images that stay, 0-1, in expectation; at least one group stays, and one goes.
        seed: Another seed draws others.

    Returns:
        The dataset with other splits, and the images that stayed.

    Raises:
        SightlineError: The split has one group of images alone.
    """
    images = dataset.tables.images
    is_val = images["split"] == "val"
    draws = images.loc[is_val, "group"].map(lambda group: draw_of(f"gate:{group}", seed))
    if draws.nunique() < 2:
        raise SightlineError(
            f"strategy.final_fit: {is_val.sum()} images in the split val, expected two that differ: add some, or leave it out"
        )
    stays = (draws < share) & (draws < draws.max()) | (draws == draws.min())
    held = set(images.loc[stays.index[stays], "image_id"])
    split = images["split"].mask(is_val & ~images["image_id"].isin(held), "train")
    return replace(dataset, tables=replace(dataset.tables, images=images.assign(split=split))), sorted(held)
