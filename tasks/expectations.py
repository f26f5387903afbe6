"""The rules that tables can tell, as Great Expectations suites; each expectation carries the code of its rule."""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.copies import label_conflicts
from tasks.duplicate_rules import measure_images, select_alike, suites_of
from tasks.duplicates import Duplicates
from tasks.findings import Finding, finding
from tasks.rules import EDGE_PX, EDGE_SHARE, FEW, FEW_IMAGES, IMBALANCE, RULES, TINY_PX
from tasks.suites import Bound, Suite, run, tell_got, told
from tasks.tables import BOX, SPLITS, Chunked, Tables, learnt

OBJECT_RULES: Final = (
    Bound("box.inverted", "side", least=0.0, is_open=True),
    Bound("box.tiny", "upright_side", least=TINY_PX),
    Bound("box.out_of_bounds", "beyond_limit", most=0.0),
    Bound("box.edge", "beyond", most=0.0),
    Bound("object.duplicate", "repeats", most=0),
)


def check_tables(tables: Chunked, duplicates: Duplicates, root: Path, classes: Sequence[str] = ()) -> list[Finding]:
    """Runs every suite; a row that does not hold to an expectation is a finding. Compares the labels of copies.

    Images and objects are looked at a chunk at a time; of all images there are only counts, and of those that look like
    another one their rows. Great Expectations, whose import takes seconds, is asked about the rules alone that a first look
    finds broken, and not about notes.

    Args:
        tables: What a format read, `images.group` filled.
        duplicates: Of the images.
        root: What their masks are relative to.
        classes: The first of their classes, where objects must be of one of these; empty where they may be of any.
    """
    found: list[Finding] = []
    groups: list[NDArray[np.uint64]] = []
    counts = Counts()
    for chunk in tables.chunks():
        found += run("objects", Suite(measure_objects(chunk), OBJECT_RULES, _tell_object))
        if classes:
            found += run("labels", _labels(chunk, classes))
        found += run("images", Suite(measure_content(chunk), [Bound("object.none", "objects", least=1)], tell_got))
        groups.append(pd.util.hash_array(chunk.images["group"].to_numpy(object)))
        counts.add(chunk)
    alike = select_alike(tables, np.concatenate(groups))
    images = measure_images(alike, duplicates)
    suites = {
        **suites_of(images, counts.images),
        "classes": Suite(
            measure_classes(tables.classes, counts),
            [
                Bound("class.few", "objects", least=FEW),
                Bound("class.imbalance", "ratio", most=IMBALANCE),
                Bound("class.similar", "twins", most=0),
            ],
            _tell_class,
        ),
        "classes of splits": Suite(
            measure_classes_of_splits(tables.classes, counts),
            [Bound("class.not_in_train", "trained", least=1), Bound("class.not_in_split", "measured", least=1)],
            tell_got,
        ),
        "splits": Suite(
            measure_splits(counts),
            [Bound("split.empty", "images", least=1), Bound("split.few", "some", least=FEW_IMAGES)],
            tell_got,
        ),
    }
    found += (item for name, suite in suites.items() for item in run(name, suite))
    return found + label_conflicts(images, measure_objects(alike), tables.classes, root)


def check_labelled(tables: Chunked) -> list[Finding]:
    """Whether there are images, classes and labels: boxes, classes of whole images, or masks."""
    images, objects, classes = tables.counts
    if images and classes and (objects or any(chunk.images["mask"].notna().any() for chunk in tables.chunks())):
        return []
    return [finding("dataset.empty", f"{images} images of {classes} classes with {objects} objects")]


class Counts:
    """What is counted of all chunks.

    Attributes:
        images: How many there are of each split; empty for none.
        objects: How many there are of each label in each split.
    """

    def __init__(self) -> None:
        self.images: Counter[str] = Counter()
        self.objects: Counter[tuple[int, str]] = Counter()

    def add(self, tables: Tables) -> None:
        """Adds the counts of a chunk."""
        self.images.update(tables.images["split"].value_counts().to_dict())
        split_of = tables.images.set_index("image_id")["split"]
        labels = tables.objects["label"]
        self.objects.update(labels.groupby([labels, tables.objects["image_id"].map(split_of)]).size().to_dict())

    def by_label(self) -> pd.DataFrame:
        """Objects, int64, of each label (row) in each split (column)."""
        if not self.objects:
            return pd.DataFrame(index=pd.Index([], dtype="int32"))
        return pd.Series(self.objects).unstack(fill_value=0).sort_index()


def box_errors(tables: Tables) -> list[Finding]:
    """Boxes that cannot be trusted, by the first look alone."""
    suite = Suite(measure_objects(tables), OBJECT_RULES, _tell_object)
    errors = [check for check in OBJECT_RULES if RULES[check.code].severity == "error"]
    return [item for check in errors for item in told(check.code, suite.frame[check.breaks(suite.frame)], suite)]


def _labels(tables: Tables, classes: Sequence[str]) -> Suite:
    """The classes of objects, beside those that they may be of."""
    frame = tables.objects[["image_id", "label", "file", "line"]]
    names = tables.classes.set_index("id")["name"]
    bound = Bound("class.unknown", "label", most=len(classes) - 1)
    return Suite(frame, [bound], lambda _, rows: "class " + rows["label"].map(names), f"one of {', '.join(classes)}")


def measure_objects(tables: Tables) -> pd.DataFrame:
    """The boxes of `objects` with what their rules look at."""
    sizes = tables.images.set_index("image_id")[["width", "height"]]
    frame = tables.objects.loc[tables.objects["xmin"].notna(), ["image_id", "label", *BOX, "file", "line"]]
    frame = frame.join(sizes, on="image_id")
    frame["side"] = np.minimum(frame["xmax"] - frame["xmin"], frame["ymax"] - frame["ymin"])
    is_upright = frame["side"] > 0
    frame["upright_side"] = frame["side"].where(is_upright)
    beyond_x = np.maximum(-frame["xmin"], frame["xmax"] - frame["width"])
    beyond_y = np.maximum(-frame["ymin"], frame["ymax"] - frame["height"])
    over_x = beyond_x - np.maximum(EDGE_PX, EDGE_SHARE * frame["width"])
    over_y = beyond_y - np.maximum(EDGE_PX, EDGE_SHARE * frame["height"])
    frame["beyond_limit"] = np.maximum(over_x, over_y).where(is_upright)
    frame["beyond"] = np.maximum(beyond_x, beyond_y).where(is_upright & (frame["beyond_limit"] <= 0))
    frame["repeats"] = frame.duplicated(["image_id", "label", *BOX]).astype("int64")
    return frame


def measure_content(tables: Tables) -> pd.DataFrame:
    """The images with the number of their objects; null where a mask tells what they show."""
    frame = tables.images[["image_id", "path"]].rename(columns={"path": "file"})
    counts = frame["image_id"].map(tables.objects["image_id"].value_counts()).fillna(0)
    frame["objects"] = counts.where(tables.images["mask"].isna())
    return frame.assign(line=0, got="no object")


def measure_classes(classes: pd.DataFrame, counts: Counts) -> pd.DataFrame:
    """The table `classes` with the number of objects of each; null where classes are told by masks alone, or not learnt."""
    frame = classes.reset_index(drop=True)
    objects = frame["id"].map(counts.by_label().sum(axis=1)).fillna(0).astype("float64")
    frame["objects"] = objects.where(~frame["ignore"].astype(bool) & bool(counts.objects))
    frame["ratio"] = frame["objects"].max() / frame["objects"].where(frame["objects"] >= FEW)
    frame["ratio"] = frame["ratio"].where(frame["ratio"] == frame["ratio"].max())
    frame["most"] = frame.loc[frame["objects"].idxmax(), "name"] if frame["objects"].notna().any() else ""
    plain = frame["name"].map(lambda name: " ".join(unicodedata.normalize("NFKC", name).casefold().replace("_", " ").split()))
    frame["twins"] = plain.duplicated().astype("int64")
    frame["twin"] = frame.groupby(plain)["name"].transform("first")
    frame["file"], frame["line"], frame["image_id"] = "", 0, ""
    return frame


def measure_classes_of_splits(classes: pd.DataFrame, counts: Counts) -> pd.DataFrame:
    """Each class in each of the dataset's own splits, with the number of its objects there."""
    splits = [split for split in SPLITS if counts.images[split]]
    if "train" not in splits or not counts.objects:
        return pd.DataFrame()
    objects = counts.by_label().reindex(columns=splits, fill_value=0).rename_axis(index="label")
    names = learnt(classes).set_index("id")["name"]
    objects = objects[objects.index.isin(names.index)]
    frame = objects.melt(ignore_index=False, var_name="split", value_name="objects").reset_index()
    total = frame.groupby("label")["objects"].transform("sum")
    frame["trained"] = frame["objects"].where((frame["split"] == "train") & (total > 0))
    frame["measured"] = frame["objects"].where((frame["split"] != "train") & (total >= FEW))
    frame["got"] = "class " + frame["label"].map(names) + " with no object in " + frame["split"]
    return frame.assign(file="", line=0, image_id="")


def measure_splits(counts: Counts) -> pd.DataFrame:
    """The dataset's own splits, if it has any, with the number of images of each."""
    if not any(counts.images[split] for split in SPLITS):
        return pd.DataFrame()
    frame = pd.DataFrame({"split": SPLITS, "images": [counts.images[split] for split in SPLITS]})
    frame["some"] = frame["images"].where(frame["images"] > 0)
    frame["got"] = frame["split"] + " with " + frame["images"].astype(str) + " images"
    return frame.assign(file="", line=0, image_id="")


def _tell_object(code: str, rows: pd.DataFrame) -> pd.Series:
    box = rows[BOX].map(lambda value: f"{value:g}")
    got = "box " + box["xmin"] + ", " + box["ymin"] + ", " + box["xmax"] + ", " + box["ymax"]
    return got + " (from 0, half-open) in an image of " + rows["width"].astype(str) + "x" + rows["height"].astype(str)


def _tell_class(code: str, rows: pd.DataFrame) -> pd.Series:
    count = rows["objects"].fillna(0).astype("int64").astype(str)
    ratio = rows["ratio"].map("{:.1f}".format)
    told = {
        "class.few": "class " + rows["name"] + " with " + count,
        "class.imbalance": ratio + " " + rows["most"] + " for 1 " + rows["name"] + " (" + count + ")",
        "class.similar": "classes " + rows["twin"] + " and " + rows["name"],
    }
    return told[code]
