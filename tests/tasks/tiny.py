"""A dataset of coloured squares and a checkpoint that knows them, made in a second: for what comes after training."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pandas as pd
import torch
import yaml
from datasets import complete
from PIL import Image

from sightline.contract import OUTPUTS, Input, ModelDescription, describe_file
from tasks import gates, models
from tasks.graph import write
from tasks.models import WEIGHTS_FILE, Parts
from tasks.openvino_ir import convert, save
from tasks.schema import Model
from tasks.tables import Dataset, Tables

ROOT = Path(__file__).parents[2]
COLOURS = {"blue": (40, 60, 220), "green": (50, 200, 60), "red": (220, 50, 40)}
SPLITS = {"train": 12, "val": 9}


def model_config(name: str, **changes: object) -> Model:
    """conf/model/<name>, with changes."""
    values = yaml.safe_load((ROOT / "conf" / "model" / f"{name}.yaml").read_text(encoding="utf-8"))["model"]
    return Model(**(values | changes))


def write_dataset(folder: Path) -> tuple[Path, Path]:
    """Writes noisy squares of three colours, for classification; returns raw and the canonical dataset."""
    rng = np.random.default_rng(0)
    raw, root = folder / "raw", folder / "dataset"
    raw.mkdir(parents=True)
    images, objects = [], []
    for split, count in SPLITS.items():
        for index in range(count):
            name, label = f"{split}_{index:02}", index % len(COLOURS)
            pixels = np.array(list(COLOURS.values())[label]) + rng.normal(0, 25, (40, 48, 3))
            Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(raw / f"{name}.jpg")
            images.append((name, "raw", f"{name}.jpg", 48, 40, split, name))
            objects.append((name, label, None, None, None, None, None, False, False, f"{name}.jpg", 0))
    Tables(
        pd.DataFrame(images, columns=["image_id", "store", "path", "width", "height", "split", "hash"]).pipe(complete),
        pd.DataFrame(
            objects,
            columns=[
                *("image_id", "label", "xmin", "ymin", "xmax", "ymax", "polygons", "iscrowd", "difficult", "file", "line")
            ],
        ).pipe(complete),
        pd.DataFrame([(label, name, False) for label, name in enumerate(COLOURS)], columns=["id", "name", "ignore"]),
    ).write(root)
    return raw, root


def write_float_files(whole: onnx.ModelProto, description: ModelDescription, folder: Path) -> None:
    """Writes a graph as ONNX and in OpenVINO's own format, and describes both."""
    onnx_file, own = folder / "model.onnx", folder / "model.xml"
    write(whole, onnx_file)
    save(convert(whole), own)
    replace(description, files={"fp32": describe_file(onnx_file), "openvino-fp32": describe_file(own)}).write(folder)


def write_classifier(folder: Path, dataset: Dataset) -> Model:
    """Writes a checkpoint of ResNet-18: random features, and the head that fits the training split best by least squares."""
    from sightline.preprocess import decode, prepare_batch

    config = model_config("resnet18", imgsz=32)
    family = models.load(config, dataset.classes)
    torch.manual_seed(0)
    network = family.build().eval()  # type: ignore[attr-defined]
    head, network.fc = network.fc, torch.nn.Identity()
    samples = dataset.samples("train")
    images, _ = prepare_batch([decode(sample.path.read_bytes()) for sample in samples], family.description().input)
    folder.mkdir(parents=True)
    network.fc = head
    torch.save(network.state_dict(), folder / WEIGHTS_FILE)
    pre = family.parts(folder / WEIGHTS_FILE).pre
    network.fc = torch.nn.Identity()
    with torch.no_grad():
        features = network(pre(torch.from_numpy(images)))
        targets = torch.from_numpy(np.eye(len(dataset.classes), dtype=np.float32)[[int(each.labels[0]) for each in samples]])
        scaled = torch.cat([features, torch.ones(len(features), 1)], dim=1)
        solution = torch.linalg.lstsq(scaled, targets * 10, driver="gelsd").solution
        head.weight.copy_(solution[:-1].T)
        head.bias.copy_(solution[-1])
    network.fc = head
    torch.save(network.state_dict(), folder / WEIGHTS_FILE)
    family.describe(folder)
    gates.write(folder, [sample.image_id for sample in dataset.samples("val")])
    return config


class Scale(torch.nn.Module):
    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.permute(0, 3, 1, 2).to(torch.float32) / 255


class Maps(torch.nn.Module):
    """A grid of cells, each with a box and three scores."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = torch.nn.Conv2d(3, 8, 3, stride=8, padding=1)
        self.boxes, self.scores = torch.nn.Conv2d(8, 4, 1), torch.nn.Conv2d(8, 3, 1)

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = torch.nn.functional.silu(self.stem(pixels))
        return self.boxes(features), self.scores(features)


class Decode(torch.nn.Module):
    def forward(self, boxes: torch.Tensor, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sides = boxes.flatten(2).transpose(1, 2).abs() * 20
        centres = torch.arange(16, dtype=torch.float32).unsqueeze(1) * 2
        return torch.cat([centres - sides[..., :2], centres + sides[..., 2:] + 1], dim=-1), (scores * 9).flatten(2).sigmoid()


def detector() -> tuple[Parts, ModelDescription]:
    """A detector of 16 anchors and 3 classes on 32x32 pixels, with random weights."""
    torch.manual_seed(0)
    spec = Input(32, 32, "letterbox")
    description = ModelDescription("tiny", "detect", ("a", "b", "c"), spec, OUTPUTS["detect"], "MIT", iou=0.5, max_det=10)
    return Parts(Scale().eval(), Maps().eval(), Decode().eval()), description
