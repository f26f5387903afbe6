"""INT8 for OpenVINO: its own format with the core's layers quantised by NNCF, calibrated on images of the training split."""

import contextlib
import io
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from sightline.contract import ModelDescription
from sightline.engines.openvino_cpu import silence
from sightline.preprocess import decode, prepare
from tasks.graph import Graphs, finish, join
from tasks.openvino_ir import convert, save
from tasks.tables import Sample

CORE: Final = "core/"
"""What the names of the core's nodes begin with, as `tasks.graph` gives them."""


def quantise(
    graphs: Graphs,
    samples: Sequence[Sample],
    description: ModelDescription,
    path: Path,
    spare: Sequence[str] = (),
    *,
    float_sums: bool = False,
) -> None:
    """Writes the whole graph as OpenVINO's IR with an INT8 core: `path`, which ends in .xml, and its weights in .bin beside it.

    Args:
        graphs: The float graphs.
        samples: What the activations' ranges are measured on, images of the training split.
        description: Of the model.
        path: The file.
        spare: Names of the core's layers that stay in float.
        float_sums: Leave sums in float as well, as ONNX Runtime's INT8 does: a residual branch joins the range of another.
    """
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # which tells of CUDA that nobody asked for
    silence()
    import nncf

    nncf.set_log_level(logging.ERROR)
    model = convert(finish(join(graphs), description, graphs.masks))
    spared = re.compile("|".join(f"{re.escape(name)}(/.*)?" for name in spare) or r"\b\B")
    names = [node.get_friendly_name() for node in model.get_ordered_ops()]
    kept = [name for name in names if not name.startswith(CORE) or spared.fullmatch(name)]
    takes_conf = any("conf" in node.get_names() for node in model.inputs)
    with contextlib.redirect_stdout(io.StringIO()):  # a bar of its own
        quantised = nncf.quantize(
            model,
            nncf.Dataset(samples, lambda sample: _feed(sample, description, takes_conf)),
            subset_size=len(samples),
            preset=nncf.QuantizationPreset.MIXED,  # SiLU's outputs are far from symmetric
            ignored_scope=nncf.IgnoredScope(names=kept, types=["Add"] if float_sums else [], validate=False),
        )
    save(quantised, path)


def _feed(sample: Sample, description: ModelDescription, takes_conf: bool) -> dict[str, "np.ndarray[Any, Any]"]:
    images = prepare(decode(sample.path.read_bytes()), description.input)[0][None]
    return {"images": images} | ({"conf": np.array([description.conf], np.float32)} if takes_conf else {})
