"""Estimators of a network's latency behind one interface, to be read side by side.

``roofline``
    Eq. 1 of the MobileNetV4 paper on the figures of a profile, each op for itself (`roofline.engine`).
``calibrated``
    Physics: the class of each op's kernel has a law of non-negative constants, fitted to what was measured on this
    machine; host terms come on top (`roofline.calibration.fitting`).
``learned``
    That times a learned residual, as far as cross-validation by network says that it helps, and only inside the range
    of what was measured (`roofline.calibration.learning`). It needs scikit-learn.

On a CPU in eager mode ops run one after the other, so a latency is the sum of its ops and of what the host does around
them: a cost an op, a module call and a view. Compiled, it is the sum of kernels of libraries and of fused loops
(`roofline.calibration.compiled`); on CUDA it is the end of two clocks (`roofline.calibration.clocks`). Times are for
the machine's reference state.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from roofline.calibration.kernels import TERMS, Kernels, kernels_of
from roofline.errors import CalibrationError, did_you_mean
from roofline.units import percent

if TYPE_CHECKING:
    from roofline.calibration.data import Calibration
    from roofline.calibration.fitting import Fitted, OpEstimate
    from roofline.calibration.intervals import Intervals
    from roofline.graph import Graph
    from roofline.hardware import Hardware
    from roofline.layers import LayerTable

Floats = NDArray[np.float64]

NAMES = ("roofline", "calibrated", "learned")  # in ascending order of what they know
MANY_FALLBACKS, MANY_OUTSIDE = 0.05, 0.10  # shares of the time from which on an estimate says so
NO_INTERVAL = (float("nan"), float("nan"))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Estimate:
    """The latency of one network as one estimator has it, in seconds.

    Attributes:
        estimator: Its name.
        latency_s: Of the network: its ops and the host's part.
        op_s: Of each op that is no view; shape (n,), as the rows of `kernels`.
        kernels: What the ops run.
        host_s: What the host adds: the sum of `host`.
        interval80_s, interval90_s: From and to, of the network; NaN where the estimator has no interval.
        fallback_share: Of the time of the ops, what is in those whose class of kernels was never measured.
        outside_share: What is in those beyond the range of sizes measured of their class.
        notes: What a reader of the figures has to know, as sentences.
        host: The host's parts: ``op``, ``module`` and ``view`` calls, and ``composition``: by how much ops take longer
            within a network than timed one by one.
        layer_rows: The row of `kernels` of each row of the unfused layer table; shape (layers,). If None, all of them.
    """

    estimator: str
    latency_s: float
    op_s: Floats
    kernels: Kernels
    host_s: float
    interval80_s: tuple[float, float]
    interval90_s: tuple[float, float]
    fallback_share: float
    outside_share: float
    notes: tuple[str, ...]
    host: Mapping[str, float] = field(default_factory=dict)
    layer_rows: NDArray[np.int64] | None = None

    def layer_s(self, layers: LayerTable) -> Floats:
        """The time of each row of an unfused layer table, in seconds; they sum to the latency.

        A layer has the time of its op, longer by what composition adds, and an equal share of all else: of the host's
        part and of ops that are no layer.

        Args:
            layers: `roofline.layers.lower` of the same graph with ``fusion="none"``.

        Raises:
            CalibrationError: It is the table of something else.
        """
        rows = np.arange(len(self.op_s)) if self.layer_rows is None else self.layer_rows
        if layers.fusion != "none" or len(layers) != len(rows):
            raise CalibrationError(
                f"an estimate has a time for each of the {len(rows)} unfused layers of its network "
                f"(got a table of {len(layers)} layers with fusion {layers.fusion!r})"
            )
        if not len(rows):
            return np.zeros(0)
        total_s = float(self.op_s.sum())
        longer = 1 + self.host.get("composition", 0.0) / total_s if total_s > 0 else 1.0
        own_s = self.op_s[rows] * longer
        return np.asarray(own_s + (self.latency_s - own_s.sum()) / len(rows))


class Estimator(Protocol):
    """What has a name and estimates the latency of a traced network."""

    @property
    def name(self) -> str:
        """One of `NAMES`, or that of a baseline."""

    def estimate(self, graph: Graph) -> Estimate:
        """The latency of the network."""


@dataclass(frozen=True, slots=True)
class RooflineEstimator:
    """Eq. 1 on a profile's figures; an op that is free there takes no time.

    Attributes:
        hardware: The device.
        dtype: That of weights and activations; the device's default if None.
    """

    hardware: Hardware
    dtype: str | None = None
    name: str = "roofline"

    def estimate(self, graph: Graph) -> Estimate:
        """The latency of the network.

        Raises:
            ProfileError: The profile has no peak for the dtype.
        """
        from roofline.engine import predict
        from roofline.layers import lower

        layers = lower(graph, fusion="none", dtype=self.dtype or self.hardware.default_dtype)
        prediction = predict(layers, self.hardware)
        kernels = kernels_of(graph)
        rows = layer_rows(graph, kernels)
        op_s = np.zeros(len(kernels.op))
        op_s[rows] = prediction.layer_latency_s
        inference_s = float(prediction.inference_overhead_s)
        return Estimate(
            estimator=self.name,
            latency_s=float(prediction.latency_s),
            op_s=op_s,
            kernels=kernels,
            host_s=inference_s,
            interval80_s=NO_INTERVAL,
            interval90_s=NO_INTERVAL,
            fallback_share=0.0,
            outside_share=0.0,
            notes=kernels.flags,
            host={"inference": inference_s},
            layer_rows=rows,
        )


@dataclass(frozen=True, slots=True, eq=False)
class FittedEstimator:
    """``calibrated`` or ``learned``, of networks in eager mode on a CPU.

    Attributes:
        name: Which.
        fitted: What was fitted to the calibration.
        notes: What holds of all its estimates.
        seen: What it sees of the kernels of a network; all of it if None.
    """

    name: str
    fitted: Fitted
    notes: tuple[str, ...] = ()
    seen: Callable[[Kernels], Kernels] | None = None

    def estimate(self, graph: Graph) -> Estimate:
        """The latency of the network at the machine's reference state."""
        kernels = kernels_of(graph)
        if self.seen is not None:
            kernels = self.seen(kernels)
        ops = self.fitted.estimate_ops(self.name, kernels.kernel, kernels.terms)
        ops_s = float(ops.op_s.sum())
        host = self.fitted.host.parts_s(ops_s, len(kernels.op), kernels.module_calls, kernels.views)
        latency_s = ops_s + sum(host.values())
        return estimated(self, graph, kernels, ops, latency_s, host)


class _OfFit(Protocol):
    """An estimator of what was fitted to a calibration."""

    @property
    def name(self) -> str: ...
    @property
    def fitted(self) -> Fitted: ...
    @property
    def notes(self) -> tuple[str, ...]: ...


def estimated(
    estimator: _OfFit,
    graph: Graph,
    kernels: Kernels,
    ops: OpEstimate,
    latency_s: float,
    host: Mapping[str, float],
    notes: Sequence[str] = (),
) -> Estimate:
    """An estimate with its intervals, its shares and what has to be said of it.

    Args:
        estimator: Whose.
        graph: The network.
        kernels, ops: What it runs, and how long each takes.
        latency_s: Of the whole.
        host: The parts of it that are not ops.
        notes: What else holds of this network.
    """  # fmt: skip
    intervals = estimator.fitted.intervals[estimator.name]
    sigma = intervals.sigma(kernels.kernel, ops.op_s, ops.is_fallback | ops.is_outside, kernels.key)
    fallback_share, outside_share = shares(ops)
    return Estimate(
        estimator=estimator.name,
        latency_s=latency_s,
        op_s=ops.op_s,
        kernels=kernels,
        host_s=sum(host.values()),
        interval80_s=intervals.around(latency_s, sigma, 0.80),
        interval90_s=intervals.around(latency_s, sigma, 0.90),
        fallback_share=fallback_share,
        outside_share=outside_share,
        notes=(*estimator.notes, *caveats(kernels, ops, intervals), *notes, *kernels.flags),
        host=host,
        layer_rows=layer_rows(graph, kernels),
    )


def shares(ops: OpEstimate) -> tuple[float, float]:
    """What of the time of ops is in classes, and in sizes, that were never measured."""
    ops_s = float(ops.op_s.sum())
    fallback, outside = (
        float(ops.op_s[rows].sum()) / ops_s if ops_s > 0 else 0.0 for rows in (ops.is_fallback, ops.is_outside)
    )
    return fallback, outside


def caveats(kernels: Kernels, ops: OpEstimate, intervals: Intervals) -> list[str]:
    """What has to be said of one network's estimate."""
    fallback_share, outside_share = shares(ops)
    notes = [] if intervals.note is None else [intervals.note]
    if fallback_share > MANY_FALLBACKS:
        classes = ", ".join(_longest(kernels, ops.op_s, ops.is_fallback))
        notes.append(
            f"{percent(fallback_share)} of the time is in kernels that were never measured ({classes}): "
            "their times are borrowed, and the intervals wider"
        )
    if outside_share > MANY_OUTSIDE:
        classes = ", ".join(_longest(kernels, ops.op_s, ops.is_outside))
        notes.append(
            f"{percent(outside_share)} of the time is in sizes beyond those measured ({classes}): "
            "nothing learned applies there, and the intervals are wider"
        )
    return notes


def _longest(kernels: Kernels, op_s: Floats, rows: NDArray[np.bool_]) -> list[str]:
    """The three classes that take most of the time of these rows."""
    classes, group = np.unique(kernels.kernel[rows], return_inverse=True)
    total_s = np.bincount(group, weights=op_s[rows])
    return [str(classes[index]) for index in np.argsort(-total_s, kind="stable")[:3]]


def layer_rows(graph: Graph, kernels: Kernels) -> NDArray[np.int64]:
    """The row of `kernels` of each row of the graph's unfused layer table; shape (layers,)."""
    from roofline.count import cost

    row_of_op = {op: row for row, op in enumerate(kernels.op.tolist())}
    rows = [row_of_op[index] for index, op in enumerate(graph.ops) if cost(op) is not None]
    return np.array(rows, dtype=np.int64)


def estimators(
    calibration: Calibration | None, hardware: Hardware | None, *, cached: bool | None = None
) -> dict[str, Estimator]:
    """All estimators there are, by name, in the order of `NAMES`.

    Args:
        calibration: Of this machine; None: then there is only the roofline.
        hardware: A profile; None: then there is no roofline.
        cached: Whether what was fitted is taken from the cache and kept there: False for neither, None unless the
            environment has ROOFLINE_NO_CACHE.

    Raises:
        CalibrationError: The calibration is too small, or of another version.
    """
    found: dict[str, Estimator] = {}
    if hardware is not None:
        found["roofline"] = RooflineEstimator(hardware, None if calibration is None else calibration.dtype)
    if calibration is not None:
        from roofline.calibration.fitting import fit

        if calibration.terms != TERMS:
            raise CalibrationError(
                "the calibration was made by another version of roofline, which described kernels by other terms: "
                "make it again with 'roofline calibrate'"
            )
        fitted = fit(calibration, cached)
        missing = (fitted.why_not_learned,) if fitted.why_not_learned else ()
        found["calibrated"] = _by_mode("calibrated", fitted, missing)
        if not missing:
            found["learned"] = _by_mode("learned", fitted)
    return found


def _by_mode(name: str, fitted: Fitted, notes: tuple[str, ...] = ()) -> Estimator:
    """The estimator that composes as networks ran in the calibration."""
    from roofline.calibration.clocks import TwoClocks, TwoClocksEstimator
    from roofline.calibration.compiled import CompiledEstimator

    if fitted.whole is None:
        return FittedEstimator(name, fitted, notes)
    if isinstance(fitted.whole, TwoClocks):
        return TwoClocksEstimator(name, fitted, fitted.whole, notes)
    return CompiledEstimator(name, fitted, fitted.whole, notes)


def best(found: Mapping[str, Estimator]) -> Estimator:
    """The estimator that knows most, of those that `estimators` found.

    Raises:
        CalibrationError: There is none.
    """
    for name in reversed(NAMES):
        if name in found:
            return found[name]
    raise CalibrationError("there is nothing to estimate with: give a profile, or a calibration of this machine")


def named(found: Mapping[str, Estimator], name: str) -> Estimator:
    """The estimator of that name.

    Raises:
        CalibrationError: There is none; the message says why, and which there are.
    """
    if name in found:
        return found[name]
    listed = ", ".join(found) or "none"
    if name not in NAMES:
        known = ", ".join(NAMES)
        raise CalibrationError(f"no estimator is called {name!r} (there are: {known}).{did_you_mean(name, NAMES)}")
    fitted: Fitted | None = getattr(found.get("calibrated"), "fitted", None)
    if name == "learned" and fitted is not None:
        raise CalibrationError(fitted.why_not_learned)
    raise CalibrationError(
        f"the estimator {name!r} needs {'a profile' if name == 'roofline' else 'a calibration of this machine'} "
        f"(there are: {listed})"
    )
