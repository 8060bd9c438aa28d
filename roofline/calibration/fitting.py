"""Fit all that can be estimated from a calibration, and see by leaving networks out how good it is.

Kernel calls of one network stand or fall together, so cross-validation leaves out whole networks, a fifth of them at a
time: physics and learners are fitted to the others. Those errors choose how much is learned
(`roofline.calibration.learning`) and how wide intervals are (`roofline.calibration.intervals`).

A network that is left out is taken for its own kernel calls: by as much as the estimates of these are off in sum, so is
that of all its ops. (What it shares with other networks is kept once, with one of them.)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from roofline.calibration.intervals import Intervals, own_rms
from roofline.calibration.learning import CANDIDATES, Blend, Learners, Residual
from roofline.calibration.physics import Host, Hull, Physics, is_measured
from roofline.errors import CalibrationError

if TYPE_CHECKING:
    from roofline.calibration.clocks import TwoClocks
    from roofline.calibration.compiled import CompiledLaw
    from roofline.calibration.data import Calibration, OpTimes, WholeTimes

Floats = NDArray[np.float64]

FOLDS = 5
FEWEST_OPS = 20  # kernel calls below which nothing is fitted
FEWEST_LEARNED, FEWEST_NETWORKS = 60, 3  # kernel calls and networks below which nothing is learned
MOST_OFTEN = 16.0  # times that a kernel call counts as much as one that ran once
OWN_SHARE = 0.1  # of a network's time, in kernel calls kept with it, from which on it tells how far off a whole is
MOST_OFF = 4.0  # times that the loops of a network count as off at most: of the shortest, most of it is noise
SHORTEST_S = 2e-7  # what a timer says less of than this is noise; a view alone takes 5e-7 or more
INSTALL = "pip install 'roofline-profiler[learn]'"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class OpEstimate:
    """Times of n kernel calls.

    Attributes:
        op_s: Seconds, (n,).
        is_fallback: Whether the class was never measured.
        is_outside: Whether the class was, and such sizes were not.
    """

    op_s: Floats
    is_fallback: NDArray[np.bool_]
    is_outside: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Fitted:
    """All that was fitted to a calibration.

    Attributes:
        physics: Laws of kernel times.
        host: What networks take beside their ops, in eager mode on a CPU.
        hull: The sizes measured of each class.
        residual: What was learned; None without scikit-learn, or if too little was measured.
        why_not_learned: Then the reason, as a sentence.
        intervals: By estimator, ``calibrated`` and ``learned``.
        left_out_s: By estimator, each kernel call as estimated without its network, (n,) seconds; empty where there
            are too few networks to leave one out.
        whole: How networks compose in the modes where that is no sum: compiled, or by the two clocks of CUDA.
    """

    physics: Physics
    host: Host
    hull: Hull
    residual: Residual | None
    why_not_learned: str
    intervals: Mapping[str, Intervals]
    left_out_s: Mapping[str, Floats]
    whole: CompiledLaw | TwoClocks | None = None

    def estimate_ops(self, estimator: str, kernel: NDArray[np.str_], terms: Floats) -> OpEstimate:
        """The time of kernel calls of such classes, (n,), and terms, (n, terms)."""
        op_s = self.physics.times(kernel, terms)
        measured = is_measured(kernel, list(self.hull.ranges))
        inside = self.hull.contains(kernel, terms)
        known = measured & inside
        if estimator == "learned" and self.residual is not None and known.any():
            op_s[known] *= self.residual.factor(kernel[known], terms[known], op_s[known])
        return OpEstimate(op_s=op_s, is_fallback=~measured, is_outside=measured & ~inside)


@contextmanager
def _one_blas_thread() -> Iterator[None]:
    """Without threads within a product or a factorisation: of matrices this small they wait longer than they work."""
    if find_spec("threadpoolctl") is None:  # it comes with scikit-learn
        yield
        return
    import scipy.linalg  # noqa: F401  # its library of products is its own, and what is loaded later is not limited
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


@lru_cache(maxsize=4)  # by identity: the arrays of a calibration do not change
def fit(calibration: Calibration, cached: bool | None = None) -> Fitted:
    """Fit laws, host terms, the learned correction and intervals, or find them in the cache.

    Args:
        calibration: What was measured.
        cached: False to read and keep nothing; None unless the environment has ROOFLINE_NO_CACHE.

    Raises:
        CalibrationError: There are too few kernel calls for anything.
    """
    from roofline.calibration.fitted_cache import kept

    return kept(calibration, _fit, cached)


@_one_blas_thread()
def _fit(calibration: Calibration) -> Fitted:
    """Fit all of it; a few seconds for 3000 kernel calls.

    Raises:
        CalibrationError: There are too few kernel calls for anything.
    """
    ops, wholes = calibration.ops, calibration.wholes
    if len(ops.time_s) < FEWEST_OPS:
        raise CalibrationError(
            f"the calibration holds times of {len(ops.time_s)} kernel calls, and a fit needs {FEWEST_OPS}: "
            "calibrate with a larger --budget"
        )
    law, columns = _composing(calibration)
    ops = replace(ops, time_s=np.maximum(ops.time_s, SHORTEST_S))
    fold = folds(ops.network)
    why_not = _why_not_learned(ops)
    often = _often(ops)
    physics = Physics.fit(ops.kernel, ops.terms, ops.time_s, often)
    left_out_s, corrections, known = _left_out(ops, calibration.terms, fold, learns=not why_not)
    residual = None
    if not why_not:
        physics_s = left_out_s["calibrated"]
        blend = Blend.fit(ops.kernel[known], corrections[known], np.log(ops.time_s / physics_s)[known], often[known])
        blended = np.where(known, blend.log_factor(ops.kernel, corrections), 0.0)
        left_out_s["learned"] = physics_s * np.exp(blended)
        fitted_s = physics.times(ops.kernel, ops.terms)
        learners = Learners.fit(calibration.terms, ops.kernel, ops.terms, fitted_s, ops.time_s, often)
        residual = Residual(learners, blend)
    whole = law.fit(wholes.time_s, wholes.ops_s, columns)
    intervals = {
        name: _intervals(ops, wholes, columns, law, fold, op_s, ~known)
        for name, op_s in _or_in_sample(left_out_s, physics, ops)
    }
    return Fitted(
        physics=physics,
        host=whole if isinstance(whole, Host) else Host(0.0, 0.0, 0.0, 1.0),
        hull=Hull.of(ops.kernel, ops.terms),
        residual=residual,
        why_not_learned=why_not,
        intervals=intervals,
        left_out_s=left_out_s,
        whole=None if isinstance(whole, Host) else whole,
    )


def _composing(calibration: Calibration) -> tuple[type[Host | CompiledLaw | TwoClocks], Floats]:
    """The law by which networks compose, and what it takes of each whole beside its time and that of its ops; (m, k).

    Raises:
        CalibrationError: What it takes was never measured, or by another version.
    """
    from roofline.calibration import clocks, compiled, inductor

    counts = _calls(calibration.wholes)
    is_compiled = calibration.mode == "compile"
    is_cuda = calibration.environment.get("device", {}).get("type") == "cuda"
    if not is_compiled and not is_cuda:
        return Host, counts
    wanted = inductor.KEPT_TERMS if is_compiled else clocks.WHOLE_TERMS
    if calibration.composed is None or calibration.whole_terms != wanted:
        raise CalibrationError(
            "the calibration does not hold what networks compose of in its mode, as it was made by another version of "
            "roofline: make it again with 'roofline calibrate'"
        )
    terms = calibration.composed.terms
    return (compiled.CompiledLaw, terms) if is_compiled else (clocks.TwoClocks, np.column_stack([terms, counts]))


def _often(ops: OpTimes) -> Floats:
    """How much each kernel call counts, (n,): as often as it runs within networks, on average once.

    Most of what a network runs, it runs in block after block, and from the second on finds its buffers in the caches:
    such calls were measured 10 to 40 % shorter than those that run once, and as long as the same calls in networks of
    people, where those that run once took 15 to 35 % longer.
    """
    often = np.minimum(_runs(ops), MOST_OFTEN)
    return np.asarray(often / often.mean())


def _runs(ops: OpTimes) -> Floats:
    """How often each kernel call runs within networks, (n,), by its samples.

    Most calls run once, so the commonest number of samples is that of the rounds. Where a busy machine had samples left
    out, some have fewer.
    """
    samples, calls = np.unique(ops.samples, return_counts=True)
    return np.asarray(np.maximum(ops.samples / samples[np.argmax(calls)], 1.0))


def folds(network: NDArray[np.str_]) -> NDArray[np.int64]:
    """The fold of each kernel call, (n,): whole networks, the largest first to the fold that has least.

    >>> folds(np.array(["a", "a", "a", "b", "b", "c"])).tolist()
    [0, 0, 0, 1, 1, 2]
    """
    names, index, count = np.unique(network, return_inverse=True, return_counts=True)
    size = np.zeros(min(FOLDS, max(len(names), 1)))
    of_name = np.zeros(len(names), dtype=np.int64)
    for name in np.argsort(-count, kind="stable"):
        of_name[name] = np.argmin(size)
        size[of_name[name]] += count[name]
    return np.asarray(of_name[index])


def _why_not_learned(ops: OpTimes) -> str:
    """Why there is no learned estimator; empty if nothing is in its way."""
    if find_spec("sklearn") is None:
        return f"the estimator 'learned' is not there without scikit-learn: {INSTALL}"
    networks = len(np.unique(ops.network))
    if len(ops.time_s) < FEWEST_LEARNED or networks < FEWEST_NETWORKS:
        return (
            f"the estimator 'learned' needs {FEWEST_LEARNED} kernel calls of {FEWEST_NETWORKS} networks "
            f"(the calibration has {len(ops.time_s)} of {networks}): calibrate with a larger --budget"
        )
    return ""


def _left_out(
    ops: OpTimes, names: Sequence[str], fold: NDArray[np.int64], *, learns: bool
) -> tuple[dict[str, Floats], Floats, NDArray[np.bool_]]:
    """Each kernel call by physics without its fold, what learners would add, and whether the others have its like."""
    often = _often(ops)
    physics_s, known = np.zeros(len(fold)), np.zeros(len(fold), dtype=bool)
    corrections = np.zeros((len(fold), len(CANDIDATES)))
    if fold.max() == 0:
        return {}, corrections, known
    for number in range(fold.max() + 1):
        left, kept = fold == number, fold != number
        kernel, terms, kept_often = ops.kernel[kept], ops.terms[kept], often[kept]
        physics = Physics.fit(kernel, terms, ops.time_s[kept], kept_often)
        physics_s[left] = physics.times(ops.kernel[left], ops.terms[left])
        hull = Hull.of(kernel, terms)
        known[left] = is_measured(ops.kernel[left], list(hull.ranges)) & hull.contains(
            ops.kernel[left], ops.terms[left]
        )
        if learns:
            learners = Learners.fit(names, kernel, terms, physics.times(kernel, terms), ops.time_s[kept], kept_often)
            corrections[left] = learners.corrections(ops.kernel[left], ops.terms[left], physics_s[left])
    return {"calibrated": physics_s}, corrections, known


def fold_errors(ops: OpTimes) -> tuple[Physics, Floats, Floats]:
    """Laws of kernel calls; how far off they are without a call's own network, ln(measured / estimated); and `_often`.

    The two arrays have the shape of the calls, (n,).
    """
    ops = replace(ops, time_s=np.maximum(ops.time_s, SHORTEST_S))
    often = _often(ops)
    left_out_s, _, _ = _left_out(ops, (), folds(ops.network), learns=False)
    physics = Physics.fit(ops.kernel, ops.terms, ops.time_s, often)
    estimated_s = left_out_s.get("calibrated", physics.times(ops.kernel, ops.terms))
    return physics, np.log(ops.time_s / estimated_s), often


def _or_in_sample(left_out_s: Mapping[str, Floats], physics: Physics, ops: OpTimes) -> list[tuple[str, Floats]]:
    """The estimates to take errors from: of one network alone, those that have seen it."""
    return list(left_out_s.items()) or [("calibrated", physics.times(ops.kernel, ops.terms))]


def _intervals(
    ops: OpTimes,
    wholes: WholeTimes,
    columns: Floats,
    law: type[Host | CompiledLaw | TwoClocks],
    fold: NDArray[np.int64],
    op_s: Floats,
    is_unmeasured: NDArray[np.bool_],
) -> Intervals:
    """Those of an estimator that has, of each kernel call without its network, such a time."""
    from roofline.calibration.compiled import CompiledLaw, for_few
    from roofline.calibration.inductor import LOOP, is_library

    counts = is_library(ops.kernel, ops.terms) if law is CompiledLaw else np.ones(len(ops.time_s), dtype=bool)
    often = _runs(ops)  # blocks repeat: once each, a network's time is another
    time_s, op_s = ops.time_s * often, op_s * often
    groups = np.full(len(ops.time_s), -1, dtype=np.intp)
    errors: list[float] = []
    composing: list[float] = []

    @cache
    def without(left: int) -> Host | CompiledLaw | TwoClocks:
        """The law of the networks of other folds."""
        chosen = ~np.isin(wholes.network, ops.network[fold == left])
        return law.fit(wholes.time_s[chosen], wholes.ops_s[chosen], columns[chosen])

    loops: list[tuple[float, float]] = []  # of each network, the time of what is no library's, and its log error
    for number, name in enumerate(wholes.network.tolist()):
        own = (ops.network == name) & counts
        own_s = float(time_s[own].sum())
        if fold.max() == 0 or own_s <= OWN_SHARE * wholes.ops_s[number]:
            continue
        whole = without(int(fold[own][0]))
        ops_s = wholes.ops_s[[number]] * op_s[own].sum() / own_s
        groups[own] = len(errors)
        known_s = float(whole.whole_s(wholes.ops_s[[number]], columns[[number]])[0])
        errors.append(float(np.log(wholes.time_s[number] / whole.whole_s(ops_s, columns[[number]])[0])))
        if isinstance(whole, CompiledLaw):
            loops_s, estimated_s = float(columns[number, -1]), float(whole.loops_of(columns[[number]])[0])
            loops.append((loops_s, float(np.log(np.clip(loops_s / estimated_s, 1 / MOST_OFF, MOST_OFF)))))
            known_s += loops_s - estimated_s
        composing.append(float(np.log(wholes.time_s[number] / known_s)))
    noise = wholes.noise[wholes.noise > 0]  # of the others nothing is known
    noise_rms = float(np.sqrt(np.mean(noise**2))) if len(noise) else 0.0
    loop_s, loop_error = np.array(loops).reshape(-1, 2).T
    found = Intervals.of(
        np.concatenate([ops.kernel, np.full(len(loops), LOOP)]),
        np.concatenate([np.log(time_s / op_s), loop_error]),
        groups=np.concatenate([groups, np.arange(len(loops))]),
        op_s=np.concatenate([time_s, loop_s]),
        whole_log_error=np.array(errors),
        is_unmeasured=np.concatenate([is_unmeasured, np.zeros(len(loops), dtype=bool)]),
        composing=own_rms(np.array(composing), noise_rms) if composing else 0.0,
        noise=noise_rms,
    )
    return for_few(found) if loops else found


def _calls(wholes: WholeTimes) -> Floats:
    """Ops that are no view, module calls and views of each network; shape (m, 3)."""
    return np.column_stack([wholes.ops, wholes.module_calls, wholes.views]).astype(np.float64)
