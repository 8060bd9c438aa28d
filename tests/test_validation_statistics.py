"""The figures of a validation, against scipy, numpy and arithmetic by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from roofline.validation_statistics import Z95, NoiseCeiling, Share, Statistics, coverage, errors, ranks, wilson

TIMES = st.lists(st.floats(1e-6, 1e3), min_size=1, max_size=30)


@pytest.mark.parametrize(("count", "of"), [(0, 1), (1, 1), (0, 40), (36, 40), (28, 41), (1, 3), (119, 120)])
def test_the_interval_of_a_share_is_wilsons(count: int, of: int) -> None:
    known = stats.binomtest(count, of).proportion_ci(method="wilson")
    assert wilson(count, of) == pytest.approx((known.low, known.high), abs=1e-12)


def test_published_intervals_of_shares() -> None:
    """R. G. Newcombe, Statistics in Medicine 17 (1998) 857-872, table I, method 3: 81 of 263, 15 of 148, 0 of 20."""
    for count, of, low, high in ((81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611)):
        assert wilson(count, of) == pytest.approx((low, high), abs=5e-5)


def test_the_quantile_is_that_of_the_normal_distribution() -> None:
    assert pytest.approx(stats.norm.ppf(0.975)) == Z95


def test_a_share_of_nothing_is_not_known() -> None:
    assert Share(0, 0).to_dict("within_5") == {"within_5": None, "within_5_ci95": None}
    assert Share(1, 2).to_dict("x")["x"] == 0.5


def test_by_hand() -> None:
    found = Statistics.of(
        [1.0, 1.04, 1.08, 0.85, 1.5],
        [1.0, 1.0, 1.0, 1.0, 1.0],
        [[(0.9, 1.1), None, (1.05, 1.2), None, (1.0, 2.0)], [None] * 5],
    )
    assert found.n == 5
    assert found.median_error == pytest.approx(0.08)
    assert found.mape == pytest.approx((0 + 0.04 + 0.08 + 0.15 + 0.5) / 5)
    assert found.p90_error == pytest.approx(0.15 + 0.6 * 0.35), "0.9 of the way through four steps is 3.6"
    assert [(share.count, share.of) for share in found.within] == [(2, 5), (3, 5), (4, 5)]
    assert found.bias == pytest.approx(math.log(1.04))
    assert found.spearman is None, "all of the measured are equal"
    assert [(share.count, share.of) for share in found.coverage] == [(2, 3), (0, 0)]
    assert found.width[0] == pytest.approx(0.2), "the middle of 0.2 / 1, 0.15 / 1.08 and 1 / 1.5"
    assert found.width[1] is None


def test_ten_percent_off_is_within_ten_percent() -> None:
    assert Statistics.of([0.9], [1.0]).within[1].count == 1
    assert Statistics.of([0.89], [1.0]).within[1].count == 0


def test_ranks_are_scipys() -> None:
    one, other = [1.0, 2.0, 3.0, 4.0, 5.0, 5.0], [2.0, 1.0, 3.0, 5.0, 4.0, 9.0]
    found = Statistics.of(one, other)
    assert found.spearman == pytest.approx(np.corrcoef(stats.rankdata(one), stats.rankdata(other))[0, 1])
    concordant, discordant, tied = 12, 2, 1  # of the 15 pairs; one is tied in `one`
    assert found.kendall == pytest.approx((concordant - discordant) / math.sqrt((15 - tied) * 15))


@pytest.mark.parametrize("times", [[1.0, 2.0], [1.0, 1.0, 1.0], []])
def test_ranks_need_three_that_differ(times: list[float]) -> None:
    assert ranks(times, times) == (None, None) if times else Statistics.of([], []).spearman is None


def test_nothing_tells_nothing() -> None:
    data = Statistics.of([], []).to_dict()
    assert set(data.values()) == {None}
    assert "within_10_ci95" in data
    assert "coverage_90" in data


@given(TIMES)
def test_a_prediction_that_is_the_measurement_has_no_error(times: list[float]) -> None:
    found = Statistics.of(times, times)
    assert (found.median_error, found.mape, found.bias) == (0, 0, 0)
    assert all(share.share == 1 for share in found.within)


@given(TIMES, st.floats(0.5, 2.0))
def test_the_same_factor_everywhere_is_the_bias(times: list[float], factor: float) -> None:
    found = Statistics.of([factor * time for time in times], times)
    assert found.bias == pytest.approx(math.log(factor), abs=1e-9)
    assert found.median_error == pytest.approx(abs(factor - 1), abs=1e-9)


@given(TIMES, st.randoms())
def test_the_order_of_rows_does_not_matter(times: list[float], rng: object) -> None:
    predicted = [time * (1 + 0.3 * math.sin(number)) for number, time in enumerate(times)]
    order = list(range(len(times)))
    rng.shuffle(order)  # type: ignore[attr-defined]
    one = Statistics.of(predicted, times).to_dict()
    other = Statistics.of([predicted[i] for i in order], [times[i] for i in order]).to_dict()
    assert {k: v for k, v in one.items() if v is not None and not isinstance(v, list)} == pytest.approx(
        {k: v for k, v in other.items() if v is not None and not isinstance(v, list)}
    )


def test_the_ends_of_an_interval_are_in_it() -> None:
    share, width = coverage([(1.0, 2.0), (1.0, 2.0), (1.0, 2.0)], [1.0, 1.0, 1.0], [1.0, 2.0, 2.1])
    assert (share.count, share.of, width) == (2, 3, 1.0)


def test_errors_have_a_sign() -> None:
    assert errors([2.0, 0.5], [1.0, 1.0]).tolist() == [1.0, -0.5]


def test_the_noise_ceiling_is_of_models_that_were_measured_twice() -> None:
    found = NoiseCeiling.of([0.01, 0.04, 0.08, 0.3, None])
    assert found.n == 4
    assert found.median_difference == pytest.approx(0.06)
    assert [(share.count, share.of) for share in found.within] == [(2, 4), (3, 4), (3, 4)]
    assert NoiseCeiling.of([None]).to_dict()["within_10"] is None
