"""Brings a stranger's ONNX graph to the runtime's form and runs it: `python -m tasks.onnx_dry_run JOB RESULT`, shut in."""

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sightline.contract import OUTPUTS
from sightline.errors import SightlineError
from tasks import sandbox
from tasks.nms import ANCHORS
from tasks.untrusted_onnx import DOMAINS, Facts, inspect

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from numpy.typing import DTypeLike, NDArray

OPSET: Final = 20  # of tasks.graph
IR_VERSION: Final = 10
BATCH: Final = "batch"
KEPT: Final = ("boxes", "labels", ANCHORS)
"""What NMS leaves of an image, as the part reads it that makes masks."""
TOLERANCE: Final = 1e-3  # of a tensor's largest value, between an image alone and in a batch
DYNAMIC: Final = "export it with a batch of any size (dynamic=True)"


def adapt(path: Path, imgsz: int) -> tuple["onnx.ModelProto", "onnx.ModelProto | None", Facts]:
    """The graph in its new form, and the part that makes masks, run once alone and once in a batch.

    Raises:
        SightlineError: It is no graph of that kind, or does not run.
    """
    import onnx
    from onnx import version_converter

    model = inspect(path)
    names = _names(model)
    onnx.checker.check_model(model, full_check=True)
    ends = _ends(model.graph)
    masks, features = _masks(model) if ends else (None, [])
    if ends:
        _keep(model, [*ends, *features], ["images"])
    contract = bool(ends) or model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    parts = [model, masks] if masks else [model]
    for index, part in enumerate(parts):
        if max(entry.version for entry in part.opset_import if entry.domain in DOMAINS) != OPSET:
            parts[index] = version_converter.convert_version(part, OPSET)
        parts[index].ir_version = IR_VERSION
    expected = [imgsz, imgsz, 3] if contract else [3, imgsz, imgsz]
    _fix_input(parts[0], expected, contract)
    model = _renamed(parts[0], ["pixels"], [f"map_{index}" for index in range(len(parts[0].graph.output))])
    outputs = _dry_run(model, {"pixels": _images(expected, contract)})
    shapes = tuple(output.shape[1:] for output in outputs)
    for value, shape in zip(model.graph.output, shapes, strict=True):
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, [BATCH, *shape]))
    onnx.checker.check_model(model, full_check=True)
    if not masks:
        return model, None, Facts(contract, shapes, names)
    masks, kept = _adapt_masks(parts[1], outputs[len(ends) :], imgsz)
    return model, masks, Facts(contract, shapes, names, kept)


def _adapt_masks(model: "onnx.ModelProto", features: "list[NDArray[Any]]", imgsz: int) -> tuple["onnx.ModelProto", int]:
    """The part that makes masks in its new form, and of how many objects it makes them, after a run on such features."""
    import numpy as np
    import onnx

    names = [*KEPT, *(f"feature_{index}" for index in range(len(features)))]
    kept = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    model = _renamed(model, names, ["masks"])
    box, none = np.array([0, 0, imgsz, imgsz], np.float32), np.zeros((len(features[0]), kept), np.int64)
    fed = dict(zip(names, (np.tile(box, (*none.shape, 1)), none, none, *features), strict=True))
    (masks,) = _dry_run(model, fed, np.dtype(np.uint8))
    for value in model.graph.input:
        kind = onnx.helper.np_dtype_to_tensor_dtype(fed[value.name].dtype)
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, [BATCH, *fed[value.name].shape[1:]]))
    end = onnx.helper.make_tensor_value_info("masks", onnx.TensorProto.UINT8, [BATCH, *masks.shape[1:]])
    model.graph.output[0].CopyFrom(end)
    onnx.checker.check_model(model, full_check=True)
    return model, kept


def _names(model: "onnx.ModelProto") -> tuple[str, ...]:
    """The class names in the metadata, a literal as Ultralytics writes it: {0: 'a', 1: 'b'}."""
    import ast

    text = next((entry.value for entry in model.metadata_props if entry.key == "names"), "")
    try:
        found = ast.literal_eval(text)
        return tuple(str(found[label]) for label in range(len(found)))
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
        return ()


def _producers(graph: "onnx.GraphProto") -> "Mapping[str, onnx.NodeProto]":
    """The node that each tensor comes from."""
    return {output: node for node in graph.node for output in node.output}


def _ends(graph: "onnx.GraphProto") -> list[str]:
    """Where what `tasks.outputs` adds to a graph of the runtime contract begins; nothing where it is none, or adds nothing.

    That are the tensors before a detector's NMS, before the threshold of several labels, or before the largest logit is taken.
    """
    producers, inputs = _producers(graph), [value.name for value in graph.input]
    last = producers.get(graph.output[0].name)
    nms = [node for node in graph.node if node.op_type == "NonMaxSuppression" and "conf" in node.input]
    if inputs == ["images", "conf"] and len(nms) == 1:
        return _of_each_class(graph, producers, *nms[0].input[:2])
    if inputs == ["images", "conf"] and last and last.op_type == "Where" and len(graph.output) == 1:
        return [last.input[1]]
    if inputs == ["images"] and last and last.op_type == "Cast":
        best = producers.get(last.input[0])
        return [best.input[0]] if best and best.op_type == "ArgMax" else []
    return []


def _of_each_class(graph: "onnx.GraphProto", producers: "Mapping[str, onnx.NodeProto]", boxes: str, scores: str) -> list[str]:
    """An image's boxes and scores; where each class has boxes of its own, NMS takes a class for an image: those before that."""
    from onnx import numpy_helper

    before = [producers.get(name) for name in (boxes, scores)]
    constants = {tensor.name: tensor for tensor in graph.initializer}
    shapes = [
        numpy_helper.to_array(constants[node.input[1]]).tolist()
        for node in before
        if node and node.op_type == "Reshape" and node.input[1] in constants
    ]
    if len(shapes) == 2 and shapes[1][:2] == [-1, 1] and shapes[0] == [-1, *shapes[1][2:], 4]:
        return [node.input[0] for node in before if node]
    return [boxes, scores]


def _masks(model: "onnx.ModelProto") -> tuple["onnx.ModelProto | None", list[str]]:
    """The part of a graph of the runtime contract that makes masks of what NMS left, and the features that it reads.

    Raises:
        SightlineError: It is not divided as `tasks.graph` divides it.
    """
    import onnx

    if [value.name for value in model.graph.output] != list(OUTPUTS["segment"]):
        return None, []
    found = {name for name in _producers(model.graph) if re.fullmatch(r"feature_\d+", name)}
    part = onnx.ModelProto()
    part.CopyFrom(model)
    read = _keep(part, ["masks"], [*KEPT, *found])
    features = sorted(found & read, key=lambda name: int(name.removeprefix("feature_")))
    values = {value.name: value for value in model.graph.output}
    dims = values["masks"].type.tensor_type.shape.dim
    if not features or not read <= {*KEPT, *features} or len(dims) != 4 or dims[1].dim_value < 1:
        raise SightlineError("masks that are not made as this project's export makes them: give the model's weights")
    del part.graph.output[:], part.graph.input[:]
    part.graph.output.append(values["masks"])
    for name in (*KEPT, *features):
        kind = onnx.TensorProto.INT64 if name in KEPT[1:] else onnx.TensorProto.FLOAT
        part.graph.input.append(onnx.helper.make_tensor_value_info(name, kind, None))
    return part, features


def _keep(model: "onnx.ModelProto", ends: list[str], inputs: list[str]) -> set[str]:
    """Leaves of a graph what makes `ends` of `inputs`; which of those, or of the graph's own, it reads."""
    import onnx

    graph, producers = model.graph, _producers(model.graph)
    own = {value.name: value for value in graph.input}
    needed, todo, read = set(), list(ends), set()
    while todo:
        name = todo.pop()
        if name in inputs or name in own:
            read.add(name)
        elif name not in needed:
            needed.add(name)
            todo += _read_by(producers[name]) if name in producers else []
    kept = [node for node in graph.node if needed & set(node.output)]
    used = {name for node in kept for name in _read_by(node)}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    for field in (graph.node, graph.output, graph.input, graph.value_info, graph.initializer):
        del field[:]
    graph.node.extend(kept)
    graph.initializer.extend(weights)
    graph.input.extend(own[name] for name in inputs if name in own)
    graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ends)
    return read


def _read_by(node: "onnx.NodeProto") -> list[str]:
    """The tensors that a node reads, its subgraphs' nodes included."""
    inner = [each for attribute in node.attribute for graph in (attribute.g, *attribute.graphs) for each in graph.node]
    return [*filter(None, node.input), *(name for each in inner for name in _read_by(each))]


def _fix_input(model: "onnx.ModelProto", expected: list[int], contract: bool) -> None:
    """Fixes height and width, and frees the batch."""
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    kind = onnx.TensorProto.UINT8 if contract else onnx.TensorProto.FLOAT
    form = "uint8 (N, H, W, 3), or float32 (N, 3, H, W)"
    if {"images", "conf"} <= {value.name for value in inputs}:
        raise SightlineError("a graph of the runtime contract whose end is not known: give the model's weights")
    if len(inputs) != 1 or inputs[0].type.tensor_type.elem_type != kind:
        found = ", ".join(f"{value.name} {_kind(value)}" for value in inputs)
        raise SightlineError(f"got inputs {found}, expected one image, {form}: export it so")
    dims = inputs[0].type.tensor_type.shape.dim
    got = [dim.dim_value or dim.dim_param for dim in dims]
    fits = len(dims) == 4 and all(dim.dim_value in (0, side) for dim, side in zip(list(dims)[1:], expected, strict=True))
    if not fits or dims[0].dim_value not in (0, 1):
        raise SightlineError(f"got an input {got}, expected {[BATCH, *expected]}: set model.imgsz to its side, or {DYNAMIC}")
    if dims[0].dim_value == 1:
        _free_batch(model)
    for dim, value in zip(dims, [BATCH, *expected], strict=True):
        dim.Clear()
        setattr(dim, "dim_param" if isinstance(value, str) else "dim_value", value)
    del model.graph.value_info[:]


def _kind(value: "onnx.ValueInfoProto") -> str:
    import onnx

    return str(onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)).lower()


def _free_batch(model: "onnx.ModelProto") -> None:
    """Has each Reshape to a constant shape (1, ...) keep the batch that comes in: 0 copies a side. The dry run proves it."""
    import onnx
    from onnx import numpy_helper

    graph = model.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant" and node.attribute}
    for index, node in enumerate(graph.node):
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        shape = numpy_helper.to_array(constants[node.input[1]]).copy()
        if len(shape) > 1 and shape[0] == 1:
            shape[0] = 0
            node.input[1] = f"any_batch_{index}"
            graph.initializer.append(numpy_helper.from_array(shape, node.input[1]))
            del node.attribute[:]  # allowzero
    for value in graph.output:
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, None))


def _renamed(model: "onnx.ModelProto", inputs: list[str], outputs: list[str]) -> "onnx.ModelProto":
    """The model with these names of its inputs and outputs, and names of its own inside."""
    import onnx
    from onnx import compose, helper

    ends = [value.name for value in model.graph.output]
    model = compose.add_prefix(model, "own/")
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    for index, node in enumerate(nodes):
        node.name = f"own/{index}"
    values = [onnx.ValueInfoProto.FromString(each.SerializeToString()) for each in graph.input if each.name not in weights]
    del graph.node[:], graph.input[:]
    for value, name in zip(values, inputs, strict=True):
        graph.node.append(helper.make_node("Identity", [name], [value.name], name=f"own/{name}"))
        value.name = name
    graph.input.extend(values)
    graph.node.extend(nodes)
    for value, end, name in zip(graph.output, ends, outputs, strict=True):
        graph.node.append(helper.make_node("Identity", [f"own/{end}"], [name], name=f"own/{name}"))
        value.name = name
    return model


def _images(expected: list[int], contract: bool) -> "NDArray[Any]":
    """Three images of noise."""
    import numpy as np

    images = np.random.default_rng(0).integers(0, 256, (3, *expected), np.uint8)
    return images if contract else images.astype(np.float32) / 255


def _dry_run(
    model: "onnx.ModelProto", fed: "Mapping[str, NDArray[Any]]", kind: "DTypeLike" = "float32"
) -> "list[NDArray[Any]]":
    """The outputs, after a batch of three gave what each gives alone.

    Args:
        model: Its graph.
        fed: Its inputs, of a batch of three.
        kind: What its outputs are.
    """
    import numpy as np
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    try:
        alone = [session.run(None, {name: value[index : index + 1] for name, value in fed.items()}) for index in range(3)]
        together: list[NDArray[Any]] = session.run(None, dict(fed))
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise SightlineError(f"it does not run with a batch of 1 and of 3 ({reason}): {DYNAMIC}") from error
    for index, output in enumerate(together):
        single = np.concatenate([outputs[index] for outputs in alone]) if output.ndim > 1 else output
        if output.dtype != kind or output.ndim < 2 or single.shape != output.shape:
            raise SightlineError(f"output {index}: got {output.dtype} {output.shape}, expected {kind} (N, ...): {DYNAMIC}")
        difference = np.abs(single.astype(np.float64) - output).max(initial=0.0)
        largest = max(1.0, float(np.abs(single.astype(np.float64)).max(initial=0.0)))
        if not difference <= (TOLERANCE * largest if output.dtype == np.float32 else 1):
            raise SightlineError(f"output {index}: an image in a batch gives another result than alone: {DYNAMIC}")
    return together


def main() -> None:
    """Runs the job of the first argument and writes its result to the second."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    source, out, answer = Path(job["path"]), Path(job["out"]), Path(sys.argv[2])
    result: dict[str, Any] = {"status": "ok", "message": ""}
    try:
        sandbox.enter([source], [out.parent, answer.parent])
        model, masks, facts = adapt(source, job["imgsz"])
        out.write_bytes(model.SerializeToString(deterministic=True))
        if masks:
            Path(job["masks"]).write_bytes(masks.SerializeToString(deterministic=True))
        result["facts"] = asdict(facts)
    except SightlineError as error:
        result = {"status": "failed", "message": str(error)}
    except Exception as error:  # noqa: BLE001  whatever a library says of a stranger's file
        reason = next(iter(str(error).splitlines()), "")[:200]
        result = {"status": "failed", "message": f"{type(error).__name__}: {reason}: export it again"}
    answer.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
