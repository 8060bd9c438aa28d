"""The anchor's arithmetic against scipy, and its parts against what they are said to be."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import gmean

from roofline.measurement.anchor import TorchAnchor, factor_of, local_factor, reference_of
from roofline.measurement.clock import Block

TIMES = st.tuples(*[st.floats(1e-6, 1.0)] * 3)


@given(TIMES, TIMES)
def test_the_factor_is_the_geometric_mean_of_the_ratios(
    sample: tuple[float, ...], reference: tuple[float, ...]
) -> None:
    ratios = [time / at_best for time, at_best in zip(sample, reference, strict=True)]
    assert factor_of(sample, reference) == pytest.approx(gmean(ratios))


@given(TIMES, TIMES, TIMES)
def test_parts_count_as_their_weights_say(
    sample: tuple[float, ...], reference: tuple[float, ...], weights: tuple[float, ...]
) -> None:
    ratios = [time / at_best for time, at_best in zip(sample, reference, strict=True)]
    assert factor_of(sample, reference, weights) == pytest.approx(gmean(ratios, weights=weights))


def test_what_weighs_nothing_changes_nothing() -> None:
    weights = (0.25, 0.75, 0.0)
    assert factor_of((16.0, 2.0, 0.1), (1.0, 2.0, 1.0), weights) == pytest.approx(2.0)  # 16 ** 0.25


@given(TIMES, TIMES, TIMES)
def test_two_reference_states_differ_by_the_factor_between_them(
    sample: tuple[float, ...], one: tuple[float, ...], other: tuple[float, ...]
) -> None:
    assert factor_of(sample, one) == pytest.approx(factor_of(sample, other) * factor_of(other, one))


def test_the_reference_state_is_a_quiet_moment_of_each_part() -> None:
    samples = [(1.0 + i, 10.0 - i) for i in range(11)]
    assert reference_of(samples) == (2.0, 1.0)  # the 10th percentile of 1 to 11 and of 0 to 10


@pytest.mark.parametrize(
    ("at_s", "factor"),
    [(0.0, 1.0), (10.0, 1.0), (100.0, 3.0), (105.0, 3.0), (1e9, 3.0), (-1e9, 1.0)],
)
def test_the_local_factor_is_of_the_anchors_nearest_in_time(at_s: float, factor: float) -> None:
    times = [float(i) for i in range(20)] + [100.0 + i for i in range(20)]
    factors = [1.0] * 20 + [3.0] * 20
    assert local_factor(at_s, times, factors) == factor


def test_one_anchor_that_was_interrupted_changes_nothing() -> None:
    times = [float(i) for i in range(9)]
    factors = [1.0] * 9
    factors[4] = 50.0
    assert local_factor(4.0, times, factors) == 1.0


def test_without_anchors_the_factor_is_1() -> None:
    assert local_factor(1.0, [], []) == 1.0


class Counting:
    def __init__(self) -> None:
        self.results: list[object] = []

    def block(self, call: Callable[[], object], calls: int) -> Block:
        assert torch.is_inference_mode_enabled()
        self.results.append(call())
        return Block(wall_s=float(len(self.results)), cpu_s=0)


def test_its_parts_are_a_product_a_chain_of_convolutions_and_a_copy() -> None:
    timer = Counting()
    anchor = TorchAnchor(timer)
    assert anchor.sample() == (1.0, 2.0, 3.0)
    product, images, copied = timer.results
    assert isinstance(product, torch.Tensor)
    assert isinstance(images, list)
    assert isinstance(copied, torch.Tensor)
    assert product.shape == (256, 256)
    assert [tuple(each.shape) for each in images] == [(1, 24, 56, 56), (1, 32, 28, 28), (1, 96, 14, 14)]
    assert all(each.isfinite().all() for each in images)
    assert copied.nbytes == 8_000_000
    assert len(anchor.names) == len(anchor.weights) == 3
    assert sum(anchor.weights) == pytest.approx(1)
