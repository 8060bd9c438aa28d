"""When a measurement stops, against scipy's binomial, numpy's quantiles and counting by hand."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from roofline.measurement.stopping import (
    CAP_S,
    LEAST_S,
    Limits,
    difference,
    half_width,
    interval_ranks,
    is_known,
    is_steady,
    median,
    median_interval,
    quantile,
    spread,
    status_of,
)

NUMBERS = st.lists(st.floats(1e-9, 1e3), min_size=1, max_size=60)
QUIET = {"known": True, "left_out": 0.0, "crowded": 0.0, "throttled": 0.0, "spread": 0.01, "between_process": None}


@given(NUMBERS, st.floats(0, 1))
def test_quantiles_are_those_of_numpy(values: list[float], share: float) -> None:
    assert quantile(values, share) == pytest.approx(np.quantile(values, share), rel=1e-12)
    assert median(values) == pytest.approx(np.median(values))


@pytest.mark.parametrize("n", [6, 7, 10, 11, 20, 50, 100, 333, 1000])
@pytest.mark.parametrize("confidence", [0.9, 0.95, 0.99])
def test_the_interval_is_the_narrowest_that_the_binomial_allows(n: int, confidence: float) -> None:
    low, high = interval_ranks(n, confidence)
    assert low + high == n + 1

    def coverage(rank: int) -> float:
        return float(1 - 2 * binom.cdf(rank - 1, n, 0.5))

    assert low == 1 or coverage(low) >= confidence - 1e-9
    assert coverage(low + 1) < confidence or low + 1 > high - 1


def test_the_ranks_of_ten_samples_by_hand() -> None:
    """Fewer than 2 heads of 10: (1 + 10) / 1024 = 1.1 %; fewer than 3: (1 + 10 + 45) / 1024 = 5.5 %."""
    assert interval_ranks(10) == (2, 9)


def test_a_median_lies_in_its_interval_as_often_as_is_said() -> None:
    rng = random.Random(1)
    runs = 2000
    held = 0
    for _ in range(runs):
        low, high = median_interval([rng.expovariate(1.0) for _ in range(21)])
        held += low <= math.log(2) <= high
    assert held / runs >= 0.95 - 3 * math.sqrt(0.05 * 0.95 / runs)


def test_five_samples_are_too_few_for_an_interval() -> None:
    assert half_width([1.0] * 5) == math.inf
    assert half_width([1.0] * 6) == 0


def test_near_zero_what_varies_is_no_share_of_the_median() -> None:
    """2 to 8 ns, which is what a function that does nothing reads: 120 % of its median, and 6 % of 100 ns."""
    samples = [2e-9, 2e-9, 2e-9, 5e-9, 5e-9, 5e-9, 5e-9, 8e-9, 8e-9, 8e-9]
    assert LEAST_S == 100e-9
    assert half_width(samples) == pytest.approx(3e-9 / 100e-9)  # of 10, the 2nd to the 9th: 2 to 8 ns
    assert half_width([0.0] * 10) == 0
    assert spread(samples) == pytest.approx((7.25e-9 - 2.75e-9) / 100e-9)  # quartiles at places 2.25 and 6.75, from 0
    assert difference([2e-9, 8e-9]) == pytest.approx(6e-9 / 100e-9)


def test_far_from_zero_it_is() -> None:
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2 / 3)
    assert difference([1.0, 1.2, 1.1]) == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("medians", "steady"),
    [
        ([], False),
        ([1.0, 1.0], False),
        ([5.0, 1.0, 1.0], False),
        ([5.0, 1.0, 1.01, 1.02], True),
        ([1.0, 1.0, 1.0, 1.03], False),
        ([1.04, 1.02, 1.0], False),
    ],
)
def test_a_warm_up_ends_when_three_windows_agree_within_2_percent(medians: list[float], steady: bool) -> None:
    assert is_steady(medians) is steady


LIMITS = Limits(target=0.015, min_blocks=10, min_rounds=3, cap_s=2.0)


@pytest.mark.parametrize(
    ("samples", "rounds", "known"),
    [
        ([1.0] * 10, 3, True),
        ([1.0] * 9, 3, False),  # too few blocks
        ([1.0] * 10, 2, False),  # too few rounds
        ([1.0, 1.1] * 5, 3, False),  # too wide
        ([], 0, False),
    ],
)
def test_it_is_known_at_the_target(samples: list[float], rounds: int, known: bool) -> None:
    assert is_known(samples, rounds=rounds, limits=LIMITS) is known


def test_the_target_is_half_of_the_interval() -> None:
    """Of ten samples, the 2nd to the 9th: 0.99 to 1.01 around 1 is a half-width of 1 %."""
    samples = [0.9, 0.99, 0.99, 1.0, 1.0, 1.0, 1.0, 1.01, 1.01, 1.2]
    assert half_width(samples) == pytest.approx(0.01)
    assert is_known(samples, rounds=3, limits=LIMITS)
    assert not is_known(samples, rounds=3, limits=Limits(target=0.009))


def test_the_defaults_are_those_that_are_documented() -> None:
    assert (Limits().target, Limits().min_blocks, Limits().min_rounds, Limits().cap_s) == (0.015, 10, 3, CAP_S)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({}, "ok"),
        ({"known": False}, "capped"),
        ({"spread": 0.26}, "noisy"),
        ({"spread": 0.25}, "ok"),
        ({"between_process": 0.11}, "noisy"),
        ({"between_process": 0.09}, "ok"),
        ({"throttled": 0.06}, "throttled"),
        ({"left_out": 0.21}, "contended"),
        ({"left_out": 0.2}, "ok"),
        ({"crowded": 0.51}, "contended"),
        ({"left_out": 0.5, "throttled": 0.5, "spread": 1.0, "known": False}, "contended"),  # the first that holds
        ({"throttled": 0.5, "spread": 1.0, "known": False}, "throttled"),
        ({"spread": 1.0, "known": False}, "noisy"),
    ],
)
def test_the_status_is_one_word(changed: dict[str, float], status: str) -> None:
    assert status_of(**{**QUIET, **changed}) == status  # type: ignore[arg-type]
