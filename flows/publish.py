"""publish: what leaves the machine. Idempotent, keyed by the manifest's hash."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from flows import dataset_versions, graph, processes, registry, storage
from sightline.contract import MANIFEST_FILE, sha256_of
from sightline.errors import SightlineError
from tasks.schema import Dataset, Package, parse, read_params


@dataclass(frozen=True)
class Published:
    """What was done.

    Attributes:
        is_new: Whether the package was not published before.
        lines: One line an action, for people.
    """

    is_new: bool
    lines: tuple[str, ...]


def publish() -> Published:
    """Pushes DVC's outputs, copies `dist/<name>/` and the fingerprint to the storage, and registers the package in the tracker.

    Raises:
        SightlineError: Nothing is packaged, the package is of an earlier run, or the storage or the tracker does not answer.
    """
    folder = Path("dist") / parse(Package, read_params().get("package", {})).name
    manifest = folder / MANIFEST_FILE
    if not manifest.is_file():
        raise SightlineError(f"{manifest}: not there, nothing to publish: run `dvc repro`")
    place = storage.read()
    storage.check(place)
    if not graph.is_current(graph.read(), "package"):
        raise SightlineError(f"{folder}: of an earlier run, expected that of the project as it is now: run `dvc repro` first")
    storage.configure()
    pushed = _push()
    digest = sha256_of(manifest)
    url, is_new = storage.copy_package(folder, place, digest[:12])
    copied = f"{'copied to' if is_new else 'there already:'} {url}"
    versioned, is_new_version = dataset_versions.publish(Path("reports/fingerprint"), _dataset_name(), place)
    dataset = f"dataset {'published as' if is_new_version else 'there already:'} {versioned}"
    registered = registry.register(folder.name, folder, url)
    return Published(is_new, (pushed, copied, dataset, registered))


def _dataset_name() -> str:
    return parse(Dataset, read_params().get("dataset", {})).name


def _push() -> str:
    command = [sys.executable, "-m", "dvc", "push", "-r", storage.REMOTE]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=processes.environment())
    if done.returncode != 0:
        errors = [line.removeprefix("ERROR: ") for line in done.stderr.splitlines() if line.startswith("ERROR: ")]
        raise SightlineError(f"dvc push: {'; '.join(errors) or done.stderr.strip()}: `dvc push -v` says more")
    return f"dvc push: {done.stdout.strip().splitlines()[-1] if done.stdout.strip() else 'done'}"
