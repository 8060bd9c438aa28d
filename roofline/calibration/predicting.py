"""What a calibrated profile says of a network: every estimator's estimate, side by side, and the caveats."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.calibration.data import Calibration, mismatch
from roofline.calibration.estimators import NAMES, Estimate, Estimator, best, estimators, named
from roofline.calibration.file import load
from roofline.errors import CalibrationError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from roofline.engine import Prediction
    from roofline.graph import Graph
    from roofline.hardware import Hardware
    from roofline.layers import LayerTable


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Estimates:
    """One network by all estimators of a profile.

    Attributes:
        chosen: Whose estimate counts.
        each: All of them, by name, from the one that knows least.
        warnings: Why they may not hold here, as sentences.
    """

    chosen: str
    each: Mapping[str, Estimate]
    warnings: tuple[str, ...] = ()

    @property
    def estimate(self) -> Estimate:
        """The one that counts."""
        return self.each[self.chosen]

    def to_list(self) -> list[dict[str, Any]]:
        """As plain data: one object an estimator, in their order."""
        return [
            {
                "estimator": name,
                "is_chosen": name == self.chosen,
                "latency_s": found.latency_s,
                "host_s": found.host_s,
                "host": dict(found.host),
                "interval80_s": _interval(found.interval80_s),
                "interval90_s": _interval(found.interval90_s),
                "fallback_share": found.fallback_share,
                "outside_share": found.outside_share,
                "notes": list(found.notes),
            }
            for name, found in self.each.items()
        ]


def _interval(bounds: tuple[float, float]) -> list[float] | None:
    low, high = bounds
    return [low, high] if low == low else None  # NaN: there is none


def calibration_of(hardware: Hardware) -> Calibration:
    """The calibration beside a profile.

    Raises:
        CalibrationError: It has none, or one that cannot be read.
    """
    if hardware.calibration is None:
        raise CalibrationError(
            f"{hardware.id} has no calibration to estimate with: 'roofline calibrate' makes a profile that has"
        )
    stat = hardware.calibration.stat() if hardware.calibration.exists() else None
    return _loaded(hardware.calibration, None if stat is None else stat.st_mtime_ns)


@lru_cache(maxsize=4)
def _loaded(path: Path, changed_ns: int | None) -> Calibration:
    return load(path)


def estimators_of(hardware: Hardware, *, cached: bool | None = None) -> dict[str, Estimator]:
    """The estimators of a calibrated profile, by name; fitted once a process at most, or from the cache (`estimators`).

    Raises:
        CalibrationError: See `calibration_of`.
    """
    return estimators(calibration_of(hardware), hardware, cached=cached)


def estimate(
    graph: Graph,
    layers: LayerTable,
    hardware: Hardware,
    estimator: str | None = None,
    *,
    cached: bool | None = None,
) -> Estimates:
    """Estimate a network with every estimator that a calibrated profile has.

    Args:
        graph: What was traced.
        layers: Its layer table; estimates are of unfused layers in the calibration's dtype.
        hardware: The profile.
        estimator: Whose estimate counts; that which knows most if None.
        cached: As `estimators` takes it.

    Raises:
        CalibrationError: There is no such estimator, or the table is of another dtype or fused.
    """
    if estimator is not None and estimator not in NAMES:
        named({}, estimator)  # before a missing calibration is told
    calibration = calibration_of(hardware)
    if layers.fusion != "none" or layers.dtype != calibration.dtype:
        raise CalibrationError(
            f"the calibration of {hardware.id} is of {calibration.dtype} without fusion, as {calibration.mode} PyTorch "
            f"runs (got {layers.dtype} with fusion {layers.fusion}): leave out --dtype and --fusion"
        )
    found = estimators_of(hardware, cached=cached)
    chosen = best(found) if estimator is None else named(found, estimator)
    each = {name: other.estimate(graph) for name, other in found.items()}
    return Estimates(chosen=chosen.name, each=each, warnings=warnings_of(hardware))


def predicted(prediction: Prediction, estimates: Estimates) -> Prediction:
    """A prediction by the ceilings, with the times of the chosen estimator in place of the longest ceiling's."""
    if estimates.chosen == "roofline":
        return prediction
    layer_s = estimates.estimate.layer_s(prediction.layers)
    return replace(prediction, layer_latency_s=layer_s, inference_overhead_s=np.asarray(0.0))


def in_layout_of(hardware: Hardware, module: nn.Module, inputs: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Put a module into the memory layout that a profile was calibrated in, and give the inputs in it."""
    from roofline.measurement.subject import in_channels_last

    is_last = calibration_of(hardware).mode == "channels_last"
    return in_channels_last(module, inputs) if is_last else tuple(inputs)


def warnings_of(hardware: Hardware) -> tuple[str, ...]:
    """Why what a calibrated profile predicts may not hold in this process, as sentences; none of any other profile.

    Raises:
        CalibrationError: The calibration cannot be read.
    """
    if hardware.calibration is None:
        return ()
    from roofline.measurement.environment import environment

    calibration = calibration_of(hardware)
    here = environment(calibration.environment["device"]["type"])
    # What becomes of freed memory is a matter of the process that measures, and is set there.
    here = {**here, "flags": {**here["flags"], "freed_memory": calibration.environment["flags"]["freed_memory"]}}
    differs = mismatch(calibration, here)
    if not differs:
        return ()
    return (
        f"The calibration of {hardware.id} is of another environment, and may not hold here: {'; '.join(differs)}.",
    )
