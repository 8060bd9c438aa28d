"""The bundled profiles meet the latencies they say they were fitted to, as nearly as they say."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from functools import cache

import pytest

import roofline
from roofline.engine import predict
from roofline.hardware import Hardware
from roofline.layers import LayerTable

S, M, L = "mobilenetv4_conv_small", "mobilenetv4_conv_medium", "mobilenetv4_conv_large"
HM, HL = "mobilenetv4_hybrid_medium", "mobilenetv4_hybrid_large"
PUBLISHED_MS: Mapping[str, Mapping[str, float]] = {  # arXiv:2404.10518v2: App. A's targets, then Table 6, int8
    "pixel6_tpu": {S: 0.2, M: 0.6, L: 2.3},
    "pixel6_cpu": {S: 2.4, M: 11.4, L: 59.9, HM: 14.3, HL: 87.6},
    "galaxy_s23_cpu": {S: 1.8, M: 8.6, L: 43.0, HM: 10.8, HL: 61.8},
    "pixel4_dsp": {S: 2.4, M: 7.3, L: 20.8},
    "pixel8_tpu": {S: 0.7, M: 1.1, L: 2.4, HM: 1.5, HL: 3.8},
}
RIDGE_POINTS = {"pixel6_cpu": 31.2, "galaxy_s23_cpu": 39.7, "pixel4_dsp": 347.3, "pixel8_tpu": 433.8}  # its Table 16


@cache
def layers(model: str) -> LayerTable:
    return roofline.analyze(model, hw="pixel6_tpu").layers


def errors(hardware: Hardware, latencies_ms: Mapping[str, float]) -> list[float]:
    return [
        float(predict(layers(model), hardware).latency_s) * 1e3 / published - 1
        for model, published in latencies_ms.items()
    ]


def scaled(hardware: Hardware, peak: float, bandwidth: float) -> Hardware:
    return dataclasses.replace(
        hardware,
        peak_macs_per_s={"int8": hardware.peak("int8") * peak},
        bandwidth_bytes_per_s=hardware.bandwidth_bytes_per_s * bandwidth,
    )


def squared_log_error(hardware: Hardware, latencies_ms: Mapping[str, float]) -> float:
    return sum(math.log1p(error) ** 2 for error in errors(hardware, latencies_ms))


@pytest.mark.parametrize("device", PUBLISHED_MS)
def test_the_misses_are_those_that_the_profile_states(device: str) -> None:
    hardware = roofline.load_profile(device)
    stated = hardware.figures["peak_macs_per_s.int8" if device == "pixel6_tpu" else "bandwidth_bytes_per_s"].source
    percents = [float(number) for number in re.findall(r"[+-]\d+\.\d", stated)]
    computed = [100 * error for error in errors(hardware, PUBLISHED_MS[device])]
    assert percents == pytest.approx(computed, abs=0.06), "rounded to a tenth of a per cent"


@pytest.mark.parametrize("device", RIDGE_POINTS)
def test_the_ridge_point_is_the_papers_and_the_scale_is_the_best_for_it(device: str) -> None:
    hardware = roofline.load_profile(device)
    assert round(hardware.ridge_point("int8"), 1) == RIDGE_POINTS[device]
    best = squared_log_error(hardware, PUBLISHED_MS[device])
    for factor in (0.99, 1.01):
        assert squared_log_error(scaled(hardware, factor, factor), PUBLISHED_MS[device]) > best


def test_no_peak_and_bandwidth_nearby_meet_the_design_targets_better() -> None:
    hardware, targets = roofline.load_profile("pixel6_tpu"), PUBLISHED_MS["pixel6_tpu"]
    best = squared_log_error(hardware, targets)
    for peak in (0.99, 1, 1.01):
        for bandwidth in (0.99, 1, 1.01):
            if (peak, bandwidth) != (1, 1):
                assert squared_log_error(scaled(hardware, peak, bandwidth), targets) > best
