"""A user's own weights: a corpus of hostile files, of which none runs anything, and good ones of each kind."""

import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from sightline.errors import SightlineError
from tasks import weights
from tasks.weights import read

CANARY = "SIGHTLINE_TEST_CANARY"


class Hostile:
    """Touches a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (os.environ[CANARY],)


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))


def state() -> dict[str, torch.Tensor]:
    return dict(network().state_dict())


def pickled(content: Any, protocol: int = 2) -> bytes:
    return pickle.dumps(content, protocol)


def torch_zip(path: Path, data: bytes, compression: int = zipfile.ZIP_STORED, **more: bytes) -> None:
    """A torch.save archive around a pickle."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", "3\n")
        archive.writestr("archive/byteorder", "little")
        for name, content in more.items():
            archive.writestr(f"archive/{name}", content)


def legacy_tar(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            data = pickled(Hostile())
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))


def package(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/.data/extern_modules", "os\n")
        archive.writestr("archive/.data/version", "6\n")
        archive.writestr("archive/model/model.pkl", pickled(Hostile()))
        archive.writestr("archive/data.pkl", pickled(Hostile()))


def torchscript(path: Path) -> None:
    torch_zip(path, pickled(Hostile()), **{"constants.pkl": pickled(Hostile())})


def safetensors(path: Path, header: Any, data: bytes = b"", length: int | None = None) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)


def expanded(path: Path) -> None:
    torch.save({"weight": torch.zeros(1).expand(1 << 40)}, path)


def sparse(path: Path) -> None:
    torch.save({"weight": torch.eye(4).to_sparse()}, path)


def truncated(path: Path) -> None:
    torch.save(state(), path)
    path.write_bytes(path.read_bytes()[:-400])


def flipped(path: Path) -> None:
    """A state dict whose pickle asks for a function that it may not have."""
    torch.save(state(), path)
    with zipfile.ZipFile(path) as archive:
        data = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    torch_zip(path, data.replace(b"ctorch._utils\n_rebuild_tensor_v2\n", b"cos\nsystem\n"))


def f32(shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": "F32", "shape": shape, "data_offsets": [begin, end]}


GLOBAL = b"\x80\x02}X\x06\x00\x00\x00weightcos\nmkdir\nX%c\x00\x00\x00%s\x85Rs."
HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "reduce.pt": (lambda path: torch.save({"weight": Hostile()}, path), "a full pickle"),
    "nested.pt": (lambda path: torch.save({"model": {"weight": torch.ones(2), "x": [Hostile()]}}, path), "a full pickle"),
    "object.pt": (lambda path: torch.save(network(), path), "a full pickle"),
    "plain.pkl": (lambda path: path.write_bytes(pickled(Hostile())), "full pickle"),
    "protocol0.pkl": (lambda path: path.write_bytes(pickled(Hostile(), 0)), "pickle|not the weights"),
    "protocol5.pkl": (lambda path: path.write_bytes(pickled({"weight": Hostile()}, 5)), "full pickle"),
    "joblib.pkl": (lambda path: path.write_bytes(pickled([Hostile(), b"array"], 4) + b"\x00" * 64), "full pickle"),
    "global.pt": (
        lambda path: torch_zip(path, GLOBAL % (len(os.environ[CANARY]), os.environ[CANARY].encode())),
        "full pickle",
    ),
    "flipped.pt": (flipped, "full pickle"),
    "legacy.pt": (
        lambda path: torch.save({"weight": Hostile()}, path, _use_new_zipfile_serialization=False),
        "full pickle",
    ),
    "legacy_tar.pt": (legacy_tar, r"\.tar format"),
    "package.pt": (package, r"torch\.package"),
    "torchscript.pt": (torchscript, "TorchScript"),
    "bomb.pt": (
        lambda path: torch_zip(path, pickled({}), zipfile.ZIP_DEFLATED, **{"data/0": bytes(1 << 26)}),
        "compressed",
    ),
    "expanded.pt": (expanded, "expected at most"),
    "sparse.pt": (sparse, "expected a dense tensor"),
    "truncated.pt": (truncated, "damaged|not the weights"),
    "empty.pt": (lambda path: path.write_bytes(b""), "not the weights"),
    "text.pt": (lambda path: path.write_text("nothing of the kind"), "pickle|not the weights"),
    "list.pt": (lambda path: torch.save([torch.ones(2)], path), "got list, expected a state dict"),
    "header.safetensors": (lambda path: safetensors(path, {"a": 3}), "not safetensors"),
    "length.safetensors": (lambda path: safetensors(path, {}, length=1 << 62), "not safetensors"),
    "overlap.safetensors": (
        lambda path: safetensors(path, {"a": f32([2], 0, 8), "b": f32([2], 4, 12)}, bytes(12)),
        "not safetensors",
    ),
    "outside.safetensors": (lambda path: safetensors(path, {"a": f32([1 << 20], 0, 1 << 22)}, bytes(8)), "not safetensors"),
    "huge.safetensors": (lambda path: safetensors(path, {"a": f32([1 << 62, 1 << 62], 0, 8)}, bytes(8)), "not safetensors"),
    "dtype.safetensors": (
        lambda path: safetensors(path, {"a": {"dtype": "os.system", "shape": [1], "data_offsets": [0, 4]}}, bytes(4)),
        "not safetensors",
    ),
}


@pytest.fixture(autouse=True)
def canary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "canary"
    monkeypatch.setenv(CANARY, str(path))
    return path


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_file_runs_nothing_and_is_refused_in_one_line(name: str, tmp_path: Path, canary: Path) -> None:
    make, message = HOSTILE[name]
    path = tmp_path / name
    make(path)
    with pytest.raises(SightlineError, match=message) as caught:
        read(path)
    assert not canary.exists()
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    assert str(caught.value).count(": ") >= 2, "a next step is missing"


def test_the_canary_sings_where_nobody_looks(tmp_path: Path, canary: Path) -> None:
    path = tmp_path / "reduce.pt"
    torch.save({"weight": Hostile()}, path)
    torch.load(path, weights_only=False)
    assert canary.exists()


def test_too_many_tensors_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "MAX_TENSORS", 3)
    save_file(state(), tmp_path / "w.safetensors")
    with pytest.raises(SightlineError, match="got 7 tensors"):
        read(tmp_path / "w.safetensors")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "checkpoint", "lightning", "half", "parallel"])
def test_good_file_is_read(kind: str, tmp_path: Path) -> None:
    path, good = tmp_path / f"{kind}.pt", state()
    if kind == "safetensors":
        save_file(good, path)
    elif kind == "half":
        good = {name: value.half().float() if value.is_floating_point() else value for name, value in good.items()}
        torch.save({name: value.half() if value.is_floating_point() else value for name, value in good.items()}, path)
    else:
        optimizer = torch.optim.SGD(network().parameters(), 0.1).state_dict()
        content: Any = {
            "checkpoint": {"model": good, "optimizer": optimizer, "epoch": 3},
            "lightning": {"state_dict": good, "epoch": 3, "hyper_parameters": {"lr": 0.1}},
            "parallel": {f"module.{name}": value for name, value in good.items()},
        }.get(kind, good)
        torch.save(content, path, _use_new_zipfile_serialization=kind != "legacy")
    got = read(path)
    assert list(got) == list(good) or kind == "safetensors"
    assert all(torch.equal(got[name], value) for name, value in good.items())


@pytest.mark.parametrize("kind", ["object.pt", "object.pkl", "state.pkl", "legacy.pt"])
def test_trusted_pickle_is_converted(kind: str, tmp_path: Path) -> None:
    path = tmp_path / kind
    if kind.endswith(".pkl"):
        path.write_bytes(pickled(network() if kind == "object.pkl" else state()))
    else:
        torch.save(network(), path, _use_new_zipfile_serialization=kind != "legacy.pt")
    with pytest.raises(SightlineError, match=r"model\.trust_pickle=true"):
        read(path)
    got = read(path, trust_pickle=True)
    assert all(torch.equal(got[name], value) for name, value in state().items())


@pytest.mark.parametrize("name", ["reduce.pt", "plain.pkl", "legacy.pt", "legacy_tar.pt", "package.pt"])
def test_trusted_pickle_that_is_hostile_reaches_nothing(name: str, tmp_path: Path, canary: Path) -> None:
    path = tmp_path / name
    HOSTILE[name][0](path)
    with pytest.raises(SightlineError, match="could not be converted") as caught:
        read(path, trust_pickle=True)
    assert not canary.exists()
    assert "\n" not in str(caught.value)
