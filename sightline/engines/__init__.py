"""Engines that run a model folder, one file a library and provider, found by name.

A candidate is `<engine>-<precision>`: `onnxruntime-cpu-int8` is `engines/onnxruntime_cpu.py` on the folder's INT8 file. Each
module has a class `Engine`.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.contract import ModelDescription
from sightline.errors import SightlineError

Outputs = Mapping[str, NDArray[np.generic]]


class BaseEngine(ABC):
    """A loaded model.

    Args:
        folder: The model folder that `description` was read from.
        description: What `model.json` says.
        precision: Which of its files to run.
        threads: Threads of one inference; 1 lets several engines share a machine.

    Raises:
        SightlineError: The precision has no file, or the engine did not get what it was asked for (never a silent fallback).
        MissingExtraError: The engine's library is not installed.
    """

    def __init__(self, folder: Path, description: ModelDescription, precision: str, threads: int = 1) -> None:
        self.description = description
        self.precision = precision
        self.threads = threads
        self.load(folder)

    @abstractmethod
    def load(self, folder: Path) -> None:
        """Loads the model."""

    @abstractmethod
    def run(self, images: NDArray[np.uint8], conf: float) -> Outputs:
        """Runs a batch.

        Args:
            images: uint8 (N, H, W, 3) RGB, of the description's input size.
            conf: The score threshold of a detector, 0-1; other tasks do not use it.

        Returns:
            The outputs of `sightline.contract`, by name.
        """

    @abstractmethod
    def facts(self) -> dict[str, str]:
        """What really runs: library, version, provider, precision of the arithmetic, threads."""


def load(candidate: str, folder: Path, threads: int = 1, package: str = "sightline.engines") -> BaseEngine:
    """Loads the model of `folder` with a candidate, e.g. `openvino-cpu-fp32`.

    Raises:
        SightlineError: No such engine; the message names those that there are.
    """
    name, _, precision = candidate.rpartition("-")
    module_name = f"{package}.{name.replace('-', '_')}"
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name != module_name:
            raise
        here = Path(str(importlib.import_module(package).__file__)).parent
        names = sorted(path.stem.replace("_", "-") for path in here.glob("[a-z]*.py"))
        raise SightlineError(
            f"engine {candidate}: got {name!r}, expected one of {', '.join(names)}, then -<precision>"
        ) from None
    engine: BaseEngine = module.Engine(folder, ModelDescription.read(folder), precision, threads)
    return engine
