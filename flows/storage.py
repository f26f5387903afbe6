"""conf/storage as a place: DVC's remote, and where packages are published to."""

import configparser
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sightline.contract import MANIFEST_FILE
from sightline.errors import SightlineError
from tasks.schema import Storage, parse, read_params

REMOTE = "storage"
CONNECT_TIMEOUT_S = 3


def read() -> Storage:
    """The storage that params.yaml names."""
    return parse(Storage, read_params().get("storage", {}))


def configure() -> None:
    """Points DVC's remote `storage` at it, in .dvc/config.local, which git ignores; other settings there are kept."""
    storage = read()
    options = {"url": f"{storage.url}/dvc"}
    if storage.name == "s3":
        options["connect_timeout"] = str(CONNECT_TIMEOUT_S)
        if storage.endpoint_url:
            options["endpointurl"] = storage.endpoint_url
    elif not Path(str(storage.url)).is_absolute():
        options["url"] = f"../{storage.url}/dvc"  # relative to .dvc/
    section = f"'remote \"{REMOTE}\"'"
    committed, local = _parse(Path(".dvc/config")), _parse(Path(".dvc/config.local"))
    before = dict(local[section]) if local.has_section(section) else {}
    if committed.has_section(section) and dict(committed[section]) == options:
        options = {}
    if options == before:
        return
    local.remove_section(section)
    if options:
        local[section] = options
    temporary = Path(".dvc/config.local.tmp")
    with temporary.open("w", encoding="utf-8") as file:
        local.write(file)
    os.replace(temporary, ".dvc/config.local")


def check(storage: Storage) -> None:
    """Raises `SightlineError`, within seconds, where nothing answers at an S3 service's address."""
    if storage.name != "s3" or not storage.endpoint_url:
        return
    address = urlsplit(storage.endpoint_url)
    if not address.hostname:
        raise SightlineError(f"storage.endpoint_url: got {storage.endpoint_url!r}, expected http://host:port")
    try:
        port = address.port or (443 if address.scheme == "https" else 80)
        socket.create_connection((address.hostname, port), CONNECT_TIMEOUT_S).close()
    except OSError as error:
        raise SightlineError(
            f"storage.endpoint_url: {storage.endpoint_url} does not answer ({error}): start the service, or set another address"
        ) from error


def copy_package(folder: Path, storage: Storage, version: str) -> tuple[str, bool]:
    """Copies a package to `<url>/<name>/<version>/`, whole or not at all.

    Returns:
        Where it is, and whether it was not there before.
    """
    place = f"{storage.url}/{folder.name}/{version}"
    return place, (_to_s3 if storage.name == "s3" else _to_folder)(folder, place, storage)


def _to_folder(folder: Path, place: str, storage: Storage) -> bool:
    target = Path(place)
    if target.exists():
        return False
    temporary = target.with_name(f".{target.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(folder, temporary)
    os.replace(temporary, target)
    return True


def _to_s3(folder: Path, place: str, storage: Storage) -> bool:
    """The manifest goes last: a package without one is not there."""
    with errors_of(place):
        bucket = filesystem(storage)
        if bucket.exists(f"{place}/{MANIFEST_FILE}"):
            return False
        files = sorted(file for file in folder.rglob("*") if file.is_file())
        for file in sorted(files, key=lambda file: file == folder / MANIFEST_FILE):
            bucket.put_file(str(file), f"{place}/{file.relative_to(folder).as_posix()}")
    return True


def filesystem(storage: Storage) -> Any:
    """The storage as a file system of fsspec; nothing of its listings is remembered."""
    import fsspec

    if storage.name != "s3":
        return fsspec.filesystem("file")
    options = {"connect_timeout": CONNECT_TIMEOUT_S, "retries": {"max_attempts": 3}}
    return fsspec.filesystem("s3", endpoint_url=storage.endpoint_url, config_kwargs=options, use_listings_cache=False)


@contextmanager
def errors_of(place: str) -> Iterator[None]:
    """Tells what a storage's library raises as one line."""
    import botocore.exceptions

    try:
        yield
    except FileExistsError:
        raise
    except (OSError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError) as error:
        raise SightlineError(f"{place}: {error}: check storage.url and the credentials") from error


def _parse(path: Path) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(path, encoding="utf-8")
    return parser
