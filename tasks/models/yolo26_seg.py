"""YOLO26-seg (Ultralytics, AGPL-3.0): instance segmentation by prototypes of masks. Its two heads are those of `yolo26.py`."""

from typing import Final

from tasks.models import _ultralytics_segment

TASKS: Final = ("segment",)
ARCHITECTURES: Final = ("yolo26n-seg", "yolo26s-seg", "yolo26m-seg", "yolo26l-seg", "yolo26x-seg")
OPTIMIZERS: Final = ("SGD", "AdamW", "MuSGD")
STRIDE: Final = 32  # of the coarsest level, pixels


class Family(_ultralytics_segment.Family):
    """YOLO26-seg in its five sizes."""
