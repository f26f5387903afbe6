"""Plots of a dataset's classes and boxes. The same content gives the same bytes: no date, no version."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import LogLocator, NullLocator

SPLIT_COLOURS: Final = {"train": "#3b6ea8", "val": "#f0a43a", "test": "#5aa469"}
COCO_SIDES: Final = ((32, "small", "medium"), (96, "medium", "large"))
"""Sides in pixels that part small, medium and large objects (COCO's detection evaluation, areas of 32² and 96²)."""
MAX_POINTS: Final = 5000
MAX_COLOURS: Final = 10
"""Classes that a palette tells apart; more of them share one colour."""
MAX_CLASSES: Final = 100
"""Classes in a plot, the most frequent ones."""


def class_distribution(counts: pd.DataFrame, path: Path, unit: str = "objects") -> None:
    """Objects a class, stacked by split, and each class's share of each split.

    Args:
        counts: One row a class, one column a split.
        path: The PNG.
        unit: What is counted, plural.
    """
    shares = 100 * counts / counts.sum().clip(lower=1)
    kept = counts.sum(axis=1).sort_values(ascending=False, kind="stable").index[:MAX_CLASSES]
    counts, shares = counts.loc[counts.index.isin(kept)], shares.loc[counts.index.isin(kept)]
    rows = np.arange(len(counts))
    figure = Figure(figsize=(10, 1.8 + 0.32 * len(counts)), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    start = np.zeros(len(counts))
    for place, split in enumerate(counts.columns):
        colour = SPLIT_COLOURS[split]
        left.barh(rows, counts[split], left=start, height=0.7, color=colour, label=split)
        right.barh(rows + 0.23 * (place - 1), shares[split], height=0.23, color=colour)
        start += counts[split].to_numpy()
    for row, total in enumerate(start):
        left.annotate(f"{int(total):,}", (total, row), (4, 0), textcoords="offset points", va="center", fontsize="small")
    left.set_yticks(rows, counts.index, parse_math=False)
    left.set(title=f"{unit} by class", xlim=(0, 1.12 * max(start.max(), 1)), ylim=(len(rows) - 0.4, -0.6))
    right.set(title="share of the split, %", xlim=(0, max(1.08 * float(shares.to_numpy().max()), 1)))
    right.tick_params(left=False)
    for axes in (left, right):
        _clean(axes, "x")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    _save(figure, path)


def box_sizes(sizes: pd.DataFrame, classes: Sequence[str], path: Path) -> None:
    """Widths against heights, and the distribution of sizes, by class.

    Args:
        sizes: One row a box: `label`, `width`, `height` (pixels).
        classes: Class names; the index is the label.
        path: The PNG.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    sides = np.sqrt(sizes["width"] * sizes["height"])
    edges = np.geomspace(max(float(sides.min()), 1) * 0.999, max(float(sides.max()), 2) * 1.001, 41)
    groups = _groups(sizes, classes)
    share = min(1.0, MAX_POINTS / len(sizes))
    handles = []
    for _, colour, chosen in groups:
        some = sizes[chosen].iloc[np.unique(np.linspace(0, chosen.sum() - 1, max(1, int(chosen.sum() * share))).astype(int))]
        left.scatter(some["width"], some["height"], s=9, alpha=0.35, color=colour, linewidths=0)
        right.hist(sides[chosen], edges, histtype="stepfilled", alpha=0.45, color=colour)
        right.hist(sides[chosen], edges, histtype="step", linewidth=1.2, color=colour)
        handles.append(Patch(color=colour))
    both = sizes[["width", "height"]].to_numpy()
    limits = (0.8 * max(1.0, float(both.min())), 1.25 * float(both.max()))
    left.axline((1, 1), slope=1, color="0.75", linewidth=0.8, zorder=0)
    left.set(xscale="log", yscale="log", xlim=limits, ylim=limits, aspect="equal")
    left.set(title="boxes", xlabel="width, px", ylabel="height, px")
    right.set(xscale="log", title="size of boxes", xlabel="√(width · height), px", ylabel="boxes")
    right.set_ylim(0, 1.1 * right.get_ylim()[1])
    for side, below, above in COCO_SIDES:
        if edges[0] < side < edges[-1]:
            right.axvline(side, color="0.4", linestyle=":", linewidth=1)
            for name, align in ((f"{below} ", "right"), (f" {above}", "left")):
                right.text(side, 0.99, name, ha=align, va="top", transform=right.get_xaxis_transform(), fontsize="x-small")
    for axis in (left.xaxis, left.yaxis, right.xaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(NullLocator())
    _clean(left, "both")
    _clean(right, "y")
    legend = figure.legend(handles, [" "] * len(handles), loc="outside lower center", ncols=5, frameon=False)
    for text, (name, _, _) in zip(legend.get_texts(), groups, strict=True):
        text.set(text=name, parse_math=False)
    _save(figure, path)


def _groups(sizes: pd.DataFrame, classes: Sequence[str]) -> list[tuple[str, Any, Any]]:
    """Name, colour and rows of each class that has a box; all in one where the palette is too small."""
    if len(classes) > MAX_COLOURS:
        return [(f"all {len(classes)} classes", SPLIT_COLOURS["train"], np.ones(len(sizes), np.bool_))]
    palette = mpl.colormaps["tab10"]
    masks = [(sizes["label"] == label).to_numpy() for label in range(len(classes))]
    return [(name, palette(label), masks[label]) for label, name in enumerate(classes) if masks[label].any()]


def _clean(axes: Any, grid: str) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, alpha=0.25)
    axes.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> None:
    figure.savefig(path, dpi=110, metadata={"Software": None})
