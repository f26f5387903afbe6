"""torchvision's one-stage detectors: against torchvision's own results, and what they learn from."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from PIL import Image

from sightline.contract import Input
from sightline.errors import SightlineError
from tasks import models
from tasks.graph import Graphs, export_parts, finish, join
from tasks.models._images import Normalise
from tasks.models._lightning_detect import AUGMENT, Fixed, Images, in_float32
from tasks.models._torch import save, start_from
from tasks.nms import nms
from tasks.parity import MAX_ERROR
from tasks.quantise import quantise
from tasks.tables import Sample

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_data

CLASSES = ("a", "b", "c")
FILES = ("retinanet", "ssd", "ssdlite")


@pytest.fixture(params=[pytest.param(name, marks=[pytest.mark.slow] if name == "ssd" else []) for name in FILES])
def file(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


def family(file: str, **values: Any) -> Any:
    return models.load(tiny_data.model(file).model_copy(update=values), CLASSES)


def torchvision_s(file: str) -> Any:
    """The network with random weights, and its own transform at the family's size."""
    torch.manual_seed(0)
    made = family(file)
    network, side = made.build().eval(), made.config.imgsz
    if network.transform.fixed_size:
        network.transform.fixed_size = (side, side)
    else:
        network.transform.min_size, network.transform.max_size = (side,), side
    return network


@pytest.fixture
def weights(file: str, tmp_path: Path) -> Path:
    save(torchvision_s(file).state_dict(), tmp_path / "weights.pt")
    return tmp_path / "weights.pt"


def noise(side: int, count: int) -> torch.Tensor:
    """uint8 (N, H, W, 3)."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8))


def channels_first(images: torch.Tensor) -> torch.Tensor:
    return images.permute(0, 3, 1, 2)


def test_detects_what_torchvision_detects(file: str, weights: Path) -> None:
    network, made, conf = torchvision_s(file), family(file), 0.6
    parts, images = made.parts(weights), noise(made.config.imgsz, 2)
    network.score_thresh, network.nms_thresh = conf, made.config.iou
    network.topk_candidates, network.detections_per_img = 10**6, made.config.max_det
    found: dict[str, torch.Tensor] = {}
    network.head.register_forward_hook(lambda head, inputs, outputs: found.update(outputs) or drawn)
    with torch.inference_mode():
        offsets, logits = parts.core(parts.pre(images))
        drawn = {"bbox_regression": 2 * torch.randn(offsets.shape), "cls_logits": 2 * torch.randn(logits.shape)}
        expected = network(list(channels_first(images) / 255))
        raw = parts.post(drawn["bbox_regression"], drawn["cls_logits"])
    torch.testing.assert_close({"bbox_regression": offsets, "cls_logits": logits}, found, rtol=1e-3, atol=1e-4)
    boxes, scores, labels = nms(*raw, conf, made.config.iou, made.config.max_det)
    for index, theirs in enumerate(expected):
        real = len(theirs["scores"])
        assert real > 5, "nothing to compare"
        assert real == int((scores[index] > 0).sum())
        torch.testing.assert_close(scores[index, :real], theirs["scores"])
        torch.testing.assert_close(boxes[index, :real], theirs["boxes"], rtol=1e-4, atol=1e-3)
        assert torch.equal(labels[index, :real] + made.background, theirs["labels"])


def test_losses_are_torchvision_s(file: str) -> None:
    network, made = torchvision_s(file).train(), family(file)
    images = channels_first(noise(made.config.imgsz, 2))
    targets = [
        {"boxes": torch.tensor([[5.0, 5, 40, 50], [20, 8, 60, 30]]), "labels": torch.tensor([1, 2])},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)},  # background
    ]
    expected = network(list(images / 255), targets)
    network.transform = Fixed(Normalise(made.mean, made.std))
    torch.testing.assert_close(network(images, targets), expected, rtol=1e-3, atol=1e-4)


@pytest.fixture
def graphs(file: str, weights: Path) -> Graphs:
    made = family(file)
    return export_parts(made.parts(weights), made.description())


def run(model: onnx.ModelProto, **inputs: Any) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, inputs)


@pytest.mark.parametrize("file", [pytest.param(name, marks=[pytest.mark.slow] if name != "ssdlite" else []) for name in FILES])
def test_graph_agrees_for_any_batch_and_quantises(file: str, weights: Path, graphs: Graphs, tmp_path: Path) -> None:
    made = family(file)
    whole = finish(join(graphs), made.description())
    for count in (1, 3):
        images = noise(made.config.imgsz, count)
        with torch.inference_mode():
            expected = made.parts(weights)(images)
        for got, want in zip(run(join(graphs), images=images.numpy()), expected, strict=True):
            assert np.abs(got - want.numpy()).max() < MAX_ERROR["fp32"] * float(want.abs().max())
        scores = run(whole, images=images.numpy(), conf=np.array([0.001], np.float32))[1]
        assert scores.shape == (count, made.config.max_det)
        assert (scores > 0).sum() > 5 * count
    smaller = quantise(graphs, [sample(tmp_path, made.config.imgsz)], made.description().input)
    assert any(node.op_type == "DequantizeLinear" for node in smaller.core.graph.node)
    assert np.isfinite(
        run(finish(join(smaller), made.description()), images=images.numpy(), conf=np.array([0.1], np.float32))[1]
    ).all()


def sample(folder: Path, side: int, **values: Any) -> Sample:
    """A black image with a white square and three boxes, of which one is a crowd."""
    pixels = np.zeros((side, 2 * side, 3), np.uint8)
    pixels[10:30, 20:60] = 255
    Image.fromarray(pixels).save(folder / "image.png")
    boxes = np.array([[20.0, 10, 60, 30], [0, 0, 2 * side, side], [4, 4, 4.5, 30]])
    crowd = np.array([False, True, False])
    fields = {"labels": np.array([1, 0, 2]), "boxes": boxes, "crowd": crowd, "difficult": ~crowd & crowd} | values
    return Sample("image", folder / "image.png", 2 * side, side, **fields)


SPEC = Input(64, 64, "letterbox")


def images(folder: Path, background: int = 0, **augment: float) -> Images:
    return Images([sample(folder, 64)], SPEC, tiny_data.recipe("ssdlite", augment=augment), background)


def test_learns_boxes_in_input_pixels_and_no_crowd_and_no_sliver(tmp_path: Path) -> None:
    image, target = images(tmp_path, background=1)[0]
    assert (image.shape, image.dtype) == ((3, 64, 64), torch.uint8)
    assert target["boxes"].tolist() == [[10, 5, 30, 15]]
    assert target["labels"].tolist() == [2]
    assert (image[:, 32:] == 114).all()
    assert (image[:, 6:14, 12:28] > 250).all()


def test_photometric_distortion_changes_pixels_alone(tmp_path: Path) -> None:
    plain, (image, target) = images(tmp_path)[0], images(tmp_path, photometric=1.0)[0]
    assert not torch.equal(image, plain[0])
    assert torch.equal(target["boxes"], plain[1]["boxes"])


@pytest.mark.parametrize("name", [name for name in AUGMENT if name != "photometric"])
def test_boxes_follow_what_is_augmented(name: str, tmp_path: Path) -> None:
    data = images(tmp_path, **{name: 1.0})
    torch.manual_seed(0)
    changed = 0
    for _ in range(20):
        image, target = data[0]
        assert image.shape == (3, 64, 64)
        changed += not torch.equal(image, images(tmp_path)[0][0])
        for left, top, right, bottom in target["boxes"].round().int().tolist():
            inside, outside = image[:, top:bottom, left:right].float(), image.float().clone()
            outside[:, max(top - 2, 0) : bottom + 2, max(left - 2, 0) : right + 2] = 0
            assert inside.mean() > 150, "the box holds the white square"
            assert (outside <= 114).all(), "and all of it"
    assert changed > 5


def test_an_image_without_boxes_is_background(file: str, tmp_path: Path) -> None:
    empty = sample(tmp_path, 64, labels=np.zeros(0, np.int64), boxes=np.zeros((0, 4)), crowd=np.zeros(0, bool))
    data = Images([empty], SPEC, tiny_data.recipe("ssdlite", augment=dict.fromkeys(AUGMENT, 1.0)), 1)
    assert data[0][1]["boxes"].shape == (0, 4)


def test_an_augmentation_outside_its_range_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match=r"train\.augment\.iou_crop: got 2\.0, expected 0-1"):
        images(tmp_path, iou_crop=2.0)


def test_losses_are_taken_in_float32() -> None:
    low = torch.ones(2, dtype=torch.bfloat16)
    found = in_float32({"a": [low, low], "b": (low,)})
    assert {value.dtype for value in (*found["a"], *found["b"])} == {torch.float32}


@pytest.mark.parametrize(
    ("file", "theirs", "ours"),
    [
        ("retinanet", "head.regression_head.conv.4.bias", "head.regression_head.conv.2.0.bias"),
        ("retinanet", "layer2.0.conv1.weight", "backbone.body.layer2.0.conv1.weight"),
        ("retinanet", "backbone.fpn.inner_blocks.0.weight", "backbone.fpn.inner_blocks.0.0.weight"),
        ("ssd", "features.21.weight", "backbone.features.21.weight"),
        ("ssd", "features.24.weight", "backbone.extra.0.1.weight"),
    ],
)
def test_published_weights_are_taken_under_their_names(file: str, theirs: str, ours: str) -> None:
    made = family(file, pretrained="weights.pt")
    torch.manual_seed(0)
    network = made.build()
    value = torch.rand_like(network.state_dict()[ours])
    start_from(network, models.Weights({theirs: value}, "published"), made.rename)
    assert torch.equal(network.state_dict()[ours], value)


def test_a_classifier_s_weights_fill_the_backbone() -> None:
    from torchvision.models import resnet50, vgg16

    for file, classifier in (("retinanet", resnet50), ("ssd", vgg16)):
        made = family(file, pretrained="weights.pt")
        with torch.device("meta"):
            own, given = made.build().state_dict(), classifier().state_dict()
        taken = {made.rename(name) for name, value in given.items() if made.rename(name) in own}
        trunk = {name for name in given if not name.startswith(("fc.", "classifier.")) and "num_batches" not in name}
        assert len(taken) == len(trunk)
        assert all(own[made.rename(name)].shape == given[name].shape for name in trunk)


def test_ssdlite_refuses_a_batch_of_one(tmp_path: Path) -> None:
    dataset = tiny_data.dataset(tmp_path, "detect")
    with pytest.raises(SightlineError, match="expected at least 2"):
        family("ssdlite").fit(
            dataset, tiny_data.recipe("ssdlite", batch=1), start=None, work=tmp_path, out=tmp_path / "w.pt", on_epoch=print
        )
