"""A file from a web server, streamed to disk."""

import hashlib
import http.client
import urllib.error
import urllib.request
from contextlib import nullcontext
from pathlib import Path
from typing import Final

from sightline.errors import SightlineError
from tasks.progress import Progress

TIMEOUT_S: Final = 20.0
"""To connect, and between two pieces of the answer."""
_MEBIBYTE: Final = 1 << 20


def download(url: str, path: Path, *, name: str, stage: str, max_bytes: int, remedy: str) -> str:
    """Writes what `url` answers to `path`.

    Args:
        url: http(s)://...
        path: A new file.
        name: Of the file, for messages: the address without what is secret in it.
        stage: Whose progress it is.
        max_bytes: It is refused above this size.
        remedy: What helps when there is no answer.

    Returns:
        The file's SHA-256, hexadecimal.

    Raises:
        SightlineError: No answer, another one than a file, a file that is too large, or a part of one.
    """
    digest, size = hashlib.sha256(), 0
    try:
        with _opener().open(url, timeout=TIMEOUT_S) as answer, path.open("wb") as file:
            length = int(answer.headers.get("Content-Length") or 0)
            bar = Progress(stage, -(-length // _MEBIBYTE), "MiB") if length else nullcontext()
            with bar as progress:
                while chunk := answer.read(_MEBIBYTE):
                    size += len(chunk)
                    if size > max_bytes:
                        raise SightlineError(f"{name}: got more than {max_bytes:,} bytes: give a smaller file")
                    digest.update(chunk)
                    file.write(chunk)
                    if progress:
                        progress.update()
    except urllib.error.HTTPError as error:
        error.close()
        raise SightlineError(f"{name}: got HTTP {error.code} {error.reason}, expected 200: {remedy}") from error
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        raise SightlineError(f"{name}: no answer ({reason}): {remedy}") from error
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
