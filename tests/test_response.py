"""How a latency answers to rates that grow: by hand, and against the engine on devices that have grown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn

import roofline
from roofline.curves import Curve
from roofline.engine import predict
from roofline.hardware import Hardware
from roofline.layers import LayerTable, lower
from roofline.response import AT_KNEE, IsoCurve, IsoPoint, Rate, Response, Times, iso_latency
from roofline.trace import trace
from roofline.whatif import scaled

laws = settings(deadline=None)
EXACT = 1e-12  # relative


def device(macs_per_s: float, bytes_per_s: float, **terms: Any) -> Hardware:
    given: dict[str, Any] = {
        "id": "my_device",
        "name": "My Device",
        "device_class": "abstract",
        "peak_macs_per_s": {"int8": macs_per_s},
        "bandwidth_bytes_per_s": bytes_per_s,
        "default_dtype": "int8",
        "default_fusion": "none",
        "fused_activations": frozenset(),
    }
    return Hardware(**(given | terms))


@cache
def _template() -> LayerTable:
    return lower(trace(nn.Identity(), torch.empty(1)), dtype="int8")


Row = tuple[int, int, int, int]  # MACs, vector ops, weight bytes, input bytes
KINDS = ("conv", "depthwise_conv", "linear")


def table(*rows: Row) -> LayerTable:
    """A table of these layers, whatever they compute; their kinds take turns."""

    def objects(items: Sequence[object]) -> np.ndarray[Any, np.dtype[np.object_]]:
        return np.fromiter(items, dtype=object, count=len(rows))

    macs, vector_ops, weight_bytes, input_bytes = (
        np.array(column, dtype=np.int64) for column in zip(*rows, strict=True)
    )
    return replace(
        _template(),
        name=objects([f"layer{number}" for number in range(len(rows))]),
        kind=objects([KINDS[number % len(KINDS)] for number in range(len(rows))]),
        ops=objects(["op"] * len(rows)),
        input_shape=objects([(1,)] * len(rows)),
        output_shape=objects([(1,)] * len(rows)),
        kernel=objects([()] * len(rows)),
        macs=macs,
        vector_ops=vector_ops,
        weight_bytes=weight_bytes,
        input_bytes=input_bytes,
        output_bytes=np.zeros(len(rows), dtype=np.int64),
        external_bytes=np.zeros(len(rows), dtype=np.int64),
    )


def of(layers: LayerTable, hardware: Hardware) -> Times:
    return Times.of(predict(layers, hardware))


def latency(layers: LayerTable, hardware: Hardware, **factors: float) -> float:
    """By the engine, on the device with rates so many times larger."""
    return float(predict(layers, scaled(hardware, dtype="int8", **factors)).latency_s)


# --- by hand ----------------------------------------------------------------------------------------------------------

#           MACs / 1e12 per s    bytes / 1e10 per s
# conv      2e9     2 ms         1e7    1 ms
# depthwise 1e9     1 ms         3e7    3 ms
# on ridge  5e8     0.5 ms       5e6    0.5 ms
THREE = table((2 * 10**9, 0, 10**6, 9 * 10**6), (10**9, 0, 0, 3 * 10**7), (5 * 10**8, 0, 0, 5 * 10**6))
PLAIN = device(1e12, 1e10)


def test_elasticities_are_the_shares_that_a_rate_sets() -> None:
    times = of(THREE, PLAIN)
    assert times.latency_s == pytest.approx(5.5e-3)
    # the layer on the ridge waits for both: a faster peak alone leaves it, a slower one takes it along
    assert times.response("peak").elasticity() == pytest.approx((-2 / 5.5, -2.5 / 5.5))
    assert times.response("bandwidth").elasticity() == pytest.approx((-3 / 5.5, -3.5 / 5.5))
    assert times.response("peak", "bandwidth").elasticity() == (-1.0, -1.0)


def test_of_a_sum_every_layer_waits_for_each_rate() -> None:
    times = of(THREE, replace(PLAIN, combine="add"))
    assert times.latency_s == pytest.approx(8e-3)
    assert times.response("peak").elasticity() == pytest.approx((-3.5 / 8, -3.5 / 8))
    assert times.response("bandwidth").elasticity() == pytest.approx((-4.5 / 8, -4.5 / 8))


def test_overheads_are_outside_the_shares() -> None:
    times = of(THREE, replace(PLAIN, layer_overhead_s=0.5e-3, inference_overhead_s=1e-3))
    assert times.overhead_s == pytest.approx(2.5e-3)
    assert times.response("peak").elasticity()[0] == pytest.approx(-2 / 8)


def test_an_overhead_of_layers_with_macs_is_theirs_alone() -> None:
    layers = table((10**9, 0, 0, 10**6), (0, 0, 0, 10**6))
    assert of(layers, replace(PLAIN, layer_overhead_s=1e-3, overhead_layers="macs")).overhead_s == 1e-3


def test_limits_and_knees() -> None:
    peak = of(THREE, PLAIN).response("peak")
    assert peak.limit_s == pytest.approx(4.5e-3)  # the bytes of all three
    assert peak.next_knee() == (2.0, 0)  # twice the peak, and the conv takes 1 ms either way
    assert of(THREE, PLAIN).response("bandwidth").next_knee() == (3.0, 1)


def test_no_knee_where_no_layer_can_turn() -> None:
    assert of(THREE, replace(PLAIN, combine="add")).response("peak").next_knee() is None
    assert of(table((10**9, 0, 0, 0)), PLAIN).response("peak").next_knee() is None  # it has no bytes to wait for


def test_a_target_takes_the_root_of_one_line() -> None:
    times = of(THREE, PLAIN)
    # 5 ms: the conv may take 1.5 ms; the others take their bytes' 3.5 ms
    assert times.response("peak").factor_for(5e-3) == pytest.approx(2 / 1.5)
    # 4 ms: at three times the bandwidth the depthwise is at 1 ms; below 2 + 1 + 0.5 ms nothing helps
    assert times.response("bandwidth").factor_for(4e-3) == pytest.approx(2.0)
    assert times.response("bandwidth").factor_for(3.4e-3) is None
    assert times.response("peak", "bandwidth").factor_for(1e-3) == pytest.approx(5.5)
    # 7 ms leaves room: the ridge and the conv may take 4 ms at 2.5 ms of MACs
    assert times.response("peak").factor_for(7e-3) == pytest.approx(2.5 / 4)


def test_weights_at_a_rate_of_their_own() -> None:
    """One layer of 2 ms of weights, 1 ms of activations and 2.5 ms of MACs."""
    layers = table((25 * 10**8, 0, 4 * 10**6, 10**7))
    times = of(layers, replace(PLAIN, weight_bandwidth_bytes_per_s=2e9))
    assert times.latency_s == pytest.approx(3e-3)
    weights = times.response("weight_bandwidth")
    assert weights.elasticity() == pytest.approx((-2 / 3, -2 / 3))
    assert weights.limit_s == pytest.approx(2.5e-3)
    assert weights.next_knee() == (2 / 1.5, 0)
    assert times.response("bandwidth").elasticity() == pytest.approx((-1.0, -1.0))


def test_the_latency_where_a_target_is_the_limit() -> None:
    peak = of(THREE, PLAIN).response("peak")
    assert peak.factor_for(peak.limit_s) == pytest.approx(2.0)  # where the last layer turns; more is of no use
    sloped = of(table((10**9, 0, 0, 0)), PLAIN).response("peak")
    assert sloped.factor_for(0.0) is None  # only an infinite peak would


def test_what_no_rate_changes_needs_none() -> None:
    nothing = of(table((0, 0, 0, 10**7)), PLAIN)
    assert nothing.response("peak").factor_for(1e-3) == 0.0
    assert nothing.response("peak").factor_for(0.9e-3) is None
    assert nothing.response("peak").elasticity() == (0.0, 0.0)
    assert iso_latency(nothing, 1e-3) is None


# --- against the engine -----------------------------------------------------------------------------------------------

counts = st.one_of(st.just(0), st.integers(10**3, 10**10))
rows = st.lists(st.tuples(counts, counts, counts, counts), min_size=1, max_size=7)
factors = st.floats(0.01, 100)


@st.composite
def devices(draw: st.DrawFn) -> Hardware:
    """Any device, with any of the optional terms."""

    def perhaps(values: st.SearchStrategy[float]) -> float | None:
        return draw(st.one_of(st.none(), values))

    rates = st.floats(1e9, 1e13)
    return device(
        draw(rates),
        draw(rates),
        combine=draw(st.sampled_from(["max", "add"])),
        vector_ops_per_s=perhaps(rates),
        weight_bandwidth_bytes_per_s=perhaps(rates),
        peak_share_by_class=draw(st.dictionaries(st.sampled_from(KINDS), st.floats(0.05, 1), max_size=2)),
        bandwidth_bytes_per_s_by_class=draw(st.dictionaries(st.sampled_from(KINDS), rates, max_size=2)),
        layer_overhead_s=draw(st.sampled_from([0.0, 1e-6, 1e-3])),
        overhead_layers=draw(st.sampled_from(["all", "macs"])),
        inference_overhead_s=draw(st.sampled_from([0.0, 1e-5, 1e-2])),
    )


RATES: list[tuple[tuple[Rate, ...], tuple[str, ...]]] = [
    (("peak",), ("peak",)),
    (("bandwidth",), ("bandwidth",)),
    (("weight_bandwidth",), ("weight_bandwidth",)),
    (("vector",), ("vector_rate",)),
    (("peak", "bandwidth"), ("peak", "bandwidth")),
]


@laws
@given(rows, devices(), st.sampled_from(RATES), factors)
def test_a_response_is_the_engine_on_a_faster_device(
    rows: list[Row], hardware: Hardware, rate: Any, factor: float
) -> None:
    layers = table(*rows)
    names, keywords = rate
    response = of(layers, hardware).response(*names)
    expected = latency(layers, hardware, **dict.fromkeys(keywords, factor))
    assert float(response.latency_s(factor)) == pytest.approx(expected, rel=EXACT, abs=0)
    assert response.limit_s <= expected * (1 + EXACT)
    unbounded = latency(layers, hardware, **dict.fromkeys(keywords, 1e18))
    assert response.limit_s == pytest.approx(unbounded, rel=1e-9, abs=1e-15)


@laws
@given(rows, devices(), st.sampled_from(RATES))
def test_an_elasticity_is_the_slope_of_the_engine_on_each_side(rows: list[Row], hardware: Hardware, rate: Any) -> None:
    """Finite differences, as far from a knee as these reach."""
    layers = table(*rows)
    names, keywords = rate
    response = of(layers, hardware).response(*names)
    now, step = latency(layers, hardware), 1e-6
    assume(now > 0)
    better, worse = response.elasticity()
    assert -1 - EXACT <= worse <= better <= 0
    near = np.abs(response.knees - 1)
    assume(not ((near > AT_KNEE) & (near < 2 * step)).any())
    for sign, slope in ((1, better), (-1, worse)):
        moved = latency(layers, hardware, **dict.fromkeys(keywords, math.exp(sign * step)))
        assert (math.log(moved) - math.log(now)) / (sign * step) == pytest.approx(slope, abs=1e-5)


@laws
@given(rows, devices())
def test_the_shares_of_all_rates_and_overheads_are_the_whole(rows: list[Row], hardware: Hardware) -> None:
    """Euler's theorem: the latency is homogeneous of degree 1 in the reciprocals of the rates and the overheads."""
    times = of(table(*rows), hardware)
    assume(times.latency_s > 0)
    shares = [times.response(rate).elasticity() for rate in ("peak", "vector", "bandwidth")]
    fixed = times.overhead_s / times.latency_s
    better, worse = (fixed - sum(share[side] for share in shares) for side in (0, 1))
    assert better <= 1 + EXACT
    assert worse >= 1 - EXACT
    if all(abs(share[0] - share[1]) < EXACT for share in shares):  # no layer at a knee
        assert better == pytest.approx(1, rel=EXACT)


@laws
@given(rows, devices(), st.sampled_from(RATES), st.floats(0.001, 3))
def test_solved_then_predicted_gives_the_target(rows: list[Row], hardware: Hardware, rate: Any, part: float) -> None:
    layers = table(*rows)
    names, keywords = rate
    response = of(layers, hardware).response(*names)
    target = part * float(predict(layers, hardware).latency_s)
    assume(target > 0)
    factor = response.factor_for(target)
    if factor is None:
        assert latency(layers, hardware, **dict.fromkeys(keywords, 1e9)) > target * (1 - EXACT)
    elif not factor:
        assert not response.slope_s.any()
        assert response.limit_s <= target
    else:
        assume(1e-12 < factor < 1e12)
        reached = latency(layers, hardware, **dict.fromkeys(keywords, factor))
        flat = response.limit_s * (1 + EXACT) >= reached  # then any larger factor would do as well
        assert reached == pytest.approx(target, rel=EXACT) or (flat and reached <= target)
        assert latency(layers, hardware, **dict.fromkeys(keywords, factor * (1 - 1e-6))) >= reached


@laws
@given(rows, devices(), st.sampled_from(RATES))
def test_until_the_next_knee_the_latency_is_a_straight_line(rows: list[Row], hardware: Hardware, rate: Any) -> None:
    """In the reciprocal of the factor; and the layer that is named turns there, from its slope to its floor."""
    names, _ = rate
    response = of(table(*rows), hardware).response(*names)
    knee = response.next_knee()
    u = 0.0 if knee is None else 1 / knee[0]
    now, middle, then = (float(response.latency_s(1 / x if x else math.inf)) for x in (1, (1 + u) / 2, u))
    assert middle == pytest.approx((now + then) / 2, rel=1e-11)
    if knee is not None:
        factor, layer = knee
        assert factor > 1
        assert response.slope_s[layer] / factor == pytest.approx(response.floor_s[layer], rel=EXACT)


# --- the iso-latency curve --------------------------------------------------------------------------------------------


def curve_of(rows: list[Row], hardware: Hardware, part: float) -> tuple[Times, IsoCurve]:
    times = of(table(*rows), hardware)
    floor = times.response("peak", "bandwidth").limit_s
    curve = iso_latency(times, floor + part * (times.latency_s - floor))
    assume(curve is not None)
    assert curve is not None
    return times, curve


@laws
@given(rows, devices(), st.floats(0.01, 5))
def test_every_point_of_the_curve_takes_the_target(rows: list[Row], hardware: Hardware, part: float) -> None:
    times, curve = curve_of(rows, hardware, part)
    layers = table(*rows)
    for point in (*curve.points, curve.cheapest(times)):
        reached = latency(layers, hardware, peak=point.peak, bandwidth=point.bandwidth)
        assert reached == pytest.approx(curve.target_s, rel=1e-11)
    for point in curve.points:  # a factor on which little of the latency hangs takes the rounding of all of it
        for least, factor, times_s in (
            (curve.least_peak, point.peak, times.mac_s),
            (curve.least_bandwidth, point.bandwidth, times.mem_s),
        ):
            rounding = 4 * np.finfo(np.float64).eps * curve.target_s / (times_s[times_s > 0].min() / factor)
            assert least <= factor * (1 + EXACT + rounding)
    corners = [(1 / point.peak, 1 / point.bandwidth) for point in curve.points]
    assert corners == sorted(corners, key=lambda corner: (corner[0], -corner[1]))


@laws
@given(rows, devices(), st.floats(0.01, 5), st.lists(st.floats(1e-4, 1e4), min_size=8, max_size=8))
def test_no_point_of_the_curve_has_a_smaller_product(
    rows: list[Row], hardware: Hardware, part: float, rays: list[float]
) -> None:
    times, curve = curve_of(rows, hardware, part)
    best = curve.cheapest(times)
    for ray in rays:
        along = times.scaled(peak=ray).response("peak", "bandwidth").factor_for(curve.target_s)
        if along:
            assert along * ray * along >= best.peak * best.bandwidth * (1 - 1e-9)


@laws
@given(rows, devices(), st.floats(0.01, 5))
def test_at_the_cheapest_point_both_rates_are_worth_the_same(rows: list[Row], hardware: Hardware, part: float) -> None:
    """To first order: no elasticity, on its two sides, lies wholly beyond the other."""
    times, curve = curve_of(rows, hardware, part)
    best = curve.cheapest(times)
    # just beside the point, where rounding has not put a layer on the wrong side of its knee
    sides = []
    for rate in ("peak", "bandwidth"):
        moved = [
            times.scaled(peak=best.peak * step, bandwidth=best.bandwidth / step).response(rate).elasticity()
            for step in (1 - 1e-7, 1 + 1e-7)
        ]
        sides.append([extreme(value for pair in moved for value in pair) for extreme in (min, max)])
    (low, high), (other_low, other_high) = sides
    assert low <= other_high + 1e-5
    assert other_low <= high + 1e-5


@laws
@given(
    st.lists(st.tuples(st.integers(1, 10**9), st.just(0), st.just(0), st.integers(1, 10**9)), min_size=1, max_size=6)
)
def test_on_a_plain_device_the_curve_is_model_time_over_the_ridge_point(rows: list[Row]) -> None:
    """Eq. 1: at ridge point RP the peak that takes t is sum of max(MACs, RP bytes) over t (`roofline.curves`)."""
    layers, hardware = table(*rows), device(1e12, 1e10)
    curve = iso_latency(of(layers, hardware), 1e-3)
    assert curve is not None
    model_time = Curve.from_layers(layers.macs, layers.mem_bytes)
    for point in curve.points:
        peak, bandwidth = 1e12 * point.peak, 1e10 * point.bandwidth
        assert peak == pytest.approx(float(model_time.time(peak / bandwidth)) / 1e-3, rel=1e-9)
    found = np.array([1e2 * point.peak / point.bandwidth for point in curve.points])
    apart = np.abs(np.log(found[:, np.newaxis] / model_time.knees))
    assert apart.min(axis=0).max() < 1e-9  # each of the one has one of the other
    assert apart.min(axis=1).max() < 1e-9


def test_a_curve_by_hand() -> None:
    """One layer of 2 ms of MACs and 1 ms of bytes: a corner at twice the bandwidth's need, and nothing else."""
    times = of(table((2 * 10**9, 0, 0, 10**7)), PLAIN)
    curve = iso_latency(times, 1e-3)
    assert curve is not None
    assert curve.points == (IsoPoint(peak=2.0, bandwidth=1.0, layers=(0,)),)
    assert (curve.least_peak, curve.least_bandwidth) == (2.0, 1.0)
    best = curve.cheapest(times)
    assert (best.peak, best.bandwidth) == pytest.approx((2.0, 1.0))


def test_a_sum_has_a_hyperbola_and_its_cheapest_point_gives_each_half_the_time() -> None:
    times = of(table((2 * 10**9, 0, 0, 10**7)), replace(PLAIN, combine="add"))
    curve = iso_latency(times, 1e-3)
    assert curve is not None
    assert curve.points == ()
    best = curve.cheapest(times)
    assert (best.peak, best.bandwidth) == pytest.approx((4.0, 2.0))  # 0.5 ms each


def test_vector_ops_cut_the_corner() -> None:
    """2 ms of MACs, 1 ms of bytes and 0.5 ms of vector ops beside 1 ms of bytes: three kinds of knees."""
    hardware = replace(PLAIN, vector_ops_per_s=1e9)
    times = of(table((2 * 10**9, 500_000, 0, 10**7), (0, 0, 0, 10**7)), hardware)
    curve = iso_latency(times, 0.75e-3)
    assert curve is not None
    # the layer sits on its vector ops' 0.5 ms where the peak is 4 and the other's bytes take 0.25 ms: bandwidth 4
    assert any(point.peak == pytest.approx(4.0) and point.bandwidth == pytest.approx(4.0) for point in curve.points)
    assert curve.least_bandwidth == pytest.approx(4.0)


def test_what_no_peak_and_bandwidth_reach_has_no_curve() -> None:
    times = of(THREE, replace(PLAIN, inference_overhead_s=1e-3))
    assert iso_latency(times, 0.9e-3) is None
    assert times.response("peak", "bandwidth").factor_for(0.9e-3) is None


def test_a_device_that_grew_says_so_in_its_figures() -> None:
    grown = scaled(roofline.load_profile("pixel6_tpu"), dtype="int8", peak=2)
    figures = grown.figures
    assert (
        figures["peak_macs_per_s.int8"].value
        == grown.peak("int8")
        == 2 * roofline.load_profile("pixel6_tpu").peak("int8")
    )
    assert figures["peak_macs_per_s.int8"].source.startswith("what if: 2 times 4.005e+12")
    assert not figures["bandwidth_bytes_per_s"].source.startswith("what if")
    assert grown.latency_kind("int8") == "prediction"


def test_a_response_of_no_layers_is_what_is_fixed() -> None:
    nothing = np.zeros(0)
    assert Response.of(2.0, nothing, nothing).latency_s([1, 2]).tolist() == [2.0, 2.0]
    assert Response.of(0.0, nothing, nothing).elasticity() == (0.0, 0.0)
