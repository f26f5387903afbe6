"""What machine this is: measurements mean nothing without it."""

import importlib.metadata
import os
import platform
from pathlib import Path
from typing import Any, Final

LIBRARIES: Final = ("numpy", "pillow", "onnxruntime", "onnxruntime-gpu", "openvino", "torch")


def describe() -> dict[str, Any]:
    """The processor, its cores, memory and what runs on it.

    Returns:
        `name` (what hardware.machine may ask for), `processor`, `cores` that this process may use, `governor` (null where the
        system does not say), `memory_gb`, `system`, `python`, and the `libraries` with their versions.
    """
    processor, cores = _processor(), len(os.sched_getaffinity(0))
    return {
        "name": f"{processor} x{cores}",
        "processor": processor,
        "cores": cores,
        "governor": _read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
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
