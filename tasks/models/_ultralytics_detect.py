"""Detectors of Ultralytics with an anchor-free head at several strides: their runtime graph."""

from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from tasks import models, schema
from tasks.models import _balance, _ultralytics
from tasks.models._torch import load_exactly
from tasks.models._validation import of_fit
from tasks.tables import Dataset

BALANCE: Final = ("none", "sampler")


class Family(models.Family):
    """A detector that Ultralytics builds."""

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
        network = _ultralytics.start(self.config, self.classes, recipe, start)
        samples, settings = dataset.samples("train"), _ultralytics.settings(recipe)
        sampling = _balance.of_objects(samples, recipe)
        images = _ultralytics.Images(samples, self.config, settings, self.classes, sampling)
        validation = of_fit(self, dataset, recipe, work)
        _ultralytics.fit(network, images, recipe, work=work, out=out, on_epoch=on_epoch, validation=validation)

    def parts(self, weights: Path) -> models.Parts:
        network = _ultralytics.build(self.config, self.classes)
        load_exactly(network, weights)
        network.end2end = self.is_end2end(network)
        network = network.eval().fuse(verbose=False)
        return models.Parts(_ultralytics.Scale().eval(), Core(network), Decode(network, self.config.imgsz).eval())

    def is_end2end(self, network: Any) -> bool:
        """Whether the head that needs no NMS is used: `model.iou` is 1, which NMS drops nothing above, and there is one."""
        return self.config.iou == 1 and hasattr(network.model[-1], "one2one_cv2")

    def around(self) -> tuple[nn.Module, nn.Module]:
        return _ultralytics.Scale().eval(), Split().eval()


class Split(nn.Module):
    """What Ultralytics' ONNX export gives, float32 (N, 4 + C, A), boxes as xywh in input pixels, to boxes and scores."""

    def forward(self, output: Tensor) -> tuple[Tensor, Tensor]:
        centre, size = output[:, :2], output[:, 2:4]
        return torch.cat([centre - size / 2, centre + size / 2], dim=1).transpose(1, 2), output[:, 4:]


class Core(nn.Module):
    """Backbone, neck and the head's convolutions: the raw maps of each level, boxes first, then classes.

    Returns:
        For each level float32 (N, 4 * bins, h, w), then for each level float32 (N, C, h, w).
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        *layers, head = network.model
        self.layers = nn.ModuleList(layers)
        branches = head.one2one if head.end2end else head.one2many
        self.boxes, self.classes, self.levels = branches["box_head"], branches["cls_head"], list(head.f)
        self.sources: list[int | list[int]] = [layer.f for layer in layers]
        self.kept = frozenset(network.save)

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        kept: dict[int, Tensor] = {}
        for index, layer in enumerate(self.layers):
            x = layer(_inputs(self.sources[index], x, kept))
            if index in self.kept:
                kept[index] = x
        return self.heads([kept[index] for index in self.levels])

    def heads(self, levels: list[Tensor]) -> tuple[Tensor, ...]:
        """The maps of the levels that the head reads."""
        boxes = [branch(level) for branch, level in zip(self.boxes, levels, strict=True)]
        return (*boxes, *(branch(level) for branch, level in zip(self.classes, levels, strict=True)))


def _inputs(sources: int | list[int], x: Tensor, kept: dict[int, Tensor]) -> Tensor | list[Tensor]:
    """What a layer reads: the output before it (-1), or that of other layers."""
    if isinstance(sources, int):
        return x if sources == -1 else kept[sources]
    return [x if source == -1 else kept[source] for source in sources]


class Decode(nn.Module):
    """Raw maps to boxes float32 (N, A, 4) xyxy in input pixels, and scores float32 (N, C, A).

    A side's distance from its anchor, in strides, is the mean of a distribution over bins (Generalized Focal Loss,
    arXiv:2006.04388, equation 5); with a single bin it is the map itself (YOLO26).

    Args:
        network: For its strides and bins.
        imgsz: Side of the input, pixels.
    """

    centres: Tensor
    strides: Tensor
    bins: Tensor

    def __init__(self, network: Any, imgsz: int) -> None:
        super().__init__()
        head = network.model[-1]
        centres, strides = [], []
        for stride in head.stride.tolist():
            side = (torch.arange(int(imgsz / stride)) + 0.5) * stride
            y, x = torch.meshgrid(side, side, indexing="ij")
            centres.append(torch.stack([x, y], dim=-1).reshape(-1, 2))
            strides.append(torch.full((len(centres[-1]), 1), stride))
        self.register_buffer("centres", torch.cat(centres))
        self.register_buffer("strides", torch.cat(strides))
        self.register_buffer("bins", torch.arange(head.reg_max, dtype=torch.float32))

    def forward(self, *maps: Tensor) -> tuple[Tensor, Tensor]:
        levels = len(maps) // 2
        boxes = torch.cat([level.permute(0, 2, 3, 1).flatten(1, 2) for level in maps[:levels]], dim=1)
        scores = torch.cat([level.flatten(2) for level in maps[levels:]], dim=2)
        if len(self.bins) > 1:
            boxes = (torch.unflatten(boxes, 2, (4, len(self.bins))).softmax(dim=3) * self.bins).sum(dim=3)
        distances = boxes * self.strides
        low, high = self.centres - distances[..., :2], self.centres + distances[..., 2:]
        return torch.cat([low, high], dim=-1), scores.sigmoid()
