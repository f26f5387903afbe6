"""A ZIP on a web server, pinned by its checksum."""

import hashlib
import http.client
import os
import tempfile
import urllib.error
import urllib.request
from contextlib import nullcontext
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sightline.errors import SightlineError
from tasks import schema
from tasks.progress import Progress
from tasks.sources import _archive

TIMEOUT_S: Final = 20.0
"""To connect, and between two pieces of the answer."""
MAX_BYTES: Final = 1 << 40
_MEBIBYTE: Final = 1 << 20


def fetch(config: schema.Dataset, out: Path) -> None:
    """Downloads the ZIP beside `out`, compares its SHA-256 with `dataset.sha256`, and extracts it."""
    name = _name(config)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix="download-") as folder:
        path = Path(folder) / "dataset.zip"
        got = _download(config.path or "", path, name)
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


def _download(url: str, path: Path, name: str) -> str:
    """Streams the answer to a file; returns its SHA-256, hexadecimal."""
    digest, size = hashlib.sha256(), 0
    try:
        with _opener().open(url, timeout=TIMEOUT_S) as answer, path.open("wb") as file:
            length = int(answer.headers.get("Content-Length") or 0)
            bar = Progress("ingest", -(-length // _MEBIBYTE), "MiB") if length else nullcontext()
            with bar as progress:
                while chunk := answer.read(_MEBIBYTE):
                    size += len(chunk)
                    if size > MAX_BYTES:
                        raise SightlineError(f"{name}: got more than {MAX_BYTES:,} bytes: split the dataset")
                    digest.update(chunk)
                    file.write(chunk)
                    if progress:
                        progress.update()
    except urllib.error.HTTPError as error:
        error.close()
        raise SightlineError(f"{name}: got HTTP {error.code} {error.reason}, expected 200: check dataset.path") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise SightlineError(f"{name}: no answer ({reason}): check dataset.path and the network, then run again") from error
    if length and size != length:
        raise SightlineError(f"{name}: got {size:,} bytes, expected {length:,}: the connection ended early: run again")
    return digest.hexdigest()


def _opener() -> urllib.request.OpenerDirector:
    """HTTP(S) alone: a redirect leads to no file and no FTP server."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPRedirectHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener
