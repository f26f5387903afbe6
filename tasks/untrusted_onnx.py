"""A user's own ONNX file, untrusted: looked through here, brought to the runtime's form and run once by a process shut in."""

import math
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sightline.errors import SightlineError
from tasks.isolation import run_isolated

if TYPE_CHECKING:
    import onnx

MAX_BYTES: Final = (2 << 30) - 1  # what protobuf can hold
MAX_NODES: Final = 50_000  # subgraphs' included
MAX_DEPTH: Final = 8  # of subgraphs
DOMAINS: Final = ("", "ai.onnx")
TIMEOUT_S: Final = 300


@dataclass(frozen=True)
class Facts:
    """What a dry run found.

    Attributes:
        contract: Whether the graph takes `images` of the runtime contract, uint8 (N, H, W, 3), and not float32 (N, 3, H, W).
        shapes: Each output's, without the batch.
        names: Class names that the file brings, by label; empty where it brings none.
        masks: K, of how many objects an image the graph's second part makes masks; 0: it has none.
    """

    contract: bool
    shapes: tuple[tuple[int, ...], ...]
    names: tuple[str, ...]
    masks: int = 0


@dataclass(frozen=True)
class Admitted:
    """A graph in its new form, `pixels` in and `map_0`, ... out, and what is known of it.

    Attributes:
        graph: Its bytes.
        masks: Those of the part that makes masks of what NMS left, as `tasks.models.Parts` has it; None: there is none.
        facts: Of both.
    """

    graph: bytes
    masks: bytes | None
    facts: Facts


def admit(path: Path, imgsz: int) -> Admitted:
    """The graph in its new form. Nothing outside the file is read.

    The graph keeps what it computes: names change, the opset, and a batch of one, which becomes any. A graph of the runtime
    contract comes out before what `tasks.outputs` adds: a detector's before its NMS, as `map_0` boxes (N, A, 4) or
    (N, C, A, 4) and `map_1` scores (N, C, A), then what its masks are made of; one of several labels before its threshold; one
    of semantic segmentation as logits (N, C, H, W).

    Args:
        path: An ONNX file of one input, of the runtime contract or float32 (N, 3, H, W).
        imgsz: H and W, pixels.

    Raises:
        SightlineError: The file is damaged, asks for what is outside of it, for an operator of somebody's own, for too much
            memory or time, or does not run.
    """
    from tasks import onnx_dry_run

    inspect(path)
    with tempfile.TemporaryDirectory() as folder:
        out, masks = Path(folder) / "model.onnx", Path(folder) / "masks.onnx"
        job = {"path": str(path.resolve()), "out": str(out), "masks": str(masks), "imgsz": imgsz}
        answer = run_isolated(onnx_dry_run.__name__, job, TIMEOUT_S, remedy="give a smaller model", secrets=False)
        if answer["status"] != "ok":
            raise SightlineError(f"{path}: not taken: {answer['message']}")
        for part in (out, masks) if masks.is_file() else (out,):
            inspect(part)
        given = answer["facts"]
        shapes = tuple(tuple(int(side) for side in shape) for shape in given["shapes"])
        facts = Facts(bool(given["contract"]), shapes, tuple(str(name) for name in given["names"]), int(given["masks"]))
        return Admitted(out.read_bytes(), masks.read_bytes() if masks.is_file() else None, facts)


def inspect(path: Path) -> "onnx.ModelProto":
    """The parsed model, once nothing in it reaches out of the file or claims more than the file holds.

    Raises:
        SightlineError: The first thing that does.
    """
    import onnx
    from google.protobuf.message import DecodeError

    if path.stat().st_size > MAX_BYTES:
        raise SightlineError(f"{path}: got {path.stat().st_size} bytes, expected at most {MAX_BYTES}: give a smaller model")
    try:
        model = onnx.load_model_from_string(path.read_bytes())
    except DecodeError:
        raise SightlineError(f"{path}: not an ONNX file, damaged, or nested too deep: export it again") from None
    for problem in _problems(model):
        raise SightlineError(f"{path}: {problem}")
    return model


def _problems(model: "onnx.ModelProto") -> Iterator[str]:
    """What is wrong with a model, and what helps."""
    from onnx import AttributeProto, TensorProto
    from onnx.helper import tensor_dtype_to_np_dtype

    if not model.graph.node:
        yield "not an ONNX file, or without nodes: export it again"
    if model.functions or model.training_info:
        yield "holds functions of its own or a training graph: export it with all functions inlined, for inference"
    domains = {entry.domain for entry in model.opset_import}
    todo, nodes, tensors = [(model.graph, 0)], 0, []
    while todo:
        graph, depth = todo.pop()
        nodes += len(graph.node)
        tensors += graph.initializer
        if graph.sparse_initializer:
            yield "holds sparse weights: export it with dense ones"
        if nodes > MAX_NODES or depth > MAX_DEPTH:
            yield f"more than {MAX_NODES} nodes, or subgraphs {MAX_DEPTH} deep: export a simpler graph"
            return
        for node in graph.node:
            domains.add(node.domain)
            for attribute in node.attribute:
                tensors += [attribute.t, *attribute.tensors]
                if attribute.type in (AttributeProto.SPARSE_TENSOR, AttributeProto.SPARSE_TENSORS):
                    yield "holds sparse weights: export it with dense ones"
                todo += [(inner, depth + 1) for inner in (attribute.g, *attribute.graphs) if inner.node]
    if foreign := sorted(domains - set(DOMAINS)):
        yield f"operators of the domain {foreign[0][:80]!r}, expected ONNX's own alone: export it without custom operators"
    for tensor in tensors:
        name = tensor.name[:80]
        if tensor.data_location == TensorProto.EXTERNAL or tensor.external_data:
            yield f"{name}: weights in another file, expected all in one: save it with external data embedded"
        if tensor.data_type in (TensorProto.UNDEFINED, TensorProto.STRING):
            continue
        try:
            claimed = math.prod(tensor.dims) * tensor_dtype_to_np_dtype(tensor.data_type).itemsize
        except (KeyError, TypeError, ValueError):
            yield f"{name}: weights of the unknown type {tensor.data_type}: export it again"
            return
        if min(tensor.dims, default=0) < 0 or claimed > 8 * tensor.ByteSize() + 64:
            yield f"{name}: claims {claimed} bytes and holds {tensor.ByteSize()}: the file is damaged: export it again"
