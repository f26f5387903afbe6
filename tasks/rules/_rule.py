"""What a rule is."""

from dataclasses import dataclass
from typing import Final, Literal

SET_ASIDE: Final = "in the pipeline, validate.on_error=quarantine sets the sample aside"


@dataclass(frozen=True)
class Rule:
    """One rule.

    Attributes:
        severity: `error` stops the pipeline, `warning` is repaired in the copy or only told, `info` is told.
        expected: What should stand there.
        remedy: What to do.
        leaves_out: Whether what breaks it, or a part of it, is in no table: it is missing from what is written of the dataset.
    """

    severity: Literal["error", "warning", "info"]
    expected: str
    remedy: str
    leaves_out: bool = False
