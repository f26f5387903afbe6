"""What is wrong with a dataset, for `sightline validate`, without the pipeline."""

from pathlib import Path
from typing import Final

from sightline.contract import MAX_PIXELS
from tasks import findings
from tasks.convert import unpacked
from tasks.findings_page import Source, write_page
from tasks.validate import look_at

SHOWN: Final = 20
"""Findings that are printed; the page has them all."""


def run(path: Path, name: str, report: Path, *, decode: bool = True, voc_origin: int = 1) -> int:
    """Prints the worst findings, and writes all of them below `report`; returns 1 where there are errors, otherwise 0.

    Args:
        path: A folder or a ZIP.
        name: Its format, or `auto`.
        report: For findings.parquet, findings.json and findings.html.
        decode: Whether pixels are decoded.
        voc_origin: What the coordinates of VOC boxes count from, 1 or 0.

    Raises:
        SightlineError: The dataset is not there, or of no known format.
    """
    with unpacked(path) as root:
        name, tables, found = look_at(root, name, MAX_PIXELS, decode=decode, voc_origin=voc_origin)
        findings.write(found, report, ())
        errors = findings.count(found)["error"]
        write_page(found, report / "findings.html", (), Source(root, tables, MAX_PIXELS), stops=bool(errors))
    for item in findings.ordered(found)[:SHOWN]:
        print(f"{item.severity:<8} {item.code:<20} {item}")
    if len(found) > SHOWN:
        print(f"... and {len(found) - SHOWN} more")
    images, objects, classes = tables.counts
    counts = findings.count(found)
    print(f"{path}: {name}, {images} images, {objects} objects, {classes} classes")
    print(f"{counts['error']} errors, {counts['warning']} warnings, {counts['info']} notes: {report / 'findings.html'}")
    return 1 if counts["error"] else 0
