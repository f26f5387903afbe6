"""Several processes that train one network of Ultralytics: as one process with the whole batch, and told when one dies."""

import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest
import torch

from sightline.errors import SightlineError
from tasks import models
from tasks.models import _lightning
from tasks.tables import Dataset

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_data
from tiny_learning import Tiny

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PLAIN: dict[str, Any] = {"epochs": 1, "optimizer": "SGD", "lr0": 0.002, "augment": {}, "warmup_epochs": 0, "ema": 0}


def fit(file: str, dataset: Dataset, work: Path, start: Path | None = None, **values: Any) -> list[Mapping[str, float]]:
    work.mkdir(exist_ok=True)
    history: list[Mapping[str, float]] = []
    models.load(tiny_data.model(file), dataset.classes).fit(
        dataset,
        tiny_data.recipe(file, **values),
        start=start,
        work=work,
        out=work / "weights.pt",
        on_epoch=lambda _, losses: history.append(losses),
    )
    return history


def kills(place: int) -> Callable[[int, Mapping[str, float]], None]:
    """An `on_epoch` that ends one of the processes after the first epoch."""

    def on_epoch(epoch: int, losses: Mapping[str, float]) -> None:
        if epoch == 1:
            ranks = [each for each in psutil.Process().children() if any("spawn_main" in part for part in each.cmdline())]
            ranks[place].kill()

    return on_epoch


def weights(work: Path) -> dict[str, torch.Tensor]:
    state: dict[str, torch.Tensor] = torch.load(work / "weights.pt", weights_only=True)
    return state


def all_alike(dataset: Dataset) -> Dataset:
    """Every image is the first: any share of a batch then gives the loss and the gradients of the whole one."""
    images, objects = dataset.tables.images, dataset.tables.objects
    first = images["image_id"].min()
    for path in images["path"]:
        if path != f"{first}.png":
            shutil.copyfile(dataset.raw / f"{first}.png", dataset.raw / path)
    own = objects[objects["image_id"] == first]
    copies = pd.concat([own.assign(image_id=name) for name in images["image_id"]])
    return replace(dataset, tables=replace(dataset.tables, objects=copies))


@pytest.mark.parametrize(("file", "task"), [("yolov8", "detect"), ("yolo26", "detect"), ("yolo_cls", "classify")])
def test_two_processes_learn_what_one_does_from_the_whole_batch(file: str, task: str, tmp_path: Path) -> None:
    dataset = all_alike(tiny_data.dataset(tmp_path, task))
    fit(file, dataset, tmp_path / "start", epochs=20, warmup_epochs=0)  # few assigned objects are counted as one, in each share
    start = tmp_path / "start" / "weights.pt"
    two = fit(file, dataset, tmp_path / "two", start, **PLAIN, batch=2, devices=2)
    one = fit(file, dataset, tmp_path / "one", start, **PLAIN, batch=4)
    assert len(two) == len(one) == 1
    assert two[0] == pytest.approx(one[0], rel=0.01)  # what is assigned to an object may hang on the last digit
    before, alone, together = (weights(tmp_path / name) for name in ("start", "one", "two"))
    assert together.keys() == alone.keys()
    learnt = [name for name in alone if not name.endswith("running_var")]  # which is unbiased, of half as many pixels
    apart, moved = (
        sum(float((alone[name].double() - other[name].double()).square().sum()) for name in learnt) ** 0.5
        for other in (together, before)
    )
    assert apart < 0.05 * moved


def test_a_process_that_is_killed_is_told_and_the_next_run_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = tiny_data.dataset(tmp_path, "segment")
    values: dict[str, Any] = {"batch": 2, "devices": 2, "epochs": 3, "validate_every": 2}
    whole = fit("yolov8_seg", dataset, tmp_path / "whole", **values)

    work = tmp_path / "killed"
    work.mkdir()
    family = models.load(tiny_data.model("yolov8_seg"), dataset.classes)
    recipe, out = tiny_data.recipe("yolov8_seg", **values), work / "weights.pt"
    with pytest.raises(SightlineError, match=r"process 2 of 2 was ended by SIGKILL.* lower train\.devices, or train\.batch"):
        family.fit(dataset, recipe, start=None, work=work, out=out, on_epoch=kills(1))
    assert not out.is_file()
    assert [path.name for path in work.glob("checkpoint*")] == ["checkpoint.pt"]
    assert fit("yolov8_seg", dataset, work, **values) == whole
    assert [epoch for epoch, losses in enumerate(whole, 1) if "val/fitness" in losses] == [2, 3]
    assert out.read_bytes() == (tmp_path / "whole" / "weights.pt").read_bytes()


def test_a_process_of_lightning_that_is_killed_is_told(tmp_path: Path) -> None:
    recipe = tiny_data.recipe("resnet", devices=2, epochs=50)
    with pytest.raises(SightlineError, match="process 1 of 2 was ended by SIGKILL"):
        _lightning.fit(Tiny(), recipe, work=tmp_path, out=tmp_path / "weights.pt", on_epoch=kills(0))


def test_fewer_images_than_processes_are_refused(tmp_path: Path) -> None:
    dataset = tiny_data.hide(tiny_data.dataset(tmp_path, "detect"), "train", 1)
    with pytest.raises(SightlineError, match=r"train\.devices: got 2 for 1 images"):
        fit("yolov8", dataset, tmp_path / "fit", devices=2)
