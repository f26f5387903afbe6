"""A user's own weights, untrusted: read without running anything that is in them, or refused with the step that helps."""

import pickle
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from sightline.contract import sha256_of
from sightline.errors import SightlineError
from tasks import published
from tasks.isolation import run_isolated
from tasks.schema import Model

if TYPE_CHECKING:
    from torch import Tensor

State = Mapping[str, "Tensor"]
MAX_BYTES: Final = 4 << 30  # of a file, of what it unpacks to, and of its tensors
MAX_TENSORS: Final = 100_000
TIMEOUT_S: Final = 300
NESTED: Final = ("state_dict", "model_state_dict", "ema", "model")
"""Where training scripts keep the weights in their checkpoints; averaged ones are the better ones."""
CONVERT: Final = "save the model's state_dict() as .safetensors where it was made"
TRUST: Final = f"{CONVERT}, or set model.trust_pickle=true if you trust whoever made the file"


def given_file(model: Model, setting: str) -> Path:
    """The file that `model.pretrained` or `model.weights` names, its checksum compared; published weights are downloaded.

    Args:
        model: conf/model.
        setting: `pretrained` or `weights`.

    Raises:
        SightlineError: The file is missing, too large, or not that of the checksum; see `tasks.published` too.
    """
    path, expected = Path(getattr(model, setting)), getattr(model, f"{setting}_sha256") or ""
    remedy = f"restore the file, or set model.{setting}_sha256 to what it is"
    known = published.named(model) if setting == "pretrained" else None
    if known:
        path, expected = published.fetch(known, MAX_BYTES), expected or known.sha256
        remedy = "remove it, so that it is downloaded again, or correct model.pretrained_sha256"
    if not path.is_file():
        raise SightlineError(
            f"model.{setting}: {path}: not there: expected weights (.pt, .safetensors) or an .onnx, or null: correct the path"
        )
    if path.stat().st_size > MAX_BYTES:
        raise SightlineError(
            f"model.{setting}: {path}: got {path.stat().st_size} bytes, expected at most {MAX_BYTES}: give a smaller model"
        )
    digest = sha256_of(path)
    if not expected:
        raise SightlineError(
            f"model.{setting}: {path}: its checksum is not known: if it is the file that you mean, "
            f"set model.{setting}_sha256={digest}"
        )
    if not digest.startswith(expected):
        raise SightlineError(f"model.{setting}: {path}: got SHA-256 {digest}, expected {expected}: {remedy}")
    return path


def read(path: Path, trust_pickle: bool = False) -> State:
    """The state dict in `path`, float32 where it is of reals, on the CPU; nothing in the file runs in this process.

    Args:
        path: `.safetensors`; or what torch.save wrote: a state dict, alone or in a checkpoint under one of `NESTED`.
        trust_pickle: Take a pickle that is more than that (`.pkl`, a whole model) too. Its code then runs in a process that has
            no network, no environment, and no file but this one; see `tasks.sandbox`.

    Raises:
        SightlineError: The file is damaged, too large, or a pickle that nobody trusts.
    """
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":
        return checked(_read_safetensors(path), path)
    if trust_pickle:
        return checked(_convert(path), path)
    _check_container(path, head)
    return checked(state_of(_read_torch(path), path), path)


def state_of(content: Any, path: Path) -> State:
    """The state dict in what was loaded: itself, a module's, or that of one of `NESTED`.

    Raises:
        SightlineError: There is none.
    """
    from torch import Tensor, nn

    if isinstance(content, nn.Module):
        return content.state_dict()
    if isinstance(content, Mapping):
        if content and all(isinstance(value, Tensor) for value in content.values()):
            return content
        for key in NESTED:
            if isinstance(content.get(key), Mapping | nn.Module):
                return state_of(content[key], path)
    raise SightlineError(f"{path}: got {type(content).__name__}, expected a state dict of tensors: {CONVERT}")


def checked(state: State, path: Path) -> State:
    """The tensors, plain and in float32 where they are of reals, once none can surprise.

    Raises:
        SightlineError: Too many or too large, or not dense tensors of numbers.
    """
    import torch

    sizes = [value.numel() * value.element_size() for value in state.values()]
    if len(sizes) > MAX_TENSORS or sum(sizes) > MAX_BYTES:
        raise SightlineError(
            f"{path}: got {len(sizes)} tensors of {sum(sizes)} bytes, expected at most {MAX_TENSORS} of {MAX_BYTES} bytes: "
            "give a smaller model"
        )
    plain = {}
    for name, value in state.items():
        if not isinstance(name, str) or value.layout != torch.strided or value.is_quantized or value.device.type != "cpu":
            kind = f"{value.layout} on {value.device}"
            raise SightlineError(f"{path}: {str(name)[:80]}: got {kind}, expected a dense tensor of numbers: {CONVERT}")
        tensor = value.detach()
        plain[name.removeprefix("module.")] = (tensor.float() if tensor.is_floating_point() else tensor).clone().contiguous()
    return plain


def _read_safetensors(path: Path) -> State:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: State = load_file(path)
    except (SafetensorError, ValueError, KeyError, OSError) as error:
        raise SightlineError(f"{path}: not safetensors ({_first_line(error)}): copy or download it again") from None
    return state


def _check_container(path: Path, head: bytes) -> None:
    """Refuses what torch.save does not write, and what would unpack to more than there is."""
    if not head.startswith(b"PK"):
        if tarfile.is_tarfile(path):
            raise SightlineError(f"{path}: torch.save's .tar format of before 2017, which is a full pickle: {TRUST}")
        return
    try:
        entries = zipfile.ZipFile(path).infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise SightlineError(f"{path}: damaged ({_first_line(error)}): copy or download it again") from None
    names = [entry.filename for entry in entries]
    if any("/.data/extern_modules" in name for name in names) or any(name.endswith("/constants.pkl") for name in names):
        raise SightlineError(f"{path}: a torch.package or TorchScript archive, which holds code: {CONVERT}")
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise SightlineError(f"{path}: compressed, which torch.save does not do: {CONVERT}")
    if len(names) > MAX_TENSORS or sum(entry.file_size for entry in entries) > MAX_BYTES:
        raise SightlineError(f"{path}: unpacks to more than {MAX_BYTES} bytes or {MAX_TENSORS} files: give a smaller model")


def _read_torch(path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what is refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise SightlineError(f"{path}: no state dict, but a full pickle, which runs code when it is loaded: {TRUST}") from None
    except (RuntimeError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OSError, MemoryError) as error:
        raise SightlineError(f"{path}: not the weights of a model ({_first_line(error)}): {CONVERT}") from None


def _convert(path: Path) -> State:
    """Has another process load the pickle, and reads the tensors that it wrote."""
    from tasks import unpickle

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "weights.safetensors"
        job = {"path": str(path.resolve()), "out": str(out)}
        answer = run_isolated(unpickle.__name__, job, TIMEOUT_S, remedy="give a smaller model", secrets=False)
        if answer["status"] != "ok":
            raise SightlineError(f"{path}: could not be converted ({answer['message']}): {CONVERT}")
        return _read_safetensors(out)


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:200]
