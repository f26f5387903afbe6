"""Multi-label classification, from the tables to the answer."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from PIL import Image

from sightline.contract import OUTPUTS, Input, ModelDescription
from sightline.errors import SightlineError
from sightline.postprocess import load
from sightline.postprocess.multilabel import Labels
from sightline.predictor import Predictor
from sightline.preprocess import Placement
from tasks import export, fingerprint, schema, train, transform, validate
from tasks.evaluate import evaluate_checkpoint
from tasks.gates import write as write_gates
from tasks.metrics import multilabel
from tasks.models import _lightning_classify, _lightning_multilabel
from tasks.outputs import multilabel as outputs
from tasks.tables import Dataset, Sample

sys.path.insert(0, str(Path(__file__).parent))
import tiny_data

CLASSES = ("cat", "dog", "bird")
SPEC = Input(8, 8, "stretch")
DESCRIPTION = ModelDescription("x", "multilabel", CLASSES, SPEC, OUTPUTS["multilabel"], "MIT")
SCORES = np.array([[0.9, 0.2, 0.6], [0.1, 0.2, 0.3]], np.float32)


def sample(*labels: int) -> Sample:
    count = len(labels)
    boxes, flags = np.full((count, 4), np.nan), np.zeros(count, bool)
    return Sample("x", Path("x"), 8, 8, np.array(labels, np.int64), boxes, flags, flags)


def labels(scores: list[float]) -> Labels:
    found: Labels = load("multilabel").read({"probabilities": np.array([scores], np.float32)}, 0, Placement(8, 8, 1, 1))
    return found


def test_the_graph_and_pytorch_cut_off_alike() -> None:
    raw = helper.make_tensor_value_info("raw_probabilities", TensorProto.FLOAT, ["batch", 3])
    given = helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3])
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["raw_probabilities"])], "x", [given], [raw])
    model = outputs.append(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), DESCRIPTION)
    onnx.checker.check_model(model, full_check=True)
    from onnxruntime import InferenceSession

    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for conf in (0.0, 0.25, 0.6, 1.0):
        (got,) = session.run(None, {"images": SCORES, "conf": np.array([conf], np.float32)})
        (expected,) = outputs.finish((torch.from_numpy(SCORES),), conf, DESCRIPTION)
        np.testing.assert_array_equal(got, expected.numpy())
        np.testing.assert_array_equal(got, np.where(np.float32(conf) < SCORES, SCORES, 0))


def test_an_answer_names_the_classes_above_the_threshold() -> None:
    found = labels([0.0, 0.4, 0.7])
    assert found.to_json(CLASSES) == {
        "classes": [{"label": 2, "name": "bird", "score": 0.7}, {"label": 1, "name": "dog", "score": 0.4}]
    }
    assert (found.count, labels([0, 0, 0]).count) == (2, 0)
    text = load("multilabel").text
    assert text({"classes": []}) == ", no class"
    assert "0.700  bird" in text(found.to_json(CLASSES))


def test_metrics_are_those_known_by_hand() -> None:
    samples = [sample(0), sample(0, 1), sample(), sample(1)]
    found = [labels([0.9, 0.6, 0]), labels([0.8, 0.4, 0]), labels([0, 0, 0]), labels([0.7, 0.9, 0])]
    result = multilabel.measure(samples, found, CLASSES).metrics
    # cat: 0.9 and 0.8 are right, 0.7 is wrong; dog: 0.9 right, 0.6 wrong, 0.4 right, the first two of them at ranks 1 and 3
    assert result["AP/cat"] == pytest.approx(1.0)
    assert result["AP/dog"] == pytest.approx((1 + 2 / 3) / 2)
    assert "AP/bird" not in result  # no sample shows one
    assert result["mAP"] == pytest.approx((1 + 5 / 6) / 2)
    # above 0.5: three right (0.9, 0.8, 0.9), two wrong (0.6, 0.7), one missed (0.4)
    assert (result["precision"], result["recall"]) == (pytest.approx(3 / 5), pytest.approx(3 / 4))
    assert result["f1"] == pytest.approx(2 * 0.6 * 0.75 / 1.35)
    assert multilabel.f1_at(samples, found, CLASSES, 0.5) == pytest.approx(result["f1"])
    assert multilabel.f1_at(samples, found, CLASSES, 0.85) == pytest.approx(4 / 6)  # two right, none wrong, two missed
    assert result["exact_match"] == pytest.approx(1 / 4)


def test_no_sample_shows_a_class() -> None:
    assert multilabel.measure([sample(), sample()], [labels([0, 0, 0])] * 2, CLASSES).metrics["mAP"] == 0


def test_the_description_keeps_its_threshold() -> None:
    assert ModelDescription.from_json({**replace(DESCRIPTION, conf=0.5).__dict__, "input": SPEC.__dict__}).conf == 0.5


def draw(root: Path, count: int) -> None:
    """Pictures of a red square, a green one, both or none, and their table."""
    rng = np.random.default_rng(0)
    lines = ["filename,green,red"]
    root.mkdir(parents=True)
    for number in range(count):
        pixels = rng.integers(0, 80, (32, 32, 3), np.uint8)
        red, green = number % 2, number // 2 % 2
        for is_shown, colour, left in ((red, (230, 30, 30), 0), (green, (30, 230, 30), 16)):
            if is_shown:
                x, y = left + int(rng.integers(0, 5)), int(rng.integers(0, 20))
                pixels[y : y + 11, x : x + 11] = colour
        Image.fromarray(pixels).save(root / f"{number:03}.png")
        lines.append(f"{number:03}.png,{green},{red}")
    (root / "_classes.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_from_the_table_to_the_answer(tmp_path: Path) -> None:
    raw, work = tmp_path / "raw", tmp_path / "work"
    draw(raw, 64)
    params = schema.read_params(tiny_data.ROOT / "params.yaml")
    given = schema.parse(schema.Dataset, {**params["dataset"], "source": "folder", "path": "x", "format": "auto"})
    checks = validate.Config(dataset=given, validate=schema.parse(schema.Validate, params["validate"]))
    assert validate.validate(validate.Paths(raw, tmp_path / "tables", tmp_path / "report"), checks)["errors"] == 0
    settings = schema.parse(schema.Transform, {**params["transform"], "val": 0.2, "test": 0.2})
    transform.transform(transform.Paths(raw, tmp_path / "tables", tmp_path / "dataset"), transform.Config(transform=settings))
    fingerprint.fingerprint(fingerprint.Paths(raw, tmp_path / "dataset", tmp_path / "print"), fingerprint.Config())
    assert json.loads((tmp_path / "print/dataset_metadata.json").read_text())["task"] == "multilabel"

    model = tiny_data.model("resnet").model_copy(update={"imgsz": 32})
    recipe = tiny_data.recipe("resnet", epochs=12, batch=8, balance="weights")
    work.mkdir()
    paths = train.Paths(raw, tmp_path / "dataset", tmp_path / "print", tmp_path / "model", tmp_path / "trained", work)
    with pytest.raises(SightlineError, match=r"labelled for multilabel: .* set model\.task"):
        train.train(paths, train.Config(model=model, train=recipe))
    model = model.model_copy(update={"task": "multilabel"})
    metrics = train.train(paths, train.Config(model=model, train=recipe))
    assert metrics["mAP"] > 0.9
    assert {"precision_recall.png", "predictions.png"} <= {path.name for path in (tmp_path / "trained").iterdir()}

    dataset = Dataset.read(raw, tmp_path / "dataset")
    samples = dataset.samples("val")
    write_gates(tmp_path / "model", [each.image_id for each in samples])
    gates = schema.parse(schema.Export, {**params["export"], "max_drop": {"fp32": 0.001, "int8": 0.2}, "conf": 0.5})
    where = export.Paths(raw, tmp_path / "dataset", tmp_path / "model", tmp_path / "exported", tmp_path / "parity")
    export.export(where, export.Config(model=model, export=gates))
    predictor = Predictor(tmp_path / "exported", "onnxruntime-cpu-fp32")
    expected = evaluate_checkpoint(tmp_path / "model", samples, "test").predictions
    for each, found in zip(samples, expected, strict=True):
        assert isinstance(found, Labels)
        answer = predictor(each.path.read_bytes())
        assert answer["task"] == "multilabel"
        above = [dataset.classes[label] for label, score in zip(found.labels, found.scores, strict=True) if score > 0.5]
        assert sorted(entry["name"] for entry in answer["classes"]) == sorted(above)


def test_what_is_rare_weighs_more() -> None:
    images = object.__new__(_lightning_classify.Images)
    images.labels = torch.tensor([[1.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 0, 0]])
    weighed, sampled = (
        _lightning_multilabel.Learning(
            torch.nn.Flatten(), images, CLASSES, tiny_data.recipe("resnet", balance=balance, rare=1.0)
        )
        for balance in ("weights", "sampler")
    )
    assert weighed.weights is not None
    assert weighed.weights.tolist() == pytest.approx([1 / 3, 3, 4])
    assert weighed.sampling is sampled.weights is None
    assert sampled.sampling is not None
    assert sampled.sampling.tolist() == pytest.approx([(4 / 3) ** 0.5, (4 / 3) ** 0.5, 2, 1])
