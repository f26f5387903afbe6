"""Processor, memory and GPUs while a stage runs, under MLflow's names for them, and the stage's own share."""

import contextlib
import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path

import psutil

from tasks.energy import gpus
from tasks.trackers import _spool
from tasks.trackers._record import FILES, SYSTEM_FILE

FIRST_S = 1.0
"""The first sample of a stage; processor time is counted from the moment that it was first seen."""
EVERY_S = 5.0


class Sampler:
    """Appends to the file `SYSTEM_FILE` of each stage that runs. Percentages are 0-100, memory is in 10^6 bytes."""

    def __init__(self) -> None:
        self._watches: dict[Path, tuple[int, _Watch]] = {}
        self._gpus = _Gpus()

    def sample(self) -> None:
        """Samples each stage whose time has come."""
        running = {item: record for item, record in _spool.begun() if _spool.runs(record)}
        self._watches = {item: held for item, held in self._watches.items() if running.get(item, {}).get("pid") == held[0]}
        for item, record in running.items():
            if item not in self._watches:
                with contextlib.suppress(psutil.Error):
                    self._watches[item] = record["pid"], _Watch(record["pid"])
        for item, (_, watch) in self._watches.items():
            if watch.is_due():
                with contextlib.suppress(psutil.Error, FileNotFoundError):  # the stage ended just now
                    _append(item / FILES / SYSTEM_FILE, watch.read() | self._gpus.read())


class _Watch:
    """The machine, and a process with all that it started, from the last look to this one."""

    def __init__(self, pid: int) -> None:
        self._process = psutil.Process(pid)
        self._due_s = time.monotonic() + FIRST_S
        self._last = self._look()

    def is_due(self) -> bool:
        return time.monotonic() >= self._due_s

    def read(self) -> dict[str, float]:
        """The stage's processor time is of one core, so that two busy ones are 200."""
        self._due_s = time.monotonic() + EVERY_S
        now, last = self._look(), self._last
        self._last = now
        memory, passed_s = psutil.virtual_memory(), now["time"] - last["time"]
        machine_s = now["busy"] + now["idle"] - last["busy"] - last["idle"]
        values = {
            "cpu_utilization_percentage": 100 * (now["busy"] - last["busy"]) / machine_s if machine_s > 0 else 0.0,
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
            "stage_cpu_percentage": 100
            * max(now["own"] - last["own"], 0)
            / passed_s,  # a process that ended takes its time along
            "stage_memory_megabytes": now["memory"] / 1e6,
        }
        return {f"system/{name}": round(value, 1) for name, value in values.items()}

    def _look(self) -> dict[str, float]:
        machine = psutil.cpu_times()
        idle = machine.idle + getattr(machine, "iowait", 0.0)
        guests = getattr(machine, "guest", 0.0) + getattr(machine, "guest_nice", 0.0)  # part of user and nice already
        found = {"time": time.monotonic(), "idle": idle, "busy": sum(machine) - idle - guests, "own": 0.0, "memory": 0.0}
        for process in [self._process, *self._process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess), process.oneshot():
                own = process.cpu_times()
                found["own"] += own.user + own.system
                found["memory"] += process.memory_info().rss
        return found


class _Gpus:
    """NVIDIA's GPUs by NVML; none where there is no driver."""

    def __init__(self) -> None:
        self._handles = gpus()

    def read(self) -> dict[str, float]:
        values: dict[str, float] = {}
        for index, handle in enumerate(self._handles):
            import pynvml

            with contextlib.suppress(pynvml.NVMLError):  # not every device tells everything
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
                values[f"system/gpu_{index}_memory_usage_megabytes"] = round(memory.used / 1e6, 1)
                values[f"system/gpu_{index}_memory_usage_percentage"] = round(100 * memory.used / memory.total, 1)
                values[f"system/gpu_{index}_utilization_percentage"] = pynvml.nvmlDeviceGetUtilizationRates(handle).gpu
                values[f"system/gpu_{index}_power_usage_watts"] = round(pynvml.nvmlDeviceGetPowerUsage(handle) / 1000, 1)
        return values


def _append(path: Path, values: Mapping[str, float]) -> None:
    """Adds a row in one write, so that who copies the file meanwhile sees it whole or not at all."""
    text = io.StringIO()
    rows = csv.writer(text)
    if not path.exists():
        rows.writerow(["time_ms", *values])
    rows.writerow([time.time_ns() // 1_000_000, *values.values()])
    with path.open("a", encoding="utf-8") as file:
        file.write(text.getvalue())
