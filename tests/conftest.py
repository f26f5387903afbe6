"""What several tests share."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("GOMP_SPINCOUNT", "0")  # threads that wait do not take the cores of those that work
ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "tests" / "tasks"))  # datasets.py


@pytest.fixture(scope="session")
def root() -> Path:
    """The project's root."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real datasets: $SIGHTLINE_DATA, or ../shared/data beside the project."""
    folder = Path(os.environ.get("SIGHTLINE_DATA", ROOT.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("no real datasets here: set SIGHTLINE_DATA to a folder with bccd/ and cifar10/")
    return folder
