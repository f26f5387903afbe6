"""What is wrong with a dataset, for `sightline validate` and `convert --validate`, without the pipeline."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

from sightline.contract import MAX_PIXELS
from sightline.errors import AnswerIsNo, SightlineError
from tasks import findings
from tasks.convert import Opened, unpacked
from tasks.findings import Finding
from tasks.findings_page import NOT_DECODED, Source, write_page
from tasks.table_builder import StoredTables
from tasks.validate import look_at

SHOWN: Final = 5
"""Findings of a rule that are printed; the page has them all."""


@dataclass(frozen=True)
class Checked:
    """A dataset that was looked at.

    Attributes:
        root: Where its files are.
        format: The name of its format.
        stored: Its tables.
        found: What is wrong with it.
        errors: How many of that are errors.
        page: Where they are told.
    """

    root: Path
    format: str
    stored: StoredTables
    found: list[Finding]
    errors: int
    page: Path

    def open(self) -> Opened:
        """The dataset in memory, to be written.

        Raises:
            AnswerIsNo: There are errors.
        """
        if self.errors:
            raise AnswerIsNo(f"{self.errors} errors, nothing is written: mend them, {self.page} says how")
        return Opened(self.root, self.root, self.format, self.stored.read(), self.found)


@contextmanager
def check(
    path: Path, name: str, report: Path, *, decode: bool = True, voc_origin: int = 1, classes: Sequence[str] = ()
) -> Iterator[Checked]:
    """Looks at a dataset, prints the worst findings, and writes all of them below `report`.

    Args:
        path: A folder or a ZIP.
        name: Its format, or `auto`.
        report: For findings.parquet, findings.json and findings.html.
        decode: Whether pixels are decoded.
        voc_origin: What the coordinates of VOC boxes count from, 1 or 0.
        classes: All that objects may be of, in the order of their ids; empty where they may be of any.

    Raises:
        SightlineError: The dataset is not there, of no known format, or one that `transform` wrote, or `classes` are given
            for masks.
    """
    page = report / "findings.html"
    with unpacked(path) as root:
        if (root / "images.parquet").is_file():
            expected = "expected its source: it was validated before, so leave --validate out to convert it"
            raise SightlineError(f"{path}: got a dataset that transform wrote, {expected}")
        name, tables, found = look_at(root, name, MAX_PIXELS, decode=decode, voc_origin=voc_origin, classes=classes)
        findings.write(found, report, ())
        counts = findings.count(found)
        write_page(found, page, (), Source(root, tables, MAX_PIXELS, decode), stops=bool(counts["error"]))
        for (severity, code), group in groupby(findings.ordered(found), lambda item: (item.severity, item.code)):
            items = list(group)
            for item in items[:SHOWN]:
                print(f"{severity:<8} {code:<20} {item}")
            if len(items) > SHOWN:
                print(f"{'':<8} {code:<20} ... and {len(items) - SHOWN} more")
        images, objects, learnt = tables.counts
        print(f"{path}: {name}, {images} images, {objects} objects, {learnt} classes")
        if not decode:
            print(f"{NOT_DECODED} Leave --headers out to look at them.")
        print(f"{counts['error']} errors, {counts['warning']} warnings, {counts['info']} notes: {page}")
        yield Checked(root, name, tables, found, counts["error"], page)
