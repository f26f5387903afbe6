"""Engines that run a model folder, one file a library and provider, found by name.

A candidate is `<engine>-<precision>`, then `-t<threads>` where an inference has more threads than one, `-b<batch>` where it
takes up to so many images that wait, and `-s<streams>` where a service has so many sessions, not as many as keep the machine
busy: `onnxruntime-cpu-int8-t2` is `engines/onnxruntime_cpu.py` on the folder's INT8 file, with two threads. Each module has a
class `Engine`.
"""

import importlib
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from sightline.contract import ModelDescription
from sightline.errors import NotAvailableError, SightlineError

Outputs = Mapping[str, NDArray[np.generic]]


class Candidate(NamedTuple):
    """What a candidate's name says.

    Attributes:
        engine: As it is found by name, e.g. `onnxruntime-cpu`.
        precision: Which of a model folder's files it runs.
        threads: Threads of one inference.
        batch: The most images of one inference.
        streams: Sessions of a service; 0 is as many as keep the machine busy.
    """

    engine: str
    precision: str
    threads: int = 1
    batch: int = 1
    streams: int = 0

    @classmethod
    def parse(cls, name: str) -> "Candidate":
        """Takes a name apart."""
        found = re.fullmatch(r"(.*?)(?:-t([1-9][0-9]{0,3}))?(?:-b([1-9][0-9]{0,3}))?(?:-s([1-9][0-9]{0,3}))?", name, re.DOTALL)
        head, threads, batch, streams = found.groups()  # type: ignore[union-attr]
        engine, _, precision = head.rpartition("-")
        return cls(engine, precision, int(threads or 1), int(batch or 1), int(streams or 0))

    @property
    def plain(self) -> "Candidate":
        """The engine and the precision alone."""
        return Candidate(self.engine, self.precision)

    def __str__(self) -> str:
        threads, batch = (f"-{letter}{number}" * (number > 1) for letter, number in (("t", self.threads), ("b", self.batch)))
        return f"{self.engine}-{self.precision}{threads}{batch}" + f"-s{self.streams}" * (self.streams > 0)


class BaseEngine(ABC):
    """A loaded model.

    Attributes:
        extra: Which extra of `sightline` brings its library; empty for what is not shipped.
        on_gpu: Whether it computes on a GPU, which a few sessions keep busy, and not on the cores.
        files: Which of the model folder's files runs, by the candidate's precision, where it is not that of the same name.

    Args:
        folder: The model folder that `description` was read from.
        description: What `model.json` says.
        precision: Which of its files to run.
        threads: Threads of one inference; 1 lets several engines share a machine.
        batch: The most images of an inference that it is to be quick with.
        streams: Sessions that a service is to have; 0 is as many as keep the machine busy.

    Raises:
        SightlineError: The precision has no file, or the engine did not get what it was asked for (never a silent fallback).
        MissingExtraError: The engine's library is not installed.
    """

    extra: ClassVar[str] = ""
    on_gpu: ClassVar[bool] = False
    files: ClassVar[Mapping[str, str]] = {}

    def __init__(
        self, folder: Path, description: ModelDescription, precision: str, threads: int = 1, batch: int = 1, streams: int = 0
    ) -> None:
        self.description = description
        self.precision = precision
        self.threads = threads
        self.batch = batch
        self.streams = streams
        self.load(folder)

    @classmethod
    def file_name(cls, precision: str) -> str:
        """Which of a model folder's files runs in a precision."""
        return cls.files.get(precision, precision)

    def file(self, folder: Path) -> Path:
        """The model's file, after its checksum was compared."""
        return self.description.file(folder, self.file_name(self.precision))

    @property
    def size_bytes(self) -> int:
        """Bytes of the model's file, and of its weights' file."""
        return sum(file.size_bytes for file in self.description.files[self.file_name(self.precision)].all())

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


def load(candidate: str, folder: Path, threads: int | None = None, package: str = "sightline.engines") -> BaseEngine:
    """Loads the model of `folder` with a candidate, e.g. `openvino-cpu-fp32`.

    Args:
        candidate: Its name.
        folder: The model folder.
        threads: Threads of one inference; the candidate's own if not given.
        package: Where the engines' modules are.

    Raises:
        SightlineError: No such engine; the message names those that there are.
        NotAvailableError: The model takes no batches of that size.
    """
    asked = Candidate.parse(candidate)
    kind, description = find(asked.engine, package), ModelDescription.read(folder)
    if asked.batch > description.max_batch:
        raise NotAvailableError(
            f"{candidate}: batches of {asked.batch}, {description.name} takes at most {description.max_batch}: "
            "choose another candidate, or set hardware.batches"
        )
    return kind(folder, description, asked.precision, threads or asked.threads, asked.batch, asked.streams)


def file_of(candidate: Candidate, package: str = "sightline.engines") -> str:
    """Which of a model folder's files a candidate runs."""
    return find(candidate.engine, package).file_name(candidate.precision)


def find(engine: str, package: str = "sightline.engines") -> type[BaseEngine]:
    """The class of an engine; its library is not imported.

    Raises:
        SightlineError: No such engine; the message names those that there are.
    """
    module_name = f"{package}.{engine.replace('-', '_')}"
    try:
        found: type[BaseEngine] = importlib.import_module(module_name).Engine
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        here = Path(str(importlib.import_module(package).__file__)).parent
        names = sorted(path.stem.replace("_", "-") for path in here.glob("[a-z]*.py"))
        raise SightlineError(
            f"engine {engine!r}: not there, expected one of {', '.join(names)}, then -<precision>: correct the candidate"
        ) from None
    return found
