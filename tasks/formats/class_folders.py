"""Class folders: `<class>/*.jpg`, or `{train,val,test}/<class>/*.jpg`; the folder is the label."""

from collections.abc import Iterable, Iterator
from pathlib import Path

from sightline.errors import SightlineError
from tasks.findings import Finding, finding
from tasks.formats import NO_BOX, SPLIT_FOLDERS, Item, Reading, base, read_image, tables
from tasks.images import SUFFIXES


def detect(root: Path) -> str | None:
    """None where `root` is of this format, otherwise the first requirement that it does not meet."""
    top = base(root)
    folders = [folder for _, folder in _class_folders(top)]
    filled = [folder for folder in folders if any(_images(folder))]
    if not filled:
        return "no folder with images in it, neither <class>/ nor {train,val,test}/<class>/"
    if next(top.rglob("*.xml"), None) is not None:
        return "annotation files (*.xml) beside the images: the label would not be the folder"
    alone = next((path for path in sorted(top.iterdir()) if path.suffix.lower() in SUFFIXES), None)
    return f"{alone.name}: an image outside the class folders" if alone else None


def read(root: Path) -> Reading:
    """Reads the headers of all images."""
    images: list[dict[str, object]] = []
    objects: list[dict[str, object]] = []
    findings: list[Finding] = []
    seen: dict[str, str] = {}
    classes = set()
    for split, folder in _class_folders(base(root)):
        classes.add(folder.name)
        for path in _images(folder):
            name = path.relative_to(root).as_posix()
            found = read_image(path, root)
            if isinstance(found, Finding):
                findings.append(found)
                continue
            row, header = found
            image_id = str(row["image_id"])
            if image_id in seen:  # of another suffix, which then tells them apart
                row["image_id"] = image_id = name
            if image_id in seen:
                findings.append(finding("image.ambiguous", f"{seen[image_id]}, {path.name}", name, image_id=image_id))
                continue
            seen[image_id] = path.name
            if header.orientation != 1:
                findings.append(finding("image.oriented", f"EXIF orientation {header.orientation}", name, 0, image_id))
            images.append({**row, "split": split})
            objects.append(
                {
                    "image_id": image_id, "label": folder.name, **NO_BOX,
                    "polygons": None, "iscrowd": False, "difficult": False, "file": name, "line": 0,
                }
            )  # fmt: skip
    if len(classes) < 2:
        findings.append(finding("class.too_few", f"{len(classes)}: {', '.join(sorted(classes))}"))
    return Reading(tables(images, objects, classes), findings)


def write(items: Iterable[Item], root: Path) -> None:
    """Writes each sample into the folder of its class.

    Raises:
        SightlineError: A sample has no object, or several.
    """
    for item in items:
        if len(item.objects) != 1:
            raise SightlineError(
                f"{item.name}: {len(item.objects)} objects, expected 1, the image's class: write another format"
            )
        each = item.objects[0]
        folder = root / item.split / each.label if item.split else root / each.label
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{item.name}{item.suffix}").write_bytes(item.data)


def _class_folders(root: Path) -> Iterator[tuple[str, Path]]:
    """Each class folder with its split."""
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and not path.name.startswith(".")]
    splits = [path for path in folders if path.name.lower() in SPLIT_FOLDERS]
    if splits and len(splits) == len(folders):
        for split in splits:
            for folder in sorted(split.iterdir()):
                if folder.is_dir() and not folder.name.startswith("."):
                    yield SPLIT_FOLDERS[split.name.lower()], folder
        return
    for folder in folders:
        yield "", folder


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
