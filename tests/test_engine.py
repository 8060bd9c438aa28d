"""The roofline: eq. 1 of the MobileNetV4 paper (arXiv:2404.10518) by hand, and what follows from it exactly."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import roofline
from roofline.engine import Prediction, combined, crossing_bytes, layer_times, predict
from roofline.errors import ProfileError
from roofline.hardware import Hardware
from roofline.layers import LayerTable, lower
from roofline.models import find
from roofline.trace import trace

pytestmark = pytest.mark.usefixtures("traced_once")

laws = settings(deadline=None, max_examples=50)


def device(macs_per_s: float, bytes_per_s: float, **changes: Any) -> Hardware:
    """A device that is nothing but two ceilings."""
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
    return Hardware(**(given | changes))


@dataclass(frozen=True)
class Layer:
    """What a layer costs: MACs, then the bytes of its weights, inputs and outputs; and what it is."""

    macs: int
    weight_bytes: int = 0
    input_bytes: int = 0
    output_bytes: int = 0
    vector_ops: int = 0
    external_bytes: int = 0
    reuse: tuple[tuple[int, int], ...] = ()  # the room with which these bytes stay on the chip, and how many they are
    kind: str = "other"
    ops: str = "op"
    kernel: tuple[int, ...] = ()

    @property
    def activation_bytes(self) -> int:
        return self.input_bytes + self.output_bytes

    @property
    def mem_bytes(self) -> int:
        return self.weight_bytes + self.activation_bytes


@cache
def _template() -> LayerTable:
    return lower(trace(nn.Identity(), torch.empty(1)), dtype="int8")


def table(*layers: Layer, dtype: str = "int8") -> LayerTable:
    """A table of these layers, whatever they compute."""

    def numbers(name: str) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([getattr(layer, name) for layer in layers], dtype=np.int64)

    def objects(items: Iterable[object]) -> np.ndarray[Any, np.dtype[np.object_]]:
        return np.fromiter(items, dtype=object)

    counts = ("macs", "vector_ops", "weight_bytes", "input_bytes", "output_bytes", "external_bytes")
    columns: dict[str, Any] = {name: numbers(name) for name in counts}
    columns |= {name: objects(getattr(layer, name) for layer in layers) for name in ("kind", "ops", "kernel")}
    return replace(
        _template(),
        name=objects(f"layer{number}" for number in range(len(layers))),
        input_shape=objects((1,) for _ in layers),
        output_shape=objects((1,) for _ in layers),
        dtype=dtype,
        reuse=lambda: objects(layer.reuse for layer in layers),
        **columns,
    )


def traced(model: nn.Module, *shape: int) -> LayerTable:
    """The layers of a model at int8, fused: bytes are elements."""
    return lower(trace(model, torch.empty(shape, device="meta")), fusion="epilogue", dtype="int8")


# --- eq. 1 by hand ------------------------------------------------------------------------------------------------

CONV = Layer(macs=9_400_000_000, weight_bytes=1_000_000, input_bytes=20_000_000, output_bytes=20_000_000)
DEPTHWISE = Layer(macs=4_700_000_000, weight_bytes=2_000_000, input_bytes=40_000_000, output_bytes=40_000_000)
ON_THE_RIDGE = Layer(macs=2_350_000_000, weight_bytes=20_000_000, input_bytes=400_000, output_bytes=100_000)
PEAK, BANDWIDTH = 4.7e12, 41e9


def test_three_layers_by_hand() -> None:
    #            MACs / 4.7e12 MACs/s    bytes / 41e9 bytes/s    the larger
    # CONV       9.4e9     2 ms          41e6     1 ms           2 ms
    # DEPTHWISE  4.7e9     1 ms          82e6     2 ms           2 ms, for memory
    # RIDGE      2.35e9    0.5 ms        20.5e6   0.5 ms         0.5 ms
    prediction = predict(table(CONV, DEPTHWISE, ON_THE_RIDGE), device(PEAK, BANDWIDTH))
    assert prediction.mac_time_s.tolist() == pytest.approx([2e-3, 1e-3, 0.5e-3])
    assert prediction.mem_time_s.tolist() == pytest.approx([1e-3, 2e-3, 0.5e-3])
    assert prediction.layer_latency_s.tolist() == pytest.approx([2e-3, 2e-3, 0.5e-3])
    assert prediction.memory_bound.tolist() == [False, True, False]
    assert float(prediction.latency_s) == pytest.approx(4.5e-3)
    assert float(prediction.compute_bound_share) == pytest.approx(2.5 / 4.5)


def test_three_layers_by_hand_bit_for_bit() -> None:
    layers = [CONV, DEPTHWISE, ON_THE_RIDGE]
    prediction = predict(table(*layers), device(PEAK, BANDWIDTH))
    expected = [max(layer.macs / PEAK, layer.mem_bytes / BANDWIDTH) for layer in layers]
    assert prediction.layer_latency_s.tolist() == expected
    assert float(prediction.latency_s) == sum(expected)


amounts = st.integers(0, 10**12)
rates = st.floats(1e6, 1e15)
layer_list_items = st.builds(
    Layer, macs=amounts, weight_bytes=amounts, input_bytes=amounts, output_bytes=amounts, vector_ops=amounts
)
layer_lists = st.lists(layer_list_items, min_size=1, max_size=6)


@laws
@given(layer_lists, rates, rates)
def test_without_further_terms_any_layer_takes_what_eq_1_says_bit_for_bit(
    layers: list[Layer], peak: float, bandwidth: float
) -> None:
    prediction = predict(table(*layers), device(peak, bandwidth))
    assert prediction.layer_latency_s.tolist() == [
        max(layer.macs / peak, layer.mem_bytes / bandwidth) for layer in layers
    ]
    assert float(prediction.latency_s) == pytest.approx(math.fsum(prediction.layer_latency_s))


def test_a_layer_without_macs_takes_the_time_of_its_bytes() -> None:
    prediction = predict(table(Layer(macs=0, input_bytes=41_000, output_bytes=41_000)), device(PEAK, BANDWIDTH))
    assert prediction.layer_latency_s.tolist() == pytest.approx([2e-6])
    assert prediction.memory_bound.tolist() == [True]


def test_a_layer_without_bytes_takes_the_time_of_its_macs_and_one_without_either_none() -> None:
    prediction = predict(table(Layer(macs=4_700_000), Layer(macs=0)), device(PEAK, BANDWIDTH))
    assert prediction.layer_latency_s.tolist() == pytest.approx([1e-6, 0])
    assert prediction.memory_bound.tolist() == [False, False]


def test_a_model_without_layers_takes_no_time() -> None:
    prediction = predict(table(), device(PEAK, BANDWIDTH))
    assert float(prediction.latency_s) == 0
    assert float(prediction.compute_bound_share) == 0


def test_a_prediction_knows_what_was_predicted_on_what() -> None:
    layers, hardware = table(CONV), device(PEAK, BANDWIDTH)
    prediction = predict(layers, hardware)
    assert prediction.layers is layers
    assert prediction.hardware is hardware


# --- the ridge point ----------------------------------------------------------------------------------------------
# As in section 3 of the paper: peak / bandwidth in MACs/byte, and 1 MAC counts once.

small = st.integers(1, 1000)


@laws
@given(st.integers(0, 10_000), st.integers(1, 10_000), small, small)
def test_a_layer_is_memory_bound_exactly_when_its_intensity_is_below_the_ridge_point(
    macs: int, mem_bytes: int, peak: int, bandwidth: int
) -> None:
    prediction = predict(table(Layer(macs, mem_bytes)), device(peak, bandwidth))
    below = Fraction(macs, mem_bytes) < Fraction(peak, bandwidth)
    assert prediction.memory_bound.tolist() == [below]


@laws
@given(st.integers(1, 10**6), st.integers(1, 500), st.integers(1, 10**12))
def test_a_layer_on_the_ridge_counts_as_compute_bound(mem_bytes: int, ridge_point: int, bandwidth: int) -> None:
    hardware = device(ridge_point * bandwidth, bandwidth)
    on, below = Layer(mem_bytes * ridge_point, mem_bytes), Layer(mem_bytes * ridge_point - 1, mem_bytes)
    prediction = predict(table(on, below), hardware)
    assert prediction.memory_bound.tolist() == [False, True]
    assert float(prediction.compute_bound_share) == pytest.approx(0.5)


@laws
@given(layer_lists, st.lists(st.floats(1e-3, 500), min_size=2, max_size=6))
def test_at_a_fixed_bandwidth_a_higher_ridge_point_is_never_slower(
    layers: list[Layer], ridge_points: list[float]
) -> None:
    sweep = predict(table(*layers), [device(ridge_point, 1.0) for ridge_point in sorted(ridge_points)])
    assert (np.diff(sweep.latency_s) <= 1e-9 * sweep.latency_s[:-1]).all()


@laws
@given(layer_lists, st.lists(st.floats(1e-3, 500), min_size=2, max_size=6))
def test_at_a_fixed_peak_a_higher_ridge_point_is_never_faster(layers: list[Layer], ridge_points: list[float]) -> None:
    sweep = predict(table(*layers), [device(1.0, 1 / ridge_point) for ridge_point in sorted(ridge_points)])
    assert (np.diff(sweep.latency_s) >= -1e-9 * sweep.latency_s[:-1]).all()


working = st.lists(
    st.builds(Layer, macs=st.integers(1, 10**12), weight_bytes=st.integers(1, 10**12)), min_size=1, max_size=6
)


@laws
@given(working, working)
def test_models_rank_by_macs_below_every_ridge_and_by_bytes_beyond(one: list[Layer], other: list[Layer]) -> None:
    """Ceilings of 1 and 2**60 make each latency a sum of integers, which is exact."""

    def latencies(macs_per_s: float, bytes_per_s: float) -> list[float]:
        return [float(predict(table(*layers), device(macs_per_s, bytes_per_s)).latency_s) for layers in (one, other)]

    assert latencies(1.0, 2.0**60) == [sum(layer.macs for layer in layers) for layers in (one, other)]
    assert latencies(2.0**60, 1.0) == [sum(layer.mem_bytes for layer in layers) for layers in (one, other)]


@pytest.mark.parametrize("size", [7, 14, 56, 224])
@pytest.mark.parametrize("channels", [8, 96, 960])
def test_a_depthwise_3x3_convolution_does_at_most_4_5_macs_a_byte(channels: int, size: int) -> None:
    """9 C H W MACs over 2 C H W + 9 C bytes: memory-bound on every device of Table 16, from 31.2 MACs/byte on."""
    layers = traced(nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False), 1, channels, size, size)
    pixels = size * size
    assert layers.operational_intensity.tolist() == [9 * pixels / (2 * pixels + 9)]
    assert layers.operational_intensity[0] < 4.5
    assert predict(layers, device(31.2, 1.0)).memory_bound.all()


@pytest.mark.parametrize(("inputs", "outputs"), [(1, 1), (16, 1000), (1280, 1000), (4096, 4096)])
def test_a_fully_connected_layer_does_at_most_one_mac_a_byte(inputs: int, outputs: int) -> None:
    layers = traced(nn.Linear(inputs, outputs, bias=False, device="meta"), 1, inputs)
    assert layers.operational_intensity.tolist() == [inputs * outputs / (inputs * outputs + inputs + outputs)]
    assert layers.operational_intensity[0] < 1


@pytest.mark.parametrize(("ridge_point", "memory_bound_at", "compute_bound_at"), [(31.2, 62, 63), (433.8, 867, 869)])
def test_a_1x1_convolution_on_large_maps_does_half_a_mac_a_byte_and_channel(
    ridge_point: float, memory_bound_at: int, compute_bound_at: int
) -> None:
    """C C H W MACs over 2 C H W bytes: crosses the ridge of a Pixel 6 CPU at 62 channels, of a Pixel 8 TPU at 868."""

    def memory_bound(channels: int) -> bool:
        layers = traced(nn.Conv2d(channels, channels, 1, bias=False, device="meta"), 1, channels, 2000, 2000)
        assert layers.operational_intensity[0] == pytest.approx(channels / 2, rel=1e-3)
        return bool(predict(layers, device(ridge_point, 1.0)).memory_bound[0])

    assert memory_bound(memory_bound_at)
    assert not memory_bound(compute_bound_at)


# --- laws ---------------------------------------------------------------------------------------------------------


@laws
@given(layer_lists, rates, rates)
def test_no_layer_beats_a_ceiling(layers: list[Layer], peak: float, bandwidth: float) -> None:
    prediction = predict(table(*layers), device(peak, bandwidth, vector_ops_per_s=1e9, layer_overhead_s=1e-6))
    for ceiling in (prediction.mac_time_s, prediction.vector_time_s, prediction.mem_time_s):
        assert (prediction.layer_latency_s >= ceiling).all()
    assert np.isfinite(prediction.layer_latency_s).all()
    assert 0 <= float(prediction.compute_bound_share) <= 1 + 1e-12
    assert float(prediction.latency_s) == pytest.approx(math.fsum(prediction.layer_latency_s))


@laws
@given(layer_lists, rates, rates, st.floats(1, 1000))
def test_a_faster_device_is_never_slower(layers: list[Layer], peak: float, bandwidth: float, factor: float) -> None:
    base = predict(table(*layers), device(peak, bandwidth))
    for better in (device(peak * factor, bandwidth), device(peak, bandwidth * factor)):
        assert (predict(table(*layers), better).layer_latency_s <= base.layer_latency_s).all()


@laws
@given(layer_lists, rates, rates, st.integers(-20, 20))
def test_a_device_k_times_as_fast_takes_one_kth_of_the_time(
    layers: list[Layer], peak: float, bandwidth: float, exponent: int
) -> None:
    base = predict(table(*layers), device(peak, bandwidth))
    scaled = predict(table(*layers), device(peak * 2.0**exponent, bandwidth * 2.0**exponent))
    assert (scaled.layer_latency_s * 2.0**exponent == base.layer_latency_s).all()
    assert (scaled.memory_bound == base.memory_bound).all()  # the ridge point is the same


@pytest.mark.parametrize("ridge_point", [1.0, 31.2, 114.6, 433.8])
def test_a_larger_batch_is_never_faster_and_never_slower_an_image(ridge_point: float) -> None:
    """Weights are read once for the whole batch."""
    model = find("mobilenetv4_conv_small").build(num_classes=10).to("meta")
    latency_s = [float(predict(traced(model, n, 3, 64, 64), device(ridge_point, 1.0)).latency_s) for n in (1, 2, 4, 8)]
    assert latency_s == sorted(latency_s)
    an_image_s = [total / n for total, n in zip(latency_s, (1, 2, 4, 8), strict=True)]
    assert an_image_s == sorted(an_image_s, reverse=True)


# Any device that adds any terms, and layers of the classes that these name.

shares, spans = st.floats(1e-3, 1), st.floats(0, 1)
CLASSES = ("conv", "depthwise_conv", "depthwise_conv_k7", "activation", "gelu", "copy", "transpose")
TERMS: dict[str, st.SearchStrategy[Any]] = {
    "combine": st.just("add"),
    "peak_share_by_class": st.dictionaries(st.sampled_from(CLASSES), shares),
    "vector_ops_per_s": rates,
    "weight_bandwidth_bytes_per_s": rates,
    "bandwidth_bytes_per_s_by_class": st.dictionaries(st.sampled_from(CLASSES), rates),
    "layer_overhead_s": spans,
    "overhead_layers": st.just("macs"),
    "inference_overhead_s": spans,
    "onchip_holds": st.sets(st.sampled_from(["weights", "activations"])).map(frozenset),
}


@st.composite
def term_sets(draw: st.DrawFn) -> dict[str, Any]:
    """Some of the terms that a profile may add, as fields of `Hardware`."""
    names = draw(st.sets(st.sampled_from(sorted(TERMS))))
    return {name: draw(TERMS[name]) for name in sorted(names)} | {"onchip_bytes": draw(st.integers(1, 2 * 10**12))}


@st.composite
def classed_layers(draw: st.DrawFn) -> Layer:
    """A layer of one of the classes above, or of none."""
    kind, ops, kernel = draw(
        st.sampled_from(
            [
                ("conv", "convolution", (7, 7)),
                ("depthwise_conv", "convolution+relu", (3, 3)),
                ("depthwise_conv", "convolution+gelu", (1, 7)),
                ("activation", "gelu", ()),
                ("activation", "silu", ()),
                ("copy", "cat", ()),
                ("copy", "permute", ()),
                ("linear", "linear+gelu", ()),
            ]
        )
    )
    layer = draw(layer_list_items)
    external = draw(st.integers(0, layer.activation_bytes))
    one = draw(st.integers(0, layer.activation_bytes - external))
    rooms = [layer.activation_bytes + more for more in draw(st.lists(st.integers(0, 10**12), min_size=2, max_size=2))]
    reuse = tuple(zip(rooms, (one, layer.activation_bytes - external - one), strict=True))
    return replace(layer, kind=kind, ops=ops, kernel=kernel, external_bytes=external, reuse=reuse)


classed_lists = st.lists(classed_layers(), min_size=1, max_size=6)


@laws
@given(classed_lists, st.lists(st.tuples(rates, rates, term_sets() | st.just({})), max_size=5))
def test_several_devices_at_once_are_each_of_them_in_turn(
    layers: list[Layer], figures: list[tuple[float, float, dict[str, Any]]]
) -> None:
    devices = [device(peak, bandwidth, **terms) for peak, bandwidth, terms in figures]
    together = predict(table(*layers), devices)
    assert together.hardware == tuple(devices)
    assert together.layer_latency_s.shape == (len(devices), len(layers))
    assert together.latency_s.shape == together.inference_overhead_s.shape == (len(devices),)
    for row, hardware in enumerate(devices):
        alone = predict(table(*layers), hardware)
        for field in ("mac_time_s", "vector_time_s", "mem_time_s", "layer_latency_s", "memory_bound"):
            assert getattr(together, field).shape == (len(devices), len(layers))
            assert (getattr(together, field)[row] == getattr(alone, field)).all()
        assert together.inference_overhead_s[row] == alone.inference_overhead_s == hardware.inference_overhead_s
        assert float(together.latency_s[row]) == pytest.approx(float(alone.latency_s), rel=1e-12)
        assert float(together.compute_bound_share[row]) == pytest.approx(float(alone.compute_bound_share), rel=1e-12)


@laws
@given(classed_lists, rates, rates, st.lists(st.tuples(rates, rates, term_sets()), min_size=1, max_size=3))
def test_a_device_without_terms_keeps_to_eq_1_bit_for_bit_beside_others_that_have_some(
    layers: list[Layer], peak: float, bandwidth: float, others: list[tuple[float, float, dict[str, Any]]]
) -> None:
    plain = device(peak, bandwidth, onchip_bytes=10**12)
    among = [device(own_peak, own_bandwidth, **terms) for own_peak, own_bandwidth, terms in others]
    together = predict(table(*layers), [*among, plain])
    assert together.layer_latency_s[-1].tolist() == [
        max(layer.macs / peak, layer.mem_bytes / bandwidth) for layer in layers
    ]
    assert together.latency_s[-1] == together.layers_s[-1]


def test_one_device_in_a_list_keeps_the_axis_of_devices() -> None:
    one = predict(table(CONV, DEPTHWISE), [device(PEAK, BANDWIDTH)])
    assert one.layer_latency_s.shape == (1, 2)
    assert one.latency_s.shape == one.compute_bound_share.shape == (1,)


# --- further terms ------------------------------------------------------------------------------------------------


def test_a_vector_rate_is_a_third_ceiling() -> None:
    hardware = device(1e12, 1e9, vector_ops_per_s=1e6)
    relu = Layer(macs=0, input_bytes=1_000_000, output_bytes=1_000_000, vector_ops=1_000)  # 2 ms over 1 ms
    gelu = Layer(macs=0, input_bytes=1_000_000, output_bytes=1_000_000, vector_ops=14_000)  # 2 ms under 14 ms
    prediction = predict(table(relu, gelu), hardware)
    assert prediction.vector_time_s.tolist() == pytest.approx([1e-3, 14e-3])
    assert prediction.layer_latency_s.tolist() == pytest.approx([2e-3, 14e-3])
    assert prediction.memory_bound.tolist() == [True, False]


def test_without_a_vector_rate_vector_ops_cost_nothing_but_their_bytes() -> None:
    relu = Layer(macs=0, output_bytes=1_000_000, vector_ops=10**15)
    prediction = predict(table(relu), device(1e12, 1e9))
    assert prediction.vector_time_s.tolist() == [0]
    assert prediction.layer_latency_s.tolist() == [1e-3]


def test_an_overhead_is_added_to_every_layer() -> None:
    base = predict(table(CONV, DEPTHWISE, ON_THE_RIDGE), device(PEAK, BANDWIDTH))
    late = predict(table(CONV, DEPTHWISE, ON_THE_RIDGE), device(PEAK, BANDWIDTH, layer_overhead_s=1e-3))
    assert late.layer_latency_s.tolist() == pytest.approx((base.layer_latency_s + 1e-3).tolist())
    assert float(late.latency_s) == pytest.approx(7.5e-3)
    assert (late.memory_bound == base.memory_bound).all()
    assert (late.mac_time_s == base.mac_time_s).all()
    assert float(late.compute_bound_share) == pytest.approx((3 + 1.5) / 7.5)


def test_times_may_add_up_in_place_of_the_larger_counting() -> None:
    """Of the three layers at the head, with times in ms: 2 + 1, 1 + 2, 0.5 + 0.5; what bounds them stays."""
    sums = predict(table(CONV, DEPTHWISE, ON_THE_RIDGE), device(PEAK, BANDWIDTH, combine="add"))
    assert sums.layer_latency_s.tolist() == pytest.approx([3e-3, 3e-3, 1e-3])
    assert sums.memory_bound.tolist() == [False, True, False]
    vector = Layer(macs=9_400_000_000, input_bytes=41_000_000, vector_ops=4_000_000)
    sums = predict(table(vector), device(PEAK, BANDWIDTH, combine="add", vector_ops_per_s=1e9, layer_overhead_s=1e-3))
    assert sums.layer_latency_s.tolist() == pytest.approx([2e-3 + 1e-3 + 4e-3 + 1e-3])


def test_layers_of_a_class_may_reach_a_share_of_the_peak() -> None:
    layers = table(
        Layer(macs=8_000_000, kind="conv"),
        Layer(macs=8_000_000, kind="depthwise_conv", kernel=(5, 5)),
        Layer(macs=8_000_000, kind="depthwise_conv", kernel=(7, 1)),
        Layer(macs=8_000_000, kind="conv", kernel=(7, 7)),
    )
    hardware = device(8e9, 1e9, peak_share_by_class={"depthwise_conv_k7": 0.125, "depthwise_conv": 0.5})
    assert predict(layers, hardware).mac_time_s.tolist() == pytest.approx([1e-3, 2e-3, 8e-3, 1e-3])
    turned = device(8e9, 1e9, peak_share_by_class={"depthwise_conv": 0.5, "depthwise_conv_k7": 0.125})
    assert predict(layers, turned).mac_time_s.tolist() == predict(layers, hardware).mac_time_s.tolist()


def test_weights_may_come_at_a_rate_of_their_own() -> None:
    # 3e6 bytes of weights at 1 GB/s, 4e6 of activations at 4 GB/s; MACs at 1e9 a second
    layers = table(Layer(macs=3_500_000, weight_bytes=3_000_000, input_bytes=1_000_000, output_bytes=3_000_000))
    slow = predict(layers, device(1e9, 4e9, weight_bandwidth_bytes_per_s=1e9))
    assert slow.mem_time_s.tolist() == pytest.approx([3e-3 + 1e-3])
    assert slow.memory_bound.tolist() == [True]
    same = predict(layers, device(1e9, 4e9, weight_bandwidth_bytes_per_s=4e9))
    assert same.mem_time_s.tolist() == pytest.approx([1.75e-3])
    assert same.layer_latency_s.tolist() == pytest.approx([3.5e-3])


def test_all_bytes_of_a_class_may_move_at_a_rate_of_their_own() -> None:
    layers = table(
        Layer(macs=0, weight_bytes=1_000_000, input_bytes=1_000_000, kind="norm", ops="layer_norm"),
        Layer(macs=0, input_bytes=1_000_000, output_bytes=1_000_000, kind="copy", ops="cat"),
        Layer(macs=0, input_bytes=1_000_000, output_bytes=1_000_000, kind="copy", ops="transpose"),
        Layer(macs=0, input_bytes=1_000_000, output_bytes=1_000_000, kind="activation", ops="gelu"),
        Layer(macs=0, input_bytes=1_000_000, output_bytes=1_000_000, kind="linear", ops="linear+gelu"),
    )
    hardware = device(1e9, 2e9, bandwidth_bytes_per_s_by_class={"copy": 1e9, "transpose": 0.5e9, "gelu": 4e9})
    assert predict(layers, hardware).mem_time_s.tolist() == pytest.approx([1e-3, 2e-3, 4e-3, 0.5e-3, 1e-3])


@pytest.mark.parametrize("rate", [1e9, 2e9], ids=["its own rate", "a rate that is also the bandwidth"])
def test_the_rate_of_a_class_comes_before_that_of_weights(rate: float) -> None:
    layers = table(
        Layer(macs=0, weight_bytes=1_000_000, input_bytes=1_000_000, kind="norm"),
        Layer(macs=0, weight_bytes=1_000_000, input_bytes=1_000_000, kind="linear"),
    )
    hardware = device(
        1e9, 2e9, weight_bandwidth_bytes_per_s=0.25e9, bandwidth_bytes_per_s_by_class={"norm": rate}
    )  # fmt: skip
    assert predict(layers, hardware).mem_time_s.tolist() == pytest.approx([2e6 / rate, 4e-3 + 0.5e-3])


def test_an_inference_may_have_an_overhead_that_is_in_no_layer() -> None:
    base = predict(table(CONV, DEPTHWISE), device(PEAK, BANDWIDTH))
    late = predict(table(CONV, DEPTHWISE), device(PEAK, BANDWIDTH, inference_overhead_s=6e-3))
    assert (late.layer_latency_s == base.layer_latency_s).all()
    assert float(late.layers_s) == float(base.latency_s) == pytest.approx(4e-3)
    assert float(late.latency_s) == pytest.approx(10e-3)
    assert float(late.compute_bound_share) == float(base.compute_bound_share) == pytest.approx(0.5)
    nothing = predict(table(), device(PEAK, BANDWIDTH, inference_overhead_s=6e-3))
    assert (float(nothing.latency_s), float(nothing.compute_bound_share)) == (6e-3, 0)


ON_CHIP = [  # a chain: weights, inputs and outputs, what of these is the model's own, and what passes on
    Layer(0, 100, 300, 200, external_bytes=300, reuse=((500, 200),)),  # the second layer is the smaller
    Layer(0, 250, 200, 100, reuse=((500, 200), (700, 100))),
    Layer(0, 400, 100, 600, reuse=((700, 100), (700, 600))),
    Layer(0, 50, 600, 10, external_bytes=10, reuse=((700, 600),)),
]


@pytest.mark.parametrize(
    ("size", "holds", "weights", "activations"),
    [
        (10_000, (), [100, 250, 400, 50], [500, 300, 700, 610]),
        (10_000, ("activations",), [100, 250, 400, 50], [300, 0, 0, 10]),
        (699, ("activations",), [100, 250, 400, 50], [300, 100, 700, 610]),  # the third needs 700
        (499, ("activations",), [100, 250, 400, 50], [500, 300, 700, 610]),
        (350, ("weights",), [0, 0, 400, 50], [500, 300, 700, 610]),  # 100 + 250 fit; 50 more would, behind the 400
        (349, ("weights",), [0, 250, 400, 50], [500, 300, 700, 610]),
        (960, ("weights", "activations"), [0, 250, 400, 50], [300, 0, 0, 10]),  # 960 - 700 leave room for the 100
        (1500, ("weights", "activations"), [0, 0, 0, 0], [300, 0, 0, 10]),  # 700 + 800
        (99, ("weights", "activations"), [100, 250, 400, 50], [500, 300, 700, 610]),
        (500, ("weights", "activations"), [100, 250, 400, 50], [300, 100, 700, 610]),  # 400 bytes rather than 350
    ],
)
def test_what_the_chip_holds_does_not_cross_the_memory_bus(
    size: int, holds: tuple[str, ...], weights: list[int], activations: list[int]
) -> None:
    hardware = device(1.0, 1.0, onchip_bytes=size, onchip_holds=frozenset(holds))
    crossing = crossing_bytes(table(*ON_CHIP), hardware)
    assert [sizes.tolist() for sizes in crossing] == [weights, activations]
    mem_time_s = predict(table(*ON_CHIP), hardware).mem_time_s.tolist()
    assert mem_time_s == [w + a for w, a in zip(weights, activations, strict=True)]


def test_weights_and_activations_part_the_chip_such_that_the_fewest_bytes_cross() -> None:
    """Weights of 700 and 100 bytes, or a tensor of 300, written and read, that takes room for 750."""
    layers = table(
        Layer(0, 700, 300, 300, external_bytes=300, reuse=((750, 300),)),
        Layer(0, 100, 300, 450, external_bytes=450, reuse=((750, 300),)),
    )
    both = frozenset({"weights", "activations"})

    def crossing(size: int) -> list[list[int]]:
        return [sizes.tolist() for sizes in crossing_bytes(layers, device(1, 1, onchip_bytes=size, onchip_holds=both))]

    assert crossing(699) == [[700, 100], [600, 750]]
    assert crossing(750) == crossing(800 - 1) == [[0, 100], [600, 750]]
    assert crossing(800) == [[0, 0], [600, 750]]
    assert crossing(1449) == [[0, 0], [600, 750]]  # 749 beside 700
    assert crossing(1450) == [[0, 100], [300, 450]]
    assert crossing(1550) == [[0, 0], [300, 450]]


def test_all_terms_at_once_by_hand() -> None:
    layers = table(
        Layer(1_000_000, 200_000, 500_000, 400_000, external_bytes=500_000, kind="conv", reuse=((1_100_000, 400_000),)),
        Layer(
            1_000_000,
            100_000,
            800_000,
            300_000,
            vector_ops=50_000,
            kind="depthwise_conv",
            kernel=(7, 7),
            reuse=((1_100_000, 800_000), (1_200_000, 300_000)),
        ),
        Layer(0, 0, 600_000, 600_000, kind="copy", ops="transpose", reuse=((1_200_000, 600_000),) * 2),
        Layer(2_000_000, 900_000, 100_000, 50_000, external_bytes=50_000, kind="linear", reuse=((1_200_000, 100_000),)),
    )
    hardware = device(
        4e9, 2e9, combine="add", vector_ops_per_s=1e8, layer_overhead_s=1e-5, inference_overhead_s=1e-3,
        peak_share_by_class={"depthwise_conv": 0.5, "depthwise_conv_k7": 0.25}, weight_bandwidth_bytes_per_s=1e9,
        bandwidth_bytes_per_s_by_class={"transpose": 0.4e9}, onchip_bytes=1_150_000,
        onchip_holds=frozenset({"weights", "activations"}),
    )  # fmt: skip
    prediction = predict(layers, hardware)
    # All activations but the transpose's 1.2 MB fit, so what it reads and writes crosses. The depthwise layer's 1.1 MB
    # leave 50 kB: too little for weights.
    assert prediction.mac_time_s.tolist() == pytest.approx([0.25e-3, 1e-3, 0, 0.5e-3])
    assert prediction.vector_time_s.tolist() == pytest.approx([0, 0.5e-3, 0, 0])
    assert prediction.mem_time_s.tolist() == pytest.approx(
        [0.5e6 / 2e9 + 0.2e6 / 1e9, 0.3e6 / 2e9 + 0.1e6 / 1e9, 1.2e6 / 0.4e9, 0.15e6 / 2e9 + 0.9e6 / 1e9]
    )
    layers_s = [0.25e-3 + 0.45e-3, 1e-3 + 0.5e-3 + 0.25e-3, 3e-3, 0.5e-3 + 0.975e-3]
    assert prediction.layer_latency_s.tolist() == pytest.approx([time + 1e-5 for time in layers_s])
    assert prediction.memory_bound.tolist() == [True, False, True, True]
    assert float(prediction.latency_s) == pytest.approx(sum(layers_s) + 4e-5 + 1e-3)


def test_the_overhead_may_be_of_layers_that_do_macs_alone() -> None:
    layers = table(Layer(macs=1_000_000, input_bytes=1), Layer(macs=0, input_bytes=2_000_000), Layer(macs=0))
    given: dict[str, Any] = {"layer_overhead_s": 3e-3, "overhead_layers": "macs"}
    assert predict(layers, device(1e9, 1e9, **given)).layer_latency_s.tolist() == pytest.approx([4e-3, 2e-3, 0])
    others = [device(1e9, 1e9, layer_overhead_s=3e-3), device(1e9, 1e9)]
    together = predict(layers, [device(1e9, 1e9, **given), *others])
    assert together.layer_latency_s.tolist() == [
        pytest.approx(row) for row in ([4e-3, 2e-3, 0], [4e-3, 5e-3, 3e-3], [1e-3, 2e-3, 0])
    ]


@laws
@given(classed_lists, rates, rates, term_sets())
def test_a_sum_of_times_is_at_least_the_largest_and_at_most_three_times_that(
    layers: list[Layer], peak: float, bandwidth: float, terms: dict[str, Any]
) -> None:
    terms.pop("layer_overhead_s", None)
    longest, sums = (predict(table(*layers), device(peak, bandwidth, **terms | {"combine": c})) for c in ("max", "add"))
    assert (sums.layer_latency_s >= longest.layer_latency_s).all()
    assert (sums.layer_latency_s <= 3 * longest.layer_latency_s).all()
    assert (sums.memory_bound == longest.memory_bound).all()


def faster(hardware: Hardware, factor: float) -> Iterator[Hardware]:
    """The device with one of its rates so many times larger, or one of its overheads smaller."""
    yield replace(hardware, peak_macs_per_s={"int8": hardware.peak("int8") * factor})
    yield replace(hardware, bandwidth_bytes_per_s=hardware.bandwidth_bytes_per_s * factor)
    for name in ("vector_ops_per_s", "weight_bandwidth_bytes_per_s"):
        if getattr(hardware, name) is not None:
            yield replace(hardware, **{name: getattr(hardware, name) * factor})
    for name in ("peak_share_by_class", "bandwidth_bytes_per_s_by_class"):
        for of, value in getattr(hardware, name).items():
            yield replace(hardware, **{name: getattr(hardware, name) | {of: value * factor}})
    for name in ("layer_overhead_s", "inference_overhead_s"):
        yield replace(hardware, **{name: getattr(hardware, name) / factor})


@laws
@given(classed_lists, rates, rates, term_sets(), st.floats(1, 1000))
def test_no_rate_that_grows_and_no_overhead_that_shrinks_makes_a_layer_slower(
    layers: list[Layer], peak: float, bandwidth: float, terms: dict[str, Any], factor: float
) -> None:
    hardware = device(peak, bandwidth, **terms)
    base = predict(table(*layers), hardware)
    for better in faster(hardware, factor):
        prediction = predict(table(*layers), better)
        assert (prediction.layer_latency_s <= base.layer_latency_s).all()
        assert prediction.inference_overhead_s <= base.inference_overhead_s


@laws
@given(classed_lists, rates, rates, term_sets())
def test_memory_on_the_chip_never_costs_time_and_saves_none_where_nothing_fits(
    layers: list[Layer], peak: float, bandwidth: float, terms: dict[str, Any]
) -> None:
    holding = device(peak, bandwidth, **terms)
    without = replace(holding, onchip_holds=frozenset(), onchip_bytes=None)
    less, more = predict(table(*layers), holding), predict(table(*layers), without)
    assert (less.mem_time_s <= more.mem_time_s).all()
    assert (less.layer_latency_s <= more.layer_latency_s).all()
    for crossing, whole in zip(
        crossing_bytes(table(*layers), holding), crossing_bytes(table(*layers), without), strict=True
    ):
        assert ((crossing >= 0) & (crossing <= whole)).all()
    larger = [
        replace(layer, weight_bytes=layer.weight_bytes + 2, input_bytes=layer.input_bytes + 2) for layer in layers
    ]
    tiny = predict(table(*larger), replace(holding, onchip_bytes=1))
    assert tiny.layer_latency_s.tolist() == predict(table(*larger), without).layer_latency_s.tolist()


@laws
@given(classed_lists, st.sets(st.sampled_from(["weights", "activations"]), min_size=1), st.data())
def test_a_larger_memory_on_the_chip_never_moves_more_bytes(
    layers: list[Layer], holds: set[str], data: st.DataObject
) -> None:
    sizes = sorted(data.draw(st.lists(st.integers(1, 4 * 10**12), min_size=2, max_size=5)))
    rows = [
        np.array(crossing_bytes(table(*layers), device(1, 1, onchip_bytes=size, onchip_holds=frozenset(holds))))
        for size in sizes
    ]
    for less, more in pairwise(rows):
        assert more.sum() <= less.sum()
        assert (more <= less).all() or len(holds) == 2


def test_layer_times_takes_plain_numbers_and_lists() -> None:
    given: dict[str, Any] = {
        "macs_per_s": 2.0,
        "bytes_per_s": 4.0,
        "vector_ops": [10.0, 50.0],
        "vector_ops_per_s": 10.0,
        "overhead_s": 1.0,
    }
    mac_time_s, vector_time_s, mem_time_s, latency_s = layer_times([6.0, 0.0], [8.0, 8.0], **given)
    assert mac_time_s.tolist() == [3, 0]
    assert vector_time_s.tolist() == [1, 5]
    assert mem_time_s.tolist() == [2, 2]
    assert latency_s.tolist() == [4, 6]
    *_, sums_s = layer_times(
        [6.0, 0.0], [8.0, 8.0], **given, weight_bytes=[3.0, 6.0], weight_bytes_per_s=3.0, add=[[False], [True]]
    )
    assert sums_s.tolist() == [[4, 6], [3 + 1 + 2 + 1 + 1, 0 + 5 + 2 + 2 + 1]]
    assert combined(mac_time_s, vector_time_s, mem_time_s, [True, False]).tolist() == [6, 5]


# --- errors and imports -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("several", [False, True])
def test_a_device_without_a_peak_for_the_dtype_is_one_line(several: bool) -> None:
    hardware = device(PEAK, BANDWIDTH)
    with pytest.raises(ProfileError, match=r"^my_device has no peak for dtype 'fp16' \(it lists: int8\)") as raised:
        predict(table(CONV, dtype="fp16"), [hardware, hardware] if several else hardware)
    assert "\n" not in str(raised.value)


def test_the_dtype_of_the_table_picks_the_peak() -> None:
    hardware = device(1.0, 1.0, peak_macs_per_s={"int8": 4.0, "fp16": 2.0})
    assert predict(table(Layer(macs=8), dtype="int8"), hardware).mac_time_s.tolist() == [2]
    assert predict(table(Layer(macs=8), dtype="fp16"), hardware).mac_time_s.tolist() == [4]


def test_the_engine_and_what_it_stands_on_need_no_torch() -> None:
    program = """
import importlib, sys
for module in ("graph", "count", "fuse", "transposes", "layers", "hardware", "engine"):
    importlib.import_module("roofline." + module)
    for heavy in ("torch", "pandas"):
        assert heavy not in sys.modules, f"roofline.{module} imports {heavy}"
"""
    source = str(Path(roofline.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([source, os.environ.get("PYTHONPATH", "")])}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


# --- published figures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "target_s"),
    [("mobilenetv4_conv_small", 0.2e-3), ("mobilenetv4_conv_medium", 0.6e-3), ("mobilenetv4_conv_large", 2.3e-3)],
)
def test_mobilenetv4_meets_the_design_targets_of_its_search_on_a_pixel_6_edgetpu(model: str, target_s: float) -> None:
    """arXiv:2404.10518, App. A: 0.2, 0.6 and 2.3 ms at 224, 256 and 384 pixels; one peak and one bandwidth for all."""
    pixel6_tpu = device(4.7e12, 41e9, fused_activations=frozenset({"relu", "relu6"}))
    entry = find(model)
    with torch.device("meta"):
        network = entry.build()
    layers = traced(network, 1, *entry.input_size)
    assert layers.macs.sum() == entry.macs
    prediction: Prediction = predict(layers, pixel6_tpu)
    assert float(prediction.latency_s) == pytest.approx(target_s, rel=0.06)
