"""The fitted profiles against the latencies they were fitted to, and the figures of docs/validation.md.

Everything published here is of the MobileNetV4 paper, arXiv:2404.10518v2.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path

import pytest

import roofline
from roofline.engine import predict
from roofline.fit import Fit, infer
from roofline.fit_profile import ridge_text
from roofline.fit_regression import RidgePoint, ridge_point_of, settled, solve
from roofline.fit_terms import Design, Form, Rows, load_rows
from roofline.hardware import Hardware
from roofline.latencies import Latency, read_latencies
from roofline.layers import LayerTable

pytestmark = pytest.mark.usefixtures("traced_once")

PAGE = (Path(__file__).parents[1] / "docs" / "validation.md").read_text(encoding="utf-8")
TARGETS_MS = {  # App. A, of the Pixel 6 EdgeTPU
    "mobilenetv4_conv_small": 0.2,
    "mobilenetv4_conv_medium": 0.6,
    "mobilenetv4_conv_large": 2.3,
}
FORMS: Mapping[str, Form] = {  # the terms of each profile
    "pixel6_cpu": ("add", "slow"),
    "galaxy_s23_cpu": ("add", "grouped", "depthwise_k7"),
    "pixel4_dsp": ("mac_layer_overhead", "depthwise"),
    "pixel8_tpu": ("inference_overhead", "mac_layer_overhead", "slow"),
}
# Leave-one-out in these terms: mean |error| in per cent and Spearman's rank correlation, as claimed.
CLAIMED = {
    "pixel6_cpu": (6.1, 0.990),
    "galaxy_s23_cpu": (7.3, 0.992),
    "pixel4_dsp": (5.5, 0.987),
    "pixel8_tpu": (7.7, 0.970),
}
NOT_CONVOLUTIONAL = ("fastvit", "efficientvit", "convnext", "mobilenetv4_hybrid")


def latencies(device: str, *, convolutional: bool = False) -> tuple[Latency, ...]:
    rows = read_latencies(Path(str(files("roofline.hwprofiles") / f"{device}.csv")))
    return tuple(row for row in rows if not (convolutional and row.model.startswith(NOT_CONVOLUTIONAL)))


@cache
def rows_of(device: str) -> Rows:
    return load_rows(latencies(device))


@cache
def fitted(device: str) -> Fit:
    return infer(rows_of(device), device=device, terms=FORMS[device])


@cache
def layers(model: str) -> LayerTable:
    return roofline.analyze(model, hw="pixel6_tpu").layers


# --- fitted to Table 6 ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("device", FORMS)
@pytest.mark.sampled(2)
def test_the_profile_predicts_what_the_fit_does(device: str) -> None:
    """Through the YAML and the engine, and rounded to the digits of the file."""
    hardware = roofline.load_profile(device)
    for row, table in zip(fitted(device).rows, rows_of(device).tables, strict=True):
        assert float(predict(table, hardware).latency_s) == pytest.approx(row.predicted_s, rel=1e-4), row.name


@pytest.mark.parametrize("device", FORMS)
def test_rows_that_a_fit_has_not_seen_are_predicted_as_well_as_claimed(device: str) -> None:
    result = fitted(device)
    error, ranks = CLAIMED[device]
    assert 100 * result.loo_mape <= error
    assert result.loo_spearman is not None
    assert result.loo_spearman >= ranks
    assert result.spearman_macs is not None
    assert result.loo_spearman > result.spearman_macs, "or one might as well count MACs"


@pytest.mark.parametrize("device", FORMS)
def test_the_notes_state_the_error_of_each_row(device: str) -> None:
    notes = roofline.load_profile(device).notes
    stated = {name: float(error) for name, error in re.findall(r"(\w+) ([+-]\d+\.\d)", notes)}
    assert stated == pytest.approx({row.name: 100 * row.error for row in fitted(device).rows}, abs=0.06)


@pytest.mark.parametrize("device", FORMS)
def test_every_figure_is_called_fitted_and_says_to_what(device: str) -> None:
    hardware = roofline.load_profile(device)
    assert {figure.kind for figure in hardware.figures.values()} == {"fitted"}
    assert f"{device}.csv (Table 6 of arXiv:2404.10518v2)" in hardware.figures["peak_macs_per_s.int8"].source
    assert "no hardware peaks" in hardware.notes


@pytest.mark.parametrize("device", FORMS)
def test_the_page_has_the_terms_and_the_errors_of_the_profile(device: str) -> None:
    (line,) = re.findall(rf"^\| `{device}` \| (\d+) \| (.*?) \| [\d. /]+ \| ([\d.]+) / ([\d.]+) / ", PAGE, re.MULTILINE)
    assert (int(line[0]), tuple(re.findall(r"`(\w+)`", line[1]))) == (len(rows_of(device)), FORMS[device])
    result = fitted(device)
    assert [float(error) for error in line[2:]] == pytest.approx(
        [100 * result.loo_mape, 100 * result.loo_median], abs=0.06
    )


# --- Table 16: the ridge points of a plain roofline -------------------------------------------------------------------


def plain_ridge_point(device: str) -> RidgePoint:
    """As `infer` finds it, which also leaves out one row after the other."""
    design = Design(load_rows(latencies(device, convolutional=True), ops="conv_only"), ())
    return ridge_point_of(design, settled(design, solve(design)), "int8")


@pytest.mark.parametrize(("device", "paper"), [("pixel6_cpu", 31.2), ("galaxy_s23_cpu", 39.7)])
def test_a_plain_roofline_of_convolutions_has_the_ridge_point_of_the_paper(device: str, paper: float) -> None:
    ridge = plain_ridge_point(device)
    assert ridge.low is not None
    assert ridge.high is not None
    assert ridge.low < paper < ridge.high
    assert ridge.value == pytest.approx(paper, rel=0.05)


@pytest.mark.parametrize("device", ["pixel4_dsp", "pixel8_tpu"])
def test_on_accelerators_a_plain_roofline_has_a_lower_limit_alone(device: str) -> None:
    ridge = plain_ridge_point(device)
    assert ridge.high is None
    assert ridge.low is not None
    assert 50 < ridge.low < 100
    assert ridge_text(ridge).startswith("Ridge point >= ")


# --- Tables 2 and 3: attention ----------------------------------------------------------------------------------------


def latency_ms(model: str, device: str) -> float:
    return float(roofline.analyze(model, hw=device).totals()["latency_s"]) * 1e3


def test_mobile_mqa_costs_less_than_multi_head_attention() -> None:
    base, mqa, mhsa = (
        latency_ms(f"mobilenetv4_conv_large{form}", "pixel8_tpu") for form in ("", ":mqa3", ":mhsa3")
    )  # published: 2.35, 2.60 and 2.76 ms
    assert base < mqa < mhsa


def test_keys_and_values_at_half_size_save_time() -> None:
    whole, half = (latency_ms(f"mobilenetv4_hybrid_medium{form}", "galaxy_s23_cpu") for form in (":kv1", ""))
    assert half < whole  # published: 12.8 and 15.8 ms


# --- the design targets of the Pixel 6 EdgeTPU ------------------------------------------------------------------------


def target_errors(hardware: Hardware) -> list[float]:
    return [
        float(predict(layers(model), hardware).latency_s) * 1e3 / target - 1 for model, target in TARGETS_MS.items()
    ]


def test_pixel6_tpu_misses_its_targets_by_what_it_states() -> None:
    hardware = roofline.load_profile("pixel6_tpu")
    stated = hardware.figures["peak_macs_per_s.int8"].source
    percents = [float(number) for number in re.findall(r"[+-]\d+\.\d", stated)]
    assert percents == pytest.approx([100 * error for error in target_errors(hardware)], abs=0.06)


def test_no_peak_and_bandwidth_nearby_meet_the_targets_better() -> None:
    hardware = roofline.load_profile("pixel6_tpu")

    def error(peak: float, bandwidth: float) -> float:
        moved = dataclasses.replace(
            hardware,
            peak_macs_per_s={"int8": hardware.peak("int8") * peak},
            bandwidth_bytes_per_s=hardware.bandwidth_bytes_per_s * bandwidth,
        )
        return sum(math.log1p(miss) ** 2 for miss in target_errors(moved))

    best = error(1, 1)
    for peak in (0.99, 1, 1.01):
        for bandwidth in (0.99, 1, 1.01):
            assert (peak, bandwidth) == (1, 1) or error(peak, bandwidth) > best
