"""No tracking."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tasks.schema import Tracking


def record(
    tracking: Tracking, stage: str, config: Mapping[str, Any], metrics: Mapping[str, float], outputs: Mapping[str, Path]
) -> None:
    """Records nothing."""
