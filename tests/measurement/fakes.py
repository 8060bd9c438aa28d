"""A machine that exists on paper: its time passes only when something works on it, as much slower as a test says."""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from roofline.measurement.clock import WallTimer
from roofline.measurement.conditions import Reading
from roofline.measurement.subject import Subject

ANCHOR_S = (1e-3, 2e-3, 0.5e-3)  # at the reference state


def always(factor: float = 1.0) -> Callable[[float], float]:
    return lambda at_s: factor


@dataclass
class FakeClock:
    time_s: float = 100.0
    cpu_s: float = 5.0
    resolution_s: float = 1e-9

    def now_s(self) -> float:
        return self.time_s

    def process_s(self) -> float:
        return self.cpu_s

    def sleep(self, duration_s: float) -> None:
        self.time_s += duration_s


@dataclass
class Machine:
    """`slowdown` says how many times as long work takes at a time; `noise` spreads each piece of it on top."""

    clock: FakeClock = field(default_factory=FakeClock)
    slowdown: Callable[[float], float] = field(default_factory=always)
    noise: float = 0.0
    cores: int = 2
    threads: int = 2
    others: float = 0.0  # cores that other processes keep busy
    steal: float = 0.0
    switches: int = 0
    throttled_s: float = 0.0
    frequency_hz: float | None = None
    faults_a_call: int = 0
    names: tuple[str, ...] = ("sgemm", "blocks", "copy")
    weights: tuple[float, ...] = (1 / 3, 1 / 3, 1 / 3)
    rng: random.Random = field(default_factory=lambda: random.Random(7))
    log: list[str] = field(default_factory=list)
    anchors: int = 0
    faults: int = 0

    def work(self, duration_s: float) -> float:
        took_s = duration_s * self.slowdown(self.clock.time_s) * (1 + self.rng.uniform(0, self.noise))
        self.clock.time_s += took_s
        self.clock.cpu_s += took_s * self.threads
        return took_s

    def sample(self) -> tuple[float, ...]:
        self.anchors += 1
        return tuple(self.work(part_s) for part_s in ANCHOR_S)

    def read(self, at_s: float) -> Reading:
        passed_s = self.clock.time_s - 100.0
        return Reading(
            at_s=at_s,
            process_s=self.clock.cpu_s,
            busy_s=self.clock.cpu_s + self.others * passed_s,
            steal_s=self.steal * self.cores * passed_s,
            involuntary_switches=self.switches,
            throttled_s=self.throttled_s,
            frequency_hz=self.frequency_hz,
            load=1.0,
            page_faults=self.faults,
        )

    def subject(self, name: str, call_s: float = 5e-3, first_s: float = 0.0, **of: object) -> Subject:
        """A model that takes that long, and longer the first time."""
        calls: list[str] = []

        def call() -> None:
            self.log.append(name)
            self.faults += self.faults_a_call
            assert not gc.isenabled(), "the garbage collector may run"
            self.work(call_s + (0 if calls else first_s))
            calls.append(name)

        return Subject(name=name, call=call, timer=WallTimer(self.clock), input_shapes=((1, 3, 8, 8),), **of)  # type: ignore[arg-type]
