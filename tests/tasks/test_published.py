"""Weights by the name of a library: which ones there are, and how they come; a server on this machine stands in for theirs."""

import copy
import hashlib
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import ResNet18_Weights, get_model

from sightline.errors import SightlineError
from tasks import models, published, schema
from tasks.models import starting_weights
from tasks.weights import given_file

sys.path.insert(0, str(Path(__file__).parent))
import tiny_data

RESNET18 = "ResNet18_Weights.IMAGENET1K_V1"


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(published, "FOLDER", tmp_path / "weights")
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path / "weights"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder, and the address where its files are."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    folder = tmp_path / "served"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    threading.Thread(target=partial(server.serve_forever, poll_interval=0.05), daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def model(file: str, **values: Any) -> schema.Model:
    return schema.parse(schema.Model, {**tiny_data.conf(file)["model"], **values})


@pytest.fixture
def resnet18(served: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> Path:
    """Random weights where torchvision's are looked for."""
    folder, address = served
    torch.manual_seed(0)
    path = folder / "resnet18.pth"
    torch.save(get_model("resnet18", weights=None).state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path = path.rename(folder / f"resnet18-{digest[:8]}.pth")
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", f"{address}/{path.name}")
    return path


def test_a_training_begins_with_weights_of_that_name(resnet18: Path, place: Path, tmp_path: Path) -> None:
    dataset = tiny_data.dataset(tmp_path / "data", "classify")
    family = models.load(model("resnet", pretrained=RESNET18), dataset.classes)
    recipe = tiny_data.recipe("resnet", epochs=1, lr0=1e-9)
    family.fit(dataset, recipe, start=None, work=tmp_path, out=tmp_path / "w.pt", on_epoch=lambda *_: None)
    got, expected = torch.load(tmp_path / "w.pt"), torch.load(resnet18)
    assert torch.allclose(got["layer4.1.conv2.weight"], expected["layer4.1.conv2.weight"], atol=1e-5)
    assert len(got["fc.weight"]) == len(dataset.classes)
    assert [path.name for path in place.iterdir()] == [resnet18.name]


def test_a_file_is_fetched_once_and_told_by_its_checksum(resnet18: Path, place: Path) -> None:
    config = model("resnet", pretrained=RESNET18)
    path = given_file(config, "pretrained")
    resnet18.unlink()
    assert given_file(config, "pretrained") == path
    path.write_bytes(b"something else")
    with pytest.raises(SightlineError, match=r"got SHA-256 .*, expected [0-9a-f]{8}: remove it, so that"):
        given_file(config, "pretrained")
    path.unlink()
    resnet18.write_bytes(b"something else")
    with pytest.raises(SightlineError, match=r"got SHA-256 .*: damaged on the way"):
        given_file(config, "pretrained")
    assert not list(place.iterdir())


def test_a_checksum_of_ones_own_counts_too(resnet18: Path) -> None:
    digest = hashlib.sha256(resnet18.read_bytes()).hexdigest()
    assert given_file(model("resnet", pretrained=RESNET18, pretrained_sha256=digest), "pretrained").is_file()
    with pytest.raises(SightlineError, match="expected 0000"):
        given_file(model("resnet", pretrained=RESNET18, pretrained_sha256="0" * 64), "pretrained")


def test_without_a_network_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, place: Path) -> None:
    monkeypatch.setattr(ResNet18_Weights.IMAGENET1K_V1.value, "url", "https://host.invalid/resnet18-f37072fd.pth")
    with pytest.raises(SightlineError, match=r"no answer .*: where there is no network, set model\.pretrained=PATH") as caught:
        given_file(model("resnet", pretrained=RESNET18), "pretrained")
    assert "\n" not in str(caught.value)
    assert not list(place.iterdir())


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("resnet", {"pretrained": "ResNet34_Weights.IMAGENET1K_V1"}, f"for resnet18, expected {RESNET18}, or a path"),
        ("resnet", {"pretrained": "ResNet18_Weights.V9"}, f"expected {RESNET18}"),
        ("resnet", {"pretrained": "yolov8n.pt"}, f"expected {RESNET18}"),
        ("unet", {"pretrained": RESNET18}, "for unet, which has no published ones: expected a path"),
        ("vgg", {"pretrained": "VGG16_Weights.IMAGENET1K_FEATURES"}, r"expected VGG16_Weights\.IMAGENET1K_V1, or"),
        ("ssdlite", {"pretrained": "MobileNet_V3_Large_Weights.IMAGENET1K_V1"}, "expected SSDLite320"),
        ("yolov8", {"pretrained": "yolov8s.pt", "trust_pickle": True}, r"for yolov8n, expected yolov8n\.pt, or"),
        ("yolov8", {"pretrained": "yolov8n.pt"}, r"full pickles, .*: set model\.trust_pickle=true"),
    ],
)
def test_weights_of_another_architecture_are_refused(file: str, values: dict[str, Any], message: str) -> None:
    with pytest.raises(SightlineError, match=message):
        given_file(model(file, **values), "pretrained")


@pytest.mark.parametrize("path", sorted((tiny_data.ROOT / "conf" / "model").glob("*.yaml")), ids=lambda path: path.stem)
def test_conf_names_the_weights_that_there_are(path: Path) -> None:
    text = path.read_text()
    config = schema.parse(schema.Model, tiny_data.yaml.safe_load(text)["model"])
    find = published._of_ultralytics if config.library == "ultralytics" else published._of_torchvision
    assert all(name in text for name in find(config.arch))
    assert bool(find(config.arch)) == (config.file not in ("unet", "fast_scnn"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"pretrained": "weights/x.pt"}, "needs the file's checksum"),
        ({"pretrained": RESNET18, "trust_pickle": True}, "which is no pickle"),
        ({"weights": RESNET18}, "needs the file's checksum"),
    ],
)
def test_what_is_no_name_needs_a_checksum(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SightlineError, match=message):
        model("resnet", **values)


def test_ultralytics_pickles_are_taken_when_trusted_and_named_by_a_checksum(
    served: tuple[Path, str], place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.models import _ultralytics

    folder, address = served
    monkeypatch.setattr(published, "ULTRALYTICS", address)
    torch.manual_seed(0)
    network = _ultralytics.build(model("yolov8"), ("a", "b"))
    torch.save({"epoch": -1, "model": copy.deepcopy(network).half(), "ema": None}, folder / "yolov8n.pt")
    digest = hashlib.sha256((folder / "yolov8n.pt").read_bytes()).hexdigest()
    named = {"pretrained": "yolov8n.pt", "trust_pickle": True}
    with pytest.raises(SightlineError, match=rf"its checksum is not known: .* set model\.pretrained_sha256={digest}"):
        given_file(model("yolov8", **named), "pretrained")
    given = starting_weights(model("yolov8", **named, pretrained_sha256=digest), None)
    assert given is not None
    assert given.where == f"model.pretrained: {place / 'yolov8n.pt'}"
    assert given.state.keys() == network.state_dict().keys()
