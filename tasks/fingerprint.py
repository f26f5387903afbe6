"""fingerprint: what the dataset is, in numbers and pictures, and its content hash."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pandas as pd

from sightline.contract import dump_json
from tasks import dataset_statistics as statistics
from tasks import fingerprint_plots as plots
from tasks import stage
from tasks.contact_sheet import contact_sheet
from tasks.content_hash import content_hash
from tasks.draw import draw
from tasks.fingerprint_page import write_page
from tasks.provenance import METADATA_FILE, read_provenance
from tasks.schema import Section
from tasks.tables import SPLITS, Dataset

PIXEL_IMAGES: Final = 256
"""Images of the training split, at most, whose pixels are measured."""


@dataclass(frozen=True)
class Paths:
    raw: Path
    dataset: Path
    report: stage.Output


class Config(Section):
    """The fingerprint has no settings."""


def fingerprint(paths: Paths, config: Config) -> dict[str, float]:
    """Writes `dataset_metadata.json` and the plots."""
    paths.report.mkdir(parents=True)
    dataset = Dataset.read(paths.raw, paths.dataset)
    training = dataset.samples("train")
    metadata = describe(dataset)
    metadata |= statistics.pixel_statistics(draw(training, PIXEL_IMAGES))
    metadata["provenance"] = read_provenance(paths.dataset) | statistics.storage(dataset.tables)
    (paths.report / METADATA_FILE).write_text(dump_json(metadata), encoding="utf-8")
    counts = pd.DataFrame(metadata["classes_by_split"])
    unit = "images" if metadata["task"] == "semantic" else "objects"
    plots.class_distribution(counts, paths.report / "class_distribution.png", unit)
    if metadata["task"] == "detect":
        plots.box_sizes(statistics.box_sizes(dataset.tables), dataset.classes, paths.report / "box_sizes.png")
    contact_sheet(training, dataset.tables.objects, dataset.classes, paths.report / "samples.png")
    write_page(metadata, paths.report)
    return {"images": metadata["images"], "objects": metadata["objects"], "classes": len(dataset.classes)}


def describe(dataset: Dataset) -> dict[str, Any]:
    """What the tables alone tell: content hash, task, and distributions.

    Raises:
        SightlineError: The dataset has no object and no masks, or boxes and whole-image labels.
    """
    tables, task = dataset.tables, statistics.task_of(dataset)
    areas = statistics.class_areas(dataset) if task == "semantic" else None
    counts = statistics.class_counts(dataset, areas)
    metadata: dict[str, Any] = {
        "content_hash": content_hash(tables, dataset.root),
        "task": task,
        "images": len(tables.images),
        "objects": len(tables.objects),
        "splits": {split: int((tables.images["split"] == split).sum()) for split in SPLITS},
        "classes": {name: int(count) for name, count in counts.sum(axis=1).items()},
        "classes_by_split": {split: {name: int(count) for name, count in counts[split].items()} for split in SPLITS},
        "resolutions": statistics.resolutions(tables),
    }
    if task == "detect":
        sizes = statistics.box_sizes(tables)
        metadata["objects_per_image"] = statistics.objects_per_image(tables)
        metadata["boxes"] = {name: statistics.quantiles(sizes[name]) for name in ("width", "height", "area_share", "aspect")}
        metadata["outlined"] = int(tables.objects[["polygons", "rle"]].notna().any(axis=1).sum())
        metadata["difficult"] = int(tables.objects["difficult"].sum())
        metadata["crowd"] = int(tables.objects["iscrowd"].sum())
    if areas is not None:
        metadata["pixel_shares"] = statistics.pixel_shares(areas, dataset.classes)
    return metadata


if __name__ == "__main__":
    stage.main(fingerprint)
