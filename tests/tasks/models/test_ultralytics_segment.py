"""YOLO's segmentation beside Ultralytics itself: sizes, masks, outlines, export."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sightline.masks import paste
from tasks import models
from tasks.graph import export_parts, finish, join
from tasks.masks import encode_rle
from tasks.models import _ultralytics
from tasks.models._torch import save
from tasks.models._ultralytics_outlines import ring_of
from tasks.models._ultralytics_segment import Masks
from tasks.outputs import segment
from tasks.parity import MAX_ERROR
from tasks.quantise import last_layers, quantise
from tasks.shapes import mask_of
from tasks.tables import Sample

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_data

CLASSES = ("a", "b", "c")
FILES = ("yolov8_seg", pytest.param("yolo11_seg", marks=pytest.mark.slow), "yolo26_seg")
PARAMETERS = {
    "yolov8n-seg": 3_409_968, "yolo11n-seg": 2_876_848, "yolo11s-seg": 10_113_248, "yolo26n-seg": 3_126_280,
    "yolo26s-seg": 11_505_800,
}  # fmt: skip
"""At 80 classes, as the models' own files in Ultralytics 8.4.190 state them; YOLOv8n-seg as its summary counts them."""


@pytest.mark.parametrize("arch", PARAMETERS)
def test_parameters_are_the_published_ones(arch: str) -> None:
    config = tiny_data.model(f"{arch.partition('-')[0][:-1]}_seg").model_copy(update={"arch": arch})
    network = _ultralytics.build(config, tuple(str(label) for label in range(80)))
    assert sum(parameter.numel() for parameter in network.parameters()) == PARAMETERS[arch]


@pytest.fixture(params=FILES, scope="module")
def file(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def network(file: str) -> Any:
    """Random weights whose normalisation has seen some noise, so that outputs differ from place to place."""
    torch.manual_seed(0)
    network = _ultralytics.build(tiny_data.model(file), CLASSES)
    with torch.no_grad():
        network.train()(torch.rand(4, 3, tiny_data.SIDE, tiny_data.SIDE))
        for name, parameter in network.named_parameters():
            if "cv4" in name and name.endswith("2.weight"):
                parameter.mul_(20)  # masks with an inside and an outside
            if ("cv2" in name or "cv3" in name) and name.endswith("2.bias"):
                parameter.add_(torch.randn_like(parameter))  # scores on both sides of a threshold
    return network.eval()


@pytest.fixture(scope="module")
def weights(network: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "weights.pt"
    save(network.state_dict(), path)
    return path


def noise(count: int) -> torch.Tensor:
    """uint8 (N, H, W, 3)."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (count, tiny_data.SIDE, tiny_data.SIDE, 3), np.uint8))


def test_decodes_as_ultralytics_does(file: str, network: Any, weights: Path) -> None:
    parts = models.load(tiny_data.model(file), CLASSES).parts(weights)
    with torch.inference_mode():
        _, scores, coefficients, prototypes = parts(noise(1))
        network.end2end = False
        (predicted, expected), _ = network(noise(1).permute(0, 3, 1, 2).float() / 255)
    torch.testing.assert_close(scores, predicted[:, 4:7], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(coefficients, predicted[:, 7:].transpose(1, 2), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(prototypes, expected, rtol=1e-3, atol=1e-3)


def test_masks_are_cut_as_ultralytics_cuts_them() -> None:
    from ultralytics.utils.ops import process_mask

    torch.manual_seed(0)
    side, count = 256, 30
    prototypes = torch.nn.functional.interpolate(torch.randn(1, 32, 6, 6), (side // 4, side // 4), mode="bicubic")
    coefficients, anchors = torch.randn(1, 2 * count, 32), torch.randperm(2 * count)[:count]
    low = torch.rand(1, count, 2) * side / 2
    boxes = torch.cat([low, low + 30 + torch.rand(1, count, 2) * (side / 2 - 30)], dim=2)
    masks = Masks(side)(boxes, anchors[None] * 0, anchors[None], coefficients, prototypes)[0].numpy()
    expected = process_mask(prototypes[0], coefficients[0, anchors], boxes[0], (side, side), upsample=True).numpy() > 0
    overlaps = []
    for mask, box, theirs in zip(masks, boxes[0].numpy(), expected, strict=True):
        part, left, top = paste(mask, box, side, side)
        whole = np.zeros((side, side), bool)
        whole[top : top + part.shape[0], left : left + part.shape[1]] = part
        if theirs.sum() > 100:
            overlaps.append((whole & theirs).sum() / (whole | theirs).sum())
    assert len(overlaps) > 20
    assert np.mean(overlaps) > 0.95


def test_onnx_agrees_and_its_core_is_quantised(file: str, weights: Path, tmp_path: Path) -> None:
    from onnxruntime import InferenceSession

    family = models.load(tiny_data.model(file), CLASSES)
    parts, description = family.parts(weights), family.description()
    graphs = export_parts(parts, description)
    whole = finish(join(graphs), description, graphs.masks)
    session, raw = InferenceSession(whole.SerializeToString()), InferenceSession(join(graphs).SerializeToString())
    for count in (1, 3):
        images = noise(count)
        with torch.inference_mode():
            tensors = parts(images)
            conf = float(tensors[1].quantile(0.9))
            expected = segment.finish(tensors, conf, description, parts.masks)  # type: ignore[arg-type]
        for mine, theirs in zip(raw.run(None, {"images": images.numpy()}), tensors, strict=True):
            assert np.abs(mine - theirs.numpy()).max() <= MAX_ERROR["fp32"] * float(theirs.abs().max())
        got = session.run(None, {"images": images.numpy(), "conf": np.array([conf], np.float32)})
        assert (got[1] > 0).sum() >= 3
        assert got[3].dtype == np.uint8
        near = np.abs(got[3].astype(int) - expected[3].numpy()).max(axis=(2, 3)) <= 2  # near-ties swap places
        assert near[got[1] > 0].mean() > 0.9

    samples = tiny_data.dataset(tmp_path / "data", "segment").samples("train")[:2]
    small = quantise(graphs, samples, description.input, last_layers(graphs.core))
    assert [node.op_type for node in small.core.graph.node].count("QuantizeLinear") > 10
    outputs = InferenceSession(finish(join(small), description, small.masks).SerializeToString()).run(
        None, {"images": images.numpy(), "conf": np.array([0.01], np.float32)}
    )
    assert all(np.isfinite(value).all() for value in outputs)


def sample(mask: "np.ndarray[Any, np.dtype[np.bool_]]") -> Sample:
    nothing = np.zeros(1, bool)
    return Sample("x", Path("x"), 40, 30, np.zeros(1, np.int64), np.array([[1.0, 2, 3, 4]]), nothing, nothing,
                  shapes=[encode_rle(mask)])  # fmt: skip


def test_a_mask_s_ring_is_filled_as_the_mask() -> None:
    from ultralytics.data.utils import polygons2masks

    mask = np.zeros((30, 40), bool)
    mask[5:20, 8:30] = True
    mask[5:10, 8:14] = False
    truth = sample(mask)
    np.testing.assert_array_equal(polygons2masks((30, 40), [ring_of(truth, 0)], 1, 1)[0].astype(bool), mask_of(truth, 0))


def test_parts_are_one_ring_and_a_dot_is_its_box() -> None:
    mask = np.zeros((30, 40), bool)
    mask[2:8, 3:9] = mask[20:28, 25:36] = True
    ring = ring_of(sample(mask), 0)
    assert (ring.min(axis=0).tolist(), ring.max(axis=0).tolist()) == ([3.5, 2.5], [35.5, 27.5])
    dot = np.zeros((30, 40), bool)
    dot[2, 1] = True
    assert ring_of(sample(dot), 0).tolist() == [[1, 2], [3, 2], [3, 4], [1, 4]]
