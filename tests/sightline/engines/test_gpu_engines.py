"""CUDA's and TensorRT's engines as far as a machine without them can go: what they ask for, on stand-ins for the libraries."""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from sightline import engines
from sightline.contract import ModelDescription, describe_file
from sightline.engines import _gpu
from sightline.engines._gpu import Gpu
from sightline.engines._onnxruntime import check_placement
from sightline.errors import NotAvailableError, SightlineError

TRT, CUDA, CPU = "TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"


class Session:
    """ONNX Runtime's, as far as an engine asks it."""

    asked: list[tuple[str, Any]]
    placed: list[tuple[str, str]]
    got: list[str] | None = None

    def __init__(self, path: str, options: Any, providers: list[Any], enable_fallback: int) -> None:
        assert enable_fallback == 0
        assert options.entries["session.record_ep_graph_assignment_info"] == "1"
        self.names = [each if isinstance(each, str) else each[0] for each in providers]
        Session.asked.append((path, providers))

    def get_providers(self) -> list[str]:
        return Session.got or self.names

    def get_inputs(self) -> list[Any]:
        return [SimpleNamespace(name="images"), SimpleNamespace(name="conf")]

    def get_provider_graph_assignment_info(self) -> list[Any]:
        return [
            SimpleNamespace(ep_name=provider, get_nodes=lambda kind=kind: [SimpleNamespace(op_type=kind)])
            for provider, kind in Session.placed
        ]


class Options:
    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        self.entries[key] = value


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """A GPU, its driver and libraries; what the test changes here, the machine changes."""
    facts = {"name": "GPU A", "capability": "9.0", "driver": "580.1", "tensorrt": "10.9.0", "onnxruntime-gpu": "1.31.1"}
    runtime = ModuleType("onnxruntime")
    vars(runtime).update(
        __version__="1.31.1", SessionOptions=Options, InferenceSession=Session,
        get_available_providers=lambda: [TRT, CUDA, CPU], preload_dlls=lambda: None,
    )  # fmt: skip
    tensorrt = ModuleType("tensorrt")
    tensorrt.__getattr__ = lambda _: facts["tensorrt"]  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    monkeypatch.setitem(sys.modules, "tensorrt", tensorrt)
    for module in ("onnxruntime_cuda", "onnxruntime_tensorrt"):
        there = __import__(f"sightline.engines.{module}", fromlist=["Engine"])
        monkeypatch.setattr(there, "first_gpu", lambda: Gpu(facts["name"], facts["capability"], facts["driver"]))
    monkeypatch.setattr("sightline.engines.onnxruntime_tensorrt.metadata.version", lambda name: facts[name])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    Session.asked, Session.got = [], None
    Session.placed = [(TRT, "Conv"), (TRT, "MatMul"), (CUDA, "NonMaxSuppression"), (CPU, "Shape")]
    return facts


@pytest.fixture
def folder(detector: Path, tmp_path: Path) -> Path:
    """A model folder that has a file of each kind."""
    described = ModelDescription.read(detector)
    files = {}
    for name in ("fp32", "fp16", "int8", "tensorrt-int8"):
        path = tmp_path / f"model.{name}.onnx"
        path.write_bytes((detector / "model.onnx").read_bytes() + name.encode())
        files[name] = describe_file(path)
    ModelDescription(**(vars(described) | {"files": files})).write(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("candidate", "file", "flags"),
    [
        ("onnxruntime-tensorrt-fp16", "model.fp16.onnx", {"trt_fp16_enable"}),
        ("onnxruntime-tensorrt-int8", "model.tensorrt-int8.onnx", {"trt_fp16_enable", "trt_int8_enable"}),
    ],
)
@pytest.mark.usefixtures("machine")
def test_tensorrt_is_asked_for_its_precision_and_its_caches(
    folder: Path, tmp_path: Path, candidate: str, file: str, flags: set[str]
) -> None:
    engine = engines.load(candidate, folder)
    ((path, providers),) = Session.asked
    (name, options), *others = providers
    assert (Path(path).name, name, others) == (file, TRT, [(CUDA, {"use_tf32": "0"}), CPU])
    assert {key for key, value in options.items() if key.endswith(("fp16_enable", "int8_enable")) and value == "1"} == flags
    for kind in ("engine", "timing"):
        assert options[f"trt_{kind}_cache_enable"] == "1"
        assert Path(options[f"trt_{kind}_cache_path"]).is_relative_to(tmp_path / "cache" / "sightline" / "tensorrt")
    assert Path(options["trt_engine_cache_path"]).stat().st_mode & 0o777 == 0o700
    facts = engine.facts()
    assert (facts["gpu"], facts["driver"], facts["tensorrt"]) == ("GPU A", "580.1", "10.9.0")
    assert facts["nodes"] == f"{TRT} 2, {CUDA} 1, {CPU} 1"


@pytest.mark.parametrize("part", ["name", "capability", "driver", "tensorrt", "onnxruntime-gpu"])
def test_an_engine_is_built_anew_where_gpu_driver_or_library_differ(machine: dict[str, str], folder: Path, part: str) -> None:
    for change in ("", "", " B"):
        machine[part] += change
        engines.load("onnxruntime-tensorrt-fp16", folder)
    first, same, other = (providers[0][1] for _, providers in Session.asked)
    assert first == same
    assert first["trt_engine_cache_path"] != other["trt_engine_cache_path"]
    assert first["trt_timing_cache_path"] != other["trt_timing_cache_path"]


@pytest.mark.usefixtures("machine")
def test_each_file_has_engines_of_its_own_and_shares_the_timings(folder: Path) -> None:
    for precision in ("fp16", "int8"):
        engines.load(f"onnxruntime-tensorrt-{precision}", folder)
    first, second = (providers[0][1] for _, providers in Session.asked)
    assert first["trt_engine_cache_path"] != second["trt_engine_cache_path"]
    assert first["trt_timing_cache_path"] == second["trt_timing_cache_path"]


@pytest.mark.usefixtures("machine")
def test_cuda_computes_float32_as_float32(folder: Path) -> None:
    Session.placed = [(CUDA, "Conv"), (CPU, "Shape")]
    engine = engines.load("onnxruntime-cuda-fp32", folder)
    ((_, providers),) = Session.asked
    assert providers == [(CUDA, {"device_id": "0", "use_tf32": "0"}), CPU]
    assert engine.facts()["gpu"] == "GPU A"
    with pytest.raises(NotAvailableError, match="CUDA with int8, expected fp32 or fp16"):
        engines.load("onnxruntime-cuda-int8", folder)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("placed", "message"),
    [
        ([(CUDA, "Conv"), (CPU, "Conv"), (CPU, "Gemm")], "1 Conv, 1 Gemm of 3 heavy operators do not run on CUDA"),
        ([(CPU, "Conv")], "1 Conv of 1 heavy operators do not run on CUDA"),
    ],
)
def test_a_session_that_quietly_runs_on_the_processor_is_refused(
    folder: Path, placed: list[tuple[str, str]], message: str
) -> None:
    Session.placed = placed
    with pytest.raises(SightlineError, match=message):
        engines.load("onnxruntime-cuda-fp32", folder)


def test_tensorrt_that_leaves_most_to_cuda_is_not_called_tensorrt() -> None:
    with pytest.raises(SightlineError, match="3 elsewhere of 4 heavy operators do not run on Tensorrt"):
        check_placement({(TRT, "Conv"): 1, (CUDA, "Conv"): 3}, TRT, Path("m.onnx"))
    check_placement({(TRT, "Conv"): 3, (CUDA, "MatMul"): 1, (CPU, "Shape"): 9}, TRT, Path("m.onnx"))


@pytest.mark.usefixtures("machine")
def test_a_provider_that_falls_back_is_refused(folder: Path) -> None:
    Session.got = [CPU]
    with pytest.raises(NotAvailableError, match="runs on CPUExecutionProvider, expected CUDAExecutionProvider"):
        engines.load("onnxruntime-cuda-fp32", folder)


@pytest.mark.usefixtures("machine")
@pytest.mark.parametrize(
    ("reason", "kind", "message"),
    [
        (
            "CUDA failure 35: driver version is insufficient",
            NotAvailableError,
            "CUDAExecutionProvider: not available: CUDA failure 35",
        ),
        (
            "CUDA failure 2: out of memory",
            SightlineError,
            r"model\.fp32\.onnx: CUDAExecutionProvider cannot run it: CUDA failure 2",
        ),
        (
            "[ONNXRuntimeError] : 9 : NOT_IMPLEMENTED : Foo",
            SightlineError,
            "cannot run it: .* NOT_IMPLEMENTED : Foo: choose another",
        ),
    ],
)
def test_a_machine_without_cuda_is_told_from_a_model_that_it_cannot_run(
    folder: Path, monkeypatch: pytest.MonkeyPatch, reason: str, kind: type[SightlineError], message: str
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError(reason)

    monkeypatch.setattr(Session, "__init__", lambda *_, **__: fail())
    with pytest.raises(SightlineError, match=message) as caught:
        engines.load("onnxruntime-cuda-fp32", folder)
    assert type(caught.value) is kind


def test_without_tensorrt_the_extra_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    with pytest.raises(NotAvailableError, match=r"tensorrt is not installed: install the extra tensorrt: pip install"):
        engines.load("onnxruntime-tensorrt-fp16", folder)


def test_without_a_gpu_cuda_is_not_available(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def absent() -> None:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    monkeypatch.setattr(pynvml, "nvmlInit", absent)
    with pytest.raises(NotAvailableError, match=r"no NVIDIA GPU .*: choose a candidate of the processor"):
        engines.load("onnxruntime-cuda-fp32", folder)


def test_the_gpu_is_what_nvml_says(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    for name, value in {
        "nvmlInit": None, "nvmlDeviceGetHandleByIndex": "first", "nvmlDeviceGetCudaComputeCapability": (9, 0),
        "nvmlDeviceGetName": "NVIDIA H100", "nvmlSystemGetDriverVersion": "580.65",
    }.items():  # fmt: skip
        monkeypatch.setattr(pynvml, name, lambda *_, value=value: value)
    assert _gpu.first_gpu() == Gpu("NVIDIA H100", "9.0", "580.65")
