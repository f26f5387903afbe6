"""torchvision's detectors on Lightning: their images and boxes, augmentation and losses."""

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.models.detection.image_list import ImageList
from torchvision.transforms import v2
from torchvision.tv_tensors import BoundingBoxes
from torchvision.tv_tensors import Image as ImageTensor

from sightline.contract import Input
from sightline.preprocess import KERNELS, Placement, decode, prepare
from tasks import augmentation_sheet, schema
from tasks.models import _balance, _images, _lightning
from tasks.tables import Sample

BALANCE: Final = ("none", "sampler")
AUGMENT: Final = ("fliplr", "flipud", "iou_crop", "zoom_out", "photometric")
MIN_SIDE: Final = 1.0  # of a box that is learnt, pixels of the input
HELD: Final = 2  # times the input's side: images are held no larger, which leaves crops their sharpness


class Family(_lightning.Family):
    """A detector of torchvision; a family says how it is built and cut into parts.

    Attributes:
        mean: Of the pixels, RGB, 0-1; see `tasks.models._images.Normalise`.
        std: Their standard deviation.
        background: How many labels of the network come before the first class: 1 where label 0 is the background.
    """

    mean: ClassVar[tuple[float, float, float]] = _images.MEAN
    std: ClassVar[tuple[float, float, float]] = _images.STD
    background: ClassVar[int] = 0

    @abstractmethod
    def build(self) -> nn.Module:
        """Torchvision's network with random weights: it has `transform` and `backbone`, and returns losses in training."""

    @abstractmethod
    def heads(self, network: Any) -> tuple[nn.Module, ...]:
        """The modules of `network` whose outputs its losses read."""

    def images(self, samples: Sequence[Sample], recipe: schema.Train) -> "Images":
        """What is learnt from."""
        return Images(samples, self.description().input, recipe, self.background)

    def learning(self, network: Any, samples: list[Sample], recipe: schema.Train) -> _lightning.Learning:
        network.transform = Fixed(_images.Normalise(self.mean, self.std))
        for part in (network.backbone, *self.heads(network)):
            part.register_forward_hook(_cast)
        return Learning(self, network, self.images(samples, recipe), _balance.of_objects(samples, recipe))


class Learning(_lightning.Learning):
    """The losses of torchvision's own model; anchors and losses are in float32 whatever the precision of the convolutions.

    Args:
        family: Whose network it is.
        network: A detector of torchvision with `Fixed` as its transform.
        images: The training split.
        sampling: How often each image is drawn; see `tasks.models._balance`.
    """

    def __init__(self, family: Family, network: nn.Module, images: "Images", sampling: Tensor | None) -> None:
        self.network, self.data, self.sampling = network, images, sampling
        self.classes, self.background = family.classes, family.background

    def picture(self, item: tuple[Tensor, dict[str, Tensor]]) -> augmentation_sheet.Picture:
        image, target = item
        return augmentation_sheet.picture(image, {**target, "labels": target["labels"] - self.background})

    def collate(self, items: list[Any]) -> Any:
        images, targets = zip(*items, strict=True)
        return torch.stack(images), list(targets)

    def losses(self, batch: tuple[Tensor, list[dict[str, Tensor]]]) -> dict[str, Tensor]:
        losses: dict[str, Tensor] = self.network(*batch)
        return losses


class Fixed(nn.Module):
    """In place of a torchvision detector's own transform: the images have the network's size already.

    Args:
        normalise: uint8 (N, 3, H, W) RGB to what the backbone takes.
    """

    def __init__(self, normalise: nn.Module) -> None:
        super().__init__()
        self.normalise = normalise

    def forward(self, images: Tensor, targets: list[dict[str, Tensor]]) -> tuple[ImageList, list[dict[str, Tensor]]]:
        pixels = self.normalise(images).contiguous(memory_format=torch.channels_last)
        return ImageList(pixels, [tuple(pixels.shape[-2:])] * len(pixels)), targets

    def postprocess(self, found: list[Any], *sizes: Any) -> list[Any]:
        """What was found, which is nothing: R-CNNs ask while they train, too."""
        return found


def pyramid_name(name: str) -> str:
    """The name here of a feature pyramid's tensor, by torchvision's first names, which its published weights have."""
    return re.sub(r"^(backbone\.fpn\.\w+_blocks\.\d)\.(weight|bias)$", r"\1.0.\2", name)


def _cast(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    """A hook, which can be pickled."""
    return in_float32(outputs)


def in_float32(outputs: Any) -> Any:
    """Tensors, or lists, tuples and mappings of tensors, in float32: anchors in bfloat16 are off by pixels."""
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, Mapping):
        return type(outputs)({name: in_float32(value) for name, value in outputs.items()})  # type: ignore[call-arg]
    return type(outputs)(in_float32(value) for value in outputs)


class Images(Dataset[tuple[Tensor, dict[str, Tensor]]]):
    """A split in memory, decoded once, each image augmented and prepared as for evaluation when it is read.

    An item is uint8 (3, H, W) RGB, and `boxes` float32 (M, 4) xyxy in input pixels with `labels` int64 (M,). An image without
    boxes is background. Crowd regions are not learnt, as in torchvision's references.

    Args:
        samples: Images with their boxes.
        spec: The network's input.
        recipe: For what it augments; each value is a probability, except that of `photometric`, which is that of each of its
            distortions (brightness, contrast, saturation, hue, order of the channels).
        background: What is added to labels.
    """

    def __init__(self, samples: Sequence[Sample], spec: Input, recipe: schema.Train, background: int) -> None:
        self.spec = spec
        self.images, self.boxes, self.labels = [], [], []
        for sample in samples:
            image = reduce(decode(sample.path.read_bytes()), spec)
            scale = np.array([image.shape[1] / sample.width, image.shape[0] / sample.height] * 2)
            learnt = ~sample.crowd
            self.images.append(torch.tensor(image).permute(2, 0, 1).contiguous())
            self.boxes.append(torch.from_numpy(sample.boxes[learnt] * scale).float())
            self.labels.append(torch.from_numpy(sample.labels[learnt] + background))
        share = _images.shares(recipe, AUGMENT)
        # As in sections 2.2 and 3.6 of https://arxiv.org/abs/1512.02325, in the order of torchvision's references.
        self.before = v2.Compose([v2.RandomZoomOut(list(spec.fill), p=share["zoom_out"]), _crop(share["iou_crop"])])
        self.after = v2.Compose(
            [
                v2.RandomHorizontalFlip(share["fliplr"]),
                v2.RandomVerticalFlip(share["flipud"]),
                v2.RandomPhotometricDistort(p=share["photometric"]) if share["photometric"] else v2.Identity(),
            ]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, dict[str, Tensor]]:
        image, target = self.before(ImageTensor(self.images[index]), self.target(index))
        pixels, placement = prepare(image.permute(1, 2, 0).numpy(), self.spec)
        prepared = ImageTensor(torch.tensor(pixels).permute(2, 0, 1).contiguous())
        image, target = self.after(prepared, self.place(target, placement))
        plain = {name: value.as_subclass(Tensor) for name, value in target.items()} | {"labels": self.labels[index]}
        seen = (plain["boxes"][:, 2:] - plain["boxes"][:, :2] >= MIN_SIDE).all(dim=1)
        return image.as_subclass(Tensor), {name: value[seen] for name, value in plain.items()}

    def target(self, index: int) -> dict[str, Tensor]:
        """What is learnt of an image as it is held, in torchvision's types, for its transforms."""
        height, width = self.images[index].shape[-2:]
        return {"boxes": _boxes(self.boxes[index], (height, width))}

    def place(self, target: dict[str, Tensor], placement: Placement) -> dict[str, Tensor]:
        """The same in the network's input."""
        scale = torch.tensor([placement.scale_x, placement.scale_y] * 2)
        return {"boxes": _boxes(target["boxes"].as_subclass(Tensor) * scale, (self.spec.height, self.spec.width))}


def reduce(image: NDArray[np.uint8], spec: Input) -> NDArray[np.uint8]:
    """The image, uint8 (H, W, 3) RGB, made no larger than it is held."""
    height, width = image.shape[:2]
    scale = min(1.0, max(HELD * spec.width / width, HELD * spec.height / height))
    if scale == 1:
        return image
    return np.asarray(Image.fromarray(image).resize((round(width * scale), round(height * scale)), KERNELS[spec.kernel]))


def _crop(probability: float) -> v2.Transform:
    return v2.RandomApply([v2.RandomIoUCrop()], probability) if probability else v2.Identity()


def _boxes(boxes: Tensor, size: tuple[int, int]) -> BoundingBoxes:
    return BoundingBoxes(boxes, format="XYXY", canvas_size=size)
