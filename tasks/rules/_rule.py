"""What a rule is."""

from dataclasses import dataclass
from typing import Final, Literal

SET_ASIDE: Final = "set it aside with validate.on_error=quarantine"


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        severity: `error` stops the pipeline, `warning` is repaired in the copy or only told, `info` is told.
        expected: What should stand there.
        remedy: What to do.
    """

    severity: Literal["error", "warning", "info"]
    expected: str
    remedy: str
