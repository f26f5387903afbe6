"""Training, side by side: the stage `train` with `yolo detect train`, and Lightning's models with a bare PyTorch loop.

    python benchmarks/training.py [--epochs 4] [--images 600 | --path ../shared/data/bccd] [--seeds 2] [OVERRIDE ...]

Detection: whole processes from start to end, on the same images and splits, from scratch, on the CPU, with no tracker. First
each as it is by default; then both with one recipe, `RECIPE` and `AUGMENT`, which is Ultralytics' but for what a short run of
either does otherwise (its learning rate stays, each batch is a step), and with several seeds, so that speed is compared at the
same accuracy. All results are measured by our evaluation on the validation split. An OVERRIDE is one of ours alone, in the
first comparison, e.g. `train.optimizer=AdamW`.

Needs quiet cores: Ultralytics trains with one thread fewer than there are cores, ours with all, and threads that wait for each
other on busy cores lose most of their time.

Lightning: epochs of drawn noise by `tasks.models._lightning.fit` and by a loop of plain PyTorch with the same network, batches,
precision, memory format and optimizer, and a checkpoint after each epoch, in turns, each first in every other one. All run one
after the other in one go.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
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
POLL_S = 0.25  # how often the checkpoint is looked at, whose own time is taken
RECIPE = {
    "batch": 8, "optimizer": "AdamW", "lr0": 0.00125, "momentum": 0.9, "weight_decay": 0.0005, "warmup_epochs": 1.0,
}  # fmt: skip
"""What Ultralytics' `optimizer=auto` chooses for a short run on four classes, and its other defaults. Of its three epochs of
warm-up a run of four has one on both sides; batches of 16 would be too few steps to reach an accuracy worth comparing."""
AUGMENT = {
    "hsv_h": 0.015, "hsv_s": 0.7, "hsv_v": 0.4, "translate": 0.1, "scale": 0.5, "fliplr": 0.5, "mosaic": 1.0, "close_mosaic": 0,
}  # fmt: skip
"""Ultralytics' defaults; those that are not named are off on both sides."""
CLASSES = 10  # of the drawn images
AUX = 0.4  # the weight of an auxiliary head's loss


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


def ours(work: Path, params: dict[str, Any]) -> Run:
    for name in ("work", "model", "report"):
        shutil.rmtree(work / name, ignore_errors=True)
    (work / "params.yaml").write_text(yaml.safe_dump(params))
    with times_of(work / "work", "checkpoint.pt") as times:
        total = stage("train", work)
    return Run(total, epoch_of(times), work / "model" / "weights.pt")


def theirs(work: Path, params: dict[str, Any], name: str, *settings: str) -> Run:
    """Ultralytics' own command, which writes when each epoch ended into results.csv; the weights are those of the last one."""
    model, train = params["model"], params["train"]
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
    return Run(total, epoch_of([float(row["time"]) for row in rows]), folder / "weights" / "last.pt")


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


def compose(source: list[str], overrides: list[str]) -> dict[str, Any]:
    params: dict[str, Any] = yaml.safe_load(compose_params([*source, "tracking=none", "train.device=cpu", *overrides], ROOT))
    return params


def compare(work: Path, name: str, trainings: list[tuple[dict[str, Any], list[str]]]) -> None:
    """Prints the table of a detector's trainings: for each seed the parameters of ours, and Ultralytics' settings."""
    found: dict[str, list[tuple[Run, float]]] = {"yolo detect train": [], "sightline, stage train": []}
    for index, (params, settings) in enumerate(trainings):
        for runs, run in zip(
            found.values(), (theirs(work, params, f"{name}-{index}", *settings), ours(work, params)), strict=True
        ):
            runs.append((run, judge(run.weights, work, params)))
    model, recipe = (trainings[0][0][section] for section in ("model", "train"))
    print(f"\n{name}: {model['arch']}, {model['imgsz']} px, batch {recipe['batch']}, {recipe['epochs']} epochs")
    print("\n| detection | epoch, s | start to end, s | mAP50 | of each seed |\n|---|---:|---:|---:|---|")
    means = {}
    for label, runs in found.items():
        scores = [score for _, score in runs]
        means[label] = [
            statistics.mean(values) for values in zip(*((run.epoch_s, run.total_s) for run, _ in runs), strict=True)
        ]
        each = ", ".join(f"{score:.3f}" for score in scores)
        print(f"| {label} | {means[label][0]:.2f} | {means[label][1]:.1f} | {statistics.mean(scores):.3f} | {each} |")
    (epoch, total), (own_epoch, own_total) = means.values()
    print("\n| ratio | epoch | start to end |\n|---|---:|---:|")
    print(f"| yolo detect train / sightline | {epoch / own_epoch:.2f} | {total / own_total:.2f} |", flush=True)


def detection(work: Path, source: list[str], epochs: int, seeds: int, overrides: list[str]) -> None:
    """Prints both tables of the detector."""
    params = compose(source, [f"train.epochs={epochs}", *overrides])
    (work / "params.yaml").write_text(yaml.safe_dump(params))
    (work / "source.json").write_text(json.dumps({"files": 0}))
    for name in list(STAGES)[:-1]:
        stage(name, work)
    sightline = str(Path(sys.executable).with_name("sightline"))
    execute([sightline, "convert", str(work / "dataset"), str(work / "yolo"), "--to", "yolo", "--lossy"], ROOT)
    compare(work, "each as by default", [(params, [])])
    same = [*(f"train.{key}={value}" for key, value in RECIPE.items()), "train.scheduler=constant", f"train.epochs={epochs}"]
    same += [f"++train.augment.{key}={value}" for key, value in AUGMENT.items()]
    given = [f"{key}={value}" for key, value in (RECIPE | AUGMENT).items()]
    given += ["lrf=1.0", f"nbs={RECIPE['batch']}", "warmup_bias_lr=0.0"]
    pairs = [(compose(source, [*same, f"train.seed={seed}"]), given) for seed in range(seeds)]
    compare(work, "the same recipe", pairs)


def bare_epochs(network: Any, loss: Callable[[Any, Any], Any], data: Any, recipe: Any, checkpoint: Path) -> list[float]:
    """When each epoch of a plain PyTorch loop ended, seconds.

    Args:
        network: In channels-last.
        loss: Of what the network gives, and of the batch's labels.
        data: Items are uint8 (3, H, W) and labels.
        recipe: Batch, precision, optimizer and epochs.
        checkpoint: Written after each epoch, as ours does.
    """
    import torch
    from torch.utils.data import DataLoader

    from tasks.models._images import Normalise
    from tasks.models._torch import deterministic, dtype_of, keep_freed_memory, optimizer_of

    keep_freed_memory()
    dtype = dtype_of(recipe, torch.device("cpu"))
    network.train().to(memory_format=torch.channels_last)
    optimizer, normalise, times = optimizer_of(network, recipe), Normalise(), [time.perf_counter()]
    with deterministic():
        for _ in range(recipe.epochs):
            for images, labels in DataLoader(data, recipe.batch, shuffle=True, drop_last=True):
                optimizer.zero_grad()
                with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
                    found = network(normalise(images).contiguous(memory_format=torch.channels_last))
                loss(found, labels).backward()
                optimizer.step()
            torch.save({"model": network.state_dict(), "optimizer": optimizer.state_dict()}, checkpoint)
            times.append(time.perf_counter())
    return times[1:]


def lightning_epochs(learning: Any, recipe: Any, work: Path) -> list[float]:
    """When each epoch of ours ended, seconds."""
    from tasks.models import _lightning

    times: list[float] = []
    work.mkdir()
    _lightning.fit(learning, recipe, work=work, out=work / "weights.pt", on_epoch=lambda *_: times.append(time.perf_counter()))
    return times


def classifier(images: int, side: int) -> tuple[Any, Callable[[Any, Any], Any]]:
    """Images of noise with a class each, and the loss of a bare loop."""
    import torch
    from torch.nn.functional import cross_entropy

    data = torch.utils.data.TensorDataset(noise(images, side), torch.randint(0, CLASSES, (images,)))
    data.labels = data.tensors[1]
    return data, lambda logits, labels: cross_entropy(logits.float(), labels)


def semantic(images: int, side: int) -> tuple[Any, Callable[[Any, Any], Any]]:
    """Images of noise with a class each pixel, and the loss of a bare loop: of heads that each give logits."""
    import torch
    from torch.nn.functional import cross_entropy, interpolate

    masks = torch.randint(0, CLASSES, (images, side, side), dtype=torch.uint8)
    data = torch.utils.data.TensorDataset(noise(images, side), masks)
    data.masks = masks

    def loss(heads: Any, labels: Any) -> Any:
        main, *others = (logits.float() for logits in heads)
        labels = labels.long()
        total = cross_entropy(interpolate(main, labels.shape[1:], mode="bilinear"), labels)
        for logits in others:
            step = side // logits.shape[-1]
            total = total + AUX * cross_entropy(logits, labels[:, step // 2 :: step, step // 2 :: step])
        return total

    return data, loss


def noise(images: int, side: int) -> Any:
    import torch

    torch.manual_seed(0)
    return torch.randint(0, 256, (images, 3, side, side), dtype=torch.uint8)


def lightning(work: Path, name: str, images: int, side: int, epochs: int, rounds: int) -> None:
    """Prints the table of a model that Lightning trains."""
    from tasks import models, schema
    from tasks.models import _lightning_classify, _lightning_semantic

    params = compose([], [f"model={name}", f"train.epochs={epochs}"])
    recipe = schema.parse(schema.Train, params["train"])
    family: Any = models.load(schema.parse(schema.Model, params["model"]), tuple(map(str, range(CLASSES))))
    is_semantic = family.config.task == "semantic"
    data, loss = (semantic if is_semantic else classifier)(images, side)
    steps: dict[str, list[float]] = {"PyTorch, a bare loop": [], "sightline, Lightning": []}
    for turn in range(rounds):
        bare, network = family.build(), family.build()
        for each in (bare, network):
            _lightning_semantic.keep_exact(each)  # torch 2.15 would compute wrong gradients without, in either
        if is_semantic:
            learning: Any = _lightning_semantic.Learning(family, network, data, recipe)
        else:
            learning = _lightning_classify.Learning(network, data, family.classes, "none")
        folder = work / f"{name}-{turn}"
        trainings: list[Callable[[], list[float]]] = [
            partial(bare_epochs, bare, loss, data, recipe, work / "bare.pt"),
            partial(lightning_epochs, learning, recipe, folder),
        ]
        order = list(zip(steps, trainings, strict=True))
        for label, train in order[:: 1 if turn % 2 else -1]:  # whoever is first finds the memory fresh
            steps[label] += [later - earlier for earlier, later in pairwise(train())]
    medians = {label: statistics.median(values) for label, values in steps.items()}
    print(f"\n{name}, {side} px, batch {recipe.batch}, {images} images, {rounds} rounds of {epochs} epochs")
    print("\n| Lightning | epoch, s | images/s |\n|---|---:|---:|")
    for label, seconds in medians.items():
        print(f"| {label} | {seconds:.2f} | {images / seconds:,.0f} |")
    bare_s, mine_s = medians.values()
    print(f"\n| ratio | epoch |\n|---|---:|\n| bare loop / Lightning | {bare_s / mine_s:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--images", type=int, default=600, help="generated scenes")
    parser.add_argument("--path", type=Path, help="a dataset instead of generated scenes")
    parser.add_argument("--seeds", type=int, default=2, help="of the comparison with the same recipe")
    parser.add_argument("--rounds", type=int, default=4, help="of Lightning's models")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="as `sightline run` takes them")
    options = parser.parse_args()
    if options.epochs < 2:
        parser.error("--epochs: expected at least 2, since an epoch's time is the step from one to the next")
    source = [f"dataset.images={options.images}"]
    if options.path:
        source = ["dataset=folder", f"dataset.path={options.path.resolve()}"]
    print(f"{CORES} cores, {platform.machine()}, Python {platform.python_version()}", flush=True)
    with tempfile.TemporaryDirectory(prefix="sightline-bench-") as name:
        detection(Path(name), source, options.epochs, options.seeds, options.overrides)
        lightning(Path(name), "resnet18", images=320, side=64, epochs=3, rounds=options.rounds)
        lightning(Path(name), "fast_scnn", images=64, side=512, epochs=3, rounds=options.rounds)


if __name__ == "__main__":
    main()
