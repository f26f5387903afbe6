"""The reference engine's refusals; what it computes is tested with the families."""

from pathlib import Path

import pytest

from sightline.contract import OUTPUTS, Input, ModelDescription
from sightline.engines import load
from sightline.errors import SightlineError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    spec = Input(64, 64, "letterbox")
    ModelDescription("m", "detect", ("a",), spec, OUTPUTS["detect"], "Apache-2.0").write(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ("pytorch-int8", "got precision 'int8', expected fp32"),
        ("pytorch-fp32", "expected a checkpoint folder written by `train` or `evolve`"),
        ("tensorflow-fp32", "expected one of pytorch"),
    ],
)
def test_says_what_it_cannot_run(folder: Path, candidate: str, message: str) -> None:
    with pytest.raises(SightlineError, match=message):
        load(candidate, folder, package="tasks.engines")
