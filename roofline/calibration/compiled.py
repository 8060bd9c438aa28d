r"""Compiled networks: what libraries take, as measured or estimated, and a law of the loops that are generated.

.. math:: T = s \sum_{i \in library} t_i + a + b\,\mathrm{library} + r\,\mathrm{runs} + g\,\mathrm{modules}
              + \sum_{loops} (l + c_1 \mathrm{moved} + c_2 \mathrm{reordered} + c_3 \mathrm{outer}
              + c_4 \mathrm{vector} + c_5 \mathrm{transcendental})

No constant is below 0. They are fitted to networks that were compiled and timed as wholes, of which there are few,
since compiling one takes 10 to 30 s: those of loops to what a profiler says the loops of each took, the others to the
rest. (`roofline.calibration.inductor` says what a loop is.)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from roofline.calibration.estimators import Estimate, estimated
from roofline.calibration.fitting import Fitted, OpEstimate
from roofline.calibration.inductor import LOOP_TERMS, WHOLE_TERMS, compiled
from roofline.calibration.intervals import FEWEST_NETWORKS, Intervals
from roofline.calibration.physics import COMPOSITION, nonnegative_fit, rest_fit
from roofline.graph import Graph

Floats = NDArray[np.float64]

# Relative errors of networks from which on they count linearly: of 45, most came within that, and some took twice what
# is known of them, as where the compiler makes something else of a pool. These would have all libraries scaled by 1.09.
ODD_ONES = 0.15
PER_NETWORK = len(WHOLE_TERMS) - len(LOOP_TERMS)  # the terms that no loop has


@dataclass(frozen=True, slots=True, eq=False)
class CompiledLaw:
    """What a compiled network takes beside the kernels of libraries.

    Attributes:
        constants: Seconds a unit of each of `WHOLE_TERMS`.
        composition: What a sum of library kernels is multiplied by within a network.
        networks: It was fitted to.
    """

    constants: Floats
    composition: float
    networks: int

    @classmethod
    def fit(cls, time_s: Floats, ops_s: Floats, columns: Floats) -> CompiledLaw:
        """From m networks: their times, the sums of their library kernels, (m,), and `KEPT_TERMS` of each, (m, k)."""
        if not len(time_s):
            return cls(np.zeros(len(WHOLE_TERMS)), 1.0, 0)
        called, loops, loops_s = columns[:, :PER_NETWORK], columns[:, PER_NETWORK:-1], columns[:, -1]
        rest_s = time_s - loops_s
        constants = nonnegative_fit(np.column_stack([ops_s, called]), rest_s, outlier=ODD_ONES)
        enough = len(time_s) >= 2 * len(constants)
        composition = float(np.clip(constants[0], *COMPOSITION)) if enough else 1.0
        of_calls = constants[1:]
        if composition != constants[0]:
            of_calls = rest_fit(called, rest_s - composition * ops_s, time_s)
        of_loops = nonnegative_fit(loops, loops_s, weight=loops_s / time_s, outlier=ODD_ONES)
        return cls(np.concatenate([of_calls, of_loops]), composition, len(time_s))

    def whole_s(self, ops_s: Floats, columns: Floats) -> Floats:
        """Seconds of m networks; of their columns, (m, k), the first are `WHOLE_TERMS`."""
        return np.asarray(self.composition * ops_s + columns[:, : len(WHOLE_TERMS)] @ self.constants)

    def loops_s(self, loops: Floats) -> Floats:
        """Seconds of loops with such terms, (g, len(LOOP_TERMS))."""
        return np.asarray(loops @ self.constants[PER_NETWORK:])

    def loops_of(self, columns: Floats) -> Floats:
        """Seconds of all loops of m networks, with columns as `whole_s` takes them; (m,)."""
        return np.asarray(columns[:, PER_NETWORK : len(WHOLE_TERMS)] @ self.constants[PER_NETWORK:])

    def parts_s(self, ops_s: float, whole: Floats) -> dict[str, float]:
        """Seconds of a network beside its library kernels and its loops, by what they are for."""
        called_s = (self.constants * whole)[:PER_NETWORK].tolist()
        return dict(zip(WHOLE_TERMS[:PER_NETWORK], called_s, strict=True)) | {
            "composition": (self.composition - 1) * ops_s
        }


def for_few(intervals: Intervals) -> Intervals:
    """Intervals widened where there are too few networks for a level.

    The largest of m errors is exceeded in one of m + 1 cases. What is exceeded less often, nobody has seen: it is taken
    to be as much further out as if errors were normal.
    """
    reached = intervals.networks / (intervals.networks + 1)
    if intervals.networks < FEWEST_NETWORKS:
        return intervals
    quantile = NormalDist().inv_cdf
    widths: Mapping[float, float] = {
        level: width * max(1.0, quantile((1 + level) / 2) / quantile((1 + reached) / 2))
        for level, width in intervals.widths.items()
    }
    return replace(intervals, widths=widths)


@dataclass(frozen=True, slots=True, eq=False)
class CompiledEstimator:
    """``calibrated`` or ``learned``, of compiled networks.

    Attributes:
        name: Which; of the kernels of libraries, as loops have one law alone.
        fitted: What was fitted to the calibration.
        law: That of loops and calls.
        notes: What holds of all its estimates.
    """

    name: str
    fitted: Fitted
    law: CompiledLaw
    notes: tuple[str, ...] = ()

    def estimate(self, graph: Graph) -> Estimate:
        """The latency of the network, compiled, at the machine's reference state."""
        plan = compiled(graph)
        kernels, library = plan.kernels, plan.is_library
        own = self.fitted.estimate_ops(self.name, kernels.kernel[library], kernels.terms[library])
        library_s, is_fallback, is_outside = np.zeros(len(library)), np.zeros_like(library), np.zeros_like(library)
        library_s[library], is_fallback[library], is_outside[library] = own.op_s, own.is_fallback, own.is_outside
        op_s = plan.op_s(library_s, self.law.loops_s(plan.loops))
        ops = OpEstimate(op_s=op_s, is_fallback=is_fallback, is_outside=is_outside)
        host = self.law.parts_s(float(own.op_s.sum()), plan.whole)
        latency_s = float(op_s.sum()) + sum(host.values())
        cut = (
            ("recurrent layers run in eager mode and cut the compiled graph, which is left out",) if plan.is_cut else ()
        )
        return estimated(self, graph, kernels, ops, latency_s, host, cut)
