"""validate: reads the dataset into the canonical tables, and says what is wrong with it."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
from pydantic import Field

from sightline.allocator import return_freed_memory
from sightline.errors import AnswerIsNo, SightlineError
from tasks import duplicates, findings, formats, scan, schema, stage
from tasks.duplicate_rules import check_compared
from tasks.expectations import check_labelled, check_tables
from tasks.findings import Finding
from tasks.findings_page import Source, write_page
from tasks.image_rules import check_foreign, check_images
from tasks.provenance import write_provenance
from tasks.table_builder import StoredTables
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
    name, stored, found = look_at(
        paths.raw, dataset.format, config.validate_.max_pixels, voc_origin=dataset.voc_origin, classes=dataset.classes or ()
    )
    tables = stored.read()
    errors = sorted(item for item in found if item.severity == "error")
    errors.sort(key=lambda item: item.code == "dataset.empty")  # which follows from others
    source = Source(paths.raw, stored, config.validate_.max_pixels)
    quarantined: list[str] = []
    if config.validate_.on_error == "quarantine":
        quarantined = sorted({item.sample for item in errors if item.sample})
        errors = [item for item in errors if not item.sample]
        tables = without(tables, quarantined, stored.declared)
        if not any(item.code == "dataset.empty" for item in found):
            emptied = check_labelled(tables)
            errors += emptied
            found += emptied
    tables.write(paths.tables)
    write_provenance(paths.tables, dataset.name, dataset.source, name)
    findings.write(found, paths.report, quarantined)
    write_page(found, paths.report / "findings.html", quarantined, source, stops=bool(errors))
    if errors:
        files = len({item.file for item in errors})
        place = "reports/validate/findings.html"
        raise AnswerIsNo(f"{len(errors)} errors in {files} files, first: {errors[0]}; see {place}")
    counts = findings.count(found)
    return {
        "images": len(tables.images), "objects": len(tables.objects), "classes": len(tables.classes),
        "errors": counts["error"], "warnings": counts["warning"],
    }  # fmt: skip


def look_at(
    root: Path, name: str, max_pixels: int, *, decode: bool = True, voc_origin: int = 1, classes: Sequence[str] = ()
) -> tuple[str, StoredTables, list[Finding]]:
    """The name of the dataset's format, where it is `auto`, its tables, and all that is wrong with it.

    Args:
        root: The dataset.
        name: Its format, or `auto`.
        max_pixels: Larger images are not decoded.
        decode: Whether every pixel is decoded; otherwise the headers alone tell.
        voc_origin: What the coordinates of VOC boxes count from, 1 or 0.
        classes: All that objects may be of, in the order of their ids; empty where they may be of any.

    Raises:
        SightlineError: It is of no format, or `classes` are given for masks, whose class file says what a value means.
    """
    name, scans, reading = formats.open_folder(root, name, max_pixels, decode=decode, voc_origin=voc_origin)
    alike = duplicates.find(scans, root, max_pixels)
    return_freed_memory()  # its arrays, before the rules' tables
    if classes and "value" in reading.stored.classes:
        raise SightlineError(
            f"dataset.classes: got {', '.join(classes)}, expected null with masks: name them in the class file"
        )
    tables = replace(reading.stored.ordered(classes) if classes else reading.stored, groups=alike.near)
    found = [
        *reading.findings,
        *check_images(scans),
        *check_foreign(scan.walk(root, root)),
        *check_compared(scans),
        *check_labelled(tables),
        *check_tables(tables, alike, root, classes),
    ]
    return name, tables, found


def without(tables: Tables, image_ids: Sequence[str], declared: Container[str]) -> Tables:
    """The tables without some images and their objects; classes that only they had, and nothing declares, go with them."""
    images = tables.images[~tables.images["image_id"].isin(image_ids)]
    objects = tables.objects[~tables.objects["image_id"].isin(image_ids)]
    named = {label for label, name in zip(tables.classes["id"], tables.classes["name"], strict=True) if name in declared}
    lost = set(tables.objects["label"]) - set(objects["label"]) - named
    if not lost:
        return Tables(images, objects, tables.classes)
    kept = tables.classes[~tables.classes["id"].isin(lost)].sort_values("id")
    ids = pd.Series(range(len(kept)), index=kept["id"].to_numpy())
    return Tables(images, objects.assign(label=objects["label"].map(ids)), kept.assign(id=range(len(kept))))


if __name__ == "__main__":
    stage.main(validate)
