"""OpenVINO's own format: a graph converted, its operators fused, and written so that the same graph gives the same bytes."""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline.engines.openvino_cpu import silence

if TYPE_CHECKING:
    import onnx
    import openvino

_COUNTED: Final = re.compile(r"[A-Za-z]+_[0-9]+")
_VERSION: Final = re.compile(r'\s*<info name="OpenVINO Runtime" [^>]*/>')


def convert(whole: "onnx.ModelProto") -> "openvino.Model":
    """OpenVINO's model of an ONNX graph, with its usual fusions done.

    An activation is one node then: within SiLU NNCF would quantise, and the convolution before it could not take it in.
    """
    silence()
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.onnx"
        path.write_bytes(whole.SerializeToString())
        return openvino.convert_model(path)


def runner(model: "openvino.Model") -> Callable[[NDArray[np.uint8]], list[NDArray[Any]]]:
    """What runs a model in float32: uint8 (N, H, W, 3) to its outputs, in their order."""
    silence()
    import openvino

    compiled = openvino.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda images: [value.copy() for value in compiled({"images": images}).values()]


def save(model: "openvino.Model", path: Path) -> None:
    """Writes `path`, which ends in .xml, and the weights in .bin beside it; the model loses what tells of its making."""
    import openvino

    for key in list(model.rt_info):
        del model.rt_info[key]
    for index, node in enumerate(model.get_ordered_ops()):
        if _COUNTED.fullmatch(node.get_friendly_name()):  # names that count what the process has made so far
            node.set_friendly_name(f"{node.get_type_name()}_{index}")
    openvino.save_model(model, path, compress_to_fp16=False)
    path.write_text(_VERSION.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")
