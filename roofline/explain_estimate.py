"""What an estimator of a calibrated profile makes of one layer, written out: the law of its kernel, term by term.

A layer has the time of its kernel, by a law of non-negative constants (`roofline.calibration.physics`) times what was
learned beyond it, and an equal share of what is in no layer's kernel (`roofline.calibration.estimators.Estimate`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from roofline.calibration.clocks import TwoClocksEstimator
from roofline.calibration.compiled import PER_NETWORK, CompiledEstimator
from roofline.calibration.estimators import Estimate, FittedEstimator
from roofline.calibration.inductor import LOOP, LOOP_TERMS, compiled
from roofline.calibration.kernels import TERMS
from roofline.calibration.physics import FEWEST_ROWS, ROWS, Physics, parent_of
from roofline.calibration.predicting import calibration_of, estimators_of
from roofline.units import seconds, significant

if TYPE_CHECKING:
    from roofline.analysis import Analysis

DIGITS = 4  # of a constant, so that the products can be checked


def estimated(analysis: Analysis, index: int) -> list[str]:
    """How the prediction of a layer comes about, in lines.

    Args:
        analysis: By an estimator that was fitted to a calibration.
        index: Of the layer.
    """
    assert analysis.estimates is not None
    estimate = analysis.estimates.estimate
    estimator = estimators_of(analysis.hardware)[estimate.estimator]
    assert isinstance(estimator, FittedEstimator | CompiledEstimator | TwoClocksEstimator)
    rows = np.arange(len(estimate.op_s)) if estimate.layer_rows is None else estimate.layer_rows
    row = int(rows[index])
    kernel = str(estimate.kernels.kernel[row])
    if isinstance(estimator, CompiledEstimator) and kernel == LOOP:
        lines = list(_loops(estimator, analysis, row))
    else:
        lines = list(_law(estimator.fitted.physics, kernel, estimate.kernels.terms[row]))
        physics_s = float(estimator.fitted.physics.law(kernel).times(estimate.kernels.terms[[row]])[0])
        if estimate.estimator == "learned":
            lines.append(_learned(float(estimate.op_s[row]), physics_s))
    calibration = calibration_of(analysis.hardware)
    return [
        *lines,
        *_whole(estimate, rows, row, float(analysis.prediction.layer_latency_s[index])),
        f"the calibration, of {calibration.made_at[:10]}, holds {len(calibration.ops):,} kernel calls in "
        f"{len(calibration.wholes)} networks",
        *analysis.estimates.warnings,
    ]


def _law(physics: Physics, kernel: str, terms: NDArray[np.float64]) -> Iterator[str]:
    """The law of a class of kernels, on the terms of one call, (terms,)."""
    law = physics.law(kernel)
    yield _whose(physics, kernel)
    counted = terms.copy()
    counted[ROWS] = min(counted[ROWS], law.most_loops)
    yield from _products(TERMS, counted, law.constants)
    if counted[ROWS] < terms[ROWS] and law.constants[ROWS]:
        yield f"its {terms[ROWS]:,.0f} rows are more than were measured, and count as {counted[ROWS]:,.0f}"
    sum_s = float(counted @ law.constants)
    if sum_s < law.shortest_s:
        yield f"no call takes less than half of the shortest that was measured: {seconds(law.shortest_s)}"
    else:
        yield f"together {seconds(sum_s)}"


def _whose(physics: Physics, kernel: str) -> str:
    """Whose law a class has, and of how many calls it is."""
    name: str | None = kernel
    while name is not None and name not in physics.laws:
        name = parent_of(name)
    if name != kernel:
        return f"its kernel is a {kernel}, which was never measured: it has the law of {name or 'everything'}"
    calls = physics.laws[kernel].rows
    if calls < FEWEST_ROWS:
        parent = parent_of(kernel)
        few = "one call was" if calls == 1 else f"{calls} calls were"
        return f"its kernel is a {kernel}, of which {few} measured: the law of {parent}, moved towards that"
    return f"its kernel is a {kernel}, whose law was fitted to {calls:,} calls"


def _products(names: Sequence[str], terms: NDArray[np.float64], constants: NDArray[np.float64]) -> Iterator[str]:
    """Terms times constants, those that come to something."""
    for name, term, constant in zip(names, terms.tolist(), constants.tolist(), strict=True):
        if term * constant > 0:
            yield (
                f"{name:16} {term:>16,.12g} x {significant(constant * 1e9, DIGITS):>10} ns = {seconds(term * constant)}"
            )


def _learned(op_s: float, physics_s: float) -> str:
    if op_s == physics_s:
        return "nothing is learned beyond the law, or nothing that applies to its size: x 1"
    return f"x {significant(op_s / physics_s, DIGITS)}, learned from how far off the law was = {seconds(op_s)}"


def _loops(estimator: CompiledEstimator, analysis: Analysis, row: int) -> Iterator[str]:
    """The generated loops in which an op runs, and its share of each."""
    plan = compiled(analysis.graph)
    constants = estimator.law.constants[PER_NETWORK:]
    shares = plan.share[plan.share[:, 0] == row].tolist()
    if not shares:
        yield "the compiler generates nothing for it"
    for _, loop, share in shares:
        terms = plan.loops[int(loop)]
        loop_s = float(terms @ constants)
        yield f"it runs in a generated loop, whose law was fitted to {estimator.law.networks} compiled networks"
        yield from _products(LOOP_TERMS, terms, constants)
        part = f"of which {significant(share, DIGITS)} is its share: {seconds(loop_s * share)}"
        yield f"together {seconds(loop_s)}, {part}"


def _whole(estimate: Estimate, rows: NDArray[np.int64], row: int, latency_s: float) -> Iterator[str]:
    """From the time of a kernel to that of a layer, as `Estimate.layer_s` has it."""
    ops_s, op_s = float(estimate.op_s.sum()), float(estimate.op_s[row])
    longer = 1 + estimate.host.get("composition", 0.0) / ops_s if ops_s > 0 else 1.0
    if longer != 1:
        yield f"x {significant(longer, DIGITS)}, as kernels run in sequence = {seconds(op_s * longer)}"
    rest_s = estimate.latency_s - float(estimate.op_s[rows].sum()) * longer
    yield (
        f"an equal share of what is in no layer (Python, dispatch, ops that are no layer): {seconds(rest_s)} / "
        f"{len(rows)} = {seconds(rest_s / len(rows))}"
    )
    yield f"their sum is the latency: predicted {seconds(latency_s)}"
