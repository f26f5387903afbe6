"""Pascal VOC: one XML annotation an image, boxes 1-based with both corners included.

Everingham and Winn, The PASCAL Visual Object Classes Challenge 2012 Development Kit, section 4. Either the kit's folders
(JPEGImages, Annotations, ImageSets/Main, SegmentationClass, SegmentationObject) or annotations beside their images. Polygons,
where they are written, stand as LabelMe's `<polygon><pt><x/><y/></pt></polygon>` in each object, 0-based. SegmentationObject
gives objects their masks: value i is the i-th object of the XML, 0 the background, 255 void. `masks` reads SegmentationClass.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import pandas as pd

from sightline.errors import SightlineError
from tasks.findings import Finding, finding
from tasks.formats import Item, Reading, TableBuilder, base, place
from tasks.formats._voc_masks import MisfitError, objects_of, paint
from tasks.formats._voc_xml import MAX_BYTES, ORIGIN, Annotation, parse, to_xml
from tasks.masks import MaskDefect, encode, read_values
from tasks.parallel import parallel
from tasks.scan import SUFFIXES, Scan, images, walk

HOLDS: Final = frozenset({"box", "polygons", "rle", "split", "difficult", "truncated", "empty"})
_MASKS: Final = {"semantic": "SegmentationClass", "instances": "SegmentationObject"}
_NOT_IMAGES: Final = tuple(f"{folder}/" for folder in (*_MASKS.values(), "Annotations", "ImageSets"))
_PRECEDENCE: Final = ("test", "val", "train")  # of an image that is listed twice
_FIRST_BYTES: Final = 2**16  # nearly all annotations are shorter; to make room for the longest takes longer
_Job = tuple[str, str, tuple[int, int], int]
"""An annotation to read, the mask of its objects or empty, and the image's size and EXIF orientation."""
_Note = tuple[Annotation, dict[int, str]]
"""What was read, with the masks of objects by their places."""


def detect(root: Path) -> str | None:
    """None where `root` is of this format, otherwise the first requirement that it does not meet."""
    root = base(root)
    kits = sorted({path.parts[-3] for path in root.glob("*/Annotations/*.xml")})
    if kits and not (root / "Annotations").is_dir():
        return f"{' and '.join(kits)} inside, each a dataset of its own: name {'one of them' if len(kits) > 1 else kits[0]}"
    annotations = _annotations(root, root)
    if not annotations:
        return "no *.xml in Annotations/ or beside the images"
    if not any(b"<annotation" in _head(root / name) for name in annotations[:20]):
        return f"{annotations[0]}: no <annotation> at its root"
    return None if images(_images_folder(root), root) else "no image in JPEGImages/ or beside the annotations"


def image_files(root: Path) -> list[str]:
    """The image files, relative to `root`; the kit's masks are none."""
    top = base(root)
    prefix = "" if top == root else f"{top.relative_to(root).as_posix()}/"
    return [name for name in images(_images_folder(top), root) if not name.removeprefix(prefix).startswith(_NOT_IMAGES)]


def read(root: Path, scans: Mapping[str, Scan], origin: int = ORIGIN) -> Reading:
    """Reads every annotation with its image; boxes become 0-based and half-open.

    Args:
        root: The dataset.
        scans: Its images.
        origin: Of the pixel in the upper left corner in its annotations: the kit's 1, or 0 as many tools write.
    """
    top = base(root)
    prefix = "" if top == root else f"{top.relative_to(root).as_posix()}/"
    pictures = _Pictures(scans, prefix + ("JPEGImages/" if (top / "JPEGImages").is_dir() else ""))
    in_folder = prefix + "Annotations/" if (top / "Annotations").is_dir() else ""
    jobs = _jobs(_annotations(top, root), _instance_masks(top, root), pictures, in_folder)
    builder = TableBuilder()
    findings: list[Finding] = list(pictures.ambiguous())
    annotated: dict[str, str] = {}
    stems: dict[str, str] = {}
    notes = parallel(partial(_read_one, str(root), origin), jobs, "validate", "annotations")
    for (name, *_), (note, masks) in zip(jobs, notes, strict=True):
        scan = pictures.of(name, note, in_folder)
        image_id = scan.image_id if scan else ""
        if scan is not None and annotated.setdefault(scan.path, name) != name:
            got = f"{scan.path}, annotated in {annotated[scan.path]} too"
            findings.append(finding("voc.annotated_twice", got, name, image_id=image_id))
        elif note.problem is not None:
            findings.append(replace(note.problem, image_id=image_id))
        elif scan is None:
            findings.append(finding("image.missing", f"filename {note.filename!r}", name))
        elif not scan.code:
            stems[image_id.rpartition("/")[2]] = builder.add_image(scan)
            findings += _check_head(name, note, scan)
            findings += (replace(item, image_id=image_id) for item in note.findings)
            for index, (label, box, line, polygons, difficult, truncated) in enumerate(note.objects):
                builder.add_object(
                    image_id, label, box, name, line,
                    polygons=polygons, rle=masks.get(index, ""), difficult=difficult, truncated=truncated,
                )  # fmt: skip
    findings += [
        finding("annotation.missing", "no XML", scan.path, image_id=scan.image_id)
        for scan in pictures.all()
        if scan.path not in annotated
    ]
    splits, problems = read_splits(top, root, stems)
    tables = builder.tables(splits=splits)
    return Reading(tables, [*findings, *problems, *_check_origin(tables.objects, origin)])


def write(items: Iterable[Item], root: Path, classes: Sequence[str] = ()) -> None:
    """Writes samples in the kit's folders; box coordinates are written as whole numbers where they are whole.

    Raises:
        SightlineError: Masks of objects overlap, or are too many: SegmentationObject gives each pixel to one of 254. Or XML
            cannot hold a name: it has a control character.
    """
    lists: dict[str, list[str]] = {}
    for folder in ("JPEGImages", "Annotations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for item in items:
        place(item.image, root / "JPEGImages" / f"{item.name}{item.suffix}")
        masks = dict(item.masks)
        if any(each.rle for each in item.objects):
            masks["instances"] = encode(paint(item))
        try:
            document = to_xml(item, segmented=bool(masks))
        except ValueError as error:  # lxml's, of control characters
            labels = sorted({each.label for each in item.objects})
            raise SightlineError(
                f"{item.name!r} of {labels}, expected names that XML can hold ({error}): rename them"
            ) from None
        (root / "Annotations" / f"{item.name}.xml").write_bytes(document)
        for kind, data in masks.items():
            place(data, root / _MASKS[kind] / f"{item.name}.png")
        if item.split:
            lists.setdefault(item.split, []).append(item.name)
    for split, names in lists.items():
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text(
            "".join(f"{name}\n" for name in sorted(names)), encoding="utf-8"
        )


def _head(path: Path) -> bytes:
    """The first 4 KiB of a file; none where it cannot be opened."""
    try:
        with path.open("rb") as file:
            return file.read(4096)
    except OSError:
        return b""


def _images_folder(root: Path) -> Path:
    return root / "JPEGImages" if (root / "JPEGImages").is_dir() else root


def _annotations(top: Path, root: Path) -> list[str]:
    folder = top / "Annotations"
    return [name for name in walk(folder if folder.is_dir() else top, root) if name.endswith(".xml")]


class _Pictures:
    """The scanned images, by the name that an annotation has.

    Args:
        scans: The images.
        folder: Where they lie: JPEGImages/, or the top in the flat layout.
    """

    def __init__(self, scans: Mapping[str, Scan], folder: str) -> None:
        self._by_stem: dict[str, list[Scan]] = {}
        self._folder = folder
        for scan in scans.values():
            self._by_stem.setdefault(scan.image_id.removeprefix(folder), []).append(scan)

    def all(self) -> Iterator[Scan]:
        """Every image."""
        return (scan for group in self._by_stem.values() for scan in group)

    def ambiguous(self) -> Iterator[Finding]:
        """Images whose names differ by the suffix alone."""
        for group in self._by_stem.values():
            if len(group) > 1:
                names = ", ".join(scan.path.rpartition("/")[2] for scan in group)
                yield finding("image.ambiguous", names, group[0].path, image_id=group[0].image_id)

    def own(self, name: str, in_folder: str) -> list[Scan]:
        """The images of an annotation's own name."""
        return self._by_stem.get(name[:-4].removeprefix(in_folder or self._folder), [])

    def of(self, name: str, note: Annotation, in_folder: str) -> Scan | None:
        """The image of an annotation: the one of its own name, else the one that it names."""
        candidates = self.own(name, in_folder)
        if not candidates and note.problem is None:
            named = (note.filename or "").replace("\\", "/").rpartition("/")[2]
            stem, dot, suffix = named.rpartition(".")
            stem = stem if f"{dot}{suffix.lower()}" in SUFFIXES else named
            others = self._by_stem.get(stem, [])
            candidates = [scan for scan in others if scan.path.rpartition("/")[2] == named] or others
        return candidates[0] if candidates else None


def _instance_masks(top: Path, root: Path) -> dict[str, str]:
    """The masks of SegmentationObject by the annotation's name without suffix, below its folder."""
    folder = top / _MASKS["instances"]
    if not folder.is_dir():
        return {}
    prefix = f"{folder.relative_to(root).as_posix()}/"
    return {name.removeprefix(prefix).rpartition(".")[0]: name for name in images(folder, root)}


def _jobs(names: Sequence[str], masks: Mapping[str, str], pictures: _Pictures, in_folder: str) -> list[_Job]:
    """The annotations, with their masks where their images can be used."""
    jobs: list[_Job] = []
    for name in names:
        mask = masks.get(name[:-4].removeprefix(in_folder), "") if masks else ""
        scan = next((scan for scan in pictures.own(name, in_folder) if not scan.code), None) if mask else None
        jobs.append((name, mask, (scan.width, scan.height), scan.orientation) if scan else (name, "", (0, 0), 1))
    return jobs


def _read_one(root: str, origin: int, job: _Job) -> _Note:
    """Reads an annotation and the masks of its objects."""
    name, mask, size, orientation = job
    try:
        with open(f"{root}/{name}", "rb", buffering=0) as file:  # twice as fast as Path's
            data = file.read(_FIRST_BYTES)
            if len(data) == _FIRST_BYTES:
                data += file.read(MAX_BYTES)
    except OSError as error:
        return Annotation(problem=finding("xml.malformed", error.strerror or "cannot be opened", name)), {}
    note = parse(data, name, origin)
    if not mask or note.findings or note.problem is not None:  # an object that could not be read has a number, too
        return note, {}
    try:
        values, _ = read_values(Path(root, mask), size, orientation)
        return note, objects_of(values, note.objects)
    except MaskDefect as defect:
        return note._replace(findings=[finding(defect.code, defect.got, mask)]), {}
    except MisfitError as misfit:
        return note._replace(findings=[finding("voc.instances", str(misfit), mask)]), {}


def _check_head(name: str, note: Annotation, scan: Scan) -> Iterator[Finding]:
    own = scan.path.rpartition("/")[2]
    if note.filename is not None and note.filename.strip() != own:
        yield finding("voc.filename", repr(note.filename), name, note.filename_line, scan.image_id, expected=own)
    width, height = note.size or (None, None)
    if not width or not height:
        got = "no size" if note.size is None else f"{width}x{height}"
        yield finding("size.missing", got, name, 0, scan.image_id)
    elif (width, height) != (scan.width, scan.height):
        expected = f"{scan.width}x{scan.height}, the image's own"
        yield finding("size.mismatch", f"{width:g}x{height:g}", name, note.size_line, scan.image_id, expected=expected)


def _check_origin(objects: pd.DataFrame, origin: int) -> Iterator[Finding]:
    """Boxes that begin at 0, where the first pixel is 1."""
    at_0 = objects[objects[["xmin", "ymin"]].eq(-origin).any(axis=1)] if origin else objects.iloc[:0]
    if len(at_0):
        first = at_0.iloc[0]
        got = f"xmin or ymin is 0 in {len(at_0)} of {len(objects)} boxes"
        yield finding("voc.origin", got, first["file"], int(first["line"]), first["image_id"])


def read_splits(top: Path, root: Path, stems: Mapping[str, str], lists: str = "Main") -> tuple[dict[str, str], list[Finding]]:
    """The split of each image_id by ImageSets/, and what is wrong with its lists.

    Args:
        top: The folder of the kit.
        root: What names in findings are relative to.
        stems: image_id by the image's name without folders and suffix.
        lists: The folder in ImageSets/: `Main` or `Segmentation`.
    """
    splits: dict[str, str] = {}
    findings: list[Finding] = []
    listed = False
    for split in _PRECEDENCE:
        path = top / "ImageSets" / lists / f"{split}.txt"
        if not path.is_file():
            continue
        listed = True
        name = path.relative_to(root).as_posix()
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if not line.split():
                continue
            entry = _entry(line, stems)
            image_id = stems.get(entry)
            if image_id is None:
                findings.append(finding("split.unknown_image", entry, name, number))
            elif image_id in splits:
                findings.append(finding("split.twice", f"{entry} in {splits[image_id]} and {split}", name, number, image_id))
            else:
                splits[image_id] = split
    if listed:
        findings += [
            finding("split.unlisted", "in no split file", image_id, 0, image_id)
            for image_id in stems.values()
            if image_id not in splits
        ]
    return splits, findings


def _entry(line: str, stems: Mapping[str, str]) -> str:
    """The name in a line of a list: names may have spaces, and a class's lists say 1, -1 or 0 after them."""
    whole = line.strip()
    name, *flag = whole.rsplit(None, 1)
    if whole in stems:
        return whole
    return name if flag in (["1"], ["-1"], ["0"]) and name in stems else whole.split()[0]
