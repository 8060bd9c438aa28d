"""The sweep of the ridge point: by hand, against the engine, and against brute force in exact fractions."""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import roofline
from roofline.conventions import conventions
from roofline.curves import Curve, Stretch, order
from roofline.engine import layer_times
from roofline.errors import ModelError, ProfileError, RooflineError, TraceError
from roofline.layers import KINDS, LayerTable
from roofline.profiles import load_all, load_profile
from roofline.sweep import (
    OPERATIONS,
    Candidate,
    Coincidence,
    Crossing,
    MarkedProfile,
    RidgeSweep,
    spaced,
    sweep,
    sweep_layers,
)

pytestmark = pytest.mark.usefixtures("traced_once")

laws = settings(deadline=None, max_examples=60)

Layers = Sequence[tuple[int, int]]  # MACs and bytes of each
TINY = 1e-12  # relative


def table(layers: Layers, kinds: Sequence[str] | None = None) -> LayerTable:
    """A table of these layers, whatever they compute."""

    def column(values: Sequence[object]) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
        return np.fromiter(values, dtype=object)

    counts = np.array(layers, dtype=np.int64).reshape(-1, 2)
    nothing = np.zeros(len(layers), dtype=np.int64)
    return LayerTable(
        name=column([f"layer{number}" for number in range(len(layers))]),
        kind=column(kinds or ["other"] * len(layers)),
        ops=column(["op"] * len(layers)),
        input_shape=column([(1,)] * len(layers)),
        output_shape=column([(1,)] * len(layers)),
        kernel=column([(1,)] * len(layers)),
        macs=counts[:, 0].copy(),
        vector_ops=nothing,
        weight_bytes=counts[:, 1].copy(),
        input_bytes=nothing,
        output_bytes=nothing,
        external_bytes=nothing,
        fusion="none",
        dtype="int8",
        fused_activations=frozenset(),
        transposes=False,
        params=0,
        peak_activation_bytes=0,
    )


def curve(layers: Layers) -> Curve:
    return Curve.from_layers(table(layers).macs, table(layers).mem_bytes)


def swept(
    *models: tuple[Layers, float | None],
    ridge: tuple[float, float] = (0.0, 50.0),
    points: int = 11,
    normalisation: str = "peak",
) -> RidgeSweep:
    """A sweep of models called A, B, C and so on."""
    candidates = [
        Candidate(name=name, layers=table(layers), top1=top1)
        for name, (layers, top1) in zip("ABCDEFGH", models, strict=False)
    ]
    return sweep_layers(candidates, ridge=ridge, points=points, normalisation=normalisation)


def exact_time(layers: Layers, ridge_point: float) -> Fraction:
    """Eq. 1 at a peak of 1, without rounding."""
    return sum((max(Fraction(macs), Fraction(ridge_point) * size) for macs, size in layers), Fraction(0))


def engine_time(layers: Layers, ridge_points: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[float]:
    """The same by `roofline.engine`, at a bandwidth of 1 byte/s."""
    macs, mem_bytes = np.array(layers, dtype=np.int64).reshape(-1, 2).T
    *_, latency_s = layer_times(macs, mem_bytes, macs_per_s=ridge_points[:, None], bytes_per_s=1.0)
    return latency_s.sum(axis=1).tolist()  # type: ignore[no-any-return]


# Two kinds of models: of realistic counts, and of counts so small that ties, touches and coincidences are common.
amounts = st.integers(0, 10**12)
large = st.lists(st.tuples(amounts, amounts), max_size=12)
small = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6)), max_size=5)
working = st.lists(st.tuples(st.integers(1, 10**12), st.integers(1, 10**12)), min_size=1, max_size=8)
seeds = st.integers(0, 2**32 - 1)


# --- by hand --------------------------------------------------------------------------------------------------------

# A: 110 up to ridge point 1, 100 + 10 RP up to 10, then 20 RP.   B: 60 up to 2, then 30 RP.   They meet at 5, in 150.
A: Layers = [(100, 10), (10, 10)]
B: Layers = [(60, 30)]


def test_two_models_by_hand() -> None:
    result = swept((A, 70.0), (B, 80.0), ridge=(0, 50), points=6)
    assert result.ridge_points.tolist() == [0, 10, 20, 30, 40, 50]
    of_a, of_b = result.models
    assert of_a.latency.tolist() == [110, 200, 400, 600, 800, 1000]
    assert of_b.latency.tolist() == [60, 300, 600, 900, 1200, 1500]
    assert (of_a.macs, of_a.mem_bytes, of_b.macs, of_b.mem_bytes) == (110, 20, 60, 30)
    assert of_a.curve.knees.tolist() == [1, 10]
    assert of_a.curve.slope([0, 1, 1.5, 10, 11]).tolist() == [0, 0, 10, 10, 20]
    assert of_a.curve.memory_bound_share([0, 1, 5, 11]).tolist() == [0, 0, 50 / 150, 1]
    assert result.crossings == (Crossing(a="B", b="A", ridge_point=5.0),)
    assert result.pareto_intervals == {"A": ((5.0, 50.0),), "B": ((0.0, 50.0),)}


def test_the_same_with_the_bandwidth_fixed() -> None:
    fixed_peak = swept((A, 70.0), (B, 80.0), ridge=(0, 50), points=6)
    result = swept((A, 70.0), (B, 80.0), ridge=(0, 50), points=6, normalisation="bandwidth")
    assert result.models[0].latency.tolist() == [math.inf, 20, 20, 20, 20, 20]
    assert result.models[1].latency.tolist() == [math.inf, 30, 30, 30, 30, 30]
    assert result.crossings == fixed_peak.crossings
    assert result.pareto_intervals == fixed_peak.pareto_intervals


def test_one_ridge_point_by_hand() -> None:
    fastest, slower = swept((A, 70.0), (B, 80.0)).at(4)
    assert (fastest.name, fastest.latency, fastest.slope, fastest.on_front) == ("B", 120, 30, True)
    assert (slower.name, slower.latency, slower.slope, slower.on_front) == ("A", 140, 10, False)
    assert (fastest.memory_bound_share, slower.memory_bound_share) == (1, 40 / 140)


def test_at_a_ridge_point_beyond_the_range_models_still_rank() -> None:
    result = swept((A, 70.0), (B, None), ridge=(0, 4), normalisation="bandwidth")
    assert [(row.name, row.latency, row.on_front) for row in result.at(100)] == [("A", 20, True), ("B", 30, None)]
    assert [row.name for row in result.at(0)] == ["B", "A"]  # both take for ever: by MACs
    assert [row.latency for row in result.at(0)] == [math.inf, math.inf]


# --- one curve ------------------------------------------------------------------------------------------------------


@laws
@given(large | small, seeds)
def test_the_curve_is_the_engine_at_1000_random_ridge_points(layers: Layers, seed: int) -> None:
    random = np.random.default_rng(seed)
    points = np.concatenate([random.uniform(0, 500, 500), 10 ** random.uniform(-9, 15, 500)])
    fixed_bandwidth = engine_time(layers, points)
    assert curve(layers).time(points, normalisation="bandwidth").tolist() == pytest.approx(fixed_bandwidth, rel=TINY)
    assert (curve(layers).time(points) / points).tolist() == pytest.approx(fixed_bandwidth, rel=TINY)


@laws
@given(large | small)
def test_the_curve_is_exact_at_and_beside_its_knees(layers: Layers) -> None:
    knees = curve(layers).knees
    for points in (knees, np.nextafter(knees, 0), np.nextafter(knees, np.inf)):
        expected = [float(exact_time(layers, point)) for point in points.tolist()]
        assert curve(layers).time(points).tolist() == pytest.approx(expected, rel=1e-15, abs=0)


@laws
@given(large | small, seeds)
def test_the_curve_is_convex_and_never_falls(layers: Layers, seed: int) -> None:
    points = np.sort(np.random.default_rng(seed).uniform(0, 500, 200))
    time = curve(layers).time(points)
    assert (np.diff(time) >= -TINY * time[1:]).all()
    assert (np.diff(curve(layers).time(points, normalisation="bandwidth")) <= TINY * time[:-1] / points[:-1]).all()
    assert (np.diff(curve(layers).slope(points)) >= 0).all()
    middle = curve(layers).time((points[:-1] + points[1:]) / 2)
    assert (middle <= (time[:-1] + time[1:]) / 2 * (1 + TINY)).all()


@laws
@given(small, st.integers(0, 40))
def test_slope_and_share_count_memory_bound_layers_as_the_engine_does(layers: Layers, ridge_point: int) -> None:
    memory_bound = [size for macs, size in layers if ridge_point * size > macs]  # on the ridge: compute-bound
    assert int(curve(layers).slope(ridge_point)) == sum(memory_bound)
    total = float(exact_time(layers, ridge_point))
    share = ridge_point * sum(memory_bound) / total if total else 0.0
    assert float(curve(layers).memory_bound_share(ridge_point)) == pytest.approx(share, rel=TINY)


def test_times_at_the_ends_of_what_is_allowed_are_numbers() -> None:
    model = curve([(2**62, 1), (1, 2**62), (0, 5)])
    assert np.isfinite(model.time([0, 5e-324, 1e18])).all()
    assert model.time([5e-324, 1e18], normalisation="bandwidth").tolist() == [math.inf, 2.0**62]
    assert model.memory_bound_share([5e-324, 1e18]).tolist() == [0, 1]


def test_the_order_of_the_layers_does_not_matter() -> None:
    layers = [(5, 3), (0, 4), (7, 0), (1, 8), (0, 0), (5, 3)]
    points = np.linspace(0, 20, 97)
    assert curve(layers).time(points).tolist() == curve(layers[::-1]).time(points).tolist()


def test_ridge_points_of_any_shape_give_times_of_that_shape() -> None:
    assert curve(A).time(5).shape == ()
    assert curve(A).time(np.ones((2, 3))).shape == (2, 3)
    assert curve(A).time([]).shape == (0,)


def test_a_model_without_layers_takes_no_time() -> None:
    empty = curve([])
    assert (empty.macs, empty.mem_bytes, empty.knees.tolist()) == (0, 0, [])
    for normalisation in ("peak", "bandwidth"):
        assert empty.time([0, 1, 500], normalisation=normalisation).tolist() == [0, 0, 0]
    assert empty.memory_bound_share([0, 1, 500]).tolist() == [0, 0, 0]


def test_a_layer_without_bytes_is_never_memory_bound_and_one_without_macs_always() -> None:
    no_bytes, no_macs = curve([(7, 0)]), curve([(0, 3)])
    assert no_bytes.time([0, 1, 1e9]).tolist() == [7, 7, 7]
    assert no_bytes.time([0, 2], normalisation="bandwidth").tolist() == [math.inf, 3.5]
    assert no_macs.time([0, 1, 10]).tolist() == [0, 3, 30]
    assert no_macs.time([0, 1, 10], normalisation="bandwidth").tolist() == [3, 3, 3]
    assert no_bytes.knees.tolist() == no_macs.knees.tolist() == []
    assert no_bytes.memory_bound_share([0, 1e9]).tolist() == [0, 0]
    assert no_macs.memory_bound_share([0, 1e9]).tolist() == [0, 1]
    assert curve([(0, 0)]).time([0, 5]).tolist() == [0, 0]


def test_sums_are_of_whole_numbers_up_to_63_bits() -> None:
    """As floats, 2**60 and 1 add up to 2**60."""
    huge = curve([(2**60, 1), (1, 2**60), (1, 2**60)])
    assert (huge.macs, huge.mem_bytes) == (2**60 + 2, 2**61 + 1)
    for macs, size in [(2**62, 1), (1, 2**62)]:
        with pytest.raises(RooflineError, match="within 64 bits"):
            curve([(macs, size), (macs, size)])


def test_a_negative_count_is_an_error() -> None:
    with pytest.raises(RooflineError, match="must be at least 0"):
        curve([(5, -1), (5, 7)])
    with pytest.raises(RooflineError, match="must be at least 0"):
        curve([(-1, 1), (5, 7)])


@pytest.mark.parametrize("ridge_point", [-1, -1e-300, math.nan, math.inf, 1e19])
def test_a_ridge_point_is_neither_negative_nor_beyond_any_machine(ridge_point: float) -> None:
    for ask in (curve(A).time, curve(A).slope, curve(A).memory_bound_share, swept((A, None)).at):
        with pytest.raises(RooflineError, match=r"^a ridge point is a number of MACs/byte from 0 to 1e\+18$"):
            ask(ridge_point)


def test_an_unknown_normalisation_is_an_error() -> None:
    with pytest.raises(RooflineError, match="unknown normalisation 'area': choose one of peak, bandwidth"):
        curve(A).time(1, normalisation="area")


# --- two curves -----------------------------------------------------------------------------------------------------


@laws
@given(small | large, small | large, st.sampled_from([(0.0, 50.0), (1.0, 3.0), (0.1, 1e13)]))
def test_the_faster_of_two_is_the_faster_in_exact_fractions(
    one: Layers, other: Layers, ridge: tuple[float, float]
) -> None:
    low, high = ridge
    stretches = order(curve(one), curve(other), low=low, high=high)
    assert stretches[0].low == low
    assert stretches[-1].high == high
    for before, after in pairwise(stretches):
        assert before.high == after.low
        assert before.sign != after.sign
        time = exact_time(one, after.low)
        assert abs(time - exact_time(other, after.low)) <= TINY * time
    for start, end, sign in stretches:
        assert start < end
        for point in np.linspace(start, end, 9)[1:-1].tolist():
            difference = exact_time(one, point) - exact_time(other, point)
            slack = 1e-15 * exact_time(one, point)  # a float beside a crossing that is none may be on its other side
            assert difference * sign >= -slack if sign else abs(difference) <= slack


@laws
@given(small | large, small | large)
def test_the_order_is_the_same_whichever_comes_first(one: Layers, other: Layers) -> None:
    turned = tuple(Stretch(low, high, -sign) for low, high, sign in order(curve(other), curve(one), low=0.0, high=50.0))
    assert order(curve(one), curve(other), low=0.0, high=50.0) == turned


@laws
@given(st.lists(small | large, min_size=2, max_size=4))
def test_crossings_are_crossings(models: list[Layers]) -> None:
    result = swept(*((layers, None) for layers in models))
    layers = dict(zip("ABCD", models, strict=False))
    assert [c.ridge_point for c in result.crossings] == sorted(c.ridge_point for c in result.crossings)
    for crossing in result.crossings:
        at = crossing.ridge_point
        assert 0 < at < 50
        assert float(exact_time(layers[crossing.a], at)) == pytest.approx(
            float(exact_time(layers[crossing.b], at)), rel=TINY
        )
        pair = [c for c in result.crossings if {c.a, c.b} == {crossing.a, crossing.b}]
        ties = [c for c in result.coincidences if {c.a, c.b} == {crossing.a, crossing.b}]
        ends = [0.0, *(c.ridge_point for c in pair), *(end for c in ties for end in (c.low, c.high)), 50.0]
        before = (at + max(end for end in ends if end < at)) / 2
        leaves = next((c.high for c in ties if c.low == at), at)
        after = (leaves + min(end for end in ends if end > leaves)) / 2
        assert exact_time(layers[crossing.a], before) < exact_time(layers[crossing.b], before)
        assert exact_time(layers[crossing.a], after) > exact_time(layers[crossing.b], after)


# max(10, 10 RP), and 8 + 3 RP, which is below it up to 2/3 and from 8/7 on.
BENT: Layers = [(10, 10)]
STRAIGHT: Layers = [(8, 0), (0, 3)]


def test_two_models_may_cross_twice() -> None:
    assert order(curve(BENT), curve(STRAIGHT), low=0.0, high=50.0) == (
        Stretch(0.0, 2 / 3, 1),
        Stretch(2 / 3, 8 / 7, -1),
        Stretch(8 / 7, 50.0, 1),
    )
    assert swept((BENT, None), (STRAIGHT, None)).crossings == (
        Crossing(a="B", b="A", ridge_point=2 / 3),
        Crossing(a="A", b="B", ridge_point=8 / 7),
    )


def test_a_touch_is_no_crossing() -> None:
    # max(12, 3 RP) and 8 + RP meet at 4 only, where the first bends away
    assert order(curve([(12, 3)]), curve([(8, 0), (0, 1)]), low=0.0, high=50.0) == (Stretch(0.0, 50.0, 1),)


def test_a_touch_where_no_float_is_exact_is_no_crossing() -> None:
    # max(1, 3 RP) and 1/3 + 2 RP, all times 3, meet at 1/3 only
    assert order(curve([(3, 9)]), curve([(1, 0), (0, 6)]), low=0.0, high=50.0) == (Stretch(0.0, 50.0, 1),)


def test_curves_that_meet_for_good_coincide_and_do_not_cross() -> None:
    result = swept(([(12, 3)], None), ([(0, 3)], None))
    assert result.crossings == ()
    assert result.coincidences == (Coincidence(a="A", b="B", low=4.0, high=50.0),)


def test_an_order_that_changes_by_way_of_a_tie_changes_where_the_tie_begins() -> None:
    # RP + max(8, 2 RP) + 2 and max(2, RP) + 10: the first is the faster up to 2, both are 10 + RP up to 4
    result = swept(([(0, 1), (8, 2), (2, 0)], None), ([(2, 1), (10, 0)], None))
    assert result.crossings == (Crossing(a="A", b="B", ridge_point=2.0),)
    assert result.coincidences == (Coincidence(a="A", b="B", low=2.0, high=4.0),)


def test_models_that_are_alike_never_cross() -> None:
    result = swept((A, 70.0), (A[::-1], 70.0))
    assert result.crossings == ()
    assert result.coincidences == (Coincidence(a="A", b="B", low=0.0, high=50.0),)


@pytest.mark.parametrize(
    ("ridge", "found"), [((0, 5), ()), ((5, 50), ()), ((0, 4.9), ()), ((4.9, 5.1), (5.0,)), ((5.1, 50), ())]
)
def test_a_tie_at_an_end_of_the_range_is_no_crossing(ridge: tuple[float, float], found: tuple[float, ...]) -> None:
    result = swept((A, None), (B, None), ridge=ridge)
    assert tuple(crossing.ridge_point for crossing in result.crossings) == found


def test_equal_macs_are_a_tie_at_ridge_point_0_and_no_crossing() -> None:
    assert swept(([(10, 10)], None), ([(10, 0), (0, 1)], None), ridge=(0, 1)).crossings == ()


# --- many models ----------------------------------------------------------------------------------------------------


@laws
@given(st.lists(working, min_size=2, max_size=5))
def test_models_rank_by_macs_at_0_and_by_bytes_beyond_every_knee(models: list[Layers]) -> None:
    result = swept(*((layers, None) for layers in models))
    totals = {model.name: (model.macs, model.mem_bytes) for model in result.models}
    at_0, beyond = ([totals[standing.name] for standing in result.at(ridge_point)] for ridge_point in (0, 2.0**40))
    assert [macs for macs, _ in at_0] == sorted(sum(macs for macs, _ in layers) for layers in models)
    assert [size for _, size in beyond] == sorted(sum(size for _, size in layers) for layers in models)


@laws
@given(st.lists(working, min_size=2, max_size=5), st.floats(1e-3, 1e3))
def test_both_normalisations_rank_alike(models: list[Layers], ridge_point: float) -> None:
    by_peak, by_bandwidth = (
        swept(*((layers, 70.0) for layers in models), normalisation=normalisation)
        for normalisation in ("peak", "bandwidth")
    )
    for one, other in zip(by_peak.models, by_bandwidth.models, strict=True):
        scaled = other.latency[1:] * by_bandwidth.ridge_points[1:]
        assert one.latency[1:].tolist() == pytest.approx(scaled.tolist(), rel=TINY)
    assert [s.name for s in by_peak.at(ridge_point)] == [s.name for s in by_bandwidth.at(ridge_point)]
    assert by_peak.crossings == by_bandwidth.crossings
    assert by_peak.pareto_intervals == by_bandwidth.pareto_intervals


@laws
@given(
    st.lists(st.tuples(small | large, st.sampled_from([None, 70.0, 75.0, 80.0])), min_size=1, max_size=6),
    st.sampled_from([(0.0, 50.0), (0.5, 2.5)]),
    seeds,
)
def test_pareto_intervals_agree_with_brute_force(
    models: list[tuple[Layers, float | None]], ridge: tuple[float, float], seed: int
) -> None:
    low, high = ridge
    result = swept(*models, ridge=ridge)
    rated = {name: model for name, model in zip("ABCDEF", models, strict=False) if model[1] is not None}
    assert list(result.pareto_intervals) == list(rated)
    assert result.without_top1 == tuple(name for name in "ABCDEF"[: len(models)] if name not in rated)
    for intervals in result.pareto_intervals.values():
        flat = [end for interval in intervals for end in interval]
        assert flat == sorted(set(flat))
        assert all(low <= end <= high for end in flat)
    ends = [end for intervals in result.pareto_intervals.values() for interval in intervals for end in interval]
    dense = np.linspace(low + 0.00123, high - 0.00321, 50)  # off the knees of small counts
    for point in [*dense.tolist(), *np.random.default_rng(seed).uniform(low, high, 50).tolist()]:
        if any(abs(point - end) <= 1e-9 * end for end in ends):
            continue
        times = {name: exact_time(layers, point) for name, (layers, _) in rated.items()}
        for name, (_, top1) in rated.items():
            assert top1 is not None
            beaten = any(
                rival_top1 >= top1 and times[rival] <= times[name] and (rival_top1 > top1 or times[rival] < times[name])
                for rival, (_, rival_top1) in rated.items()
                if rival_top1 is not None
            )
            is_on_front = any(start <= point <= end for start, end in result.pareto_intervals[name])
            assert is_on_front != beaten, (name, point)
            assert [s.on_front for s in result.at(point) if s.name == name] == [not beaten]


def test_models_alike_in_accuracy_and_latency_are_all_on_the_front() -> None:
    assert swept((A, 70.0), (A, 70.0), (B, 60.0)).pareto_intervals == {
        "A": ((0.0, 50.0),),
        "B": ((0.0, 50.0),),
        "C": ((0.0, 5.0),),
    }
    assert swept((A, 70.0), (A, 71.0)).pareto_intervals == {"A": (), "B": ((0.0, 50.0),)}


def test_of_two_models_of_one_accuracy_the_front_changes_hands_where_they_cross() -> None:
    assert swept((A, 70.0), (B, 70.0)).pareto_intervals == {"A": ((5.0, 50.0),), "B": ((0.0, 5.0),)}


def test_a_model_may_be_on_the_front_in_two_intervals() -> None:
    assert swept((BENT, 71.0), (STRAIGHT, 70.0)).pareto_intervals == {
        "A": ((0.0, 50.0),),
        "B": ((0.0, 2 / 3), (8 / 7, 50.0)),
    }
    assert swept((BENT, 70.0), (STRAIGHT, 71.0)).pareto_intervals == {"A": ((2 / 3, 8 / 7),), "B": ((0.0, 50.0),)}


def test_a_model_that_is_beaten_throughout_gains_nothing_where_another_falls_back() -> None:
    throughout: Layers = [(1, 1)]
    assert swept((STRAIGHT, 70.0), (throughout, 80.0), (BENT, 80.0)).pareto_intervals["A"] == ()


def test_what_the_ridge_points_are_does_not_change_crossings_and_fronts() -> None:
    coarse, fine = (swept((A, 70.0), (B, 80.0), ridge=(0, 50), points=points) for points in (2, 1001))
    assert coarse.crossings == fine.crossings
    assert coarse.pareto_intervals == fine.pareto_intervals


def test_a_model_without_top1_is_neither_on_a_front_nor_counted_against_others() -> None:
    result = swept((A, 70.0), ([(1, 1)], None))
    assert result.pareto_intervals == {"A": ((0.0, 50.0),)}
    assert result.without_top1 == ("B",)
    assert [(s.name, s.on_front) for s in result.at(1)] == [("B", None), ("A", True)]


# --- by operation ---------------------------------------------------------------------------------------------------


@laws
@given(st.lists(st.tuples(st.sampled_from(KINDS), amounts, amounts), max_size=12))
def test_operations_add_up_to_the_whole(layers: list[tuple[str, int, int]]) -> None:
    counts = table([(macs, size) for _, macs, size in layers], [kind for kind, *_ in layers])
    (model,) = sweep_layers([Candidate(name="A", layers=counts)]).models
    operations = model.by_operation()
    assert list(operations) == list(OPERATIONS)
    points = np.linspace(0, 500, 41)
    total = sum(part.time(points) for part in operations.values())
    assert np.asarray(total).tolist() == pytest.approx(model.curve.time(points).tolist(), rel=TINY)
    assert sum(part.macs for part in operations.values()) == model.macs
    assert sum(part.mem_bytes for part in operations.values()) == model.mem_bytes


def test_each_kind_of_layer_is_in_its_operation() -> None:
    counts = table([(2**number, 0) for number in range(len(KINDS))], KINDS)
    (model,) = sweep_layers([Candidate(name="A", layers=counts)]).models
    found = {
        operation: {kind for number, kind in enumerate(KINDS) if part.macs >> number & 1}
        for operation, part in model.by_operation().items()
    }
    rest = {"norm", "activation", "pool", "elementwise", "reduce", "embedding", "copy", "other"}
    assert found == {
        "conv": {"conv", "grouped_conv"},
        "depthwise": {"depthwise_conv"},
        "pointwise": {"pointwise_conv"},
        "fc": {"linear"},
        "attention": {"attention", "matmul", "softmax"},
        "other": rest,
    }


# --- as data --------------------------------------------------------------------------------------------------------


def test_the_sweep_as_plain_data() -> None:
    result = swept((A, 70.0), (B, None), points=3, normalisation="bandwidth")
    data = json.loads(result.to_json())
    assert data == result.to_dict()
    assert data["schema"] == "roofline/sweep/1"
    assert (data["normalisation"], data["scale"], data["ridge_range"]) == ("bandwidth", "linear", [0, 50])
    assert data["ridge_points"] == [0, 25, 50]
    one, other = data["models"]
    assert one == {
        "name": "A",
        "top1": 70.0,
        "macs": 110,
        "mem_bytes": 20,
        "input_shapes": [],
        "dtype": "int8",
        "fusion": "none",
        "fused_activations": [],
        "latency": [None, 20, 20],
        "pareto_intervals": [[0, 50]],
        "fastest_intervals": [[5, 50]],
        "layers": {"kind": ["other", "other"], "macs": [100, 10], "mem_bytes": [10, 10]},
        "uncounted_ops": [],
    }
    assert (other["top1"], other["pareto_intervals"]) == (None, None)
    assert data["crossings"] == [{"a": "B", "b": "A", "ridge_point": 5.0}]
    assert data["coincidences"] == []
    assert data["versions"]["roofline"] == roofline.__version__


def test_a_sweep_comes_back_from_its_data() -> None:
    given = [
        Candidate(name="A", layers=table(A, ["conv", "linear"]), top1=70.0, input_shapes=((1, 3, 8, 8),)),
        Candidate(name="B", layers=table(B)),
    ]
    mark = MarkedProfile.of(load_profile("pixel6_tpu"), "int8")
    result = sweep_layers(given, ridge=(1, 50), points=7, scale="log", normalisation="bandwidth", profiles=[mark])
    again = RidgeSweep.from_dict(json.loads(result.to_json()))
    assert again.to_dict() == result.to_dict()
    assert again.at(3.3) == result.at(3.3)
    assert again.profiles == (mark,)


@pytest.mark.parametrize(
    ("column", "value", "error"),
    [("macs", [2**63, 1], RooflineError), ("macs", [2**62, 2**62], RooflineError), ("kind", ["conv"], ValueError)],
)
def test_data_that_are_no_sweep(column: str, value: list[object], error: type[Exception]) -> None:
    data = swept((A, None)).to_dict()
    data["models"][0]["layers"][column] = value
    with pytest.raises(error):
        RidgeSweep.from_dict(data)


def test_profiles_are_marked_where_their_peak_and_bandwidth_meet() -> None:
    hardware = load_profile("pixel8_tpu")
    mark = MarkedProfile.of(hardware, "int8")
    assert (mark.id, mark.dtype, mark.kind) == ("pixel8_tpu", "int8", "fitted")
    assert mark.ridge_point == hardware.ridge_point("int8")
    assert set(mark.figures) == {"peak_macs_per_s.int8", "bandwidth_bytes_per_s"}
    with pytest.raises(ProfileError, match="pixel8_tpu has no peak for dtype 'fp32'"):
        MarkedProfile.of(hardware, "fp32")


def test_a_sweep_marks_the_fitted_profiles_or_those_that_are_named() -> None:
    net = nn.Conv2d(3, 4, 3)
    marked = [mark.id for mark in sweep(net, points=2).profiles]
    fitted = [
        hardware for hardware in load_all() if any(figure.kind == "fitted" for figure in hardware.figures.values())
    ]
    assert marked == [hardware.id for hardware in sorted(fitted, key=lambda hardware: hardware.ridge_point("int8"))]
    assert [mark.id for mark in sweep(net, points=2, hw="pixel6_cpu").profiles] == ["pixel6_cpu"]
    assert sweep(net, points=2, hw=()).profiles == ()
    with pytest.raises(ProfileError, match="has no peak for dtype 'fp32'"):
        sweep(net, points=2, dtype="fp32", hw=["pixel6_cpu"])


@given(st.lists(st.one_of(large, small), min_size=1, max_size=4), st.floats(0, 500))
@laws
def test_at_each_ridge_point_the_fastest_are_those_of_its_intervals(models: list[Layers], point: float) -> None:
    result = swept(*((layers, None) for layers in models), ridge=(0, 500))
    times = {model.name: exact_time(layers, point) for model, layers in zip(result.models, models, strict=True)}
    intervals = result.fastest_intervals
    fastest = [name for name, parts in intervals.items() if any(low <= point <= high for low, high in parts)]
    assert fastest
    for name in fastest:
        assert times[name] <= min(times.values()) * (1 + Fraction(1, 10**12))


def test_the_verdict_says_who_is_fast_where() -> None:
    assert swept((A, 70.0), (B, 80.0)).verdict() == (
        "The fastest at ridge points in MACs/byte: B (0 to 5), A (5 to 50). "
        "On the Pareto front of top-1 and latency throughout: B; in part: A (5 to 50)."
    )
    assert swept((A, None)).verdict() == (
        "The fastest from 0 to 50 MACs/byte is A. Without a published top-1 at this input size: A."
    )
    assert swept((A, 70.0), (A, 60.0)).verdict() == (
        "The fastest from 0 to 50 MACs/byte are A, B. "
        "On the Pareto front of top-1 and latency throughout: A; nowhere: B."
    )


def test_conventions_and_what_is_left_out_are_said() -> None:
    data = swept((A, None), (B, None)).to_dict()
    assert data["conventions"] == conventions("int8", "none", ())
    assert any("rate of vector ops" in line for line in data["left_out"])


DOC = (Path(__file__).parents[1] / "docs" / "json.md").read_text(encoding="utf-8")
DOCUMENTED: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
    "sweep": lambda data: [data],
    "model": lambda data: data["models"],
    "crossing": lambda data: data["crossings"],
    "coincidence": lambda data: data["coincidences"],
    "profile": lambda data: data["profiles"],
}


@pytest.mark.parametrize("what", DOCUMENTED)
def test_the_documented_keys_are_the_real_ones(what: str) -> None:
    result = swept((A, 1.0), (B, None), (A, None))
    marked = replace(result, profiles=(MarkedProfile.of(load_profile("pixel6_tpu"), "int8"),))
    section = re.search(rf"^\| of an? {what} \|.*\n\| ---.*\n((?:\|.*\n)*)", DOC, re.MULTILINE)
    assert section is not None
    documented = re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE)
    found = DOCUMENTED[what](marked.to_dict())
    assert found
    assert all(list(item) == documented for item in found)


def test_coincidences_are_in_the_data() -> None:
    assert swept((A, None), (A, None)).to_dict()["coincidences"] == [{"a": "A", "b": "B", "low": 0.0, "high": 50.0}]


def test_the_frame_has_a_row_a_model_and_ridge_point() -> None:
    counts = table(A, ["conv", "linear"])
    candidates = [Candidate(name="A", layers=counts, top1=70.0), Candidate(name="B", layers=table(B))]
    frame = sweep_layers(candidates, ridge=(0, 50), points=6).to_frame()
    assert list(frame.columns) == [
        "model", "top1", "ridge_point", "latency", "memory_bound_share", *OPERATIONS,
    ]  # fmt: skip
    assert frame["model"].tolist() == ["A"] * 6 + ["B"] * 6
    assert frame["ridge_point"].tolist() == [0, 10, 20, 30, 40, 50] * 2
    assert frame["latency"].tolist() == frame[list(OPERATIONS)].sum(axis=1).tolist()
    assert frame["conv"].tolist()[:2] == [100, 100]
    assert frame["fc"].tolist()[:2] == [10, 100]
    assert frame["top1"].isna().tolist() == [False] * 6 + [True] * 6


def test_a_sweep_and_its_arrays_are_short_and_fixed() -> None:
    result = swept((A, 70.0), (B, 80.0))
    assert repr(result) == "<RidgeSweep of 2 models at 11 ridge points, 0 to 50 MACs/byte>"
    with pytest.raises(ValueError, match="read-only"):
        result.models[0].curve.macs_beyond[0] = 5


# --- ridge points ---------------------------------------------------------------------------------------------------


def test_ridge_points_are_spaced_evenly_or_by_a_factor() -> None:
    assert spaced(None, points=501, scale="linear").tolist() == list(range(501))
    logarithmic = spaced(None, points=4, scale="log")
    assert logarithmic.tolist() == pytest.approx([0.5, 5, 50, 500])
    assert (logarithmic[0], logarithmic[-1]) == (0.5, 500)


@pytest.mark.parametrize(
    "ridge",
    [
        (-1, 500),
        (500, 0),
        (5, 5),
        (0, math.inf),
        (0, 1e300),
        (math.nan, 5),
        (0, math.nan),
        (1, 2, 3),
        (1,),
        (),
        ("a", "b"),
        5,
        "ab",
    ],
)
def test_a_range_that_is_none_is_one_line(ridge: object) -> None:
    with pytest.raises(RooflineError, match=r"^a ridge range is two numbers .*, the lower first \(got .*\)$") as info:
        swept((A, None), ridge=ridge)  # type: ignore[arg-type]
    assert "\n" not in str(info.value)


@pytest.mark.parametrize("points", [1, 0, -5, 10**9, 2.5])
def test_points_are_at_least_two(points: int) -> None:
    with pytest.raises(RooflineError, match=rf"^points must be a whole number from 2 to 1000000 \(got {points}\)$"):
        swept((A, None), points=points)


def test_a_log_scale_has_no_0() -> None:
    with pytest.raises(RooflineError, match=r"^a log scale needs a ridge range that starts above 0 \(got \(0, 500\)\)"):
        sweep_layers([Candidate(name="A", layers=table(A))], ridge=(0, 500), scale="log")


def test_unknown_choices_are_named() -> None:
    model = Candidate(name="A", layers=table(A))
    with pytest.raises(RooflineError, match="unknown scale 'cubic': choose one of linear, log"):
        sweep_layers([model], scale="cubic")
    with pytest.raises(RooflineError, match="unknown normalisation 'area': choose one of peak, bandwidth"):
        sweep_layers([model], normalisation="area")


def test_a_sweep_needs_models_of_different_names() -> None:
    with pytest.raises(ModelError, match=r"^there is no model to sweep"):
        sweep_layers([])
    with pytest.raises(ModelError, match=r"^two models of the sweep have the name 'A'"):
        sweep_layers([Candidate(name="A", layers=table(A)), Candidate(name="A", layers=table(B))])


# --- from references ------------------------------------------------------------------------------------------------


def test_the_zoo_is_swept_as_the_engine_predicts_it() -> None:
    result = sweep(["mobilenetv4_conv_small", "mobilenetv4_conv_medium"])
    assert [(model.name, model.top1) for model in result.models] == [
        ("mobilenetv4_conv_small", 73.8),
        ("mobilenetv4_conv_medium", 79.9),
    ]
    assert [model.macs for model in result.models] == [186005568, 1080244224]
    assert [model.candidate.input_shapes for model in result.models] == [((1, 3, 224, 224),), ((1, 3, 256, 256),)]
    for model in result.models:
        layers = model.layers
        assert (layers.dtype, layers.fusion) == ("int8", "epilogue")
        *_, latency = layer_times(
            layers.macs, layers.mem_bytes, macs_per_s=result.ridge_points[1:, None], bytes_per_s=1.0
        )
        expected = latency.sum(axis=1) * result.ridge_points[1:]
        assert model.latency[1:].tolist() == pytest.approx(expected.tolist(), rel=TINY)
        assert model.latency[0] == model.macs
        assert model.mem_bytes == layers.mem_bytes.sum()
    assert result.pareto_intervals == {model.name: ((0.0, 500.0),) for model in result.models}
    assert result.crossings == ()


def test_depthwise_layers_and_the_classifier_cost_a_larger_share_at_a_high_ridge_point() -> None:
    """arXiv:2404.10518, section 3: fully connected layers are memory-bound there, a large early convolution is not."""
    (model,) = sweep("mobilenetv4_conv_medium").models
    low, high = (
        {name: float(part.time(point) / model.curve.time(point)) for name, part in model.by_operation().items()}
        for point in (0.0, 500.0)
    )
    assert high["depthwise"] > low["depthwise"]
    assert high["fc"] > low["fc"]
    assert high["conv"] < low["conv"]


def test_what_several_references_name_is_swept_once_and_in_order() -> None:
    references = ["mobilenetv4_conv_medium", "mobilenetv4_conv_[sm]*", "MNv4-Conv-S", "mobilenetv4_conv_medium"]
    names = [model.name for model in sweep(references, points=2).models]
    assert names == ["mobilenetv4_conv_medium", "mobilenetv4_conv_small"]


def test_a_batch_multiplies_macs_and_reads_weights_once() -> None:
    (one,) = sweep("mobilenetv4_conv_small", points=2).models
    (four,) = sweep("mobilenetv4_conv_small", points=2, batch=4).models
    assert four.macs == 4 * one.macs
    assert one.mem_bytes < four.mem_bytes < 4 * one.mem_bytes
    assert four.candidate.input_shapes == ((4, 3, 224, 224),)


def test_at_another_input_size_the_published_top1_does_not_hold() -> None:
    (model,) = sweep("mobilenetv4_conv_small", points=2, input_size=(3, 64, 64)).models
    assert model.top1 is None
    assert model.candidate.input_shapes == ((1, 3, 64, 64),)
    (model,) = sweep("mobilenetv4_conv_small", points=2, input_size=(3, 224, 224)).models
    assert model.top1 == 73.8


def test_modules_are_swept_on_one_image_each_under_a_name_of_its_own() -> None:
    net, wider = (nn.Sequential(nn.Conv2d(3, width, 3)) for width in (8, 16))
    result = sweep([net, wider, net], points=2, input_size=(3, 34, 34))
    assert [(model.name, model.macs, model.top1) for model in result.models] == [
        ("Sequential", 32 * 32 * 27 * 8, None),
        ("Sequential#2", 32 * 32 * 27 * 16, None),
    ]
    (half,) = sweep(nn.Conv2d(3, 8, 3).half(), points=2).models
    assert half.candidate.input_shapes == ((1, 3, 224, 224),)


def test_dtype_and_fusion_are_those_asked_for() -> None:
    (narrow,) = sweep("mobilenetv4_conv_small", points=2).models
    (wide,) = sweep("mobilenetv4_conv_small", points=2, dtype="fp16").models
    (eager,) = sweep("mobilenetv4_conv_small", points=2, fusion="none").models
    assert wide.mem_bytes == 2 * narrow.mem_bytes
    assert eager.mem_bytes > narrow.mem_bytes
    assert wide.macs == eager.macs == narrow.macs


def test_a_model_that_does_not_run_is_named(tmp_path: Path, user_modules: None) -> None:
    with pytest.raises(TraceError, match=r"^Linear: "):
        sweep(["mobilenetv4_conv_small", nn.Linear(5, 5)])


@pytest.mark.parametrize(
    ("models", "message"),
    [
        ([], "there is no model to sweep"),
        (["resnet_of_nobody_*"], r"no model matches 'resnet_of_nobody_\*'"),
        (["mobilenetv4_conv_medum"], "unknown model 'mobilenetv4_conv_medum'"),
        ([nn.ReLU], r"a model is a reference \(text\) or an nn.Module; not <class"),
        ([5], "an nn.Module; not 5"),
    ],
)
def test_what_is_no_model_is_one_line(models: list[str], message: str) -> None:
    with pytest.raises(ModelError, match=message) as info:
        sweep(models)
    assert "\n" not in str(info.value)


@pytest.mark.parametrize(
    "shape", [{"batch": 0}, {"batch": 1.5}, {"input_size": (3, 0, 8)}, {"input_size": (3, 8, "x")}]
)
@pytest.mark.parametrize("model", ["mobilenetv4_conv_small", nn.Conv2d(3, 8, 3)], ids=["reference", "module"])
def test_an_input_of_no_size_is_an_error(model: str | nn.Module, shape: dict[str, object]) -> None:
    with pytest.raises(ModelError, match=r"batch|input size"):
        sweep(model, **shape)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [{"ridge": (5, 1)}, {"points": 1}, {"scale": "?"}, {"normalisation": "?"}, {"dtype": "?"}, {"fusion": "?"}]
)
def test_wrong_choices_fail_before_a_model_is_looked_up(wrong: dict[str, object]) -> None:
    with pytest.raises(RooflineError, match=r"ridge range|points must|unknown (scale|normalisation|dtype|fusion)"):
        sweep("no_such_model", **wrong)  # type: ignore[arg-type]


def test_the_module_itself_needs_no_torch() -> None:
    program = """
import sys
import roofline.sweep
for heavy in ("torch", "pandas", "pydantic"):
    assert heavy not in sys.modules, f"roofline.sweep imports {heavy}"
"""
    source = str(Path(roofline.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_keys_that_a_later_release_adds_are_no_obstacle() -> None:
    data = sweep("mobilenetv4_conv_small", points=2, hw="pixel6_tpu").to_dict()
    data["later"] = data["profiles"][0]["later"] = data["models"][0]["later"] = 1
    for figure in data["profiles"][0]["figures"].values():
        figure["later"] = 1
    again = RidgeSweep.from_dict(data)
    assert again.profiles[0].id == "pixel6_tpu"
    assert again.models[0].macs == data["models"][0]["macs"]
