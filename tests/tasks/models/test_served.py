"""Every configuration of conf/model from the dataset to the served answer: it is what the checkpoint predicts."""

import base64
import io
import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco

from sightline.contract import ModelDescription
from sightline.engines import BaseEngine, load
from sightline.postprocess import to_json
from sightline.predictor import Predictor, read_manifest
from sightline.preprocess import decode, prepare_batch
from sightline.service import Service
from tasks import gates, models, schema
from tasks.export import Config, Paths, export
from tasks.exported import FILES

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_data

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # starlette would rather have httpx2, which the lock does not hold
    from starlette.testclient import TestClient

pytestmark = pytest.mark.timeout(600)
QUICK = (
    ("mobilenet_v3_small", "classify", ("fp32", "int8", "openvino-fp32")),
    ("yolov8n", "detect", ("fp32", "int8", "openvino-fp32")),
    ("fast_scnn", "semantic", ("fp32", "fp16", "int8")),
    ("yolov8n-seg", "segment", ("fp32", "openvino-int8")),
)
"""A light one for each task, and some of its files."""
Answer = dict[str, Any]


@pytest.mark.parametrize(("name", "task", "precisions"), QUICK)
def test_a_light_one_of_each_task_is_served_as_its_checkpoint_predicts(
    name: str, task: str, precisions: tuple[str, ...], tmp_path: Path
) -> None:
    check_served(name, task, precisions, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task"), tiny_data.configurations())
def test_what_is_served_is_what_the_checkpoint_predicts(name: str, task: str, tmp_path: Path) -> None:
    check_served(name, task, tuple(FILES), tmp_path)


def check_served(name: str, task: str, precisions: tuple[str, ...], tmp_path: Path) -> None:
    config = tiny_data.model(name).model_copy(update={"task": task})
    dataset = tiny_data.dataset(tmp_path / "data", task)
    champion, model = tmp_path / "champion", tmp_path / "exported"
    champion.mkdir()
    family = models.load(config, dataset.classes)
    recipe = tiny_data.recipe(name, epochs=1, lr0=1e-4)  # what the conf has is for longer runs: R-CNNs diverge
    out = champion / models.WEIGHTS_FILE
    family.fit(dataset, recipe, start=None, work=champion, out=out, on_epoch=lambda epoch, losses: None)
    family.describe(champion)
    gates.write(champion, [sample.image_id for sample in dataset.samples("val")])

    image = dataset.samples("test")[0].path.read_bytes()
    checkpoint = load("pytorch-fp32", champion, package="tasks.engines")
    conf = threshold(checkpoint, image)
    expected = predicted(checkpoint, image, conf)
    assert found(expected), "nothing to compare"

    loose = dict.fromkeys(("fp32", "fp16", "int8"), 1.0)
    settings = schema.Export(precisions=precisions, conf=conf, calibration_images=4, parity_images=3, max_drop=loose)
    paths = Paths(raw=dataset.raw, dataset=dataset.root, champion=champion, model=model, report=tmp_path / "report")
    export(paths, Config(model=config, export=settings))
    description = ModelDescription.read(model)
    assert set(description.files) == set(precisions), (paths.report / "parity.json").read_text()
    for precision in precisions:
        predictor = Predictor(model, str(FILES[precision].judge))
        if FILES[precision].precision == "fp32":
            check_same(predictor(image), expected)
        else:
            answer = predictor(image, conf / 2)
            assert (answer["task"], answer["width"], answer["height"]) == (task, tiny_data.SIDE, 48)
            assert found(answer)
    (model / "manifest.json").write_text(json.dumps({"candidate": str(FILES["fp32"].judge)}))
    check_same(served(model, image), expected)


def test_another_answer_is_told() -> None:
    """What the comparison above would miss if it let everything pass."""
    box = {"box": [1.0, 2.0, 30.0, 40.0], "label": 0, "name": "red", "score": 0.5}
    given: Answer = {"task": "detect", "width": 64, "height": 48, "detections": [box]}
    check_same(given, given)
    others = [[], [{**box, "label": 1}], [{**box, "score": 0.4}], [{**box, "box": [9.0, 2.0, 30.0, 40.0]}], [box, box]]
    for detections in others:
        with pytest.raises(AssertionError):
            check_same({**given, "detections": detections}, given)


def served(folder: Path, image: bytes) -> Answer:
    """The answer of the HTTP service to an upload."""
    service = Service(read_manifest(folder), [Predictor(folder)], queue=1)
    with TestClient(service.app) as client:
        until = time.monotonic() + 60
        while client.get("/health").status_code != 200 and time.monotonic() < until:
            time.sleep(0.02)
        response = client.post("/predict", files={"image": image})
    assert response.status_code == 200, response.text
    answer: Answer = response.json()
    return answer


def predicted(checkpoint: BaseEngine, image: bytes, conf: float) -> Answer:
    """The checkpoint's own answer."""
    images, (placement,) = prepare_batch([decode(image)], checkpoint.description.input)
    return to_json(checkpoint.description, checkpoint.run(images, conf), 0, placement)


def threshold(checkpoint: BaseEngine, image: bytes) -> float:
    """A score above which something is found, as far from any score as it can be among the best of them."""
    images, _ = prepare_batch([decode(image)], checkpoint.description.input)
    outputs = checkpoint.run(images, 0.0)
    name = next((name for name in ("scores", "probabilities") if name in outputs), None)
    if name is None or checkpoint.description.task == "classify":
        return 0.25  # read by no one
    scores = np.append(np.sort(outputs[name].astype(np.float64).ravel())[::-1][:8], 0)
    gaps = scores[:-1] - scores[1:]
    best = int(np.argmax(gaps))
    assert gaps[best] > 1e-4, f"no threshold tells them apart: {scores}"
    return float(scores[best] + scores[best + 1]) / 2


def found(answer: Answer) -> int:
    """The number of objects, or of classes."""
    return len(answer.get("detections", answer.get("classes", ())))


def check_same(answer: Answer, expected: Answer) -> None:
    """Two answers to the same image, alike but for rounding in another order."""
    keys = ("task", "width", "height")
    assert [answer[key] for key in keys] == [expected[key] for key in keys]
    assert answer.keys() == expected.keys()
    if "class_map" in expected:
        assert (class_map(answer) == class_map(expected)).mean() > 0.99
    elif "classes" in expected:
        scores, right = ({entry["label"]: entry["score"] for entry in each["classes"]} for each in (answer, expected))
        assert scores == pytest.approx(right, abs=1e-3)
    else:
        assert len(answer["detections"]) == len(expected["detections"])
        check_pairs(answer["detections"], expected["detections"])


def check_pairs(detections: list[Answer], expected: list[Answer]) -> None:
    """Each object that is expected is there once, of whatever order: scores may be equal."""
    left = list(detections)
    for entry in expected:
        same = [
            other
            for other in left
            if (other["label"], other["name"]) == (entry["label"], entry["name"])
            and abs(other["score"] - entry["score"]) < 1e-3
            and np.allclose(other["box"], entry["box"], atol=0.5)
            and overlap(other, entry) > 0.95
        ]
        assert same, f"{entry} is not among {left}"
        left.remove(same[0])


def overlap(first: Answer, second: Answer) -> float:
    """Intersection over union of the masks; 1 where there are none, or both are empty: corners have been compared."""
    if "mask" not in first:
        return 1.0
    masks = [{**each["mask"], "counts": each["mask"]["counts"].encode("ascii")} for each in (first, second)]
    if not any(coco.area(mask) for mask in masks):
        return 1.0
    return float(coco.iou(masks[:1], masks[1:], [False])[0, 0])


def class_map(answer: Answer) -> NDArray[np.uint8]:
    """uint8 (H, W)."""
    with Image.open(io.BytesIO(base64.b64decode(answer["class_map"]))) as image:
        return np.asarray(image).copy()
