"""Ultralytics' networks, losses and augmentation, in a training loop that is deterministic and resumes bit by bit.

Several devices are several processes of this machine, as for Lightning's families, each with decoded images of its own; with
more than two, the order in which gradients are summed after a resume may change last digits.

Ultralytics' own trainer keeps half-precision checkpoints, validates, and calls integrations; this loop keeps what it takes to
go on as if nothing had happened. Nothing is downloaded, and the dataset's folders are only read.
"""

import math
import os
import shutil
from copy import copy, deepcopy
from pathlib import Path
from typing import Any, Final, Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.ops import box_convert

from sightline.contract import Input
from sightline.errors import MissingExtraError, SightlineError
from sightline.preprocess import decode, prepare
from tasks import augmentation_sheet, schema
from tasks.models import AUGMENTATION_FILE, DivergedError, OnEpoch, _ranks, starting_weights
from tasks.models._balance import order
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
    smaller,
    start_from,
    within_memory,
)
from tasks.models._validation import Validation
from tasks.tables import Sample

os.environ.setdefault("YOLO_CONFIG_DIR", str(Path("work/ultralytics").resolve()))
os.environ.update(YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false", YOLO_VERBOSE="false")
_open_image, _threads = Image.open, os.environ.get("OMP_NUM_THREADS")
try:
    from ultralytics.cfg import get_cfg
    from ultralytics.data.dataset import YOLODataset
    from ultralytics.nn.tasks import ClassificationModel, DetectionModel, SegmentationModel
    from ultralytics.optim import MuSGD
    from ultralytics.utils.torch_utils import ModelEMA
except ModuleNotFoundError as error:
    if error.name != "ultralytics":
        raise
    raise MissingExtraError("ultralytics", "yolo") from None
Image.open = _open_image  # Ultralytics puts a function there that looks for plugins to install
os.environ.pop("OMP_NUM_THREADS", None)  # and tells all processes that are started from here to have one thread
if _threads is not None:
    os.environ["OMP_NUM_THREADS"] = _threads

AUGMENT: Final = (
    "hsv_h", "hsv_s", "hsv_v", "degrees", "translate", "scale", "shear", "perspective", "flipud", "fliplr", "mosaic", "mixup",
    "cutmix", "close_mosaic",
)  # fmt: skip
MAX_GRADIENT_NORM: Final = 10.0  # as Ultralytics clips
MUON, SGD = 0.2, 1.0  # how Ultralytics' trainer weighs the two updates of MuSGD
CLASS_BOOST: Final = 3.0  # of MuSGD's learning rate
CLASS_BRANCHES: Final = ("cv3", "one2one_cv3")
WARMUP_MOMENTUM: Final = 0.8


class Images(YOLODataset):  # type: ignore[misc]
    """A split in memory, decoded once, in the form that Ultralytics' augmentation takes.

    Args:
        samples: The images; regions marked as crowd are no objects to learn.
        config: The input's size and how an image is brought to it.
        hyp: Ultralytics' settings.
        classes: Class names.
        sampling: How often each image is drawn; see `tasks.models._balance`.
    """

    ims: list[Any]
    im_hw0: list[Any]
    im_hw: list[Any]

    def __init__(
        self,
        samples: list[Sample],
        config: schema.Model,
        hyp: Any,
        classes: tuple[str, ...],
        sampling: Tensor | None = None,
    ) -> None:
        self.samples, self.classes, self.sampling = samples, classes, sampling
        names = {"names": dict(enumerate(classes))}
        self.outlines = config.task == "segment"
        given = {"img_path": "", "data": names, "imgsz": config.imgsz, "augment": True, "hyp": hyp, "batch_size": hyp.batch}
        super().__init__(**given, task=config.task)
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
        return [_label(sample, self.outlines) for sample in self.samples]


def _resize(image: NDArray[np.uint8], config: schema.Model) -> NDArray[np.uint8]:
    """The image at the size that the evaluation transform gives it, before it is padded."""
    height, width = image.shape[:2]
    if config.resize == "letterbox":
        scale = config.imgsz / max(height, width)
        height, width = (max(1, math.floor(side * scale + 0.5)) for side in (height, width))
    else:
        height = width = config.imgsz
    return prepare(image, Input(height, width, "stretch", config.kernel))[0]


def _label(sample: Sample, outlines: bool) -> dict[str, Any]:
    from tasks.models._ultralytics_outlines import ring_of  # after Ultralytics' settings, above

    size = np.array([sample.width, sample.height])
    boxes = sample.boxes[~sample.crowd] / np.tile(size, 2)
    segments = [ring_of(sample, int(index)) / size for index in np.flatnonzero(~sample.crowd)] if outlines else []
    low, high = boxes[:, :2], boxes[:, 2:]
    return {
        "im_file": str(sample.path),
        "shape": (sample.height, sample.width),
        "cls": sample.labels[~sample.crowd, None].astype(np.float32),
        "bboxes": np.hstack([(low + high) / 2, high - low]).astype(np.float32),
        "segments": [segment.astype(np.float32) for segment in segments],
        "keypoints": None,
        "normalized": True,
        "bbox_format": "xywh",
    }


def build(config: schema.Model, classes: tuple[str, ...]) -> Any:
    """The network with random weights, its head for `classes`: an nn.Module, whose attributes are Ultralytics' own."""
    network = {"classify": ClassificationModel, "detect": DetectionModel, "segment": SegmentationModel}[config.task]
    return cast("Any", network)(f"{config.arch}.yaml", nc=len(classes), verbose=False)


class Scale(nn.Module):
    """uint8 (N, H, W, 3) RGB to float32 (N, 3, H, W), 0-1."""

    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 3, 1, 2).to(torch.float32) / 255


def settings(recipe: schema.Train) -> Any:
    """Ultralytics' settings for `recipe`; an augmentation that is not named is off.

    Raises:
        SightlineError: A value that Ultralytics does not take.
    """
    augment = {name: recipe.augment.get(name, 0.0) for name in AUGMENT}
    augment["close_mosaic"] = int(augment["close_mosaic"])
    given = {"epochs": recipe.epochs, "batch": recipe.batch, "deterministic": True, "augmentations": []}
    try:
        return get_cfg(overrides={**augment, **given})
    except (TypeError, ValueError) as error:
        raise SightlineError(f"train.augment: {error}") from None


def start(config: schema.Model, classes: tuple[str, ...], recipe: schema.Train, weights: Path | None) -> Any:
    """The network to train: from `weights`, those of conf/model, or from scratch."""
    seed_epoch(recipe.seed, 0)
    model = build(config, classes)
    if path := starting_weights(config, weights):
        start_from(model, path)
    return model


class Data(Protocol):
    """What is learnt from, map-style: dicts of tensors.

    An item has `img` uint8 (3, H, W) RGB, `cls`, its label or its objects', and for a detector `bboxes` float32 (K, 4) xywh,
    shares of the image. A batch has `img` uint8 (N, 3, H, W), and what the network's loss reads. `sampling` is how often each
    item is drawn in an epoch, on average, float64 (items,); None: each once.
    """

    classes: tuple[str, ...]
    sampling: Tensor | None

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Tensor]: ...

    def collate_fn(self, items: list[dict[str, Tensor]]) -> dict[str, Any]:
        """A batch."""

    def close_mosaic(self, hyp: Any) -> None:
        """Ends the augmentations that mix images."""


def fit(
    model: Any,
    data: Data,
    recipe: schema.Train,
    *,
    work: Path,
    out: Path,
    on_epoch: OnEpoch,
    validation: Validation | None,
) -> None:
    """Trains `model` by the loss that Ultralytics gives it; see `tasks.models.Family.fit`.

    With `validation` the weights that did best there are kept, without it the last ones.
    """
    _ranks.check_devices(recipe, len(data))
    write_sheet(data, recipe, work / AUGMENTATION_FILE)
    first = deepcopy(model.state_dict())

    def attempt(recipe: schema.Train, report: OnEpoch) -> None:
        model.load_state_dict(first)
        if recipe.devices == 1:
            _fit(model, data, recipe, work, out, validation, report)
        else:
            _ranks.run(_fit_share, recipe.devices, (model, data, recipe, work, out, validation), report)

    within_memory(recipe, on_epoch, attempt)


def _fit_share(model: Any, data: Data, recipe: schema.Train, *arguments: Any) -> None:
    """One attempt of one process: the model that it got lies in memory that all processes share."""
    with _ranks.joined(recipe):
        _fit(deepcopy(model), data, recipe, *arguments)


def _fit(
    model: Any, data: Data, recipe: schema.Train, work: Path, out: Path, validation: Validation | None, on_epoch: OnEpoch
) -> None:
    """One attempt, in the only process or in one of several."""
    keep_freed_memory()
    model.args = settings(recipe)
    model.to(device_of(recipe.device), memory_format=_layout(recipe)).train()
    state = _State(model, recipe)
    state.resume(work / "checkpoint.pt")
    recipe = state.recipe
    if recipe.compile:
        model.compile()
    state.network = _ranks.synchronised(model)
    for epoch, losses in enumerate(state.history, 1):
        on_epoch(epoch, losses)
    is_first = _ranks.rank() == 0
    with deterministic():
        while not is_over(state.history, recipe):
            state.history.append(_epoch(state, data, recipe, len(state.history) + 1))
            if validation:
                found = validation.measure(state.kept(), state.history, recipe.epochs) if is_first else {}
                state.history[-1] |= _ranks.told(found)
            if is_first:
                state.save(work / "checkpoint.pt")
            on_epoch(len(state.history), state.history[-1])
    if is_first and validation:
        shutil.copyfile(validation.best, out)
    elif is_first:
        save(state.kept(), out)


def _layout(recipe: schema.Train) -> torch.memory_format:
    return torch.channels_last if recipe.channels_last else torch.contiguous_format


def write_sheet(data: Data, recipe: schema.Train, path: Path) -> None:
    """Shows the images that the first epoch begins with."""
    chosen = order(len(data), data.sampling, recipe, epoch=1)[: augmentation_sheet.SHOWN]
    seed_epoch(recipe.seed, 1)
    augmentation_sheet.write([_picture(data[index]) for index in chosen], data.classes, path)


def _picture(item: dict[str, Tensor]) -> augmentation_sheet.Picture:
    image, labels = item["img"], item["cls"].flatten().long()
    if "bboxes" not in item:
        return augmentation_sheet.Picture(image, labels)
    height, width = image.shape[1:]
    corners = box_convert(item["bboxes"], "cxcywh", "xyxy") * torch.tensor([width, height, width, height])
    return augmentation_sheet.Picture(image, labels, corners)


class _State:
    """All that an epoch changes; `network` is the model, where there are several processes with its gradients' mean."""

    def __init__(self, model: Any, recipe: schema.Train) -> None:
        self.model, self.network, self.recipe = model, model, recipe
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

    def kept(self) -> dict[str, Tensor]:
        """The weights that are worth keeping, on the CPU: their moving average."""
        return {name: value.cpu().contiguous() for name, value in self.average.ema.state_dict().items()}

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
        self.recipe = smaller(self.recipe, content["batches"])
        self.average.updates, self.history = content["updates"], content["history"]


def _optimizer(model: Any, recipe: schema.Train) -> torch.optim.Optimizer:
    """The recipe's optimizer; MuSGD as Ultralytics' trainer sets it up.

    It adds Muon's orthogonalised update to matrices and filters, and a detector's class branches learn faster than the rest.
    """
    if recipe.optimizer != "MuSGD":
        return optimizer_of(model, recipe)
    branches = [getattr(model.model[-1], name, None) for name in CLASS_BRANCHES]
    fast = {id(parameter) for branch in branches if branch for parameter in branch.parameters()}
    groups = []
    for boost, is_fast in ((CLASS_BOOST, True), (1.0, False)):
        chosen = [item for item in model.parameters() if item.requires_grad and (id(item) in fast) == is_fast]
        filters, others = ([item for item in chosen if (item.ndim > 1) == matrix] for matrix in (True, False))
        groups += [
            {"params": filters, "weight_decay": recipe.weight_decay, "use_muon": True, "boost": boost},
            {"params": others, "weight_decay": 0.0, "use_muon": False, "boost": boost},
        ]
    groups = [group for group in groups if group["params"]]
    optimizer: torch.optim.Optimizer = MuSGD(groups, recipe.lr0, recipe.momentum, nesterov=True, muon=MUON, sgd=SGD)
    return optimizer


def _set_rates(optimizer: torch.optim.Optimizer, recipe: schema.Train, epoch: float) -> float:
    """Sets the learning rate and, while it warms up, the momentum; returns the rate.

    Ultralytics' warm-up of biases from a rate of their own is left out, as in its `optimizer=auto`.
    """
    rate = learning_rate(recipe, epoch)
    warmup = min(recipe.warmup_epochs, recipe.epochs / 2)
    done = min(1.0, epoch / warmup) if warmup else 1.0
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("boost", 1.0)
        if "momentum" in group:
            first = min(WARMUP_MOMENTUM, recipe.momentum)
            group["momentum"] = first + done * (recipe.momentum - first)
    return rate


def _epoch(state: _State, data: Data, recipe: schema.Train, epoch: int) -> dict[str, float]:
    """Trains one epoch; returns the mean of each loss, and the last learning rate."""
    rank = _ranks.rank()
    drawn = order(len(data), data.sampling, recipe, epoch, rank)
    seed_epoch(recipe.seed, epoch, rank)
    hyp = copy(state.model.args)
    if epoch > recipe.epochs - hyp.close_mosaic:
        data.close_mosaic(hyp)
    _weigh_heads(state.model, epoch)
    loader: DataLoader[Any] = DataLoader(
        cast("Dataset[Any]", data),
        recipe.batch,
        sampler=drawn,
        num_workers=recipe.workers,
        collate_fn=data.collate_fn,
        drop_last=1 == len(drawn) % recipe.batch < len(drawn),  # one image is no batch to normalise
    )
    device = next(state.model.parameters()).device
    dtype = dtype_of(recipe, device)
    state.optimizer.zero_grad()
    total: dict[str, Any] = {}
    for index, batch in enumerate(loader):
        rate = _set_rates(state.optimizer, recipe, epoch - 1 + index / len(loader))
        batch = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in batch.items()}
        images = batch["img"].to(torch.float32).div_(255).contiguous(memory_format=_layout(recipe))
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            predictions = state.network(images)
        losses, items = state.model.loss(batch, _as_float32(predictions))
        if not torch.isfinite(losses).all():
            raise DivergedError(f"epoch {epoch}: the loss is not finite: lower train.lr0 (now {recipe.lr0})")
        share = 1 / recipe.accumulate if losses.ndim == 0 else recipe.devices  # a classifier's is a mean, a detector's sums
        state.scaler.scale(losses.sum() * share).backward()
        if (index + 1) % recipe.accumulate == 0 or index + 1 == len(loader):
            state.step()
        for name, value in items.items():
            total[name] = total.get(name, 0.0) + value
    return {**{f"train/{name}": value / len(loader) for name, value in _ranks.mean(total).items()}, "lr": rate}


def _weigh_heads(model: Any, epoch: int) -> None:
    """Sets how an end-to-end detector's two losses are weighed in an epoch; its loss counts the epochs that are done."""
    if getattr(model, "criterion", None) is None:
        model.criterion = model.init_criterion()
    if hasattr(model.criterion, "update"):
        model.criterion.updates = epoch - 2
        model.criterion.update()


def _as_float32(value: Any) -> Any:
    """Predictions, however nested, in float32."""
    if isinstance(value, dict):
        return {name: _as_float32(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_as_float32(item) for item in value)
    return value.float()
