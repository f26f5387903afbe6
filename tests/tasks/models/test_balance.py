"""Images of rare classes drawn more often, in every family that has a sampler."""

import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tasks import models
from tasks.models import _balance, _lightning, _ultralytics
from tasks.tables import Dataset

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_data

TASKS = {"yolov8": "detect", "yolov8_seg": "segment", "ssdlite": "detect", "mask_rcnn": "segment", "unet": "semantic"}


def test_factors_are_those_of_the_paper() -> None:
    """Worked out by hand: class 0 in 16 of 16 images, class 1 in 4, class 2 in 1; t = 0.36."""
    labels = [torch.tensor([0, 1, 2])] + [torch.tensor([1, 0, 1])] * 3 + [torch.tensor([0])] * 12
    factors = _balance.repeats(labels, tiny_data.recipe("yolov8", balance="sampler", rare=0.36))
    assert factors is not None
    assert factors.tolist() == pytest.approx([(0.36 * 16) ** 0.5] + [(0.36 * 4) ** 0.5] * 3 + [1.0] * 12)


def test_an_epoch_keeps_its_length_where_classes_have_no_image() -> None:
    labels = torch.tensor([0] * 90 + [7] * 10)
    rarity = _balance.inverse_frequency(labels, 10)[labels]
    assert rarity.sum().item() == pytest.approx(100)
    assert rarity[:90].sum().item() == pytest.approx(50), "both classes are drawn alike"


def test_background_is_drawn_once_and_a_class_that_never_occurs_asks_for_nothing() -> None:
    labels = [torch.tensor([2]), torch.tensor([], dtype=torch.int64), torch.tensor([2]), torch.tensor([2])]
    factors = _balance.repeats(labels, tiny_data.recipe("yolov8", balance="sampler", rare=1.0))
    assert factors is not None
    assert factors.tolist() == pytest.approx([(4 / 3) ** 0.5, 1.0, (4 / 3) ** 0.5, (4 / 3) ** 0.5])


def test_a_sampler_that_repeats_nothing_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    factors = _balance.repeats([torch.tensor([0])] * 3 + [torch.tensor([1])], tiny_data.recipe("yolov8", balance="sampler"))
    assert factors is not None
    assert factors.tolist() == [1.0] * 4
    assert "repeats no image: each class is in at least 25% of them: raise train.rare" in capsys.readouterr().out


@given(st.lists(st.floats(0.0, 5.0), min_size=1, max_size=30), st.integers(0, 9))
def test_an_epoch_has_each_item_as_often_as_its_mean_rounded(sampling: list[float], seed: int) -> None:
    torch.manual_seed(seed)
    counts = Counter(_balance.draw(torch.tensor(sampling, dtype=torch.float64)).tolist())
    assert set(counts) <= set(range(len(sampling)))
    assert all(abs(counts[index] - mean) < 1 + 1e-9 for index, mean in enumerate(sampling))
    assert abs(counts.total() - sum(sampling)) < 1 + 1e-9


def test_over_many_epochs_items_are_drawn_as_often_as_asked() -> None:
    sampling = torch.tensor([1.0, 2.25, 1.5, 1.0, 3.7], dtype=torch.float64)
    torch.manual_seed(0)
    drawn = torch.cat([_balance.draw(sampling) for _ in range(2000)])
    assert (drawn.bincount() / 2000).tolist() == pytest.approx(sampling.tolist(), abs=0.03)


def with_a_rare_class(dataset: Dataset) -> Dataset:
    """The dataset with class 1 in its first training image alone."""
    images, objects = dataset.tables.images, dataset.tables.objects
    first = images[images["split"] == "train"]["image_id"].min()
    objects["label"] = (objects["image_id"] == first).astype("int32")
    for path in dataset.root.glob("masks/*.png"):
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.where(mask == 255, 255, path.stem == first).astype(np.uint8)).save(path)
    return dataset


@pytest.mark.parametrize(("file", "task"), TASKS.items())
def test_each_family_repeats_the_images_of_a_rare_class(
    file: str, task: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Class 1 is in 1 of 8 images: at t = 1 it is drawn sqrt(8) times."""
    dataset = with_a_rare_class(tiny_data.dataset(tmp_path, task))
    recipe = tiny_data.recipe(file, balance="sampler", rare=1.0)
    found: list[Any] = []
    for library in (_lightning, _ultralytics):
        monkeypatch.setattr(library, "fit", lambda *given, **_: found.extend(given))
    models.load(tiny_data.model(file), dataset.classes).fit(
        dataset, recipe, start=None, work=tmp_path, out=tmp_path / "weights.pt", on_epoch=lambda *_: None
    )
    holder = next(each for each in found if hasattr(each, "sampling"))
    assert holder.sampling.tolist() == pytest.approx([8**0.5] + [(8 / 7) ** 0.5] * 7)
    drawn = _balance.order(len(dataset.samples("train")), holder.sampling, recipe, epoch=1)
    assert drawn.count(0) in (2, 3)
    assert set(drawn) == set(range(8))


def test_yolo_trains_on_what_was_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = with_a_rare_class(tiny_data.dataset(tmp_path, "detect"))
    recipe = tiny_data.recipe("yolov8", balance="sampler", rare=1.0, epochs=2)
    seen: list[int] = []

    class Counted(_ultralytics.Images):
        def __getitem__(self, index: int) -> Any:
            seen.append(index)
            return super().__getitem__(index)

    monkeypatch.setattr(_ultralytics, "Images", Counted)
    monkeypatch.setattr(_ultralytics, "write_sheet", lambda *_: None)
    models.load(tiny_data.model("yolov8"), dataset.classes).fit(
        dataset, recipe, start=None, work=tmp_path, out=tmp_path / "weights.pt", on_epoch=lambda *_: None
    )
    assert seen.count(0) in (4, 5, 6)
    assert len(seen) in (20, 21, 22)  # 2 * (sqrt(8) + 7 * sqrt(8 / 7)), which is 20.6
