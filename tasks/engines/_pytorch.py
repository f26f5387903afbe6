"""PyTorch: what its devices share. They run a checkpoint folder of `train` or `evolve`, and are references: none is shipped."""

import json
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Final

import numpy as np
from numpy.typing import NDArray

from sightline.engines import BaseEngine, Outputs
from sightline.errors import NotAvailableError, SightlineError, first_line
from tasks import models, outputs
from tasks.models import CONFIG_FILE, WEIGHTS_FILE
from tasks.schema import Model, parse

DTYPES: Final = {"fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


class PyTorchEngine(BaseEngine):
    """The family's parts, one after the other; the core is computed in the candidate's precision.

    Attributes:
        device: PyTorch's name of where it runs.
        precisions: What it computes in.
        compiles: Whether the core is compiled by TorchInductor; the first inference of each batch size is slow then.
    """

    device: ClassVar[str] = "cpu"
    precisions: ClassVar[tuple[str, ...]] = ("fp32", "bf16")
    compiles: ClassVar[bool] = False

    def load(self, folder: Path) -> None:
        import torch

        from tasks.models._precision import InPrecision

        if self.precision not in self.precisions:
            expected = " or ".join(self.precisions)
            raise SightlineError(f"PyTorch on {self.device}: got precision {self.precision!r}, expected {expected}")
        path = folder / CONFIG_FILE
        if not path.is_file():
            raise SightlineError(f"{path}: not there: expected a checkpoint folder written by `train` or `evolve`")
        if self.device == "cuda" and not torch.cuda.is_available():
            raise NotAvailableError("PyTorch sees no CUDA device: choose a candidate of the processor")
        torch.backends.cudnn.allow_tf32 = False  # or a GPU's convolutions round float32 to TensorFloat-32
        torch.set_num_threads(self.threads)
        self._size_bytes = (folder / WEIGHTS_FILE).stat().st_size
        config = parse(Model, json.loads(path.read_text(encoding="utf-8")), where=str(path))
        parts = models.load(config, self.description.classes).parts(folder / WEIGHTS_FILE)
        core = parts.core if self.precision == "fp32" else InPrecision(parts.core, getattr(torch, DTYPES[self.precision]))
        for module in (parts.pre, core, parts.post, parts.masks):
            if module is not None:
                module.to(self.device)
        if self.compiles:
            core.compile(dynamic=False)
        self.parts = replace(parts, core=core)
        if self.compiles:
            self._compile()

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def run(self, images: NDArray[np.uint8], conf: float) -> Outputs:
        import torch

        with torch.inference_mode():
            raw = self.parts(torch.from_numpy(images.copy()).to(self.device))
            more = {"masks": self.parts.masks} if self.parts.masks else {}
            tensors = outputs.load(self.description.task).finish(raw, conf, self.description, **more)
        return {name: value.cpu().numpy() for name, value in zip(self.description.outputs, tensors, strict=True)}

    def facts(self) -> dict[str, str]:
        import torch

        where = {"gpu": torch.cuda.get_device_name(0)} if self.device == "cuda" else {}
        return {
            "library": "torch",
            "version": torch.__version__,
            "precision": self.precision,
            "compiled": str(self.compiles).lower(),
            "threads": str(torch.get_num_threads()),
        } | where

    def _compile(self) -> None:
        """Compiles for one image.

        Raises:
            NotAvailableError: The compiler is not there, or cannot.
        """
        spec = self.description.input
        try:
            self.run(np.zeros((1, spec.height, spec.width, 3), np.uint8), self.description.conf)
        except Exception as error:
            raise NotAvailableError(
                f"torch.compile: {first_line(error)}: install a C++ compiler, or choose another candidate"
            ) from error
