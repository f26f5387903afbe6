"""The size of each architecture against the published figure, which is that of 1,000 classes (ImageNet) or 91 labels (COCO)."""

import sys
from pathlib import Path

import pytest

from tasks import models

sys.path.insert(0, str(Path(__file__).parents[1]))
import tiny_data

# torchvision's own figures, on its page of each model's weights; COCO's 91 labels begin with the background.
CLASSIFIERS = {
    "resnet18": ("resnet", 11_689_512),
    "resnet34": ("resnet", 21_797_672),
    "resnet50": ("resnet", 25_557_032),
    "vgg16": ("vgg", 138_357_544),
    "vgg16_bn": ("vgg", 138_365_992),
    "efficientnet_b0": ("efficientnet", 5_288_548),
    "efficientnet_b1": ("efficientnet", 7_794_184),
    "efficientnet_b2": ("efficientnet", 9_109_994),
    "efficientnet_b3": ("efficientnet", 12_233_232),
    "mobilenet_v3_small": ("mobilenetv3", 2_542_856),
    "mobilenet_v3_large": ("mobilenetv3", 5_483_032),
}
DETECTORS = {
    "ssd300_vgg16": ("ssd", 90, 35_641_826),
    "ssdlite320_mobilenet_v3_large": ("ssdlite", 90, 3_440_060),
    "retinanet_resnet50_fpn": ("retinanet", 91, 34_014_999),
    "fasterrcnn_resnet50_fpn": ("faster_rcnn", 90, 41_755_286),
    "maskrcnn_resnet50_fpn": ("mask_rcnn", 90, 44_401_393),
}


def parameters(file: str, classes: int, **values: object) -> int:
    import torch

    config = tiny_data.model(file).model_copy(update=values)
    with torch.device("meta"):
        network = models.load(config, tuple(f"c{label}" for label in range(classes))).build()  # type: ignore[attr-defined]
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("arch", CLASSIFIERS)
def test_classifiers_have_the_published_size(arch: str) -> None:
    file, count = CLASSIFIERS[arch]
    assert parameters(file, 1000, arch=arch, imgsz=224) == count


@pytest.mark.parametrize("arch", DETECTORS)
def test_detectors_have_the_published_size(arch: str) -> None:
    file, classes, count = DETECTORS[arch]
    assert parameters(file, classes, arch=arch, pretrained="weights.pt") == count


def test_normalisations_learn_where_retinanet_starts_from_scratch() -> None:
    assert parameters("retinanet", 91) == 34_014_999 + 53_120, "ResNet-50's 53 normalisations, 2 x 26,560 values"


@pytest.mark.parametrize("arch", [arch for arch, (file, _) in CLASSIFIERS.items() if file in ("efficientnet", "mobilenetv3")])
def test_small_images_leave_the_size_as_it_is(arch: str) -> None:
    file, count = CLASSIFIERS[arch]
    assert parameters(file, 1000, arch=arch, imgsz=64) == count


def test_mobilenetv3_s_statistics_keep_up_with_a_short_training() -> None:
    from torch import nn

    network = models.load(tiny_data.model("mobilenetv3"), ("a", "b")).build()  # type: ignore[attr-defined]
    assert {module.momentum for module in network.modules() if isinstance(module, nn.BatchNorm2d)} == {0.1}
