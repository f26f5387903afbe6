"""What becomes of memory that is freed: a request's is kept for the next one, that of large arrays goes back."""

import ctypes
from typing import Final

_TRIM_THRESHOLD: Final = (-1, 256 * 2**20)  # mallopt(3): bytes that stay at the end of the heap
_MMAP_THRESHOLD: Final = (-3, 32 * 2**20)  # the largest that it takes: what is longer has a mapping of its own


def keep_freed_memory() -> None:
    """Has glibc keep what is freed, in this process.

    A decoded photograph is a megabyte. By default such memory may go back to the kernel after each request, and come again page
    by page: whether it does depends on what else lies on the heap, so it differs from engine to engine and from run to run, by
    500 page faults and a millisecond a request. With another C library nothing is changed.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        for option, size in (_TRIM_THRESHOLD, _MMAP_THRESHOLD):
            mallopt(option, size)


def return_freed_memory() -> None:
    """Has glibc give back to the kernel what is freed by now, in this process; with another C library nothing is done.

    By default what large arrays leave between smaller ones may stay: as much again as is in use, or nothing, from run to run.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
