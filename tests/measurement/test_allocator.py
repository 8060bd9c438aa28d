"""Memory that is kept is faulted in once, as the kernel counts it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from roofline.measurement import allocator, environment

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


ANCHOR = """
import resource, sys
from roofline.measurement.allocator import keep_memory

if sys.argv[1] == "keep":
    keep_memory()
from roofline.measurement.anchor import TorchAnchor
from roofline.measurement.clock import SystemClock, WallTimer

anchor = TorchAnchor(WallTimer(SystemClock()))
for _ in range(3):
    anchor.sample()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    anchor.sample()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone")
def test_the_anchor_pays_for_no_page_faults_where_memory_is_kept() -> None:
    """Else a factor would tell of the allocator, and not of the machine: 460 faults a block that writes 1.8 MB."""

    def count(how: str) -> int:
        command = [sys.executable, "-c", ANCHOR, how]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert count("keep") < 0.2 * count("leave")


@pytest.mark.parametrize("answer", [None, 0])
def test_where_the_c_library_is_another_nothing_is_claimed(answer: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        if answer is not None:
            mallopt = staticmethod(lambda parameter, value: answer)

    monkeypatch.setattr(allocator, "_kept", False)
    monkeypatch.setattr("ctypes.CDLL", lambda name: Library())
    allocator.keep_memory()
    assert allocator.policy() == "system"


@pytest.mark.parametrize(
    ("variables", "policy"),
    [
        ({}, "system"),
        ({"LD_PRELOAD": "/usr/lib/libjemalloc.so.2"}, "preloaded"),
        ({"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "2147483647"}, "kept"),
        ({"MALLOC_MMAP_MAX_": "0"}, "system"),  # the heap is trimmed all the same
    ],
)
def test_what_becomes_of_freed_memory_is_known(
    variables: dict[str, str], policy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocator, "_kept", False)
    for name in ("LD_PRELOAD", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert allocator.policy() == policy


def test_once_kept_it_stays_so_and_the_record_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocator, "_kept", True)
    assert environment.environment()["flags"]["freed_memory"] == "kept"
