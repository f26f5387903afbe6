"""A folder on this machine."""

import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path

from sightline.errors import SightlineError
from tasks import schema
from tasks.file_kinds import is_hidden
from tasks.progress import track
from tasks.sources import _names


def fetch(config: schema.Dataset, out: Path) -> None:
    """Copies the folder's files; hidden files and what desktops leave behind stay where they are."""
    root = _root(config)
    if out.resolve().is_relative_to(root):
        raise SightlineError(
            f"dataset.path: got {root}, which holds the pipeline's own outputs, expected a folder of data alone"
        )
    names = _files(root)
    out.mkdir(parents=True)
    for name in track(names, "ingest", len(names), "files"):
        target = out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            shutil.copyfile(root / name, target)
        except OSError as error:
            raise SightlineError(f"{root / name}: {error.strerror}: expected a file that can be copied") from error


def listing(config: schema.Dataset) -> list[tuple[str, str]]:
    """Name and SHA-256 of each file: times of change differ between copies of the same data."""
    root = _root(config)
    return [(name, _sha256(root / name)) for name in _files(root)]


def _root(config: schema.Dataset) -> Path:
    root = Path(config.path or "").expanduser()
    if not root.is_dir():
        got = "a file" if root.exists() else "nothing there"
        raise SightlineError(f"dataset.path: {root}: got {got}, expected a folder with images: set dataset.path=...")
    return root.resolve()


def _files(root: Path) -> list[str]:
    """The relative names of all wanted files, sorted.

    Raises:
        SightlineError: What is there cannot be read, is no file and no folder, or has a name that must not be written.
    """
    names = []
    try:
        for path in sorted(_wanted(root)):
            if path.is_symlink():
                _check_link(path, root)
            mode = path.stat().st_mode
            if stat.S_ISREG(mode):
                names.append(path.relative_to(root).as_posix())
            elif not stat.S_ISDIR(mode):
                raise SightlineError(f"{path}: got a device, socket or pipe, expected a file: remove it")
    except OSError as error:
        expected = "expected what can be read: make it readable, or leave it out"
        raise SightlineError(f"{error.filename}: {error.strerror}, {expected}") from error
    _names.check(names, str(root))
    return names


def _wanted(root: Path) -> Iterator[Path]:
    """All wanted files, folders and links below a folder.

    Raises:
        OSError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = [name for name in folders if _names.is_wanted(name) and not is_hidden(name)]
        yield from (Path(folder, name) for name in (*folders, *filter(_names.is_wanted, files)))


def _check_link(path: Path, root: Path) -> None:
    """Refuses a link that leaves the folder, leads nowhere, or leads to a folder, which would be read twice or for ever."""
    try:
        target = path.resolve(strict=True)
    except (OSError, RuntimeError):  # RuntimeError: a link to itself
        raise SightlineError(f"{path}: got a link that leads nowhere, expected a file: remove it") from None
    if not target.is_relative_to(root):
        raise SightlineError(f"{path}: got a link to {target}, outside of the folder: expected a file: copy it to here")
    if target.is_dir():
        raise SightlineError(f"{path}: got a link to a folder, expected a folder: move or copy it to here")


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise SightlineError(f"{path}: {error.strerror}: expected a file that can be read") from error
