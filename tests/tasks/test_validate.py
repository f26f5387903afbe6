"""Each defect that is planted is found, and a clean dataset has none."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml
from datasets import annotation, class_folders, picture, voc
from PIL import Image

from sightline.errors import AnswerIsNo
from tasks import stage, validate
from tasks.schema import parse

ROOT = Path(__file__).parents[2]
ANNOTATION = "<annotation><filename>005.jpg</filename><size><width>64</width><height>48</height></size>{}</annotation>"
OBJECT = "<object><name>cat</name><bndbox><xmin>{}</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"


def run(root: Path, out: Path, **settings: object) -> stage.Metrics:
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    data = {"dataset": params["dataset"] | {"format": "auto"}, "validate": params["validate"] | settings}
    return validate.validate(validate.Paths(root, out / "tables", out / "report"), parse(validate.Config, data)) or {}


def findings(out: Path) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads((out / "report/findings.json").read_text())["findings"]
    return rows


@pytest.mark.parametrize("make", [voc, class_folders])
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
    with pytest.raises(AnswerIsNo, match="one class for one image"):
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
    assert summary["quarantined"] == ["JPEGImages/005"]
    assert "samples set aside" in (tmp_path / "report/findings.html").read_text()


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
    assert "http" not in page
    assert "&lt;script&gt;" in page


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
