"""Where Pascal VOC's files lie, which of them belong together, and the splits.

The kit has JPEGImages, Annotations and SegmentationObject; tools write images and annotations, or put each annotation beside
its image; all of that stands also in folders of splits, or around them. What belongs together has the same path, less the name
of the outermost of these folders: `train/Annotations/1.xml` and `train/JPEGImages/1.jpg`.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from tasks.file_kinds import SUFFIXES
from tasks.findings import Finding, finding
from tasks.formats import IMAGE_FOLDERS, SPLIT_FOLDERS, base
from tasks.formats._voc_xml import Annotation
from tasks.names import Index, Names, without_suffix
from tasks.once import once
from tasks.scan import Scan, Scans, walk

MASKS: Final = {"semantic": "SegmentationClass", "instances": "SegmentationObject"}
_ANNOTATIONS: Final = frozenset({"annotations", "annotation", "annots", "labels", "label", "xmls", "xml"})
_SEMANTIC: Final = MASKS["semantic"].lower()
_INSTANCES: Final = MASKS["instances"].lower()
_OTHERS: Final = _ANNOTATIONS | {"imagesets", *(name.lower() for name in MASKS.values())}
"""Folders without images of the dataset, in lower case."""
_KINDS: Final = _ANNOTATIONS | {_INSTANCES, *IMAGE_FOLDERS}
_KIT: Final = "JPEGImages"
_LISTS: Final[dict[str, tuple[str, ...]]] = {"test": ("test",), "val": ("val",), "train": ("train", "trainval")}
"""The lists of each split, of which the first that is there counts; an image in those of two splits is the first one's."""


@dataclass(frozen=True)
class Layout:
    """The files of a dataset, relative to its root.

    Attributes:
        top: The folder that really holds the dataset.
        prefix: Of names in it.
        annotations: XML files: those in folders of annotations where there are such.
        images: Those in JPEGImages where it is there, else those outside folders of annotations and masks.
        instances: The masks of objects.
        semantic: The masks of classes.
    """

    top: Path
    prefix: str
    annotations: Names
    images: Names
    instances: Names
    semantic: Names

    def __bool__(self) -> bool:
        """Whether there are annotations."""
        return bool(self.annotations)

    @cached_property
    def _shared(self) -> dict[str, str]:
        return {}

    def key(self, name: str) -> str:
        """What an image, its annotation and its mask have in common: the path below the top, as above and without suffix."""
        folder, slash, file = name[: name.rfind(".")].rpartition("/")
        if folder not in self._shared:
            parts = f"{folder}{slash}".removeprefix(self.prefix).split("/")
            kind = next((at for at, part in enumerate(parts) if part.lower() in _KINDS), len(parts))
            self._shared[folder] = "/".join(parts[:kind] + parts[kind + 1 :])
        return self._shared[folder] + file

    def kits(self) -> list[str]:
        """Folders at the top that have annotations of their own, none where the top has."""
        folders = {name.removeprefix(self.prefix).rpartition("/")[0] for name in self.annotations}
        if any("/" not in folder and folder.lower() in _ANNOTATIONS for folder in folders):
            return []
        return sorted(kit for kit, _, inner in (folder.partition("/") for folder in folders) if inner.lower() == "annotations")

    def splits(self, names: Sequence[str]) -> dict[str, str]:
        """The split of each image by the first folder of its path; none where that is but the name of a folder.

        One folder `train` beside others is a folder of trains.
        """
        folders = ((name, self.key(name).partition("/")) for name in names)
        found = {
            name: split
            for name, (first, slash, _) in folders
            if slash and (split := SPLIT_FOLDERS.get(first.lower().rstrip("0123456789")))
        }
        return found if len(found) == len(names) or len(set(found.values())) > 1 else {}


@once
def look(root: Path) -> Layout:
    """Finds the files of a dataset."""
    top = base(root)
    prefix = "" if top == root else f"{top.relative_to(root).as_posix()}/"
    folders: dict[str, frozenset[str]] = {}
    annotations = {True: Names(), False: Names()}  # whether in a folder of annotations
    images = {True: Names(), False: Names()}  # whether in a folder of something else
    instances, semantic = Names(), Names()
    for name in walk(top, root):
        suffix = name[name.rfind(".") :].lower()
        if suffix != ".xml" and suffix not in SUFFIXES:
            continue
        folder = name.rpartition("/")[0]
        parts = folders.get(folder)
        if parts is None:
            parts = folders[folder] = frozenset(f"{folder}/".removeprefix(prefix).lower().split("/"))
        if suffix == ".xml":
            annotations[not parts.isdisjoint(_ANNOTATIONS)].append(name)
        elif _INSTANCES in parts:
            instances.append(name)
        elif _SEMANTIC in parts:
            semantic.append(name)
        else:
            images[not parts.isdisjoint(_OTHERS)].append(name)
    kit = f"{prefix}{_KIT}/"
    pictures = Names(name for name in images[False] if name.startswith(kit)) or images[False] or images[True]
    return Layout(top, prefix, annotations[True] or annotations[False], pictures, instances, semantic)


class Pictures:
    """The scanned images, by what their annotations have in common with them.

    Attributes:
        names: Their paths; an image's place there is its row.
    """

    def __init__(self, scans: Mapping[str, Scan], layout: Layout) -> None:
        self.names = scans.paths if isinstance(scans, Scans) else list(scans)
        self._scans, self._layout = scans, layout
        self._index = Index(self.names, layout.key)

    def scan(self, row: int) -> Scan:
        """What the image of a row is."""
        return self._scans.at(row) if isinstance(self._scans, Scans) else self._scans[self.names[row]]

    def ambiguous(self) -> Iterator[Finding]:
        """Images whose names differ by the suffix alone."""
        groups: dict[str, list[str]] = {}
        for row in self._index.shared():
            groups.setdefault(self._layout.key(self.names[row]), []).append(self.names[row])
        for group in groups.values():
            stems: dict[str, list[str]] = {}
            for name in group if len(group) > 1 else ():
                stems.setdefault(without_suffix(name), []).append(name)
            for stem, names in stems.items():
                if len(names) > 1:
                    got = ", ".join(name.rpartition("/")[2] for name in names)
                    yield finding("image.ambiguous", got, names[0], image_id=stem)

    def own(self, name: str) -> list[int]:
        """The rows of the images of an annotation's own name: those beside it where there are such."""
        group = list(self._index.rows(self._layout.key(name)))
        if len(group) < 2:
            return group
        stem = without_suffix(name)
        return [each for each in group if without_suffix(self.names[each]) == stem] or group

    def of(self, name: str, note: Annotation) -> int | None:
        """The row of an annotation's image: that of its own name, else the one that it names, in its folder or at the top."""
        candidates = self.own(name)
        if not candidates and note.problem is None:
            named = (note.filename or "").replace("\\", "/").rpartition("/")[2]
            stem, dot, suffix = named.rpartition(".")
            stem = stem if f"{dot}{suffix.lower()}" in SUFFIXES else named
            folder, slash, _ = self._layout.key(name).rpartition("/")
            others = list(self._index.rows(f"{folder}{slash}{stem}")) or list(self._index.rows(stem))
            candidates = [each for each in others if self.names[each].rpartition("/")[2] == named] or others
        return candidates[0] if candidates else None


def lists(top: Path, folder: str = "Main") -> list[tuple[str, Path]]:
    """The splits that have a list in ImageSets, with it; `trainval` is train's where train has none of its own.

    Args:
        top: The folder of the kit.
        folder: In ImageSets: `Main` or `Segmentation`.
    """
    place = top / "ImageSets" / folder
    if place.is_symlink() or place.parent.is_symlink():  # as all links to folders
        return []
    found = {split: [place / f"{name}.txt" for name in names] for split, names in _LISTS.items()}
    firsts = {split: next(filter(Path.is_file, paths), None) for split, paths in found.items()}
    return [(split, path) for split, path in firsts.items() if path]


def read_splits(
    top: Path, root: Path, find: Callable[[str], str | None], images: Iterable[str], folder: str = "Main"
) -> tuple[dict[str, str], list[Finding]]:
    """The split of each image_id by ImageSets, and what is wrong with its lists.

    Args:
        top: The folder of the kit.
        root: What names in findings are relative to.
        find: The image of a name that a list may have.
        images: All images.
        folder: In ImageSets: `Main` or `Segmentation`.
    """
    splits: dict[str, str] = {}
    findings: list[Finding] = []
    listed = lists(top, folder)
    for split, path in listed:
        name = path.relative_to(root).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if not line.split():
                continue
            entry, image = _entry(line, find)
            image_id = "" if image is None else without_suffix(image)
            if image is None:
                findings.append(finding("split.unknown_image", entry, name, number))
            elif image_id not in splits:
                splits[image_id] = split
            elif (path.stem, splits[image_id]) != ("trainval", "val"):  # of both, and so in no conflict
                findings.append(finding("split.twice", f"{entry} in {splits[image_id]} and {split}", name, number, image_id))
    if listed:
        findings += unlisted(images, splits, "in no split file")
    return splits, findings


def unlisted(names: Iterable[str], splits: Mapping[str, str], got: str) -> Iterator[Finding]:
    """Tells of images that are in no split; `splits` is by image_id."""
    for name in names:
        image_id = without_suffix(name)
        if image_id not in splits:
            yield finding("split.unlisted", got, name, 0, image_id)


def _entry(line: str, find: Callable[[str], str | None]) -> tuple[str, str | None]:
    """The name in a line of a list, and its image: names may have spaces, and a class's lists say 1, -1 or 0 after them."""
    whole = line.strip()
    name, *flag = whole.rsplit(None, 1)
    for entry in (line, whole, *([name] if flag in (["1"], ["-1"], ["0"]) else [])):
        if (image := find(entry)) is not None:
            return entry, image
    first = whole.split()[0]
    return first, find(first)
