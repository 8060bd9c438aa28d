"""Activations compared: against `roofline.analyze`, hand arithmetic, and what is published."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import roofline
from benchmarks._harness import filled
from benchmarks.activations import PAGE, predicted_tables
from roofline import ModelError, ProfileError, RooflineError, load_profile, models
from roofline.activation_comparison import (
    ACTS,
    LABELS,
    TERMS,
    WAYS,
    ActivationComparison,
    Ratio,
    canonical,
    compare_activations,
    parse_acts,
    published,
    ratio_of,
    time_by_term,
)
from roofline.activation_words import notes, reasons
from roofline.activation_words import published as published_words
from roofline.engine import predict
from roofline.errors import MeasurementError
from roofline.hardware import ACTIVATIONS as FUSIBLE
from roofline.hardware import Hardware
from roofline.measurement.api import Request
from roofline.measurement.clock import SystemClock, WallTimer
from roofline.measurement.result import Measurement
from roofline.measurement.stopping import median, median_interval
from roofline.models.activations import ACTIVATIONS
from roofline.reports.activations_export import render_activations_csv, render_activations_markdown
from roofline.reports.pages import render_page
from tests.timed_activations import FACTOR, RELU_S, compared, interrupted, measure, measurement, run_of, timed_each

pytestmark = pytest.mark.usefixtures("traced_once")

# Elements that the 30 activations of the probe see at 224 px: six a resolution, half as many at each next.
ELEMENTS = 6 * 32 * 112**2 * (16 + 8 + 4 + 2 + 1) // 16
TPU = load_profile("pixel6_tpu")


def variant(**changes: Any) -> Hardware:
    """The EdgeTPU with other figures, which then have no source."""
    return replace(TPU, **{"id": "variant", "figures": {}, **changes})


def predicted(*acts: str, hw: Any = "pixel6_tpu", **options: Any) -> ActivationComparison:
    return compare_activations(acts=acts, hw=[hw], **options)


def latencies(comparison: ActivationComparison) -> dict[str, float]:
    (place,) = comparison.places
    return {row.activation: row.predictions[place.id].latency_s for row in comparison.rows}


def parts(comparison: ActivationComparison, act: str) -> dict[str, float]:
    """By how much each term grows over ReLU."""
    (place,) = comparison.places
    rows = {row.activation: row.predictions[place.id].parts_s for row in comparison.rows}
    return {term: rows[act][term] - rows["relu"][term] for term in TERMS}


# --- predictions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hw", ["pixel6_tpu", "pixel8_tpu", "pixel6_cpu", "iphone12_ane", "nvidia_a100"])
def test_each_is_what_analyze_predicts(hw: str) -> None:
    comparison = predicted("relu", "silu", "se_relu", "dynamic_shift_max", hw=hw)
    for row in comparison.rows:
        analysis = roofline.analyze("activation_probe", hw=hw, arguments={"act": row.activation})
        unfused = roofline.analyze("activation_probe", hw=hw, arguments={"act": row.activation}, fusion="none")
        item = row.predictions[hw]
        assert item.latency_s == analysis.totals()["latency_s"]
        assert item.ways_s["none"] == unfused.totals()["latency_s"]
        assert (row.params, row.macs) == (analysis.layers.params, analysis.totals()["macs"])
        assert row.vector_ops == analysis.totals()["vector_ops"]
        assert row.mem_bytes == int(analysis.layers.mem_bytes.sum())


def test_what_does_not_fuse_reads_and_writes_each_element_once_more() -> None:
    assert ELEMENTS == 4_666_368
    comparison = predicted("relu", "relu6", "silu", "hardswish", "gelu")
    relu = comparison.baseline
    assert {row.activation: row.mem_bytes - relu.mem_bytes for row in comparison.rows} == {
        "relu": 0, "relu6": 0, "silu": 2 * ELEMENTS, "hardswish": 2 * ELEMENTS, "gelu": 2 * ELEMENTS,
    }  # fmt: skip
    times_s = latencies(comparison)
    assert times_s["relu6"] == times_s["relu"]
    assert times_s["silu"] - times_s["relu"] == pytest.approx(2 * ELEMENTS / 41.61e9, rel=1e-9)
    assert parts(comparison, "silu")["activation_bytes"] == pytest.approx(2 * ELEMENTS / 41.61e9, rel=1e-9)


def test_vector_work_is_the_weight_of_the_function_an_element() -> None:
    comparison = predicted("relu", "silu", "hardswish", "gelu", "mish")
    relu = comparison.baseline
    more = {row.activation: (row.vector_ops - relu.vector_ops) / ELEMENTS for row in comparison.rows}
    assert more == {"relu": 0, "silu": 14, "hardswish": 4, "gelu": 11, "mish": 32}  # docs/method.md, less 1 of ReLU


def test_where_times_add_up_the_vector_rate_sets_the_difference_of_what_fuses() -> None:
    device = variant(combine="add", vector_ops_per_s=6e10, fused_activations=frozenset(FUSIBLE))
    comparison = predicted("relu", "silu", hw=device)
    times_s = latencies(comparison)
    assert times_s["silu"] - times_s["relu"] == pytest.approx(14 * ELEMENTS / 6e10, rel=1e-9)
    assert parts(comparison, "silu") == pytest.approx(
        {**dict.fromkeys(TERMS, 0.0), "vector_ops": 14 * ELEMENTS / 6e10}, abs=1e-15
    )


def test_an_op_that_the_device_lacks_pays_at_its_own_bandwidth() -> None:
    device = variant(bandwidth_bytes_per_s_by_class={"hardswish": 2e9})
    comparison = predicted("relu", "silu", "hardswish", hw=device)
    assert latencies(comparison)["hardswish"] - latencies(comparison)["relu"] == pytest.approx(2 * ELEMENTS / 2e9)
    assert parts(comparison, "hardswish")["class_bytes"] == pytest.approx(2 * ELEMENTS / 2e9)
    (place,) = comparison.places
    assert "all of it bytes of ops at a bandwidth of their own (hardswish at 2 GB/s)" in " ".join(
        reasons(comparison, place)
    )


def test_those_that_look_at_the_whole_map_have_params_and_macs_of_their_own() -> None:
    chans = [c for c in (32, 64, 128, 256, 512) for _ in range(6)]
    comparison = predicted("relu", "se_relu", "dynamic_relu_b", "dynamic_shift_max")
    rows = {row.activation: row for row in comparison.rows}
    relu = comparison.baseline
    # two linear layers: C -> C/16 -> C, or C -> C/8 -> 4C, with biases
    assert rows["se_relu"].params - relu.params == sum(2 * c * c // 16 + c // 16 + c for c in chans)
    assert rows["se_relu"].macs - relu.macs == sum(2 * c * c // 16 for c in chans)
    for act in ("dynamic_relu_b", "dynamic_shift_max"):
        assert rows[act].params - relu.params == sum(5 * c * c // 8 + c // 8 + 4 * c for c in chans)
        assert rows[act].macs - relu.macs == sum(5 * c * c // 8 for c in chans)


def test_overheads_of_layers_count_the_linear_layers_of_se() -> None:
    device = load_profile("pixel8_tpu")
    assert (device.overhead_layers, device.layer_overhead_s > 1e-6) == ("macs", True)
    comparison = predicted("relu", "se_relu", hw=device)
    assert parts(comparison, "se_relu")["layer_overhead"] == pytest.approx(30 * 2 * device.layer_overhead_s)


DEVICES = (
    "pixel6_tpu", "pixel8_tpu", "pixel6_cpu", "iphone12_ane", "ethos_u85_2048", "epyc_9654",
    variant(vector_ops_per_s=5e10, layer_overhead_s=2e-6, inference_overhead_s=1e-4),
    variant(combine="add", vector_ops_per_s=5e10, layer_overhead_s=2e-6, overhead_layers="macs"),
    variant(weight_bandwidth_bytes_per_s=1e10, bandwidth_bytes_per_s_by_class={"elementwise": 3e9, "silu": 2e9}),
    variant(combine="add", weight_bandwidth_bytes_per_s=1e10, bandwidth_bytes_per_s_by_class={"conv": 3e9},
            onchip_bytes=2**20, onchip_holds=frozenset({"weights", "activations"})),
)  # fmt: skip


@pytest.mark.parametrize("hw", DEVICES, ids=lambda hw: hw if isinstance(hw, str) else "variant")
def test_the_parts_add_up_to_the_whole(hw: Any) -> None:
    comparison = predicted("relu", "silu", "se_relu", "dynamic_relu_b", hw=hw)
    (place,) = comparison.places
    for row in comparison.rows:
        item = row.predictions[place.id]
        assert set(item.parts_s) == set(TERMS)
        assert all(part_s >= 0 for part_s in item.parts_s.values())
        rest_s = place.hardware.inference_overhead_s
        assert sum(item.parts_s.values()) + rest_s == pytest.approx(item.latency_s, rel=1e-12)


def test_vector_work_that_hides_costs_nothing() -> None:
    """Faster than the MACs and bytes of every layer, it adds to none."""
    layers = roofline.analyze("activation_probe", hw="pixel6_tpu").layers
    device = variant(vector_ops_per_s=1e15, fused_activations=frozenset(FUSIBLE))
    assert time_by_term(layers, device)["vector_ops"] == pytest.approx(0, abs=1e-9)
    assert predict(layers, device).latency_s == pytest.approx(float(predict(layers, TPU).latency_s), rel=1e-6)


@pytest.mark.parametrize("hw", ["iphone12_ane", "epyc_9654", "nvidia_a100"])
def test_all_fused_without_a_vector_rate_are_equal_and_it_is_said_why(hw: str) -> None:
    comparison = predicted("relu", "silu", "hardswish", "gelu", hw=hw)
    assert len(set(latencies(comparison).values())) == 1
    assert comparison.are_equal(hw)
    assert comparison.verdict().startswith(f"Bound on {hw}: ReLU, SiLU, h-swish and GELU take the same, at least ")
    assert "each runs inside the op before it and moves no bytes of its own" in comparison.verdict()
    assert "no rate of vector ops, so that what they compute costs nothing" in comparison.verdict()


def test_without_fusion_all_that_work_on_each_element_are_equal() -> None:
    comparison = predicted("relu", "silu", fusion="none")
    assert comparison.are_equal("pixel6_tpu")
    assert "without fusion each of them reads and writes the same bytes" in comparison.verdict()


def test_a_vector_rate_tells_them_apart() -> None:
    device = variant(vector_ops_per_s=6e10, fused_activations=frozenset(FUSIBLE))
    times_s = latencies(predicted("relu", "hardswish", "gelu", "silu", "mish", hw=device))
    assert list(times_s.values()) == sorted(times_s.values())
    assert len(set(times_s.values())) == 5


def test_fusing_all_takes_away_what_did_not_fuse() -> None:
    comparison = predicted("relu", "silu", "se_relu")
    ways = {row.activation: row.predictions["pixel6_tpu"].ways_s for row in comparison.rows}
    assert ways["silu"]["all"] == ways["relu"]["all"] == ways["relu"]["epilogue"] < ways["silu"]["epilogue"]
    assert ways["silu"]["epilogue"] < ways["silu"]["none"] == ways["relu"]["none"]
    assert "With every activation fused, ReLU would take 0.967 ms, SiLU the same." in reasons(
        comparison, comparison.places[0]
    )


@settings(max_examples=25, deadline=None)
@given(acts=st.lists(st.sampled_from(sorted(ACTIVATIONS)), min_size=1, max_size=4), width=st.integers(1, 24))
def test_no_activation_is_faster_than_relu(acts: list[str], width: int) -> None:
    comparison = predicted(*acts, hw=variant(vector_ops_per_s=5e10), arguments={"width": width}, input_size=(3, 64, 64))
    times_s = latencies(comparison)
    assert min(times_s.values()) == times_s["relu"]
    assert [row.activation for row in comparison.rows if row.activation in acts] == list(dict.fromkeys(acts))


def test_several_profiles_and_another_network() -> None:
    comparison = compare_activations(
        "mobilenetv3_large_100", acts=["hardswish"], hw=["pixel4_cpu", TPU, "pixel4_cpu"], dtype="int8", batch=2,
        input_size=(3, 160, 160), arguments={"width_mult": 0.5},
    )  # fmt: skip
    assert [place.id for place in comparison.places] == ["pixel4_cpu", "pixel6_tpu"]
    assert [row.activation for row in comparison.rows] == ["relu", "hardswish"]
    assert comparison.input_shapes == ((2, 3, 160, 160),)
    arguments = {"width_mult": 0.5, "act": "hardswish"}
    alone = roofline.analyze("mobilenetv3_large_100", hw=TPU, batch=2, input_size=(3, 160, 160), arguments=arguments)
    assert comparison.rows[1].predictions["pixel6_tpu"].latency_s == alone.totals()["latency_s"]
    assert comparison.published() == []  # of the network as it is


# --- measurements -----------------------------------------------------------------------------------------------------


def test_ratios_are_of_the_reference_state_and_times_of_the_stopwatch() -> None:
    comparison = compared()
    rows = {row["activation"]: row for row in comparison.to_rows()}
    assert rows["silu"]["measured_s"] == pytest.approx(1.2 * RELU_S)
    assert rows["silu"]["reference_s"] == pytest.approx(1.2 * RELU_S / FACTOR)
    assert rows["silu"]["measured_ci95_s"] == pytest.approx([1.2 * RELU_S * 0.99, 1.2 * RELU_S * 1.01])
    assert rows["silu"]["ratio_to_relu_measured"] == pytest.approx(1.2)
    # each interval is 1 % wide to either side, which add up in squares: the root of 2 per cent
    assert rows["silu"]["ratio_to_relu_measured_ci95"] == pytest.approx([1.2 * 0.986, 1.2 * 1.0143], rel=2e-4)
    assert rows["relu"]["ratio_to_relu_measured_ci95"] == [1.0, 1.0]
    assert "Measured on this CPU: ReLU took 50 ms, SiLU 1.2x (1.18 to 1.22)" in comparison.verdict()


def test_with_nothing_asked_for_it_predicts_on_the_tpu_and_measures_on_this_cpu() -> None:
    asked: list[Request] = []

    def noted(factories: Any, request: Request, **more: Any) -> Any:
        asked.append(request)
        return measure(factories, request, **more)

    comparison = compare_activations(measure=noted)
    assert tuple(row.activation for row in comparison.rows) == ACTS == ("relu", "silu", "hardswish")
    assert [place.id for place in comparison.places] == ["pixel6_tpu"]
    assert (comparison.device, asked[0].device, asked[0].dtype, asked[0].threads) == ("cpu", "cpu", None, None)
    assert any("predicted on pixel6_tpu, measured on this cpu" in line for line in notes(comparison))


def test_a_profile_alone_measures_nothing_and_a_device_alone_predicts_nothing() -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing was to be measured")

    assert compare_activations(hw=["pixel6_tpu"], measure=refuse).run is None
    alone = compare_activations(device="cpu", measure=measure, dtype="fp16")
    assert alone.places == ()
    assert alone.counted == ("fp16", "none")
    eager = roofline.analyze(
        "activation_probe", hw="nvidia_a100", arguments={"act": "silu"}, fusion="none", dtype="fp16"
    )
    (silu,) = (row for row in alone.rows if row.activation == "silu")
    assert silu.mem_bytes == int(eager.layers.mem_bytes.sum())


def test_what_is_timed_is_the_network_with_that_activation(tmp_path: Path, user_modules: None) -> None:
    file = tmp_path / "net.py"
    file.write_text(
        "from torch import nn\nfrom roofline.models.activations import make_activation\n"
        "def make(act='relu', chans=4):\n"
        "    return nn.Sequential(nn.Conv2d(3, chans, 3), nn.BatchNorm2d(chans), make_activation(act, chans))\n"
    )
    made: dict[str, Any] = {}

    def build(factories: Any, request: Request, *, labels: Any = (), **_: Any) -> Any:
        for label, factory in zip(labels, factories, strict=True):
            made[label] = factory(WallTimer(SystemClock()))
        return measure(factories, request, labels=labels)

    comparison = compare_activations(
        f"{file}:make", acts=["silu"], device="cpu", measure=build, batch=2, input_size=(3, 16, 16),
        arguments={"chans": 5}, seed=3, threads=1,
    )  # fmt: skip
    assert list(made) == ["relu", "silu"]
    for act, kind in (("relu", nn.ReLU), ("silu", nn.SiLU)):
        subject = made[act]
        assert (subject.name, subject.label, subject.dtype, subject.batch) == (act, act, "fp32", 2)
        assert isinstance(subject.module[2], kind)
        with subject.context():
            output = subject.call()
        assert output.shape == (2, 5, 14, 14)
    assert torch.equal(made["relu"].module[0].weight, made["silu"].module[0].weight)  # nothing else is changed
    assert comparison.name == f"{file}:make"


def test_what_could_not_be_measured_is_said_and_the_rest_stands() -> None:
    comparison = compared(measure=interrupted, acts=["relu", "silu"])
    rows = comparison.to_rows()
    assert (rows[0]["measured_s"], rows[1]["measured_s"]) == (pytest.approx(RELU_S), None)
    assert rows[1]["ratio_to_relu_measured"] is None
    told = " ".join(notes(comparison))
    assert "SiLU was not measured: interrupted before it was timed." in told
    assert "stopped by hand" in told
    assert comparison.verdict().endswith("Measured on this CPU: ReLU took 50 ms.")


def test_of_few_samples_there_is_a_ratio_and_no_interval() -> None:
    """Five samples or fewer hold the median between them with less than 95 %: 1 - 2^-4."""

    def few(factories: Any, request: Any, *, labels: Any = (), **_: Any) -> Any:
        run = measure(factories, request, labels=labels)
        cut = [
            replace(item, latency_s=replace(item.latency_s, n=5), reference_latency_s=replace(item.latency_s, n=5))
            for item in run.measurements
        ]
        return run_of(cut)

    comparison = compared(measure=few)
    row = comparison.to_rows()[1]
    assert row["measured_s"] == pytest.approx(1.2 * RELU_S)
    assert row["ratio_to_relu_measured"] == pytest.approx(1.2)
    assert {row[key] for key in ("measured_ci95_s", "reference_ci95_s", "ratio_to_relu_measured_ci95")} == {None}
    assert "SiLU 1.2x (too few samples for an interval)" in comparison.verdict()
    assert {(item.agree, item.tied) for item in comparison.agreements() if item.place == "measured"} == {(0, 1)}
    for text in (render_activations_csv(comparison), render_activations_markdown(comparison)):
        assert "1.2" in text
    assert "too few samples" in render_page(json.loads(comparison.to_json()), plotlyjs="directory")


def test_without_relu_there_is_no_ratio() -> None:
    def without(factories: Any, request: Any, *, labels: Any = (), **_: Any) -> Any:
        return run_of([measurement(label, RELU_S) for label in labels if label != "relu"])

    comparison = compared(measure=without)
    assert {row["ratio_to_relu_measured"] for row in comparison.to_rows()} == {None}
    assert "nothing to compare, ReLU was not measured" in comparison.verdict()


def test_doubt_is_told() -> None:
    def doubtful(factories: Any, request: Any, *, labels: Any = (), **_: Any) -> Any:
        return run_of([measurement(label, RELU_S, status="contended", left_out=4) for label in labels])

    comparison = compared(measure=doubtful)
    assert "Other work disturbed it: measure again on an idle machine." in comparison.verdict()
    assert "ReLU is contended: other work disturbed it, 4 of its samples left out." in notes(comparison)


# --- the interval of a ratio ------------------------------------------------------------------------------------------


def test_the_interval_of_a_ratio_by_hand() -> None:
    ratio = ratio_of(3.0, (2.7, 3.6), 2.0, (1.9, 2.2))
    assert ratio is not None
    assert ratio.value == 1.5
    low = 1.5 * math.exp(-math.sqrt(math.log(3 / 2.7) ** 2 + math.log(2.2 / 2) ** 2))
    high = 1.5 * math.exp(math.sqrt(math.log(3.6 / 3) ** 2 + math.log(2 / 1.9) ** 2))
    assert ratio.ci95 == pytest.approx((low, high))
    assert ratio_of(3.0, (2.7, 3.6), 0.0, (0.0, 0.0)) is None
    assert ratio_of(3.0, (2.7, 3.6), 2.0, None) == Ratio(value=1.5, ci95=None)


LIMITS = st.tuples(st.floats(1e-6, 1e3), st.floats(1.0, 3.0), st.floats(1.0, 3.0))


@given(ours=LIMITS, other=LIMITS)
def test_the_interval_holds_the_ratio_and_is_no_wider_than_its_parts(ours: Any, other: Any) -> None:
    (a, a_down, a_up), (b, b_down, b_up) = ours, other
    ratio = ratio_of(a, (a / a_down, a * a_up), b, (b / b_down, b * b_up))
    back = ratio_of(b, (b / b_down, b * b_up), a, (a / a_down, a * a_up))
    assert ratio is not None
    assert back is not None
    assert ratio.ci95 is not None
    (low, high), value = ratio.ci95, ratio.value
    assert low <= value * (1 + 1e-12)
    assert high >= value * (1 - 1e-12)
    # one interval on its own is in it; the corner of both is not beaten
    assert low >= value / (a_down * b_up) * (1 - 1e-9)
    assert high <= value * a_up * b_down * (1 + 1e-9)
    assert back.ci95 == pytest.approx((1 / high, 1 / low))


def test_the_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    """Skewed samples of two medians whose ratio is known; 95 % nominal, and order statistics err to the wide side."""
    rng = np.random.default_rng(7)
    true, covered, trials = 1.3, 0, 400
    for _ in range(trials):
        ours = (true * rng.lognormal(0, 0.2, 25)).tolist()
        relus = rng.lognormal(0, 0.2, 25).tolist()
        ratio = ratio_of(median(ours), median_interval(ours), median(relus), median_interval(relus))
        assert ratio is not None
        assert ratio.ci95 is not None
        covered += ratio.ci95[0] <= true <= ratio.ci95[1]
    assert 0.93 <= covered / trials <= 0.99


# --- what is published ------------------------------------------------------------------------------------------------


def test_every_published_row_is_of_a_network_and_an_activation_that_there_is() -> None:
    assert len(published()) == 15
    for row in published():
        assert row.model in models.names()
        assert row.act in ("", *ACTIVATIONS)
        assert row.source
        assert row.confidence in ("from-memory", "from-secondary", "verified-in-source")
        assert 1e-3 < row.latency_s < 0.1


def test_the_order_of_the_mobileone_paper() -> None:
    """ReLU < GELU < SE-ReLU < SiLU < Dynamic ReLU < Dynamic Shift-Max, by its Table 2."""
    acts = ["relu", "gelu", "se_relu", "silu", "dynamic_relu_b", "dynamic_relu_a", "dynamic_shift_max"]
    comparison = predicted(*acts)
    times = [row.latency_s for row in comparison.published()]
    assert [row.act for row in comparison.published()] != acts
    assert sorted(times)[0] == 1.53e-3
    assert [row.act for row in sorted(comparison.published(), key=lambda row: row.latency_s)] == acts
    (agreement,) = comparison.agreements()
    # ours are equal for SiLU and GELU, and SE-ReLU costs a second pass over the map beside its gate
    assert (agreement.agree, agreement.tied) == (18, 1)
    assert agreement.reversed == (("se_relu", "silu"), ("dynamic_relu_b", "dynamic_relu_a"))
    assert agreement.agree + agreement.tied + len(agreement.reversed) == 7 * 6 // 2
    (said,) = published_words(comparison)
    assert "from memory, not checked against the paper" in said
    assert "SE-ReLU published before SiLU" in said


def test_the_h_swish_rows_of_the_mobilenetv3_paper() -> None:
    comparison = compare_activations("mobilenetv3_large_100", acts=["hardswish"], hw=["pixel4_cpu"], dtype="fp32")
    ratios = [comparison.published_ratio(row) for row in comparison.published() if row.act == "hardswish"]
    assert ratios == pytest.approx([53.5 / 50.5, 68.9 / 50.5])
    assert [(item.agree, item.tied, item.reversed) for item in comparison.agreements()] == [(1, 0, ())] * 2
    assert len(published_words(comparison)) == 2


def test_a_measured_order_is_told_only_where_the_intervals_are_apart() -> None:
    def close(factories: Any, request: Any, *, labels: Any = (), **_: Any) -> Any:
        times = {"relu": 1.0, "silu": 1.01, "gelu": 0.9, "se_relu": 1.5}
        return run_of([measurement(label, times[label]) for label in labels])

    comparison = compared(acts=["relu", "gelu", "se_relu", "silu"], measure=close, hw=None)
    (agreement,) = comparison.agreements()
    assert agreement.place == "measured"
    assert agreement.tied == 1  # ReLU and SiLU
    assert agreement.reversed == (("relu", "gelu"), ("se_relu", "silu"))


# --- names, and wrong input -------------------------------------------------------------------------------------------


def test_names_are_found_whatever_their_spelling() -> None:
    assert [canonical(name) for name in ("ReLU", "h-swish", "Hard Swish", "swish", "SE-ReLU")] == [
        "relu", "hardswish", "hardswish", "silu", "se_relu",
    ]  # fmt: skip
    assert parse_acts("relu, GELU,relu") == ("relu", "gelu")
    assert parse_acts("all") == tuple(ACTIVATIONS)
    assert set(LABELS) == set(ACTIVATIONS)


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"acts": ["rulu"]}, RooflineError, "unknown activation 'rulu'. Did you mean 'relu'"),
        ({"acts": []}, RooflineError, "no activation is named"),
        ({"acts": "relu"}, RooflineError, r"acts is a list of names, as in \['relu', 'silu'\]"),
        ({"model": "nope"}, ModelError, "unknown model 'nope'"),
        ({"hw": ["nope"]}, ProfileError, "unknown hardware 'nope'"),
        ({"dtype": "fp32"}, ProfileError, "pixel6_tpu has no peak for dtype 'fp32'"),
        ({"dtype": "int9"}, RooflineError, "unknown dtype 'int9'"),
        ({"fusion": "most"}, RooflineError, "unknown fusion 'most'"),
        ({"arguments": {"act": "relu"}}, RooflineError, "act is what is compared"),
        ({"arguments": {"deep": 3}}, ModelError, "activation_probe takes no argument 'deep'"),
        ({"batch": 0}, ModelError, "batch must be at least 1"),
        ({"hw": [TPU, variant(id="pixel6_tpu")]}, ProfileError, "two profiles are called 'pixel6_tpu'"),
        ({"device": "cpu", "dtype": "int8"}, RooflineError, "int8 can be predicted, not measured"),
        ({"device": "tpu"}, MeasurementError, "unknown device 'tpu'"),
        ({"device": "cpu", "threads": 0}, MeasurementError, "threads must be at least 1"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(options: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said) as raised:
        compare_activations(**{"hw": ["pixel6_tpu"], "measure": measure, **options})
    assert "\n" not in str(raised.value)


def test_cuda_without_a_gpu_is_told_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(MeasurementError, match="no CUDA device"):
        compare_activations("nope", device="cuda", measure=measure)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("def make():\n    return nn.Identity()", "takes no argument act: a callable is needed that takes the name"),
        ("def make(act):\n    return nn.Conv2d(3, 3, 1)", "is the same network whatever act is"),
        ("make = nn.Conv2d(3, 3, 1)", "is a module already"),
        ("def make(act):\n    raise KeyError(act)", "fails to build: .*net.py:3: KeyError: 'relu'"),
    ],
)
def test_a_network_of_ones_own_has_to_take_act(body: str, said: str, tmp_path: Path, user_modules: None) -> None:
    (tmp_path / "net.py").write_text(f"from torch import nn\n{body}\n")
    with pytest.raises(ModelError, match=said) as raised:
        compare_activations(f"{tmp_path / 'net.py'}:make", hw=["pixel6_tpu"])
    assert "\n" not in str(raised.value)


# --- plain data -------------------------------------------------------------------------------------------------------


def test_the_json_has_what_its_schema_promises() -> None:
    data = json.loads(compared(acts=["relu", "silu"], hw=["pixel6_tpu", "iphone12_ane"]).to_json())
    assert data["schema"] == "roofline/activations/1"
    assert {
        "activation", "params", "macs", "vector_ops", "mem_bytes", "predicted_s", "measured_s", "measured_ci95_s",
        "ratio_to_relu_predicted", "ratio_to_relu_measured", "ratio_to_relu_measured_ci95",
    } <= set(data["rows"][0])  # fmt: skip
    assert set(data["rows"][0]["predicted_s"]) == {"pixel6_tpu", "iphone12_ane"}
    assert [place["latency_kind"] for place in data["profiles"]] == ["prediction", "bound"]
    assert [place["are_equal"] for place in data["profiles"]] == [False, True]
    assert data["measurement"]["environment"]["device"]["name"] == "A Processor"
    assert [item["label"] for item in data["published"]] == ["ReLU", "SiLU"]
    assert data["rows"][1]["ratio_to_relu_predicted"]["pixel6_tpu"] == pytest.approx(
        data["rows"][1]["predicted_s"]["pixel6_tpu"] / data["rows"][0]["predicted_s"]["pixel6_tpu"]
    )


def test_a_comparison_of_predictions_has_no_measurement() -> None:
    data = predicted("relu", "silu").to_dict()
    assert data["measurement"] is None
    assert data["rows"][0]["measured_s"] is None
    assert isinstance(compared().rows[0].measurement, Measurement)


# --- the documents ----------------------------------------------------------------------------------------------------

DOC = (Path(__file__).parents[1] / "docs" / "json.md").read_text(encoding="utf-8")
DOCUMENTED: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
    "a comparison of activations": lambda data: [data],
    "an activation": lambda data: data["rows"],
    "a place": lambda data: data["profiles"],
    "what was measured": lambda data: [data["measurement"]],
    "a published latency": lambda data: data["published"],
    "an agreement": lambda data: data["agreements"],
}


def documented(what: str) -> list[str]:
    section = re.search(rf"^\| of {what} \|.*\n\| ---.*\n((?:\|.*\n)*)", DOC, re.MULTILINE)
    assert section is not None
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section[1], re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


@pytest.mark.parametrize("what", DOCUMENTED)
def test_the_documented_keys_are_the_real_ones(what: str) -> None:
    found = DOCUMENTED[what](json.loads(compared().to_json()))
    assert found
    assert all(list(item) == documented(what) for item in found)


def test_the_documented_keys_of_each_function_are_the_real_ones() -> None:
    data = json.loads(timed_each().to_json())
    assert list(data) == documented("functions element by element")
    assert all(list(row) == documented("a timed function") for row in data["rows"])


def test_the_parts_and_fusions_are_documented() -> None:
    for key, names in (("parts_s", TERMS), ("fusion_s", WAYS)):
        (row,) = re.findall(rf"^\| `{key}` \|.*$", DOC, re.MULTILINE)
        assert [name for name in re.findall(r"`(\w+)`", row) if name in names] == list(names)


def test_the_page_has_what_is_predicted_now(request: pytest.FixtureRequest) -> None:
    """`pytest --overwrite` or `python benchmarks/activations.py --predicted --write` makes its tables again."""
    text = PAGE.read_text(encoding="utf-8")
    now = filled(text, predicted_tables())
    if request.config.getoption("overwrite"):
        PAGE.write_text(now, encoding="utf-8")
    assert text == now


def test_a_place_in_the_page_is_filled_again_and_again() -> None:
    page = "a\n<!-- made: x -->\n<!-- end -->\nb\n<!-- made: y -->\nold\n<!-- end -->\nc\n"
    once = filled(page, {"x": "1", "y": "2"})
    assert once == "a\n<!-- made: x -->\n\n1\n\n<!-- end -->\nb\n<!-- made: y -->\n\n2\n\n<!-- end -->\nc\n"
    assert filled(once, {"x": "1", "y": "2"}) == once
