"""YOLO11-seg (Ultralytics, AGPL-3.0): instance segmentation by prototypes of masks."""

from typing import Final

from tasks.models import _ultralytics_segment

TASKS: Final = ("segment",)
ARCHITECTURES: Final = ("yolo11n-seg", "yolo11s-seg", "yolo11m-seg", "yolo11l-seg", "yolo11x-seg")
OPTIMIZERS: Final = ("SGD", "AdamW", "MuSGD")
STRIDE: Final = 32  # of the coarsest level, pixels


class Family(_ultralytics_segment.Family):
    """YOLO11-seg in its five sizes."""
