"""The runtime graph in ONNX: its parts exported one by one, so that the core alone can be quantised, then joined."""

import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sightline.contract import ModelDescription
from sightline.errors import SightlineError
from tasks import outputs
from tasks.models import Parts
from tasks.nms import ANCHORS

if TYPE_CHECKING:
    import onnx
    from torch import Tensor, nn

OPSET: Final = 20
IR_VERSION: Final = 10  # what opset 20 came with or later; older runtimes refuse newer ones
BATCH: Final = "batch"


@dataclass(frozen=True)
class Graphs:
    """The parts of `tasks.models.Parts` as ONNX models, joined by the names of their inputs and outputs."""

    pre: "onnx.ModelProto"
    core: "onnx.ModelProto"
    post: "onnx.ModelProto"
    masks: "onnx.ModelProto | None" = None


def export_parts(parts: Parts, description: ModelDescription) -> Graphs:
    """Exports the parts, with a batch of any size and all else fixed.

    Raises:
        SightlineError: A part uses an operator that ONNX does not have, or fixes the batch; the message names it.
    """
    import torch

    spec = description.input
    images = torch.zeros(2, spec.height, spec.width, 3, dtype=torch.uint8)  # 2: torch.export takes 1 for a constant
    task = outputs.load(description.task)
    with torch.inference_mode():
        pixels = parts.pre(images)
        raw = parts.core(pixels)
        maps = raw if isinstance(raw, tuple) else (raw,)
        features = parts.post(*maps)[len(task.RAW) :] if parts.masks else ()
    map_names = [f"map_{index}" for index in range(len(maps))]
    feature_names = [f"feature_{index}" for index in range(len(features))]
    raw_names = [*task.RAW, *feature_names]
    return Graphs(
        pre=_export("pre", parts.pre, (images,), ["images"], ["pixels"]),
        core=_given("core", parts.core) or _export("core", parts.core, (pixels.clone(),), ["pixels"], map_names),
        post=_export("post", parts.post, tuple(tensor.clone() for tensor in maps), map_names, raw_names),
        masks=_export_masks(parts.masks, features, feature_names, description) if parts.masks else None,
    )


def _export_masks(
    module: "nn.Module", features: "tuple[Tensor, ...]", names: list[str], description: ModelDescription
) -> "onnx.ModelProto":
    import torch

    if given := _given("masks", module):
        return given
    kept = torch.zeros(2, description.max_det, dtype=torch.int64)
    boxes = torch.tensor([0.0, 0.0, description.input.width, description.input.height]).repeat(2, description.max_det, 1)
    inputs = (boxes, kept, kept.clone(), *(feature.clone() for feature in features))
    return _export("masks", module, inputs, ["boxes", "labels", ANCHORS, *names], ["masks"])


def in_half(graphs: Graphs, parts: Parts, description: ModelDescription) -> Graphs:
    """The graphs with a core in float16, which takes and gives float32.

    Args:
        graphs: The float graphs.
        parts: What they were exported from.
        description: Of the model.

    Raises:
        NotAvailableError: The core is a graph of the user's own.
        SightlineError: An operator has no ONNX form in float16.
    """
    import torch

    from tasks.models._precision import InPrecision

    spec = description.input
    core = InPrecision(parts.core, torch.float16)
    with torch.inference_mode():
        pixels = parts.pre(torch.zeros(2, spec.height, spec.width, 3, dtype=torch.uint8))
    names = [value.name for value in graphs.core.graph.output]
    return replace(graphs, core=_export("core", core, (pixels.clone(),), ["pixels"], names))


def join(graphs: Graphs) -> "onnx.ModelProto":
    """The whole graph as far as `RAW` of `tasks.outputs`, for a detector before NMS."""
    from onnx import compose

    whole = graphs.pre
    for part in (graphs.core, graphs.post):
        names = [(value.name, value.name) for value in part.graph.input]
        whole = compose.merge_models(whole, part, io_map=names)
    return whole


def finish(
    whole: "onnx.ModelProto", description: ModelDescription, masks: "onnx.ModelProto | None" = None
) -> "onnx.ModelProto":
    """The graph of `sightline.contract`, checked, without what differs between two exports of the same weights.

    Args:
        whole: What `join` returned.
        description: Of the model.
        masks: The part of that name, where there is one.

    Raises:
        SightlineError: The batch or the outputs are not as the contract wants them.
    """
    import onnx

    more = {"masks": masks} if masks else {}
    whole = _strip(outputs.load(description.task).append(whole, description, **more), description.name)
    onnx.checker.check_model(whole, full_check=True)
    fixed = [value.name for value in _batched(whole) if value.type.tensor_type.shape.dim[0].dim_param != BATCH]
    if fixed:
        raise SightlineError(f"{description.name}: {', '.join(fixed)} with a fixed batch, expected any: fix the model's parts")
    names = tuple(value.name for value in whole.graph.output)
    if names != description.outputs:
        raise SightlineError(f"{description.name}: got outputs {names}, expected {description.outputs}: fix the model's parts")
    return whole


def write(model: "onnx.ModelProto", path: Path) -> None:
    """Writes a model; the same model gives the same bytes."""
    path.write_bytes(model.SerializeToString(deterministic=True))


def _export(
    part: str, module: "nn.Module", inputs: "tuple[Tensor, ...]", input_names: Sequence[str], output_names: Sequence[str]
) -> "onnx.ModelProto":
    import torch
    from onnx import compose

    from tasks.suppression import translations

    batch = torch.export.Dim(BATCH)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*axis name: batch will not be used", category=UserWarning)
        try:
            program = torch.onnx.export(
                _positional(module),
                inputs,
                dynamo=True,
                opset_version=OPSET,
                input_names=list(input_names),
                output_names=list(output_names),
                dynamic_shapes=(tuple({0: batch} for _ in inputs),),
                external_data=False,
                verbose=False,
                custom_translation_table=translations(),
            )
        except torch.onnx.OnnxExporterError as error:
            raise SightlineError(f"{part} of the model: {_reason(error)}: write it without, in tasks/models") from error
    assert program is not None
    model = _strip(program.model_proto, part)
    for value in model.graph.value_info:
        for dim in value.type.tensor_type.shape.dim:
            if dim.dim_param != BATCH and not dim.HasField("dim_value"):
                dim.Clear()  # found while it runs; another part gives such a length the same name
    return compose.add_prefix(model, f"{part}/", rename_inputs=False, rename_outputs=False)


def _given(part: str, module: "nn.Module") -> "onnx.ModelProto | None":
    """The user's own graph, which is none to export."""
    from onnx import compose

    from tasks.models._onnx import Graph

    if not isinstance(module, Graph):
        return None
    return compose.add_prefix(_strip(module.model(), part), f"{part}/", rename_inputs=False, rename_outputs=False)


def _positional(module: "nn.Module") -> "nn.Module":
    """The module with one signature, `forward(*tensors)`, so that all parts are exported alike."""
    from torch import nn

    class Positional(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = module

        def forward(self, *tensors: "Tensor") -> Any:
            return self.inner(*tensors)

    return Positional().eval()


def _reason(error: BaseException) -> str:
    """The operator that has no ONNX form, or else the innermost message."""
    chain = [error]
    while (inner := chain[-1].__cause__ or chain[-1].__context__) is not None:
        chain.append(inner)
    for link in chain:
        if found := re.search(
            r"No (?:ONNX function|decompositions) .*?((?:aten|torchvision|prims)[.:]+[\w.]+)", str(link), re.DOTALL
        ):
            return f"operator {found[1]} has no ONNX form"
    return f"cannot be exported ({str(chain[-1]).strip().splitlines()[0]})"


def _batched(model: "onnx.ModelProto") -> "Iterator[onnx.ValueInfoProto]":
    yield from (value for value in model.graph.input if value.name != "conf")
    yield from model.graph.output


def _strip(model: "onnx.ModelProto", name: str) -> "onnx.ModelProto":
    """Drops producers, documentation and metadata (dynamo's hold source paths), and names the graph.

    Each set of operators is named once: merged parts repeat it, which ONNX Runtime's quantiser refuses.
    """
    import onnx

    graph = model.graph
    versions = {each.domain: each.version for each in model.opset_import}
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in versions.items())
    for item in (model, graph, *graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info):
        item.ClearField("metadata_props")
        item.ClearField("doc_string")
    for field in ("producer_name", "producer_version", "model_version", "domain"):
        model.ClearField(field)
    model.ir_version = IR_VERSION
    graph.name = name
    return model
