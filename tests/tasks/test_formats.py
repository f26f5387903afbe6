"""Every format, through the same expectations."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from datasets import class_csv, class_folders, coco, masks, picture, read, tables, voc, yolo
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sightline.errors import SightlineError
from tasks import formats, variants
from tasks.formats import Item, ItemObject

MAKERS = {"class_csv": class_csv, "voc": voc, "class_folders": class_folders, "yolo": yolo, "masks": masks, "coco": coco}


@st.composite
def boxes(draw: st.DrawFn) -> tuple[int, int, int, int, int, bool]:
    xmin, ymin = draw(st.integers(0, 62)), draw(st.integers(0, 46))
    return (
        draw(st.integers(0, 3)),
        xmin,
        ymin,
        draw(st.integers(xmin + 1, 64)),
        draw(st.integers(ymin + 1, 48)),
        draw(st.booleans()),
    )


@pytest.mark.parametrize("name", [name for name in variants.names("formats") if formats.load(name).HOLDS & {"box", "whole"}])
@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(drawn=st.lists(boxes(), min_size=2, max_size=6))
def test_what_is_written_is_read_again(
    name: str, drawn: list[tuple[int, int, int, int, int, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    module = importlib.import_module(f"tasks.formats.{name}")
    whole = "whole" in module.HOLDS
    if whole:
        drawn = [*drawn, (0, 0, 0, 1, 1, False), (1, 0, 0, 1, 1, False)]  # two classes at least
    written = tables(drawn, whole)
    folder = tmp_path_factory.mktemp(name)
    for path in written.images["path"]:
        picture(folder / path, 0)
    root = folder / "root"
    module.write(formats.items(written, folder), root)
    assert module.detect(root) is None
    reading = read(name, root)
    assert reading.findings == []
    images, objects, classes = reading.tables.images, reading.tables.objects, reading.tables.classes
    names = dict(zip(written.classes["id"], written.classes["name"], strict=True))
    stems = images["image_id"].map(lambda text: Path(text).name)
    assert sorted(stems) == sorted(written.images["image_id"])
    assert set(images["split"]) == {"train"}
    columns = ["xmin", "ymin", "xmax", "ymax", *({"difficult"} & module.HOLDS)]
    got = objects.assign(image_id=objects["image_id"].map(lambda text: Path(text).name)).sort_values("image_id")
    want = written.objects.sort_values("image_id")
    assert [classes["name"][label] for label in got["label"]] == [names[label] for label in want["label"]]
    for column in columns:
        assert np.array_equal(got[column].astype(float), want[column].astype(float), equal_nan=True)


@pytest.mark.parametrize("name", variants.names("formats"))
def test_auto_finds_the_format(name: str, tmp_path: Path) -> None:
    root = MAKERS[name](tmp_path / "root")
    assert formats.detect(root) == name


@pytest.mark.parametrize("name", variants.names("formats"))
def test_a_foreign_folder_is_told_which_requirement_it_does_not_meet(name: str, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing here")
    with pytest.raises(SightlineError, match=rf"{name}: no (\*\.xml in|folder with images|\*\.json in|_classes\.csv or)"):
        formats.detect(tmp_path, name)


def test_a_voc_box_counts_from_one_and_includes_both_ends(tmp_path: Path) -> None:
    root = voc(tmp_path, 1, splits=False)
    objects = read("voc", root).tables.objects
    assert objects[["xmin", "ymin", "xmax", "ymax"]].to_numpy().tolist() == [[0, 0, 20, 20], [29, 9, 64, 48]]


def test_xml_beside_the_images_is_voc_too(tmp_path: Path) -> None:
    voc(tmp_path / "made", 2, splits=False)
    for path in sorted((tmp_path / "made").rglob("*.*")):
        path.rename(tmp_path / path.name)
    assert formats.detect(tmp_path) == "voc"
    assert list(read("voc", tmp_path).tables.images["image_id"]) == ["000", "001"]


def test_split_folders_give_the_splits(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        class_folders(tmp_path / split, 2)
    images = read(formats.detect(tmp_path), tmp_path).tables.images
    assert images["split"].value_counts().to_dict() == {"train": 4, "val": 4, "test": 4}


def test_an_image_of_several_objects_has_no_class_folder(tmp_path: Path) -> None:
    several = Item("a", ".jpg", b"", 64, 48, (ItemObject("cat"), ItemObject("dog")))
    with pytest.raises(SightlineError, match="2 objects, expected 1"):
        formats.load("class_folders").write([several], tmp_path)


def test_folders_around_a_dataset_do_not_matter(tmp_path: Path) -> None:
    voc(tmp_path / "VOCdevkit" / "VOC2012", 2, splits=False)
    assert formats.detect(tmp_path) == "voc"
    found = read("voc", tmp_path).tables
    assert list(found.images["image_id"]) == [f"VOCdevkit/VOC2012/JPEGImages/{name}" for name in ("000", "001")]
    assert all((tmp_path / path).is_file() for path in found.images["path"])


def test_polygons_survive(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 0)
    outline = (1.25, 2.0, 30.5, 2.0, 30.5, 40.75)
    item = Item("a", ".jpg", (tmp_path / "a.jpg").read_bytes(), 64, 48, (ItemObject("cat", (1, 2, 31, 41), (outline,)),))
    formats.load("voc").write([item], tmp_path / "root")
    objects = read("voc", tmp_path / "root").tables.objects
    assert [list(polygon) for polygon in objects["polygons"][0]] == [list(outline)]
