"""Freed memory stays with the process, or goes back."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAULTS = """
import resource, sys
import numpy as np
from sightline.allocator import keep_freed_memory
if sys.argv[1] == "keep":
    keep_freed_memory()
np.ones(2**20, np.uint8)  # its release tells glibc what is large
def request():
    kept = [np.ones(900_000, np.uint8) for _ in range(3)]
for _ in range(5):
    request()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    request()
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) / 20)
"""


RESIDENT = """
import sys
from sightline.allocator import return_freed_memory
kept = [bytearray(size) for _ in range(2000) for size in (20_000, 1_000)][1::2]  # they lie between what is freed
if sys.argv[1] == "return":
    return_freed_memory()
print(int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6)
"""


def printed(code: str, choice: str) -> float:
    done = subprocess.run([sys.executable, "-c", code, choice], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_memory_does_not_come_anew_with_each_request() -> None:
    assert printed(FAULTS, "keep") < 1 < 100 < printed(FAULTS, "default")


def test_memory_between_what_is_kept_goes_back() -> None:
    assert printed(RESIDENT, "default") - printed(RESIDENT, "return") > 20
