"""Tables of classes: a CSV with a line an image and a column a class, 0 or 1, for images that have any number of classes.

`_classes.csv` as Roboflow exports it, or `labels.csv`, at the top or in each split's folder; the images are beside it or in
`images/`. The first column is headed filename, file, image or path.
"""

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from sightline.errors import SightlineError
from tasks.findings import Finding, finding
from tasks.formats import NO_BOX, SPLIT_FOLDERS, Item, Reading, base, place
from tasks.scan import Scan, images, subfolders
from tasks.table_builder import TableBuilder

HOLDS: Final = frozenset({"whole", "several", "split", "empty", "classes"})
TABLES: Final = ("_classes.csv", "labels.csv")
_FIRST: Final = frozenset({"filename", "file", "image", "path"})
_MARKS: Final = {"0": False, "1": True}


class _Table(NamedTuple):
    """A table: its path, its split, and the folder that its file names are relative to."""

    path: Path
    split: str
    folder: Path


def detect(root: Path) -> str | None:
    """None where `root` is of this format, otherwise the first requirement that it does not meet."""
    top = base(root)
    found = _tables(top)
    if not found:
        return f"no {' or '.join(TABLES)} at the top or in the folders of splits"
    for table in found:
        first = _first_cell(table.path)
        if first not in _FIRST:
            return f"{table.path.relative_to(root).as_posix()}: its first column is headed {first!r}, not filename"
    return None if image_files(root) else f"no image beside {found[0].path.relative_to(root).as_posix()}, or in images/"


def image_files(root: Path) -> list[str]:
    """The image files, relative to `root`."""
    return [name for table in _tables(base(root)) for name in images(table.folder, root)]


def read(root: Path, scans: Mapping[str, Scan]) -> Reading:
    """Each class that a line marks is a class of its whole image."""
    builder, findings = TableBuilder(), list[Finding]()
    found = [(table, *_header(table, root)) for table in _tables(base(root))]
    findings += [problem for _, _, problem in found if problem]
    headers = [names for _, names, problem in found if not problem]
    classes = list(dict.fromkeys(name for names in headers for name in names))
    for table, names, problem in found:
        place = table.path.relative_to(root).as_posix()
        missing = [name for name in classes if name not in names]
        if missing and not problem:
            findings.append(finding("csv.classes", f"none of {', '.join(missing)}", place))
        listed = set() if problem else set(_read_table(table, names, root, scans, builder, findings))
        if not problem:
            findings += [
                finding("annotation.missing", f"no line in {place}", scan.path, image_id=scan.image_id)
                for scan in map(scans.__getitem__, images(table.folder, root))
                if scan.path not in listed
            ]
    return Reading(builder.tables(classes), findings)


def write(items: Iterable[Item], root: Path, classes: Sequence[str] = ()) -> None:
    """Writes `<split>/_classes.csv` with the images beside it, or both at the top for no split.

    Raises:
        SightlineError: A sample has a box, or a class no name or spaces around it, which readers of CSV take away.
    """
    samples = []
    for item in items:
        if any(each.box is not None for each in item.objects):
            raise SightlineError(f"{item.name}: an object with a box, expected classes of whole images: write another format")
        file = f"{item.name}{item.suffix}"
        place(item.image, root / item.split / file)
        samples.append((item.split, file, {each.label for each in item.objects}))
    names = list(classes) or sorted({label for _, _, labels in samples for label in labels})
    spaced = next((name for name in names if not name or name != name.strip()), None)
    if spaced is not None:
        raise SightlineError(f"class {spaced!r}, expected a name without spaces around it: rename the class")
    for split in sorted({split for split, _, _ in samples}):
        with (root / split / TABLES[0]).open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream, lineterminator="\n")
            writer.writerow(["filename", *names])
            writer.writerows([file, *(int(name in labels) for name in names)] for own, file, labels in samples if own == split)


def _tables(top: Path) -> list[_Table]:
    """The tables at the top, or in the folders of splits."""
    folders = [("", top)]
    folders += [(SPLIT_FOLDERS[path.name.lower()], path) for path in subfolders(top) if path.name.lower() in SPLIT_FOLDERS]
    found = [
        _Table(path, split, inner if (inner := folder / "images").is_dir() and not inner.is_symlink() else folder)
        for split, folder in folders
        if (path := next((folder / name for name in TABLES if (folder / name).is_file()), None))
    ]
    return [table for table in found if not table.split] or found  # one at the top is of all


def _first_cell(path: Path) -> str:
    """What heads the first column, in lower case."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as stream:
        return stream.readline(1000).partition(",")[0].strip().strip('"').lower()


def _header(table: _Table, root: Path) -> tuple[list[str], Finding | None]:
    """The classes of a table, or what is wrong with its first line."""
    name = table.path.relative_to(root).as_posix()
    rows = _rows(table.path)
    try:
        _, first = next(rows, (0, []))
    except (csv.Error, UnicodeDecodeError) as error:
        return [], finding("csv.malformed", str(error), name)
    names = [cell.strip() for cell in first[1:]]
    twice = next((each for each in names if names.count(each) > 1), None)
    if not names or "" in names or twice is not None:
        got = "no class" if not names else "a column without name" if "" in names else f"a second {twice!r}"
        return [], finding("csv.header", got, name, 1)
    return names, None


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows of a CSV with their line numbers; empty lines are none."""
    with path.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.reader(stream, strict=True)
        for row in reader:
            if row:
                yield reader.line_num, row


def _read_table(
    table: _Table, names: Sequence[str], root: Path, scans: Mapping[str, Scan], builder: TableBuilder, findings: list[Finding]
) -> Iterator[str]:
    """Adds the images of a table; yields the paths that it lists."""
    place = table.path.relative_to(root).as_posix()
    prefix = "" if table.folder == root else f"{table.folder.relative_to(root).as_posix()}/"
    seen: dict[str, str] = {}
    rows = _rows(table.path)
    next(rows)
    try:
        for line, (file, *cells) in rows:
            scan = scans.get(prefix + file.strip().replace("\\", "/"))
            if scan is None:
                findings.append(finding("image.missing", f"filename {file!r}", place, line, f"{place}: line {line}"))
                continue
            yield scan.path
            bad = next((cell for cell in cells if cell.strip() not in _MARKS), None)
            first = seen.get(scan.image_id, "")
            if first == scan.path:
                findings.append(finding("csv.twice", file, place, line, scan.image_id))
            elif first:
                findings.append(finding("image.ambiguous", f"{first}, {scan.path}", scan.path, image_id=scan.image_id))
            elif len(cells) != len(names):
                findings.append(finding("csv.columns", f"{1 + len(cells)} cells", place, line, scan.image_id))
            elif bad is not None:
                findings.append(finding("csv.cell", repr(bad), place, line, scan.image_id))
            elif not scan.code:
                builder.add_image(scan, table.split)
                for name, cell in zip(names, cells, strict=True):
                    if _MARKS[cell.strip()]:
                        builder.add_object(scan.image_id, name, NO_BOX, place, line)
            seen.setdefault(scan.image_id, scan.path)
    except (csv.Error, UnicodeDecodeError) as error:
        findings.append(finding("csv.malformed", str(error), place))
