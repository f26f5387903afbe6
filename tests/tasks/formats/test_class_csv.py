"""Tables of classes: images with any number of classes."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sightline.errors import SightlineError
from tasks import formats
from tasks.formats import Item, ItemObject, Reading, class_csv
from tasks.rules.class_csv import RULES
from tasks.scan import scan
from tasks.validate import look_at

sys.path.insert(0, str(Path(__file__).parents[1]))
from datasets import picture

ROWS = {"000": (1, 0), "001": (1, 1), "002": (0, 0), "003": (0, 1)}


def table(root: Path, header: str = "filename,cat,dog", rows: dict[str, tuple[int, ...]] | None = None) -> Path:
    lines = [f"{name}.jpg,{','.join(map(str, marks))}" for name, marks in (ROWS if rows is None else rows).items()]
    root.mkdir(parents=True, exist_ok=True)
    (root / "_classes.csv").write_text("\n".join([header, *lines]) + "\n")
    for index, name in enumerate(ROWS):
        picture(root / f"{name}.jpg", index)
    return root


def read(root: Path) -> Reading:
    return class_csv.read(root, scan(root, class_csv.image_files(root), 50_000_000))


def labels(reading: Reading) -> dict[str, set[str]]:
    names = dict(zip(reading.tables.classes["id"], reading.tables.classes["name"], strict=True))
    found: dict[str, set[str]] = {image_id: set() for image_id in reading.tables.images["image_id"]}
    for row in reading.tables.objects.itertuples():
        found[str(row.image_id)].add(names[row.label])
    return found


def test_each_image_has_the_classes_of_its_line(tmp_path: Path) -> None:
    for split in ("train", "valid", "test"):
        table(tmp_path / split, "filename, cat, dog")
    assert formats.detect(tmp_path) == "class_csv"
    reading = read(tmp_path)
    assert reading.findings == []
    found = labels(reading)
    assert {name: found[f"valid/{name}"] for name in ROWS} == {
        "000": {"cat"},
        "001": {"cat", "dog"},
        "002": set(),
        "003": {"dog"},
    }
    assert set(reading.tables.images["split"]) == {"train", "val", "test"}
    assert reading.tables.objects["xmin"].isna().all()
    assert "several" in formats.holds(reading.tables)


def test_images_in_a_folder_of_their_own_and_names_with_folders(tmp_path: Path) -> None:
    table(tmp_path / "one")
    (tmp_path / "one/images").mkdir()
    for path in (tmp_path / "one").glob("*.jpg"):
        path.rename(tmp_path / "one/images" / path.name)
    assert labels(read(tmp_path / "one"))["images/001"] == {"cat", "dog"}
    picture(tmp_path / "two/sub/a.jpg", 1)
    (tmp_path / "two/labels.csv").write_text("\ufeffimage,cat,dog\r\nsub\\a.jpg,0,1\r\n")
    assert labels(read(tmp_path / "two")) == {"sub/a": {"dog"}}


DEFECTS: dict[str, tuple[str, Callable[[str], str], str]] = {
    "a cell of text": ("csv.cell", lambda text: text.replace("001.jpg,1,1", "001.jpg,1,yes"), "_classes.csv:3: 'yes'"),
    "a cell too many": ("csv.columns", lambda text: text.replace("001.jpg,1,1", "001.jpg,1,1,1"), "_classes.csv:3: 4 cells"),
    "a cell too few": ("csv.columns", lambda text: text.replace("001.jpg,1,1", "001.jpg,1"), "_classes.csv:3: 2 cells"),
    "a line twice": ("csv.twice", lambda text: text + "001.jpg,0,1\n", "_classes.csv:6: 001.jpg"),
    "a line of each of two files": (
        "image.ambiguous",
        lambda text: text.replace("000.jpg,1,0\n", "000.jpg,1,0\n000.png,0,1\n"),
        "000.png: 000.jpg, 000.png, expected one image of this name",
    ),
    "an unknown file": ("image.missing", lambda text: text + "../999.jpg,0,1\n", "_classes.csv:6: filename '../999.jpg'"),
    "a file without a line": ("annotation.missing", lambda text: text.replace("001.jpg,1,1\n", ""), "001.jpg: no line"),
    "a class twice": ("csv.header", lambda text: text.replace("cat,dog", "cat,cat"), "_classes.csv:1: a second 'cat'"),
    "a column without name": ("csv.header", lambda text: text.replace("cat,dog", "cat,"), "a column without name"),
    "no class": ("csv.header", lambda text: "filename\n000.jpg\n", "no class"),
    "an open quote": ("csv.malformed", lambda text: text + '"003.jpg,0,1\n', "_classes.csv: "),
}


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_told(name: str, tmp_path: Path) -> None:
    code, edit, told = DEFECTS[name]
    root = table(tmp_path)
    picture(root / "000.png", 500)
    path = root / "_classes.csv"
    path.write_text(edit(path.read_text()))
    found = [item for item in look_at(root, "class_csv", 50_000_000)[2] if item.code == code]
    assert any(told in str(item) for item in found), list(map(str, found))


def test_text_that_is_not_utf8_and_other_classes_elsewhere(tmp_path: Path) -> None:
    for split in ("train", "valid"):
        table(tmp_path / split)
    table(tmp_path / "test", "filename,cat,bird")
    found = read(tmp_path).findings
    assert [(item.code, item.got) for item in found if item.file == "test/_classes.csv"] == [("csv.classes", "none of dog")]
    (tmp_path / "test/_classes.csv").write_bytes(b"filename,c\xe4t\n")
    assert "csv.malformed" in {item.code for item in read(tmp_path).findings}


def test_each_rule_is_planted() -> None:
    assert set(RULES) <= {code for code, _, _ in DEFECTS.values()} | {"csv.classes"}


def test_a_conflict_is_another_set_of_classes(tmp_path: Path) -> None:
    root = table(tmp_path)
    (root / "003.jpg").write_bytes((root / "001.jpg").read_bytes())
    told = [str(item) for item in look_at(root, "auto", 50_000_000)[2] if item.code == "class.conflict"]
    assert len(told) == 2
    assert "the same picture, labelled in 2 ways" in told[0]
    table(root, rows={**ROWS, "003": (1, 1)})
    (root / "003.jpg").write_bytes((root / "001.jpg").read_bytes())
    assert not [item for item in look_at(root, "auto", 50_000_000)[2] if item.code == "class.conflict"]


def test_a_table_of_something_else_is_not_of_this_format(tmp_path: Path) -> None:
    table(tmp_path, "Pixel Value,Class")
    assert class_csv.detect(tmp_path) == "_classes.csv: its first column is headed 'pixel value', not filename"
    (tmp_path / "_classes.csv").unlink()
    assert class_csv.detect(tmp_path) == "no _classes.csv or labels.csv at the top or in the folders of splits"


def test_boxes_are_not_written(tmp_path: Path) -> None:
    item = Item("a", ".jpg", b"", 9, 9, (ItemObject("cat", (0, 0, 1, 1)),))
    with pytest.raises(SightlineError, match="a: an object with a box"):
        class_csv.write([item], tmp_path)
