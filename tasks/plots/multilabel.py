"""Multi-label classification: precision over recall of each class, and images with their classes."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from sightline.postprocess.multilabel import Labels
from sightline.preprocess import decode
from tasks.metrics.multilabel import THRESHOLD, Precisions
from tasks.plots import SHOWN, save, spread
from tasks.tables import Sample


def draw(
    samples: Sequence[Sample], found: Sequence[Labels], measured: Precisions, classes: Sequence[str], report: Path
) -> None:
    """Writes precision_recall.png and predictions.png."""
    _precision_recall(measured, classes, report / "precision_recall.png")
    _predictions(samples, measured, classes, report / "predictions.png")


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


def _predictions(samples: Sequence[Sample], measured: Precisions, classes: Sequence[str], path: Path) -> None:
    """Images with the classes that were found; red where one is too many or missing, which are named."""
    chosen = spread(len(samples), 2 * SHOWN)
    columns = min(SHOWN // 2, len(chosen))
    rows = -(-len(chosen) // columns)
    figure = Figure(figsize=(2.6 * columns, 2.6 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for axes, index in zip(grid.flat, chosen, strict=False):
        is_found, is_true = measured.scores[index] > THRESHOLD, measured.truth[index]
        names = [
            f"{'not ' if not true else 'missed ' if not got else ''}{name}"
            for name, got, true in zip(classes, is_found, is_true, strict=True)
            if got or true
        ]
        axes.imshow(decode(samples[index].path.read_bytes()))
        is_right = bool((is_found == is_true).all())
        axes.set_title(", ".join(names) or "no class", color="black" if is_right else "red", fontsize="x-small", wrap=True)
    save(figure, path)
