"""The sheet of augmented images: boxes, masks and labels of every form that training data has."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tasks.augmentation_sheet import SIDE, TINT, Picture, picture, write

CLASSES = ("sky", "road", "car")
GREY = torch.full((3, 30, 60), 128, dtype=torch.uint8)


def drawn(item: Picture, path: Path) -> np.ndarray:
    """The one picture of a sheet, uint8 (H, W, 3)."""
    write([item], CLASSES, path)
    with Image.open(path) as sheet:
        return np.asarray(sheet)


def test_boxes_are_drawn_where_they_are(tmp_path: Path) -> None:
    target = {"boxes": torch.tensor([[20.0, 10.0, 40.0, 25.0]]), "labels": torch.tensor([1])}
    pixels = drawn(picture(GREY, target), tmp_path / "sheet.jpg")
    assert pixels.shape == (SIDE // 2, SIDE, 3)
    changed = np.argwhere(np.abs(pixels.astype(int) - 128).sum(2) > 60)
    assert np.abs(changed.min(0) - [40, 80]).max() <= 2
    assert np.abs(changed.max(0) - [100, 160]).max() <= 2


def test_masks_tint_their_pixels_and_ignored_ones_stay(tmp_path: Path) -> None:
    target = torch.full((30, 60), 255, dtype=torch.uint8)
    target[:, 30:] = 2
    pixels = drawn(picture(GREY, target), tmp_path / "sheet.jpg").astype(int)
    green = 128 * (1 - TINT) + 0xA0 * TINT
    assert abs(pixels[60:110, 10:110] - 128).max() <= 4
    assert abs(pixels[60:110, 130:230, 1] - green).max() <= 4
    assert picture(GREY, target).labels.tolist() == [2]


def test_labels_are_captions() -> None:
    assert picture(GREY, torch.tensor(2)).labels.tolist() == [2]
    assert picture(GREY, torch.tensor([1.0, 0.0, 1.0])).labels.tolist() == [0, 2]


def test_an_image_without_objects_is_shown_as_it_is(tmp_path: Path) -> None:
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    assert drawn(picture(GREY / 255, target), tmp_path / "sheet.jpg").mean() == pytest.approx(128, abs=1)
