"""The files that `export` writes: their names, whose gate each passes, and what runs it."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from sightline.contract import Precision
from sightline.engines import Candidate


class Exported(NamedTuple):
    """One file of a model folder.

    Attributes:
        path: Its name.
        precision: Of its arithmetic: its gate is that of `export.max_drop`.
        candidate: What runs it where nobody says.
        judge: What compares it with the checkpoint, on any machine.
    """

    path: str
    precision: Precision
    candidate: Candidate
    judge: Candidate


_FP32, _FP16, _INT8 = (Candidate("onnxruntime-cpu", precision) for precision in ("fp32", "fp16", "int8"))
_OPENVINO_FP32, _OPENVINO_INT8 = (Candidate("openvino-cpu", precision) for precision in ("fp32", "int8"))

FILES: Final[Mapping[str, Exported]] = {
    "fp32": Exported("model.onnx", "fp32", _FP32, _FP32),
    "fp16": Exported("model.fp16.onnx", "fp16", _FP16, _FP16),
    "int8": Exported("model.int8.onnx", "int8", _INT8, _INT8),
    "openvino-fp32": Exported("model.openvino-fp32.xml", "fp32", _OPENVINO_FP32, _OPENVINO_FP32),
    "openvino-int8": Exported("model.openvino-int8.xml", "int8", _OPENVINO_INT8, _OPENVINO_INT8),
    "tensorrt-int8": Exported("model.tensorrt-int8.onnx", "int8", Candidate("onnxruntime-tensorrt", "int8"), _INT8),
}
"""By their names in `model.json` and `export.precisions`."""
