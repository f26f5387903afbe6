"""What a user's own ONNX file is, by its inputs and outputs: so that nobody has to name its architecture."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sightline.contract import OUTPUTS
from sightline.errors import SightlineError
from tasks import untrusted_onnx

if TYPE_CHECKING:
    import onnx

UNKNOWN_LICENCE: Final = "NOASSERTION"
"""SPDX's word for a licence that nobody stated (specification 2.3, section 7.13)."""
STANDS_FOR: Final = {"classify": "resnet18", "multilabel": "resnet18", "detect": "retinanet", "semantic": "fcn_resnet50"}
"""A file of conf/model for graphs of the runtime contract, which bring all else with them, by task."""
LIBRARIES: Final = {3: "yolov8n", 2: "resnet18"}
"""The same for graphs as Ultralytics exports a detector, (N, 4 + classes, A), and torchvision a classifier, (N, C): by rank."""


def recognise(path: Path) -> list[str]:
    """Overrides that take an ONNX file for what it is.

    Args:
        path: A file that is not trusted: it is parsed, and not run.

    Raises:
        SightlineError: It is no ONNX file, is refused, or its form is not known.
    """
    graph = untrusted_onnx.inspect(path).graph
    weights = {tensor.name for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in weights}
    names = tuple(value.name for value in graph.output)
    image = inputs.get("images") or next(iter(inputs.values()), None)
    sides, is_contract = _sides(image), "images" in inputs and _is_uint8(inputs["images"])
    found = None
    if is_contract:
        tasks = [task for task, outputs in OUTPUTS.items() if outputs == names and task in STANDS_FOR]
        task = "multilabel" if "multilabel" in tasks and "conf" in inputs else next(iter(tasks), "")
        found = STANDS_FOR.get(task)
        given = [f"model.task={task}"]
    elif len(inputs) == len(names) == 1 and len(sides) == 4:
        found, given = LIBRARIES.get(len(graph.output[0].type.tensor_type.shape.dim)), []
    if found is None:
        got = f"inputs {', '.join(inputs)} and outputs {', '.join(names)}"
        raise SightlineError(f"{path}: got {got}, which is no known form: name its architecture, e.g. --as yolov8n")
    side = sides[1 if is_contract else 2] if len(sides) == 4 else 0
    given += [f"model.imgsz={side}"] if side else []
    name = re.sub(r"[^A-Za-z0-9._-]", "-", path.stem).lstrip("._-") or "model"
    return [f"model={found}", f"model.name={name}", *given, f"model.licence={UNKNOWN_LICENCE}"]


def _sides(value: "onnx.ValueInfoProto | None") -> list[int]:
    """Of an input, 0 where it may be of any length."""
    return [] if value is None else [int(dim.dim_value) for dim in value.type.tensor_type.shape.dim]


def _is_uint8(value: "onnx.ValueInfoProto") -> bool:
    from onnx import TensorProto

    return bool(value.type.tensor_type.elem_type == TensorProto.UINT8)
