"""The stopwatch, on a clock where every step is written down."""

from __future__ import annotations

from itertools import pairwise

import pytest

from roofline.measurement.clock import MIN_BLOCK_S, SystemClock, WallTimer, least_block_s
from tests.measurement.fakes import FakeClock


class TickingClock(FakeClock):
    """Each reading takes 60 ns."""

    def now_s(self) -> float:
        self.time_s += 60e-9
        return self.time_s


def test_a_block_is_divided_by_its_calls() -> None:
    clock = FakeClock()

    def call() -> None:
        clock.time_s += 3e-3
        clock.cpu_s += 6e-3

    block = WallTimer(clock).block(call, 4)
    assert block.wall_s == pytest.approx(3e-3)
    assert block.cpu_s == pytest.approx(6e-3)
    assert block.kernel_s is None


def test_what_reading_the_clock_costs_is_taken_off() -> None:
    clock = TickingClock()
    timer = WallTimer(clock)
    assert timer.own_cost_s[0] == pytest.approx(60e-9, rel=1e-3)

    def call() -> None:
        clock.time_s += 1e-6

    assert timer.block(call, 1).wall_s == pytest.approx(1e-6, rel=1e-3)
    assert timer.block(lambda: None, 1).wall_s == pytest.approx(0, abs=1e-12)


def test_what_the_loop_costs_is_taken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn takes 30 ns, whatever is called; a function that does nothing then reads as nothing."""
    clock = FakeClock()
    timer = WallTimer(clock)
    span = timer._span

    def slow(call, calls):
        wall_s, cpu_s = span(call, calls)
        return wall_s + 30e-9 * calls, cpu_s

    monkeypatch.setattr(timer, "_span", slow)
    assert timer.own_cost_s == pytest.approx((0, 30e-9))
    assert timer.block(lambda: None, 1000).wall_s == pytest.approx(0, abs=1e-15)
    assert timer.block(lambda: clock.sleep(1e-6), 1000).wall_s == pytest.approx(1e-6)


def test_no_time_is_below_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    timer = WallTimer(FakeClock())
    timer.__dict__["own_cost_s"] = (1.0, 1.0)
    assert timer.block(lambda: None, 5).wall_s == 0


@pytest.mark.parametrize(("resolution_s", "least_s"), [(1e-9, MIN_BLOCK_S), (1e-6, 1e-3), (16e-3, 16.0)])
def test_a_block_is_long_for_its_clock(resolution_s: float, least_s: float) -> None:
    assert least_block_s(FakeClock(resolution_s=resolution_s)) == pytest.approx(least_s)


def test_the_clock_of_the_system_runs_on() -> None:
    clock = SystemClock()
    assert clock.resolution_s > 0
    readings = [clock.now_s() for _ in range(100)]
    assert all(after >= before for before, after in pairwise(readings))
    assert clock.process_s() >= 0
