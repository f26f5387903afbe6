"""Pascal VOC as tools and people leave it."""

from pathlib import Path

import pytest
from datasets import picture, read, voc

from sightline.errors import SightlineError
from tasks import formats
from tasks.formats import Item, ItemObject
from tasks.formats.voc import read_splits

OBJECT = """<annotation><filename>000.jpg</filename><size><width>64</width><height>48</height><depth>3</depth></size>
<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>{}</object></annotation>"""


def one(root: Path, polygon: str) -> Path:
    """A dataset of one object with a polygon."""
    picture(root / "JPEGImages/000.jpg", 0)
    (root / "Annotations").mkdir()
    (root / "Annotations/000.xml").write_text(OBJECT.format(polygon))
    return root


def codes(root: Path) -> list[str]:
    return [each.code for each in read("voc", root).findings if each.severity == "error"]


def test_two_annotations_of_one_image_are_an_error(tmp_path: Path) -> None:
    root = voc(tmp_path, 6, splits=False)
    (root / "Annotations/005 (1).xml").write_bytes((root / "Annotations/005.xml").read_bytes())
    found = read("voc", root)
    assert [(each.code, each.image_id) for each in found.findings] == [("voc.annotated_twice", "JPEGImages/005")]
    assert found.tables.images["image_id"].is_unique
    assert len(found.tables.images) == 6
    assert list(found.tables.objects["file"]).count("Annotations/005.xml") == 0


@pytest.mark.parametrize(
    ("line", "image_id"),
    [("my cat", "a"), ("my cat  1", "a"), ("my cat -1", "a"), ("dog 1", "b"), (" dog ", "b"), ("dog x", "b"), ("no 1", "c")],
)
def test_names_in_lists_may_have_spaces(line: str, image_id: str, tmp_path: Path) -> None:
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/val.txt").write_text(f"{line}\n")
    splits, _ = read_splits(tmp_path, tmp_path, {"my cat": "a", "dog": "b", "no 1": "c"})
    assert splits == {image_id: "val"}


def test_a_name_with_spaces_comes_back_with_its_split(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 0)
    item = Item("my cat", ".jpg", tmp_path / "a.jpg", 64, 48, (ItemObject("cat", (0, 0, 9, 9)),), "val")
    formats.load("voc").write([item], tmp_path / "root")
    found = read("voc", tmp_path / "root")
    assert list(found.tables.images["split"]) == ["val"]
    assert not found.findings


def test_polygons_of_numbered_coordinates_are_read_in_their_order(tmp_path: Path) -> None:
    numbers = {number: (number, number % 3 + 0.5) for number in range(1, 12)}
    pairs = [f"<y{n}>{y}</y{n}><x{n}>{x}</x{n}>" for n, (x, y) in sorted(numbers.items(), key=lambda each: str(each[0]))]
    found = read("voc", one(tmp_path, f"<polygon>{''.join(pairs)}</polygon>"))
    assert not [each for each in found.findings if each.severity == "error"]
    expected = [value for number in sorted(numbers) for value in numbers[number]]
    assert [list(outline) for outline in found.tables.objects["polygons"][0]] == [expected]


@pytest.mark.parametrize(
    ("polygon", "code"),
    [
        ("", "voc.polygon"),
        ("<x1>1</x1><y1>1</y1><x2>5</x2><y2>5</y2>", "voc.polygon"),
        ("<pt><x>1</x><y>1</y></pt><pt><x>5</x><y>5</y></pt>", "voc.polygon"),
        ("<x1>1</x1><y1>1</y1><x2>5</x2><y2>5</y2><x3>9</x3>", "voc.not_a_number"),
        ("<x0>1</x0><y0>1</y0><x1>5</x1><y1>5</y1><x2>9</x2><y2>2</y2>", "voc.not_a_number"),
        ("<x1>1</x1><y1>1</y1><x2>5</x2><y2>5</y2><x3>9</x3><y3>nan</y3>", "voc.not_a_number"),
    ],
)
def test_a_polygon_that_is_none_is_an_error(polygon: str, code: str, tmp_path: Path) -> None:
    assert codes(one(tmp_path, f"<polygon>{polygon}</polygon>")) == [code]


def test_a_link_to_nothing_is_no_annotation(tmp_path: Path) -> None:
    root = voc(tmp_path, 3, splits=False)
    (root / "Annotations/000.xml").unlink()
    (root / "Annotations/000.xml").symlink_to(root / "gone.xml")
    assert formats.detect(root) == "voc"
    (found,) = [each for each in read("voc", root).findings if each.severity == "error"]
    assert (found.code, found.got, found.image_id) == ("xml.malformed", "No such file or directory", "JPEGImages/000")


def test_a_label_that_xml_cannot_hold_is_told(tmp_path: Path) -> None:
    picture(tmp_path / "a.jpg", 0)
    item = Item("a", ".jpg", tmp_path / "a.jpg", 64, 48, (ItemObject("c\x01at", (0, 0, 9, 9)),))
    with pytest.raises(SightlineError, match=r"'a' of \['c\\x01at'\], expected names that XML can hold"):
        formats.load("voc").write([item], tmp_path / "root")


@pytest.mark.parametrize("kits", [["VOC2007", "VOC2012"], ["VOC2012"]])
def test_kits_beside_other_files_are_named(kits: list[str], tmp_path: Path) -> None:
    for kit in kits:
        voc(tmp_path / kit, 2)
    (tmp_path / "README.txt").write_text("about")
    with pytest.raises(SightlineError, match=rf"{' and '.join(kits)} inside, each a dataset of its own"):
        formats.detect(tmp_path)
