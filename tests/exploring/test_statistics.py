"""Distribution functions, fronts, samples and correlations, each against brute force or another library."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from roofline.exploring import statistics
from roofline.exploring.statistics import (
    Best,
    Distribution,
    Front,
    band95,
    counts_at_most,
    distribution,
    grid,
    on_front,
    rank_correlation,
    scattered,
)

FEW = st.integers(0, 6).map(float)  # so few values that many points tie
POINTS = st.lists(st.tuples(FEW | st.just(float("nan")), FEW), max_size=30)
NUMBERS = st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=80)


def beaten(points: list[tuple[float, float]]) -> list[bool]:
    """By the definition, point by point."""
    return [
        any(a <= cost and b >= value and (a < cost or b > value) for a, b in points) or cost != cost
        for cost, value in points
    ]


def arrays(points: list[tuple[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    both = np.array(points, dtype=np.float64).reshape(-1, 2)
    return both[:, 0], both[:, 1]


# --- fronts -----------------------------------------------------------------------------------------------------------


@given(POINTS)
def test_a_front_is_what_nothing_beats(points: list[tuple[float, float]]) -> None:
    assert on_front(*arrays(points)).tolist() == [not lost for lost in beaten(points)]


def test_infinities_have_their_places() -> None:
    cost, value = np.array([-np.inf, 1.0, np.inf, 2.0]), np.array([-np.inf, 0.0, np.inf, 0.0])
    assert on_front(cost, value).tolist() == [True, True, True, False]


@given(POINTS, st.integers(1, 7), st.sampled_from([0, 5, 4096]), st.randoms(use_true_random=False))
def test_a_front_does_not_depend_on_blocks_or_their_order(
    points: list[tuple[float, float]], size: int, waiting: int, random: object
) -> None:
    numbered = list(enumerate(points))
    random.shuffle(numbered)  # type: ignore[attr-defined]
    front = Front()
    for start in range(0, len(numbered), size):
        block = numbered[start : start + size]
        with patch.object(statistics, "LEAST_WAITING", waiting):
            front.add(np.array([number for number, _ in block]), *arrays([point for _, point in block]))
    unbeaten = [
        (point, number) for (number, point), lost in zip(enumerate(points), beaten(points), strict=True) if not lost
    ]
    first = dict(reversed(unbeaten))
    assert list(zip(front.cost.tolist(), front.value.tolist(), strict=True)) == sorted(first)
    assert front.index.tolist() == [first[point] for point in sorted(first)]


@given(st.lists(FEW | st.just(float("nan")), max_size=40), st.integers(1, 9), st.integers(1, 7))
def test_the_best_are_the_first_of_a_stable_sort(keys: list[float], count: int, size: int) -> None:
    best = Best(count)
    for start in reversed(range(0, len(keys), size)):
        block = keys[start : start + size]
        number = np.arange(start, start + len(block))
        best.add(number, np.array(block), number.astype(np.float64))
    known = [number for number, key in enumerate(keys) if key == key]
    assert best.index.tolist() == sorted(known, key=lambda number: keys[number])[:count]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 2)), max_size=40), st.integers(1, 9), st.integers(1, 7))
def test_of_the_best_that_are_equal_the_first_stands_for_all(
    rows: list[tuple[int, int]], count: int, block: int
) -> None:
    best = Best(count)
    for start in range(0, len(rows), block):
        taken = np.array(rows[start : start + block], dtype=np.float64)
        best.add(np.arange(start, start + len(taken)), taken[:, 0], taken[:, 1])
    first = {row: number for number, row in reversed(list(enumerate(rows)))}
    assert best.index.tolist() == sorted(first.values(), key=lambda number: (rows[number][0], number))[:count]


# --- distributions ----------------------------------------------------------------------------------------------------


@given(NUMBERS, st.integers(2, 20), st.integers(1, 30))
def test_a_distribution_function_is_that_of_scipy(numbers: list[float], most: int, size: int) -> None:
    values = np.array(numbers)
    where = grid(values, values.min(), values.max(), most)
    found = distribution([values[start : start + size] for start in range(0, len(values), size)], where)
    reference = scipy.stats.ecdf(values).cdf
    assert found.shares == pytest.approx(reference.evaluate(found.values), abs=1e-15)
    assert found.count == len(values)
    assert (found.values[0], found.values[-1], found.shares[-1]) == (values.min(), values.max(), 1)
    assert len(where) <= most
    assert set(where) <= set(numbers), "steps are where they are, not between"
    if len(set(numbers)) <= most:
        assert found.values == tuple(reference.quantiles)


@given(NUMBERS, st.floats(0, 1))
def test_a_quantile_is_that_of_the_inverse(numbers: list[float], share: float) -> None:
    values = np.array(numbers)
    found = distribution([values], np.unique(values))
    assert found.quantile(share) == np.quantile(values, share, method="inverted_cdf") or share * len(values) % 1 < 1e-6


def test_a_sample_is_enough_for_where_to_count() -> None:
    everything = np.random.default_rng(0).lognormal(0, 1, 50_000)
    found = distribution(np.split(everything, 10), grid(everything[:5000], everything.min(), everything.max(), 100))
    assert len(found.values) == 100
    assert np.diff(found.shares).max() < 0.02, "even in rank, whatever the values"
    assert found.shares == pytest.approx(scipy.stats.ecdf(everything).cdf.evaluate(found.values))


def test_none_are_below_the_least() -> None:
    assert counts_at_most(np.array([2.0, 2.0]), np.array([1.0, 2.0])).tolist() == [0, 2]
    assert Distribution(count=2, values=(2.0,), shares=(1.0,)).quantile(0) == 2


def test_the_band_holds_at_least_as_often_as_it_says() -> None:
    """The distance of Kolmogorov and Smirnov, of which scipy knows the law, exceeds it in at most 5 % of samples."""
    for count in (10, 100, 500, 10_000):
        exceeded = scipy.stats.kstwo.sf(band95(count), count)
        assert 0.02 < exceeded <= 0.05


# --- samples and correlations -----------------------------------------------------------------------------------------


def test_the_first_numbers_of_splitmix64() -> None:
    """With seed 1234567, as rosettacode.org/wiki/Pseudo-random_numbers/Splitmix64 has them of the reference program."""
    step = 0x9E3779B97F4A7C15
    seeds = np.array([(1234567 + number * step) % 2**64 for number in range(3)], dtype=np.uint64)
    assert scattered(seeds.astype(np.int64)).tolist() == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_what_is_sampled_is_even_and_never_twice() -> None:
    keys = scattered(np.arange(100_000))
    assert len(np.unique(keys)) == 100_000
    chosen = np.argsort(keys)[:10_000]
    by_tenth = np.histogram(chosen, bins=10, range=(0, 100_000))[0]
    assert scipy.stats.chisquare(by_tenth).pvalue > 0.001


@given(st.lists(st.tuples(FEW, FEW, FEW), min_size=3, max_size=30))
def test_rank_correlation_is_that_of_scipy(rows: list[tuple[float, float, float]]) -> None:
    table = np.array(rows)
    found = rank_correlation(table[:, :2], table[:, 2:])
    assert found.shape == (2, 1)
    for column in range(2):
        constant = np.ptp(table[:, column]) == 0 or np.ptp(table[:, 2]) == 0
        expected = 0 if constant else scipy.stats.spearmanr(table[:, column], table[:, 2]).statistic
        assert found[column, 0] == pytest.approx(expected, abs=1e-12)


def test_a_front_of_everything_is_looked_at_a_few_times_alone() -> None:
    """Where MACs alone set latency all networks are on it, and looking at all of them block by block would not end."""
    front, points = Front(), np.arange(1.0, 50_001.0)
    with patch.object(statistics, "on_front", wraps=on_front) as looks:
        for start in range(0, len(points), 100):
            front.add(np.arange(start, start + 100), points[start : start + 100], points[start : start + 100])
        assert len(front.index) == len(points)
    assert looks.call_count < 10
