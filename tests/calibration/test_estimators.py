"""Estimates of traced networks: what they sum to, what they say, and how estimators are found by name."""

import dataclasses
import itertools
import time

import numpy as np
import pytest
import torch
from torch import nn

import roofline.engine
from roofline.calibration import estimators as module
from roofline.calibration import fitting
from roofline.calibration.estimators import NAMES, Estimate, Estimator, FittedEstimator, best, estimators, named
from roofline.calibration.kernels import kernels_of
from roofline.errors import CalibrationError
from roofline.graph import Graph
from roofline.hardware import Hardware
from roofline.layers import lower
from roofline.profiles import load_profile
from roofline.trace import trace
from tests.calibration import known_laws


def block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(),
    )


def traced(net: nn.Module, *shape: int) -> Graph:
    return trace(net.eval(), torch.zeros(shape, device="meta"))


def small_net() -> nn.Module:
    return nn.Sequential(block(32, 64), block(64, 96), nn.Flatten(), nn.Linear(96 * 28 * 28, 10))


@pytest.fixture(scope="module")
def graph() -> Graph:
    with torch.device("meta"):
        return traced(small_net(), 1, 32, 28, 28)


@pytest.fixture(scope="module")
def hardware() -> Hardware:
    return load_profile("xeon_8180")


@pytest.fixture(scope="module")
def found(hardware: Hardware) -> dict[str, Estimator]:
    pytest.importorskip("sklearn")
    return estimators(known_laws.of_graphs(measured()), hardware)


def measured() -> dict[str, Graph]:
    """Two blocks a network, as the networks of these tests have them, at other sizes."""
    graphs = {}
    for number, (width, side) in enumerate(itertools.product((16, 48, 80, 112), (14, 20, 36, 48, 56))):
        with torch.device("meta"):
            net = nn.Sequential(block(width, 2 * width), block(2 * width, width + 8), nn.Flatten(), nn.Linear(1, 1))
            net[3] = nn.Linear((width + 8) * side * side, 10)
            graphs[f"net{number}"] = traced(net, 1, width, side, side)
    return graphs


def test_all_are_there_in_the_order_of_what_they_know(found: dict[str, Estimator]) -> None:
    assert tuple(found) == NAMES
    assert [each.name for each in found.values()] == list(NAMES)
    assert best(found).name == "learned"


@pytest.mark.parametrize("name", NAMES)
def test_a_latency_is_its_ops_and_the_host_and_layers_sum_to_it(
    name: str, found: dict[str, Estimator], graph: Graph
) -> None:
    estimate = found[name].estimate(graph)
    assert estimate.estimator == name
    assert len(estimate.op_s) == len(estimate.kernels.op)
    assert estimate.host_s == pytest.approx(sum(estimate.host.values()))
    assert estimate.latency_s == pytest.approx(estimate.op_s.sum() + estimate.host_s)
    layers = lower(graph, fusion="none", dtype="fp32")
    layer_s = estimate.layer_s(layers)
    assert len(layer_s) == len(layers)
    assert layer_s.sum() == pytest.approx(estimate.latency_s)
    assert (layer_s > 0).all()


def test_host_terms_by_hand(found: dict[str, Estimator], graph: Graph) -> None:
    calibrated = found["calibrated"]
    assert isinstance(calibrated, FittedEstimator)
    host, estimate = calibrated.fitted.host, calibrated.estimate(graph)
    # 2 blocks of 6 modules, the blocks, the flatten, the linear and the whole; flatten is a view
    assert estimate.host["op"] == pytest.approx(13 * host.op_s)
    assert estimate.host["module"] == pytest.approx(17 * host.module_s)
    assert estimate.host["view"] == pytest.approx(1 * host.view_s)
    assert estimate.host["composition"] == pytest.approx((host.composition - 1) * estimate.op_s.sum())


def test_a_layer_has_the_time_of_its_op(found: dict[str, Estimator], graph: Graph) -> None:
    estimate = found["calibrated"].estimate(graph)
    layers = lower(graph, fusion="none", dtype="fp32")
    layer_s = estimate.layer_s(layers)
    assert [str(kind) for kind in layers.kind[:4]] == ["pointwise_conv", "norm", "activation", "depthwise_conv"]
    assert estimate.kernels.kernel[3].startswith("conv_depthwise")
    longer = 1 + estimate.host["composition"] / estimate.op_s.sum()
    assert np.diff(layer_s) == pytest.approx(np.diff(estimate.op_s * longer))


def test_another_table_is_refused(found: dict[str, Estimator], graph: Graph) -> None:
    estimate = found["calibrated"].estimate(graph)
    fused = lower(graph, fusion="epilogue", dtype="fp32")
    with pytest.raises(CalibrationError, match="each of the 13 unfused layers"):
        estimate.layer_s(fused)
    with pytest.raises(CalibrationError, match="got a table of 12 layers"):
        estimate.layer_s(lower(graph, fusion="none", dtype="fp32").take(np.arange(13) > 0))


def test_the_roofline_is_that_of_the_engine(found: dict[str, Estimator], graph: Graph, hardware: Hardware) -> None:
    layers = lower(graph, fusion="none", dtype="fp32")
    prediction = roofline.engine.predict(layers, hardware)
    estimate = found["roofline"].estimate(graph)
    assert estimate.latency_s == prediction.latency_s
    assert estimate.layer_s(layers) == pytest.approx(prediction.layer_latency_s)
    assert np.isnan([*estimate.interval80_s, *estimate.interval90_s]).all()


def test_overheads_of_a_profile_are_in_its_roofline(graph: Graph, hardware: Hardware) -> None:
    slow = dataclasses.replace(hardware, layer_overhead_s=1e-6, inference_overhead_s=5e-6)
    fast_s, slow_s = (estimators(None, each)["roofline"].estimate(graph).latency_s for each in (hardware, slow))
    assert slow_s == pytest.approx(fast_s + 13e-6 + 5e-6)


@pytest.mark.parametrize("name", ["calibrated", "learned"])
def test_intervals_are_around_the_latency_and_nested(name: str, found: dict[str, Estimator], graph: Graph) -> None:
    estimate = found[name].estimate(graph)
    (low80, high80), (low90, high90) = estimate.interval80_s, estimate.interval90_s
    assert 0 < low90 <= low80 < estimate.latency_s < high80 <= high90


def test_what_was_never_measured_is_said_and_widens(found: dict[str, Estimator]) -> None:
    strange = nn.Sequential(block(32, 64), nn.Softmax(1), nn.LayerNorm([28, 28]))
    estimate = found["learned"].estimate(traced(strange, 1, 32, 28, 28))
    assert estimate.fallback_share > 0.05
    assert estimate.outside_share == 0
    (note,) = (note for note in estimate.notes if "never measured" in note)
    assert "softmax" in note
    assert "layer_norm" in note
    assert (estimate.op_s > 0).all()
    assert_wider(estimate, found["learned"])


def assert_wider(estimate: Estimate, estimator: Estimator) -> None:
    """The interval is wider than if all that the network runs had been measured."""
    assert isinstance(estimator, FittedEstimator)
    known = estimator.fitted.intervals[estimator.name]
    nothing = np.zeros(len(estimate.op_s), dtype=bool)
    sigma = known.sigma(estimate.kernels.kernel, estimate.op_s, nothing, estimate.kernels.key)
    assert known.around(estimate.latency_s, sigma, 0.9)[1] < estimate.interval90_s[1]


def test_of_what_was_measured_there_is_nothing_to_say(found: dict[str, Estimator], graph: Graph) -> None:
    for name in NAMES:
        estimate = found[name].estimate(graph)
        assert (estimate.fallback_share, estimate.outside_share, estimate.notes) == (0, 0, ())


def test_sizes_beyond_those_measured_are_said_and_have_the_calibrated_time(found: dict[str, Estimator]) -> None:
    large = traced(block(32, 64), 64, 32, 112, 112)
    calibrated, learned = (found[name].estimate(large) for name in ("calibrated", "learned"))
    assert learned.outside_share > 0.9
    assert any("beyond those measured" in note for note in learned.notes)
    assert learned.op_s == pytest.approx(calibrated.op_s)
    assert_wider(learned, found["learned"])


def test_flags_of_the_kernels_are_notes(
    found: dict[str, Estimator], graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    flagged = dataclasses.replace(kernels_of(graph), flags=("a mask of -100 makes subnormals",))
    monkeypatch.setattr(module, "kernels_of", lambda graph: flagged)
    for name in NAMES:
        assert "a mask of -100 makes subnormals" in found[name].estimate(graph).notes


def test_a_network_of_no_ops_takes_what_its_modules_do(found: dict[str, Estimator]) -> None:
    empty = traced(nn.Identity(), 1, 3)
    for name in NAMES:
        estimate = found[name].estimate(empty)
        assert estimate.latency_s == pytest.approx(estimate.host_s)
        assert estimate.fallback_share == estimate.outside_share == 0
        assert estimate.layer_s(lower(empty, fusion="none", dtype="fp32")).shape == (0,)


def test_an_estimate_of_300_layers_takes_less_than_50_ms(found: dict[str, Estimator]) -> None:
    with torch.device("meta"):
        net = traced(nn.Sequential(block(32, 64), *(block(64, 64) for _ in range(49))), 1, 32, 28, 28)
    assert len(net.ops) == 300
    taken_s = []
    for _ in range(10):
        start_s = time.perf_counter()
        found["learned"].estimate(net)
        taken_s.append(time.perf_counter() - start_s)
    assert min(taken_s) < 0.050


# By name


def test_without_a_calibration_there_is_the_roofline_alone(hardware: Hardware) -> None:
    alone = estimators(None, hardware)
    assert list(alone) == ["roofline"]
    assert best(alone).name == "roofline"
    with pytest.raises(CalibrationError, match="'learned' needs a calibration of this machine"):
        named(alone, "learned")


def test_without_a_profile_there_is_no_roofline() -> None:
    pytest.importorskip("sklearn")
    alone = estimators(known_laws.calibration(6, 40), None)
    assert list(alone) == ["calibrated", "learned"]
    with pytest.raises(CalibrationError, match="'roofline' needs a profile"):
        named(alone, "roofline")
    with pytest.raises(CalibrationError, match="nothing to estimate with"):
        best(estimators(None, None))


def test_without_scikit_learn_the_calibrated_one_is_best_and_says_why(
    hardware: Hardware, graph: Graph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "find_spec", lambda name: None)
    fewer = estimators(known_laws.calibration(6, 40), hardware)
    assert list(fewer) == ["roofline", "calibrated"]
    assert best(fewer).name == "calibrated"
    assert any("pip install 'roofline-profiler[learn]'" in note for note in fewer["calibrated"].estimate(graph).notes)
    with pytest.raises(CalibrationError, match=r"without scikit-learn: pip install 'roofline-profiler\[learn\]'"):
        named(fewer, "learned")


def test_an_unknown_name_is_told_the_nearest(found: dict[str, Estimator]) -> None:
    assert named(found, "roofline") is found["roofline"]
    with pytest.raises(CalibrationError, match=r"called 'lerned' .*Did you mean 'learned'\?"):
        named(found, "lerned")


def test_a_calibration_of_other_terms_is_refused() -> None:
    made = known_laws.calibration(4, 20)
    ops = dataclasses.replace(made.ops, terms=made.ops.terms[:, :-1])
    other = dataclasses.replace(made, terms=made.terms[:-1], ops=ops)
    with pytest.raises(CalibrationError, match="made by another version of roofline"):
        estimators(other, None)
