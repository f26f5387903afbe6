"""No tracking."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.schema import Tracking


def start(tracking: Tracking, stage: str, config: Mapping[str, Any]) -> None:
    """Notes nothing."""


def record(
    tracking: Tracking,
    stage: str,
    key: str,
    config: Mapping[str, Any],
    metrics: Mapping[str, float],
    outputs: Mapping[str, Path],
) -> None:
    """Records nothing."""


def fail(tracking: Tracking, stage: str, config: Mapping[str, Any], message: str) -> None:
    """Records nothing."""


def link_cached(tracking: Tracking, keys: Mapping[str, str]) -> None:
    """Links nothing."""


def finish(tracking: Tracking) -> None:
    """Has nothing to wait for."""


def register(tracking: Tracking, name: str, folder: Path, manifest_sha256: str, source: str) -> str:
    """Registers nothing."""
    return "not registered: tracking=none"
