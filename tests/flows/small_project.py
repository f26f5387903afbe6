"""A small project with the real configuration and stages that take no time."""

import shutil
import subprocess
import sys
from pathlib import Path

from flows import compose, processes, project

ROOT = Path(__file__).parents[2]

DVC_YAML = """
stages:
  config:
    cmd: python -m tasks.config --conf conf --out reports/config.txt
    deps: [conf]
    params: [{params.yaml: }]
    outs: [reports/config.txt]
  ingest:
    cmd: python stages.py ingest --source data/source.json --out data/raw
    deps: [data/source.json, reports/config.txt]
    params: [dataset]
    outs: [data/raw]
  fingerprint:
    cmd: python stages.py fingerprint --raw data/raw --report reports/fingerprint
    deps: [data/raw]
    outs: [reports/fingerprint]
  train:
    cmd: python stages.py train --raw data/raw --fingerprint reports/fingerprint --model models/baseline --report reports/train
    deps: [data/raw, reports/fingerprint, stages.py]
    params: [train]
    outs: [models/baseline, reports/train]
  evolve:
    cmd: python stages.py evolve --baseline models/baseline --report reports/evolve
    deps: [models/baseline]
    params: [space, strategy]
    outs: [reports/evolve]
  package:
    cmd: >-
      python stages.py package --baseline models/baseline --evolved reports/evolve
      --out dist/${package.name} --report reports/package
    deps: [models/baseline, reports/evolve]
    params: [package]
    outs: ['dist/${package.name}', reports/package]
"""

STAGES = """
import os, struct, sys, time, zlib
from dataclasses import dataclass
from pathlib import Path

from sightline.contract import dump_json
from sightline.errors import AnswerIsNo, SightlineError
from tasks import schema, stage
from tasks.progress import Progress

METADATA = {"content_hash": "c0ffee" * 10, "images": 3, "splits": {"train": 3}, "objects": 4, "classes": ["car"]}
MANIFEST = {"model": {"name": "tiny", "licence": "MIT"}, "candidate": "onnxruntime-cpu-fp32", "test": {"mAP50": 0.4}}


class Nothing(schema.Section):
    pass


@dataclass(frozen=True)
class IngestPaths:
    source: Path
    out: stage.Output


class IngestConfig(schema.Section):
    dataset: schema.Dataset


def ingest(paths: IngestPaths, config: IngestConfig) -> None:
    paths.out.mkdir()
    (paths.out / "a.txt").write_text(paths.source.read_text())


@dataclass(frozen=True)
class FingerprintPaths:
    raw: Path
    report: stage.Output


def fingerprint(paths: FingerprintPaths, config: Nothing) -> None:
    paths.report.mkdir()
    (paths.report / "dataset_metadata.json").write_text(dump_json(METADATA))


@dataclass(frozen=True)
class TrainPaths:
    raw: Path
    fingerprint: Path
    model: stage.Output
    report: stage.Output


class TrainConfig(schema.Section):
    train: schema.Train


def train(paths: TrainPaths, config: TrainConfig) -> dict[str, float]:
    paths.model.mkdir()
    paths.report.mkdir()
    if config.train.seed == 666:
        raise SightlineError("seed 666, expected another: set train.seed")
    if config.train.seed == 668 and not Path("failed").exists():
        Path("failed").touch()
        raise SightlineError("the network is down")
    if config.train.seed == 667:
        with Path("answers").open("a") as file:
            file.write("no\\n")
        raise AnswerIsNo("no model is good enough")
    rows = ["epoch,train/loss,val/mAP50(B)"]
    with Progress("train", config.train.epochs, "epochs") as progress:
        for epoch in range(1, config.train.epochs + 1):
            if os.environ.get("SLOW"):
                Path("started").write_text(str(os.getpid()))
                time.sleep(1)
            rows.append(f"{epoch},{1 / epoch},{epoch / 100}")
            progress.update(note=f"mAP50 {epoch / 100}")
    (paths.report / "results.csv").write_text("\\n".join(rows) + "\\n")
    (paths.report / "curve.png").write_bytes(png())
    (paths.model / "weights.txt").write_text(str(config.train.lr0))
    return {"mAP50": 0.5, "fitness": 0.25}


@dataclass(frozen=True)
class EvolvePaths:
    baseline: Path
    report: stage.Output


class EvolveConfig(schema.Section):
    space: dict[str, schema.Dimension]
    strategy: schema.Strategy


def evolve(paths: EvolvePaths, config: EvolveConfig) -> dict[str, float]:
    paths.report.mkdir()
    (paths.report / "trials.csv").write_text("trial,lr0,fitness,status\\n0,0.01,0.2,ok\\n1,0.02,0.3,ok\\n")
    return {"fitness": 0.3}


@dataclass(frozen=True)
class PackagePaths:
    baseline: Path
    evolved: Path
    out: stage.Output
    report: stage.Output


class PackageConfig(schema.Section):
    package: schema.Package


def package(paths: PackagePaths, config: PackageConfig) -> dict[str, float]:
    paths.out.mkdir()
    paths.report.mkdir()
    (paths.out / "manifest.json").write_text(dump_json({**MANIFEST, "weights": (paths.baseline / "weights.txt").read_text()}))
    (paths.out / "model.onnx").write_text("model")
    return {"mAP50": 0.4}


def png(side: int = 64) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\\0" + bytes((x * 4, y * 4, 128)[c] for x in range(side) for c in range(3)) for y in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


if __name__ == "__main__":
    function = globals()[sys.argv.pop(1)]
    stage.main(function)
"""

GITIGNORE = "/data/raw\n/models\n/reports\n/dist\n/work\n/mlflow\n__pycache__\nstarted\nfailed\nanswers\n"


def shell(*command: str, cwd: Path | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
    """Runs a command with this environment's programs."""
    environment = {**processes.environment(), **env}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False, timeout=300)


def dvc(*arguments: str, cwd: Path | None = None, **env: str) -> "subprocess.CompletedProcess[str]":
    """Runs DVC."""
    return shell(sys.executable, "-m", "dvc", *arguments, cwd=cwd, **env)


def make_project(root: Path) -> None:
    """Writes the small project, a git and DVC repository, into `root`."""
    root.mkdir(parents=True)
    shutil.copytree(ROOT / "conf", root / "conf")
    shutil.copytree(
        ROOT / "flows" / "hydra_plugins", root / "flows" / "hydra_plugins", ignore=shutil.ignore_patterns("__pycache__")
    )
    (root / "dvc.yaml").write_text(DVC_YAML)
    (root / "stages.py").write_text(STAGES)
    (root / ".gitignore").write_text(GITIGNORE)
    (root / ".dvcignore").write_text("__pycache__\n")
    shell("git", "init", "-q", cwd=root)
    dvc("init", "-q", cwd=root)
    shutil.copy(ROOT / ".dvc" / "config", root / ".dvc" / "config")


def commit(root: Path) -> None:
    """Commits all that git does not ignore."""
    shell("git", "add", "-A", cwd=root)
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    done = shell("git", *identity, "commit", "-qm", "state", cwd=root)
    assert done.returncode == 0, done.stderr


def prepare(*overrides: str) -> None:
    """Composes params.yaml in the current folder, notes the source, and commits all."""
    compose.write_params(["tracking=none", *overrides])
    project.write_source()
    commit(Path())
