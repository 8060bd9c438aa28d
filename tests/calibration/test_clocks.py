"""The two clocks of CUDA, by hand arithmetic and properties, and on an accelerator that exists on paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from roofline.calibration.bench import CudaBench
from roofline.calibration.clocks import WHOLE_TERMS, TwoClocks, TwoClocksEstimator, end_s
from roofline.calibration.data import Calibration, WholeTerms
from roofline.calibration.estimators import estimators
from roofline.calibration.fitting import fit
from roofline.errors import CalibrationError
from roofline.graph import Graph
from roofline.layers import lower
from roofline.trace import trace
from tests.calibration import known_laws
from tests.measurement.fakes import Machine
from tests.measurement.timed_ops import LAUNCH_S, PaperGpu, StillClock

US = 1e-6
TRUE = TwoClocks(op_s=4 * US, module_s=2 * US, view_s=1 * US, synchronise_s=10 * US)


def walked_s(issue_s: list[float], device_s: list[float]) -> float:
    """The recursion as it is written: op by op."""
    ended_s = 0.0
    for issued_s, took_s in zip(issue_s, device_s, strict=True):
        ended_s = max(issued_s, ended_s) + took_s
    return ended_s


times = st.lists(st.tuples(st.floats(0, 1e-3), st.floats(0, 1e-3)), min_size=1, max_size=30)


@given(times)
def test_it_is_the_recursion_op_by_op(pairs: list[tuple[float, float]]) -> None:
    issue_s = np.cumsum([gap for gap, _ in pairs])
    device_s = np.array([took for _, took in pairs])
    found = end_s(issue_s, device_s)
    assert found == pytest.approx(walked_s(issue_s.tolist(), device_s.tolist()), abs=1e-12)
    assert found >= max(issue_s[-1] + device_s[-1], issue_s[0] + device_s.sum()) - 1e-12
    assert found <= issue_s[-1] + device_s.sum() + 1e-12


def network(layers: int = 6) -> Graph:
    """Linear layers in a row, one module each, and the module around them; no view."""
    net = nn.Sequential(*(nn.Linear(8, 8) for _ in range(layers)))
    return trace(net.eval(), torch.zeros(2, 8, device="meta"))


def test_short_kernels_take_what_the_host_takes() -> None:
    # 6 ops of 4 us, 7 module calls of 2 us, and the last kernel after the last launch
    assert TRUE.network_s(network(), np.full(6, 0.1 * US)) == pytest.approx((6 * 4 + 7 * 2 + 0.1 + 10) * US)


def test_long_kernels_take_what_the_device_takes() -> None:
    # only the first launch is waited for: 4 us and a sixth of the 14 us of modules
    assert TRUE.network_s(network(), np.full(6, 500 * US)) == pytest.approx((4 + 14 / 6 + 6 * 500 + 10) * US)


def test_a_long_kernel_early_hides_what_is_launched_behind_it_and_late_hides_nothing() -> None:
    early, late = np.full(6, 1 * US), np.full(6, 1 * US)
    early[0] = late[-1] = 20 * US
    launch_us = 4 + 14 / 6
    assert TRUE.network_s(network(), early) == pytest.approx((6 * launch_us + 1 + 10) * US)
    assert TRUE.network_s(network(), late) == pytest.approx((6 * launch_us + 20 + 10) * US)


def test_views_cost_the_host_alone() -> None:
    net = nn.Sequential(nn.Linear(8, 8), nn.Flatten())
    graph = trace(net.eval(), torch.zeros(2, 8, device="meta"))
    issue_s, host_s = TRUE.issue_s(graph)
    assert issue_s == pytest.approx([(4 + 3 * 2) * US])
    assert host_s == pytest.approx((4 + 3 * 2 + 1) * US)


def wholes(rng: np.random.Generator, networks: int = 30) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times, sums of ops and terms of networks that are bound by the one clock or the other."""
    counts = rng.integers(5, 200, (networks, 3)).astype(float)
    host_s = counts @ np.array([TRUE.op_s, TRUE.module_s, TRUE.view_s])
    ops_s = host_s * np.exp(rng.uniform(-2, 2, networks))
    terms = np.column_stack([host_s, counts])
    return TRUE.whole_s(ops_s, terms), ops_s, terms


def test_a_fit_finds_the_constants_it_was_made_with() -> None:
    found = TwoClocks.fit(*wholes(np.random.default_rng(0)))
    for name in ("op_s", "module_s", "view_s", "synchronise_s"):
        assert getattr(found, name) == pytest.approx(getattr(TRUE, name), rel=1e-3)


def test_of_no_network_nothing_is_known() -> None:
    assert TwoClocks.fit(np.zeros(0), np.zeros(0), np.zeros((0, 4))) == TwoClocks(0.0, 0.0, 0.0, 0.0)


# --- as an estimator --------------------------------------------------------------------------------------------------


def on_cuda(calibration: Calibration) -> Calibration:
    """The same ops on a GPU, where the host takes as `TRUE` says."""
    whole = calibration.wholes
    counts = np.column_stack([whole.ops, whole.module_calls, whole.views]).astype(float)
    terms = np.column_stack([counts @ np.array([TRUE.op_s, TRUE.module_s, TRUE.view_s]), counts])
    return replace(
        calibration,
        environment={"device": {"type": "cuda", "name": "paper"}},
        wholes=replace(whole, time_s=TRUE.whole_s(whole.ops_s, terms)),
        composed=WholeTerms(network=whole.network, terms=terms[:, :1]),
        whole_terms=WHOLE_TERMS,
    )


def test_an_estimate_is_the_walk_over_its_own_ops_and_layers_sum_to_it() -> None:
    fitted = fit(on_cuda(known_laws.calibration(noise=0.02)))
    assert isinstance(fitted.whole, TwoClocks)
    found = estimators(on_cuda(known_laws.calibration(noise=0.02)), None)
    estimator = found["calibrated"]
    assert isinstance(estimator, TwoClocksEstimator)
    graph = network()
    estimate = estimator.estimate(graph)
    assert estimate.latency_s == pytest.approx(estimator.clocks.network_s(graph, estimate.op_s))
    assert estimate.host_s == pytest.approx(estimate.latency_s - estimate.op_s.sum())
    assert estimate.layer_s(lower(graph, fusion="none", dtype="fp32")).sum() == pytest.approx(estimate.latency_s)
    low, high = estimate.interval90_s
    assert low < estimate.latency_s < high


def test_without_the_times_of_the_host_it_is_refused() -> None:
    with pytest.raises(CalibrationError, match="does not hold what networks compose of in its mode"):
        fit(replace(on_cuda(known_laws.calibration(noise=0.02)), composed=None, whole_terms=()))


# --- the bench, on paper ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kernel_us", "whole_us"), [(1.0, 3 * LAUNCH_S / US + 1), (100.0, LAUNCH_S / US + 300)], ids=["launch", "device"]
)
def test_a_whole_is_until_the_device_ends_and_the_host_until_the_call_returns(
    kernel_us: float, whole_us: float
) -> None:
    gpu = PaperGpu(StillClock())
    bench = CudaBench(gpu, gpu.clock, anchor=Machine())

    def call() -> None:
        for _ in range(3):
            gpu.launch(kernel_us * US)

    whole_s, host_s = bench.whole_s(call)
    assert host_s == pytest.approx(3 * LAUNCH_S)
    assert whole_s == pytest.approx(whole_us * US)
    predicted = TwoClocks(LAUNCH_S, 0.0, 0.0, 0.0).network_s(network(3), np.full(3, kernel_us * US))
    assert predicted == pytest.approx(whole_s)


def test_ops_are_timed_by_events_without_the_gaps_between_them() -> None:
    gpu = PaperGpu(StillClock())
    stopwatch = CudaBench(gpu, gpu.clock, anchor=Machine()).stopwatch
    stopwatch.start()
    marks = []
    for _ in range(3):
        start = stopwatch.mark()
        gpu.launch(1 * US)
        marks.append((start, stopwatch.mark()))
    assert stopwatch.spans_s(marks) == pytest.approx([1 * US] * 3)
