"""Who wins, who loses and why, and what is said when nobody wins."""

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from flows.compose import compose_constraints
from sightline.errors import AnswerIsNo, SightlineError
from tasks.schema import Constraints
from tasks.select import Config, Paths, select
from tasks.selection import choose, to_markdown

ROOT = Path(__file__).parents[2]


def row(candidate: str, **values: Any) -> dict[str, Any]:
    """A measured row of the benchmark."""
    defaults = {
        "p50_ms": 9.0,
        "p99_ms": 10.0,
        "throughput": 100.0,
        "rss_mb": 100.0,
        "size_mb": 12.0,
        "fitness": 0.5,
        "mAP50": 0.8,
    }
    fixed = {"candidate": candidate, "shipped": True, "status": "ok", "message": "", "licence": "MIT", "drop": 0.0}
    return {**fixed, **defaults, **values}


def constraints(**values: Any) -> Constraints:
    fixed = {"max": {}, "min": {}, "licence": (), "objective": "p99_ms", "weights": {}, "margin": 0.0}
    return Constraints(**{**fixed, **values})


ROWS = [
    row("pytorch-fp32", shipped=False, p99_ms=1.0),
    row("onnxruntime-cpu-fp32", p99_ms=10.0),
    row("onnxruntime-cpu-int8", p99_ms=5.0, drop=0.02, fitness=0.48, mAP50=0.7),
    row("openvino-cpu-fp32", p99_ms=8.0, rss_mb=300.0, licence="Apache-2.0"),
    {"candidate": "tensorrt-fp16", "shipped": True, "status": "not available", "message": "no GPU", "licence": "MIT"},
]


@pytest.mark.parametrize(
    ("limits", "winner"),
    [
        ({}, "onnxruntime-cpu-int8"),
        ({"max": {"drop": 0.01}}, "openvino-cpu-fp32"),
        ({"max": {"drop": 0.01, "rss_mb": 200}}, "onnxruntime-cpu-fp32"),
        ({"min": {"mAP50": 0.8}}, "openvino-cpu-fp32"),
        ({"max": {"p99_ms": 8.0}, "min": {"mAP50": 0.8}}, "openvino-cpu-fp32"),
        ({"licence": ("Apache-2.0",)}, "openvino-cpu-fp32"),
        ({"objective": "rss_mb"}, "onnxruntime-cpu-fp32"),
        ({"objective": "throughput"}, "onnxruntime-cpu-fp32"),
        ({"objective": "weighted", "weights": {"p99_ms": 1}}, "onnxruntime-cpu-int8"),
        ({"objective": "weighted", "weights": {"p99_ms": 1, "rss_mb": 9}, "max": {"drop": 0.01}}, "onnxruntime-cpu-fp32"),
        ({"objective": "weighted", "weights": {"p99_ms": 9, "rss_mb": 1}, "max": {"drop": 0.01}}, "openvino-cpu-fp32"),
        ({"max": {"drop": 0.01}, "margin": 0.24}, "openvino-cpu-fp32"),
        ({"max": {"drop": 0.01}, "margin": 0.25}, "onnxruntime-cpu-fp32"),
    ],
)
def test_winner(limits: dict[str, Any], winner: str) -> None:
    selection = choose(ROWS, constraints(**limits))
    assert selection["winner"] == winner
    lines = to_markdown(selection)
    assert all(each["candidate"] in lines for each in ROWS)
    assert all(entry["reasons"] for entry in selection["candidates"])


@given(
    st.permutations(ROWS),
    st.sampled_from(["p99_ms", "p50_ms", "throughput", "rss_mb", "size_mb", "weighted"]),
    st.sampled_from([0.0, 0.02, 0.3]),
)
def test_order_of_the_rows_does_not_matter(rows: list[dict[str, Any]], objective: str, margin: float) -> None:
    weights = {"p99_ms": 0.3, "throughput": 0.1, "rss_mb": 0.6}
    limits = constraints(objective=objective, weights=weights, margin=margin, max={"drop": 0.01})
    assert choose(rows, limits) == choose(ROWS, limits)


ANY_ROW = st.builds(
    lambda number, **values: row(f"candidate-{number}", **values),
    st.integers(0, 50),
    p99_ms=st.floats(0.1, 100),
    rss_mb=st.floats(1, 1000),
    fitness=st.floats(0, 1),
    drop=st.floats(-0.1, 0.1),
)


@given(st.lists(ANY_ROW, min_size=1, max_size=8, unique_by=lambda each: each["candidate"]), st.randoms())
def test_the_winner_meets_the_constraints_and_is_within_the_margin_of_the_best(rows: list[dict[str, Any]], random: Any) -> None:
    limits = constraints(max={"drop": 0.01, "rss_mb": 500}, margin=0.1)
    selection = choose(rows, limits)
    valid = [each for each in rows if each["drop"] <= 0.01 and each["rss_mb"] <= 500]
    if not valid:
        assert selection["winner"] is None
        assert selection["nearest"]
        return
    winner = next(each for each in valid if each["candidate"] == selection["winner"])
    best = min(each["p99_ms"] for each in valid)
    tied = [each for each in valid if each["p99_ms"] / best <= 1.1]
    assert winner in tied
    assert winner["fitness"] == max(each["fitness"] for each in tied)
    random.shuffle(rows)
    assert choose(rows, limits) == selection


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"p99_ms": 4.0}, {"p99_ms": 5.0, "fitness": 0.9}),
        ({"p99_ms": 9.9}, {"p99_ms": 9.8, "fitness": 0.4}),
        ({"p99_ms": 9.8}, {"p99_ms": 9.9}),
        ({"fitness": 0.6}, {"fitness": 0.5, "rss_mb": 1.0}),
        ({"rss_mb": 50.0}, {"rss_mb": 60.0}),
        ({}, {}),
    ],
)
def test_ties_are_broken_in_the_order_that_is_written(first: dict[str, Any], second: dict[str, Any]) -> None:
    rows = [row("b", **second), row("a", **first)]
    assert choose(rows, constraints(margin=0.02))["winner"] == "a"


def test_what_the_objective_asks_must_be_measured() -> None:
    selection = choose([row("a", energy_j=None), row("b", energy_j=2.0)], constraints(objective="energy_j"))
    assert selection["winner"] == "b"
    assert selection["candidates"][0]["reasons"] == ["energy_j not measured, which is the objective"]
    nobody = choose([row("a", energy_j=None)], constraints(objective="energy_j"))
    assert nobody["nearest"] == ["a: energy_j not measured: choose another constraints.objective than energy_j"]


def test_a_tie_is_told_as_one() -> None:
    selection = choose([row("a", p99_ms=10.1, fitness=0.6), row("b", p99_ms=10.0)], constraints(margin=0.02))
    first, second = (each["reasons"][0] for each in selection["candidates"])
    assert first.startswith("p99_ms 10.1, one of 2 within 2% of the best; fitness 0.6; chosen by the higher fitness")
    assert second.startswith("p99_ms 10.0, a tie with the winner's p99_ms 10.1")


def test_a_drop_that_nobody_measured_names_the_reference() -> None:
    rows = [{**ROWS[-1], "candidate": "pytorch-fp32", "status": "failed", "message": "no memory"}]
    rows.append({key: value for key, value in row("a").items() if key != "drop"})
    with pytest.raises(
        SightlineError, match=r"max\.drop: .* needs the reference, pytorch-fp32, which is failed: no memory: mend that"
    ):
        choose(rows, constraints(max={"drop": 0.01}))


def test_a_bound_on_what_this_machine_does_not_measure_says_so() -> None:
    with pytest.raises(
        SightlineError, match=r"max\.energy_j: measured of no candidate, .*: set constraints\.max\.energy_j=null"
    ):
        choose([row("a", energy_j=None)], constraints(max={"energy_j": 1.0}))


def test_what_may_leak_or_is_not_stable_is_told_of_the_winner_too() -> None:
    leak = "rss_mb grew from 90 to 140: it may leak"
    selection = choose([row("a", message=leak, is_stable=False), row("b", p99_ms=20.0, is_stable=True)], constraints())
    assert selection["winner"] == "a"
    assert selection["candidates"][0]["reasons"][1:] == ["its windows did not agree, so its latency is uncertain", leak]
    assert len(selection["candidates"][1]["reasons"]) == 1
    assert leak in to_markdown(selection)


def test_a_p99_that_is_not_known_to_the_margin_is_told_where_it_matters() -> None:
    rows = [row("a", p99_error=0.026), row("b", p99_ms=20.0, p99_error=0.009), row("c", p99_ms=30.0, p99_error=None)]
    told = [each["reasons"][1:] for each in choose(rows, constraints(margin=0.01))["candidates"]]
    assert told == [["its p99_ms is known to ±2.6%"], [], []]
    by_memory = choose(rows, constraints(margin=0.01, objective="rss_mb"))
    assert not [each for each in by_memory["candidates"] if each["reasons"][1:]]
    lost = choose(rows, constraints(margin=0.01, max={"p99_ms": 9.8}))["candidates"][0]["reasons"]
    assert lost[1:] == ["its p99_ms is known to ±2.6%"], "10 ms may be less"
    assert not choose(rows, constraints(margin=0.01, max={"p99_ms": 9.0}))["candidates"][0]["reasons"][1:]


def test_a_choice_by_memory_needs_no_latency() -> None:
    rows = [{key: value for key, value in row(name).items() if key != "p99_ms"} for name in "ab"]
    assert choose(rows, constraints(objective="rss_mb"))["winner"] == "a"


def test_a_service_that_takes_more_memory_than_a_session_is_told() -> None:
    rows = [row("a", streams=4, streams_rss_mb=350.0), row("b", p99_ms=20.0, streams=1, streams_rss_mb=100.0)]
    first, second = (each["reasons"][1:] for each in choose(rows, constraints(max={"rss_mb": 200}))["candidates"])
    assert first == ["a service takes 350.0 MB with all its sessions at work (4): bound streams_rss_mb"]
    assert second == []
    assert not choose(rows, constraints())["candidates"][0]["reasons"][1:], "nobody asked"


@pytest.mark.parametrize(("margin", "text"), [(0.005, "0.5%"), (0.025, "2.5%"), (0.07, "7%")])
def test_the_margin_is_told_as_it_is(margin: float, text: str) -> None:
    selection = choose([row("a"), row("b")], constraints(margin=margin))
    assert f"Within {text} of the best it is a tie" in to_markdown(selection)
    assert f"one of 2 within {text} of the best" in selection["candidates"][0]["reasons"][0]


def test_weights_without_weight_are_refused() -> None:
    with pytest.raises(ValueError, match=r"constraints\.weights\.p99_ms"):
        constraints(objective="weighted", weights={"p99_ms": 0})


def test_reference_never_wins() -> None:
    selection = choose(ROWS, constraints())
    entry = next(each for each in selection["candidates"] if each["candidate"] == "pytorch-fp32")
    assert not entry["satisfies_constraints"]
    assert "not shipped" in entry["reasons"][0]


@pytest.mark.parametrize("kind", ["min", "max"])
def test_a_column_that_this_task_has_not_names_the_nearest(kind: str) -> None:
    with pytest.raises(SightlineError, match=rf"constraints\.{kind}\.AP50/p99_ms.*did you mean p99_ms\?"):
        choose(ROWS, constraints(**{kind: {"AP50/p99_ms": 5}}))
    with pytest.raises(SightlineError, match=rf"constraints\.{kind}\.accuracy_top1"):
        choose(ROWS, constraints(**{kind: {"accuracy_top1": 0.5}}))


def test_what_was_not_measured_meets_no_constraint() -> None:
    selection = choose([row("a", drop=None), row("b", p99_ms=50.0)], constraints(max={"drop": 0.5}))
    assert selection["winner"] == "b"
    assert "drop not measured" in selection["candidates"][0]["reasons"][0]


def test_nearest_miss_says_what_to_relax_and_by_how_much() -> None:
    selection = choose(ROWS, constraints(max={"p99_ms": 4.0, "drop": 0.01}))
    assert selection["winner"] is None
    first, *_ = selection["nearest"]
    assert first == ("openvino-cpu-fp32: p99_ms 8.0, expected at most 4 (off by 4 or 100%): set constraints.max.p99_ms=8.0"), (
        "two broken constraints are further away than one"
    )
    relaxed = choose(ROWS, constraints(max={"p99_ms": 8.0, "drop": 0.01}))
    assert relaxed["winner"] == "openvino-cpu-fp32", "the remedy works"


@pytest.mark.parametrize(
    ("column", "relaxed"),
    [("p99_ms", {"p99_ms": 10.0}), ("p95_ms", {"p95_ms": 7.0}), ("AP50/car", {"AP50/car": 0.4}), ("energy_j", {})],
)
def test_the_remedy_is_an_override_that_works(column: str, relaxed: dict[str, float]) -> None:
    rows = [row("a", **{"p95_ms": 7.0, "AP50/car": 0.4, "energy_j": None}), row("reference", shipped=False, energy_j=2.0)]
    bare = [f"constraints.max.{each}=null" for each in ("drop", "rss_mb", "p99_ms")]
    strict = compose_constraints([*bare, f"+constraints.max={{{column}: 0.1}}"], ROOT)
    (nearest,) = choose(rows, strict)["nearest"]
    (remedy,) = shlex.split(nearest.rpartition(": set ")[2])
    mended = compose_constraints([*(each for each in bare if column not in each), remedy], ROOT)
    assert mended.max == relaxed
    assert choose(rows, mended)["winner"] == "a"


def test_no_candidate_writes_why_and_says_no(tmp_path: Path) -> None:
    write_benchmark(tmp_path / "benchmark")
    paths = Paths(benchmark=tmp_path / "benchmark", report=tmp_path / "report")
    with pytest.raises(AnswerIsNo, match=r"set constraints\.max\.p99_ms=5"):
        select(paths, Config(constraints=constraints(max={"p99_ms": 4.0})))
    assert json.loads((paths.report / "selection.json").read_text())["winner"] is None
    assert "The nearest misses" in (paths.report / "selection.md").read_text()
    assert (paths.report / "accuracy_latency.png").is_file()


@pytest.mark.parametrize(("limit", "code"), [(20, 0), (1, 1)])
def test_command_exits_with_the_answer(tmp_path: Path, limit: float, code: int) -> None:
    write_benchmark(tmp_path / "benchmark")
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    chosen = {"max": {"p99_ms": limit}, "min": {}, "licence": [], "objective": "p99_ms", "weights": {}, "margin": 0.02}
    params |= {
        "constraints": chosen,
        "tracking": {"mlflow": False, "tensorboard": False, "wandb": False, "uri": None, "experiment": "x"},
    }
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "tasks.select", "--benchmark", "benchmark", "--report", "report"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert (tmp_path / "report" / "selection.md").is_file()
    assert "Traceback" not in done.stderr


def write_benchmark(folder: Path) -> None:
    folder.mkdir()
    (folder / "benchmark.json").write_text(json.dumps({"machine": {}, "task": "detect", "model": "m", "rows": ROWS}))
