"""The rules of images that show the same: copies, and groups of near duplicates."""

from collections.abc import Iterator, Mapping
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tasks.duplicates import Duplicates, not_compared
from tasks.findings import Finding, finding
from tasks.scan import Scans
from tasks.splits import keep_together
from tasks.suites import Bound, Suite, tell_got
from tasks.tables import SPLITS, Chunked, Tables, select

NAMED: Final = 3
"""Members of a group of near duplicates that a finding names."""
COPY_RULES: Final = (
    Bound("image.duplicate", "repeats", most=0),
    Bound("image.copy", "copies", most=0),
    Bound("split.leak", "leaks", most=0),
    Bound("split.copy", "copy_leaks", most=0),
    Bound("class.conflict", "labels", most=1),
)
GROUP_RULES: Final = (Bound("image.near", "within", most=0), Bound("split.near", "across", most=0))
MOST_MOVED: Final = 0.5
"""So much of a split may move to another one, as a share of its images, so that near duplicates are in one."""


def check_compared(scans: Scans) -> Iterator[Finding]:
    """Tells how many images near duplicates were not looked for among."""
    rows = not_compared(scans)
    if len(rows):
        got = f"{len(rows)} of {len(scans)} images too small or too plain, first {scans.paths[int(rows[0])]}"
        yield finding("image.not_compared", got)


def suites_of(images: pd.DataFrame, counts: Mapping[str, int]) -> dict[str, Suite]:
    """The suites of what `measure_images` gives; `counts` has the number of all images of each split."""
    return {
        "copies": Suite(images, COPY_RULES, _tell_image),
        "groups": Suite(measure_groups(images), GROUP_RULES, tell_got),
        "moves": Suite(measure_moves(images, counts), [Bound("split.moved", "share", most=MOST_MOVED)], tell_got),
    }


def select_alike(tables: Chunked, groups: NDArray[np.uint64]) -> Tables:
    """The images that may be another's duplicates: of a group of several, by the hashes of the groups uint64 (N,)."""
    groups.sort()
    shared = groups[1:][groups[1:] == groups[:-1]]
    if not len(shared):
        first = next(tables.chunks())
        return Tables(first.images.iloc[:0], first.objects.iloc[:0], tables.classes)

    def is_alike(images: pd.DataFrame) -> pd.Series:
        hashes = pd.util.hash_array(images["group"].to_numpy(object))
        return pd.Series(np.isin(hashes, shared), images.index)

    return select(tables, is_alike)


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
    frame["group home"] = keep_together(frame)
    frame["moves"] = (named & (frame["split"] != frame["group home"]) & ~is_leak & ~is_copy_leak).astype("int64")
    alike = frame.loc[frame.duplicated("same", keep=False), ["image_id", "same"]]
    whole = tables.objects[tables.objects["xmin"].isna()].merge(alike, on="image_id").sort_values("label")
    named = whole.groupby(["same", "image_id"])["label"].agg(lambda labels: " ".join(map(str, labels))).reset_index()
    frame["labels"] = frame["same"].map(named.groupby("same")["label"].nunique())
    frame["file"], frame["line"] = frame["path"], 0
    return frame


def measure_groups(images: pd.DataFrame) -> pd.DataFrame:
    """Groups of near duplicates, one a row; what is the same picture counts once, but for what `transform` moves."""
    moves = images.groupby("group")["moves"].sum()
    near = images[(images["leaks"] == 0) & (images["copy_leaks"] == 0)].drop_duplicates("same")
    near = near[near.duplicated("group", keep=False)]
    rows = []
    for group, members in near.groupby("group", sort=True):
        first = members.iloc[0]
        names = ", ".join(members["path"].iloc[:NAMED]) + (", ..." if len(members) > NAMED else "")
        splits = members.loc[members["split"] != "", "split"].value_counts().sort_index()
        shares = ", ".join(f"{count} in {split}" for split, count in splits.items())
        is_across = len(splits) > 1
        shares += f"; {moves[group]} to move to {first['group home']}" if is_across else ""
        got = f"{len(members)} near duplicates{f' ({shares})' if shares else ''}: {names}"
        rows.append((first["path"], 0, first["image_id"], int(not is_across), int(is_across), got))
    return pd.DataFrame(rows, columns=["file", "line", "image_id", "within", "across", "got"])


def measure_moves(images: pd.DataFrame, counts: Mapping[str, int]) -> pd.DataFrame:
    """The dataset's own splits, with the share of their images that `transform` moves to near duplicates in another one."""
    moves = images.loc[images["moves"] > 0, "split"].value_counts()
    rows = []
    for split in (name for name in SPLITS if name in moves):
        got = f"{moves[split]} of {counts[split]} images of {split} that would move to near duplicates in another split"
        got += ", and none that stays" if moves[split] == counts[split] else ""
        rows.append(("", 0, "", moves[split] / counts[split], got))
    return pd.DataFrame(rows, columns=["file", "line", "image_id", "share", "got"])


def _tell_image(code: str, rows: pd.DataFrame) -> pd.Series:
    told = {
        "image.duplicate": "the same file as " + rows["hash first"],
        "image.copy": "the same picture as " + rows["same first"],
        "split.leak": "in " + rows["split"] + ", the same file as one in " + rows["hash home"],
        "split.copy": "in " + rows["split"] + ", the same picture as one in " + rows["same home"],
        "class.conflict": "the same picture, labelled in " + rows["labels"].astype("Int64").astype(str) + " ways",
    }
    return told[code]
