"""Class folders: `<class>/*.jpg`, or `{train,val,test}/<class>/*.jpg`; the folder is the label.

A class may have any name that a folder may have, but those of `SHARED`, in which other formats keep the images of all classes.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from sightline.errors import SightlineError
from tasks.file_kinds import SUFFIXES
from tasks.findings import Finding, finding
from tasks.formats import IMAGE_FOLDERS, NO_BOX, SPLIT_FOLDERS, Item, Reading, base, place
from tasks.scan import Scan, has_images, images, subfolders, walk
from tasks.table_builder import TableBuilder

HOLDS: Final = frozenset({"whole", "split"})
SHARED: Final = frozenset({*IMAGE_FOLDERS, "labels", "masks", "annotations", "segmentationclass", "gtfine"})
"""In lower case."""


def detect(root: Path) -> str | None:
    """None where `root` is of this format, otherwise the first requirement that it does not meet."""
    top = base(root)
    folders = [folder for _, folder in _class_folders(top)]
    shared = next((folder.name for folder in folders if folder.name.lower() in SHARED), None)
    if shared:
        return f"{shared}/: a folder of all classes, not of one"
    if not any(has_images(folder) for folder in folders):
        return "no folder with images in it, neither <class>/ nor {train,val,test}/<class>/"
    if any(name.endswith((".xml", ".json")) for name in walk(top, top)):
        return "annotation files (*.xml, *.json) beside the images: the label would not be the folder"
    alone = next((path for path in sorted(top.iterdir()) if path.suffix.lower() in SUFFIXES), None)
    return f"{alone.name}: an image outside the class folders" if alone else None


def image_files(root: Path) -> list[str]:
    """The image files, relative to `root`."""
    return [name for _, folder in _class_folders(base(root)) for name in images(folder, root)]


def read(root: Path, scans: Mapping[str, Scan]) -> Reading:
    """The folder of each image is its class."""
    builder, findings = TableBuilder(), list[Finding]()
    classes = set()
    folders = list(_class_folders(base(root)))
    for split, folder in folders:
        names = images(folder, root)
        if names:
            classes.add(folder.name)
            findings += _check_nesting(folder.relative_to(root).as_posix(), folder.name, names)
        seen: dict[str, str] = {}
        for name in names:
            scan = scans[name]
            image_id = scan.path if scan.image_id in seen else scan.image_id  # the suffix tells them apart then
            if image_id in seen:
                findings.append(finding("image.ambiguous", f"{seen[image_id]}, {name}", name, image_id=image_id))
            elif not scan.code:
                seen[image_id] = name
                builder.add_image(scan, split, image_id=image_id)
                builder.add_object(image_id, folder.name, NO_BOX, name)
    findings += [finding("class.outside", "an image in no class folder", name) for name in _outside(base(root), root)]
    if len(classes) < 2:
        findings.append(finding("class.too_few", f"{len(classes)}: {', '.join(sorted(classes))}"))
    empty = {folder.name: folder for _, folder in folders if folder.name not in classes}
    findings += [finding("class.empty_folder", "no image", folder.relative_to(root).as_posix()) for folder in empty.values()]
    return Reading(builder.tables(sorted(classes)), findings)


def write(items: Iterable[Item], root: Path, classes: Sequence[str] = ()) -> None:
    """Writes each sample into the folder of its class.

    Raises:
        SightlineError: A sample has no object, or several, or a class whose name is no folder's; or the folders would be read
            as others: those of classes as splits, or those of splits as classes.
    """
    folders: dict[str, str] = {}
    for item in items:
        if len(item.objects) != 1:
            raise SightlineError(
                f"{item.name}: {len(item.objects)} objects, expected 1, the image's class: write another format"
            )
        label = item.objects[0].label
        if not label or label.startswith(".") or any(sign in label for sign in "/\\\0") or label.lower() in SHARED:
            raise SightlineError(
                f"{item.name}: class {label!r}, expected a name that a folder may have, without /, \\ and a dot in front, and "
                f"none of {', '.join(sorted(SHARED))}: rename the class, or write another format"
            )
        folders[item.split or label] = item.split
        folder = root / item.split / label if item.split else root / label
        place(item.image, folder / f"{item.name}{item.suffix}")
    if not all(folders.values()) and (any(folders.values()) or all(name.lower() in SPLIT_FOLDERS for name in folders)):
        without = sorted(name for name, split in folders.items() if not split)
        raise SightlineError(
            f"{', '.join(without)}: classes of samples without split, expected names that are no split's, and a split for all "
            "samples or for none: rename the classes, or write another format"
        )


def _check_nesting(folder: str, label: str, names: Sequence[str]) -> Iterator[Finding]:
    """Whether images lie deeper than in the folder of their class, and whether that folder is a split's."""
    prefix = "" if folder == "." else f"{folder}/"
    nested = Counter(name.removeprefix(prefix).partition("/")[0] for name in names if "/" in name.removeprefix(prefix))
    if label.lower() in SPLIT_FOLDERS and sum(nested.values()) == len(names):
        yield finding("class.split_folder", f"{folder}: a split's folder beside folders of classes")
    else:
        for name, count in sorted(nested.items()):
            yield finding("class.nested", f"{count} images deeper in the folder of class {label}", f"{prefix}{name}")


def _outside(top: Path, root: Path) -> Iterator[str]:
    """The images right in the folders of splits, relative to `root`."""
    for split in _split_folders(top):
        for path in sorted(split.iterdir()):
            if path.suffix.lower() in SUFFIXES and path.is_file() and not path.name.startswith("."):
                yield path.relative_to(root).as_posix()


def _split_folders(top: Path) -> list[Path]:
    """The folders at the top where all of them are splits'."""
    folders = subfolders(top)
    return folders if all(path.name.lower() in SPLIT_FOLDERS for path in folders) else []


def _class_folders(root: Path) -> Iterator[tuple[str, Path]]:
    """Each class folder with its split."""
    splits = _split_folders(root)
    for split in splits:
        for folder in subfolders(split):
            yield SPLIT_FOLDERS[split.name.lower()], folder
    for folder in [] if splits else subfolders(root):
        yield "", folder
