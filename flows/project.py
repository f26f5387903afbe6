"""The project in the current folder: its configuration's names, the source's listing, and the lock of a run."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from sightline.contract import dump_json
from sightline.errors import SightlineError
from tasks import schema
from tasks.stage import key_of

SOURCE_FILE = Path("data/source.json")
LOCK_FILE = Path("work/run.lock")


def check() -> None:
    """Raises `SightlineError` where the current folder is not a checkout's root."""
    missing = [name for name in ("dvc.yaml", "conf/config.yaml", ".dvc") if not Path(name).exists()]
    if missing:
        raise SightlineError(f"{Path.cwd()}: no {missing[0]} here: expected the root of a checkout: cd to it")


def names(group: str, conf: Path = Path("conf")) -> list[str]:
    """What can be chosen of a group of conf/."""
    return sorted(path.stem for path in (conf / group).glob("*.yaml"))


def default(group: str, conf: Path = Path("conf")) -> str | None:
    """What conf/config.yaml chooses of a group."""
    entries = yaml.safe_load((conf / "config.yaml").read_text(encoding="utf-8"))["defaults"]
    chosen: str | None = next(
        (entry[key] for entry in entries if isinstance(entry, dict) for key in entry if key == group), None
    )
    return chosen


def write_source() -> None:
    """Writes data/source.json, a digest of the source's listing, so that the stage `ingest` sees new data."""
    from tasks.sources import source_digest

    config = schema.parse(schema.Dataset, schema.read_params().get("dataset", {}))
    text = dump_json(source_digest(config))
    if SOURCE_FILE.is_file() and SOURCE_FILE.read_text(encoding="utf-8") == text:
        return
    SOURCE_FILE.parent.mkdir(parents=True, exist_ok=True)
    temporary = SOURCE_FILE.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, SOURCE_FILE)


def stage_keys(stages: Sequence[str]) -> dict[str, str]:
    """The key of each stage as the project is now: that of the run that made what the stage holds, if it is up to date."""
    params = schema.read_params()
    declared = yaml.safe_load(Path("dvc.yaml").read_text(encoding="utf-8"))["stages"]
    keys = {}
    for stage in stages:
        entries = declared[stage].get("params", [])
        sections = list(params) if any(isinstance(entry, dict) for entry in entries) else entries
        keys[stage] = key_of(stage, [], {section: params.get(section) for section in sections}, params)
    return keys


@contextmanager
def run_lock() -> Iterator[None]:
    """Holds the workspace for one run.

    Raises:
        SightlineError: Another run holds it.
    """
    LOCK_FILE.parent.mkdir(parents=True, exist_ok=True)
    with LOCK_FILE.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise SightlineError(
                f"{LOCK_FILE}: process {lock.read().strip()} runs the pipeline here: wait for it, or cancel it"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
