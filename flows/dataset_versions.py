"""Published fingerprints of a dataset: v1, v2, ... by content, never overwritten."""

import json
import re
from pathlib import Path
from typing import Any

from flows import storage
from sightline.errors import SightlineError
from tasks.provenance import METADATA_FILE
from tasks.schema import Storage

MAX_TRIES = 20


def publish(report: Path, name: str, place: Storage) -> tuple[str, bool]:
    """Copies a fingerprint to `<url>/datasets/<name>/v<n>/`, the next free number, unless its content has one already.

    The metadata go first, and only where no other publisher was first: they hold the number. Files that a version of the
    same content lacks, as its publisher failed, are put there.

    Args:
        report: What `fingerprint` wrote.
        name: The dataset's.
        place: The storage.

    Returns:
        Where it is, and whether it was not there before.

    Raises:
        SightlineError: The storage does not answer or does not take it, or metadata cannot be read.
    """
    metadata = (report / METADATA_FILE).read_bytes()
    content = _content_hash(str(report / METADATA_FILE), metadata)
    base = f"{place.url}/datasets/{name}"
    with storage.errors_of(base):
        system = storage.filesystem(place)
        for _ in range(MAX_TRIES):
            versions = _versions(system, base)
            for number, found in versions.items():
                if found == content:
                    _put_missing(system, f"{base}/v{number}", report)
                    return f"{base}/v{number}", False
            target = f"{base}/v{max(versions, default=0) + 1}"
            if _claim(system, f"{target}/{METADATA_FILE}", metadata):
                _put_missing(system, target, report)
                return target, True
    raise SightlineError(f"{base}: others publish versions of it all the time: try again")


def _versions(system: Any, base: str) -> dict[int, str]:
    """The content hash of each version."""
    found = {}
    for path in system.glob(f"{base}/v*/{METADATA_FILE}"):
        match = re.search(r"/v(\d+)/[^/]+$", path)
        if match:
            found[int(match[1])] = _content_hash(path, system.cat_file(path))
    return found


def _content_hash(path: str, data: bytes) -> str:
    """The content hash in metadata.

    Raises:
        SightlineError: They cannot be read.
    """
    try:
        return str(json.loads(data)["content_hash"])
    except (ValueError, LookupError, TypeError) as error:
        raise SightlineError(
            f"{path}: no metadata of a dataset ({error!r}): write them again, or delete their folder"
        ) from error


def _claim(system: Any, path: str, data: bytes) -> bool:
    """Writes a file unless it is there; whether it did."""
    system.makedirs(path.rpartition("/")[0], exist_ok=True)
    try:
        system.pipe_file(path, data, mode="create")
    except FileExistsError:
        return False
    return True


def _put_missing(system: Any, target: str, report: Path) -> None:
    """Copies the report's files that are not there."""
    for file in sorted(path for path in report.rglob("*") if path.is_file()):
        path = f"{target}/{file.relative_to(report).as_posix()}"
        if not system.exists(path):
            system.makedirs(path.rpartition("/")[0], exist_ok=True)
            system.pipe_file(path, file.read_bytes())
