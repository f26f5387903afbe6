"""Classifiers of Ultralytics: their images, augmentation and runtime graph."""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from sightline.contract import Input
from sightline.errors import SightlineError
from tasks import models, schema
from tasks.models import _ultralytics
from tasks.models._balance import inverse_frequency
from tasks.models._images import read
from tasks.models._onnx import Same
from tasks.models._torch import load_exactly
from tasks.models._validation import of_fit
from tasks.tables import Dataset, Sample

AUGMENT: Final = ("scale", "fliplr", "flipud", "randaugment", "hsv_h", "hsv_s", "hsv_v", "erasing")
BALANCE: Final = ("none", "sampler")
RATIO: Final = (3 / 4, 4 / 3)  # of a crop's sides, as Ultralytics draws it


class Family(models.Family):
    """A classifier that Ultralytics builds."""

    def fit(
        self,
        dataset: Dataset,
        recipe: schema.Train,
        *,
        start: Path | None,
        work: Path,
        out: Path,
        on_epoch: models.OnEpoch,
    ) -> None:
        network = _ultralytics.start(self.config, self.classes, recipe, start)
        spec = self.description().input
        images = Images(dataset.samples("train"), spec, augmentation(recipe, spec), self.classes, recipe.balance)
        plain = recipe.model_copy(update={"augment": {}})  # Ultralytics' settings for detectors
        validation = of_fit(self, dataset, recipe, work)
        _ultralytics.fit(network, images, plain, work=work, out=out, on_epoch=on_epoch, validation=validation)

    def parts(self, weights: Path) -> models.Parts:
        network = _ultralytics.build(self.config, self.classes)
        load_exactly(network, weights)
        *layers, head = network.eval().fuse(verbose=False).model
        core = nn.Sequential(*layers, head.conv, head.pool, nn.Flatten(), head.linear)
        return models.Parts(_ultralytics.Scale().eval(), core.eval(), nn.Softmax(dim=1).eval())

    def around(self) -> tuple[nn.Module, nn.Module]:
        return _ultralytics.Scale().eval(), Same().eval()  # Ultralytics exports probabilities


class Images:
    """A split in memory, decoded once: uint8 (3, H, W) RGB, augmented, and its label.

    With `balance` `sampler` images of rare classes are drawn as often as the others.
    """

    def __init__(
        self, samples: list[Sample], spec: Input, transform: v2.Transform, classes: tuple[str, ...], balance: str
    ) -> None:
        self.images = read(samples, spec)
        self.labels = torch.tensor([int(sample.labels[0]) for sample in samples])
        rarity = inverse_frequency(self.labels, len(classes)).double()[self.labels]
        self.transform, self.classes, self.sampling = transform, classes, rarity if balance == "sampler" else None

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"img": self.transform(self.images[index]), "cls": self.labels[index]}

    def collate_fn(self, items: list[dict[str, Tensor]]) -> dict[str, Tensor]:
        """A batch."""
        return {name: torch.stack([item[name] for item in items]) for name in items[0]}

    def close_mosaic(self, hyp: Any) -> None:
        """Nothing: no augmentation mixes images."""


def augmentation(recipe: schema.Train, spec: Input) -> v2.Transform:
    """Ultralytics' transforms for classification, of uint8 (3, H, W); what is not named is off.

    `scale` crops away up to that share of the area and resizes what is left; `fliplr`, `flipud`, `erasing` and `randaugment`
    (arXiv:1909.13719, two operations of magnitude 9) are probabilities; `hsv_v` changes brightness and contrast, `hsv_s`
    saturation and `hsv_h` hue by up to that share.

    Raises:
        SightlineError: A value outside 0-1, or a hue above 0.5.
    """
    share = {name: recipe.augment.get(name, 0.0) for name in AUGMENT}
    for name, value in share.items():
        most = 0.5 if name == "hsv_h" else 1.0
        if not 0 <= value <= most:
            raise SightlineError(f"train.augment.{name}: got {value}, expected 0-{most:g}")
    size, colours = (spec.height, spec.width), (share["hsv_v"], share["hsv_v"], share["hsv_s"], share["hsv_h"])
    transforms = [
        v2.RandomResizedCrop(size, scale=(1 - share["scale"], 1.0), ratio=RATIO) if share["scale"] else v2.Identity(),
        v2.RandomHorizontalFlip(share["fliplr"]),
        v2.RandomVerticalFlip(share["flipud"]),
        v2.RandomApply([v2.RandAugment()], share["randaugment"]) if share["randaugment"] else v2.Identity(),
        v2.ColorJitter(*colours) if any(colours) else v2.Identity(),
        v2.RandomErasing(share["erasing"], value=0) if share["erasing"] else v2.Identity(),
    ]
    return v2.Compose(transforms)
