"""Freed memory stays with the process."""

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


def faults(choice: str) -> float:
    done = subprocess.run([sys.executable, "-c", FAULTS, choice], cwd=ROOT, capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_memory_does_not_come_anew_with_each_request() -> None:
    assert faults("keep") < 1 < 100 < faults("default")
