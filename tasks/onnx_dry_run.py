"""Brings a stranger's ONNX graph to the runtime's form and runs it: `python -m tasks.onnx_dry_run JOB RESULT`, shut in."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sightline.errors import SightlineError
from tasks import sandbox
from tasks.untrusted_onnx import DOMAINS, Facts, inspect

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    from numpy.typing import NDArray

OPSET: Final = 20  # of tasks.graph
IR_VERSION: Final = 10
BATCH: Final = "batch"
TOLERANCE: Final = 1e-3  # of a tensor's largest value, between an image alone and in a batch
DYNAMIC: Final = "export it with a batch of any size (dynamic=True)"


def adapt(path: Path, imgsz: int) -> tuple["onnx.ModelProto", Facts]:
    """The graph in its new form, run once alone and once in a batch.

    Raises:
        SightlineError: It is no graph of that kind, or does not run.
    """
    import onnx
    from onnx import version_converter

    model = inspect(path)
    names = _names(model)
    onnx.checker.check_model(model, full_check=True)
    contract = _take_off_end(model) or model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    version = max(entry.version for entry in model.opset_import if entry.domain in DOMAINS)
    if version != OPSET:
        model = version_converter.convert_version(model, OPSET)
    model.ir_version = IR_VERSION
    expected = [imgsz, imgsz, 3] if contract else [3, imgsz, imgsz]
    _fix_input(model, expected, contract)
    model = _renamed(model)
    shapes = _dry_run(model, expected, contract)
    for value, shape in zip(model.graph.output, shapes, strict=True):
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, onnx.TensorProto.FLOAT, [BATCH, *shape]))
    onnx.checker.check_model(model, full_check=True)
    return model, Facts(contract, shapes, names)


def _names(model: "onnx.ModelProto") -> tuple[str, ...]:
    """The class names in the metadata, a literal as Ultralytics writes it: {0: 'a', 1: 'b'}."""
    import ast

    text = next((entry.value for entry in model.metadata_props if entry.key == "names"), "")
    try:
        found = ast.literal_eval(text)
        return tuple(str(found[label]) for label in range(len(found)))
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError):
        return ()


def _take_off_end(model: "onnx.ModelProto") -> bool:
    """Cuts a graph of the runtime contract where what `tasks.outputs` adds begins; false where it is none, or adds nothing."""
    import onnx

    graph = model.graph
    producers = {output: node for node in graph.node for output in node.output}
    ends = _ends(graph, producers)
    if not ends:
        return False
    needed, todo = set(), list(ends)
    while todo:
        name = todo.pop()
        if name not in needed:
            needed.add(name)
            todo += producers[name].input if name in producers else []
    kept = [node for node in graph.node if needed & set(node.output)]
    del graph.node[:], graph.output[:], graph.input[1:], graph.value_info[:]
    graph.node.extend(kept)
    graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in ends)
    used = {name for node in kept for name in node.input}
    weights = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(weights)
    return True


def _ends(graph: "onnx.GraphProto", producers: "Mapping[str, onnx.NodeProto]") -> list[str]:
    """The tensors before a detector's NMS, before the threshold of several labels, or before the largest logit is taken."""
    inputs, last = [value.name for value in graph.input], producers.get(graph.output[0].name)
    nms = [node for node in graph.node if node.op_type == "NonMaxSuppression"]
    if inputs == ["images", "conf"] and len(nms) == 1:
        return list(nms[0].input[:2])
    if inputs == ["images", "conf"] and last and last.op_type == "Where" and len(graph.output) == 1:
        return [last.input[1]]
    if inputs == ["images"] and last and last.op_type == "Cast":
        best = producers.get(last.input[0])
        return [best.input[0]] if best and best.op_type == "ArgMax" else []
    return []


def _fix_input(model: "onnx.ModelProto", expected: list[int], contract: bool) -> None:
    """Fixes height and width, and frees the batch."""
    import onnx

    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    kind = onnx.TensorProto.UINT8 if contract else onnx.TensorProto.FLOAT
    form = "uint8 (N, H, W, 3), or float32 (N, 3, H, W)"
    if {"images", "conf"} <= {value.name for value in inputs}:
        raise SightlineError(
            "a graph of the runtime contract whose end is not known, as of a detector with proposals: give the model's weights"
        )
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


def _renamed(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """The model with `pixels` in and `map_0`, ... out, and names of its own inside."""
    import onnx
    from onnx import compose, helper

    ends = [value.name for value in model.graph.output]
    model = compose.add_prefix(model, "own/")
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    value = onnx.ValueInfoProto()
    value.CopyFrom(next(each for each in graph.input if each.name not in weights))
    nodes = [onnx.NodeProto.FromString(node.SerializeToString()) for node in graph.node]
    for index, node in enumerate(nodes):
        node.name = f"own/{index}"
    del graph.node[:], graph.input[:]
    graph.node.append(helper.make_node("Identity", ["pixels"], [value.name], name="own/pixels"))
    graph.node.extend(nodes)
    for index, end in enumerate(ends):
        graph.node.append(helper.make_node("Identity", [f"own/{end}"], [f"map_{index}"], name=f"own/map_{index}"))
        graph.output[index].name = f"map_{index}"
    value.name = "pixels"
    graph.input.append(value)
    return model


def _dry_run(model: "onnx.ModelProto", expected: list[int], contract: bool) -> tuple[tuple[int, ...], ...]:
    """The outputs' shapes without the batch, after three images in a batch gave what each gives alone."""
    import numpy as np
    from onnxruntime import InferenceSession, SessionOptions

    options = SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    images = np.random.default_rng(0).integers(0, 256, (3, *expected), np.uint8)
    images = images if contract else images.astype(np.float32) / 255
    try:
        alone: list[list[NDArray[np.generic]]] = [session.run(None, {"pixels": image[None]}) for image in images]
        together = session.run(None, {"pixels": images})
    except Exception as error:
        reason = str(error).splitlines()[0][:200]
        raise SightlineError(f"it does not run with a batch of 1 and of 3 ({reason}): {DYNAMIC}") from error
    for index, output in enumerate(together):
        single = np.concatenate([outputs[index] for outputs in alone]) if output.ndim > 1 else output
        if output.dtype != np.float32 or output.ndim < 2 or single.shape != output.shape:
            raise SightlineError(f"output {index}: got {output.dtype} {output.shape}, expected float32 (N, ...): {DYNAMIC}")
        if not np.abs(single - output).max(initial=0.0) <= TOLERANCE * max(1.0, float(np.abs(single).max(initial=0.0))):
            raise SightlineError(f"output {index}: an image in a batch gives another result than alone: {DYNAMIC}")
    return tuple(output.shape[1:] for output in together)


def main() -> None:
    """Runs the job of the first argument and writes its result to the second."""
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    source, out, answer = Path(job["path"]), Path(job["out"]), Path(sys.argv[2])
    result: dict[str, Any] = {"status": "ok", "message": ""}
    try:
        sandbox.enter([source], [out.parent, answer.parent])
        model, facts = adapt(source, job["imgsz"])
        out.write_bytes(model.SerializeToString(deterministic=True))
        result["facts"] = asdict(facts)
    except SightlineError as error:
        result = {"status": "failed", "message": str(error)}
    except Exception as error:  # noqa: BLE001  whatever a library says of a stranger's file
        reason = next(iter(str(error).splitlines()), "")[:200]
        result = {"status": "failed", "message": f"{type(error).__name__}: {reason}: export it again"}
    answer.write_text(json.dumps(result), encoding="utf-8")


if __name__ == "__main__":
    main()
