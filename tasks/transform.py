"""transform: the canonical dataset, the same for every model: boxes inside their images, upright pixels, splits."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from sightline.contract import dump_json
from tasks import pixels, schema, splits, stage
from tasks.provenance import PROVENANCE_FILE
from tasks.rules import TINY_PX
from tasks.tables import BOX, SPLITS, Tables, learnt
from tasks.transform_masks import convert_masks


@dataclass(frozen=True)
class Paths:
    raw: Path
    tables: Path
    out: stage.Output


class Config(schema.Section):
    transform: schema.Transform


def transform(paths: Paths, config: Config) -> stage.Metrics:
    """Writes the tables, `splits.json`, `fixes.json` (what differs from the source), and the pixels that had to change.

    Returns:
        The number of images in each split, and of classes that no image of `train` shows.
    """
    source = Tables.read(paths.tables)
    is_together = config.transform.keep_together
    fixes: list[dict[str, str]] = []
    placement = splits.place(source.images if is_together else _apart(source.images), config.transform)
    images = source.images[placement.split != ""]
    images, classes, shown = convert_masks(images, source.classes, paths.raw, paths.out, config.transform.max_side, fixes)
    labels = shown if source.objects.empty else source.objects[["image_id", "label"]]
    images = images.assign(split=splits.stratify(placement, images if is_together else _apart(images), labels))
    before = source.images.loc[images.index]
    for row in before[(before["split"] != "") & (before["split"] != images["split"])].itertuples():
        fixes.append(_fix(row, "split", f"{row.split} to {images.loc[row.Index, 'split']}"))
    absent = not_in_train(images, labels, classes)
    fixes += ({"fix": "not in train", "image_id": "", "what": f"class {name}: no image of train shows it"} for name in absent)
    objects = clip(source.objects[source.objects["image_id"].isin(images["image_id"])], images, fixes)
    images, objects = pixels.rewrite(images, objects, paths.raw, paths.out, config.transform.max_side, fixes)
    tables = Tables(images, objects, classes)
    tables.write(paths.out)
    by_split = {name: sorted(images.loc[images["split"] == name, "image_id"]) for name in SPLITS}
    kept = config.transform.keep_sha256 if config.transform.keep else None
    persisted = {"origins": placement.origins, "seed": config.transform.seed, "kept": kept, "splits": by_split}
    (paths.out / "splits.json").write_text(dump_json(persisted), encoding="utf-8")
    fixes.sort(key=lambda fix: (fix["fix"], fix["image_id"], fix["what"]))
    (paths.out / "fixes.json").write_text(dump_json(fixes), encoding="utf-8")
    shutil.copyfile(paths.tables / PROVENANCE_FILE, paths.out / PROVENANCE_FILE)
    counts = {f"images_{name}": len(names) for name, names in by_split.items()}
    return {**counts, "classes_not_in_train": len(absent)}


def _apart(images: pd.DataFrame) -> pd.DataFrame:
    """The table with copies of a file alone in one group."""
    return images.assign(group=images["hash"])


def not_in_train(images: pd.DataFrame, labels: pd.DataFrame, classes: pd.DataFrame) -> list[str]:
    """The classes that images show, and none of `train` does: they are not learnt."""
    found = labels["label"].isin(learnt(classes)["id"])
    trained = labels["image_id"].isin(images.loc[images["split"] == "train", "image_id"])
    used = labels["image_id"].isin(images["image_id"])
    lacking = set(labels.loc[found & used, "label"]) - set(labels.loc[trained, "label"])
    return sorted(classes.loc[classes["id"].isin(lacking), "name"])


def clip(objects: pd.DataFrame, images: pd.DataFrame, fixes: list[dict[str, str]]) -> pd.DataFrame:
    """Clips boxes and polygons to their images; drops repeated objects, and those that are too small then."""
    shapes = objects["polygons"].map(_text).str.cat(objects["rle"].map(_text), sep="|")
    keys = objects[["image_id", "label", *BOX, "iscrowd"]].assign(shape=shapes)
    repeated = keys.duplicated() & objects["xmin"].notna()
    size = objects[["image_id"]].merge(images[["image_id", "width", "height"]], on="image_id", how="left")
    limits = size[["width", "height", "width", "height"]].to_numpy(np.float64)
    clipped = objects.copy()
    clipped[BOX] = np.clip(objects[BOX].to_numpy(np.float64), 0.0, limits)
    small = np.minimum(clipped["xmax"] - clipped["xmin"], clipped["ymax"] - clipped["ymin"]) < TINY_PX
    changed = (clipped[BOX] != objects[BOX]).any(axis=1) & objects["xmin"].notna()
    clipped["polygons"] = [
        None if polygons is None else [np.clip(each, 0.0, np.resize(limit[:2], len(each))) for each in polygons]
        for polygons, limit in zip(objects["polygons"], limits, strict=True)
    ]
    for mask, name in ((repeated, "repeated"), (small & ~repeated, "too small"), (changed & ~small & ~repeated, "clipped")):
        for row in objects[mask].itertuples():
            fixes.append(_fix(row, name, f"{row.file}:{row.line}: {row.xmin:g}, {row.ymin:g}, {row.xmax:g}, {row.ymax:g}"))
    return clipped[~(repeated | small)]


def _text(shape: object) -> str:
    """A shape, to be compared; empty where there is none."""
    return "" if shape is None or isinstance(shape, float) else str(shape)


def _fix(row: "object", name: str, what: str) -> dict[str, str]:
    return {"fix": name, "image_id": str(getattr(row, "image_id")), "what": what}  # noqa: B009  a row of any table


if __name__ == "__main__":
    stage.main(transform)
