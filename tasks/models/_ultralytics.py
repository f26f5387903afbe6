"""Ultralytics' networks, losses and augmentation, in a training loop that is deterministic and resumes bit by bit.

Ultralytics' own trainer keeps half-precision checkpoints, validates, and calls integrations; this loop keeps what it takes to
go on as if nothing had happened. Nothing is downloaded, and the dataset's folders are only read.
"""

import math
import os
from copy import copy
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader
from torchvision.ops import box_convert

from sightline.contract import Input
from sightline.errors import MissingExtraError, SightlineError
from sightline.preprocess import decode, prepare
from tasks import augmentation_sheet, schema
from tasks.models import DivergedError, OnEpoch, starting_weights
from tasks.models._torch import (
    AVERAGE_TAU,
    batches_of,
    deterministic,
    device_of,
    dtype_of,
    is_over,
    keep_freed_memory,
    learning_rate,
    optimizer_of,
    save,
    seed_epoch,
    start_from,
    within_memory,
)
from tasks.tables import Sample

os.environ.setdefault("YOLO_CONFIG_DIR", str(Path("work/ultralytics").resolve()))
os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
_open_image = Image.open
try:
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.nn.tasks import DetectionModel
    from ultralytics.optim import MuSGD
    from ultralytics.utils.torch_utils import ModelEMA
except ModuleNotFoundError as error:
    if error.name != "ultralytics":
        raise
    raise MissingExtraError("ultralytics", "yolo") from None
Image.open = _open_image  # Ultralytics puts a function there that looks for plugins to install

AUGMENT: Final = (
    "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr", "mosaic", "mixup",
    "cutmix", "close_mosaic",
)  # fmt: skip
MAX_GRADIENT_NORM: Final = 10.0  # as Ultralytics clips
MUON, SGD = 0.2, 1.0  # how Ultralytics' trainer weighs the two updates of MuSGD
MAX_DEVICES: Final = 1


class Images(YOLODataset):  # type: ignore[misc]
    """A split in memory, decoded once, in the form that Ultralytics' augmentation takes.

    Args:
        samples: The images; regions marked as crowd are no objects to learn.
        config: The input's size and how an image is brought to it.
        hyp: Ultralytics' settings.
        classes: Class names.
    """

    ims: list[Any]
    im_hw0: list[Any]
    im_hw: list[Any]

    def __init__(self, samples: list[Sample], config: schema.Model, hyp: Any, classes: tuple[str, ...]) -> None:
        self.samples = samples
        names = {"names": dict(enumerate(classes))}
        super().__init__(img_path="", data=names, imgsz=config.imgsz, augment=True, hyp=hyp, batch_size=hyp.batch)
        for index, sample in enumerate(samples):
            image = _resize(decode(sample.path.read_bytes()), config)
            self.ims[index] = np.ascontiguousarray(image[:, :, ::-1])  # BGR
            self.im_hw0[index], self.im_hw[index] = (sample.height, sample.width), image.shape[:2]
        self.cache = "ram"  # mosaic then draws from all images, not from those seen last
        self.transforms = self.build_transforms(hyp)

    def get_img_files(self, img_path: Any) -> list[str]:
        """The images' paths."""
        return [str(sample.path) for sample in self.samples]

    def get_labels(self) -> list[dict[str, Any]]:
        """The ground truth as xywh, shares of the image."""
        return [_label(sample) for sample in self.samples]


def _resize(image: NDArray[np.uint8], config: schema.Model) -> NDArray[np.uint8]:
    """The image at the size that the evaluation transform gives it, before it is padded."""
    height, width = image.shape[:2]
    if config.resize == "letterbox":
        scale = config.imgsz / max(height, width)
        height, width = (max(1, math.floor(side * scale + 0.5)) for side in (height, width))
    else:
        height = width = config.imgsz
    return prepare(image, Input(height, width, "stretch", config.kernel))[0]


def _label(sample: Sample) -> dict[str, Any]:
    boxes = sample.boxes[~sample.crowd] / np.tile([sample.width, sample.height], 2)
    low, high = boxes[:, :2], boxes[:, 2:]
    return {
        "im_file": str(sample.path),
        "shape": (sample.height, sample.width),
        "cls": sample.labels[~sample.crowd, None].astype(np.float32),
        "bboxes": np.hstack([(low + high) / 2, high - low]).astype(np.float32),
        "segments": [],
        "keypoints": None,
        "normalized": True,
        "bbox_format": "xywh",
    }


def build(config: schema.Model, classes: tuple[str, ...]) -> Any:
    """The network with random weights, its head for `classes`: an nn.Module, whose attributes are Ultralytics' own."""
    return cast("Any", DetectionModel)(f"{config.arch}.yaml", nc=len(classes), verbose=False)


def settings(recipe: schema.Train) -> Any:
    """Ultralytics' settings for `recipe`; an augmentation that is not named is off.

    Raises:
        SightlineError: A value that Ultralytics does not take.
    """
    augment = {name: recipe.augment.get(name, 0.0) for name in AUGMENT}
    augment["close_mosaic"] = int(augment["close_mosaic"])
    try:
        return get_cfg(overrides={**augment, "batch": recipe.batch, "deterministic": True, "augmentations": []})
    except (TypeError, ValueError) as error:
        raise SightlineError(f"train.augment: {error}") from None


def fit(
    config: schema.Model,
    classes: tuple[str, ...],
    samples: list[Sample],
    recipe: schema.Train,
    *,
    start: Path | None,
    work: Path,
    out: Path,
    on_epoch: OnEpoch,
) -> None:
    """Trains a detector on `samples`; see `tasks.models.Family.fit`."""
    keep_freed_memory()

    def attempt(recipe: schema.Train, report: OnEpoch) -> None:
        _fit(config, classes, samples, recipe, start, work, out, report)

    within_memory(recipe, on_epoch, attempt)


def _fit(
    config: schema.Model,
    classes: tuple[str, ...],
    samples: list[Sample],
    recipe: schema.Train,
    start: Path | None,
    work: Path,
    out: Path,
    on_epoch: OnEpoch,
) -> None:
    """One attempt."""
    seed_epoch(recipe.seed, 0)
    device, hyp = device_of(recipe.device), settings(recipe)
    model = build(config, classes)
    if weights := starting_weights(config, start):
        start_from(model, weights)
    model.args = hyp
    model.to(device, memory_format=_layout(recipe)).train()
    state = _State(model, recipe)
    state.resume(work / "checkpoint.pt")
    recipe = state.recipe
    if recipe.compile:
        model.compile()
    for epoch, losses in enumerate(state.history, 1):
        on_epoch(epoch, losses)
    if not is_over(state.history, recipe):
        dataset = Images(samples, config, hyp, classes)
        write_sheet(dataset, recipe, classes, work / augmentation_sheet.AUGMENTATION_FILE)
        with deterministic():
            while not is_over(state.history, recipe):
                state.history.append(_epoch(state, dataset, recipe, len(state.history) + 1))
                state.save(work / "checkpoint.pt")
                on_epoch(len(state.history), state.history[-1])
    save({name: value.cpu().contiguous() for name, value in state.average.ema.state_dict().items()}, out)


def _layout(recipe: schema.Train) -> torch.memory_format:
    return torch.channels_last if recipe.channels_last else torch.contiguous_format


def write_sheet(dataset: Images, recipe: schema.Train, classes: tuple[str, ...], path: Path) -> None:
    """Shows some images as the first epoch may have them."""
    seed_epoch(recipe.seed, 1)
    chosen = torch.randperm(len(dataset))[: augmentation_sheet.SHOWN].tolist()
    augmentation_sheet.write([_picture(dataset[index]) for index in chosen], classes, path)


def _picture(item: dict[str, Tensor]) -> augmentation_sheet.Picture:
    image, boxes = item["img"], item["bboxes"]
    height, width = image.shape[1:]
    corners = box_convert(boxes, "cxcywh", "xyxy") * torch.tensor([width, height, width, height])
    return augmentation_sheet.Picture(image, item["cls"].flatten().long(), corners)


class _State:
    """All that an epoch changes."""

    def __init__(self, model: Any, recipe: schema.Train) -> None:
        self.model, self.recipe = model, recipe
        self.optimizer = _optimizer(model, recipe)
        self.average = cast("Any", ModelEMA)(model, decay=recipe.ema, tau=AVERAGE_TAU)
        is_fp16 = dtype_of(recipe, device_of(recipe.device)) == torch.float16
        self.scaler = torch.amp.GradScaler(enabled=is_fp16)
        self.history: list[dict[str, float]] = []

    def step(self) -> None:
        """Changes the weights by the gradients that have come together."""
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.model.parameters(), MAX_GRADIENT_NORM)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        self.average.update(self.model)

    def save(self, path: Path) -> None:
        """Writes a checkpoint in full precision."""
        parts: dict[str, Any] = {
            "model": self.model,
            "average": self.average.ema,
            "optimizer": self.optimizer,
            "scaler": self.scaler,
        }
        content = {name: part.state_dict() for name, part in parts.items()}
        content |= {"updates": self.average.updates, "history": self.history, "batches": batches_of(self.recipe)}
        save(content, path)

    def resume(self, path: Path) -> None:
        """Goes on from a checkpoint, where there is one."""
        if not path.is_file():
            return
        content = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(content["model"])
        self.average.ema.load_state_dict(content["average"])
        self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        self.recipe = self.recipe.model_copy(update=content["batches"])
        self.average.updates, self.history = content["updates"], content["history"]


def _optimizer(model: Any, recipe: schema.Train) -> torch.optim.Optimizer:
    """The recipe's optimizer; MuSGD adds Muon's orthogonalised update to matrices and filters, as Ultralytics' trainer does."""
    if recipe.optimizer != "MuSGD":
        return optimizer_of(model, recipe)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [item for item in parameters if item.ndim > 1], "weight_decay": recipe.weight_decay, "use_muon": True},
        {"params": [item for item in parameters if item.ndim <= 1], "weight_decay": 0.0, "use_muon": False},
    ]
    optimizer: torch.optim.Optimizer = MuSGD(groups, recipe.lr0, recipe.momentum, nesterov=True, muon=MUON, sgd=SGD)
    return optimizer


def _epoch(state: _State, dataset: Images, recipe: schema.Train, epoch: int) -> dict[str, float]:
    """Trains one epoch; returns the mean of each loss, and the last learning rate."""
    seed_epoch(recipe.seed, epoch)
    hyp = copy(state.model.args)
    if epoch > recipe.epochs - hyp.close_mosaic:
        dataset.close_mosaic(hyp)
    loader: DataLoader[Any] = DataLoader(
        dataset,
        recipe.batch,
        shuffle=True,
        num_workers=recipe.workers,
        collate_fn=dataset.collate_fn,
        drop_last=len(dataset) >= recipe.batch,
    )
    device = next(state.model.parameters()).device
    dtype = dtype_of(recipe, device)
    state.optimizer.zero_grad()
    total: dict[str, Any] = {}
    for index, batch in enumerate(loader):
        rate = learning_rate(recipe, epoch - 1 + index / len(loader))
        for group in state.optimizer.param_groups:
            group["lr"] = rate
        images = batch["img"].to(device, torch.float32).div_(255).contiguous(memory_format=_layout(recipe))
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            predictions = state.model(images)
        predictions = {name: _as_float32(value) for name, value in predictions.items()}
        losses, items = state.model.loss(batch, predictions)
        if not torch.isfinite(losses).all():
            raise DivergedError(f"epoch {epoch}: the loss is not finite: lower train.lr0 (now {recipe.lr0})")
        state.scaler.scale(losses.sum()).backward()  # a sum over images: accumulation needs no division
        if (index + 1) % recipe.accumulate == 0 or index + 1 == len(loader):
            state.step()
        for name, value in items.items():
            total[name] = total.get(name, 0.0) + value
    return {**{f"train/{name}": float(value) / len(loader) for name, value in total.items()}, "lr": rate}


def _as_float32(value: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    return [item.float() for item in value] if isinstance(value, list) else value.float()
