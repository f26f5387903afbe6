"""Engines, side by side: our candidates with PyTorch eager, plain ONNX Runtime and `yolo benchmark`.

    python benchmarks/engines.py --detector WEIGHTS --detector-data DATA --classifier WEIGHTS --classifier-data DATA \
        --out benchmarks/engines.md

Each pair may be left out. Our files, their parity and their accuracy come from `sightline benchmark`. The bare models then run
on one core with one thread, a process each, in turns, so that a machine that drifts does so for all of them:

- `pytorch-eager`: the library's network in float32, as the library runs it: Ultralytics' after its own `fuse()`, torchvision's
  as it is, with our stem at 64 px and less. The images are normalised before, and a detector's NMS is left out.
- `onnxruntime-plain`: what the library exports, or `torch.onnx.export` of it, by ONNX Runtime with its defaults, the same way.
- ours: our whole graph, so with normalisation from uint8, and a detector's NMS.
- `floor`: the network's multiply-adds at the rate of the core's INT8 products in a large matrix (ONNX Runtime's MatMulInteger).

All accuracy is our evaluation of the same images, but for the table of `yolo benchmark`, which validates in its own way. That
command runs after the others and has all cores. It is kept from the network and installs nothing, so its exports are not
simplified by onnxslim, and of its formats there are those that the installed libraries run.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sightline import engines
from sightline.contract import ModelDescription, sha256_of
from sightline.engines import BaseEngine, Outputs
from sightline.preprocess import decode, prepare_batch
from tasks import gates, machine, metrics, models, outputs, schema
from tasks.draw import draw
from tasks.evaluate import evaluate
from tasks.models import CONFIG_FILE, WEIGHTS_FILE
from tasks.stage import QUIET
from tasks.tables import Dataset, Sample

ROOT = Path(__file__).parents[1]
CORE = max(os.sched_getaffinity(0))  # the one that all are measured on
REQUESTS = 16  # different images that are sent, over and over
CLAIMS = {"detect": 4, "classify": 7}  # times as fast as PyTorch eager, at most MAX_DROP of the metric lost
MAX_DROP = 0.01
EAGER, PLAIN = "pytorch-eager", "onnxruntime-plain"
YOLO_FORMATS = {
    "PyTorch": ["format=-"],
    "ONNX": ["format=onnx"],
    "OpenVINO": ["format=openvino"],
    "OpenVINO INT8": ["format=openvino", "quantize=8"],
}
"""Those of its formats that run here."""


@dataclass(frozen=True)
class Work:
    """A folder of `sightline benchmark`, and in it the files of the model's own library."""

    folder: Path

    @property
    def champion(self) -> Path:
        return self.folder / "models/champion"

    @property
    def exported(self) -> Path:
        return self.folder / "models/exported"

    @property
    def checkpoint(self) -> Path:
        """The network as Ultralytics keeps it."""
        return self.folder / "library.pt"

    @property
    def onnx(self) -> Path:
        """What the library exports."""
        return self.folder / "library.onnx"

    @cached_property
    def description(self) -> ModelDescription:
        return ModelDescription.read(self.exported)

    @cached_property
    def config(self) -> schema.Model:
        return schema.parse(schema.Model, json.loads((self.champion / CONFIG_FILE).read_text()))

    @cached_property
    def samples(self) -> list[Sample]:
        """The images that the accuracy is taken on."""
        return gates.samples(Dataset.read(self.folder / "data/raw", self.folder / "data/dataset"), self.champion)

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Of benchmark.json, those of candidates that are shipped."""
        rows = json.loads((self.folder / "reports/benchmark/benchmark.json").read_text())["rows"]
        return [row for row in rows if row["shipped"]]


def run(command: Sequence[str], work: Path) -> str:
    """Runs a command in `work`; what it printed."""
    done = subprocess.run(command, cwd=work, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command[:4])}: exit code {done.returncode}\n{done.stdout[-3000:]}")
    return done.stdout


class Library(BaseEngine):
    """The model as its library runs it; normalisation and NMS are done apart, and not timed.

    Args:
        work: Its folder.
    """

    def __init__(self, work: Work) -> None:
        self.family = models.load(work.config, work.description.classes)
        self.pre, self.post = self.family.around()
        self.work = work
        super().__init__(work.exported, work.description, "fp32")

    def prepared(self, images: NDArray[np.uint8]) -> Any:
        """A torch.Tensor float32 (N, 3, H, W), normalised."""
        import torch

        return self.pre(torch.from_numpy(images)).contiguous()

    @abstractmethod
    def infer(self, images: Any) -> Any:
        """The bare model: what `prepared` gives to what `post` takes, each as the library has it."""

    def run(self, images: NDArray[np.uint8], conf: float) -> Outputs:
        import torch

        with torch.inference_mode():
            raw = self.post(torch.as_tensor(self.infer(self.prepared(images))))
            task = outputs.load(self.description.task)
            tensors = task.finish(raw if isinstance(raw, tuple) else (raw,), conf, self.description)
        return {name: value.numpy() for name, value in zip(self.description.outputs, tensors, strict=True)}

    def facts(self) -> dict[str, str]:
        return {}


class Eager(Library):
    """PyTorch, eager, float32."""

    def load(self, folder: Path) -> None:
        self.network = network_of(self.work)

    def infer(self, images: Any) -> Any:
        import torch

        with torch.inference_mode():
            found = self.network(images)
        return found[0] if isinstance(found, tuple) else found  # Ultralytics adds the maps that a loss takes


class Plain(Library):
    """ONNX Runtime on the library's export."""

    def load(self, folder: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(self.work.onnx), options, providers=["CPUExecutionProvider"])
        self.name = self.session.get_inputs()[0].name

    def prepared(self, images: NDArray[np.uint8]) -> Any:
        return super().prepared(images).numpy()

    def infer(self, images: Any) -> Any:
        return self.session.run(None, {self.name: images})[0]


def network_of(work: Work) -> Any:
    """The library's own network with the weights, an nn.Module ready to run."""
    if work.config.library == "ultralytics":
        from ultralytics import YOLO

        import tasks.models._ultralytics  # noqa: F401  quiets it

        return YOLO(work.checkpoint).model.fuse(verbose=False).eval()
    return models.load(work.config, work.description.classes).parts(work.champion / WEIGHTS_FILE).core


def write_library(work: Work) -> None:
    """Writes the network as its library keeps it, and what the library exports."""
    import torch

    from tasks.models._torch import load_exactly

    config, classes = work.config, work.description.classes
    if config.library == "ultralytics":
        from ultralytics import YOLO

        from tasks.models import _ultralytics

        network = _ultralytics.build(config, classes)
        load_exactly(network, work.champion / WEIGHTS_FILE)
        network.names = dict(enumerate(classes))
        torch.save({"model": network, "train_args": {"task": config.task, "imgsz": config.imgsz}}, work.checkpoint)
        YOLO(work.checkpoint).export(format="onnx", imgsz=config.imgsz, device="cpu")
    else:
        example = torch.zeros(1, 3, config.imgsz, config.imgsz)
        torch.onnx.export(network_of(work), (example,), work.onnx, verbose=False)


@cache
def opened(name: str, folder: Path) -> BaseEngine:
    """The model named so, in this process, which has one core from now on."""
    import torch

    os.sched_setaffinity(0, {CORE})
    torch.set_num_threads(1)
    work, kinds = Work(folder), {EAGER: Eager, PLAIN: Plain}
    return kinds[name](work) if name in kinds else engines.load(name, work.exported, 1)


@cache
def requests(name: str, folder: Path) -> list[Callable[[], Any]]:
    """The bare model on each of some images."""
    engine, work = opened(name, folder), Work(folder)
    chosen = [decode(sample.path.read_bytes()) for sample in draw(work.samples, REQUESTS)]
    images = [prepare_batch([image], work.description.input)[0] for image in chosen]
    if isinstance(engine, Library):
        return [partial(engine.infer, engine.prepared(image)) for image in images]
    return [partial(engine.run, image, work.description.conf) for image in images]


def window(name: str, folder: Path, samples: int) -> list[float]:
    """Milliseconds of each of `samples` runs of the bare model."""
    calls, times = requests(name, folder), []
    for index in range(samples):
        begin = time.perf_counter()
        calls[index % len(calls)]()
        times.append(1000 * (time.perf_counter() - begin))
    return times


def fitness(name: str, folder: Path) -> float:
    """The task's metric of a library's model, by our evaluation."""
    return evaluate(opened(name, folder), Work(folder).samples, name=name).metrics["fitness"]


def ours(options: argparse.Namespace, kind: str, size: int, out: Path) -> Work:
    """Exports and judges our candidates."""
    given = vars(options)
    command = [str(Path(sys.executable).with_name("sightline")), "benchmark", str(given[kind].resolve())]
    command += ["--data", str(given[f"{kind}_data"].resolve()), "--as", given[f"{kind}_as"], "--out", str(out)]
    run([*command, f"model.imgsz={size}", "hardware.threads=[1]", *options.overrides], ROOT)
    return Work(out)


def measure(work: Work, rounds: int, samples: int) -> tuple[dict[str, list[list[float]]], dict[str, float], float]:
    """The bare models in turns.

    Returns:
        By name the windows, milliseconds; and, measured after them, the libraries' fitness and the floor, milliseconds.
    """
    names = [EAGER, PLAIN, *(row["candidate"] for row in work.rows if row["status"] == "ok")]
    spawn = multiprocessing.get_context("spawn")
    with ExitStack() as stack:
        with ProcessPoolExecutor(1, spawn) as pool:
            pool.submit(write_library, Work(work.folder)).result()
        pools = {name: stack.enter_context(ProcessPoolExecutor(1, spawn)) for name in names}
        for name, pool in pools.items():
            pool.submit(window, name, work.folder, 2 * REQUESTS).result()  # warms up
        windows: dict[str, list[list[float]]] = {name: [] for name in names}
        for turn in range(rounds):
            shift = turn % len(names)  # who comes first has no advantage of it
            for name in (*names[shift:], *names[:shift]):
                windows[name].append(pools[name].submit(window, name, work.folder, samples).result())
        found = {name: pools[name].submit(fitness, name, work.folder).result() for name in (EAGER, PLAIN)}
        return windows, found, pools[EAGER].submit(floor, work.folder).result()


def yolo_benchmark(work: Work) -> Iterator[tuple[str, str, float, float]]:
    """By format what `yolo benchmark` says: why it has no result, or nothing; mAP50-95 and milliseconds an image."""
    bin_folder, log = Path(sys.executable).parent, work.folder / "benchmarks.log"
    dataset = [str(work.folder / "data/dataset"), str(work.folder / "yolo")]
    run([str(bin_folder / "sightline"), "convert", *dataset, "--to", "yolo", "--lossy"], ROOT)
    command = [str(bin_folder / "yolo"), "benchmark", f"model={work.checkpoint}", f"data={work.folder / 'yolo/data.yaml'}"]
    for label, settings in YOLO_FORMATS.items():
        log.unlink(missing_ok=True)
        printed = run([*command, f"imgsz={work.config.imgsz}", "device=cpu", *settings], work.folder)
        *_, size, metric, latency_ms, fps = next(line for line in log.read_text().splitlines() if "| 1 " in line).split()[:-1]
        if "-" in (size, metric, latency_ms, fps):
            reason = next((line for line in printed.splitlines() if "Benchmark failure" in line), "no result")
            yield label, reason.strip(), 0.0, 0.0
        else:
            yield label, "", float(metric), float(latency_ms)


def floor(folder: Path, side: int = 1024, times: int = 50) -> float:
    """Milliseconds that the network's multiply-adds take at the best rate of INT8 products of square matrices."""
    import onnxruntime
    import torch
    from onnx import TensorProto, helper, numpy_helper
    from torch.utils.flop_counter import FlopCounterMode

    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        requests(EAGER, folder)[0]()
    left, right = helper.make_tensor_value_info("left", TensorProto.UINT8, [side, side]), np.ones((side, side), np.int8)
    product = helper.make_tensor_value_info("product", TensorProto.INT32, [side, side])
    node = helper.make_node("MatMulInteger", ["left", "right"], ["product"])
    graph = helper.make_graph([node], "floor", [left], [product], [numpy_helper.from_array(right, "right")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feed, seconds = {"left": np.ones((side, side), np.uint8)}, []
    for _ in range(times):
        begin = time.perf_counter()
        session.run(None, feed)
        seconds.append(time.perf_counter() - begin)
    return 1000 * min(seconds) * counter.get_total_flops() / (2 * side**3)


def loss(reference: float, metric: float) -> str:
    """Of a metric; there is no -0."""
    return f"{round(reference - metric, 4) + 0.0:.4f}"


def bare_table(work: Work, rounds: int, samples: int) -> Iterator[str]:
    """The lines about the bare models, and whether the claim is met."""
    windows, found, floor_ms = measure(work, rounds, samples)
    task = work.description.task
    metric = metrics.load(task).FITNESS
    found |= {row["candidate"]: row["fitness"] for row in work.rows if row["status"] == "ok"}
    medians = {name: [statistics.median(times) for times in turns] for name, turns in windows.items()}
    yield f"| bare model, one thread | p50, ms | times as fast | least to most | {metric} | drop |"
    yield "|---|---:|---:|---:|---:|---:|"
    speed: dict[str, float] = {}
    for name, turns in windows.items():
        ratios = [eager / own for eager, own in zip(medians[EAGER], medians[name], strict=True)]
        speed[name] = statistics.median(ratios)
        cells = [f"{np.median(turns):.2f}", f"{speed[name]:.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"]
        yield f"| {name} | {' | '.join(cells)} | {found[name]:.4f} | {loss(found[EAGER], found[name])} |"
    limit = float(np.median(windows[EAGER])) / floor_ms
    yield f"| floor | {floor_ms:.2f} | {limit:.2f} | | | |"
    yield ""
    for row in work.rows:
        if row["status"] != "ok":
            yield f"{row['candidate']}: {row['status']}: {row['message']}\n"
    yield verdict(task, {name: ratio for name, ratio in speed.items() if name not in (EAGER, PLAIN)}, found)
    if limit < CLAIMS[task]:
        yield f"By the floor, {limit:.2f} times, no engine of dense INT8 products can meet it on this processor."


def verdict(task: str, speed: Mapping[str, float], found: Mapping[str, float]) -> str:
    """Who wins among ours, and whether that is enough."""
    claim, good = CLAIMS[task], [name for name in speed if found[EAGER] - found[name] <= MAX_DROP]
    if not good:
        return f"None of ours loses at most {MAX_DROP:g} of the metric: the claim is missed."
    best = max(good, key=lambda name: speed[name])
    return (
        f"The winner, of those that lose at most {MAX_DROP:g}: {best}, {speed[best]:.2f} times as fast as PyTorch eager. "
        f"The claim of {claim} times is {'met' if speed[best] >= claim else 'missed'}."
    )


def yolo_table(work: Work) -> Iterator[str]:
    """The lines about `yolo benchmark`."""
    yield "| yolo benchmark | ms an image | times as fast as its PyTorch | its mAP50-95 | drop |"
    yield "|---|---:|---:|---:|---:|"
    first: tuple[float, float] | None = None
    failed = []
    for label, reason, metric, latency_ms in yolo_benchmark(work):
        if reason:
            failed.append(f"{label}: {reason}\n")
            continue
        first = first or (metric, latency_ms)
        yield f"| {label} | {latency_ms:.2f} | {first[1] / latency_ms:.2f} | {metric:.4f} | {loss(first[0], metric)} |"
    yield ""
    yield from failed
    yield "It chooses its threads: all cores but one with PyTorch, all with ONNX Runtime and OpenVINO, and lets OpenVINO choose"
    yield "its arithmetic. Its time is the mean of the bare model over the validation split, of one format after the other. Its"
    yield "metric is of its own validation, not to be compared with ours."


def report(options: argparse.Namespace, folder: Path) -> Iterator[str]:
    """The record's lines."""
    here = machine.describe()
    versions = ", ".join(f"{name} {version}" for name, version in here["libraries"].items())
    yield "# Engines, side by side\n"
    yield f"{time.strftime('%Y-%m-%d')}, {here['name']}, {here['system']}, Python {here['python']}, {versions}:"
    yield "`python benchmarks/engines.py`, whose first lines say what is measured.\n"
    yield f"Bare models: one core, one thread, a process each, {options.rounds} windows of {options.samples} images, in turns."
    yield "Times as fast as PyTorch eager: by the medians of a turn's windows; the median of all turns, the least and the most."
    yield "Ours have normalisation and a detector's NMS within what is timed; the first two rows have not."
    for kind, size in (("detector", options.detector_size), ("classifier", options.classifier_size)):
        weights, data = getattr(options, kind), getattr(options, f"{kind}_data")
        if weights is None:
            continue
        work = ours(options, kind, size, folder / kind)
        yield f"\n## {work.config.arch}, {size} px\n"
        yield f"Images: {data.name}, {len(work.samples)} of its validation split. Weights: SHA-256 {sha256_of(weights)[:8]}.\n"
        yield from bare_table(work, options.rounds, options.samples)
        yield ""
        if work.config.library == "ultralytics":
            yield from yolo_table(work)
        else:
            yield "`yolo benchmark` takes Ultralytics' own models alone, so not this one."


def quiet(folder: Path) -> None:
    """Has no library, in each process from here on, reach the network or install anything."""
    import matplotlib

    config = folder / "Ultralytics"
    config.mkdir(parents=True)
    font = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    shutil.copy(font, config / "Arial.ttf")  # which it would download
    (folder / "openvino_telemetry.py").write_text('raise ImportError("not wanted")\n')  # it reports over HTTPS
    os.environ.update(QUIET, PYTHONPATH=f"{folder}{os.pathsep}{ROOT}")
    os.environ.update(YOLO_CONFIG_DIR=str(folder), YOLO_OFFLINE="true", YOLO_AUTOINSTALL="false")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    for kind, size, name in (("detector", 640, "yolov8n"), ("classifier", 224, "resnet18")):
        parser.add_argument(f"--{kind}", type=Path, metavar="WEIGHTS", help="as `model.weights` takes them, but no ONNX")
        parser.add_argument(f"--{kind}-data", type=Path, metavar="DATA", help="a labelled dataset")
        parser.add_argument(f"--{kind}-as", default=name, metavar="NAME", help=f"a file of conf/model (default: {name})")
        parser.add_argument(f"--{kind}-size", type=int, default=size, help=f"side of the input, pixels (default: {size})")
    parser.add_argument("--rounds", type=int, default=12, help="windows of each")
    parser.add_argument("--samples", type=int, default=25, help="images of a window")
    parser.add_argument("--out", type=Path, help="where the record goes, Markdown")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="of `sightline benchmark`, e.g. benchmark.samples=30")
    options = parser.parse_intermixed_args()
    if options.detector is None and options.classifier is None:
        parser.error("--detector or --classifier: expected one at least")
    for kind in ("detector", "classifier"):
        if (getattr(options, kind) is None) != (getattr(options, f"{kind}_data") is None):
            parser.error(f"--{kind} and --{kind}-data: expected both, or neither")
    with tempfile.TemporaryDirectory(prefix="sightline-bench-") as name:
        quiet(Path(name) / "settings")
        lines = []
        for line in report(options, Path(name)):
            print(line, flush=True)
            lines.append(line)
    if options.out:
        options.out.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
