"""The fingerprint as a page that needs nothing but itself: numbers, plots, and sample pictures with what is marked on them."""

import base64
import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tasks.page import document

PLOTS: Final = {
    "samples.png": "Samples of the training split",
    "class_distribution.png": "Classes",
    "box_sizes.png": "Boxes",
}
"""Pictures that `fingerprint` may have written, in the page's order."""
SHOWN: Final = 8
"""Resolutions, the most frequent ones."""


def write_page(metadata: Mapping[str, Any], report: Path) -> None:
    """Writes `fingerprint.html` beside the pictures in `report`, with them inside.

    Args:
        metadata: What stands in dataset_metadata.json.
        report: The fingerprint's folder.
    """
    origin = metadata["provenance"]
    title = str(origin.get("name", "Dataset"))
    counts = {"images": metadata["images"], "objects": metadata["objects"], "classes": len(metadata["classes"])}
    counts |= {f"in {split}": count for split, count in metadata["splits"].items()}
    source = html.escape(f"{metadata['task']}, {origin.get('source', 'tables')}, {origin.get('format', 'tables')}")
    body = [
        f'<p class="about">{source}; content hash <code>{metadata["content_hash"][:16]}</code></p>',
        f'<ul class="counts">{"".join(f"<li><b>{count:,}</b>{name}</li>" for name, count in counts.items() if count)}</ul>',
        *(_picture(report / name, caption) for name, caption in PLOTS.items() if (report / name).is_file()),
        _distributions(metadata),
        _table("Resolutions", ("width x height", "images"), list(metadata["resolutions"].items())[:SHOWN]),
        _table("Pixels, 0-1", ("channel", "mean ± standard deviation"), _pixels(metadata)),
    ]
    (report / "fingerprint.html").write_text(document(title, "".join(body)), encoding="utf-8")


def _picture(path: Path, caption: str) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<div class="card plot"><h2>{caption}</h2><img alt="{caption}" src="data:image/png;base64,{data}"></div>'


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table whose columns after the first are numbers; nothing without rows."""
    if not rows:
        return ""
    head = "".join(f'<th scope="col"{" class=n" if place else ""}>{html.escape(name)}</th>' for place, name in enumerate(heads))
    cells = [[html.escape(str(value)) for value in row] for row in rows]
    body = "".join(f"<tr><td>{first}</td>{''.join(f'<td class=n>{cell}</td>' for cell in rest)}</tr>" for first, *rest in cells)
    table = f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return f'<div class="card"><h2 class="caption">{title}</h2>{table}</div>'


def _distributions(metadata: Mapping[str, Any]) -> str:
    """Quantiles of the boxes' sizes and of the number of objects in an image."""
    measured = dict(metadata.get("boxes", {}))
    if "objects_per_image" in metadata:
        measured["objects in an image"] = {key: value for key, value in metadata["objects_per_image"].items() if key != "mean"}
    if not measured:
        return ""
    names = list(next(iter(measured.values())))
    rows = [[key.replace("_", " "), *(f"{values[name]:.4g}" for name in names)] for key, values in measured.items()]
    return _table("Distributions", ("box, pixels or share", *names), rows)


def _pixels(metadata: Mapping[str, Any]) -> list[tuple[str, str]]:
    pairs = zip("RGB", metadata.get("pixel_mean", []), metadata.get("pixel_std", []), strict=False)
    return [(channel, f"{mean:.3f} ± {std:.3f}") for channel, mean, std in pairs]
