"""A ZIP that may be hostile: checked whole before anything is written, then held to the sizes that it declared."""

import shutil
import stat
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sightline.errors import SightlineError
from tasks.progress import track
from tasks.sources import _names

MAX_FILES: Final = 2_000_000
MAX_TOTAL_BYTES: Final = 1 << 40
MAX_RATIO: Final = 200
"""Images and annotations shrink 1 to 20 times; DEFLATE's limit, which bombs come near, is 1032."""
RATIO_FLOOR_BYTES: Final = 1 << 20
"""Below this, a great ratio (an empty mask) does no harm."""
NESTED: Final = frozenset({".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar"})
_LOCAL_HEADER_BYTES: Final = 30  # APPNOTE 4.3.7, without name and extra field
_ENCRYPTED: Final = 0x1 | 0x40 | 0x2000  # APPNOTE 4.4.4
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_CHUNK_BYTES: Final = 1 << 20


def listing(path: Path, name: str) -> list[tuple[str, str]]:
    """Name, size and CRC-32 of each file, from the ZIP's directory; checked as for `extract`."""
    with _open(path, name) as archive:
        return [(target, f"{entry.file_size}:{entry.CRC:08x}") for target, entry in _targets(archive, path, name)]


def extract(path: Path, out: Path, name: str) -> None:
    """Writes the ZIP's files below `out`; a single folder that holds all of them is left out.

    Args:
        path: The ZIP.
        out: A folder that is not there yet.
        name: What the ZIP is called in messages.

    Raises:
        SightlineError: No ZIP, damaged, or with what must not or cannot be written.
    """
    with _open(path, name) as archive:
        targets = _targets(archive, path, name)
        need, free = sum(entry.file_size for _, entry in targets), shutil.disk_usage(out.parent).free
        if need > free:
            raise SightlineError(f"{name}: got {need:,} bytes to extract, expected at most the {free:,} free: make room")
        out.mkdir(parents=True)
        for target, entry in track(targets, "ingest", len(targets), "files"):
            try:
                (out / target).parent.mkdir(parents=True, exist_ok=True)
                _extract_file(archive, entry, out / target, name)
            except OSError as error:
                raise SightlineError(
                    f"{name}: {entry.filename}: got {error.strerror or error}, expected a file that can be written to {out}: "
                    "make room, or shorten the name"
                ) from error


def _open(path: Path, name: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
        raise SightlineError(
            f"{name}: got no ZIP that can be read ({error}), expected one: make or download it again"
        ) from error


def _targets(archive: zipfile.ZipFile, path: Path, name: str) -> list[tuple[str, zipfile.ZipInfo]]:
    """Where each wanted file goes, relative to the output."""
    entries = archive.infolist()
    for entry in entries:
        _check_entry(entry, name)
    _check_size(entries, path.stat().st_size, name)
    _check_overlap(entries, archive.start_dir, name)
    # orig_filename: zipfile cuts `filename` at a NUL.
    _names.check((entry.orig_filename for entry in entries), name)
    wanted = [entry for entry in entries if not entry.is_dir() and _names.is_wanted(entry.filename)]
    for entry in wanted:
        if Path(entry.filename).suffix.lower() in NESTED:
            raise SightlineError(f"{name}: {entry.filename}: got an archive inside, expected files: pack its contents instead")
    tops = {entry.filename.split("/")[0] for entry in wanted}
    nested = len(tops) == 1 and all("/" in entry.filename for entry in wanted)
    return sorted(((entry.filename.split("/", int(nested))[-1], entry) for entry in wanted), key=lambda pair: pair[0])


def _check_entry(entry: zipfile.ZipInfo, name: str) -> None:
    where = f"{name}: {entry.orig_filename!r}"
    if entry.flag_bits & _ENCRYPTED:
        raise SightlineError(f"{where}: got an encrypted file, expected a plain one: pack it without a password")
    if entry.compress_type not in _METHODS:
        raise SightlineError(f"{where}: got compression method {entry.compress_type}, expected 0 or 8 (deflate): pack it again")
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise SightlineError(f"{where}: got a link or a special file, expected a file: pack what it leads to")
    if entry.file_size > max(RATIO_FLOOR_BYTES, entry.compress_size * MAX_RATIO):
        raise SightlineError(
            f"{where}: got {entry.file_size:,} bytes from {entry.compress_size:,}, expected at most {MAX_RATIO} times as many: "
            "this looks like a ZIP bomb"
        )


def _check_size(entries: Sequence[zipfile.ZipInfo], size_bytes: int, name: str) -> None:
    total = sum(entry.file_size for entry in entries)
    if len(entries) > MAX_FILES:
        raise SightlineError(f"{name}: got {len(entries):,} files, expected at most {MAX_FILES:,}: split the dataset")
    if total > MAX_TOTAL_BYTES:
        raise SightlineError(f"{name}: got {total:,} bytes to extract, expected at most {MAX_TOTAL_BYTES:,}: split the dataset")
    if total > max(RATIO_FLOOR_BYTES, size_bytes * MAX_RATIO):
        raise SightlineError(
            f"{name}: got {total:,} bytes out of {size_bytes:,}, expected at most {MAX_RATIO} times as many: "
            "this looks like a ZIP bomb"
        )


def _check_overlap(entries: Sequence[zipfile.ZipInfo], end: int, name: str) -> None:
    """Refuses files that share their bytes, as the quoted-overlap bombs do (Fifield, 2019, "A better zip bomb")."""
    for entry in sorted(entries, key=lambda entry: entry.header_offset, reverse=True):
        if entry.header_offset + _LOCAL_HEADER_BYTES + entry.compress_size > end:
            raise SightlineError(
                f"{name}: {entry.orig_filename!r}: got a file that overlaps another: this looks like a ZIP bomb"
            )
        end = entry.header_offset


def _extract_file(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, name: str) -> None:
    written = 0
    try:
        with archive.open(entry) as source, target.open("xb") as file:
            while chunk := source.read(_CHUNK_BYTES):
                written += len(chunk)
                if written > entry.file_size:
                    break
                file.write(chunk)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise SightlineError(f"{name}: {entry.filename}: damaged ({error}): make or download the ZIP again") from error
    if written != entry.file_size:
        raise SightlineError(
            f"{name}: {entry.filename}: got {written:,} bytes or more, expected {entry.file_size:,}: make it again"
        )
