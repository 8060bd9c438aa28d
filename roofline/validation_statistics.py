"""How far predictions are from measurements, in the figures that this field quotes, each with what its n is worth.

    error = predicted / measured - 1        log ratio = ln(predicted / measured)

Errors are quoted without their sign (median, mean, 90th percentile, share within 5, 10 and 20 %), the bias with it:
the median log ratio, which over- and underestimates by the same factor cancel in. A share of few models says little,
so each has its Wilson interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

WITHIN = (0.05, 0.10, 0.20)  # errors up to which a prediction is counted
COVERAGES = (0.8, 0.9)  # nominal, of the intervals of predictions
Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution
LEAST_FOR_RANKS = 3  # of two, any order is right or wrong

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Share:
    """So many of so many.

    Attributes:
        count: How many are.
        of: Of how many.
    """

    count: int
    of: int

    @property
    def share(self) -> float | None:
        """0 to 1; None of none."""
        return self.count / self.of if self.of else None

    @property
    def ci95(self) -> Interval | None:
        """Its 95 % Wilson interval; None of none."""
        return wilson(self.count, self.of) if self.of else None

    def to_dict(self, name: str) -> dict[str, Any]:
        """As two entries of plain data: the share, and its interval."""
        interval = self.ci95
        return {name: self.share, f"{name}_ci95": None if interval is None else list(interval)}


def wilson(count: int, of: int, z: float = Z95) -> Interval:
    r"""The score interval of a share, which stays within 0 and 1 and holds up for few cases.

    .. math:: \frac{\hat p + z^2/2n \pm z \sqrt{\hat p (1 - \hat p)/n + z^2/4n^2}}{1 + z^2/n}

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", JASA 22 (1927) 209-212.

    Args:
        count: Cases that are.
        of: All cases, at least 1.
        z: How many standard deviations; 1.96 for 95 %.

    >>> low, high = wilson(36, 40)
    >>> round(low, 3), round(high, 3)
    (0.769, 0.96)
    """
    share = count / of
    middle = share + z**2 / (2 * of)
    spread = z * math.sqrt(share * (1 - share) / of + z**2 / (4 * of**2))
    scale = 1 + z**2 / of
    low, high = (middle - spread) / scale, (middle + spread) / scale
    return (0.0 if count == 0 else low), (1.0 if count == of else high)  # exact there, whatever the rounding


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Some predictions against their measurements. What no row tells is None.

    Attributes:
        n: How many.
        median_error: Median of the absolute error; 0.05 is 5 %.
        mape: Mean of the absolute error.
        p90_error: Its 90th percentile.
        within: How many have an absolute error of at most each of `WITHIN`.
        bias: Median of ln(predicted / measured): above 0, predictions are too slow.
        spearman, kendall: Rank correlations (tau-b) of predicted and measured; None where either is constant.
        coverage: How many measurements lie in the interval of their prediction, for each of `COVERAGES`; of those that
            have one.
        width: Median width of these intervals over the prediction.
    """

    n: int
    median_error: float | None
    mape: float | None
    p90_error: float | None
    within: tuple[Share, ...]
    bias: float | None
    spearman: float | None
    kendall: float | None
    coverage: tuple[Share, ...]
    width: tuple[float | None, ...]

    @classmethod
    def of(
        cls,
        predicted_s: Sequence[float],
        measured_s: Sequence[float],
        intervals_s: Sequence[Sequence[Interval | None]] = (),
    ) -> Statistics:
        """Those of some rows.

        Args:
            predicted_s: Seconds, all above 0.
            measured_s: Seconds, all above 0, one for each.
            intervals_s: For each of `COVERAGES`, an interval a row; None where a prediction has none.
        """
        error = errors(predicted_s, measured_s)
        size, n = np.abs(error), len(error)
        spearman, kendall = ranks(predicted_s, measured_s)
        shares, widths = [], []
        for intervals in intervals_s or [[None] * n] * len(COVERAGES):
            share, width = coverage(intervals, predicted_s, measured_s)
            shares.append(share)
            widths.append(width)
        return cls(
            n=n,
            median_error=float(np.median(size)) if n else None,
            mape=float(size.mean()) if n else None,
            p90_error=float(np.quantile(size, 0.9)) if n else None,
            within=tuple(Share(int((size <= most).sum()), n) for most in WITHIN),
            bias=float(np.median(np.log1p(error))) if n else None,
            spearman=spearman,
            kendall=kendall,
            coverage=tuple(shares),
            width=tuple(widths),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data: ``within_10`` and ``within_10_ci95`` and so on."""
        data: dict[str, Any] = {
            "median_error": self.median_error,
            "mape": self.mape,
            "p90_error": self.p90_error,
        }
        for most, share in zip(WITHIN, self.within, strict=True):
            data |= share.to_dict(f"within_{most * 100:.0f}")
        data |= {"bias": self.bias, "spearman": self.spearman, "kendall": self.kendall}
        for nominal, covered, width in zip(COVERAGES, self.coverage, self.width, strict=True):
            data |= covered.to_dict(f"coverage_{nominal * 100:.0f}")
            data[f"width_{nominal * 100:.0f}"] = width
        return data


def errors(predicted_s: ArrayLike, measured_s: ArrayLike) -> NDArray[np.float64]:
    """predicted / measured - 1.

    >>> errors([1.1, 0.5], [1.0, 1.0]).round(3).tolist()
    [0.1, -0.5]
    """
    ratio: NDArray[np.float64] = np.asarray(predicted_s, dtype=np.float64) / np.asarray(measured_s, dtype=np.float64)
    return ratio - 1


def ranks(one: Sequence[float], other: Sequence[float]) -> tuple[float | None, float | None]:
    """Spearman's and Kendall's rank correlation; None of fewer than three pairs, or where all of either are equal."""
    if len(one) < LEAST_FOR_RANKS or min(one) == max(one) or min(other) == max(other):
        return None, None
    from scipy import stats

    return float(stats.spearmanr(one, other).statistic), float(stats.kendalltau(one, other).statistic)


def coverage(
    intervals_s: Sequence[Interval | None], predicted_s: Sequence[float], measured_s: Sequence[float]
) -> tuple[Share, float | None]:
    """How many measurements lie in the interval of their prediction, and its median width over the prediction."""
    held = [
        (low <= measured <= high, (high - low) / predicted)
        for interval, predicted, measured in zip(intervals_s, predicted_s, measured_s, strict=True)
        if interval is not None
        for low, high in [interval]
    ]
    width = float(np.median([wide for _, wide in held])) if held else None
    return Share(sum(inside for inside, _ in held), len(held)), width


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseCeiling:
    """How well the measurements agree with themselves: no prediction can be expected to do better.

    Attributes:
        n: Models that were measured in more than one process.
        median_difference: Median of how far the medians of their processes differ: largest over smallest, less 1.
        within: How many differ by at most each of `WITHIN`.
    """

    n: int
    median_difference: float | None
    within: tuple[Share, ...]

    @classmethod
    def of(cls, differences: Sequence[float | None]) -> NoiseCeiling:
        """That of some models; None for one that was measured once."""
        known = [difference for difference in differences if difference is not None]
        return cls(
            n=len(known),
            median_difference=float(np.median(known)) if known else None,
            within=tuple(Share(sum(difference <= most for difference in known), len(known)) for most in WITHIN),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        data: dict[str, Any] = {"n": self.n, "median_difference": self.median_difference}
        for most, share in zip(WITHIN, self.within, strict=True):
            data |= share.to_dict(f"within_{most * 100:.0f}")
        return data
