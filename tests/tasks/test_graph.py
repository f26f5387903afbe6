"""The exported graph against the PyTorch parts."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from sightline import engines
from sightline.contract import OUTPUTS, Input, ModelDescription
from sightline.errors import SightlineError
from tasks.graph import Graphs, export_parts, finish, join, write
from tasks.models import Parts
from tasks.nms import nms
from tasks.openvino_ir import convert, save

sys.path.insert(0, str(Path(__file__).parent))
from tiny import Scale, detector, write_float_files

CONF = 0.3


@pytest.fixture(scope="module")
def graphs() -> Graphs:
    return export_parts(*detector())


@pytest.mark.parametrize("candidate", ["onnxruntime-cpu-fp32", "openvino-cpu-fp32"])
@pytest.mark.parametrize("batch", [1, 4])
def test_file_equals_the_parts(graphs: Graphs, candidate: str, batch: int, tmp_path: Path) -> None:
    parts, description = detector()
    write_float_files(finish(join(graphs), description), description, tmp_path)
    images = np.random.default_rng(1).integers(0, 256, (batch, 32, 32, 3), np.uint8)
    with torch.inference_mode():
        expected = nms(*parts(torch.from_numpy(images)), CONF, description.iou, description.max_det)
    got = engines.load(candidate, tmp_path).run(images, CONF)
    assert int((expected[1] > 0).sum()) > batch, "nothing to compare"
    for name, value in zip(description.outputs, expected, strict=True):
        np.testing.assert_allclose(got[name], value.numpy(), rtol=1e-4, atol=1e-4)


def test_same_weights_give_the_same_bytes(graphs: Graphs, tmp_path: Path) -> None:
    parts, description = detector()
    for name, each in (("a", graphs), ("b", export_parts(parts, description))):
        write(finish(join(each), description), tmp_path / name)
    content = (tmp_path / "a").read_bytes()
    assert content == (tmp_path / "b").read_bytes()
    assert str(Path(__file__).parent).encode() not in content, "a path of this machine"
    assert b"pkg.torch" not in content, "metadata of the exporter"


@pytest.mark.slow
def test_same_weights_give_openvinos_bytes_again(graphs: Graphs, tmp_path: Path) -> None:
    _, description = detector()
    for name in ("a", "b"):
        save(convert(finish(join(graphs), description)), tmp_path / f"{name}.xml")
        convert(join(graphs))  # names that count what the process has made go on counting
    for suffix in (".xml", ".bin"):
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert b"/tmp" not in (tmp_path / "a.xml").read_bytes()


def test_inputs_and_outputs_are_the_contract_s(graphs: Graphs) -> None:
    _, description = detector()
    model = finish(join(graphs), description)
    shapes = {
        value.name: [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in [*model.graph.input, *model.graph.output]
    }
    assert shapes == {
        "images": ["batch", 32, 32, 3],
        "conf": [1],
        "boxes": ["batch", 10, 4],
        "scores": ["batch", 10],
        "labels": ["batch", 10],
    }


def test_fixed_batch_is_refused(graphs: Graphs) -> None:
    _, description = detector()
    whole = onnx.ModelProto.FromString(join(graphs).SerializeToString())
    whole.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2
    with pytest.raises((SightlineError, onnx.shape_inference.InferenceError), match=r"fixed batch|Inferred shape"):
        finish(whole, description)


class Eigenvalues(torch.nn.Module):
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(pixels.mean(dim=1)).real


def test_operator_without_onnx_form_is_named() -> None:
    parts = Parts(Scale().eval(), Eigenvalues().eval(), torch.nn.Identity())
    description = ModelDescription("m", "classify", ("a", "b"), Input(32, 32, "stretch"), OUTPUTS["classify"], "MIT")
    with pytest.raises(SightlineError, match=r"core of the model: operator aten\.linalg_eig"):
        export_parts(parts, description)
