"""What a tracker records of a stage, and of the pipeline run that it belongs to."""

import hashlib
import json
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import psutil
import yaml

from tasks.schema import read_params

LAST = "package"
"""The pipeline has run when this stage has."""
METADATA_FILE = "dataset_metadata.json"
"""That of `tasks.provenance`, which an import here would make a dependency of every stage."""
CHANGE_NO_RESULT = ("conf_digest", "executor", "storage", "tracking")


def pipeline_of(root: Path = Path()) -> dict[str, Any]:
    """The pipeline run that this project is in: its commit, its params, and an id made of both."""
    params = {key: value for key, value in read_params(root / "params.yaml").items() if key not in CHANGE_NO_RESULT}
    digest = hashlib.sha256(json.dumps(params, sort_keys=True).encode()).hexdigest()[:16]
    commit = _commit(root)
    names = [str(params.get(group, {}).get("name", "")) for group in ("model", "dataset")]
    name = "-".join([*(name for name in names if name), digest[:8]])
    return {"id": f"{commit[:12]}-{digest}", "name": name, "commit": commit, "digest": digest, "params": params}


def stage_record(stage: str, config: Mapping[str, Any], status: str, written: Iterable[Path] = ()) -> dict[str, Any]:
    """What to record of a stage that runs in this process.

    Args:
        stage: The stage's name.
        config: The sections of params.yaml that it reads.
        status: How it ended: FINISHED, FAILED, or KILLED.
        written: The files and folders that it wrote.
    """
    process = psutil.Process()
    return {
        "kind": "stage",
        "stage": stage,
        "pipeline": pipeline_of(),
        "status": status,
        "is_last": status == "FINISHED" and stage == LAST,
        "key": None,
        "error": None,
        "config": dict(config),
        "metrics": {},
        "dataset": _dataset([*_dependencies(stage), *(str(path) for path in written)]),
        "pid": process.pid,
        "start_ms": int(process.create_time() * 1000),
    }


def _dependencies(stage: str) -> list[str]:
    """A stage's dependencies, as dvc.yaml names them."""
    if not Path("dvc.yaml").is_file():
        return []
    stages = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    return [str(path) for path in stages.get(stage, {}).get("deps", [])]


def _dataset(folders: list[str]) -> dict[str, str] | None:
    """The dataset that a stage reads, or describes: its name and digest."""
    for path in (Path(folder) / METADATA_FILE for folder in folders):
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
