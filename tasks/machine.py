"""What machine this is: measurements mean nothing without it."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any, Final

from sightline.cores import available_cores
from tasks.energy import gpus

LIBRARIES: Final = ("numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "tensorrt-cu13", "openvino", "torch")


def describe() -> dict[str, Any]:
    """The processor, its cores, memory and what runs on it.

    Returns:
        `name` (what hardware.machine may ask for), `processor`, `cores` that this process may use, the names of NVIDIA's `gpus`
        and their `driver` (null where there is none), `governor` (null where the system does not say), `memory_gb`, `system`,
        `python`, and the `libraries` with their versions.
    """
    processor, cores, (driver, *cards) = _processor(), available_cores(), _gpus()
    return {
        "name": " + ".join([f"{processor} x{cores}", *cards]),
        "processor": processor,
        "cores": cores,
        "governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "gpus": cards,
        "driver": driver or None,
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": _versions(),
    }


def _processor() -> str:
    """The model's name, as the kernel gives it."""
    for line in (_read(Path("/proc/cpuinfo")) or "").splitlines():
        if line.startswith("model name"):
            return " ".join(line.partition(":")[2].split())
    return platform.processor() or platform.machine()


def _gpus() -> list[str]:
    """The version of NVIDIA's driver, empty where there is none, and the names of its GPUs."""
    if not (found := gpus()):
        return [""]
    import pynvml

    return [str(pynvml.nvmlSystemGetDriverVersion()), *(str(pynvml.nvmlDeviceGetName(gpu)) for gpu in found)]


def _versions() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
