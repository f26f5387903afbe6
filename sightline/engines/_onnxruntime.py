"""ONNX Runtime: what its execution providers share. A provider is a class with its name and the extra that brings it."""

import os
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from sightline.engines import BaseEngine, Outputs
from sightline.errors import MissingExtraError, NotAvailableError, SightlineError, first_line

CPU: Final = "CPUExecutionProvider"
HEAVY: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
"""Operators that a model spends its time in."""
_ABSENT: Final = (".so", "driver", "no CUDA-capable device", "Failed to load", "failed to load")
"""What a session's error says where the provider's libraries, driver or GPU are not there; else it cannot run this model."""
_ERRORS_ONLY: Final = 3  # SessionOptions.log_severity_level


class OnnxRuntimeEngine(BaseEngine):
    """A session of one execution provider; what a session cannot place there is an error, not a fallback.

    Attributes:
        provider: ONNX Runtime's name of it.
        helpers: Providers that take the nodes that it has no kernel for, the best first, with their options.
    """

    provider: ClassVar[str]
    helpers: ClassVar[tuple[str | tuple[str, dict[str, str]], ...]] = ()

    def load(self, folder: Path) -> None:
        path = self.file(folder)
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # read at the import; from 1.31 it reports over HTTPS unless told
        try:
            import onnxruntime
        except ModuleNotFoundError as error:
            raise MissingExtraError("onnxruntime", self.extra) from error
        self.version = onnxruntime.__version__
        options = onnxruntime.SessionOptions()
        options.log_severity_level = _ERRORS_ONLY
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        for pool in ("intra_op", "inter_op"):  # a spinning thread takes its core from the other sessions
            options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
        available = onnxruntime.get_available_providers()
        if self.provider not in available:
            raise NotAvailableError(
                f"{self.provider}: not available, got {', '.join(available)}: install sightline[{self.extra}]"
            )
        own = self.provider_options(path)
        if self.on_gpu:
            onnxruntime.preload_dlls()  # CUDA's and cuDNN's, of their wheels
        if self.helpers:
            options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
        try:
            self.session = onnxruntime.InferenceSession(
                str(path), options, providers=[(self.provider, own), *self.helpers], enable_fallback=0
            )
        except Exception as error:
            if self.provider == CPU:
                raise
            reason = first_line(error)
            if any(word in reason for word in _ABSENT):
                raise NotAvailableError(f"{self.provider}: not available: {reason}: {self.remedy}") from error
            raise SightlineError(f"{path}: {self.provider} cannot run it: {reason}: choose another candidate") from error
        if self.session.get_providers()[0] != self.provider:
            got = ", ".join(self.session.get_providers())
            raise NotAvailableError(f"{path}: runs on {got}, expected {self.provider}: {self.remedy}")
        self._placed = _placed(self.session) if self.helpers else {}
        check_placement(self._placed, self.provider, path)
        self._takes_conf = any(node.name == "conf" for node in self.session.get_inputs())

    @property
    def remedy(self) -> str:
        """What helps where the provider does not start."""
        return f"install sightline[{self.extra}], or choose another candidate"

    def provider_options(self, path: Path) -> dict[str, str]:
        """What the provider is told; a provider that needs more than its library looks for it here.

        Raises:
            NotAvailableError: It is not there.
        """
        return {}

    def run(self, images: NDArray[np.uint8], conf: float) -> Outputs:
        feed: dict[str, NDArray[np.generic]] = {"images": images}
        if self._takes_conf:
            feed["conf"] = np.array([conf], np.float32)
        names = self.description.outputs
        return dict(zip(names, self.session.run(list(names), feed), strict=True))

    def facts(self) -> dict[str, str]:
        placed: Counter[str] = Counter()
        for (provider, _), count in self._placed.items():
            placed[provider] += count
        return {
            "library": "onnxruntime",
            "version": self.version,
            "provider": self.provider,
            "precision": self.precision,
            "threads": str(self.threads),
            **({"nodes": ", ".join(f"{name} {count}" for name, count in placed.most_common())} if placed else {}),
        }


def check_placement(placed: Mapping[tuple[str, str], int], provider: str, path: Path) -> None:
    """Refuses a session that would quietly run on the processor.

    Args:
        placed: How many nodes of which operator each provider took, by provider and operator.
        provider: The one that was asked for.
        path: The model's file, for the message.

    Raises:
        SightlineError: A heavy operator is on the processor, or most of them are not on the provider.
    """
    heavy = {key: count for key, count in placed.items() if key[1] in HEAVY}
    stray = {name: count for (where, name), count in heavy.items() if where == CPU}
    own = sum(count for (where, _), count in heavy.items() if where == provider)
    if provider != CPU and (stray or 2 * own < sum(heavy.values())):
        got = ", ".join(f"{count} {name}" for name, count in stray.items()) or f"{sum(heavy.values()) - own} elsewhere"
        raise SightlineError(
            f"{path}: {got} of {sum(heavy.values())} heavy operators do not run on {provider}: choose another candidate"
        )


def _placed(session: Any) -> dict[tuple[str, str], int]:
    """How many nodes of which operator each provider took."""
    counts: Counter[tuple[str, str]] = Counter()
    for part in session.get_provider_graph_assignment_info():
        counts.update((part.ep_name, node.op_type) for node in part.get_nodes())
    return dict(counts)
