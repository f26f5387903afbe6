"""COCO JSON: its layouts, its shapes, and each defect that is planted is found."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import class_folders, coco, picture, read, voc
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as api

from sightline.errors import SightlineError
from tasks import findings
from tasks.duplicates import Duplicates
from tasks.expectations import check_tables
from tasks.formats import Item, ItemObject, Reading, _coco_json, _coco_shapes
from tasks.formats import coco as module
from tasks.rules import RULES
from tasks.scan import Scan, scan
from tasks.tables import BOX

VAL = "annotations/instances_val.json"
CROWD = {"size": [48, 64], "counts": [10, 5, 48 * 64 - 15]}
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([10**30, -1, 0, 1e308, float("nan"), float("inf"), "\ud800", "../a", "000.jpg"])
    | st.floats()
    | st.text(max_size=5),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)
Places = list[tuple[str | int, ...]]


def change(root: Path, edit: Callable[[dict[str, Any]], object], name: str = VAL) -> None:
    """Edits a COCO file."""
    content = json.loads((root / name).read_text())
    edit(content)
    (root / name).write_text(json.dumps(content))


def codes(reading: Reading) -> set[str]:
    return {item.code for item in reading.findings}


def note(**values: object) -> Callable[[dict[str, Any]], object]:
    """Changes an annotation of 021."""
    return lambda content: content["annotations"][2].update(values)


def head(**values: object) -> Callable[[dict[str, Any]], object]:
    """Changes the entry of the image 021."""
    return lambda content: content["images"][1].update(values)


def without(part: str, key: str) -> Callable[[dict[str, Any]], object]:
    return lambda content: [entry.pop(key) for entry in content[part][2:3]]


def append(part: str, *values: object) -> Callable[[dict[str, Any]], object]:
    return lambda content: content[part].extend(values)


OF_IMAGE: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "three numbers": ("coco.box", note(bbox=[1, 2, 3])),
    "a box of text": ("coco.box", note(bbox=["1", 2, 3, 4])),
    "a box of truth": ("coco.box", note(bbox=[True, 2, 3, 4])),
    "a box of null": ("coco.box", note(bbox=[None, 2, 3, 4])),
    "a box that is an object": ("coco.box", note(bbox={"x": 1})),
    "a number beyond floats": ("coco.box", note(bbox=[10**400, 2, 3, 4])),
    "corners beyond floats": ("coco.box", note(bbox=[1.7e308, 2, 1.7e308, 4])),
    "two points": ("coco.polygon", note(segmentation=[[1, 2, 3, 4]])),
    "an odd count": ("coco.polygon", note(segmentation=[[1, 2, 3, 4, 5, 6, 7]])),
    "a point of text": ("coco.polygon", note(segmentation=[[1, 2, 3, 4, 5, "6"]])),
    "no list in the list": ("coco.polygon", note(segmentation=[1, 2, 3, 4, 5, 6])),
    "a point beyond floats": ("coco.polygon", note(segmentation=[[1, 2, 3, 4, 5, 10**400]])),
    "no polygon in the list": ("coco.polygon", note(segmentation=[[]])),
    "a shape of text": ("coco.type", note(segmentation="polygon")),
    "another image's mask": ("coco.rle_size", note(segmentation={"size": [64, 48], "counts": [3072]})),
    "a mask without size": ("coco.rle_size", note(segmentation={"counts": [3072]})),
    "a huge mask": ("coco.rle_size", note(segmentation={"size": [10**9, 10**9], "counts": [10**18]})),
    "too few pixels": ("coco.rle", note(segmentation=CROWD | {"counts": [10, 5]})),
    "too many pixels": ("coco.rle", note(segmentation=CROWD | {"counts": [10**15]})),
    "a negative count": ("coco.rle", note(segmentation=CROWD | {"counts": [-1, 3073]})),
    "a count of text": ("coco.rle", note(segmentation=CROWD | {"counts": ["3072"]})),
    "no counts": ("coco.rle", note(segmentation=CROWD | {"counts": None})),
    "no code": ("coco.rle", note(segmentation=CROWD | {"counts": "\u00e9~"})),
    "a code that breaks off": ("coco.rle", note(segmentation=CROWD | {"counts": "oooo"})),
    "a code without end": ("coco.rle", note(segmentation=CROWD | {"counts": "o" * 10_000})),
    "a code of another size": ("coco.rle", note(segmentation=CROWD | {"counts": _coco_shapes.encode([10, 10**8])})),
    "no class of this id": ("coco.dangling_category", note(category_id=99)),
    "an id that is a list": ("coco.dangling_category", note(category_id=[1])),
    "no category_id": ("coco.dangling_category", without("annotations", "category_id")),
    "a crowd of text": ("coco.type", note(iscrowd="0")),
    "a crowd of two": ("coco.type", note(iscrowd=2)),
    "neither box nor shape": ("coco.part_missing", note(bbox=None, segmentation=[])),
    "size of another image": ("size.mismatch", head(width=640)),
    "size of nothing": ("size.missing", head(width=None)),
    "size of text": ("size.missing", head(height="48")),
    "an image id twice": ("coco.duplicate_id", append("images", {"id": 21, "file_name": "021.jpg", "width": 64, "height": 48})),
    "a file twice": ("coco.duplicate_file", append("images", {"id": 99, "file_name": "./021.jpg", "width": 64, "height": 48})),
    "an id of truth": ("coco.type", head(id=True)),
}
"""Of the image 021 and told with its image_id."""
OF_FILE: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "no images": ("coco.part_missing", lambda content: content.pop("images")),
    "no annotations": ("coco.part_missing", lambda content: content.pop("annotations")),
    "no categories": ("coco.part_missing", lambda content: content.pop("categories")),
    "images that are an object": ("coco.type", lambda content: content.update(images={})),
    "annotations of null": ("coco.type", lambda content: content.update(annotations=None)),
    "an image of text": ("coco.type", append("images", "021.jpg")),
    "an annotation of null": ("coco.type", append("annotations", None)),
    "a category of text": ("coco.type", append("categories", "cat")),
    "a category without name": ("coco.type", append("categories", {"id": 3})),
    "half a character": ("coco.type", append("categories", {"id": 3, "name": "\ud800"})),
    "a category id twice": ("coco.duplicate_id", append("categories", {"id": 1, "name": "bird"})),
    "a category name twice": (
        "coco.duplicate_category",
        lambda content: (append("categories", {"id": 3, "name": "cat"})(content), note(category_id=3)(content)),
    ),
    "an annotation id twice": ("coco.annotation_id", note(id=1)),
    "no image of this id": ("coco.dangling_image", note(image_id=99)),
    "an image_id that is an object": ("coco.dangling_image", note(image_id={})),
    "no image_id": ("coco.dangling_image", without("annotations", "image_id")),
    "an area of something else": ("coco.area", note(area=4000)),
    "an area of text": ("coco.area", note(area="400")),
    "a category without annotations": ("coco.category_unused", append("categories", {"id": 3, "name": "bird"})),
    "ids with a gap": (
        "coco.id_gap",
        lambda content: (append("categories", {"id": 9, "name": "bird"})(content), note(category_id=9)(content)),
    ),
    "other ids than the other files": (
        "coco.category_order",
        lambda content: [entry.update(id=3 - entry["id"]) for entry in content["categories"]],
    ),
    "an image that is not there": ("image.missing", append("images", {"id": 99, "file_name": "nobody.jpg"})),
    "an image of another split": ("split.twice", append("images", {"id": 99, "file_name": "../train/000.jpg"[3:]})),
    "up and away": ("coco.filename", append("images", {"id": 99, "file_name": "../../../etc/passwd"})),
    "from the root": ("coco.filename", append("images", {"id": 99, "file_name": "/etc/passwd"})),
    "from a drive": ("coco.filename", append("images", {"id": 99, "file_name": "C:/a.jpg"})),
    "with a backslash": ("coco.filename", append("images", {"id": 99, "file_name": "images\\a.jpg"})),
    "with a NUL": ("coco.filename", append("images", {"id": 99, "file_name": "a\0.jpg"})),
    "without a name": ("coco.type", append("images", {"id": 99})),
    "a name that is a number": ("coco.type", append("images", {"id": 99, "file_name": 5})),
}
"""Told of the file, or of the whole dataset."""


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Scan]]:
    """A clean dataset, and what its images are."""
    root = coco(tmp_path_factory.mktemp("coco") / "root")
    return root, dict(scan(root, module.image_files(root), 50_000_000))


@pytest.fixture
def dataset(clean: tuple[Path, dict[str, Scan]]) -> Iterator[tuple[Path, dict[str, Scan]]]:
    """The same, for a test that edits the file of the split val."""
    root, _ = clean
    before = (root / VAL).read_bytes()
    yield clean
    (root / VAL).write_bytes(before)


def test_a_clean_dataset_has_no_finding(clean: tuple[Path, dict[str, Scan]]) -> None:
    reading = module.read(*clean)
    assert reading.findings == []
    assert check_tables(reading.tables, Duplicates({}, {}), clean[0]) == []
    assert reading.tables.images["split"].value_counts().to_dict() == {"train": 20, "val": 5, "test": 5}
    assert list(reading.tables.classes["name"]) == ["cat", "dog"]
    first = reading.tables.objects[reading.tables.objects["image_id"] == "images/train/000"]
    assert first[BOX].to_numpy().tolist() == [[0, 0, 20, 20], [29, 9, 64, 48]]
    assert [list(polygon) for polygon in first["polygons"].iloc[1]] == [[29, 9, 64, 9, 64, 48, 29, 48]]


@pytest.mark.parametrize("name", OF_IMAGE)
def test_a_defect_of_an_image_is_told_with_the_image(name: str, dataset: tuple[Path, dict[str, Scan]]) -> None:
    code, edit = OF_IMAGE[name]
    change(dataset[0], edit)
    found = [item for item in module.read(*dataset).findings if item.code == code]
    assert {(item.file, item.image_id) for item in found} == {(VAL, "images/val/021")}


@pytest.mark.parametrize("name", [name for name in OF_IMAGE if not OF_IMAGE[name][0].startswith(("size", "coco.dup"))])
def test_what_is_wrong_is_not_read(name: str, dataset: tuple[Path, dict[str, Scan]]) -> None:
    change(dataset[0], OF_IMAGE[name][1])
    assert len(module.read(*dataset).tables.objects) < 60


@pytest.mark.parametrize("name", OF_FILE)
def test_a_defect_of_the_file_is_told(name: str, dataset: tuple[Path, dict[str, Scan]]) -> None:
    code, edit = OF_FILE[name]
    change(dataset[0], edit)
    found = module.read(*dataset).findings
    assert code in {item.code for item in found}
    assert all(VAL in f"{item.file} {item.got}" or item.severity == "info" for item in found if item.code == code)


def test_each_rule_is_planted(clean: tuple[Path, dict[str, Scan]]) -> None:
    elsewhere = {"coco.orientation", *(code for code in RULES if code.startswith("json."))}
    planted = {code for code, _ in (OF_IMAGE | OF_FILE).values()}
    assert {code for code in RULES if code.startswith("coco.")} - elsewhere <= planted


@pytest.mark.parametrize("box", [[20, 20, -5, 5], [20, 20, 0, 5]])
def test_a_box_without_size_is_inverted(box: list[int], dataset: tuple[Path, dict[str, Scan]]) -> None:
    change(dataset[0], note(bbox=box))
    found = check_tables(module.read(*dataset).tables, Duplicates({}, {}), dataset[0])
    assert {(item.code, item.image_id, item.file) for item in found} == {("box.inverted", "images/val/021", VAL)}


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b'{"images": [],\n"annotations": [],\n"categories": [}', "json.malformed"),
        (b"", "json.malformed"),
        (b'{"images": "\xff"}', "json.malformed"),
        (b'{"id": ' + b"9" * 5000 + b"}", "json.malformed"),
        (b"[" * 10_000_000, "json.too_deep"),
        (b'{"a": ' * 100 + b"1" + b"}" * 100, "json.too_deep"),
        (b'{"images": [], "images": [], "annotations": [], "categories": []}', "json.duplicate_key"),
        (b'{"info": {"a": 1, "a": 2}, "images": [], "annotations": [], "categories": []}', "json.duplicate_key"),
        (b'{"images": [], "annotations": [], "categories": [{"id": 1, "id": 2, "name": "cat"}]}', "json.duplicate_key"),
        (b'{"x": [NaN, -Infinity], "images": [], "annotations": [], "categories": []}', "json.not_finite"),
        (b"[1, 2]", "coco.type"),
    ],
)
def test_what_is_no_json_is_told(data: bytes, code: str, dataset: tuple[Path, dict[str, Scan]]) -> None:
    (dataset[0] / VAL).write_bytes(data)
    reading = module.read(*dataset)
    assert code in codes(reading)
    assert codes(reading) <= {code, "annotation.missing"}
    assert len(reading.tables.images) == 25


def test_a_malformed_line_is_named(dataset: tuple[Path, dict[str, Scan]]) -> None:
    (dataset[0] / VAL).write_text('{"images": [],\n"annotations": }')
    assert str(module.read(*dataset).findings[0]).startswith(f"{VAL}:2: ")


def test_a_large_file_is_not_read(dataset: tuple[Path, dict[str, Scan]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_coco_json, "SIZE_BYTES", 100)
    reading = module.read(*dataset)
    assert "json.too_large" in codes(reading)
    assert reading.tables.images.empty


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"id": 3', '"id": 3, "bbox": [1, 1, 2, 2], "bbox": [3, 3, 4, 4]'),
        ('"file_name": "021.jpg"', '"file_name": "020.jpg", "file_name": "021.jpg"'),
    ],
)
def test_a_key_that_stands_twice_is_told_with_its_image(old: str, new: str, dataset: tuple[Path, dict[str, Scan]]) -> None:
    path = dataset[0] / VAL
    path.write_text(path.read_text().replace(old, new, 1))
    reading = module.read(*dataset)
    assert [(item.code, item.image_id) for item in reading.findings] == [("json.duplicate_key", "images/val/021")]
    assert len(reading.tables.objects) < 60


def test_a_key_that_stands_twice_in_the_last_annotation_is_told_once(dataset: tuple[Path, dict[str, Scan]]) -> None:
    content = json.loads((dataset[0] / VAL).read_text())
    content["annotations"] = content.pop("annotations")  # the last of the file, as Roboflow writes it
    text = json.dumps(content)
    assert text.endswith("}]}")
    (dataset[0] / VAL).write_text(text[:-3] + ', "id": 999}]}')
    assert [item.code for item in module.read(*dataset).findings] == ["json.duplicate_key"]


def test_nan_in_a_box_is_told_of_the_file_and_of_the_image(dataset: tuple[Path, dict[str, Scan]]) -> None:
    change(dataset[0], note(bbox=[1, float("nan"), 3, 4]))
    assert codes(module.read(*dataset)) == {"json.not_finite", "coco.box"}


def test_an_image_that_is_not_listed_is_told(tmp_path: Path) -> None:
    root = coco(tmp_path)
    picture(root / "images/val/new.jpg", 99)
    found = read("coco", root).findings
    assert [(item.code, item.image_id) for item in found] == [("annotation.missing", "images/val/new")]


@pytest.mark.parametrize(("size", "code"), [((64, 48), "coco.orientation"), ((48, 64), ""), ((10, 10), "size.mismatch")])
def test_a_size_before_exif_turned_the_image_is_told(size: tuple[int, int], code: str, tmp_path: Path) -> None:
    root = coco(tmp_path)
    picture(root / "images/val/021.jpg", 21, exif_orientation=6)  # 48x64 upright
    change(root, head(width=size[0], height=size[1]))
    found = read("coco", root).findings
    assert [(item.code, item.image_id) for item in found] == ([(code, "images/val/021")] if code else [])


LAYOUTS = {
    "COCO's own": ("annotations/instances_{}2017.json", "{}2017/"),
    "images/ and split": ("annotations/instances_{}.json", "images/{}/"),
    "all in images/": ("annotations/{}.json", "images/"),
    "Roboflow's": ("{}/_annotations.coco.json", "{}/"),
    "at the root": ("{}.json", "images/"),
    "beside the images": ("{}.json", ""),
}


@pytest.mark.parametrize("folder", ["", "wrapped/twice/"])
@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_is_read(name: str, folder: str, tmp_path: Path) -> None:
    made = coco(tmp_path / "made")
    root = tmp_path / "root"
    for split in ("train", "val", "test"):
        file, pictures = (folder + pattern.format(split) for pattern in LAYOUTS[name])
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / pictures).mkdir(parents=True, exist_ok=True)
        (made / f"annotations/instances_{split}.json").rename(root / file)
        for path in (made / f"images/{split}").iterdir():
            path.rename(root / pictures / path.name)
    assert module.detect(root) is None
    reading = read("coco", root)
    assert reading.findings == []
    assert reading.tables.images["split"].value_counts().to_dict() == {"train": 20, "val": 5, "test": 5}
    assert len(reading.tables.objects) == 60


def test_one_file_without_split(tmp_path: Path) -> None:
    root = coco(tmp_path)
    (root / "annotations/instances_train.json").rename(root / "labels.json")
    for name in ("val", "test"):
        (root / f"annotations/instances_{name}.json").unlink()
        for path in (root / "images" / name).iterdir():
            path.unlink()
    for path in (root / "images/train").iterdir():
        path.rename(root / path.name)
    reading = read("coco", root)
    assert reading.findings == []
    assert list(reading.tables.images["split"]) == [""] * 20


@pytest.mark.parametrize("has_own", [False, True])
def test_trainval_is_train_where_that_has_no_file(has_own: bool, tmp_path: Path) -> None:
    root = coco(tmp_path)
    parts = {split: json.loads((root / f"annotations/instances_{split}.json").read_text()) for split in ("train", "val")}
    joined = {
        "images": [
            entry | {"file_name": f"{split}/{entry['file_name']}"} for split, part in parts.items() for entry in part["images"]
        ],
        "annotations": [
            entry | {"id": 2 * entry["image_id"] + entry["category_id"]}
            for part in parts.values()
            for entry in part["annotations"]
        ],
        "categories": parts["train"]["categories"],
    }
    (root / "annotations/instances_trainval.json").write_text(json.dumps(joined))
    for split in () if has_own else parts:
        (root / f"annotations/instances_{split}.json").unlink()
    reading = read("coco", root)
    assert reading.findings == []
    counts = {"train": 20, "val": 5, "test": 5} if has_own else {"train": 25, "test": 5}
    assert reading.tables.images["split"].value_counts().to_dict() == counts


def test_other_files_of_annotations_are_left_alone(tmp_path: Path) -> None:
    root = coco(tmp_path)
    (root / "annotations/captions_val.json").write_text('{"images": [], "annotations": []}')
    assert read("coco", root).findings == []


def test_classes_stand_in_the_order_of_their_ids_and_unused_ones_are_kept(tmp_path: Path) -> None:
    root = coco(tmp_path)
    classes = [{"id": 3, "name": "ant"}, {"id": 1, "name": "cat"}, {"id": 0, "name": "zebra"}, {"id": 2, "name": "dog"}]
    for split in ("train", "val", "test"):
        change(root, lambda content: content.update(categories=classes), f"annotations/instances_{split}.json")
    reading = read("coco", root)
    assert list(reading.tables.classes["name"]) == ["zebra", "cat", "dog", "ant"]
    assert [(item.code, item.got) for item in reading.findings] == [("coco.category_unused", "'ant', 'zebra'")]


def test_a_group_without_objects_is_no_class(tmp_path: Path) -> None:
    root = coco(tmp_path)
    pets = [{"id": 1, "name": "cat", "supercategory": "pets"}, {"id": 2, "name": "dog", "supercategory": "pets"}]
    for split in ("train", "val", "test"):
        group = [{"id": 0, "name": "pets", "supercategory": "none"}, *pets]
        change(root, lambda content, group=group: content.update(categories=group), f"annotations/instances_{split}.json")
    reading = read("coco", root)
    assert list(reading.tables.classes["name"]) == ["cat", "dog"]
    assert codes(reading) == {"coco.category_unused"}


def test_a_name_of_two_categories_is_one_class_where_one_is_used(dataset: tuple[Path, dict[str, Scan]]) -> None:
    change(dataset[0], append("categories", {"id": 0, "name": "dog"}))
    reading = module.read(*dataset)
    assert reading.findings == []
    assert list(reading.tables.classes["name"]) == ["cat", "dog"]


def test_a_shape_without_bbox_gives_the_box(dataset: tuple[Path, dict[str, Scan]]) -> None:
    change(dataset[0], note(bbox=None, segmentation=[[1.5, 2, 9, 3, 4, 8.25]], area=None))
    change(dataset[0], lambda content: content["annotations"][3].update(bbox=[], segmentation=CROWD, area=5, iscrowd=1))
    reading = module.read(*dataset)
    assert reading.findings == []
    objects = reading.tables.objects[reading.tables.objects["image_id"] == "images/val/021"]
    assert objects[BOX].to_numpy().tolist() == [[1.5, 2, 9, 8.25], [0, 10, 1, 15]]
    assert list(objects["iscrowd"]) == [False, True]
    assert objects["rle"].iloc[1] == api.frPyObjects(CROWD, 48, 64)["counts"].decode()


CORNER = {"size": [48, 64], "counts": [0, 4, 48 * 64 - 4]}


@pytest.mark.parametrize(
    ("box", "segmentation", "is_told"),
    [
        ([29, 9, 35, 39], [[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]], True),  # shares of the image
        ([30, 20, 20, 20], [[15, 10, 25, 10, 25, 20, 15, 20]], True),  # of half the size
        ([30, 20, 20, 20], CORNER, True),
        ([10, 10, 3, 3], [[30, 30, 33, 30, 33, 33]], True),
        ([10, 10, 20, 20], [[10.4, 9.7, 29.6, 9.7, 29.6, 30.4, 10.4, 30.4]], False),  # rounded
        ([10, 10, 40, 30], [[10, 10, 50, 10, 50, 34, 10, 34]], False),
        ([10, 10, 3, 3], [[11.9, 11.9, 12.8, 11.9, 12.8, 12.8]], False),  # tiny
        ([0, 0, 2, 5], CORNER, False),
        ([20, 20, -5, 5], [[0, 0, 9, 0, 9, 9]], False),  # has a rule of its own
        (None, [[0.1, 0.1, 0.9, 0.1, 0.9, 0.9]], False),
    ],
)
def test_an_outline_elsewhere_than_its_box_is_told(
    box: list[int] | None, segmentation: object, is_told: bool, dataset: tuple[Path, dict[str, Scan]]
) -> None:
    change(dataset[0], note(bbox=box, segmentation=segmentation, area=None))
    reading = module.read(*dataset)
    assert [(item.code, item.image_id) for item in reading.findings] == [("shape.box", "images/val/021")] * is_told
    assert len(reading.tables.objects) == 60
    if is_told:
        (told,) = reading.findings
        assert told.got.startswith("box ")
        assert told.got.endswith(", of annotation 3")


@settings(deadline=None)
@given(width=st.integers(1, 12), height=st.integers(1, 12), seed=st.integers(0, 2**32 - 1), share=st.floats(0, 1))
def test_run_length_codes_are_those_of_cocos_library(width: int, height: int, seed: int, share: float) -> None:
    pixels = (np.random.default_rng(seed).random((height, width)) < share).astype(np.uint8)
    code = api.encode(np.asfortranarray(pixels))
    text = code["counts"].decode()
    runs = _coco_shapes.decode(text, width * height)
    assert _coco_shapes.encode(runs) == text
    shape = _coco_shapes.to_shape({"size": [height, width], "counts": runs}, width, height)
    assert (shape.rle, shape.area) == (text, pixels.sum())
    x, y, wide, high = api.toBbox(code)
    assert shape.box == (x, y, x + wide, y + high)


@given(runs=st.lists(st.integers(0, 2**28), min_size=1))
def test_large_counts_survive(runs: list[int]) -> None:
    joined = _coco_shapes.decode(_coco_shapes.encode(runs), sum(runs))
    assert (sum(joined), sum(joined[1::2])) == (sum(runs), sum(runs[1::2]))
    assert all(joined[1:])


@given(text=st.text() | st.text(alphabet=[chr(code) for code in range(48, 112)]), pixels=st.integers(0, 10**6))
def test_no_code_counts_more_than_the_pixels(text: str, pixels: int) -> None:
    try:
        runs = _coco_shapes.decode(text, pixels)
    except ValueError:
        return
    assert sum(runs) <= pixels
    assert min(runs, default=0) >= 0


@given(JSON)
def test_depth_is_counted_outside_strings(value: object) -> None:
    def depth(part: object) -> int:
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        return isinstance(part, dict | list) + max(map(depth, inner), default=0)

    assert _coco_json.nesting(io.BytesIO(json.dumps(value).encode())) == depth(value)
    assert _coco_json.nesting(io.BytesIO(json.dumps([json.dumps(value), "\\", '"[', "\\]"]).encode())) == 1


def test_depth_is_counted_over_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for part in range(1, 9):
        monkeypatch.setattr(_coco_json, "_PART", part)
        assert _coco_json.nesting(io.BytesIO(b'[[["]]]\\\\\\"[", [], {"a": [1, [2]]}]]]')) == 6


def places(value: object, at: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The place of every part of a JSON value."""
    yield at
    for key, part in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(part, (*at, key))


@settings(deadline=None, max_examples=300)
@given(data=st.data())
def test_any_value_anywhere_is_read_or_told(
    data: st.DataObject, clean: tuple[Path, dict[str, Scan]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root, scans = clean
    before = (root / VAL).read_bytes()
    content = json.loads(before)
    for part in ("images", "annotations"):
        del content[part][3:]
    content["annotations"][1]["segmentation"] = json.loads(json.dumps(CROWD))
    for _ in range(data.draw(st.integers(1, 3))):
        spots: Places = list(places(content))
        at = data.draw(st.sampled_from(spots))
        value = data.draw(JSON)
        if not at:
            content = value
            continue
        parent = content
        for key in at[:-1]:
            parent = parent[key]
        parent[at[-1]] = value
    out = tmp_path_factory.getbasetemp() / "out"
    try:
        (root / VAL).write_text(json.dumps(content))
        reading = module.read(root, scans)
        reading.tables.write(out / "tables")
        findings.write(reading.findings, out / "findings", [])
    finally:
        (root / VAL).write_bytes(before)


@st.composite
def objects(draw: st.DrawFn) -> ItemObject:
    """An object with a box and perhaps a shape in an image of 64x48."""
    xs, ys = st.floats(0, 64), st.floats(0, 48)
    (xmin, xmax), (ymin, ymax) = (sorted(draw(st.tuples(each, each))) for each in (xs, ys))
    label, iscrowd = draw(st.sampled_from(["dog", "cat", "Ä 'bird'"])), draw(st.booleans())
    kind = draw(st.sampled_from(["box", "polygons", "rle"]))
    points = st.lists(st.tuples(xs, ys), min_size=3, max_size=5).map(lambda pairs: [value for pair in pairs for value in pair])
    polygons = draw(st.lists(points, min_size=1, max_size=2)) if kind == "polygons" else []
    start = draw(st.integers(0, 3000))
    rle = _coco_shapes.encode([start, 50, 48 * 64 - start - 50]) if kind == "rle" else ""
    return ItemObject(label, (xmin, ymin, xmax, ymax), polygons, rle, iscrowd=iscrowd)


@settings(deadline=None, max_examples=40)
@given(drawn=st.lists(st.lists(objects(), max_size=4), min_size=1, max_size=4), split=st.sampled_from(["", "train", "test"]))
def test_round_trips_lose_nothing(drawn: list[list[ItemObject]], split: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("trip")
    picture(folder / "a.png", 0)
    items = [
        Item(str(index), ".png", folder / "a.png", 64, 48, tuple(each), split if index else "")
        for index, each in enumerate(drawn)
    ]
    classes = ["zebra", "dog", "cat", "Ä 'bird'"]
    for name in ("root", "again"):
        module.write(items, folder / name, classes)
    for path in (folder / "root/annotations").iterdir():
        assert path.read_bytes() == (folder / "again/annotations" / path.name).read_bytes()
    reading = read("coco", folder / "root")
    assert codes(reading) <= {"coco.category_unused", "shape.box"}  # boxes and shapes are drawn by themselves
    assert list(reading.tables.classes["name"]) == classes
    found = reading.tables.objects
    for item in items:
        path = f"images/{item.split}/{item.name}" if item.split else f"images/{item.name}"
        got = [
            (classes[row.label], (row.xmin, row.ymin, row.xmax, row.ymax), row.polygons, row.rle, row.iscrowd)
            for row in found[found["image_id"] == path].itertuples()
        ]
        want = [(each.label, each.box, each.polygons, each.rle, each.iscrowd) for each in item.objects]
        assert [(row[0], row[4]) for row in got] == [(row[0], row[4]) for row in want]
        for one, other in zip(got, want, strict=True):
            assert one[1] == pytest.approx(other[1], rel=0, abs=1e-12)  # width and height are differences
        assert [[list(one) for one in (() if row[2] is None else row[2])] for row in got] == [row[2] for row in want]
        assert ["" if pd.isna(row[3]) else row[3] for row in got] == [row[3] for row in want]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with NumPy 2
def test_cocos_library_reads_what_is_written(tmp_path: Path) -> None:
    from pycocotools.coco import COCO

    picture(tmp_path / "a.png", 0)
    shapes = (
        ItemObject("cat", (1, 2, 31, 41), ((1, 2, 31, 2, 31, 41, 1, 41),)),
        ItemObject("dog", (0, 0, 2, 48), rle=_coco_shapes.encode([0, 96, 64 * 48 - 96]), iscrowd=True),
    )
    module.write([Item("a", ".png", tmp_path / "a.png", 64, 48, shapes)], tmp_path / "root")
    library = COCO(str(tmp_path / "root/annotations/instances_default.json"))
    assert [each["area"] for each in library.loadAnns(library.getAnnIds())] == [30 * 39, 96]
    assert [int(library.annToMask(each).sum()) for each in library.loadAnns(library.getAnnIds())] == [30 * 39, 96]


@pytest.mark.parametrize(
    ("each", "message"),
    [
        (ItemObject("cat"), "cat without a box"),
        (ItemObject("cow", (0, 0, 1, 1)), "class 'cow', expected one of cat"),
        (ItemObject("cat", (0, 0, 1, 1), rle="~~"), "the mask of cat"),
    ],
)
def test_what_cannot_be_written_is_told(each: ItemObject, message: str, tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match=message):
        module.write([Item("a", ".jpg", b"", 64, 48, (each,))], tmp_path, ["cat"])


def test_other_datasets_are_not_claimed(tmp_path: Path) -> None:
    boxes = voc(tmp_path / "voc", 2, splits=False)
    (boxes / "package.json").write_text('{"images": 2}')
    folders = class_folders(tmp_path / "folders", 2)
    (folders / "cat/000.json").write_text('{"shapes": [], "imagePath": "000.jpg"}')
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "labels.json").write_text("")
    (empty / "notes.txt").write_text("")
    assert module.detect(boxes) == "package.json: no list 'annotations'"
    assert module.detect(folders) == "no *.json in annotations/, at the root or in the folder of a split"
    assert module.detect(empty) == "labels.json: no list 'images'"
    (empty / "labels.json").write_text('{"images": [], "annotations": [], "categories": []}')
    assert module.detect(empty) == "no image beside the *.json, in images/ or in the folders of splits"


def test_panoptic_segments_are_no_objects(tmp_path: Path) -> None:
    root = coco(tmp_path, 30)
    for path in (root / "annotations").iterdir():
        path.write_text('{"images": [], "annotations": [{"segments_info": []}], "categories": []}')
    assert "instances_test.json: segments_info, panoptic masks, expected objects" in str(module.detect(root))


@pytest.mark.parametrize("name", ["..\\x.jpg", "\\x.jpg", "C:\\x.jpg", "train\\..\\..\\x.jpg", "images\\nowhere.jpg"])
def test_backslashes_lead_nowhere_else(name: str, tmp_path: Path) -> None:
    root = coco(tmp_path / "root", 30)
    picture(tmp_path / "x.jpg", 1)
    path = root / "annotations/instances_train.json"
    content = json.loads(path.read_text())
    append("images", {"id": 99, "file_name": name, "width": 64, "height": 48})(content)
    path.write_text(json.dumps(content))
    assert [each.code for each in read("coco", root).findings if each.severity == "error"] == ["coco.filename"]
