"""Semantic segmentation: the class of each of the image's pixels."""

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sightline.engines import Outputs
from sightline.postprocess import Result
from sightline.preprocess import Placement

HOW: Final = (
    "`class_map` is a PNG of the image's size in base64, whose values are the classes' labels; its palette shows them in VOC's "
    "colours. `classes` are those that occur in it, with their share of the pixels, the largest first."
)


@dataclass(frozen=True)
class ClassMap(Result):
    """The classes of one image's pixels.

    Attributes:
        cells: uint8 (H, W) of the model's input, its letterbox included.
        placement: Where the image lies in them.
    """

    cells: NDArray[np.uint8]
    placement: Placement

    @property
    def class_map(self) -> NDArray[np.uint8]:
        """uint8 (height, width) of the image: each pixel's label."""
        return self.placement.map_to_image(self.cells)

    @property
    def count(self) -> int:
        """The number of classes that occur."""
        return int(np.count_nonzero(np.bincount(self.class_map.ravel())))

    def to_json(self, classes: Sequence[str]) -> dict[str, Any]:
        """`classes`: for each that occurs `label`, `name` and `share` of the pixels, 0-1; and `class_map`, a PNG in base64."""
        class_map = self.class_map
        shares = np.bincount(class_map.ravel(), minlength=len(classes)) / class_map.size
        order = [int(label) for label in np.argsort(-shares, kind="stable") if shares[label]]
        found = [{"label": label, "name": classes[label], "share": round(float(shares[label]), 6)} for label in order]
        return {"classes": found, "class_map": base64.b64encode(encode(class_map, len(classes))).decode("ascii")}


EXAMPLE: Final = ClassMap(np.zeros((4, 4), np.uint8), Placement(4, 4, 1.0, 1.0))


def read(outputs: Outputs, index: int, placement: Placement) -> ClassMap:
    """The classes of the pixels of image `index` of a batch.

    Args:
        outputs: `class_map` uint8 (N, H, W).
        index: Which image of the batch, 0..N-1.
        placement: Where that image lies in its input.
    """
    return ClassMap(np.array(outputs["class_map"][index], np.uint8), placement)


def palette() -> NDArray[np.uint8]:
    """A colour for each label, uint8 (256, 3) RGB: those of VOC's masks (VOCdevkit, VOClabelcolormap.m).

    Bits 0, 3, 6, ... of a label are those of its red from the highest down, 1, 4, 7 of its green, and 2, 5 of its blue.
    """
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
    channels = [np.pad(bits[:, channel::3], ((0, 0), (0, 8 - len(range(channel, 8, 3))))) for channel in range(3)]
    return np.hstack([np.packbits(channel, axis=1) for channel in channels])


def encode(class_map: NDArray[np.uint8], classes: int) -> bytes:
    """A PNG of labels, uint8 (H, W), with VOC's palette as far as there are classes."""
    image = Image.fromarray(class_map)
    image.putpalette(palette()[:classes].tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=1, bits=8)
    return buffer.getvalue()


def text(answer: Mapping[str, Any]) -> str:
    """A table of the classes."""
    return "\n".join(["", "  share  class", *(f"  {entry['share']:5.3f}  {entry['name']}" for entry in answer["classes"])])
