"""Photographs through ingest, validate, transform, fingerprint and train, where they are at hand."""

import csv
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.compose import compose_params
from tasks import fingerprint, ingest, schema, train, transform, validate

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("SIGHTLINE_DATA", ROOT.parent / "shared" / "data"))

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def run(name: str, folder: Path, *overrides: str) -> tuple[dict[str, float], list[dict[str, str]]]:
    """Trains on a dataset of DATA; the metrics, and the rows of results.csv."""
    if not (DATA / name).is_dir():
        pytest.skip(f"{DATA / name}: not there: set SIGHTLINE_DATA")
    text = compose_params(["dataset=folder", f"dataset.path={DATA / name}", *overrides], ROOT)
    params: dict[str, Any] = yaml.safe_load(text)

    def parse(config: type[schema.Section]) -> Any:
        keys = [field.alias or key for key, field in config.model_fields.items()]
        return schema.parse(config, {key: params[key] for key in keys})

    raw, tables, dataset = folder / "raw", folder / "tables", folder / "dataset"
    ingest.ingest(ingest.Paths(folder, raw), parse(ingest.Config))
    validate.validate(validate.Paths(raw, tables, folder / "findings"), parse(validate.Config))
    transform.transform(transform.Paths(raw, tables, dataset), parse(transform.Config))
    fingerprint.fingerprint(fingerprint.Paths(raw, dataset, folder / "fingerprint"), parse(fingerprint.Config))
    (folder / "work").mkdir()
    paths = train.Paths(raw, dataset, folder / "fingerprint", folder / "model", folder / "report", folder / "work")
    metrics = train.train(paths, parse(train.Config))
    return dict(metrics), list(csv.DictReader((folder / "report" / "results.csv").read_text().splitlines()))


def test_a_detector_learns_blood_cells(tmp_path: Path) -> None:
    metrics, rows = run("bccd", tmp_path, "model=yolov8n", "train.epochs=12", "train.batch=8")
    assert [row["epoch"] for row in rows] == [str(epoch) for epoch in range(1, 13)]
    assert float(rows[-1]["train/box_loss"]) < 0.7 * float(rows[0]["train/box_loss"])
    assert metrics["mAP50"] > 0.1


def test_a_classifier_learns_photographs(tmp_path: Path) -> None:
    metrics, rows = run("cifar10", tmp_path, "model=resnet18", "train.epochs=4")
    assert float(rows[-1]["train/loss"]) < float(rows[0]["train/loss"])
    assert metrics["accuracy_top1"] > 0.45
