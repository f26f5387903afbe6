"""validate: reads the dataset into the canonical tables, and says what is wrong with it."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from pydantic import Field

from sightline.errors import AnswerIsNo
from tasks import findings, formats, schema, stage
from tasks.expectations import check_tables
from tasks.findings import Finding, finding
from tasks.findings_page import write_page
from tasks.images import find_defect
from tasks.progress import track
from tasks.provenance import write_provenance
from tasks.tables import Tables


@dataclass(frozen=True)
class Paths:
    raw: Path
    tables: stage.Output
    report: stage.Output


class Config(schema.Section):
    dataset: schema.Dataset
    validate_: schema.Validate = Field(alias="validate")


def validate(paths: Paths, config: Config) -> stage.Metrics:
    """Writes tables and findings.

    Returns:
        The numbers of images, objects, classes, errors and warnings.

    Raises:
        AnswerIsNo: There are errors, and they are not to be set aside or concern the whole dataset.
    """
    dataset = config.dataset
    name = formats.detect(paths.raw, dataset.format)
    reading = formats.load(name).read(paths.raw)
    found = [
        *reading.findings,
        *check_pixels(paths.raw, reading.tables, config.validate_.max_pixels),
        *check_tables(reading.tables),
    ]
    errors = sorted(item for item in found if item.severity == "error")
    tables, quarantined = reading.tables, []
    if config.validate_.on_error == "quarantine":
        quarantined = sorted({item.image_id or item.file for item in errors if item.file})
        tables = without(tables, quarantined)
        errors = [item for item in errors if not item.file]
    if tables.images.empty or tables.classes.empty:
        errors.append(finding("dataset.empty", f"{len(tables.images)} images of {len(tables.classes)} classes"))
        found.append(errors[-1])
    tables.write(paths.tables)
    write_provenance(paths.tables, dataset.name, dataset.source, name)
    findings.write(found, paths.report, quarantined)
    write_page(found, paths.report / "findings.html", quarantined)
    if errors:
        files = len({item.file for item in errors})
        place = "reports/validate/findings.html"
        raise AnswerIsNo(f"{len(errors)} errors in {files} files, first: {errors[0]}; see {place}")
    counts = findings.count(found)
    return {
        "images": len(tables.images), "objects": len(tables.objects), "classes": len(tables.classes),
        "errors": counts["error"], "warnings": counts["warning"],
    }  # fmt: skip


def check_pixels(raw: Path, tables: Tables, max_pixels: int) -> list[Finding]:
    """Decodes every image that is not too large, in threads."""
    found = []
    rows = []
    for row in tables.images.itertuples():
        if int(row.width) * int(row.height) > max_pixels:
            found.append(finding("image.too_large", f"{row.width}x{row.height}", str(row.path), 0, str(row.image_id)))
        else:
            rows.append(row)
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        defects = pool.map(lambda row: find_defect(raw / str(row.path)), rows)
        for row, defect in zip(rows, track(defects, "validate", len(rows), "images"), strict=True):
            if defect is not None:
                found.append(finding("image.unreadable", defect, str(row.path), 0, str(row.image_id)))
    return found


def without(tables: Tables, image_ids: Sequence[str]) -> Tables:
    """The tables without some images and their objects; classes that only they had go with them."""
    images = tables.images[~tables.images["image_id"].isin(image_ids)]
    objects = tables.objects[~tables.objects["image_id"].isin(image_ids)]
    kept = tables.classes[tables.classes["id"].isin(objects["label"])].sort_values("id")
    ids = pd.Series(range(len(kept)), index=kept["id"].to_numpy())
    return Tables(images, objects.assign(label=objects["label"].map(ids)), kept.assign(id=range(len(kept))))


if __name__ == "__main__":
    stage.main(validate)
