"""conf/ and params.yaml."""

import json
from pathlib import Path

import pytest
import yaml

from flows.compose import compose_params, write_params
from sightline.errors import SightlineError
from tasks.constraints import LISTED
from tasks.schema import Dataset, Train, parse
from tasks.sources import source_digest


def test_committed_params_are_the_defaults(root: Path) -> None:
    composed = compose_params([], root)
    assert (root / "params.yaml").read_text() == composed, "run `sightline compose` and commit params.yaml"


@pytest.mark.parametrize(
    "group", ["dataset", "model", "strategy", "constraints", "hardware", "executor", "storage", "tracking"]
)
def test_every_option_of_every_group_composes(root: Path, group: str) -> None:
    needs = {
        "folder": ["dataset.path=photos"],
        "zip": ["dataset.path=photos.zip"],
        "s3": ["storage.url=s3://bucket/x"] if group == "storage" else ["dataset.path=s3://bucket/x"],
        "http": ["dataset.path=https://example.org/x.zip", f"dataset.sha256={'0' * 64}"],
    }
    options = sorted(path.stem for path in (root / "conf" / group).glob("*.yaml"))
    assert options
    for option in options:
        assert compose_params([f"{group}={option}", *needs.get(option, [])], root)


def test_each_model_states_its_whole_recipe(root: Path) -> None:
    """A key that a file leaves out could not be overridden."""
    sections = {path: yaml.safe_load(path.read_text()) for path in sorted((root / "conf").glob("*/*.yaml"))}
    keys = {path: set(section.get("train", ())) for path, section in sections.items()}
    hardware = [found for path, found in keys.items() if path.parent.name == "hardware"]
    models = {path.stem: found for path, found in keys.items() if path.parent.name == "model"}
    assert len(models) > 20
    assert all(found == hardware[0] for found in hardware)
    for name, found in models.items():
        assert found == set(Train.model_fields) - hardware[0], name


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["+train.epcohs=5"], "did you mean train.epochs?"),
        (["train.epochs=abc"], "train.epochs: got 'abc'"),
        (["train.epochs=0"], "greater than or equal to 1"),
        (["~train.ema"], "train.ema: missing, expected a value"),
        (["model=resnet19"], "resnet18"),
        (["dataset=folder"], "set dataset.path="),
        (["storage=s3"], "set storage.url=s3://"),
        (["+constraints.maximum.p99_ms=3"], "did you mean constraints.max?"),
        (["model.file=../../etc/passwd"], "model.file"),
        (["train.balance=weights"], "train.balance: got weights: expected one of none, sampler"),
        (["model=mask_rcnn", "train.balance=weights"], "train.balance: got weights: expected one of none, sampler"),
        (["model=yolov8n-cls", "train.balance=weights"], "train.balance: got weights: expected one of none, sampler"),
        (["train.rare=0"], "train.rare: got 0"),
        (["train.precision=fp16"], "train: precision fp16 got device cpu, expected cuda"),
        (["hardware=gpu", "train.device=cuda:1", "train.devices=2"], "expected cpu or cuda, without a number"),
        (["model.file=nope"], "model.file: got nope: expected one of "),
        (["strategy.name=nope"], "expected one of one_plus_one, random"),
        (["tracking.wandbb=true"], "did you mean tracking.wandb?"),
        (["tracking.wandb=maybe"], "tracking.wandb: got 'maybe'"),
        (["hardware.candidates=[nope-fp32]"], "hardware.candidates: got nope-fp32"),
        (["hardware.candidates=[pytorch]"], "hardware.candidates: got pytorch: expected"),
        (["hardware.candidates=[openvino-cpu-int9-t2]"], "got openvino-cpu-int9-t2: expected"),
        (["hardware.candidates=[openvino-cpu-int8-t1]"], "got openvino-cpu-int8-t1, expected openvino-cpu-int8 and then -t2"),
        (["hardware.candidates=[openvino-cpu-int8-s300]"], "-s1 to -s256 streams"),
        (["hardware.candidates=[openvino-cpu-int8-s99999]"], "got openvino-cpu-int8-s99999: expected"),
        (["transform.val=0.6", "transform.test=0.6"], "leave nothing to train on"),
        (["space.lr0.low=5"], "expected low < high"),
        (["+space.lr0.hgih=1"], "space.lr0.hgih: unknown key: did you mean space.lr0.high?"),
        (["+space.lrO={type: float, low: 0.1, high: 0.2}"], "space: got lrO: expected one of epochs, "),
        (["export.precisions=[fp8]"], "export.precisions"),
        (["export.precisions=[]"], "export.precisions"),
        (["space.momentum.high=1.5"], "space.momentum: got 1.5"),
        (["constraints.min.accuracy_top1=0.9"], "constraints.min: got accuracy_top1: expected one of p50_ms"),
        (["~export.max_drop.int8"], "set export.max_drop.int8"),
        (["+constraints.max.p99=20"], "constraints.max: got p99: expected one of p50_ms"),
        (["+constraints.max.p99_m=20"], "did you mean p99_ms?"),
        (["constraints.max.p95_ms=20"], "another column is added: '+constraints.max={p95_ms: ...}'"),
        (["model=resnet18", "train.optimizer=MuSGD"], "train.optimizer: got MuSGD: expected one of SGD, AdamW"),
        (["dataset.source=generate", "dataset.path=x"], "dataset.source: got generate: expected one of folder, generated"),
        (["dataset.format=kitti"], "dataset.format: got kitti"),
        (["model.library=nope"], "model.library: got nope"),
        (["model.imgsz=250"], "expected a multiple of 32"),
        (["model=yolov8n-seg", "model.max_det=300"], "model.max_det: got 300, expected at most 100"),
        (["model=ssd300", "model.imgsz=320"], "model.imgsz: got 320: expected one of 300"),
        (["model.arch=yolov8q"], "did you mean yolov8"),
        (["+train.augment.mosiac=1"], "did you mean mosaic?"),
        (["+space.device={type: choice, values: [cpu]}"], "space: got device: expected one of"),
        (["train.epochs=true"], "train.epochs: got True: expected a number"),
        (["train.augment.fliplr=true"], "expected a number"),
        (["model.pretrained=x.pt"], "set model.pretrained_sha256="),
        (["package.name=${oc.env:HOME}"], "an interpolation"),
    ],
)
def test_a_wrong_override_is_named_with_what_was_expected(root: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(SightlineError) as caught:
        compose_params(overrides, root)
    assert message in str(caught.value)


def test_the_bounds_of_conf_are_known_by_name(root: Path) -> None:
    listed = yaml.safe_load((root / "conf/constraints/default.yaml").read_text())
    assert {f"{kind}.{column}" for kind in ("max", "min") for column in listed[kind]} == LISTED


def test_a_candidate_may_have_its_own_threads_batch_and_streams(root: Path) -> None:
    assert "openvino-cpu-int8-t2-b8-s1" in compose_params(["hardware.candidates=[openvino-cpu-int8-t2-b8-s1]"], root)


def test_a_wrong_override_leaves_params_alone(tmp_path: Path, root: Path) -> None:
    (tmp_path / "conf").symlink_to(root / "conf")
    (tmp_path / "params.yaml").write_text("before")
    with pytest.raises(SightlineError):
        write_params(["train.epochs=abc"], tmp_path)
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["conf", "params.yaml"]
    assert (tmp_path / "params.yaml").read_text() == "before"


def test_the_committed_digest_is_that_of_the_default_source(root: Path) -> None:
    dataset = parse(Dataset, yaml.safe_load((root / "params.yaml").read_text())["dataset"])
    assert json.loads((root / "data/source.json").read_text()) == source_digest(dataset)
