"""torchvision's two-stage detectors: against torchvision's own results, and their graph."""

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from torchvision.models.detection.roi_heads import maskrcnn_inference
from torchvision.ops import box_iou

from tasks import models, parity
from tasks.graph import Graphs, export_parts, finish, join
from tasks.models import _lightning_two_stage
from tasks.models._images import Normalise
from tasks.models._lightning_detect import Fixed
from tasks.models._torch import save, start_from
from tasks.nms import nms
from tasks.outputs import segment
from tasks.parity import MAX_ERROR, match_proposals
from tasks.quantise import quantise

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_data

CLASSES = ("a", "b", "c")
CONF, PROPOSALS = 0.4, 60
FILES = ("faster_rcnn", "mask_rcnn")


@pytest.fixture(params=FILES, scope="module")
def file(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(autouse=True, scope="module")
def few_proposals() -> Any:
    """The box head takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_lightning_two_stage, "PROPOSALS", PROPOSALS)
        patch.setattr(parity, "UNMATCHED", 0.05)  # three of the few
        yield


def family(file: str, **values: Any) -> Any:
    return models.load(tiny_data.model(file).model_copy(update=values), CLASSES)


@pytest.fixture(scope="module")
def network(file: str) -> Any:
    """The network with random weights that give boxes and scores of many sizes."""
    torch.manual_seed(0)
    made = family(file)
    network = made.build()
    with torch.no_grad():
        network.backbone(torch.randn(4, 3, 64, 64))  # its normalisations see something
        for name, value in network.named_parameters():
            if name.startswith("rpn.head") or "predictor" in name:
                value.mul_(3)
    network.rpn._post_nms_top_n = {"training": PROPOSALS, "testing": PROPOSALS}
    return network.eval()


@pytest.fixture(scope="module")
def weights(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    save(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def graphs(file: str, weights: Path) -> Graphs:
    made = family(file)
    return export_parts(made.parts(weights), made.description())


def noise(count: int) -> torch.Tensor:
    """uint8 (N, H, W, 3)."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, tiny_data.SIDE, tiny_data.SIDE, 3), np.uint8))


def channels_first(images: torch.Tensor) -> torch.Tensor:
    return images.permute(0, 3, 1, 2)


def test_detects_what_torchvision_detects(file: str, network: Any, weights: Path) -> None:
    made, images = family(file), noise(2)
    network.roi_heads.score_thresh, network.roi_heads.nms_thresh = CONF, made.config.iou
    network.roi_heads.detections_per_img = 1000
    network.transform.min_size, network.transform.max_size = (tiny_data.SIDE,), tiny_data.SIDE
    parts = made.parts(weights)
    with torch.inference_mode():
        raw = parts(images)
        boxes, scores, _ = nms(*raw[:2], CONF, made.config.iou, 1000)
        expected = network(list(channels_first(images) / 255))
    for index, theirs in enumerate(expected):
        real = len(theirs["scores"])
        assert 5 < real == int((scores[index] > 0).sum())
        torch.testing.assert_close(scores[index, :real], theirs["scores"], rtol=1e-3, atol=1e-4)
        nearest = box_iou(theirs["boxes"], boxes[index, :real]).argmax(dim=1)  # near-ties swap places
        torch.testing.assert_close(boxes[index, nearest], theirs["boxes"], rtol=1e-3, atol=0.05)


def test_masks_are_torchvision_s(network: Any, file: str, weights: Path) -> None:
    if file != "mask_rcnn":
        pytest.skip("has no masks")
    parts, images = family(file).parts(weights), noise(2)
    boxes = torch.tensor([[[4.0, 6, 40, 50], [0, 0, 0, 0], [20, 8, 60, 30]], [[1, 1, 9, 30], [0, 0, 64, 64], [0, 0, 0, 0]]])
    labels = torch.tensor([[0, 0, 2], [1, 2, 0]])
    with torch.inference_mode():
        features = network.backbone(parts.pre(images))
        got = parts.masks(boxes, labels, torch.zeros_like(labels), *parts(images)[2:])
        heads, real = network.roi_heads, [(each[:, 2] > 0) for each in boxes]
        kept = [each[where] for each, where in zip(boxes, real, strict=True)]
        pooled = heads.mask_roi_pool(features, kept, [(tiny_data.SIDE, tiny_data.SIDE)] * 2)
        own = [each[where] + 1 for each, where in zip(labels, real, strict=True)]
        expected = maskrcnn_inference(heads.mask_predictor(heads.mask_head(pooled)), own)
    assert (got.shape, got.dtype) == ((2, 3, 28, 28), torch.uint8)
    for index, where in enumerate(real):
        assert (got[index, where] - expected[index][:, 0] * 255).abs().max() < 0.51
        assert not got[index, ~where].any()


def test_losses_are_torchvision_s(file: str, network: Any) -> None:
    made, images = family(file), channels_first(noise(2))
    masks = torch.zeros(2, tiny_data.SIDE, tiny_data.SIDE, dtype=torch.uint8)
    masks[0, 5:50, 5:40] = masks[1, 8:30, 20:60] = 1
    targets = [
        {"boxes": torch.tensor([[5.0, 5, 40, 50], [20, 8, 60, 30]]), "labels": torch.tensor([1, 2]), "masks": masks},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": masks[:0]},  # background
    ]
    transform, state = network.transform, {name: value.clone() for name, value in network.state_dict().items()}
    network.train()
    transform._skip_resize = True  # it would draw a size
    torch.manual_seed(0)
    expected = network(list(images / 255), targets)
    network.load_state_dict(state)
    network.transform = Fixed(Normalise(made.mean, made.std))
    torch.manual_seed(0)  # heads draw what they learn from
    got = network(images, targets)
    network.load_state_dict(state)
    network.transform = transform
    network.eval()
    assert ("loss_mask" in got) == (file == "mask_rcnn")
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


def run(model: Any, **inputs: Any) -> Any:
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, inputs)


@pytest.mark.slow
def test_graph_agrees_for_any_batch(file: str, weights: Path, graphs: Graphs) -> None:
    made = family(file)
    parts = made.parts(weights)
    whole = finish(join(graphs), made.description(), graphs.masks)
    for count in (1, 3):
        images = noise(count)
        with torch.inference_mode():
            expected = [tensor.numpy() for tensor in parts(images)]
        got = run(join(graphs), images=images.numpy())
        got = [*match_proposals(got[0], got[1], expected[0], expected[1]), *got[2:]]
        for mine, theirs in zip(got, expected, strict=True):
            assert np.abs(mine - theirs).max() < MAX_ERROR["fp32"] * np.abs(theirs).max()
        outputs = run(whole, images=images.numpy(), conf=np.array([CONF], np.float32))
        assert [value.shape[0] for value in outputs] == [count] * len(made.description().outputs)
        assert (outputs[1] > 0).sum() > 5 * count
    nothing = run(whole, images=images.numpy(), conf=np.array([1.0], np.float32))
    assert not any(value.any() for value in nothing)


@pytest.mark.slow
def test_masks_of_the_graph_are_those_of_the_parts(file: str, weights: Path, graphs: Graphs) -> None:
    if file != "mask_rcnn":
        pytest.skip("has no masks")
    made = family(file)
    parts, description, images = made.parts(weights), made.description(), noise(2)
    with torch.inference_mode():
        _, scores, _, masks = segment.finish(parts(images), CONF, description, parts.masks)
    got = run(finish(join(graphs), description, graphs.masks), images=images.numpy(), conf=np.array([CONF], np.float32))
    assert got[3].dtype == np.uint8
    near = np.abs(got[3].astype(int) - masks.numpy()).max(axis=(2, 3)) <= 2  # near-ties swap places
    assert near[scores.numpy() > 0].mean() > 0.9


@pytest.mark.slow
def test_only_the_convolutions_are_quantised(file: str, graphs: Graphs, tmp_path: Path) -> None:
    made = family(file)
    samples = tiny_data.dataset(tmp_path / "data", made.config.task).samples("train")[:2]
    small = quantise(graphs, samples, made.description().input)
    assert [node.op_type for node in small.core.graph.node].count("QuantizeLinear") > 50
    assert (small.post, small.masks) == (graphs.post, graphs.masks)
    outputs = run(
        finish(join(small), made.description(), small.masks), images=noise(1).numpy(), conf=np.array([0.05], np.float32)
    )
    assert all(np.isfinite(value).all() for value in outputs)


def test_published_names_are_taken(file: str) -> None:
    made = family(file)
    torch.manual_seed(1)
    given = made.build()
    old = {}
    for name, value in given.state_dict().items():
        name = re.sub(r"^(backbone\.fpn\.\w+_blocks\.\d)\.0\.", r"\1.", name)
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        name = re.sub(r"mask_head\.(\d)\.0\.", lambda found: f"mask_head.mask_fcn{int(found[1]) + 1}.", name)
        old[name] = value
    assert sum(name not in given.state_dict() for name in old) == 16 + 2 + 8 * (file == "mask_rcnn")
    torch.manual_seed(2)
    taken = made.build()
    start_from(taken, models.Weights(old, "published"), made.rename)
    for name, value in given.state_dict().items():
        assert torch.equal(taken.state_dict()[name], value), name


def test_a_classifier_s_weights_are_a_backbone() -> None:
    from torchvision.models import resnet50

    torch.manual_seed(1)
    given = resnet50(weights=None).state_dict()
    made = family("faster_rcnn")
    network = made.build()
    start_from(network, models.Weights(given, "resnet50"), made.rename)
    assert torch.equal(network.state_dict()["backbone.body.layer4.2.conv3.weight"], given["layer4.2.conv3.weight"])
