"""Compiled networks: the law of loops and calls, and estimates of traced networks, on times made by a known law."""

from __future__ import annotations

import itertools
import math
from dataclasses import fields, replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from torch import nn

from roofline.calibration.compiled import PER_NETWORK, CompiledEstimator, CompiledLaw, for_few
from roofline.calibration.data import Calibration, OpTimes, WholeTerms, WholeTimes
from roofline.calibration.estimators import Estimator, estimators
from roofline.calibration.file import from_bytes, to_bytes
from roofline.calibration.fitting import fit
from roofline.calibration.inductor import KEPT_TERMS, LOOP, WHOLE_TERMS, Compiled, compiled
from roofline.calibration.intervals import Intervals
from roofline.calibration.kernels import TERMS
from roofline.errors import CalibrationError
from roofline.graph import Graph
from roofline.layers import lower
from roofline.trace import trace
from tests.calibration import known_laws

TRUE = {  # seconds a unit
    "calls": 40e-6, "library_calls": 3e-6, "runs": 6e-6, "module_calls": 0.0, "loops": 1e-6,
    "moved_bytes": 1 / 20e9, "reordered_bytes": 1 / 5e9, "outer_sums": 1 / 2e9, "vector_ops": 0.0,
    "transcendentals": 1 / 1e9,
}  # fmt: skip
CONSTANTS = np.array([TRUE[name] for name in WHOLE_TERMS])
TIMED = [TERMS.index(name) for name in ("calls", "macs", "read_bytes", "written_bytes", "weight_bytes")]


def block(inputs: int, outputs: int, act: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs), act,
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(),
    )  # fmt: skip


def graph_of(width: int, side: int) -> Graph:
    act = nn.SiLU() if width % 32 else nn.ReLU()
    with torch.device("meta"):
        net = nn.Sequential(block(width, 2 * width, act), block(2 * width, width, act), nn.Flatten(), nn.Linear(1, 1))
        net[3] = nn.Linear(width * side * side, 10)
        return trace(net.eval(), torch.zeros(1, width, side, side, device="meta"))


def library_s(plan: Compiled) -> np.ndarray:
    """The true times of the kernels of libraries, 0 elsewhere."""
    laws = [known_laws.LAW.get(name.partition("/")[0], known_laws.LAW["conv_kxk"]) for name in plan.kernels.kernel]
    return np.where(plan.is_library, (np.array(laws) * plan.kernels.terms[:, TIMED]).sum(axis=1), 0.0)


def loops_s(plan: Compiled) -> float:
    """What its loops take."""
    return float(plan.whole @ (CONSTANTS * (np.arange(len(CONSTANTS)) >= PER_NETWORK)))


def kept(plan: Compiled) -> list[float]:
    """As `KEPT_TERMS`."""
    return [*plan.whole.tolist(), loops_s(plan)]


def true_s(plan: Compiled) -> float:
    return float(library_s(plan).sum() + plan.whole @ CONSTANTS)


def calibration(networks: int = 20) -> Calibration:
    """What measuring such networks gives, without noise."""
    sizes = list(itertools.product((16, 24, 40, 48, 64), (14, 20, 28, 40)))[:networks]
    plans = {f"menu-{number}": compiled(graph_of(*size)) for number, size in enumerate(sizes)}
    ops: dict[str, tuple[str, np.ndarray, float, str]] = {}
    for name, plan in plans.items():
        time_s = library_s(plan)
        for row in np.flatnonzero(plan.is_library).tolist():
            kernels = plan.kernels
            ops.setdefault(kernels.key[row], (str(kernels.kernel[row]), kernels.terms[row], float(time_s[row]), name))
    kernel, terms, op_s, network = (np.array(column) for column in zip(*ops.values(), strict=True))
    ones = np.ones(len(plans), dtype=np.int64)
    time_s = np.array([true_s(plan) for plan in plans.values()])
    return replace(
        known_laws.calibration(1, 4),
        mode="compile",
        ops=OpTimes(
            kernel=kernel, key=np.array(list(ops)), terms=terms, time_s=op_s, raw_s=op_s,
            samples=np.full(len(ops), 7, dtype=np.int64), network=network,
        ),
        wholes=WholeTimes(
            network=np.array(list(plans)), time_s=time_s, raw_s=time_s,
            noise=np.zeros(len(plans)), ops_s=np.array([library_s(plan).sum() for plan in plans.values()]),
            ops=ones, module_calls=ones, views=ones, macs=ones, activation_bytes=ones,
        ),
        composed=WholeTerms(network=np.array(list(plans)), terms=np.array([kept(plan) for plan in plans.values()])),
        whole_terms=KEPT_TERMS,
    )  # fmt: skip


@pytest.fixture(scope="module")
def found() -> dict[str, Estimator]:
    return estimators(calibration(), None)


# --- the law ----------------------------------------------------------------------------------------------------------


def test_a_network_by_hand() -> None:
    law = CompiledLaw(CONSTANTS, 1.0, 20)
    terms = np.array([[1.0, 2, 3, 9, 4, 2e6, 1e5, 4e4, 7e9, 1e5]])
    # 40 us the call, 2 x 3 of libraries, 3 x 6 of runs, 4 of loops, 100 moved, 20 reordered, 20 summed, 100 of exp
    assert law.whole_s(np.array([1e-3]), terms) == pytest.approx(
        [(1000 + 40 + 6 + 18 + 4 + 100 + 20 + 20 + 100) * 1e-6]
    )
    assert law.parts_s(1e-3, terms[0]) == pytest.approx(
        {"calls": 40e-6, "library_calls": 6e-6, "runs": 18e-6, "module_calls": 0.0, "composition": 0.0}
    )
    assert law.loops_s(terms[:, PER_NETWORK:]) == law.loops_of(terms) == pytest.approx([244e-6])


def test_a_fit_predicts_what_it_was_made_of_and_no_constant_is_below_zero() -> None:
    made = calibration()
    assert made.composed is not None
    law = CompiledLaw.fit(made.wholes.time_s, made.wholes.ops_s, made.composed.terms)
    assert law.whole_s(made.wholes.ops_s, made.composed.terms) == pytest.approx(made.wholes.time_s, rel=0.01)
    assert (law.constants >= 0).all()
    assert law.networks == 20


def test_loops_are_fitted_to_what_loops_took_and_calls_to_the_rest() -> None:
    made = calibration()
    assert made.composed is not None
    columns, ops_s = made.composed.terms.copy(), made.wholes.ops_s
    columns[:, -1] *= 2  # the loops take twice as long, and the networks by as much longer
    law = CompiledLaw.fit(made.wholes.time_s + columns[:, -1] / 2, ops_s, columns)
    assert law.loops_of(columns) == pytest.approx(columns[:, -1], rel=0.01)
    assert law.whole_s(ops_s, columns) - law.loops_of(columns) == pytest.approx(
        made.wholes.time_s - columns[:, -1] / 2, rel=0.01
    )


def test_one_network_that_takes_twice_as_long_does_not_scale_the_libraries_of_all() -> None:
    made = calibration()
    assert made.composed is not None
    time_s = made.wholes.time_s.copy()
    time_s[3] *= 2
    odd = CompiledLaw.fit(time_s, made.wholes.ops_s, made.composed.terms)
    others = np.arange(len(time_s)) != 3
    known_s = odd.whole_s(made.wholes.ops_s, made.composed.terms)
    assert known_s[others] == pytest.approx(made.wholes.time_s[others], rel=0.02)


def test_with_few_networks_kernels_of_libraries_are_not_scaled() -> None:
    made = calibration(8)
    assert made.composed is not None
    law = CompiledLaw.fit(made.wholes.time_s, made.wholes.ops_s, made.composed.terms)
    assert law.composition == 1.0
    assert (law.constants >= 0).all()


def test_without_networks_there_is_no_law() -> None:
    law = CompiledLaw.fit(np.zeros(0), np.zeros(0), np.zeros((0, len(KEPT_TERMS))))
    assert law.whole_s(np.array([1e-3]), np.ones((1, len(KEPT_TERMS)))) == pytest.approx([1e-3])


# --- estimates --------------------------------------------------------------------------------------------------------


def test_a_network_that_was_not_measured(found: dict[str, Estimator]) -> None:
    graph = graph_of(32, 24)
    estimate = found["calibrated"].estimate(graph)
    assert estimate.latency_s == pytest.approx(true_s(compiled(graph)), rel=0.05)
    assert estimate.latency_s == pytest.approx(estimate.op_s.sum() + sum(estimate.host.values()))
    low, high = estimate.interval90_s
    assert low < estimate.latency_s < high


def test_no_op_is_free_and_layers_sum_to_the_latency(found: dict[str, Estimator]) -> None:
    graph = graph_of(32, 24)
    estimate = found["calibrated"].estimate(graph)
    layer_s = estimate.layer_s(lower(graph, fusion="none", dtype="fp32"))
    assert layer_s.sum() == pytest.approx(estimate.latency_s)
    assert (layer_s > 0).all()
    assert set(estimate.kernels.kernel.tolist()) >= {LOOP, "conv_1x1/strided", "gemv"}


def test_it_is_the_same_from_a_file() -> None:
    made = calibration()
    read = from_bytes(to_bytes(made))
    assert read.whole_terms == KEPT_TERMS
    graph = graph_of(32, 24)
    first, second = (estimators(each, None)["calibrated"].estimate(graph) for each in (made, read))
    assert first.latency_s == second.latency_s


def test_two_calibrations_merge() -> None:
    whole = calibration()
    first, second = (
        replace(
            whole,
            wholes=replace(whole.wholes, **{name: getattr(whole.wholes, name)[rows] for name in COLUMNS}),
            composed=WholeTerms(network=whole.wholes.network[rows], terms=whole.composed.terms[rows]),  # type: ignore[union-attr]
        )
        for rows in (slice(0, 12), slice(8, 20))
    )
    both = first.merged(second)
    assert both.composed is not None
    assert whole.composed is not None
    assert np.array_equal(both.composed.terms, whole.composed.terms)
    assert both.wholes.network.tolist() == whole.wholes.network.tolist()


def test_loops_of_another_reference_state_are_converted() -> None:
    anchor = {"names": ["blocks"], "weights": [1.0], "reference_s": [3e-3], "factor": {"median": 1.0}}
    one = replace(calibration(), anchor=anchor)
    later = replace(one, anchor={**anchor, "reference_s": [6e-3]}, made_at="2099-01-01T00:00:00+00:00")
    both = one.merged(later)
    assert one.composed is not None
    assert both.composed is not None
    assert np.allclose(both.composed.terms[:, -1], one.composed.terms[:, -1] / 2)  # KEPT_TERMS: loops_s
    assert np.array_equal(both.composed.terms[:, :-1], one.composed.terms[:, :-1])
    assert np.allclose(both.wholes.time_s, one.wholes.time_s / 2)


COLUMNS = [field.name for field in fields(WholeTimes)]


@pytest.mark.parametrize("names", [(), ("calls",)])
def test_terms_of_another_version_are_refused(names: tuple[str, ...]) -> None:
    made = calibration()
    assert made.composed is not None
    terms = replace(made.composed, terms=made.composed.terms[:, : len(names)])
    with pytest.raises(CalibrationError, match="made by another version of roofline: make it again"):
        fit(replace(made, composed=terms if names else None, whole_terms=names))


# --- intervals of few -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("networks", "level"), [(6, 0.9), (4, 0.9), (4, 0.8), (9, 0.9), (30, 0.9)])
def test_where_too_few_networks_reach_a_level_it_is_as_far_out_as_if_errors_were_normal(
    networks: int, level: float
) -> None:
    given = Intervals({}, 0.1, {0.8: 1.0, 0.9: 2.0}, networks)
    reached = networks / (networks + 1)
    wider = 1.0
    if reached < level:
        wider = NormalDist().inv_cdf((1 + level) / 2) / NormalDist().inv_cdf((1 + reached) / 2)
        assert wider > 1
    assert for_few(given).widths[level] == pytest.approx(given.widths[level] * wider)


def test_an_interval_says_on_how_few_networks_it_rests() -> None:
    estimate = estimators(calibration(12), None)["calibrated"].estimate(graph_of(32, 24))
    assert any("they rest on 1" in note and "networks, and 20 are few" in note for note in estimate.notes)
    assert math.isfinite(estimate.interval90_s[1])


def test_both_estimators_are_of_compiled_networks(found: dict[str, Estimator]) -> None:
    assert all(isinstance(each, CompiledEstimator) for each in found.values())
