"""Multi-label classification, from the tables to the answer."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from sightline.contract import OUTPUTS, Input, ModelDescription
from sightline.postprocess import load
from sightline.postprocess.multilabel import Labels
from sightline.preprocess import Placement
from tasks.metrics import multilabel
from tasks.outputs import multilabel as outputs
from tasks.tables import Sample

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
    assert result["exact_match"] == pytest.approx(1 / 4)


def test_no_sample_shows_a_class() -> None:
    assert multilabel.measure([sample(), sample()], [labels([0, 0, 0])] * 2, CLASSES).metrics["mAP"] == 0


def test_the_description_keeps_its_threshold() -> None:
    assert ModelDescription.from_json({**replace(DESCRIPTION, conf=0.5).__dict__, "input": SPEC.__dict__}).conf == 0.5
