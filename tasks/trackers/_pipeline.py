"""What a tracker records of a stage, and of the pipeline run that it belongs to."""

import hashlib
import json
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from tasks.schema import read_params

DATASET_FILE = "dataset_metadata.json"
CHANGE_NO_RESULT = ("conf_digest", "executor", "storage", "tracking")


def pipeline_of(root: Path = Path()) -> dict[str, Any]:
    """The pipeline run that this project is in: its commit, its params, and an id made of both."""
    params = {key: value for key, value in read_params(root / "params.yaml").items() if key not in CHANGE_NO_RESULT}
    digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:16]
    commit = _commit(root)
    names = [str(params.get(group, {}).get("name", "")) for group in ("model", "dataset")]
    name = "-".join([*(name for name in names if name), digest[:8]])
    return {"id": f"{commit[:12]}-{digest}", "name": name, "commit": commit, "digest": digest, "params": params}


def stage_record(
    stage: str, key: str, config: Mapping[str, Any], metrics: Mapping[str, float], outputs: Mapping[str, Path]
) -> tuple[dict[str, Any], bool]:
    """What to record of a stage, and whether no other stage reads its outputs: the pipeline ends with it."""
    dependencies = _dependencies()
    inputs = [*dependencies.get(stage, []), *(str(path) for path in outputs.values())]
    read_by_others = {path for paths in dependencies.values() for path in paths}
    is_last = not any(str(path) in read_by_others for path in outputs.values())
    record = {
        "kind": "stage",
        "stage": stage,
        "key": key,
        "pipeline": pipeline_of(),
        "is_last": is_last,
        "config": dict(config),
        "metrics": dict(metrics),
        "dataset": _dataset(inputs),
        "start_ms": int(psutil.Process().create_time() * 1000),
        "end_ms": int(time.time() * 1000),
    }
    return record, is_last


def _dependencies() -> dict[str, list[str]]:
    """Each stage's dependencies, as dvc.yaml names them."""
    if not Path("dvc.yaml").is_file():
        return {}
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return {name: [str(path) for path in stage.get("deps", [])] for name, stage in stages.items()}


def _dataset(folders: list[str]) -> dict[str, str] | None:
    """The dataset that a stage reads, or describes: its name and digest."""
    for path in (Path(folder) / DATASET_FILE for folder in folders):
        if path.is_file():
            content_hash = json.loads(path.read_text(encoding="utf-8"))["content_hash"]
            name = read_params().get("dataset", {}).get("name", "dataset")
            return {"name": name, "digest": content_hash, "path": path.as_posix()}
    return None


def _commit(root: Path) -> str:
    """The checked-out commit; `none` outside git, or before the first one."""
    try:
        result = subprocess.run(["git", "rev-parse", "HEAD"], cwd=root, capture_output=True, text=True, check=False)
    except FileNotFoundError:  # git is not installed
        return "none"
    return result.stdout.strip() if result.returncode == 0 else "none"
