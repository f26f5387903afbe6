"""YOLO26 (Ultralytics, AGPL-3.0): detection without a distribution of box sides, trained with two heads.

One head learns several anchors an object and needs NMS, as Ultralytics runs it by default; the other learns one anchor an
object and does without: it is taken where `model.iou` is 1.
"""

from typing import Final

from tasks.models import _ultralytics_detect

TASKS: Final = ("detect",)
ARCHITECTURES: Final = ("yolo26n", "yolo26s", "yolo26m", "yolo26l", "yolo26x")
OPTIMIZERS: Final = ("SGD", "AdamW", "MuSGD")
STRIDE: Final = 32  # of the coarsest level, pixels


class Family(_ultralytics_detect.Family):
    """YOLO26 in its five sizes."""
