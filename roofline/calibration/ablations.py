"""The estimators of a calibration with one part taken out, to see on measured networks what each part is worth.

Each is fitted anew to the same data, as if the part had never been thought of. What is worth nothing should go. (That
of the learned correction needs no entry here: it is ``calibrated``.)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from roofline.calibration.estimators import Estimator, FittedEstimator
from roofline.calibration.fitting import fit
from roofline.calibration.kernels import Kernels
from roofline.calibration.physics import Host

if TYPE_CHECKING:
    from roofline.calibration.data import Calibration

Strings = NDArray[np.str_]
Floats = NDArray[np.float64]
Change = Callable[[Strings, Floats], tuple[Strings, Floats]]  # of classes, (n,), and terms, (n, terms)

TERMS_APART = ("calls", "padded_macs", "weight_bytes", "reorder_bytes", "ragged_bytes", "scratch_bytes", "large_bytes")


def ablations(calibration: Calibration, estimator: str = "learned") -> dict[str, Estimator]:
    """The estimator without one part, by what is missing: ``one factor``, ``no host``, ``no classes``, ...

    Args:
        calibration: What each is fitted to, in a few seconds.
        estimator: ``calibrated`` or ``learned``; where nothing can be learned, always the former.
    """
    changes: dict[str, Change] = {"no classes": _one_class, "no strides": _no_strides}
    for name in TERMS_APART:
        if name in calibration.terms:
            changes[f"no {name}"] = partial(_without, calibration.terms.index(name))
    whole = fit(calibration)
    name = "calibrated" if whole.residual is None else estimator
    found: dict[str, Estimator] = {
        "one factor": FittedEstimator(name, fit.__wrapped__(_as_timed(calibration))),
        "no host": FittedEstimator(name, replace(whole, host=Host(0.0, 0.0, 0.0, 1.0))),
    }
    for missing, change in changes.items():
        kernel, terms = change(calibration.ops.kernel, calibration.ops.terms)
        less = replace(calibration, ops=replace(calibration.ops, kernel=kernel, terms=terms))
        found[missing] = FittedEstimator(name, fit.__wrapped__(less), seen=partial(_seen, change))
    return found


def _as_timed(calibration: Calibration) -> Calibration:
    """With the stopwatch's times, all over one factor: as if how fast the machine was were known once for all.

    The samples under contention stay left out, which takes the anchor, too.
    """
    ops, wholes = calibration.ops, calibration.wholes
    factor = wholes.raw_s / wholes.time_s
    usual = float(np.median(factor))
    return replace(
        calibration,
        ops=replace(ops, time_s=ops.raw_s / usual),
        wholes=replace(wholes, time_s=wholes.raw_s / usual, ops_s=wholes.ops_s * factor / usual),
    )


def _seen(change: Change, kernels: Kernels) -> Kernels:
    kernel, terms = change(kernels.kernel, kernels.terms)
    return replace(kernels, kernel=kernel, terms=terms)


def _one_class(kernel: Strings, terms: Floats) -> tuple[Strings, Floats]:
    return np.full(len(kernel), "any", dtype=np.str_), terms


def _no_strides(kernel: Strings, terms: Floats) -> tuple[Strings, Floats]:
    return np.array([name.partition("/")[0] for name in kernel.tolist()], dtype=np.str_), terms


def _without(column: int, kernel: Strings, terms: Floats) -> tuple[Strings, Floats]:
    less = terms.copy()
    less[:, column] = 0
    return kernel, less
