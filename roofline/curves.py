"""ModelTime of one model over the ridge point, as an exact piecewise linear curve, and which of two curves is lower.

Of a model with layers i, at ridge point RP = P / B (peak over bandwidth, MACs/byte):

    "peak"         the peak is 1 MAC per unit          T(RP) = sum of max(MACs_i, RP * bytes_i)
    "bandwidth"    the bandwidth is 1 byte per unit    T(RP) / RP = sum of max(MACs_i / RP, bytes_i)

This is eq. 1 of the MobileNetV4 paper (arXiv:2404.10518, section 3) in two units of time. T is convex and never falls,
with its knees at the layers' operational intensities. The layers are sorted by intensity once; with prefix sums of
whole numbers, any ridge point then costs one binary search, and two curves cross at roots of straight lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from roofline.errors import RooflineError
from roofline.layers import Ints, check_choice

NORMALISATIONS = ("peak", "bandwidth")
MAX_RIDGE_POINT = 1e18  # MACs/byte; beyond any machine, and far from where times leave the range of floats

Floats = NDArray[np.float64]


# --- one model: a curve -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Curve:
    """ModelTime of one model over the ridge point.

    With k layers memory-bound, T(RP) = macs_beyond[k] + RP * bytes_below[k]. The sums are whole numbers, so that two
    curves compare without rounding.

    Attributes:
        intensities: Operational intensities of the layers, ascending, MACs/byte; shape ``(layers,)``. A layer without
            bytes has an infinite one, and is never memory-bound; a layer without MACs has 0.
        macs_beyond: MACs of all layers but the first k; shape ``(layers + 1,)``.
        bytes_below: Bytes of the first k layers; shape ``(layers + 1,)``.
    """

    intensities: Floats
    macs_beyond: Ints
    bytes_below: Ints

    def __post_init__(self) -> None:
        for column in (self.intensities, self.macs_beyond, self.bytes_below):
            column.flags.writeable = False

    @classmethod
    def from_layers(cls, macs: Ints, mem_bytes: Ints) -> Curve:
        """The curve of layers with these MACs and these bytes, in any order; O(layers log layers).

        Raises:
            RooflineError: A count is negative, or the counts leave 64 bits.
        """
        intensity = np.divide(macs, mem_bytes, out=np.where(macs > 0, np.inf, 0.0), where=mem_bytes > 0)
        ascending = np.argsort(intensity)
        macs_below, bytes_below = np.zeros((2, len(ascending) + 1), dtype=np.int64)
        np.cumsum(macs[ascending], out=macs_below[1:])
        np.cumsum(mem_bytes[ascending], out=bytes_below[1:])
        lowest = min(macs.min(initial=0), mem_bytes.min(initial=0), macs_below.min(), bytes_below.min())
        if lowest < 0:  # a sum of two numbers of 63 bits that leaves them shows as a negative one
            raise RooflineError("the MACs and bytes of the layers must be at least 0 and add up within 64 bits")
        return cls(intensities=intensity[ascending], macs_beyond=macs_below[-1] - macs_below, bytes_below=bytes_below)

    @property
    def macs(self) -> int:
        """All MACs: T at ridge point 0, where memory costs nothing."""
        return int(self.macs_beyond[0])

    @property
    def mem_bytes(self) -> int:
        """All bytes: what T / RP falls to as the ridge point grows and MACs cost nothing."""
        return int(self.bytes_below[-1])

    @property
    def knees(self) -> Floats:
        """Where the slope of T changes: the distinct operational intensities between 0 and infinity, ascending."""
        return np.unique(self.intensities[(self.intensities > 0) & (self.intensities < np.inf)])

    def time(self, ridge_points: ArrayLike, *, normalisation: str = "peak") -> Floats:
        """ModelTime at each ridge point, shaped like them; one binary search each.

        Args:
            ridge_points: RP, MACs/byte, from 0 to `MAX_RIDGE_POINT`.
            normalisation: ``"peak"``, the default: the unit is the time of one MAC at the peak. It is finite everywhere
                (at 0 it is the number of MACs), linear between knees, and its slope is a number of bytes.
                ``"bandwidth"``: the unit is the time of one byte; infinite at 0 for a model with MACs.

        Raises:
            RooflineError: A ridge point out of range, or an unknown normalisation.

        >>> curve = Curve.from_layers(np.array([100, 10]), np.array([10, 10]))  # knees at 10 and 1 MACs/byte
        >>> curve.time([0, 1, 4, 10, 20]).tolist()
        [110.0, 110.0, 140.0, 200.0, 400.0]
        >>> curve.time([0, 1, 4, 10, 20], normalisation="bandwidth").tolist()
        [inf, 110.0, 35.0, 20.0, 20.0]
        """
        check_choice("normalisation", normalisation, NORMALISATIONS)
        points, macs, mem_bytes = self._split(ridge_points, side="right")  # no layer then divides 0 by 0
        if normalisation == "peak":
            return np.asarray(macs + points * mem_bytes)
        with np.errstate(over="ignore"):  # at 1e-300, a time is as good as infinite
            mac_time = np.divide(macs, points, out=np.where(macs > 0, np.inf, 0.0), where=points > 0)
        return np.asarray(mac_time + mem_bytes)

    def slope(self, ridge_points: ArrayLike) -> Ints:
        """dT/dRP at a fixed peak, which is the bytes of the memory-bound layers; at a knee, the slope before it.

        For a layer on the ridge counts as compute-bound, as in `roofline.engine`.
        """
        return self._split(ridge_points)[2]

    def memory_bound_share(self, ridge_points: ArrayLike) -> Floats:
        """Share of the time in memory-bound layers, 0 to 1; 0 for a model without work."""
        points, macs, mem_bytes = self._split(ridge_points)
        memory = points * mem_bytes
        total = macs + memory
        return np.asarray(np.divide(memory, total, out=np.zeros_like(total), where=total > 0))

    def _split(self, ridge_points: ArrayLike, *, side: Literal["left", "right"] = "left") -> tuple[Floats, Ints, Ints]:
        """The ridge points, the MACs of the compute-bound layers there, and the bytes of the memory-bound ones.

        A layer on the ridge, which takes the same time as either, is compute-bound from the left.
        """
        points = np.asarray(ridge_points, dtype=np.float64)
        if not ((points >= 0) & (points <= MAX_RIDGE_POINT)).all():
            raise RooflineError(f"a ridge point is a number of MACs/byte from 0 to {MAX_RIDGE_POINT:g}")
        memory_bound = np.searchsorted(self.intensities, points, side=side)
        return points, np.asarray(self.macs_beyond[memory_bound]), np.asarray(self.bytes_below[memory_bound])


# --- two models: which is the faster --------------------------------------------------------------------------------


class Stretch(NamedTuple):
    """A stretch of ridge points along which the order of two curves stays the same.

    Attributes:
        low, high: Its ends, MACs/byte.
        sign: -1 where the first curve is the faster, 1 where the second is, 0 where they coincide.
    """

    low: float
    high: float
    sign: int


def order(first: Curve, second: Curve, *, low: float, high: float) -> tuple[Stretch, ...]:
    """Which of two curves is the faster, from ridge point `low` to `high`.

    Between two knees of either, the difference of the curves is a straight line dM + RP dQ with whole dM and dQ, whose
    sign on each side of its root -dM / dQ is known without rounding. Each stretch has another sign than the one before
    it. Curves that touch and part again in the same order stay in one stretch.

    Returns:
        The stretches in ascending order, from `low` to `high` without gaps. A root is the nearest float to the true one
        as long as the models have less than 2^53 MACs and bytes.
    """
    knees = np.concatenate([curve.intensities for curve in (first, second)])
    nodes = np.unique(np.concatenate([knees[(knees > low) & (knees < high)], [low, high]]))
    left, right = nodes[:-1], nodes[1:]
    of_first, of_second = (np.searchsorted(curve.intensities, left, side="right") for curve in (first, second))
    macs = first.macs_beyond[of_first] - second.macs_beyond[of_second]
    mem_bytes = first.bytes_below[of_first] - second.bytes_below[of_second]
    root = np.divide(-macs, mem_bytes, out=np.full(len(left), np.nan), where=mem_bytes != 0)
    rise = np.sign(mem_bytes)  # the sign of a line beyond its root; before it, the line has the other
    inside = (left < root) & (root < right)
    begins = np.where(rise == 0, np.sign(macs), np.where(root <= left, rise, -rise))
    starts = np.concatenate([left, root[inside]])
    signs = np.concatenate([begins, rise[inside]])
    ascending = np.argsort(starts)
    starts, signs = starts[ascending], signs[ascending]
    is_new = np.concatenate([[True], signs[1:] != signs[:-1]])
    ends = pairwise([*starts[is_new].tolist(), float(high)])
    return tuple(Stretch(*both, sign) for both, sign in zip(ends, signs[is_new].tolist(), strict=True))
