"""Whether an exported file does what the checkpoint does, on real images: tensors before NMS, and the task's own metric."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from sightline import engines
from sightline.contract import dump_json
from sightline.errors import SightlineError
from sightline.preprocess import decode, prepare_batch
from tasks import metrics, openvino_ir
from tasks.evaluate import CHECKPOINT_BATCH, Evaluation, evaluate
from tasks.tables import Sample

if TYPE_CHECKING:
    import onnx
    import openvino

    from tasks.models import Parts

MAX_ERROR: Final = {"fp32": 1e-3, "fp16": 5e-2}
"""Of a tensor's largest value; up to 4e-4 was seen of FP32. INT8 is judged by its metric alone."""
RAW_IMAGES: Final = 8  # that go together when tensors are compared; of INT8, whose tensors decide nothing, the first alone
F1_DROP: Final = 0.05
"""What F1 may lose at the service's threshold, at least. Average precision goes by the order of scores alone: where all are
halved it stays, and the service misses objects. F1 at one threshold moves more, so it may lose more."""
UNMATCHED: Final = 0.01  # of a two-stage detector's proposals
PARITY_FILE: Final = "parity.json"
FAILED: Final = "failed"
"""The folder of the report that keeps the files that failed."""
SCRIPT_FILE: Final = "reproduce.py"
"""In the folder of a file that failed."""
SCRIPT: Final = '''\
"""Measures the checkpoint and the file beside this one on the images that it failed on."""

from pathlib import Path

from sightline import engines
from tasks import gates
from tasks.draw import draw
from tasks.evaluate import evaluate
from tasks.tables import Dataset

here = Path(__file__).resolve().parent
root = next((folder for folder in here.parents if (folder / "params.yaml").is_file()), Path())
champion = root / {champion!r}
samples = draw(gates.samples(Dataset.read(root / {raw!r}, root / {dataset!r}), champion), {images})
checkpoint = engines.load("pytorch-fp32", champion, package="tasks.engines")
exported = engines.load({candidate!r}, here)
for engine, batch in ((checkpoint, {batch}), (exported, 0)):
    print(engine.facts(), evaluate(engine, samples, batch=batch).metrics)
'''

REPEAT: Final = '''\
"""Repeats the export of {precision}: no file of it could be measured, or what the metric does not tell is wrong.

That is its tensors, which come before NMS, or its F1 at the service's score threshold.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

here = Path(__file__).resolve().parent
root = next((folder for folder in here.parents if (folder / "params.yaml").is_file()), Path().resolve())
params = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
params["export"]["precisions"] = [{precision!r}]
with tempfile.TemporaryDirectory() as work:
    Path(work, "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    given = {{"raw": {raw!r}, "dataset": {dataset!r}, "champion": {champion!r}}}
    places = [word for name, place in given.items() for word in ("--" + name, str(root / place))]
    command = [sys.executable, "-m", "tasks.export", *places, "--model", "model", "--report", "report"]
    subprocess.run(command, cwd=work, env=os.environ | {{"PYTHONPATH": str(root)}}, check=False)
    print(Path(work, "report", "parity.json").read_text(encoding="utf-8"))
'''


@dataclass(frozen=True)
class Parity:
    """One file compared with the checkpoint.

    Attributes:
        passed: Whether the file may go on.
        metric: Its fitness, 0-1; None where it was not measured.
        reference: The checkpoint's fitness, 0-1.
        drop: What the file loses, 0-1; None where it was not measured.
        max_abs_error: Largest difference of the outputs before NMS; None where the file does not give them, or not all of them
            are numbers.
        max_rel_error: Largest difference as a share of the largest value of its tensor; None as before.
        images: How many images the fitness is taken on.
        found: What the file found in them: detections, or images classified.
        reference_found: What the checkpoint found in them.
        message: Why it failed; empty when it passed.
        f1: What it has at the service's score threshold, 0-1; None where the task has no threshold, or it was not measured.
        reference_f1: What the checkpoint has there.
    """

    passed: bool
    metric: float | None
    reference: float
    drop: float | None
    max_abs_error: float | None
    max_rel_error: float | None
    images: int
    found: int
    reference_found: int
    message: str
    f1: float | None = None
    reference_f1: float | None = None


class Gate:
    """What every file has to pass.

    Args:
        checkpoint: The checkpoint folder.
        parts: Its runtime graph in PyTorch.
        samples: Images of the validation split.
        threads: Of the inference.

    Raises:
        SightlineError: The folder holds no checkpoint.
    """

    def __init__(self, checkpoint: Path, parts: "Parts", samples: Sequence[Sample], threads: int) -> None:
        self.parts, self.samples, self.threads = parts, samples, threads
        engine = engines.load("pytorch-fp32", checkpoint, threads, package="tasks.engines")
        self.spec, self.task, self.classes = engine.description.input, engine.description.task, engine.description.classes
        self.reference = evaluate(engine, samples, batch=CHECKPOINT_BATCH, name="parity pytorch")

    def judge(
        self, whole: "onnx.ModelProto | openvino.Model | None", folder: Path, candidate: engines.Candidate, max_drop: float
    ) -> Parity:
        """Compares a file with the checkpoint.

        Args:
            whole: Its graph before NMS; None where its metric alone judges it.
            folder: A model folder that holds it.
            candidate: What runs it.
            max_drop: The largest loss of fitness that passes, 0-1.
        """
        errors = self._errors(whole, candidate.precision) if whole is not None else None
        engine = engines.load(str(candidate), folder, self.threads)
        result = evaluate(engine, self.samples, name=f"parity {candidate}")
        metric, expected = result.metrics["fitness"], self.reference.metrics["fitness"]
        found, reference_found = _count(result), _count(self.reference)
        allowed = MAX_ERROR.get(candidate.precision, np.inf)
        problems = []
        if not reference_found:
            problems.append(f"the checkpoint finds nothing in {len(self.samples)} images to compare: train it longer")
        elif not found:
            problems.append(f"it finds nothing where the checkpoint finds {reference_found}")
        if not expected - metric <= max_drop:
            problems.append(f"fitness {metric:.4f}, expected at most {max_drop} below the checkpoint's {expected:.4f}")
        conf = engine.description.conf
        f1, reference_f1 = (self._f1(each, conf) for each in (result, self.reference))
        if f1 is not None and reference_f1 is not None and not reference_f1 - f1 <= (f1_drop := max(max_drop, F1_DROP)):
            problems.append(
                f"f1 {f1:.4f} at the service's threshold of {conf:g}, expected at most {f1_drop} below the checkpoint's "
                f"{reference_f1:.4f}: its scores are others"
            )
        if errors and not np.isfinite(errors).all():
            problems.append("its outputs have NaN or infinity")
            errors = None
        absolute, relative = errors or (None, None)
        if relative is not None and relative > allowed:
            problems.append(f"outputs differ by {relative:.2g} of their largest value, expected at most {allowed:.2g}")
        return Parity(
            passed=not problems,
            metric=metric,
            reference=expected,
            drop=round(expected - metric, 6) + 0.0,  # no -0.0
            max_abs_error=absolute,
            max_rel_error=relative,
            images=len(self.samples),
            found=found,
            reference_found=reference_found,
            message="; ".join(problems),
            f1=f1,
            reference_f1=reference_f1,
        )

    def refuse(self, message: str) -> Parity:
        """The verdict on a file that could not be made, or not be run."""
        expected = self.reference.metrics["fitness"]
        return Parity(False, None, expected, None, None, None, len(self.samples), 0, _count(self.reference), message)

    def _f1(self, evaluation: Evaluation, conf: float) -> float | None:
        """At a score threshold; None where the task has none."""
        measure = getattr(metrics.load(self.task), "f1_at", None)
        return None if measure is None else round(measure(self.samples, evaluation.predictions, self.classes, conf), 6)

    def _errors(self, whole: "onnx.ModelProto | openvino.Model", precision: str) -> tuple[float, float] | None:
        """The largest absolute and relative difference of the outputs before NMS, to two digits; not finite where one is not.

        None for a two-stage detector that is not float32: rounding has it look at other proposals.
        """
        import torch

        run = _runner(whole)
        samples = self.samples if precision in MAX_ERROR else self.samples[:RAW_IMAGES]
        absolute, relative = [], []
        for start in range(0, len(samples), RAW_IMAGES):
            files = [sample.path.read_bytes() for sample in samples[start : start + RAW_IMAGES]]
            images, _ = prepare_batch([decode(data) for data in files], self.spec)
            with torch.inference_mode():
                expected = [tensor.numpy() for tensor in self.parts(torch.from_numpy(images))]
            if self.task in ("detect", "segment") and expected[0].ndim == 4 and precision != "fp32":
                return None
            if not all(np.isfinite(each).all() for each in expected):
                raise SightlineError("the checkpoint's own outputs have NaN or infinity: train it again")
            got = run(images)
            if self.task in ("detect", "segment") and expected[0].ndim == 4:
                got = [*match_proposals(got[0], got[1], expected[0], expected[1]), *got[2:]]
            for mine, theirs in zip(got, expected, strict=True):
                with np.errstate(invalid="ignore"):  # infinity less infinity
                    absolute.append(float(np.abs(mine - theirs).max()))
                relative.append(absolute[-1] / max(float(np.abs(theirs).max()), 1e-12))
        return float(f"{np.max(absolute):.2g}"), float(f"{np.max(relative):.2g}")


def _runner(whole: "onnx.ModelProto | openvino.Model") -> Callable[[NDArray[np.uint8]], list[NDArray[Any]]]:
    """What runs a graph in float32: uint8 (N, H, W, 3) to its outputs."""
    import onnx
    from onnxruntime import InferenceSession

    if isinstance(whole, onnx.ModelProto):
        session = InferenceSession(whole.SerializeToString(), providers=["CPUExecutionProvider"])
        return lambda images: list(session.run(None, {"images": images}))
    return openvino_ir.runner(whole)


def match_proposals(
    boxes: NDArray[np.float32], scores: NDArray[np.float32], true_boxes: NDArray[np.float32], true_scores: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Boxes and scores in the order of others of the same images, so that they can be compared by their places.

    A two-stage detector orders proposals by score, where near-ties swap places, and drops some by their overlap, where rounding
    decides for a few: the `UNMATCHED` share that differs most is taken for equal.

    Args:
        boxes: float32 (N, C, P, 4).
        scores: float32 (N, C, P).
        true_boxes: The others' boxes.
        true_scores: The others' scores.
    """
    import torch

    rows, true_rows = (torch.from_numpy(each).transpose(1, 2).flatten(2) for each in (boxes, true_boxes))
    nearest = torch.cdist(true_rows, rows, p=torch.inf).argmin(dim=2).numpy()
    boxes = np.take_along_axis(boxes, nearest[:, None, :, None], axis=2)
    scores = np.take_along_axis(scores, nearest[:, None], axis=2)
    worst = np.maximum(np.abs(boxes - true_boxes).max(axis=(1, 3)), np.abs(scores - true_scores).max(axis=1))
    flipped = (worst > np.quantile(worst, 1 - UNMATCHED, axis=1, keepdims=True))[:, None]
    return np.where(flipped[..., None], true_boxes, boxes), np.where(flipped, true_scores, scores)


def write_report(verdicts: Mapping[str, Parity], report: Path) -> None:
    """Writes parity.json: a verdict for each precision, and where a file that failed is kept."""
    entries = {}
    for name, verdict in verdicts.items():
        kept = {} if verdict.passed else {"kept": f"{FAILED}/{name}", "reproduce": f"{FAILED}/{name}/{SCRIPT_FILE}"}
        entries[name] = asdict(verdict) | kept
    (report / PARITY_FILE).write_text(dump_json(entries), encoding="utf-8")


def _count(evaluation: Evaluation) -> int:
    return sum(found.count for found in evaluation.predictions)
