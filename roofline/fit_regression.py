"""Robust regression on ln(predicted / measured), the choice of a form, and what the rows leave open.

The parameters minimise a soft-L1 sum of squares with scale 0.1 (scipy.optimize.least_squares): an error of 10 % counts
nearly whole, larger ones ever less. The sum has many local minima, so descents begin at many points. Intervals are of
the profile likelihood: one parameter, or one ratio of two, is held away from its best value and all others are fitted
again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from roofline.fit_terms import LAYER_OVERHEADS, TERMS, WIDEST, Design, Floats, Form, Rows

AS_GOOD, SURELY_AS_GOOD = 1.02, 1e-3  # of the least error, or beyond it: within which a simpler form is as good
NEGLIGIBLE = 1e-4  # an error, of logarithms; latencies are given to two or three digits
LOSS_SCALE = 0.1
MANY_STARTS, STARTS = 32, 8  # points to begin at; in each of the thousands of folds by which a form is chosen
STEPS, ROUND = 12, 4  # of all of them together, and after how many of these the higher half is given up
NO_OVERHEAD = 1e-6  # of the median latency (for a layer, a hundredth of it): what a descent ends at that goes to 0
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
    *,
    keep: NDArray[np.intp] | None = None,
    starts: int | Sequence[Floats] = MANY_STARTS,
    held: tuple[Floats, float] | None = None,
    highest: Floats | None = None,
) -> Solution:
    """Minimise the robust sum of squares over some of the rows.

    Args:
        design: The form.
        keep: The rows that count, all if None; the latencies of the others change nothing, not even a last digit.
        starts: Points to begin at, or how many of the design's own; the best end is taken.
        held: A vector a and a number h: only parameters with a.z = h.
        highest: Of each parameter; not given: the design's.
    """
    log_measured = np.log(design.rows.latency_s)
    keep = np.arange(len(design.rows)) if keep is None else keep
    begin = design.starting_points(log_measured, keep, starts) if isinstance(starts, int) else np.array(starts)
    highest = design.highest if highest is None else highest
    held_at, tied = np.zeros(len(design.names)), np.eye(len(design.names))  # z = held_at + tied u
    free = np.ones(len(design.names), dtype=bool)
    if held is not None:
        direction, level = held
        pivot = int(np.argmax(np.abs(direction)))
        free[pivot] = False
        held_at[pivot] = level / direction[pivot]
        tied[pivot] = -direction / direction[pivot]
    tied = tied[:, free]

    def evaluated(u: Floats) -> tuple[Floats, Floats]:
        total_s, slope = design.times(held_at + u @ tied.T)
        total_s, slope = total_s[:, keep], slope[:, :, keep]
        return np.log(total_s) - log_measured[keep], tied.T @ (slope / total_s[:, np.newaxis])

    unit = scales(design, keep)
    end, cost = _descend(evaluated, begin[:, free], design.lowest[free], highest[free], unit[free])
    z = held_at + tied @ end
    return Solution(np.where(design.is_overhead & (z < NO_OVERHEAD * unit), 0.0, z), cost)


def _descend(
    evaluated: Callable[[Floats], tuple[Floats, Floats]], begin: Floats, lowest: Floats, highest: Floats, unit: Floats
) -> tuple[Floats, float]:
    """Descend from the best that a few steps reach from several points; the end, and the sum there.

    Args:
        evaluated: From points, ``(points, parameters)``, to residuals, ``(points, rows)``, and their slopes,
            ``(points, parameters, rows)``.
        begin: Where to begin, ``(points, parameters)``.
        lowest, highest, unit: Bounds of each parameter, and a step that counts.
    """
    from scipy.optimize import least_squares

    seen: list[Floats] = []  # the last point, its residuals and its slopes: both are asked for, one after the other

    def at(x: Floats) -> list[Floats]:
        if not seen or not np.array_equal(seen[0], x):
            residual, slope = evaluated((x * unit)[np.newaxis])
            seen[:] = [x.copy(), residual[0], slope[0].T * unit]
        return seen

    near = _approached(evaluated, np.clip(begin, lowest, highest), lowest, highest)
    end = least_squares(
        lambda x: at(x)[1],
        np.clip(near / unit, lowest / unit + 1e-9, highest / unit - 1e-9),
        jac=lambda x: at(x)[2],
        bounds=(lowest / unit, highest / unit),
        loss="soft_l1",
        f_scale=LOSS_SCALE,
        x_scale="jac",
        ftol=1e-6,
        xtol=1e-6,
        max_nfev=50,
    )
    return end.x * unit, float(end.cost)


def _approached(
    evaluated: Callable[[Floats], tuple[Floats, Floats]], z: Floats, lowest: Floats, highest: Floats
) -> Floats:
    """Of several points, the one from which a few steps lead lowest; where they lead.

    scipy takes one point after the other, and of its descents from the nearest of them one in eight ends in a minimum
    that is not the lowest. So all go together, by the method of Levenberg and Marquardt (SIAM J. Appl. Math. 11, 1963,
    doi:10.1137/0111030) on squares with the weights of the loss, and every `ROUND` steps the lower half goes on.
    """
    residual, slope = evaluated(z)
    damping = np.full(len(z), 1e-3)
    for number in range(STEPS):
        cost = _robust_sum(residual)
        if number and number % ROUND == 0:
            lower = np.argsort(cost, kind="stable")[: (len(z) + 1) // 2]
            z, residual, slope, cost, damping = (array[lower] for array in (z, residual, slope, cost, damping))
        weighted = slope / np.sqrt(1 + (residual / LOSS_SCALE) ** 2)[:, np.newaxis]
        downhill = -(weighted @ residual[..., np.newaxis])[..., 0]
        stuck = ((z <= lowest) & (downhill < 0)) | ((z >= highest) & (downhill > 0))
        curvature = np.where(stuck[:, np.newaxis] | stuck[..., np.newaxis], 0.0, weighted @ slope.swapaxes(1, 2))
        scale = np.diagonal(curvature, axis1=1, axis2=2)
        scale = np.where(scale > 0, scale, 1.0)[:, np.newaxis] * np.eye(z.shape[1])
        damped = curvature + damping[:, np.newaxis, np.newaxis] * scale
        step = np.linalg.solve(damped, np.where(stuck, 0.0, downhill)[..., np.newaxis])[..., 0]
        tried = np.clip(z + step, lowest, highest)
        new_residual, new_slope = evaluated(tried)
        better = _robust_sum(new_residual) < cost
        z = np.where(better[:, np.newaxis], tried, z)
        residual = np.where(better[:, np.newaxis], new_residual, residual)
        slope = np.where(better[:, np.newaxis, np.newaxis], new_slope, slope)
        damping = np.where(better, np.maximum(damping / 10, 1e-6), damping * 10)
    return np.asarray(z[np.argmin(_robust_sum(residual))])


def _robust_sum(residual: Floats) -> Floats:
    """The loss of each point; ``(points, rows)`` to ``(points,)``."""
    return np.asarray(LOSS_SCALE**2 * (np.sqrt(1 + (residual / LOSS_SCALE) ** 2) - 1).sum(axis=-1))


def scales(design: Design, keep: NDArray[np.intp] | None = None) -> Floats:
    """Of each parameter, the step that counts: 1 of a logarithm, and the median latency of an inference's overhead."""
    median_s = float(np.median(design.rows.latency_s if keep is None else design.rows.latency_s[keep]))
    of_layers = np.isin(design.names, LAYER_OVERHEADS)
    return np.where(of_layers, median_s / 100, np.where(design.is_overhead, median_s, 1.0))


# --- which form, and how well it predicts -----------------------------------------------------------------------------


class Folds:
    """Fits of each form without some of the rows, each made once."""

    def __init__(self, rows: Rows, forms: Sequence[Form]) -> None:
        self.rows = rows
        self.designs = {form: Design(rows, form) for form in forms}
        self.whole = {form: solve(design) for form, design in self.designs.items()}
        self.forms = sorted(forms, key=lambda form: self.whole[form].cost)  # the promising first, which saves most
        self._without: dict[tuple[Form, frozenset[int]], Floats] = {}

    def predicted_s(self, form: Form, without: Collection[int]) -> Floats:
        """Latency of every row by the form fitted without these; seconds."""
        key = (form, frozenset(without))
        if key not in self._without:
            design = self.designs[form]
            keep = np.array([number for number in range(len(self.rows)) if number not in key[1]])
            starts = MANY_STARTS if len(self.forms) == 1 else STARTS
            self._without[key] = design.times(solve(design, keep=keep, starts=starts).z)[0]
        return self._without[key]

    def errors(
        self, form: Form, but: int | None = None, *, order: Sequence[int] = (), limit: float = math.inf
    ) -> dict[int, float] | None:
        """Leave-one-out |ln(predicted / measured)| of each row, without row `but` altogether.

        Args:
            form: Which form.
            but: A row that is left out of everything.
            order: Which rows to try first.
            limit: None is returned as soon as the mean is sure to exceed it.
        """
        others = [number for number in order or range(len(self.rows)) if number != but]
        away = [] if but is None else [but]
        found: dict[int, float] = {}
        for number in others:
            predicted_s = self.predicted_s(form, [number, *away])[number]
            found[number] = abs(math.log(predicted_s / self.rows.latency_s[number]))
            if math.fsum(found.values()) > limit * len(others):
                return None  # whatever the other rows add
        return found

    def choose(self, but: int | None = None) -> Form:
        """The simplest form whose mean leave-one-out error is about the least; without row `but`."""
        if len(self.forms) == 1:
            return self.forms[0]
        means: dict[Form, float] = {}
        order: list[int] = []
        for form in self.forms:
            errors = self.errors(form, but, order=order, limit=_as_good(min(means.values(), default=math.inf)))
            if errors is None:
                continue
            means[form] = math.fsum(errors.values()) / len(errors)  # exact, so that no order of the rows matters
            order = sorted(errors, key=errors.__getitem__, reverse=True)  # the hard ones first, which saves more
        within = [form for form in means if means[form] <= _as_good(min(means.values()))]
        return min(within, key=lambda form: (len(self.designs[form].names), "add" in form, means[form]))


def _as_good(least: float) -> float:
    return max(least * AS_GOOD, least + SURELY_AS_GOOD)


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
        low, high: Ends of the band in which the error stays within 10 % of its least; None where it never leaves it, or
            where the 95 % interval has no end.
        curve: Ridge points, and the error at each (root of the mean robust square, of logarithms).
    """

    dtype: str
    value: float
    low: float | None
    high: float | None
    curve: tuple[tuple[float, float], ...]


class Likelihood:
    """How much worse the fit becomes as one combination of its parameters is held elsewhere."""

    def __init__(self, design: Design, best: Solution, *, highest: Floats | None = None) -> None:
        self.design, self.best, self.highest = design, best, highest

    def limit(self, factor: float) -> float:
        """The cost at which the errors are so much larger than the best; of errors that are negligible, than those."""
        return max(self.best.cost, len(self.design.rows) * NEGLIGIBLE**2 / 2) * factor

    def at(self, direction: Floats, level: float, near: Floats) -> Solution:
        """The best with direction . z = level.

        As a peak moves, the shares of it may move against it, so that peak x share stays; and the other way round.
        """
        starts = []
        for z in (near, self.best.z):
            moved = level - float(direction @ z)
            shares = moved * (self.design.is_share & (direction == 0))
            peaks = moved * self.design.is_peak
            starts += [z, z + shares - peaks if direction[self.design.is_share].any() else z - shares]
        return solve(self.design, starts=starts, held=(direction, level), highest=self.highest)

    def end(self, direction: Floats, sign: int, limit: float, *, reach: float = REACH) -> float | None:
        """How far direction . z can go, up (1) or down (-1), until the cost exceeds `limit`.

        That of an overhead ends at 0, that of a share at the whole; of a rate or a ratio beyond `reach`: None.
        """
        stop, unit = sign * math.inf, 1.0
        if np.count_nonzero(direction) == 1:
            place = int(np.argmax(direction))
            if self.design.is_overhead[place]:
                unit, reach = float(scales(self.design)[place]), math.inf
            if (self.design.is_overhead[place] and sign < 0) or (self.design.is_share[place] and sign > 0):
                stop = 0.0
        middle = float(direction @ self.best.z)
        inside, near, step = middle, self.best.z, 0.05
        while True:
            level = sign * min(sign * middle + step * unit, sign * stop)
            found = self.at(direction, level, near)
            if found.cost > limit:
                break
            if level == stop:
                return stop
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


def _direction(design: Design, weights: Mapping[str, float]) -> Floats:
    return np.array([weights.get(name, 0.0) for name in design.names])


def settled(design: Design, best: Solution) -> Solution:
    """The same, but that no rate runs away along a plateau: of rates as good as the best, the lowest is taken.

    While one comes down, none of the others may run away in its place.
    """
    settled_at: dict[int, float] = {}
    for place in np.flatnonzero(~design.is_overhead & ~design.is_share).tolist():
        direction = _direction(design, {design.names[place]: 1.0})
        likelihood = Likelihood(design, best)
        limit = likelihood.limit(PLATEAU**2)
        if likelihood.end(direction, 1, limit) is not None:
            continue
        highest = np.where(design.is_overhead | design.is_share, design.highest, best.z + 1)
        for other, level in settled_at.items():
            highest[other] = level
        likelihood = Likelihood(design, best, highest=highest)
        lowest = likelihood.end(direction, -1, limit, reach=2 * WIDEST)
        if lowest is not None:
            best = likelihood.at(direction, lowest, best.z)
            settled_at[place] = lowest
    return best


def parameters_of(design: Design, best: Solution) -> tuple[Parameter, ...]:
    """Each parameter with its 95 % interval: where the cost is within that of Student's t of the least."""
    likelihood = Likelihood(design, best)
    limit = likelihood.limit(_confident(design))
    values = design.values(best.z)
    found = []
    for place, name in enumerate(design.names):
        direction = _direction(design, {name: 1.0})
        ends = [likelihood.end(direction, sign, limit) for sign in (-1, 1)]
        if not design.is_overhead[place]:
            ends = [None if end is None else math.exp(end) for end in ends]
        unit = "MACs/s" if name.startswith("peak.") else "bytes/s" if name == "bandwidth" else TERMS[name].unit
        found.append(Parameter(name=name, value=float(values[place]), unit=unit, low=ends[0], high=ends[1]))
    return tuple(found)


def _confident(design: Design) -> float:
    """By how much the cost may grow within a 95 % interval of one parameter: 1 + t^2 / degrees of freedom."""
    from scipy.stats import t

    freedom = len(design.rows) - len(design.names)
    return 1 + float(t.ppf((1 + CONFIDENCE) / 2, freedom)) ** 2 / freedom


def ridge_point_of(design: Design, best: Solution, dtype: str) -> RidgePoint:
    """The ridge point of a dtype with its 10 % band, and the error along it."""
    direction = _direction(design, {f"peak.{dtype}": 1.0, "bandwidth": -1.0})
    likelihood = Likelihood(design, best)
    middle = float(direction @ best.z)
    band, interval = likelihood.limit(BAND**2), likelihood.limit(_confident(design))
    ends = [
        None if likelihood.end(direction, sign, interval) is None else likelihood.end(direction, sign, band)
        for sign in (-1, 1)
    ]
    curve: list[tuple[float, float]] = []
    for sign in (-1, 1):
        near = best.z
        for step in CURVE_STEPS:
            held = likelihood.at(direction, middle + sign * step, near)
            near = held.z
            curve.append((math.exp(middle + sign * step), math.sqrt(2 * held.cost / len(design.rows))))
    low, high = (None if end is None else math.exp(end) for end in ends)
    return RidgePoint(dtype=dtype, value=math.exp(middle), low=low, high=high, curve=tuple(sorted(set(curve))))
