"""Robust regression on ln(predicted / measured), the choice of a form, and what the rows leave open.

The parameters minimise a soft-L1 sum of squares with scale 0.1: an error of 10 % counts whole, larger ones ever less
(scipy.optimize.least_squares). Intervals are of the profile likelihood: one parameter, or one ratio of two, is held
away from its best value and all others are fitted again.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from roofline.fit_terms import TERMS, WIDEST, Design, Floats, Form, Rows

AS_GOOD = 1.02  # of the least error, within which a simpler form is as good
LOSS_SCALE = 0.1
BAND = 1.1  # of the least error, within which a ridge point is as good
PLATEAU = 1.01
CONFIDENCE = 0.95
REACH = math.log(100)  # how far from the best value an interval is looked for, either way
CURVE_STEPS = tuple(REACH * step / 12 for step in range(13))  # of the logarithm of the ridge point, to either side


@dataclass(frozen=True, slots=True, eq=False)
class Solution:
    """Parameters, and the robust sum of squares they leave."""

    z: Floats
    cost: float


def solve(
    design: Design,
    starts: Sequence[Floats],
    *,
    keep: NDArray[np.intp] | slice = slice(None),
    held: tuple[Floats, float] | None = None,
) -> Solution:
    """Minimise the robust sum of squares over some of the rows, from several starts.

    Args:
        design: The form.
        starts: Where to begin; the best end is taken.
        keep: The rows that count.
        held: A vector a and a number h: only parameters with a.z = h.
    """
    from scipy.optimize import least_squares

    log_measured = np.log(design.rows.latency_s)
    count = len(design.names)
    pivot = -1 if held is None else int(np.argmax(np.abs(held[0])))
    free = [number for number in range(count) if number != pivot]

    def whole(u: Floats) -> Floats:
        z = np.empty(count)
        z[free] = u
        if held is not None:
            direction, level = held
            z[pivot] = (level - direction[free] @ u) / direction[pivot]
        return z

    seen: list[Any] = [None, None, None]  # the last u, with its residuals and slopes

    def evaluated(u: Floats) -> tuple[Floats, Floats]:
        if seen[0] is None or not np.array_equal(seen[0], u):
            total_s, slope = design.times(whole(u))
            by_z = slope / total_s[:, None]
            if held is not None:
                by_z = by_z - np.outer(by_z[:, pivot], held[0] / held[0][pivot])
            seen[:] = u.copy(), (np.log(total_s) - log_measured)[keep], by_z[:, free][keep]
        return seen[1], seen[2]

    lowest, highest = design.lowest[free], design.highest[free]
    best: Solution | None = None
    for start in starts:
        found = least_squares(
            lambda u: evaluated(u)[0],
            np.clip(start[free], lowest + 1e-9, highest - 1e-9),
            jac=lambda u: evaluated(u)[1],
            bounds=(lowest, highest),
            loss="soft_l1",
            f_scale=LOSS_SCALE,
            x_scale="jac",
            ftol=1e-7,
            xtol=1e-7,
            max_nfev=100,
        )
        if best is None or found.cost < best.cost:
            best = Solution(whole(found.x), float(found.cost))
    assert best is not None
    return best


# --- which form, and how well it predicts -----------------------------------------------------------------------------


class Folds:
    """Fits of each form without some of the rows, each made once."""

    def __init__(self, rows: Rows, forms: Sequence[Form]) -> None:
        self.rows = rows
        self.designs = {form: Design(rows, form) for form in forms}
        self.whole = {form: solve(design, design.starting_points()) for form, design in self.designs.items()}
        self.forms = sorted(forms, key=lambda form: self.whole[form].cost)  # the promising first, which saves most
        self._without: dict[tuple[Form, frozenset[int]], Floats] = {}

    def predicted_s(self, form: Form, without: Collection[int]) -> Floats:
        """Latency of every row by the form fitted without these; seconds."""
        key = (form, frozenset(without))
        if key not in self._without:
            design = self.designs[form]
            keep = np.array([number for number in range(len(self.rows)) if number not in key[1]])
            self._without[key] = design.times(solve(design, [self.whole[form].z], keep=keep).z)[0]
        return self._without[key]

    def error(self, form: Form, limit: float, but: int | None) -> float | None:
        """Mean leave-one-out |ln(predicted / measured)|, without row `but` altogether; None if it exceeds `limit`."""
        others = [number for number in range(len(self.rows)) if number != but]
        away = [] if but is None else [but]
        total = 0.0
        for number in others:
            predicted_s = self.predicted_s(form, [number, *away])[number]
            total += abs(math.log(predicted_s / self.rows.latency_s[number]))
            if total > limit * len(others):
                return None  # whatever the other rows add
        return total / len(others)

    def choose(self, but: int | None = None) -> Form:
        """The simplest form whose leave-one-out error is within `AS_GOOD` of the least; without row `but`."""
        if len(self.forms) == 1:
            return self.forms[0]
        errors: dict[Form, float] = {}
        for form in self.forms:
            error = self.error(form, min(errors.values(), default=math.inf) * AS_GOOD, but)
            if error is not None:
                errors[form] = error
        within = [form for form in errors if errors[form] <= min(errors.values()) * AS_GOOD]
        return min(within, key=lambda form: (len(self.designs[form].names), errors[form]))


# --- what the rows determine ------------------------------------------------------------------------------------------

Side = Literal["both", "below", "above", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter, and what the rows say of it.

    Attributes:
        name: ``peak.<dtype>``, ``bandwidth``, or a term.
        value: In `unit`; what the profile has.
        unit: SI base units; empty for a share.
        low, high: Ends of its 95 % interval; None where it has no end within a factor of 100.
    """

    name: str
    value: float
    unit: str
    low: float | None
    high: float | None

    @property
    def limited(self) -> Side:
        """From which side the rows limit it."""
        if self.low is None:
            return "none" if self.high is None else "above"
        return "below" if self.high is None else "both"


@dataclass(frozen=True, slots=True, kw_only=True)
class RidgePoint:
    """Peak over bandwidth of one dtype, MACs/byte.

    Attributes:
        dtype: Of the peak.
        value: The best; where the error does not rise to one side, the nearest that is as good as the best.
        low, high: Ends of the band in which the error stays within 10 % of its least; None where it never leaves it.
        curve: Ridge points, and the error at each (root of the mean robust square, of logarithms).
    """

    dtype: str
    value: float
    low: float | None
    high: float | None
    curve: tuple[tuple[float, float], ...]


class Likelihood:
    """How much worse the fit becomes as one combination of its parameters is held elsewhere."""

    def __init__(self, design: Design, best: Solution) -> None:
        self.design, self.best = design, best

    def at(self, direction: Floats, level: float, near: Floats) -> Solution:
        """The best with direction . z = level."""
        return solve(self.design, [near, self.best.z], held=(direction, level))

    def end(
        self, direction: Floats, sign: int, limit: float, *, floor: float = -math.inf, reach: float = REACH
    ) -> float | None:
        """How far direction . z can go, up (1) or down (-1), until the cost exceeds `limit`; None: beyond `reach`."""
        middle = float(direction @ self.best.z)
        inside, near, step = middle, self.best.z, 0.05
        while True:
            level = max(middle + sign * step, floor)
            found = self.at(direction, level, near)
            if found.cost > limit:
                break
            if level <= floor:
                return floor
            if step >= reach:
                return None
            inside, near, step = level, found.z, min(2 * step, reach)
        outside = level
        for _ in range(12):
            level = (inside + outside) / 2
            found = self.at(direction, level, near)
            if found.cost > limit:
                outside = level
            else:
                inside, near = level, found.z
        return inside


def _direction(design: Design, **weights: float) -> Floats:
    found = np.zeros(len(design.names))
    for name, weight in weights.items():
        found[design.place[name.replace("__", ".")]] = weight
    return found


def settled(design: Design, best: Solution) -> Solution:
    """The same, but that no rate runs away along a plateau: of rates as good as the best, the nearest is taken."""
    limit = best.cost * PLATEAU**2
    for name in design.names:
        if design.is_overhead[design.place[name]]:
            continue
        direction = _direction(design, **{name.replace(".", "__"): 1.0})
        likelihood = Likelihood(design, best)
        if likelihood.end(direction, 1, limit) is None:
            level = likelihood.end(direction, -1, limit, reach=2 * WIDEST)
            if level is not None:
                best = likelihood.at(direction, level, best.z)
    return best


def parameters_of(design: Design, best: Solution) -> tuple[Parameter, ...]:
    """Each parameter with its 95 % interval: where the cost is within that of Student's t of the least."""
    from scipy.stats import t

    freedom = len(design.rows) - len(design.names)
    limit = best.cost * (1 + float(t.ppf((1 + CONFIDENCE) / 2, freedom)) ** 2 / freedom)
    likelihood = Likelihood(design, best)
    values = design.values(best.z)
    found = []
    for place, name in enumerate(design.names):
        direction = np.zeros(len(design.names))
        direction[place] = 1.0
        overhead = bool(design.is_overhead[place])
        low = likelihood.end(direction, -1, limit, floor=0.0 if overhead else -math.inf)
        high = likelihood.end(direction, 1, limit)

        def si(level: float | None, place: int = place, overhead: bool = overhead) -> float | None:
            if level is None:
                return None
            return level * float(design.scale[place]) if overhead else math.exp(level)

        unit = "MACs/s" if name.startswith("peak.") else "bytes/s" if name == "bandwidth" else TERMS[name].unit
        found.append(Parameter(name=name, value=float(values[place]), unit=unit, low=si(low), high=si(high)))
    return tuple(found)


def ridge_point_of(design: Design, best: Solution, dtype: str) -> RidgePoint:
    """The ridge point of a dtype with its 10 % band, and the error along it."""
    direction = _direction(design, **{f"peak__{dtype}": 1.0, "bandwidth": -1.0})
    likelihood = Likelihood(design, best)
    middle = float(direction @ best.z)
    ends = [likelihood.end(direction, sign, best.cost * BAND**2) for sign in (-1, 1)]
    curve: list[tuple[float, float]] = []
    for sign in (-1, 1):
        near = best.z
        for step in CURVE_STEPS:
            held = likelihood.at(direction, middle + sign * step, near)
            near = held.z
            curve.append((math.exp(middle + sign * step), math.sqrt(2 * held.cost / len(design.rows))))
    low, high = (None if end is None else math.exp(end) for end in ends)
    return RidgePoint(dtype=dtype, value=math.exp(middle), low=low, high=high, curve=tuple(sorted(set(curve))))
