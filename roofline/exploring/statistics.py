r"""What many networks tell together: a distribution function, a Pareto front, a fair sample, correlations of ranks.

The empirical distribution function is that of the RegNet paper (arXiv:2003.13678, eq. 1) for a latency in place of an
error, with "at most" in place of "less than":

.. math:: F(t) = \frac{1}{n} \sum_{i=1}^{n} \mathbf{1}[t_i \le t]

Everything here either takes plain arrays, or takes them block by block and keeps no more than it gives back.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

LEAST_WAITING = 4096  # points that wait for a look at a front, at most, while it is small


# --- distributions ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """An empirical distribution function, exact at the values that it lists.

    Attributes:
        count: Of all numbers, also of those between the values listed.
        values: Ascending, the least and the greatest of all included.
        shares: Of the numbers that are at most that value; the last is 1.
    """

    count: int
    values: tuple[float, ...]
    shares: tuple[float, ...]

    def quantile(self, share: float) -> float:
        """The least value listed that this share of the numbers does not exceed.

        >>> Distribution(count=4, values=(1.0, 2.0, 5.0), shares=(0.25, 0.75, 1.0)).quantile(0.5)
        2.0
        """
        return self.values[min(len(self.values) - 1, int(np.searchsorted(self.shares, share * (1 - 1e-12))))]

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"count": self.count, "values": list(self.values), "shares": list(self.shares)}


def grid(sample: Floats, low: float, high: float, most: int) -> Floats:
    """Where to count: every value of the sample if these are few, else as many of them, equally far apart in rank.

    Args:
        sample: Of the numbers, in any order.
        low, high: The least and the greatest of all numbers; both are in the grid.
        most: How many values there may be, two or more.
    """
    distinct = np.unique(np.concatenate([sample, [low, high]]))
    if len(distinct) <= most:
        return distinct
    ranks = np.linspace(0, len(sample) - 1, most - 2).round().astype(np.int64)
    return np.unique(np.concatenate([np.sort(sample)[ranks], [low, high]]))


def distribution(blocks: Iterable[Floats], values: Floats) -> Distribution:
    """Count the numbers that are at most each of `values`, whose last none exceeds."""
    at_most, count = np.zeros(len(values), dtype=np.int64), 0
    for block in blocks:
        at_most += counts_at_most(block, values)
        count += len(block)
    return Distribution(count=count, values=tuple(values.tolist()), shares=tuple((at_most / max(1, count)).tolist()))


def counts_at_most(block: Floats, values: Floats) -> Ints:
    """How many numbers are at most each of the values.

    >>> counts_at_most(np.array([3.0, 1.0, 2.0]), np.array([0.0, 2.0, 9.0])).tolist()
    [0, 2, 3]
    """
    return np.searchsorted(np.sort(block), values, side="right").astype(np.int64)


def band95(count: int) -> float:
    r"""How far the true distribution function may lie from an empirical one, anywhere, with 95 % confidence.

    .. math:: \varepsilon = \sqrt{\ln(2 / \alpha) / 2n}, \quad \alpha = 0.05

    The inequality of Dvoretzky, Kiefer and Wolfowitz with the constant of Massart (Annals of Probability 18(3), 1990,
    doi:10.1214/aop/1176990746). It holds for independent draws of any distribution.

    >>> round(band95(500), 3), round(band95(1_000_000), 4)
    (0.061, 0.0014)
    """
    return math.sqrt(math.log(2 / 0.05) / (2 * count))


# --- the Pareto front -------------------------------------------------------------------------------------------------


def on_front(cost: Floats, value: Floats) -> Mask:
    """Which points no other one beats: none costs at most as much and is worth at least as much, and one of them truly.

    Points that are equal in both stay together; one without a number in either is on no front.

    Args:
        cost: To be small; shape (points,).
        value: To be large; same shape. For a front of two costs, pass the second one's negative.

    >>> on_front(np.array([1.0, 2.0, 2.0, 3.0]), np.array([5.0, 5.0, 7.0, 6.0])).tolist()
    [True, False, True, False]
    """
    known = ~(np.isnan(cost) | np.isnan(value))
    order = np.flatnonzero(known)[np.lexsort((-value[known], cost[known]))]
    mask = np.zeros(len(cost), dtype=np.bool_)
    if not len(order):
        return mask
    costs, values = cost[order], value[order]
    best_before = np.concatenate([[-np.inf], np.maximum.accumulate(values)[:-1]])
    starts = np.concatenate([[True], (np.diff(costs) != 0) | (np.diff(values) != 0)])  # of a run of equal points
    beats = (values > best_before) | (np.arange(len(order)) == 0)
    mask[order] = beats[np.flatnonzero(starts)[np.cumsum(starts) - 1]]
    return mask


class Front:
    """The front of points that come block by block; of points equal in both, the one with the least index.

    Points wait until there are as many of them as on the front, so that the work stays in proportion to their number
    (but for a logarithm) even where nearly all of them are on it.
    """

    def __init__(self) -> None:
        self._points = (np.empty(0, dtype=np.int64), np.empty(0), np.empty(0))
        self._waiting: list[tuple[Ints, Floats, Floats]] = []
        self._count = 0

    def add(self, index: Ints, cost: Floats, value: Floats) -> None:
        """Take a block in."""
        self._waiting.append((index, cost, value))
        self._count += len(index)
        if self._count > max(LEAST_WAITING, len(self._points[0])):
            self._settle()

    @property
    def index(self) -> Ints:
        """Of the points on it, the cheapest first."""
        return self._settle()[0]

    @property
    def cost(self) -> Floats:
        """In the order of `index`."""
        return self._settle()[1]

    @property
    def value(self) -> Floats:
        """In the order of `index`."""
        return self._settle()[2]

    def _settle(self) -> tuple[Ints, Floats, Floats]:
        """The points on it, once those that wait were looked at."""
        if self._waiting:
            blocks = [self._points, *self._waiting]
            index = np.concatenate([block[0] for block in blocks])
            cost = np.concatenate([block[1] for block in blocks])
            value = np.concatenate([block[2] for block in blocks])
            kept = np.flatnonzero(on_front(cost, value))
            kept = kept[np.lexsort((index[kept], cost[kept]))]  # on a front, equal costs have equal values
            kept = kept[np.diff(cost[kept], prepend=np.nan) != 0]
            self._points, self._waiting, self._count = (index[kept], cost[kept], value[kept]), [], 0
        return self._points


@dataclass(slots=True)
class Best:
    """The `count` rows with the least keys, of rows that come block by block; of equal keys, the least indices.

    Of rows that are equal in key and size there is one, the first: where many networks are drawn, the fastest come up
    again and again, and a list of them would be of one network.

    Attributes:
        count: How many to keep.
        index, key, size: Of those kept, the best first.
    """

    count: int
    index: Ints = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    key: Floats = field(default_factory=lambda: np.empty(0))
    size: Floats = field(default_factory=lambda: np.empty(0))

    def add(self, index: Ints, key: Floats, size: Floats) -> None:
        """Take a block in; a row whose key is no number is left out."""
        known = ~np.isnan(key)
        index = np.concatenate([self.index, index[known]])
        key, size = np.concatenate([self.key, key[known]]), np.concatenate([self.size, size[known]])
        alike = np.lexsort((index, size, key))
        is_new = np.ones(len(alike), dtype=np.bool_)
        is_new[1:] = (np.diff(key[alike]) != 0) | (np.diff(size[alike]) != 0)
        one_each = alike[is_new]
        order = one_each[np.lexsort((index[one_each], key[one_each]))][: self.count]
        self.index, self.key, self.size = index[order], key[order], size[order]


def along(count: int, most: int) -> Ints:
    """So many of `count` places at most, evenly apart, both ends among them.

    >>> along(9, 3).tolist(), along(2, 5).tolist()
    ([0, 4, 8], [0, 1])
    """
    return np.unique(np.linspace(0, count - 1, min(most, count)).round().astype(np.int64))


# --- a fair sample ----------------------------------------------------------------------------------------------------


def scattered(index: Ints) -> NDArray[np.uint64]:
    """A number for each index that looks random and is always the same: the least of them are a fair sample.

    The finaliser of SplitMix64 (Steele, Lea & Flood, OOPSLA 2014, doi:10.1145/2660193.2660195), a bijection of 64 bits:
    what is sampled depends on the networks alone, not on the files that they are in or on their order.
    """
    mixed = index.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


# --- correlations -----------------------------------------------------------------------------------------------------


def ranks(values: Floats) -> Floats:
    """Ranks along the first axis, equal values sharing their mean rank, less the mean rank; shape as `values`."""
    from scipy.stats import rankdata

    ranked: Floats = rankdata(values, axis=0)
    return ranked - (len(values) + 1) / 2


def rank_correlation(one: Floats, other: Floats) -> Floats:
    """Spearman's rank correlation of each column with each: -1 to 1, 0 where a column has one value alone.

    Spearman, American Journal of Psychology 15(1), 1904, doi:10.2307/1412159: Pearson's correlation of the ranks, which
    is 1 where one grows whenever the other does, however much.

    Args:
        one: Shape (rows, columns).
        other: Shape (rows, targets).
    Returns:
        Shape (columns, targets).
    """
    a, b = ranks(one), ranks(other)
    scale = np.sqrt(np.outer((a**2).sum(axis=0), (b**2).sum(axis=0)))
    products = a.T @ b
    return np.divide(products, scale, out=np.zeros_like(products), where=scale > 0)
