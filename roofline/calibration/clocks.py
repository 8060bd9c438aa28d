r"""CUDA in eager mode: two clocks, the host's and the device's.

The host hands over op i at :math:`h_i` and goes on; the device begins it when it has ended the one before,

.. math:: d_i = \max(h_i,\, d_{i-1}) + t_i, \qquad T = \max(h_{end},\, d_n) + s

with t the time by events, s that of waiting for the end (``synchronise``). So a network of short kernels takes what the
host takes to launch them, one of long kernels what these take, and one of both anything in between. The host's times
are a constant an op, a view and a module call, fitted to how long calls took to return. This has been tested on an
accelerator that exists on paper, and has never met a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roofline.calibration.estimators import Estimate, estimated
from roofline.calibration.fitting import Fitted
from roofline.calibration.kernels import Kernels, kernels_of
from roofline.calibration.physics import nonnegative_fit
from roofline.graph import Graph

Floats = NDArray[np.float64]

WHOLE_TERMS = ("host_s",)  # of a network: seconds until the call returned, without waiting for the device


def end_s(issue_s: Floats, device_s: Floats) -> float:
    r"""When the device has ended the last op.

    The recursion of the module's head, solved: :math:`\max_k (h_k + \sum_{j \ge k} t_j)`, as the device last waits
    for the host before some op k.

    Args:
        issue_s: When the host has handed over each op, ascending; shape (n,).
        device_s: What each takes; shape (n,).

    >>> end_s(np.array([1.0, 2.0, 9.0]), np.array([5.0, 1.0, 2.0]))
    11.0
    """
    return float((issue_s + np.cumsum(device_s[::-1])[::-1]).max(initial=0.0))


@dataclass(frozen=True, slots=True)
class TwoClocks:
    """What the host takes.

    Attributes:
        op_s, module_s, view_s: Seconds an op that is no view, a module call, a view.
        synchronise_s: Seconds from the end of both clocks to that of the call.
    """

    op_s: float
    module_s: float
    view_s: float
    synchronise_s: float

    @classmethod
    def fit(cls, time_s: Floats, ops_s: Floats, terms: Floats) -> TwoClocks:
        """From m networks: their times, the sums of their ops on the device, and terms, (m, 4).

        Args:
            time_s: Seconds from the call until the device has ended, (m,).
            ops_s: Sum of the times by events, (m,).
            terms: Seconds until the call returned, ops, module calls and views.
        """
        if not len(time_s):
            return cls(0.0, 0.0, 0.0, 0.0)
        op_s, module_s, view_s = nonnegative_fit(terms[:, 1:], terms[:, 0]).tolist()
        bare = cls(op_s, module_s, view_s, 0.0)
        rest_s = float(np.median(time_s - bare.whole_s(ops_s, terms)))
        return cls(op_s, module_s, view_s, max(0.0, rest_s))

    def whole_s(self, ops_s: Floats, terms: Floats) -> Floats:
        """Seconds of m networks of which no order is known: the longer of the clocks, which is the least it can be."""
        host_s = terms[:, 1:] @ np.array([self.op_s, self.module_s, self.view_s])
        return np.asarray(np.maximum(host_s, self.op_s + ops_s) + self.synchronise_s)

    def issue_s(self, graph: Graph) -> tuple[Floats, float]:
        """When the host has handed over each op that is no view, (n,), and when it is done.

        Module calls are spread evenly over the ops.
        """
        is_view = np.array([op.is_view for op in graph.ops], dtype=bool)
        kernels = max(int((~is_view).sum()), 1)
        op_s = self.op_s + self.module_s * graph.module_calls / kernels
        passed_s = np.cumsum(np.where(is_view, self.view_s, op_s))
        return passed_s[~is_view], float(passed_s[-1]) if len(passed_s) else 0.0

    def network_s(self, graph: Graph, device_s: Floats) -> float:
        """Seconds of a traced network with such times on the device, an op that is no view each."""
        issue_s, host_s = self.issue_s(graph)
        return max(host_s, end_s(issue_s, device_s)) + self.synchronise_s


@dataclass(frozen=True, slots=True, eq=False)
class TwoClocksEstimator:
    """``calibrated`` or ``learned``, of networks on CUDA.

    Attributes:
        name: Which.
        fitted: What was fitted to the calibration.
        clocks: The host's part of it.
        notes: What holds of all its estimates.
    """

    name: str
    fitted: Fitted
    clocks: TwoClocks
    notes: tuple[str, ...] = ()

    def estimate(self, graph: Graph) -> Estimate:
        """The latency of the network at the machine's reference state; the host's part is what the device waits."""
        kernels: Kernels = kernels_of(graph)
        ops = self.fitted.estimate_ops(self.name, kernels.kernel, kernels.terms)
        latency_s = self.clocks.network_s(graph, ops.op_s)
        waits_s = latency_s - float(ops.op_s.sum())
        return estimated(self, graph, kernels, ops, latency_s, {"launch": waits_s})
