"""Training, side by side: the stage `train` with `yolo detect train`, and ResNet-18 on Lightning with a bare PyTorch loop.

    python benchmarks/training.py [--epochs 4] [--images 1000 | --path ../shared/data/bccd] [OVERRIDE ...]

Detection: whole processes from start to end, on the same images and splits, from scratch, on the CPU, with no tracker.
Ultralytics' command runs as it does by default, and once more without validation and plots. Both results are measured by our
evaluation on the validation split. An OVERRIDE is one of ours alone, e.g. `train.optimizer=AdamW`.

Needs quiet cores: Ultralytics trains with one thread fewer than there are cores, ours with all, and threads that wait for each
other on busy cores lose most of their time.

Classification: epochs of drawn noise by `tasks.models._lightning.fit` and by a loop of plain PyTorch with the same network,
batches, precision, memory format and optimizer, in turns. All run one after the other in one go.
"""

import argparse
import csv
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

from flows.compose import compose_params

ROOT = Path(__file__).parents[1]
CORES = len(os.sched_getaffinity(0))
STAGES = {
    "ingest": "--source source.json --out raw",
    "validate": "--raw raw --tables tables --report findings",
    "transform": "--raw raw --tables tables --out dataset",
    "fingerprint": "--raw raw --dataset dataset --report fingerprint",
    "train": "--raw raw --dataset dataset --fingerprint fingerprint --model model --report report",
}
POLL_S = 0.02  # how often the checkpoint is looked at
CLASSES, SIDE = 10, 64  # of the drawn images


@dataclass(frozen=True)
class Run:
    """A training: seconds from start to end, seconds of an epoch after the first, and where its weights are."""

    total_s: float
    epoch_s: float
    weights: Path


def execute(command: list[str], work: Path, **environment: str) -> float:
    """Runs a command in `work`; its wall time, seconds."""
    begin = time.perf_counter()
    given = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, check=False, env=given)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:6])}: exit code {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return time.perf_counter() - begin


def stage(name: str, work: Path) -> float:
    return execute([sys.executable, "-m", f"tasks.{name}", *STAGES[name].split()], work)


@contextmanager
def times_of(folder: Path, name: str) -> Iterator[list[float]]:
    """Collects when a file of this name, below `folder`, was replaced, seconds."""
    seen: list[float] = []
    done = threading.Event()

    def watch() -> None:
        while not done.wait(POLL_S):
            for path in folder.rglob(name):
                try:
                    changed = path.stat().st_mtime
                except FileNotFoundError:
                    continue
                if not seen or changed > seen[-1]:
                    seen.append(changed)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        done.set()
        thread.join()


def epoch_of(times: list[float]) -> float:
    """The median step between the ends of epochs."""
    return statistics.median(later - earlier for earlier, later in pairwise(times))


def ours(work: Path) -> Run:
    with times_of(work / "work", "checkpoint.pt") as times:
        total = stage("train", work)
    return Run(total, epoch_of(times), work / "model" / "weights.pt")


def theirs(work: Path, model: dict[str, Any], train: dict[str, Any], name: str, *settings: str) -> Run:
    """Ultralytics' own command, which writes when each epoch ended into results.csv."""
    command = [
        *(str(Path(sys.executable).with_name("yolo")), "detect", "train", f"model={model['arch']}.yaml", "data=yolo/data.yaml"),
        *(f"imgsz={model['imgsz']}", f"batch={train['batch']}", f"epochs={train['epochs']}", f"seed={train['seed']}"),
        *("device=cpu", "pretrained=False", f"project={work / 'runs'}", f"name={name}", *settings),
    ]
    config = work / "ultralytics" / "Ultralytics"
    config.mkdir(parents=True, exist_ok=True)
    import matplotlib

    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    shutil.copy(font, config / "Arial.ttf")  # which it would download
    environment = {"YOLO_CONFIG_DIR": str(config.parent), "YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false"}
    execute([command[0], "settings", "mlflow=False", "tensorboard=False", "wandb=False"], work, **environment)
    total = execute(command, work, **environment)
    folder = work / "runs" / name
    rows = list(csv.DictReader((folder / "results.csv").read_text().splitlines()))
    return Run(total, epoch_of([float(row["time"]) for row in rows]), folder / "weights" / "best.pt")


def judge(weights: Path, work: Path, params: dict[str, Any]) -> float:
    """mAP50 on the validation split, by our evaluation; Ultralytics' checkpoint, just written here, is a pickle."""
    import torch

    from tasks import models, schema
    from tasks.evaluate import evaluate_checkpoint
    from tasks.models import WEIGHTS_FILE
    from tasks.models._torch import save
    from tasks.tables import Dataset

    dataset = Dataset.read(work / "raw", work / "dataset")
    family = models.load(schema.parse(schema.Model, params["model"]), dataset.classes)
    folder = work / "judged"
    folder.mkdir(exist_ok=True)
    content = torch.load(weights, map_location="cpu", weights_only=False)
    state = content["model"].float().state_dict() if "model" in content else content
    save(dict(state), folder / WEIGHTS_FILE)
    family.describe(folder)
    return evaluate_checkpoint(folder, dataset.samples("val"), weights.name).metrics["mAP50"]


def detection(work: Path, source: list[str], overrides: list[str]) -> None:
    """Prints the table of the detector."""
    text = compose_params([*source, "tracking=none", "train.device=cpu", *overrides], ROOT)
    params = yaml.safe_load(text)
    (work / "params.yaml").write_text(text)
    (work / "source.json").write_text(json.dumps({"files": 0}))
    for name in list(STAGES)[:-1]:
        stage(name, work)
    sightline = str(Path(sys.executable).with_name("sightline"))
    execute([sightline, "convert", str(work / "dataset"), str(work / "yolo"), "--to", "yolo", "--lossy"], ROOT)
    model, train = params["model"], params["train"]
    peers = {
        "yolo detect train": theirs(work, model, train, "default"),
        "yolo detect train val=False plots=False": theirs(work, model, train, "bare", "val=False", "plots=False"),
        "sightline, stage train": ours(work),
    }
    print(
        f"\n{model['arch']}, {model['imgsz']} px, batch {train['batch']}, {train['epochs']} epochs; ours: {train['optimizer']}"
    )
    print("\n| detection | epoch, s | start to end, s | mAP50 |\n|---|---:|---:|---:|")
    for label, run in peers.items():
        print(f"| {label} | {run.epoch_s:.2f} | {run.total_s:.1f} | {judge(run.weights, work, params):.3f} |", flush=True)
    default, bare, mine = peers.values()
    print("\n| ratio | epoch | start to end |\n|---|---:|---:|")
    for label, run in (("yolo detect train / sightline", default), ("the same without validation and plots", bare)):
        print(f"| {label} | {run.epoch_s / mine.epoch_s:.2f} | {run.total_s / mine.total_s:.2f} |", flush=True)


def bare_epochs(network: Any, data: Any, recipe: Any, epochs: int) -> list[float]:
    """When each epoch of a plain PyTorch loop ended, seconds."""
    import torch
    from torch.utils.data import DataLoader

    from tasks.models._images import Normalise
    from tasks.models._torch import deterministic, dtype_of, keep_freed_memory, optimizer_of

    keep_freed_memory()
    dtype = dtype_of(recipe, torch.device("cpu"))
    network.train().to(memory_format=torch.channels_last)
    optimizer, normalise, times = optimizer_of(network, recipe), Normalise(), [time.perf_counter()]
    with deterministic():
        for _ in range(epochs):
            for images, labels in DataLoader(data, recipe.batch, shuffle=True, drop_last=True):
                optimizer.zero_grad()
                with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                    logits = network(normalise(images).contiguous(memory_format=torch.channels_last))
                torch.nn.functional.cross_entropy(logits.float(), labels).backward()
                optimizer.step()
            times.append(time.perf_counter())
    return times[1:]


def lightning_epochs(network: Any, data: Any, recipe: Any, work: Path) -> list[float]:
    """When each epoch of ours ended, seconds."""
    from tasks.models import _lightning, _lightning_classify

    times: list[float] = []
    learning = _lightning_classify.Learning(network, data, tuple(map(str, range(CLASSES))), "none")
    work.mkdir()
    _lightning.fit(learning, recipe, work=work, out=work / "weights.pt", on_epoch=lambda *_: times.append(time.perf_counter()))
    return times


def classification(work: Path, images: int, epochs: int, rounds: int) -> None:
    """Prints the table of the classifier."""
    import torch

    from tasks import models, schema

    params = yaml.safe_load(compose_params(["model=resnet18", f"train.epochs={epochs}", "train.device=cpu"], ROOT))
    recipe = schema.parse(schema.Train, params["train"])
    family: Any = models.load(schema.parse(schema.Model, params["model"]), tuple(map(str, range(CLASSES))))
    torch.manual_seed(0)
    pixels, labels = torch.randint(0, 256, (images, 3, SIDE, SIDE), dtype=torch.uint8), torch.randint(0, CLASSES, (images,))
    data = torch.utils.data.TensorDataset(pixels, labels)
    steps: dict[str, list[float]] = {"PyTorch, a bare loop": [], "sightline, Lightning": []}
    for turn in range(rounds):
        for label, times in (
            ("PyTorch, a bare loop", bare_epochs(family.build(), data, recipe, epochs)),
            ("sightline, Lightning", lightning_epochs(family.build(), data, recipe, work / f"lightning-{turn}")),
        ):
            steps[label] += [later - earlier for earlier, later in pairwise(times)]
    medians = {label: statistics.median(values) for label, values in steps.items()}
    print(f"\nresnet18, {SIDE} px, batch {recipe.batch}, {images} images, {rounds} rounds of {epochs} epochs")
    print("\n| classification | epoch, s | images/s |\n|---|---:|---:|")
    for label, seconds in medians.items():
        print(f"| {label} | {seconds:.2f} | {images / seconds:,.0f} |")
    bare, mine = medians.values()
    print(f"\n| ratio | epoch |\n|---|---:|\n| bare loop / Lightning | {bare / mine:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--images", type=int, default=1000, help="generated scenes, and drawn images of the classifier")
    parser.add_argument("--path", type=Path, help="a dataset instead of generated scenes")
    parser.add_argument("--rounds", type=int, default=2, help="of the classifier")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as `sightline run` takes them")
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("--epochs: expected at least 2, since an epoch's time is the step from one to the next")
    source = [f"dataset.images={options.images}"]
    if options.path:
        source = ["dataset=folder", f"dataset.path={options.path.resolve()}"]
    print(f"{CORES} cores, {platform.machine()}, Python {platform.python_version()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="sightline-bench-") as name:
        detection(Path(name), source, [f"train.epochs={options.epochs}", *options.overrides])
        classification(Path(name), options.images, options.epochs, options.rounds)


if __name__ == "__main__":
    main()
