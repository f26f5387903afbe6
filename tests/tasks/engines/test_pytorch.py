"""The reference engine's refusals; what it computes is tested with the families."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sightline.contract import OUTPUTS, Input, ModelDescription
from sightline.engines import load
from sightline.errors import NotAvailableError, SightlineError
from tasks.tables import Dataset

sys.path.insert(0, str(Path(__file__).parents[1]))
from tiny import write_classifier, write_dataset


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    spec = Input(64, 64, "letterbox")
    ModelDescription("m", "detect", ("a",), spec, OUTPUTS["detect"], "Apache-2.0").write(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkpoint")
    write_classifier(folder / "champion", Dataset.read(*write_dataset(folder)))
    return folder / "champion"


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ("pytorch-int8", "got precision 'int8', expected fp32 or bf16"),
        ("pytorch-cuda-fp16", "expected a checkpoint folder"),
        ("pytorch-fp32", "expected a checkpoint folder written by `train` or `evolve`"),
        ("tensorflow-fp32", "expected one of pytorch"),
    ],
)
def test_says_what_it_cannot_run(folder: Path, candidate: str, message: str) -> None:
    with pytest.raises(SightlineError, match=message):
        load(candidate, folder, package="tasks.engines")


def test_a_gpu_that_is_not_there_is_not_available(checkpoint: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(NotAvailableError, match="PyTorch sees no CUDA device"):
        load("pytorch-cuda-fp16", checkpoint, package="tasks.engines")


def test_bfloat16_and_compiled_agree_with_the_reference(checkpoint: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    expected, half, compiled = (
        load(name, checkpoint, package="tasks.engines").run(images, 0.25)["probabilities"]
        for name in ("pytorch-fp32", "pytorch-bf16", "pytorch-compiled-fp32")
    )
    assert half.dtype == np.float32
    assert 0 < np.abs(half - expected).max() < 0.05
    np.testing.assert_allclose(compiled, expected, atol=1e-4)


def test_without_a_compiler_compiled_is_not_available(checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("No working C++ compiler found")

    monkeypatch.setattr(torch.nn.Module, "compile", lambda self, **_: setattr(self, "forward", fails))
    with pytest.raises(NotAvailableError, match=r"No working C\+\+ compiler found: install a C\+\+ compiler"):
        load("pytorch-compiled-fp32", checkpoint, package="tasks.engines")
