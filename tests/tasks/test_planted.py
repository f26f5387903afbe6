"""Every rule is planted once in a clean dataset, and `validate` finds it, by name and place."""

import json
import shutil
import struct
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import test_validate
from datasets import class_csv, coco, mask, masks, picture, stripes, voc, yolo
from PIL import Image
from test_scan import chunk
from test_validate import (
    ANNOTATION,
    OBJECT,
    boxes,
    boxes_of,
    class_folders,
    copy_image,
    findings,
    nearly,
    run,
    split_folders,
    text,
    xml,
)  # fmt: skip

from sightline.errors import AnswerIsNo
from tasks.findings import Finding
from tasks.formats import _coco_json
from tasks.rules import RULES

Make = Callable[[Path], Path]
Plant = Callable[[Path], object]
JSON_BYTES = 100_000
"""The limit of a COCO file here: to write one over the real limit would take long."""
VAL = "annotations/instances_val.json"
SPLITS = "train: images/train\nval: images/val\ntest: images/test\n"
POLYGON = OBJECT.format(1).replace("</object>", "<polygon><pt><x>1</x><y>1</y></pt></polygon></object>")


def label(line: str) -> Plant:
    return text("labels/train/005.txt", line.encode())


def described(data: str) -> Plant:
    return text("data.yaml", data.encode())


def changed(edit: Callable[[dict[str, Any]], object]) -> Plant:
    def plant(root: Path) -> None:
        content = json.loads((root / VAL).read_text())
        edit(content)
        (root / VAL).write_text(json.dumps(content))

    return plant


def note(**values: object) -> Plant:
    """Changes an annotation of the image 021."""
    return changed(lambda content: content["annotations"][2].update(values))


def head(**values: object) -> Plant:
    """Changes the entry of the image 021."""
    return changed(lambda content: content["images"][1].update(values))


def added(part: str, **values: object) -> Plant:
    return changed(lambda content: content[part].append(values))


def classes(*ids: int) -> Plant:
    """Gives the categories other ids, and the annotations with them."""

    def edit(content: dict[str, Any]) -> None:
        new = dict(zip((1, 2), ids, strict=True))
        for entry in content["categories"]:
            entry["id"] = new[entry["id"]]
        for entry in content["annotations"]:
            entry["category_id"] = new[entry["category_id"]]

    return changed(edit)


def class_of(category: int, name: str) -> Plant:
    """Adds a category that an annotation has."""

    def edit(content: dict[str, Any]) -> None:
        content["categories"].append({"id": category, "name": name})
        content["annotations"][2]["category_id"] = category

    return changed(edit)


def nothing_listed(root: Path) -> None:
    for path in (root / "annotations").iterdir():
        path.write_text('{"images": [], "annotations": [], "categories": []}')


def unlisted(root: Path) -> None:
    path = root / "ImageSets/Main/train.txt"
    path.write_text(path.read_text().replace("005\n", ""))


def annotated_again(root: Path) -> None:
    (root / "Annotations/005 (1).xml").write_bytes((root / "Annotations/005.xml").read_bytes())


def deep_colours(root: Path) -> None:
    """A PNG of 16 bits a channel, which Pillow cannot write."""
    rows = b"".join(b"\0" + bytes(16 * (row * 64 + column) % 256 for column in range(64 * 6)) for row in range(48))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 64, 48, 16, 2, 0, 0, 0))
    (root / "cat/005.jpg").unlink()
    (root / "cat/005.png").write_bytes(
        b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    )


def one_class_of_masks(root: Path) -> None:
    (root / "classes.txt").write_text("road\nunlabelled\n")
    for path in (root / "masks").rglob("*.png"):
        mask(path, stripes((0, 1)))


def many_values(root: Path) -> None:
    (root / "classes.txt").unlink()
    mask(root / "masks/train/005.png", stripes(tuple(range(64))))
    mask(root / "masks/train/006.png", stripes(tuple(range(64, 128))))


def masks_of(values: tuple[int, ...], mode: str = "L", kind: str = "PNG") -> Plant:
    return lambda root: Image.fromarray(stripes(values)).convert(mode).save(root / "masks/train/005.png", kind)


def outlined(root: Path) -> None:
    for path in (root / "labels/train").iterdir():
        path.write_text("0 0.1 0.1 0.5 0.1 0.5 0.5\n1 0.1 0.1 0.5 0.1 0.5 0.5\n")


def relabelled(root: Path) -> None:
    copy_image(root, "005", "006")
    boxes_of("006", ("dog", 1, 1, 20, 20))(root)


def near_to_test(root: Path) -> None:
    """Gives each image of train a near duplicate in test."""
    for path in sorted((root / "train").rglob("*.png")):
        nearly(path.relative_to(root).as_posix(), f"test/{path.parent.name}/1{path.name}")(root)


# What the tests of validate plant, with what the message names.
NAMED = {
    "image.missing": "nobody.xml", "annotation.missing": "JPEGImages/new.jpg", "image.foreign": "cat/100.heic",
    "image.near": "cat/100.jpg", "image.copy": "cat/100.png", "image.duplicate": "006.jpg", "split.unknown_image": "val.txt",
    "split.twice": "train.txt", "class.few": "bird", "class.empty_folder": "bird", "class.nested": "cat/old",
    "class.split_folder": "test", "class.similar": "CAT", "class.imbalance": "bird", "class.not_in_train": "bird",
    "class.not_in_split": "bird", "split.empty": "val", "split.few": "test", "class.conflict": "100.png",
    "split.leak": "train/cat/005.png", "split.copy": "train/cat/005.png", "split.near": "test/cat/100.png",
}  # fmt: skip
ELSEWHERE: dict[str, tuple[Make, Plant, str]] = {
    **{code: (voc, plant, NAMED.get(code, "005")) for code, plant in (test_validate.ERRORS | test_validate.WARNINGS).values()},
    **{code: (make, plant, NAMED.get(code, "005")) for make, code, plant in test_validate.PLANTED.values()},
}
PLANTED: dict[str, tuple[Make, Plant, str]] = ELSEWHERE | {
    "image.bits": (class_folders, deep_colours, "cat/005.png"),
    "image.ambiguous": (voc, lambda root: picture(root / "JPEGImages/005.png", 500), "005"),
    "folder.linked": (class_folders, lambda root: (root / "bird").symlink_to(root / "cat"), "bird: a link to a folder"),
    "size.missing": (voc, xml(f"<annotation><filename>005.jpg</filename>{OBJECT.format(1)}</annotation>"), "005.xml"),
    "object.none": (voc, boxes(), "005.jpg"),
    "image.not_compared": (
        class_folders, lambda root: Image.new("RGB", (64, 48), (90, 20, 20)).save(root / "cat/005.jpg"),
        "1 of 60 images too small or too plain, first cat/005.jpg",
    ),
    "shape.box": (coco, note(segmentation=[[0, 0, 0.3, 0, 0.3, 0.4]], area=None), f"{VAL}: box 0, 0, 20, 20"),
    "voc.semantic": (
        voc, lambda root: mask(root / "SegmentationClass/nobody.png", stripes((0, 1))), "SegmentationClass: 1 masks of classes",
    ),
    "csv.malformed": (class_csv, text("valid/_classes.csv", b"filename,cat,dog\n\"020.jpg,0,1\n"), "valid/_classes.csv"),
    "csv.header": (class_csv, text("valid/_classes.csv", b"filename,cat,cat\n020.jpg,0,1\n"), "valid/_classes.csv:1"),
    "csv.columns": (class_csv, text("valid/_classes.csv", b"filename,cat,dog\n020.jpg,0\n"), "valid/_classes.csv:2"),
    "csv.cell": (class_csv, text("valid/_classes.csv", b"filename,cat,dog\n020.jpg,0,2\n"), "valid/_classes.csv:2"),
    "csv.twice": (class_csv, text("valid/_classes.csv", b"filename,cat,dog\n020.jpg,0,1\n020.jpg,0,1\n"), "_classes.csv:3"),
    "csv.classes": (class_csv, text("valid/_classes.csv", b"filename,cat\n020.jpg,0\n"), "valid/_classes.csv: none of dog"),
    "dataset.empty": (coco, nothing_listed, "0 images of 0 classes"),
    "class.too_few": (class_folders, lambda root: shutil.rmtree(root / "dog"), "1: cat"),
    "split.unlisted": (voc, unlisted, "JPEGImages/005.jpg"),
    "split.moved": (split_folders, near_to_test, "images of train that would move to near duplicates"),
    "class.outside": (split_folders, lambda root: picture(root / "train/500.jpg", 500), "train/500.jpg"),
    "voc.annotated_twice": (voc, annotated_again, "Annotations/005"),
    "voc.origin": (voc, boxes(("cat", 0, 1, 20, 20)), "Annotations"),
    "class.unknown": (voc, boxes_of("005", ("wolf", 1, 1, 20, 20)), "Annotations/005.xml"),
    "label.conflict": (voc, relabelled, "JPEGImages/006.jpg"),
    "voc.orientation": (
        voc, lambda root: picture(root / "JPEGImages/005.jpg", 5, exif_orientation=6), "Annotations/005.xml:3: 64x48",
    ),
    "voc.polygon": (voc, xml(ANNOTATION.format(POLYGON)), "Annotations/005.xml:1"),
    "voc.instances": (voc, lambda root: mask(root / "SegmentationObject/005.png", stripes((0, 9))), "Object/005.png: number 9"),
    # YOLO
    "yolo.columns": (yolo, label("0 0.5 0.5 0.2\n"), "labels/train/005.txt:1"),
    "yolo.polygon_odd": (yolo, label("0 0.1 0.1 0.5 0.1 0.5 0.5 0.4\n"), "labels/train/005.txt:1"),
    "yolo.class_id": (yolo, label("0 0.5 0.5 0.2 0.2\n2 0.5 0.5 0.2 0.2\n"), "labels/train/005.txt:2"),
    "yolo.not_a_number": (yolo, label("0 nan 0.5 0.2 0.2\n"), "labels/train/005.txt:1"),
    "yolo.not_normalised": (yolo, label("0 32 24 10 10\n"), "labels/train/005.txt:1"),
    "yolo.unreadable": (yolo, label("0 0.5\0"), "labels/train/005.txt"),
    "yolo.mixed": (yolo, outlined, "20 boxes and 40 polygons"),
    "yolo.label_missing": (yolo, lambda root: (root / "labels/train/005.txt").unlink(), "labels/train/005.txt"),
    "yolo.yaml": (yolo, described("names: [cat, dog\n"), "data.yaml:2"),
    "yolo.names": (yolo, described(f"{SPLITS}nc: 3\nnames: [cat, dog]\n"), "data.yaml: nc: 3"),
    "yolo.no_names": (yolo, described(f"{SPLITS}nc: 2\n"), "nc: 2"),
    "yolo.path_outside": (yolo, described(f"{SPLITS}path: ../../elsewhere\nnames: [cat, dog]\n"), "data.yaml: path"),
    "yolo.path_missing": (yolo, described("train: images/tran\nval: images/val\nnames: [cat, dog]\n"), "data.yaml: train"),
    "yolo.split_overlap": (yolo, described("train: images\nval: images\nnames: [cat, dog]\n"), "data.yaml: images"),
    "yolo.download": (yolo, described(f"{SPLITS}names: [cat, dog]\ndownload: touch never\n"), "data.yaml"),
    "yolo.keypoints": (yolo, described(f"{SPLITS}names: [cat, dog]\nkpt_shape: [2, 2]\n"), "data.yaml"),
    # Masks
    "mask.unreadable": (masks, text("masks/train/005.png", b"<svg></svg>"), "masks/train/005.png"),
    "mask.lossy": (masks, masks_of((0, 1, 2), kind="JPEG"), "masks/train/005.png"),
    "mask.size": (masks, lambda root: mask(root / "masks/train/005.png", stripes((0, 1), (32, 24))), "masks/train/005.png"),
    "mask.kind": (masks, masks_of((0, 1), "I;16"), "masks/train/005.png"),
    "mask.undeclared": (masks, masks_of((0, 1, 9)), "masks/train/005.png"),
    "mask.uniform": (masks, masks_of((0,)), "masks/train/005.png"),
    "mask.oriented": (
        masks, lambda root: picture(root / "images/train/005.jpg", 5, exif_orientation=6), "masks/train/005.png",
    ),
    "mask.no_class_file": (masks, lambda root: (root / "classes.txt").unlink(), "the values 0, 1, 2, 3"),
    "mask.many_values": (masks, many_values, "128 values: 0, 1, 2, 3, 4 and more"),
    "mask.class_file": (masks, text("classes.txt", b"road\nroad\n"), "classes.txt: line 2"),
    "mask.class_absent": (masks, text("classes.txt", b"road\ncar\ntree\nunlabelled\nbus\n"), "class bus"),
    "mask.one_class": (masks, one_class_of_masks, "road"),
    # COCO
    "json.malformed": (coco, text(VAL, b'{"images": [],\n"annotations": [],\n"categories": [}'), f"{VAL}:3"),
    "json.too_large": (coco, lambda root: (root / VAL).open("a").write(" " * JSON_BYTES), VAL),
    "json.too_deep": (coco, text(VAL, b'{"images": ' + b"[" * 1000), VAL),
    "json.duplicate_key": (coco, text(VAL, b'{"images": [], "images": [], "annotations": [], "categories": []}'), VAL),
    "json.not_finite": (coco, changed(lambda content: content.update(info=[float("nan")])), VAL),
    "coco.part_missing": (coco, text(VAL, b'{"images": [], "annotations": [], "x": "categories"}'), VAL),
    "coco.type": (coco, note(iscrowd="0"), VAL),
    "coco.duplicate_id": (coco, added("images", id=21, file_name="021.jpg", width=64, height=48), VAL),
    "coco.duplicate_file": (coco, added("images", id=99, file_name="./021.jpg", width=64, height=48), VAL),
    "coco.duplicate_category": (coco, class_of(3, "cat"), VAL),
    "coco.category_order": (coco, classes(2, 1), VAL),
    "coco.category_unused": (coco, added("categories", id=3, name="bird"), "'bird'"),
    "coco.id_gap": (coco, classes(1, 9), VAL),
    "coco.annotation_id": (coco, note(id=1), VAL),
    "coco.dangling_image": (coco, note(image_id=99), f"{VAL}: annotation 3"),
    "coco.dangling_category": (coco, note(category_id=99), f"{VAL}: annotation 3"),
    "coco.box": (coco, note(bbox=[1, 2, 3]), f"{VAL}: annotation 3"),
    "coco.polygon": (coco, note(segmentation=[[1, 2, 3, 4]]), f"{VAL}: annotation 3"),
    "coco.rle_size": (coco, note(segmentation={"size": [9, 9], "counts": [81]}), f"{VAL}: annotation 3"),
    "coco.rle": (coco, note(segmentation={"size": [48, 64], "counts": [1, 2]}), f"{VAL}: annotation 3"),
    "coco.area": (coco, note(area=4000), f"{VAL}: 1 areas, first of annotation 3"),
    "coco.filename": (coco, added("images", id=99, file_name="../../x.jpg"), f"{VAL}: images[5]"),
    "coco.orientation": (
        coco, lambda root: picture(root / "images/val/021.jpg", 21, exif_orientation=6), f"{VAL}: images[1]",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Make], tuple[Path, set[str]]]:
    """A clean dataset of each kind, and the codes that it has all the same."""
    made: dict[Make, tuple[Path, set[str]]] = {}

    def get(make: Make) -> tuple[Path, set[str]]:
        if make not in made:
            folder = tmp_path_factory.mktemp("clean")
            root = make(folder / "data")
            run(root, folder)
            made[make] = root, {str(row["code"]) for row in findings(folder)}
        return made[make]

    return get


def test_no_rule_is_left_out() -> None:
    assert sorted(RULES.keys() ^ PLANTED.keys()) == []


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("code", PLANTED)
def test_what_is_planted_is_found_and_named(
    code: str, clean: Callable[[Make], tuple[Path, set[str]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_coco_json, "SIZE_BYTES", JSON_BYTES)
    make, plant, named = PLANTED[code]
    source, before = clean(make)
    assert code not in before
    root = shutil.copytree(source, tmp_path / "data")
    plant(root)
    limit: dict[str, Any] = {"max_pixels": 100_000} if code == "image.too_large" else {}
    limit |= {"classes": ["dog", "cat"]} if code == "class.unknown" else {}
    is_error = RULES[code].severity == "error"
    with pytest.raises(AnswerIsNo) if is_error else suppress(AnswerIsNo):  # an error may come with a warning
        run(root, tmp_path, **limit)
    found = [Finding(**row) for row in findings(tmp_path) if row["code"] == code]  # type: ignore[arg-type]
    assert any(named in str(each) for each in found), list(map(str, found))
    assert all(each.severity == RULES[code].severity and each.expected and each.remedy for each in found)
