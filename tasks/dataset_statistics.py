"""What a dataset is like: its task, classes, sizes and pixels."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from PIL import Image

from sightline.errors import SightlineError
from sightline.preprocess import decode
from tasks.parallel import parallel
from tasks.progress import track
from tasks.tables import BOX, SPLITS, Dataset, Sample, Tables

QUANTILES: Final = {"min": 0.0, "p5": 0.05, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p95": 0.95, "max": 1.0}
DIGITS: Final = 6
"""Significant digits of a statistic."""


def task_of(dataset: Dataset) -> Literal["classify", "multilabel", "detect", "semantic"]:
    """What the labels are for.

    `detect` where objects have boxes, `classify` where each image has one class, `multilabel` where it may have another number
    of them, `semantic` where every image has a mask of classes and there is no object.

    Raises:
        SightlineError: There is no object and not a mask for every image, or there are objects of both kinds.
    """
    boxed = int(dataset.tables.objects["xmin"].notna().sum())
    whole = len(dataset.tables.objects) - boxed
    if dataset.tables.objects.empty and dataset.tables.images["mask"].notna().all():
        return "semantic"
    if not boxed and not whole:
        raise SightlineError(f"{dataset.root}: no object, expected boxes or whole-image labels: label the images first")
    if boxed and whole:
        raise SightlineError(
            f"{dataset.root}: {boxed} objects with a box and {whole} whole-image labels, expected one kind: split the dataset"
        )
    if boxed:
        return "detect"
    counts = dataset.tables.objects["image_id"].value_counts()
    return "classify" if len(counts) == len(dataset.tables.images) and (counts == 1).all() else "multilabel"


def class_areas(dataset: Dataset) -> pd.DataFrame:
    """One row for each class in each mask: `image_id`, `label`, and `pixels`, their number."""
    images = dataset.tables.images.sort_values("image_id")
    areas = list(parallel(mask_areas, [dataset.root / path for path in images["mask"]], "fingerprint", "masks"))
    pixels = np.array(areas, np.int64).reshape(-1, 256)[:, : len(dataset.classes)]
    rows, labels = np.nonzero(pixels)
    return pd.DataFrame({"image_id": images["image_id"].to_numpy()[rows], "label": labels, "pixels": pixels[rows, labels]})


def mask_areas(path: Path) -> list[int]:
    """The number of pixels of each value, 0-255, of a mask of the dataset."""
    with Image.open(path, formats=("PNG",)) as mask:
        return mask.histogram()


def pixel_shares(areas: pd.DataFrame, classes: Sequence[str]) -> dict[str, float]:
    """The share of each class (0-1) in the pixels of all masks that are not ignored."""
    pixels = areas.groupby("label")["pixels"].sum().reindex(range(len(classes)), fill_value=0)
    return {name: rounded(count / max(pixels.sum(), 1)) for name, count in zip(classes, pixels, strict=True)}


def class_counts(dataset: Dataset, areas: pd.DataFrame | None = None) -> pd.DataFrame:
    """Objects by class and split: one row a class, in the order of their labels, one column a split.

    Args:
        dataset: The dataset.
        areas: Of `class_areas`: counts the images that show a class instead.
    """
    objects = (dataset.tables.objects if areas is None else areas).merge(
        dataset.tables.images[["image_id", "split"]], on="image_id"
    )
    counts = pd.crosstab(objects["label"], objects["split"])
    counts = counts.reindex(index=range(len(dataset.classes)), columns=list(SPLITS), fill_value=0)
    counts.index = pd.Index(dataset.classes, name="class")
    return counts


def box_sizes(tables: Tables) -> pd.DataFrame:
    """One row a box: `label`, `width` and `height` in pixels, `area_share` of its image (0-1), `aspect` (width / height)."""
    boxes = tables.objects.dropna(subset=BOX).merge(
        tables.images[["image_id", "width", "height"]].rename(columns={"width": "columns", "height": "rows"}), on="image_id"
    )
    width, height = boxes["xmax"] - boxes["xmin"], boxes["ymax"] - boxes["ymin"]
    share = width * height / (boxes["columns"] * boxes["rows"])
    sizes = {"label": boxes["label"], "width": width, "height": height, "area_share": share, "aspect": width / height}
    return pd.DataFrame(sizes).sort_values(["label", "width", "height", "area_share"], ignore_index=True)


def objects_per_image(tables: Tables) -> dict[str, float]:
    """Mean and quantiles of the number of objects in an image; images without any count as 0."""
    counts = tables.objects["image_id"].value_counts().reindex(tables.images["image_id"], fill_value=0)
    return {"mean": rounded(counts.mean()), **quantiles(counts)}


def resolutions(tables: Tables) -> dict[str, int]:
    """Images by `width x height` in pixels, the most frequent first."""
    counts = (tables.images["width"].astype(str) + "x" + tables.images["height"].astype(str)).value_counts()
    return {str(name): int(count) for name, count in sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))}


def pixel_statistics(samples: Sequence[Sample]) -> dict[str, list[float]]:
    """Mean and standard deviation of all pixels, RGB, on a scale of 0-1."""
    counts = np.zeros((3, 256), np.int64)
    for sample in track(samples, "fingerprint", len(samples), "images"):
        image = Image.fromarray(decode(sample.path.read_bytes()))
        counts += np.array(image.histogram(), np.int64).reshape(3, 256)
    values = np.arange(256) / 255
    mean = counts @ values / counts.sum(axis=1)
    variance = counts @ values**2 / counts.sum(axis=1) - mean**2
    std = np.sqrt(np.maximum(variance, 0))
    return {"pixel_mean": [rounded(value) for value in mean], "pixel_std": [rounded(value) for value in std]}


def storage(tables: Tables) -> dict[str, Any]:
    """In which store the pixels are, which kinds of file the dataset was read from, and the columns of its tables."""
    sources = tables.objects["file"].drop_duplicates()
    return {
        "stores": _tally(tables.images["store"]),
        "image_files": _tally(tables.images["path"].map(_suffix)),
        "annotation_files": _tally(sources.map(_suffix)),
        "tables": {name: list(getattr(tables, name).columns) for name in ("images", "objects", "classes")},
    }


def quantiles(values: ArrayLike) -> dict[str, float]:
    """Quantiles of `values`, by the names of `QUANTILES`."""
    found = np.quantile(np.asarray(values, np.float64), list(QUANTILES.values()))
    return {name: rounded(value) for name, value in zip(QUANTILES, found, strict=True)}


def rounded(value: float) -> float:
    """`value` to `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


def _suffix(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _tally(values: "pd.Series[str]") -> dict[str, int]:
    return {str(name): int(count) for name, count in sorted(values.value_counts().items())}
