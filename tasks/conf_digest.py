"""A digest of conf/, which tells whether params.yaml was composed from the files as they are now."""

import hashlib
from pathlib import Path


def conf_digest(conf: Path = Path("conf")) -> str:
    """SHA-256 over the names and contents of every YAML file below `conf`, hexadecimal, 16 characters."""
    digest = hashlib.sha256()
    for path in sorted(conf.rglob("*.yaml")):
        for part in (path.relative_to(conf).as_posix().encode(), path.read_bytes()):
            digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()[:16]
