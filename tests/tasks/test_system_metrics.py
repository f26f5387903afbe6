"""What is sampled while a stage runs."""

import csv
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from tasks.trackers import _spool, _system
from tasks.trackers._record import FILES, SYSTEM_FILE


def rows(stage: str) -> list[dict[str, float]]:
    file = _spool.RUNNING / stage / FILES / SYSTEM_FILE
    if not file.is_file():
        return []
    with file.open() as lines:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(lines)]


def begin(stage: str, process: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_spool, "start_writer", lambda *_: None)
    start_ms = int(psutil.Process(process).create_time() * 1000)
    _spool.begin(stage, {"pid": process, "start_ms": start_ms, "trackers": {"mlflow": {}}})


def test_a_stage_s_processor_and_memory_are_sampled_until_it_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(_system, "EVERY_S", 0.2)
    child = "held = bytearray(50_000_000)\nwhile True: pass"
    parent = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    with subprocess.Popen([sys.executable, "-c", parent], start_new_session=True) as stage:
        begin("train", stage.pid, monkeypatch)
        sampler = _system.Sampler()
        end = time.monotonic() + 30
        while len(rows("train")) < 3 and time.monotonic() < end:
            sampler.sample()
            time.sleep(0.1)
        found = rows("train")
        for process in (*psutil.Process(stage.pid).children(), stage):
            process.kill()
    last = found[-1]
    assert list(last)[:1] == ["time_ms"]
    assert 0 < last["system/cpu_utilization_percentage"] <= 100
    assert 0 < last["system/system_memory_usage_percentage"] <= 100
    assert last["system/system_memory_usage_megabytes"] > last["system/stage_memory_megabytes"] > 50
    assert last["system/stage_cpu_percentage"] > 1, "what a stage starts counts as well"
    _spool.end("train", {"trackers": {"mlflow": {}}})
    sampler.sample()
    assert not (_spool.RUNNING / "train").exists()
    (item,) = _spool.pending()
    assert (item / FILES / SYSTEM_FILE).is_file()


def test_gpus_are_told_as_mlflow_tells_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVML is a stand-in here: a real one needs a GPU."""
    error = type("NVMLError", (Exception,), {})

    def refuse(handle: Any) -> None:
        raise error

    nvml = SimpleNamespace(
        NVMLError=error,
        nvmlInit=lambda: None,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(used=4e9, total=80e9),
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=93),
        nvmlDeviceGetPowerUsage=refuse,
    )
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert _system._Gpus().read() == {
        "system/gpu_0_memory_usage_megabytes": 4000.0,
        "system/gpu_0_memory_usage_percentage": 5.0,
        "system/gpu_0_utilization_percentage": 93,
    }


@pytest.mark.gpu
def test_a_gpu_is_sampled() -> None:
    values = _system._Gpus().read()
    assert values["system/gpu_0_memory_usage_megabytes"] > 0


def test_without_a_driver_there_is_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert _system._Gpus().read() == {}
