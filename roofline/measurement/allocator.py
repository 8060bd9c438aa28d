"""Whether this process keeps the memory that it frees.

glibc's ``malloc`` gives freed memory back to the system once it is more than a threshold, which it adapts to what was
freed before (mallopt(3)). A network whose activations exceed it asks for the same pages in each call anew, and the
system faults them in and clears them: that is half of the time of a MobileNetV2 at 224 x 224 (docs/measuring.md, "Page
faults"), and another share in the next process, as it depends on the order of what was allocated. Other allocators
(jemalloc, tcmalloc, the arenas of inference engines) keep it.
"""

from __future__ import annotations

import ctypes

from roofline.errors import MeasurementError

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # parameters of mallopt: malloc.h of glibc
NEVER = 2**31 - 1


def keep_memory() -> None:
    """Have glibc keep what this process frees from here on; there is no way back.

    Raises:
        MeasurementError: The C library is another.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # TypeError: Windows has no library of that name
        mallopt = None
    if mallopt is None or not (mallopt(TRIM_THRESHOLD, NEVER) and mallopt(MMAP_MAX, 0)):
        raise MeasurementError(
            "memory is kept by setting thresholds of glibc's malloc, and the C library here is another: leave out "
            "keep-memory, or preload jemalloc or tcmalloc"
        )
