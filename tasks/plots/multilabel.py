"""Multi-label classification: precision over recall of each class, and images with their classes."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from sightline.postprocess.multilabel import Labels
from sightline.preprocess import decode
from tasks.metrics.multilabel import THRESHOLD, Precisions
from tasks.plots import SHOWN, WORST_FILE, Picture, gallery, save, spread
from tasks.tables import Sample


def draw(
    samples: Sequence[Sample], found: Sequence[Labels], measured: Precisions, classes: Sequence[str], report: Path
) -> None:
    """Writes precision_recall.png, predictions.png, and the images with the scores that are furthest from the truth."""
    _precision_recall(measured, classes, report / "precision_recall.png")
    wrong = np.flatnonzero(((measured.scores > THRESHOLD) != measured.truth).any(axis=1))
    far = np.abs(measured.scores - measured.truth).max(axis=1)
    worst = wrong[np.argsort(-far[wrong], kind="stable")].tolist()
    for name, indices in {"predictions.png": spread(len(samples), 2 * SHOWN), WORST_FILE: worst[: 2 * SHOWN]}.items():
        if indices:
            pictures = [_picture(samples[each], measured.scores[each], measured.truth[each], classes) for each in indices]
            gallery(pictures, SHOWN // 2, 2.6, report / name)


def _precision_recall(measured: Precisions, classes: Sequence[str], path: Path) -> None:
    import torch
    from torchmetrics.functional.classification import binary_precision_recall_curve

    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    for index, name in enumerate(classes):
        if f"AP/{name}" in measured.metrics:
            scores, truth = (torch.from_numpy(values[:, index]) for values in (measured.scores, measured.truth))
            precision, recall, _ = binary_precision_recall_curve(scores, truth.long())
            axes.plot(recall, precision, drawstyle="steps-post", label=f"{name} {measured.metrics[f'AP/{name}']:.3f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title=f"mAP {measured.metrics['mAP']:.3f}")
    axes.grid(alpha=0.3)
    axes.legend(title="AP", fontsize="small")
    save(figure, path)


def _picture(sample: Sample, scores: NDArray[np.float32], truth: NDArray[np.bool_], classes: Sequence[str]) -> Picture:
    """An image with the classes that were found; those that are too many or missing are named."""
    names = [
        f"{'not ' if not true else 'missed ' if not got else ''}{name}"
        for name, got, true in zip(classes, scores > THRESHOLD, truth, strict=True)
        if got or true
    ]
    is_right = bool(((scores > THRESHOLD) == truth).all())
    return Picture(decode(sample.path.read_bytes()), ", ".join(names) or "no class", is_right)
