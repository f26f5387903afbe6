"""PyTorch, eager: the reference, which runs a checkpoint folder of `train` or `evolve`."""

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sightline.engines import BaseEngine, Outputs
from sightline.errors import SightlineError
from tasks import models, outputs
from tasks.models import CONFIG_FILE, WEIGHTS_FILE
from tasks.schema import Model, parse


class Engine(BaseEngine):
    """The family's parts, one after the other, on the CPU in float32."""

    def load(self, folder: Path) -> None:
        import torch

        if self.precision != "fp32":
            raise SightlineError(f"pytorch-{self.precision}: got precision {self.precision!r}, expected fp32")
        path = folder / CONFIG_FILE
        if not path.is_file():
            raise SightlineError(f"{path}: not there: expected a checkpoint folder written by `train` or `evolve`")
        torch.set_num_threads(self.threads)
        self._size_bytes = (folder / WEIGHTS_FILE).stat().st_size
        config = parse(Model, json.loads(path.read_text(encoding="utf-8")), where=str(path))
        self.parts = models.load(config, self.description.classes).parts(folder / WEIGHTS_FILE)

    @property
    def size_bytes(self) -> int:
        return self._size_bytes

    def run(self, images: NDArray[np.uint8], conf: float) -> Outputs:
        import torch

        with torch.inference_mode():
            raw = self.parts(torch.from_numpy(images))
            more = {"masks": self.parts.masks} if self.parts.masks else {}
            tensors = outputs.load(self.description.task).finish(raw, conf, self.description, **more)
        return {name: value.numpy() for name, value in zip(self.description.outputs, tensors, strict=True)}

    def facts(self) -> dict[str, str]:
        import torch

        return {"library": "torch", "version": torch.__version__, "precision": "fp32", "threads": str(torch.get_num_threads())}
