"""validate, convert and diff, as a user types them."""

import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from datasets import annotation, class_csv, class_folders, coco, mask, masks, picture, read, stripes, voc, yolo
from PIL import Image
from test_scan import close
from test_transform import run as run_transform

from sightline.cli import main
from tasks.formats._voc_layout import lists
from tasks.tables import BOX, Tables


def sightline(*arguments: object) -> int:
    with pytest.raises(SystemExit) as caught:
        main([str(argument) for argument in arguments])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def pack(folder: Path, target: Path) -> Path:
    with zipfile.ZipFile(target, "w") as archive:
        for path in sorted(folder.rglob("*")):
            archive.write(path, path.relative_to(folder))
    return target


@pytest.mark.parametrize("packed", [False, True])
def test_validate_says_what_is_wrong_and_where(packed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = voc(tmp_path / "data")
    annotation(root / "Annotations/005.xml", [("cat", 30, 1, 20, 20)])
    source = pack(root, tmp_path / "data.zip") if packed else root
    assert sightline("validate", source, "--report", tmp_path / "report") == 1
    printed = capsys.readouterr().out
    assert "box.inverted" in printed
    assert "Annotations/005.xml:4: " in printed
    assert "1 errors, 0 warnings, 0 notes" in printed
    assert json.loads((tmp_path / "report/findings.json").read_text())["error"] == 1
    assert (tmp_path / "report/findings.html").is_file()


def test_five_findings_of_a_rule_are_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = voc(tmp_path / "data")
    for number in range(7):
        annotation(root / f"Annotations/{number:03}.xml", [("cat", 30, 1, 20, 20)])
    assert sightline("validate", root, "--report", tmp_path / "report") == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if "box.inverted" in line]
    assert len(lines) == 6
    assert "Annotations/004.xml" in lines[4]
    assert lines[5].endswith("... and 2 more")


def test_a_clean_dataset_is_exit_code_0(tmp_path: Path) -> None:
    assert sightline("validate", voc(tmp_path / "data"), "--report", tmp_path / "report") == 0


def test_a_dataset_without_a_label_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = yolo(tmp_path / "data")
    for path in root.glob("labels/*/*.txt"):
        path.write_text("")
    report = ["--report", tmp_path / "report"]
    assert sightline("validate", root, *report) == 1
    printed = capsys.readouterr().out
    assert "dataset.empty" in printed
    assert "30 images of 2 classes with 0 objects, expected labelled images" in printed
    assert sightline("convert", root, tmp_path / "out", "--to", "coco", "--validate", *report) == 1
    assert "1 errors, nothing is written" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_headers_alone_say_that_no_pixel_was_looked_at(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, said = voc(tmp_path / "data"), "Pixels were not decoded"
    for more in ([], ["--headers"]):
        assert sightline("validate", root, "--report", tmp_path / "report", *more) == 0
        assert (said in capsys.readouterr().out) == bool(more)
        page = (tmp_path / "report/findings.html").read_text()
        assert "Nothing was found." in page
        assert (said in page) == bool(more)


@pytest.mark.parametrize("verb", ["validate", "convert", "diff"])
def test_nothing_there_is_one_line(verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    more = {"validate": [], "convert": [tmp_path / "out", "--to", "voc"], "diff": [tmp_path]}[verb]
    assert sightline(verb, tmp_path / "nowhere", *more) == 2
    assert "nowhere: nothing there, expected a folder or a ZIP with a dataset" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["validate", "convert", "diff"])
@pytest.mark.parametrize(
    ("make", "name"),
    [
        (voc, "ImageSets/Main/train.txt"),
        (coco, "annotations/instances_val.json"),
        (class_csv, "valid/_classes.csv"),
        (yolo, "images/val"),
    ],
)
def test_what_cannot_be_read_is_one_line(
    make: Callable[[Path], Path], name: str, verb: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    root = make(tmp_path / "data")
    close(root / name, monkeypatch)
    more = {"validate": ["--report", tmp_path / "report"], "convert": [tmp_path / "out", "--to", "voc"], "diff": [root]}[verb]
    assert sightline(verb, root, *more) == 2
    assert f"sightline: {root / name}: Permission denied, expected " in capsys.readouterr().err


@pytest.mark.parametrize("make", [voc, yolo, coco, class_folders, masks])
def test_a_dataset_may_be_the_root_of_a_volume(
    make: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = make(tmp_path / "data")
    (root / "lost+found").mkdir()
    close(root / "lost+found", monkeypatch)
    assert sightline("validate", root, "--report", tmp_path / "report") == 0


def test_links_to_folders_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = yolo(tmp_path / "data")
    for name in ("images", "labels"):
        (root / name / "val").rename(tmp_path / name)
        (root / name / "val").symlink_to(tmp_path / name)
    assert sightline("validate", root, "--report", tmp_path / "report") == 0
    printed = capsys.readouterr().out
    for name in ("images", "labels"):
        assert f"{name}/val: a link to a folder, expected a folder: copy or move the folder there" in printed
    assert sightline("convert", root, tmp_path / "out", "--to", "coco") == 0
    assert "folder.linked: 2, first images/val: a link to a folder, " in capsys.readouterr().err


def test_a_link_to_what_is_no_data_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = yolo(tmp_path / "data")
    (root / "venv/lib").mkdir(parents=True)
    (root / "venv/lib64").symlink_to(root / "venv/lib")
    assert sightline("validate", root, "--report", tmp_path / "report") == 0
    assert "folder.linked" not in capsys.readouterr().out


def test_lists_behind_a_link_are_not_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = voc(tmp_path / "data")
    (root / "ImageSets").rename(tmp_path / "lists")
    (root / "ImageSets").symlink_to(tmp_path / "lists")
    assert sightline("validate", root, "--report", tmp_path / "report") == 0
    assert "ImageSets: a link to a folder" in capsys.readouterr().out
    assert lists(root) == []


def test_a_dataset_without_what_is_behind_a_link_is_refused_with_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = coco(tmp_path / "data")
    (root / "images").rename(tmp_path / "images")
    (root / "images").symlink_to(tmp_path / "images")
    assert sightline("validate", root, "--report", tmp_path / "report") == 2
    printed = capsys.readouterr().err
    assert "coco: no image beside the *.json" in printed
    assert "\nimages: a link to a folder, which is not read: copy or move it there\n" in printed


def test_classes_that_are_named_are_the_only_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root, report = voc(tmp_path / "data"), ["--report", tmp_path / "report"]
    annotation(root / "Annotations/005.xml", [("caat", 1, 1, 20, 20), ("dog", 30, 10, 64, 48)])
    assert sightline("validate", root, *report) == 0
    assert "class caat with 1, expected at least 10 objects" in capsys.readouterr().out
    assert sightline("validate", root, *report, "--classes", "dog, cat") == 1
    assert "Annotations/005.xml:4: class caat, expected one of dog, cat: correct the label" in capsys.readouterr().out
    command = ["convert", root, tmp_path / "out", "--to", "yolo", "--validate", *report, "--classes"]
    assert sightline(*command, "dog,cat") == 1
    assert sightline(*command, "dog,cat,caat") == 0
    assert yaml.safe_load((tmp_path / "out/data.yaml").read_text())["names"] == ["dog", "cat", "caat"]
    for text in ("cat,,dog", "cat,cat", ""):
        assert sightline("validate", root, "--classes", text) == 2
        assert "expected names with commas between them, each once" in capsys.readouterr().err


def test_what_a_format_cannot_hold_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = voc(tmp_path / "data")
    assert sightline("convert", root, tmp_path / "out", "--to", "class_folders") == 2
    assert "class_folders cannot hold boxes: choose another format" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = voc(tmp_path / "data", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/precious.txt").write_text("mine")
    assert sightline("convert", root, tmp_path / "out", "--to", "voc") == 2
    assert "not empty, expected a new folder" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["precious.txt"]


def test_errors_are_not_converted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = voc(tmp_path / "data")
    (root / "JPEGImages/005.jpg").write_bytes(b"")
    assert sightline("convert", root, tmp_path / "out", "--to", "voc") == 2
    assert "1 errors, first: JPEGImages/005.jpg: 0 bytes" in capsys.readouterr().err


@pytest.mark.parametrize("more", [[], ["--validate", "--headers"]])
def test_what_is_left_out_is_told(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = voc(tmp_path / "data")
    assert sightline("convert", root, tmp_path / "clean", "--to", "yolo") == 0
    assert ", first " not in capsys.readouterr().err
    for index in range(2):
        picture(root / f"JPEGImages/new{index}.jpg", 99 + index)
    mask(root / "SegmentationObject/005.png", stripes((0, 9)))
    mask(root / "SegmentationClass/nobody.png", stripes((0, 1)))
    (root / "JPEGImages/other.heic").write_bytes(b"heic")
    assert sightline("convert", root, tmp_path / "out", "--to", "yolo", *more) == 0
    told = [line.partition(", expected")[0] for line in capsys.readouterr().err.splitlines() if ", first " in line]
    assert told == [
        "annotation.missing: 2, first JPEGImages/new0.jpg: no XML",
        "image.foreign: 1, first JPEGImages/other.heic: a .heic file",
        "voc.instances: 1, first SegmentationObject/005.png: number 9, and 2 objects",
        "voc.semantic: 1, first SegmentationClass: 1 masks of classes",
    ]
    assert len(list((tmp_path / "out/images").rglob("*.jpg"))) == 30


@pytest.mark.parametrize("more", [[], ["--headers"]])
def test_a_dataset_is_validated_on_the_way(more: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = voc(tmp_path / "voc")
    command = ["convert", root, tmp_path / "out", "--to", "yolo", "--validate", "--report", tmp_path / "report", *more]
    assert sightline(*command) == 0
    assert (tmp_path / "report" / "findings.html").is_file()
    assert sightline("diff", root, tmp_path / "out") == 0
    shutil.copy(root / "JPEGImages/000.jpg", root / "JPEGImages/copy.jpg")
    shutil.copy(root / "Annotations/000.xml", root / "Annotations/copy.xml")
    with (root / "ImageSets/Main/val.txt").open("a") as file:
        file.write("copy\n")
    shutil.rmtree(tmp_path / "out")
    capsys.readouterr()
    assert sightline(*command) == 1
    printed = capsys.readouterr()
    assert "split.leak" in printed.out
    assert "errors, nothing is written: mend them" in printed.err
    assert not (tmp_path / "out").exists()


def test_what_validate_takes_is_refused_without_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = voc(tmp_path / "voc")
    for more in (["--headers"], ["--report", tmp_path / "report"], ["--classes", "cat,dog"]):
        assert sightline("convert", root, tmp_path / "out", "--to", "yolo", *more) == 2
        assert "--report, --headers and --classes are of --validate" in capsys.readouterr().err


def test_nothing_is_validated_that_could_not_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = voc(tmp_path / "voc")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "a").touch()
    command = ["convert", root, tmp_path / "out", "--to", "yolo", "--validate", "--report", tmp_path / "report"]
    assert sightline(*command) == 2
    assert "not empty, expected a new folder" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_the_pipelines_own_dataset_is_not_validated_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "images.parquet").touch()
    assert sightline("convert", tmp_path, tmp_path / "out", "--to", "yolo", "--validate") == 2
    assert "got a dataset that transform wrote, expected its source" in capsys.readouterr().err


@pytest.mark.parametrize("link", [False, True])
def test_images_are_copied_or_linked_byte_for_byte(link: bool, tmp_path: Path) -> None:
    root = class_folders(tmp_path / "data", 3)
    assert sightline("convert", root, tmp_path / "out", "--to", "class_folders", *(["--link"] if link else [])) == 0
    for name in ("cat/cat_000.jpg", "dog/dog_002.jpg"):
        source, target = root / name.replace("cat_", "").replace("dog_", ""), tmp_path / "out" / name
        assert target.read_bytes() == source.read_bytes()
        assert source.samefile(target) == link


def test_a_zip_has_nothing_to_link_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = pack(voc(tmp_path / "data", 2), tmp_path / "data.zip")
    assert sightline("convert", packed, tmp_path / "out", "--to", "voc", "--link") == 2
    assert "is a ZIP, expected a folder: leave --link out" in capsys.readouterr().err


def test_diff_of_a_dataset_and_its_copy_with_one_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = voc(tmp_path / "old")
    assert sightline("convert", old, tmp_path / "new", "--to", "voc") == 0
    assert sightline("diff", old, tmp_path / "new") == 0
    picture(tmp_path / "new/JPEGImages/new.jpg", 777)
    annotation(tmp_path / "new/Annotations/new.xml", [("cat", 1, 1, 20, 20)])
    assert sightline("diff", old, tmp_path / "new") == 1
    assert "1 added, 0 removed" in capsys.readouterr().out
    assert sightline("diff", old, tmp_path / "new", "--json") == 1
    assert json.loads(capsys.readouterr().out)["added"] == ["JPEGImages/new"]


@pytest.mark.parametrize("side", ["old", "new"])
def test_diff_refuses_what_cannot_be_read_whole(side: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for make, file in ((coco, "annotations/instances_val.json"), (voc, "Annotations/005.xml")):
        paths = {name: make(tmp_path / make.__name__ / name) for name in ("old", "new")}
        (paths[side] / file).write_text("{")
        assert sightline("diff", *paths.values()) == 2
        printed = capsys.readouterr()
        assert f"{paths[side]}: 1 errors, first: {file}:" in printed.err
        assert "run `sightline validate`" in printed.err
        assert "removed" not in printed.out


def test_diff_takes_the_formats_of_what_fits_several(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, boxes = voc(tmp_path / "old"), voc(tmp_path / "new"), tmp_path / "boxes"
    for root in (old, new):
        mask(root / "SegmentationClass/000.png", stripes((0, 1)))
    assert sightline("diff", old, new) == 2
    assert "masks and voc fit alike: set dataset.format (--format)" in capsys.readouterr().err
    assert sightline("diff", old, new, "--format", "voc") == 0
    assert sightline("convert", old, boxes, "--to", "yolo", "--format", "voc") == 0
    for name in ("yolo", "auto"):
        assert sightline("diff", old, boxes, "--format", "voc", "--format", name) == 0
    assert sightline("diff", old, new, *["--format", "voc"] * 3) == 2
    assert "expected at most two" in capsys.readouterr().err


def test_diff_takes_the_origin(tmp_path: Path) -> None:
    root = voc(tmp_path / "root")
    for path in (root / "Annotations").iterdir():
        annotation(path, [("cat", 0, 3, 19, 20), ("dog", 30, 0, 63, 47)])
    assert sightline("convert", root, tmp_path / "out", "--to", "yolo", "--voc-origin", "0") == 0
    assert sightline("diff", root, tmp_path / "out") == 1
    assert sightline("diff", root, tmp_path / "out", "--voc-origin", "0") == 0


def test_diff_of_masks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new = masks(tmp_path / "old"), masks(tmp_path / "new")
    assert sightline("diff", old, new) == 0
    colours = np.array([(0, 0, 0), (128, 64, 128), (64, 0, 128), (9, 9, 9)], np.uint8)
    coloured = masks(tmp_path / "coloured")
    for path in coloured.glob("masks/*/*.png"):
        mask(path, colours[stripes((0, 0, 1, 2, 3))])
    names = (old / "classes.txt").read_text().split()
    (coloured / "classes.txt").unlink()
    (coloured / "label_colors.txt").write_text(
        "".join(f"{red} {green} {blue} {name}\n" for name, (red, green, blue) in zip(names, colours.tolist(), strict=True))
    )
    assert sightline("diff", old, coloured) == 0
    mask(new / "masks/train/003.png", stripes((0, 1, 2, 3, 3)))
    assert sightline("diff", old, new) == 1
    assert "1 relabelled" in capsys.readouterr().out


def test_the_pipeline_s_own_masks_are_converted(tmp_path: Path) -> None:
    root = masks(tmp_path / "raw")
    picture(root / "images/val/020.jpg", 20, exif_orientation=6)  # stored as 64x48, and its mask too
    run_transform(root, tmp_path)
    assert sightline("convert", tmp_path / "dataset", tmp_path / "out", "--to", "masks") == 0
    found, want = read("masks", tmp_path / "out"), Tables.read(tmp_path / "dataset")
    assert found.findings == []
    assert list(found.tables.classes["name"]) == ["road", "car", "tree"]
    assert found.tables.images["split"].value_counts().to_dict() == {"train": 20, "val": 5, "test": 5}
    for row in want.images.itertuples():
        name = f"{row.split}/{Path(row.path).stem}.png"
        with Image.open(tmp_path / "dataset" / row.mask) as ours, Image.open(tmp_path / "out/masks" / name) as theirs:
            assert np.array_equal(np.asarray(ours), np.asarray(theirs))
            assert ours.size == (row.width, row.height)
    with Image.open(tmp_path / "out/images/val/020.png") as upright:
        assert upright.size == (48, 64)


@pytest.mark.parametrize("link", [False, True])
def test_the_pipeline_s_own_dataset_is_converted_to_coco(link: bool, tmp_path: Path) -> None:
    root = coco(tmp_path / "raw")
    path = root / "annotations/instances_val.json"
    content = json.loads(path.read_text())
    crowd = {"segmentation": {"size": [48, 64], "counts": [10, 101, 2961]}, "bbox": None, "area": None, "iscrowd": 1}
    content["annotations"][0] |= {"bbox": [50, 0, 15, 10], "segmentation": None, "area": None}  # a pixel outside
    content["annotations"][2] |= crowd
    path.write_text(json.dumps(content))
    picture(root / "images/val/022.jpg", 22, (48, 64), exif_orientation=6)  # shown as 64x48
    run_transform(root, tmp_path)
    more = ["--link"] if link else []
    assert sightline("convert", tmp_path / "dataset", tmp_path / "out", "--to", "coco", *more) == 0
    found, want = read("coco", tmp_path / "out"), Tables.read(tmp_path / "dataset")
    assert [item for item in found.findings if item.severity != "info"] == []
    assert list(found.tables.classes["name"]) == ["cat", "dog"]
    assert contents(found.tables) == contents(want)
    clipped = found.tables.objects[found.tables.objects["image_id"] == "images/val/020"]
    assert [50.0, 0.0, 64.0, 10.0] in clipped[BOX].to_numpy().tolist()
    assert found.tables.objects["iscrowd"].sum() == 1


def test_a_family_s_own_layout_is_a_view_by_links(tmp_path: Path) -> None:
    root = voc(tmp_path / "raw")
    picture(root / "JPEGImages/003.jpg", 3, (48, 64), exif_orientation=6)  # turned upright, so in the dataset's own folder
    run_transform(root, tmp_path)
    assert sightline("convert", tmp_path / "dataset", tmp_path / "out", "--to", "yolo", "--link") == 0
    description = yaml.safe_load((tmp_path / "out/data.yaml").read_text())
    assert description["names"] == ["cat", "dog"]
    images = sorted((tmp_path / "out/images").rglob("*.*"))
    assert len(images) == len(list((tmp_path / "out/labels").rglob("*.txt"))) == 30
    assert all(path.stat().st_nlink > 1 or path.is_symlink() for path in images)


def contents(tables: Tables) -> dict[str, tuple[object, ...]]:
    """Each image's bytes, split, size and objects, by the name of its file."""
    found = {}
    for row in tables.images.itertuples():
        own = tables.objects[tables.objects["image_id"] == row.image_id]
        outlines = ([] if shape is None else [list(each) for each in shape] for shape in own["polygons"])
        codes = (rle if isinstance(rle, str) else "" for rle in own["rle"])
        columns = (own["label"], own[BOX].to_numpy().tolist(), outlines, codes, own["iscrowd"])
        found[Path(row.path).stem] = (row.hash, row.split, row.width, row.height, sorted(zip(*columns, strict=True), key=repr))
    return found
