"""Pascal VOC: one XML annotation an image, boxes 1-based with both corners included.

Everingham and Winn, The PASCAL Visual Object Classes Challenge 2012 Development Kit, section 4. `_voc_layout` says where the
files lie. ImageSets/Main names the splits, or else folders do. Polygons, where they are written, stand as LabelMe's
`<polygon><pt><x/><y/></pt></polygon>` in each object, 0-based. SegmentationObject gives objects their masks: value i is the
i-th object of the XML, 0 the background, 255 void. `masks` reads SegmentationClass.

The kit says nothing of EXIF: sizes and coordinates are taken to be those of the upright image, as in `coco`.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from sightline.errors import SightlineError
from tasks.findings import Finding, finding
from tasks.formats import SPLIT_FOLDERS, Item, Reading, bounds, misfit, place
from tasks.formats._voc_layout import MASKS, Layout, Pictures, lists, look, read_splits, unlisted
from tasks.formats._voc_masks import MisfitError, objects_of, paint
from tasks.formats._voc_xml import MAX_BYTES, ORIGIN, Annotation, parse, to_xml
from tasks.lazy import Lazy
from tasks.masks import MaskDefect, encode, read_values
from tasks.names import Index, Names, without_suffix
from tasks.parallel import parallel
from tasks.scan import Scan
from tasks.table_builder import TableBuilder

HOLDS: Final = frozenset({"box", "polygons", "rle", "split", "difficult", "truncated", "empty"})
_FIRST_BYTES: Final = 2**16  # nearly all annotations are shorter; to make room for the longest takes longer
_Job = tuple[str, str, tuple[int, int], int]
"""An annotation to read, the mask of its objects or empty, and the image's size and EXIF orientation."""
_Note = tuple[Annotation, dict[int, str]]
"""What was read, with the masks of objects by their places."""


def detect(root: Path) -> str | None:
    """None where `root` is of this format, otherwise the first requirement that it does not meet."""
    layout = look(root)
    kits = layout.kits()
    if any(kit.lower() not in SPLIT_FOLDERS for kit in kits):
        return f"{' and '.join(kits)} inside, each a dataset of its own: name {'one of them' if len(kits) > 1 else kits[0]}"
    if not layout.annotations:
        return "no *.xml in Annotations/ or beside the images"
    if not any(b"<annotation" in _head(root / name) for name in layout.annotations[:20]):
        return f"{layout.annotations[0]}: no <annotation> at its root"
    return None if layout.images else "no image in JPEGImages/, in images/ or beside the annotations"


def image_files(root: Path) -> Sequence[str]:
    """The image files, relative to `root`; the kit's masks are none."""
    return look(root).images


def read(root: Path, scans: Mapping[str, Scan], origin: int = ORIGIN) -> Reading:
    """Reads every annotation with its image; boxes become 0-based and half-open.

    Args:
        root: The dataset.
        scans: Its images.
        origin: Of the pixel in the upper left corner in its annotations: the kit's 1, or 0 as many tools write.
    """
    layout = look(root)
    pictures = Pictures(scans, layout)
    builder = TableBuilder()
    findings: list[Finding] = list(pictures.ambiguous())
    waiting = {item.image_id for item in findings}  # image_ids of several images, of which the first is added
    doubled = frozenset(waiting)
    boxes, at_0, first = 0, 0, ("", 0, "")
    annotated = array("i", [-1]) * len(pictures.names)  # the number of each image's annotation
    used = Names()
    notes = _notes(root, origin, layout, pictures)
    for number, (name, (note, masks)) in enumerate(zip(layout.annotations, notes, strict=True)):
        row = pictures.of(name, note)
        scan = None if row is None else pictures.scan(row)
        image_id = scan.image_id if scan else ""
        if row is not None and annotated[row] >= 0:
            got = f"{pictures.names[row]}, annotated in {layout.annotations[annotated[row]]} too"
            findings.append(finding("voc.annotated_twice", got, name, image_id=image_id))
            continue
        if row is not None:
            annotated[row] = number
        if note.problem is not None:
            findings.append(replace(note.problem, image_id=image_id))
        elif scan is None:
            findings.append(finding("image.missing", f"filename {note.filename!r}", name))
        elif not scan.code and (image_id in waiting or image_id not in doubled):
            waiting.discard(image_id)
            builder.add_image(scan)
            used.append(scan.path)
            findings += _check_head(name, note, scan)
            findings += (replace(item, image_id=image_id) for item in note.findings)
            for index, (label, box, line, polygons, difficult, truncated) in enumerate(note.objects):
                builder.add_object(
                    image_id, label, box, name, line,
                    polygons=polygons, rle=masks.get(index, ""), difficult=difficult, truncated=truncated,
                )  # fmt: skip
                if polygons and (got := misfit(bounds(polygons), box)):
                    findings.append(finding("shape.box", got, name, line, image_id))
                boxes += 1
                if origin and -origin in box[:2]:  # the first pixel is 1
                    first = first if at_0 else (name, line, image_id)
                    at_0 += 1
    findings += [
        finding("annotation.missing", "no XML", name, image_id=without_suffix(name))
        for name, number in zip(pictures.names, annotated, strict=True)
        if number < 0
    ]
    if layout.semantic:
        folder, _, _ = layout.semantic[0].rpartition("/")
        findings.append(finding("voc.semantic", f"{len(layout.semantic)} masks of classes", folder))
    splits, problems = _splits(root, layout, used)
    if at_0:
        problems.append(finding("voc.origin", f"xmin or ymin is 0 in {at_0} of {boxes} boxes", *first))
    return Reading(builder.tables(splits=splits), [*findings, *problems])


def write(items: Iterable[Item], root: Path, classes: Sequence[str] = ()) -> None:
    """Writes samples in the kit's folders; box coordinates are written as whole numbers where they are whole.

    Raises:
        SightlineError: Masks of objects overlap, or are too many: SegmentationObject gives each pixel to one of 254. Or XML
            cannot hold a name: it has a control character, or a class spaces around it, which readers take for indentation.
    """
    listed: dict[str, list[str]] = {}
    for folder in ("JPEGImages", "Annotations"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    for item in items:
        spaced = next((each.label for each in item.objects if each.label != each.label.strip()), None)
        if spaced is not None:
            raise SightlineError(f"{item.name}: class {spaced!r}, expected a name without spaces around it: rename the class")
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
            place(data, root / MASKS[kind] / f"{item.name}.png")
        if item.split:
            listed.setdefault(item.split, []).append(item.name)
    for split, names in listed.items():
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


def _notes(root: Path, origin: int, layout: Layout, pictures: Pictures) -> Iterator[_Note]:
    """What each annotation says, with the masks of its objects where there are such."""
    if layout.instances:
        jobs = _Jobs(layout, pictures)
        return parallel(partial(_read_with_mask, str(root), origin), jobs, "validate", "annotations")
    return parallel(partial(_read_alone, str(root), origin), layout.annotations, "validate", "annotations")


class _Jobs(Lazy[_Job]):
    """The annotations, with the masks of their objects where their images can be used; made as they are asked for."""

    def __init__(self, layout: Layout, pictures: Pictures) -> None:
        self._layout, self._pictures = layout, pictures
        self._masks = Index(layout.instances, layout.key)

    def __len__(self) -> int:
        return len(self._layout.annotations)

    def at(self, row: int) -> _Job:
        name = self._layout.annotations[row]
        masks = list(self._masks.rows(self._layout.key(name)))
        mask = self._layout.instances[masks[-1]] if masks else ""
        own = map(self._pictures.scan, self._pictures.own(name)) if mask else ()
        scan = next((scan for scan in own if not scan.code), None)
        return (name, mask, (scan.width, scan.height), scan.orientation) if scan else (name, "", (0, 0), 1)


def _read_alone(root: str, origin: int, name: str) -> _Note:
    """Reads an annotation."""
    try:
        with open(f"{root}/{name}", "rb", buffering=0) as file:  # twice as fast as Path's
            data = file.read(_FIRST_BYTES)
            if len(data) == _FIRST_BYTES:
                data += file.read(MAX_BYTES)
    except OSError as error:
        return Annotation(problem=finding("xml.malformed", error.strerror or "cannot be opened", name)), {}
    return parse(data, name, origin), {}


def _read_with_mask(root: str, origin: int, job: _Job) -> _Note:
    """Reads an annotation and the masks of its objects."""
    name, mask, size, orientation = job
    note, _ = _read_alone(root, origin, name)
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
        is_stored = scan.orientation > 4 and (width, height) == (scan.height, scan.width)
        code = "voc.orientation" if is_stored else "size.mismatch"
        expected = f"{scan.width}x{scan.height}, the image's own"
        yield finding(code, f"{width:g}x{height:g}", name, note.size_line, scan.image_id, expected=expected)


def _splits(root: Path, layout: Layout, images: Sequence[str]) -> tuple[dict[str, str], list[Finding]]:
    """The split of each image_id by ImageSets, else by the folders of `images`, and what is wrong with them."""
    if lists(layout.top):
        keys, stems = Index(images, layout.key), Index(images, _stem)

        def find(entry: str) -> str | None:
            rows = list(keys.rows(entry)) or list(stems.rows(entry))
            return images[rows[-1]] if rows else None

        return read_splits(layout.top, root, find, images)
    splits = {without_suffix(name): split for name, split in layout.splits(images).items()}
    return splits, list(unlisted(images, splits, "in no folder of a split")) if splits else []


def _stem(name: str) -> str:
    return without_suffix(name).rpartition("/")[2]
