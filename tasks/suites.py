"""Rules that hold to the columns of a table, asked of Great Expectations; each carries its code."""

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd

from tasks.findings import Finding, finding
from tasks.rules import RULES

if TYPE_CHECKING:
    from great_expectations.expectations import Expectation


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


class Suite(NamedTuple):
    """A table with what its rules look at, null where a rule does not apply, and file, line and image_id.

    Attributes:
        frame: The table.
        checks: The rules.
        tell: What was got, of the rows that break the rule of a code.
        expected: What should stand there, if the rule does not say it.
    """

    frame: pd.DataFrame
    checks: Sequence[Bound]
    tell: Callable[[str, pd.DataFrame], pd.Series]
    expected: str = ""


def tell_got(code: str, rows: pd.DataFrame) -> pd.Series:
    return rows["got"]


def run(name: str, suite: Suite) -> list[Finding]:
    """Validates one table; results come in any order, so the findings are sorted by whoever writes them."""
    if suite.frame.empty:
        return []
    frame = suite.frame.reset_index(drop=True)
    broken = [check for check in suite.checks if check.breaks(frame).any()]
    notes = [check for check in broken if RULES[check.code].severity == "info"]
    places = {check.code: frame.index[check.breaks(frame)] for check in notes}
    places |= _validate(name, frame, [check for check in broken if check not in notes])
    return [item for code, index in places.items() for item in told(code, frame.loc[index], suite)]


def told(code: str, rows: pd.DataFrame, suite: Suite) -> list[Finding]:
    """A finding for each row that breaks the rule of a code."""
    if rows.empty:
        return []
    columns = (rows["file"], rows["line"].astype(int), rows["image_id"], suite.tell(code, rows))
    places = zip(*(column.tolist() for column in columns), strict=True)
    return [finding(code, got, file, line, image_id, suite.expected) for file, line, image_id, got in places]


def _validate(name: str, frame: pd.DataFrame, checks: Sequence[Bound]) -> dict[str, Sequence[int]]:
    """The rows that break each rule, by Great Expectations."""
    if not checks:
        return {}
    columns = sorted({check.column for check in checks})
    suite = _library().ExpectationSuite(name=name, expectations=[check.expectation() for check in checks])
    sources = _context().data_sources
    try:
        asset = sources.add_pandas(name).add_dataframe_asset(name)
        batch = asset.add_batch_definition_whole_dataframe(name).get_batch({"dataframe": frame[columns]})
        result = batch.validate(suite, result_format="COMPLETE")
    finally:
        sources.delete(name)  # it keeps the table
    found: dict[str, Sequence[int]] = {}
    for each in result.results:
        code = each.expectation_config.meta["code"]
        if each.exception_info.get("raised_exception"):
            raise RuntimeError(f"{code}: {each.exception_info['exception_message']}")
        found[code] = sorted(each.result.get("unexpected_index_list") or [])
    return found


@cache
def _context() -> Any:
    """A context, for all tables, that keeps nothing, writes no pages and draws no bars."""
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
