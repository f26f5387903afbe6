"""Where a dataset comes from, one file each, found by the name in conf/dataset. Each has the two functions of `Source`."""

import hashlib
import json
from pathlib import Path
from typing import Any, Protocol, cast

from tasks import schema, variants


class Source(Protocol):
    """A module of this folder."""

    def fetch(self, config: schema.Dataset, out: Path) -> None:
        """Writes the source's files below `out`, a folder that is not there yet.

        Raises:
            SightlineError: The source is not there, does not answer, or holds what must not be written.
        """

    def listing(self, config: schema.Dataset) -> list[tuple[str, str]]:
        """Name and state of each file that the source holds now: another state is another content, and never a time.

        Raises:
            SightlineError: As for `fetch`, as far as it can be seen without fetching.
        """


def load(name: str) -> Source:
    """The source that `dataset.source` names.

    Raises:
        SightlineError: No such source; the message names those that there are.
    """
    return cast("Source", variants.load("sources", name, "dataset.source"))


def source_digest(config: schema.Dataset) -> dict[str, Any]:
    """What data/source.json holds: another digest means that the source holds other data than before.

    Returns:
        `dataset` and `source` (their names), `files` (their number) and `digest` (SHA-256 over the sorted listing).
    """
    files = sorted(load(config.source).listing(config))
    digest = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    return {"dataset": config.name, "source": config.source, "files": len(files), "digest": digest}
