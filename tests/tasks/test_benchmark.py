"""The benchmark stage: what it measures, and the rows of candidates that crash, hang or are not there."""

import csv
import json
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sightline.contract import ModelDescription, describe_file
from sightline.errors import SightlineError
from tasks import benchmark as stage
from tasks import machine, models, schema
from tasks.benchmark import Config, Paths, benchmark
from tasks.graph import export_parts, finish, join, write
from tasks.isolation import run_isolated
from tasks.models import WEIGHTS_FILE
from tasks.tables import Dataset

sys.path.insert(0, str(Path(__file__).parent))
from tiny import ROOT, model_config, write_classifier, write_dataset

ENGINES = {
    "crashing": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
    "hanging": "import time\ntime.sleep(600)",
    "absent": "from sightline.errors import MissingExtraError\nraise MissingExtraError('tensorrt', 'tensorrt')",
    "refusing": "from sightline.errors import SightlineError\nraise SightlineError('bf16: no such thing here')",
}


def config(candidates: tuple[str, ...], *, samples: int = 10, timeout_s: float = 120, machine: str = "any") -> Config:
    return Config(
        model=model_config("resnet18", imgsz=32),
        benchmark=schema.Benchmark(samples=samples, warmup=2, timeout_s=timeout_s),
        hardware=schema.Hardware(threads=1, machine=machine, candidates=candidates),
    )


def read_rows(report: Path) -> dict[str, dict[str, Any]]:
    return {row["candidate"]: row for row in json.loads((report / "benchmark.json").read_text())["rows"]}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A dataset and a checkpoint, and a model folder that describes files and has none of them."""
    folder = tmp_path_factory.mktemp("inputs")
    raw, root = write_dataset(folder)
    write_classifier(folder / "champion", Dataset.read(raw, root))
    (folder / "exported").mkdir()
    (folder / "model.onnx").write_bytes(b"none")
    files = {"fp32": describe_file(folder / "model.onnx")}
    replace(ModelDescription.read(folder / "champion"), files=files).write(folder / "exported")
    return {"raw": raw, "dataset": root, "champion": folder / "champion", "exported": folder / "exported"}


def test_candidates_that_cannot_run_are_rows_that_say_why(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "odd_engines"
    package.mkdir()
    for name, text in {"__init__": "", **ENGINES}.items():
        (package / f"{name}.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    monkeypatch.setattr(
        stage, "run_isolated", lambda module, job, limit: run_isolated(module, job | {"package": "odd_engines"}, limit)
    )
    monkeypatch.setattr(stage, "REFERENCE", "unknown-fp32")
    paths = Paths(**inputs, report=tmp_path / "report")
    names = ("crashing-fp32", "hanging-fp32", "absent-fp32", "refusing-fp32", "refusing-int8")
    benchmark(paths, config(names, timeout_s=4))
    rows = read_rows(paths.report)
    assert {name: row["status"] for name, row in rows.items()} == {
        "unknown-fp32": "failed",
        "crashing-fp32": "failed",
        "hanging-fp32": "timeout",
        "absent-fp32": "not available",
        "refusing-fp32": "failed",
        "refusing-int8": "not available",
    }
    assert "expected one of absent, crashing" in rows["unknown-fp32"]["message"]
    assert rows["crashing-fp32"]["message"] == "died of SIGSEGV"
    assert "4 s" in rows["hanging-fp32"]["message"]
    assert "sightline[tensorrt]" in rows["absent-fp32"]["message"]
    assert rows["refusing-fp32"]["message"] == "bf16: no such thing here"
    assert "parity.json" in rows["refusing-int8"]["message"]
    assert "died of SIGSEGV" in (paths.report / "benchmark.md").read_text()


def test_another_machine_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match=r"hardware\.machine: this is .*, expected 'the big one'"):
        benchmark(Paths(**inputs, report=tmp_path / "report"), config((), machine="the big one"))


def test_machine_says_what_it_is() -> None:
    here = machine.describe()
    assert here["cores"] >= 1
    assert here["processor"] in here["name"]
    assert "numpy" in here["libraries"]
    json.dumps(here)


def test_metric_does_not_overwrite_the_column_of_its_name(
    inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    figures = dict.fromkeys(("p50_ms", "p90_ms", "p95_ms", "p99_ms", "throughput", "rss_mb", "load_ms", "first_ms"), 1.0)
    answer = {"status": "ok", "message": "", "figures": figures, "facts": {}, "metrics": {"fitness": 0.5, "precision": 0.25}}
    monkeypatch.setattr(stage, "run_isolated", lambda *_: answer)
    paths = Paths(**inputs, report=tmp_path / "report")
    benchmark(paths, config(()))
    row = read_rows(paths.report)["pytorch-fp32"]
    assert row["precision"] == "fp32"
    assert row["metric/precision"] == 0.25


@pytest.mark.slow
def test_every_candidate_is_measured(inputs: dict[str, Path], tmp_path: Path) -> None:
    description = ModelDescription.read(inputs["champion"])
    parts = models.load(config(()).model, description.classes).parts(inputs["champion"] / WEIGHTS_FILE)
    folder = tmp_path / "exported"
    folder.mkdir()
    write(finish(join(export_parts(parts, description)), description), folder / "model.onnx")
    replace(description, files={"fp32": describe_file(folder / "model.onnx")}).write(folder)
    paths = Paths(**{**inputs, "exported": folder}, report=tmp_path / "report")
    names = ("onnxruntime-cpu-fp32", "openvino-cpu-fp32")
    metrics = benchmark(paths, config(names, machine=machine.describe()["name"]))
    rows = read_rows(paths.report)
    assert list(rows) == ["pytorch-fp32", *names]
    assert {row["status"] for row in rows.values()} == {"ok"}, rows
    assert [row["shipped"] for row in rows.values()] == [False, True, True]
    for row in rows.values():
        assert 0 < row["p50_ms"] <= row["p90_ms"] <= row["p95_ms"] <= row["p99_ms"]
        assert row["accuracy_top1"] == row["fitness"] == 1.0
        assert row["drop"] == 0.0
        assert row["samples"] == 10
        assert row["facts"]["threads"] == "1"
        assert metrics[f"{row['candidate']}/p99_ms"] == row["p99_ms"]
    assert rows["onnxruntime-cpu-fp32"]["rss_mb"] < 250 < rows["pytorch-fp32"]["rss_mb"], (
        "what measures accuracy is not counted"
    )
    assert rows["onnxruntime-cpu-fp32"]["size_mb"] == pytest.approx((folder / "model.onnx").stat().st_size / 1e6, abs=1e-3)
    with (paths.report / "benchmark.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["candidate"] for line in lines] == list(rows)
    assert lines[0]["facts/library"] == "torch"
    assert (paths.report / "accuracy_latency.png").read_bytes().startswith(b"\x89PNG")
