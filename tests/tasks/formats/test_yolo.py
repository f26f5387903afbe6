"""YOLO: its layouts, what it holds, and each defect that is planted."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import class_folders, picture, read, voc, yolo
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal
from PIL import Image
from test_validate import findings
from test_validate import run as run_validate

from sightline.errors import AnswerIsNo, SightlineError
from tasks import formats, stage
from tasks.formats import Item, ItemObject
from tasks.formats import yolo as module
from tasks.formats._yolo_labels import MAX_BYTES, TOLD
from tasks.scan import scan

ROOT = Path(__file__).parents[3]
BOX = ["xmin", "ymin", "xmax", "ymax"]
LABEL = "labels/train/005.txt"


def test_scans_in_another_order_are_those_of_their_images(tmp_path: Path) -> None:
    root = yolo(tmp_path / "data")
    names = list(module.image_files(root))
    one, other = (module.read(root, scan(root, order, 10**6)).tables for order in (names, names[::-1]))
    assert_frame_equal(one.images, other.images)
    assert_frame_equal(one.objects, other.objects)


def run(root: Path, out: Path, **changes: object) -> stage.Metrics:
    return run_validate(root, out, "yolo", **changes)


def label(text: str | bytes) -> Callable[[Path], object]:
    data = text.encode() if isinstance(text, str) else text
    return lambda root: (root / LABEL).write_bytes(data)


def data(text: str) -> Callable[[Path], object]:
    return lambda root: (root / "data.yaml").write_text(text)


def more(text: str) -> Callable[[Path], object]:
    return lambda root: (root / "data.yaml").write_text((root / "data.yaml").read_text() + text)


def outlines(root: Path) -> None:
    for path in (root / "labels/train").iterdir():
        path.write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n1 0.1 0.1 0.5 0.1 0.5 0.5\n")


SPLITS = "train: images/train\nval: images/val\ntest: images/test\n"
ERRORS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "too few columns": ("yolo.columns", label("0 0.5 0.5 0.2\n")),
    "a confidence": ("yolo.columns", label("0 0.5 0.5 0.2 0.2 0.99\n")),
    "an odd number of coordinates": ("yolo.polygon_odd", label("0 0.1 0.1 0.5 0.1 0.5 0.5 0.4\n")),
    "a name for a class": ("yolo.class_id", label("cat 0.5 0.5 0.2 0.2\n")),
    "half a class": ("yolo.class_id", label("0.5 0.5 0.5 0.2 0.2\n")),
    "a negative class": ("yolo.class_id", label("-1 0.5 0.5 0.2 0.2\n")),
    "a class beyond nc": ("yolo.class_id", label("2 0.5 0.5 0.2 0.2\n")),
    "a class of thousands of digits": ("yolo.class_id", label("9" * 5000 + " 0.5 0.5 0.2 0.2\n")),
    "an infinite class": ("yolo.class_id", label("inf 0.5 0.5 0.2 0.2\n")),
    "nan": ("yolo.not_a_number", label("0 nan 0.5 0.2 0.2\n")),
    "infinity": ("yolo.not_a_number", label("0 0.5 -inf 0.2 0.2\n")),
    "a comma": ("yolo.not_a_number", label("0 0,5 0.5 0.2 0.2\n")),
    "digits as Python alone groups them": ("yolo.not_a_number", label("0 0.5 0.5 0.2_5 0.2\n")),
    "pixels": ("yolo.not_normalised", label("0 32 24 10 10\n")),
    "pixels of a polygon": ("yolo.not_normalised", label("0 10 10 20 10 20 20\n")),
    "far outside": ("box.out_of_bounds", label("0 1.0 0.5 0.5 0.2\n")),
    "no width": ("box.inverted", label("0 0.5 0.5 0 0.2\n")),
    "a negative height": ("box.inverted", label("0 0.5 0.5 0.2 -0.2\n")),
    "a polygon without area": ("box.inverted", label("0 0.5 0.1 0.5 0.2 0.5 0.3\n")),
    "UTF-16": ("yolo.unreadable", label("0 0.5 0.5 0.2 0.2\n".encode("utf-16"))),
    "megabytes": ("yolo.unreadable", label(b" " * (MAX_BYTES + 1))),
    "a label without image": ("image.missing", lambda root: (root / "labels/nobody.txt").write_text("0 .5 .5 .2 .2\n")),
    "two images of one label": ("image.ambiguous", lambda root: picture(root / "images/train/005.png", 500)),
    "in two lists": (
        "split.twice",
        lambda root: [
            data("train: train.txt\nval: val.txt\ntest: images/test\nnames: [cat, dog]\n")(root),
            (root / "train.txt").write_text("".join(f"./images/train/{index:03}.jpg\n" for index in range(20))),
            (root / "val.txt").write_text("images/train/005.jpg\n"),
        ],
    ),
}  # fmt: skip
WHOLE: dict[str, tuple[str, Callable[[Path], object]]] = {
    "nc that is not the number of names": ("yolo.names", data(SPLITS + "nc: 3\nnames: [cat, dog]\n")),
    "a name twice": ("yolo.names", data(SPLITS + "names: [cat, cat]\n")),
    "a list as a name": ("yolo.names", data(SPLITS + "names: [cat, [dog]]\n")),
    "no name": ("yolo.names", data(SPLITS + "names: [cat, '']\n")),
    "a gap in the ids": ("yolo.names", data(SPLITS + "names: {0: cat, 2: dog}\n")),
    "names that are text": ("yolo.names", data(SPLITS + "names: cat dog\n")),
    "YAML that is none": ("yolo.yaml", data("names: [cat, dog\n")),
    "an alias": ("yolo.yaml", data("a: &a [x, x]\nb: &b [*a, *a]\nnames: [*b, *b]\n")),
    "thousands of levels": ("yolo.yaml", data("names: " + "[" * 100_000)),
    "megabytes of YAML": ("yolo.yaml", data("#" * 300_000)),
    "a key twice": ("yolo.yaml", data("names: [cat, dog]\nnames: [dog, cat]\n")),
    "an escape of no character": ("yolo.yaml", data('names: ["\\UFFFFFFFF"]\n')),
    "half a character in a name": ("yolo.yaml", data('names: ["\\uD800", dog]\n')),
    "half a character in a path": ("yolo.yaml", data('train: "\\uD800"\nnames: [cat, dog]\n')),
    "two lists of names": (
        "yolo.names",
        lambda root: [
            (root / "data.yaml").unlink(),
            (root / "classes.txt").write_text("cat\ndog\n"),
            (root / "labels/classes.txt").write_text("dog\ncat\n"),
        ],
    ),
    "names in Latin-1": (
        "yolo.names",
        lambda root: [(root / "data.yaml").unlink(), (root / "classes.txt").write_bytes(b"cat\nh\xf6ren\n")],
    ),
}
TOLD_ONLY: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a little outside": ("box.edge", label("0 0.5 0.5 1.04 0.2\n")),
    "twice": ("object.duplicate", label("0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n")),
    "an empty label": ("object.none", label("")),
    "a box and a polygon": ("yolo.mixed", label("0 0.5 0.5 0.2 0.2\n0 0.1 0.1 0.5 0.1 0.5 0.5\n")),
    "boxes here and polygons there": ("yolo.mixed", outlines),
    "ids for names": ("yolo.no_names", data(SPLITS + "nc: 2\n")),
    "neither names nor nc": ("yolo.no_names", lambda root: (root / "data.yaml").unlink()),
    "a path above the root": ("yolo.path_outside", more("path: ../../elsewhere\n")),
    "an absolute path": ("yolo.path_outside", data("train: /etc\nval: images/val\ntest: images/test\nnames: [cat, dog]\n")),
    "a drive": ("yolo.path_outside", data("train: C:\\data\nval: images/val\ntest: images/test\nnames: [cat, dog]\n")),
    "no such folder": ("yolo.path_missing", data("train: images/tran\nval: images/val\nnames: [cat, dog]\n")),
    "one folder for two splits": ("yolo.split_overlap", data("train: images\nval: images\nnames: [cat, dog]\n")),
    "a folder in another split's": ("yolo.split_overlap", data("train: images\nval: images/val\nnames: [cat, dog]\n")),
    "a download": ("yolo.download", more("download: |\n  import os\n  os.system('touch never')\n")),
    "keypoints": (
        "yolo.keypoints",
        lambda root: [more("kpt_shape: [2, 2]\n")(root), label("0 0.5 0.5 0.2 0.2 0.1 0.1 0.2 0.2\n")(root)],
    ),
    "an unknown path in a list": (
        "split.unknown_image",
        lambda root: [
            data("train: train.txt\nval: images/val\ntest: images/test\nnames: [cat, dog]\n")(root),
            (root / "train.txt").write_text(
                "../../../etc/passwd\n" + "".join(f"images/train/{index:03}.jpg\n" for index in range(20))
            ),
        ],
    ),
}


@pytest.mark.parametrize("name", ERRORS)
def test_an_error_names_the_image_and_says_what_to_do(name: str, tmp_path: Path) -> None:
    code, plant = ERRORS[name]
    root = yolo(tmp_path / "data")
    plant(root)
    with pytest.raises(AnswerIsNo, match=r"findings\.html"):
        run(root, tmp_path)
    rows = findings(tmp_path)
    assert {row["code"] for row in rows if row["severity"] == "error"} == {code}
    assert all(row["got"] and row["expected"] and row["remedy"] for row in rows)
    assert all(row["file"] for row in rows if row["severity"] == "error")
    if code != "image.missing":
        assert {row["image_id"] for row in rows if row["severity"] == "error"} == {"images/train/005"}
        assert run(root, tmp_path / "again", on_error="quarantine")["images"] == 29


@pytest.mark.parametrize("name", WHOLE)
def test_names_that_cannot_be_trusted_stop_the_whole_dataset(name: str, tmp_path: Path) -> None:
    code, plant = WHOLE[name]
    root = yolo(tmp_path / "data")
    plant(root)
    with pytest.raises(AnswerIsNo):
        run(root, tmp_path, on_error="quarantine")
    assert {row["code"] for row in findings(tmp_path) if row["severity"] == "error"} == {code}


@pytest.mark.parametrize("name", TOLD_ONLY)
def test_what_is_only_told_stops_nothing(name: str, tmp_path: Path) -> None:
    code, plant = TOLD_ONLY[name]
    root = yolo(tmp_path / "data")
    plant(root)
    metrics = run(root, tmp_path)
    assert (metrics["images"], metrics["errors"]) == (30, 0)
    assert {row["code"] for row in findings(tmp_path)} - {"split.empty"} == {code}


def test_a_clean_dataset_has_no_finding(tmp_path: Path) -> None:
    assert run(yolo(tmp_path / "data"), tmp_path)["warnings"] == 0
    assert findings(tmp_path) == []


@pytest.mark.parametrize(
    "text", ["\ufeff0 0.5 0.5 0.25 0.5\n", "0 0.5 0.5 0.25 0.5\r\n\r\n", "0.0\t5e-1 .5  0.25 0.5", "+0 0.5 0.5 0.25 0.5"]
)
def test_what_editors_leave_does_not_matter(text: str, tmp_path: Path) -> None:
    root = yolo(tmp_path, 1, splits=False)
    (root / "labels/000.txt").write_bytes(text.encode())
    reading = read("yolo", root)
    assert reading.findings == []
    assert reading.tables.objects[BOX].to_numpy().tolist() == [[24, 12, 40, 36]]


def test_boxes_and_lines(tmp_path: Path) -> None:
    objects = read("yolo", yolo(tmp_path, 1, splits=False)).tables.objects
    assert objects[BOX].to_numpy().tolist() == [
        pytest.approx([0, 0, 20, 20], abs=1e-4),
        pytest.approx([29, 9, 64, 48], abs=1e-4),
    ]
    assert (objects["xmax"].max(), objects["ymax"].max()) == (64, 48)  # what rounding put beyond the edge lies on it
    assert list(objects["line"]) == [1, 2]
    assert list(objects["label"]) == [0, 1]


def test_shares_are_of_the_upright_image(tmp_path: Path) -> None:
    root = yolo(tmp_path, 2, splits=False)
    picture(root / "images/000.jpg", 0, exif_orientation=6)
    (root / "labels/000.txt").write_text("0 0.5 0.5 1 1\n")
    tables = read("yolo", root).tables
    assert tables.objects[BOX].to_numpy()[0].tolist() == [0, 0, 48, 64]


def layout_roboflow(made: Path, root: Path) -> None:
    for split, name in (("train", "train"), ("val", "valid"), ("test", "test")):
        for kind in ("images", "labels"):
            shutil.copytree(made / kind / split, root / name / kind)
    (root / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['cat', 'dog']\n"
        "roboflow:\n  license: CC BY 4.0\n"
    )
    (root / "README.dataset.txt").write_text("A dataset.\n")


def layout_lists(made: Path, root: Path) -> None:
    (root / "obj_train_data").mkdir(parents=True)
    for split in ("train", "val", "test"):
        for path in [*(made / "images" / split).iterdir(), *(made / "labels" / split).iterdir()]:
            shutil.copy(path, root / "obj_train_data")
        names = sorted(path.name for path in (made / "images" / split).iterdir())
        (root / f"{split}.txt").write_text("".join(f"data/obj_train_data/{name}\n" for name in names))
    (root / "obj.names").write_text("cat\ndog\n")
    (root / "obj.data").write_text("classes = 2\ntrain = data/train.txt\nnames = data/obj.names\n")


def layout_folders(made: Path, root: Path) -> None:
    for kind in ("images", "labels"):
        shutil.copytree(made / kind, root / kind)
    (root / "labels/classes.txt").write_bytes("\ufeffcat\r\ndog\r\n".encode())


def layout_coco(made: Path, root: Path) -> None:
    for kind in ("images", "labels"):
        for split in ("train", "val", "test"):
            shutil.copytree(made / kind / split, root / kind / f"{split}2017")
    lists = "".join(f"{split}: {split}2017.txt\n" for split in ("train", "val", "test"))
    (root / "coco.yaml").write_text(f"path: coco\n{lists}names:\n  0: cat\n  1: dog\n")
    for split in ("train", "val", "test"):
        names = sorted(path.name for path in (made / "images" / split).iterdir())
        (root / f"{split}2017.txt").write_text("".join(f"./images/{split}2017/{name}\n" for name in names))


@pytest.mark.parametrize("arrange", [layout_roboflow, layout_lists, layout_folders, layout_coco])
def test_every_layout_gives_the_same(arrange: Callable[[Path, Path], None], tmp_path: Path) -> None:
    made = yolo(tmp_path / "made")
    arrange(made, tmp_path / "root")
    assert module.detect(tmp_path / "root") is None
    reading = read("yolo", tmp_path / "root")
    assert reading.findings == []
    images, objects = reading.tables.images, reading.tables.objects
    assert images["split"].value_counts().to_dict() == {"train": 20, "val": 5, "test": 5}
    assert objects["label"].value_counts().to_dict() == {0: 30, 1: 30}
    assert list(reading.tables.classes["name"]) == ["cat", "dog"]


def test_images_beside_labels_alone(tmp_path: Path) -> None:
    root = yolo(tmp_path, 3, splits=False)
    (root / "data.yaml").unlink()
    reading = read("yolo", root)
    assert [item.code for item in reading.findings] == ["yolo.no_names"]
    assert list(reading.tables.classes["name"]) == ["0", "1"]
    assert set(reading.tables.images["split"]) == {""}


def test_ids_for_names_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    root = yolo(tmp_path, 1, splits=False)
    (root / "data.yaml").unlink()
    (root / "labels/000.txt").write_text("10 0.5 0.5 0.5 0.5\n9 0.5 0.5 0.5 0.5\n")
    assert list(read("yolo", root).tables.classes["name"]) == ["9", "10"]


def test_words_that_yaml_takes_for_values_are_names(tmp_path: Path) -> None:
    root = yolo(tmp_path, 1, splits=False)
    (root / "data.yaml").write_text("names: [no, 1.0]\n")
    assert list(read("yolo", root).tables.classes["name"]) == ["no", "1.0"]


def test_an_image_without_label_is_background_among_others(tmp_path: Path) -> None:
    root = yolo(tmp_path, 30)
    (root / "labels/train/005.txt").unlink()
    reading = read("yolo", root)
    assert [(item.code, item.file) for item in reading.findings] == [("yolo.label_missing", "images/train")]
    assert "1 of 20 images" in reading.findings[0].got
    assert len(reading.tables.images) == 30


def test_a_folder_without_labels_is_not_used(tmp_path: Path) -> None:
    root = yolo(tmp_path, 30)
    shutil.rmtree(root / "labels/val")
    reading = read("yolo", root)
    assert [(item.code, item.file) for item in reading.findings] == [("annotation.missing", "images/val")]
    assert len(reading.tables.images) == 25


def test_nothing_outside_the_root_is_read(tmp_path: Path) -> None:
    root = yolo(tmp_path / "root", 30)
    yolo(tmp_path / "other", 5, splits=False)
    (root / "data.yaml").write_text("path: ../other\ntrain: images\nval: ../other/images\ntest: ../../other\nnames: [a, b]\n")
    assert all(name.startswith(("images/t", "images/val")) for name in module.image_files(root))
    codes = [item.code for item in read("yolo", root).findings]
    assert codes == ["yolo.path_outside", "yolo.path_missing", "yolo.path_outside"]


def test_defects_of_one_file_are_told_up_to_a_limit(tmp_path: Path) -> None:
    root = yolo(tmp_path, 1, splits=False)
    (root / "labels/000.txt").write_text("7 0.5 0.5 0.5 0.5\n" * 1000)
    found = read("yolo", root).findings
    assert len(found) == TOLD
    assert found[-1].got == "class '7' (and 900 more in this file)"
    assert found[0].expected == "0..1"


def foreign_readme(root: Path) -> None:
    class_folders(root, 3)
    (root / "cat/readme.txt").write_text("0 0.5 0.5 0.5 0.5\n")


def foreign_captions(root: Path) -> None:
    class_folders(root, 3)
    for path in list((root / "cat").iterdir()):
        path.with_suffix(".txt").write_text("a cat on a mat\n")


def foreign_masks(root: Path) -> None:
    picture(root / "images/a.jpg", 0)
    (root / "labels").mkdir()
    Image.new("L", (64, 48)).save(root / "labels/a.png")
    (root / "classes.txt").write_text("sky\nroad\n")


def foreign_coco(root: Path) -> None:
    picture(root / "images/a.jpg", 0)
    (root / "annotations").mkdir()
    (root / "annotations/instances_train.json").write_text("{}")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda root: voc(root, 3), "no label"),
        (lambda root: class_folders(root, 3), "no label"),
        (foreign_readme, "no label"),
        (foreign_captions, "its first line is no"),
        (foreign_masks, "images/a.jpg: no label labels/a.txt or annotations/a.txt"),
        (foreign_coco, "no label"),
        (lambda root: root.mkdir(), "no folder with images"),
    ],
)
def test_other_datasets_are_not_claimed(make: Callable[[Path], object], reason: str, tmp_path: Path) -> None:
    make(tmp_path / "data")
    assert reason in (module.detect(tmp_path / "data") or "")


def item(tmp_path: Path, *objects: ItemObject, name: str = "a", split: str = "", size: tuple[int, int] = (64, 48)) -> Item:
    path = tmp_path / f"{size[0]}x{size[1]}.png"
    if not path.exists():
        Image.new("L", size).save(path)
    return Item(name, ".png", path, *size, objects, split)


def sides(side: int) -> st.SearchStrategy[tuple[float, float]]:
    numbers = st.floats(0, side, allow_subnormal=False)
    return st.tuples(numbers, numbers).map(lambda pair: (min(pair), max(pair)))


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.data())
def test_boxes_and_polygons_survive(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("yolo")
    width, height = data.draw(st.sampled_from([(64, 48), (641, 7), (3000, 1999)]))
    (xmin, xmax), (ymin, ymax) = data.draw(sides(width)), data.draw(sides(height))
    points = data.draw(st.lists(st.tuples(st.floats(0, width), st.floats(0, height)), min_size=3, max_size=9))
    outline = [value for point in points for value in point]
    xs, ys = outline[::2], outline[1::2]
    boxed = item(folder, ItemObject("dog", (xmin, ymin, xmax, ymax)), size=(width, height))
    bounds = (min(xs), min(ys), max(xs), max(ys))
    outlined = item(folder, ItemObject("cat", bounds, (outline,)), name="b", size=(width, height))
    module.write([boxed, outlined], folder / "root", ["dog", "bird", "cat"])
    objects = read("yolo", folder / "root").tables.objects
    assert objects[BOX].to_numpy().tolist() == [
        pytest.approx([xmin, ymin, xmax, ymax], rel=1e-9, abs=1e-9),
        pytest.approx(bounds, rel=1e-9, abs=1e-9),
    ]
    assert list(objects["polygons"][1][0]) == pytest.approx(outline, rel=1e-9, abs=1e-9)
    assert objects["polygons"][0] is None


def test_classes_their_order_and_background_survive(tmp_path: Path) -> None:
    samples = [item(tmp_path, ItemObject("no", (0, 0, 9, 9)), split="train"), item(tmp_path, name="b/c", split="val")]
    module.write(samples, tmp_path / "root", ["zebra", "no", "ant"])
    reading = read("yolo", tmp_path / "root")
    assert reading.findings == []
    assert list(reading.tables.classes["name"]) == ["zebra", "no", "ant"]
    assert dict(zip(reading.tables.images["image_id"], reading.tables.images["split"], strict=True)) == {
        "images/train/a": "train",
        "images/val/b/c": "val",
    }
    assert (tmp_path / "root/labels/val/b/c.txt").read_bytes() == b""
    assert (tmp_path / "root/data.yaml").read_text() == (
        "train: images/train\nval: images/val\nnc: 3\nnames:\n- zebra\n- 'no'\n- ant\n"
    )


def test_several_polygons_become_one_of_the_same_area(tmp_path: Path) -> None:
    from pycocotools import mask

    parts = ((2.0, 2.0, 20.0, 2.0, 20.0, 20.0, 2.0, 20.0), (30.0, 30.0, 50.0, 30.0, 50.0, 44.0, 30.0, 44.0))
    module.write([item(tmp_path, ItemObject("cat", (2, 2, 50, 44), parts))], tmp_path / "root")
    objects = read("yolo", tmp_path / "root").tables.objects
    assert objects[BOX].to_numpy().tolist() == [[2, 2, 50, 44]]
    joined = mask.merge(mask.frPyObjects([list(objects["polygons"][0][0])], 48, 64))
    apart = mask.merge(mask.frPyObjects([list(part) for part in parts], 48, 64))
    assert joined["counts"] == apart["counts"]


TRIANGLE = ((1.0, 1.0, 9.0, 1.0, 9.0, 9.0),)


@pytest.mark.parametrize(
    ("objects", "reason"),
    [
        ([ItemObject("cat")], "cat without a box"),
        ([ItemObject("cat", (0, 0, float("nan"), 1))], "cat without a box"),
        ([ItemObject("cat", (0, 0, 9, 9)), ItemObject("cat", (1, 1, 9, 9), TRIANGLE)], "boxes beside polygons"),
        ([ItemObject("cat", (0, 0, 9, 9), ((1.0, 1.0, 2.0, 2.0),))], "at least three points"),
        ([ItemObject("bird", (0, 0, 9, 9))], "class bird, expected one of cat, dog"),
    ],
)
def test_what_the_format_cannot_hold_is_refused(objects: list[ItemObject], reason: str, tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match=reason):
        module.write([item(tmp_path, *objects)], tmp_path / "root", ["cat", "dog"])


def test_two_images_of_one_label_are_refused(tmp_path: Path) -> None:
    first = item(tmp_path)
    with pytest.raises(SightlineError, match="rename one"):
        module.write([first, Item("a", ".jpg", first.image, 64, 48, ())], tmp_path / "root")


PARTS = st.sampled_from(
    [b"0", b"1", b"-1", b"0.5", b".1", b"nan", b"1e999", b"-inf", b"0x1", b"\xff", b"_", b"\n", b"\r", b" ", b"\0"]
)
YAML = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["images", "../..", "/", ".", "C:\\"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3) | st.integers(0, 3), inner, max_size=3),
    max_leaves=6,
)
KEYS = st.sampled_from(["names", "nc", "train", "val", "test", "path", "download", "kpt_shape"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    text=st.lists(PARTS, max_size=30).map(b" ".join) | st.binary(max_size=40),
    described=st.dictionaries(KEYS, YAML, max_size=6).map(lambda each: yaml.safe_dump(each).encode()) | st.binary(max_size=40),
    listed=st.binary(max_size=40) | st.sampled_from([b"images/000.jpg", b"../000.jpg", b"/" * 40]),
)
@example(text=b"", described=b"train: '0\n\n  0'\n", listed=b"")
def test_no_content_crashes_the_reader(text: bytes, described: bytes, listed: bytes, tmp_path: Path) -> None:
    root = tmp_path / "data"
    if not root.exists():
        yolo(root, 2, splits=False)
    (root / "labels/000.txt").write_bytes(text)
    (root / "data.yaml").write_bytes(described)
    (root / "train.txt").write_bytes(listed)
    (root / "classes.txt").write_bytes(listed)
    module.detect(root)
    reading = read("yolo", root)
    assert all(each.got and each.expected and each.remedy for each in reading.findings)
    assert reading.tables.objects["label"].isin(reading.tables.classes["id"]).all()
    assert all("\n" not in each.got for each in reading.findings)


def test_the_bounds_of_a_polygon_are_its_box(tmp_path: Path) -> None:
    root = yolo(tmp_path)
    outlines(root)
    objects = read("yolo", root).tables.objects
    outlined = objects[objects["polygons"].notna()].iloc[0]
    assert outlined["polygons"][0] == pytest.approx([6.4, 4.8, 32, 4.8, 32, 24])
    assert outlined[BOX].tolist() == pytest.approx([6.4, 4.8, 32, 24])


@pytest.mark.slow
def test_ultralytics_reads_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "open", Image.open)  # its import puts another there
    from ultralytics.data.utils import verify_image_label

    root = yolo(tmp_path / "data")
    picture(root / "images/train/003.jpg", 3, exif_orientation=6)
    module.write(formats.items(read("yolo", root).tables, root), tmp_path / "written")
    tables = read("yolo", tmp_path / "written").tables
    for row in tables.images.itertuples():
        path = tmp_path / "written" / row.path
        labels = path.parents[2] / "labels" / row.split / f"{path.stem}.txt"
        _, shares, (height, width), *_ = verify_image_label((str(path), str(labels), "", False, 2, 0, 0, False))
        assert (width, height) == (row.width, row.height)
        centres, sizes = shares[:, 1:3], shares[:, 3:]
        boxes = np.hstack([centres - sizes / 2, centres + sizes / 2]) * [width, height, width, height]
        own = tables.objects[tables.objects["image_id"] == row.image_id]
        assert shares[:, 0].tolist() == own["label"].tolist()
        assert boxes == pytest.approx(own[BOX].to_numpy(), abs=1e-4)


def test_labels_may_lie_in_annotations(tmp_path: Path) -> None:
    root = yolo(tmp_path, 3, splits=False)
    (root / "labels").rename(root / "annotations")
    (root / "annotations/003.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    found = read("yolo", root)
    assert len(found.tables.objects) == 6
    assert [(each.code, each.file) for each in found.findings] == [("image.missing", "annotations/003.txt")]


def test_annotations_beside_labels_are_passed_over(tmp_path: Path) -> None:
    root = yolo(tmp_path, 3, splits=False)
    shutil.copytree(root / "labels", root / "annotations")
    (root / "annotations/003.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    assert not read("yolo", root).findings


def test_a_class_without_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match="expected names that are not empty: rename them"):
        formats.load("yolo").write([], tmp_path, ("cat", " "))


def test_the_image_that_has_no_label_is_named(tmp_path: Path) -> None:
    for name in ("a/2.jpg", "images/1.jpg"):
        picture(tmp_path / name, 0)
    (tmp_path / "a/2.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    reason = module.detect(tmp_path)
    assert reason is not None
    assert reason.startswith("images/1.jpg: no label labels/1.txt or ")
    shutil.rmtree(tmp_path / "a")
    assert module.detect(tmp_path) == reason
