"""YOLO11 (Ultralytics, AGPL-3.0): anchor-free detection at three strides, with attention at the coarsest."""

from typing import Final

from tasks.models import _ultralytics_detect

TASKS: Final = ("detect",)
ARCHITECTURES: Final = ("yolo11n", "yolo11s", "yolo11m", "yolo11l", "yolo11x")
OPTIMIZERS: Final = ("SGD", "AdamW", "MuSGD")
STRIDE: Final = 32  # of the coarsest level, pixels


class Family(_ultralytics_detect.Family):
    """YOLO11 in its five sizes."""
