"""Between any two formats that can hold it, nothing of a dataset is lost."""

import dataclasses
import itertools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import picture
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from PIL import Image

from sightline.errors import SightlineError
from tasks import formats, variants
from tasks.class_file import IGNORED, class_file_text
from tasks.convert import Opened, convert, open_dataset
from tasks.formats.class_folders import SHARED
from tasks.masks import encode_rle
from tasks.scan import scan_file
from tasks.table_builder import TableBuilder
from tasks.tables import BOX, Tables

WIDTH, HEIGHT, IMAGES = 64, 48, 4
PATHS = ["0.jpg", "a/b.jpg", "c/b.jpg", "d/a_b.jpg", "e/a_b.jpg", "a_b_2.jpg", "with space/b 1.jpg", "with space/c/b 1.jpg"]
KINDS = ("box", "whole", "mask")
CLASSES = 3
FLAGS = ("difficult", "truncated", "iscrowd")
ODD_NAMES = [
    "zebra", "ant bear", "Émeu", 'he said "no"', "it's", "back`tick", "black/white", "up/../down", "50% <b>&amp;</b>", "a\\b",
    "no", "null", "~", "1", "1e3", "0: x", "- x", "a, b", "[x]", "{x: 1}", "# x", "x # y", "*x", "&x", "!x", "a:b:c", "$HOME",
    "猫", "قطة", "🐈", "e\u0301mu", "x" * 80, " edge", "edge\u00a0", "void", "images",
]  # fmt: skip
"""Names of classes that a format could mistake for its own signs."""
LETTERS = st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co"])
NAMES = st.sampled_from(ODD_NAMES) | st.text(LETTERS, min_size=1, max_size=8)
HOLDS = {name: formats.load(name).HOLDS for name in variants.names("formats")}
PAIRS = [pair for pair in itertools.product(HOLDS, repeat=2) if any(kind in HOLDS[pair[0]] & HOLDS[pair[1]] for kind in KINDS)]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for index, path in enumerate(PATHS):
        picture(folder / path, index, (WIDTH, HEIGHT))
        values = np.resize(np.arange(CLASSES, dtype=np.uint8), (HEIGHT, WIDTH))
        Image.fromarray(np.roll(values, index)).save(folder / f"mask{index}.png")
    return folder


@st.composite
def boxes(draw: st.DrawFn) -> tuple[float, float, float, float]:
    def side(length: int) -> tuple[float, float]:
        low = draw(st.integers(0, (length - 4) * 64))  # sixty-fourths of a pixel, which six decimals write exactly
        return low / 64, draw(st.integers(low + 3 * 64, length * 64)) / 64

    (xmin, xmax), (ymin, ymax) = side(WIDTH), side(HEIGHT)
    return xmin, ymin, xmax, ymax


def can_name(name: str, classes: list[str]) -> bool:
    """Whether the format can write classes of these names; otherwise it refuses them."""
    if name == "class_folders":
        return not any(label.startswith(".") or "/" in label or "\\" in label or label.lower() in SHARED for label in classes)
    if name in ("voc", "class_csv"):
        return all(label == label.strip() for label in classes)
    if name == "yolo":
        return all(label.strip() for label in classes)
    return name != "masks" or (bool(class_file_text(classes)) and not any(label.lower() in IGNORED for label in classes))


def draw_tables(
    data: st.DataObject, kind: str, features: frozenset[str], folder: Path, classes: list[str], parts: int = 1
) -> Tables:
    """A dataset of the kind that has what `features` name, with so many polygons an object at most."""
    builder = TableBuilder()
    outlined = kind == "box" and "polygons" in features and data.draw(st.booleans(), "outlined")
    masked = kind == "box" and "rle" in features and not outlined and data.draw(st.booleans(), "masked")
    numbers = st.lists(st.integers(0, len(PATHS) - 1), min_size=IMAGES, max_size=IMAGES, unique=True)
    for index, chosen in enumerate(data.draw(numbers, "images")):
        split = data.draw(st.sampled_from(["train", "val", "test"]), "split") if "split" in features else ""
        mask = f"mask{chosen}.png" if kind == "mask" else ""
        image_id = builder.add_image(scan_file(folder, PATHS[chosen], max_pixels=10**6, decode=False), split, mask)
        if kind == "whole":
            builder.add_object(image_id, classes[index % 2], formats.NO_BOX, "")
        least = 0 if "empty" in features and index else 1
        for number in range(data.draw(st.integers(least, 3), "objects") if kind == "box" else 0):
            label = classes[number % (3 if index else 2)]
            box = data.draw(boxes())
            polygons, rle = [], ""
            if outlined:
                xmin, ymin, xmax, ymax = box
                polygons = [[xmin, ymin, xmax, ymin, xmax, ymax, (xmin + xmax) / 2, ymax]]
                if data.draw(st.integers(1, parts), "parts") == 2:
                    middle = (ymin + ymax) / 2
                    polygons = [[xmin, ymin, xmax, ymin, xmax, middle], [xmin, ymax, xmin, middle, xmax, ymax]]
            if masked:  # masks that do not overlap: one file of object numbers may hold them
                pixels = np.zeros((HEIGHT, WIDTH), np.bool_)
                pixels[number * 8 : number * 8 + 6, 10:30] = True
                box, rle = (10.0, number * 8.0, 30.0, number * 8.0 + 6), encode_rle(pixels)
            flags = {name: name in features and data.draw(st.booleans(), name) for name in FLAGS}
            flags["iscrowd"] = flags["iscrowd"] and masked
            builder.add_object(image_id, label, box, "", polygons=polygons, rle=rle, **flags)
    tables = builder.tables(classes if "classes" in features or kind == "mask" else ()).read()
    return tables if kind != "mask" else Tables(tables.images, tables.objects, tables.classes.assign(value=[0, 1, 2]))


def content(tables: Tables, features: frozenset[str]) -> dict[str, Any]:
    """What is compared: each image's split and objects by its bytes, to a millionth of a pixel."""
    names = dict(zip(tables.classes["id"], tables.classes["name"], strict=True))
    objects: dict[str, list[Any]] = {image_id: [] for image_id in tables.images["image_id"]}
    for row in tables.objects.itertuples():
        polygons = [] if row.polygons is None else [[round(value, 6) + 0.0 for value in each] for each in row.polygons]
        box = [None if np.isnan(value) else round(value, 6) + 0.0 for value in (getattr(row, side) for side in BOX)]
        flags = [bool(getattr(row, name)) for name in FLAGS if name in features]
        rle = row.rle if "rle" in features and isinstance(row.rle, str) else ""
        objects[row.image_id].append([names[row.label], box, polygons if "polygons" in features else [], rle, flags])
    found: dict[str, Any] = {
        row.hash: (row.split if "split" in features else "", sorted(objects[row.image_id], key=repr))
        for row in tables.images.itertuples()
    }
    if "classes" in features:
        found["classes"] = list(tables.classes.sort_values("id")["name"])
    return found


@pytest.mark.parametrize(("first", "second"), PAIRS)
@settings(
    max_examples=15,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.explicit, Phase.generate),
)
@given(data=st.data())
def test_what_both_hold_survives(first: str, second: str, pictures: Path, data: st.DataObject) -> None:
    shared = HOLDS[first] & HOLDS[second]
    kind = data.draw(st.sampled_from([kind for kind in KINDS if kind in shared]), "kind")
    classes = data.draw(st.lists(NAMES, min_size=CLASSES, max_size=CLASSES, unique=True), "classes")
    parts = 1 if "yolo" in (first, second) else 2  # YOLO joins them
    tables = draw_tables(data, kind, shared, pictures, classes, parts)
    with tempfile.TemporaryDirectory() as folder:
        one, two = Path(folder) / "one", Path(folder) / "two"
        used = list(tables.classes["name"])
        refusing = next((name for name in (first, second) if not can_name(name, used)), None)
        if refusing:
            with pytest.raises(SightlineError, match="rename"):
                convert(Opened(pictures, pictures, "drawn", tables, []), refusing, one)
            assert not one.exists()
            return
        convert(Opened(pictures, pictures, "drawn", tables, []), first, one)
        with open_dataset(one, first) as opened:
            assert [item for item in opened.findings if item.severity != "info"] == []
            assert content(opened.tables, shared) == content(tables, shared)
            convert(opened, second, two, link=True)
        with open_dataset(two, second) as opened:
            assert [item for item in opened.findings if item.severity != "info"] == []
            assert content(opened.tables, shared) == content(tables, shared)
            if kind == "mask":
                for row in opened.tables.images.itertuples():
                    number = next(index for index, path in enumerate(PATHS) if same(pictures / path, two / row.path))
                    with Image.open(two / row.mask) as got, Image.open(pictures / f"mask{number}.png") as want:
                        assert np.array_equal(np.asarray(got), np.asarray(want))


def same(one: Path, other: Path) -> bool:
    return one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("name", HOLDS)
def test_a_loss_is_named_and_has_to_be_allowed(name: str, pictures: Path, tmp_path: Path) -> None:
    builder = TableBuilder()
    image_id = builder.add_image(scan_file(pictures, PATHS[0], max_pixels=10**6, decode=False))
    builder.add_object(image_id, "cat", formats.NO_BOX if "box" in HOLDS[name] else (1.0, 1.0, 9.0, 9.0), "")
    opened = Opened(pictures, pictures, "drawn", builder.tables().read(), [])
    lost = "one class for a whole image" if "box" in HOLDS[name] else "boxes"
    if {"box", "whole"} <= HOLDS[name]:
        pytest.skip(f"{name} holds both kinds")
    with pytest.raises(SightlineError, match=rf"{name} cannot hold {lost}"):
        convert(opened, name, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def drawn(pictures: Path, objects: list[dict[str, Any]], paths: list[str] = PATHS[:1]) -> Opened:
    """A dataset in which each image has the objects."""
    builder = TableBuilder()
    for path in paths:
        image_id = builder.add_image(scan_file(pictures, path, max_pixels=10**6, decode=False))
        for number, each in enumerate(objects, 1):
            builder.add_object(image_id, file="labels.json", line=number, **each)
    return Opened(pictures, pictures, "drawn", builder.tables().read(), [])


def test_names_that_collide_twice_are_numbered(pictures: Path) -> None:
    opened = drawn(pictures, [], PATHS[1:6])
    names = {item.name for item in formats.items(opened.tables, pictures)}
    assert names == {"a_b", "c_b", "d_a_b", "e_a_b", "a_b_2"}
    found = [item.name for item in formats.items(drawn(pictures, [], PATHS[1:4]).tables, pictures)]
    assert found == ["a_b_2", "c_b", "a_b"]


@pytest.mark.parametrize("label", ["", ".", "..", ".hidden", "../../escaped", "/abs/x", "a\\b", "a\0b"])
@pytest.mark.parametrize("split", ["", "train"])
def test_a_class_that_is_no_folder_s_name_is_refused(label: str, split: str, pictures: Path, tmp_path: Path) -> None:
    item = formats.Item("0", ".jpg", b"", WIDTH, HEIGHT, (formats.ItemObject(label),), split)
    with pytest.raises(SightlineError, match=r"class '.*expected a name that a folder may have.*: rename the class"):
        formats.load("class_folders").write([item], tmp_path / "a/b/out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("image", [Path.read_bytes, Path, formats.Link])
def test_nothing_is_overwritten(image: Callable[[Path], bytes | Path | formats.Link], pictures: Path, tmp_path: Path) -> None:
    for target, write in ((tmp_path / "file", Path.touch), (tmp_path / "link", lambda path: path.symlink_to(tmp_path / "x"))):
        write(target)
        with pytest.raises(SightlineError, match="there already, expected nothing"):
            formats.place(image(pictures / PATHS[0]), target)
    assert (tmp_path / "file").read_bytes() == b""
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(("is_there", "link"), [(False, False), (True, False), (False, True)])
def test_a_failure_leaves_nothing_and_the_retry_is_not_blocked(
    is_there: bool, link: bool, pictures: Path, tmp_path: Path
) -> None:
    opened, out = drawn(pictures, [{"label": "cat", "box": (1.0, 1.0, 9.0, 9.0)}], PATHS[:2]), tmp_path / "out"
    if is_there:
        out.mkdir()
    lost = opened.tables.images.assign(path=["0.jpg", "lost.jpg"])
    with pytest.raises(FileNotFoundError):
        convert(dataclasses.replace(opened, tables=dataclasses.replace(opened.tables, images=lost)), "yolo", out, link=link)
    assert list(tmp_path.rglob("*")) == [out] * is_there
    assert convert(opened, "yolo", out) == 2
    assert sorted(path.name for path in out.iterdir()) == ["data.yaml", "images", "labels"]
    assert list(tmp_path.iterdir()) == [out]
    assert out.stat().st_mode & 0o777 == pictures.joinpath("a").stat().st_mode & 0o777


BLOCKED = """
import sys, time
from pathlib import Path
from tasks import convert, formats
from tasks.scan import scan_file
from tasks.table_builder import TableBuilder

raw, out = map(Path, sys.argv[1:])
builder = TableBuilder()
builder.add_image(scan_file(raw, "0.jpg", max_pixels=10**6, decode=False))
place = formats.place

def slow(image, target):
    place(image, target)
    print("writing", flush=True)
    time.sleep(600)

formats.load("yolo").place = slow
convert.convert(convert.Opened(raw, raw, "drawn", builder.tables(["cat"]).read(), []), "yolo", out)
"""


@pytest.mark.parametrize("is_there", [False, True])
def test_what_a_killed_process_left_is_removed(is_there: bool, root: Path, pictures: Path, tmp_path: Path) -> None:
    opened, out = drawn(pictures, [{"label": "cat", "box": (1.0, 1.0, 9.0, 9.0)}], PATHS[:2]), tmp_path / "out"
    if is_there:
        out.mkdir()
    command = [sys.executable, "-c", BLOCKED, str(pictures), str(out)]
    with subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(root)}, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"writing\n"
            with pytest.raises(SightlineError, match="another process writes there"):
                convert(opened, "yolo", out)
        finally:
            process.kill()
    assert list(tmp_path.rglob("0.jpg"))
    assert convert(opened, "yolo", out) == 2
    assert sorted(path.name for path in out.iterdir()) == ["data.yaml", "images", "labels"]
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("name", ["yolo", "coco", "voc"])
@pytest.mark.parametrize("box", [(9.0, 1.0, 5.0, 9.0), (1.0, 5.0, 9.0, 5.0), (1.0, 1.0, 300.0, 9.0)])
def test_a_box_that_is_none_is_not_passed_on(
    name: str, box: tuple[float, float, float, float], pictures: Path, tmp_path: Path
) -> None:
    opened = drawn(pictures, [{"label": "cat", "box": (1.0, 1.0, 9.0, 9.0)}, {"label": "cat", "box": box}])
    with pytest.raises(
        SightlineError, match=r"1 errors, first: labels.json:2: box .* in an image of 64x48.*`sightline validate`"
    ):
        convert(opened, name, tmp_path / "out", lossy=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [name for name in HOLDS if "box" in HOLDS[name] and "iscrowd" not in HOLDS[name]])
def test_crowds_are_left_out_where_a_format_cannot_hold_them(
    name: str, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pixels = np.zeros((HEIGHT, WIDTH), np.bool_)
    pixels[4:20, 10:30] = True
    outlined = {"label": "cat", "box": (1.0, 1.0, 9.0, 9.0), "polygons": [[1.0, 1.0, 9.0, 1.0, 9.0, 9.0]]}
    crowd = {"label": "cat", "box": (10.0, 4.0, 30.0, 20.0), "rle": encode_rle(pixels), "iscrowd": True}
    opened = drawn(pictures, [outlined, crowd])
    with pytest.raises(SightlineError, match="cannot hold the flag iscrowd"):
        convert(opened, name, tmp_path / "out")
    assert convert(opened, name, tmp_path / "out", lossy=True) == 1
    assert f"{name}: 1 objects with the flag iscrowd are left out" in capsys.readouterr().err
    with open_dataset(tmp_path / "out", name) as written:
        assert written.tables.objects[BOX].to_numpy().tolist() == [[1.0, 1.0, 9.0, 9.0]]
