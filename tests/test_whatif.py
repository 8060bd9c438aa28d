"""What if: each answer against a whole analysis of the device, or of the run, that it speaks of."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import roofline
from roofline import RooflineError
from roofline.calibration.file import save
from roofline.calibration.profile import profile_of
from roofline.hardware import ACTIVATIONS, Figure, Hardware
from roofline.layers import lower
from roofline.measurement.environment import environment
from roofline.profiles import bundled, load_profile
from roofline.saved import load_saved
from roofline.target import parse_target
from roofline.trace import trace
from roofline.whatif import COLUMNS, SCALES, Alternative, WhatIf, scaled, whatif
from roofline.whatif_words import at_least, what_changes
from tests.calibration import known_laws

pytestmark = pytest.mark.usefixtures("traced_once")

EXACT = 1e-12
MODEL = "mobilenetv4_hybrid_medium"
Command = Callable[..., subprocess.CompletedProcess[str]]


def hardware(**terms: Any) -> Hardware:
    given: dict[str, Any] = {
        "id": "my_device",
        "name": "My Device",
        "device_class": "npu",
        "peak_macs_per_s": {"int8": 4e12, "fp16": 1e12},
        "bandwidth_bytes_per_s": 2e10,
        "default_dtype": "int8",
        "default_fusion": "epilogue",
        "fused_activations": frozenset({"relu", "relu6"}),
    }
    return Hardware(**(given | terms))


EVERY_TERM = hardware(
    vector_ops_per_s=2e11,
    weight_bandwidth_bytes_per_s=1e10,
    peak_share_by_class={"depthwise_conv": 0.1},
    bandwidth_bytes_per_s_by_class={"pool": 5e9},
    layer_overhead_s=2e-6,
    inference_overhead_s=1e-4,
)
SUM = replace(EVERY_TERM, combine="add", overhead_layers="macs")


@pytest.fixture(scope="module")
def pi() -> WhatIf:
    return whatif(MODEL, hw="raspberrypi_5", target_s=2e-3)


@pytest.fixture(scope="module", params=[EVERY_TERM, SUM], ids=["max", "add"])
def full(request: pytest.FixtureRequest) -> WhatIf:
    return whatif("mobilenetv3_large_100", hw=request.param, target_s=0.8e-3)


def one(result: WhatIf, group: str, name: str) -> Alternative:
    (found,) = (other for other in result.alternatives if (other.group, other.name) == (group, name))
    return found


def latency(model: str, device: Hardware | str, **options: Any) -> float:
    return float(roofline.analyze(model, hw=device, **options).prediction.latency_s)


# --- the hardware -----------------------------------------------------------------------------------------------------


def test_the_elasticities_of_a_plain_device_are_its_compute_and_memory_shares(pi: WhatIf) -> None:
    peak, bandwidth = pi.elasticities
    share = pi.analysis.totals()["compute_bound_share"]
    assert (peak.quantity, bandwidth.quantity) == ("peak", "bandwidth")
    assert -peak.better == pytest.approx(share)
    assert -bandwidth.better == pytest.approx(1 - share)
    assert (peak.value, bandwidth.value) == (307.2e9, 17e9)


def test_every_figure_is_in_and_the_shares_are_the_whole(full: WhatIf) -> None:
    by_name = {item.quantity: item for item in full.elasticities}
    assert list(by_name) == [
        "peak", "bandwidth", "weight_bandwidth", "vector_rate", "layer_overhead", "inference_overhead",
    ]  # fmt: skip
    sizes = {name: abs(item.better) for name, item in by_name.items()}
    assert sum(sizes.values()) - sizes["weight_bandwidth"] == pytest.approx(1, rel=1e-9)
    assert sizes["weight_bandwidth"] <= sizes["bandwidth"]
    assert all(item.better <= 0 for name, item in by_name.items() if "overhead" not in name)
    macs = full.analysis.layers.macs
    started = len(macs) if full.analysis.hardware.overhead_layers == "all" else int((macs > 0).sum())
    assert by_name["layer_overhead"].better == pytest.approx(started * 2e-6 / full.latency_s)
    assert by_name["inference_overhead"].better == pytest.approx(1e-4 / full.latency_s)


@pytest.mark.parametrize("quantity", ["peak", "bandwidth", "weight_bandwidth", "vector_rate"])
def test_a_step_and_the_limit_are_what_an_analysis_gives(full: WhatIf, quantity: str) -> None:
    device = full.analysis.hardware
    (item,) = (item for item in full.elasticities if item.quantity == quantity)
    stepped, unbounded = (scaled(device, dtype="int8", **{quantity: factor}) for factor in (1.1, 1e15))
    assert item.step_latency_s == pytest.approx(latency("mobilenetv3_large_100", stepped), rel=EXACT)
    assert item.limit_latency_s == pytest.approx(latency("mobilenetv3_large_100", unbounded), rel=1e-9)


@pytest.mark.parametrize("quantity", ["layer_overhead", "inference_overhead"])
def test_less_overhead_is_what_an_analysis_gives(full: WhatIf, quantity: str) -> None:
    device, field = full.analysis.hardware, f"{quantity}_s"
    (item,) = (item for item in full.elasticities if item.quantity == quantity)
    for factor, expected in ((0.9, item.step_latency_s), (0.0, item.limit_latency_s)):
        less = replace(device, **{field: factor * getattr(device, field)})
        assert expected == pytest.approx(latency("mobilenetv3_large_100", less), rel=EXACT)


def test_finite_differences_of_analyses_give_the_elasticities(pi: WhatIf) -> None:
    device = load_profile("raspberrypi_5")
    for item in pi.elasticities:
        for sign in (1, -1):
            moved = scaled(device, dtype="int8", **{item.quantity: math.exp(sign * 1e-6)})
            slope = sign * math.log(latency(MODEL, moved) / pi.latency_s) / 1e-6
            assert slope == pytest.approx(item.better if sign > 0 else item.worse, abs=1e-5)


def test_at_the_next_knee_the_layer_that_is_named_turns(pi: WhatIf) -> None:
    for item in pi.elasticities:
        assert item.knee_factor is not None
        before, after = (
            roofline.analyze(
                MODEL,
                hw=scaled(load_profile("raspberrypi_5"), dtype="int8", **{item.quantity: part * item.knee_factor}),
            ).rows()
            for part in (1 - 1e-9, 1 + 1e-9)
        )
        turned = {a["name"] for a, b in zip(before, after, strict=True) if a["bound"] != b["bound"]}
        assert item.knee_layer in turned


def test_each_way_takes_exactly_the_target(full: WhatIf) -> None:
    device, possible = full.analysis.hardware, 0
    for way in full.ways:
        if way.peak_factor is None or way.bandwidth_factor is None:
            assert way.limit_latency_s > 0.8e-3
            continue
        possible += 1
        there = scaled(device, dtype="int8", peak=way.peak_factor, bandwidth=way.bandwidth_factor)
        assert latency("mobilenetv3_large_100", there) == pytest.approx(0.8e-3, rel=EXACT)
        assert way.peak_macs_per_s == there.peak("int8")
        assert way.bandwidth_bytes_per_s == there.bandwidth_bytes_per_s
    assert possible >= 2


def test_the_story_of_the_engineer_who_picks_hardware(pi: WhatIf) -> None:
    """2 ms on a Raspberry Pi 5: by hand, MACs alone take more, so that no bandwidth is enough."""
    ways = {way.name: way for way in pi.ways}
    macs_s = float(pi.analysis.prediction.mac_time_s.sum())
    assert macs_s > 2e-3
    assert ways["bandwidth"].bandwidth_factor is None
    assert ways["bandwidth"].limit_latency_s == pytest.approx(macs_s)
    # on a plain device both by one factor is the ratio itself
    assert ways["both"].peak_factor == ways["both"].bandwidth_factor == pytest.approx(pi.latency_s / 2e-3)
    assert pi.is_met is False
    assert "No run on this device reaches it." in pi.verdict()
    assert "No bandwidth is enough: MACs alone take 4.14 ms." in pi.verdict()


def test_without_a_target_the_ways_keep_the_present_latency() -> None:
    result = whatif(MODEL, hw="raspberrypi_5")
    assert result.target_s is None
    assert result.is_met is None
    for way in result.ways[:3]:
        assert way.peak_factor == pytest.approx(1)
        assert way.bandwidth_factor == pytest.approx(1)
    assert result.iso is not None
    assert result.iso.target_s == result.latency_s


def test_the_profiles_are_those_of_real_devices_with_a_peak_at_the_dtype_each_once(pi: WhatIf) -> None:
    having = {name for name in bundled() if "int8" in load_profile(name).peak_macs_per_s}
    shown = {profile.id for profile in pi.profiles}
    left_out = having - shown - {"raspberrypi_5"}
    assert shown <= having
    assert {name for name in left_out if not name.startswith("abstract_")} == {
        name
        for name in having
        if name.endswith("_peak")  # each has its fitted twin
    }
    assert {"pixel6_cpu", "pixel6_tpu"} <= shown
    assert {name for name in having if name.startswith("abstract_")} <= left_out


@pytest.mark.parametrize("device", ["coral_edgetpu_usb", "pixel6_cpu", "jetson_orin_nano"])
def test_a_profile_takes_what_an_analysis_on_it_gives(pi: WhatIf, device: str) -> None:
    (placed,) = (profile for profile in pi.profiles if profile.id == device)
    analysis = roofline.analyze(MODEL, hw=device, dtype="int8")
    assert placed.latency_s == float(analysis.prediction.latency_s)
    assert placed.latency_kind == analysis.latency_kind
    assert placed.peak_macs_per_s == analysis.hardware.peak("int8")


# --- the network ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("group", "name", "options"),
    [
        ("dtype", "fp16", {"dtype": "fp16"}),
        ("batch", "8", {"batch": 8}),
        ("batch", "64", {"batch": 64}),
        ("input", "128x128", {"input_size": (3, 128, 128)}),
        ("input", "320x320", {"input_size": (3, 320, 320)}),
        ("fusion", "none", {"fusion": "none"}),
    ],
)
def test_an_alternative_is_a_whole_analysis(full: WhatIf, group: str, name: str, options: dict[str, Any]) -> None:
    device, other = full.analysis.hardware, one(full, group, name)
    analysis = roofline.analyze("mobilenetv3_large_100", hw=device, **options)
    assert other.latency_s == float(analysis.prediction.latency_s)
    assert other.image_latency_s == other.latency_s / analysis.batch
    assert (other.dtype, other.fusion, other.batch) == (analysis.layers.dtype, analysis.layers.fusion, analysis.batch)
    assert other.input_shapes == analysis.input_shapes
    assert other.ratio == pytest.approx(other.image_latency_s / full.latency_s)
    assert other.scales is not None
    assert tuple(other.scales) == SCALES
    macs = analysis.totals()["macs"] / analysis.batch / full.analysis.totals()["macs"]
    assert other.scales["macs"] == pytest.approx(macs)


def test_with_all_activations_fused_the_device_is_one_that_fuses_them(full: WhatIf) -> None:
    device = replace(full.analysis.hardware, fused_activations=frozenset(ACTIVATIONS))
    other = one(full, "fusion", "all activations fused")
    assert other.latency_s == latency("mobilenetv3_large_100", device)
    assert other.ratio is not None
    assert other.ratio < 1  # it has h-swish, which this device runs on its own
    fused = whatif("mobilenetv3_large_100", hw=device)
    assert "all activations fused" not in [other.name for other in fused.alternatives]


def test_the_present_is_in_every_group(full: WhatIf) -> None:
    present = [other for other in full.alternatives if other.is_present]
    assert [(other.group, other.name) for other in present] == [
        ("dtype", "int8"), ("batch", "1"), ("input", "224x224"), ("fusion", "epilogue"),
    ]  # fmt: skip
    assert {other.latency_s for other in present} == {full.latency_s}
    assert {other.ratio for other in present} == {1.0}
    assert {what_changes(full, other) for other in present} == {"as it is"}


def test_sizes_are_multiples_of_what_the_model_divides_by(pi: WhatIf) -> None:
    sizes = [other.name for other in pi.alternatives if other.group == "input"]
    assert sizes == [f"{px}x{px}" for px in (128, 160, 192, 224, 256, 288, 320, 384)]
    wide = whatif("mobilenetv4_conv_small", hw="pixel6_tpu", input_size=(3, 96, 224))
    names = [other.name for other in wide.alternatives if other.group == "input"]
    assert names == ["64x128", "64x160", "96x192", "96x224", "96x256", "128x288", "128x320"]
    assert all(other.skipped == "" for other in wide.alternatives if other.group == "input")


def test_a_published_accuracy_stands_beside_its_input_size() -> None:
    result = whatif("mobilenetv3_large_100", hw="pixel6_tpu")
    assert one(result, "input", "224x224").top1 == result.analysis.entry.top1  # type: ignore[union-attr]
    assert one(result, "input", "128x128").top1 is None
    assert {other.top1 for other in result.alternatives if other.group != "input"} == {None}


def test_a_present_batch_that_is_none_of_the_usual_is_among_them() -> None:
    result = whatif("mobilenetv4_conv_small", hw="pixel6_tpu", batch=3, target_s=1.0)
    batches = [other.name for other in result.alternatives if other.group == "batch"]
    assert batches == ["1", "2", "3", "4", "8", "16", "32", "64"]
    assert one(result, "batch", "3").is_present
    single = latency("mobilenetv4_conv_small", "pixel6_tpu")
    assert one(result, "batch", "1").ratio == pytest.approx(single / (result.latency_s / 3))


def test_without_a_peak_a_dtype_is_skipped(pi: WhatIf) -> None:
    other = one(pi, "dtype", "bf16")
    assert other.skipped == "the profile has no peak for it"
    assert (other.latency_s, other.ratio, other.scales, other.latency_kind) == (None, None, None, None)


def test_a_bound_and_a_prediction_have_no_ratio() -> None:
    figures = {
        "peak_macs_per_s.int8": Figure(value=4e12, kind="fitted", source="x"),
        "peak_macs_per_s.fp16": Figure(value=1e12, kind="datasheet", source="x"),
    }
    result = whatif("mobilenetv4_conv_small", hw=hardware(figures=figures))
    other = one(result, "dtype", "fp16")
    assert (other.latency_kind, result.analysis.latency_kind) == ("bound", "prediction")
    assert other.latency_s is not None
    assert other.ratio is None
    notes = result.to_dict()["notes"]
    assert "At fp16 the latency is a bound, and so has no ratio to the others." in notes


class TwoInputs(nn.Module):
    def forward(self, image: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return image * scale


def test_what_a_model_cannot_be_run_as_says_why() -> None:
    two = whatif(TwoInputs(), (torch.empty(1, 8, 8, 8), torch.empty(1)), hw="pixel6_tpu")
    assert one(two, "batch", "2").skipped == "it takes other inputs than one tensor"
    assert one(two, "input", "other sizes").skipped == "its input is not one image"
    assert one(two, "fusion", "none").skipped == ""
    flat = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 32 * 32, 10))
    fixed = whatif(flat, torch.empty(1, 3, 32, 32), hw="pixel6_tpu")
    sizes = {other.name: other.skipped for other in fixed.alternatives if other.group == "input"}
    assert sizes.pop("32x32") == ""
    assert list(sizes) == ["16x16", "24x24", "40x40", "48x48"]
    assert set(sizes.values()) == {"the model does not run at this size"}
    details = [other.detail for other in fixed.alternatives if other.group == "input" and other.skipped]
    assert all(re.search(r"layer '2', Linear", why) and "\n" not in why for why in details)
    assert one(fixed, "batch", "4").skipped == ""


def test_a_module_gives_what_its_reference_gives() -> None:
    from roofline.models import find

    by_name = whatif("mobilenetv4_conv_small", hw="pixel6_tpu")
    module = whatif(find("mobilenetv4_conv_small").build(), torch.empty(1, 3, 224, 224), hw="pixel6_tpu")
    assert [other.latency_s for other in module.alternatives] == [other.latency_s for other in by_name.alternatives]


def test_one_vector_has_batches_and_no_sizes() -> None:
    result = whatif(nn.Linear(16, 4), torch.empty(2, 16), hw="pixel6_tpu")
    assert one(result, "batch", "64").latency_s is not None
    assert one(result, "input", "other sizes").skipped == "its input is not one image"


def test_what_changes_names_what_costs_time(pi: WhatIf, full: WhatIf) -> None:
    assert what_changes(pi, one(pi, "dtype", "fp16")) == "2x bytes, 0.5x peak"
    assert what_changes(pi, one(pi, "fusion", "none")) == "2x bytes"
    assert what_changes(full, one(full, "batch", "2")).endswith("0.5x overheads")
    assert "vector ops" in what_changes(full, one(full, "input", "128x128"))
    assert "vector ops" not in what_changes(pi, one(pi, "input", "128x128"))


def test_what_is_within_the_target_is_named(pi: WhatIf) -> None:
    assert [other.name for other in pi.within()] == ["128x128", "160x160"]
    assert any("these leave the target possible: input 128x128 (1.33 ms)" in line for line in pi.to_dict()["answers"])
    fitted = whatif("mobilenetv4_conv_m", hw="pixel6_tpu", target_s=0.5e-3)
    assert any("these are within the target: input " in line for line in fitted.to_dict()["answers"])


# --- the layers -------------------------------------------------------------------------------------------------------


def test_a_saving_is_the_latency_less_that_with_half(full: WhatIf) -> None:
    table, device = full.analysis.layers, full.analysis.hardware
    graph = full.analysis.graph
    best = full.best_layers(3)
    assert [max(x.half_bytes_s, x.half_macs_s) for x in best] == sorted(
        (max(x.half_bytes_s, x.half_macs_s) for x in full.layers), reverse=True
    )[:3]
    for layer in best:
        index = table.name.tolist().index(layer.name)
        lowered = lower(graph, fusion="epilogue", dtype="int8", fused_activations=device.fused_activations)
        macs = lowered.macs.copy()
        assert macs[index] % 2 == 0
        macs[index] //= 2
        fewer = roofline.engine.predict(replace(lowered, macs=macs), device)
        assert layer.half_macs_s == pytest.approx(full.latency_s - float(fewer.latency_s), abs=1e-15)
        weights, inputs, outputs = (
            getattr(lowered, name).copy() for name in ("weight_bytes", "input_bytes", "output_bytes")
        )
        for column in (weights, inputs, outputs):
            column[index] *= 2  # of twice the bytes, half is what there is
        doubled = replace(lowered, weight_bytes=weights, input_bytes=inputs, output_bytes=outputs)
        more = roofline.engine.predict(doubled, device)
        if device.combine == "add":
            assert 2 * layer.half_bytes_s == pytest.approx(float(more.latency_s) - full.latency_s, abs=1e-15)


def test_a_layer_that_turns_saves_less_than_half(pi: WhatIf) -> None:
    """stem.conv is the next to turn: half its MACs leave its bytes."""
    (stem,) = (layer for layer in pi.layers if layer.name == "stem.conv")
    row = pi.analysis.rows()[0]
    assert row["name"] == "stem.conv"
    assert stem.half_macs_s == pytest.approx(row["mac_time_s"] - row["mem_time_s"])
    assert stem.half_macs_s < row["latency_s"] / 2
    assert stem.half_bytes_s == 0


# --- words ------------------------------------------------------------------------------------------------------------


def test_a_bound_within_the_target_only_leaves_it_possible() -> None:
    verdict = whatif(MODEL, hw="raspberrypi_5", target_s=5e-3).verdict()
    assert verdict.startswith("Latency bound: at least 4.61 ms; it leaves the target of 5 ms possible, with 7.9 % to")
    assert "reaches" not in verdict


def test_a_prediction_within_the_target_says_so() -> None:
    verdict = whatif("mobilenetv4_conv_m", hw="pixel6_tpu", target_s=1e-3).verdict()
    assert verdict.startswith(
        "Predicted latency 0.626 ms, within the target of 1 ms with 37 % to spare. So would a peak"
    )


def test_a_prediction_beyond_the_target_does_not_say_that_no_run_reaches_it() -> None:
    verdict = whatif("mobilenetv4_conv_m", hw="pixel6_tpu", target_s=0.5e-3).verdict()
    assert verdict.startswith("Predicted latency 0.626 ms, 1.25x the target of 0.5 ms. It takes a bandwidth of ")
    assert "No run" not in verdict
    assert "No peak is enough: bytes alone take 0.615 ms." in verdict


@pytest.mark.parametrize(
    ("target_s", "said"),
    [
        (4.5e-3, "On this device only a run that keeps more in on-chip memory could reach it."),
        (4.1e-3, "No run on this device reaches it."),  # MACs alone take 4.14 ms
    ],
)
def test_a_bound_by_the_traffic_of_the_bus_says_what_could_beat_it(target_s: float, said: str) -> None:
    """A Raspberry Pi 5 has 2 MiB of last-level cache."""
    assert said in whatif(MODEL, hw="raspberrypi_5", target_s=target_s).verdict()
    bare = replace(load_profile("raspberrypi_5"), onchip_bytes=None)
    assert "No run on this device reaches it." in whatif(MODEL, hw=bare, target_s=target_s).verdict()


@pytest.mark.parametrize(
    "terms", [{"combine": "add"}, {"layer_overhead_s": 1e-6}, {"peak_share_by_class": {"conv": 0.5}}]
)
def test_a_bound_with_terms_of_its_own_does_not_say_that_no_run_reaches_a_target(terms: dict[str, Any]) -> None:
    verdict = whatif(MODEL, hw=replace(load_profile("raspberrypi_5"), **terms), target_s=1e-3).verdict()
    assert "on this device" not in verdict.lower()
    assert "on estimated figures" not in verdict


def test_a_bound_on_estimates_is_no_firm_one() -> None:
    verdict = whatif("mobilenetv4_conv_small", hw="abstract_middle_ridge", target_s=1e-6).verdict()
    assert verdict.startswith("Latency bound, on estimated figures: ")
    assert "No run" not in verdict


def test_without_a_target_it_says_what_matters_most() -> None:
    verdict = whatif("mobilenetv4_conv_m", hw="pixel6_tpu").verdict()
    assert "10 % more bandwidth takes 8.5 % off it, 10 % more peak 0.55 %." in verdict
    assert "With an infinite bandwidth it would still take 0.27 ms" in verdict


def test_where_nothing_is_enough_it_says_what_stays() -> None:
    verdict = whatif("mobilenetv4_conv_small", hw=EVERY_TERM, target_s=1e-6).verdict()
    assert "No peak and bandwidth are enough: vector ops and overheads take " in verdict


def test_a_figure_that_is_told_is_enough() -> None:
    """Rounded up, so that the peak one reads and types in reaches the target."""
    result = whatif(MODEL, hw="raspberrypi_5", target_s=2e-3)
    told = re.search(r"a peak of ([\d.]+) TMAC/s", result.verdict())
    assert told is not None
    there = replace(load_profile("raspberrypi_5"), peak_macs_per_s={"int8": float(told[1]) * 1e12})
    assert latency(MODEL, there) <= 2e-3
    assert at_least(1.0000000001e12) == 1.01e12
    assert at_least(999.5) == 1000
    assert at_least(0.0) == 0


def test_both_sides_of_a_knee_are_said() -> None:
    """A layer of 512 MACs and 64 bytes, on a device of that ridge point."""
    layer = nn.Conv2d(8, 8, 1, bias=False)
    analysis = roofline.analyze(layer, torch.empty(1, 8, 1, 1), hw=hardware())
    macs, size = (analysis.totals()[key] for key in ("macs", "weight_bytes"))
    size += analysis.totals()["activation_bytes"]
    even = hardware(peak_macs_per_s={"int8": macs * 1e6}, bandwidth_bytes_per_s=size * 1e6)
    result = whatif(layer, torch.empty(1, 8, 1, 1), hw=even)
    for item in result.elasticities:
        assert (item.better, item.worse) == (0.0, -1.0)
        assert item.step_latency_s == pytest.approx(result.latency_s)
    meanings = [item["meaning"] for item in result.to_dict()["elasticities"]]
    assert all("0 as it grows and -1 as it shrinks, for a layer is at its knee" in meaning for meaning in meanings)


def test_a_model_that_does_nothing_is_said_to() -> None:
    result = whatif(nn.Identity(), torch.empty(1, 3, 8, 8), hw="pixel6_tpu", target_s=1e-3)
    assert result.verdict() == "Predicted latency 0 s: it does nothing, whatever the device."
    data = json.loads(result.to_json())
    assert data["answers"] == []
    assert [item["better"] for item in data["elasticities"]] == [0, 0]
    assert result.best_layers() == []


# --- bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", [0, -1.0, math.nan, math.inf, "2ms", [2e-3]])
def test_a_target_that_is_none_is_one_line(target: Any) -> None:
    with pytest.raises(RooflineError, match=r"^a target is a number of seconds, more than 0 \(got .*\)$"):
        whatif("mobilenetv4_conv_small", hw="pixel6_tpu", target_s=target)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["mobilenetv4_conv_s", "--hw", "pixel6_tpu", "--target", "0ms"], "'--target': a target must be more than 0"),
        (["mobilenetv4_conv_s", "--hw", "pixel6_tpu", "--target=-2ms"], "'--target': '-2ms' is no target latency"),
        (["mobilenetv4_conv_s", "--hw", "pixel6_tpu", "--target", "abc"], "'abc' is no target latency, as in 2ms"),
        (["mobilenetv4_conv_s", "--hw", "pixel6_tpu", "--target", "5"], "'5' has no unit"),
        (["mobilenetv4_conv_s", "--target", "5ms"], "Missing option '--hw'"),
        (["mobilenetv4_conv_x", "--hw", "pixel6_tpu"], "unknown model 'mobilenetv4_conv_x'. Did you mean"),
        (["mobilenetv4_conv_s", "--hw", "pixel6_npu"], "unknown hardware 'pixel6_npu'. Did you mean"),
        (["mobilenetv4_conv_s", "--hw", "pixel6_tpu", "--dtype", "fp32"], "no peak for dtype 'fp32'"),
        (["mobilenetv4_conv_s", "--hw", "pixel6_tpu", "-o", "none/x.json"], "no folder none"),
        (["missing.py:make", "--hw", "pixel6_tpu"], "missing.py: no such file"),
        (["mobilenetv4_conv_s", "--hw", "a", "--hw", "b"], "whatif takes one --hw (got 2: a, b)"),
        ([], "Missing argument 'MODEL'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_line_and_exit_code_2(arguments: list[str], expected: str, command: Command) -> None:
    run = command("whatif", *arguments)
    assert (run.returncode, run.stdout) == (2, "")
    assert re.fullmatch(r"roofline: [^\n]+\n", run.stderr)
    assert expected in run.stderr


# --- forms of the answer ----------------------------------------------------------------------------------------------


def test_the_story_works(command: Command) -> None:
    run = command("whatif", "mobilenetv4_hybrid_m", "--hw", "raspberrypi_5", "--target", "5ms")
    assert (run.returncode, run.stderr) == (0, "")
    assert "it leaves the target of 5 ms possible" in run.stdout
    assert max(map(len, run.stdout.splitlines())) <= 80


def test_the_forms_agree(command: Command, tmp_path: Path) -> None:
    arguments = ["whatif", "mobilenetv4_conv_s", "--hw", "pixel6_tpu", "--batch", "2", "--target", "10fps"]
    result = whatif("mobilenetv4_conv_s", hw="pixel6_tpu", batch=2, target_s=parse_target("10fps", batch=2))
    assert result.target_s == pytest.approx(0.2)
    assert json.loads(command(*arguments, "--format", "json").stdout) == json.loads(result.to_json())
    lines = list(csv.DictReader(io.StringIO(command(*arguments, "--format", "csv").stdout)))
    assert list(lines[0]) == list(COLUMNS)
    for line, other in zip(lines, result.alternatives, strict=True):
        assert (line["group"], line["name"], line["skipped"]) == (other.group, other.name, other.skipped)
        assert line["latency_s"] == ("" if other.latency_s is None else str(other.latency_s))
    assert lines[4]["input_shapes"] == "1x3x224x224"
    assert result.verdict().split(".")[0] in command(*arguments, "--format", "md").stdout.replace("\\", "")
    file = tmp_path / "result.json"
    assert command(*arguments, "-o", file).returncode == 0
    assert load_saved(file) == json.loads(result.to_json())


def test_a_saved_one_is_drawn_as_a_new_one(command: Command, tmp_path: Path) -> None:
    file, new, again = (tmp_path / name for name in ("result.json", "new.html", "again.html"))
    arguments = ["whatif", "mobilenetv4_conv_s", "--hw", "pixel6_tpu", "--target", "0.1ms"]
    run = command(*arguments, "-o", file, "--html", new, "--plotlyjs", "directory")
    assert run.returncode == 0
    assert command("report", file, "--html", again, "--plotlyjs", "directory").returncode == 0
    pages = [re.sub(r'(?s)<pre class="command">.*?</pre>', "", path.read_text()) for path in (new, again)]
    assert pages[0] == pages[1]


def test_what_the_users_file_prints_does_not_get_into_the_result(command: Command, tmp_path: Path) -> None:
    net = tmp_path / "net.py"
    net.write_text("from torch import nn\nprint('imported')\ndef make(): return nn.Conv2d(3, 8, 3)\n")
    run = command("whatif", f"{net}:make", "--hw", "pixel6_tpu", "--format", "json", "--input-size", "32")
    assert run.returncode == 0
    assert "imported" in run.stderr
    sizes = [other["name"] for other in json.loads(run.stdout)["alternatives"] if other["group"] == "input"]
    assert sizes == ["16x16", "24x24", "32x32", "40x40", "48x48"]


def test_a_repr_is_the_answer(pi: WhatIf) -> None:
    assert repr(pi) == f"<WhatIf of {MODEL}: {pi.verdict()}>"


# --- a calibrated profile ---------------------------------------------------------------------------------------------


@pytest.fixture
def calibrated(tmp_path: Path) -> Hardware:
    """A profile with a calibration beside it, of a machine far slower than its roofline."""
    made = replace(known_laws.calibration(), environment=environment())
    save(made, tmp_path / "local.calibration.npz")
    (tmp_path / "local.yaml").write_text(profile_of(made, "local", file="local.calibration.npz"))
    return load_profile(tmp_path / "local.yaml")


def test_another_device_is_not_asked_of_a_calibration(calibrated: Hardware) -> None:
    plain = replace(calibrated, calibration=None)
    result = whatif("mobilenetv4_conv_s", hw=calibrated)
    assert result.latency_s == latency("mobilenetv4_conv_s", plain)
    assert result.latency_s < 0.8 * latency("mobilenetv4_conv_s", calibrated)
    for factor in (1.1, 1e15):
        faster = scaled(calibrated, dtype="fp32", peak=factor)
        assert result.times.response("peak").latency_s(factor) == pytest.approx(latency("mobilenetv4_conv_s", faster))
    assert one(result, "batch", "2").latency_s == pytest.approx(latency("mobilenetv4_conv_s", plain, batch=2))


def test_that_a_calibration_is_set_aside_is_said(calibrated: Hardware, command: Command) -> None:
    notes = whatif("mobilenetv4_conv_s", hw=calibrated).to_dict()["notes"]
    (said,) = (note for note in notes if "not by its calibration (local.calibration.npz)" in note)
    assert "By the roofline" in said
    assert calibrated.calibration is not None
    done = command("whatif", "mobilenetv4_conv_s", "--hw", calibrated.calibration.parent / "local.yaml")
    assert (done.returncode, done.stderr) == (0, "")
    assert "By the roofline of the profile's figures" in done.stdout
    assert not any("calibration" in note for note in whatif(MODEL, hw="raspberrypi_5").to_dict()["notes"])


@pytest.mark.parametrize("estimator", ["calibrated", "learned", "oracle"])
def test_another_estimator_is_refused(estimator: str) -> None:
    with pytest.raises(RooflineError, match=f"by the roofline.*'{estimator}'"):
        whatif("mobilenetv4_conv_s", hw="raspberrypi_5", estimator=estimator)
    assert whatif("mobilenetv4_conv_s", hw="raspberrypi_5", estimator="roofline").latency_s > 0


# --- docs/json.md -----------------------------------------------------------------------------------------------------

DOC = (Path(__file__).parents[1] / "docs" / "json.md").read_text(encoding="utf-8")
DOCUMENTED: dict[str, Callable[[dict[str, Any]], list[dict[str, Any]]]] = {
    "what-if": lambda data: [data],
    "elasticity": lambda data: data["elasticities"],
    "way": lambda data: data["ways"],
    "iso-latency curve": lambda data: [data["iso_latency"]],
    "alternative": lambda data: data["alternatives"],
    "smaller layer": lambda data: data["layers"],
    "placed profile": lambda data: data["profiles"],
}


@pytest.mark.parametrize("what", DOCUMENTED)
def test_the_documented_keys_are_the_real_ones(what: str, pi: WhatIf) -> None:
    section = re.search(rf"^\| of an? {what} \|.*\n\| ---.*\n((?:\|.*\n)*)", DOC, re.MULTILINE)
    assert section is not None
    cells = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \|", section[1], re.MULTILINE)
    documented = [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]
    found = DOCUMENTED[what](json.loads(pi.to_json()))
    assert found
    assert all(list(item) == documented for item in found)


def test_the_scales_are_documented() -> None:
    (row,) = re.findall(r"^\| `scales` \|.*$", DOC, re.MULTILINE)
    assert re.findall(r"`(\w+)`", row)[1:-1] == list(SCALES)


def test_one_graph_serves_all_dtypes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only batches and sizes are traced again: 7 - 1 and 8 - 1 of them here, and the model itself."""
    calls = []

    def counted(*arguments: Any) -> Any:
        calls.append(arguments)
        return trace(*arguments)

    monkeypatch.setattr("roofline.trace.trace", counted)
    whatif(MODEL, hw="raspberrypi_5")
    assert len(calls) == 1 + 6 + 7
