"""What else the machine did while something was timed, and which of it makes a sample doubtful.

Counters are read before and after each block. Those of ``/proc/stat`` move in ticks of 10 ms, which is longer than most
blocks, so whether others were busy is judged over a window of about a second around the block (`window`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from roofline.units import percent

if TYPE_CHECKING:
    from roofline.measurement.clock import Clock

WINDOW_S = 1.0  # 1 % of it is one tick of /proc/stat
MAX_STEAL = 0.01  # of the machine's CPU time; ticks of /proc/stat cannot show less in a window
MAX_CROWDING = 0.10  # cores that are wanted beyond those there are
MAX_FACTOR = 2.2  # of the anchor: where the trial that this harness follows left samples out. One busy thread on every
# core makes each parallel op wait for a tick of the scheduler, a factor of 13, which no scaling can repair
MIN_FREQUENCY = 0.75  # of the highest seen; nvbench discards samples below 75 % of the default SM clock

LEFT_OUT = frozenset({"contended"})  # flags that keep a sample out of the median
FLAGS = {
    "contended": f"the anchor took more than {MAX_FACTOR:g} times as long as at the reference state: left out",
    "crowded": "other processes wanted the cores that were in use",
    "steal": f"the hypervisor gave more than {percent(MAX_STEAL)} of the CPU time to others",
    "preempted": "a thread was taken off its core in the middle of the block",
    "throttled": "the cgroup's quota was used up, or the clock fell",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Counters since boot, or since the process started.

    Attributes:
        at_s: When, on the clock of the measurement.
        process_s: CPU time of this process, all threads.
        busy_s: CPU time of all processes on all cores; None where the system does not say (so below).
        steal_s: CPU time that the hypervisor gave to others.
        involuntary_switches: Times a thread of this process was taken off its core.
        throttled_s: Time this cgroup was held back for having used up its quota.
        frequency_hz: Of the core or the accelerator, now.
        load: Mean number of runnable threads over the last minute, now.
        page_faults: Pages that this process was given without reading a disk.
    """

    at_s: float
    process_s: float
    busy_s: float | None = None
    steal_s: float | None = None
    involuntary_switches: int | None = None
    throttled_s: float | None = None
    frequency_hz: float | None = None
    load: float | None = None
    page_faults: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """What happened between two readings.

    Attributes:
        wall_s: Seconds between them.
        process_s: CPU time of this process.
        others_s: CPU time of other processes; None where unknown (so below).
        steal_s: CPU time that the hypervisor gave to others.
        involuntary_switches: Times a thread of this process was taken off its core.
        throttled_s: Time the cgroup was held back.
        frequency_hz: Lower of the two.
        load: Later of the two.
        page_faults: Pages that this process was given without reading a disk.
    """

    wall_s: float
    process_s: float
    others_s: float | None = None
    steal_s: float | None = None
    involuntary_switches: int | None = None
    throttled_s: float | None = None
    frequency_hz: float | None = None
    load: float | None = None
    page_faults: int | None = None

    def at_frequency(self, frequency_hz: float) -> Conditions:
        """The same, where the clock that matters is that of an accelerator."""
        return replace(self, frequency_hz=frequency_hz)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def between(before: Reading, after: Reading) -> Conditions:
    """What happened from one reading to the next."""
    wall_s, process_s = after.at_s - before.at_s, after.process_s - before.process_s
    busy_s = _less(after.busy_s, before.busy_s)
    frequencies = [hz for hz in (before.frequency_hz, after.frequency_hz) if hz is not None]
    switches = _less(after.involuntary_switches, before.involuntary_switches)
    faults = _less(after.page_faults, before.page_faults)
    return Conditions(
        wall_s=wall_s,
        process_s=process_s,
        others_s=None if busy_s is None else max(0.0, busy_s - process_s),
        steal_s=_less(after.steal_s, before.steal_s),
        involuntary_switches=None if switches is None else int(switches),
        throttled_s=_less(after.throttled_s, before.throttled_s),
        frequency_hz=min(frequencies, default=None),
        load=after.load,
        page_faults=None if faults is None else int(faults),
    )


def _less(after: float | None, before: float | None) -> float | None:
    return None if after is None or before is None else max(0, after - before)


def window(readings: Sequence[Reading], first: int, last: int, *, at_least_s: float = WINDOW_S) -> Conditions:
    """What happened around the readings `first` to `last`, over at least that long if there are readings that far out.

    Args:
        readings: In the order of time.
        first: Position of the reading before the block.
        last: Position of the one after it.
        at_least_s: Length of the window.
    """
    while readings[last].at_s - readings[first].at_s < at_least_s and (first > 0 or last < len(readings) - 1):
        first, last = max(first - 1, 0), min(last + 1, len(readings) - 1)
    return between(readings[first], readings[last])


def flags_of(
    block: Conditions,
    around: Conditions | None = None,
    *,
    factor: float = 1.0,
    threads: int = 1,
    cores: int = 1,
    top_frequency_hz: float | None = None,
) -> tuple[str, ...]:
    """What makes a sample doubtful, as keys of `FLAGS`.

    Args:
        block: What happened during the block.
        around: What happened in the window around it; that of the block if None.
        factor: The anchor's local factor.
        threads: Threads that the measurement uses.
        cores: Logical CPUs of the machine, whose times the counters sum.
        top_frequency_hz: The highest frequency seen.
    """
    around = around or block
    found = []
    if factor > MAX_FACTOR:
        found.append("contended")
    if around.wall_s > 0 and around.others_s is not None:
        wanted = min(threads, cores) + around.others_s / around.wall_s
        if wanted > cores + MAX_CROWDING:
            found.append("crowded")
    if around.wall_s > 0 and (around.steal_s or 0.0) > MAX_STEAL * cores * around.wall_s:
        found.append("steal")
    if block.involuntary_switches:
        found.append("preempted")
    slowed = top_frequency_hz and block.frequency_hz and block.frequency_hz < MIN_FREQUENCY * top_frequency_hz
    if block.throttled_s or slowed:
        found.append("throttled")
    return tuple(found)


class Probe(Protocol):
    """Reads the counters."""

    cores: int

    def read(self, at_s: float) -> Reading:
        """The counters now."""


def wait_until_quiet(probe: Probe, clock: Clock, *, threads: int, at_most_s: float) -> bool:
    """Wait until nobody else wants the cores that are to be used; whether that came about, or was not asked for.

    Args:
        probe: Reads the counters, once a second.
        clock: Tells the time.
        threads: Cores to be used.
        at_most_s: How long to wait; with 0 nothing is waited for.
    """
    if not at_most_s:
        return True
    until_s = clock.now_s() + at_most_s
    while True:
        before = probe.read(clock.now_s())
        clock.sleep(WINDOW_S)
        around = between(before, probe.read(clock.now_s()))
        if not flags_of(around, threads=threads, cores=probe.cores):
            return True
        if clock.now_s() + WINDOW_S > until_s:
            return False


class SystemProbe:
    """The counters of this system; what it does not have reads None."""

    def __init__(self) -> None:
        self.cores = os.cpu_count() or 1
        self._stat = _cgroup_stat()
        self._frequency = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq")
        self._has_frequency = self._frequency.is_file()

    def read(self, at_s: float) -> Reading:
        """The counters now; about 0.1 ms."""
        import time

        busy_s, steal_s = _cpu_times()
        involuntary_switches, page_faults = _of_this_process()
        return Reading(
            at_s=at_s,
            process_s=time.process_time(),
            busy_s=busy_s,
            steal_s=steal_s,
            involuntary_switches=involuntary_switches,
            throttled_s=self._throttled_s(),
            frequency_hz=self._frequency_hz(),
            load=os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
            page_faults=page_faults,
        )

    def _throttled_s(self) -> float | None:
        if self._stat is None:
            return None
        try:
            lines = self._stat.read_text(encoding="ascii").split()
        except OSError:
            return None
        values = dict(zip(lines[::2], lines[1::2], strict=False))
        if "throttled_usec" in values:  # cgroup v2
            return int(values["throttled_usec"]) / 1e6
        return int(values["throttled_time"]) / 1e9 if "throttled_time" in values else None  # v1, in ns

    def _frequency_hz(self) -> float | None:
        if not self._has_frequency:
            return None
        try:
            return int(self._frequency.read_text(encoding="ascii")) * 1e3  # kHz
        except (OSError, ValueError):
            return None


def _cpu_times() -> tuple[float | None, float | None]:
    import psutil  # type: ignore[import-untyped]

    times = psutil.cpu_times()
    kept = ("user", "system", "nice", "irq", "softirq")  # `guest` is in user, and steal is nobody's work here
    return sum(getattr(times, name, 0.0) for name in kept), getattr(times, "steal", None)


def _of_this_process() -> tuple[int | None, int | None]:
    """Involuntary context switches, and page faults that needed no disk."""
    if sys.platform == "win32":
        return None, None
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nivcsw, usage.ru_minflt


def _cgroup_stat() -> Path | None:
    """The ``cpu.stat`` of this process's cgroup, of version 2 or 1."""
    from roofline.measurement.environment import cgroup_file

    return cgroup_file("cpu.stat")
