"""A user's own model from its file to the rows of the benchmark, and as the start of a training."""

import copy
import hashlib
import json
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnxruntime import InferenceSession
from safetensors.torch import save_file

from sightline import engines
from sightline.contract import ModelDescription
from sightline.errors import SightlineError
from sightline.preprocess import decode, prepare_batch
from tasks import benchmark, config_checks, evolve, export, models, schema, train
from tasks.evaluate import evaluate_checkpoint
from tasks.graph import export_parts, finish, join, write
from tasks.models import WEIGHTS_FILE
from tasks.provenance import METADATA_FILE
from tasks.recognise import recognise
from tasks.tables import Dataset

sys.path.insert(0, str(Path(__file__).parent))
import tiny
import tiny_data

pytestmark = pytest.mark.timeout(300)
EXPORT = schema.Export(
    precisions=("fp32", "int8"), conf=0.3, calibration_images=6, parity_images=3, max_drop={"fp32": 0.001, "int8": 1.0}
)
CANDIDATES = ("onnxruntime-cpu-fp32", "onnxruntime-cpu-int8")


def own(config: schema.Model, path: Path, setting: str = "weights", **values: Any) -> schema.Model:
    """conf/model with a file of the user's own."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return schema.parse(schema.Model, {**config.model_dump(), setting: str(path), f"{setting}_sha256": digest, **values})


def run(folder: Path, dataset: Dataset, model: schema.Model, recipe: schema.Train, to: str = "benchmark") -> Any:
    """The stages from train to `to`; what the last returned."""
    fingerprint = folder / "fingerprint"
    fingerprint.mkdir(parents=True)
    (fingerprint / METADATA_FILE).write_text(json.dumps({"task": model.task}))
    data = {"raw": dataset.raw, "dataset": dataset.root}
    baseline, champion, exported = folder / "baseline", folder / "champion", folder / "exported"
    for work in ("train", "evolve"):
        (folder / "work" / work).mkdir(parents=True)
    paths = train.Paths(**data, fingerprint=fingerprint, model=baseline, report=folder / "t", work=folder / "work" / "train")
    first = train.train(paths, train.Config(model=model, train=recipe))
    if to == "train":
        return first
    strategy = schema.Strategy(name="random", trials=3, epochs=1, seed=0, final_fit=False, gate_share=0.5)
    space: dict[str, Any] = {"lr0": schema.Float(type="float", low=1e-4, high=1e-2)}
    metrics = evolve.evolve(
        evolve.Paths(**data, baseline=baseline, model=champion, report=folder / "e", work=folder / "work" / "evolve"),
        evolve.Config(model=model, train=recipe, space=space, strategy=strategy),
    )
    assert metrics["best_trial"] == 0, "the user's own model is not trained"
    assert (champion / WEIGHTS_FILE).read_bytes() == (baseline / WEIGHTS_FILE).read_bytes()
    assert metrics["fitness"] == first["fitness"]
    export.export(
        export.Paths(**data, champion=champion, model=exported, report=folder / "x"), export.Config(model=model, export=EXPORT)
    )
    benchmark.benchmark(
        benchmark.Paths(**data, champion=champion, exported=exported, parity=folder / "x" / "parity.json", report=folder / "b"),
        benchmark.Config(
            model=model,
            export=EXPORT,
            benchmark=schema.Benchmark(
                samples=5, p99_error=1.0, settle_s=0, warmup=1, batches=(2,), screen=True, timeout_s=120, memory_mb=8000
            ),
            hardware=schema.Hardware(
                threads=(1,), batches=(1,), streams=(), machine="any", price_per_hour=None, candidates=CANDIDATES
            ),
        ),
    )
    rows = json.loads((folder / "b" / "benchmark.json").read_text())["rows"]
    assert [(row["candidate"], row["status"]) for row in rows] == [(name, "ok") for name in ("pytorch-fp32", *CANDIDATES)]
    return {row["candidate"]: row for row in rows}


# Classification


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, schema.Model, Path]:
    """Coloured squares, and a checkpoint that knows them."""
    folder = tmp_path_factory.mktemp("squares")
    dataset = Dataset.read(*tiny.write_dataset(folder))
    return dataset, tiny.write_classifier(folder / "checkpoint", dataset), folder / "checkpoint" / WEIGHTS_FILE


def logits_onnx(config: schema.Model, dataset: Dataset, weights: Path, path: Path, batch: bool) -> None:
    """The network as torch.onnx.export writes it: normalised float32 in, logits out."""
    core = models.load(config, dataset.classes).parts(weights).core
    example = torch.zeros(2 if batch else 1, 3, config.imgsz, config.imgsz)
    shapes = ({0: torch.export.Dim("batch")},) if batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(core, (example,), path, dynamo=True, dynamic_shapes=shapes, external_data=False, verbose=False)


@pytest.mark.parametrize(
    "kind", ["safetensors", "pt", "trusted", pytest.param("onnx", marks=pytest.mark.slow), "onnx of any batch", "contract"]
)
def test_classifier_knows_what_it_knew(kind: str, squares: tuple[Dataset, schema.Model, Path], tmp_path: Path) -> None:
    dataset, config, weights = squares
    path, values = tmp_path / "own.onnx", {}
    if kind == "safetensors":
        save_file(torch.load(weights), path := tmp_path / "own.safetensors")
    elif kind == "pt":
        path = weights
    elif kind == "trusted":
        torch.save(models.load(config, dataset.classes).parts(weights).core, path := tmp_path / "own.pt")
        values = {"trust_pickle": True}
    elif kind == "contract":
        write(contract_graph(config, dataset, weights), path)
    else:
        logits_onnx(config, dataset, weights, path, batch=kind != "onnx")
    family = models.load(own(config, path, **values), dataset.classes)
    family.adopt(tmp_path / WEIGHTS_FILE)
    family.describe(tmp_path)
    assert evaluate_checkpoint(tmp_path, dataset.samples("val"), "test").metrics["fitness"] == 1.0


def contract_graph(config: schema.Model, dataset: Dataset, weights: Path) -> onnx.ModelProto:
    """The graph that this project exports."""
    family = models.load(config, dataset.classes)
    return whole(family.parts(weights), family.description())


@pytest.mark.slow
def test_classifier_goes_straight_to_the_benchmark(squares: tuple[Dataset, schema.Model, Path], tmp_path: Path) -> None:
    dataset, config, weights = squares
    logits_onnx(config, dataset, weights, tmp_path / "own.onnx", batch=False)
    rows = run(tmp_path / "run", dataset, own(config, tmp_path / "own.onnx"), tiny_data.recipe("resnet"))
    assert [row["fitness"] for row in rows.values()] == [1.0] * 3, "the checkpoint knows its colours"
    assert (tmp_path / "run/t/results.csv").read_text().splitlines() == ["epoch,train/loss"]
    assert (tmp_path / "run/t/confusion_matrix.png").is_file()


def test_the_same_file_gives_the_same_bytes(squares: tuple[Dataset, schema.Model, Path], tmp_path: Path) -> None:
    dataset, config, weights = squares
    logits_onnx(config, dataset, weights, tmp_path / "own.onnx", batch=False)
    family = models.load(own(config, tmp_path / "own.onnx"), dataset.classes)
    for name in "ab":
        family.adopt(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_start_is_used(squares: tuple[Dataset, schema.Model, Path], tmp_path: Path) -> None:
    dataset, config, weights = squares
    save_file(torch.load(weights), tmp_path / "own.safetensors")
    recipe = tiny_data.recipe("resnet", epochs=1, lr0=1e-9, augment={}, optimizer="SGD")
    recipe = recipe.model_copy(update={"batch": 12})
    run(tmp_path / "run", dataset, own(config, tmp_path / "own.safetensors", "pretrained"), recipe, to="train")
    got, expected = torch.load(tmp_path / "run" / "baseline" / WEIGHTS_FILE), torch.load(weights)
    assert torch.allclose(got["layer4.1.conv2.weight"], expected["layer4.1.conv2.weight"], atol=1e-5)


def test_weights_of_other_classes_are_refused_with_the_way_out(
    squares: tuple[Dataset, schema.Model, Path], tmp_path: Path
) -> None:
    dataset, config, weights = squares
    family = models.load(own(config, weights), (*dataset.classes, "another"))
    with pytest.raises(SightlineError, match=r"not resnet18 with 4 classes: .*start a training from them"):
        family.adopt(tmp_path / "out.pt")


def test_graph_of_other_classes_is_refused(squares: tuple[Dataset, schema.Model, Path], tmp_path: Path) -> None:
    dataset, config, weights = squares
    path = tmp_path / "own.onnx"
    logits_onnx(config, dataset, weights, path, batch=False)
    with pytest.raises(SightlineError, match=r"got outputs \(N, 3\), which are not those of resnet18 for 4 classes"):
        models.load(own(config, path), (*dataset.classes, "another")).adopt(tmp_path / "out.pt")
    model = onnx.load(path)
    onnx.helper.set_model_props(model, {"names": "{0: 'red', 1: 'green', 2: 'blue'}"})
    onnx.save(model, path)
    with pytest.raises(SightlineError, match=r"its classes are red, green, blue, the dataset's blue, green, red"):
        models.load(own(config, path), dataset.classes).adopt(tmp_path / "out.pt")


def test_a_graph_is_not_trained(squares: tuple[Dataset, schema.Model, Path], tmp_path: Path) -> None:
    dataset, config, weights = squares
    logits_onnx(config, dataset, weights, tmp_path / "own.onnx", batch=False)
    family = models.load(own(config, tmp_path / "own.onnx"), dataset.classes)

    def on_epoch(epoch: int, losses: Mapping[str, float]) -> None:
        raise AssertionError

    with pytest.raises(SightlineError, match="an ONNX graph is not trained"):
        family.fit(dataset, tiny_data.recipe("resnet"), start=None, work=tmp_path, out=tmp_path / "out.pt", on_epoch=on_epoch)


def test_another_file_than_that_of_the_checksum_is_refused(squares: tuple[Dataset, schema.Model, Path], tmp_path: Path) -> None:
    dataset, config, weights = squares
    (tmp_path / "own.pt").write_bytes(weights.read_bytes())
    model = own(config, tmp_path / "own.pt")
    (tmp_path / "own.pt").write_bytes(b"another")
    with pytest.raises(SightlineError, match=r"model\.weights: .*own\.pt: got SHA-256 .*, expected"):
        models.load(model, dataset.classes).adopt(tmp_path / "out.pt")
    (tmp_path / "own.pt").unlink()
    with pytest.raises(SightlineError, match=r"model\.weights: .*own\.pt: not there"):
        models.load(model, dataset.classes).adopt(tmp_path / "out.pt")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"weights": "a.pt"}, "needs the file's checksum"),
        (
            {"weights": "a.pt", "weights_sha256": "0" * 64, "pretrained": "b.pt", "pretrained_sha256": "0" * 64},
            "set one to null",
        ),
        ({"pretrained": "a.onnx", "pretrained_sha256": "0" * 64}, r"set model\.weights"),
        ({"trust_pickle": True}, "no pickle"),
        ({"trust_pickle": True, "weights": "a.onnx", "weights_sha256": "0" * 64}, "no pickle"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SightlineError, match=message):
        schema.parse(schema.Model, {**tiny_data.conf("resnet")["model"], **values})
    assert config_checks.declared(tiny_data.model("resnet"))


# Detection


@pytest.fixture(scope="module")
def boxes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Dataset, schema.Model]:
    return tiny_data.dataset(tmp_path_factory.mktemp("boxes"), "detect"), tiny_data.model("yolov8")


def detector(config: schema.Model, classes: tuple[str, ...]) -> Any:
    """Ultralytics' network with random weights that finds something."""
    from tasks.models import _ultralytics

    torch.manual_seed(0)
    network = _ultralytics.build(config, classes)
    network.names = dict(enumerate(classes))
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0  # its statistics become those of one batch, so that no two scores are alike
    with torch.no_grad():
        network.train()(torch.rand(4, 3, config.imgsz, config.imgsz))
        for branch in network.model[-1].cv3:
            branch[-1].bias.fill_(-1)
    return network.eval()


def ultralytics_onnx(network: Any, config: schema.Model, folder: Path, dynamic: bool) -> Path:
    """The network as `yolo export format=onnx` writes it into the current folder."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ultralytics import YOLO

        library = YOLO(f"{config.arch}.yaml")
        settings, library.model = library.model.args, copy.deepcopy(network)
        library.model.args, library.model.task = settings, config.task
        path = library.export(format="onnx", imgsz=config.imgsz, dynamic=dynamic, simplify=False)
    return (folder / path).resolve()


def assert_same_detections(got: Mapping[str, Any], network: Any, images: Any, config: schema.Model) -> None:
    """Boxes, scores and labels are those of Ultralytics' own network and NMS."""
    from ultralytics.utils.nms import non_max_suppression

    with torch.inference_mode():
        raw = network(torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255)
    found = non_max_suppression(raw, conf_thres=0.25, iou_thres=config.iou, multi_label=True, max_det=config.max_det)
    assert sum(len(item) for item in found) > 10
    for index, expected in enumerate(found):
        count = int((got["scores"][index] > 0).sum())
        assert count == len(expected)
        np.testing.assert_allclose(got["scores"][index, :count], expected[:, 4], rtol=1e-3)
        for box, score, label in zip(*(got[name][index, :count] for name in ("boxes", "scores", "labels")), strict=True):
            near = expected[((expected[:, 4] - float(score)).abs() < 1e-3) & (expected[:, 5] == float(label))]
            assert (near[:, :4] - torch.from_numpy(np.array(box))).abs().amax(1).min() < 0.1, "pixels, of boxes of up to 800"


@pytest.mark.parametrize("dynamic", [False, True])
def test_ultralytics_graph_finds_what_ultralytics_finds(
    dynamic: bool, boxes: tuple[Dataset, schema.Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, config = boxes
    network = detector(config, dataset.classes)
    monkeypatch.chdir(tmp_path)
    model = own(config, ultralytics_onnx(network, config, tmp_path, dynamic))
    family = models.load(model, dataset.classes)
    family.adopt(tmp_path / WEIGHTS_FILE)
    family.describe(tmp_path)
    images, _ = prepare_batch([decode(each.path.read_bytes()) for each in dataset.samples("val")], family.description().input)
    got = engines.load("pytorch-fp32", tmp_path, package="tasks.engines").run(images, 0.25)
    assert_same_detections(got, network, images, config)


@pytest.mark.parametrize("dynamic", [False, True])
def test_ultralytics_graph_of_masks_makes_the_masks_of_its_weights(
    dynamic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checkpoint's own graph is compared with Ultralytics' masks in test_ultralytics_segment.py."""
    config = tiny_data.model("yolov8_seg")
    network = detector(config, tiny_data.CLASSES)
    torch.save(network.state_dict(), tmp_path / "first.pt")
    monkeypatch.chdir(tmp_path)
    path = ultralytics_onnx(network, config, tmp_path, dynamic)
    assert "model=yolov8n-seg" in recognise(path)
    assert (f"model.imgsz={config.imgsz}" in recognise(path)) != dynamic
    family = models.load(own(config, path), tiny_data.CLASSES)
    family.adopt(tmp_path / "second.pt")
    assert_same_parts(
        family.parts(tmp_path / "second.pt"), models.load(config, tiny_data.CLASSES).parts(tmp_path / "first.pt"), config
    )


@pytest.mark.parametrize("dynamic", [False, True])
def test_ultralytics_classifier_is_not_taken_for_torchvisions(
    dynamic: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pixels of 0-1 and probabilities, not normalised pixels and logits."""
    from tasks.models import _ultralytics

    config = tiny_data.model("yolo_cls")
    torch.manual_seed(0)
    network = _ultralytics.build(config, tiny_data.CLASSES).eval()
    network.names = dict(enumerate(tiny_data.CLASSES))
    network.model[-1].linear.weight.data *= 30  # far from a half
    torch.save(network.state_dict(), tmp_path / "first.pt")
    monkeypatch.chdir(tmp_path)
    path = ultralytics_onnx(network, config, tmp_path, dynamic)
    assert "model=yolov8n-cls" in recognise(path)
    family = models.load(own(config, path), tiny_data.CLASSES)
    family.adopt(tmp_path / "second.pt")
    assert_same_parts(
        family.parts(tmp_path / "second.pt"), models.load(config, tiny_data.CLASSES).parts(tmp_path / "first.pt"), config
    )


def assert_same_parts(got: models.Parts, expected: models.Parts, config: schema.Model) -> None:
    """Both find the same in images before NMS, and make the same masks of the same boxes."""
    torch.manual_seed(0)
    images = torch.randint(0, 256, (3, config.imgsz, config.imgsz, 3), dtype=torch.uint8)
    with torch.inference_mode():
        after, before = got(images), expected(images)
        for one, two in zip(after, before, strict=True):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-2)
        assert (got.masks is None) == (expected.masks is None) == (config.task != "segment")
        if got.masks and expected.masks:
            boxes = (torch.rand(3, config.max_det, 2, 2).sort(dim=2).values * config.imgsz).flatten(2)
            labels = torch.zeros(3, config.max_det, dtype=torch.int64)
            anchors = torch.randint(0, before[1].shape[2], (3, config.max_det))
            one, two = (masks(boxes, labels, anchors, *before[2:]).int() for masks in (got.masks, expected.masks))
            assert two.float().std() > 1
            assert (one - two).abs().max() <= 1


@pytest.mark.slow
def test_ultralytics_graph_goes_straight_to_the_benchmark(
    boxes: tuple[Dataset, schema.Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset, config = boxes
    network = detector(config, dataset.classes)
    monkeypatch.chdir(tmp_path)
    model = own(config, ultralytics_onnx(network, config, tmp_path, dynamic=False))
    monkeypatch.chdir(tiny_data.ROOT)
    run(tmp_path / "run", dataset, model, tiny_data.recipe("yolov8"))
    folder = tmp_path / "run" / "exported"
    spec = ModelDescription.read(folder).input
    images, _ = prepare_batch([decode(each.path.read_bytes()) for each in dataset.samples("val")], spec)
    assert_same_detections(engines.load("onnxruntime-cpu-fp32", folder).run(images, 0.25), network, images, config)


@pytest.mark.parametrize("setting", ["weights", pytest.param("pretrained", marks=pytest.mark.slow)])
def test_ultralytics_checkpoint_is_taken_when_it_is_trusted(
    setting: str, boxes: tuple[Dataset, schema.Model], tmp_path: Path
) -> None:
    dataset, config = boxes
    network = detector(config, dataset.classes)
    path = tmp_path / "best.pt"
    half = copy.deepcopy(network).half()
    torch.save({"epoch": -1, "model": half, "ema": None, "optimizer": None, "train_args": {"imgsz": 64}}, path)
    recipe = tiny_data.recipe("yolov8", epochs=1, lr0=1e-9, optimizer="SGD")
    with pytest.raises(SightlineError, match=r"model\.trust_pickle=true"):
        run(tmp_path / "refused", dataset, own(config, path, setting), recipe, to="train")
    run(tmp_path / "run", dataset, own(config, path, setting, trust_pickle=True), recipe, to="train")
    got = torch.load(tmp_path / "run" / "baseline" / WEIGHTS_FILE)
    expected = half.float().state_dict()
    name = "model.22.cv3.0.2.weight"
    assert torch.allclose(got[name], expected[name], atol=1e-4)
    assert got[name].dtype == torch.float32


def test_contract_graph_of_a_detector_is_taken_before_its_nms(boxes: tuple[Dataset, schema.Model], tmp_path: Path) -> None:
    dataset, config = boxes
    weights, path = tmp_path / "first.pt", tmp_path / "own.onnx"
    torch.save(detector(config, dataset.classes).state_dict(), weights)
    write(contract_graph(config, dataset, weights), path)
    family = models.load(own(config, path), dataset.classes)
    family.adopt(tmp_path / "second.pt")
    first, second = models.load(config, dataset.classes).parts(weights), family.parts(tmp_path / "second.pt")
    images = torch.randint(0, 256, (3, config.imgsz, config.imgsz, 3), dtype=torch.uint8)
    with torch.inference_mode():
        for one, two in zip(first(images), second(images), strict=True):
            torch.testing.assert_close(one, two, rtol=1e-3, atol=1e-2)  # pixels
    again = finish(join(export_parts(second, family.description())), family.description())
    assert sum(node.op_type == "NonMaxSuppression" for node in again.graph.node) == 1


def whole(parts: models.Parts, description: ModelDescription) -> onnx.ModelProto:
    """The graph that this project exports of parts."""
    graphs = export_parts(parts, description)
    return finish(join(graphs), description, graphs.masks)


@pytest.mark.parametrize(
    ("file", "task"),
    [
        pytest.param("resnet", "multilabel", marks=pytest.mark.slow),
        ("fast_scnn", "semantic"),
        pytest.param("yolov8_seg", "segment", marks=pytest.mark.slow),
        pytest.param("yolo26_seg", "segment", marks=pytest.mark.slow),
        pytest.param("faster_rcnn", "detect", marks=pytest.mark.slow),
        pytest.param("mask_rcnn", "segment", marks=pytest.mark.slow),
    ],
)
def test_contract_graph_is_taken_before_its_end(file: str, task: str, tmp_path: Path) -> None:
    config, classes = tiny_data.model(file).model_copy(update={"task": task}), tiny_data.CLASSES
    first, path = models.load(config, classes), tmp_path / "own.onnx"
    torch.manual_seed(0)
    torch.save(random_weights(first), tmp_path / "first.pt")
    parts = first.parts(tmp_path / "first.pt")
    expected = whole(parts, first.description())
    write(expected, path)
    second = models.load(own(config, path), classes)
    second.adopt(tmp_path / "second.pt")
    taken = second.parts(tmp_path / "second.pt")
    if not file.endswith("rcnn"):  # whose proposals with equal scores come in another order from PyTorch
        assert_same_parts(taken, parts, config)
    again = whole(taken, second.description())
    for value, other in zip(
        [*again.graph.input, *again.graph.output], [*expected.graph.input, *expected.graph.output], strict=True
    ):
        assert (value.name, value.type) == (other.name, other.type)
    images = np.random.default_rng(0).integers(0, 256, (3, config.imgsz, config.imgsz, 3), np.uint8)
    fed = {"images": images, "conf": np.array([0.01], np.float32)}
    before, after = (
        InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {value.name: fed[value.name] for value in graph.graph.input}
        )
        for graph in (expected, again)
    )
    assert before[0].std() > 0 or task == "semantic"
    for one, two in zip(before, after, strict=True):
        rounded = 1.0 if one.dtype == np.uint8 else 1e-3
        np.testing.assert_allclose(two.astype(np.float64), one.astype(np.float64), rtol=1e-3, atol=rounded)


@pytest.mark.slow
def test_contract_graph_of_masks_goes_straight_to_the_benchmark(tmp_path: Path) -> None:
    config, path = tiny_data.model("yolov8_seg"), tmp_path / "own.onnx"
    dataset = tiny_data.dataset(tmp_path / "data", "segment")
    torch.save(random_weights(models.load(config, dataset.classes)), tmp_path / "first.pt")
    write(contract_graph(config, dataset, tmp_path / "first.pt"), path)
    assert {"model=mask_rcnn", "model.task=segment", "model.max_det=100", "model.iou=0.7"} <= set(recognise(path))
    rows = run(tmp_path / "run", dataset, own(tiny_data.model("mask_rcnn"), path, iou=0.7), tiny_data.recipe("mask_rcnn"))
    assert abs(rows["onnxruntime-cpu-fp32"]["mAP50"] - rows["pytorch-fp32"]["mAP50"]) < 0.01


def random_weights(family: models.Family) -> Mapping[str, torch.Tensor]:
    from tasks.models import _lightning

    is_lightning = isinstance(family, _lightning.Family)
    network = family.build() if is_lightning else detector(family.config, family.classes)
    state: Mapping[str, torch.Tensor] = network.state_dict()
    return state


def test_masks_of_another_making_or_number_are_refused(tmp_path: Path) -> None:
    config, path = tiny_data.model("yolov8_seg"), tmp_path / "own.onnx"
    first = models.load(config, tiny_data.CLASSES)
    torch.manual_seed(0)
    torch.save(random_weights(first), tmp_path / "first.pt")
    graph = whole(first.parts(tmp_path / "first.pt"), first.description())
    write(graph, path)
    fewer = own(config, path).model_copy(update={"max_det": 7})
    with pytest.raises(SightlineError, match=r"model\.max_det: got 7, expected 100, whose masks .*own\.onnx makes: set it"):
        models.load(fewer, tiny_data.CLASSES).adopt(tmp_path / "second.pt")
    renamed = onnx.ModelProto.FromString(graph.SerializeToString())
    for node in renamed.graph.node:
        for names in (node.input, node.output):
            names[:] = [name.replace("feature_", "another_") for name in names]
    del renamed.graph.value_info[:]
    path.write_bytes(renamed.SerializeToString())
    with pytest.raises(SightlineError, match="masks that are not made as this project's export makes them: give the model's"):
        models.load(own(config, path), tiny_data.CLASSES).adopt(tmp_path / "second.pt")


def test_graph_with_nms_inside_is_refused(boxes: tuple[Dataset, schema.Model], tmp_path: Path) -> None:
    dataset, config = boxes
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("ReduceMean", ["images"], ["mean"], keepdims=1),
        helper.make_node("Expand", ["mean", "shape"], ["wide"]),
        helper.make_node("Squeeze", ["wide", "axis"], ["output0"]),
    ]
    weights = [
        helper.make_tensor("shape", TensorProto.INT64, [4], [1, 1, 300, 6]),
        helper.make_tensor("axis", TensorProto.INT64, [1], [1]),
        helper.make_tensor("axes", TensorProto.INT64, [3], [1, 2, 3]),
    ]
    nodes[0].input.append("axes")
    graph = helper.make_graph(
        nodes,
        "end to end",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, config.imgsz, config.imgsz])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, [1, 300, 6])],
        weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), tmp_path / "own.onnx")
    with pytest.raises(SightlineError, match=r"got outputs \(N, 300, 6\), .* for 2 classes: export it without NMS"):
        models.load(own(config, tmp_path / "own.onnx"), dataset.classes).adopt(tmp_path / "out.pt")
