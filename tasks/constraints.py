"""Constraints on the benchmark's rows: what a row breaks, by how much, and which constraint to relax."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from sightline.errors import SightlineError
from tasks.schema import Constraints

Row = Mapping[str, Any]

LISTED: Final = frozenset(
    [f"max.{column}" for column in ("p50_ms", "p99_ms", "rss_mb", "size_mb", "load_ms", "energy_j", "cost_per_million", "drop")]
    + [f"min.{column}" for column in ("throughput", "streams_images_s", "mAP50", "mAP50-95", "recall", "accuracy_top1", "f1")]
    + ["min.mIoU", "min.pixel_accuracy"]
)
"""The bounds that conf/constraints has; others are added to them."""


@dataclass(frozen=True)
class Violation:
    """One constraint that a row breaks.

    Attributes:
        kind: `max`, `min` or `licence`.
        column: The column that it is on.
        limit: What is allowed.
        got: What the row has; None where it was not measured.
    """

    kind: Literal["max", "min", "licence"]
    column: str
    limit: Any
    got: Any

    def __str__(self) -> str:
        got = "not measured" if self.got is None else f"{self.got}"
        if self.kind == "licence":
            return f"licence {got}, expected one of {', '.join(self.limit)}"
        return f"{self.column} {got}, expected at {'most' if self.kind == 'max' else 'least'} {self.limit:g}{self._by()}"

    def _by(self) -> str:
        if self.got is None:
            return ""
        share = f" or {abs(self.excess):.0%}" if self.limit else ""
        return f" (off by {abs(self.got - self.limit):.4g}{share})"

    @property
    def excess(self) -> float:
        """How far off it is, as a share of the limit; infinite where no number says."""
        if self.kind == "licence" or self.got is None:
            return float("inf")
        limit = float(self.limit)
        return abs(float(self.got) - limit) / (abs(limit) or 1.0)

    @property
    def remedy(self) -> str:
        """The override with which the row would pass."""
        if self.kind == "licence":
            return f"add {self.got} to constraints.licence"
        if self.got is None:
            return f"set {_override(self.kind, self.column, 'null')}"
        return f"set {_override(self.kind, self.column, self.got)}"


def _override(kind: str, column: str, value: Any) -> str:
    """Of a bound, as Hydra takes it."""
    if f"{kind}.{column}" in LISTED:
        return f"constraints.{kind}.{column}={value}"
    return f"'+constraints.{kind}={{{column}: {value}}}'"


def check_columns(constraints: Constraints, rows: Sequence[Row]) -> None:
    """Refuses constraints on what is no measured number; says nothing where nothing was measured.

    Raises:
        SightlineError: It names the nearest column.
    """
    if not any(row["status"] == "ok" for row in rows):
        return
    columns = sorted({key for row in rows for key, value in row.items() if _is_number(value)})
    for kind, limits in (("max", constraints.max), ("min", constraints.min)):
        for key in limits:
            if key not in columns:
                raise SightlineError(f"constraints.{kind}.{key}: {_missing(key, kind, columns, rows)}")


def _missing(key: str, kind: str, columns: Sequence[str], rows: Sequence[Row]) -> str:
    """Why there is no number of this name, and what to do."""
    otherwise = f"set {_override(kind, key, 'null')}"
    if key == "drop":
        reference = f"the reference, {rows[0]['candidate']}, which is {rows[0]['status']}: {rows[0]['message']}"
        return f"not measured, since it needs {reference}: mend that, or {otherwise}"
    if any(key in row for row in rows):
        return f"measured of no candidate, as this machine or their messages in the report say: {otherwise}"
    nearest = difflib.get_close_matches(key, columns, n=1, cutoff=0.5)
    hint = f"did you mean {nearest[0]}?" if nearest else f"expected one of {', '.join(columns)}"
    return f"no column of the benchmark: {hint}"


def violations(row: Row, constraints: Constraints) -> list[Violation]:
    """The constraints that `row` breaks; what was not measured breaks them."""
    found: list[Violation] = []
    for column, limit in constraints.max.items():
        if not (_is_number(row.get(column)) and row[column] <= limit):
            found.append(Violation("max", column, limit, row.get(column)))
    for column, limit in constraints.min.items():
        if not (_is_number(row.get(column)) and row[column] >= limit):
            found.append(Violation("min", column, limit, row.get(column)))
    if constraints.licence and row["licence"] not in constraints.licence:
        found.append(Violation("licence", "licence", constraints.licence, row["licence"]))
    return found


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
