"""How a latency answers when rates of the device grow by a factor: exact, as a piecewise linear function.

Of layers i with the times of `roofline.engine`, m_i (MACs), v_i (vector ops) and q_i (bytes), on a device whose peak is
p times and whose bandwidths are b times what they were,

    T(p, b) = c + sum over i of (o + max(m_i / p, v_i, q_i / b))          or their sum, where the profile says add

Along any one factor f, of the peak, of the bandwidths or of both, this is

    T(f) = fixed + sum over i of max(slope_i / f, floor_i)

which is convex and piecewise linear in 1/f, with its knees at f = slope_i / floor_i, where a layer turns from one side
of the roof to the other. Sorted once and with prefix sums, T(f) = target is the root of one straight line. So are all
points of the iso-latency curve T(p, b) = target: in the plane of 1/p and 1/b it is a convex polygon.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roofline.engine import Prediction, combined, terms_of
from roofline.hardware import Hardware
from roofline.layers import Ints

Floats = NDArray[np.float64]
Rate = Literal["peak", "vector", "bandwidth", "weight_bandwidth"]

AT_KNEE = 1e-12  # relative; two times nearer than this may differ by nothing but the rounding of floats


@dataclass(frozen=True, slots=True, eq=False)
class Response:
    """A latency over the factor by which some rates grow: T(f) = fixed + sum of max(slope_i / f, floor_i).

    Attributes:
        fixed_s: What no factor changes, seconds.
        slope_s: What each layer takes at these rates, seconds; shape ``(layers,)``.
        floor_s: What it takes at least, whatever they are, seconds; same shape.
        order: The layers with a slope, those first that turn at the largest factor; shape ``(turning,)``.
        knees: 1/f at which these turn, ascending; same shape.
        slopes, intercepts: With the first k of them still at their slope, T = intercepts[k] + slopes[k] / f; shape
            ``(turning + 1,)``.
    """

    fixed_s: float
    slope_s: Floats
    floor_s: Floats
    order: Ints
    knees: Floats
    slopes: Floats
    intercepts: Floats

    @classmethod
    def of(cls, fixed_s: float, slope_s: Floats, floor_s: Floats) -> Response:
        """Sort the layers by where they turn; O(layers log layers)."""
        turning = np.flatnonzero(slope_s > 0)
        knees = floor_s[turning] / slope_s[turning]
        ascending = np.argsort(knees, kind="stable")
        order = turning[ascending]
        floors, steady_s = floor_s[order], float(floor_s[slope_s <= 0].sum())
        slopes, intercepts = np.zeros((2, len(order) + 1))
        np.cumsum(slope_s[order], out=slopes[1:])
        np.cumsum(floors[::-1], out=intercepts[1:])
        return cls(fixed_s, slope_s, floor_s, order, knees[ascending], slopes, intercepts[::-1] + fixed_s + steady_s)

    def latency_s(self, factors: ArrayLike) -> Floats:
        """T at each factor, from 0 (excluded) to infinity; shaped like them.

        >>> response = Response.of(1.0, np.array([6.0, 2.0]), np.array([3.0, 0.0]))
        >>> response.latency_s([1, 2, 4, np.inf]).tolist()
        [9.0, 5.0, 4.5, 4.0]
        """
        u = 1 / np.asarray(factors, dtype=np.float64)
        k = np.searchsorted(self.knees, u, side="right")
        return np.asarray(self.intercepts[k] + self.slopes[k] * u)

    @property
    def limit_s(self) -> float:
        """What T falls to as the factor grows without end, seconds."""
        return float(self.intercepts[0])

    def elasticity(self) -> tuple[float, float]:
        """d ln T / d ln f at f = 1, as f grows and as it shrinks; 0 and below.

        It is less the share of the time that layers spend at these rates. The two differ where a layer is at its knee.
        """
        total_s = float(self.latency_s(1.0))
        if not total_s:
            return 0.0, 0.0
        growing = self.slope_s > self.floor_s * (1 + AT_KNEE)
        shrinking = (self.slope_s >= self.floor_s * (1 - AT_KNEE)) & (self.slope_s > 0)
        return -float(self.slope_s[growing].sum()) / total_s, -float(self.slope_s[shrinking].sum()) / total_s

    def next_knee(self) -> tuple[float, int] | None:
        """The least factor above 1 at which a layer turns, and which layer; None if no layer does."""
        below = np.searchsorted(self.knees, 1 - AT_KNEE)
        if not below or not self.knees[below - 1]:
            return None
        return 1 / float(self.knees[below - 1]), int(self.order[below - 1])

    def factor_for(self, target_s: float) -> float | None:
        """The least factor with T <= target; 0 where any is enough, None where no finite one is.

        >>> response = Response.of(1.0, np.array([6.0, 2.0]), np.array([3.0, 0.0]))
        >>> response.factor_for(5.0), response.factor_for(4.5), response.factor_for(4.0)
        (2.0, 4.0, None)
        """
        at_knees = self.intercepts[:-1] + self.slopes[:-1] * self.knees
        k = int(np.searchsorted(at_knees, target_s, side="right"))
        if not len(self.knees):
            return 0.0 if self.limit_s <= target_s else None
        if not k:
            return None
        u = (target_s - self.intercepts[k]) / self.slopes[k]
        u = min(max(u, self.knees[k - 1]), self.knees[k] if k < len(self.knees) else math.inf)
        return 1 / float(u) if u > 0 and 1 / float(u) < math.inf else None


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Times:
    """What each layer takes at each of a device's rates, and what it takes beside; seconds.

    Attributes:
        mac_s, vector_s, mem_s: The three times of each layer; shape ``(layers,)``.
        weight_s: The part of `mem_s` at a bandwidth of weights alone; same shape.
        add: Whether the three add up instead of the largest counting alone.
        layers_overhead_s: The overheads of all layers together.
        inference_overhead_s: That of an inference.
    """

    mac_s: Floats
    vector_s: Floats
    mem_s: Floats
    weight_s: Floats
    add: bool
    layers_overhead_s: float
    inference_overhead_s: float

    @classmethod
    def of(cls, prediction: Prediction) -> Times:
        """The times of a prediction on one device."""
        assert isinstance(prediction.hardware, Hardware)
        terms = terms_of(prediction.layers, prediction.hardware)
        return cls(
            mac_s=prediction.mac_time_s,
            vector_s=prediction.vector_time_s,
            mem_s=prediction.mem_time_s,
            weight_s=np.zeros(len(prediction.layers)) + terms["weight_bytes"] / terms["weight_bytes_per_s"],
            add=terms["add"],
            layers_overhead_s=float(np.sum(np.broadcast_to(terms["overhead_s"], len(prediction.layers)))),
            inference_overhead_s=float(prediction.inference_overhead_s),
        )

    @property
    def overhead_s(self) -> float:
        """What no rate changes."""
        return self.layers_overhead_s + self.inference_overhead_s

    @property
    def latency_s(self) -> float:
        """At the rates as they are."""
        return self.overhead_s + float(combined(self.mac_s, self.vector_s, self.mem_s, self.add).sum())

    def scaled(self, *, peak: float = 1.0, bandwidth: float = 1.0) -> Times:
        """The times with a peak and bandwidths so many times larger."""
        return replace(self, mac_s=self.mac_s / peak, mem_s=self.mem_s / bandwidth, weight_s=self.weight_s / bandwidth)

    def response(self, *rates: Rate) -> Response:
        """The latency over one factor by which all of these rates grow.

        ``bandwidth`` is all of them, that of weights too; ``weight_bandwidth`` stands alone.
        """
        none = np.zeros(len(self.mac_s))
        if "weight_bandwidth" in rates:
            assert rates == ("weight_bandwidth",)
            moving, beside = self.weight_s, self.mem_s - self.weight_s
            others = combined(self.mac_s, self.vector_s, none, self.add)
            if self.add:
                return Response.of(self.overhead_s + float((others + beside).sum()), moving, none)
            # max(w / f + a, h) = a + max(w / f, h - a)
            return Response.of(self.overhead_s + float(beside.sum()), moving, np.maximum(others - beside, 0.0))

        def at(moves: bool) -> Floats:
            """The times at the rates that grow, or at the others."""
            times = {"peak": self.mac_s, "vector": self.vector_s, "bandwidth": self.mem_s}
            mac_s, vector_s, mem_s = (time if (rate in rates) == moves else none for rate, time in times.items())
            return combined(mac_s, vector_s, mem_s, self.add)

        if self.add:
            return Response.of(self.overhead_s + float(at(False).sum()), at(True), none)
        return Response.of(self.overhead_s, at(True), at(False))

    def bandwidth_for(self, target_s: float, *, peak: float) -> float | None:
        """The factor of the bandwidths on the iso-latency curve at that of the peak."""
        return self.scaled(peak=peak).response("bandwidth").factor_for(target_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class IsoPoint:
    """A knee of an iso-latency curve.

    Attributes:
        peak, bandwidth: Factors of the device's own.
        layers: Those that change sides there.
    """

    peak: float
    bandwidth: float
    layers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class IsoCurve:
    """All peaks and bandwidths with which a latency is reached and not beaten.

    Between neighbouring points it is straight in the plane of 1/peak and 1/bandwidth, and so from the first point to
    (0, 1 / least_bandwidth), and from the last to (1 / least_peak, 0).

    Attributes:
        target_s: The latency.
        points: The knees, from the largest peak to the smallest.
        least_peak: The factor of the peak that would do with an infinite bandwidth.
        least_bandwidth: The converse.
    """

    target_s: float
    points: tuple[IsoPoint, ...]
    least_peak: float
    least_bandwidth: float

    def cheapest(self, times: Times) -> IsoPoint:
        """The point of the least product: a doubling of the one rate costs what a doubling of the other does.

        There, further growth of either gains the same. The product of 1/peak and 1/bandwidth has one maximum on a
        convex polygon, and on each of its sides it is a parabola.
        """
        corners = [
            (0.0, 1 / self.least_bandwidth),
            *((1 / point.peak, 1 / point.bandwidth) for point in self.points),
            (1 / self.least_peak, 0.0),
        ]
        u, w = max((_best_of_side(*side) for side in pairwise(corners)), key=lambda best: best[0] * best[1])
        along = times.scaled(peak=w / u).response("peak", "bandwidth").factor_for(self.target_s)
        assert along is not None, "it is on the curve but for rounding"
        return IsoPoint(peak=along * w / u, bandwidth=along)


def _best_of_side(start: tuple[float, float], end: tuple[float, float]) -> tuple[float, float]:
    """Where on a side of the polygon, on which u grows and w falls, u * w is the largest."""
    (u0, w0), (u1, w1) = start, end
    if u1 <= u0 or w1 >= w0:
        return start if u0 * w0 > u1 * w1 else end
    fall = (w0 - w1) / (u1 - u0)
    u = min(max((u0 + w0 / fall) / 2, u0), u1)  # half way to where the side would meet w = 0
    return u, w0 - fall * (u - u0)


def iso_latency(times: Times, target_s: float) -> IsoCurve | None:
    """The curve of one latency; None where no peak and bandwidth reach it, or where one of them does not matter."""
    least_peak = times.scaled(bandwidth=math.inf).response("peak").factor_for(target_s)
    least_bandwidth = times.scaled(peak=math.inf).response("bandwidth").factor_for(target_s)
    if not least_peak or not least_bandwidth:
        return None
    found = [] if times.add else list(_knees(times, target_s))
    points = tuple(sorted(found, key=lambda point: (-point.peak, point.bandwidth)))
    return IsoCurve(target_s=target_s, points=points, least_peak=least_peak, least_bandwidth=least_bandwidth)


def _knees(times: Times, target_s: float) -> Iterator[IsoPoint]:
    """Where the curve meets a line on which layers change sides.

    MACs take over from bytes on a ray from the origin, p / b = m / q; vector ops from MACs at a peak, and from bytes at
    a bandwidth.
    """
    for ray, layers in _ratios(times.mac_s, times.mem_s):
        along = times.scaled(peak=ray).response("peak", "bandwidth").factor_for(target_s)
        if along:
            yield from _turning(times, layers, peak=along * ray, bandwidth=along, pair_s=times.mac_s / (along * ray))
    for peak, layers in _ratios(times.mac_s, times.vector_s):
        bandwidth = times.bandwidth_for(target_s, peak=peak)
        if bandwidth:
            yield from _turning(times, layers, peak=peak, bandwidth=bandwidth, pair_s=times.vector_s)
    for bandwidth, layers in _ratios(times.mem_s, times.vector_s):
        needed = times.scaled(bandwidth=bandwidth).response("peak").factor_for(target_s)
        if needed:
            yield from _turning(times, layers, peak=needed, bandwidth=bandwidth, pair_s=times.vector_s)


def _ratios(above: Floats, below: Floats) -> list[tuple[float, Ints]]:
    """The distinct ratios of two times, where both are more than 0, with the layers that have them."""
    both = np.flatnonzero((above > 0) & (below > 0))
    ratios, member = np.unique(above[both] / below[both], return_inverse=True)
    return [(float(ratio), both[member == number]) for number, ratio in enumerate(ratios)]


def _turning(times: Times, layers: Ints, *, peak: float, bandwidth: float, pair_s: Floats) -> Iterator[IsoPoint]:
    """A knee of those of the layers for which the two times that are equal there are also the longest."""
    moved = times.scaled(peak=peak, bandwidth=bandwidth)
    longest_s = combined(moved.mac_s, moved.vector_s, moved.mem_s)
    turning = layers[longest_s[layers] <= pair_s[layers] * (1 + AT_KNEE)]
    if len(turning):
        yield IsoPoint(peak=peak, bandwidth=bandwidth, layers=tuple(turning.tolist()))
