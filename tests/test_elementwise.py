"""Activation functions element by element: what is timed, and what is made of the times."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch

from roofline import RooflineError
from roofline.elementwise import (
    COPY,
    OPERATIONS,
    SCALE,
    Level,
    _flushing_subnormals,
    levels_of,
    measure_elementwise,
    operation,
)
from roofline.measurement import session
from roofline.measurement.clock import Block, SystemClock, WallTimer
from roofline.measurement.result import Failure
from roofline.models.activations import make_activation
from tests.measurement.fakes import Machine
from tests.timed_activations import CALL_S, FACTOR, LEVELS, measure_each, run_of, timed_each


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(1000, generator=torch.Generator().manual_seed(1)) * 4


@pytest.mark.parametrize("name", OPERATIONS)
def test_what_is_timed_is_the_function_of_the_zoo(name: str, x: torch.Tensor) -> None:
    expected = make_activation(name, 1)(x)
    out, buffer = torch.empty_like(x), x.clone()
    operation(name)(x, out)
    assert torch.equal(out, expected)
    operation(name)(buffer, buffer)
    assert torch.equal(buffer, expected)


def test_the_references_move_what_they_read(x: torch.Tensor) -> None:
    for name in (COPY, SCALE):
        out = torch.empty_like(x)
        operation(name)(x, out)
        assert torch.equal(out, x)


@pytest.mark.parametrize("name", [*OPERATIONS, COPY, SCALE])
def test_nothing_is_allocated(name: str, x: torch.Tensor) -> None:
    out = torch.empty_like(x)
    place = out.data_ptr()
    result = operation(name)(x, out)
    assert out.data_ptr() == place
    assert isinstance(result, torch.Tensor)
    assert result.data_ptr() == place


# --- where the tensors are --------------------------------------------------------------------------------------------


def test_footprints_lie_well_within_their_level_and_well_beyond_the_one_before() -> None:
    sizes = [48 * 2**10, 2 * 2**20, 36 * 2**20]  # of a core that sells as "Sapphire Rapids", and its neighbours' L3
    levels = levels_of(sizes, free_bytes=16 * 2**30)
    assert [level.name for level in levels] == ["L1", "L2", "L3", "memory"]
    for i, level in enumerate(levels[:-1]):
        assert level.footprint_bytes <= sizes[i] / 2
        assert i == 0 or level.footprint_bytes >= 2 * sizes[i - 1]
    assert levels[-1].footprint_bytes == 4 * 36 * 2**20


@pytest.mark.parametrize(
    ("sizes", "free", "name", "footprint"),
    [
        ([2**15, 2**20, 300 * 2**20], 2**40, "L3 or memory", 2**30),  # more than 1 GiB would be needed
        ([2**15, 2**20, 2**25], 2**28, "L3 or memory", 2**25),  # little is free
        ([2**15, 2**20], 2**40, "memory", 2**22),
        ([], 2**40, "memory", 2**30),
    ],
)
def test_what_may_still_be_in_a_cache_is_called_so(sizes: list[int], free: int, name: str, footprint: int) -> None:
    last = levels_of(sizes, free)[-1]
    assert (last.name, last.footprint_bytes) == (name, footprint)


def test_in_place_one_tensor_is_as_large_as_two() -> None:
    level = Level(name="L2", footprint_bytes=8000)
    assert (level.elements(False), level.elements(True)) == (1000, 2000)
    assert Level(name="one element", footprint_bytes=4).elements(False) == 1


def test_a_session_times_each_function_at_each_level_and_on_one_element() -> None:
    asked: dict[str, Any] = {}

    def noted(factories: Any, request: Any, *, labels: Any = (), **_: Any) -> Any:
        for label, factory in zip(labels, factories, strict=True):
            asked[label] = factory(WallTimer(SystemClock()))
        return measure_each(factories, request, labels=labels)

    timed_each(["relu", "silu"], measure=noted)
    assert len(asked) == 3 * 2 * 4  # a reference and two functions, in place and not, three levels and one element
    assert len({id(subject) for subject in asked.values()}) == len(asked)
    for label, subject in asked.items():
        assert subject.label == label
        output = subject.call()
        elements = (
            1
            if "one element" in label
            else {level.name: level for level in LEVELS}[label.split(", ")[1]].elements("in place" in label)
        )
        assert output.numel() == elements
    with torch.inference_mode():
        assert asked["relu, L1, out of place"].call().min() == 0


# --- what is overwritten ----------------------------------------------------------------------------------------------


def subjects(acts: list[str]) -> dict[str, Any]:
    """What a session times, by label."""
    made: dict[str, Any] = {}

    def noted(factories: Any, request: Any, *, labels: Any = (), **_: Any) -> Any:
        made.update(
            {label: factory(WallTimer(SystemClock())) for label, factory in zip(labels, factories, strict=True)}
        )
        return measure_each(factories, request, labels=labels)

    timed_each(acts, measure=noted)
    return made


def first_result(subject: Any) -> torch.Tensor:
    """Of the first call of a block."""
    with subject.running():
        result = subject.call()
    assert isinstance(result, torch.Tensor)
    return result.clone()


def test_in_place_a_function_meets_nothing_that_another_left() -> None:
    """ELU after ReLU and sigmoid, which leave no negative number, reads what ELU alone does: numbers of N(0, 1)."""
    alone, among = subjects(["elu"]), subjects(["relu", "sigmoid", "elu"])
    for level in ("L1", "L2", "memory"):
        for name in ("relu", "sigmoid", "elu"):
            first_result(among[f"{name}, {level}, in place"])
        result = first_result(among[f"elu, {level}, in place"])
        assert torch.equal(result, first_result(alone[f"elu, {level}, in place"]))
        assert (result < 0).float().mean() == pytest.approx(0.5, abs=0.03)  # 4,096 numbers: 0.03 is four deviations


def test_each_block_starts_from_the_same_numbers() -> None:
    subject = subjects(["sigmoid"])["sigmoid, L2, in place"]
    first = first_result(subject)
    with subject.running():
        for _ in range(100):
            subject.call()
    assert torch.equal(first_result(subject), first)


def test_what_is_only_read_stays_what_it_is() -> None:
    made = subjects(["relu", "sigmoid"])
    copied = first_result(made["copy, L2, out of place"])
    for label in ("relu, L2, in place", "sigmoid, L2, out of place", "relu, L2, out of place"):
        first_result(made[label])
    assert torch.equal(first_result(made["copy, L2, out of place"]), copied)


def test_a_session_fills_the_buffer_before_each_block() -> None:
    """All of its blocks, with the calls that lead in to them, find the same numbers."""
    subject = subjects(["sigmoid"])["sigmoid, L1, in place"]
    found: list[torch.Tensor] = []

    class Noting:
        def block(self, call: Any, calls: int) -> Block:
            found.append(call().clone())
            return Block(wall_s=1e-3, cpu_s=1e-3)

    subject.timer = Noting()
    machine = Machine()
    session.run([subject], clock=machine.clock, anchor=None, probe=machine)
    timed = found[-session.BLOCKS_A_TURN * 3 :]
    assert len(found) > len(timed)
    assert all(torch.equal(result, timed[0]) for result in timed)


# --- subnormal numbers ------------------------------------------------------------------------------------------------


def halvings(calls: int) -> torch.Tensor:
    """SiLU in place so often that what was near 1 is subnormal."""
    x = torch.ones(64)
    for _ in range(calls):
        operation("silu")(x, x)
    return x


def test_silu_in_place_leads_to_subnormal_numbers_unless_they_count_as_zeros() -> None:
    tiny = torch.finfo(torch.float32).tiny
    assert ((halvings(140) > 0) & (halvings(140) < tiny)).all()
    with _flushing_subnormals():
        if not torch.set_flush_denormal(True):
            pytest.skip("this processor cannot flush subnormal numbers")
        assert (halvings(140) == 0).all()
    assert ((halvings(140) > 0) & (halvings(140) < tiny)).all()


def test_they_stay_zeros_where_they_were_before() -> None:
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush subnormal numbers")
    try:
        timed_each(["silu"])
        assert (halvings(140) == 0).all()
    finally:
        torch.set_flush_denormal(False)


# --- what came of it --------------------------------------------------------------------------------------------------


def test_bytes_a_second_and_bounds_by_hand() -> None:
    result = timed_each()
    # L2, out of place: 2^17 bytes are two tensors of 16,384 elements. A copy moves them in 1.31 us at 1e11 bytes/s, and
    # its call takes 1 us; SiLU computes for 14.9 us.
    copy, relu, silu = (result.find(name, "L2", False) for name in (COPY, "relu", "silu"))
    assert copy is not None
    assert relu is not None
    assert silu is not None
    work_s = 2**17 / 1e11
    assert copy.elements == 2**14
    assert copy.latency_s == pytest.approx(FACTOR * (CALL_S + work_s))  # as the stopwatch had it
    assert relu.bytes_per_s == pytest.approx(2**17 / (FACTOR * (CALL_S + work_s)))
    assert relu.overhead_s == pytest.approx(FACTOR * CALL_S)
    assert relu.speed == pytest.approx(1)
    assert silu.latency_s == pytest.approx(FACTOR * (2**14 / 1.1e9 + CALL_S))
    assert silu.speed == pytest.approx(work_s / (2**14 / 1.1e9))
    assert (copy.bound, relu.bound, silu.bound) == ("memory", "memory", "compute")
    assert silu.vector_ops_per_s == pytest.approx(15 * 1.1e9 / FACTOR)  # 15 weighted ops an element: docs/method.md
    assert relu.vector_ops_per_s is None


def test_in_place_it_is_twice_the_elements_beside_a_multiplication() -> None:
    relu = timed_each().find("relu", "L2", True)
    assert relu is not None
    assert relu.elements == 2**15
    assert relu.latency_s == pytest.approx(FACTOR * (CALL_S + 8 * 2**15 / 1e11))
    assert relu.speed == pytest.approx(1)
    assert relu.bound == "memory"


def test_where_the_call_takes_longer_than_the_work_nothing_else_is_said() -> None:
    relu = timed_each().find("relu", "L1", False)  # 16 KiB at 2e11 bytes/s are 82 ns, of a call of 1 us
    assert relu is not None
    assert relu.bound == "overhead"


def test_in_memory_even_silu_waits_for_it() -> None:
    """2 MiB at 1e10 bytes/s take 210 us, and 2^18 elements at 1.1e9 a second 238 us."""
    silu = timed_each().find("silu", "memory", False)
    assert silu is not None
    assert silu.speed == pytest.approx(0.88)
    assert silu.bound == "memory"


def test_the_verdict_names_what_sets_the_time() -> None:
    verdict = timed_each().verdict()
    assert "In L2, memory sets the time of ReLU and h-swish, arithmetic that of SiLU." in verdict
    assert verdict.startswith("In L1, arithmetic sets the time of SiLU, the call itself that of ReLU and h-swish.")


def test_a_factor_of_convolutions_changes_no_bandwidth() -> None:
    """The same stopwatch beside an anchor that calls the machine fast, or slow: the same bytes a second."""

    def beside(factor: float) -> Any:
        def measured(factories: Any, request: Any, *, labels: Any = (), **_: Any) -> Any:
            run = measure_each(factories, request, labels=labels)
            return run_of(
                [
                    replace(item, reference_latency_s=replace(item.latency_s, median=item.latency_s.median / factor))
                    for item in run.measurements
                ]
            )

        return [timing.bytes_per_s for timing in timed_each(measure=measured).timings]

    assert beside(0.5) == beside(2.0)


def test_what_was_not_measured_is_left_out_and_said() -> None:
    def some(factories: Any, request: Any, *, labels: Any = (), **_: Any) -> Any:
        run = measure_each(factories, request, labels=labels)
        kept = [item for item in run.measurements if item.name != "relu, L2, out of place"]
        failure = Failure(model="relu, L2, out of place", reason="interrupted before it was timed")
        return run_of(kept, failures=(failure,), is_interrupted=True)

    result = timed_each(measure=some)
    assert result.find("relu", "L2", False) is None
    assert result.find("relu", "L2", True) is not None
    told = " ".join(result.notes())
    assert "relu, L2, out of place was not measured: interrupted" in told
    assert "stopped by hand" in told


def test_of_many_that_were_not_measured_the_number_is_told() -> None:
    def none(factories: Any, request: Any, *, labels: Any = (), **_: Any) -> Any:
        failures = tuple(Failure(model=label, reason="interrupted before it was timed") for label in labels)
        return run_of([], failures=failures, is_interrupted=True)

    result = timed_each(["relu"], measure=none)
    assert result.verdict() == "Nothing was measured."
    assert "16 timings were not measured: interrupted before it was timed." in result.notes()


def test_without_a_reference_there_is_no_speed() -> None:
    def some(factories: Any, request: Any, *, labels: Any = (), **_: Any) -> Any:
        run = measure_each(factories, request, labels=labels)
        return run_of([item for item in run.measurements if not item.name.startswith(COPY)])

    relu = timed_each(measure=some).find("relu", "memory", False)
    assert relu is not None
    assert (relu.speed, relu.bound) == (None, "overhead")


def test_doubt_is_told() -> None:
    def crowded(factories: Any, request: Any, *, labels: Any = (), **_: Any) -> Any:
        run = measure_each(factories, request, labels=labels)
        return run_of([replace(item, status="contended") for item in run.measurements])

    result = timed_each(["relu"], measure=crowded)
    assert "measure again on an idle machine" in result.verdict()
    assert "Of 12 timings: 12 contended." in result.notes()


def test_the_json_has_what_its_schema_promises() -> None:
    data = json.loads(timed_each().to_json())
    assert data["schema"] == "roofline/elementwise/1"
    assert {(row["activation"], row["level"], row["in_place"]) for row in data["rows"]} == {
        (name, level.name, in_place)
        for level in LEVELS
        for in_place in (False, True)
        for name in ("relu", "hardswish", "silu", SCALE if in_place else COPY)
    }
    assert data["levels"] == [{"name": level.name, "footprint_bytes": level.footprint_bytes} for level in LEVELS]


# --- wrong input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("acts", "said"),
    [
        (["rulu"], "unknown activation 'rulu'"),
        (["se_relu"], "SE-ReLU does not work on each element alone"),
        (["prelu"], "PReLU does not work on each element alone, or has no kernel"),
    ],
)
def test_what_cannot_be_timed_is_said_in_one_line(acts: list[str], said: str) -> None:
    with pytest.raises(RooflineError, match=said) as raised:
        measure_elementwise(acts, levels=LEVELS, measure=measure_each)
    assert "\n" not in str(raised.value)
