"""The stopwatch: clocks, and how a block of calls is timed.

A block is one span between two readings of the clock, with one call in it or many. What the loop itself and reading
the clock cost is measured on a function that does nothing, by the same loop, and taken off.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

MIN_BLOCK_S = 200e-6  # shorter blocks are as long as what interrupts them
MIN_RESOLUTIONS = 1000  # of the clock in a block: a reading is then good to 0.1 %
MAX_CALLS = 10**7  # of a block, of a function that does nothing


class Clock(Protocol):
    """Tells the time; tests have one that moves as they say."""

    @property
    def resolution_s(self) -> float:
        """The smallest step it makes."""

    def now_s(self) -> float:
        """Seconds, from any start; never goes back."""

    def process_s(self) -> float:
        """CPU time of this process, of all its threads."""

    def sleep(self, duration_s: float) -> None:
        """Wait."""


class SystemClock:
    """That of the system: `time.perf_counter` and `time.process_time`."""

    now_s = staticmethod(time.perf_counter)
    process_s = staticmethod(time.process_time)
    sleep = staticmethod(time.sleep)

    @cached_property
    def resolution_s(self) -> float:
        """The smallest step that is seen; ``get_clock_info`` gives that of the interface, 1 ns."""
        steps = []
        for _ in range(100):
            before = after = time.perf_counter()
            while after == before:
                after = time.perf_counter()
            steps.append(after - before)
        return min(steps)


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block, timed.

    Attributes:
        wall_s: Seconds a call.
        cpu_s: CPU time of this process a call.
        kernel_s: Seconds a call on the accelerator's own timeline; None where there is none.
        frequency_hz: Of the accelerator's clock during the block; None where unknown.
        retries: Tries before it that were thrown away because the accelerator's clock was low.
        has_gaps: Whether `kernel_s` may hold waits for the host.
    """

    wall_s: float
    cpu_s: float
    kernel_s: float | None = None
    frequency_hz: float | None = None
    retries: int = 0
    has_gaps: bool = False


class Timer(Protocol):
    """How a block of calls is timed on a device."""

    def block(self, call: Callable[[], object], calls: int) -> Block:
        """Time that many calls, until all that they started has ended."""


class WallTimer:
    """Times what runs on the CPU and has ended when the call returns.

    Args:
        clock: The clock.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def block(self, call: Callable[[], object], calls: int) -> Block:
        """Time that many calls; a function that does nothing takes about zero, and never less."""
        wall_s, cpu_s = self._span(call, calls)
        fixed_s, loop_s = self.own_cost_s
        return Block(wall_s=max(0.0, wall_s - fixed_s - loop_s * calls) / calls, cpu_s=cpu_s / calls)

    @cached_property
    def own_cost_s(self) -> tuple[float, float]:
        """Seconds that two readings of the clock cost, and that a turn of the loop does; the least of several."""
        many = 10_000
        fixed_s = min(self._span(_nothing, 0)[0] for _ in range(100))
        turns_s = min(self._span(_nothing, many)[0] for _ in range(10))
        return fixed_s, max(0.0, turns_s - fixed_s) / many

    def _span(self, call: Callable[[], object], calls: int) -> tuple[float, float]:
        turns = range(calls)
        now_s = self._clock.now_s
        cpu_s = self._clock.process_s()
        start_s = now_s()
        for _ in turns:
            call()
        end_s = now_s()
        return end_s - start_s, self._clock.process_s() - cpu_s


def _nothing() -> None:
    pass


def least_block_s(clock: Clock) -> float:
    """How long a block has to be on that clock."""
    return max(MIN_BLOCK_S, MIN_RESOLUTIONS * clock.resolution_s)
