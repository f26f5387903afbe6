"""TensorBoard: event files under runs/, a folder for each stage and each trial; `tensorboard --logdir runs` shows them.

A pipeline's stages lie in one folder, whose name holds the model, the dataset, a digest of the params and the commit.
"""

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tasks.schema import Tracking
from tasks.trackers._record import CachedRecord, Point, StageRecord, Value


def target(tracking: Tracking) -> dict[str, str]:
    """The folder, TensorBoard's own default."""
    return {"folder": "runs"}


class Writer:
    """See `_record.Writer`."""

    def __init__(self, target: Mapping[str, str]) -> None:
        self._folder = Path(target["folder"])

    def write(self, record: StageRecord) -> None:
        """Writes the events of a stage and of its trials. Metrics stand among the scalars, and with the params in HPARAMS."""
        begun = time.strftime("%Y%m%d-%H%M%S", time.localtime(record.start_ms / 1000))
        folder = self._folder / record.pipeline.group / f"{record.stage}-{begun}"
        shutil.rmtree(folder, ignore_errors=True)
        with _events(folder) as events:
            for point in (*record.epochs, *record.system):
                _add(events, point)
            for picture in record.pictures:
                name = picture.relative_to(record.folder).with_suffix("").as_posix()
                events.add_image(name, _pixels(picture), 0, record.end_ms / 1000, dataformats="HWC")
            events.add_text("status", record.status, 0, record.end_ms / 1000)
            if record.error:
                events.add_text("error", record.error, 0, record.end_ms / 1000)
            _add_result(events, record.params, Point(0, record.end_ms, record.metrics))
        for trial in record.trials:
            with _events(folder / f"trial-{trial.number}") as events:
                _add_result(events, trial.params, Point(0, record.end_ms, trial.metrics))

    def link(self, record: CachedRecord) -> None:
        """Has nothing to note: TensorBoard links no runs."""

    def close(self) -> None:
        """Has nothing open."""


def _events(folder: Path) -> Any:
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter(str(folder))


def _add(events: Any, point: Point) -> None:
    for name, value in point.metrics.items():
        events.add_scalar(name, value, point.step, point.time_ms / 1000)


def _add_result(events: Any, params: Mapping[str, Value], result: Point) -> None:
    """Adds the params and metrics to HPARAMS, in the same file; `add_hparams` writes another, which may be passed over."""
    from torch.utils.tensorboard.summary import hparams

    for summary in hparams(dict(params), result.metrics):
        events.file_writer.add_summary(summary, 0, result.time_ms / 1000)
    _add(events, result)


def _pixels(path: Path) -> NDArray[np.uint8]:
    """A picture as uint8 (H, W, 3) RGB, 0-255."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))
