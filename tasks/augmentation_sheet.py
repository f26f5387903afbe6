"""A sheet of training images as a network sees them, after augmentation and with their targets, for the eye."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks, make_grid

SHOWN: Final = 16
"""Images on a sheet, at most."""
COLUMNS: Final = 4
SIDE: Final = 240
"""The longer side of a picture, pixels."""
TINT: Final = 0.4
"""The weight of a mask's colour over the picture, 0-1."""
COLOURS: Final = (
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf",
)  # fmt: skip
"""By label; labels further on begin with the first again."""
INK: Final = "#404040"


@dataclass(frozen=True)
class Picture:
    """A training image with its target, as far as it has one of a kind.

    Attributes:
        image: uint8 (3, H, W) RGB.
        labels: int64 (K,); of the objects, or of the image.
        boxes: float32 (K, 4) xyxy, pixels.
        masks: bool (K, H, W).
    """

    image: Tensor
    labels: Tensor
    boxes: Tensor | None = None
    masks: Tensor | None = None


def picture(image: Tensor, target: Tensor | dict[str, Tensor]) -> Picture:
    """An item of a dataset in torchvision's form.

    Args:
        image: uint8 (3, H, W) RGB, 0-255, or float32, 0-1.
        target: A label, int64 (); class indicators, float32 (C,); a class map, integer (H, W), 255 where it is ignored; or a
            dict of `labels`, `boxes` and `masks`.
    """
    if image.is_floating_point():
        image = functional.to_dtype(image, torch.uint8, scale=True)
    if isinstance(target, dict):
        masks = target.get("masks")
        return Picture(image, target["labels"], target["boxes"], masks.bool() if masks is not None else None)
    if target.ndim == 2:
        labels = torch.tensor([label for label in torch.unique(target).tolist() if label != 255], dtype=torch.int64)
        return Picture(image, labels, masks=target == labels[:, None, None])
    return Picture(image, target.nonzero().flatten() if target.is_floating_point() else target.reshape(-1))


def write(pictures: Sequence[Picture], classes: Sequence[str], path: Path) -> None:
    """Writes a JPEG of up to `SHOWN` pictures.

    Args:
        pictures: Of one size.
        classes: Class names; the index is the label.
        path: The JPEG.
    """
    drawn = [_draw(item, classes) for item in pictures[:SHOWN]]
    sheet = make_grid(drawn, nrow=COLUMNS, padding=4, pad_value=255)
    Image.fromarray(sheet.permute(1, 2, 0).numpy()).save(path, quality=90)


def _draw(item: Picture, classes: Sequence[str]) -> Tensor:
    """The picture at `SIDE`, uint8 (3, H, W): masks in their class's colour, boxes with names, or the names above."""
    height, width = item.image.shape[1:]
    scale = SIDE / max(height, width)
    size = [round(height * scale), round(width * scale)]
    image: Tensor = functional.resize(item.image, size, antialias=True)
    names = [classes[int(label)] for label in item.labels]
    colours = [COLOURS[int(label) % len(COLOURS)] for label in item.labels]
    if item.masks is not None and names:
        masks = functional.resize(item.masks.to(torch.uint8), size, functional.InterpolationMode.NEAREST).bool()
        image = draw_segmentation_masks(image, masks, alpha=TINT, colors=colours)
    if item.boxes is not None:
        boxes, texts, width = item.boxes * scale, names, 2
    else:
        boxes, texts, width = torch.tensor([[0.0, 0.0, size[1] - 1, size[0] - 1]]), [", ".join(names)], 1
        colours = [INK]
    if len(boxes):
        image = draw_bounding_boxes(image, boxes, texts, colours, width=width, label_colors="white", fill_labels=True)
    return image
