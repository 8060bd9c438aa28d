"""Memory that is kept is faulted in once, as the kernel counts it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from roofline.errors import MeasurementError
from roofline.measurement import allocator

COUNT = """
import resource, sys
from roofline.measurement.allocator import keep_memory

if sys.argv[1] == "keep":
    keep_memory()


def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


for _ in range(3):
    bytearray(64 << 20)
before = faults()
for _ in range(3):
    bytearray(64 << 20)  # calloc, and so cleared: every page is touched where it is new
    b"x" * (64 << 20)
print(faults() - before)
"""
PAGES = (64 << 20) // 4096


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone")
def test_kept_memory_is_faulted_in_once() -> None:
    def count(how: str) -> int:
        command = [sys.executable, "-c", COUNT, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert count("leave") >= 3 * PAGES  # at least of what is written each time
    assert count("keep") < 0.1 * PAGES


@pytest.mark.parametrize("answer", [None, 0])
def test_another_c_library_is_told(answer: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        if answer is not None:
            mallopt = staticmethod(lambda parameter, value: answer)

    monkeypatch.setattr("ctypes.CDLL", lambda name: Library())
    with pytest.raises(MeasurementError, match="the C library here is another"):
        allocator.keep_memory()
