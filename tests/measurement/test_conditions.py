"""What else the machine did, and what is said of it, each rule on numbers that a reader can check."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from roofline.measurement import conditions
from roofline.measurement.conditions import (
    FLAGS,
    Conditions,
    Reading,
    SystemProbe,
    between,
    flags_of,
    wait_until_quiet,
    window,
)
from tests.measurement.fakes import FakeClock

QUIET = Conditions(
    wall_s=1.0, process_s=2.0, others_s=0.0, steal_s=0.0, involuntary_switches=0, throttled_s=0.0, frequency_hz=3e9
)


def test_a_difference_of_readings_is_what_happened() -> None:
    before = Reading(at_s=10.0, process_s=1.0, busy_s=100.0, steal_s=4.0, involuntary_switches=7, throttled_s=0.5,
                     frequency_hz=3e9, load=1.0)  # fmt: skip
    after = Reading(at_s=12.0, process_s=4.0, busy_s=104.0, steal_s=4.1, involuntary_switches=9, throttled_s=0.7,
                    frequency_hz=2e9, load=2.0)  # fmt: skip
    found = between(before, after)
    assert found.wall_s == 2
    assert found.process_s == 3
    assert found.others_s == pytest.approx(1)  # 4 s of all less 3 s of ours
    assert found.steal_s == pytest.approx(0.1)
    assert found.involuntary_switches == 2
    assert found.throttled_s == pytest.approx(0.2)
    assert (found.frequency_hz, found.load) == (2e9, 2.0)


def test_page_faults_are_counted() -> None:
    found = between(Reading(at_s=0, process_s=0, page_faults=10), Reading(at_s=1, process_s=1, page_faults=17))
    assert found.page_faults == 7


class Busy:
    """A machine on which others keep that many of two cores busy, second by second; the last goes on."""

    cores = 2

    def __init__(self, *others: float) -> None:
        self.others, self.clock = others, FakeClock(time_s=0.0)

    def read(self, at_s: float) -> Reading:
        seconds = int(self.clock.time_s)
        busy_s = sum(self.others[min(i, len(self.others) - 1)] for i in range(seconds))
        return Reading(at_s=at_s, process_s=0.0, busy_s=busy_s, steal_s=0.0)


@pytest.mark.parametrize(
    ("others", "threads", "at_most_s", "is_quiet", "waited_s"),
    [
        ((0.0,), 2, 30, True, 1),
        ((1.0, 1.0, 0.05), 2, 30, True, 3),  # two busy seconds, then 5 % of a core
        ((1.0,), 1, 30, True, 1),  # the other core is enough
        ((1.0,), 2, 5, False, 5),
        ((1.0,), 2, 0, True, 0),  # not asked for
    ],
)
def test_a_quiet_machine_is_waited_for(
    others: tuple[float, ...], threads: int, at_most_s: float, is_quiet: bool, waited_s: float
) -> None:
    machine = Busy(*others)
    found = wait_until_quiet(machine, machine.clock, threads=threads, at_most_s=at_most_s)
    assert found is is_quiet
    assert machine.clock.time_s == waited_s


def test_ticks_that_lag_behind_are_no_negative_work_of_others() -> None:
    found = between(Reading(at_s=0, process_s=0, busy_s=1.0), Reading(at_s=0.005, process_s=0.01, busy_s=1.0))
    assert found.others_s == 0


def test_what_the_system_does_not_tell_stays_unknown() -> None:
    found = between(Reading(at_s=0, process_s=0), Reading(at_s=1, process_s=1))
    assert found == Conditions(wall_s=1, process_s=1)
    assert flags_of(found, threads=2, cores=2, top_frequency_hz=3e9) == ()


@pytest.mark.parametrize(
    ("changed", "more", "flags"),
    [
        ({}, {}, ()),
        ({}, {"factor": 2.21}, ("contended",)),
        ({}, {"factor": 2.2}, ()),
        ({"others_s": 0.11}, {}, ("crowded",)),  # two threads on two cores, and 11 % of a core more
        ({"others_s": 0.1}, {}, ()),
        ({"others_s": 1.0}, {"threads": 1}, ()),  # the other core is free for them
        ({"others_s": 1.2}, {"threads": 1}, ("crowded",)),
        ({"steal_s": 0.021}, {}, ("steal",)),  # of the 2 s that two cores have in a second
        ({"steal_s": 0.02}, {}, ()),
        ({"involuntary_switches": 1}, {}, ("preempted",)),
        ({"throttled_s": 0.01}, {}, ("throttled",)),
        ({"frequency_hz": 2.2e9}, {}, ("throttled",)),  # below 75 % of 3 GHz
        ({"frequency_hz": 2.3e9}, {}, ()),
    ],
)
def test_each_rule(changed: dict[str, Any], more: dict[str, Any], flags: tuple[str, ...]) -> None:
    given = {"threads": 2, "cores": 2, "top_frequency_hz": 3e9, **more}
    assert flags_of(replace(QUIET, **changed), **given) == flags
    assert set(flags) <= set(FLAGS)


def test_whether_others_were_busy_is_judged_over_a_second_around_a_short_block() -> None:
    """A tick of 10 ms within a block of 1 ms would else be ten cores."""
    readings = [Reading(at_s=i / 10, process_s=i / 10, busy_s=i / 10 + (0.01 if i >= 20 else 0)) for i in range(40)]
    block = between(readings[19], readings[20])
    around = window(readings, 19, 20)
    assert around.wall_s >= 1
    assert flags_of(block, around, threads=1, cores=1) == ()
    assert flags_of(block, threads=1, cores=1) == ()  # 10 ms in 100 ms is 10 %, and no more
    short = replace(block, wall_s=1e-3)
    assert flags_of(short, threads=1, cores=1) == ("crowded",)
    assert flags_of(short, around, threads=1, cores=1) == ()


def test_a_window_ends_where_the_session_does() -> None:
    readings = [Reading(at_s=i / 10, process_s=0) for i in range(3)]
    assert window(readings, 0, 1).wall_s == pytest.approx(0.2)


def test_the_probe_reads_this_system() -> None:
    probe = SystemProbe()
    reading = probe.read(3.0)
    assert reading.at_s == 3.0
    assert probe.cores >= 1
    assert reading.process_s > 0
    assert reading.busy_s is not None
    assert reading.busy_s > 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("usage_usec 5\nnr_periods 3\nnr_throttled 1\nthrottled_usec 1500000\n", 1.5),  # cgroup v2
        ("nr_periods 0\nnr_throttled 0\nthrottled_time 2000000000\n", 2.0),  # v1, in ns
        ("usage_usec 5\n", None),
    ],
)
def test_the_time_that_a_quota_took(
    text: str, seconds: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = tmp_path / "cpu.stat"
    stat.write_text(text)
    monkeypatch.setattr(conditions, "_cgroup_stat", lambda: stat)
    assert SystemProbe().read(0).throttled_s == seconds


def test_a_quota_that_cannot_be_read_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conditions, "_cgroup_stat", lambda: tmp_path / "gone")
    assert SystemProbe().read(0).throttled_s is None
