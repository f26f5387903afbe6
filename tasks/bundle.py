"""What stands beside the model in a package: the runtime's wheel, locked requirements, container files and documents."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template
from typing import Any

from sightline import postprocess
from sightline.engines import Candidate, find
from sightline.errors import SightlineError

ROOT = Path(__file__).parents[1]
TEMPLATES = ROOT / "infra" / "service"
_EPOCH = "315532800"  # 1980-01-01, the first date that a ZIP can hold
GPU_COMPOSE = "    gpus: all\n"
"""What a service on a GPU needs besides, at the end of compose.yaml."""


def build_wheel(out: Path) -> Path:
    """Builds the wheel of `sightline` into `out`, offline; the same code gives the same bytes.

    Raises:
        SightlineError: The build failed.
    """
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out.resolve())]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": _EPOCH}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    wheels = sorted(out.glob("sightline-*.whl"))
    if done.returncode or len(wheels) != 1:
        raise SightlineError(f"the wheel of sightline: build failed: {done.stderr.strip() or done.stdout.strip()}")
    return wheels[0]


def requirements(extra: str) -> Path:
    """Where the locked requirements of the service with an engine's library are, if there are any."""
    return ROOT / "requirements" / f"serve-{extra}.txt"


def write_requirements(out: Path, extra: str) -> None:
    """Copies the locked requirements of the service with the extra that brings an engine's library.

    Raises:
        SightlineError: It has none.
    """
    path = requirements(extra)
    if not path.is_file():
        there = ", ".join(sorted(file.name for file in path.parent.glob("serve-*.txt")))
        raise SightlineError(f"requirements/{path.name}: not there, got {there}: add it to `make lock`")
    shutil.copyfile(path, out / "requirements.txt")


def write_documents(out: Path, manifest: Mapping[str, Any], data: Mapping[str, Any], wheel: str) -> None:
    """Writes Dockerfile, compose.yaml, README.md and MODEL_CARD.md from infra/service.

    Args:
        out: The package.
        manifest: The content of its manifest.json.
        data: The content of dataset_metadata.json.
        wheel: The wheel's file name.
    """
    (out / ".dockerignore").write_text("*.md\n.venv\n", encoding="utf-8")
    shutil.copyfile(TEMPLATES / "Dockerfile", out / "Dockerfile")
    compose = (TEMPLATES / "compose.yaml").read_text(encoding="utf-8")
    on_gpu = find(Candidate.parse(manifest["candidate"]).engine).on_gpu
    (out / "compose.yaml").write_text(compose + GPU_COMPOSE * on_gpu, encoding="utf-8")
    values = _values(manifest, data) | {"wheel": wheel}
    for name in ("README.md", "MODEL_CARD.md"):
        text = Template((TEMPLATES / name).read_text(encoding="utf-8")).substitute(values)
        (out / name).write_text(text, encoding="utf-8")


def _values(manifest: Mapping[str, Any], data: Mapping[str, Any]) -> dict[str, str]:
    model, measurements = manifest["model"], manifest["measurements"]
    spec, calibration, task, classes = model["input"], model["calibration"], model["task"], model["classes"]
    numbers = {
        key: value for key, value in measurements.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
    return {
        "name": manifest["name"],
        "model": model["name"],
        "task": task,
        "count": f"{len(classes)} {'class' if len(classes) == 1 else 'classes'}",
        "classes": ", ".join(classes),
        "candidate": manifest["candidate"],
        "licence": model["licence"],
        "input": f"{spec['width']}x{spec['height']} RGB, {spec['resize']}, {spec['kernel']}",
        "calibration": f"{calibration['images']} images of the training split" if calibration else "none needed",
        "answer": _answer(task, classes),
        "ask": postprocess.load(task).HOW,
        "data": _table({key: _flat(value) for key, value in data.items() if _flat(value) is not None}),
        "test": _table(manifest["test"]),
        "measurements": _table(numbers),
        "machine": ", ".join(f"{key} {value}" for key, value in manifest["machine"].items()),
    }


def _flat(value: Any) -> Any:
    """A value for a table: a scalar as it is, counts by name in one line; None for what is more than that."""
    if isinstance(value, dict) and all(isinstance(count, int) for count in value.values()):
        return ", ".join(f"{name} {count}" for name, count in value.items())
    return None if isinstance(value, dict | list) else value


def _answer(task: str, classes: Sequence[str]) -> str:
    """An answer as the service gives it."""
    example: postprocess.Result = postprocess.load(task).EXAMPLE
    return json.dumps({"task": task, "width": 640, "height": 480, **example.to_json(classes)}, ensure_ascii=False)


def _table(values: Mapping[str, Any]) -> str:
    rows = [f"| {key} | {value:.4g} |" if isinstance(value, float) else f"| {key} | {value} |" for key, value in values.items()]
    return "\n".join(["| | |", "|---|---|", *rows])
