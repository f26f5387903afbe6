"""Images that show the same: the same bytes, the same picture saved again, or nearly the same picture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.errors import SightlineError
from sightline.preprocess import decode
from tasks.lazy import Lazy
from tasks.looks import CELL_PX
from tasks.parallel import parallel
from tasks.scan import Scans

NEAR_BITS: Final = 15
"""Bits of 256 by which near duplicates' looks differ at most; those of different photographs differ by 20 and more."""
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
        root: What their paths are relative to: pictures that look the same are decoded once more and compared, and so are
            those of equal grey pixels, which may differ in colour.
        max_pixels: Larger images are not decoded.
    """
    seen = scans.records
    rows = np.flatnonzero(seen["has_look"] | seen["has_pixels"])
    rows = rows[np.unique(_text(seen["digest"][rows]), return_index=True)[1]]  # each file once, the least hash first
    has_look = seen["has_look"][rows]
    looks, codes = np.unique(_text(seen["look"][rows[has_look]]), return_inverse=True)
    labels = np.empty(len(rows), np.int64)
    labels[has_look] = near_groups(looks.view(np.uint8).reshape(-1, 32))[codes]
    labels[~has_look] = len(looks) + np.unique(_text(seen["look"][rows[~has_look]]), return_inverse=True)[1]
    is_shared = np.bincount(labels, minlength=1)[labels] > 1
    rows, labels = rows[is_shared], labels[is_shared]
    near: dict[str, str] = {}
    leads: dict[int, str] = {}
    for row, label in zip(rows, labels, strict=True):
        if seen["has_look"][row]:
            digest = _digest(seen, row)
            near[digest] = leads.setdefault(int(label), digest)
    pairs = _Pairs(scans, _candidates(seen, rows, labels))
    same: dict[str, str] = {}
    compare = partial(_is_saved_again, root, max_pixels)
    for (one, other), is_same in zip(pairs.rows, parallel(compare, pairs, "validate", "duplicates"), strict=True):
        if is_same:
            _join(same, _digest(seen, one), _digest(seen, other))
    same = {digest: _least(same, digest) for digest in same}
    near |= {digest: least for digest, least in same.items() if digest not in near}
    return Duplicates(same, near)


def not_compared(scans: Scans) -> NDArray[np.intp]:
    """The rows of images that are near duplicates of none, as they have no look: they are compared for equal pixels alone."""
    return np.flatnonzero(scans.records["has_pixels"])


class _Pairs(Lazy[tuple[str, str, bool]]):
    """The paths of pairs of files, and whether all their pixels must be equal.

    Attributes:
        rows: int (N, 2), in `scans`.
    """

    def __init__(self, scans: Scans, rows: NDArray[np.intp]) -> None:
        self._scans, self.rows = scans, rows

    def __len__(self) -> int:
        return len(self.rows)

    def at(self, row: int) -> tuple[str, str, bool]:
        one, other = self.rows[row]
        return self._scans.paths[one], self._scans.paths[other], bool(self._scans.records["has_pixels"][one])


def _digest(seen: "NDArray[np.void]", row: np.intp) -> str:
    return str(seen["digest"][row].tobytes().hex())


def _text(values: "NDArray[np.void]") -> NDArray[np.bytes_]:
    """Bytes that NumPy sorts; it takes zeros at their ends for padding, which leaves the order as it is."""
    return np.ascontiguousarray(values).view("S32")


def near_groups(looks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Joins looks that are near one another, by however many steps.

    Multi-index hashing (Norouzi, Punjani and Fleet, 2012, CVPR, "Fast search in Hamming space with multi-index hashing"): a
    sort for each bit that may differ in each part finds the candidates. Memory is a few times that of the looks.

    Args:
        looks: uint8 (N, 32), each once.

    Returns:
        int64 (N,), the least index of those that each is joined with.
    """
    labels = np.arange(len(looks))
    wide = np.ascontiguousarray(looks).view(np.uint64)
    limits, index = _limits(looks), labels.astype(np.uint64)
    # neighbouring bits tell the same: each part takes its four bytes from all over the picture
    parts = np.ascontiguousarray(looks.reshape(-1, 4, BANDS).transpose(0, 2, 1)).view(np.uint32)[:, :, 0]
    for part in range(BANDS):
        for bit in range(32):
            keys = (parts[:, part] & np.uint32(0xFFFFFFFF ^ (1 << bit))).astype(np.uint64) << np.uint64(32)
            keys |= index
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


def _limits(looks: NDArray[np.uint8]) -> NDArray[np.int64]:
    """By how many bits a look may differ from a near one: by fewer where few of its bits are set, or unset."""
    count = np.bitwise_count(looks).sum(axis=1, dtype=np.int64)
    fewer: NDArray[np.int64] = np.minimum(count, 256 - count)
    return np.minimum(NEAR_BITS, fewer // PLAIN_SHARE)


def _candidates(seen: "NDArray[np.void]", rows: NDArray[np.intp], labels: NDArray[np.int64]) -> NDArray[np.intp]:
    """Pairs that may be one picture saved again: of one label, one size, one brightness and nearly one look, or equal pixels.

    Args:
        seen: The records.
        rows: int (N,), the least hash first.
        labels: int64 (N,), what near duplicates share, and so do images with equal pixels.

    Returns:
        int (P, 2), rows of `seen`.
    """
    keys = np.column_stack([labels, seen["width"][rows], seen["height"][rows]])
    order = np.lexsort((seen["brightness"][rows], *keys.T[::-1]))
    rows, keys = rows[order], keys[order]
    brightness, has_pixels = seen["brightness"][rows], seen["has_pixels"][rows]
    looks = np.frombuffer(seen["look"][rows].tobytes(), np.uint64).reshape(-1, 4)
    found = []
    for step in range(1, COMPARED + 1):
        one, other = slice(None, -step), slice(step, None)
        is_close = (keys[one] == keys[other]).all(axis=1)
        is_close &= (brightness[other] - brightness[one] <= MEAN_LEVELS) | has_pixels[one]
        is_close &= np.bitwise_count(looks[one] ^ looks[other]).sum(axis=1) <= NEAR_BITS
        found.append(np.column_stack([rows[one][is_close], rows[other][is_close]]))
    return np.concatenate(found)


def _is_saved_again(root: Path, max_pixels: int, pair: tuple[str, str, bool]) -> bool:
    """Whether two files of one size show the same picture."""
    is_exact = pair[2]
    view: Callable[[bytes, int], NDArray[Any]] = decode if is_exact else _cells  # in grey, two even colours may be equal
    try:
        one, other = (view((root / path).read_bytes(), max_pixels) for path in pair[:2])
    except (SightlineError, OSError):
        return False  # whole a moment ago
    if is_exact or one.shape != other.shape:
        return np.array_equal(one, other)
    return float(np.abs(one - other).max()) <= CELL_LEVELS


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
