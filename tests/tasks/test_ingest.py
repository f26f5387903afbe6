import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from sightline.errors import SightlineError
from tasks import stage
from tasks.ingest import ingest

DATASET = {"name": "mine", "format": "auto", "sha256": None, "images": 10, "width": 64, "height": 64, "seed": 0}
ARGUMENTS = ["--source", "data/source.json", "--out", "data/raw"]


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project, with a dataset of one image beside it."""
    project = tmp_path / "project"
    (project / "data").mkdir(parents=True)
    (tmp_path / "photos" / "cat").mkdir(parents=True)
    (tmp_path / "photos" / "cat" / "a.jpg").write_bytes(b"a")
    monkeypatch.chdir(project)
    configure(project, "../photos")
    return project


def configure(project: Path, path: str) -> None:
    params = {
        "dataset": {**DATASET, "source": "folder", "path": path},
        "tracking": {"mlflow": False, "tensorboard": False, "wandb": False, "uri": None, "experiment": "test"},
    }
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def test_the_files_are_in_raw_although_the_trigger_is_stale(project: Path) -> None:
    (project / "data/source.json").write_text('{"digest": "of another day"}')
    assert stage.run(ingest, ARGUMENTS) == {}
    assert (project / "data/raw/cat/a.jpg").read_bytes() == b"a"


def test_a_source_without_files_is_an_error_and_the_old_data_stays(project: Path) -> None:
    (project / "data/source.json").write_text("{}")
    stage.run(ingest, ARGUMENTS)
    (project / "empty").mkdir()
    configure(project, "empty")
    with pytest.raises(SightlineError, match=r"dataset\.path: empty: got no file, expected images"):
        stage.run(ingest, ARGUMENTS)
    assert (project / "data/raw/cat/a.jpg").exists()


def test_a_missing_dataset_is_one_line_and_exit_code_2(project: Path, root: Path) -> None:
    (project / "data/source.json").write_text("{}")
    configure(project, "nowhere")
    command = [sys.executable, "-m", "tasks.ingest", *ARGUMENTS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(root), "PATH": ""})
    assert done.returncode == 2
    assert (
        done.stderr == "ingest: dataset.path: nowhere: got nothing there, expected a folder with images: set dataset.path=...\n"
    )
    assert not (project / "data/raw").exists()
