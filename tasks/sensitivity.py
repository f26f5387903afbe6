"""Which layers suffer most from rounding to INT8: those that add most noise to what they are given."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import onnx

Power = tuple[float, float]
"""Of the difference of two tensors, and of the first: sums of squares."""
NONE: Final[Power] = (0.0, 0.0)


def by_sensitivity(
    core: "onnx.ModelProto", quantised: "onnx.ModelProto", layers: Iterable[str], pixels: Iterable[NDArray[np.float32]]
) -> list[str]:
    """Names of layers, the most sensitive first.

    A layer's noise is the power of the difference of its output in the two graphs, as a share of the output's own; what it
    adds is that less its input's.

    Args:
        core: The float graph; it takes `pixels`.
        quantised: The same in INT8, with the same names of nodes.
        layers: Names of nodes that were quantised.
        pixels: Inputs, float32 (1, 3, H, W).
    """
    names = set(layers)
    ends = [
        {node.name: (node.input[0], node.output[0]) for node in each.graph.node if node.name in names}
        for each in (core, quantised)
    ]
    runs = [_runner(model, own) for model, own in zip((core, quantised), ends, strict=True)]
    sums: dict[tuple[str, int], Power] = defaultdict(lambda: NONE)
    for image in pixels:
        exact, rounded = (run(image) for run in runs)
        for name in ends[0]:
            for place in (0, 1):
                true, got = exact[ends[0][name][place]], rounded[ends[1][name][place]]
                noise, power = sums[name, place]
                sums[name, place] = noise + float(np.square(true - got).sum()), power + float(np.square(true).sum())
    added = {name: _share(sums[name, 1]) - _share(sums[name, 0]) for name in ends[0]}
    return sorted(added, key=lambda name: (-added[name], name))


def _runner(model: "onnx.ModelProto", ends: Mapping[str, tuple[str, str]]) -> Any:
    """A function of pixels to the tensors that stand before and after the layers, by name."""
    import onnx
    from onnxruntime import InferenceSession, SessionOptions

    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    there = {value.name for value in copy.graph.output}
    wanted = dict.fromkeys(name for pair in ends.values() for name in pair if name != "pixels")
    copy.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted if name not in there)
    options = SessionOptions()
    options.log_severity_level = 3
    session = InferenceSession(copy.SerializeToString(), options, providers=["CPUExecutionProvider"])

    def run(pixels: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        return {"pixels": pixels, **dict(zip(wanted, session.run(list(wanted), {"pixels": pixels}), strict=True))}

    return run


def _share(power: Power) -> float:
    noise, own = power
    return noise / max(own, 1e-12)
