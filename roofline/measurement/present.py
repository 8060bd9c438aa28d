"""How the machine is just now: how many times as long as at its reference state work takes.

A prediction by a calibration is for the machine's reference state (`roofline.measurement.anchor`). What a stopwatch
would say now is that times the present factor, which some samples of the calibration's own anchor tell: their median
factor, of about 0.1 s of work. It is a guess for a network as the anchor's factor always is, and for this moment only.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from roofline.measurement.anchor import Anchor, factor_of
from roofline.measurement.conditions import MAX_FACTOR
from roofline.measurement.stopping import quantile

if TYPE_CHECKING:
    from roofline.calibration.data import Calibration

WARM_SAMPLES = 3  # untimed: the first calls choose their kernels and ask for their memory
SAMPLED_S = 0.1  # of the anchor's own time; about 25 samples on two cores
FEWEST_SAMPLES = 9  # however slow the machine is: its median then has four samples on each side


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """The present factor.

    Attributes:
        factor: How many times as long as at the reference state work takes now: the median of the samples.
        quartiles: Between which the middle half of the samples lies.
        samples: How many there are.
    """

    factor: float
    quartiles: tuple[float, float]
    samples: int

    @property
    def is_contended(self) -> bool:
        """Whether others keep the cores so busy that no latency follows from the factor."""
        return self.factor > MAX_FACTOR

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {"factor": self.factor, "quartiles": list(self.quartiles), "samples": self.samples}


def present(calibration: Calibration, anchor: Anchor | None = None) -> Present | None:
    """How the machine is just now, against the reference state of a calibration that was made on it.

    Args:
        calibration: Of this machine, in this environment.
        anchor: What is timed; the anchor of this version of roofline, on the calibration's device, if None.

    Returns:
        None where that cannot be told: the calibration was made without an anchor or beside another one, or this
        process does other things with freed memory.
    """
    names = tuple(calibration.anchor.get("names", ()))
    if anchor is None and names:
        anchor = this_machine(calibration)
    if anchor is None or tuple(anchor.names) != names:
        return None
    reference_s, weights = calibration.anchor["reference_s"], calibration.anchor.get("weights")
    for _ in range(WARM_SAMPLES):
        anchor.sample()
    factors: list[float] = []
    spent_s = 0.0
    while spent_s < SAMPLED_S or len(factors) < FEWEST_SAMPLES:
        sample = anchor.sample()
        spent_s += sum(sample)
        factors.append(factor_of(sample, reference_s, weights))
    low, middle, high = (quantile(factors, share) for share in (0.25, 0.5, 0.75))
    return Present(factor=middle, quartiles=(low, high), samples=len(factors))


def this_machine(calibration: Calibration) -> Anchor | None:
    """The anchor as it was timed beside a calibration; None where it cannot be in this process.

    Where the calibration kept freed memory this process does from here on, too: else the anchor would pay for page
    faults (docs/measuring.md), and the factor tell of these.
    """
    from roofline.measurement.allocator import keep_memory, policy
    from roofline.measurement.anchor import TorchAnchor
    from roofline.measurement.api import timer_for
    from roofline.measurement.clock import SystemClock

    wanted = calibration.environment["flags"]["freed_memory"]
    if wanted == "kept":
        keep_memory()
    if policy() != wanted:
        return None
    device = calibration.environment["device"]["type"]
    return TorchAnchor(timer_for(device, SystemClock()), device)
