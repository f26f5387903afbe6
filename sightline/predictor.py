"""An encoded image in, its result out: the path that the command line, the service and the benchmark share."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sightline import engines
from sightline.contract import MANIFEST_FILE
from sightline.errors import SightlineError
from sightline.postprocess import to_json
from sightline.preprocess import decode, prepare


@dataclass(frozen=True)
class Timings:
    """How long the parts of a prediction took."""

    decode_ms: float
    prepare_ms: float
    inference_ms: float
    postprocess_ms: float


class Predictor:
    """A loaded model that answers for one image at a time; not for use by two threads at once.

    Args:
        folder: A packaged folder, or, with a candidate, any model folder.
        candidate: Its name, e.g. `onnxruntime-cpu-int8`; None takes the one that the manifest names.
        threads: Threads of one inference; the candidate's own if not given.
        package: Where the engines' modules are.

    Raises:
        SightlineError: The folder does not hold a model that the candidate can run.
        MissingExtraError: The engine's library is not installed.
    """

    def __init__(
        self, folder: Path, candidate: str | None = None, threads: int | None = None, package: str = "sightline.engines"
    ) -> None:
        self.candidate = candidate or read_manifest(folder)["candidate"]
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
        start = time.perf_counter()
        image = decode(data)
        decoded = time.perf_counter()
        prepared, placement = prepare(image, self.description.input)
        ready = time.perf_counter()
        outputs = self.engine.run(prepared[None], self.description.conf if conf is None else conf)
        ran = time.perf_counter()
        answer = to_json(self.description, outputs, 0, placement)
        end = time.perf_counter()
        times = (decoded - start, ready - decoded, ran - ready, end - ran)
        return answer, Timings(*(seconds * 1000 for seconds in times))

    def warm_up(self, runs: int = 3) -> None:
        """Runs the model on an empty image: the first inferences allocate and are slow."""
        spec = self.description.input
        for _ in range(runs):
            self.engine.run(np.zeros((1, spec.height, spec.width, 3), np.uint8), self.description.conf)


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
