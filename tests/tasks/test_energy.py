"""Joules by the machine's own counters."""

import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks import energy
from tasks.energy import GpuWatch, Meter


@pytest.fixture(autouse=True)
def no_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "gpus", tuple)


ZONES = {"intel-rapl:0": "package-0", "intel-rapl:1": "package-1", "intel-rapl:0:0": "core", "intel-rapl:2": "psys"}


def write(folder: Path, name: str, microjoules: int, top: int = 1_000_000_000) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    (folder / name / "name").write_text(f"{ZONES[name]}\n")
    (folder / name / "energy_uj").write_text(f"{microjoules}\n")
    (folder / name / "max_energy_range_uj").write_text(f"{top}\n")


def test_packages_are_added_up_and_parts_of_them_are_not(tmp_path: Path) -> None:
    for name in ZONES:
        write(tmp_path, name, 5_000_000)
    meter = Meter(tmp_path)
    for name in ZONES:
        write(tmp_path, name, 7_500_000)
    assert meter.read() == pytest.approx(5.0), "psys is the whole machine, packages and all"


def test_a_counter_that_cannot_be_read_any_more_is_no_figure(tmp_path: Path) -> None:
    for name in ZONES:
        write(tmp_path, name, 5_000_000)
    meter = Meter(tmp_path)
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert meter.read() is None


def test_a_counter_that_starts_again_from_0(tmp_path: Path) -> None:
    write(tmp_path, "intel-rapl:0", 999_000_000)
    meter = Meter(tmp_path)
    write(tmp_path, "intel-rapl:0", 1_000_000)
    assert meter.read() == pytest.approx(2.0)


def test_gpus_are_watched_while_the_block_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    seen = threading.Semaphore(0)
    held = iter([100, 300, 200])

    def processes(gpu: str) -> list[SimpleNamespace]:
        own = SimpleNamespace(pid=7, usedGpuMemory=next(held, 200) * 1_000_000)
        seen.release()
        return [own, SimpleNamespace(pid=8, usedGpuMemory=10**12)]

    monkeypatch.setattr(energy, "gpus", lambda: ("gpu",))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetUtilizationRates", lambda _: SimpleNamespace(gpu=60))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetComputeRunningProcesses", processes)
    with GpuWatch(pid=7) as watch:
        for _ in range(3):
            assert seen.acquire(timeout=10)
    assert watch.read() == {"gpu_percent": 60.0, "vram_mb": 300.0}


def test_no_gpu_is_no_figure() -> None:
    with GpuWatch(pid=7) as watch:
        pass
    assert watch.read() == {"gpu_percent": None, "vram_mb": None}


def test_no_counter_is_no_figure(tmp_path: Path) -> None:
    assert Meter(tmp_path).read() is None


def test_gpus_are_added_and_are_no_figure_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RAPL is readable by root alone: what is left would charge a processor's candidate for an idle GPU."""
    import pynvml

    millijoules = iter(range(1000, 100_000, 1000))
    monkeypatch.setattr(energy, "gpus", lambda: ("gpu",))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", lambda _: next(millijoules))
    assert Meter(tmp_path).read() is None
    write(tmp_path, "intel-rapl:0", 5_000_000)
    meter = Meter(tmp_path)
    write(tmp_path, "intel-rapl:0", 7_000_000)
    assert meter.read() == pytest.approx(3.0)
    write(tmp_path, "intel-rapl:1", 5_000_000)
    (tmp_path / "intel-rapl:1" / "energy_uj").unlink()
    assert Meter(tmp_path).read() is None, "one of two processors does not tell"


def test_a_gpu_that_does_not_count_is_no_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pynvml

    def refuses(gpu: str) -> int:
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    monkeypatch.setattr(energy, "gpus", lambda: ("gpu",))
    monkeypatch.setattr(pynvml, "nvmlDeviceGetTotalEnergyConsumption", refuses)
    write(tmp_path, "intel-rapl:0", 5_000_000)
    assert Meter(tmp_path).read() is None
