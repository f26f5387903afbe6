"""What differs between two datasets."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from datasets import mask, stripes, tables
from PIL import Image

from tasks.dataset_diff import compare
from tasks.tables import Tables

BOXES = [(0, 1, 1, 20, 20, False), (1, 5, 5, 30, 30, False), (0, 2, 2, 9, 9, False)]


def without(found: Tables, image_id: str) -> Tables:
    return dataclasses.replace(
        found,
        images=found.images[found.images["image_id"] != image_id],
        objects=found.objects[found.objects["image_id"] != image_id],
    )


def test_the_same_dataset_in_other_files_is_the_same() -> None:
    old, new = tables(BOXES), tables(BOXES)
    new.images["image_id"] = "elsewhere/" + new.images["image_id"]
    new.objects["image_id"] = "elsewhere/" + new.objects["image_id"]
    found = compare(old, dataclasses.replace(new, images=new.images.iloc[::-1]))
    assert found.is_empty
    assert found.to_text() == "The same images with the same objects, classes and splits."


def test_added_and_removed() -> None:
    all_of_it = tables(BOXES)
    less = without(all_of_it, "001")
    assert (compare(less, all_of_it).added, compare(less, all_of_it).removed) == (["001"], [])
    assert (compare(all_of_it, less).added, compare(all_of_it, less).removed) == ([], ["001"])
    assert compare(all_of_it, less).objects == {"class0": (2, 2), "class1": (1, 0)}


def test_relabelled_says_what_is_gone_and_what_is_new() -> None:
    found = compare(tables(BOXES), tables([BOXES[0], (0, 5, 5, 30, 30, False), BOXES[2]]))
    assert found.relabelled == [("001", ["class1 5, 5, 30, 30"], ["class0 5, 5, 30, 30"])]
    assert found.classes_removed == ["class1"]
    assert "~ 001: - class1 5, 5, 30, 30; + class0 5, 5, 30, 30" in found.to_text()


@pytest.mark.parametrize("shift", [0.001, 1.0])
def test_rounding_is_no_difference(shift: float) -> None:
    new = tables(BOXES)
    new.objects["xmin"] += shift
    assert compare(tables(BOXES), new).is_empty == (shift < 0.01)


def test_rounding_across_a_step_is_no_difference() -> None:
    old, new = tables(BOXES), tables(BOXES)
    old.objects["xmin"] += 0.0049
    new.objects["xmin"] += 0.0051
    assert compare(old, new).is_empty


def test_an_outline_in_fewer_digits_is_the_same() -> None:
    old, new = tables(BOXES[:1]), tables(BOXES[:1])
    points = np.random.default_rng(0).uniform(0, 48, 2_000)
    old.objects["polygons"] = [[points]]
    new.objects["polygons"] = [[np.round(points / 640, 6) * 640]]
    assert compare(old, new).is_empty
    new.objects["polygons"] = [[points + 0.011 * (np.arange(2_000) == 7)]]
    ((name, gone, come),) = compare(old, new).relabelled
    assert (name, len(gone), len(come)) == ("000", 1, 1)
    assert gone[0].startswith("class0 1, 1, 20, 20, polygon of 1000 points (")
    assert gone != come
    new.objects["polygons"] = [[points[:1_000], points[1_000:]]]
    assert not compare(old, new).is_empty


def test_each_object_is_matched_once_and_equal_ones_first() -> None:
    def of_one_image(*lefts: float) -> Tables:
        found = tables([(0, 1, 1, 20, 20, False)] * len(lefts))
        objects = found.objects.assign(image_id="000", xmin=lefts)
        return dataclasses.replace(found, images=found.images.iloc[:1], objects=objects)

    assert compare(of_one_image(1.0, 1.008), of_one_image(1.008, 0.992)).is_empty
    assert compare(of_one_image(1.0, 1.0), of_one_image(1.0)).relabelled == [("000", ["class0 1, 1, 20, 20"], [])]
    assert compare(of_one_image(1.0), of_one_image(1.0, 5.0)).relabelled == [("000", [], ["class0 5, 1, 20, 20"])]


def test_another_split() -> None:
    new = tables(BOXES)
    new.images.loc[0, "split"] = "val"
    found = compare(tables(BOXES), new)
    assert found.moved == [("000", "train", "val")]
    assert json.loads(found.to_json())["moved"] == [["000", "train", "val"]]


def test_long_lists_are_cut() -> None:
    many = tables([(0, 1, 1, 20, 20, False)] * 50)
    few = dataclasses.replace(many, images=many.images.iloc[:1], objects=many.objects.iloc[:1])
    text = compare(few, many).to_text()
    assert "49 added" in text
    assert "+ ... and 39 more" in text


@pytest.mark.parametrize("flag", ["difficult", "iscrowd"])
def test_flags(flag: str) -> None:
    new = tables(BOXES)
    new.objects.loc[1, flag] = True
    assert compare(tables(BOXES), new).relabelled == [("001", ["class1 5, 5, 30, 30"], [f"class1 5, 5, 30, 30, {flag}"])]


@pytest.mark.parametrize(("shift", "is_same"), [(0.001, True), (1.0, False)])
def test_points_of_a_polygon_with_the_same_sum(shift: float, is_same: bool) -> None:
    old, new = tables(BOXES[:1]), tables(BOXES[:1])
    old.objects["polygons"] = [[[1.0, 1.0, 20.0, 1.0, 20.0, 20.0]]]
    new.objects["polygons"] = [[[1.0 + shift, 1.0, 20.0 - shift, 1.0, 20.0, 20.0]]]
    assert compare(old, new).is_empty == is_same


def test_large_coordinates_are_not_cut() -> None:
    old, new = tables([(0, 1, 1, 20000, 20, False)]), tables([(0, 1, 1, 20000, 20, False)])
    new.objects["xmax"] += 0.05
    assert not compare(old, new).is_empty


def test_the_order_of_classes() -> None:
    old, new = tables(BOXES), tables(BOXES)
    new.classes["id"] = [1, 0]
    new.objects["label"] = 1 - new.objects["label"]
    found = compare(old, new)
    assert found.classes_moved == (["class0", "class1"], ["class1", "class0"])
    assert found.relabelled == []
    assert not found.is_empty
    assert "Order    class0, class1 to class1, class0" in found.to_text()


def test_a_class_that_is_not_learnt_is_no_class() -> None:
    found = tables(BOXES)
    void = found.classes.iloc[:1].assign(id=2, name="void", ignore=True)
    assert compare(dataclasses.replace(found, classes=pd.concat([found.classes, void])), found).is_empty


def test_masks_by_what_they_show(tmp_path: Path) -> None:
    found = tables(BOXES[:2])
    found.images["mask"] = ["mask.png", None]
    pixels = stripes((0, 1, 1, 255))
    mask(tmp_path / "old/mask.png", pixels)
    again = Image.fromarray(pixels).convert("P")
    again.putpalette([value for index in range(256) for value in (index, 0, 255 - index)])
    (tmp_path / "again").mkdir()
    again.save(tmp_path / "again/mask.png", compress_level=1)
    mask(tmp_path / "new/mask.png", np.roll(pixels, 1))
    mask(tmp_path / "turned/mask.png", np.where(pixels == 255, 255, 1 - pixels).astype(np.uint8))
    assert (tmp_path / "old/mask.png").read_bytes() != (tmp_path / "again/mask.png").read_bytes()
    assert compare(found, found, tmp_path / "old", tmp_path / "again").is_empty
    changed = compare(found, found, tmp_path / "old", tmp_path / "new").relabelled
    assert [(name, len(gone), len(come)) for name, gone, come in changed] == [("000", 1, 1)]
    turned = dataclasses.replace(
        found, classes=found.classes.assign(id=[1, 0]), objects=found.objects.assign(label=1 - found.objects["label"])
    )
    assert compare(found, turned, tmp_path / "old", tmp_path / "turned").relabelled == []
    assert compare(found, turned, tmp_path / "old", tmp_path / "old").relabelled != []
    assert compare(found, found).is_empty
    assert compare(tables(BOXES[:2]), found).relabelled == [("000", [], ["mask"])]


def test_more_classes_than_a_mask_can_have() -> None:
    many = tables([(index, 1, 1, 20, 20, False) for index in range(300)])
    assert compare(many, many, Path(), Path()).is_empty
