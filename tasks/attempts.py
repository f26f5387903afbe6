"""The files that `export` tries for a precision, the best first."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from sightline.contract import ModelDescription
from tasks.graph import Graphs, finish, in_half, join, write
from tasks.models import Parts
from tasks.openvino_ir import convert, save
from tasks.quantise import last_layers, quantise, ranked_layers
from tasks.quantise_openvino import quantise as quantise_openvino
from tasks.tables import Sample

if TYPE_CHECKING:
    import onnx
    import openvino

Attempt = Callable[[], "onnx.ModelProto | openvino.Model | None"]
"""Writes a file; returns its graph before NMS, or nothing where that is INT8 of OpenVINO's."""
SPARED: Final = (0.1, 0.25, 0.5)
"""Shares of the layers that stay in float, the most sensitive ones, where an INT8 file loses too much without."""


@dataclass(frozen=True)
class Source:
    """What files are made from: the parts, the same as ONNX graphs, and the images that calibrate."""

    parts: Parts
    graphs: Graphs
    training: Sequence[Sample]
    description: ModelDescription


def attempts(source: Source, precision: str, path: Path) -> Iterator[Attempt]:
    """What to try until it passes.

    Args:
        source: What the file is made from.
        precision: A name of `tasks.exported`.
        path: The file.
    """
    graphs, training, description = source.graphs, source.training, source.description

    def write_onnx(make: Callable[[], Graphs]) -> "onnx.ModelProto":
        made = make()
        whole = join(made)
        write(finish(whole, description, made.masks), path)
        return whole

    def write_openvino() -> "openvino.Model":
        whole = join(graphs)
        save(convert(finish(whole, description, graphs.masks)), path)
        return convert(whole)

    if precision == "fp32":
        yield partial(write_onnx, lambda: graphs)
    elif precision == "fp16":
        yield partial(write_onnx, partial(in_half, graphs, source.parts, description))
    elif precision == "openvino-fp32":
        yield write_openvino
    elif precision == "openvino-int8":
        yield partial(quantise_openvino, graphs, training, description, path)
        for spare in _spared(source):
            yield partial(quantise_openvino, graphs, training, description, path, spare, float_sums=True)
    else:
        symmetric = precision == "tensorrt-int8"
        for spare in _spared(source):
            yield partial(write_onnx, partial(quantise, graphs, training, description.input, spare, symmetric=symmetric))


def _spared(source: Source) -> Iterator[Sequence[str]]:
    """Layers to leave in float: none, the last ones, then more and more of those that suffer most."""
    yield ()
    last = last_layers(source.graphs.core)
    yield last
    ranked = [name for name in ranked_layers(source.graphs, source.training, source.description.input) if name not in last]
    for share in SPARED:
        yield [*last, *ranked[: math.ceil(share * len(ranked))]]
