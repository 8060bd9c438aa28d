"""When a measurement has seen enough, and what may be said of it.

A median is quoted with the interval that order statistics give it, which assumes no distribution. Samples of one
process share that process's luck (page layout, where threads were put), and neighbours in time share the state of the
machine. So the interval says how well *this run* knows its median; how well the next one will agree is for
`between_process` to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

TARGET = 0.015  # half-width of the interval over the median
MIN_BLOCKS = 10  # the default of hyperfine too, which calls them runs
MIN_ROUNDS = 3
CAP_S = 10.0  # of timing a model; the default of torch.utils.benchmark's Timer.adaptive_autorange too
CONFIDENCE = 0.95
LEAST_FOR_INTERVAL = 6  # of five, all lie on one side of the median with probability 2 / 2^5 = 6 %
LEAST_S = 100e-9  # what a shorter call varies by is judged as a share of this: a turn of the loop, which is taken off,
# costs 34 ns by itself (`WallTimer.own_cost_s`, CPython 3.12), so a few ns are what is left of two like numbers

WARM_WINDOWS = 3  # successive windows of warm-up that have to agree ...
WARM_TOLERANCE = 0.02  # ... to this
WARM_BLOCKS = 5  # blocks of a window
WARM_CAP_S = 2.0

MAX_LEFT_OUT = 0.2  # share of samples; beyond it the machine was never itself
MAX_SPREAD = 0.25  # interquartile range over median; torch.utils.benchmark.Measurement warns of "significant
# environmental influence" from there on (_IQR_GROSS_WARN_THRESHOLD)
MAX_BETWEEN_PROCESSES = 0.10  # process medians that differ by more cannot judge a prediction within 10 %
MAX_THROTTLED = 0.05  # share of samples

STATUSES = ("ok", "noisy", "contended", "throttled", "capped")


def quantile(values: Sequence[float], share: float) -> float:
    """The quantile of linear interpolation between order statistics (type 7 of Hyndman & Fan 1996; numpy's default).

    >>> quantile([4, 1, 3, 2], 0.5), quantile([1, 2, 3, 4, 5], 0.1)
    (2.5, 1.4)
    """
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = min(math.floor(place), len(ordered) - 1)
    high = min(low + 1, len(ordered) - 1)
    return float(ordered[low] + (ordered[high] - ordered[low]) * (place - low))


def median(values: Sequence[float]) -> float:
    """The middle of `values`, which must not be empty."""
    return quantile(values, 0.5)


@cache
def interval_ranks(n: int, confidence: float = CONFIDENCE) -> tuple[int, int]:
    """Ranks, from 1, of the two order statistics between which the median lies with that confidence.

    Whatever the distribution, each sample is below its median with probability 1/2, so the number of samples below is
    binomial(n, 1/2): the median is between the j-th and the (n + 1 - j)-th smallest with probability
    1 - 2 P(B < j), and j is the largest rank that keeps it at `confidence`. (David & Nagaraja, Order Statistics, 3rd
    ed. 2003, section 7.1.) Five samples or fewer reach no 95 %: then the ranks are the first and the last.

    >>> interval_ranks(10), interval_ranks(25), interval_ranks(5)
    ((2, 9), (8, 18), (1, 5))
    """
    j, tail = 0, 0.0  # P(B < j)
    while j < n // 2:
        tail += math.exp(math.lgamma(n + 1) - math.lgamma(j + 1) - math.lgamma(n - j + 1) - n * math.log(2))
        if tail > (1 - confidence) / 2:
            break
        j += 1
    j = max(j, 1)
    return j, n + 1 - j


def median_interval(values: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, float]:
    """The interval of the median by order statistics; see `interval_ranks`."""
    ordered = sorted(values)
    low, high = interval_ranks(len(ordered), confidence)
    return float(ordered[low - 1]), float(ordered[high - 1])


def half_width(values: Sequence[float]) -> float:
    """Half of the interval of the median, over the median; infinite with too few samples for a 95 % interval.

    Of calls shorter than `LEAST_S` it is over that.
    """
    if len(values) < LEAST_FOR_INTERVAL:
        return math.inf
    low, high = median_interval(values)
    return (high - low) / 2 / max(median(values), LEAST_S)


def is_steady(window_medians: Sequence[float]) -> bool:
    """Whether the last windows of a warm-up agree.

    >>> is_steady([2.0, 1.01, 1.0, 1.01]), is_steady([1.1, 1.05, 1.0]), is_steady([1.0, 1.0])
    (True, False, False)
    """
    last = window_medians[-WARM_WINDOWS:]
    return len(last) == WARM_WINDOWS and max(last) <= min(last) * (1 + WARM_TOLERANCE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When to stop.

    Attributes:
        target: Half-width of the 95 % interval of the median, over the median.
        min_blocks: Samples at least, those left out not counted.
        min_rounds: Rounds at least in which the model took its turn.
        cap_s: Seconds a model at most, its anchors counted.
        layers_s: Seconds that timing its layers, which comes afterwards, takes at most.
    """

    target: float = TARGET
    min_blocks: int = MIN_BLOCKS
    min_rounds: int = MIN_ROUNDS
    cap_s: float = CAP_S
    layers_s: float = 0.0


def is_known(samples: Sequence[float], *, rounds: int, limits: Limits) -> bool:
    """Whether the median is known as well as was asked.

    Args:
        samples: Seconds a call, those left out not among them.
        rounds: Rounds in which the model took its turn.
        limits: What was asked for.
    """
    enough = len(samples) >= limits.min_blocks and rounds >= limits.min_rounds
    return enough and half_width(samples) <= limits.target


def spread(values: Sequence[float]) -> float:
    """The interquartile range over the median; of calls shorter than `LEAST_S`, over that."""
    return (quantile(values, 0.75) - quantile(values, 0.25)) / max(median(values), LEAST_S)


def difference(medians: Sequence[float]) -> float:
    """The largest over the smallest, less 1; where that is shorter than `LEAST_S`, their distance over it."""
    return (max(medians) - min(medians)) / max(min(medians), LEAST_S)


def status_of(
    *,
    known: bool,
    left_out: float,
    crowded: float,
    throttled: float,
    spread: float,
    between_process: float | None,
) -> str:
    """One word for a measurement; the first that holds of contended, throttled, noisy, capped, ok.

    Args:
        known: `is_known`.
        left_out: Share of samples left out for contention; of several processes, in the worst of them (so below).
        crowded: Share of samples during which others wanted the cores that were in use.
        throttled: Share of samples during which the clock or the quota was lowered.
        spread: That of the samples that count, at the reference state.
        between_process: `difference` of the medians of the processes; None with one process.
    """
    if left_out > MAX_LEFT_OUT or crowded > 0.5:
        return "contended"
    if throttled > MAX_THROTTLED:
        return "throttled"
    if spread > MAX_SPREAD or (between_process or 0.0) > MAX_BETWEEN_PROCESSES:
        return "noisy"
    return "ok" if known else "capped"
