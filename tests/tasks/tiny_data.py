"""Tiny datasets and configurations, drawn here: coloured boxes on noise."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from _pytest.mark.structures import ParameterSet
from datasets import complete
from PIL import Image

from tasks import schema
from tasks.config_checks import declared
from tasks.tables import Dataset, Tables

ROOT = Path(__file__).parents[2]
CLASSES = ("red", "green")
SIDE = 64


QUICK = ("resnet", "yolov8", "yolov8_seg", "fast_scnn")
"""A family for each task; the default suite runs the tests of all families on them alone."""


def families(quick: tuple[str, ...] = QUICK) -> list[ParameterSet]:
    """Every file in tasks/models, by the name that conf/model gives it; slow but for some."""
    names = sorted(path.stem for path in (ROOT / "tasks" / "models").glob("[a-z]*.py"))
    return [pytest.param(name, marks=() if name in quick else pytest.mark.slow) for name in names]


def configurations() -> list[ParameterSet]:
    """Every file in conf/model with each task that its family takes, as (name, task)."""
    pairs = [(name, task) for name in _found() for task in declared(model(name)).get("TASKS", (model(name).task,))]
    return [pytest.param(*pair, id="-".join(pair)) for pair in pairs]


def _found() -> dict[str, dict[str, Any]]:
    """What is in conf/model, by name."""
    return {path.stem: yaml.safe_load(path.read_text()) for path in sorted((ROOT / "conf" / "model").glob("*.yaml"))}


def conf(name: str) -> dict[str, Any]:
    """The configuration in conf/model of that name, or the first one of the family in the file of that name, made small."""
    found = _found()
    data: dict[str, Any] = found.get(name) or next(entry for entry in found.values() if entry["model"]["file"] == name)
    takes = declared(schema.parse(schema.Model, data["model"]))
    data["model"]["imgsz"] = takes.get("IMGSZ", (SIDE,))[0]
    hardware = yaml.safe_load((ROOT / "conf" / "hardware" / "cpu.yaml").read_text())
    data["train"] |= hardware["train"] | {"epochs": 3, "batch": 4, "precision": "fp32"}
    return data


def model(name: str) -> schema.Model:
    return schema.parse(schema.Model, conf(name)["model"])


class StopError(Exception):
    """Raised in place of the power failing."""


def recipe(name: str, **values: Any) -> schema.Train:
    slow = {"lr0": 1e-3} if name.endswith("rcnn") else {}  # on a few images they diverge at what conf has for thousands
    return schema.parse(schema.Train, {**conf(name)["train"], **slow, **values})


def dataset(folder: Path, task: str, images: int = 12) -> Dataset:
    """A dataset of `images` PNGs, half of them for training and a quarter each for val and test."""
    rng = np.random.default_rng(0)
    raw, root = folder / "raw", folder / "dataset"
    raw.mkdir(parents=True)
    rows, objects = [], []
    for number in range(images):
        name = f"{number:03}"
        pixels = rng.integers(0, 80, (48, SIDE, 3), np.uint8)
        count = {"classify": 1, "multilabel": number % 3}.get(task, 3)
        boxed = task in ("detect", "segment")
        mask = np.full((48, SIDE), 255, np.uint8)
        for _ in range(count):
            label = number % 2 if task == "classify" else int(rng.integers(2))
            x, y = int(rng.integers(0, 40)), int(rng.integers(0, 24))
            pixels[y : y + 20, x : x + 20] = (220, 30, 30) if label == 0 else (30, 220, 30)
            box = (x, y, x + 20, y + 20) if boxed else (None,) * 4
            mask[y : y + 20, x : x + 20] = label
            if task == "semantic":
                continue
            outline = [[x, y, x + 20, y, x + 20, y + 20, x, y + 20]] if task == "segment" else None
            objects.append([name, label, *box, outline, False, False, f"{name}.xml", 0])
        Image.fromarray(pixels).save(raw / f"{name}.png")
        if task == "semantic":
            (root / "masks").mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(root / "masks" / f"{name}.png")
        split = ("train", "train", "val", "test")[number // 2 % 4]
        masked = f"masks/{name}.png" if task == "semantic" else None
        rows.append([name, "raw", f"{name}.png", SIDE, 48, split, f"{number:064x}", masked])
    columns = ["image_id", "label", "xmin", "ymin", "xmax", "ymax", "polygons", "iscrowd", "difficult", "file", "line"]
    Tables(
        pd.DataFrame(rows, columns=["image_id", "store", "path", "width", "height", "split", "hash", "mask"]).pipe(complete),
        pd.DataFrame(objects, columns=columns).pipe(complete),
        pd.DataFrame({"id": range(len(CLASSES)), "name": CLASSES, "ignore": False}),
    ).write(root)
    return Dataset.read(raw, root)


def hide(dataset: Dataset, split: str, count: int) -> Dataset:
    """The dataset with the first `count` images alone of `split`."""
    images = dataset.tables.images
    gone = images[images["split"] == split].sort_values("image_id")["image_id"].iloc[count:]
    tables = dataclasses.replace(dataset.tables, images=images[~images["image_id"].isin(gone)])
    return dataclasses.replace(dataset, tables=tables)
