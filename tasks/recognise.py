"""What a user's own ONNX file is, by its inputs and outputs: so that nobody has to name its architecture."""

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sightline.contract import OUTPUTS
from sightline.errors import SightlineError
from tasks import untrusted_onnx

if TYPE_CHECKING:
    import onnx

UNKNOWN_LICENCE: Final = "NOASSERTION"
"""SPDX's word for a licence that nobody stated (specification 2.3, section 7.13)."""
STANDS_FOR: Final = {
    "classify": "resnet18", "multilabel": "resnet18", "detect": "retinanet", "semantic": "fcn_resnet50", "segment": "mask_rcnn",
}  # fmt: skip
"""A file of conf/model for graphs of the runtime contract, which bring all else with them, by task."""
TWO_STAGES: Final = "faster_rcnn"
"""The same for a detector with an NMS before its last, whose batches take more memory."""
LIBRARIES: Final = {(3,): "yolov8n", (3, 4): "yolov8n-seg", (2,): "resnet18"}
"""The same for graphs as Ultralytics exports a detector, (N, 4 + classes, A), with (N, D, H / 4, W / 4) for masks, and
torchvision a classifier, (N, C): by the ranks of their outputs."""
ULTRALYTICS_CLASSIFIER: Final = "yolov8n-cls"
"""The same for a classifier of Ultralytics, which its metadata tell from torchvision's: pixels of 0-1, and probabilities."""


def recognise(path: Path) -> list[str]:
    """Overrides that take an ONNX file for what it is.

    Args:
        path: A file that is not trusted: it is parsed, and not run.

    Raises:
        SightlineError: It is no ONNX file, is refused, or its form is not known.
    """
    model = untrusted_onnx.inspect(path)
    graph, metadata = model.graph, {entry.key: entry.value for entry in model.metadata_props}
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in weights}
    names = tuple(value.name for value in graph.output)
    image = inputs.get("images") or next(iter(inputs.values()), None)
    sides, is_contract = _sides(image), "images" in inputs and _is_uint8(inputs["images"])
    found = None
    if is_contract:
        tasks = [task for task, outputs in OUTPUTS.items() if outputs == names]
        task = "multilabel" if "multilabel" in tasks and "conf" in inputs else next(iter(tasks), "")
        found, given = STANDS_FOR.get(task), [f"model.task={task}"]
        if "boxes" in names:
            all_nms = [node for node in graph.node if node.op_type == "NonMaxSuppression"]
            found = TWO_STAGES if task == "detect" and len(all_nms) > 1 else found
            given += _of_nms(graph, all_nms)
    elif len(inputs) == 1 and len(sides) == 4:
        ranks = tuple(len(value.type.tensor_type.shape.dim) for value in graph.output)
        found, given = LIBRARIES.get(ranks), []
        if ranks == (2,) and metadata.get("task") == "classify":
            found = ULTRALYTICS_CLASSIFIER
    if found is None:
        got = f"inputs {', '.join(inputs)} and outputs {', '.join(names)}"
        raise SightlineError(f"{path}: got {got}, which is no known form: name its architecture, e.g. --as yolov8n")
    side = sides[1 if is_contract else 2] if len(sides) == 4 else 0
    given += [f"model.imgsz={side}"] if side else []
    name = re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).lstrip("._-") or "model"
    return [f"model={found}", f"model.name={name}", *given, f"model.licence={UNKNOWN_LICENCE}"]


def _of_nms(graph: "onnx.GraphProto", all_nms: "list[onnx.NodeProto]") -> list[str]:
    """What a detector's last NMS keeps, as overrides: it is taken off the graph, and put there again."""
    constants = {tensor.name: tensor for tensor in graph.initializer}
    last = next((list(node.input) for node in all_nms if "conf" in node.input), [])
    iou = _number(constants[last[3]]) if len(last) > 3 and last[3] in constants else None
    dims = next(value for value in graph.output if value.name == "boxes").type.tensor_type.shape.dim
    most = dims[1].dim_value if len(dims) == 3 else 0
    given = {"max_det": most if most > 0 else None, "iou": iou and f"{iou:.6g}"}
    return [f"model.{key}={value}" for key, value in given.items() if value is not None]


def _number(tensor: "onnx.TensorProto") -> float | None:
    """The one float32 of a tensor; None: it holds something else."""
    if tensor.data_type != tensor.FLOAT or len(tensor.raw_data) + 4 * len(tensor.float_data) != 4:
        return None
    return float(tensor.float_data[0] if tensor.float_data else struct.unpack("<f", tensor.raw_data)[0])


def _sides(value: "onnx.ValueInfoProto | None") -> list[int]:
    """Of an input, 0 where it may be of any length."""
    return [] if value is None else [int(dim.dim_value) for dim in value.type.tensor_type.shape.dim]


def _is_uint8(value: "onnx.ValueInfoProto") -> bool:
    from onnx import TensorProto

    return bool(value.type.tensor_type.elem_type == TensorProto.UINT8)
