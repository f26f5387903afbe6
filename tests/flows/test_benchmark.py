"""`sightline benchmark` and `sightline select` on a model of one's own."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from flows.benchmark import _quoted, benchmark, select
from flows.compose import compose_params
from sightline.errors import SightlineError
from tasks.recognise import recognise

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tests" / "tasks"))
FIGURES = {
    "shipped": True,
    "status": "ok",
    "message": "",
    "licence": "MIT",
    "rss_mb": 90.0,
    "size_mb": 3.0,
    "drop": 0.0,
    "fitness": 0.5,
}


@pytest.fixture(autouse=True)
def root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A folder with a benchmark of a classifier."""
    rows: list[dict[str, Any]] = [
        {**FIGURES, "candidate": "onnxruntime-cpu-fp32", "p99_ms": 9.0, "accuracy_top1": 0.9},
        {**FIGURES, "candidate": "onnxruntime-cpu-int8", "p99_ms": 5.0, "accuracy_top1": 0.8},
    ]
    (tmp_path / "benchmark.json").write_text(json.dumps({"model": "resnet18", "task": "classify", "machine": {}, "rows": rows}))
    return tmp_path


@pytest.mark.parametrize(
    ("overrides", "code", "heading"),
    [
        ([], 0, "# onnxruntime-cpu-int8"),
        (["constraints.min.accuracy_top1=0.85"], 0, "# onnxruntime-cpu-fp32"),
        (["constraints.max.p99_ms=1"], 1, "# No candidate meets the constraints"),
    ],
)
def test_select_answers(table: Path, overrides: list[str], code: int, heading: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert select([str(table), *overrides]) == code
    assert capsys.readouterr().out.startswith(heading)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        '{"rows": [], "model": "x", "task": "detect"}',
        '{"rows": [{}], "model": "x", "task": "detect"}',
        '{"rows": [{"candidate": "a", "status": "ok"}], "model": "x", "task": "detect"}',
        '{"rows": [{"candidate": "a", "status": "failed", "message": "x"}]}',
        '{"rows": ["a"], "model": "x", "task": "detect"}',
    ],
)
def test_select_refuses_what_is_no_benchmark(content: str, tmp_path: Path) -> None:
    (tmp_path / "benchmark.json").write_text(content)
    with pytest.raises(SightlineError, match=r"benchmark\.json: no benchmark\.json of the stage"):
        select([str(tmp_path)])


def test_select_refuses_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SightlineError, match="No such file"):
        select([str(tmp_path / "nowhere"), "constraints.max.p99_ms=1"])


def test_benchmark_refuses_what_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "model.onnx", tmp_path):
        with pytest.raises(SightlineError, match="no file, expected a model: name an ONNX file"):
            benchmark([str(path), "--data", str(tmp_path), "--as", "resnet18"])
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(SightlineError, match="nowhere: not there: name a labelled dataset"):
        benchmark([str(tmp_path / "model.onnx"), "--data", str(tmp_path / "nowhere"), "--as", "resnet18"])


def test_benchmark_replaces_nothing_of_others(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    before = (ROOT / "params.yaml").read_bytes()
    for out in (tmp_path, ROOT):
        with pytest.raises(SightlineError, match=r"--out: .* expected a new or empty one"):
            benchmark([str(tmp_path / "model.onnx"), "--data", str(tmp_path), "--as", "resnet18", "--out", str(out)])
    assert (ROOT / "params.yaml").read_bytes() == before


def test_any_path_reaches_the_configuration(tmp_path: Path) -> None:
    path = tmp_path / "it's, (v2) {x} \\ #=1"
    params = yaml.safe_load(compose_params([f"dataset.path={_quoted(path)}", "dataset=folder"], ROOT))
    assert params["dataset"]["path"] == str(path)


def test_select_knows_the_task(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{**FIGURES, "candidate": "onnxruntime-cpu-fp32", "p99_ms": 9.0, "mAP": 0.9}]
    table = {"model": "resnet18", "task": "multilabel", "machine": {}, "rows": rows}
    (tmp_path / "benchmark.json").write_text(json.dumps(table))
    assert select([str(tmp_path), "constraints.min.mAP50=null", "+constraints.min={mAP: 0.8}"]) == 0


@pytest.mark.parametrize("bound", ["+constraints.min={accuracy_top1: 0.85}", "constraints.min.accuracy_top1=0.85"])
def test_select_goes_by_the_columns_of_the_table(table: Path, bound: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A model of one's own has a name of its own, which is in no file of conf/model."""
    content = json.loads((table / "benchmark.json").read_text()) | {"model": "my-net"}
    for row in content["rows"]:
        row |= {"cost_per_million": row["p99_ms"], "batch3_images_s": 5.0}
    (table / "benchmark.json").write_text(json.dumps(content))
    more = ["constraints.objective=cost_per_million", "+constraints.min={batch3_images_s: 1}"]
    assert select([str(table), bound, *more[: 1 + bound.startswith("c")]]) == 0
    assert capsys.readouterr().out.startswith("# onnxruntime-cpu-fp32")


def graph(folder: Path, inputs: dict[str, tuple[int, list[Any]]], outputs: dict[str, list[Any]]) -> Path:
    """An ONNX file of these inputs (type and shape) and outputs; what it computes does not matter."""
    from onnx import TensorProto, helper, save

    values = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()]
    nodes = [helper.make_node("Identity", [next(iter(inputs))], [name]) for name in outputs]
    save(helper.make_model(helper.make_graph(nodes, "any", values, ends)), folder / "My model(1).onnx")
    return folder / "My model(1).onnx"


UINT8, FLOAT = 2, 1  # of onnx.TensorProto
CONTRACT = {"images": (UINT8, ["N", 96, 96, 3])}
CONF = {"conf": (FLOAT, [1])}


@pytest.mark.parametrize(
    ("inputs", "outputs", "expected"),
    [
        (CONTRACT, {"probabilities": ["N", 3]}, ["model=resnet18", "model.task=classify", "model.imgsz=96"]),
        (CONTRACT | CONF, {"probabilities": ["N", 3]}, ["model=resnet18", "model.task=multilabel", "model.imgsz=96"]),
        (CONTRACT, {"class_map": ["N", 96, 96]}, ["model=fcn_resnet50", "model.task=semantic", "model.imgsz=96"]),
        (
            CONTRACT | CONF,
            {"boxes": ["N", 300, 4], "scores": ["N", 300], "labels": ["N", 300]},
            ["model=retinanet", "model.task=detect", "model.imgsz=96", "model.max_det=300"],
        ),
        (
            CONTRACT | CONF,
            {"boxes": ["N", 100, 4], "scores": ["N", 100], "labels": ["N", 100], "masks": ["N", 100, 28, 28]},
            ["model=mask_rcnn", "model.task=segment", "model.imgsz=96", "model.max_det=100"],
        ),
        (
            {"images": (FLOAT, [1, 3, 64, 64])},
            {"output0": [1, 39, 84], "output1": [1, 32, 16, 16]},
            ["model=yolov8n-seg", "model.imgsz=64"],
        ),
        ({"input": (FLOAT, [1, 3, 64, 64])}, {"output": [1, 7, 84]}, ["model=yolov8n", "model.imgsz=64"]),
        ({"input": (FLOAT, ["N", 3, "H", "W"])}, {"output": ["N", 7]}, ["model=resnet18"]),
    ],
)
def test_a_graph_says_what_it_is(
    tmp_path: Path, inputs: dict[str, tuple[int, list[Any]]], outputs: dict[str, list[Any]], expected: list[str]
) -> None:
    found = recognise(graph(tmp_path, inputs, outputs))
    assert set(found) == {*expected, "model.name=My-model-1-", "model.licence=NOASSERTION"}
    assert yaml.safe_load(compose_params(found, ROOT))["model"]["licence"] == "NOASSERTION"


def test_an_ultralytics_classifier_says_so_in_its_metadata(tmp_path: Path) -> None:
    path = graph(tmp_path, {"images": (FLOAT, [1, 3, 64, 64])}, {"output0": [1, 7]})
    import onnx

    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"task": "classify", "stride": "1"})
    onnx.save(model, path)
    assert {"model=yolov8n-cls", "model.imgsz=64"} <= set(recognise(path))


def test_a_graph_of_another_form_has_to_be_named(tmp_path: Path) -> None:
    path = graph(tmp_path, {"a": (FLOAT, [1, 3, 64, 64]), "b": (FLOAT, [1])}, {"c": [1, 2], "d": [1]})
    with pytest.raises(SightlineError, match="got inputs a, b and outputs c, d, which is no known form: name its architecture"):
        recognise(path)
    (tmp_path / "model.pt").write_bytes(b"x")
    with pytest.raises(SightlineError, match=r"weights do not say their architecture: name it, e\.g\. --as"):
        benchmark([str(tmp_path / "model.pt"), "--data", str(tmp_path)])


@pytest.mark.slow
def test_a_model_of_ones_own_is_measured_and_chosen_from(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    import tiny

    from tasks.export import Config, Paths, export
    from tasks.schema import Export
    from tasks.tables import Dataset

    raw, root = tiny.write_dataset(tmp_path)
    dataset = Dataset.read(raw, root)
    model = tiny.write_classifier(tmp_path / "champion", dataset)
    paths = Paths(
        raw=raw, dataset=root, champion=tmp_path / "champion", model=tmp_path / "exported", report=tmp_path / "report"
    )
    settings = Export(precisions=("fp32",), conf=0.3, calibration_images=1, parity_images=9, max_drop={"fp32": 0.1})
    export(paths, Config(model=model, export=settings))
    for split in ("train", "val", "test"):
        for sample in dataset.samples(split if split != "test" else "val"):
            folder = tmp_path / "data" / split / dataset.classes[int(sample.labels[0])]
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(sample.path, folder / f"{split}-{sample.path.name}")
    arguments = [str(tmp_path / "exported" / "model.onnx"), "--data", str(tmp_path / "data")]
    small = [
        "benchmark.samples=9",
        "benchmark.settle_s=0",
        "validate.on_error=quarantine",
        "hardware.candidates=[onnxruntime-cpu-fp32]",
    ]
    assert benchmark([*arguments, "--out", str(tmp_path / "out"), *small]) == 0, capfd.readouterr()
    assert "| onnxruntime-cpu-fp32 | 1.0" in capfd.readouterr().out
    chosen = tmp_path / "chosen"
    assert select([str(tmp_path / "out" / "reports" / "benchmark"), "constraints.max.drop=1", "--out", str(chosen)]) == 0
    assert {path.name for path in chosen.iterdir()} == {"selection.md", "selection.json", "accuracy_latency.png"}
    assert capfd.readouterr().out.startswith("# onnxruntime-cpu-fp32")
