"""Detection: the confusion matrix, precision over recall, and boxes beside the ground truth."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from sightline.postprocess.detect import Detections
from sightline.preprocess import decode
from tasks.metrics.detect import IOUS, RECALLS, Average, Match, Outlines, confusion, matches
from tasks.plots import SHOWN, WORST_FILE, Picture, confusion_matrix, gallery, save, spread
from tasks.tables import Sample

Item = TypeVar("Item")
AROUND: Final = 2.0
"""Sides of a box that the picture of an error has."""
MIN_PART: Final = 48.0
"""Least side of what it shows, in pixels of the image."""
PART_PX: Final = 208
"""Side of such a picture, in pixels."""


def draw(
    samples: Sequence[Sample], found: Sequence[Detections], measured: Average, classes: Sequence[str], report: Path
) -> None:
    """Writes confusion_matrix.png, precision_recall.png, predictions.png and the worst errors."""
    conf = measured.metrics["conf"]
    figures(samples, found, measured, classes, report)
    images = [_decoded(sample) for sample in shown(samples)]
    detections(shown(samples), shown(found), classes, conf, report / "predictions.png", images, images)


def figures(
    samples: Sequence[Sample],
    found: Sequence[Detections],
    measured: Average,
    classes: Sequence[str],
    report: Path,
    outlines: Sequence[Outlines] | None = None,
    paint: Callable[[Sample, Outlines, Match], NDArray[np.uint8]] | None = None,
) -> None:
    """What boxes and masks have in common: confusion_matrix.png, precision_recall.png and the worst errors.

    With `outlines`, `paint` makes the image of an error, uint8 (H, W, 3) RGB.
    """
    conf = measured.metrics["conf"]
    matrix = confusion(samples, found, len(classes), conf, outlines)
    confusion_matrix(matrix, [*classes, "background"], report / "confusion_matrix.png")
    precision_recall(measured.curves, report / "precision_recall.png")
    errors = worst(samples, found, conf, outlines)
    if errors:
        pictures = []
        for error in errors:
            sample = samples[error.image]
            image = paint(sample, outlines[error.image], error.match) if outlines and paint else _decoded(sample)
            pictures.append(_picture(image, sample, found[error.image], error.match, classes))
        gallery(pictures, SHOWN, 1.9, report / WORST_FILE)


def precision_recall(curves: Mapping[str, NDArray[np.float64]], path: Path) -> None:
    """Precision over recall at an IoU of 0.5, and average precision over the IoU that is asked.

    Args:
        curves: Of each class, float64 (10, 101) at `IOUS` and `RECALLS`.
        path: The PNG.
    """
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    drawn: list[tuple[str, NDArray[np.float64], dict[str, Any]]] = [(*item, {"linewidth": 1.2}) for item in curves.items()]
    if curves:
        drawn.append(("mean", np.mean(list(curves.values()), axis=0), {"linewidth": 2.5, "color": "black"}))
    for name, curve, style in drawn:
        left.plot(RECALLS, curve[0], label=f"{name} {curve[0].mean():.3f}", **style)
        right.plot(IOUS, curve.mean(axis=1), label=f"{name} {curve.mean():.3f}", marker=".", **style)
    left.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02), title="precision and recall at IoU 0.5 (AP50)")
    right.set(xlabel="IoU", ylabel="average precision", xlim=(0.5, 0.95), ylim=(0, 1.02), title="over IoU (AP50-95)")
    for axes in (left, right):
        axes.grid(alpha=0.3)
        if len(curves) <= 20 and curves:
            axes.legend(fontsize="small")
    save(figure, path)


class Error(NamedTuple):
    """An object that was missed, or a detection that is false or of another class.

    Attributes:
        image: The sample's number.
        match: The object and the detection.
        weight: How bad it is among those of its kind: the score of a detection, the area of a missed object.
    """

    image: int
    match: Match
    weight: float


def worst(
    samples: Sequence[Sample], found: Sequence[Detections], conf: float, outlines: Sequence[Outlines] | None = None
) -> list[Error]:
    """The worst errors at `conf`, `SHOWN` of each kind.

    The largest objects that were missed come first, then the surest false alarms, then the surest detections of another class
    than is true.
    """
    kinds: tuple[list[Error], ...] = [], [], []
    for image, (sample, result) in enumerate(zip(samples, found, strict=True)):
        for match in matches(sample, result, conf, outlines=outlines[image] if outlines is not None else None):
            truth, index = match
            if truth is not None and index is None:
                kinds[0].append(Error(image, match, float(np.prod(sample.boxes[truth, 2:] - sample.boxes[truth, :2]))))
            elif index is not None and (truth is None or sample.labels[truth] != result.labels[index]):
                kinds[1 if truth is None else 2].append(Error(image, match, float(result.scores[index])))
    return [error for kind in kinds for error in sorted(kind, key=lambda error: -error.weight)[:SHOWN]]


def _decoded(sample: Sample) -> NDArray[np.uint8]:
    return decode(sample.path.read_bytes())


def _picture(pixels: NDArray[np.uint8], sample: Sample, result: Detections, match: Match, classes: Sequence[str]) -> Picture:
    """The part of the image around an error; the objects are green there, thick the one in question, what was found is red."""
    image = Image.fromarray(pixels)
    truth = None if match.truth is None else sample.boxes[match.truth]
    guess = None if match.found is None else result.boxes[match.found].astype(np.float64)
    boxes = np.array([box for box in (truth, guess) if box is not None])
    centre = (boxes[:, :2].min(axis=0) + boxes[:, 2:].max(axis=0)) / 2
    side = max(AROUND * float((boxes[:, 2:] - boxes[:, :2]).max()), MIN_PART)
    low = centre - side / 2
    part = image.crop((*np.floor(low).astype(int), *np.ceil(low + side).astype(int))).resize((PART_PX, PART_PX))
    pen = ImageDraw.Draw(part)
    outlines = [*((box, "lime", 1) for box in sample.boxes), (truth, "lime", 3), (guess, "red", 3)]
    for box, colour, width in outlines:
        if box is not None:
            xmin, ymin, xmax, ymax = ((box.reshape(2, 2) - low) * PART_PX / side).ravel().tolist()
            pen.rectangle((xmin, ymin, max(xmin, xmax), max(ymin, ymax)), outline=colour, width=width)
    name = "" if match.truth is None else classes[int(sample.labels[match.truth])]
    if match.found is None:
        return Picture(np.asarray(part), f"missed: {name}")
    text = f"{classes[int(result.labels[match.found])]} {result.scores[match.found]:.2f}"
    return Picture(np.asarray(part), f"{text}\ntrue: {name}" if name else f"{text}\nfalse alarm")


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
