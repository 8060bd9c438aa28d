r"""How far off an estimate of a whole network may be: conformal intervals from networks that were left out.

The spread of a network's error follows from those of its kernel calls, which err independently, and from that of
putting calls together,

.. math:: \sigma^2 = \sum_i (w_i \sigma_i)^2 + \sigma_0^2

with w the share of the time that a kernel call has (equal ones together), :math:`\sigma_i` the spread of its class in
cross-validation, twice that where its class or size was never measured, and :math:`\sigma_0` that of the law by which
measured calls compose. (Of 334 networks left out in turn, the likeliest share of a class's variance that its calls have
in common was 0.) The scale of it is measured: each network of the calibration is predicted from others, and the
interval is :math:`\hat t \exp(\pm q \sigma)` with q the conformal quantile of :math:`|\ln t / \hat t| / \sigma`
(split conformal prediction with normalised scores: Lei et al., JASA 113, 2018, doi:10.1080/01621459.2017.1307116).

A network of the calibration is timed a few times, so t has an error of its own, of root mean square :math:`\nu`, which
an interval of the latency is not to contain. With s the scale by which estimates alone explain the rest of the squared
errors, :math:`s^2 = \sum (\ln^2 (t/\hat t) - \nu^2) / \sum \sigma^2`, scores are
:math:`|\ln t / \hat t| / (s^2 \sigma^2 + \nu^2)^{1/2}`, and q is s times their quantile: the same where :math:`\nu`
is 0. This is exact where both errors have one distribution, as normal ones have; where noise has the longer tails,
intervals come out too narrow, so a fifth of the squared errors is the estimates' own whatever :math:`\nu` is. All of
it holds for networks like those of the calibration; how it does for others, validation tells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVELS = (0.80, 0.90)
UNMEASURED = 2.0  # times the spread, of ops of which nothing like it was measured; an estimate
LEAST_SPREAD = 0.01  # of a class; no time is known better
FEWEST_ROWS = 5  # of a class with a spread of its own
FEWEST_NETWORKS = 4  # from which a scale is measured
LEAST_OWN = 0.2  # of squared errors, what is not noise at least, as that is known but about; a choice
MANY_NETWORKS = 20  # from which on an interval needs no caveat


@dataclass(frozen=True, slots=True, eq=False)
class Intervals:
    """Intervals of one estimator.

    Attributes:
        spread: Root mean square of the log error of calls left out, each as long as it takes, by class.
        any_spread: That of all calls.
        widths: q, by level.
        networks: On how many networks it rests.
        composing: Root mean square of the log error of networks whose calls are known.
    """

    spread: Mapping[str, float]
    any_spread: float
    widths: Mapping[float, float]
    networks: int
    composing: float = 0.0

    @classmethod
    def of(
        cls,
        kernel: NDArray[np.str_],
        log_error: Floats,
        *,
        groups: NDArray[np.intp],
        op_s: Floats,
        whole_log_error: Floats,
        is_unmeasured: NDArray[np.bool_],
        composing: float = 0.0,
        noise: float = 0.0,
    ) -> Intervals:
        """From calls and networks that were left out.

        Args:
            kernel: Class of each of n calls.
            log_error: ln(measured / estimated) of each.
            groups: Index of each call's network among the m; -1 where its network does not count.
            op_s: Time of each call, in seconds.
            whole_log_error: ln(measured / estimated) of each of m networks.
            is_unmeasured: Which calls had nothing like them among the others.
            composing: Root mean square of the log error of networks whose calls are known.
            noise: That of the times of networks themselves.
        """
        seen = ~is_unmeasured
        spread = {}
        for name in np.unique(kernel).tolist():
            rows = (kernel == name) & seen
            if rows.sum() >= FEWEST_ROWS:
                spread[name] = _rms(log_error[rows], op_s[rows])
        bare = cls(spread, _rms(log_error, op_s), {}, len(whole_log_error), composing)
        if len(whole_log_error) < FEWEST_NETWORKS:  # nothing to measure the scale by: that of a normal distribution
            widths = {level: UNMEASURED * NormalDist().inv_cdf((1 + level) / 2) for level in LEVELS}
        else:
            sigma = np.array(
                [
                    bare.sigma(kernel[groups == group], op_s[groups == group], is_unmeasured[groups == group])
                    for group in range(len(whole_log_error))
                ]
            )
            own, square = own_rms(whole_log_error, noise), float(np.mean(whole_log_error**2))
            scale = own / math.sqrt(float(np.mean(sigma**2)))
            scores = np.abs(whole_log_error) / np.sqrt((scale * sigma) ** 2 + square - own**2)
            widths = {level: scale * conformal_quantile(scores, level) for level in LEVELS}
        return cls(spread, bare.any_spread, widths, len(whole_log_error), composing)

    def sigma(
        self,
        kernel: NDArray[np.str_],
        op_s: Floats,
        is_unmeasured: NDArray[np.bool_],
        key: Sequence[str] | None = None,
    ) -> float:
        """The spread of the log error of a network with such ops, before it is scaled.

        Args:
            kernel, op_s, is_unmeasured: Class and seconds of each of n ops, and whether nothing like it was measured.
            key: What tells kernel calls apart: equal ones, such as those of repeated blocks, err as one. All are
                taken to differ if None.
        """
        total_s = float(op_s.sum())
        if total_s <= 0:
            return self.any_spread
        own = np.array([self.spread.get(name, self.any_spread) for name in kernel.tolist()])
        own = np.where(is_unmeasured, UNMEASURED * np.maximum(own, self.any_spread), own)
        part = op_s / total_s * own
        if key is not None:
            _, call = np.unique(np.asarray(key), return_inverse=True)
            part = np.bincount(call, weights=part)
        return float(np.sqrt((part**2).sum() + self.composing**2))

    def around(self, latency_s: float, sigma: float, level: float) -> tuple[float, float]:
        """From and to, in seconds."""
        wide = math.exp(self.widths[level] * sigma)
        return latency_s / wide, latency_s * wide

    @property
    def note(self) -> str | None:
        """What has to be said of how few networks it rests on."""
        if self.networks >= MANY_NETWORKS:
            return None
        if self.networks < FEWEST_NETWORKS:
            return (
                f"the intervals are an estimate: {self.networks} networks were measured as wholes, "
                f"and it takes {FEWEST_NETWORKS} to check one"
            )
        return f"the intervals are approximate: they rest on {self.networks} networks, and {MANY_NETWORKS} are few"


def own_rms(errors: Floats, noise: float) -> float:
    """Root mean square of what errors, (m,), are without a noise of such a root mean square."""
    square = float(np.mean(errors**2))
    return math.sqrt(max(square - noise**2, LEAST_OWN * square))


def conformal_quantile(scores: Floats, level: float) -> float:
    """The score that a further network exceeds with a probability of at most ``1 - level``, if it is like the others.

    That is the ceil((m + 1) level)-th smallest of m. Where there are too few for that, the largest has to do.

    >>> conformal_quantile(np.arange(1.0, 20.0), 0.90)
    18.0
    """
    rank = math.ceil(round((len(scores) + 1) * level, 9))
    return float(np.sort(scores)[min(rank, len(scores)) - 1])


def _rms(values: Floats, weights: Floats) -> float:
    return max(float(np.sqrt(np.average(values**2, weights=weights))), LEAST_SPREAD) if len(values) else LEAST_SPREAD
