"""A user's own ONNX graph in the place of a family's network: measured and exported as it is, not trained."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from sightline.contract import ModelDescription
from sightline.errors import SightlineError
from tasks import models, schema, untrusted_onnx, weights
from tasks.models._torch import load_weights, save
from tasks.tables import Dataset

if TYPE_CHECKING:
    import onnx

_KEY, _MASKS = "onnx", "masks"
"""In its state dict: the graph's bytes, uint8, and those of the part that makes masks, where there is one."""


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
        admitted = untrusted_onnx.admit(path, self.config.imgsz)
        facts = admitted.facts
        if facts.names and facts.names != self.classes and len(facts.names) == len(self.classes):
            raise SightlineError(
                f"model.weights: {path}: its classes are {', '.join(facts.names)[:200]}, the dataset's "
                f"{', '.join(self.classes)[:200]}: give the dataset the same classes in the same order"
            )
        form = "contract" if facts.contract else "library"
        graphs = {_KEY: admitted.graph} | ({_MASKS: admitted.masks} if admitted.masks else {})
        state = {key: torch.frombuffer(bytearray(graph), dtype=torch.uint8) for key, graph in graphs.items()}
        save({**state, form: torch.ones(1)}, out)
        self._check_outputs(path, facts, self.parts(out))

    def parts(self, weights: Path) -> models.Parts:
        state = load_weights(weights)
        if _KEY not in state:
            raise SightlineError(f"{weights}: weights, expected an ONNX graph: run train again with this conf/model")
        if "contract" in state:
            masks = Graph(state[_MASKS]).eval() if _MASKS in state else None
            return models.Parts(Same().eval(), Graph(state[_KEY]).eval(), Same().eval(), masks)
        pre, post = self.family.around()
        return models.Parts(pre, Graph(state[_KEY]).eval(), post, self.family.masks_around())

    def description(self) -> ModelDescription:
        return self.family.description()

    def _check_outputs(self, path: Path, facts: untrusted_onnx.Facts, parts: models.Parts) -> None:
        """Refuses a graph whose outputs are not those of the task with the dataset's classes."""
        side, found = self.config.imgsz, self.config.max_det
        if facts.masks not in (0, found):
            raise SightlineError(f"model.max_det: got {found}, expected {facts.masks}, whose masks {path} makes: set it")
        try:
            with torch.inference_mode():
                outputs = parts(torch.zeros(2, side, side, 3, dtype=torch.uint8))
                got = [tuple(output.shape) for output in outputs]
                if parts.masks:
                    kept = torch.zeros(2, found, dtype=torch.int64)
                    got[2:] = [tuple(parts.masks(torch.zeros(2, found, 4), kept, kept.clone(), *outputs[2:]).shape)]
        except Exception:  # noqa: BLE001  ONNX Runtime's derive from no other, and a stranger's graph can raise any
            got = []
        if not self._fits(got):
            shapes = ", ".join(str(("N", *shape)).replace("'", "") for shape in facts.shapes)
            raise SightlineError(
                f"model.weights: {path}: got outputs {shapes}, which are not those of {self.config.name} for "
                f"{len(self.classes)} classes: export it without NMS, from a model of the dataset's classes"
            )

    def _fits(self, got: list[tuple[int, ...]]) -> bool:
        """Whether these are the shapes, with a batch of two, of what the task's NMS reads, and of masks where it has them."""
        side, count = self.config.imgsz, len(self.classes)
        if self.config.task not in ("detect", "segment"):
            return got == [(2, count, side, side) if self.config.task == "semantic" else (2, count)]
        if len(got) < 2 or len(got[1]) != 3 or len(got) != (3 if self.config.task == "segment" else 2):
            return False
        anchors = got[1][2]
        fits = got[0] in ((2, anchors, 4), (2, count, anchors, 4)) and got[1] == (2, count, anchors)
        return fits and all(len(masks) == 4 and masks[:2] == (2, self.config.max_det) for masks in got[2:])


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

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        if self.session is None:
            from onnxruntime import InferenceSession, SessionOptions

            options = SessionOptions()
            options.intra_op_num_threads, options.log_severity_level = torch.get_num_threads(), 3
            self.session = InferenceSession(self.content, options, providers=["CPUExecutionProvider"])
        names = [value.name for value in self.session.get_inputs()]
        fed = {name: tensor.numpy() for name, tensor in zip(names, inputs, strict=True)}
        outputs = [torch.from_numpy(np.asarray(output)) for output in self.session.run(None, fed)]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)
