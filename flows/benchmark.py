"""The verbs of `sightline` that measure a model of one's own, and choose its engine, without a run: benchmark, select."""

import argparse
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import yaml

from flows import project
from flows.compose import compose_constraints, compose_params
from sightline.contract import dump_json, sha256_of
from sightline.errors import SightlineError
from tasks.benchmark_report import JSON_FILE
from tasks.recognise import recognise
from tasks.select import write
from tasks.selection import choose, to_markdown
from tasks.stage import QUIET

STAGES: Final = ("ingest", "benchmark")
"""The first and the last that are run, of dvc.yaml, in its order."""
REPORT: Final = Path("reports/benchmark")
MARK: Final = ".sightline-benchmark"
"""The file by which a folder is known as one of these: what it holds may be replaced."""
NEEDED: Final = ("candidate", "shipped", "licence", "fitness", "rss_mb")
"""Columns that no choice is made without."""


def benchmark(arguments: list[str]) -> int:
    """Exports a model of your own to each precision and measures each engine on your data."""
    parser = argparse.ArgumentParser(
        prog="sightline benchmark",
        description=f"{benchmark.__doc__} Nothing is trained: its files are compared with it, and each engine is measured.",
    )
    parser.add_argument("model", type=Path, metavar="MODEL", help="an ONNX file or weights, as `model.weights` takes them")
    parser.add_argument("--data", type=Path, required=True, help="a labelled dataset: a folder or a ZIP, of any format")
    parser.add_argument(
        "--as", dest="name", metavar="NAME", help="its architecture: a file of conf/model (an ONNX file says it by itself)"
    )
    parser.add_argument(
        "--out", type=Path, help="where files and reports go (default: work/models/<name and checksum of the file>)"
    )
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="e.g. model.imgsz=640 hardware.threads=[1,2]")
    options = parser.parse_intermixed_args(arguments)
    project.check()
    if not options.model.is_file():
        raise SightlineError(f"{options.model}: no file, expected a model: name an ONNX file or weights")
    if not options.data.exists():
        raise SightlineError(f"{options.data}: not there: name a labelled dataset")
    digest = sha256_of(options.model)
    out = options.out or Path("work/models") / f"{options.model.stem}-{digest[:8]}"
    if out.is_dir() and any(out.iterdir()) and not (out / MARK).is_file():
        raise SightlineError(
            f"--out: {out}: got a folder with files of another origin, expected a new or empty one: name another"
        )
    source = "folder" if options.data.is_dir() else "zip"
    if options.name is None and options.model.suffix != ".onnx":
        raise SightlineError(f"{options.model}: weights do not say their architecture: name it, e.g. --as yolov8n")
    named = [f"model={options.name}"] if options.name else recognise(options.model)
    if not options.name:
        print(f"{options.model}: taken for {' '.join(named)}; --as takes it for another", flush=True)
    given = [
        *named,
        f"model.weights={_quoted(options.model.resolve())}",
        f"model.weights_sha256={digest}",
        f"dataset={source}",
        f"dataset.path={_quoted(options.data.resolve())}",
        "tracking=none",
    ]
    text = compose_params([*given, *options.overrides])
    (out / "data").mkdir(parents=True, exist_ok=True)
    (out / MARK).write_text(f"{options.model.resolve()}\n", encoding="utf-8")
    (out / "params.yaml").write_text(text, encoding="utf-8")
    (out / project.SOURCE_FILE).write_text(dump_json({}), encoding="utf-8")
    commands = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    environment = {**os.environ, **QUIET, "PYTHONPATH": str(Path.cwd())}
    first, last = map(list(commands).index, STAGES)
    for stage in list(commands)[first : last + 1]:
        command = shlex.split(commands[stage]["cmd"].removeprefix("exec python"))
        code = subprocess.run([sys.executable, *command], cwd=out, env=environment, check=False).returncode
        if code:
            return code
    print((out / REPORT / "benchmark.md").read_text(encoding="utf-8"))
    print(f"Choose: sightline select {out / REPORT} constraints.max.p99_ms=20")
    return 0


def select(arguments: list[str]) -> int:
    """Chooses from a benchmark the candidate that meets constraints, and says why each other lost."""
    parser = argparse.ArgumentParser(prog="sightline select", description=select.__doc__)
    parser.add_argument(
        "benchmark", type=Path, metavar="BENCHMARK", nargs="?", default=REPORT, help="a folder with benchmark.json"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="e.g. constraints.max.p99_ms=20 constraints.objective=rss_mb"
    )
    parser.add_argument("--out", type=Path, metavar="FOLDER", help="writes selection.md, .json and the plot there")
    options = parser.parse_intermixed_args(arguments)
    if "=" in str(options.benchmark) and not options.benchmark.exists():
        options.benchmark, options.overrides = REPORT, [str(options.benchmark), *options.overrides]
    project.check()
    path = options.benchmark / JSON_FILE if options.benchmark.is_dir() else options.benchmark
    table = _read(path)
    constraints = compose_constraints(options.overrides)
    selection = choose(table["rows"], constraints)
    print(to_markdown(selection))
    if options.out:
        write(selection, table, constraints, options.out)
    return 0 if selection["winner"] else 1


def _quoted(path: Path) -> str:
    """A path as Hydra takes any of them: backslashes count where a quote follows, which they escape."""
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), str(path)) + "'"


def _read(path: Path) -> dict[str, Any]:
    """A benchmark.json.

    Raises:
        SightlineError: It is none.
    """
    try:
        table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not table["rows"] or not isinstance(table["model"], str) or not isinstance(table["task"], str):
            raise KeyError("rows")
        for row in table["rows"]:
            needed = NEEDED if row["status"] == "ok" else ("candidate", "message")
            if any(row.get(key) is None for key in needed):
                raise KeyError("candidate")
    except OSError as error:
        raise SightlineError(f"{path}: {error.strerror}: name a folder with {JSON_FILE}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise SightlineError(f"{path}: no {JSON_FILE} of the stage benchmark: run it again") from None
    return table
