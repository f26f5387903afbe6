"""The rules that a scan of the image files tells."""

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from tasks.file_kinds import FOREIGN, SUFFIX_OF
from tasks.findings import Finding, finding
from tasks.rules import BLURRED, BRIGHT, DARK, ENOUGH, EVEN, ODD_AREA, ODD_ASPECT, SIDE_PX, SPREADS
from tasks.scan import Scan, Scans

_NAMES: Final = {"MPO": "JPEG", "WEBP": "WebP"}


def check_images(scans: Scans) -> Iterator[Finding]:
    """What is wrong with each image, by itself and beside the others."""
    broken = {scans.at(int(row)).image_id for row in np.flatnonzero(~scans.records["is_whole"])}
    shared = Counter(scan.image_id for scan in scans.values() if scan.image_id in broken) if broken else Counter[str]()
    for scan in scans.values():
        if scan.code:  # the stem may be another's, which is whole
            image_id = scan.image_id if shared[scan.image_id] == 1 else scan.path
            yield finding(scan.code, scan.got, scan.path, 0, image_id)
        else:
            for code, got in _alone(scan):
                yield finding(code, got, scan.path, 0, scan.image_id)
    for code, row, got in (*_blurred(scans), *_odd_sizes(scans)):
        scan = scans.at(row)
        yield finding(code, got, scan.path, 0, scan.image_id)


def check_foreign(names: Iterable[str]) -> Iterator[Finding]:
    """Files that are images by their suffix, of a format that is not read."""
    for name in names:
        suffix = name[name.rfind(".") :].lower()
        if suffix in FOREIGN:
            yield finding("image.foreign", f"a {suffix} file", name)


def _alone(scan: Scan) -> Iterator[tuple[str, str]]:
    """The rules that a whole image breaks by itself: code and what was got."""
    if scan.path[scan.path.rfind(".") :].lower() not in SUFFIX_OF[scan.kind]:
        yield "image.suffix", f"a {_NAMES.get(scan.kind, scan.kind)} file"
    if scan.orientation != 1:
        yield "image.oriented", f"EXIF orientation {scan.orientation}"
    if scan.frames > 1:
        yield "image.animated", "several pages" if scan.kind == "TIFF" else "an animation"
    if scan.mode == "CMYK":
        yield "image.cmyk", "CMYK"
    if scan.transparent:
        yield "image.alpha", "transparent pixels"
    if scan.bits > 8:
        yield "image.bits", f"{scan.bits} bits a channel"
    if min(scan.width, scan.height) < SIDE_PX:
        yield "image.tiny", f"{scan.width}x{scan.height}"
    if scan.contrast <= EVEN:
        yield "image.blank", f"one even tone of brightness {scan.brightness:.0f}"
    elif scan.lightest < DARK:
        yield "image.dark", f"nothing brighter than {scan.lightest:.0f} of 255"
    elif scan.darkest > BRIGHT:
        yield "image.bright", f"nothing darker than {scan.darkest:.0f} of 255"


def _blurred(scans: Scans) -> Iterator[tuple[str, int, str]]:
    """Images far less sharp than the others; those that show nothing have no sharpness that counts."""
    seen = scans.records
    shown = np.flatnonzero(seen["is_whole"] & (seen["contrast"] > EVEN) & (seen["lightest"] >= DARK) & (seen["sharpness"] > 0))
    sharpness = seen["sharpness"][shown].astype(np.float64)
    far, median = _far(sharpness, BLURRED)
    for place in np.flatnonzero(far & (sharpness < median)):
        got = f"sharpness {sharpness[place]:.3g}, {median:.3g} in the middle of the dataset"
        yield "image.blurred", int(shown[place]), got


def _odd_sizes(scans: Scans) -> Iterator[tuple[str, int, str]]:
    rows = np.flatnonzero(scans.records["is_whole"])
    width, height = (scans.records[name][rows].astype(np.float64) for name in ("width", "height"))
    odd_aspect, aspect = _far(width / height, ODD_ASPECT)
    odd_area, area = _far(width * height, ODD_AREA)
    for index in np.flatnonzero(odd_aspect | odd_area):
        size = f"{width[index]:g}x{height[index]:g}"
        if odd_aspect[index]:
            got = f"{size}: width / height {width[index] / height[index]:.3g}, usual {aspect:.3g}"
        else:
            got = f"{size}: {width[index] * height[index]:.3g} pixels, usual {area:.3g}"
        yield "image.odd_size", int(rows[index]), got


def _far(values: NDArray[np.float64], factor: float) -> tuple[NDArray[np.bool_], float]:
    """Which of float (N,) positive values are far from their median, and the median; none where there are not enough."""
    if len(values) < ENOUGH:
        return np.zeros(len(values), np.bool_), float("nan")
    logarithms = np.log(values)
    low, middle, high = np.percentile(logarithms, [25, 50, 75])
    limit = max(SPREADS * (high - low), float(np.log(factor)))
    return np.abs(logarithms - middle) > limit, float(np.exp(middle))
