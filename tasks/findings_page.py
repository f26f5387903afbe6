"""Findings as a page that needs nothing but itself."""

import html
import io
import warnings
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pandas as pd
from PIL import Image, ImageDraw

from sightline.errors import SightlineError
from sightline.preprocess import BROKEN, FORMATS, decode
from tasks.file_kinds import SUFFIXES
from tasks.findings import SEVERITIES, Finding, count, ordered
from tasks.page import document
from tasks.rules import RULES
from tasks.tables import BOX, IMAGES, OBJECTS, Chunked, Tables, select

NOT_DECODED: Final = "Pixels were not decoded: what is broken inside an image, and near duplicates, are not told."
ROWS_SHOWN: Final = 100  # of one rule; findings.json and findings.parquet hold all
PICTURES_SHOWN: Final = 6  # of one rule
TRIED: Final = 4 * PICTURES_SHOWN  # of one rule: not each can be shown
REASONS_SHOWN: Final = 3  # of one sample that was set aside
SIDE_PX: Final = 160  # of a picture
ENLARGED: Final = 5  # times, at most: an image of a few pixels stays small
QUALITY: Final = 80
_MARK: Final = ((0, 0, 0), (255, 214, 10))  # a box's rim and line: one of them is seen on any ground
_ALIKE: Final = frozenset(
    {
        "image.duplicate", "image.copy", "image.near", "split.leak", "split.copy", "split.near", "class.conflict",
        "label.conflict",
    }
)  # fmt: skip
"""Rules whose pictures are the images that are alike."""


@dataclass(frozen=True)
class Source:
    """What pictures are taken from.

    Attributes:
        root: The dataset.
        tables: Of all its images, those that are set aside too.
        max_pixels: Larger images are not shown.
        decoded: Whether their pixels were looked at.
    """

    root: Path
    tables: Chunked
    max_pixels: int
    decoded: bool = True


def write_page(findings: Sequence[Finding], path: Path, quarantined: Sequence[str], source: Source, *, stops: bool) -> None:
    """Writes the page.

    Args:
        findings: In any order.
        path: The HTML file.
        quarantined: The image_id of each sample that was set aside.
        source: Where its pictures come from.
        stops: Whether there are errors that stop the pipeline.
    """
    path.write_text(_page(ordered(findings), sorted(quarantined), source, stops), encoding="utf-8")


def _page(findings: Sequence[Finding], quarantined: Sequence[str], source: Source, stops: bool) -> str:
    groups: dict[str, list[Finding]] = {}
    for item in findings:
        groups.setdefault(item.code, []).append(item)
    sizes = zip(source.tables.counts, ("image", "object", "class"), strict=True)
    about = ", ".join(_many(number, noun) for number, noun in sizes)
    tables = _pictured(groups, source.tables)
    body = "".join(_section(code, items, source, tables) for code, items in groups.items())
    return document(
        "Findings",
        f'<p class="about">{about} were read.</p>'
        f"{_verdict(findings, quarantined, stops, source.decoded)}{_counts(findings, quarantined)}{_overview(groups)}{body}"
        f"{_set_aside(findings, quarantined)}",
    )


def _verdict(findings: Sequence[Finding], quarantined: Sequence[str], stops: bool, decoded: bool) -> str:
    counts = count(findings)
    if stops:
        kind, text = "error", "The pipeline stops here."
        more = "Labels or measurements could not be trusted. What to do stands with each rule below."
    elif quarantined:
        kind, text = "warning", f"The pipeline goes on without {_many(len(quarantined), 'sample')}."
        more = "They are listed at the end, with the reason. The source is not altered."
    elif counts["warning"]:
        kind, text = "good", "The dataset can be used."
        more = "What warnings tell is repaired in the copy where that is said; look at the rest."
    else:
        kind, text = "good", "The dataset can be used."
        more = "Nothing was found." if not findings else "Nothing has to be done."
    if not decoded:
        more += f" {NOT_DECODED}"
    return f'<div class="verdict {kind}" role="status">{text}<span>{more}</span></div>'


def _counts(findings: Sequence[Finding], quarantined: Sequence[str]) -> str:
    numbers = count(findings)
    names = {"error": "error", "warning": "warning", "info": "info"}
    cards = [(severity if numbers[severity] else "none", numbers[severity], names[severity]) for severity in SEVERITIES]
    if quarantined:
        cards.append(("none", len(quarantined), "sample set aside" if len(quarantined) == 1 else "samples set aside"))
    shown = (
        f'<li class="{kind}"><b>{number:,}</b>{name if number == 1 or name not in ("error", "warning") else name + "s"}</li>'
        for kind, number, name in cards
    )
    return f'<ul class="counts">{"".join(shown)}</ul>'


def _overview(groups: dict[str, list[Finding]]) -> str:
    """Every rule that was broken, on a line."""
    if not groups:
        return ""
    rows = "".join(
        f'<tr><td><span class="tag {items[0].severity}">{items[0].severity}</span></td>'
        f'<td><a href="#{html.escape(code)}"><code>{html.escape(code)}</code></a></td>'
        f'<td>{html.escape(RULES[code].expected)}</td><td class="n">{len(items):,}</td></tr>'
        for code, items in groups.items()
    )
    return f'<div class="card">{_table(("severity", "rule", "expected", "findings"), rows)}</div>'


def _pictured(groups: Mapping[str, Sequence[Finding]], tables: Chunked) -> Tables:
    """The images that the first findings of each rule are about, and those that are alike."""
    names = {code: {item.image_id for item in items[:TRIED] if item.image_id} for code, items in groups.items()}
    if not any(names.values()):
        return Tables(IMAGES.empty_table().to_pandas(), OBJECTS.empty_table().to_pandas(), tables.classes)
    own = select(tables, lambda images: images["image_id"].isin(set().union(*names.values())))
    alike = set().union(*(names[code] for code in names.keys() & _ALIKE))
    if not alike:
        return own
    wanted = set(own.images.loc[own.images["image_id"].isin(alike), "group"])
    return select(tables, lambda images: images["group"].isin(wanted) | images["image_id"].isin(own.images["image_id"]))


def _section(code: str, items: Sequence[Finding], source: Source, tables: Tables) -> str:
    differs = any(item.expected != RULES[code].expected for item in items)
    rows = "".join(
        f'<tr><td class="file">{html.escape(item.file or "the whole dataset")}{f":{item.line}" if item.line else ""}</td>'
        f"<td>{html.escape(item.got)}</td>{f'<td>{html.escape(item.expected)}</td>' if differs else ''}</tr>"
        for item in items[:ROWS_SHOWN]
    )
    rest = len(items) - ROWS_SHOWN
    if rest > 0:
        rows += f'<tr><td colspan="3" class="more">and {rest:,} more in findings.json and findings.parquet</td></tr>'
    first = items[0]
    is_open = " open" if first.severity == "error" or len(items) <= 20 else ""
    pictures = "".join(_figures(code, items, source, tables))
    return (
        f'<details id="{html.escape(code)}"{is_open}><summary><span class="tag {first.severity}">{first.severity}</span>'
        f'<h2><code>{html.escape(code)}</code></h2><span class="n">{_many(len(items), "finding")}</span></summary>'
        f"<dl><dt>expected</dt><dd>{html.escape(RULES[code].expected)}</dd>"
        f"<dt>to do</dt><dd>{html.escape(first.remedy)}</dd></dl>"
        f"{f'<div class=pictures>{pictures}</div>' if pictures else ''}"
        f"{_table(('where', 'got', 'expected')[: 3 if differs else 2], rows)}</details>"
    )


def _set_aside(findings: Sequence[Finding], quarantined: Sequence[str]) -> str:
    """What was set aside, and why."""
    if not quarantined:
        return ""
    reasons: dict[str, list[Finding]] = {name: [] for name in quarantined}
    for item in findings:
        name = item.image_id or item.file
        if item.severity == "error" and len(reasons.get(name, [None] * REASONS_SHOWN)) < REASONS_SHOWN:
            reasons[name].append(item)
    rows = "".join(
        f'<tr><td class="file">{html.escape(name)}</td>'
        f"<td>{html.escape('; '.join(f'{item.code}: {item.got}' for item in items))}</td></tr>"
        for name, items in list(reasons.items())[:ROWS_SHOWN]
    )
    if len(quarantined) > ROWS_SHOWN:
        rows += f'<tr><td colspan="2" class="more">and {len(quarantined) - ROWS_SHOWN:,} more in findings.json</td></tr>'
    return (
        f'<details open><summary><h2>Set aside</h2><span class="n">{_many(len(quarantined), "sample")}</span></summary>'
        f"{_table(('sample', 'why'), rows)}</details>"
    )


def _figures(code: str, items: Sequence[Finding], source: Source, tables: Tables) -> Iterator[str]:
    """Pictures of the first images that break a rule; of those that are alike, beside one another."""
    shown: set[str] = set()
    for item in items[:TRIED]:
        for path, caption, boxes, size in _images_of(code, item, tables):
            picture = b"" if len(shown) == PICTURES_SHOWN or caption in shown else _picture(source, path, boxes, size)
            if picture:
                shown.add(caption)
                alt = f"{path}{', the box marked' if boxes else ''}"
                yield (
                    f'<figure><div class="frame"><img alt="{html.escape(alt)}" src="data:image/jpeg;base64,'
                    f'{b64encode(picture).decode()}"></div><figcaption>{html.escape(caption)}</figcaption></figure>'
                )


def _images_of(code: str, item: Finding, tables: Tables) -> Iterator[tuple[str, str, list[list[float]], tuple[int, int]]]:
    """Path, caption, boxes xyxy in pixels and upright size of the images that a finding is about."""
    images, objects = tables.images, tables.objects
    rows = images[images["image_id"] == item.image_id] if item.image_id else images.iloc[:0]
    if rows.empty:
        if item.file[item.file.rfind(".") :].lower() in SUFFIXES:
            yield item.file, item.file, [], (0, 0)
        return
    if code in _ALIKE:
        rows = images[images["group"] == rows["group"].iloc[0]].sort_values(["split", "image_id"]).iloc[:PICTURES_SHOWN]
    boxes: list[list[float]] = []
    if item.got.startswith("box "):
        own = objects.loc[(objects["image_id"] == item.image_id) & objects["xmin"].notna(), BOX]
        texts = own.map("{:g}".format).agg(", ".join, axis=1) if len(own) else pd.Series(dtype=str)
        boxes = own[[item.got.startswith(f"box {text} ") for text in texts]].drop_duplicates().to_numpy().tolist()
    for row in rows.itertuples():
        caption = f"{row.path}{f' ({row.split})' if row.split else ''}" if code in _ALIKE else f"{row.path}"
        yield str(row.path), f"{caption} {item.got.partition(' (')[0]}" if boxes else caption, boxes, (row.width, row.height)


def _picture(source: Source, path: str, boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> bytes:
    """A JPEG of `SIDE_PX` at most on each side, upright, with boxes; empty where the image cannot be shown."""
    try:
        data = (source.root / path).read_bytes()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images, which are a finding
            with Image.open(io.BytesIO(data), formats=FORMATS) as image:
                if image.mode.startswith(("I", "F")):  # would turn white
                    return b""
            upright = Image.fromarray(decode(data, source.max_pixels))
    except (SightlineError, *BROKEN):
        return b""
    scale = min(SIDE_PX / max(upright.size), ENLARGED)
    small = (max(1, round(upright.width * scale)), max(1, round(upright.height * scale)))
    picture = upright.resize(small, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)
    pen = ImageDraw.Draw(picture)
    for box in boxes:
        x, y = (picture.width / size[0], picture.height / size[1])
        left, right = sorted(min(max(value * x, 0), picture.width - 1) for value in box[::2])
        top, bottom = sorted(min(max(value * y, 0), picture.height - 1) for value in box[1::2])
        for grow, colour in zip((2, 1), _MARK, strict=True):
            pen.rectangle((left - grow, top - grow, right + grow, bottom + grow), outline=colour, width=2)
    encoded = io.BytesIO()
    picture.save(encoded, "JPEG", quality=QUALITY)
    return encoded.getvalue()


def _table(heads: Sequence[str], rows: str) -> str:
    columns = "".join(f'<th scope="col"{" class=n" if head == "findings" else ""}>{head}</th>' for head in heads)
    return f'<div class="scroll"><table><thead><tr>{columns}</tr></thead><tbody>{rows}</tbody></table></div>'


def _many(number: int, noun: str) -> str:
    plural = f"{noun}es" if noun.endswith("s") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else plural}"
