"""INT8 for OpenVINO: its own format with the core's layers quantised by NNCF, calibrated on images of the training split."""

import contextlib
import io
import logging
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from sightline.contract import ModelDescription
from sightline.preprocess import decode, prepare
from tasks.graph import Graphs, finish, join
from tasks.tables import Sample

if TYPE_CHECKING:
    import onnx
    import openvino

_COUNTED: Final = re.compile(r"[A-Za-z]+_[0-9]+")
_VERSION: Final = re.compile(r'\s*<info name="OpenVINO Runtime" [^>]*/>')

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
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # or the imports report over HTTPS
    import nncf
    import openvino

    nncf.set_log_level(logging.ERROR)
    model = _fused(finish(join(graphs), description, graphs.masks))
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
    _strip(quantised)
    openvino.save_model(quantised, path, compress_to_fp16=False)
    path.write_text(_VERSION.sub("", path.read_text(encoding="utf-8")), encoding="utf-8")


def _fused(whole: "onnx.ModelProto") -> "openvino.Model":
    """A graph whose activations are a node each: within SiLU, NNCF would quantise, and its convolution could not take it in."""
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "whole.onnx"
        path.write_bytes(whole.SerializeToString())
        return openvino.convert_model(path)


def _feed(sample: Sample, description: ModelDescription, takes_conf: bool) -> dict[str, "np.ndarray[Any, Any]"]:
    images = prepare(decode(sample.path.read_bytes()), description.input)[0][None]
    return {"images": images} | ({"conf": np.array([description.conf], np.float32)} if takes_conf else {})


def _strip(model: "openvino.Model") -> None:
    """Drops what tells of how the file was made, and names that count what the process has made so far."""
    for key in list(model.rt_info):
        del model.rt_info[key]
    for index, node in enumerate(model.get_ordered_ops()):
        if _COUNTED.fullmatch(node.get_friendly_name()):
            node.set_friendly_name(f"{node.get_type_name()}_{index}")
