"""The rules that tables can tell, as Great Expectations suites; each expectation carries the code of its rule."""

import logging
import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from tasks.findings import Finding, finding
from tasks.rules import EDGE_PX, EDGE_SHARE, FEW, TINY_PX
from tasks.splits import keep_together
from tasks.tables import BOX, Tables

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation

Suite = tuple[pd.DataFrame, "Sequence[tuple[str, Expectation]]"]


def check_tables(tables: Tables) -> list[Finding]:
    """Runs every suite; a row that does not hold to an expectation is a finding."""
    gxe = _library().expectations
    objects, images, classes = measure_objects(tables), measure_images(tables), measure_classes(tables)
    positive = {"min_value": 0.0, "strict_min": True}
    suites: dict[str, Suite] = {
        "objects": (
            objects,
            [
                ("box.inverted", gxe.ExpectColumnValuesToBeBetween(column="side", **positive)),
                ("box.tiny", gxe.ExpectColumnValuesToBeBetween(column="upright_side", min_value=TINY_PX)),
                ("box.out_of_bounds", gxe.ExpectColumnValuesToBeBetween(column="beyond_limit", max_value=0.0)),
                ("box.edge", gxe.ExpectColumnValuesToBeBetween(column="beyond", max_value=0.0)),
                ("object.duplicate", gxe.ExpectColumnValuesToBeInSet(column="repeats", value_set=[0])),
            ],
        ),
        "images": (
            images,
            [
                ("image.duplicate", gxe.ExpectColumnValuesToBeInSet(column="repeats", value_set=[0])),
                ("split.leak", gxe.ExpectColumnValuesToBeInSet(column="leaks", value_set=[0])),
                ("class.conflict", gxe.ExpectColumnValuesToBeBetween(column="labels", max_value=1)),
                ("object.none", gxe.ExpectColumnValuesToBeBetween(column="objects", min_value=1)),
            ],
        ),
        "classes": (classes, [("class.few", gxe.ExpectColumnValuesToBeBetween(column="objects", min_value=FEW))]),
    }
    context = _context()
    return [item for name, (frame, checks) in suites.items() for item in _run(context, name, frame, checks)]


def measure_objects(tables: Tables) -> pd.DataFrame:
    """The table `objects` with what its rules look at; null where a rule does not apply."""
    frame = tables.objects.merge(tables.images[["image_id", "width", "height"]], on="image_id", how="left")
    frame["side"] = np.minimum(frame["xmax"] - frame["xmin"], frame["ymax"] - frame["ymin"])
    is_upright = frame["side"] > 0
    frame["upright_side"] = frame["side"].where(is_upright)
    beyond_x = np.maximum(-frame["xmin"], frame["xmax"] - frame["width"])
    beyond_y = np.maximum(-frame["ymin"], frame["ymax"] - frame["height"])
    over_x = beyond_x - np.maximum(EDGE_PX, EDGE_SHARE * frame["width"])
    over_y = beyond_y - np.maximum(EDGE_PX, EDGE_SHARE * frame["height"])
    frame["beyond_limit"] = np.maximum(over_x, over_y).where(is_upright)
    frame["beyond"] = np.maximum(beyond_x, beyond_y).where(is_upright & (frame["beyond_limit"] <= 0))
    has_box = frame["xmin"].notna()
    frame["repeats"] = (frame.duplicated(["image_id", "label", *BOX]) & has_box).astype("int64")
    box = frame[BOX].map(lambda value: f"{value:g}")
    frame["got"] = "box " + box["xmin"] + ", " + box["ymin"] + ", " + box["xmax"] + ", " + box["ymax"]
    frame["got"] += " (from 0, half-open) in an image of " + frame["width"].astype(str) + "x" + frame["height"].astype(str)
    return frame


def measure_images(tables: Tables) -> pd.DataFrame:
    """The table `images` with what its rules look at."""
    frame = tables.images.sort_values("image_id").reset_index(drop=True)
    first = frame.groupby("hash")["path"].transform("first")
    is_copied = frame.duplicated("hash", keep=False)
    home = keep_together(frame)
    frame["leaks"] = ((frame["split"] != "") & (frame["split"] != home)).astype("int64")
    frame["repeats"] = (frame.duplicated("hash") & (frame["leaks"] == 0)).astype("int64")
    whole = tables.objects[tables.objects["xmin"].isna()].merge(frame[["image_id", "hash"]], on="image_id")
    labels = whole.groupby("hash")["label"].nunique()
    frame["labels"] = frame["hash"].map(labels).where(is_copied)
    frame["objects"] = frame["image_id"].map(tables.objects["image_id"].value_counts()).fillna(0)
    frame["file"], frame["line"], frame["got"] = frame["path"], 0, "the same file as " + first
    leaks = frame["leaks"] == 1
    frame.loc[leaks, "got"] = "in " + frame["split"] + ", the same file as one in " + home
    frame.loc[(frame["objects"] == 0) & ~is_copied, "got"] = "no object"
    return frame


def measure_classes(tables: Tables) -> pd.DataFrame:
    """The table `classes` with the number of objects of each."""
    frame = tables.classes.copy()
    frame["objects"] = frame["id"].map(tables.objects["label"].value_counts()).fillna(0).astype("int64")
    frame["file"], frame["line"], frame["image_id"] = "", 0, ""
    frame["got"] = "class " + frame["name"] + " with " + frame["objects"].astype(str)
    return frame


def _run(context: Any, name: str, frame: pd.DataFrame, expectations: "Sequence[tuple[str, Expectation]]") -> list[Finding]:
    """Validates one table; results come in any order, so the findings are sorted by whoever writes them."""
    if frame.empty:
        return []
    frame = frame.reset_index(drop=True)
    frame["row"] = frame.index
    batch = context.data_sources.add_pandas(name).add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
    suite = _suite(name, expectations)
    result = batch.get_batch({"dataframe": frame}).validate(
        suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["row"]}
    )
    found = []
    for each in result.results:
        code = each.expectation_config.meta["code"]
        for place in each.result.get("unexpected_index_list") or []:
            row = frame.loc[place["row"]]
            found.append(finding(code, str(row["got"]), str(row["file"]), int(row["line"]), str(row["image_id"])))
    return found


def _suite(name: str, expectations: "Sequence[tuple[str, Expectation]]") -> Any:
    for code, expectation in expectations:
        expectation.meta = {"code": code}
    return _library().ExpectationSuite(name=name, expectations=[expectation for _, expectation in expectations])


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
