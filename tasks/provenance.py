"""What ingest says of a dataset, beside its files."""

import json
from pathlib import Path

from tasks.formats import PROVENANCE_FILE


def read_provenance(raw: Path) -> dict[str, str]:
    """`name`, `source` and `format` of the dataset in `raw`; a folder that ingest did not write has none of its own."""
    path = raw / PROVENANCE_FILE
    given = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return {"name": raw.name, "source": "folder", "format": "auto", **given}
