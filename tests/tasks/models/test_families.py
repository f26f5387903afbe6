"""Every family through the same expectations, found by its file's name."""

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image

from sightline.contract import OUTPUTS, ModelDescription
from sightline.engines import load
from sightline.errors import SightlineError
from tasks import metrics, models
from tasks.evaluate import evaluate_checkpoint
from tasks.tables import Dataset

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_data
from tiny_data import StopError

pytestmark = pytest.mark.timeout(300)
LOOPS = tiny_data.families(("resnet", "yolov8"))
"""One of each training loop, Lightning's and Ultralytics', in the default suite."""


@pytest.fixture(params=tiny_data.families())
def file(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def fit(
    file: str, dataset: Dataset, folder: Path, stop_after: int = 0, start: Path | None = None, **values: object
) -> list[int]:
    """Fits in `folder`; the epochs as they were reported."""
    epochs: list[int] = []

    def on_epoch(epoch: int, losses: Mapping[str, float]) -> None:
        epochs.append(epoch)
        assert any(name.startswith("train/") for name in losses)
        if epoch == stop_after:
            raise StopError

    folder.mkdir(exist_ok=True)
    family = models.load(tiny_data.model(file), dataset.classes)
    out, recipe = folder / models.WEIGHTS_FILE, tiny_data.recipe(file, **values)
    family.fit(dataset, recipe, start=start, work=folder, out=out, on_epoch=on_epoch)
    family.describe(folder)
    return epochs


def test_fits_and_runs_to_the_contract(file: str, dataset: Dataset, tmp_path: Path) -> None:
    import torch

    folder = tmp_path / "fit"
    assert fit(file, dataset, folder, epochs=1) == [1]
    with Image.open(folder / models.AUGMENTATION_FILE) as sheet:
        assert sheet.format == "JPEG"
    description = ModelDescription.read(folder)
    assert (description.classes, description.outputs) == (dataset.classes, OUTPUTS[description.task])

    parts = models.load(tiny_data.model(file), dataset.classes).parts(folder / models.WEIGHTS_FILE)
    images = torch.zeros(3, description.input.height, description.input.width, 3, dtype=torch.uint8)
    with torch.inference_mode():
        prepared, outputs = parts.pre(images), parts(images)
    assert (prepared.shape, prepared.dtype) == ((3, 3, description.input.height, description.input.width), torch.float32)
    assert all(output.dtype == torch.float32 and output.shape[0] == 3 for output in outputs)
    if description.task in ("detect", "segment"):
        anchors = outputs[1].shape[2]
        assert outputs[1].shape[1] == len(dataset.classes)
        assert outputs[0].shape[1:] in ((anchors, 4), (len(dataset.classes), anchors, 4))
    elif description.task == "semantic":
        assert outputs[0].shape == (3, len(dataset.classes), description.input.height, description.input.width)
    else:
        assert outputs[0].shape == (3, len(dataset.classes))
        assert torch.allclose(outputs[0].sum(1), torch.ones(3))
    assert (parts.masks is not None) == (description.task == "segment")

    evaluation = evaluate_checkpoint(folder, dataset.samples("val"), "test")
    assert evaluation.metrics["fitness"] == evaluation.metrics[metrics.load(description.task).FITNESS]
    assert all(0 <= value <= 1 for value in evaluation.metrics.values())
    assert len(evaluation.predictions) == len(dataset.samples("val"))


@pytest.mark.parametrize("file", LOOPS)
def test_same_run_gives_the_same_bytes_and_an_interrupted_one_too(file: str, dataset: Dataset, tmp_path: Path) -> None:
    values = {"batch": 2, "accumulate": 2, "ema": 0.9}  # three batches, two steps
    assert fit(file, dataset, tmp_path / "whole", **values) == [1, 2, 3]
    with pytest.raises(StopError):
        fit(file, dataset, tmp_path / "cut", stop_after=2, **values)
    assert fit(file, dataset, tmp_path / "cut", **values) == [1, 2, 3]
    whole, cut = ((tmp_path / name / models.WEIGHTS_FILE).read_bytes() for name in ("whole", "cut"))
    assert whole == cut


@pytest.mark.parametrize("file", LOOPS)
def test_out_of_memory_halves_the_batch_and_goes_on(
    file: str, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    forward = torch.nn.Conv2d.forward
    fit(file, dataset, tmp_path / "small", batch=2, accumulate=2)
    with monkeypatch.context() as patch:

        def limited(self: torch.nn.Conv2d, values: torch.Tensor) -> torch.Tensor:
            if values.shape[1] == 3 and len(values) > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return forward(self, values)

        patch.setattr(torch.nn.Conv2d, "forward", limited)
        with pytest.raises(StopError):
            fit(file, dataset, tmp_path / "halved", stop_after=2, batch=4)
    assert "train.batch 4 -> 2, train.accumulate 1 -> 2" in capsys.readouterr().out
    assert fit(file, dataset, tmp_path / "halved", batch=4) == [1, 2, 3]
    small, halved = ((tmp_path / name / models.WEIGHTS_FILE).read_bytes() for name in ("small", "halved"))
    assert small == halved


@pytest.mark.parametrize("file", LOOPS)
def test_out_of_memory_after_a_checkpoint_goes_on_with_the_smaller_batch(
    file: str, dataset: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    forward = torch.nn.Conv2d.forward

    def limited(self: torch.nn.Conv2d, values: torch.Tensor) -> torch.Tensor:
        has_checkpoint = any(path.is_file() for path in (tmp_path / "late").rglob("*"))
        if values.shape[1] == 3 and len(values) > 2 and has_checkpoint:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, values)

    monkeypatch.setattr(torch.nn.Conv2d, "forward", limited)
    assert fit(file, dataset, tmp_path / "late", batch=4) == [1, 2, 3]
    assert capsys.readouterr().out.count("train.batch 4 -> 2") == 1


def test_starts_from_weights_of_other_classes(file: str, dataset: Dataset, tmp_path: Path) -> None:
    fit(file, dataset, tmp_path / "first", epochs=1)
    other = Dataset(dataset.tables, dataset.raw, dataset.root, (*dataset.classes, "blue"))
    start = tmp_path / "first" / models.WEIGHTS_FILE
    assert fit(file, other, tmp_path / "second", start=start, epochs=1) == [1]


def test_a_training_that_diverges_says_so(file: str, dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(models.DivergedError, match=r"lower train\.lr0"):
        fit(file, dataset, tmp_path / "fit", optimizer="SGD", lr0=1e30, epochs=3)


def test_unknown_device_is_refused(file: str, dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match=r"train\.device: got 'tpu9'"):
        fit(file, dataset, tmp_path / "fit", device="tpu9")


def test_unknown_family_is_refused(file: str) -> None:
    with pytest.raises(SightlineError, match=rf"model\.file: got 'nothing', expected one of .*{file}"):
        models.load(tiny_data.model(file).model_copy(update={"file": "nothing"}), ("a", "b"))


def test_weights_of_other_classes_do_not_run(file: str, dataset: Dataset, tmp_path: Path) -> None:
    fit(file, dataset, tmp_path / "fit", epochs=1)
    with pytest.raises(SightlineError, match=r"weights of another model"):
        models.load(tiny_data.model(file), (*dataset.classes, "blue")).parts(tmp_path / "fit" / models.WEIGHTS_FILE)
    (tmp_path / "fit" / models.WEIGHTS_FILE).write_bytes(b"nothing")
    with pytest.raises(SightlineError, match=r"not the weights of a model"):
        load("pytorch-fp32", tmp_path / "fit", package="tasks.engines")


@pytest.mark.slow
def test_sigkill_repeats_no_finished_epoch(file: str, dataset: Dataset, tmp_path: Path) -> None:
    script = tmp_path / "fit.py"
    script.write_text(
        textwrap.dedent(f"""
        import os, signal, sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(tiny_data.__file__).parent)!r})
        import tiny_data
        from tasks import models
        from tasks.tables import Dataset
        folder, dies = Path(sys.argv[1]), sys.argv[2] == "dies"
        dataset = Dataset.read(Path({str(dataset.raw)!r}), Path({str(dataset.root)!r}))
        def on_epoch(epoch, losses):
            print(epoch, flush=True)
            if dies and epoch == 2:
                os.kill(os.getpid(), signal.SIGKILL)
        models.load(tiny_data.model({file!r}), dataset.classes).fit(
            dataset, tiny_data.recipe({file!r}), start=None, work=folder, out=folder / "weights.pt", on_epoch=on_epoch)
        """)
    )

    def run(folder: Path, end: str) -> "subprocess.CompletedProcess[str]":
        folder.mkdir(exist_ok=True)
        command = [sys.executable, str(script), str(folder), end]
        environment = {**os.environ, "PYTHONPATH": str(tiny_data.ROOT)}
        return subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path, check=False)

    folder, whole = tmp_path / "killed", tmp_path / "whole"
    assert run(whole, "lives").returncode == 0
    killed = run(folder, "dies")
    assert (killed.returncode, killed.stdout.split()) == (-signal.SIGKILL, ["1", "2"]), killed.stderr
    before = {path: path.stat().st_mtime_ns for path in folder.glob("checkpoint.*")}
    assert before
    done = run(folder, "lives")
    assert (done.returncode, done.stdout.split()) == (0, ["1", "2", "3"]), done.stderr
    assert (folder / "weights.pt").read_bytes() == (whole / "weights.pt").read_bytes()
