"""What scores of classes are worth: precision over recall, and whether a score tells how often it is right."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tasks.metrics.classify import BINS
from tasks.plots import save


def precision_recall(
    scores: Mapping[str, NDArray[np.float32]], truth: Mapping[str, NDArray[np.bool_]], title: str, path: Path
) -> None:
    """Precision over recall of each class that an image shows, one class against all others.

    Args:
        scores: Of each class, float32 (M,), 0-1.
        truth: Of each class, bool (M,): whether the image shows it.
        title: Above the curves.
        path: The PNG.
    """
    import torch
    from torchmetrics.functional.classification import binary_average_precision, binary_precision_recall_curve

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, shown in truth.items():
        if shown.any():
            pair = torch.from_numpy(scores[name]), torch.from_numpy(shown).long()
            precision, recall, _ = binary_precision_recall_curve(*pair)
            label = f"{name} {float(binary_average_precision(*pair)):.3f}"
            axes.plot(recall, precision, drawstyle="steps-post", label=label, alpha=0.8)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1.02), ylim=(0, 1.02), title=title)
    axes.grid(alpha=0.3)
    if axes.lines and len(axes.lines) <= 20:
        axes.legend(title="average precision", fontsize="small")
    save(figure, path)


def reliability(confidence: NDArray[np.float32], is_right: NDArray[np.bool_], error: float, what: str, path: Path) -> None:
    """How often scores are right beside what they say, and how many there are (Guo et al., 2017, figure 1).

    Args:
        confidence: float32 (M,), 0-1.
        is_right: bool (M,).
        error: The calibration error, 0-1.
        what: What is right or not, plural, e.g. `images`.
        path: The PNG.
    """
    edges = np.linspace(0, 1, BINS + 1)
    count, mean, share = bins(confidence, is_right)
    used = count > 0
    figure = Figure(figsize=(5, 6), layout="constrained")
    top, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    top.bar(edges[:-1][used], share[used], 1 / BINS, align="edge", alpha=0.5, edgecolor="tab:blue", label="each bin of scores")
    top.plot([0, 1], [0, 1], color="black", linestyle="--", label="perfectly calibrated")
    top.plot(mean[used], share[used], color="tab:red", marker="o", label="at its mean score")
    top.set(ylabel="share that is right", xlim=(0, 1), ylim=(0, 1.02), title=f"calibration error {error:.3f}")
    figure.legend(fontsize="small", loc="outside upper center", ncols=3)
    below.bar(edges[:-1], count, 1 / BINS, align="edge", alpha=0.5, edgecolor="tab:blue")
    below.set(xlabel="score", ylabel=what)
    below.yaxis.set_major_locator(MaxNLocator(integer=True))
    for axes in (top, below):
        axes.grid(alpha=0.3)
    save(figure, path)


def bins(
    confidence: NDArray[np.float32], is_right: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """`BINS` equal bins of scores, as the calibration error has them: `low <= score < high`.

    Returns:
        Of each how many scores there are, int64 (BINS,), their mean, and the share of them that is right, float64 (BINS,).
    """
    place = np.searchsorted(np.linspace(0, 1, BINS + 1, dtype=np.float32), confidence, side="right") - 1
    place = np.minimum(place, BINS - 1)
    count = np.bincount(place, minlength=BINS)
    mean, share = (np.bincount(place, values, BINS) / np.maximum(count, 1) for values in (confidence, is_right))
    return count, mean, share
