"""Small model folders, made by hand to the runtime contract: what they answer can be said without running them."""

import dataclasses
import io
from pathlib import Path

import numpy as np
import onnx
import openvino
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from sightline.contract import MANIFEST_FILE, OUTPUTS, Input, ModelDescription, Task, describe_file, dump_json

CLASSES = ("red", "green", "blue")
SIZE = 32
BOXES = np.array([[0, 0, 16, 8], [8, 8, 24, 24], [0, 16, 32, 32]], np.float32)  # of the classes, input pixels


def jpeg(colour: tuple[int, int, int], size: tuple[int, int] = (64, 32), kind: str = "JPEG") -> bytes:
    """An image of one colour; `size` is (width, height)."""
    stream = io.BytesIO()
    Image.new("RGB", size, colour).save(stream, kind, quality=95)
    return stream.getvalue()


def plain(colour: tuple[int, int, int], count: int = 1) -> NDArray[np.uint8]:
    """A batch of inputs of one colour, uint8 (count, SIZE, SIZE, 3)."""
    return np.broadcast_to(np.array(colour, np.uint8), (count, SIZE, SIZE, 3)).copy()


def write_model(folder: Path, task: Task) -> ModelDescription:
    """Writes a model folder whose scores are the image's mean red, green and blue, 0-1.

    The classifier gives them as its probabilities; the detector gives each a box of its own in `BOXES`, in the order of the
    labels, where the score is above `conf`; the segmentation network gives each pixel its strongest colour.
    """
    folder.mkdir(parents=True, exist_ok=True)
    graph = {"classify": _classifier, "detect": _detector, "semantic": _segmenter}[task]()
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    for name in ("model.onnx", "model.int8.onnx"):
        onnx.save(model, folder / name)
    own = folder / "model.openvino-fp32.xml"
    openvino.save_model(openvino.convert_model(folder / "model.onnx"), own, compress_to_fp16=False)
    description = ModelDescription(
        name=f"mean_{task}",
        task=task,
        classes=CLASSES,
        input=Input(SIZE, SIZE, "letterbox" if task == "detect" else "stretch"),
        outputs=OUTPUTS[task],
        licence="Apache-2.0",
        max_det=3,
        files={
            "fp32": describe_file(folder / "model.onnx"),
            "int8": describe_file(folder / "model.int8.onnx"),
            "openvino-fp32": describe_file(own),
        },
    )
    description.write(folder)
    return description


def write_package(folder: Path, task: Task, candidate: str = "onnxruntime-cpu-fp32") -> Path:
    """Writes the least that the service needs: a model folder with a manifest."""
    description = write_model(folder, task)
    manifest = {"candidate": candidate, "model": dataclasses.asdict(description)}
    (folder / MANIFEST_FILE).write_text(dump_json(manifest), encoding="utf-8")
    return folder


def _mean() -> list[onnx.NodeProto]:
    return [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["floats", "axes"], ["mean"], keepdims=0),
        helper.make_node("Div", ["mean", "most"], ["scaled"]),
    ]


def _constants() -> list[onnx.TensorProto]:
    values = {
        "axes": np.array([1, 2]),
        "most": np.float32(255),
        "zero": np.float32(0),
        "nothing": np.int64(0),
        "corners": BOXES[None],
        "last": np.array([2]),
        "names": np.arange(3)[None],
    }
    return [numpy_helper.from_array(np.asarray(value), name) for name, value in values.items()]


def _images() -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", SIZE, SIZE, 3])


def _classifier() -> onnx.GraphProto:
    nodes = [*_mean(), helper.make_node("Identity", ["scaled"], ["probabilities"])]
    outputs = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])]
    constants = [constant for constant in _constants() if constant.name in ("axes", "most")]
    return helper.make_graph(nodes, "classifier", [_images()], outputs, constants)


def _segmenter() -> onnx.GraphProto:
    nodes = [
        helper.make_node("Cast", ["images"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ArgMax", ["floats"], ["best"], axis=3, keepdims=0),
        helper.make_node("Cast", ["best"], ["class_map"], to=TensorProto.UINT8),
    ]
    outputs = [helper.make_tensor_value_info("class_map", TensorProto.UINT8, ["N", SIZE, SIZE])]
    return helper.make_graph(nodes, "segmenter", [_images()], outputs)


def _detector() -> onnx.GraphProto:
    nodes = [
        *_mean(),
        helper.make_node("Greater", ["scaled", "conf"], ["kept"]),
        helper.make_node("Where", ["kept", "scaled", "zero"], ["scores"]),
        helper.make_node("Where", ["kept", "names", "nothing"], ["labels"]),
        helper.make_node("Unsqueeze", ["kept", "last"], ["kept_boxes"]),
        helper.make_node("Where", ["kept_boxes", "corners", "zero"], ["boxes"]),
    ]
    inputs = [_images(), helper.make_tensor_value_info("conf", TensorProto.FLOAT, [1])]
    outputs = [
        helper.make_tensor_value_info("boxes", TensorProto.FLOAT, ["N", 3, 4]),
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 3]),
        helper.make_tensor_value_info("labels", TensorProto.INT64, ["N", 3]),
    ]
    return helper.make_graph(nodes, "detector", inputs, outputs, _constants())
