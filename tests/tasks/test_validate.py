"""Each defect that is planted is found, and a clean dataset has none."""

import importlib
import io
import json
import re
import shutil
import zlib
from base64 import b64decode
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from datasets import annotation, class_csv, class_folders, coco, mask, masks, picture, stripes, voc, yolo
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageFilter

from sightline.errors import AnswerIsNo, SightlineError
from tasks import copies, rules, stage, suites, validate, variants
from tasks.rules import RULES
from tasks.schema import parse

ROOT = Path(__file__).parents[2]
ANNOTATION = "<annotation><filename>005.jpg</filename><size><width>64</width><height>48</height></size>{}</annotation>"
OBJECT = "<object><name>cat</name><bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"


def run(root: Path, out: Path, name: str = "auto", classes: list[str] | None = None, **values: object) -> stage.Metrics:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    data = {"dataset": params["dataset"] | {"format": name, "classes": classes}, "validate": params["validate"] | values}
    return validate.validate(validate.Paths(root, out / "tables", out / "report"), parse(validate.Config, data)) or {}


def findings(out: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads((out / "report/findings.json").read_text())["findings"]
    return rows


def split_folders(root: Path) -> Path:
    """Clean class folders of two classes, in splits."""
    for number, (split, images) in enumerate({"train": 12, "val": 6, "test": 6}.items()):
        for name, start in (("cat", 0), ("dog", 1000)):
            for index in range(images):
                picture(root / split / name / f"{index:03}.png", start + 100 * number + index)
    return root


@pytest.mark.parametrize("make", [voc, class_folders, split_folders, yolo, coco, masks])
def test_a_clean_dataset_has_no_finding(make: Callable[[Path], Path], tmp_path: Path) -> None:
    metrics = run(make(tmp_path / "data"), tmp_path)
    assert (metrics["errors"], metrics["warnings"]) == (0, 0)
    assert "Nothing was found" in (tmp_path / "report/findings.html").read_text()


def image(name: str) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        path = root / "JPEGImages/005.jpg"
        data = path.read_bytes()
        if name == "empty":
            path.write_bytes(b"")
        elif name == "truncated":
            path.write_bytes(data[: len(data) // 2])
        elif name == "truncated, its end put back":
            path.write_bytes(data[: len(data) // 2] + b"\xff\xd9")
        elif name == "text":
            path.write_bytes(b"no image at all")
        elif name == "large":
            picture(path, 5, (400, 400))
            annotation(root / "Annotations/005.xml", [("cat", 1, 1, 20, 20)], (400, 400))

    return plant


def xml(text: str) -> Callable[[Path], None]:
    return lambda root: (root / "Annotations/005.xml").write_text(text) and None


def boxes(*objects: tuple[str, float, float, float, float], size: tuple[int, int] = (64, 48)) -> Callable[[Path], None]:
    return lambda root: annotation(root / "Annotations/005.xml", list(objects), size)


def grainy(root: Path) -> Path:
    """Class folders of two classes, sharp images."""
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (root / name).mkdir(parents=True)
        for index in range(12):
            Image.fromarray(rng.integers(0, 255, (48, 64, 3), np.uint8)).save(root / name / f"{index:03}.jpg")
    return root


def replaced(change: Callable[[Image.Image], Image.Image], suffix: str = "jpg", **values: object) -> Callable[[Path], None]:
    """Changes an image of class folders."""

    def plant(root: Path) -> None:
        path = root / "cat/005.jpg"
        image = Image.open(path).convert("RGB")
        image.load()
        path.unlink()
        change(image).save(path.with_suffix(f".{suffix}"), **values)

    return plant


def animated(suffix: str) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        image = Image.open(root / "cat/005.jpg").convert("RGB")
        (root / "cat/005.jpg").unlink()
        image.save(root / f"cat/005.{suffix}", save_all=True, append_images=[image.rotate(90)])

    return plant


def clear(image: Image.Image) -> Image.Image:
    image.putalpha(Image.linear_gradient("L").resize(image.size))
    return image


def text(name: str, data: bytes) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(data)

    return plant


def moved(source: str, target: str) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        (root / source).rename(root / target)

    return plant


def saved_again(source: str, target: str) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        Image.open(root / source).convert("RGB").save(root / target, quality=85)

    return plant


def nearly(source: str, target: str) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        image = Image.open(root / source).convert("RGB")
        image.resize((image.width * 2, image.height * 2), Image.Resampling.BICUBIC).save(root / target)

    return plant


def copied(source: str, target: str) -> Callable[[Path], None]:
    return lambda root: (root / target).write_bytes((root / source).read_bytes()) and None


def both(*plants: Callable[[Path], None]) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        for each in plants:
            each(root)

    return plant


def png_named_jpg(root: Path) -> None:
    picture(root / "cat/005.png", 5)
    (root / "cat/005.png").rename(root / "cat/005.jpg")


def sixteen_bits(root: Path) -> None:
    (root / "cat/005.jpg").unlink()
    Image.fromarray(np.linspace(0, 65_535, 64 * 48).reshape(48, 64).astype(np.uint16)).save(root / "cat/005.png")


def many(name: str, images: int) -> Callable[[Path], None]:
    def plant(root: Path) -> None:
        for index in range(images):
            picture(root / name / f"{index:04}.jpg", zlib.crc32(name.encode()) + index)

    return plant


def only(root: Path, split: str, images: int) -> None:
    for name in ("cat", "dog"):
        for path in sorted((root / split / name).iterdir())[images:]:
            path.unlink()


def copy_image(root: Path, source: str, target: str) -> None:
    (root / f"JPEGImages/{target}.jpg").write_bytes((root / f"JPEGImages/{source}.jpg").read_bytes())


ERRORS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "zero bytes": ("image.empty", image("empty")),
    "truncated": ("image.unreadable", image("truncated")),
    "truncated, its end put back": ("image.unreadable", image("truncated, its end put back")),
    "no image": ("image.unreadable", image("text")),
    "over the pixel limit": ("image.too_large", image("large")),
    "malformed": ("xml.malformed", xml("<annotation><object>")),
    "doctype": ("xml.dtd", xml('<!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><annotation>&x;</annotation>')),
    "another document": ("voc.part_missing", xml("<html></html>")),
    "a missing corner": ("voc.part_missing", xml(ANNOTATION.format("<object><name>cat</name></object>"))),
    "no number": ("voc.not_a_number", xml(ANNOTATION.format(OBJECT.format("nan")))),
    "inverted": ("box.inverted", boxes(("cat", 30, 1, 20, 20))),
    "of no width": ("box.inverted", boxes(("cat", 21, 1, 20, 20))),
    "far outside": ("box.out_of_bounds", boxes(("cat", 40, 1, 120, 20))),
    "size of another image": ("size.mismatch", boxes(("cat", 1, 1, 20, 20), size=(640, 480))),
    "no image for it": ("image.missing", lambda root: annotation(root / "Annotations/nobody.xml", [("cat", 1, 1, 9, 9)])),
    "in two lists": ("split.twice", lambda root: (root / "ImageSets/Main/val.txt").open("a").write("005\n")),
    "the same picture in two splits": ("split.leak", lambda root: copy_image(root, "005", "022")),
}
WARNINGS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "a little outside": ("box.edge", boxes(("cat", 40, 1, 66, 20))),
    "tiny": ("box.tiny", boxes(("cat", 1, 1, 20, 1))),
    "twice": ("object.duplicate", boxes(("cat", 1, 1, 20, 20), ("cat", 1, 1, 20, 20))),
    "few": ("class.few", boxes(("bird", 1, 1, 20, 20))),
    "not annotated": ("annotation.missing", lambda root: picture(root / "JPEGImages/new.jpg", 99)),
    "wrong filename": (
        "voc.filename",
        lambda root: (root / "Annotations/005.xml").write_text(
            (root / "Annotations/005.xml").read_text().replace("005.jpg", "777.jpg")
        ),
    ),
    "unknown name in a list": ("split.unknown_image", lambda root: (root / "ImageSets/Main/val.txt").open("a").write("777\n")),
    "the same picture twice": ("image.duplicate", lambda root: copy_image(root, "005", "006")),
}


PLANTED: dict[str, tuple[Callable[[Path], Path], str, Callable[[Path], object]]] = {
    "another suffix": (class_folders, "image.suffix", png_named_jpg),
    "a format that is not read": (class_folders, "image.foreign", text("cat/100.heic", b"heic")),
    "a GIF that moves": (class_folders, "image.animated", animated("gif")),
    "a WebP that moves": (class_folders, "image.animated", animated("webp")),
    "a PNG that moves": (class_folders, "image.animated", animated("png")),
    "a TIFF with pages": (class_folders, "image.animated", animated("tif")),
    "turned": (class_folders, "image.oriented", lambda root: picture(root / "cat/005.jpg", 5, exif_orientation=6)),
    "CMYK": (class_folders, "image.cmyk", replaced(lambda image: image.convert("CMYK"))),
    "transparent": (class_folders, "image.alpha", replaced(clear, "png")),
    "grey of 16 bits": (class_folders, "image.deep", sixteen_bits),
    "of few pixels": (class_folders, "image.tiny", lambda root: picture(root / "cat/005.jpg", 5, (16, 12))),
    "constant": (class_folders, "image.blank", replaced(lambda image: Image.new("RGB", image.size, (90, 20, 20)))),
    "dark": (class_folders, "image.dark", replaced(lambda image: ImageEnhance.Brightness(image).enhance(0.1))),
    "bright": (class_folders, "image.bright", replaced(lambda image: image.point(lambda value: 240 + value // 17))),
    "blurred": (grainy, "image.blurred", replaced(lambda image: image.filter(ImageFilter.GaussianBlur(3)))),
    "far larger": (class_folders, "image.odd_size", lambda root: picture(root / "cat/005.jpg", 5, (640, 480))),
    "far wider": (class_folders, "image.odd_size", lambda root: picture(root / "cat/005.jpg", 5, (320, 48))),
    "saved again": (class_folders, "image.copy", saved_again("cat/005.jpg", "cat/100.png")),
    "near": (class_folders, "image.near", nearly("cat/005.jpg", "cat/100.jpg")),
    "saved again under another class": (class_folders, "class.conflict", saved_again("cat/005.jpg", "dog/100.png")),
    "a folder without images": (class_folders, "class.empty_folder", text("bird/notes.txt", b"")),
    "a folder in a class": (class_folders, "class.nested", moved("cat/005.jpg", "cat/old/005.jpg")),
    "a split beside classes": (class_folders, "class.split_folder", many("test/cat", 12)),
    "names alike": (class_folders, "class.similar", many("CAT", 12)),
    "one class in twenty": (class_folders, "class.imbalance", many("bird", 700)),
    "the same in two splits": (split_folders, "split.leak", copied("train/cat/005.png", "val/cat/100.png")),
    "saved again in two splits": (split_folders, "split.copy", saved_again("train/cat/005.png", "val/cat/100.jpg")),
    "near in two splits": (split_folders, "split.near", nearly("train/cat/005.png", "test/cat/100.png")),
    "a class that train lacks": (split_folders, "class.not_in_train", both(many("val/bird", 5), many("test/bird", 6))),
    "a class that val lacks": (split_folders, "class.not_in_split", both(many("train/bird", 12), many("test/bird", 6))),
    "no val": (split_folders, "split.empty", lambda root: shutil.rmtree(root / "val")),
    "a small test": (split_folders, "split.few", lambda root: only(root, "test", 2)),
}  # fmt: skip
BESIDE = {
    "class.not_in_train": {"class.few"}, "class.conflict": {"image.copy"},
    **{code: {"image.not_compared"} for code in ("image.tiny", "image.blank", "image.dark", "image.bright")},
}  # fmt: skip
"""What else is true of the planted dataset."""


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_found_alone(name: str, tmp_path: Path) -> None:
    make, code, plant = PLANTED[name]
    root = make(tmp_path / "data")
    plant(root)
    if RULES[code].severity == "error":
        with pytest.raises(AnswerIsNo):
            run(root, tmp_path)
    else:
        assert run(root, tmp_path)["errors"] == 0
    found = findings(tmp_path)
    assert {row["code"] for row in found} - BESIDE.get(code, set()) == {code}
    assert all(row["got"] and row["remedy"] for row in found)
    if code in ("image.near", "split.near"):
        assert len(found) == 1


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", ERRORS)
def test_an_error_fails_the_stage_and_says_what_to_do(name: str, tmp_path: Path) -> None:
    code, plant = ERRORS[name]
    root = voc(tmp_path / "data")
    plant(root)
    with pytest.raises(AnswerIsNo, match=r"findings\.html"):
        run(root, tmp_path, max_pixels=100_000)
    found = findings(tmp_path)
    assert {row["code"] for row in found if row["severity"] == "error"} == {code}
    assert all(row["got"] and row["expected"] and row["remedy"] for row in found)
    assert all(row["file"] for row in found if row["severity"] == "error")


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", WARNINGS)
def test_a_warning_does_not(name: str, tmp_path: Path) -> None:
    code, plant = WARNINGS[name]
    root = voc(tmp_path / "data")
    plant(root)
    metrics = run(root, tmp_path)
    assert metrics["errors"] == 0
    assert {row["code"] for row in findings(tmp_path)} == {code}


@pytest.mark.parametrize("make", [voc, yolo, coco, class_folders])
def test_classes_that_are_given_are_the_only_ones_and_in_order(make: Callable[[Path], Path], tmp_path: Path) -> None:
    root = make(tmp_path / "data")
    run(root, tmp_path, classes=["dog", "bird", "cat"])
    assert {(row["code"], row["got"]) for row in findings(tmp_path)} == {("class.few", "class bird with 0")}
    classes, objects = (pd.read_parquet(tmp_path / f"tables/{name}.parquet") for name in ("classes", "objects"))
    assert list(classes.sort_values("id")["name"]) == ["dog", "bird", "cat"]
    assert set(objects["label"]) == {0, 2}
    assert objects.sort_values(["image_id", "xmin"]).iloc[0]["label"] == 2
    with pytest.raises(AnswerIsNo, match="class cat, expected one of dog: correct the label, or add the class"):
        run(root, tmp_path, classes=["dog"])
    unknown = [row for row in findings(tmp_path) if row["code"] == "class.unknown"]
    assert len(unknown) == 30
    assert all(row["file"] and row["image_id"] for row in unknown)


def test_classes_of_masks_stand_in_their_file(tmp_path: Path) -> None:
    root = masks(tmp_path / "data")
    with pytest.raises(SightlineError, match="expected null with masks"):
        run(root, tmp_path, classes=["road"])


@pytest.mark.parametrize("name", ["truncated", "malformed", "inverted", "far outside"])
def test_quarantine_sets_the_image_aside_and_goes_on(name: str, tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    ERRORS[name][1](root)
    metrics = run(root, tmp_path, on_error="quarantine")
    assert metrics["images"] == 29
    assert "JPEGImages/005" not in set(pd.read_parquet(tmp_path / "tables/images.parquet")["image_id"])
    assert findings(tmp_path)


def test_the_same_picture_under_two_classes(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data")
    (root / "dog/000.jpg").write_bytes((root / "cat/000.jpg").read_bytes())
    with pytest.raises(AnswerIsNo, match="one label for one picture"):
        run(root, tmp_path)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    boxes(("cat", 40, 1, 66, 20))(root)
    run(root, tmp_path / "a")
    run(root, tmp_path / "b")
    assert stage.hash_path(tmp_path / "a") == stage.hash_path(tmp_path / "b")


def test_names_that_differ_by_their_suffix_alone_are_two_images(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data")
    picture(root / "cat/000.png", 500)
    assert run(root, tmp_path)["images"] == 61
    ids = set(pd.read_parquet(tmp_path / "tables/images.parquet")["image_id"])
    assert {"cat/000", "cat/000.png"} <= ids


def test_one_class_folder_is_not_enough(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data")
    (root / "dog").rename(tmp_path / "dog")
    with pytest.raises(AnswerIsNo, match="expected at least two classes"):
        run(root, tmp_path)
    with pytest.raises(AnswerIsNo, match="expected at least two classes"):
        run(root, tmp_path, on_error="quarantine")


def test_quarantine_lists_what_it_sets_aside(tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    image("truncated")(root)
    run(root, tmp_path, on_error="quarantine")
    summary = json.loads((tmp_path / "report/findings.json").read_text())
    assert [entry["sample"] for entry in summary["quarantined"]] == ["JPEGImages/005"]
    assert "sample set aside" in (tmp_path / "report/findings.html").read_text()


def test_a_copy_in_train_is_set_aside_and_the_one_in_val_is_kept(tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    copy_image(root, "005", "022")
    run(root, tmp_path, on_error="quarantine")
    ids = set(pd.read_parquet(tmp_path / "tables/images.parquet")["image_id"])
    assert "JPEGImages/022" in ids
    assert "JPEGImages/005" not in ids


def test_the_page_needs_nothing_from_elsewhere_and_escapes_what_it_shows(tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    xml(ANNOTATION.format("<object><name>&lt;script&gt;</name></object>"))(root)
    with pytest.raises(AnswerIsNo):
        run(root, tmp_path)
    page = (tmp_path / "report/findings.html").read_text()
    assert "<script" not in page
    assert "://" not in page
    assert "&lt;script&gt;" in page


def test_the_page_shows_the_box_and_the_images_that_are_alike(tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    boxes(("cat", 30, 1, 20, 20))(root)
    copy_image(root, "010", "022")
    (root / "JPEGImages/007.jpg").write_bytes(b"no image")
    with pytest.raises(AnswerIsNo):
        run(root, tmp_path)
    page = (tmp_path / "report/findings.html").read_text()
    assert re.findall(r'alt="([^"]*)"', page) == [
        "JPEGImages/005.jpg, the box marked", "JPEGImages/010.jpg", "JPEGImages/022.jpg",
    ]  # fmt: skip
    pictures = [Image.open(io.BytesIO(b64decode(data))) for data in re.findall(r"base64,([^\"]+)", page)]
    assert [image.size for image in pictures] == [(160, 120)] * 3
    assert all(image.format == "JPEG" for image in pictures)
    assert "The pipeline stops here" in page


def test_the_page_caps_what_it_shows_and_counts_all(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", 120)
    for index in range(110):
        picture(root / f"cat/{index:03}.jpg", index, exif_orientation=3)
    run(root, tmp_path)
    page = (tmp_path / "report/findings.html").read_text()
    assert "110 findings" in page
    assert "and 10 more in findings.json" in page
    assert page.count("<img") == 6
    assert len(pd.read_parquet(tmp_path / "report/findings.parquet")) == 110


def test_the_page_says_why_a_sample_is_set_aside(tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    boxes(("cat", 30, 1, 20, 20))(root)
    run(root, tmp_path, on_error="quarantine")
    page = (tmp_path / "report/findings.html").read_text()
    assert "goes on without 1 sample" in page
    assert re.search(r"JPEGImages/005</td><td>box\.inverted: box 29, 0, 20, 20", page)


def test_an_error_of_the_whole_dataset_fails_quarantine_too(tmp_path: Path) -> None:
    root = split_folders(tmp_path / "data")
    many("val/bird", 5)(root)
    with pytest.raises(AnswerIsNo, match="class bird with no object in train"):
        run(root, tmp_path, on_error="quarantine")


def test_a_broken_image_leaves_the_one_of_the_same_stem(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data")
    (root / "cat/005.png").write_bytes(b"no image")
    assert run(root, tmp_path, on_error="quarantine")["images"] == 60


def test_near_duplicates_share_a_group(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data")
    nearly("cat/005.jpg", "cat/100.jpg")(root)
    run(root, tmp_path)
    images = pd.read_parquet(tmp_path / "tables/images.parquet").set_index("image_id")
    pair = images.loc[["cat/005", "cat/100"]]
    assert set(pair["group"]) == {min(pair["hash"])}
    rest = images.drop(["cat/005", "cat/100"])
    assert (rest["group"] == rest["hash"]).all()


def test_many_images_are_scanned_while_a_library_is_imported(tmp_path: Path) -> None:
    assert run(class_folders(tmp_path / "data", 100), tmp_path)["images"] == 200


def test_findings_are_written_as_a_table_too(tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    boxes(("cat", 40, 1, 66, 20))(root)
    run(root, tmp_path)
    frame = pd.read_parquet(tmp_path / "report/findings.parquet")
    assert frame[["code", "severity", "file", "line"]].to_numpy().tolist() == [
        ["box.edge", "warning", "Annotations/005.xml", 4]
    ]


def test_the_size_is_that_of_the_upright_image(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data")
    picture(root / "cat/000.jpg", 0, (64, 48), exif_orientation=6)
    run(root, tmp_path)
    images = pd.read_parquet(tmp_path / "tables/images.parquet").set_index("image_id")
    assert images.loc["cat/000", ["width", "height"]].tolist() == [48, 64]


def test_a_bomb_of_pixels_is_not_decoded(tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data")
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    (root / "cat/000.png").write_bytes(bomb.getvalue())
    with pytest.raises(AnswerIsNo, match="20000x20000, expected at most"):
        run(root, tmp_path)


@pytest.mark.parametrize(("name", "images", "objects"), [("bccd", 364, 4888), ("cifar10", 1200, 1200)])
def test_real_datasets_have_no_error(name: str, images: int, objects: int, real_data: Path, tmp_path: Path) -> None:
    metrics = run(real_data / name, tmp_path)
    assert (metrics["images"], metrics["objects"], metrics["errors"]) == (images, objects, 0)


@settings(deadline=None, max_examples=25)
@given(
    values=st.lists(st.one_of(st.none(), st.floats(-2, 2), st.sampled_from([0.0, 1.0, -1.0])), min_size=1, max_size=8),
    least=st.sampled_from([None, 0.0, 1.0]),
    most=st.sampled_from([None, 0.0, 1.0]),
    is_open=st.booleans(),
)
def test_the_first_look_agrees_with_great_expectations(
    values: list[float | None], least: float | None, most: float | None, is_open: bool
) -> None:
    assume(least is not None or most is not None)
    assume(least is None or most is None or least < most)
    bound = suites.Bound("box.edge", "x", least, most, is_open and least is not None)
    frame = pd.DataFrame({"x": pd.Series(values, dtype="float64")})
    asked = suites._validate("frame", frame, [bound])
    assert asked["box.edge"] == frame.index[bound.breaks(frame)].tolist()


def test_quarantine_keeps_classes_that_nothing_was_lost_of(tmp_path: Path) -> None:
    root = coco(tmp_path / "data")
    path = root / "annotations/instances_train.json"
    content = json.loads(path.read_text())
    content["categories"].insert(0, {"id": 0, "name": "unused"})
    path.write_text(json.dumps(content))
    (root / "images/train/005.jpg").write_bytes(b"")
    run(root, tmp_path, on_error="quarantine")
    assert "unused" in set(pd.read_parquet(tmp_path / "tables/classes.parquet")["name"])


def test_a_broken_file_of_all_labels_cannot_be_set_aside(tmp_path: Path) -> None:
    root = coco(tmp_path / "data")
    (root / "annotations/instances_val.json").write_text('{"images": [], "annotations": [], "categories": [')
    with pytest.raises(AnswerIsNo, match=r"instances_val\.json"):
        run(root, tmp_path, on_error="quarantine")


@pytest.mark.parametrize(
    "data", [b"filename,cat,cat\n000.jpg,0,1\n", b'filename,cat,dog\n000.jpg,1,1\n"001.jpg,0,1\n'], ids=["header", "quote"]
)
def test_a_broken_table_of_many_labels_cannot_be_set_aside(data: bytes, tmp_path: Path) -> None:
    root = class_csv(tmp_path / "data")
    (root / "train/_classes.csv").write_bytes(data)
    with pytest.raises(AnswerIsNo, match=r"first: train/_classes\.csv"):
        run(root, tmp_path, on_error="quarantine")


def unlabelled(root: Path) -> Path:
    """Images whose labels are empty."""
    for path in yolo(root).glob("labels/*/*.txt"):
        path.write_text("")
    return root


def unmarked(root: Path) -> Path:
    """Images that no class is marked for."""
    for path in class_csv(root).glob("*/_classes.csv"):
        path.write_text(re.sub(",[01],[01]", ",0,0", path.read_text()))
    return root


@pytest.mark.parametrize("make", [unlabelled, unmarked])
def test_a_dataset_without_a_label_is_empty(make: Callable[[Path], Path], tmp_path: Path) -> None:
    with pytest.raises(AnswerIsNo, match="first: 30 images of 2 classes with 0 objects, expected labelled images"):
        run(make(tmp_path / "data"), tmp_path)
    assert [row["code"] for row in findings(tmp_path) if row["severity"] == "error"] == ["dataset.empty"]
    assert "The pipeline stops here" in (tmp_path / "report/findings.html").read_text()


def test_a_dataset_without_a_label_is_empty_once_the_others_are_set_aside(tmp_path: Path) -> None:
    root = unlabelled(tmp_path / "data")
    text("labels/train/005.txt", b"0 0.5 0.5 0.5 0.5\n7 0.5 0.5 0.5 0.5\n")(root)
    with pytest.raises(AnswerIsNo, match="first: 29 images of 2 classes with 0 objects"):
        run(root, tmp_path, on_error="quarantine")


def names_of_classes(out: Path) -> list[str]:
    return list(pd.read_parquet(out / "tables/classes.parquet").sort_values("id")["name"])


def test_quarantine_keeps_a_class_that_the_dataset_declares(tmp_path: Path) -> None:
    root = yolo(tmp_path / "data")
    text("data.yaml", b"train: images/train\nval: images/val\ntest: images/test\nnames: [cat, bird, dog]\n")(root)
    for path in root.glob("labels/*/*.txt"):
        path.write_text(path.read_text().replace("\n1 ", "\n2 "))
    text("labels/train/005.txt", b"1 0.5 0.5 0.5 0.5\n7 0.5 0.5 0.5 0.5\n")(root)
    assert run(root, tmp_path, on_error="quarantine")["images"] == 29
    assert names_of_classes(tmp_path) == ["cat", "bird", "dog"]
    assert set(pd.read_parquet(tmp_path / "tables/objects.parquet")["label"]) == {0, 2}


@pytest.mark.parametrize(
    ("classes", "left"),
    [
        (None, ["cat", "dog"]),
        (["dog", "cat", "bird"], ["dog", "cat", "bird"]),
        (["dog", "ape", "cat"], ["dog", "ape", "cat"]),
    ],
)
def test_quarantine_drops_a_class_that_nothing_declares(classes: list[str] | None, left: list[str], tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    boxes(("ape", 1, 1, 20, 20), ("cat", 30, 1, 20, 20))(root)
    run(root, tmp_path, classes=classes, on_error="quarantine")
    assert names_of_classes(tmp_path) == left


def boxes_of(name: str, *objects: tuple[str, float, float, float, float]) -> Callable[[Path], None]:
    return lambda root: annotation(root / f"Annotations/{name}.xml", list(objects))


CAT, DOG = ("cat", 1, 1, 20, 20), ("dog", 30, 10, 64, 48)
CONFLICTS: dict[str, tuple[list[tuple[str, float, float, float, float]], str]] = {
    "another class": ([("dog", 1, 1, 20, 20), DOG], "0 cat, and 1 in"),
    "one less": ([CAT], "0 dog, and 1 in"),
    "one more": ([CAT, DOG, ("dog", 1, 25, 20, 48)], "2 dog, and 1 in"),
    "none": ([], "0 cat, and 1 in"),
    "elsewhere": ([("cat", 1, 15, 20, 34), DOG], "cat elsewhere than in"),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("is_saved_again", [False, True])
@pytest.mark.parametrize("name", CONFLICTS)
def test_copies_whose_boxes_differ_are_told(name: str, is_saved_again: bool, tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    if is_saved_again:
        saved_again("JPEGImages/005.jpg", "JPEGImages/006.jpg")(root)
    else:
        copy_image(root, "005", "006")
    objects, got = CONFLICTS[name]
    boxes_of("006", *objects)(root)
    run(root, tmp_path)
    found = [row for row in findings(tmp_path) if row["severity"] != "info"]
    assert {row["code"] for row in found} == {"label.conflict", "image.copy" if is_saved_again else "image.duplicate"}
    (conflict,) = (row for row in found if row["code"] == "label.conflict")
    assert (conflict["file"], conflict["severity"]) == ("JPEGImages/006.jpg", "warning")
    assert conflict["got"] == f"{got} JPEGImages/005.jpg, the same picture"


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_copies_whose_boxes_were_drawn_twice_are_no_conflict(tmp_path: Path) -> None:
    root = voc(tmp_path / "data")
    copy_image(root, "005", "006")
    boxes_of("006", ("dog", 31, 9, 63, 48), ("cat", 2, 1, 19, 22), ("cat", 2, 1, 19, 22))(root)
    run(root, tmp_path)
    assert {row["code"] for row in findings(tmp_path)} == {"image.duplicate", "object.duplicate"}


def test_boxes_of_copies_are_compared_in_any_order_and_in_bounded_memory() -> None:
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 1000, (900, 2))
    some = np.hstack([corners, corners + 30])
    assert copies._lie_alike(some, rng.permutation(some) + 1)
    assert not copies._lie_alike(some, np.vstack([some[1:], [[2000, 2000, 2030, 2030]]]))
    assert copies._lie_alike(np.tile(some, (200, 1)), np.tile(some, (200, 1)) + 1)


def conflicts(root: Path) -> list[str]:
    """What is told of copies' labels."""
    _, _, found = validate.look_at(root, "masks", 50_000_000)
    return [item.got for item in found if item.code == "label.conflict"]


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("is_saved_again", [False, True])
def test_copies_whose_masks_differ_are_told(is_saved_again: bool, tmp_path: Path) -> None:
    root = masks(tmp_path / "data")
    pixels = np.zeros((48, 64), np.uint8)
    pixels[10:30, 10:30], pixels[34:44, 4:60] = 1, 2
    mask(root / "masks/train/005.png", pixels)
    mask(root / "masks/train/006.png", pixels)
    (root / "images/train/006.jpg").write_bytes((root / "images/train/005.jpg").read_bytes())
    if is_saved_again:
        saved_again("images/train/005.jpg", "images/train/006.jpg")(root)
    assert conflicts(root) == []
    mask(root / "masks/train/006.png", np.roll(pixels, 2, (0, 1)))  # drawn a little beside
    assert conflicts(root) == []
    mask(root / "masks/train/006.png", np.where(pixels == 1, 3, pixels).astype(np.uint8))  # left open
    assert conflicts(root) == []
    for changed, name in ((np.where(pixels == 1, 2, pixels), "car"), (np.where(pixels == 1, 0, pixels), "road")):
        mask(root / "masks/train/006.png", changed.astype(np.uint8))
        (got,) = conflicts(root)
        assert "elsewhere in masks/train/006.png than in masks/train/005.png of images/train/005.jpg" in got
        assert name in got


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_class_that_the_masks_of_a_split_lack(tmp_path: Path) -> None:
    root = masks(tmp_path / "data")
    for path in root.glob("masks/val/*.png"):
        mask(path, stripes((0, 0, 2)))
    assert run(root, tmp_path)["errors"] == 0
    found = [(row["code"], row["got"]) for row in findings(tmp_path)]
    assert found == [("class.not_in_split", "class car in no mask of val")]
    for path in root.glob("masks/train/*.png"):
        mask(path, stripes((0, 1, 1, 3)))
    with pytest.raises(AnswerIsNo, match="class tree in no mask of train, expected each class in train"):
        run(root, tmp_path)


def in_json(edit: Callable[[dict[str, list[dict[str, object]]]], object]) -> Callable[[Path], None]:
    """Changes a COCO file of val."""

    def plant(root: Path) -> None:
        path = root / "annotations/instances_val.json"
        content = json.loads(path.read_text())
        edit(content)
        path.write_text(json.dumps(content))

    return plant


def replace_in(path: Path, old: str, new: str) -> None:
    before = path.read_text()
    assert old in before
    path.write_text(before.replace(old, new))


VAL = "annotations/instances_val.json"
ASIDE: dict[str, tuple[Callable[[Path], Path], Callable[[Path], object], dict[str, tuple[str, str, int]], int]] = {
    "voc": (voc, boxes(("cat", 30, 1, 20, 20)), {"JPEGImages/005": ("box.inverted", "Annotations/005.xml", 4)}, 29),
    "voc without image": (
        voc,
        lambda root: annotation(root / "Annotations/nobody.xml", [("cat", 1, 1, 9, 9)]),
        {"Annotations/nobody.xml": ("image.missing", "Annotations/nobody.xml", 0)},
        30,
    ),
    "yolo": (
        yolo,
        text("labels/val/021.txt", b"0 0.5 0.5 0.5 0.5\n7 0.5 0.5 0.5 0.5\n"),
        {"images/val/021": ("yolo.class_id", "labels/val/021.txt", 2)},
        29,
    ),
    "masks": (
        masks,
        text("masks/val/021.png", b"no mask"),
        {"images/val/021": ("mask.unreadable", "masks/val/021.png", 0)},
        29,
    ),
    "class folders": (class_folders, text("cat/005.jpg", b""), {"cat/005": ("image.empty", "cat/005.jpg", 0)}, 59),
    "coco, a box": (
        coco,
        in_json(lambda content: content["annotations"][2].update(bbox=[1, 2, 3])),
        {"images/val/021": ("coco.box", VAL, 0)},
        29,
    ),
    "coco, a size": (
        coco,
        in_json(lambda content: content["images"][1].update(width=640)),
        {"images/val/021": ("size.mismatch", VAL, 0)},
        29,
    ),
    "coco, an inverted box": (
        coco,
        in_json(lambda content: content["annotations"][2].update(bbox=[20, 20, -5, 5], area=25)),
        {"images/val/021": ("box.inverted", VAL, 0)},
        29,
    ),
    "coco, an image that is not there": (
        coco,
        in_json(lambda content: content["images"].append({"id": 99, "file_name": "no.jpg", "width": 1, "height": 1})),
        {f"{VAL}: images[5]": ("image.missing", VAL, 0)},
        30,
    ),
    "coco, an image without name": (
        coco,
        in_json(lambda content: content["images"].append({"id": 99, "width": 1, "height": 1})),
        {f"{VAL}: images[5]": ("coco.type", VAL, 0)},
        30,
    ),
    "coco, annotations without image": (
        coco,
        in_json(lambda content: [entry.update(image_id=99) for entry in content["annotations"][2:4]]),
        {f"{VAL}: image_id 99": ("coco.dangling_image", VAL, 0)},
        30,
    ),
    "a table, a file that is not there": (
        class_csv,
        lambda root: (root / "valid/_classes.csv").open("a").write("nobody.jpg,0,1\n"),
        {"valid/_classes.csv: line 7": ("image.missing", "valid/_classes.csv", 7)},
        30,
    ),
    "a table, a cell": (
        class_csv,
        lambda root: replace_in(root / "valid/_classes.csv", "021.jpg,0,1", "021.jpg,0,2"),
        {"valid/021": ("csv.cell", "valid/_classes.csv", 3)},
        29,
    ),
    "coco, no annotation": (
        coco,
        in_json(lambda content: content["annotations"].append("none")),  # type: ignore[arg-type]
        {f"{VAL}: annotations[10]": ("coco.type", VAL, 0)},
        30,
    ),
}


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("name", ASIDE)
def test_what_is_set_aside_is_listed_with_the_reason(name: str, tmp_path: Path) -> None:
    make, plant, expected, images = ASIDE[name]
    root = make(tmp_path / "data")
    plant(root)
    assert run(root, tmp_path, on_error="quarantine")["images"] == images
    aside = json.loads((tmp_path / "report/findings.json").read_text())["quarantined"]
    assert {entry["sample"]: {(why["code"], why["file"], why["line"]) for why in entry["why"]} for entry in aside} == {
        sample: {reason} for sample, reason in expected.items()
    }
    assert all(why["got"] for entry in aside for why in entry["why"])
    page = (tmp_path / "report/findings.html").read_text()
    assert all(f"{sample}</td><td>{code}: " in page for sample, (code, *_) in expected.items())
    left = set(pd.read_parquet(tmp_path / "tables/images.parquet")["image_id"])
    assert not left & expected.keys()
    assert set(pd.read_parquet(tmp_path / "tables/objects.parquet")["image_id"]) <= left


@pytest.mark.parametrize("part", ["images", "annotations", "categories"])
@pytest.mark.parametrize("value", [{}, None, "none"])
def test_a_file_without_a_list_cannot_be_set_aside(part: str, value: object, tmp_path: Path) -> None:
    root = coco(tmp_path / "data")
    in_json(lambda content: content.update({part: value}))(root)  # type: ignore[dict-item]
    with pytest.raises(AnswerIsNo, match=r"instances_val\.json"):
        run(root, tmp_path, on_error="quarantine")


def test_settings_of_the_pipeline_are_named_as_such() -> None:
    for rule in RULES.values():
        said = f"{rule.expected}: {rule.remedy}"
        assert "validate." not in said or "in the pipeline" in said


def test_each_rule_stands_once_and_those_of_a_format_in_its_file() -> None:
    modules = [importlib.import_module(f"tasks.rules.{name}") for name in variants.names("rules")]
    codes = [*rules._SHARED, *(code for module in modules for code in module.RULES)]
    assert sorted(codes) == sorted(RULES)
    assert set(variants.names("rules")) <= set(variants.names("formats"))
