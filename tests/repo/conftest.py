"""A copy of the project in which the whole pipeline has run at smoke size."""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))
from checkout import Checkout, copy_project


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout in which `experiment=smoke` has run; tests leave it as they find it."""
    checkout = copy_project(tmp_path_factory.mktemp("smoke") / "project")
    checkout.run("dvc exp run -S experiment=smoke")
    return checkout


@pytest.fixture
def fork(smoke: Checkout, tmp_path: Path) -> Callable[[], Checkout]:
    """Copies of the smoke checkout that a test may change."""

    def copy() -> Checkout:
        folder = tmp_path / f"fork{len(list(tmp_path.iterdir()))}"
        shutil.copytree(smoke.folder, folder, symlinks=True)
        return Checkout(folder)

    return copy
