"""What tests of every family share."""

from pathlib import Path

import pytest
import tiny_data

from tasks.tables import Dataset


@pytest.fixture
def dataset(file: str, tmp_path: Path) -> Dataset:
    """A small dataset for the task of the family's file."""
    return tiny_data.dataset(tmp_path / "data", tiny_data.model(file).task)
