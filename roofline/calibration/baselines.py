"""What an estimator has to beat: regressions on whole networks that look at no op, and a ceiling that cannot be beaten.

``macs``             a constant times MACs;
``three_constants``  on MACs, activation bytes and ops. In the trial behind this package it was the best of the cheap
                     ones: a median error of 13 %, and 37 % of networks within 10 %.

Both are fitted to the networks of the same calibration. ``composed`` is no estimator: it sums ops that were *measured*
in the network in question, so its error is that of composition alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from roofline.calibration.estimators import NO_INTERVAL, Estimate, Estimator, layer_rows
from roofline.calibration.kernels import kernels_of
from roofline.calibration.physics import nonnegative_fit
from roofline.errors import CalibrationError

if TYPE_CHECKING:
    from roofline.calibration.data import Calibration
    from roofline.calibration.fitting import Fitted
    from roofline.graph import Graph

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Regression:
    """A latency that is linear in what a whole network does.

    Attributes:
        name: Of the baseline.
        mac_s, byte_s, op_s: Seconds a MAC, a byte of activations read or written, and an op that is no view.
        dtype: That of the activations.
    """

    name: str
    mac_s: float
    byte_s: float = 0.0
    op_s: float = 0.0
    dtype: str = "fp32"

    def estimate(self, graph: Graph) -> Estimate:
        """The latency of the network; that of an op is what its own MACs and bytes come to."""
        from roofline.layers import lower

        layers, kernels = lower(graph, fusion="none", dtype=self.dtype), kernels_of(graph)
        rows = layer_rows(graph, kernels)
        op_s = np.full(len(kernels.op), self.op_s)
        op_s[rows] += self.mac_s * layers.macs + self.byte_s * layers.activation_bytes
        return Estimate(
            estimator=self.name,
            latency_s=float(op_s.sum()),
            op_s=op_s,
            kernels=kernels,
            host_s=0.0,
            interval80_s=NO_INTERVAL,
            interval90_s=NO_INTERVAL,
            fallback_share=0.0,
            outside_share=0.0,
            notes=(),
            layer_rows=rows,
        )


def baselines(calibration: Calibration) -> dict[str, Estimator]:
    """The regressions, by name.

    Raises:
        CalibrationError: No network was measured as a whole.
    """
    wholes = calibration.wholes
    if not len(wholes.time_s):
        raise CalibrationError("the calibration has no network measured as a whole to fit a baseline to")
    columns = np.column_stack([wholes.macs, wholes.activation_bytes, wholes.ops])
    found: dict[str, Estimator] = {}
    for name, used in (("macs", 1), ("three_constants", 3)):
        constants = np.zeros(columns.shape[1])
        constants[:used] = nonnegative_fit(columns[:, :used], wholes.time_s)
        mac_s, byte_s, op_s = constants.tolist()
        found[name] = Regression(name, mac_s, byte_s, op_s, calibration.dtype)
    return found


def composed_s(fitted: Fitted, measured_op_s: Floats, *, ops: int, module_calls: int, views: int) -> float:
    """A network's latency composed of ops that were measured in it: the ceiling of composition, in seconds.

    Args:
        fitted: Its host terms are taken.
        measured_op_s: The time of each of its ops in context, at the machine's reference state.
        ops, module_calls, views: How many there are.
    """
    ops_s = float(np.sum(measured_op_s))
    return ops_s + sum(fitted.host.parts_s(ops_s, ops, module_calls, views).values())
