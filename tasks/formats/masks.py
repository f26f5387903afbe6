"""PNG masks of classes: a pixel's index or colour is its class; `tasks.class_file` says how a class file names them.

Images and masks lie in two folders, e.g. images/ and masks/, inside or around split folders; as CamVid's train/ and
train_labels/; or in VOC's kit, JPEGImages/ and SegmentationClass/ with ImageSets/Segmentation. A mask has the path of its image
below its folder, also with one of `SUFFIXES_OF_MASKS`. Or they lie in one folder, as Roboflow's 1.jpg and 1_mask.png. A class
file lies at the top, or the same one in each split. Without one the indices that occur are the classes, if they are not too
many. 255 that no class has, and classes that are called void, ignore or unlabelled, are not learnt.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

from sightline.errors import SightlineError
from tasks.class_file import CLASS_FILES, IGNORED, ClassFile, class_file_text, read_class_file
from tasks.file_kinds import SUFFIXES
from tasks.findings import Finding, finding
from tasks.formats import IMAGE_FOLDERS, SPLIT_FOLDERS, Item, Reading, base, place
from tasks.formats._voc_layout import read_splits
from tasks.masks import IGNORE, VOID, MaskDefect, distinct, kind_of, read_values, text_of
from tasks.parallel import parallel
from tasks.rules import FEW
from tasks.rules.masks import MOST_UNNAMED
from tasks.scan import Scan, has_images, images, subfolders
from tasks.table_builder import TableBuilder
from tasks.tables import SPLITS, Chunked, learnt

HOLDS: Final = frozenset({"mask", "split", "classes"})
MASK_FOLDERS: Final = ("masks", "mask", "segmentationclass", "gtfine", "labels", "label", "annotations", "annotation")
_CITYSCAPES: Final = ("_gtFine_labelIds", "_gtFine_labelTrainIds")
"""Of these the first that is there; beside them lie colours and instances of the same images."""
SUFFIXES_OF_MASKS: Final = ("", "_mask", "_masks", "_label", "_labels", "_L", "_segmentation", *_CITYSCAPES)
_TOGETHER: Final = "_mask"  # of masks beside their images
BESIDE: Final = ("_labels", "_label", "_masks", "_mask", "annot")
"""What the name of a split folder of masks has more than that of its images, where both lie at the top."""
_SHOWN: Final = 5  # values in a finding
_MOST: Final = 1000  # values of a mask that are kept
_PEEK: Final = 20  # masks that are opened to know their kind


class _Pair(NamedTuple):
    """A folder of images with that of their masks, which may be the same."""

    images: Path
    masks: Path
    split: str = ""


class _Job(NamedTuple):
    """An image with its mask."""

    scan: Scan
    split: str
    mask: str


class _Look(NamedTuple):
    """What a mask holds; a `code` where it cannot be used."""

    values: tuple[int, ...] = ()
    turned: bool = False
    code: str = ""
    got: str = ""


def detect(root: Path) -> str | None:
    """None where `root` is of this format, otherwise the first requirement that it does not meet.

    VOC's kit with annotations fits `voc` as well: `dataset.format` says what is meant.
    """
    pairs = _pairs(base(root))
    if not pairs:
        return "no folder with images beside one with their masks, e.g. images/ and masks/, or train/images/ and train/masks/"
    for pair in pairs:
        masks = _masks_of(pair, root)
        if any(_mask_of(key, masks) is not None for _, key in _images_of(pair, root)):
            return None
    (first, *_), folder = next(iter(masks.values())), pair.images.relative_to(root).as_posix()
    return f"{first}: no mask of an image in {folder}/, and no other is one"


def image_files(root: Path) -> list[str]:
    """The image files, relative to `root`; the masks are none."""
    return [name for pair in _pairs(base(root)) for name, _ in _images_of(pair, root)]


def read(root: Path, scans: Mapping[str, Scan]) -> Reading:
    """Looks at every mask with its image; an image whose mask cannot be used is in no table."""
    top = base(root)
    pairs = _pairs(top)
    path, named = _class_file(top, pairs)
    if path and named.problem:
        got = f"{path.relative_to(top).as_posix()}: {named.problem}"
        return Reading(TableBuilder().tables(), [finding("mask.class_file", got)])
    jobs, findings = _match(root, pairs, scans)
    colours = named.colours and _kind(root, jobs) not in ("1", "L")
    if named.colours and not colours:
        named = named._replace(values=tuple(range(len(named.names))))
    builder, stems = TableBuilder(), dict[str, str]()
    shown: dict[str, tuple[int, ...]] = {}
    for job, look in zip(jobs, parallel(partial(_look, root, colours), jobs, "validate", "masks"), strict=True):
        problems = list(_check(job, look, named))
        findings += problems
        if all(problem.severity != "error" for problem in problems):
            image_id = builder.add_image(job.scan, job.split, job.mask)
            stems[image_id.rpartition("/")[2]] = job.scan.path
            shown[image_id] = look.values
    seen = {value for values in shown.values() for value in values}
    if path is None:
        named = _names_of(seen)
        if len(named.values) > MOST_UNNAMED:
            got = f"{len(named.values)} values: {_text(named.values)}"
            return Reading(TableBuilder().tables(), [*findings, finding("mask.many_values", got)])
        findings.append(finding("mask.no_class_file", f"the values {_text(named.values)}{_void(named, seen)}"))
    splits, problems = read_splits(top, root, stems.get, stems.values(), "Segmentation")
    ignored = [name for name in named.names if name.lower() in IGNORED]
    tables = builder.tables(named.names, splits, ignored)
    tables.classes["value"] = list(named.values)
    return Reading(tables, [*findings, *problems, *_check_classes(named, seen), *_check_splits(tables, shown)])


def write(items: Iterable[Item], root: Path, classes: Sequence[str] = ()) -> None:
    """Writes samples into images/ and masks/, in folders of their splits, and classes.txt; a mask's index is the line.

    Raises:
        SightlineError: A sample has no mask, or the names of the classes are not given, cannot stand in a line, or mean that
            the class is not learnt.
    """
    ignored = next((name for name in classes if name.lower() in IGNORED), None)
    if ignored is not None:
        names = ", ".join(sorted(IGNORED))
        raise SightlineError(f"class {ignored!r}, expected a name of what is learnt, none of {names}: rename the class")
    text = class_file_text(classes)
    if not text:
        raise SightlineError(f"classes: {list(classes)}, expected names that can stand one a line in classes.txt: rename them")
    for item in items:
        if "semantic" not in item.masks:
            raise SightlineError(f"{item.name}: no mask of classes, expected one: write another format")
        place(item.image, root / "images" / item.split / f"{item.name}{item.suffix}")
        place(item.masks["semantic"], root / "masks" / item.split / f"{item.name}.png")
    root.mkdir(parents=True, exist_ok=True)
    (root / "classes.txt").write_text(text, encoding="utf-8")


def _pairs(top: Path) -> list[_Pair]:
    """The folders of images with those of their masks."""
    folders = subfolders(top)
    found = _pair(folders, "")
    if found:
        return found
    for folder in folders:
        split = SPLIT_FOLDERS.get(folder.name.lower())
        if split:
            beside = [path for path in folders if path.name in {f"{folder.name}{suffix}" for suffix in BESIDE}]
            aside = [_Pair(folder, path, split) for path in beside if has_images(path) and has_images(folder)]
            found += _pair(subfolders(folder), split) or aside[:1] or _together(folder, split)
    return found or _together(top, "")


def _pair(folders: Sequence[Path], split: str) -> list[_Pair]:
    """The first folder of images with the first of masks, by their names; none where one is not there."""
    by_name = {path.name.lower(): path for path in folders}
    ours, theirs = (
        next((path for name in names if (path := by_name.get(name)) and has_images(path)), None)
        for names in (MASK_FOLDERS, IMAGE_FOLDERS)
    )
    return [_Pair(theirs, ours, split)] if ours and theirs else []


def _together(folder: Path, split: str) -> list[_Pair]:
    """A folder that has masks beside their images."""
    stems = {path.stem for path in folder.iterdir() if path.suffix.lower() in SUFFIXES}
    has_mask = any(stem.endswith(_TOGETHER) and stem.removesuffix(_TOGETHER) in stems for stem in stems)
    return [_Pair(folder, folder, split)] if has_mask else []


def _class_file(top: Path, pairs: Iterable[_Pair]) -> tuple[Path | None, ClassFile]:
    """The class file at the top, or those of the splits, which must agree; the first that does not has the problem."""
    splits = dict.fromkeys(pair.masks if pair.masks == pair.images else pair.masks.parent for pair in pairs)
    for folders in ([top], splits):
        firsts = (next((path for name in CLASS_FILES if (path := folder / name).is_file()), None) for folder in folders)
        found = [(path, read_class_file(path)) for path in firsts if path]
        for path, named in found:
            if named != found[0][1] and not named.problem:
                named = named._replace(problem=f"other classes than in {found[0][0].relative_to(top).as_posix()}")
            if named.problem:
                return path, named
        if found:
            return found[0]
    return None, ClassFile()


def _match(root: Path, pairs: Iterable[_Pair], scans: Mapping[str, Scan]) -> tuple[list[_Job], list[Finding]]:
    """Each whole image with its mask, and findings about those that have no counterpart."""
    jobs: list[_Job] = []
    findings: list[Finding] = []
    seen: dict[str, str] = {}
    for pair in pairs:
        masks = _masks_of(pair, root)
        used: set[str] = set()
        for name, key in _images_of(pair, root):
            scan, found = scans[name], _mask_of(key, masks)
            if scan.image_id in seen or (found and len(masks[found]) > 1):
                names = [seen[scan.image_id], name] if scan.image_id in seen else masks[found or ""]
                findings.append(finding("image.ambiguous", ", ".join(names), name, image_id=scan.image_id))
            elif found is None:
                findings.append(finding("annotation.missing", "no mask", name, image_id=scan.image_id))
            elif not scan.code:
                jobs.append(_Job(scan, pair.split or SPLIT_FOLDERS.get(key.partition("/")[0].lower(), ""), masks[found][0]))
            seen[scan.image_id] = name
            used.add(found or "")
        lone = [name for key, names in masks.items() if key not in used for name in names]
        findings += [finding("image.missing", "a mask alone", name) for name in lone]
    return jobs, findings


def _images_of(pair: _Pair, root: Path) -> Iterator[tuple[str, str]]:
    """The images of a pair with their keys; see `_keys`."""
    is_one = pair.images == pair.masks
    return ((name, key) for name, key in _keys(pair.images, root) if not (is_one and key.endswith(_TOGETHER)))


def _masks_of(pair: _Pair, root: Path) -> dict[str, list[str]]:
    """The masks of a pair by their keys."""
    masks: dict[str, list[str]] = {}
    for name, key in _keys(pair.masks, root):
        masks.setdefault(key, []).append(name)
    kinds = _CITYSCAPES if pair.images != pair.masks else (_TOGETHER,)
    kind = next((kind for kind in kinds if any(key.endswith(kind) for key in masks)), "")
    return {key: names for key, names in masks.items() if key.endswith(kind)}


def _mask_of(key: str, masks: Mapping[str, object]) -> str | None:
    """The key of an image's mask."""
    own = key.removesuffix("_leftImg8bit")
    return next((own + suffix for suffix in SUFFIXES_OF_MASKS if own + suffix in masks), None)


def _keys(folder: Path, root: Path) -> Iterator[tuple[str, str]]:
    """The image files below a folder, relative to `root`, with their paths below it without suffix."""
    prefix = "" if folder == root else f"{folder.relative_to(root).as_posix()}/"
    for name in images(folder, root):
        yield name, name.removeprefix(prefix).rpartition(".")[0]


def _kind(root: Path, jobs: Sequence[_Job]) -> str:
    """Pillow's mode of the first masks that can be opened."""
    return next((kind for job in jobs[:_PEEK] if (kind := kind_of(root / job.mask))), "")


def _look(root: Path, colours: bool, job: _Job) -> _Look:
    scan = job.scan
    try:
        values, turned = read_values(root / job.mask, (scan.width, scan.height), scan.orientation, colours=colours)
    except MaskDefect as defect:
        return _Look(code=defect.code, got=defect.got)
    return _Look(tuple(distinct(values)[:_MOST]), turned)


def _check(job: _Job, look: _Look, named: ClassFile) -> Iterator[Finding]:
    """What is wrong with a mask; `named` has no class where the dataset has no class file."""
    place, names = (job.mask, 0, job.scan.image_id), dict(zip(named.values, named.names, strict=True))
    if look.code:
        size = f"{job.scan.width}x{job.scan.height}, the image's own" if look.code == "mask.size" else ""
        yield finding(look.code, look.got, *place, expected=size)
        return
    unknown = [value for value in look.values if value not in names and value not in VOID]
    if unknown and names:
        yield finding("mask.undeclared", f"the values {_text(unknown)}", *place)
    if job.scan.orientation != 1:
        size = "stored" if look.turned else "shown"
        yield finding("mask.oriented", f"EXIF orientation {job.scan.orientation}, a mask of the image as {size}", *place)
    if len(look.values) == 1:
        yield finding("mask.uniform", f"{names.get(look.values[0], text_of(look.values[0]))} alone", *place)


def _check_classes(named: ClassFile, seen: set[int]) -> Iterator[Finding]:
    if not seen:
        return
    wanted = {name: value for name, value in zip(named.names, named.values, strict=True) if name.lower() not in IGNORED}
    void, found = _void(named, seen), [name for name, value in wanted.items() if value in seen]
    for name, value in wanted.items():
        if value not in seen:
            yield finding("mask.class_absent", f"class {name} in no mask{void}")
    if len(found) < 2:
        yield finding("mask.one_class", f"{', '.join(found) or 'no class'} in the masks{void}")


def _check_splits(tables: Chunked, shown: Mapping[str, Sequence[int]]) -> Iterator[Finding]:
    """Classes that no mask of a split shows, of the dataset's own splits; `shown` has the values of each image_id."""
    counts: Counter[tuple[int, str]] = Counter()
    own: set[str] = set()
    for chunk in tables.chunks():
        for image_id, split in zip(chunk.images["image_id"], chunk.images["split"], strict=True):
            own.add(split)
            counts.update((value, split) for value in shown[image_id])
    splits = [split for split in SPLITS if split in own]
    if "train" not in splits:
        return
    for row in learnt(tables.classes).itertuples():
        total = sum(counts[row.value, split] for split in splits)
        for split in splits:
            if not counts[row.value, split] and total >= (1 if split == "train" else FEW):
                code = "class.not_in_train" if split == "train" else "class.not_in_split"
                yield finding(code, f"class {row.name} in no mask of {split}")


def _names_of(seen: set[int]) -> ClassFile:
    """Classes for the values that occur; 255 is one where it is the only one beside 0, as in masks of black and white."""
    values = sorted(seen - VOID)
    if values == [0] and IGNORE in seen:
        values.append(IGNORE)
    return ClassFile(tuple(f"class_{value}" for value in values), tuple(values))


def _void(named: ClassFile, seen: set[int]) -> str:
    """What is told of 255 where masks have it and no class does."""
    return f"; {IGNORE} is read as void" if IGNORE in seen and IGNORE not in named.values else ""


def _text(values: Sequence[int]) -> str:
    more = " and more" if len(values) > _SHOWN else ""
    separator = "; " if any(value > IGNORE for value in values) else ", "
    return separator.join(text_of(value) for value in values[:_SHOWN]) + more
