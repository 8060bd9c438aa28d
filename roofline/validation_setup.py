"""How models run when predictions of them are judged: as those did from which the predictions were learned."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from roofline.errors import CalibrationError

if TYPE_CHECKING:
    from roofline.calibration.data import Calibration
    from roofline.calibration.estimators import Estimator
    from roofline.hardware import Hardware

PLAIN_DTYPE = "fp32"  # of a model that nobody gave another


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """How models run when they are measured: as those did that the predictions were learned from.

    Attributes:
        device: ``"cpu"`` or ``"cuda"``.
        mode: As `roofline.measure` takes it.
        dtype: Of weights and floating inputs; the model's own if None.
        threads: Within an op; those of torch if None.
        keep_memory: Whether the allocator keeps freed memory.
        anchor_reference_s: The reference state that predictions are at; None for that of this machine.
        calibration: Plain data on the calibration: ``made_at``, ``ops``, ``wholes``; None without one.
    """

    device: str = "cpu"
    mode: str = "eager"
    dtype: str | None = None
    threads: int | None = None
    keep_memory: bool = True
    anchor_reference_s: tuple[float, ...] | None = None
    calibration: Mapping[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "device": self.device,
            "mode": self.mode,
            "dtype": self.dtype or PLAIN_DTYPE,
            "threads": self.threads,
            "keep_memory": self.keep_memory,
            "calibration": None if self.calibration is None else dict(self.calibration),
        }


def setup(
    calibration: Calibration | None,
    *,
    device: str | None = None,
    mode: str | None = None,
    dtype: str | None = None,
    threads: int | None = None,
) -> Setup:
    """How to run models so that the predictions of a calibration, or of a profile without one, are about them.

    Raises:
        CalibrationError: The calibration is of another mode, dtype, number of threads or kind of device.
    """
    if calibration is None:
        return Setup(device=device or "cpu", mode=mode or "eager", dtype=dtype, threads=threads)
    environment = calibration.environment
    there = {
        "device": environment.get("device", {}).get("type", "cpu"),
        "mode": calibration.mode,
        "dtype": calibration.dtype,
        "threads": calibration.threads,
    }
    for name, wanted in {"device": device, "mode": mode, "dtype": dtype, "threads": threads}.items():
        if wanted is not None and wanted != there[name]:
            raise CalibrationError(
                f"the calibration was made with {name} {there[name]}, and {name} {wanted} is asked for: leave out "
                f"--{name}, or calibrate again with it"
            )
    reference_s = tuple(calibration.anchor.get("reference_s", ()))
    return Setup(
        **there,
        keep_memory=environment.get("flags", {}).get("freed_memory") != "system",
        anchor_reference_s=reference_s or None,
        calibration={
            "made_at": calibration.made_at,
            "ops": len(calibration.ops.key),
            "networks": len(calibration.wholes.network),
        },
    )


def known_estimators(hardware: Hardware, dtype: str | None = None) -> tuple[Calibration | None, dict[str, Estimator]]:
    """The calibration that a profile names, and all estimators of the two by name, baselines after the roofline.

    Args:
        hardware: The profile.
        dtype: In which models are to be timed; that of the calibration, or fp32, if None.

    Raises:
        CalibrationError: The calibration cannot be read, or is too small.
        ProfileError: The profile has no peak for the dtype.
    """
    from roofline.calibration.baselines import baselines
    from roofline.calibration.estimators import estimators
    from roofline.calibration.predicting import calibration_of, estimators_of

    if hardware.calibration is None:
        timed = dtype or PLAIN_DTYPE
        hardware.peak(timed)
        return None, estimators(None, replace(hardware, default_dtype=timed))
    calibration = calibration_of(hardware)
    plainest, *others = estimators_of(hardware).items()
    return calibration, dict([plainest, *baselines(calibration).items(), *others])


def environment_notes(calibration: Calibration, how: Setup) -> list[str]:
    """What of this machine, as it is now, makes times other than those that were calibrated; a sentence, or none."""
    from roofline.calibration.data import mismatch
    from roofline.measurement.environment import environment, using_threads

    with using_threads(how.threads):
        now = environment(how.device)
    if how.keep_memory and now["flags"]["freed_memory"] == "system":  # the processes that measure keep it
        now["flags"]["freed_memory"] = "kept"
    found = mismatch(calibration, now)
    if not found:
        return []
    return [f"The predictions are for another environment than this one: {'; '.join(found)}"]
