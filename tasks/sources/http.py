"""A ZIP on a web server, pinned by its checksum."""

import os
import tempfile
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sightline.errors import SightlineError
from tasks import schema
from tasks.download import download
from tasks.sources import _archive

MAX_BYTES: Final = 1 << 40
REMEDY: Final = "check dataset.path and the network, then run again"


def fetch(config: schema.Dataset, out: Path) -> None:
    """Downloads the ZIP beside `out`, compares its SHA-256 with `dataset.sha256`, and extracts it."""
    name = _name(config)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix="download-") as folder:
        path = Path(folder) / "dataset.zip"
        got = download(config.path or "", path, name=name, stage="ingest", max_bytes=MAX_BYTES, remedy=REMEDY)
        if got != config.sha256:
            raise SightlineError(
                f"{name}: got SHA-256 {got}, expected {config.sha256}: another file; if it is the right one, set dataset.sha256"
            )
        _archive.extract(path, out, name)


def listing(config: schema.Dataset) -> list[tuple[str, str]]:
    """The checksum, which alone says what may come from there: the server is not asked, and cached data needs no network."""
    return [(os.path.basename(_name(config)), config.sha256 or "")]


def _name(config: schema.Dataset) -> str:
    """The address without its query, which may hold a key."""
    url = urlsplit(config.path or "")
    if url.scheme not in ("http", "https") or not url.hostname:
        raise SightlineError(f"dataset.path: got {config.path!r}, expected https://host/file.zip: set dataset.path=...")
    if url.username or url.password:
        raise SightlineError(
            "dataset.path: got an address with a password in it, which would land in git: expected one without"
        )
    return f"{url.scheme}://{url.netloc}{url.path}"
