"""What is kept of networks that were timed, and what becomes of it: a time of each kernel call, and of each network.

A sample is what was timed over the anchor's factor beside it; of a call that a network runs several times, the mean of
a round. A time is the median of samples. Medians of skewed times do not add up: those of the ops of a network came to
7 % less than the median of what all of them took together (60 networks, 15 rounds each). So the samples of a network
are scaled until they do, and what is left to the host is the host's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roofline.calibration.data import OpTimes, WholeTerms, WholeTimes
from roofline.calibration.kernels import Kernels

Floats = NDArray[np.float64]

FEWEST_TIMES = 3  # that tell how noisy their median is
TICK_S = 1e-9  # of the clock: what takes less is timed as nothing


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class TimedNetwork:
    """One network, as it was timed.

    Attributes:
        name: Its name.
        kernels: What it runs, n rows.
        ran: Which of these ran as they were traced, (n,).
        composes: Which of these the whole is composed of, (n,): compiled, those of libraries.
        op_s: Seconds of each row in each round, (rounds, n); whatever where none ran.
        op_factors: Beside these rounds, (rounds,).
        whole_s: Seconds of the network, (runs,); empty where it was timed op by op alone.
        whole_factors: Beside these, (runs,).
        macs, activation_bytes: Of the whole.
        composed: What else its time depends on, in its mode.
        loops_share: What of its time generated loops take: the last of what it depends on; None where there are none.
    """

    name: str
    kernels: Kernels
    ran: NDArray[np.bool_]
    composes: NDArray[np.bool_]
    op_s: Floats
    op_factors: Floats
    whole_s: Floats
    whole_factors: Floats
    macs: int
    activation_bytes: int
    composed: tuple[float, ...] = ()
    loops_share: float | None = None


@dataclass(frozen=True, slots=True, eq=False)
class _Calls:
    """The k kernel calls of a network, each once, in m rounds.

    Attributes:
        row: The first row of each in its kernels, (k,).
        runs: How often it runs, (k,).
        time_s: At the reference state, (m, k).
        factors: Beside the rounds, (m,).
    """

    row: NDArray[np.intp]
    runs: NDArray[np.intp]
    time_s: Floats
    factors: Floats


def op_times(networks: Sequence[TimedNetwork], most_factor: float) -> OpTimes | None:
    """The kernel calls of all networks, each once, by rounds beside which the anchor had such a factor at most.

    None if there was no such round.
    """
    samples: dict[str, list[tuple[Floats, Floats, int]]] = {}
    described: dict[str, dict[str, Any]] = {}
    for each in networks:
        if (calls := _calls(each, most_factor)) is None:
            continue
        for place, row in enumerate(calls.row.tolist()):
            key = each.kernels.key[row]
            samples.setdefault(key, []).append((calls.time_s[:, place], calls.factors, int(calls.runs[place])))
            described.setdefault(
                key, {"kernel": each.kernels.kernel[row], "terms": each.kernels.terms[row], "network": each.name}
            )
    rows = []
    for key, seen in samples.items():
        time_s, factors = (np.concatenate([part[column] for part in seen]) for column in (0, 1))
        rows.append(
            {
                "key": key,
                "time_s": max(float(np.median(time_s)), TICK_S),
                "raw_s": max(float(np.median(time_s * factors)), TICK_S),
                "samples": sum(len(part[0]) * part[2] for part in seen),
                **described[key],
            }
        )
    return _table(OpTimes, rows) if rows else None


def whole_times(networks: Sequence[TimedNetwork], most_factor: float) -> tuple[WholeTimes, WholeTerms | None] | None:
    """The networks that were timed as wholes, in such rounds as `op_times`, and what else their times depend on.

    None if there are none; no second table where they depend on nothing else.
    """
    rows, terms = [], []
    for each in networks:
        usual = each.whole_factors <= most_factor
        calls = _calls(each, most_factor)
        if calls is None or not usual.any():
            continue
        whole_s = each.whole_s[usual]
        at_reference = whole_s / each.whole_factors[usual]
        composes = each.composes[calls.row]
        time_s = float(np.median(at_reference))
        rows.append(
            {
                "network": each.name,
                "time_s": time_s,
                "raw_s": float(np.median(whole_s)),
                "noise": median_noise(at_reference),
                "ops_s": float((np.median(calls.time_s, axis=0) * calls.runs)[composes].sum()),
                "ops": len(each.kernels),
                "module_calls": each.kernels.module_calls,
                "views": each.kernels.views,
                "macs": each.macs,
                "activation_bytes": each.activation_bytes,
            }
        )
        terms.append((*each.composed, *(() if each.loops_share is None else (each.loops_share * time_s,))))
    if not rows:
        return None
    wholes = _table(WholeTimes, rows)
    return wholes, WholeTerms(network=wholes.network, terms=np.array(terms)) if terms[0] else None


def median_noise(times_s: Floats) -> float:
    """The standard error of the median of n times, as a share of it: 1.25 standard deviations over the root of n.

    The standard deviation is 1.48 times the median absolute deviation (both factors are those of a normal distribution:
    Huber & Ronchetti, Robust Statistics, 2009, chapter 5): what a shared machine adds at times is far from the median,
    and does not move it. (Of 132 networks of 15 rounds and more, medians of three were 10.5 % off by root mean square,
    and by this they are 10.0 %.) One time or two tell nothing of it: 0.
    """
    if len(times_s) < FEWEST_TIMES:
        return 0.0
    middle_s = np.median(times_s)
    return float(1.2533 * 1.4826 * np.median(np.abs(times_s - middle_s)) / middle_s / np.sqrt(len(times_s)))


def _calls(network: TimedNetwork, most_factor: float) -> _Calls | None:
    """Its calls in the rounds that count, scaled until their medians add up; None if none ran, or no round counts."""
    usual, rows = network.op_factors <= most_factor, np.flatnonzero(network.ran)
    if not usual.any() or not len(rows):
        return None
    keys = np.array(network.kernels.key)[rows]
    _, first, call, runs = np.unique(keys, return_index=True, return_inverse=True, return_counts=True)
    factors = network.op_factors[usual]
    rounds_s = network.op_s[usual][:, rows] / factors[:, np.newaxis]
    time_s = np.array([np.bincount(call, weights=round_s) for round_s in rounds_s]) / runs
    medians_s = float(np.median(time_s, axis=0) @ runs)
    if medians_s > 0:
        time_s *= np.median(rounds_s.sum(axis=1)) / medians_s
    order = np.argsort(first)  # as they ran
    return _Calls(rows[first[order]], runs[order], time_s[:, order], factors)


def _table(kind: Any, rows: Sequence[dict[str, Any]]) -> Any:
    return kind(**{name: np.array([row[name] for row in rows]) for name in rows[0]})
