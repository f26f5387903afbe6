"""INT8 in ONNX: the core's convolutions and products in Q/DQ form, calibrated on images of the training split."""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sightline.contract import Calibration, Input
from sightline.preprocess import decode, prepare
from tasks.graph import Graphs
from tasks.sensitivity import by_sensitivity
from tasks.tables import Sample

if TYPE_CHECKING:
    import onnx

QUANTISED: Final = ("Conv", "ConvTranspose", "Gemm", "MatMul")


RANKED: Final = 4
"""Images on which layers are ranked."""


def quantise(
    graphs: Graphs, samples: Sequence[Sample], spec: Input, spare: Sequence[str] = (), *, symmetric: bool = False
) -> Graphs:
    """The graphs with an INT8 core; pre and post stay as they are.

    Args:
        graphs: The float graphs.
        samples: What the activations' ranges are measured on, images of the training split.
        spec: How an image becomes the model's input.
        spare: Names of layers that stay in float.
        symmetric: Activations are signed and centred on 0, and biases stay in float, as TensorRT wants them; ONNX Runtime's own
            kernels are fastest with unsigned ones.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "core.onnx"
        quant_pre_process(graphs.core, path, skip_optimization=True, skip_symbolic_shape=True)
        quantize_static(
            path,
            path,
            _reader({"pixels": pixels} for pixels in _pixels(graphs, samples, spec)),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(QUANTISED),
            per_channel=True,
            activation_type=QuantType.QInt8 if symmetric else QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=list(spare),
            extra_options={"ActivationSymmetric": True, "QuantizeBias": False} if symmetric else {},
        )
        core = onnx.load(path)
    core.ir_version = graphs.core.ir_version
    return replace(graphs, core=core)


def ranked_layers(graphs: Graphs, samples: Sequence[Sample], spec: Input) -> list[str]:
    """The names of the quantisable nodes, the one that suffers most first: see `tasks.sensitivity`."""
    layers = [node.name for node in graphs.core.graph.node if node.op_type in QUANTISED]
    quantised = quantise(graphs, samples, spec).core
    return by_sensitivity(graphs.core, quantised, layers, _pixels(graphs, samples[:RANKED], spec))


def last_layers(core: "onnx.ModelProto") -> list[str]:
    """The names of the quantisable nodes nearest to the core's outputs."""
    producers = {output: node for node in core.graph.node for output in node.output}
    found, seen = set(), set()
    todo = [value.name for value in core.graph.output]
    while todo:
        node = producers.get(todo.pop())
        if node is None or node.name in seen:
            continue
        seen.add(node.name)
        if node.op_type in QUANTISED:
            found.add(node.name)
        else:
            todo += node.input
    return sorted(found)


def calibration(samples: Sequence[Sample]) -> Calibration:
    """How many images, and SHA-256 over the names and contents of their files."""
    digest = hashlib.sha256()
    for sample in samples:
        digest.update(sample.image_id.encode() + b"\0" + hashlib.sha256(sample.path.read_bytes()).digest())
    return Calibration(len(samples), digest.hexdigest())


def _pixels(graphs: Graphs, samples: Sequence[Sample], spec: Input) -> "Iterator[np.ndarray[Any, Any]]":
    """What the core is given of each image, float32 (1, 3, H, W)."""
    from onnxruntime import InferenceSession

    pre = InferenceSession(graphs.pre.SerializeToString(), providers=["CPUExecutionProvider"])
    for sample in samples:
        yield pre.run(None, {"images": prepare(decode(sample.path.read_bytes()), spec)[0][None]})[0]


def _reader(feeds: Iterable[dict[str, "np.ndarray[Any, Any]"]]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.feeds = iter(feeds)

        def get_next(self) -> dict[str, "np.ndarray[Any, Any]"] | None:
            return next(self.feeds, None)

    return Reader()
