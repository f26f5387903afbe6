"""Where the files of a YOLO dataset lie: its images, and the label of each."""

from array import array
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from tasks.file_kinds import is_image
from tasks.formats import base
from tasks.formats._yolo_data import Description, describe, parents
from tasks.names import Index, Names
from tasks.once import once
from tasks.scan import walk

_FOLDERS: Final = ("labels", "annotations")  # of labels; tools that write no images leave the name to people
_NONE: Final = -1


class Files(Collection[str]):
    """All files of a folder, relative to it."""

    def __init__(self, top: Path) -> None:
        self.texts, self._others = Names(), Names()
        images = []
        for name in walk(top, top):
            if name.endswith(".txt"):
                self.texts.append(name)
            elif is_image(name):
                images.append(name)
            else:
                self._others.append(name)
        self.images = Names(sorted(images))

    def __len__(self) -> int:
        return len(self.images) + len(self.texts) + len(self._others)

    def __iter__(self) -> Iterator[str]:
        for names in (self._others, self.texts, self.images):
            yield from names

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        return self.text(name) != _NONE if name.endswith(".txt") else name in self._others or name in self.images

    def text(self, name: str) -> int:
        """The row of a text, or -1."""
        return next(self._index.rows(name), _NONE)

    def labels(self) -> "array[int]":
        """The row of each image's label among the texts, or -1."""
        filled = {name[: name.rfind("/") + 1] for name in self.texts}
        places: dict[str, list[str]] = {}
        rows = array("i")
        for image in self.images:
            start, end = image.rfind("/") + 1, image.rfind(".")
            folder = image[:start]
            if folder not in places:
                places[folder] = [each for each in _label_folders(folder) if each in filled]
            found = (self.text(f"{each}{image[start:end]}.txt") for each in places[folder])
            rows.append(next((row for row in found if row != _NONE), _NONE))
        return rows

    @cached_property
    def _index(self) -> Index:
        return Index(self.texts)


@dataclass(frozen=True)
class Layout:
    """What lies in a folder; names are relative to the top.

    Attributes:
        top: The folder that really holds the dataset.
        prefix: Of names, so that they are relative to the root.
        files: All files.
        described: What data.yaml and the lists of names say.
        images: The dataset's images, sorted.
        labels: The row of each one's label among the texts, or -1.
    """

    top: Path
    prefix: str
    files: Files
    described: Description
    images: Names
    labels: "array[int]"

    def __bool__(self) -> bool:
        """Whether an image has a label."""
        return any(row != _NONE for row in self.labels)

    def label(self, row: int) -> str:
        """The label of an image, or the empty string."""
        return self.files.texts[self.labels[row]] if self.labels[row] != _NONE else ""

    def rows(self, image: str) -> Iterator[int]:
        """The row of an image, if there is such."""
        return self._index.rows(image)

    @cached_property
    def _index(self) -> Index:
        return Index(self.images)


@once
def look(root: Path) -> Layout:
    """Finds the files of a dataset; of one without labels what it says of itself is not read."""
    top = base(root)
    files = Files(top)
    prefix = "" if top == root else f"{top.relative_to(root).as_posix()}/"
    whole = Layout(top, prefix, files, Description(), files.images, files.labels())
    if not whole:
        return whole
    described = describe(top, files)
    folders = described.folders
    chosen = [
        row
        for row, name in enumerate(files.images)
        if "/images/" in f"/{name}" or (folders and not folders.keys().isdisjoint(parents(name)))
    ]
    if described.lists or len(chosen) in (0, len(files.images)):
        return replace(whole, described=described)
    images, labels = Names(files.images[row] for row in chosen), array("i", (whole.labels[row] for row in chosen))
    return replace(whole, described=described, images=images, labels=labels)


def label_name(image: str) -> str:
    """Where an image's label belongs: in `labels` for the last `images` of its path, or beside it."""
    return label_names(image)[0]


def label_names(image: str) -> tuple[str, ...]:
    """Where an image's label may be, the usual place first."""
    folder, slash, file = image.rpartition("/")
    return tuple(f"{each}{file[: file.rfind('.')]}.txt" for each in _label_folders(f"{folder}{slash}"))


def _label_folders(images: str) -> list[str]:
    """Where the labels of a folder's images may be, the usual place first; folders have `/` at their ends, the top is empty."""
    parted = f"/{images}".rsplit("/images/", 1)
    return list(dict.fromkeys([*(f"/{each}/".join(parted)[1:] for each in _FOLDERS), images]))
