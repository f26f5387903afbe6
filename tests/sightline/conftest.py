"""Model folders for the tests of the runtime."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from graphs import write_package


@pytest.fixture(scope="session")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packaged detector; see graphs.py."""
    return write_package(tmp_path_factory.mktemp("detector"), "detect")


@pytest.fixture(scope="session")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packaged classifier; see graphs.py."""
    return write_package(tmp_path_factory.mktemp("classifier"), "classify")


@pytest.fixture(scope="session")
def segmenter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packaged network for semantic segmentation; see graphs.py."""
    return write_package(tmp_path_factory.mktemp("segmenter"), "semantic")
