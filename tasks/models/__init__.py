"""Model families, one file each, found by the name in conf/model. Each module has a class `Family`.

What a family takes, it declares in annotated constants that are literals, so that params.yaml is checked without importing it:
TASKS, ARCHITECTURES, OPTIMIZERS, STRIDE (of `imgsz`) or IMGSZ (all that it takes) in its own file, and AUGMENT in its own or in
one of those below.

What families share: `_torch.py` all, `_<library>.py` a library's training, `_<library>_<task>.py` what it does for a task.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sightline.contract import OUTPUTS, Input, ModelDescription, dump_json
from sightline.errors import SightlineError
from tasks import schema, variants, weights
from tasks.tables import Dataset

if TYPE_CHECKING:
    from torch import Tensor, nn

WEIGHTS_FILE = "weights.pt"
CONFIG_FILE = "model_config.json"
AUGMENTATION_FILE = "augmentation.jpg"
OnEpoch = Callable[[int, Mapping[str, float]], None]


class DivergedError(SightlineError):
    """A training whose loss is no number any more."""


@dataclass(frozen=True)
class Parts:
    """The runtime graph in modules, in eval mode; only the core is quantised or cast.

    Attributes:
        pre: `images` uint8 (N, H, W, 3) RGB to the core's input, float32 (N, 3, H, W), normalised.
        core: Backbone and head; returns a tensor or a tuple of tensors.
        post: What the core returned (a tuple's tensors as arguments) to classify: probabilities float32 (N, C); detect: boxes
            float32 (N, A, 4) or (N, C, A, 4), of each class its own, xyxy in input pixels, and scores float32 (N, C, A),
            before NMS; semantic: logits float32 (N, C, H, W), of each input pixel; segment: detect's, and features, what
            `masks` needs.
        masks: Segment alone: what NMS left, boxes float32 (N, K, 4), labels int64 (N, K) and anchors int64 (N, K), and the
            features, as arguments, to masks uint8 (N, K, M, M) of `sightline.contract`.
    """

    pre: "nn.Module"
    core: "nn.Module"
    post: "nn.Module"
    masks: "nn.Module | None" = None

    def __call__(self, images: "Tensor") -> "tuple[Tensor, ...]":
        """Runs the first three on `images`, uint8 (N, H, W, 3) RGB; returns what `post` does, as a tuple."""
        raw = self.core(self.pre(images))
        result = self.post(*raw) if isinstance(raw, tuple) else self.post(raw)
        return result if isinstance(result, tuple) else (result,)


@dataclass(frozen=True)
class Weights:
    """A state dict, and where it is from, for messages."""

    state: Mapping[str, "Tensor"]
    where: str


class Family(ABC):
    """An architecture with its training.

    Args:
        config: conf/model.
        classes: Class names; the heads follow their number.
    """

    def __init__(self, config: schema.Model, classes: tuple[str, ...]) -> None:
        self.config = config
        self.classes = classes

    @abstractmethod
    def fit(
        self,
        dataset: Dataset,
        recipe: schema.Train,
        *,
        start: Path | None,
        work: Path,
        out: Path,
        on_epoch: OnEpoch,
    ) -> None:
        """Trains on the split `train` and writes the weights: the last, or with `recipe.validate_every` the best on `val`.

        Args:
            dataset: The canonical dataset; the family builds its own view of it under `work`.
            recipe: Hyperparameters, device and precision.
            start: Weights to start from; None: `config.pretrained`, or from scratch.
            work: Checkpoints; an interrupted fit goes on from what it finds here, finished epochs are not repeated. A sheet of
                augmented images is left here, `AUGMENTATION_FILE`.
            out: Where the final weights go: a state dict, without a date, the same bytes for the same run.
            on_epoch: Called after each epoch with its number, from 1, and `train/...` losses, and `val/...` metrics where
                it has them; also for epochs that an interrupted run has done, so that curves are whole.
        """

    @abstractmethod
    def parts(self, weights: Path) -> Parts:
        """The runtime graph with these weights."""

    def adopt(self, out: Path) -> None:
        """Writes the user's own `model.weights` to `out` as they are, untrained.

        Raises:
            SightlineError: They are missing, refused, or not of this architecture with the dataset's classes.
        """
        from tasks.models._torch import save

        path = weights.given_file(self.config, "weights")
        save(dict(weights.read(path, self.config.trust_pickle)), out)
        try:
            self.parts(out)
        except SightlineError as error:
            raise SightlineError(
                f"model.weights: {path}: not {self.config.arch} with {len(self.classes)} classes: {error}: "
                "set model.arch to its own, or start a training from them with model.pretrained"
            ) from None

    def around(self) -> "tuple[nn.Module, nn.Module]":
        """What stands before and after a user's ONNX graph of the form that this family's library exports: `pre` and `post`
        of `Parts`.

        Raises:
            SightlineError: No such form is known; that of the runtime contract is.
        """
        raise SightlineError(
            f"model.weights: {self.config.weights}: no form of an ONNX graph is known for {self.config.name} but the runtime "
            "contract's: export it with images uint8 (N, H, W, 3) in, or give its weights"
        )

    def masks_around(self) -> "nn.Module | None":
        """`masks` of `Parts` for such a graph, where `post` gives features; None: the task has no masks."""
        return None

    def describe(self, folder: Path) -> None:
        """Writes `model.json` and the conf/model section beside the weights: the folder is then a checkpoint."""
        self.description().write(folder)
        (folder / CONFIG_FILE).write_text(dump_json(self.config.model_dump(mode="json")), encoding="utf-8")

    def description(self) -> ModelDescription:
        """The model's description, without files."""
        config = self.config
        return ModelDescription(
            name=config.name,
            task=config.task,
            classes=self.classes,
            input=Input(config.imgsz, config.imgsz, config.resize, config.kernel),
            outputs=OUTPUTS[config.task],
            licence=config.licence,
            iou=config.iou,
            max_det=config.max_det,
        )


def starting_weights(config: schema.Model, start: Path | None) -> Weights | None:
    """The weights at `start`, or else those of `model.pretrained`, which are the user's own; None: from scratch.

    Raises:
        SightlineError: The pretrained weights are missing, or not those of the checksum, or refused: see `tasks.weights`.
    """
    from tasks.models._torch import load_weights

    if start:
        return Weights(load_weights(start), str(start))
    if not config.pretrained:
        return None
    path = weights.given_file(config, "pretrained")
    return Weights(weights.read(path, config.trust_pickle), f"model.pretrained: {path}")


def load(config: schema.Model, classes: tuple[str, ...]) -> Family:
    """The family that conf/model names.

    Raises:
        SightlineError: No such family; the message names those that there are.
    """
    family: Family = variants.load("models", config.file, "model.file").Family(config, classes)
    if config.weights and config.weights.endswith(".onnx"):
        from tasks.models import _onnx

        return _onnx.Family(family)
    return family
