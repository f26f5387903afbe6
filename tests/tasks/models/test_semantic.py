"""Networks for semantic segmentation: sizes, pretrained weights, losses, masks, and what is exported."""

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from PIL import Image
from torch import nn
from torchvision.models import get_model

from sightline.contract import Input
from sightline.engines import load
from sightline.errors import SightlineError
from sightline.preprocess import prepare
from tasks import models
from tasks.exported import FILES
from tasks.graph import export_parts, finish, join, write
from tasks.models import _lightning_semantic as shared
from tasks.models import fast_scnn
from tasks.models._torch import save, start_from
from tasks.parity import MAX_ERROR
from tasks.quantise import last_layers, quantise

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_data

SIDE = 64
ARCHITECTURES = {
    "unet": ("unet16",),
    "fast_scnn": ("fast_scnn",),
    "fcn": ("fcn_resnet50",),
    "deeplabv3": ("deeplabv3_resnet50", "deeplabv3_mobilenet_v3_large"),
}
PAIRS = [(file, arch) for file, architectures in ARCHITECTURES.items() for arch in architectures]


def family(file: str, arch: str, classes: int = 3) -> models.Family:
    names = tuple(f"class{index}" for index in range(classes))
    return models.load(tiny_data.model(file).model_copy(update={"arch": arch}), names)


def build(file: str, arch: str, classes: int = 3) -> nn.Module:
    network: nn.Module = family(file, arch, classes).build()  # type: ignore[attr-defined]
    return network


@pytest.mark.parametrize(
    ("file", "arch", "classes", "millions"),
    [
        ("unet", "unet", 2, 31.03),  # arXiv:1505.04597: its 23 convolutions with their biases
        ("fast_scnn", "fast_scnn", 19, 1.11),  # arXiv:1902.04502, table 4, without auxiliary heads
        ("fcn", "fcn_resnet50", 21, 35.322218),  # torchvision's table of weights
        ("fcn", "fcn_resnet101", 21, 54.314346),
        ("deeplabv3", "deeplabv3_resnet50", 21, 42.004074),
        ("deeplabv3", "deeplabv3_resnet101", 21, 60.996202),
        ("deeplabv3", "deeplabv3_mobilenet_v3_large", 21, 11.029328),
    ],
)
def test_parameters_are_the_papers(file: str, arch: str, classes: int, millions: float) -> None:
    with torch.device("meta"):
        network = build(file, arch, classes)
    count = sum(value.numel() for name, value in network.named_parameters() if not name.startswith("auxiliary."))
    exact = file in ("fcn", "deeplabv3")
    assert count / 1e6 == pytest.approx(millions, abs=1e-9 if exact else 0.03)


@pytest.mark.parametrize(("file", "arch"), PAIRS)
def test_every_head_sees_every_class(file: str, arch: str) -> None:
    segmenter, network = family(file, arch), build(file, arch)
    heads = segmenter.heads(network, torch.zeros(2, 3, SIDE, SIDE))  # type: ignore[attr-defined]
    assert {logits.shape[:2] for logits in heads} == {(2, 3)}
    assert len(heads) == {"unet": 1, "fast_scnn": 3}.get(file, 2)
    assert len(segmenter.heads(network.eval(), torch.zeros(2, 3, SIDE, SIDE))) == 1  # type: ignore[attr-defined]


def test_torchvisions_weights_fit_but_for_the_last_layers() -> None:
    arch = "deeplabv3_mobilenet_v3_large"
    given = get_model(arch, weights=None, weights_backbone=None, aux_loss=True).state_dict()  # 21 classes
    network, segmenter = build("deeplabv3", arch), family("deeplabv3", arch)
    start_from(network, models.Weights(given, "given"), segmenter.rename)
    other = {name for name, value in network.state_dict().items() if not torch.equal(value, given[name])}
    assert other == {f"{head}.4.{kind}" for head in ("classifier", "aux_classifier") for kind in ("weight", "bias")}


@pytest.mark.parametrize(
    ("file", "arch", "backbone", "key"),
    [
        ("fcn", "fcn_resnet50", "resnet50", "layer1.0.conv1.weight"),
        ("deeplabv3", "deeplabv3_mobilenet_v3_large", "mobilenet_v3_large", "features.1.block.0.0.weight"),
    ],
)
def test_a_classifiers_weights_are_the_backbones(file: str, arch: str, backbone: str, key: str) -> None:
    given = get_model(backbone, weights=None).state_dict()
    network, segmenter = build(file, arch), family(file, arch)
    start_from(network, models.Weights(given, "given"), segmenter.rename)
    own = network.state_dict()
    assert torch.equal(own[f"backbone.{key.removeprefix('features.')}"], given[key])


@pytest.mark.parametrize("bins", fast_scnn.BINS)
@pytest.mark.parametrize("size", [(16, 11), (6, 6), (2, 3)])
def test_pooling_is_adaptive_pooling(bins: int, size: tuple[int, int]) -> None:
    maps = torch.rand(2, 4, *size)
    torch.testing.assert_close(fast_scnn.pool(maps, bins), nn.functional.adaptive_avg_pool2d(maps, bins))


@pytest.mark.parametrize(("file", "arch"), [("fast_scnn", "fast_scnn"), ("deeplabv3", "deeplabv3_mobilenet_v3_large")])
def test_dilated_depthwise_convolutions_train_exactly_in_bfloat16(file: str, arch: str) -> None:
    network = build(file, arch)
    shared.keep_exact(network)
    exact = [module for module in network.modules() if isinstance(module, shared.ExactConv2d)]
    assert exact
    convolution = exact[0].to(memory_format=torch.channels_last)
    for _ in range(10):  # half of them were wrong
        maps = torch.randn(4, convolution.in_channels, 52, 52).contiguous(memory_format=torch.channels_last)
        spoilt = torch.full_like(maps, torch.nan)  # what is allocated next may hold this
        del spoilt
        with torch.autocast("cpu", torch.bfloat16):
            convolution(maps.bfloat16()).sum().backward()
    assert convolution.weight.grad is not None
    assert convolution.weight.grad.isfinite().all()
    assert convolution(maps.bfloat16()).dtype == torch.float32


def test_ignored_pixels_cost_nothing() -> None:
    torch.manual_seed(0)
    logits, labels, weights = torch.randn(2, 3, 4, 4), torch.randint(0, 3, (2, 4, 4)), torch.tensor([1.0, 2.0, 0.5])
    expected = (
        nn.functional.cross_entropy(logits[:, :, :2], labels[:, :2], weights),
        shared.dice(logits[:, :, :2], labels[:, :2]),
    )
    labels[:, 2:] = shared.IGNORE
    torch.testing.assert_close((shared.cross_entropy(logits, labels, weights), shared.dice(logits, labels)), expected)
    nothing = torch.full_like(labels, shared.IGNORE)
    assert shared.cross_entropy(logits, nothing, weights) == shared.dice(logits, nothing) == 0


def test_dice_is_zero_where_all_is_right() -> None:
    labels = torch.tensor([[[0, 1], [1, 1]]])
    right = 50 * nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    assert shared.dice(right, labels) == pytest.approx(0.0, abs=1e-6)
    assert shared.dice(-right, labels) == pytest.approx(1.0, abs=1e-6)


def test_rare_classes_weigh_more() -> None:
    masks = torch.zeros(2, 4, 4, dtype=torch.uint8)
    masks[0, 0] = 1  # a quarter of the image that it is in
    masks[1, 0, 0], masks[1, 1] = 2, shared.IGNORE
    # frequencies: 0: 23 of 28, 1: 4 of 16, 2: 1 of 12; the median is 1's
    expected = [(4 / 16) / (23 / 28), 1.0, (4 / 16) / (1 / 12), 1.0]
    assert shared.median_frequency(masks, 4).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("resize", ["letterbox", "stretch"])
def test_a_mask_lies_where_its_image_lies(resize: str) -> None:
    spec = Input(32, 48, resize)  # type: ignore[arg-type]
    mask = np.kron(np.arange(6, dtype=np.uint8).reshape(3, 2), np.ones((20, 30), np.uint8))
    image, placement = prepare(np.repeat(mask[..., None], 3, axis=2) * 40, spec)
    prepared = shared.prepare_mask(mask, placement, spec)
    beside = prepared == shared.IGNORE
    assert beside.any() == (resize == "letterbox")
    assert (image[beside] == spec.fill).all()
    agree = np.abs(image[..., 0] - 40.0 * prepared)[~beside] < 20
    assert agree.mean() > 0.9  # all but the borders, which the image blurs


def test_an_image_and_its_mask_are_augmented_alike() -> None:
    recipe = tiny_data.recipe("unet", augment={"scale": 0.5, "fliplr": 0.5, "flipud": 0.5})
    spec = Input(SIDE, SIDE, "stretch")
    mask = np.kron(np.array([[0, 1], [2, 3]], np.uint8), np.ones((32, 32), np.uint8))
    image = torch.from_numpy(mask).expand(3, -1, -1) * 60
    transform = shared.augmentation(recipe, spec)
    seen = set()
    for seed in range(20):
        torch.manual_seed(seed)
        pixels, labels = transform(shared.tv_tensors.Image(image), shared.tv_tensors.Mask(torch.from_numpy(mask)))
        assert (pixels.shape, labels.shape, labels.dtype) == ((3, SIDE, SIDE), (SIDE, SIDE), torch.uint8)
        kept = labels != shared.IGNORE
        assert (pixels[:, ~kept] == spec.fill[0]).all()
        assert ((pixels[0] - 60.0 * labels).abs()[kept] < 30).float().mean() > 0.9
        seen.add((int(labels[kept][0]), bool(kept.all())))
    assert len(seen) > 3, "it does not vary"


def test_a_batch_of_one_is_refused_where_features_are_pooled(tmp_path: Path) -> None:
    dataset = tiny_data.dataset(tmp_path / "data", "semantic")
    fit = models.load(tiny_data.model("fast_scnn"), dataset.classes).fit
    with pytest.raises(SightlineError, match=r"train\.batch: got 1 and 8 images, expected two at a time"):
        fit(dataset, tiny_data.recipe("fast_scnn", batch=1), start=None, work=tmp_path, out=tmp_path / "w", on_epoch=print)


@pytest.mark.parametrize(
    "file", ["fast_scnn", *(pytest.param(name, marks=pytest.mark.slow) for name in ("deeplabv3", "ssdlite"))]
)
def test_out_of_memory_stops_before_a_batch_of_one(file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dataset = tiny_data.dataset(tmp_path / "data", tiny_data.model(file).task)
    trained, forward, sizes = models.load(tiny_data.model(file), dataset.classes), nn.Conv2d.forward, []

    def limited(self: nn.Conv2d, values: torch.Tensor) -> torch.Tensor:
        if values.shape[1] == 3:
            sizes.append(len(values))
            if len(values) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")
        return forward(self, values)

    monkeypatch.setattr(nn.Conv2d, "forward", limited)
    with pytest.raises(SightlineError, match=r"at train\.batch=2, the least that this network learns from, on cpu: lower"):
        trained.fit(dataset, tiny_data.recipe(file), start=None, work=tmp_path, out=tmp_path / "w", on_epoch=print)
    assert sizes[-2:] == [4, 2]  # before them SSDlite looks at the sizes of its maps


@pytest.mark.parametrize(
    ("file", "arch"),
    [pytest.param(*pair, marks=[pytest.mark.slow] if pair[0] in ("fcn", "deeplabv3") else []) for pair in PAIRS],
)
def test_files_agree_with_the_checkpoint_and_the_core_alone_is_quantised(file: str, arch: str, tmp_path: Path) -> None:
    dataset = tiny_data.dataset(tmp_path / "data", "semantic")
    segmenter = models.load(tiny_data.model(file).model_copy(update={"arch": arch}), dataset.classes)
    torch.manual_seed(0)
    network = segmenter.build()  # type: ignore[attr-defined]
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):  # statistics as training leaves them: not those of the identity
            module.momentum = None
    images = np.stack([np.asarray(Image.open(sample.path).resize((SIDE, SIDE))) for sample in dataset.samples("train")])
    with torch.no_grad():
        segmenter.heads(network, shared.Prepare()(torch.from_numpy(images)))  # type: ignore[attr-defined]
    save(network.state_dict(), tmp_path / models.WEIGHTS_FILE)
    segmenter.config = segmenter.config.model_copy(update={"imgsz": SIDE})
    segmenter.describe(tmp_path)
    parts, description = segmenter.parts(tmp_path / models.WEIGHTS_FILE), segmenter.description()

    graphs = export_parts(parts, description)
    whole = join(graphs)
    with torch.inference_mode():
        expected = parts(torch.from_numpy(images))[0].numpy()
    for batch in (1, 8):
        (got,) = InferenceSession(whole.SerializeToString()).run(None, {"images": images[:batch]})
        assert np.abs(got - expected[:batch]).max() <= MAX_ERROR["fp32"] * np.abs(expected).max()
    write(finish(whole, description), tmp_path / FILES["fp32"].path)
    session = InferenceSession(str(tmp_path / FILES["fp32"].path))
    (class_map,) = session.run(None, {"images": images})
    assert (class_map.dtype, class_map.shape) == (np.uint8, (8, SIDE, SIDE))
    assert (class_map == load("pytorch-fp32", tmp_path, package="tasks.engines").run(images, 0.0)["class_map"]).mean() > 0.999

    for spare in ((), last_layers(graphs.core)):
        quantised = quantise(graphs, dataset.samples("train"), description.input, spare)
        (got,) = InferenceSession(join(quantised).SerializeToString()).run(None, {"images": images})
        scale = np.abs(expected).max()
        assert 0 < np.abs(got - expected).mean() < 0.25 * scale  # weights that learnt nothing
        assert "QuantizeLinear" not in {node.op_type for part in (quantised.pre, quantised.post) for node in part.graph.node}
    assert len(last_layers(graphs.core)) == 1
    assert isinstance(quantised.core, onnx.ModelProto)
