"""A session on a machine that exists on paper: what it finds, in which order, when it stops, and what it says."""

from __future__ import annotations

import gc
import math
import random
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from roofline.errors import MeasurementError
from roofline.measurement import session
from roofline.measurement.clock import Block
from roofline.measurement.result import Measurement
from roofline.measurement.session import FIRST_ANCHORS, Progress, Session
from roofline.measurement.stopping import WARM_CAP_S, Limits
from roofline.measurement.subject import Subject
from tests.measurement.fakes import ANCHOR_S, FakeClock, Machine, always


def run(machine: Machine, *subjects: Subject, **options: Any) -> Session:
    given = {"clock": machine.clock, "anchor": machine, "probe": machine, "rng": random.Random(1), "threads": 2}
    return session.run(list(subjects), **{**given, "reference_s": ANCHOR_S, **options})


def one(found: Session) -> Measurement:
    (measurement,) = found.measurements
    return measurement


# --- what it finds ----------------------------------------------------------------------------------------------------


def test_on_a_quiet_machine_both_latencies_are_the_models_own() -> None:
    machine = Machine()
    found = one(run(machine, machine.subject("net", 5e-3, first_s=1.0)))
    assert found.latency_s.median == pytest.approx(5e-3)
    assert found.reference_latency_s.median == pytest.approx(5e-3)
    assert found.machine_factor == pytest.approx(1)
    assert (found.status, found.left_out, dict(found.flags)) == ("ok", 0, {})
    assert found.cores_used == pytest.approx(2)
    assert found.warmup is not None
    assert found.warmup.first_call_s == pytest.approx(1.005)
    assert found.warmup.is_steady


def test_at_the_reference_state_a_slow_machine_makes_no_difference() -> None:
    """The machine drifts by 30 % and back within a minute, and one session is begun when it is slow."""

    def drift(at_s: float) -> float:
        return 1.15 + 0.15 * math.sin(at_s / 10)

    medians = []
    for start_s in (100.0, 115.7, 131.4):
        machine = Machine(slowdown=drift, noise=0.02)
        machine.clock.time_s = start_s
        medians.append(one(run(machine, machine.subject("net", 8e-3))))
    raw = [each.latency_s.median for each in medians]
    at_reference = [each.reference_latency_s.median for each in medians]
    assert max(raw) / min(raw) > 1.2
    assert max(at_reference) / min(at_reference) < 1.02
    assert at_reference[0] == pytest.approx(8e-3, rel=0.02)


def test_without_a_reference_state_that_of_the_session_is_taken() -> None:
    machine = Machine(slowdown=always(1.5))
    found = run(machine, machine.subject("net"), reference_s=None)
    assert found.anchor["reference_source"] == "this session"
    assert found.anchor["reference_s"] == pytest.approx([part * 1.5 for part in ANCHOR_S])
    assert one(found).machine_factor == pytest.approx(1)
    assert one(found).reference_latency_s.median == pytest.approx(one(found).latency_s.median)


def test_without_an_anchor_both_latencies_are_the_same() -> None:
    machine = Machine(slowdown=always(3.0))
    found = run(machine, machine.subject("net"), anchor=None, reference_s=None)
    assert found.anchor == {}
    assert machine.anchors == 0
    assert one(found).reference_latency_s == one(found).latency_s


def test_short_calls_are_timed_in_a_loop() -> None:
    machine = Machine()
    found = one(run(machine, machine.subject("op", 3e-6)))
    assert found.latency_s.median == pytest.approx(3e-6)
    assert {sample.calls for sample in found.samples} == {67}  # 200 us / 3 us, rounded up


def test_a_function_that_takes_no_time_is_not_called_noisy() -> None:
    """It reads 0 to 8 ns, as a loop that is taken off costs a bit more or less."""
    machine = Machine()
    subject = machine.subject("nothing", 0.0)
    readings = random.Random(3)

    class Timer:
        def block(self, call: Callable[[], object], calls: int) -> Block:
            machine.work(1e-3)
            return Block(wall_s=readings.uniform(0, 8e-9), cpu_s=0.0)

    subject.timer = Timer()
    assert one(run(machine, subject, limits=Limits(cap_s=2.0))).status == "ok"


def test_a_function_that_takes_no_time_takes_about_none() -> None:
    machine = Machine()
    found = one(run(machine, machine.subject("nothing", 1e-9)))
    assert found.latency_s.median == pytest.approx(1e-9)
    assert found.samples[0].calls >= 100_000


def test_a_long_call_is_a_block_of_its_own() -> None:
    machine = Machine()
    assert {sample.calls for sample in one(run(machine, machine.subject("net", 30e-3))).samples} == {1}


# --- warm-up ----------------------------------------------------------------------------------------------------------


def test_it_warms_up_until_three_windows_agree() -> None:
    """Each of the first 40 calls is 5 % shorter than the one before."""
    machine = Machine()
    calls: list[int] = []

    def call() -> None:
        machine.work(5e-3 * max(1.0, 1.05 ** (40 - len(calls))))
        calls.append(1)

    subject = machine.subject("net")
    subject.call = call
    found = one(run(machine, subject))
    assert found.warmup is not None
    assert found.warmup.is_steady
    assert 45 <= found.warmup.calls <= 60
    assert found.latency_s.p90 == pytest.approx(5e-3)  # none of the slow ones is a sample


def test_a_warm_up_that_never_settles_ends_and_is_told() -> None:
    machine = Machine(noise=3.0)
    found = one(run(machine, machine.subject("net", 20e-3), limits=Limits(cap_s=1.0)))
    assert found.warmup is not None
    assert not found.warmup.is_steady
    assert WARM_CAP_S <= found.warmup.wall_s < WARM_CAP_S + 1


def test_each_model_is_warmed_up_by_itself() -> None:
    machine = Machine()
    found = run(machine, machine.subject("a"), machine.subject("b", first_s=2.0))
    assert [each.warmup is not None and each.warmup.is_steady for each in found.measurements] == [True, True]


# --- turns ------------------------------------------------------------------------------------------------------------


def test_models_take_turns_in_an_order_drawn_anew() -> None:
    machine = Machine(noise=0.5)
    found = run(machine, *(machine.subject(name, 25e-3) for name in "abcd"), limits=Limits(cap_s=1.0))
    order = sorted((sample.at_s, each.name, sample.round) for each in found.measurements for sample in each.samples)
    rounds: dict[int, list[str]] = {}
    for _, name, number in order:
        rounds.setdefault(number, []).append(name)
    firsts = [tuple(dict.fromkeys(names)) for names in rounds.values()]
    assert all(sorted(names) == list("abcd") for names in firsts[:3])
    assert len(set(firsts)) > 2
    for names in list(rounds.values())[:3]:
        assert all(count == 3 for count in Counter(names).values())
        assert sum(one != other for one, other in pairwise(names)) == 3  # three blocks in a row, then the next


def test_the_order_is_that_of_the_seed() -> None:
    logs = []
    for seed in (1, 1, 2):
        machine = Machine()
        run(machine, *(machine.subject(name) for name in "abcd"), rng=random.Random(seed))
        logs.append("".join(machine.log))
    assert logs[0] == logs[1] != logs[2]


@pytest.mark.parametrize(("call_s", "anchors"), [(5e-3, 1), (0.1, 3)])
def test_every_sample_has_an_anchor_on_both_sides_and_a_long_one_has_more(call_s: float, anchors: int) -> None:
    machine = Machine()
    found = one(run(machine, machine.subject("net", call_s)))
    assert machine.anchors == FIRST_ANCHORS + anchors * len(found.samples)


def test_a_long_sample_is_judged_by_the_anchors_beside_it() -> None:
    """The machine turns slow for half a minute, in which a call of 2 s is timed a few times."""
    machine = Machine(slowdown=lambda at_s: 1.6 if at_s % 60 > 30 else 1.0)
    found = one(run(machine, machine.subject("net", 2.0), limits=Limits(min_rounds=10, cap_s=120)))
    factors = [sample.factor for sample in found.samples]
    assert 1.0 in [round(factor, 9) for factor in factors]
    assert 1.6 in [round(factor, 9) for factor in factors]
    assert found.reference_latency_s.ci95 == pytest.approx((2.0, 2.0))


def test_before_a_short_block_one_call_goes_untimed() -> None:
    for call_s, lead_in in ((10e-3, 1), (30e-3, 0)):
        machine = Machine()
        found = one(run(machine, machine.subject("net", call_s)))
        assert found.warmup is not None
        assert len(machine.log) == found.warmup.calls + len(found.samples) * (1 + lead_in)


def test_the_garbage_collector_is_off_in_blocks_and_as_it_was_afterwards() -> None:
    assert gc.isenabled()
    machine = Machine()
    run(machine, machine.subject("net"))  # its calls assert it
    assert gc.isenabled()
    gc.disable()
    try:
        run(machine, machine.subject("net"))
        assert not gc.isenabled()
    finally:
        gc.enable()


# --- when it stops ----------------------------------------------------------------------------------------------------


def test_a_steady_model_takes_the_fewest_samples() -> None:
    machine = Machine()
    found = one(run(machine, machine.subject("net"), limits=Limits(min_blocks=10, min_rounds=3)))
    assert len(found.samples) == 12  # four turns of three


def test_rounds_are_at_least_those_asked_for() -> None:
    machine = Machine()
    found = one(run(machine, machine.subject("net"), limits=Limits(min_rounds=8)))
    assert max(sample.round for sample in found.samples) == 7


def test_more_noise_takes_more_samples_and_reaches_the_same_target() -> None:
    counts = []
    for noise in (0.02, 0.2):
        machine = Machine(noise=noise)
        found = one(run(machine, machine.subject("net"), limits=Limits(cap_s=60)))
        assert found.reference_latency_s.half_width <= 0.015
        assert found.status == "ok"
        counts.append(len(found.samples))
    assert counts[1] > 2 * counts[0]


def test_when_time_is_up_it_says_so() -> None:
    machine = Machine(noise=0.3)
    found = one(run(machine, machine.subject("net", 50e-3), limits=Limits(cap_s=1.0)))
    assert found.status == "capped"
    assert sum(sample.wall_s for sample in found.samples) < 1.2


def test_a_model_slower_than_its_time_has_one_sample() -> None:
    machine = Machine()
    found = one(run(machine, machine.subject("net", 30.0), limits=Limits(cap_s=10.0)))
    assert (len(found.samples), found.status) == (1, "capped")


# --- faults -----------------------------------------------------------------------------------------------------------


def test_samples_under_heavy_contention_are_kept_marked_and_left_out() -> None:
    """Every eighth second the machine is 13 times as slow, as with a busy thread on each core."""

    def busy(at_s: float) -> float:
        return 13.0 if at_s % 8 < 1 else 1.0

    machine = Machine(slowdown=busy)
    found = one(run(machine, machine.subject("net", 30e-3), limits=Limits(min_rounds=80, cap_s=60)))
    assert found.left_out > 0
    assert found.flags["contended"] == found.left_out
    assert found.latency_s.n + found.left_out == len(found.samples)
    assert found.latency_s.p90 == pytest.approx(30e-3)
    assert max(sample.wall_s for sample in found.samples) == pytest.approx(0.39)  # it is still there
    assert found.status == "ok"


def test_on_a_machine_that_is_busy_all_the_time_nothing_is_measured() -> None:
    """A factor of 5 is beyond what an anchor repairs, so no figure is made of it."""
    machine = Machine(slowdown=always(5.0))
    found = run(machine, machine.subject("net"), limits=Limits(cap_s=2.0))
    assert found.measurements == ()
    (failure,) = found.failures
    assert failure.is_contention
    assert failure.left_out == len(failure.samples) > 10
    assert failure.reason == (
        f"all {failure.left_out} samples were taken under heavy contention, as the machine was 5 times as slow as at "
        "reference"
    )
    assert failure.samples[0].wall_s == pytest.approx(25e-3)  # it is still there


def test_where_some_samples_count_the_others_are_left_out_and_all_are_counted() -> None:
    """Busy for the first ten seconds."""
    machine = Machine(slowdown=lambda at_s: 13.0 if at_s < 110 else 1.0)
    found = one(run(machine, machine.subject("net", 30e-3), limits=Limits(cap_s=60)))
    assert found.status == "contended"
    assert 0 < found.latency_s.n < found.left_out
    assert found.latency_s.n + found.left_out == len(found.samples)
    assert found.latency_s.median == pytest.approx(30e-3)


@pytest.mark.parametrize(
    ("machine", "flag", "status"),
    [
        (Machine(others=0.5), "crowded", "contended"),
        (Machine(steal=0.05), "steal", "ok"),
        (Machine(others=0.05), "", "ok"),
    ],
)
def test_what_others_do_is_flagged(machine: Machine, flag: str, status: str) -> None:
    found = one(run(machine, machine.subject("net")))
    assert found.status == status
    assert dict(found.flags) == ({flag: len(found.samples)} if flag else {})


def test_a_thread_taken_off_its_core_is_flagged() -> None:
    machine = Machine()
    subject = machine.subject("net")
    call = subject.call

    def preempted() -> None:
        machine.switches += 1
        call()

    subject.call = preempted
    found = one(run(machine, subject))
    assert found.flags["preempted"] == len(found.samples)
    assert found.status == "ok"


def test_a_clock_that_falls_is_throttling() -> None:
    machine = Machine(frequency_hz=3e9)
    subject = machine.subject("net")
    call = subject.call

    def hot() -> None:
        call()
        machine.frequency_hz = 3e9 if len(machine.log) < 30 else 2e9

    subject.call = hot
    found = one(run(machine, subject, limits=Limits(min_rounds=20)))
    assert found.status == "throttled"
    assert 0 < found.flags["throttled"] < len(found.samples)


class Gpu:
    """Blocks of 1 ms; every second of them has gaps, and each was tried three times."""

    def __init__(self, clock: FakeClock) -> None:
        self.clock, self.blocks = clock, 0

    def block(self, call: Callable[[], object], calls: int) -> Block:
        call()
        self.blocks += 1
        self.clock.time_s += 1e-3
        return Block(wall_s=1e-3, cpu_s=1e-3, kernel_s=1e-3, has_gaps=self.blocks % 2 == 0, retries=2)


def test_what_an_accelerator_had_trouble_with_is_told() -> None:
    machine = Machine()
    subject = machine.subject("net")
    subject.timer = Gpu(machine.clock)
    found = one(run(machine, subject))
    gaps, retries = found.notes
    n = len(found.samples)
    in_gaps = int(gaps.split()[1])
    assert abs(in_gaps - n / 2) <= 0.5
    assert gaps.startswith(f"in {in_gaps} of {n} blocks the kernel time may hold waits for the host")
    assert retries.startswith(f"{2 * n} blocks were thrown away")


def test_a_quota_that_is_used_up_is_throttling() -> None:
    machine = Machine()
    subject = machine.subject("net")
    call = subject.call

    def held_back() -> None:
        call()
        machine.throttled_s += 1e-3

    subject.call = held_back
    assert one(run(machine, subject)).status == "throttled"


def test_a_model_that_does_not_run_stops_no_other() -> None:
    machine = Machine()

    def fail() -> None:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied\nand a long story")

    broken = machine.subject("broken")
    broken.call = fail
    found = run(machine, machine.subject("a"), broken, machine.subject("b"))
    assert [each.name for each in found.measurements] == ["a", "b"]
    (failure,) = found.failures
    assert failure.model == "broken"
    assert failure.reason == (
        "broken does not run in fp32 on cpu: RuntimeError: mat1 and mat2 shapes cannot be multiplied"
    )


@pytest.mark.parametrize("fails_at", [5, 30], ids=["in its warm-up", "while it is timed"])
def test_a_model_that_fails_later_stops_no_other(fails_at: int) -> None:
    machine = Machine()
    broken = machine.subject("broken")
    call = broken.call

    def fail() -> None:
        if machine.log.count("broken") >= fails_at:
            raise ValueError("no more memory\nand a long story")
        call()

    broken.call = fail
    told: list[Progress] = []
    found = run(machine, machine.subject("a"), broken, machine.subject("b"), progress=told.append)
    assert [each.name for each in found.measurements] == ["a", "b"]
    assert [each.status for each in found.measurements] == ["ok", "ok"]
    assert [failure.to_dict() for failure in found.failures] == [
        {"model": "broken", "reason": "broken ran, and then failed: ValueError: no more memory", "left_out": 0}
    ]
    assert {each.models for each in told} == {3}
    assert gc.isenabled()


def test_what_fails_to_compile_is_measured_in_eager_mode() -> None:
    machine = Machine()
    subject = machine.subject("net", mode="compile")
    subject.fallback = subject.call

    def fail() -> None:
        raise RuntimeError("no compiler")

    subject.call = fail
    found = one(run(machine, subject))
    assert found.mode == "eager"
    assert found.notes == ("compile failed, so it ran in eager mode: RuntimeError: no compiler",)
    assert found.latency_s.median == pytest.approx(5e-3)


def test_what_runs_in_neither_mode_is_a_failure() -> None:
    def fail() -> None:
        raise TypeError("no")

    machine = Machine()
    subject = machine.subject("net", mode="compile")
    subject.call = subject.fallback = fail
    with pytest.raises(MeasurementError, match="net does not run in fp32 on cpu: TypeError: no"):
        subject.first_call()


# --- Ctrl-C -----------------------------------------------------------------------------------------------------------


def interrupted_after(calls: int) -> tuple[Machine, Session]:
    machine = Machine()
    subjects = [machine.subject(name) for name in "abc"]
    for subject in subjects:

        def call(own=subject.call) -> None:
            if len(machine.log) >= calls:
                raise KeyboardInterrupt
            own()

        subject.call = call
    return machine, run(machine, *subjects, limits=Limits(min_rounds=50))


def test_after_ctrl_c_there_is_what_was_done() -> None:
    _, found = interrupted_after(200)
    assert found.is_interrupted
    assert [each.name for each in found.measurements] == list("abc")
    assert all(each.is_interrupted for each in found.measurements)
    assert all(each.latency_s.median == pytest.approx(5e-3) for each in found.measurements)
    assert found.failures == ()
    assert gc.isenabled()


def test_after_ctrl_c_in_the_warm_up_there_is_nothing_and_it_is_said() -> None:
    _, found = interrupted_after(5)
    assert found.is_interrupted
    assert found.measurements == ()
    assert sorted(failure.model for failure in found.failures) == list("abc")
    assert {failure.reason for failure in found.failures} == {session.NOT_TIMED}


def test_a_model_that_was_done_before_ctrl_c_is_whole() -> None:
    machine = Machine(noise=0.1)
    steady, slow = machine.subject("steady"), machine.subject("slow", 25e-3)
    call = slow.call

    def stop() -> None:
        if machine.clock.time_s > 108:
            raise KeyboardInterrupt
        call()

    slow.call = stop
    found = run(machine, steady, slow, limits=Limits(target=0.03, min_rounds=5, cap_s=2.0))
    whole, cut = found.measurements
    assert not whole.is_interrupted or cut.is_interrupted


# --- progress ---------------------------------------------------------------------------------------------------------


def test_it_tells_how_far_it_is() -> None:
    machine = Machine(noise=0.2)
    told: list[Progress] = []
    run(machine, machine.subject("a"), machine.subject("b", 10e-3), progress=told.append)
    assert [each.phase for each in told[:2]] == ["warm-up", "warm-up"]
    assert {each.model for each in told} == {"a", "b"}
    timing = [each for each in told if each.phase == "timing"]
    assert timing[0].estimate_s is None
    assert timing[-1].estimate_s is not None
    assert timing[-1].half_width is not None
    assert all(each.models == 2 and 0 <= each.done <= 2 and each.left_s >= 0 for each in told)
    assert timing[-1].left_s < told[0].left_s
    assert [each.round for each in timing] == sorted(each.round for each in timing)


def test_what_is_left_has_the_layers_in_it() -> None:
    left: list[list[float]] = []
    for layers_s in (0.0, 7.0):
        machine = Machine(noise=0.2)
        told: list[Progress] = []
        run(machine, machine.subject("a"), machine.subject("b"), progress=told.append, limits=Limits(layers_s=layers_s))
        left.append([each.left_s for each in told])
    assert left[1] == pytest.approx([left_s + 2 * 7 for left_s in left[0]])
