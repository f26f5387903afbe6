"""Class folders as people leave them, and names that they cannot have."""

from pathlib import Path

import pytest
from datasets import class_folders, picture, read

from sightline.errors import SightlineError
from tasks import formats
from tasks.formats import Item, ItemObject


def write(root: Path, samples: list[tuple[str, str]]) -> None:
    """Writes samples of (class, split)."""
    items = [Item(str(at), ".jpg", b"", 64, 48, (ItemObject(label),), split) for at, (label, split) in enumerate(samples)]
    formats.load("class_folders").write(items, root)


def test_images_right_in_a_split_are_told_and_not_used(tmp_path: Path) -> None:
    for split in ("train", "val"):
        class_folders(tmp_path / split, 2)
    picture(tmp_path / "train/stray.jpg", 77)
    assert formats.detect(tmp_path) == "class_folders"
    found = read("class_folders", tmp_path)
    (told,) = found.findings
    assert (told.code, told.severity, told.file) == ("class.outside", "warning", "train/stray.jpg")
    assert len(found.tables.images) == 8


@pytest.mark.parametrize("label", ["images", "Labels", "img", "gtFine"])
@pytest.mark.parametrize("split", ["", "train"])
def test_folders_of_all_classes_are_no_class(label: str, split: str, tmp_path: Path) -> None:
    with pytest.raises(
        SightlineError, match=rf"class '{label}', expected a name that a folder may have.*none of annotations, "
    ):
        write(tmp_path, [("cat", split), (label, split)])
    picture(tmp_path / label / "0.jpg", 0)
    assert f"{label}/: a folder of all classes" in str(formats.load("class_folders").detect(tmp_path))


@pytest.mark.parametrize(
    ("samples", "named"),
    [
        ([("train", ""), ("val", "")], "train, val"),
        ([("test", ""), ("Training", "")], "Training, test"),
        ([("cat", "train"), ("dog", "")], "dog"),
    ],
)
def test_classes_that_would_be_read_as_splits_are_refused(samples: list[tuple[str, str]], named: str, tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match=rf"^{named}: classes of samples without split, .*: rename the classes"):
        write(tmp_path, samples)


@pytest.mark.parametrize("samples", [[("train", ""), ("bus", "")], [("train", "train"), ("val", "train")]])
def test_a_class_may_have_the_name_of_a_split(samples: list[tuple[str, str]], tmp_path: Path) -> None:
    write(tmp_path, samples)
    for path in tmp_path.rglob("*.jpg"):
        picture(path, int(path.stem))
    found = read("class_folders", tmp_path)
    assert not found.findings
    assert set(found.tables.classes["name"]) == {label for label, _ in samples}
    assert set(found.tables.images["split"]) == {split for _, split in samples}
