"""Images that show the same: the same bytes, the same picture saved again, or nearly the same picture."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.errors import SightlineError
from sightline.preprocess import decode
from tasks.parallel import parallel
from tasks.scan import CELL_PX, Scan, Scans

NEAR_BITS: Final = 15
"""Bits of 256 by which near duplicates' looks differ at most; those of different photographs differ by 20 and more."""
PLAIN_BITS: Final = 24
"""A look with fewer bits set, or unset, is of a plain picture: it would be near to that of any other."""
PLAIN_SHARE: Final = 5
"""Looks that tell little may differ by a fifth of their bits that are set, or unset, at most."""
BANDS: Final = 8
"""Parts of a look of 32 bits: where two looks differ by 15 bits, one part differs by 1 at most."""
REACH: Final = 64
"""Looks that share a part are compared each with so many that follow, so that no part that all share takes for ever."""
CELL_LEVELS: Final = 6.0
"""Levels by which the means of cells differ at most where a picture was saved again: JPEG keeps means of 8x8 pixels."""
MEAN_LEVELS: Final = 1.0
"""Levels by which the mean of a picture that was saved again differs at most."""
COMPARED: Final = 4
"""Near duplicates are decoded and compared each with so many of the next brightness: a film is all near duplicates."""


@dataclass(frozen=True)
class Duplicates:
    """Who is whose duplicate, by the hash of the file; a file that has none is its own.

    Attributes:
        same: The least of the hashes of the same picture, saved again.
        near: The least of the hashes of nearly the same picture, by however many steps.
    """

    same: Mapping[str, str]
    near: Mapping[str, str]


def find(scans: Scans, root: Path, max_pixels: int) -> Duplicates:
    """Finds duplicates among whole images.

    Args:
        scans: Of the images; broken ones are passed over.
        root: What their paths are relative to: pictures that look the same are decoded once more and compared.
        max_pixels: Larger images are not decoded.
    """
    seen = scans.records
    rows = np.flatnonzero(seen["is_whole"] & seen["has_look"])
    rows = rows[np.unique(_text(seen["digest"][rows]), return_index=True)[1]]  # each file once, the least hash first
    looks, codes = np.unique(_text(seen["look"][rows]), return_inverse=True)
    packed = np.frombuffer(looks.tobytes(), np.uint8).reshape(-1, 32)
    labels = near_groups(packed)[codes]
    is_alone = np.bincount(labels, minlength=1)[labels] < 2
    members: dict[int, list[Scan]] = defaultdict(list)
    for place in np.flatnonzero(~is_alone & ~_is_plain(packed)[codes]):
        members[int(labels[place])].append(scans.at(int(rows[place])))
    groups = [group for group in members.values() if len(group) > 1]
    near = {scan.digest: group[0].digest for group in groups for scan in group}
    pairs = [pair for group in groups for pair in _candidates(group)]
    same: dict[str, str] = {}
    compare = partial(_is_saved_again, root, max_pixels)
    paths = [(one.path, other.path) for one, other in pairs]
    for (one, other), is_same in zip(pairs, parallel(compare, paths, "validate", "duplicates"), strict=True):
        if is_same:
            _join(same, one.digest, other.digest)
    return Duplicates({digest: _least(same, digest) for digest in same}, near)


def not_compared(scans: Scans) -> NDArray[np.intp]:
    """The rows of images that were decoded, and are near duplicates of none: too small for a look, or with a plain one."""
    seen = scans.records
    is_compared = seen["has_look"].copy()
    rows = np.flatnonzero(is_compared)
    is_compared[rows] = ~_is_plain(np.frombuffer(seen["look"][rows].tobytes(), np.uint8).reshape(-1, 32))
    return np.flatnonzero(seen["is_whole"] & ~np.isnan(seen["brightness"]) & ~is_compared)


def _text(values: "NDArray[np.void]") -> NDArray[np.bytes_]:
    """Bytes that NumPy sorts; it takes zeros at their ends for padding, which leaves the order as it is."""
    return np.ascontiguousarray(values).view("S32")


def near_groups(looks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Joins looks that are near one another, by however many steps.

    Multi-index hashing (Norouzi, Punjani and Fleet, 2012, CVPR, "Fast search in Hamming space with multi-index hashing"): a
    sort for each bit that may differ in each part finds the candidates. Memory is a few times that of the looks.

    Args:
        looks: uint8 (N, 32), each once; plain ones are near to none.

    Returns:
        int64 (N,), the least index of those that each is joined with.
    """
    labels = np.arange(len(looks))
    wide = np.ascontiguousarray(looks).view(np.uint64)
    chosen = np.flatnonzero(~_is_plain(looks))
    limits = _limits(looks)
    # neighbouring bits tell the same: each part takes its four bytes from all over the picture
    parts = np.ascontiguousarray(looks[chosen].reshape(-1, 4, BANDS).transpose(0, 2, 1)).view(np.uint32)[:, :, 0]
    for part in range(BANDS):
        for bit in range(32):
            keys = (parts[:, part] & np.uint32(0xFFFFFFFF ^ (1 << bit))).astype(np.uint64) << np.uint64(32)
            keys |= chosen.astype(np.uint64)
            keys.sort()
            one, other = _near_pairs(keys, wide, limits, labels)
            if len(one):
                labels = _joined(labels, one, other)
    return labels


def _near_pairs(
    keys: NDArray[np.uint64], wide: NDArray[np.uint64], limits: NDArray[np.int64], labels: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Near pairs that are not joined yet among those of equal upper halves of the sorted `keys`; the lower is the index."""
    upper, index = keys >> np.uint64(32), (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)
    ones, others = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    start = np.arange(len(keys))
    for step in range(1, REACH + 1):
        start = start[start < len(keys) - step]
        start = start[upper[start] == upper[start + step]]
        if not len(start):
            break
        one, other = index[start], index[start + step]
        apart = labels[one] != labels[other]
        one, other = one[apart], other[apart]
        distance = np.bitwise_count(wide[one] ^ wide[other]).sum(axis=1, dtype=np.int64)
        is_near = distance <= np.minimum(limits[one], limits[other])
        ones.append(one[is_near])
        others.append(other[is_near])
    return np.concatenate(ones), np.concatenate(others)


def _joined(labels: NDArray[np.int64], one: NDArray[np.int64], other: NDArray[np.int64]) -> NDArray[np.int64]:
    """The least label of each connected part, once pairs are joined."""
    while True:
        least = np.minimum(labels[one], labels[other])
        joined = labels.copy()
        np.minimum.at(joined, labels[one], least)
        np.minimum.at(joined, labels[other], least)
        while not np.array_equal(further := joined[joined], joined):
            joined = further
        labels = joined[labels]
        if np.array_equal(labels[one], labels[other]):
            return labels


def _information(looks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many bits of each look are set, or unset if that is fewer."""
    count = np.bitwise_count(looks).sum(axis=1, dtype=np.int64)
    information: NDArray[np.int64] = np.minimum(count, 256 - count)
    return information


def _is_plain(looks: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return _information(looks) < PLAIN_BITS


def _limits(looks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """By how many bits a look may differ from a near one."""
    return np.minimum(NEAR_BITS, _information(looks) // PLAIN_SHARE)


def _candidates(scans: Sequence[Scan]) -> list[tuple[Scan, Scan]]:
    """Pairs of near duplicates that may be one picture saved again: of one size, one brightness and nearly one look."""
    pairs = []
    ordered = sorted(scans, key=lambda scan: (scan.width, scan.height, scan.brightness, scan.digest))
    for place, scan in enumerate(ordered):
        for other in ordered[place + 1 : place + 1 + COMPARED]:
            if (scan.width, scan.height) != (other.width, other.height) or other.brightness - scan.brightness > MEAN_LEVELS:
                break
            if (int.from_bytes(scan.look) ^ int.from_bytes(other.look)).bit_count() <= NEAR_BITS:
                pairs.append((scan, other))
    return pairs


def _is_saved_again(root: Path, max_pixels: int, paths: tuple[str, str]) -> bool:
    """Whether two files of one size show the same picture."""
    try:
        one, other = (_cells((root / path).read_bytes(), max_pixels) for path in paths)
    except (SightlineError, OSError):
        return False  # whole a moment ago
    return one.shape == other.shape and float(np.abs(one - other).max()) <= CELL_LEVELS


def _cells(data: bytes, max_pixels: int) -> NDArray[np.int16]:
    """Means of cells of grey pixels, int16 (H / 8, W / 8)."""
    return np.asarray(Image.fromarray(decode(data, max_pixels)).convert("L").reduce(CELL_PX), np.int16)


def _join(leads: dict[str, str], one: str, other: str) -> None:
    """Joins two sets of `leads`; the least of a set leads it."""
    first, second = sorted((_least(leads, one), _least(leads, other)))
    leads[second] = leads[first] = first


def _least(leads: Mapping[str, str], name: str) -> str:
    while leads.get(name, name) != name:
        name = leads[name]
    return name
