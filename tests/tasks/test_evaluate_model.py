"""`sightline evaluate`: any model that the pipeline wrote, measured as the pipeline measures it."""

import json
import shutil
import sys
from pathlib import Path

import pytest

from flows.models import evaluate as verb
from sightline.contract import ModelDescription
from sightline.errors import SightlineError
from tasks import gates, models
from tasks.evaluate import evaluate_checkpoint
from tasks.evaluate_model import find
from tasks.graph import export_parts, finish, join
from tasks.models import WEIGHTS_FILE
from tasks.tables import Dataset

sys.path.insert(0, str(Path(__file__).parent))
from tiny import model_config, write_classifier, write_dataset, write_float_files

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset, a checkpoint, what export writes of it, and a package without the rest of its service."""
    folder = tmp_path_factory.mktemp("project")
    raw, root = write_dataset(folder)
    dataset = Dataset.read(raw, root)
    config = write_classifier(folder / "champion", dataset)
    description = ModelDescription.read(folder / "champion")
    parts = models.load(config, dataset.classes).parts(folder / "champion" / WEIGHTS_FILE)
    whole = finish(join(export_parts(parts, description)), description)
    for name in ("exported", "package"):
        (folder / name).mkdir()
        write_float_files(whole, description, folder / name)
    (folder / "package/manifest.json").write_text(json.dumps({"candidate": "openvino-cpu-fp32"}))
    return folder


@pytest.mark.parametrize(
    ("model", "given", "candidate"),
    [
        ("champion", [], "pytorch-fp32"),
        ("exported", [], "onnxruntime-cpu-fp32"),
        ("exported/model.onnx", [], "onnxruntime-cpu-fp32"),
        ("exported/model.onnx", ["--candidate", "openvino-cpu-fp32"], "openvino-cpu-fp32"),
        ("package", [], "openvino-cpu-fp32"),
        ("package", ["--candidate", "onnxruntime-cpu-fp32"], "onnxruntime-cpu-fp32"),
    ],
)
def test_each_kind_of_model_is_measured_alike(
    model: str, given: list[str], candidate: str, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--raw", str(project / "raw"), "--dataset", str(project / "dataset"), "--report", str(tmp_path)]
    assert verb([str(project / model), *where, *given]) == 0
    said = capsys.readouterr().out
    assert f"{project / model} by {candidate} on val" in said
    samples = Dataset.read(project / "raw", project / "dataset").samples("val")
    expected = evaluate_checkpoint(project / "champion", samples, "test").metrics
    assert json.loads((tmp_path / "metrics.json").read_text()) == pytest.approx(expected)
    assert {"confusion_matrix.png", "predictions.png", "metrics.json"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.parametrize(("model", "split"), [("champion", "val"), ("exported", "val"), ("champion", "train")])
def test_after_a_final_fit_the_images_that_it_did_not_see_judge(
    model: str, split: str, project: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(project, tmp_path / "project")
    dataset = Dataset.read(project / "raw", project / "dataset")
    samples = dataset.samples("val")
    gates.write(tmp_path / "project/champion", [sample.image_id for sample in samples[:4]])
    where = ["--raw", str(project / "raw"), "--dataset", str(project / "dataset"), "--report", str(tmp_path / "report")]
    where += ["--champion", str(tmp_path / "project/champion"), "--split", split]
    assert verb([str(tmp_path / "project" / model), *where]) == 0
    said = f"on 4 of the {len(samples)} images of val: the final fit learnt from the others"
    assert (said in capsys.readouterr().out) == (split == "val")
    judges = samples[:4] if split == "val" else dataset.samples(split)
    expected = evaluate_checkpoint(project / "champion", judges, "test").metrics
    assert json.loads((tmp_path / "report/metrics.json").read_text()) == pytest.approx(expected)


def test_what_has_seen_none_of_val_is_judged_by_all_of_it(project: Path, tmp_path: Path) -> None:
    dataset = Dataset.read(project / "raw", project / "dataset")
    samples = dataset.samples("val")
    champion, other = tmp_path / "champion", tmp_path / "other"
    for folder, names in ((champion, [samples[0].image_id]), (other, ["an image of another dataset"])):
        folder.mkdir()
        gates.write(folder, names)
    judges = [gates.judges_of(dataset, tmp_path, champion, is_checkpoint=is_checkpoint) for is_checkpoint in (True, False)]
    assert [len(each) for each in judges] == [len(samples), 1]
    assert len(gates.judges_of(dataset, other, champion, is_checkpoint=True)) == len(samples)


def test_what_is_no_model_is_refused(project: Path, tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match=r"no model\.json in it, expected what train"):
        find(tmp_path)
    (project / "exported/other.onnx").write_bytes(b"")
    with pytest.raises(SightlineError, match=r"other\.onnx: not in .*model\.json, expected one of its files: model\.onnx"):
        find(project / "exported/other.onnx")


def test_a_model_of_other_classes_is_refused(project: Path, tmp_path: Path) -> None:
    write_classifier(tmp_path / "model", Dataset.read(project / "raw", project / "dataset"))
    family = models.load(model_config("resnet18", imgsz=32), ("cat", "dog"))
    family.describe(tmp_path / "model")
    with pytest.raises(SightlineError, match=r"weights of another model|a model of the classes cat, dog, and .* has blue"):
        verb([str(tmp_path / "model"), "--raw", str(project / "raw"), "--dataset", str(project / "dataset")])


def test_an_empty_split_is_told(project: Path) -> None:
    where = ["--raw", str(project / "raw"), "--dataset", str(project / "dataset")]
    with pytest.raises(SightlineError, match="no image in split test"):
        verb([str(project / "champion"), *where, "--split", "test"])
