"""The objects below a prefix of S3, or of a service that answers as S3 does (AWS_ENDPOINT_URL)."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from sightline.errors import SightlineError
from tasks import schema
from tasks.progress import Progress
from tasks.sources import _names

CONNECT_TIMEOUT_S: Final = 3
READ_TIMEOUT_S: Final = 20
RETRIES: Final = 5
"""Of a download; the first look at a service that does not answer ends at once."""
_AT_ONCE: Final = 64


def fetch(config: schema.Dataset, out: Path) -> None:
    """Downloads the objects, several at once."""
    root = _root(config)
    with _explained(root):
        system = _system()
        objects = _objects(system, root)
        system.retries = RETRIES
        out.mkdir(parents=True)
        with Progress("ingest", len(objects), "files") as progress:
            for start in range(0, len(objects), _AT_ONCE):
                part = list(objects.items())[start : start + _AT_ONCE]
                for name, _ in part:
                    (out / name).parent.mkdir(parents=True, exist_ok=True)
                system.get([info["name"] for _, info in part], [str(out / name) for name, _ in part])
                for name, info in part:
                    _check_size(out / name, info["size"], f"{root}/{name}")
                progress.update(len(part))


def listing(config: schema.Dataset) -> list[tuple[str, str]]:
    """Name, size and entity tag of each object."""
    root = _root(config)
    with _explained(root):
        return [(name, f"{info['size']}:{info['ETag'].strip(chr(34))}") for name, info in _objects(_system(), root).items()]


def _root(config: schema.Dataset) -> str:
    path = config.path or ""
    if not path.startswith("s3://") or not path.removeprefix("s3://").strip("/"):
        raise SightlineError(f"dataset.path: got {path!r}, expected s3://bucket/prefix: set dataset.path=...")
    return path.rstrip("/")


def _system() -> Any:
    """The file system, without caches, so that each look sees what is there now."""
    import s3fs

    options = {"connect_timeout": CONNECT_TIMEOUT_S, "read_timeout": READ_TIMEOUT_S, "retries": {"total_max_attempts": 1}}
    system = s3fs.S3FileSystem(config_kwargs=options, use_listings_cache=False, skip_instance_cache=True)
    system.retries = 1
    try:
        system.connect()
    except ValueError as error:
        raise SightlineError(f"AWS_ENDPOINT_URL: {error}: expected http://host:port, or none for AWS itself") from error
    return system


def _objects(system: Any, root: str) -> dict[str, dict[str, Any]]:
    """What S3 says of each wanted object, by its name relative to the prefix, sorted."""
    prefix = root.removeprefix("s3://")
    found = {
        path[len(prefix) + 1 :]: info
        for path, info in system.find(prefix, detail=True).items()
        if info["type"] == "file" and path.startswith(f"{prefix}/") and not path.endswith("/")
    }
    _names.check(sorted(found), root)
    names = sorted(name for name in found if _names.is_wanted(name))
    if not names:
        raise SightlineError(f"dataset.path: {root}: got no object below this prefix, expected images: set dataset.path=...")
    return {name: found[name] for name in names}


def _check_size(path: Path, expected: int, name: str) -> None:
    got = path.stat().st_size if path.is_file() else 0
    if got != expected:
        raise SightlineError(f"{name}: got {got:,} bytes, expected {expected:,}: it changed meanwhile: run again")


@contextmanager
def _explained(root: str) -> Iterator[None]:
    """One line for what goes wrong on the way to S3."""
    import botocore.exceptions as botocore

    try:
        yield
    except botocore.NoCredentialsError as error:
        raise SightlineError(
            f"{root}: got no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
        ) from error
    except FileNotFoundError as error:
        raise SightlineError(f"{root}: not there ({error}), expected a bucket and a prefix: set dataset.path=...") from error
    except PermissionError as error:
        raise SightlineError(f"{root}: refused ({error}): check the credentials and what they may read") from error
    except (OSError, botocore.BotoCoreError, botocore.ClientError) as error:
        raise SightlineError(f"{root}: no answer ({error}): check AWS_ENDPOINT_URL, AWS_PROFILE and the network") from error
