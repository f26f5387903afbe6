"""What the machine says of itself meanwhile: energy by RAPL and NVML, and how busy its GPUs are."""

import contextlib
import threading
from pathlib import Path
from statistics import fmean
from typing import Any, Final, Self

RAPL: Final = Path("/sys/class/powercap")
"""Linux, Documentation/power/powercap/powercap.rst; counters are readable by root alone since 5.10."""
GPU_LOOK_S: Final = 0.05
"""How often GPUs are looked at."""


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
        """Joules since the meter was made; None where a processor or a GPU does not tell, then or now."""
        begin, now = self._begin, self._look()
        if begin is None or now is None or now.keys() != begin.keys():
            return None
        total = 0.0
        for name, (count, top) in now.items():
            passed = count - begin[name][0]
            total += passed % top if top else passed
        return total

    def _look(self) -> dict[str, tuple[float, float]] | None:
        """What each counter shows, and where it starts again from 0, both in joules; 0: never. None: not all of them tell."""
        found: dict[str, tuple[float, float]] = {}
        for folder in self._packages:
            count, top = (_text(folder / name) for name in ("energy_uj", "max_energy_range_uj"))
            if not (count.isdecimal() and top.isdecimal()):
                return None
            found[folder.name] = int(count) / 1e6, int(top) / 1e6
        if not found:  # a GPU's joules alone are not the machine's
            return None
        for index, gpu in enumerate(gpus()):
            import pynvml

            try:
                found[f"gpu {index}"] = pynvml.nvmlDeviceGetTotalEnergyConsumption(gpu) / 1e3, 0.0
            except pynvml.NVMLError:  # older ones do not count
                return None
        return found


class GpuWatch:
    """Looks at the GPUs all the time in a thread, as long as its block runs.

    Args:
        pid: The process whose memory on them is asked for.
    """

    def __init__(self, pid: int) -> None:
        self._pid, self._gpus = pid, gpus()
        self._busy: list[float] = []
        self._peak_mb: float | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        if self._gpus:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        if self._gpus:
            self._thread.join()

    def read(self) -> dict[str, float | None]:
        """`gpu_percent`, the mean of the busiest GPU at each look, and `vram_mb`, the process's peak, 10^6 bytes; None where
        there is no GPU, or it does not tell.
        """
        return {"gpu_percent": fmean(self._busy) if self._busy else None, "vram_mb": self._peak_mb}

    def _watch(self) -> None:
        import pynvml

        while not self._done.wait(GPU_LOOK_S):
            with contextlib.suppress(pynvml.NVMLError):
                self._busy.append(float(max(pynvml.nvmlDeviceGetUtilizationRates(gpu).gpu for gpu in self._gpus)))
            with contextlib.suppress(pynvml.NVMLError):
                held = [
                    process.usedGpuMemory
                    for gpu in self._gpus
                    for process in pynvml.nvmlDeviceGetComputeRunningProcesses(gpu)
                    if process.pid == self._pid and process.usedGpuMemory is not None
                ]
                if held:  # in a container NVML may know the process by another number
                    self._peak_mb = max(self._peak_mb or 0.0, sum(held) / 1e6)


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
