"""The energy that the machine says it took: RAPL's counters of its processors, NVML's of its GPUs."""

import contextlib
from pathlib import Path
from typing import Any, Final

RAPL: Final = Path("/sys/class/powercap")
"""Linux, Documentation/power/powercap/powercap.rst; counters are readable by root alone since 5.10."""


class Meter:
    """Joules from now on, of the whole machine: whatever else runs on it counts as well.

    Args:
        rapl: Where the counters of the processors are.
    """

    def __init__(self, rapl: Path = RAPL) -> None:
        self._packages = [
            folder for folder in sorted(rapl.glob("intel-rapl:*")) if _text(folder / "name").startswith("package-")
        ]
        self._begin = self._look()

    def read(self) -> float | None:
        """Joules since the meter was made; None where no counter can be read, or one no longer."""
        now = self._look()
        if not self._begin or now.keys() != self._begin.keys():
            return None
        total = 0.0
        for name, (count, top) in now.items():
            passed = count - self._begin[name][0]
            total += passed % top if top else passed
        return total

    def _look(self) -> dict[str, tuple[float, float]]:
        """What each counter shows, and where it starts again from 0, both in joules; 0: never."""
        found: dict[str, tuple[float, float]] = {}
        for folder in self._packages:
            count, top = (_text(folder / name) for name in ("energy_uj", "max_energy_range_uj"))
            if count.isdecimal() and top.isdecimal():
                found[folder.name] = int(count) / 1e6, int(top) / 1e6
        for index, gpu in enumerate(gpus()):
            import pynvml

            with contextlib.suppress(pynvml.NVMLError):  # older ones do not count
                found[f"gpu {index}"] = pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3, 0.0
        return found


def _text(path: Path) -> str:
    """A file's text; none where it cannot be read."""
    try:
        return path.read_text(encoding="ascii").strip()
    except OSError:
        return ""


def gpus() -> tuple[Any, ...]:
    """NVIDIA's GPUs by NVML; none where there is no driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return tuple(pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount()))
    except ImportError:
        return ()
    except pynvml.NVMLError:
        return ()
