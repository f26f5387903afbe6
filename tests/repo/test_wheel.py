"""The wheel holds `sightline` alone, and imports without what trains models."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tasks.bundle import build_wheel

BLOCKED = [
    "cv2",
    "dvc",
    "flows",
    "fsspec",
    "hydra",
    "lightning",
    "lxml",
    "matplotlib",
    "mlflow",
    "nncf",
    "omegaconf",
    "onnx",
    "pandas",
    "prefect",
    "psutil",
    "pyarrow",
    "pydantic",
    "pytorch_lightning",
    "s3fs",
    "scipy",
    "simplejpeg",
    "tasks",
    "torch",
    "torchmetrics",
    "torchvision",
    "tqdm",
    "ultralytics",
    "yaml",
]
IMPORT_ALL = """
import importlib, pkgutil, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"blocked: {{name}}", name=name)

sys.meta_path.insert(0, Block())
sys.path.insert(0, {wheel!r})
import sightline
assert sightline.__file__.startswith({wheel!r}), sightline.__file__
for module in pkgutil.walk_packages(sightline.__path__, "sightline."):
    importlib.import_module(module.name)
    print(module.name)
heavy = {{"onnxruntime", "openvino"}} & set(sys.modules)
assert not heavy, f"imported at the start: {{heavy}}"
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("wheel"))


def test_it_holds_sightline_alone(wheel: Path, root: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    sources = {path.relative_to(root).as_posix() for path in (root / "sightline").rglob("*.py")} | {"sightline/py.typed"}
    assert set(names) == sources


def test_it_is_the_same_twice(wheel: Path, tmp_path: Path) -> None:
    assert build_wheel(tmp_path).read_bytes() == wheel.read_bytes()


def test_every_module_imports_without_what_trains(wheel: Path, root: Path) -> None:
    script = IMPORT_ALL.format(blocked=set(BLOCKED), wheel=str(wheel))
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    modules = {path.stem for path in (root / "sightline").rglob("*.py")} - {"__init__"}
    assert {name.rpartition(".")[2] for name in done.stdout.split()} >= modules
