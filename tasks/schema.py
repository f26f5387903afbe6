"""The typed configuration: every key that conf/ may hold, with its type and range.

conf/ is composed into params.yaml; the `config` stage validates all of it before any work, and each stage reads the sections
that it declares. Unknown keys are refused by name, with the nearest valid one.
"""

import difflib
import posixpath
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from sightline.contract import MAX_PIXELS, Kernel, Precision, ResizeMode, Task
from sightline.errors import SightlineError

SectionT = TypeVar("SectionT", bound=BaseModel)
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
"""A registered name: it becomes part of a module's or a file's name, never code."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
MAX_BATCH: Final = 64
"""Images of one inference."""
MAX_STREAMS: Final = 256
"""Sessions of a service."""
PUBLISHED_NAME: Final = r"\w+_Weights\.\w+|yolo[\w-]+\.pt"
"""How torchvision and Ultralytics call weights: `ResNet18_Weights.IMAGENET1K_V1`, `yolov8n.pt`; see `tasks.published`."""


class Closed(BaseModel):
    """Frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Section(Closed):
    """A part of the configuration."""

    @field_validator("*", mode="before")
    @classmethod
    def _is_no_truth_value(cls, value: Any, info: ValidationInfo) -> Any:
        """True is no 1."""
        kinds = _types(cls.model_fields[str(info.field_name)].annotation)
        given = value.values() if isinstance(value, Mapping) else [value]
        if {int, float} & set(kinds) and bool not in kinds and any(isinstance(item, bool) for item in given):
            raise ValueError("expected a number")
        return value


class Dataset(Section):
    """Where the images come from: conf/dataset."""

    name: Name
    source: Name
    format: Name
    voc_origin: int = Field(default=1, ge=0, le=1)
    classes: list[Annotated[str, Field(min_length=1)]] | None = Field(default=None, min_length=1)
    path: str | None
    sha256: Sha256 | None
    images: int = Field(ge=10)
    width: int = Field(ge=64, le=8192)
    height: int = Field(ge=64, le=8192)
    seed: int = Field(ge=0)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.source != "generated" and not self.path:
            raise ValueError(f"source {self.source} needs a path: set dataset.path=...")
        if self.source == "http" and not self.sha256:
            raise ValueError("source http needs the checksum of the file: set dataset.sha256=...")
        if self.source == "generated" and self.voc_origin != 1:
            raise ValueError("source generated writes the kit's VOC, from 1: set dataset.voc_origin=1")
        if self.classes and len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes {self.classes}, expected each name once: correct dataset.classes")
        return self


class Validate(Section):
    """How findings are judged."""

    on_error: Literal["fail", "quarantine"]
    max_pixels: int = Field(ge=1, le=MAX_PIXELS)


class Transform(Section):
    """How the canonical dataset is made."""

    splits: Literal["auto", "source", "hash"]
    val: float = Field(gt=0, lt=1)
    test: float = Field(gt=0, lt=1)
    seed: int = Field(ge=0)
    keep_together: bool
    keep: str | None
    keep_sha256: Sha256 | None
    max_side: int | None = Field(ge=32, le=16384)

    @model_validator(mode="after")
    def _names_the_content(self) -> Self:
        if self.keep and not self.keep_sha256:
            raise ValueError(f"keep {self.keep} needs the file's checksum: set transform.keep_sha256=...")
        if self.keep and posixpath.normpath(self.keep).startswith("data/dataset/"):
            raise ValueError(f"keep {self.keep} is removed before each run: copy it elsewhere, and commit that")
        return self

    @model_validator(mode="after")
    def _leaves_a_train_split(self) -> Self:
        if self.val + self.test >= 1:
            raise ValueError(f"val {self.val} and test {self.test} leave nothing to train on: their sum must be below 1")
        return self


class Float(Closed):
    """A real hyperparameter's range."""

    type: Literal["float"]
    low: float
    high: float
    log: bool = False

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high or (self.log and self.low <= 0):
            raise ValueError(f"got {self.low} to {self.high}, expected low < high, and low > 0 where log is true")
        return self


class Int(Closed):
    """An integer hyperparameter's range, both ends included."""

    type: Literal["int"]
    low: int
    high: int

    @model_validator(mode="after")
    def _is_a_range(self) -> Self:
        if self.low >= self.high:
            raise ValueError(f"got {self.low} to {self.high}, expected low < high")
        return self


class Choice(Closed):
    """A hyperparameter that takes one of some values."""

    type: Literal["choice"]
    values: tuple[float | int | str | bool, ...]


Dimension = Annotated[Float | Int | Choice, Field(discriminator="type")]


class Model(Section):
    """The architecture: conf/model."""

    name: Name
    file: Name
    library: Name
    task: Task
    arch: Name
    imgsz: int = Field(ge=32, le=4096)
    resize: ResizeMode
    kernel: Kernel
    licence: str
    pretrained: str | None
    pretrained_sha256: Sha256 | None
    weights: str | None = None
    weights_sha256: Sha256 | None = None
    trust_pickle: bool = False
    iou: float = Field(gt=0, le=1)
    max_det: int = Field(ge=1)

    @model_validator(mode="after")
    def _names_the_content(self) -> Self:
        for name in ("pretrained", "weights"):
            given = getattr(self, name)
            is_published = name == "pretrained" and re.fullmatch(PUBLISHED_NAME, given or "")
            if given and not is_published and not getattr(self, f"{name}_sha256"):
                raise ValueError(f"{name} {given} needs the file's checksum: set model.{name}_sha256=...")
        return self

    @model_validator(mode="after")
    def _takes_one_file(self) -> Self:
        if self.pretrained and self.weights:
            raise ValueError(f"pretrained {self.pretrained} is trained, weights {self.weights} are not: set one to null")
        if self.pretrained and self.pretrained.endswith(".onnx"):
            raise ValueError(f"pretrained {self.pretrained}: an ONNX graph is not trained: set model.weights to it instead")
        given = self.pretrained or self.weights or "no file"
        if self.trust_pickle and (given.endswith((".onnx", ".safetensors", "no file")) or "_Weights." in given):
            raise ValueError(f"trust_pickle with {given}, which is no pickle: set model.trust_pickle=false")
        return self


class Train(Section):
    """The training recipe: conf/model brings each value of its own, conf/hardware where and how it computes.

    A step learns from `batch * accumulate` images on each of `devices`. `patience` looks at the training loss, as training sees
    the split `train` alone; with `validate_every` at the fitness on `val`, and the weights that are best there are kept.
    """

    epochs: int = Field(ge=1)
    batch: int = Field(ge=1)
    accumulate: int = Field(ge=1)
    patience: int = Field(ge=1)
    validate_every: int = Field(default=0, ge=0)
    optimizer: Literal["SGD", "AdamW", "MuSGD"]
    scheduler: Literal["cosine", "linear", "step", "constant", "polynomial"]
    lr0: float = Field(gt=0)
    lrf: float = Field(gt=0, le=1)
    momentum: float = Field(ge=0, lt=1)
    weight_decay: float = Field(ge=0)
    warmup_epochs: float = Field(ge=0)
    ema: float = Field(ge=0, lt=1)
    balance: Literal["none", "weights", "sampler"]
    rare: float = Field(gt=0, le=1)
    dice: float = Field(ge=0)
    augment: dict[str, float]
    seed: int = Field(ge=0)
    workers: int = Field(ge=0)
    device: str
    devices: int = Field(ge=1)
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    channels_last: bool
    compile: bool

    @model_validator(mode="after")
    def _device_is_complete(self) -> Self:
        if self.precision == "fp16" and not self.device.startswith("cuda"):
            raise ValueError(f"precision fp16 got device {self.device}, expected cuda: set train.precision=bf16")
        if self.devices > 1 and ":" in self.device:
            raise ValueError(f"devices {self.devices} got device {self.device}, expected cpu or cuda, without a number")
        return self


class Strategy(Section):
    """How hyperparameters are searched: conf/strategy."""

    name: Name
    trials: int = Field(ge=0)
    epochs: int = Field(ge=1)
    seed: int = Field(ge=0)
    final_fit: bool
    gate_share: float = Field(gt=0, lt=1)


class Export(Section):
    """What is exported, and what each variant may lose."""

    precisions: tuple[Literal["fp32", "fp16", "int8", "openvino-fp32", "openvino-int8", "tensorrt-int8"], ...] = Field(
        min_length=1
    )
    conf: float = Field(ge=0, le=1)
    calibration_images: int = Field(ge=1)
    parity_images: int = Field(ge=1)
    max_drop: dict[Precision, float]

    @model_validator(mode="after")
    def _each_has_its_gate(self) -> Self:
        missing = [name.rpartition("-")[2] for name in self.precisions if self.allowed_drop(name) is None]
        if missing:
            raise ValueError(f"{missing[0]} has no gate: set export.max_drop.{missing[0]}")
        return self

    def allowed_drop(self, name: str) -> float | None:
        """What a file of `precisions` may lose, 0-1: that of its arithmetic."""
        return next((drop for precision, drop in self.max_drop.items() if precision == name.rpartition("-")[2]), None)


class Benchmark(Section):
    """How candidates are measured."""

    samples: int = Field(ge=1)
    p99_error: float = Field(gt=0)
    settle_s: float = Field(ge=0)
    warmup: int = Field(ge=0)
    batches: tuple[Annotated[int, Field(ge=1, le=MAX_BATCH)], ...]
    screen: bool
    timeout_s: float = Field(gt=0)
    memory_mb: float = Field(gt=0)


Objective = Literal[
    "p99_ms", "p50_ms", "throughput", "streams_images_s", "rss_mb", "size_mb", "load_ms", "energy_j", "cost_per_million"
]


class Constraints(Section):
    """What the winner must meet: conf/constraints. Keys of `min` and `max` are columns of the benchmark; null is no bound."""

    max: dict[str, float]
    min: dict[str, float]
    licence: tuple[str, ...]
    objective: Objective | Literal["weighted"]
    weights: dict[Objective, Annotated[float, Field(ge=0)]]
    margin: float = Field(ge=0, le=1)

    @model_validator(mode="after")
    def _weighs_something(self) -> Self:
        if self.objective == "weighted" and not any(self.weights.values()):
            raise ValueError("objective weighted has no weight above 0: set e.g. constraints.weights.p99_ms=1")
        return self

    @field_validator("max", "min", mode="before")
    @classmethod
    def _without_null(cls, value: Any) -> Any:
        return {key: limit for key, limit in value.items() if limit is not None} if isinstance(value, Mapping) else value


class Package(Section):
    """What the service is called."""

    name: Name


class Hardware(Section):
    """Where the service is measured: conf/hardware, which also says where and how `train` computes."""

    threads: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    batches: tuple[Annotated[int, Field(ge=1, le=MAX_BATCH)], ...] = Field(min_length=1)
    streams: tuple[Annotated[int, Field(ge=1, le=MAX_STREAMS)], ...]
    machine: str
    price_per_hour: float | None = Field(ge=0)
    candidates: tuple[Name, ...]


class Executor(Section):
    """How the flow runs its tasks: conf/executor."""

    name: Name
    retries: int = Field(ge=0)
    retry_delay_s: float = Field(ge=0)


class Storage(Section):
    """Where DVC pushes to and `publish` copies to: conf/storage."""

    name: Literal["local", "s3"]
    url: str | None
    endpoint_url: str | None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if not self.url or (self.name == "s3") != self.url.startswith("s3://"):
            expected = "s3://bucket/prefix" if self.name == "s3" else "PATH"
            raise ValueError(f"storage {self.name} got url {self.url!r}: set storage.url={expected}")
        return self


class Tracking(Section):
    """Where experiments are recorded: conf/tracking. A switch for each file of tasks/trackers."""

    mlflow: bool
    tensorboard: bool
    wandb: bool
    uri: str | None
    experiment: str

    def names_on(self) -> list[str]:
        """The trackers that are on."""
        return [name for name, value in self if value is True]


class Params(Section):
    """All of params.yaml."""

    conf_digest: str
    dataset: Dataset
    validate_: Validate = Field(alias="validate")
    transform: Transform
    model: Model
    train: Train
    space: dict[str, Dimension]
    strategy: Strategy
    export: Export
    benchmark: Benchmark
    constraints: Constraints
    package: Package
    hardware: Hardware
    executor: Executor
    storage: Storage
    tracking: Tracking


def read_params(path: Path = Path("params.yaml")) -> dict[str, Any]:
    """The parsed params.yaml.

    Raises:
        SightlineError: The file is missing or is not a YAML mapping.
    """
    if not path.is_file():
        raise SightlineError(f"{path}: not there: run `sightline compose` in the project's root")
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise SightlineError(f"{path}: not YAML ({error}): run `sightline compose`") from error
    if not isinstance(data, dict):
        raise SightlineError(f"{path}: got {type(data).__name__}, expected a mapping: run `sightline compose`")
    return data


def parse(schema: type[SectionT], data: Mapping[str, Any], where: str = "params.yaml") -> SectionT:
    """Validates `data` against `schema`.

    Raises:
        SightlineError: One line a mistake: the key, what was got, what was expected, and the nearest valid key.
    """
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise SightlineError("\n".join(_explain(schema, problem, where) for problem in error.errors())) from None


def _explain(schema: type[BaseModel], problem: Any, where: str) -> str:
    """One line for one of pydantic's problems, or for each of those that all sections together have."""
    location = [str(part) for part in problem["loc"]]
    if not location:
        return "\n".join(f"{where}: {line}" for line in problem["msg"].removeprefix("Value error, ").splitlines())
    if location[0] == "space":
        location[2:3] = []  # the union's member, no key of conf/
    key = ".".join(location)
    if problem["type"] != "extra_forbidden":
        if problem["type"] == "missing":
            return f"{where}: {key}: missing, expected a value: give it in conf/"
        got = "" if isinstance(problem["input"], dict) else f"got {problem['input']!r}: "
        return f"{where}: {key}: {got}{problem['msg'].removeprefix('Value error, ')}"
    valid = _keys(schema, location[:-1])
    nearest = difflib.get_close_matches(location[-1], valid, n=1, cutoff=0.5)
    parent = ".".join(location[:-1])
    prefix = f"{parent}." if parent else ""
    hint = f"did you mean {prefix}{nearest[0]}?" if nearest else f"expected one of {', '.join(valid)}"
    return f"{where}: {key}: unknown key: {hint}"


def _keys(schema: type[BaseModel], path: list[str]) -> list[str]:
    """The valid keys below `path` in `schema`."""
    schemas = [schema]
    for part in path:
        annotations = [
            field.annotation for kind in schemas for name, field in kind.model_fields.items() if part in (name, field.alias)
        ]
        if annotations:
            schemas = [kind for annotation in annotations for kind in _types(annotation) if issubclass(kind, BaseModel)]
        # otherwise `part` is a key of a mapping, or the tag of a union: its value is one of the same schemas
    return sorted({field.alias or name for kind in schemas for name, field in kind.model_fields.items()})


def _types(annotation: Any) -> list[type]:
    """The classes inside an annotation."""
    if isinstance(annotation, type):
        return [annotation]
    return [kind for argument in get_args(annotation) for kind in _types(argument)]
