"""Baselines: constants of networks that obey them, and latencies by hand."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from roofline.calibration.baselines import Regression, baselines, composed_s
from roofline.calibration.fitting import fit
from roofline.errors import CalibrationError
from roofline.layers import lower
from roofline.trace import trace
from tests.calibration import known_laws


def test_constants_of_networks_that_obey_them_are_recovered() -> None:
    made = known_laws.calibration(12, 30)
    wholes = made.wholes
    time_s = 1e-11 * wholes.macs + 5e-11 * wholes.activation_bytes + 4e-6 * wholes.ops
    found = baselines(dataclasses.replace(made, wholes=dataclasses.replace(wholes, time_s=time_s)))
    assert list(found) == ["macs", "three_constants"]
    three = found["three_constants"]
    assert isinstance(three, Regression)
    assert (three.mac_s, three.byte_s, three.op_s) == pytest.approx((1e-11, 5e-11, 4e-6), rel=1e-3)


def test_one_constant_is_the_mean_time_of_a_mac() -> None:
    made = known_laws.calibration(12, 30)
    time_s = made.wholes.macs * 1e-11 * np.linspace(0.8, 1.2, 12)
    found = baselines(dataclasses.replace(made, wholes=dataclasses.replace(made.wholes, time_s=time_s)))["macs"]
    assert isinstance(found, Regression)
    assert found.mac_s == pytest.approx(1e-11)
    assert (found.byte_s, found.op_s) == (0, 0)


def test_a_latency_by_hand() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 1, bias=False), nn.ReLU()).eval()
    graph = trace(net, torch.zeros(1, 3, 4, 4))
    estimate = Regression("three_constants", mac_s=1.0, byte_s=1000.0, op_s=1e6).estimate(graph)
    conv = 3 * 8 * 16 * 1.0 + (3 + 8) * 16 * 4 * 1000.0 + 1e6
    relu = (8 + 8) * 16 * 4 * 1000.0 + 1e6
    assert estimate.op_s.tolist() == [conv, relu]
    assert estimate.latency_s == conv + relu
    assert estimate.layer_s(lower(graph, fusion="none", dtype="fp32")).tolist() == [conv, relu]


def test_measured_ops_composed_are_the_whole_but_for_noise() -> None:
    made = known_laws.calibration(20, 30)
    fitted = fit(made)
    for row in range(len(made.wholes.network)):
        counts = {name: int(getattr(made.wholes, name)[row]) for name in ("ops", "module_calls", "views")}
        ops_s = made.wholes.ops_s[[row]] / 2  # in two halves
        composed = composed_s(fitted, np.concatenate([ops_s, ops_s]), **counts)
        assert composed == pytest.approx(made.wholes.time_s[row], rel=1e-3)


def test_without_networks_there_is_nothing_to_fit_to() -> None:
    with pytest.raises(CalibrationError, match="no network measured as a whole"):
        baselines(known_laws.calibration(4, 20, wholes=False))
