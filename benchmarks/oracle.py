"""Whether the selection is right: the winner of `sightline benchmark` with that of a much longer measurement, the oracle.

    python benchmarks/oracle.py --out benchmarks/oracle.md yolov8n:256,160=weights.pt=../shared/data/bccd ...

Each NAME:SIZE,...=WEIGHTS=DATA is an architecture of conf/model, sides of its input in pixels, trained weights, and a labelled
folder. At each size the stages of `sightline benchmark` run with their default settings and `hardware.threads=[1,2]`, which
screens the numbers of threads shortly. The oracle screens nothing: each engine, precision and number of threads is measured in
full, all of them in turns and to a smaller `p99_error`, some times over, and the median counts. Its runs stand before and after
the standard one, so that a machine that drifts favours neither.

From both tables `tasks.selection.choose` picks by the same constraints. The claim holds where, in the oracle's table, the
objective of the selected candidate is at most 3% worse than that of the oracle's pick, and breaks no constraint by more than
`constraints.margin`. Ties go by the written rule in both tables: where several are within that margin of the best objective the
more accurate one is picked, so a ratio below 1 is a selected candidate that is faster than the oracle's pick.

A bound, but for that on drop, stands in the widest gap between the oracle's values: it tells candidates apart, and noise does
not move one across it. Exits with 1 where the claim fails. Needs quiet cores; `--again` judges tables of an earlier run.
"""

import argparse
import datetime
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import yaml

from flows.benchmark import REPORT, STAGES
from flows.compose import compose_params
from sightline.contract import dump_json, sha256_of
from tasks.benchmark_report import JSON_FILE
from tasks.constraints import violations
from tasks.schema import Constraints, parse
from tasks.selection import HIGHER_IS_BETTER, choose
from tasks.stage import QUIET

ROOT = Path(__file__).parents[1]
THREADS: Final = (1, 2)
TOLERANCE: Final = 0.03  # by which the selected candidate's objective may be worse
P99_ERROR: Final = 0.008  # of a run of the oracle, as a share
DROP: Final = 0.01  # of the metric, the default of conf/constraints
Row = Mapping[str, Any]
Table = Sequence[Row]


@dataclass(frozen=True)
class Model:
    """What is measured: an architecture at a size, in pixels, with weights, on a labelled folder."""

    name: str
    size: int
    weights: Path
    data: Path

    def compose(self, *overrides: str) -> str:
        """The text of params.yaml, as `sightline benchmark` composes it."""
        given = [
            *(f"model={self.name}", f"model.imgsz={self.size}", f"model.weights={self.weights.resolve()}"),
            *(f"model.weights_sha256={sha256_of(self.weights)}", "dataset=folder", f"dataset.path={self.data.resolve()}"),
            "tracking=none",
        ]
        return compose_params([*given, *overrides], ROOT)


@dataclass(frozen=True)
class Measured:
    """Both tables of a model, how the oracle's runs differ, and the machine."""

    standard: Table
    oracle: Table
    spread: list[float]  # of each shipped candidate: its largest p99 of the oracle's runs over its smallest, less 1
    machine: Mapping[str, Any]


@dataclass(frozen=True)
class Outcome:
    """What was picked from both tables by the same constraints.

    Attributes:
        selected: From the standard table; None where no candidate meets the constraints.
        expected: From the oracle's.
        ratio: The objective of the selected one over that of the expected one, in the oracle's table; above 1 is worse.
        excess: By how much the selected one breaks a constraint in the oracle's table, as a share of the limit.
    """

    model: Model
    constraints: Constraints
    selected: str | None
    expected: str | None
    ratio: float
    excess: float

    @property
    def is_right(self) -> bool:
        return self.ratio <= 1 + TOLERANCE and self.excess <= self.constraints.margin


def models_of(text: str) -> list[Model]:
    """Takes NAME:SIZE,...=WEIGHTS=DATA apart."""
    head, *paths = text.split("=")
    name, _, sizes = head.partition(":")
    if len(paths) != 2 or not all(size.isdigit() for size in sizes.split(",")):
        raise argparse.ArgumentTypeError(f"got {text}, expected NAME:SIZE,...=WEIGHTS=DATA")
    weights, data = map(Path, paths)
    if not weights.is_file() or not data.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: got no such weights or data, expected a file and a folder")
    return [Model(name, int(size), weights, data) for size in sizes.split(",")]


def run_stage(name: str, folder: Path, params: str) -> None:
    """Runs a stage of dvc.yaml in `folder` with these parameters."""
    (folder / "params.yaml").write_text(params)
    command = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][name]["cmd"].removeprefix("exec python")
    environment = {**os.environ, **QUIET, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *shlex.split(command)], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{name}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def measure(model: Model, folder: Path, rounds: int, samples: int, standard: int | None) -> None:
    """Exports the model once, and measures it in both ways.

    Args:
        model: What to measure.
        folder: An empty folder to work in, where the tables stay.
        rounds: Runs of the oracle.
        samples: Requests of each of these for each candidate.
        standard: Requests of the standard benchmark; None for its default.
    """
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "source.json").write_text(dump_json({}))
    stages = list(yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"])
    first, last = map(stages.index, STAGES)
    threads = f"hardware.threads={list(THREADS)}".replace(" ", "")
    usual = [threads, *([f"benchmark.samples={standard}"] if standard else [])]
    for stage in stages[first:last]:
        run_stage(stage, folder, model.compose(*usual))
    counts = [f"benchmark.samples={samples}", f"benchmark.p99_error={P99_ERROR}"]
    long = [[threads, *counts, "benchmark.screen=false", "benchmark.batches=[]"]] * rounds
    middle = rounds // 2
    for index, overrides in enumerate([*long[:middle], usual, *long[middle:]]):
        label = "standard" if overrides is usual else "oracle"
        print(f"{model.name} {model.size} px: run {index + 1} of {len(long) + 1}, {label}", file=sys.stderr, flush=True)
        run_stage(stages[last], folder, model.compose(*overrides))
        (folder / f"{index}.json").write_text((folder / REPORT / JSON_FILE).read_text())


def read(folder: Path, rounds: int) -> Measured:
    """What the tables of both ways say, which `measure` left in `folder`."""
    if (found := len(list(folder.glob("[0-9]*.json")))) != rounds + 1:
        raise SystemExit(f"{folder}: {found} tables, expected {rounds + 1}: give the models and --rounds of that run")
    tables = [json.loads((folder / f"{index}.json").read_text()) for index in range(rounds + 1)]
    shortly = tables.pop(rounds // 2)
    oracle, spread = merge([table["rows"] for table in tables])
    return Measured(shortly["rows"], oracle, spread, shortly["machine"])


def merge(tables: Sequence[Table]) -> tuple[Table, list[float]]:
    """A row of each candidate with the median of each column over the tables, and by how much its p99s differ."""
    found: dict[str, list[Row]] = {}
    for table in tables:
        for row in table:
            found.setdefault(row["candidate"], []).append(row)
    rows, spread = [], []
    for each in found.values():
        failed = [row for row in each if row["status"] != "ok"]
        if failed:
            rows.append(failed[0])
            continue
        columns = [key for key in each[0] if all(isinstance(row.get(key), float) for row in each)]
        rows.append({**each[0], **{key: statistics.median(row[key] for row in each) for key in columns}})
        if each[0]["shipped"] and len(each) > 1:
            times = [row["p99_ms"] for row in each]
            spread.append(max(times) / min(times) - 1)
    return rows, spread


def bound(rows: Table, column: str) -> float:
    """Halfway between the neighbours among the rows' values that differ most, as a share."""
    values = sorted(float(row[column]) for row in rows if row["status"] == "ok" and row["shipped"])
    low, high = max(pairwise(values), key=lambda pair: pair[1] / max(pair[0], 1e-9), default=(values[0], values[0]))
    return (low + high) / 2


def combinations(oracle: Table) -> list[Constraints]:
    """Constraints with bounds that bind on this model."""
    default: dict[str, Any] = yaml.safe_load(compose_params([], ROOT))["constraints"]
    chosen: list[dict[str, Any]] = [
        {"objective": "p50_ms", "max": {"drop": DROP}},
        {"objective": "p99_ms", "max": {"drop": DROP}},
        {"objective": "p99_ms", "max": {"size_mb": bound(oracle, "size_mb")}},
        {"objective": "p99_ms", "max": {"rss_mb": bound(oracle, "rss_mb")}},
        {"objective": "throughput", "min": {"fitness": bound(oracle, "fitness")}},
        {"objective": "rss_mb", "max": {"p99_ms": bound(oracle, "p99_ms"), "drop": DROP}},
        {
            "objective": "weighted",
            "weights": {"p99_ms": 1, "rss_mb": 1},
            "max": {"drop": DROP, "size_mb": bound(oracle, "size_mb")},
        },
    ]
    return [parse(Constraints, {**default, "max": {}, "min": {}, **each}) for each in chosen]


def compare(model: Model, measured: Measured, constraints: Constraints) -> Outcome:
    """Picks from both tables, and looks the picks up in the oracle's."""
    selected, judged = choose(measured.standard, constraints)["winner"], choose(measured.oracle, constraints)
    rows = {row["candidate"]: row for row in measured.oracle if row["status"] == "ok"}
    valid = [rows[each["candidate"]] for each in judged["candidates"] if each["satisfies_constraints"]]
    if selected == judged["winner"]:
        ratio = 1.0
    elif selected not in rows or not valid:
        ratio = float("inf")
    else:
        cost = cost_among(valid, constraints)
        ratio = cost(rows[selected]) / cost(rows[judged["winner"]])
    broken = violations(rows[selected], constraints) if selected in rows else []
    return Outcome(model, constraints, selected, judged["winner"], ratio, max((each.excess for each in broken), default=0.0))


def cost_among(rows: Table, constraints: Constraints) -> Callable[[Row], float]:
    """The objective so that less is better and 1 the best: the weighted mean of each column's ratio to the best of `rows`."""
    is_weighted = constraints.objective == "weighted"
    weights = {str(key): weight for key, weight in constraints.weights.items() if weight} if is_weighted else {}
    weights = weights or {constraints.objective: 1.0}
    best = {column: (max if column in HIGHER_IS_BETTER else min)(float(row[column]) for row in rows) for column in weights}

    def loss(row: Row, column: str) -> float:
        value = float(row[column])
        return best[column] / value if column in HIGHER_IS_BETTER else value / best[column]

    def cost(row: Row) -> float:
        return sum(weight * loss(row, column) for column, weight in weights.items()) / sum(weights.values())

    return cost


def write_constraints(constraints: Constraints) -> str:
    limits = [f"{column} <= {limit:.4g}" for column, limit in constraints.max.items()]
    return ", ".join([*limits, *(f"{column} >= {limit:.4g}" for column, limit in constraints.min.items())])


def write_noise(model: Model, measured: Measured) -> str:
    """A model's row of the second table: how far the measurements themselves agree."""
    oracle = {row["candidate"]: row["p99_ms"] for row in measured.oracle if row["status"] == "ok" and row["shipped"]}
    against = [
        abs(row["p99_ms"] / oracle[row["candidate"]] - 1)
        for row in measured.standard
        if row["status"] == "ok" and row["candidate"] in oracle
    ]
    shares = [f"{statistics.median(each):.1%} | {max(each):.1%}" if each else "- | -" for each in (measured.spread, against)]
    times = sorted(oracle.values())
    return f"| {model.name} | {model.size} | {len(oracle)} | {times[0]:.2f}-{times[-1]:.2f} | {' | '.join(shares)} |"


def to_markdown(measured: Mapping[Model, Measured], outcomes: Sequence[Outcome], options: argparse.Namespace) -> str:
    """The record."""
    machine = next(iter(measured.values())).machine
    libraries = ", ".join(f"{name} {version}" for name, version in machine["libraries"].items())
    lines = [
        "# The selection against an oracle",
        "",
        f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}, {machine['name']}, {machine['memory_gb']} GB, {machine['system']}, "
        f"Python {machine['python']}, {libraries}: `python benchmarks/oracle.py`.",
        "",
        f"Standard: `sightline benchmark`, {options.standard or 'its default'} samples, threads screened. Oracle: "
        f"{options.rounds} runs around it, nothing screened, "
        f"{options.samples} samples of each candidate in each run at least, and more until the standard error of its p99 is "
        f"{P99_ERROR:.1%} or benchmark.settle_s are over; medians of the runs. Ratio: the objective of the selected "
        "candidate to that of the oracle's pick, in the oracle's table; above 1 is worse; below 1 is a tie that the oracle "
        "gave to the more accurate one, or a bound that the selected one is just beyond. Violation: by how much the selected "
        "one breaks a constraint in the oracle's table, as a share of the limit.",
        "",
        "| model | px | objective | constraints | selected | the oracle's | ratio | violation |",
        "|---|---:|---|---|---|---|---:|---:|",
    ]
    for each in outcomes:
        lines.append(
            f"| {each.model.name} | {each.model.size} | {each.constraints.objective} | {write_constraints(each.constraints)} "
            f"| {each.selected or 'none'} | {'the same' if each.selected == each.expected else each.expected or 'none'} "
            f"| {each.ratio:.3f} | {each.excess:.1%} |"
        )
    lines += [
        "",
        verdict(outcomes),
        "",
        "How far the measurements themselves differ, p99 of the candidates that ship: the oracle's runs from each other, and "
        "the standard benchmark from the oracle.",
        "",
        "| model | px | candidates | p99, ms | runs, median | worst | standard, median | worst |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
        *(write_noise(model, each) for model, each in measured.items()),
    ]
    return "\n".join([*lines, ""])


def verdict(outcomes: Sequence[Outcome]) -> str:
    same = sum(each.selected == each.expected for each in outcomes)
    wrong = sum(not each.is_right for each in outcomes)
    ratio, excess = max(each.ratio for each in outcomes), max(each.excess for each in outcomes)
    return (
        f"{len(outcomes)} combinations: the oracle's pick in {same}, the worst ratio {ratio:.3f}, the worst violation "
        f"{excess:.1%}. Within {TOLERANCE:.0%} of its objective and "
        f"{outcomes[0].constraints.margin:.0%} of each limit: {'every time' if not wrong else f'not in {wrong}'}."
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("models", nargs="+", type=models_of, metavar="NAME:SIZE,...=WEIGHTS=DATA")
    parser.add_argument("--rounds", type=int, default=2, help="runs of the oracle, half of them before the standard one")
    parser.add_argument("--samples", type=int, default=1000, help="requests of each of these for each candidate, at least")
    parser.add_argument("--standard", type=int, help="requests of the standard benchmark, to try this script")
    parser.add_argument("--out", type=Path, help="the record, Markdown")
    parser.add_argument("--work", type=Path, help="a new folder where the tables stay (default: none do)")
    parser.add_argument("--again", action="store_true", help="judge the tables of --work, and measure nothing")
    options = parser.parse_args()
    if options.rounds < 1 or options.samples < 1:
        parser.error("--rounds, --samples: expected at least 1")
    if (options.work is not None and options.work.exists()) != options.again:
        parser.error(f"--work: got {options.work}, expected a new folder, or with --again the one of an earlier run")
    with tempfile.TemporaryDirectory(prefix="sightline-bench-") as name:
        work, tables, outcomes = options.work or Path(name), {}, []
        for model in (each for group in options.models for each in group):
            folder = work / f"{model.name}-{model.size}"
            if not options.again:
                measure(model, folder, options.rounds, options.samples, options.standard)
            both = tables[model] = read(folder, options.rounds)
            outcomes += [compare(model, both, each) for each in combinations(both.oracle)]
    text = to_markdown(tables, outcomes, options)
    print(text)
    if options.out:
        options.out.write_text(text)
    return 0 if all(each.is_right for each in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
