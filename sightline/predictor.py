"""Encoded images in, their results out: the path that the command line, the service and the benchmark share."""

import itertools
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline import engines
from sightline.contract import MANIFEST_FILE
from sightline.engines import Candidate, Outputs
from sightline.errors import SightlineError
from sightline.postprocess import to_json
from sightline.preprocess import Placement, decode, prepare


@dataclass(frozen=True)
class Timings:
    """How long the parts of a prediction took; the inference is that of all images that were together in it."""

    decode_ms: float
    prepare_ms: float
    inference_ms: float
    postprocess_ms: float


_Input = tuple[NDArray[np.uint8], Placement, float, float]
"""A prepared image, its placement, and how long decoding and preparing took, ms."""


class Predictor:
    """A loaded model that answers for an image, or several together; not for use by two threads at once.

    Args:
        folder: A packaged folder, or, with a candidate, any model folder.
        candidate: Its name, e.g. `onnxruntime-cpu-int8`; None takes the one that the manifest names.
        threads: Threads of one inference; the candidate's own if not given.
        package: Where the engines' modules are.

    Attributes:
        max_batch: How many images one inference is to take at most.

    Raises:
        SightlineError: The folder does not hold a model that the candidate can run.
        MissingExtraError: The engine's library is not installed.
    """

    def __init__(
        self, folder: Path, candidate: str | None = None, threads: int | None = None, package: str = "sightline.engines"
    ) -> None:
        self.candidate = candidate or read_manifest(folder)["candidate"]
        self.max_batch = Candidate.parse(self.candidate).batch
        self.engine = engines.load(self.candidate, folder, threads, package)
        self.description = self.engine.description

    def __call__(self, data: bytes, conf: float | None = None) -> dict[str, Any]:
        """The result for an encoded image, as `postprocess.to_json` gives it.

        Args:
            data: A JPEG, PNG or WebP file.
            conf: The score threshold of a detector, 0-1; None takes the model's own.

        Raises:
            SightlineError: The bytes are no whole image, or one that is too large.
        """
        return self.timed(data, conf)[0]

    def timed(self, data: bytes, conf: float | None = None) -> tuple[dict[str, Any], Timings]:
        """As a call, with how long its parts took."""
        (found,) = self.batch([data], conf)
        if isinstance(found, SightlineError):
            raise found
        return found

    def batch(self, files: Sequence[bytes], conf: float | None = None) -> list[tuple[dict[str, Any], Timings] | SightlineError]:
        """As `timed`, for several files in one inference; in place of one that is no whole image stands its error."""
        inputs = [self._input(data) for data in files]
        good = [each for each in inputs if not isinstance(each, SightlineError)]
        begin = time.perf_counter()
        outputs = self._run([image for image, *_ in good], conf)
        inference_ms = (time.perf_counter() - begin) * 1000
        numbers = itertools.count()
        return [
            each if isinstance(each, SightlineError) else self._answer(outputs, next(numbers), each, inference_ms)
            for each in inputs
        ]

    def frame(self, image: NDArray[np.uint8], conf: float | None = None) -> dict[str, Any]:
        """The result for a decoded image, uint8 (H, W, 3) RGB, such as a frame of a video."""
        prepared, placement = prepare(image, self.description.input)
        return to_json(self.description, self._run([prepared], conf), 0, placement)

    def _input(self, data: bytes) -> _Input | SightlineError:
        start = time.perf_counter()
        try:
            image = decode(data)
        except SightlineError as error:
            return error
        decoded = time.perf_counter()
        prepared, placement = prepare(image, self.description.input)
        return prepared, placement, (decoded - start) * 1000, (time.perf_counter() - decoded) * 1000

    def _run(self, images: Sequence[NDArray[np.uint8]], conf: float | None) -> Outputs:
        if not images:
            return {}
        whole = images[0][None] if len(images) == 1 else np.stack(images)
        return self.engine.run(whole, self.description.conf if conf is None else conf)

    def _answer(self, outputs: Outputs, index: int, given: _Input, inference_ms: float) -> tuple[dict[str, Any], Timings]:
        _, placement, decode_ms, prepare_ms = given
        begin = time.perf_counter()
        answer = to_json(self.description, outputs, index, placement)
        return answer, Timings(decode_ms, prepare_ms, inference_ms, (time.perf_counter() - begin) * 1000)

    def warm_up(self, runs: int = 3) -> None:
        """Runs the model on an empty image, and on as many as it takes: the first inferences allocate and are slow."""
        spec = self.description.input
        for count in sorted({1, self.max_batch}):
            for _ in range(runs):
                self.engine.run(np.zeros((count, spec.height, spec.width, 3), np.uint8), self.description.conf)


def read_manifest(folder: Path) -> dict[str, Any]:
    """The parsed `manifest.json` of a packaged folder.

    Raises:
        SightlineError: The file is missing or not a manifest.
    """
    path = folder / MANIFEST_FILE
    if not path.is_file():
        raise SightlineError(f"{path}: not there: expected a folder written by `package`, e.g. dist/service")
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SightlineError(f"{path}: not JSON ({error}): package the model again") from error
    if not isinstance(manifest, dict) or not isinstance(manifest.get("candidate"), str):
        raise SightlineError(f"{path}: no manifest, expected an object with a candidate: package the model again")
    return manifest
