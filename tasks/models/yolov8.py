"""YOLOv8 (Ultralytics, AGPL-3.0): anchor-free detection at three strides."""

from typing import Final

from tasks.models import _ultralytics_detect

TASKS: Final = ("detect",)
ARCHITECTURES: Final = ("yolov8n", "yolov8s", "yolov8m", "yolov8l", "yolov8x")
OPTIMIZERS: Final = ("SGD", "AdamW", "MuSGD")
STRIDE: Final = 32  # of the coarsest level, pixels


class Family(_ultralytics_detect.Family):
    """YOLOv8 in its five sizes."""
