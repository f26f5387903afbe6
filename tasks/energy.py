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
        self._packages = [each for each in sorted(rapl.glob("intel-rapl:*")) if each.name.count(":") == 1]
        self._gpus = gpus()
        self._begin = self._look()

    def read(self) -> float | None:
        """Joules since the meter was made; None where no counter can be read."""
        now = self._look()
        if now is None or self._begin is None:
            return None
        return sum((later - earlier) % top if top else later - earlier for later, earlier, top in _rows(now, self._begin))

    def _look(self) -> list[tuple[float, float]] | None:
        """What each counter shows, and where it starts again from 0, both in joules; 0: never."""
        found: list[tuple[float, float]] = []
        for package in self._packages:
            with contextlib.suppress(OSError, ValueError):
                values = ((package / name).read_text(encoding="ascii") for name in ("energy_uj", "max_energy_range_uj"))
                count, top = (int(value) / 1e6 for value in values)
                found.append((count, top))
        if self._gpus:
            import pynvml

            for gpu in self._gpus:
                with contextlib.suppress(pynvml.NVMLError):  # older ones do not count
                    found.append((pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3, 0.0))
        return found or None


def _rows(now: list[tuple[float, float]], begin: list[tuple[float, float]]) -> list[tuple[float, float, float]]:
    return [(later, earlier, top) for (later, top), (earlier, _) in zip(now, begin, strict=True)]


def gpus() -> list[Any]:
    """NVIDIA's GPUs; none where there is no driver."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
    except ImportError:
        return []
    except pynvml.NVMLError:
        return []
