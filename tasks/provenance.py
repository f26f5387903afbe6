"""Where a dataset came from, and what it is; both go with it from stage to stage."""

import json
from pathlib import Path
from typing import Final

from sightline.contract import dump_json

PROVENANCE_FILE: Final = "provenance.json"
METADATA_FILE: Final = "dataset_metadata.json"
"""What `fingerprint` writes."""


def write_provenance(folder: Path, name: str, source: str, format_name: str) -> None:
    """Writes the names of dataset, source and format beside the tables in `folder`."""
    text = dump_json({"name": name, "source": source, "format": format_name})
    (folder / PROVENANCE_FILE).write_text(text, encoding="utf-8")


def read_provenance(folder: Path) -> dict[str, str]:
    """What `write_provenance` wrote; empty where the tables were made by hand."""
    path = folder / PROVENANCE_FILE
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found
