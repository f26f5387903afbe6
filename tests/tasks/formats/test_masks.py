"""Masks of classes, and masks of objects in VOC's kit."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from datasets import annotation, mask, masks, picture, read, stripes, voc
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from sightline.errors import SightlineError
from tasks import fingerprint, formats, stage, transform
from tasks.class_file import IGNORED, class_file_text, parse_class_file
from tasks.content_hash import content_hash
from tasks.convert import with_masks
from tasks.formats import Item, ItemObject
from tasks.masks import COLOUR, IGNORE, MaskDefect, decode_rle, encode, encode_rle, read_values
from tasks.provenance import write_provenance
from tasks.schema import parse
from tasks.tables import Dataset, Tables
from tasks.transform_masks import convert_masks

PARAMS = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text())
SIZE = (64, 48)
COLOURS = {"sky": (128, 128, 128), "road": (128, 64, 128), "car": (64, 0, 128)}


def codes(root: Path) -> list[tuple[str, str]]:
    return [(each.code, each.severity) for each in read("masks", root).findings]


def run_transform(root: Path, out: Path) -> None:
    read("masks", root).tables.write(out / "tables")
    write_provenance(out / "tables", "streets", "folder", "masks")
    config = parse(transform.Config, {"transform": PARAMS["transform"]})
    transform.transform(transform.Paths(root, out / "tables", out / "dataset"), config)


def coloured(values: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.array(list(COLOURS.values()), np.uint8)[values]


def dataset(root: Path, layout: str, pixels: NDArray[np.uint8] | None = None) -> Path:
    """Three pairs where `layout` says, e.g. `images/{}.jpg masks/{}.png`."""
    pictures, labels = layout.split()
    for index in range(3):
        picture(root / pictures.format(f"{index:03}"), index)
        mask(root / labels.format(f"{index:03}"), stripes((0, 1, 2)) if pixels is None else pixels)
    return root


@pytest.mark.parametrize(
    ("layout", "split"),
    [
        ("images/{}.jpg masks/{}.png", ""),
        ("Images/{}.jpg labels/{}.png", ""),
        ("images/{}.jpg annotations/{}_mask.png", ""),
        ("images/valid/{}.jpg masks/valid/{}.png", "val"),
        ("train/images/{}.jpg train/masks/{}.png", "train"),
        ("train/{}.png train_labels/{}_L.png", "train"),
        ("test/{}.png testannot/{}.png", "test"),
        ("JPEGImages/{}.jpg SegmentationClass/{}.png", ""),
        ("leftImg8bit/val/ulm/{}_leftImg8bit.png gtFine/val/ulm/{}_gtFine_labelIds.png", "val"),
    ],
)
def test_layouts(layout: str, split: str, tmp_path: Path) -> None:
    root = dataset(tmp_path / "data", layout)
    (root / "classes.txt").write_text("sky\nroad\ncar\n")
    assert formats.load("masks").detect(root) is None
    reading = read("masks", root)
    assert reading.findings == []
    assert set(reading.tables.images["split"]) == {split}
    assert all((root / path).is_file() for path in [*reading.tables.images["mask"], *reading.tables.images["path"]])
    assert len(reading.tables.images) == 3
    assert reading.tables.classes[["id", "name", "value"]].to_numpy().tolist() == [[0, "sky", 0], [1, "road", 1], [2, "car", 2]]


def test_cityscapes_other_files_are_not_masks(tmp_path: Path) -> None:
    root = dataset(tmp_path, "leftImg8bit/train/a/{}_leftImg8bit.png gtFine/train/a/{}_gtFine_labelIds.png")
    mask(root / "gtFine/train/a/000_gtFine_color.png", coloured(stripes((0, 1, 2))))
    (root / "gtFine/train/a/000_gtFine_polygons.json").write_text("{}")
    assert codes(root) == [("mask.no_class_file", "warning")]


def test_voc_lists_give_the_splits(tmp_path: Path) -> None:
    root = dataset(tmp_path, "JPEGImages/{}.jpg SegmentationClass/{}.png")
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nsky:0,0,0::\nroad:128,64,128::\ncar:64,0,128::\n")
    lists = root / "ImageSets/Segmentation"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("000\n001\n")
    (lists / "val.txt").write_text("002\n")
    reading = read("masks", root)
    assert reading.findings == []
    assert list(reading.tables.images["split"]) == ["train", "train", "val"]


def test_annotated_voc_with_masks_asks_which_is_meant(tmp_path: Path) -> None:
    root = voc(tmp_path, 3, splits=False)
    mask(root / "SegmentationClass/000.png", stripes((0, 1)))
    with pytest.raises(SightlineError, match=r"masks and voc fit alike: set dataset\.format \(--format\)"):
        formats.detect(root)
    assert formats.detect(root, "masks") == "masks"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("label_colors.txt", "128 128 128\tsky\n128 64 128\t\troad\n64 0 128 car\n"),
        ("labelmap.txt", "# label:color_rgb:parts:actions\nsky:128,128,128::\nroad:128,64,128::\ncar:64,0,128::\n"),
        ("class_dict.csv", "name,r,g,b\r\nsky,128,128,128\r\nroad, 128, 64, 128\r\ncar,64,0,128\r\n"),
    ],
)
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_colours_are_classes(name: str, text: str, mode: str, tmp_path: Path) -> None:
    root = dataset(tmp_path / "data", "images/{}.jpg masks/{}.png")
    (root / name).write_text(text)
    for path in (root / "masks").iterdir():
        values = stripes((0, 1, 2))
        image = Image.fromarray(values) if mode == "L" else Image.fromarray(coloured(values)).convert("RGB")
        image = image.quantize(3) if mode == "P" else image.convert(mode)
        image.save(path)
    reading = read("masks", root)
    assert reading.findings == []
    values = [0, 1, 2] if mode == "L" else [COLOUR | r << 16 | g << 8 | b for r, g, b in COLOURS.values()]
    assert list(reading.tables.classes["value"]) == values
    items = list(with_masks(formats.items(reading.tables, root), reading.tables, root))
    for item in items:
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(item.masks["semantic"]))), stripes((0, 1, 2)))


@pytest.mark.parametrize(
    ("text", "names", "values"),
    [
        ("road\ncar 2\n\n", ["road", "car 2"], [0, 1]),
        ("\ufeffroad\r\ncar\r\n", ["road", "car"], [0, 1]),
        ("3: road\n7: car\n", ["road", "car"], [3, 7]),
        ("name,index\nroad,3\ncar,255\n", ["road", "car"], [3, 255]),
        ("road:1,2,3::\ncar:0,0,0:wheel:\n", ["road", "car"], [COLOUR | 0x010203, COLOUR]),
    ],
)
def test_class_files(text: str, names: list[str], values: list[int]) -> None:
    found = parse_class_file(text.removeprefix("\ufeff"))
    assert (list(found.names), list(found.values), found.problem) == (names, values, "")


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "a\na\n", "1 2 3 a\n1 2 3 b\n", "1 2 999 a\n", "".join(f"c{index}\n" for index in range(300))],
)
def test_wrong_class_files(text: str, tmp_path: Path) -> None:
    root = masks(tmp_path / "data", 3)
    (root / "classes.txt").write_text(text)
    assert codes(root) == [("mask.class_file", "error")]


def test_a_first_line_of_more_than_csv_reads_is_the_file_s_defect(tmp_path: Path) -> None:
    root = masks(tmp_path / "data", 3)
    (root / "classes.txt").write_text("a" * 140_000)
    (found,) = read("masks", root).findings
    assert (found.code, found.severity) == ("mask.class_file", "error")
    assert found.got.startswith("classes.txt: line 1: field larger than field limit")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=80) | st.lists(st.sampled_from([*"01,:\tar\n ", "255", "256"]), max_size=30).map("".join))
def test_any_class_file_is_read_or_refused(text: str) -> None:
    found = parse_class_file(text)
    assert bool(found.problem) != bool(found.names)
    assert len(found.names) == len(found.values) == len(set(found.values)) == len(set(found.names))


def overwrite(name: str, data: bytes) -> Callable[[Path], object]:
    return lambda root: (root / name).write_bytes(data)


def jpeg(root: Path) -> None:
    Image.fromarray(stripes((0, 1, 2))).save(root / "masks/train/005.png", "JPEG")


def truncate(root: Path) -> None:
    path = root / "masks/train/005.png"
    path.write_bytes(path.read_bytes()[:-30])


def plant(pixels: NDArray[np.uint8]) -> Callable[[Path], object]:
    return lambda root: mask(root / "masks/train/005.png", pixels)


def no_class_file(root: Path) -> None:
    (root / "classes.txt").unlink()


def colour_file(root: Path) -> None:
    """Colours, and one pixel of another."""
    (root / "classes.txt").unlink()
    (root / "label_colors.txt").write_text("".join(f"{r} {g} {b} {name}\n" for name, (r, g, b) in COLOURS.items()))
    for path in (root / "masks").rglob("*.png"):
        mask(path, coloured(stripes((0, 1, 2))))
    pixels = coloured(stripes((0, 1, 2)))
    pixels[3, 4] = (1, 2, 3)
    mask(root / "masks/train/005.png", pixels)


DEFECTS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "of another size": ("mask.size", "error", plant(stripes((0, 1, 2), (32, 24)))),
    "turned by 90 degrees": ("mask.size", "error", plant(stripes((0, 1, 2), (48, 64)))),
    "a value that is not declared": ("mask.undeclared", "error", plant(stripes((0, 1, 9)))),
    "a colour that is not declared": ("mask.undeclared", "error", colour_file),
    "colours without names": ("mask.kind", "error", plant(coloured(stripes((0, 1, 2))))),
    "16 bits": ("mask.kind", "error", lambda root: mask(root / "masks/train/005.png", stripes((0, 1)).astype(np.uint16))),
    "a JPEG": ("mask.lossy", "error", jpeg),
    "truncated": ("mask.unreadable", "error", truncate),
    "empty": ("mask.unreadable", "error", overwrite("masks/train/005.png", b"")),
    "text": ("mask.unreadable", "error", overwrite("masks/train/005.png", b"<svg></svg>")),
    "an image without mask": ("annotation.missing", "warning", lambda root: (root / "masks/train/005.png").unlink()),
    "a mask without image": ("image.missing", "error", lambda root: mask(root / "masks/train/x.png", stripes((0, 1)))),
    "two masks": ("image.ambiguous", "error", lambda root: mask(root / "masks/train/005.bmp", stripes((0, 1)))),
    "all background": ("mask.uniform", "info", plant(stripes((0,)))),
    "no class file": ("mask.no_class_file", "warning", no_class_file),
    "a class that is nowhere": (
        "mask.class_absent",
        "warning",
        lambda root: (root / "classes.txt").write_text("road\ncar\ntree\nunlabelled\nbus\n"),
    ),
}


WHOLE = {"a mask without image", "all background", "no class file", "a class that is nowhere"}


@pytest.mark.parametrize("name", DEFECTS)
def test_each_defect_is_found(name: str, tmp_path: Path) -> None:
    code, severity, do = DEFECTS[name]
    root = masks(tmp_path / "data")
    do(root)
    found = read("masks", root).findings
    assert [(each.code, each.severity) for each in found] == [(code, severity)]
    assert all(each.got and each.expected and each.remedy for each in found)
    assert len(read("masks", root).tables.images) == (30 if name in WHOLE else 29)


def test_a_clean_dataset_has_no_finding(tmp_path: Path) -> None:
    reading = read("masks", masks(tmp_path))
    assert reading.findings == []
    assert list(reading.tables.classes["ignore"]) == [False, False, False, True]


def test_one_class_is_not_enough(tmp_path: Path) -> None:
    root = dataset(tmp_path, "images/{}.jpg masks/{}.png", stripes((0,)))
    assert ("mask.one_class", "error") in codes(root)


def test_values_are_the_classes_where_nothing_names_them(tmp_path: Path) -> None:
    classes = read("masks", dataset(tmp_path / "a", "images/{}.jpg masks/{}.png", stripes((0, 3, 7, 255)))).tables.classes
    assert classes[["name", "value"]].to_numpy().tolist() == [["class_0", 0], ["class_3", 3], ["class_7", 7]]
    classes = read("masks", dataset(tmp_path / "b", "images/{}.jpg masks/{}.png", stripes((0, 255)))).tables.classes
    assert list(classes["name"]) == ["class_0", "class_255"]


def test_255_that_no_class_has_is_told_where_one_is_missing(tmp_path: Path) -> None:
    root = dataset(tmp_path, "images/{}.jpg masks/{}.png", stripes((0, 255)))
    (root / "classes.txt").write_text("background\nobject\n")
    found = read("masks", root).findings
    assert [(each.code, each.severity, each.got) for each in found] == [
        ("mask.class_absent", "warning", "class object in no mask; 255 is read as void"),
        ("mask.one_class", "error", "background in the masks; 255 is read as void"),
    ]
    assert all("lines background,0 and object,255" in each.remedy for each in found)
    (root / "classes.txt").write_text("background,0\nobject,255\n")
    reading = read("masks", root)
    assert reading.findings == []
    assert list(reading.tables.classes["value"]) == [0, 255]


def test_255_beside_two_classes_is_void(tmp_path: Path) -> None:
    root = dataset(tmp_path, "images/{}.jpg masks/{}.png", stripes((0, 1, 255)))
    (told,) = read("masks", root).findings
    assert (told.code, told.got) == ("mask.no_class_file", "the values 0, 1; 255 is read as void")
    (root / "classes.txt").write_text("background\nobject\n")
    assert read("masks", root).findings == []


@pytest.mark.parametrize(("count", "code"), [(64, "mask.no_class_file"), (65, "mask.many_values"), (256, "mask.many_values")])
def test_many_values_need_a_class_file(count: int, code: str, tmp_path: Path) -> None:
    pixels = (np.arange(48 * 64) % count).astype(np.uint8).reshape(48, 64)
    root = dataset(tmp_path, "images/{}.jpg masks/{}.png", pixels)
    severity = "error" if code == "mask.many_values" else "warning"
    assert codes(root) == [(code, severity)]
    (root / "classes.txt").write_text("".join(f"class {index}\n" for index in range(min(count, 255))))
    assert codes(root) == []


def png(bits: int, kind: int, width: int, height: int, rows: bytes) -> bytes:
    """A PNG by its parts (PNG specification, third edition, section 11)."""

    def chunk(tag: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_grey_masks_of_few_bits_keep_their_indices(bits: int, tmp_path: Path) -> None:
    values = [0, 1] if bits == 1 else [0, 1, 2, 3]
    packed = 0
    for value in (values * 8)[:8]:
        packed = packed << bits | value
    (tmp_path / "a.png").write_bytes(png(bits, 0, 8, 1, b"\0" + packed.to_bytes(bits, "big")))
    found, turned = read_values(tmp_path / "a.png", (8, 1))
    assert found.tolist() == [(values * 8)[:8]]
    assert not turned


@pytest.mark.parametrize("side", [20_000, 2**31 - 1])
def test_a_bomb_is_not_decoded(side: int, tmp_path: Path) -> None:
    root = masks(tmp_path)
    (root / "masks/train/005.png").write_bytes(png(1, 0, side, side, b"\0" * 1000))
    assert codes(root) == [("mask.size", "error")]


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_damaged_masks_are_refused_or_read(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("damaged") / "a.png"
    buffer = io.BytesIO()
    Image.fromarray(stripes((0, 1, 2))).convert(data.draw(st.sampled_from(["L", "P", "RGB", "1"]))).save(buffer, "PNG")
    damaged = bytearray(buffer.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=6)):
        damaged[place] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged[: data.draw(st.integers(0, len(damaged)))])
    try:
        values, _ = read_values(path, SIZE)
    except MaskDefect:
        return
    assert values.shape == (48, 64)


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("orientation", [3, 5, 6, 7, 8])
def test_a_mask_is_turned_with_its_image(orientation: int, stored: bool, tmp_path: Path) -> None:
    root = masks(tmp_path / "data")
    drawn = np.random.default_rng(0).integers(0, 4, (48, 64), np.uint8)
    picture(root / "images/train/005.jpg", 5, SIZE, orientation)
    turned = {
        3: drawn[::-1, ::-1],
        5: drawn.T,
        6: np.rot90(drawn, -1),
        7: np.rot90(drawn, 2).T,
        8: np.rot90(drawn, 1),
    }[orientation]
    shown = orientation == 3 or not stored  # a size that does not change does not tell
    mask(root / "masks/train/005.png", np.ascontiguousarray(turned if shown else drawn))
    assert codes(root) == [("mask.oriented", "warning")]
    run_transform(root, tmp_path)
    sample = next(each for each in Dataset.read(root, tmp_path / "dataset").samples("train") if each.image_id.endswith("005"))
    assert sample.mask is not None
    assert np.array_equal(np.asarray(Image.open(sample.mask)), np.where(turned == 3, IGNORE, turned))
    assert np.asarray(Image.open(sample.path)).shape[:2] == turned.shape
    fixes = json.loads((tmp_path / "dataset/fixes.json").read_text())
    assert ("mask turned" in {fix["fix"] for fix in fixes}) == (not shown)


def test_a_mask_that_changed_since_validate_stops_transform(tmp_path: Path) -> None:
    root = masks(tmp_path / "data", 40)
    tables = read("masks", root).tables
    mask(root / "masks/test/035.png", stripes((0, 1), (8, 8)))
    with pytest.raises(MaskDefect, match=r"035\.png: 8x8, expected a mask that `validate` lets pass: run it again"):
        convert_masks(tables.images, tables.classes, root, tmp_path / "out", None, [])


def test_transform_writes_class_ids(tmp_path: Path) -> None:
    root = masks(tmp_path / "data")
    (root / "classes.txt").write_text("void\ncar\ntree\nroad\n")
    run_transform(root, tmp_path)
    canonical = Dataset.read(root, tmp_path / "dataset")
    assert canonical.classes == ("car", "tree", "road")
    assert list(canonical.tables.classes["ignore"]) == [False] * 3
    for sample in canonical.samples("val"):
        assert sample.mask is not None
        with Image.open(sample.mask) as image:
            assert image.mode == "L"
            assert np.array_equal(np.asarray(image), stripes((255, 255, 0, 1, 2)))
    assert len(list((tmp_path / "dataset/masks").iterdir())) == 1  # all are equal
    before = stage.hash_path(tmp_path / "dataset")
    run_transform(root, tmp_path / "again")
    assert stage.hash_path(tmp_path / "again/dataset") == before


def test_the_content_hash_tells_masks_apart(tmp_path: Path) -> None:
    root = masks(tmp_path / "data")
    run_transform(root, tmp_path / "a")
    mask(root / "masks/train/005.png", stripes((0, 1, 2)))
    run_transform(root, tmp_path / "b")
    found = [content_hash(Tables.read(tmp_path / name / "dataset"), tmp_path / name / "dataset") for name in "ab"]
    assert found[0] != found[1]


def test_the_content_hash_is_of_the_masks_pixels(tmp_path: Path) -> None:
    run_transform(masks(tmp_path / "data"), tmp_path)
    dataset = tmp_path / "dataset"
    before = content_hash(Tables.read(dataset), dataset)
    tables = Tables.read(dataset)
    for path in (dataset / "masks").iterdir():  # as another zlib would write it
        with Image.open(path) as opened:
            opened.save(dataset / "masks/other.png", compress_level=1)
        path.unlink()
    tables.images["mask"] = "masks/other.png"
    assert content_hash(tables, dataset) == before


def test_the_fingerprint_of_masks(tmp_path: Path) -> None:
    root = masks(tmp_path / "data")
    mask(root / "masks/val/022.png", stripes((0, 0, 0, 0, 1)))
    run_transform(root, tmp_path)
    paths = fingerprint.Paths(root, tmp_path / "dataset", tmp_path / "fingerprint")
    fingerprint.fingerprint(paths, fingerprint.Config())
    metadata = json.loads((tmp_path / "fingerprint/dataset_metadata.json").read_text())
    assert metadata["task"] == "semantic"
    assert metadata["classes"] == {"road": 30, "car": 30, "tree": 29}
    assert metadata["classes_by_split"]["val"] == {"road": 5, "car": 5, "tree": 4}
    assert sum(metadata["pixel_shares"].values()) == pytest.approx(1, abs=1e-5)
    assert metadata["pixel_shares"]["road"] > metadata["pixel_shares"]["tree"]


@settings(max_examples=25, deadline=None)
@given(data=st.data())
def test_what_is_written_is_read_again(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("masks")
    name = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
    plain = name.filter(lambda text: text.lower() not in IGNORED)
    classes = data.draw(st.lists(plain, min_size=2, max_size=5, unique=True))
    picture(folder / "a.png", 0)
    values = [*range(len(classes)), IGNORE]
    drawn = [np.array(data.draw(st.lists(st.sampled_from(values), min_size=64, max_size=64)), np.uint8) for _ in range(3)]
    pixels = [np.tile(row, (48, 1)) for row in drawn]
    splits = data.draw(st.lists(st.sampled_from(["train", "val", "test"]), min_size=3, max_size=3))
    items = [
        Item(f"{index}", ".png", folder / "a.png", *SIZE, (), split, {"semantic": encode(mask)})
        for index, (mask, split) in enumerate(zip(pixels, splits, strict=True))
    ]
    module = formats.load("masks")
    if not class_file_text(classes):
        with pytest.raises(SightlineError, match="rename them"):
            module.write(items, folder / "root", classes)
        return
    module.write(items, folder / "root", classes)
    tables = read("masks", folder / "root").tables
    assert list(tables.classes["name"]) == classes
    again = list(with_masks(formats.items(tables, folder / "root"), tables, folder / "root"))
    found = {(item.name, item.split): np.asarray(Image.open(io.BytesIO(item.masks["semantic"]))) for item in again}
    assert set(found) == {(item.name, item.split) for item in items}
    assert all(np.array_equal(found[str(index), split], pixels[index]) for index, split in enumerate(splits))


def test_a_sample_without_mask_is_refused(tmp_path: Path) -> None:
    item = Item("a", ".jpg", b"", *SIZE, (ItemObject("cat", (0, 0, 9, 9)),))
    with pytest.raises(SightlineError, match="no mask of classes"):
        formats.load("masks").write([item], tmp_path, ["cat", "dog"])
    with pytest.raises(SightlineError, match="names that can stand one a line"):
        formats.load("masks").write([item], tmp_path)


def test_camvid(real_data: Path) -> None:
    root = real_data / "camvid"
    assert formats.load("masks").detect(root) is None
    reading = read("masks", root)
    assert reading.findings == []
    assert reading.tables.images["split"].value_counts().to_dict() == {"train": 80, "test": 40, "val": 24}
    assert list(reading.tables.classes[reading.tables.classes["ignore"]]["name"]) == ["unlabelled"]


# VOC's masks of objects


def with_objects(root: Path, pixels: NDArray[np.uint8]) -> Path:
    voc(root, 3, splits=False)
    mask(root / "SegmentationObject/001.png", pixels)
    return root


def two_objects() -> NDArray[np.uint8]:
    pixels = np.zeros((48, 64), np.uint8)
    pixels[0:20, 0:20], pixels[12:40, 32:60], pixels[40, 32:60] = 1, 2, 255
    return pixels


def test_voc_s_objects_get_their_masks(tmp_path: Path) -> None:
    reading = read("voc", with_objects(tmp_path, two_objects()))
    assert reading.findings == []
    objects = reading.tables.objects
    masked = objects[objects["rle"].notna()]
    assert masked["image_id"].tolist() == ["JPEGImages/001"] * 2
    for number, rle in enumerate(masked["rle"], 1):
        assert np.array_equal(decode_rle(rle, SIZE), two_objects() == number)


@pytest.mark.parametrize(
    ("code", "pixels"),
    [
        ("voc.instances", two_objects() * 3),
        ("voc.instances", np.where(two_objects() == 255, 255, two_objects()[:, ::-1]).astype(np.uint8)),
        ("mask.size", np.zeros((8, 8), np.uint8)),
        ("mask.kind", coloured(stripes((0, 1, 2)))),
    ],
)
def test_masks_that_do_not_fit_the_objects(code: str, pixels: NDArray[np.uint8], tmp_path: Path) -> None:
    reading = read("voc", with_objects(tmp_path, pixels))
    assert [each.code for each in reading.findings] == [code]
    assert reading.findings[0].image_id == "JPEGImages/001"
    assert len(reading.tables.objects) == 6
    assert reading.tables.objects["rle"].isna().all()


@settings(max_examples=25, deadline=None)
@given(
    drawn=st.lists(st.tuples(st.integers(0, 55), st.integers(0, 40), st.integers(1, 40), st.booleans()), min_size=1, max_size=5)
)
def test_object_masks_are_read_again_or_refused(
    drawn: list[tuple[int, int, int, bool]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("objects")
    picture(folder / "a.png", 0)
    objects, covered, overlap = [], np.zeros((48, 64), int), False
    for x, y, side, is_masked in drawn:
        box = (x, y, min(x + side, 64), min(y + side, 48))
        pixels = np.zeros((48, 64), bool)
        pixels[box[1] : box[3], box[0] : box[2]] = True
        covered += pixels & is_masked
        objects.append(ItemObject("cat", tuple(map(float, box)), rle=encode_rle(pixels) if is_masked else ""))  # type: ignore[arg-type]
    overlap = bool((covered > 1).any())
    item = Item("a", ".png", folder / "a.png", *SIZE, tuple(objects))
    if overlap:
        with pytest.raises(SightlineError, match="overlap, expected none: write coco"):
            formats.load("voc").write([item], folder / "root")
        return
    formats.load("voc").write([item], folder / "root")
    reading = read("voc", folder / "root")
    assert reading.findings == []
    assert [rle if isinstance(rle, str) else "" for rle in reading.tables.objects["rle"]] == [each.rle for each in objects]


def test_masks_of_objects_survive_the_tables(tmp_path: Path) -> None:
    tables = read("voc", with_objects(tmp_path / "data", two_objects())).tables
    tables.write(tmp_path / "tables")
    again = pd.read_parquet(tmp_path / "tables/objects.parquet")
    assert again["rle"].notna().sum() == 2


def test_an_annotation_in_error_gets_no_masks(tmp_path: Path) -> None:
    root = with_objects(tmp_path, two_objects())
    path = root / "Annotations/001.xml"
    annotation(path, [("cat", 1, 1, 20, 20), ("", 30, 10, 64, 48)])
    assert [each.code for each in read("voc", root).findings] == ["voc.part_missing"]


@pytest.mark.parametrize("label", ["void", "Unlabelled"])
def test_a_learnt_class_with_the_name_of_an_ignored_one_is_refused(label: str, tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match=rf"class '{label}', expected a name of what is learnt"):
        formats.load("masks").write([], tmp_path, ("road", label))


def roboflow(root: Path, *texts: str) -> Path:
    """Images and masks in one folder a split, each with a class file."""
    for split, text in zip(("train", "valid"), texts, strict=True):
        dataset(root / split, "{}.jpg {}_mask.png")
        (root / split / "_classes.csv").write_text(text)
    return root


def test_masks_beside_their_images(tmp_path: Path) -> None:
    text = "Pixel Value, Class\n0, sky\n1, road\n2, car\n"
    root = roboflow(tmp_path, text, text)
    (root / "train/001_mask.png").unlink()
    (root / "valid/002.jpg").unlink()
    assert formats.detect(root) == "masks"
    found = read("masks", root)
    assert [(each.code, each.file) for each in found.findings] == [
        ("annotation.missing", "train/001.jpg"), ("image.missing", "valid/002_mask.png"),
    ]  # fmt: skip
    assert found.tables.images["split"].tolist() == ["train", "train", "val", "val"]
    assert found.tables.classes["name"].tolist() == ["sky", "road", "car"]


def test_class_files_of_splits_have_to_agree(tmp_path: Path) -> None:
    root = roboflow(tmp_path, "0, sky\n1, road\n2, car\n", "0, sky\n1, car\n2, road\n")
    (told,) = read("masks", root).findings
    assert (told.code, told.got) == ("mask.class_file", "valid/_classes.csv: other classes than in train/_classes.csv")


def test_masks_of_no_image_are_not_this_format(tmp_path: Path) -> None:
    dataset(tmp_path, "images/{}.jpg masks/{}_of_it.png")
    assert formats.load("masks").detect(tmp_path) == "masks/000_of_it.png: no mask of an image in images/, and no other is one"
