"""A ZIP on this machine."""

from pathlib import Path

from sightline.contract import sha256_of
from sightline.errors import SightlineError
from tasks import schema
from tasks.sources import _archive


def fetch(config: schema.Dataset, out: Path) -> None:
    """Extracts the ZIP, after its checksum if `dataset.sha256` gives one."""
    path = _path(config)
    if config.sha256 and (got := sha256_of(path)) != config.sha256:
        raise SightlineError(f"{path}: got SHA-256 {got}, expected {config.sha256}: get the file again, or set dataset.sha256")
    _archive.extract(path, out, str(path))


def listing(config: schema.Dataset) -> list[tuple[str, str]]:
    """Name, size and CRC-32 of each file in the ZIP's directory."""
    path = _path(config)
    return _archive.listing(path, str(path))


def _path(config: schema.Dataset) -> Path:
    path = Path(config.path or "").expanduser()
    if not path.is_file():
        got = "a folder" if path.is_dir() else "nothing there"
        raise SightlineError(f"dataset.path: {path}: got {got}, expected a ZIP: set dataset.path=...")
    return path
