"""A part of a split, drawn by a hash, so that an added image changes at most one of those drawn."""

import hashlib
from collections.abc import Sequence

from tasks.tables import Sample


def draw(samples: Sequence[Sample], count: int, seed: int = 0) -> list[Sample]:
    """At most `count` of `samples`, by image_id.

    Args:
        samples: A split.
        count: How many.
        seed: Another seed draws others.
    """

    def rank(sample: Sample) -> bytes:
        return hashlib.sha256(f"{seed}:{sample.image_id}".encode()).digest()

    return sorted(sorted(samples, key=rank)[:count], key=lambda sample: sample.image_id)
