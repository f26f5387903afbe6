"""The benchmark stage: what it measures, and the rows of candidates that crash, hang or are not there."""

import csv
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import numpy as np
import pytest

from sightline.contract import ModelDescription, describe_file
from sightline.errors import SightlineError
from tasks import benchmark as stage
from tasks import benchmark_report, machine, models, rounds, schema
from tasks.benchmark import Config, Paths, benchmark
from tasks.graph import export_parts, finish, join
from tasks.measure import COLD, Bench, Job
from tasks.models import WEIGHTS_FILE
from tasks.selection import choose
from tasks.tables import Dataset
from tasks.windows import trimmed_mean

sys.path.insert(0, str(Path(__file__).parent))
from tiny import ROOT, model_config, write_classifier, write_dataset, write_float_files

ENGINE = """
import os, signal, time
import numpy as np
from sightline.engines import BaseEngine

class Engine(BaseEngine):
    calls = 0
    held = []
    def load(self, folder): pass
    def run(self, images, conf):
        self.calls += 1
        {run}
        return {{"probabilities": np.zeros((len(images), len(self.description.classes)), np.float32)}}
    def facts(self): return {{}}
"""
ENGINES = {
    "crashing": "import os, signal\nos.kill(os.getpid(), signal.SIGSEGV)",
    "hanging": "import time\ntime.sleep(600)",
    "zeros": ENGINE.format(run="pass"),
    "sleepy": ENGINE.format(run="time.sleep(0.02)"),
    "crashing-later": ENGINE.format(run="self.calls < 8 or os.kill(os.getpid(), signal.SIGSEGV)"),
    "hanging-later": ENGINE.format(run="self.calls < 8 or time.sleep(600)"),
    "leaking": ENGINE.format(run="self.held.append(b'x' * 100_000_000)"),
    "reading": ENGINE.format(run="pass").replace("def load(self, folder): pass", "def load(self, folder): self.file(folder)"),
    "absent": "from sightline.errors import MissingExtraError\nraise MissingExtraError('tensorrt', 'tensorrt')",
    "refusing": "from sightline.errors import SightlineError\nraise SightlineError('bf16: no such thing here')",
}


def config(
    candidates: tuple[str, ...],
    *,
    samples: int = 10,
    timeout_s: float = 120,
    machine: str = "any",
    threads: tuple[int, ...] = (1,),
    batches: tuple[int, ...] = (1,),
    streams: tuple[int, ...] = (),
    screen: bool = True,
    p99_error: float = 0.015,
    settle_s: float = 0.0,
) -> Config:
    return Config(
        model=model_config("resnet18", imgsz=32),
        benchmark=schema.Benchmark(
            samples=samples,
            p99_error=p99_error,
            settle_s=settle_s,
            warmup=2,
            batches=(2,),
            screen=screen,
            timeout_s=timeout_s,
            memory_mb=1500,
        ),
        hardware=schema.Hardware(
            threads=threads, batches=batches, streams=streams, machine=machine, price_per_hour=3.6, candidates=candidates
        ),
        export=schema.Export(
            precisions=("fp32",), conf=0.25, calibration_images=1, parity_images=1, max_drop={"fp32": 0.001, "bf16": 0.005}
        ),
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
    parity = {"fp32": {"drop": 0.125, "max_rel_error": 1e-5}}
    (folder / "parity.json").write_text(json.dumps(parity))
    return {
        "raw": raw, "dataset": root, "champion": folder / "champion", "exported": folder / "exported",
        "parity": folder / "parity.json",
    }  # fmt: skip


IMPORTED = "import sys; from tasks import measure; print(*{name.partition('.')[0] for name in sys.modules})"


@pytest.fixture
def odd_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Candidates are looked for among `ENGINES`."""
    package = tmp_path / "odd_engines"
    package.mkdir()
    for name, text in {"__init__": "", **ENGINES}.items():
        (package / f"{name.replace('-', '_')}.py").write_text(text, encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    monkeypatch.setattr(stage, "Job", lambda **values: Job(**values | {"package": "odd_engines"}))
    monkeypatch.setattr(stage, "REFERENCE", "unknown-fp32")


@pytest.mark.usefixtures("odd_engines")
def test_candidates_that_cannot_run_are_rows_that_say_why(inputs: dict[str, Path], tmp_path: Path) -> None:
    names = [f"{name}-fp32" for name in ENGINES if not name.startswith("hanging")]
    rows = measured(inputs, tmp_path / "report", *names, "reading-int8")
    assert {name: row["status"] for name, row in rows.items()} == {
        "unknown-fp32": "failed",
        "crashing-fp32": "failed",
        "zeros-fp32": "ok",
        "sleepy-fp32": "ok",
        "crashing-later-fp32": "failed",
        "leaking-fp32": "memory",
        "reading-fp32": "failed",
        "absent-fp32": "not available",
        "refusing-fp32": "failed",
        "reading-int8": "not available",
    }
    assert "expected one of absent, crashing" in rows["unknown-fp32"]["message"]
    assert rows["crashing-fp32"]["message"] == rows["crashing-later-fp32"]["message"] == "died of SIGSEGV"
    assert "expected at most 1500 MB" in rows["leaking-fp32"]["message"]
    assert "sightline[tensorrt]" in rows["absent-fp32"]["message"]
    assert rows["refusing-fp32"]["message"] == "bf16: no such thing here"
    assert "not the file that model.json describes" in rows["reading-fp32"]["message"]
    assert "no file int8, got fp32: see parity.json" in rows["reading-int8"]["message"]
    limits = schema.Constraints(
        max={"p99_ms": rows["sleepy-fp32"]["p50_ms"] / 2},
        min={"fitness": 0.9},
        licence=(),
        objective="p99_ms",
        weights={},
        margin=0,
    )
    reasons = {each["candidate"]: " ".join(each["reasons"]) for each in choose(list(rows.values()), limits)["candidates"]}
    assert "fitness 0" in reasons["zeros-fp32"], "what returns zeros is named"
    assert rows["sleepy-fp32"]["p50_ms"] > 20
    assert "p99_ms" in reasons["sleepy-fp32"], "and so is what sleeps"
    assert "died of SIGSEGV" in (tmp_path / "report" / "benchmark.md").read_text()


@pytest.mark.usefixtures("odd_engines")
def test_what_hangs_is_killed(inputs: dict[str, Path], tmp_path: Path) -> None:
    rows = measured(inputs, tmp_path / "report", "hanging-fp32", "hanging-later-fp32", timeout_s=4)
    for name in ("hanging-fp32", "hanging-later-fp32"):
        assert (rows[name]["status"], "4 s" in rows[name]["message"]) == ("timeout", True)


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        (15.0, (10.0, 15.0, 20.0, "")),
        (30.0, (10.0, 30.0, 30.5, "")),
        (-10.0, (-10.5, -10.0, 20.0, "")),
        (20.0, (10.0, 20.0, 20.5, "")),
        (41.0, (10.0, 20.0, 20.0, ", off the picture")),
        (-11.0, (10.0, 10.0, 20.0, ", off the picture")),
    ],
)
def test_a_bound_is_drawn_unless_it_is_far_away(limit: float, expected: tuple[float, float, float, str]) -> None:
    """The axis goes from 10 to 20."""
    assert benchmark_report.axis_with(limit, 10.0, 20.0) == expected


def test_another_machine_is_refused(inputs: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match=r"hardware\.machine: this is .*, expected 'the big one'"):
        benchmark(Paths(**inputs, report=tmp_path / "report"), config((), machine="the big one"))


def test_machine_says_what_it_is() -> None:
    here = machine.describe()
    assert here["cores"] >= 1
    assert here["processor"] in here["name"]
    assert "numpy" in here["libraries"]
    json.dumps(here)


class Fake:
    """In place of a candidate's process: the medians of its windows are given by name, and what it is asked is kept."""

    asked: ClassVar[list[tuple[str, str]]] = []
    medians: ClassVar[dict[str, list[float]]] = {}
    failing: ClassVar[tuple[str, str]] = ("", "")
    from_window: ClassVar[int] = 0
    growth_mb: ClassVar[dict[str, float]] = {}
    fitness: ClassVar[dict[str, float]] = {}
    warm_ms: ClassVar[float] = 1.0
    limits_s: ClassVar[dict[str, float]] = {}

    def __init__(self, module: str, memory_mb: float) -> None:
        self.alive, self.windows, self.pid = True, 0, 0

    def ask(self, command: dict[str, Any], timeout_s: float, sessions: int = 1) -> dict[str, Any]:
        name = command["do"]
        if name == "load":
            self.name = command["candidate"]
        self.asked.append((name, self.name))
        self.limits_s[name] = timeout_s
        if (name, self.name) == self.failing and self.windows >= self.from_window:
            return {"status": "memory", "message": "too much"}
        found: dict[str, Any] = {
            "times_ms": [1.0],
            "frames_s": 30.0,
            "streams": 2,
            "images_s": 1000.0,
            "rss_mb": 3.0,
            "load_ms": 1.0,
            "first_ms": 1.0,
            "warm_ms": self.warm_ms,
            "facts": {},
            "size_mb": 1.0,
        }
        if name == "window":
            times = self.medians.get(self.name, [1.0])
            found = {
                "times_ms": [times[min(self.windows, len(times) - 1)]] * 2,
                "cpu_percent": 1.0,
                "rss_mb": 2.0 + self.windows * self.growth_mb.get(self.name, 0.0),
            }
            self.windows += 1
        if name == "accuracy":
            found = {"metrics": {"fitness": self.fitness.get(self.name, 0.5), "precision": 0.25}}
        return {"status": "ok", "message": "", **found}

    def close(self) -> None:
        self.alive = False


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    monkeypatch.setattr(rounds, "Worker", Fake)
    Fake.asked, Fake.medians, Fake.failing, Fake.from_window, Fake.growth_mb = [], {}, ("", ""), 0, {}
    Fake.fitness, Fake.warm_ms, Fake.limits_s = {}, 1.0, {}
    return Fake


def measured(inputs: dict[str, Path], report: Path, *names: str, **settings: Any) -> dict[str, dict[str, Any]]:
    benchmark(Paths(**inputs, report=report), config(names, **settings))
    return read_rows(report)


def test_metric_does_not_overwrite_the_column_of_its_name(inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]) -> None:
    row = measured(inputs, tmp_path / "report")["pytorch-fp32"]
    assert row["precision"] == "fp32"
    assert row["metric/precision"] == 0.25


def test_candidates_take_turns_until_their_windows_agree(inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]) -> None:
    fake.medians = {
        "pytorch-fp32": [30.0, 20.0, 10.0, 10.5, 10.9],  # three in turn within 10 %
        "restless-fp32": [1.0, 2.0] * 5,
    }
    rows = measured(inputs, tmp_path / "report", "calm-fp32", "restless-fp32")
    windows = [name for command, name in fake.asked if command == "window"]
    assert windows[:6] == ["pytorch-fp32", "calm-fp32", "restless-fp32", "calm-fp32", "restless-fp32", "pytorch-fp32"]
    assert Counter(windows) == dict.fromkeys(("pytorch-fp32", "calm-fp32", "restless-fp32"), 10), "the same rounds for all"
    assert {name: row["is_stable"] for name, row in rows.items()} == {
        "pytorch-fp32": True, "calm-fp32": True, "restless-fp32": False,
    }  # fmt: skip
    assert rows["pytorch-fp32"]["p50_ms"] == 10.9, "the mean of the middle half of what came from where it was stable"
    assert "No three windows in turn of restless-fp32 were" in (tmp_path / "report" / "benchmark.md").read_text()
    assert rows["calm-fp32"]["cost_per_million"] == 1.0, "1,000 images/s on all cores at 3.6 an hour"


def test_what_grows_from_window_to_window_is_named(inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]) -> None:
    fake.growth_mb = {"leaky-fp32": 1.0}
    rows = measured(inputs, tmp_path / "report", "leaky-fp32")
    assert rows["leaky-fp32"]["message"] == "rss_mb grew from 2 to 4 from the first to the last of 3 windows: it may leak"
    assert (rows["leaky-fp32"]["status"], rows["pytorch-fp32"]["message"]) == ("ok", "")


def test_what_grows_until_it_ends_keeps_both_its_messages(inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]) -> None:
    fake.growth_mb, fake.failing = {"leaky-fp32": 1.0}, ("video", "leaky-fp32")
    message = measured(inputs, tmp_path / "report", "leaky-fp32")["leaky-fp32"]["message"]
    assert message.endswith("of 3 windows: it may leak; video_fps: memory: too much")


def test_a_candidate_that_could_win_is_measured_until_its_p99_is_known(
    inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]
) -> None:
    fake.medians = {name: [1.0, 1.05] * 500 for name in ("pytorch-fp32", "close-fp32")}
    report = tmp_path / "report"
    rows = measured(inputs, report, "close-fp32", "calm-fp32", p99_error=0.006, settle_s=60)
    assert {name: row["windows"] for name, row in rows.items()} == {
        "pytorch-fp32": 3, "close-fp32": 63, "calm-fp32": 20,
    }, "a reference cannot win"  # fmt: skip
    assert 0.005 < rows["close-fp32"]["p99_error"] <= 0.006
    assert rows["close-fp32"]["p99_ms"] == pytest.approx(1.025, abs=0.002)


def test_time_to_settle_ends(inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]) -> None:
    fake.medians = {"close-fp32": [1.0, 1.05] * 5000}
    rows = measured(inputs, tmp_path / "report", "close-fp32", p99_error=1e-9, settle_s=0.05)
    assert rows["close-fp32"]["windows"] > 3
    assert rows["close-fp32"]["p99_error"] > 1e-9


def test_three_rounds_are_enough_where_all_agree(inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]) -> None:
    rows = measured(inputs, tmp_path / "report", "calm-fp32")
    assert Counter(fake.asked)["window", "calm-fp32"] == 3
    assert rows["calm-fp32"]["p99_error"] is None, "of the one window in the middle nothing is known"


@pytest.mark.parametrize(("samples", "size", "fewest"), [(1, 1, 3), (10, 4, 3), (300, 100, 3), (301, 100, 4), (1000, 100, 10)])
def test_windows_are_a_hundred_requests_at_most(samples: int, size: int, fewest: int) -> None:
    job = Job("a-fp32", "", "", 0.5, [], 0, "", "", "")
    contender = rounds.Contender({}, job, config((), samples=samples).benchmark, judged=1)
    assert (contender.window_size, contender.fewest) == (size, fewest)


def test_the_p99_of_windows_is_not_below_that_of_all_requests() -> None:
    """As NumPy's default would be, the second slowest of 100."""
    times = np.random.default_rng(0).exponential(1.0, (2000, 100))
    found, _ = trimmed_mean([rounds._summary(window.tolist())["p99_ms"] for window in times])
    assert 1.0 <= found / np.log(100) <= 1.1
    assert trimmed_mean(np.percentile(times, 99, axis=1).tolist())[0] / np.log(100) < 0.95


def test_what_a_row_can_do_without_does_not_end_it(inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]) -> None:
    fake.failing = ("video", "small-fp32")
    row = measured(inputs, tmp_path / "report", "small-fp32")["small-fp32"]
    assert (row["status"], row["fitness"], row["video_fps"], row["streams_images_s"]) == ("ok", 0.5, None, 1000.0)
    assert row["message"] == "video_fps: memory: too much"
    assert row["batch2_images_s"] == 1000.0


def test_what_all_sessions_bring_is_the_only_base_of_the_cost(
    inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]
) -> None:
    """One request in flight is another figure."""
    fake.failing, fake.from_window = ("batch", "small-fp32"), 1
    rows = measured(inputs, tmp_path / "report", "small-fp32")
    assert rows["small-fp32"]["cost_per_million"] == 1.0
    assert rows["pytorch-fp32"]["cost_per_million"] is None, "a reference has one session"


@pytest.mark.parametrize(("warm_ms", "limit_s"), [(10.0, 120.0), (3000.0, 126.0)])
def test_a_slow_model_has_time_for_a_window(
    warm_ms: float, limit_s: float, inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]
) -> None:
    """Four requests and ten before them, three times as long as they take; and all images that judge."""
    judged = len(Dataset.read(inputs["raw"], inputs["dataset"]).samples("val"))
    fake.warm_ms = warm_ms
    measured(inputs, tmp_path / "report", "small-fp32")
    assert fake.limits_s["window"] == limit_s
    assert fake.limits_s["accuracy"] == pytest.approx(120 * max(1, judged / 4, 3 * judged * warm_ms / 1000 / 120))


def test_arithmetic_that_export_did_not_judge_passes_its_gate_here(
    inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]
) -> None:
    fake.fitness = {"openvino-cpu-bf16": 0.49, "openvino-cpu-bf16-t2": 0.496, "onnxruntime-cpu-fp32": 0.4}
    rows = measured(inputs, tmp_path / "report", "openvino-cpu-bf16", "openvino-cpu-bf16-t2", "onnxruntime-cpu-fp32")
    status = {name: (row["status"], row["parity_drop"]) for name, row in rows.items()}
    assert status == {
        "pytorch-fp32": ("ok", None),
        "openvino-cpu-bf16": ("failed", 0.01),
        "openvino-cpu-bf16-t2": ("ok", 0.004),
        "onnxruntime-cpu-fp32": ("ok", 0.125),
    }, "of the last the gate of export has spoken"
    assert rows["openvino-cpu-bf16"]["message"] == (
        "fitness 0.4900, expected at most 0.005 (export.max_drop.bf16) below the reference's 0.5000: "
        "`sightline evaluate models/exported --candidate openvino-cpu-bf16`, in the folder of this run, repeats it"
    )


def test_candidates_that_are_screened_out_do_not_wait_loaded(inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]) -> None:
    fake.medians = {"quick-fp32": [5.0], "quick-fp32-t2": [9.0]}
    measured(inputs, tmp_path / "report", "quick-fp32", "other-fp32", threads=(1, 2))
    loads = [name for command, name in fake.asked if command == "load"]
    assert loads == ["pytorch-fp32", "quick-fp32", "quick-fp32-t2", "other-fp32", "other-fp32-t2"]
    assert fake.asked.index(("window", "quick-fp32-t2")) < fake.asked.index(("load", "other-fp32"))


def test_memory_of_all_sessions_of_a_service_is_measured_before_what_would_count(
    inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]
) -> None:
    rows = measured(inputs, tmp_path / "report", "small-fp32")
    assert (rows["small-fp32"]["rss_mb"], rows["small-fp32"]["streams_rss_mb"]) == (2.0, 3.0)
    assert rows["pytorch-fp32"]["streams_rss_mb"] is None, "a reference has one session"
    names = [command for command, name in fake.asked if name == "small-fp32"]
    assert names.index("streams") < names.index("accuracy")
    fake.failing = ("streams", "small-fp32")
    row = measured(inputs, tmp_path / "again", "small-fp32")["small-fp32"]
    assert (row["status"], row["message"]) == ("memory", "too much"), "a service could not run it"


class Counting:
    """In place of a predictor: counts the images that it is given."""

    def __init__(self) -> None:
        self.images, self.description = 0, SimpleNamespace(max_batch=8)

    def warm_up(self) -> None:
        pass

    def batch(self, files: list[bytes], conf: float) -> None:
        self.images += len(files)


@pytest.mark.parametrize(("size", "samples", "images"), [(1, 33, 33), (8, 33, 40), (16, 1, 16)])
def test_all_images_of_a_batch_are_counted(size: int, samples: int, images: int, monkeypatch: pytest.MonkeyPatch) -> None:
    bench, predictors = Bench.__new__(Bench), [Counting(), Counting()]
    bench.size, bench.requests, bench.predictor = size, [b"a", b"b"], cast("Any", predictors[0])
    bench.job, bench.warm_ms = Job("a-fp32", "", "", 0.5, [], 0, "", "", ""), 20.0
    monkeypatch.setattr(bench, "_predictor", lambda: predictors[1])
    monkeypatch.setattr("tasks.measure.time.perf_counter", iter([0.0, 2.0]).__next__)
    assert bench.streams(2, samples)["images_s"] == images, "two sessions, in two seconds"
    assert [each.images for each in predictors] == [images, images]
    monkeypatch.setattr("tasks.measure.time.perf_counter", iter([0.0, 2.0]).__next__)
    bench.streams(2, samples, least_ms=1000)
    assert predictors[0].images - images == max(images, 50 * size), "of 20 ms each"
    assert bench.batch(9, samples) == {"images_s": None}, "more than the model takes"


def test_requests_with_cold_caches_do_not_count() -> None:
    bench, predictor = Bench.__new__(Bench), Counting()
    bench.size, bench.next, bench.requests, bench.predictor = 2, 0, [b"a", b"b"], cast("Any", predictor)
    bench.job = Job("a-fp32", "", "", 0.5, [], 0, "", "", "")
    assert len(bench.window(5)["times_ms"]) == 5
    assert predictor.images == 2 * (COLD + 5)


def test_energy_is_that_of_all_requests_of_a_window(
    inputs: dict[str, Path], tmp_path: Path, fake: type[Fake], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds, "Meter", lambda: SimpleNamespace(read=lambda: 110.0))
    rows = measured(inputs, tmp_path / "report", "calm-fp32", samples=300)
    assert rows["calm-fp32"]["energy_j"] == 1.0, "a hundred that count, and ten before them"


def test_numbers_of_threads_that_are_best_at_nothing_are_screened_out(
    inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]
) -> None:
    """Two threads have the least latency, one the most images/s of a core, four are slower than two."""
    fake.medians = {"quick-fp32": [5.0], "quick-fp32-t2": [3.0], "quick-fp32-t4": [4.0]}
    rows = measured(inputs, tmp_path / "report", "quick-fp32", threads=(1, 2, 4))
    assert {name: row["status"] for name, row in rows.items()} == {
        "pytorch-fp32": "ok", "quick-fp32": "ok", "quick-fp32-t2": "ok", "quick-fp32-t4": "screened out",
    }  # fmt: skip
    assert rows["quick-fp32-t4"]["message"] == (
        "p50_ms 4, 250 images/s, 62.5 a thread at a short look, quick-fp32-t2 has p50_ms 3, 333 images/s, 167 a thread"
    )
    assert Counter(fake.asked)["window", "quick-fp32-t4"] == 2


def test_all_are_measured_where_nothing_is_screened(inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]) -> None:
    fake.medians = {"quick-fp32": [5.0], "quick-fp32-t2": [9.0]}
    rows = measured(inputs, tmp_path / "report", "quick-fp32", threads=(1, 2), screen=False)
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert Counter(fake.asked)["window", "quick-fp32-t2"] == 3


def test_what_disturbs_one_window_is_not_the_candidates_tail(inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]) -> None:
    fake.medians = {"quick-fp32": [5.0, 5.4, 5.0]}
    row = measured(inputs, tmp_path / "report", "quick-fp32")["quick-fp32"]
    assert (row["p50_ms"], row["p99_ms"], row["throughput"]) == (5.0, 5.0, 200.0)


def test_a_larger_batch_is_measured_where_it_brings_more_images(
    inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]
) -> None:
    """At 4 threads: 200, 250 and 240 images/s; at 1 thread 100 with any, which is more for each thread."""
    fake.medians = {f"quick-fp32{t}{b}": [ms] for t, b, ms in [
        ("-t4", "", 5.0), ("-t4", "-b2", 8.0), ("-t4", "-b3", 12.5), ("", "", 10.0), ("", "-b2", 20.0), ("", "-b3", 30.0),
    ]}  # fmt: skip
    rows = measured(inputs, tmp_path / "report", "quick-fp32", threads=(1, 4), batches=(1, 2, 3))
    assert [name for name, row in rows.items() if row["status"] == "ok"] == [
        "pytorch-fp32",
        "quick-fp32",
        "quick-fp32-t4",
        "quick-fp32-t4-b2",
    ]
    assert "quick-fp32-t4-b2 has p50_ms 8, 250 images/s" in rows["quick-fp32-t4-b3"]["message"]
    assert "quick-fp32 has p50_ms 10, 100 images/s, 100 a thread" in rows["quick-fp32-b2"]["message"]
    assert rows["quick-fp32-t4-b2"]["throughput"] == 250.0
    assert rows["quick-fp32-t4-b2"]["batch"] == 2


def test_a_number_of_threads_that_crashes_screens_out_no_other(
    inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]
) -> None:
    fake.medians = {"quick-fp32": [5.0], "quick-fp32-t2": [3.0]}
    fake.failing, fake.from_window = ("window", "quick-fp32-t2"), 1
    rows = measured(inputs, tmp_path / "report", "quick-fp32", threads=(1, 2))
    assert {name: row["status"] for name, row in rows.items()} == {
        "pytorch-fp32": "ok", "quick-fp32": "ok", "quick-fp32-t2": "memory",
    }  # fmt: skip


def test_a_candidate_with_numbers_of_its_own_is_one(inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]) -> None:
    rows = measured(inputs, tmp_path / "report", "a-fp32-t4", "a-fp32", "a-fp32-b8", threads=(1, 4))
    assert list(rows) == ["pytorch-fp32", "a-fp32-t4", "a-fp32", "a-fp32-b8"]


def test_streams_are_part_of_a_candidate(inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]) -> None:
    fake.medians = {"a-fp32-s2": [2.0]}
    rows = measured(inputs, tmp_path / "report", "a-fp32", "a-fp32-t2-s4", threads=(1,), streams=(2, 1))
    assert list(rows) == ["pytorch-fp32", "a-fp32-s1", "a-fp32-s2", "a-fp32-t2-s4"]
    assert {row["status"] for row in rows.values()} == {"ok"}, "a look at one session tells nothing of streams"


def test_tensorrt_is_measured_and_not_shipped(inputs: dict[str, Path], tmp_path: Path, fake: type[Fake]) -> None:
    rows = measured(inputs, tmp_path / "report", "onnxruntime-tensorrt-fp16", "onnxruntime-cuda-fp16", "openvino-cpu-fp32")
    assert [row["shipped"] for row in rows.values()] == [False, False, True, True]


@pytest.mark.slow
def test_every_candidate_is_measured(inputs: dict[str, Path], tmp_path: Path) -> None:
    description = ModelDescription.read(inputs["champion"])
    parts = models.load(config(()).model, description.classes).parts(inputs["champion"] / WEIGHTS_FILE)
    folder = tmp_path / "exported"
    folder.mkdir()
    write_float_files(finish(join(export_parts(parts, description)), description), description, folder)
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
        assert row["samples"] >= 12, "three windows"
        assert min(row["bare_p50_ms"], row["batch2_images_s"], row["video_fps"], row["cpu_percent"]) > 0
        assert (row["streams_images_s"] or 0) > 0 or not row["shipped"]
        assert row["facts"]["threads"] == "1"
        assert metrics[f"{row['candidate']}/p99_ms"] == row["p99_ms"]
    assert rows["onnxruntime-cpu-fp32"]["rss_mb"] < 250 < rows["pytorch-fp32"]["rss_mb"], (
        "what measures accuracy is not counted"
    )
    assert [(row["parity_drop"], row["parity_error"]) for row in rows.values()] == [
        (None, None),
        (0.125, 1e-5),
        (0.0, None),
    ], "the gate ran ONNX Runtime"
    assert rows["onnxruntime-cpu-fp32"]["size_mb"] == pytest.approx((folder / "model.onnx").stat().st_size / 1e6, abs=1e-3)
    with (paths.report / "benchmark.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["candidate"] for line in lines] == list(rows)
    assert lines[0]["facts/library"] == "torch"
    assert (paths.report / "accuracy_latency.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_measured_with_what_a_service_has_not(inputs: dict[str, Path], tmp_path: Path) -> None:
    """`rss_mb` would count it."""
    done = subprocess.run([sys.executable, "-c", IMPORTED], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "numpy" in done.stdout
    assert not {"pydantic", "yaml", "psutil", "pynvml", "torch", "pandas", "matplotlib"} & set(done.stdout.split())
