"""Tables in a file: chunks are whole, rules see the same through them, and memory hardly grows with the dataset."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import simplejpeg
from datasets import annotation, class_folders, coco, mask, masks, picture, stripes, voc, yolo
from pandas.testing import assert_frame_equal
from PIL import Image
from test_validate import split_folders

from sightline.errors import SightlineError
from tasks import table_builder
from tasks.findings_page import Source, write_page
from tasks.rules import FEW, IMBALANCE
from tasks.scan import Scan
from tasks.table_builder import TableBuilder
from tasks.validate import look_at

GROWTH = {"voc": 280, "yolo": 280, "coco": 320}
"""Bytes an image, at most; docs/decisions/0011 has what was measured."""
COUNTS = (25_000, 100_000)
PEAK = """
import sys
from pathlib import Path
from tasks import dataset_check
with dataset_check.check(Path(sys.argv[1]), "auto", Path(sys.argv[2])) as checked:
    assert not checked.errors
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_builder, "CHUNK", 4)
    monkeypatch.setattr(table_builder, "_ROWS", 2)


@pytest.mark.parametrize("shuffled", [False, True])
def test_a_chunk_has_all_objects_of_its_images(shuffled: bool, small_chunks: None) -> None:
    builder = TableBuilder()
    objects = [(image, label) for image in range(11) for label in ("cat", "dog") if image != 5]
    if shuffled:
        for image in range(11):
            builder.add_image(Scan(f"{image:02}.jpg", 64, 48, digest=f"{image:064x}"))
        objects = [objects[place] for place in np.random.default_rng(0).permutation(len(objects))]
    added = set(range(11)) if shuffled else set[int]()
    for image, label in objects:
        if image not in added:
            added |= {image}
            builder.add_image(Scan(f"{image:02}.jpg", 64, 48, digest=f"{image:064x}"))
        builder.add_object(f"{image:02}", label, (0.0, 0.0, 9.0, 9.0), "a.xml", number=image if shuffled else None)
    stored = builder.tables(splits={"03": "val"})
    whole, chunks = stored.read(), list(stored.chunks())
    assert stored.counts == whole.counts == (len(added), 20, 2)
    assert [len(chunk.images) for chunk in chunks] == [4, 4, len(added) - 8]
    for chunk in chunks:
        own = whole.objects[whole.objects["image_id"].isin(chunk.images["image_id"])]
        assert_frame_equal(chunk.objects, own.reset_index(drop=True))
    assert_frame_equal(pd.concat([chunk.images for chunk in chunks], ignore_index=True), whole.images)
    labels = whole.objects["label"].map({0: "cat", 1: "dog"})
    assert sorted(zip(whole.objects["image_id"].astype(int), labels, strict=True)) == sorted(map(tuple, objects))
    assert dict(zip(whole.images["image_id"], whole.images["split"], strict=True))["03"] == "val"


def test_no_image_is_one_empty_chunk() -> None:
    (chunk,) = TableBuilder().tables(["cat"]).chunks()
    assert chunk.counts == (0, 0, 1)


def test_a_split_that_is_given_last_counts() -> None:
    builder = TableBuilder()
    for name in ("a", "b"):
        builder.add_image(Scan(f"{name}.jpg", 64, 48, digest="0"), "train")
    stored = builder.tables(["cat", "dog", "cat"], {"b": "val"})
    assert list(stored.read().images["split"]) == ["train", "val"]
    assert stored.counts == (2, 0, 2)
    assert list(stored.classes["id"]) == [0, 1]


def test_a_folder_without_room_is_the_users_matter() -> None:
    builder = TableBuilder()
    for index in range(99):
        builder.add_image(Scan(f"{index}.jpg", 64, 48, digest="0"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))  # a part of the rows is written, and then no more
    try:
        with pytest.raises(SightlineError, match=r"File too large, expected room.*: set TMPDIR") as raised:
            builder.tables()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(raised.value).startswith(tempfile.gettempdir())


def test_no_folder_that_takes_a_file_is_the_users_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    with pytest.raises(SightlineError, match=r"nowhere: got No such file or directory, expected room.*: set TMPDIR"):
        TableBuilder()


def with_defects(root: Path) -> Path:
    voc(root)
    shutil.copy(root / "JPEGImages/001.jpg", root / "JPEGImages/021.jpg")  # train and val
    shutil.copy(root / "JPEGImages/002.jpg", root / "JPEGImages/013.jpg")
    annotation(root / "Annotations/004.xml", [("cat", 1, 1, 20, 20), ("cat", 1, 1, 20, 20), ("dog", 30, 10, 90, 48)])
    annotation(root / "Annotations/013.xml", [("dog", 1, 1, 20, 20), ("dog", 30, 10, 64, 48)])
    annotation(root / "Annotations/027.xml", [])
    return root


def whole_copies(root: Path) -> Path:
    class_folders(root)
    shutil.copy(root / "cat/001.jpg", root / "dog/025.jpg")
    return root


def few_and_many(root: Path) -> Path:
    """A class in a split alone, one that is rare, and a picture that another split has nearly."""
    split_folders(root)
    for index in range(FEW):
        picture(root / f"train/bird/{index:03}.png", 3000 + index)
    picture(root / "test/wolf/000.png", 4000)
    for index in range(int(IMBALANCE) * FEW):
        picture(root / f"train/dog/{100 + index}.png", 5000 + index)
    image = Image.open(root / "train/cat/005.png")
    image.resize((128, 96), Image.Resampling.BICUBIC).save(root / "test/cat/100.png")
    return root


def broken_coco(root: Path) -> Path:
    """Annotations in any order, with an object twice and a box outside."""
    coco(root)
    path = root / "annotations/instances_train.json"
    content = json.loads(path.read_text())
    notes = content["annotations"]
    notes.append(notes[0] | {"id": 99})
    notes[3]["bbox"] = [60, 40, 60, 60]
    content["annotations"] = [notes[place] for place in np.random.default_rng(0).permutation(len(notes))]
    path.write_text(json.dumps(content))
    return root


def broken_yolo(root: Path) -> Path:
    yolo(root)
    shutil.copy(root / "images/train/003.jpg", root / "images/test/027.jpg")
    (root / "labels/train/009.txt").write_text("0 0.5 0.5 0.2 0.2\n0 0.5 0.5 0.2 0.2\n1 0.9 0.5 0.9 0.2\n")
    (root / "labels/val/022.txt").write_text("")
    return root


def broken_masks(root: Path) -> Path:
    masks(root)
    for index in range(20, 25):
        mask(root / f"masks/val/{index:03}.png", stripes((0, 1)))
    shutil.copy(root / "images/train/003.jpg", root / "images/test/027.jpg")
    mask(root / "masks/train/009.png", stripes((0,)))
    return root


@pytest.mark.parametrize(
    ("make", "codes"),
    [
        (with_defects, {"split.leak", "image.duplicate", "label.conflict", "object.duplicate", "object.none"}),
        (whole_copies, {"class.conflict"}),
        (few_and_many, {"class.few", "class.imbalance", "class.not_in_train", "class.not_in_split", "split.near"}),
        (coco, set()),
        (broken_coco, {"object.duplicate", "box.out_of_bounds"}),
        (yolo, set()),
        (broken_yolo, {"split.leak", "object.duplicate", "box.out_of_bounds", "object.none"}),
        (masks, set()),
        (broken_masks, {"split.leak", "mask.uniform", "class.not_in_split"}),
    ],
)
def test_rules_find_the_same_in_chunks(
    make: Callable[[Path], Path], codes: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make(tmp_path / "data")
    name, stored, found = look_at(root, "auto", 10**6)
    whole = stored.read()
    monkeypatch.setattr(table_builder, "CHUNK", 4)
    monkeypatch.setattr(table_builder, "_ROWS", 2)
    again, in_chunks, found_in_chunks = look_at(root, "auto", 10**6)
    assert (again, sorted(found_in_chunks)) == (name, sorted(found))
    assert {item.code for item in found} >= codes
    assert bool(found) == bool(codes)
    for table, key in (("images", "image_id"), ("objects", "image_id"), ("classes", "id")):
        one, other = (getattr(each, table).sort_values(key, kind="stable") for each in (in_chunks.read(), whole))
        assert_frame_equal(one.reset_index(drop=True), other.reset_index(drop=True))
    pages = []
    for tables in (whole, in_chunks):
        write_page(found, tmp_path / "page.html", (), Source(root, tables, 10**6), stops=False)
        pages.append((tmp_path / "page.html").read_text())
    assert pages[0] == pages[1]
    assert ("base64" in pages[0]) == bool(codes)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Pictures of patches, 32x32, all different."""
    folder = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for index in range(max(COUNTS)):
        patches = rng.integers(0, 235, (4, 4, 1), np.uint8).repeat(8, 0).repeat(8, 1)
        pixels = patches + rng.integers(0, 20, (32, 32, 1), np.uint8)
        (folder / f"{index:06}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels, 90, "GRAY"))
    yield folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", GROWTH)
def test_memory_hardly_grows_with_the_dataset(name: str, pictures: Path, tmp_path: Path) -> None:
    """Peaks of whole processes that look at every pixel, of images with an object each."""
    peaks = []
    for count in COUNTS:
        root = many(tmp_path / str(count), name, count, pictures)
        command = [sys.executable, "-c", PEAK, str(root), str(tmp_path / "report")]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        peaks.append(int(done.stdout.split()[-1]) * 1024)
        shutil.rmtree(root)
    growth = (peaks[1] - peaks[0]) / (COUNTS[1] - COUNTS[0])
    print(f"{name}: {peaks[0] / 1e6:.0f} and {peaks[1] / 1e6:.0f} MB, {growth:.0f} bytes an image")
    assert growth < GROWTH[name]


def many(root: Path, name: str, count: int, pictures: Path) -> Path:
    """A dataset of the first pictures, in one of three formats."""
    folder, labels = {"voc": ("JPEGImages", "Annotations"), "yolo": ("images", "labels")}.get(name, ("images", "annotations"))
    for each in (folder, labels):
        (root / each).mkdir(parents=True)
    for index in range(count):
        os.link(pictures / f"{index:06}.jpg", root / f"{folder}/{index:06}.jpg")
        if name == "voc":
            (root / f"Annotations/{index:06}.xml").write_text(
                f"<annotation><filename>{index:06}.jpg</filename><size><width>32</width><height>32</height></size><object>"
                f"<name>{'abcd'[index % 4]}</name><bndbox><xmin>2</xmin><ymin>2</ymin><xmax>20</xmax><ymax>25</ymax></bndbox>"
                "</object></annotation>"
            )
        elif name == "yolo":
            (root / f"labels/{index:06}.txt").write_text(f"{index % 4} 0.5 0.5 0.25 0.25\n")
    if name == "yolo":
        (root / "data.yaml").write_text("names: [a, b, c, d]\n")
    elif name == "coco":
        content = {
            "images": [{"id": index, "file_name": f"{index:06}.jpg", "width": 32, "height": 32} for index in range(count)],
            "annotations": [
                {"id": index, "image_id": index, "category_id": index % 4, "bbox": [2, 2, 18, 23], "area": 414, "iscrowd": 0}
                for index in range(count)
            ],
            "categories": [{"id": index, "name": letter} for index, letter in enumerate("abcd")],
        }
        (root / "annotations/instances_train.json").write_text(json.dumps(content))
    return root
