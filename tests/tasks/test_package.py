"""package: a folder that starts with the commands of its own README."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from datasets import complete
from PIL import Image

from sightline import cli
from sightline.contract import Calibration, ModelDescription, Task, describe_file, dump_json, sha256_of
from sightline.errors import SightlineError
from sightline.predictor import Predictor
from tasks import bundle, schema
from tasks.package import Config, Paths, package
from tasks.tables import CLASSES, IMAGES, OBJECTS, Tables

sys.path.insert(0, str(Path(__file__).parents[1] / "sightline"))
from graphs import CLASSES as NAMES
from graphs import write_model

COLOURS = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
MACHINE = {"cpu": "a processor", "cores": 2}
FOUND = {"images": 4, "splits": {"train": 1, "test": 3}, "boxes": [[1]]}
CONFIG = Config(package=schema.Package(name="eyes"))


def write_dataset(folder: Path, task: Task) -> None:
    """Three images of the test split, each of one colour, and one of the training split."""
    images, objects = [], []
    (folder / "raw").mkdir(parents=True)
    for label, colour in [*enumerate(COLOURS), (0, COLOURS[0])]:
        split = "train" if len(images) == 3 else "test"
        name = f"{split}{label}"
        Image.new("RGB", (32, 32), colour).save(folder / "raw" / f"{name}.png")
        images.append((name, "raw", f"{name}.png", 32, 32, split, "0"))
        box = {0: (0, 0, 16, 8), 1: (8, 8, 24, 24), 2: (0, 16, 32, 32)}[label] if task == "detect" else (None,) * 4
        objects.append((name, label, *box, None, False, False, f"{name}.xml", 1))
    classes = [(index, name, False) for index, name in enumerate(NAMES)]
    of_objects = [name for name in OBJECTS.names if name not in ("rle", "truncated")]
    columns = ([*IMAGES.names[:5], "split", "hash"], of_objects, CLASSES.names)
    frames = [pd.DataFrame(rows, columns=names) for rows, names in zip((images, objects, classes), columns, strict=True)]
    Tables(complete(frames[0]), complete(frames[1]), frames[2]).write(folder / "dataset")


def write_inputs(folder: Path, task: Task, winner: str) -> Paths:
    """What the stages before it write."""
    write_dataset(folder, task)
    description = write_model(folder / "exported", task)
    replace(description, calibration=Calibration(images=7, sha256="0" * 64)).write(folder / "exported")
    row = {"candidate": winner, "shipped": True, "status": "ok", "p50_ms": 1.25, "p99_ms": 2.5, "rss_mb": 90.0, "size_mb": 0.5}
    documents = {
        "fingerprint/dataset_metadata.json": {
            "content_hash": "c" * 64,
            "images": 4,
            "splits": {"train": 1, "test": 3},
            "boxes": [[1]],
        },
        "benchmark/benchmark.json": {"machine": MACHINE, "rows": [{"candidate": "pytorch-fp32"}, row]},
        "selection/selection.json": {"winner": winner, "objective": "p99_ms", "constraints": {"max": {"p99_ms": 20}}},
    }
    for name, content in documents.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(dump_json(content))
    return Paths(**{field.name: folder / field.name for field in fields(Paths)})


@pytest.fixture(scope="module")
def packaged(tmp_path_factory: pytest.TempPathFactory) -> tuple[Paths, dict[str, float]]:
    paths = write_inputs(tmp_path_factory.mktemp("packaged"), "detect", "onnxruntime-cpu-int8")
    return paths, package(paths, CONFIG)


def test_the_winner_is_measured_on_the_test_split(packaged: tuple[Paths, dict[str, float]]) -> None:
    paths, metrics = packaged
    assert metrics["mAP50"] == pytest.approx(1)
    assert json.loads((paths.out / "manifest.json").read_text())["test"] == metrics
    assert {"confusion_matrix.png", "predictions.png"} <= {path.name for path in paths.report.iterdir()}


def test_it_holds_the_winners_file_and_no_other(packaged: tuple[Paths, dict[str, float]]) -> None:
    paths, _ = packaged
    assert sorted(path.name for path in paths.out.iterdir()) == [
        ".dockerignore",
        "Dockerfile",
        "MODEL_CARD.md",
        "README.md",
        "compose.yaml",
        "manifest.json",
        "model.int8.onnx",
        "model.json",
        "requirements.txt",
        "sightline-0.1.0-py3-none-any.whl",
    ]
    description = ModelDescription.read(paths.out)
    assert list(description.files) == ["int8"]
    assert description.calibration == Calibration(7, "0" * 64)


def test_calibration_is_told_of_an_int8_file_alone(tmp_path: Path) -> None:
    paths = write_inputs(tmp_path, "classify", "openvino-cpu-fp32")
    metrics = package(paths, CONFIG)
    assert metrics["accuracy_top1"] == 1
    assert ModelDescription.read(paths.out).calibration is None
    assert "openvino==" in (paths.out / "requirements.txt").read_text()
    assert Predictor(paths.out).engine.facts()["arithmetic"] == "f32"


def test_openvinos_own_file_ships_with_its_weights(tmp_path: Path) -> None:
    import openvino

    paths = write_inputs(tmp_path, "classify", "openvino-cpu-int8-t2")
    file = paths.exported / "model.openvino-int8.xml"
    openvino.save_model(openvino.Core().read_model(paths.exported / "model.onnx"), file)
    description = ModelDescription.read(paths.exported)
    files = {**description.files, "openvino-int8": describe_file(file)}
    replace(description, files=files).write(paths.exported)
    assert package(paths, CONFIG)["accuracy_top1"] == 1
    assert {path.name for path in paths.out.glob("model.*")} == {"model.json", file.name, "model.openvino-int8.bin"}
    assert ModelDescription.read(paths.out).calibration is not None
    assert Predictor(paths.out).engine.facts()["threads"] == "2"
    (paths.out / "model.openvino-int8.bin").write_bytes(b"")
    with pytest.raises(SightlineError, match=r"model\.openvino-int8\.bin: not the file that model\.json describes"):
        Predictor(paths.out)


def test_the_manifest_tells_where_it_comes_from(packaged: tuple[Paths, dict[str, float]]) -> None:
    paths, _ = packaged
    manifest = json.loads((paths.out / "manifest.json").read_text())
    assert manifest["name"] == "eyes"
    assert manifest["candidate"] == "onnxruntime-cpu-int8"
    assert manifest["model"] == json.loads((paths.out / "model.json").read_text())
    assert manifest["engine"]["provider"] == "CPUExecutionProvider"
    assert manifest["measurements"]["p99_ms"] == 2.5
    assert (manifest["machine"], manifest["objective"]) == (MACHINE, "p99_ms")
    assert manifest["constraints"] == {"max": {"p99_ms": 20}}
    assert manifest["lineage"]["dataset"] == "c" * 64
    assert re.fullmatch(r"[0-9a-f]{40}", manifest["lineage"]["git"]["commit"])


def test_lineage_names_the_outputs_of_the_stages_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from tasks.lineage import lineage

    lock = """
    schema: '2.0'
    stages:
      transform: {outs: [{path: data/raw, md5: b.dir}, {path: data/dataset, md5: a.dir}]}
      package: {outs: [{path: dist/service, md5: old.dir}]}
    """
    (tmp_path / "dvc.lock").write_text(lock)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("model: {name: yolov8n}\n")
    found = lineage("hash")
    assert list(found["dvc"].items()) == [("data/dataset", "a.dir"), ("data/raw", "b.dir")]
    assert re.fullmatch(r"none-[0-9a-f]{16}", found["mlflow_pipeline"]), "a tag without a commit, outside git"


def test_the_same_inputs_give_the_same_bytes(packaged: tuple[Paths, dict[str, float]], tmp_path: Path) -> None:
    again = replace(packaged[0], out=tmp_path / "out", report=tmp_path / "report")
    package(again, CONFIG)
    for first, second in ((packaged[0].out, again.out), (packaged[0].report, again.report)):
        hashes = [{path.name: sha256_of(path) for path in folder.iterdir()} for folder in (first, second)]
        assert hashes[0] == hashes[1]


def test_documents_are_whole(packaged: tuple[Paths, dict[str, float]]) -> None:
    out = packaged[0].out
    readme, card = (out / "README.md").read_text(), (out / "MODEL_CARD.md").read_text()
    assert "$" not in readme + card
    assert "`mean_detect`, task detect, 3 classes: red, green, blue. It runs on `onnxruntime-cpu-int8`." in readme
    assert "sightline-0.1.0-py3-none-any.whl" in readme
    assert "| mAP50 | 1 |" in card
    assert "| p99_ms | 2.5 |" in card
    assert "7 images of the training split" in card
    assert "| splits | train 1, test 3 |" in card
    assert "boxes" not in card
    answer = json.loads(re.findall(r"```json\n(.*?)\n```", readme, re.DOTALL)[0])
    assert list(answer) == ["task", "width", "height", "detections"]


@pytest.mark.parametrize(
    ("winner", "message"),
    [
        ("onnxruntime-cpu-fp16", "no file fp16, got fp32, int8"),
        ("pytorch-fp32", "'pytorch': not there, expected one of onnxruntime-cpu, "),
    ],
)
def test_a_winner_that_cannot_ship_is_refused(tmp_path: Path, winner: str, message: str) -> None:
    with pytest.raises(SightlineError, match=re.escape(message)):
        package(write_inputs(tmp_path, "detect", winner), CONFIG)


def test_a_missing_selection_says_what_to_run(tmp_path: Path) -> None:
    paths = write_inputs(tmp_path, "detect", "onnxruntime-cpu-fp32")
    (paths.selection / "selection.json").unlink()
    with pytest.raises(SightlineError, match=r"selection\.json: not there: run `dvc repro selection`"):
        package(paths, CONFIG)


def test_a_library_without_locked_requirements_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SightlineError, match=r"serve-abacus\.txt: not there, got serve-onnxruntime-gpu\.txt, .*serve-openvino\.txt"
    ):
        bundle.write_requirements(tmp_path, "abacus")


def test_the_command_line_runs_it(packaged: tuple[Paths, dict[str, float]], capsys: pytest.CaptureFixture[str]) -> None:
    image = packaged[0].raw / "test0.png"
    with pytest.raises(SystemExit, match="0"):
        cli.main(["predict", str(packaged[0].out), str(image)])
    assert "1.000  red" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.parametrize("winner", ["onnxruntime-cpu-int8", "openvino-cpu-fp32"])
def test_it_starts_with_the_commands_of_its_readme(tmp_path: Path, winner: str, real_data: Path) -> None:
    paths = write_inputs(tmp_path / "inputs", "detect", winner)
    package(paths, CONFIG)
    folder = tmp_path / "elsewhere" / "eyes"
    shutil.copytree(paths.out, folder)
    shutil.copyfile(sorted((real_data / "bccd" / "JPEGImages").glob("*.jpg"))[0], folder / "photo.jpg")
    start, ask = re.findall(r"```sh\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    with socket.create_server(("127.0.0.1", 8000)):
        pass  # the README's port is free
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    python = Path(sys.base_prefix) / "bin"
    environment["PATH"] = f"{python}:{environment['PATH']}"
    service = subprocess.Popen(["bash", "-euc", start], cwd=folder, env=environment, start_new_session=True)
    try:
        _wait("http://127.0.0.1:8000/health", service)
        answers = [
            json.loads(subprocess.run(["bash", "-c", line], cwd=folder, capture_output=True, check=True).stdout)
            for line in ask.strip().splitlines()
        ]
    finally:
        os.killpg(service.pid, signal.SIGTERM)
        service.wait(30)
    expected = Predictor(folder)((folder / "photo.jpg").read_bytes())
    assert expected["detections"]
    assert answers[:3] == [expected, expected, {"status": "ok"}]
    assert answers[3]["candidate"] == winner


def _wait(url: str, process: "subprocess.Popen[Any]") -> None:
    for _ in range(600):
        assert process.poll() is None, "the service ended"
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except OSError:
            time.sleep(0.5)
    raise AssertionError(f"{url} does not answer")


BUILDAH = [tool for tool in ("buildah", "debootstrap") if not shutil.which(tool)]


@pytest.mark.slow
@pytest.mark.network
@pytest.mark.timeout(1200)
@pytest.mark.skipif(bool(BUILDAH) or os.geteuid() != 0, reason=f"needs root, and {' and '.join(BUILDAH) or 'buildah'}")
def test_its_image_builds_and_answers_as_a_user_without_rights(tmp_path: Path) -> None:
    paths = write_inputs(tmp_path / "inputs", "detect", "onnxruntime-cpu-int8")
    package(paths, CONFIG)
    base = _base_image(tmp_path)
    mounts = [f"--volume={path}:{path}:ro" for path in ("/etc/ssl/certs", "/etc/hosts")]
    build = ["bud", "--format=docker", "--isolation=chroot", f"--build-arg=BASE={base}", *mounts, "--tag=eyes", str(paths.out)]
    _buildah(tmp_path, *build)
    image = json.loads(_buildah(tmp_path, "inspect", "--type=image", "eyes"))["Docker"]["config"]
    assert (image["User"], image["Entrypoint"]) == ("10001:10001", ["sightline", "serve", "."])
    container = _buildah(tmp_path, "from", "eyes").strip()
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [*image["Entrypoint"], "--host", "127.0.0.1", "--port", str(port)]
    health = [argument.replace(":8000/", f":{port}/") for argument in image["Healthcheck"]["Test"][1:]]
    run = [*_storage(tmp_path), "run", "--isolation=chroot", container, "--"]
    service = subprocess.Popen([*run, *command], start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}/health", service)
        subprocess.run([*run, *health], check=True)
        image_bytes = (paths.raw / "test0.png").read_bytes()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", image_bytes, {"Content-Type": "image/png"})
        with urllib.request.urlopen(request, timeout=10) as response:
            assert json.load(response) == Predictor(paths.out)(image_bytes)
    finally:
        os.killpg(service.pid, signal.SIGTERM)
        service.wait(30)
        _buildah(tmp_path, "rm", container)
        _buildah(tmp_path, "rmi", "--all", "--force")


def _base_image(folder: Path) -> str:
    """Python on Debian, standing in for python:3.11-slim where no image registry is to be had."""
    root = folder / "rootfs"
    tools = "--include=python3,python3-pip,ca-certificates"
    subprocess.run(["debootstrap", "--variant=minbase", tools, "bookworm", str(root)], check=True, capture_output=True)
    (root / "usr/bin/python").symlink_to("python3")
    next(root.glob("usr/lib/python3*/EXTERNALLY-MANAGED")).unlink()
    container = _buildah(folder, "from", "scratch").strip()
    _buildah(folder, "add", "--quiet", container, str(root), "/")
    _buildah(folder, "config", "--env=PATH=/usr/local/bin:/usr/bin:/bin", container)
    _buildah(folder, "commit", "--quiet", "--rm", container, "localhost/base")
    shutil.rmtree(root)
    return "localhost/base"


def _storage(folder: Path) -> list[str]:
    return ["buildah", f"--root={folder}/storage", f"--runroot={folder}/run", "--storage-driver=vfs"]


def _buildah(folder: Path, *arguments: str) -> str:
    done = subprocess.run([*_storage(folder), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
