import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))  # small_project.py
from small_project import make_project, prepare


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project without tracking: the current folder, its params composed and everything committed."""
    root = tmp_path / "project"
    make_project(root)
    monkeypatch.chdir(root)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    prepare()
    return root
