"""Pascal VOC as tools and people leave it."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import annotation, mask, picture, read, voc

from flows import data
from sightline.errors import SightlineError
from tasks import formats
from tasks.convert import convert, open_dataset
from tasks.formats import Item, ItemObject
from tasks.formats._voc_layout import read_splits
from tasks.formats._voc_xml import MAX_BYTES, parse
from tasks.scan import scan
from tasks.schema import Dataset
from tasks.schema import parse as parse_section
from tasks.tables import BOX
from tasks.validate import look_at

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


@pytest.mark.parametrize("listed", [False, True])
def test_of_images_that_differ_by_their_suffix_one_is_read(listed: bool, tmp_path: Path) -> None:
    for suffix, seed in (("jpg", 0), ("png", 1)):
        picture(tmp_path / f"JPEGImages/a.{suffix}", seed)
    annotation(tmp_path / "Annotations/a.xml", [("cat", 1, 1, 20, 20)])
    annotation(tmp_path / "Annotations/b.xml", [("dog", 1, 1, 20, 20)])
    other = tmp_path / "Annotations/b.xml"
    other.write_text(other.read_text().replace("b.jpg", "a.png"))
    if listed:
        (tmp_path / "ImageSets/Main").mkdir(parents=True)
        (tmp_path / "ImageSets/Main/train.txt").write_text("a\n")
    _, tables, found = look_at(tmp_path, "voc", 10**6)
    assert "image.ambiguous" in {each.code for each in found}
    assert tables.counts == (1, 1, 1)
    assert list(tables.read().images["split"]) == ["train" if listed else ""]


@pytest.mark.parametrize(
    ("line", "image_id"),
    [("my cat", "a"), ("my cat  1", "a"), ("my cat -1", "a"), ("dog 1", "b"), (" dog ", "b"), ("dog x", "b"), ("no 1", "c")],
)
def test_names_in_lists_may_have_spaces(line: str, image_id: str, tmp_path: Path) -> None:
    (tmp_path / "ImageSets/Main").mkdir(parents=True)
    (tmp_path / "ImageSets/Main/val.txt").write_text(f"{line}\n")
    names = {"my cat": "a.jpg", "dog": "b.jpg", "no 1": "c.jpg"}
    splits, _ = read_splits(tmp_path, tmp_path, names.get, names.values())
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


@pytest.mark.parametrize(("scale", "is_told"), [(1 / 64, True), (0.5, True), (1, False), (1.1, False)])
def test_a_polygon_elsewhere_than_its_box_is_told(scale: float, is_told: bool, tmp_path: Path) -> None:
    points = ((1, 1), (20, 1), (20, 20), (1, 20))
    outline = "".join(f"<pt><x>{x * scale}</x><y>{y * scale}</y></pt>" for x, y in points)
    found = read("voc", one(tmp_path, f"<polygon>{outline}</polygon>"))
    assert [(each.code, each.line, each.image_id) for each in found.findings] == [("shape.box", 2, "JPEGImages/000")] * is_told
    assert len(found.tables.objects) == 1


def test_masks_of_classes_that_are_not_read_are_told(tmp_path: Path) -> None:
    root = voc(tmp_path, 3, splits=False)
    for index in range(3):
        mask(root / f"SegmentationClass/{index:03}.png", np.zeros((48, 64), np.uint8))
    (told,) = read("voc", root).findings
    assert (told.code, told.severity) == ("voc.semantic", "info")
    assert (told.file, told.got) == ("SegmentationClass", "3 masks of classes")
    assert "--format masks" in told.remedy


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


@pytest.mark.parametrize(("text", "value"), [("1", True), (" 1 ", True), ("0", False), ("", False)])
def test_flags_are_read_and_written(text: str, value: bool, tmp_path: Path) -> None:
    root = one(tmp_path / "root", f"<difficult>{text}</difficult><truncated>{text}</truncated>")
    tables = read("voc", root).tables
    assert tables.objects[["difficult", "truncated"]].to_numpy().tolist() == [[value, value]]
    assert {"difficult", "truncated"} & formats.holds(tables) == ({"difficult", "truncated"} if value else set())
    formats.load("voc").write(formats.items(tables, root), tmp_path / "again")
    again = read("voc", tmp_path / "again").tables
    assert again.objects[["difficult", "truncated"]].to_numpy().tolist() == [[value, value]]


def test_a_flag_that_is_lost_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = one(tmp_path / "root", "<truncated>1</truncated>")
    with open_dataset(root) as opened:
        assert convert(opened, "yolo", tmp_path / "out") == 1
    assert "yolo: the flag truncated of 1 objects is left out" in capsys.readouterr().err


def test_boxes_that_count_from_0_are_told_and_read_as_such(tmp_path: Path) -> None:
    root = voc(tmp_path, 4, splits=False)
    for index in range(4):
        annotation(root / f"Annotations/{index:03}.xml", [("cat", 0, 3, 19, 20), ("dog", 30, 0, 63, 47)])
    found = read("voc", root)
    (told,) = found.findings
    assert (told.code, told.file, told.line) == ("voc.origin", "Annotations/000.xml", 4)
    assert told.got == "xmin or ymin is 0 in 8 of 8 boxes"
    assert "dataset.voc_origin=0" in told.remedy
    module = formats.load("voc")
    scans = scan(root, module.image_files(root), 50_000_000)
    shifted = formats.read("voc", root, scans, voc_origin=0)
    assert shifted.findings == []
    assert shifted.tables.objects[BOX].iloc[:2].to_numpy().tolist() == [[0, 3, 20, 21], [30, 0, 64, 48]]
    assert (shifted.tables.objects[BOX] - found.tables.objects[BOX] == 1).all(axis=None)


def test_the_verbs_take_the_origin(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = voc(tmp_path / "root", 30, splits=False)
    for path in (root / "Annotations").iterdir():
        annotation(path, [("cat", 0, 3, 19, 20), ("dog", 30, 0, 63, 47)])
    report = ["--report", str(tmp_path / "report")]
    assert data.validate([str(root), "--headers", *report]) == 0
    assert "0 errors, 61 warnings" in capsys.readouterr().out  # voc.origin, and box.edge of each box
    assert data.validate([str(root), "--headers", *report, "--voc-origin", "0"]) == 0
    assert "0 errors, 0 warnings" in capsys.readouterr().out
    assert data.convert([str(root), str(tmp_path / "yolo"), "--to", "yolo", "--voc-origin", "0"]) == 0
    assert (tmp_path / "yolo/labels/000.txt").read_text().startswith(f"0 {10 / 64!r} 0.25 {20 / 64!r} 0.375\n")


def test_the_generated_scenes_count_from_1() -> None:
    values = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text())["dataset"]
    with pytest.raises(SightlineError, match=r"set dataset\.voc_origin=1"):
        parse_section(Dataset, values | {"voc_origin": 0})


@pytest.mark.parametrize(
    ("text", "code", "line"),
    [
        ("<annotation>\n<object>", "xml.malformed", 2),
        ("", "xml.malformed", 0),
        ('<!DOCTYPE a [<!ENTITY x "y">]><annotation>&x;</annotation>', "xml.dtd", 1),
        ("<annotation>&x;</annotation>", "xml.malformed", 1),
        ("<annotation" + "><a" * 300 + ">", "xml.malformed", 1),
    ],
)
def test_xml_that_is_none_is_told_with_its_line(text: str, code: str, line: int) -> None:
    for encoding in ("utf-8", "utf-16"):
        problem = parse(text.encode(encoding), "a.xml").problem
        assert problem is not None
        assert (problem.code, problem.file) == (code, "a.xml")
        assert problem.line == line or not text
        assert parse(b"<annotation/>", "b.xml").problem is None  # one parser reads all of a process


def test_a_large_annotation_is_not_read(tmp_path: Path) -> None:
    root = one(tmp_path, "")
    path = root / "Annotations/000.xml"
    path.write_text(path.read_text() + " " * 70_000)
    assert codes(root) == []
    path.write_text(path.read_text() + " " * MAX_BYTES)
    assert codes(root) == ["xml.malformed"]


@pytest.mark.parametrize("number", ["1_0", "1e400", "nan", "-inf", "", "one", "<b>1</b>"])
def test_what_is_no_number_is_told(number: str, tmp_path: Path) -> None:
    root = one(tmp_path, "")
    path = root / "Annotations/000.xml"
    path.write_text(path.read_text().replace("<xmax>20</xmax>", f"<xmax>{number}</xmax>"))
    assert codes(root) == ["voc.not_a_number"]


def test_comments_and_instructions_change_nothing(tmp_path: Path) -> None:
    root = one(tmp_path, "<!-- a --><?b c?><part><name>head</name><bndbox/></part>")
    path = root / "Annotations/000.xml"
    path.write_text(path.read_text().replace("<name>cat", "<name>c<!-- x -->at").replace("<xmin>", "<xmin><?b?>"))
    found = read("voc", root)
    assert not found.findings
    assert list(found.tables.classes["name"]) == ["cat"]
    assert found.tables.objects[BOX].to_numpy().tolist() == [[0, 0, 20, 20]]


def flat(root: Path, places: list[str]) -> Path:
    """A dataset whose annotations lie beside their images."""
    for number, place in enumerate(places):
        picture(root / f"{place}.jpg", number)
        annotation(root / f"{place}.xml", [("cat", 1, 1, 20, 20)])
    return root


def test_images_outside_the_folders_of_splits_are_told(tmp_path: Path) -> None:
    found = read("voc", flat(tmp_path, ["train/0", "train/1", "valid2/2", "3"]))
    assert dict(zip(found.tables.images["image_id"], found.tables.images["split"], strict=True)) == {
        "3": "", "train/0": "train", "train/1": "train", "valid2/2": "val",
    }  # fmt: skip
    assert [(each.code, each.file) for each in found.findings] == [("split.unlisted", "3.jpg")]


def test_one_folder_of_trains_is_no_split(tmp_path: Path) -> None:
    found = read("voc", flat(tmp_path, ["train/0", "bus/1", "tram/2"]))
    assert set(found.tables.images["split"]) == {""}
    assert not found.findings


def test_lists_come_before_folders_and_may_name_them(tmp_path: Path) -> None:
    root = tmp_path / "JPEGImages"
    flat(root, ["train/0", "train/1", "val/0"])
    root.joinpath("train").rename(tmp_path / "pictures")
    (tmp_path / "JPEGImages/train").mkdir()
    for path in sorted((tmp_path / "pictures").iterdir()):
        place = "JPEGImages" if path.suffix == ".jpg" else "Annotations"
        (tmp_path / place / "train").mkdir(parents=True, exist_ok=True)
        path.rename(tmp_path / place / "train" / path.name)
    (tmp_path / "Annotations/val").mkdir()
    (root / "val/0.xml").rename(tmp_path / "Annotations/val/0.xml")
    lists = tmp_path / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "val.txt").write_text("train/0\nval/0\n")
    found = read("voc", tmp_path)
    assert dict(zip(found.tables.images["path"], found.tables.images["split"], strict=True)) == {
        "JPEGImages/train/0.jpg": "val", "JPEGImages/train/1.jpg": "", "JPEGImages/val/0.jpg": "val",
    }  # fmt: skip
    assert [(each.code, each.file) for each in found.findings] == [("split.unlisted", "JPEGImages/train/1.jpg")]


def listed(root: Path, lists: dict[str, list[int]]) -> Path:
    """A dataset of four images with lists of splits."""
    voc(root, 4, splits=False)
    (root / "ImageSets/Main").mkdir(parents=True)
    for name, numbers in lists.items():
        (root / f"ImageSets/Main/{name}.txt").write_text("".join(f"{number:03}\n" for number in numbers))
    return root


@pytest.mark.parametrize(
    ("lists", "splits"),
    [
        ({"trainval": [0, 1, 2], "test": [3]}, ["train", "train", "train", "test"]),
        ({"trainval": [0, 1, 2], "val": [2], "test": [3]}, ["train", "train", "val", "test"]),
        ({"train": [0, 1], "val": [2], "trainval": [0, 1, 2], "test": [3]}, ["train", "train", "val", "test"]),
    ],
)
def test_trainval_is_train_where_that_has_no_list(lists: dict[str, list[int]], splits: list[str], tmp_path: Path) -> None:
    found = read("voc", listed(tmp_path, lists))
    assert list(found.tables.images.sort_values("image_id")["split"]) == splits
    assert not found.findings


def test_trainval_shares_no_image_with_test(tmp_path: Path) -> None:
    found = read("voc", listed(tmp_path, {"trainval": [0, 1, 2], "test": [2, 3]}))
    assert [(each.code, each.got, each.line) for each in found.findings] == [("split.twice", "002 in test and train", 3)]


@pytest.mark.parametrize(("size", "code"), [((64, 48), "voc.orientation"), ((48, 64), ""), ((10, 10), "size.mismatch")])
def test_a_size_before_exif_turned_the_image_is_told(size: tuple[int, int], code: str, tmp_path: Path) -> None:
    root = voc(tmp_path, 3, splits=False)
    picture(root / "JPEGImages/001.jpg", 1, exif_orientation=6)  # 48x64 upright
    annotation(root / "Annotations/001.xml", [("cat", 1, 1, 20, 20)], size)
    found = read("voc", root).findings
    assert [(each.code, each.image_id) for each in found] == ([(code, "JPEGImages/001")] if code else [])


def test_an_annotation_finds_the_image_beside_it_first(tmp_path: Path) -> None:
    found = read("voc", flat(tmp_path, ["0", "images/0"]))
    assert dict(zip(found.tables.objects["file"], found.tables.objects["image_id"], strict=True)) == {
        "0.xml": "0", "images/0.xml": "images/0",
    }  # fmt: skip
    assert not found.findings


def test_an_annotation_finds_the_image_that_it_names_in_its_split(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "val")):
        picture(tmp_path / split / "images/000.jpg", number)
        annotation(tmp_path / split / "annotations/label_000.xml", [("cat", 1, 1, 20, 20)])
        text = (tmp_path / split / "annotations/label_000.xml").read_text()
        (tmp_path / split / "annotations/label_000.xml").write_text(text.replace("label_000.jpg", "000.jpg"))
    found = read("voc", tmp_path)
    assert list(found.tables.images["image_id"]) == ["train/images/000", "val/images/000"]
    assert not found.findings


@pytest.mark.parametrize("folder", ["annotations", "labels", "images"])
def test_a_folder_may_have_any_name_where_images_and_annotations_lie_together(folder: str, tmp_path: Path) -> None:
    root = flat(tmp_path, [f"{folder}/0", f"{folder}/1"])
    (root / "README.txt").write_text("about")
    assert formats.load("voc").detect(root) is None
    assert len(read("voc", root).tables.images) == 2


def test_the_masks_of_objects_in_folders_of_splits_are_read(tmp_path: Path) -> None:
    for split in ("train", "val"):
        voc(tmp_path / split, 2, splits=False)
        values = np.zeros((48, 64), np.uint8)
        values[:20, :20], values[10:, 40:] = 1, 2
        for number in range(2):
            mask(tmp_path / split / f"SegmentationObject/{number:03}.png", values)
    found = read("voc", tmp_path)
    assert found.tables.objects["rle"].notna().all()
    assert found.tables.images["split"].tolist() == ["train", "train", "val", "val"]
    assert not found.findings


@pytest.mark.parametrize("label", [" cat", "cat\n", "cat\u00a0"])
def test_a_label_with_spaces_around_it_is_refused(label: str, tmp_path: Path) -> None:
    item = Item("a", ".jpg", b"", 64, 48, (ItemObject(label, (0, 0, 9, 9)),))
    with pytest.raises(SightlineError, match=r"a: class 'cat.*|a: class ' cat', expected a name without spaces around it"):
        formats.load("voc").write([item], tmp_path / "root")
