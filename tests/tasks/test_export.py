"""The export stage on a classifier that knows its colours: what passes, what is caught, and that nothing differs twice."""

import itertools
import json
import os
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
import yaml
from PIL import Image

from sightline import engines
from sightline.contract import ModelDescription, describe_file
from sightline.errors import AnswerIsNo
from sightline.postprocess.detect import Detections
from sightline.preprocess import decode, prepare_batch
from tasks import export as stage
from tasks import models, parity, schema
from tasks.attempts import Source, attempts
from tasks.evaluate import Evaluation
from tasks.export import Config, Paths, export
from tasks.exported import FILES
from tasks.graph import Graphs, export_parts, finish, join, write
from tasks.metrics import detect
from tasks.models import WEIGHTS_FILE, Parts
from tasks.parity import Gate
from tasks.quantise import last_layers, quantise
from tasks.quantise_openvino import quantise as quantise_openvino
from tasks.sensitivity import by_sensitivity
from tasks.tables import Dataset, Sample

sys.path.insert(0, str(Path(__file__).parent))
from tiny import ROOT, Scale, write_classifier, write_dataset

EXPORT = schema.Export(
    precisions=("fp32", "fp16", "int8", "openvino-fp32", "openvino-int8", "tensorrt-int8"),
    conf=0.3,
    calibration_images=12,
    parity_images=9,
    max_drop={"fp32": 0.001, "fp16": 0.001, "int8": 0.2},
)


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], schema.Model]:
    folder = tmp_path_factory.mktemp("inputs")
    raw, root = write_dataset(folder)
    model = write_classifier(folder / "champion", Dataset.read(raw, root))
    return {"raw": raw, "dataset": root, "champion": folder / "champion"}, model


@pytest.fixture(scope="module")
def exported(inputs: tuple[dict[str, Path], schema.Model], tmp_path_factory: pytest.TempPathFactory) -> Paths:
    folder = tmp_path_factory.mktemp("exported")
    paths = Paths(**inputs[0], model=folder / "model", report=folder / "report")
    export(paths, Config(model=inputs[1], export=EXPORT))
    return paths


@pytest.fixture(scope="module")
def parts(inputs: tuple[dict[str, Path], schema.Model]) -> Parts:
    paths, model = inputs
    description = ModelDescription.read(paths["champion"])
    return models.load(model, description.classes).parts(paths["champion"] / WEIGHTS_FILE)


@pytest.fixture(scope="module")
def description(inputs: tuple[dict[str, Path], schema.Model]) -> ModelDescription:
    return ModelDescription.read(inputs[0]["champion"])


@pytest.fixture(scope="module")
def graphs(parts: Parts, description: ModelDescription) -> Graphs:
    return export_parts(parts, description)


@pytest.fixture(scope="module")
def samples(inputs: tuple[dict[str, Path], schema.Model]) -> list[Sample]:
    return Dataset.read(inputs[0]["raw"], inputs[0]["dataset"]).samples("val")


def test_every_precision_passes_and_runs(exported: Paths, samples: list[Sample]) -> None:
    description = ModelDescription.read(exported.model)
    assert sorted(description.files) == ["fp16", "fp32", "int8", "openvino-fp32", "openvino-int8", "tensorrt-int8"]
    assert description.conf == 0.3
    assert description.calibration is not None
    assert description.calibration.images == 12
    assert not (exported.report / "failed").exists()
    images, _ = prepare_batch([decode(sample.path.read_bytes()) for sample in samples], description.input)
    for candidate in {file.judge for file in FILES.values()}:
        probabilities = engines.load(str(candidate), exported.model).run(images, 0.0)["probabilities"]
        assert np.argmax(probabilities, axis=1).tolist() == [int(sample.labels[0]) for sample in samples]


def test_parity_report_has_numbers(exported: Paths) -> None:
    report = json.loads((exported.report / "parity.json").read_text())
    assert 0 < report["openvino-fp32"]["max_rel_error"] < 1e-4
    assert report["fp32"]["reference"] == report["fp32"]["metric"] == 1.0
    assert 0 < report["fp32"]["max_rel_error"] < 1e-4
    assert report["fp32"]["max_abs_error"] < report["int8"]["max_abs_error"]
    assert report["int8"]["images"] == report["int8"]["found"] == report["int8"]["reference_found"] == 9


@pytest.mark.slow
def test_same_checkpoint_gives_the_same_files(
    exported: Paths, inputs: tuple[dict[str, Path], schema.Model], tmp_path: Path
) -> None:
    again = replace(exported, model=tmp_path / "model", report=tmp_path / "report")
    export(again, Config(model=inputs[1], export=EXPORT))
    for folder in ("model", "report"):
        first, second = getattr(exported, folder), getattr(again, folder)
        names = sorted(path.name for path in first.iterdir())
        assert names == sorted(path.name for path in second.iterdir())
        for name in names:
            assert (first / name).read_bytes() == (second / name).read_bytes(), name


def test_only_the_core_is_quantised(exported: Paths) -> None:
    nodes = onnx.load(exported.model / "model.int8.onnx").graph.node
    kinds = {part: {node.op_type for node in nodes if node.name.startswith(f"{part}/")} for part in ("pre", "core", "post")}
    producers = {output: node for node in nodes for output in node.output}
    assert all(kinds.values())
    assert "QuantizeLinear" not in kinds["pre"] | kinds["post"]
    for node in nodes:
        inputs = [producers[name].op_type for name in node.input if name in producers]
        if node.op_type in ("Conv", "Gemm"):
            assert set(inputs) == {"DequantizeLinear"}, node.name
    assert (exported.model / "model.int8.onnx").stat().st_size < 0.3 * (exported.model / "model.onnx").stat().st_size


def test_openvinos_file_is_quantised_in_its_core_alone_and_tells_nothing_of_its_making(exported: Paths) -> None:
    import openvino

    path = exported.model / "model.openvino-int8.xml"
    nodes = openvino.Core().read_model(path).get_ordered_ops()
    fakes = [node.get_friendly_name() for node in nodes if node.get_type_name() == "FakeQuantize"]
    assert len(fakes) > 20, "a quantised ResNet-18 has 20 convolutions"
    assert not [name for name in fakes if name.startswith("post/")]
    assert (
        exported.model.joinpath("model.openvino-int8.bin").stat().st_size < 0.3 * (exported.model / "model.onnx").stat().st_size
    )
    text = path.read_text()
    assert not [word for word in ("nncf", "_version", "/tmp", "conversion_parameters") if word in text]


def test_openvino_quantises_around_silu_and_not_within(
    description: ModelDescription, samples: list[Sample], tmp_path: Path
) -> None:
    """x * sigmoid(x) is one node, which the convolution before it takes in; its output alone is quantised."""
    import openvino

    layers = [
        torch.nn.Conv2d(3, 8, 3),
        torch.nn.SiLU(),
        torch.nn.Conv2d(8, 3, 3),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
    ]
    parts = Parts(Scale(), torch.nn.Sequential(*layers).eval(), torch.nn.Softmax(dim=1))
    quantise_openvino(export_parts(parts, description), samples, description, tmp_path / "model.xml")
    nodes = openvino.Core().read_model(tmp_path / "model.xml").get_ordered_ops()
    assert "Sigmoid" not in {node.get_type_name() for node in nodes}
    (silu,) = (node for node in nodes if node.get_type_name() == "Swish")
    assert silu.input_value(0).get_node().get_type_name() == "Add", "the convolution's bias"
    assert {each.get_node().get_type_name() for each in silu.output(0).get_target_inputs()} == {"FakeQuantize"}


def test_last_layers_stay_in_float(graphs: Graphs, description: ModelDescription, samples: list[Sample]) -> None:
    (last,) = last_layers(graphs.core)
    core = quantise(graphs, samples, description.input, [last]).core
    node = next(node for node in core.graph.node if node.name == last)
    weights = {tensor.name: tensor for tensor in core.graph.initializer}
    assert weights[node.input[1]].data_type == onnx.TensorProto.FLOAT


def test_fp16_is_half_as_large_and_takes_and_gives_what_the_contract_says(exported: Paths) -> None:
    whole = onnx.load(exported.model / "model.fp16.onnx")
    sizes = [(exported.model / FILES[name].path).stat().st_size for name in ("fp16", "fp32")]
    assert sizes[0] < 0.55 * sizes[1]
    kinds = {node.op_type for node in whole.graph.node if node.name.startswith("core/")}
    assert "Cast" in kinds, "it takes and gives float32"
    weights = {tensor.name: tensor.data_type for tensor in whole.graph.initializer}
    convs = [node for node in whole.graph.node if node.op_type == "Conv"]
    assert {weights[node.input[1]] for node in convs} == {onnx.TensorProto.FLOAT16}
    report = json.loads((exported.report / "parity.json").read_text())
    assert 0 < report["fp16"]["max_rel_error"] < parity.MAX_ERROR["fp16"]


def test_tensorrts_file_is_symmetric_with_float_biases(exported: Paths) -> None:
    """NVIDIA, TensorRT Developer Guide, "Explicit quantization": zero points are 0, and the type is INT8."""
    graph = onnx.load(exported.model / "model.tensorrt-int8.onnx").graph
    tensors = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    quantised = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert len(quantised) > 20
    for node in quantised:
        zero = tensors[node.input[2]]
        assert zero.dtype == np.int8, node.name
        assert not zero.any(), node.name
    producers = {output: node.op_type for node in graph.node for output in node.output}
    biases = [node.input[2] for node in graph.node if node.op_type in ("Conv", "Gemm") and len(node.input) == 3]
    assert biases
    assert not [name for name in biases if name in producers], "TensorRT takes no quantised bias"


def test_the_layer_that_suffers_most_comes_first_and_stays_in_float_when_others_fail(
    graphs: Graphs, description: ModelDescription, samples: list[Sample]
) -> None:
    layers = [node.name for node in graphs.core.graph.node if node.op_type == "Conv"]
    spoilt = onnx.ModelProto()
    spoilt.CopyFrom(quantise(graphs, samples, description.input).core)
    victim = layers[5]
    node = next(node for node in spoilt.graph.node if node.name == victim)
    scale = next(each for each in spoilt.graph.node if each.output[0] == node.input[1]).input[1]
    tensor = next(each for each in spoilt.graph.initializer if each.name == scale)
    tensor.CopyFrom(onnx.numpy_helper.from_array(1.5 * onnx.numpy_helper.to_array(tensor), scale))
    pixels = [np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)]
    assert by_sensitivity(graphs.core, spoilt, layers, pixels)[0] == victim


def test_more_and_more_layers_are_spared(
    parts: Parts, graphs: Graphs, description: ModelDescription, samples: list[Sample], tmp_path: Path
) -> None:
    path = tmp_path / "model.onnx"
    counts = []
    for attempt in attempts(Source(parts, graphs, samples[:2], description), "int8", path):
        attempt()
        counts.append(Counter(node.op_type for node in onnx.load(path).graph.node)["QuantizeLinear"])
    assert len(counts) == 5
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) > 3


@pytest.mark.slow
def test_openvinos_sums_stay_in_float_when_all_in_int8_fails(
    parts: Parts, graphs: Graphs, description: ModelDescription, samples: list[Sample], tmp_path: Path
) -> None:
    """A ResNet-18 has eight sums of two branches; each branch that is quantised brings a FakeQuantize."""
    import openvino

    path = tmp_path / "model.xml"
    counts = []
    for attempt in itertools.islice(attempts(Source(parts, graphs, samples[:2], description), "openvino-int8", path), 2):
        attempt()
        nodes = openvino.Core().read_model(path).get_ordered_ops()
        sums = [
            node for node in nodes if node.get_type_name() == "Add" and node.get_friendly_name().startswith("core/node_add")
        ]
        before = [value.get_node().get_type_name() for node in sums for value in node.input_values()]
        counts.append((len(sums), before.count("FakeQuantize")))
    assert counts[0][0] == counts[1][0] == 8
    assert counts[0][1] > counts[1][1]


class Reversed(Scale):
    """BGR for RGB: the classic mistake."""

    def forward(self, images):  # type: ignore[no-untyped-def]
        return super().forward(images).flip(1)


def test_parity_catches_another_preprocessing(
    inputs: tuple[dict[str, Path], schema.Model],
    parts: Parts,
    description: ModelDescription,
    samples: list[Sample],
    tmp_path: Path,
) -> None:
    broken = join(export_parts(replace(parts, pre=Reversed().eval()), description))
    write(finish(broken, description), tmp_path / "model.onnx")
    replace(description, files={"fp32": describe_file(tmp_path / "model.onnx")}).write(tmp_path)
    verdict = Gate(inputs[0]["champion"], parts, samples, threads=1).judge(
        broken, tmp_path, FILES["fp32"].judge, max_drop=0.001
    )
    assert not verdict.passed
    assert (verdict.drop or 0) > 0.3
    assert "fitness" in verdict.message
    assert "outputs differ" in verdict.message


@pytest.mark.parametrize("value", [np.nan, pytest.param(np.inf, marks=pytest.mark.slow)])
def test_parity_catches_one_value_that_is_no_number(
    value: float,
    inputs: tuple[dict[str, Path], schema.Model],
    parts: Parts,
    description: ModelDescription,
    samples: list[Sample],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(images: np.ndarray) -> list[np.ndarray]:
        outputs = [tensor.detach().numpy() for tensor in parts(torch.from_numpy(images))]
        if len(images) < parity.RAW_IMAGES:  # the last of the nine images
            outputs[-1].flat[-1] = value
        return outputs

    monkeypatch.setattr(parity, "_runner", lambda _: run)
    whole = join(export_parts(parts, description))
    write(finish(whole, description), tmp_path / "model.onnx")
    replace(description, files={"fp32": describe_file(tmp_path / "model.onnx")}).write(tmp_path)
    gate = Gate(inputs[0]["champion"], parts, samples, threads=1)
    verdict = gate.judge(whole, tmp_path, FILES["fp32"].judge, max_drop=0.001)
    parity.write_report({"fp32": verdict}, tmp_path)
    report = json.loads((tmp_path / "parity.json").read_text())["fp32"]
    assert not report["passed"]
    assert report["message"] == "its outputs have NaN or infinity"
    assert (report["max_abs_error"], report["max_rel_error"]) == (None, None)


@pytest.mark.parametrize("deviation", [0.0, 2.0])
def test_parity_catches_a_calibration_on_noise(
    deviation: float,
    inputs: tuple[dict[str, Path], schema.Model],
    parts: Parts,
    graphs: Graphs,
    description: ModelDescription,
    samples: list[Sample],
    tmp_path: Path,
) -> None:
    """What a camera sees behind its cap: around 0 for the network, so that all else is cut off."""
    noise = np.random.default_rng(0).normal((124, 116, 104), deviation, (40, 48, 3))
    Image.fromarray(noise.round().astype(np.uint8)).save(tmp_path / "noise.png")
    strangers = [replace(sample, path=tmp_path / "noise.png") for sample in samples]
    whole = join(quantise(graphs, strangers, description.input))
    write(finish(whole, description), tmp_path / "model.onnx")
    replace(description, files={"int8": describe_file(tmp_path / "model.onnx")}).write(tmp_path)
    gate = Gate(inputs[0]["champion"], parts, samples, threads=1)
    verdict = gate.judge(whole, tmp_path, FILES["int8"].judge, max_drop=0.01)
    assert not verdict.passed
    assert (verdict.drop or 0) > 0.3
    assert "fitness" in verdict.message


@pytest.mark.parametrize(("factor", "passed"), [(1.0, True), (0.9, True), (0.4, False)])
def test_parity_catches_scores_that_the_service_would_not_show(
    factor: float, passed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Average precision goes by their order alone."""
    boxes = np.array([[0, 0, 20, 20], [30, 30, 60, 60]], np.float64)
    samples = [
        Sample("x", Path("x"), 100, 100, np.array([0, 1]), boxes, np.zeros(2, bool), np.zeros(2, bool)) for _ in range(4)
    ]

    def evaluated(factor: float) -> Evaluation:
        scores = np.array([0.9, 0.5], np.float32) * np.float32(factor)
        found = [Detections(boxes.astype(np.float32), scores, np.array([0, 1]))] * len(samples)
        measured = detect.measure(samples, found, ("a", "b"))
        metrics = {"fitness": measured.metrics[detect.FITNESS], **measured.metrics}
        return Evaluation("detect", metrics, found, measured)

    engine = SimpleNamespace(description=SimpleNamespace(conf=0.25))
    monkeypatch.setattr(parity.engines, "load", lambda *_: engine)
    monkeypatch.setattr(parity, "evaluate", lambda *_, **__: evaluated(factor))
    gate = Gate.__new__(Gate)
    gate.samples, gate.threads, gate.task, gate.classes, gate.reference = samples, 1, "detect", ("a", "b"), evaluated(1.0)
    verdict = gate.judge(None, tmp_path, FILES["openvino-int8"].judge, max_drop=0.01)
    assert (verdict.passed, verdict.drop) == (passed, 0.0)
    assert verdict.reference_f1 == 1.0
    if not passed:
        assert verdict.message == (
            "f1 0.6667 at the service's threshold of 0.25, expected at most 0.05 below the checkpoint's 1.0000: its scores are "
            "others"
        )


def test_a_failure_of_tensors_alone_is_kept_with_a_script_that_compares_them(
    inputs: tuple[dict[str, Path], schema.Model], graphs: Graphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "export_parts", lambda *_: graphs)
    monkeypatch.setitem(parity.MAX_ERROR, "fp16", 0.0)
    paths = Paths(**inputs[0], model=tmp_path / "model", report=tmp_path / "report")
    export(paths, Config(model=inputs[1], export=EXPORT.model_copy(update={"precisions": ("fp32", "fp16")})))
    verdict = json.loads((paths.report / "parity.json").read_text())["fp16"]
    assert verdict["message"].startswith("outputs differ by ")
    assert "-m" in (paths.report / verdict["reproduce"]).read_text().partition("tasks.export")[0][-20:]


def test_failed_variant_is_left_out_and_kept_in_the_report(
    inputs: tuple[dict[str, Path], schema.Model], graphs: Graphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "export_parts", lambda *_: graphs)
    paths = Paths(**inputs[0], model=tmp_path / "model", report=tmp_path / "report")
    strict = EXPORT.model_copy(update={"precisions": ("fp32", "int8"), "max_drop": {"fp32": 0.001, "int8": -1.0}})
    export(paths, Config(model=inputs[1], export=strict))
    assert sorted(ModelDescription.read(paths.model).files) == ["fp32"]
    assert ModelDescription.read(paths.model).calibration is None
    report = json.loads((paths.report / "parity.json").read_text())
    assert not report["int8"]["passed"]
    assert "fitness" in report["int8"]["message"]
    kept = paths.report / report["int8"]["kept"]
    assert ModelDescription.read(kept).file(kept, "int8").is_file()
    script = paths.report / report["int8"]["reproduce"]
    done = subprocess.run([sys.executable, script], cwd=ROOT, capture_output=True, text=True, check=True)
    checkpoint, file = (line for line in done.stdout.splitlines() if "library" in line)
    assert "'library': 'torch'" in checkpoint
    assert "'precision': 'int8'" in file
    assert "'fitness': " in file


def test_what_cannot_be_made_is_left_out_with_a_script_that_repeats_it(
    inputs: tuple[dict[str, Path], schema.Model], graphs: Graphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise ZeroDivisionError("no range")

    monkeypatch.setattr(stage, "export_parts", lambda *_: graphs)
    for name in ("quantise", "ranked_layers"):
        monkeypatch.setattr(f"tasks.attempts.{name}", fails)
    paths = Paths(**inputs[0], model=tmp_path / "model", report=tmp_path / "report")
    figures = export(paths, Config(model=inputs[1], export=EXPORT.model_copy(update={"precisions": ("fp32", "int8")})))
    assert list(ModelDescription.read(paths.model).files) == ["fp32"]
    assert set(figures) == {"fp32/metric", "fp32/drop"}, "nothing is known of what was not measured"
    verdict = json.loads((paths.report / "parity.json").read_text())["int8"]
    assert verdict["message"] == "ZeroDivisionError: no range"
    assert (verdict["metric"], verdict["drop"]) == (None, None)
    script = paths.report / verdict["reproduce"]
    values = {"model": inputs[1].model_dump(mode="json"), "export": EXPORT.model_dump(mode="json")}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(values))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, script], env=environment, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout[done.stdout.index("{") :])["int8"]["passed"], (
        "nothing is wrong with it in a process of its own"
    )


def test_no_variant_passes_is_an_answer(
    inputs: tuple[dict[str, Path], schema.Model], graphs: Graphs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "export_parts", lambda *_: graphs)
    monkeypatch.setattr(parity, "MAX_ERROR", {"fp32": 0.0})
    paths = Paths(**inputs[0], model=tmp_path / "model", report=tmp_path / "report")
    with pytest.raises(AnswerIsNo, match="no precision passes"):
        export(paths, Config(model=inputs[1], export=EXPORT.model_copy(update={"precisions": ("fp32",)})))
    assert not paths.model.exists()
    assert (paths.report / "parity.json").is_file()
