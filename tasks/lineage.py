"""Where a package comes from: data, code and the runs that made it."""

import subprocess
from pathlib import Path
from typing import Any

import yaml

from tasks.trackers._pipeline import pipeline_of

ROOT = Path(__file__).parents[1]


def lineage(dataset_hash: str) -> dict[str, Any]:
    """What the manifest says of a package's origin.

    Args:
        dataset_hash: The fingerprint's content hash.

    Returns:
        `dataset` (the hash), `git` (commit, and whether tracked files differ from it; null outside a repository), `dvc` (the
        hash of each output in dvc.lock, by path) and `mlflow_pipeline` (the tag `sightline.pipeline` of its run in MLflow).
    """
    return {
        "dataset": dataset_hash,
        "git": _git(),
        "dvc": _dvc(Path("dvc.lock")),
        "mlflow_pipeline": pipeline_of()["id"],
    }


def _git() -> dict[str, str | bool] | None:
    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False)
        except FileNotFoundError:  # no git on this machine
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit, changes = git("rev-parse", "HEAD"), git("status", "--porcelain", "--untracked-files=no")
    return None if commit is None else {"commit": commit, "dirty": changes != ""}


def _dvc(path: Path) -> dict[str, str]:
    """The outputs that earlier stages of this pipeline wrote; what package itself wrote before is left out."""
    if not path.is_file():
        return {}
    stages = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("stages", {})
    outs = [out for name, entry in stages.items() if name != "package" for out in entry.get("outs", [])]
    return {out["path"]: out["md5"] for out in sorted(outs, key=lambda out: str(out["path"])) if "md5" in out}
