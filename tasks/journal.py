"""A journal of finished work, one JSON object a line, each on disk before the next begins."""

import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """Appends records and reads them back; a line that an interruption cut off is dropped.

    Args:
        path: The file; made where it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        content = path.read_bytes() if path.is_file() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if whole != content:
            os.truncate(path, len(whole))
        self.records: list[dict[str, Any]] = [json.loads(line) for line in whole.splitlines()]

    def append(self, record: dict[str, Any]) -> None:
        """Adds a record and waits until the disk has it."""
        with self.path.open("ab") as file:
            file.write(json.dumps(record, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self.records.append(record)
