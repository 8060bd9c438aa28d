"""Estimators with a part taken out: they are worse by what the part was worth."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from roofline.calibration.ablations import TERMS_APART, ablations
from roofline.calibration.estimators import Estimator, estimators
from roofline.graph import Graph
from roofline.trace import trace
from tests.calibration import known_laws


def traced(width: int, side: int) -> Graph:
    with torch.device("meta"):
        net = nn.Sequential(nn.Conv2d(width, 64, 1), nn.BatchNorm2d(64), nn.ReLU(), nn.Conv2d(64, 64, 3, groups=64))
        return trace(net.eval(), torch.zeros(1, width, side, side))


@pytest.fixture(scope="module")
def graphs() -> dict[str, Graph]:
    return {f"{width}@{side}": traced(width, side) for width in (24, 48, 96, 160) for side in (16, 24, 40, 56, 72)}


@pytest.fixture(scope="module")
def without(graphs: dict[str, Graph]) -> dict[str, Estimator]:
    return ablations(known_laws.of_graphs(graphs), "calibrated")


def test_each_is_named_by_what_is_missing(without: dict[str, Estimator]) -> None:
    parts = ["one factor", "no host", "no classes", "no strides"]
    assert list(without) == [*parts, *(f"no {term}" for term in TERMS_APART)]


def test_a_part_that_matters_is_missed_and_one_that_does_not_is_not(
    without: dict[str, Estimator], graphs: dict[str, Graph]
) -> None:
    made = known_laws.of_graphs(graphs)
    true_s = dict(zip(made.wholes.network.tolist(), made.wholes.time_s.tolist(), strict=True))
    rivals = without | {"all": estimators(made, None)["calibrated"]}
    error = {
        name: float(np.mean([abs(each.estimate(graphs[net]).latency_s / true_s[net] - 1) for net in graphs]))
        for name, each in rivals.items()
    }
    assert error["all"] < 0.02
    assert error["no host"] > 0.05  # 4 ops and 5 modules: 29 us of the 100 us that the smallest takes
    assert error["no classes"] > 1.5 * error["all"]
    assert error["no calls"] > 0.02
    assert error["no strides"] == pytest.approx(error["all"], abs=0.01)  # nothing here is strided


def test_with_one_factor_times_are_those_of_the_stopwatch(graphs: dict[str, Graph]) -> None:
    """A machine that was as slow all the time makes no difference; one that was so for half of it does."""
    made = known_laws.of_graphs(graphs)
    whole_slow = np.where(np.arange(len(made.wholes)) % 2, 1.0, 1.6)
    slow = dict(zip(made.wholes.network.tolist(), whole_slow.tolist(), strict=True))
    op_slow = np.array([slow[name] for name in made.ops.network.tolist()])
    drifting = replace(
        made,
        ops=replace(made.ops, raw_s=made.ops.time_s * op_slow),
        wholes=replace(made.wholes, raw_s=made.wholes.time_s * whole_slow),
    )
    known = estimators(made, None)["calibrated"]
    known_s = np.array([known.estimate(graph).latency_s for graph in graphs.values()])
    one_factor = [ablations(each, "calibrated")["one factor"] for each in (made, drifting)]
    off = [np.array([each.estimate(graph).latency_s for graph in graphs.values()]) / known_s - 1 for each in one_factor]
    assert np.abs(off[0]).max() < 1e-9
    assert np.abs(off[1]).max() > 0.05


def test_no_host_is_the_sum_of_ops(without: dict[str, Estimator], graphs: dict[str, Graph]) -> None:
    estimate = without["no host"].estimate(graphs["24@16"])
    assert estimate.host_s == 0
    assert estimate.latency_s == estimate.op_s.sum()
