"""Detection: the confusion matrix, precision over recall, and boxes beside the ground truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from sightline.postprocess.detect import Detections
from sightline.preprocess import decode
from tasks.metrics.detect import RECALLS, Average, confusion
from tasks.plots import confusion_matrix, save, spread
from tasks.tables import Sample

Item = TypeVar("Item")


def draw(
    samples: Sequence[Sample], found: Sequence[Detections], measured: Average, classes: Sequence[str], report: Path
) -> None:
    """Writes confusion_matrix.png, precision_recall.png and predictions.png."""
    conf = measured.metrics["conf"]
    matrix = confusion(samples, found, len(classes), conf)
    confusion_matrix(matrix, [*classes, "background"], report / "confusion_matrix.png")
    precision_recall(measured.curves, report / "precision_recall.png")
    images = [decode(sample.path.read_bytes()) for sample in shown(samples)]
    detections(shown(samples), shown(found), classes, conf, report / "predictions.png", images, images)


def precision_recall(curves: Mapping[str, NDArray[np.float64]], path: Path) -> None:
    """Precision over recall at an IoU of 0.5; each class's AP50 in the legend."""
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    axes = figure.subplots()
    for name, precision in curves.items():
        axes.plot(RECALLS, precision, linewidth=1.2, label=f"{name} {precision.mean():.3f}")
    if curves:
        mean = np.mean(list(curves.values()), axis=0)
        axes.plot(RECALLS, mean, color="black", linewidth=2.5, label=f"mAP50 {mean.mean():.3f}")
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="precision and recall at IoU 0.5")
    axes.grid(alpha=0.3)
    if len(curves) <= 20:
        axes.legend(fontsize="small")
    save(figure, path)


def shown(items: Sequence[Item]) -> list[Item]:
    """The few of them that a picture has."""
    return [items[index] for index in spread(len(items))]


def detections(
    samples: Sequence[Sample],
    found: Sequence[Detections],
    classes: Sequence[str],
    conf: float,
    path: Path,
    true_images: Sequence[NDArray[np.uint8]],
    predicted_images: Sequence[NDArray[np.uint8]],
) -> None:
    """The ground truth above, what was found at `conf` below; each on its image, uint8 (H, W, 3) RGB."""
    figure = Figure(figsize=(4.2 * len(samples) / 2, 13), layout="constrained")
    grid = figure.subplots(4, (len(samples) + 1) // 2, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for place, (sample, result) in enumerate(zip(samples, found, strict=True)):
        row, column = 2 * (place // grid.shape[1]), place % grid.shape[1]
        truth, predicted = grid[row, column], grid[row + 1, column]
        truth.set_title(f"true: {sample.image_id}", fontsize="small")
        predicted.set_title(f"predicted at {conf:.2f}", fontsize="small")
        _draw(truth, true_images[place], sample.boxes, [classes[int(label)] for label in sample.labels], sample.labels)
        kept = result.scores >= conf
        texts = [
            f"{classes[int(label)]} {score:.2f}" for label, score in zip(result.labels[kept], result.scores[kept], strict=True)
        ]
        _draw(predicted, predicted_images[place], result.boxes[kept], texts, result.labels[kept])
    save(figure, path)


def _draw(axes: Any, image: NDArray[np.uint8], boxes: NDArray[Any], texts: Sequence[str], labels: NDArray[np.int64]) -> None:
    """Boxes, xyxy in pixels, on uint8 (H, W, 3) RGB, a colour for each label."""
    axes.imshow(image)
    palette = mpl.colormaps["tab10"]
    for (xmin, ymin, xmax, ymax), text, label in zip(boxes, texts, labels, strict=True):
        colour = palette(int(label) % 10)
        axes.add_patch(Rectangle((xmin, ymin), xmax - xmin, ymax - ymin, fill=False, edgecolor=colour, linewidth=1.4))
        axes.text(xmin, ymin - 2, text, color=colour, fontsize="xx-small", clip_on=True)
