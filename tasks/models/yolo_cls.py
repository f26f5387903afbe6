"""The backbones of YOLOv8, YOLO11 and YOLO26 (Ultralytics, AGPL-3.0) with a classifier's head."""

from typing import Final

from tasks.models import _ultralytics_classify

TASKS: Final = ("classify",)
ARCHITECTURES: Final = (
    "yolov8n-cls", "yolov8s-cls", "yolov8m-cls", "yolov8l-cls", "yolov8x-cls",
    "yolo11n-cls", "yolo11s-cls", "yolo11m-cls", "yolo11l-cls", "yolo11x-cls",
    "yolo26n-cls", "yolo26s-cls", "yolo26m-cls", "yolo26l-cls", "yolo26x-cls",
)  # fmt: skip
OPTIMIZERS: Final = ("SGD", "AdamW", "MuSGD")
STRIDE: Final = 32  # of the last feature map, pixels


class Family(_ultralytics_classify.Family):
    """YOLO's classifiers, three generations in five sizes."""
