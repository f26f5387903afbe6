"""Weights by the names under which libraries publish them: downloaded once, and told by their checksum."""

import inspect
import os
import re
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from sightline.errors import SightlineError
from tasks.download import download
from tasks.schema import PUBLISHED_NAME, Model

FOLDER: Final = Path("work/weights")
ULTRALYTICS: Final = "https://github.com/ultralytics/assets/releases/download/v8.4.0"
"""The release whose weights Ultralytics 8.4 takes."""
FROM_SCRATCH: Final = ("ssdlite320_mobilenet_v3_large",)
"""Architectures that the weights of their backbone do not fit: see tasks/models/ssdlite.py."""
REMEDY: Final = "where there is no network, set model.pretrained=PATH and model.pretrained_sha256 to that file's checksum"


@dataclass(frozen=True)
class Published:
    """Weights of a library.

    Attributes:
        name: As `model.pretrained` has it.
        url: Where they are.
        sha256: The first digits of their checksum, hexadecimal; empty where the library states none.
    """

    name: str
    url: str
    sha256: str


def named(model: Model) -> Published | None:
    """The weights whose name `model.pretrained` is; None where it is a path.

    Raises:
        SightlineError: They are not of this architecture, or a full pickle that nobody trusts.
    """
    name = model.pretrained or ""
    if not re.fullmatch(PUBLISHED_NAME, name) or Path(name).is_file():
        return None
    found = _of_ultralytics(model.arch) if model.library == "ultralytics" else _of_torchvision(model.arch)
    if name not in found:
        expected = f"expected {' or '.join(found)}, or" if found else "which has no published ones: expected"
        raise SightlineError(f"model.pretrained: got {name} for {model.arch}, {expected} a path with model.pretrained_sha256")
    if model.library == "ultralytics" and not model.trust_pickle:
        raise SightlineError(
            f"model.pretrained: {name}: Ultralytics publishes full pickles, which run code when they are loaded: "
            "set model.trust_pickle=true if you trust it"
        )
    return found[name]


def fetch(weights: Published, max_bytes: int) -> Path:
    """The file, in `FOLDER`; it is downloaded where it is not there yet.

    Raises:
        SightlineError: There is no network, or the file is not that of the name.
    """
    path = FOLDER / weights.url.rpartition("/")[2]
    if path.is_file():
        return path
    FOLDER.mkdir(parents=True, exist_ok=True)
    name = f"model.pretrained: {weights.name}: {weights.url}"
    with tempfile.TemporaryDirectory(dir=FOLDER, prefix="download-") as folder:
        part = Path(folder) / path.name
        digest = download(weights.url, part, name=name, stage="pretrained", max_bytes=max_bytes, remedy=REMEDY)
        if not digest.startswith(weights.sha256):
            raise SightlineError(f"{name}: got SHA-256 {digest}, expected {weights.sha256}...: damaged on the way: run again")
        os.replace(part, path)
    return path


def _of_torchvision(arch: str) -> dict[str, Published]:
    """Those of an architecture, and of the classifier that torchvision begins it with; the file names hold checksums."""
    from torchvision.models import get_model_builder, get_model_weights, list_models

    if arch not in list_models():
        return {}
    entries = [entry for entry in get_model_weights(arch) if entry.meta["categories"]]  # otherwise it is a part of a network
    backbone = inspect.signature(get_model_builder(arch)).parameters.get("weights_backbone")
    if backbone and arch not in FROM_SCRATCH:
        entries.append(backbone.default)
    found = {}
    for entry in entries:
        checksum = re.search(r"-([0-9a-f]{8,})\.pth$", entry.url)
        if checksum:
            found[str(entry)] = Published(str(entry), entry.url, checksum[1])
    return found


def _of_ultralytics(arch: str) -> dict[str, Published]:
    name = f"{arch}.pt"
    return {name: Published(name, f"{ULTRALYTICS}/{name}", "")}
