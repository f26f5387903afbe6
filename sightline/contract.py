"""The runtime contract: what `model.json` and `manifest.json` say, and what the graph takes and gives.

The ONNX graph is pre + core + post. It takes `images`, uint8 (N, H, W, 3) RGB, and, where it detects, `conf`, float32 (1,). Its
outputs are padded, so that any batch works:

- classify: `probabilities` float32 (N, C);
- multilabel: the same, each between 0 and 1 by itself, and 0 where it is not above `conf`, which it takes as a detector does;
- detect: `boxes` float32 (N, K, 4) xyxy in input pixels, `scores` float32 (N, K), `labels` int64 (N, K), padded with score 0;
- semantic: `class_map` uint8 (N, H, W), the class of each input pixel;
- segment: detect's, K at most 100, and `masks` uint8 (N, K, M, M), 0-255: how probably each cell of the box is of the object.
"""

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from sightline.errors import NotAvailableError, SightlineError

Task = Literal["classify", "multilabel", "detect", "semantic", "segment"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
ResizeMode = Literal["letterbox", "stretch"]
Kernel = Literal["bilinear", "bicubic", "lanczos"]

MODEL_FILE = "model.json"
MANIFEST_FILE = "manifest.json"
MAX_PIXELS = 50_000_000
"""A larger image is refused: decoded, it takes three bytes a pixel."""
OUTPUTS: Mapping[Task, tuple[str, ...]] = {
    "classify": ("probabilities",),
    "multilabel": ("probabilities",),
    "detect": ("boxes", "scores", "labels"),
    "semantic": ("class_map",),
    "segment": ("boxes", "scores", "labels", "masks"),
}


@dataclass(frozen=True)
class Input:
    """How an image becomes the model's input; `sightline.preprocess` is its only implementation.

    Attributes:
        height: Rows of the input, pixels.
        width: Columns of the input, pixels.
        resize: `letterbox` keeps the aspect ratio and pads to the right and below; `stretch` does not keep it.
        kernel: Resampling kernel, as Pillow defines it (antialiased when it reduces).
        fill: Colour of the letterbox, RGB, 0-255.
    """

    height: int
    width: int
    resize: ResizeMode
    kernel: Kernel = "bilinear"
    fill: tuple[int, int, int] = (114, 114, 114)


@dataclass(frozen=True)
class ModelFile:
    """One file of a model folder, named relative to it.

    Attributes:
        path: Its name.
        sha256: Of its bytes, hexadecimal.
        size_bytes: How many there are.
        weights: The file beside it with its weights, where the format has two (OpenVINO's IR).
    """

    path: str
    sha256: str
    size_bytes: int
    weights: "ModelFile | None" = None

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ModelFile":
        """Builds an entry from the parsed JSON; unknown keys are refused."""
        weights = data.get("weights")
        return cls(**{**data, "weights": cls.from_json(weights) if weights else None})

    def all(self) -> "tuple[ModelFile, ...]":
        """The file, and its weights' file."""
        return (self, *(self.weights.all() if self.weights else ()))


@dataclass(frozen=True)
class Calibration:
    """What an INT8 file was calibrated on: images of the user's own training split."""

    images: int
    sha256: str


@dataclass(frozen=True)
class ModelDescription:
    """The content of `model.json`.

    Attributes:
        name: The model's name in conf/model, e.g. `yolov8n`.
        task: What the model does.
        classes: Class names; the index is the label.
        input: How its input is made.
        outputs: Names of the graph's outputs, in order.
        max_batch: The largest batch that a caller may send.
        conf: The service's score threshold, 0-1 (detectors and multilabel).
        iou: The IoU above which NMS drops the weaker box (detectors).
        max_det: K, the number of padded detections (detectors).
        licence: SPDX identifier of the model's licence.
        files: By precision the ONNX file; by `openvino-fp32` and `openvino-int8` OpenVINO's IR.
        calibration: What the INT8 files were calibrated on.
    """

    name: str
    task: Task
    classes: tuple[str, ...]
    input: Input
    outputs: tuple[str, ...]
    licence: str
    max_batch: int = 64
    conf: float = 0.25
    iou: float = 0.7
    max_det: int = 300
    files: Mapping[str, ModelFile] = dataclasses.field(default_factory=dict)
    calibration: Calibration | None = None

    def write(self, folder: Path) -> None:
        """Writes `model.json` into `folder`."""
        (folder / MODEL_FILE).write_text(dump_json(dataclasses.asdict(self)), encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> "ModelDescription":
        """Reads `folder/model.json`.

        Raises:
            SightlineError: The file is missing or not of this contract.
        """
        path = folder / MODEL_FILE
        if not path.is_file():
            raise SightlineError(f"{path}: not there: expected a model folder written by `export` or `package`")
        try:
            return cls.from_json(json.loads(path.read_text(encoding="utf-8")))
        except (TypeError, ValueError, KeyError) as error:
            raise SightlineError(f"{path}: not a model description ({error}): export the model again") from error

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ModelDescription":
        """Builds a description from the parsed JSON; unknown keys are refused."""
        data = dict(data)
        if data["task"] not in get_args(Task):
            raise ValueError(f"task {data['task']!r}, expected one of {', '.join(get_args(Task))}")
        data["input"] = Input(**{**data["input"], "fill": tuple(data["input"]["fill"])})
        data["classes"] = tuple(data["classes"])
        data["outputs"] = tuple(data["outputs"])
        data["files"] = {name: ModelFile.from_json(file) for name, file in data["files"].items()}
        data["calibration"] = Calibration(**data["calibration"]) if data.get("calibration") else None
        return cls(**data)

    def file(self, folder: Path, name: str) -> Path:
        """The path of one of `files`, after its checksum was compared, and that of its weights.

        Raises:
            NotAvailableError: There is no such file.
            SightlineError: It is not the one that was described.
        """
        if name not in self.files:
            raise NotAvailableError(
                f"{folder}: no file {name}, got {', '.join(self.files) or 'none'}: see parity.json, and export.precisions"
            )
        for file in self.files[name].all():
            path = folder / file.path
            if not path.is_file() or sha256_of(path) != file.sha256:
                raise SightlineError(f"{path}: not the file that {MODEL_FILE} describes: export or package the model again")
        return folder / self.files[name].path


def describe_file(path: Path) -> ModelFile:
    """The entry of `path` in a model description; of an .xml, OpenVINO's, with the weights in the .bin beside it."""
    weights = describe_file(path.with_suffix(".bin")) if path.suffix == ".xml" else None
    return ModelFile(path.name, sha256_of(path), path.stat().st_size, weights)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def dump_json(data: Any) -> str:
    """JSON as every file of ours holds it: indented, keys in the given order, NaN refused, a newline at the end."""
    return json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
