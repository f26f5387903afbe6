"""The rules that tables can tell, as Great Expectations suites; each expectation carries the code of its rule."""

import logging
import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.copies import label_conflicts
from tasks.duplicates import Duplicates
from tasks.findings import Finding, finding
from tasks.rules import EDGE_PX, EDGE_SHARE, FEW, FEW_IMAGES, IMBALANCE, RULES, TINY_PX
from tasks.splits import keep_together
from tasks.tables import BOX, SPLITS, Chunked, Tables, select

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

NAMED: Final = 3
"""Members of a group of near duplicates that a finding names."""


class Bound(NamedTuple):
    """A rule on a column: between `least` and `most`, where it is not null.

    Attributes:
        code: The rule.
        column: What it looks at.
        least: The least value that holds; None: any.
        most: The greatest; None: any.
        is_open: Whether `least` itself does not hold.
    """

    code: str
    column: str
    least: float | None = None
    most: float | None = None
    is_open: bool = False

    def breaks(self, frame: pd.DataFrame) -> pd.Series:
        """Which rows do not hold, bool, by a look that takes no time."""
        values = frame[self.column]
        broken = pd.Series(False, index=frame.index)
        if self.least is not None:
            broken |= (values <= self.least) if self.is_open else (values < self.least)
        if self.most is not None:
            broken |= values > self.most
        return broken

    def expectation(self) -> "Expectation":
        """The rule for Great Expectations."""
        return _library().expectations.ExpectColumnValuesToBeBetween(
            column=self.column, min_value=self.least, max_value=self.most, strict_min=self.is_open, meta={"code": self.code}
        )


OBJECT_RULES: Final = (
    Bound("box.inverted", "side", least=0.0, is_open=True),
    Bound("box.tiny", "upright_side", least=TINY_PX),
    Bound("box.out_of_bounds", "beyond_limit", most=0.0),
    Bound("box.edge", "beyond", most=0.0),
    Bound("object.duplicate", "repeats", most=0),
)
COPY_RULES: Final = (
    Bound("image.duplicate", "repeats", most=0),
    Bound("image.copy", "copies", most=0),
    Bound("split.leak", "leaks", most=0),
    Bound("split.copy", "copy_leaks", most=0),
    Bound("class.conflict", "labels", most=1),
)


class Suite(NamedTuple):
    """A table with what its rules look at, null where a rule does not apply, and file, line and image_id.

    Attributes:
        frame: The table.
        checks: The rules.
        tell: What was got, of the rows that break the rule of a code.
    """

    frame: pd.DataFrame
    checks: Sequence[Bound]
    tell: Callable[[str, pd.DataFrame], pd.Series]


def check_tables(tables: Chunked, duplicates: Duplicates, root: Path) -> list[Finding]:
    """Runs every suite; a row that does not hold to an expectation is a finding. Compares the labels of copies.

    Images and objects are looked at a chunk at a time; of all images there are only counts, and of those that look like
    another one their rows. Great Expectations, whose import takes seconds, is asked about the rules alone that a first look
    finds broken, and not about notes.

    Args:
        tables: What a format read, `images.group` filled.
        duplicates: Of the images.
        root: What their masks are relative to.
    """
    found: list[Finding] = []
    groups: list[NDArray[np.uint64]] = []
    counts = Counts()
    for chunk in tables.chunks():
        found += _run("objects", Suite(measure_objects(chunk), OBJECT_RULES, _tell_object))
        found += _run("images", Suite(measure_content(chunk), [Bound("object.none", "objects", least=1)], _got))
        groups.append(pd.util.hash_array(chunk.images["group"].to_numpy(object)))
        counts.add(chunk)
    alike = _alike(tables, duplicates, np.concatenate(groups))
    images = measure_images(alike, duplicates)
    suites = {
        "copies": Suite(images, COPY_RULES, _tell_image),
        "groups": Suite(
            measure_groups(images), [Bound("image.near", "within", most=0), Bound("split.near", "across", most=0)], _got
        ),
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
            _got,
        ),
        "splits": Suite(
            measure_splits(counts),
            [Bound("split.empty", "images", least=1), Bound("split.few", "some", least=FEW_IMAGES)],
            _got,
        ),
    }
    found += (item for name, suite in suites.items() for item in _run(name, suite))
    return found + label_conflicts(images, measure_objects(alike), tables.classes, root)


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


def _alike(tables: Chunked, duplicates: Duplicates, groups: NDArray[np.uint64]) -> Tables:
    """The images that may be another's duplicates: of a group of several, by the hashes of the groups uint64 (N,)."""
    groups.sort()
    shared = groups[1:][groups[1:] == groups[:-1]]
    if not len(shared) and not duplicates.same:
        first = next(tables.chunks())
        return Tables(first.images.iloc[:0], first.objects.iloc[:0], tables.classes)

    def is_alike(images: pd.DataFrame) -> pd.Series:
        hashes = pd.util.hash_array(images["group"].to_numpy(object))
        return pd.Series(np.isin(hashes, shared), images.index) | images["hash"].isin(list(duplicates.same))

    return select(tables, is_alike)


def box_errors(tables: Tables) -> list[Finding]:
    """Boxes that cannot be trusted, by the first look alone."""
    frame = measure_objects(tables)
    errors = [check for check in OBJECT_RULES if RULES[check.code].severity == "error"]
    return [item for check in errors for item in _told(check.code, frame[check.breaks(frame)], _tell_object)]


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


def measure_images(tables: Tables, duplicates: Duplicates) -> pd.DataFrame:
    """The table `images` with what rules of copies look at; `same` is shared by files of the same picture, all hashes are
    numbers.
    """
    frame = tables.images.sort_values("image_id").reset_index(drop=True)
    frame["same"] = frame["hash"].map(lambda digest: duplicates.same.get(digest, digest)) if duplicates.same else frame["hash"]
    for column in ("hash", "same", "group"):  # as text they are most of the table
        frame[column] = pd.factorize(frame[column])[0]
    for column in ("hash", "same"):
        frame[f"{column} home"] = keep_together(frame.assign(group=frame[column]))
        frame[f"{column} first"] = frame.groupby([column, "split"])["path"].transform("first")
    named = frame["split"] != ""
    is_leak, is_copy_leak = (named & (frame["split"] != frame[f"{column} home"]) for column in ("hash", "same"))
    is_repeat, is_copy = (frame.duplicated([column, "split"]) for column in ("hash", "same"))
    frame["leaks"] = is_leak.astype("int64")
    frame["copy_leaks"] = (is_copy_leak & ~is_leak).astype("int64")
    frame["repeats"] = (is_repeat & ~is_leak).astype("int64")
    frame["copies"] = (is_copy & ~is_repeat & ~is_leak & ~is_copy_leak).astype("int64")
    alike = frame.loc[frame.duplicated("same", keep=False), ["image_id", "same"]]
    whole = tables.objects[tables.objects["xmin"].isna()].merge(alike, on="image_id").sort_values("label")
    named = whole.groupby(["same", "image_id"])["label"].agg(lambda labels: " ".join(map(str, labels))).reset_index()
    frame["labels"] = frame["same"].map(named.groupby("same")["label"].nunique())
    frame["file"], frame["line"] = frame["path"], 0
    return frame


def measure_content(tables: Tables) -> pd.DataFrame:
    """The images with the number of their objects; null where a mask tells what they show."""
    frame = tables.images[["image_id", "path"]].rename(columns={"path": "file"})
    counts = frame["image_id"].map(tables.objects["image_id"].value_counts()).fillna(0)
    frame["objects"] = counts.where(tables.images["mask"].isna())
    return frame.assign(line=0, got="no object")


def measure_groups(images: pd.DataFrame) -> pd.DataFrame:
    """Groups of near duplicates, one a row; what is the same picture counts once."""
    near = images[(images["leaks"] == 0) & (images["copy_leaks"] == 0)].drop_duplicates("same")
    near = near[near.duplicated("group", keep=False)]
    rows = []
    for _, members in near.groupby("group", sort=True):
        first = members.iloc[0]
        names = ", ".join(members["path"].iloc[:NAMED]) + (", ..." if len(members) > NAMED else "")
        splits = members.loc[members["split"] != "", "split"].value_counts().sort_index()
        shares = ", ".join(f"{count} in {split}" for split, count in splits.items())
        got = f"{len(members)} near duplicates{f' ({shares})' if shares else ''}: {names}"
        is_across = len(splits) > 1
        rows.append((first["path"], 0, first["image_id"], int(not is_across), int(is_across), got))
    return pd.DataFrame(rows, columns=["file", "line", "image_id", "within", "across", "got"])


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
    names = classes[~classes["ignore"].astype(bool)].set_index("id")["name"]
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


def _tell_image(code: str, rows: pd.DataFrame) -> pd.Series:
    told = {
        "image.duplicate": "the same file as " + rows["hash first"],
        "image.copy": "the same picture as " + rows["same first"],
        "split.leak": "in " + rows["split"] + ", the same file as one in " + rows["hash home"],
        "split.copy": "in " + rows["split"] + ", the same picture as one in " + rows["same home"],
        "class.conflict": "the same picture, labelled in " + rows["labels"].astype("Int64").astype(str) + " ways",
    }
    return told[code]


def _tell_class(code: str, rows: pd.DataFrame) -> pd.Series:
    count = rows["objects"].fillna(0).astype("int64").astype(str)
    ratio = rows["ratio"].map("{:.1f}".format)
    told = {
        "class.few": "class " + rows["name"] + " with " + count,
        "class.imbalance": ratio + " " + rows["most"] + " for 1 " + rows["name"] + " (" + count + ")",
        "class.similar": "classes " + rows["twin"] + " and " + rows["name"],
    }
    return told[code]


def _got(code: str, rows: pd.DataFrame) -> pd.Series:
    return rows["got"]


def _run(name: str, suite: Suite) -> list[Finding]:
    """Validates one table; results come in any order, so the findings are sorted by whoever writes them."""
    if suite.frame.empty:
        return []
    frame = suite.frame.reset_index(drop=True)
    broken = [check for check in suite.checks if check.breaks(frame).any()]
    notes = [check for check in broken if RULES[check.code].severity == "info"]
    places = {check.code: frame.index[check.breaks(frame)] for check in notes}
    places |= _validate(name, frame, [check for check in broken if check not in notes])
    return [item for code, index in places.items() for item in _told(code, frame.loc[index], suite.tell)]


def _told(code: str, rows: pd.DataFrame, tell: Callable[[str, pd.DataFrame], pd.Series]) -> list[Finding]:
    """A finding for each row that breaks the rule of a code."""
    if rows.empty:
        return []
    columns = (rows["file"], rows["line"].astype(int), rows["image_id"], tell(code, rows))
    places = zip(*(column.tolist() for column in columns), strict=True)
    return [finding(code, got, file, line, image_id) for file, line, image_id, got in places]


def _validate(name: str, frame: pd.DataFrame, checks: Sequence[Bound]) -> dict[str, Sequence[int]]:
    """The rows that break each rule, by Great Expectations."""
    if not checks:
        return {}
    columns = sorted({check.column for check in checks})
    asset = _context().data_sources.add_pandas(name).add_dataframe_asset(name)
    batch = asset.add_batch_definition_whole_dataframe(name).get_batch({"dataframe": frame[columns]})
    expectations = [check.expectation() for check in checks]
    result = batch.validate(_library().ExpectationSuite(name=name, expectations=expectations), result_format="COMPLETE")
    found: dict[str, Sequence[int]] = {}
    for each in result.results:
        code = each.expectation_config.meta["code"]
        if each.exception_info.get("raised_exception"):
            raise RuntimeError(f"{code}: {each.exception_info['exception_message']}")
        found[code] = sorted(each.result.get("unexpected_index_list") or [])
    return found


def _context() -> Any:
    """A context that keeps nothing, writes no pages and draws no bars."""
    library = _library()
    from great_expectations.data_context.types import base

    config = base.DataContextConfig(
        progress_bars=base.ProgressBarsConfig(globally=False),
        store_backend_defaults=base.InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
    )
    return library.get_context(mode="ephemeral", project_config=config)


def _library() -> Any:
    """Great Expectations, quiet, and told to send nothing home; its imports warn of what Python deprecates."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations
        import great_expectations.expectations
    logging.getLogger("great_expectations").setLevel(logging.WARNING)
    return great_expectations
