"""A user's own ONNX graph in the place of a family's network: measured and exported as it is, not trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sightline.errors import SightlineError
from tasks import models, schema, untrusted_onnx, weights
from tasks.models._torch import load_weights, save
from tasks.tables import Dataset

if TYPE_CHECKING:
    import onnx

_KEY = "onnx"
"""The one tensor of its state dict: the graph's bytes, uint8."""


class Family(models.Family):
    """A graph of the runtime contract, or of the form that the library of `family` exports.

    Args:
        family: The one that conf/model names.
    """

    def __init__(self, family: models.Family) -> None:
        super().__init__(family.config, family.classes)
        self.family = family

    def fit(
        self,
        dataset: Dataset,
        recipe: schema.Train,
        *,
        start: Path | None,
        work: Path,
        out: Path,
        on_epoch: models.OnEpoch,
    ) -> None:
        raise SightlineError(f"model.weights: {self.config.weights}: an ONNX graph is not trained: give weights instead")

    def adopt(self, out: Path) -> None:
        path = weights.given_file(self.config, "weights")
        graph, facts = untrusted_onnx.admit(path, self.config.imgsz)
        if facts.names and facts.names != self.classes and len(facts.names) == len(self.classes):
            raise SightlineError(
                f"model.weights: {path}: its classes are {', '.join(facts.names)[:200]}, the dataset's "
                f"{', '.join(self.classes)[:200]}: give the dataset the same classes in the same order"
            )
        form = "contract" if facts.contract else "library"
        save({_KEY: torch.frombuffer(bytearray(graph), dtype=torch.uint8), form: torch.ones(1)}, out)
        self._check_outputs(path, facts, self.parts(out))

    def parts(self, weights: Path) -> models.Parts:
        state = load_weights(weights)
        if _KEY not in state:
            raise SightlineError(f"{weights}: weights, expected an ONNX graph: run train again with this conf/model")
        pre, post = (Same().eval(), Same().eval()) if "contract" in state else self.family.around()
        return models.Parts(pre, Graph(state[_KEY]).eval(), post)

    def _check_outputs(self, path: Path, facts: untrusted_onnx.Facts, parts: models.Parts) -> None:
        """Refuses a graph whose outputs are not those of the task with the dataset's classes."""
        side, count = self.config.imgsz, len(self.classes)
        try:
            with torch.inference_mode():
                outputs = parts(torch.zeros(2, side, side, 3, dtype=torch.uint8))
            got = [tuple(output.shape) for output in outputs]
        except (RuntimeError, TypeError, IndexError):
            got = []
        if self.config.task == "detect":
            fits = len(got) == 2 and len(got[0]) == 3 and got == [(2, got[0][1], 4), (2, count, got[0][1])]
        else:
            fits = got == [(2, count, side, side) if self.config.task == "semantic" else (2, count)]
        if not fits:
            found = ", ".join(str(("N", *shape)).replace("'", "") for shape in facts.shapes)
            raise SightlineError(
                f"model.weights: {path}: got outputs {found}, which are not those of {self.config.name} for {count} classes: "
                "export it without NMS, from a model of the dataset's classes"
            )


class Same(nn.Module):
    """What comes in, for a graph that brings its own preparation and decoding."""

    def forward(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        copies = tuple(tensor.clone() for tensor in tensors)
        return copies[0] if len(copies) == 1 else copies


class Graph(nn.Module):
    """An ONNX graph of `tasks.untrusted_onnx.admit`, run by ONNX Runtime on the CPU.

    Args:
        content: Its bytes, uint8.
    """

    def __init__(self, content: Tensor) -> None:
        super().__init__()
        self.content = content.numpy().tobytes()
        self.session: Any = None

    def model(self) -> "onnx.ModelProto":
        """The parsed graph."""
        import onnx

        return onnx.load_model_from_string(self.content)

    def forward(self, pixels: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.session is None:
            from onnxruntime import InferenceSession, SessionOptions

            options = SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
            self.session = InferenceSession(self.content, options, providers=["CPUExecutionProvider"])
        outputs = [torch.from_numpy(np.asarray(output)) for output in self.session.run(None, {"pixels": pixels.numpy()})]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)
