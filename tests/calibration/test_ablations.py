"""Estimators with a part taken out: they are worse by what the part was worth."""

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
    assert list(without) == ["no host", "no classes", "no strides", *(f"no {term}" for term in TERMS_APART)]


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


def test_no_host_is_the_sum_of_ops(without: dict[str, Estimator], graphs: dict[str, Graph]) -> None:
    estimate = without["no host"].estimate(graphs["24@16"])
    assert estimate.host_s == 0
    assert estimate.latency_s == estimate.op_s.sum()
