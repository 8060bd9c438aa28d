"""Whether this process keeps the memory that it frees.

glibc's ``malloc`` gives freed memory back to the system once it is more than a threshold, which it adapts to what was
freed before (mallopt(3)). A network whose activations exceed it asks for the same pages in each call anew, and the
system faults them in and clears them: that is half of the time of a MobileNetV2 at 224 x 224 (docs/measuring.md, "Page
faults"). Whether a network pays for them depends on what else the process has freed, so its time depends on which
models are measured beside it, and on chance. Other allocators (jemalloc, tcmalloc, the arenas of inference engines)
keep it. So a measurement has glibc keep it, too, unless it is asked not to.
"""

from __future__ import annotations

import ctypes
import os

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # parameters of mallopt: malloc.h of glibc
NEVER = 2**31 - 1
_kept = False  # by this process, which has no way back


def keep_memory() -> None:
    """Have glibc keep what this process frees from here on; where the C library is another, nothing happens."""
    global _kept
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # TypeError: Windows has no library of that name
        return
    _kept = bool(mallopt(TRIM_THRESHOLD, NEVER) and mallopt(MMAP_MAX, 0))


def policy() -> str:
    """What this process does with memory that is freed.

    ``"kept"``: `keep_memory` was called here, or the variables of glibc say so. Else ``"system"``: what the allocator
    does by itself; ``"preloaded"`` where another one was put in its place.
    """
    if "malloc" in os.environ.get("LD_PRELOAD", ""):
        return "preloaded"
    by_variables = os.environ.get("MALLOC_MMAP_MAX_") == "0" and "MALLOC_TRIM_THRESHOLD_" in os.environ
    return "kept" if _kept or by_variables else "system"
