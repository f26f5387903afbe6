"""YOLOv8-seg (Ultralytics, AGPL-3.0): instance segmentation by prototypes of masks."""

from typing import Final

from tasks.models import _ultralytics_segment

TASKS: Final = ("segment",)
ARCHITECTURES: Final = ("yolov8n-seg", "yolov8s-seg", "yolov8m-seg", "yolov8l-seg", "yolov8x-seg")
OPTIMIZERS: Final = ("SGD", "AdamW", "MuSGD")
STRIDE: Final = 32  # of the coarsest level, pixels


class Family(_ultralytics_segment.Family):
    """YOLOv8-seg in its five sizes."""
