"""Ultralytics' families beside Ultralytics itself: sizes, decoding, export, and the recipe of its trainer."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline import engines
from sightline.contract import describe_file
from sightline.errors import SightlineError
from tasks import models
from tasks.graph import export_parts, finish, join, write
from tasks.models import _ultralytics, _ultralytics_classify
from tasks.models._torch import save
from tasks.nms import nms
from tasks.parity import MAX_ERROR
from tasks.quantise import last_layers, quantise
from tasks.schema import Model

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_data

CLASSES = ("a", "b", "c")
HEADS = [("yolov8", 0.7), ("yolo11", 0.7), ("yolo26", 0.7), ("yolo26", 1.0)]
"""Families with the IoU of their NMS; 1 stands for the head that needs none."""

PARAMETERS = {
    "yolov8n": 3_157_200, "yolov8s": 11_166_560, "yolov8m": 25_902_640, "yolov8l": 43_691_520, "yolov8x": 68_229_648,
    "yolo11n": 2_624_080, "yolo11s": 9_458_752, "yolo11m": 20_114_688, "yolo11l": 25_372_160, "yolo11x": 56_966_176,
    "yolo26n": 2_572_280, "yolo26s": 10_009_784, "yolo26m": 21_896_248, "yolo26l": 26_299_704, "yolo26x": 58_993_368,
    "yolo26n-cls": 2_812_104, "yolo26s-cls": 6_724_008, "yolo26m-cls": 11_634_216, "yolo26l-cls": 14_115_624,
    "yolo26x-cls": 29_637_064,
}  # fmt: skip
"""At 80 classes (COCO) and 1000 (ImageNet), as the models' own files in Ultralytics 8.4.190 state them."""
PUBLISHED = {
    "yolov8n": 3.2, "yolo11n": 2.6, "yolo26n": 2.4, "yolov8n-cls": 2.7, "yolo11n-cls": 2.8, "yolo26n-cls": 2.8,
}  # fmt: skip
"""Millions, as docs.ultralytics.com states them, of the network that runs: normalisation folded, no head that only trains."""


def config(arch: str, **values: object) -> Model:
    """conf/model of an architecture, small."""
    file = "yolo_cls" if arch.endswith("-cls") else arch[:-1]
    return tiny_data.model(file).model_copy(update={"arch": arch, **values})


def network(model: Model, classes: tuple[str, ...] = CLASSES) -> Any:
    """A network whose normalisation has seen some noise, so that its outputs differ from place to place."""
    torch.manual_seed(0)
    net = _ultralytics.build(model, classes)
    with torch.no_grad():
        for _ in range(3):
            net.train()(torch.rand(4, 3, model.imgsz, model.imgsz))
        for name, parameter in net.named_parameters():
            if ("cv2" in name or "cv3" in name) and name.endswith("2.bias"):
                parameter.add_(torch.randn_like(parameter))  # scores on both sides of a threshold
    return net.eval()


def count(net: Any) -> int:
    return sum(parameter.numel() for parameter in net.parameters())


@pytest.mark.parametrize("arch", PARAMETERS)
def test_parameters_are_the_published_ones(arch: str) -> None:
    classes = tuple(str(index) for index in range(1000 if arch.endswith("-cls") else 80))
    assert count(_ultralytics.build(config(arch), classes)) == PARAMETERS[arch]


@pytest.mark.parametrize("arch", PUBLISHED)
def test_parameters_that_run_are_the_published_ones(arch: str, tmp_path: Path) -> None:
    classes = tuple(str(index) for index in range(1000 if arch.endswith("-cls") else 80))
    model = config(arch)
    save(_ultralytics.build(model, classes).state_dict(), tmp_path / "weights.pt")
    parts = models.load(model, classes).parts(tmp_path / "weights.pt")
    assert round(count(parts.core) / 1e6, 1) == PUBLISHED[arch]


@pytest.mark.parametrize(("file", "iou"), HEADS)
def test_detectors_decode_as_their_library_does(file: str, iou: float, tmp_path: Path) -> None:
    model = tiny_data.model(file).model_copy(update={"iou": iou})
    net = network(model)
    save(net.state_dict(), tmp_path / "weights.pt")
    images = torch.randint(0, 256, (2, model.imgsz, model.imgsz, 3), dtype=torch.uint8)
    net.end2end = iou == 1
    with torch.inference_mode():
        boxes, scores = models.load(model, CLASSES).parts(tmp_path / "weights.pt")(images)
        found, raw = net(images.permute(0, 3, 1, 2).float() / 255)
        expected = net.model[-1]._inference(raw["one2one"]) if net.end2end else found
    centre, size = (boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]
    mine = boxes if net.end2end else torch.cat([centre, size], -1)
    np.testing.assert_allclose(mine.transpose(1, 2), expected[:, :4], rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(scores, expected[:, 4:], rtol=1e-3, atol=1e-4)
    assert scores.std() > 1e-3, "nothing to compare"
    if net.end2end:  # IoU 1 drops no box: the best scores are all there, as the library's own selection has them
        kept = nms(boxes, scores, 0.0, iou, model.max_det)[1][:, : found.shape[1]]
        np.testing.assert_allclose(kept, found[..., 4], rtol=1e-3, atol=1e-4)


def test_classifiers_give_their_library_s_probabilities(tmp_path: Path) -> None:
    model = tiny_data.model("yolo_cls")
    net = network(model)
    save(net.state_dict(), tmp_path / "weights.pt")
    images = torch.randint(0, 256, (2, model.imgsz, model.imgsz, 3), dtype=torch.uint8)
    with torch.inference_mode():
        (probabilities,) = models.load(model, CLASSES).parts(tmp_path / "weights.pt")(images)
        expected = net(images.permute(0, 3, 1, 2).float() / 255)[0]
    np.testing.assert_allclose(probabilities, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "iou"), [*HEADS, ("yolo_cls", 0.7)])
def test_onnx_agrees_in_float_and_its_core_is_quantised(file: str, iou: float, tmp_path: Path) -> None:
    from onnxruntime import InferenceSession

    model = tiny_data.model(file).model_copy(update={"iou": iou, **({"arch": "yolo26n-cls"} if file == "yolo_cls" else {})})
    save(network(model, tiny_data.CLASSES).state_dict(), tmp_path / "weights.pt")
    family = models.load(model, tiny_data.CLASSES)
    parts, description = family.parts(tmp_path / "weights.pt"), family.description()
    graphs = export_parts(parts, description)
    images = np.random.default_rng(0).integers(0, 256, (3, model.imgsz, model.imgsz, 3), np.uint8)
    with torch.inference_mode():
        expected = [tensor.numpy() for tensor in parts(torch.from_numpy(images))]
    for batch in (1, 3):
        got = InferenceSession(join(graphs).SerializeToString()).run(None, {"images": images[:batch]})
        for mine, theirs in zip(got, expected, strict=True):
            assert np.abs(mine - theirs[:batch]).max() <= MAX_ERROR["fp32"] * np.abs(theirs).max()

    samples = tiny_data.dataset(tmp_path / "data", model.task).samples("train")
    small = quantise(graphs, samples, description.input, last_layers(graphs.core))
    kinds = [node.op_type for node in small.core.graph.node]
    assert kinds.count("QuantizeLinear") > 10
    assert "QuantizeLinear" not in {node.op_type for part in (small.pre, small.post) for node in part.graph.node}
    write(finish(join(small), description), tmp_path / "int8.onnx")
    replace(description, files={"int8": describe_file(tmp_path / "int8.onnx")}).write(tmp_path)
    outputs = engines.load("onnxruntime-cpu-int8", tmp_path).run(images, 0.01)
    assert set(outputs) == set(description.outputs)
    assert all(np.isfinite(value).all() for value in outputs.values())


def optimizer(arch: str, **values: object) -> tuple[Any, torch.optim.Optimizer]:
    net = _ultralytics.build(config(arch), CLASSES)
    return net, _ultralytics._optimizer(net, tiny_data.recipe("yolo26", **values))


@pytest.mark.parametrize("arch", ["yolov8n", "yolo26n", "yolo26n-cls"])
def test_musgd_is_set_up_as_in_ultralytics_trainer(arch: str) -> None:
    from ultralytics.engine.trainer import BaseTrainer

    net, ours = optimizer(arch, optimizer="MuSGD")
    recipe = tiny_data.recipe("yolo26")
    theirs = BaseTrainer.build_optimizer(None, net, "MuSGD", recipe.lr0, recipe.momentum, recipe.weight_decay)
    _ultralytics._set_rates(ours, recipe, recipe.warmup_epochs)
    full = max(group["lr"] for group in ours.param_groups if group["boost"] == 1)

    def facts(groups: list[dict[str, Any]], unit: float) -> dict[int, tuple[float, float, bool]]:
        return {
            id(item): (round(group["lr"] / unit, 6), group["weight_decay"], group.get("use_muon", False))
            for group in groups
            for item in group["params"]
            if item.requires_grad
        }

    assert facts(ours.param_groups, full) == facts(theirs.param_groups, recipe.lr0)


def test_momentum_warms_up() -> None:
    _, made = optimizer("yolo26n", optimizer="MuSGD", momentum=0.9, epochs=10, warmup_epochs=2.0)
    recipe = tiny_data.recipe("yolo26", momentum=0.9, epochs=10, warmup_epochs=2.0)
    seen = []
    for epoch in (0, 1, 2, 5):
        _ultralytics._set_rates(made, recipe, epoch)
        seen.append(round(made.param_groups[0]["momentum"], 6))
    assert seen == [0.8, 0.85, 0.9, 0.9]


def test_two_heads_are_weighed_by_the_epoch_alone() -> None:
    net = _ultralytics.build(config("yolo26n"), CLASSES)
    net.args = _ultralytics.settings(tiny_data.recipe("yolo26", epochs=11))
    shares = []
    for epoch in (1, 6, 11, 1):
        _ultralytics._weigh_heads(net, epoch)
        shares.append((round(net.criterion.o2m, 6), round(net.criterion.o2o, 6)))
    assert shares == [(0.8, 0.2), (0.45, 0.55), (0.1, 0.9), (0.8, 0.2)]


def test_a_share_above_one_is_refused() -> None:
    spec = models.load(tiny_data.model("yolo_cls"), CLASSES).description().input
    for name, value in (("scale", 1.5), ("hsv_h", 0.7)):
        with pytest.raises(SightlineError, match=rf"train\.augment\.{name}: got {value}, expected 0-"):
            _ultralytics_classify.augmentation(tiny_data.recipe("yolo_cls", augment={name: value}), spec)


@pytest.mark.parametrize("threads", [None, "3", pytest.param("", marks=pytest.mark.slow)])
def test_processes_that_are_started_later_have_all_threads(threads: str | None) -> None:
    code = "import os; from tasks.models import _ultralytics; print(os.environ.get('OMP_NUM_THREADS'))"
    given = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    environment = given | ({} if threads is None else {"OMP_NUM_THREADS": threads})
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(threads)
