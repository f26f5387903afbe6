"""dvc.yaml against the code: arguments, parameters, and the files that decide each stage's result."""

import dataclasses
import importlib
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml
from imports import closure, imports

from flows.compose import compose_params
from tasks.stage import fill_template

ROOT = Path(__file__).parents[2]

STAGES: dict[str, dict[str, Any]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
PARAMS = yaml.safe_load((ROOT / "params.yaml").read_text())

# How, not what: these carry a stage's arguments, errors and records and decide no result. A change of a value that they pass
# is a change of params.yaml. A stage whose figures go by one of them names it all the same.
CARRIERS = {
    "tasks/__init__.py",
    "tasks/stage.py",
    "tasks/schema.py",
    "tasks/variants.py",
    "tasks/parallel.py",
    "tasks/progress.py",
    "tasks/conf_digest.py",
    "sightline/__init__.py",
    "sightline/cores.py",
    "sightline/errors.py",
}
# Found by name: the variant that params.yaml names is the dependency, so that a new file reruns nothing.
VARIANTS = ("tasks/models/", "tasks/strategies/", "tasks/sources/")


def stage_types(name: str) -> tuple[type, type]:
    """A stage's Paths and Config."""
    hints = get_type_hints(getattr(importlib.import_module(f"tasks.{name}"), name), include_extras=True)
    return hints["paths"], hints["config"]


def is_variant(path: str) -> bool:
    """Whether a file is loaded by its name, which no import statement shows."""
    parts = path.split("/")
    return (len(parts) == 3 and not parts[-1].startswith("_")) or path == "tasks/measure.py"


def is_carrier(path: str) -> bool:
    return path in CARRIERS or path.startswith("tasks/trackers/")


@pytest.fixture(scope="module")
def choices() -> list[dict[str, Any]]:
    """params.yaml for each option of each group that names a variant, the others at their default."""
    needs = {
        "folder": ["dataset.path=x"],
        "zip": ["dataset.path=x.zip"],
        "s3": ["dataset.path=s3://bucket/x"],
        "http": ["dataset.path=https://example.org/x.zip", f"dataset.sha256={'0' * 64}"],
    }
    options = [
        (group, path.stem) for group in ("dataset", "model", "strategy") for path in (ROOT / "conf" / group).glob("*.yaml")
    ]
    given = [[f"{group}={name}", *needs.get(name, [])] for group, name in options]
    given.append(["model=resnet18", "model.task=multilabel"])
    return [yaml.safe_load(compose_params(overrides, ROOT)) for overrides in given]


@pytest.mark.parametrize("name", STAGES)
def test_code_that_decides_the_result_is_a_dependency(name: str, choices: list[dict[str, Any]]) -> None:
    deps = STAGES[name].get("deps", [])
    folders = {dep for dep in deps if (ROOT / dep).is_dir() and dep.split("/")[0] in ("sightline", "tasks")}
    run_by_any: set[str] = set()
    for params in choices:
        code = {fill_template(dep, params) for dep in deps if dep.endswith(".py")}
        runs: set[str] = set()
        inside = {file for folder in folders for file in (ROOT / folder).glob("*.py")}
        for start in {ROOT / "tasks" / f"{name}.py", *inside, *(ROOT / dep for dep in code if is_variant(dep))}:
            runs |= {file.relative_to(ROOT).as_posix() for file in closure(start)}
        runs = {path for path in runs if not is_carrier(path) and not any(path.startswith(f"{folder}/") for folder in folders)}
        assert sorted(runs - code) == [], f"stage {name} runs these files: add them to its deps in dvc.yaml"
        run_by_any |= runs
    fixed = {dep for dep in deps if dep.endswith(".py") and "${" not in dep}
    assert sorted(fixed - run_by_any - CARRIERS) == [], (
        f"stage {name} does not run these files: drop them from its deps in dvc.yaml"
    )


@pytest.mark.parametrize("name", STAGES)
def test_arguments_are_the_stage_s_paths_and_its_deps_and_outs(name: str) -> None:
    words = fill_template(STAGES[name]["cmd"], PARAMS).split()
    assert words[:4] == ["exec", "python", "-m", f"tasks.{name}"]
    given = dict(zip(words[4::2], words[5::2], strict=True))
    paths, _ = stage_types(name)
    hints = get_type_hints(paths, include_extras=True)
    roles = {field.name: (get_args(hints[field.name]) or (None, "input"))[1] for field in dataclasses.fields(paths)}
    expected = {f"--{field}" for field, role in roles.items() if role != "work"}
    assert set(given) == expected
    deps = {fill_template(dep, PARAMS) for dep in STAGES[name].get("deps", [])}
    outs = {fill_template(out, PARAMS) for out in STAGES[name].get("outs", [])}
    assert {given[f"--{field}"] for field, role in roles.items() if role == "output"} == outs
    assert {given[f"--{field}"] for field, role in roles.items() if role == "input"} <= deps


@pytest.mark.parametrize("name", [name for name in STAGES if name != "config"])
def test_declared_params_are_the_sections_that_the_stage_reads(name: str) -> None:
    _, config = stage_types(name)
    sections = {field.alias or key for key, field in config.model_fields.items()}  # type: ignore[attr-defined]
    assert sections == set(STAGES[name].get("params", []))
    assert not sections & {"executor", "storage", "tracking"}, "these change how, not what"


def test_every_stage_is_a_module_of_its_own() -> None:
    for name in STAGES:
        others = {f"tasks.{other}" for other in STAGES if other != name}
        assert not imports(ROOT / "tasks" / f"{name}.py") & others


def test_a_new_variant_is_no_stage_s_dependency() -> None:
    for stage in STAGES.values():
        for dep in stage.get("deps", []):
            assert dep.rstrip("/") + "/" not in VARIANTS, f"{dep}: a folder of variants: name the file by its setting"
