"""What if: how a model's latency answers to the device it runs on, and to how the model is run.

    elasticities     of the latency in the peak, the bandwidths, the vector rate and the overheads, exact
    target           the smallest peak and bandwidth that reach it, and the iso-latency curve between them
    alternatives     other dtypes, batches, input sizes and fusions on the device as it is
    layers           what half the bytes, or half the MACs, of each would save

One graph is traced, and lowered again for another dtype or fusion; another batch or input size is traced again. All of
it is exact: the latency of a device with another peak is the one that `roofline.analyze` would give on such a device.
A calibration is set aside: what it measured of this device's kernels says nothing of one with another peak or
bandwidth, so that of a calibrated profile, too, all is by the roofline. docs/whatif.md has the formulas.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roofline.analysis import Analysis, analyze, versions
from roofline.errors import RooflineError
from roofline.hardware import Hardware
from roofline.profiles import load_profile
from roofline.response import IsoCurve, Times, iso_latency
from roofline.whatif_device import Elasticity, Placed, Way, elasticities, figures_of, placed, scaled, ways
from roofline.whatif_network import SCALES, Alternative, LayerSaving, Network, alternatives, savings

if TYPE_CHECKING:
    from torch import nn

__all__ = [
    "COLUMNS", "SCALES", "SCHEMA", "Alternative", "Elasticity", "LayerSaving", "Placed", "Way", "WhatIf", "scaled",
    "whatif",
]  # fmt: skip

SCHEMA = "roofline/whatif/1"


@dataclass(frozen=True, slots=True, eq=False, repr=False, kw_only=True)
class WhatIf:
    """How one model's latency on one device answers to the one and to the other.

    Attributes:
        analysis: The model on the device, as it is.
        times: Its times, for any other peak and bandwidth.
        elasticities: In each figure that the latency depends on.
        target_s: The latency to reach, seconds a pass; None if none was given.
        ways: To that target; without one, to the present latency.
        iso: The iso-latency curve of the target, or of the present latency; None where no peak and bandwidth reach it,
            or one of the two does not matter.
        alternatives: Other ways to run it, by group.
        layers: In the order of the analysis.
        profiles: The bundled ones with a peak at this dtype, but for the device itself, those that only teach, and
            peaks of a device of which a fitted profile is there too.
        set_aside: The calibration of the profile, which says nothing of other devices; None of one without.
    """

    analysis: Analysis
    times: Times
    elasticities: tuple[Elasticity, ...]
    target_s: float | None
    ways: tuple[Way, ...]
    iso: IsoCurve | None
    alternatives: tuple[Alternative, ...]
    layers: tuple[LayerSaving, ...]
    profiles: tuple[Placed, ...]
    set_aside: Path | None = None

    @property
    def latency_s(self) -> float:
        """Of the model on the device as it is, seconds a pass."""
        return float(self.analysis.prediction.latency_s)

    @property
    def is_met(self) -> bool | None:
        """Whether the latency is within the target; None without one."""
        return None if self.target_s is None else self.latency_s <= self.target_s

    def best_layers(self, top: int = 5) -> list[LayerSaving]:
        """The layers of which half the bytes or half the MACs would save the most."""
        return sorted(self.layers, key=lambda layer: -max(layer.half_bytes_s, layer.half_macs_s))[:top]

    def within(self) -> list[Alternative]:
        """The alternatives of the same batch that are within the target; none without one."""
        if self.target_s is None:
            return []
        return [
            other
            for other in self.alternatives
            if not other.is_present and other.group != "batch" and (other.latency_s or math.inf) <= self.target_s
        ]

    def verdict(self) -> str:
        """The answer in a sentence or two."""
        from roofline.whatif_words import verdict

        return verdict(self)

    def rows(self) -> list[dict[str, Any]]:
        """One record an alternative: the columns of the CSV."""
        return [
            {column: value for column, value in _row(other).items() if column in COLUMNS} for other in self.alternatives
        ]

    def to_dict(self) -> dict[str, Any]:
        """The result as plain data, schema "roofline/whatif/1" (docs/json.md)."""
        from roofline import whatif_words as words

        return {
            "schema": SCHEMA,
            "verdict": self.verdict(),
            "answers": words.answers(self),
            "target_s": self.target_s,
            "elasticities": [{**asdict(item), "meaning": words.elasticity(self, item)} for item in self.elasticities],
            "ways": [{**asdict(way), "meaning": words.way(self, way)} for way in self.ways],
            "iso_latency": self._iso(),
            "alternatives": [
                {**_row(other), "what_changes": words.what_changes(self, other)} for other in self.alternatives
            ],
            "layers": [asdict(layer) for layer in self.layers],
            "profiles": [asdict(profile) for profile in self.profiles],
            "notes": words.notes(self),
            "analysis": self.analysis.to_dict(),
            "versions": versions(),
        }

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def _iso(self) -> dict[str, Any] | None:
        if self.iso is None:
            return None
        peak, bandwidth = figures_of(self.analysis)
        names = self.analysis.layers.name
        return {
            "latency_s": self.iso.target_s,
            "least_peak_macs_per_s": peak * self.iso.least_peak,
            "least_bandwidth_bytes_per_s": bandwidth * self.iso.least_bandwidth,
            "points": [
                {
                    "peak_macs_per_s": peak * point.peak,
                    "bandwidth_bytes_per_s": bandwidth * point.bandwidth,
                    "layers": [names[layer] for layer in point.layers],
                }
                for point in self.iso.points
            ],
        }

    def __repr__(self) -> str:
        return f"<WhatIf of {self.analysis.name}: {self.verdict()}>"


COLUMNS = (
    "group", "name", "is_present", "dtype", "fusion", "batch", "input_shapes", "latency_s", "image_latency_s", "ratio",
    "latency_kind", "top1", "skipped",
)  # fmt: skip


def _row(other: Alternative) -> dict[str, Any]:
    return {**asdict(other), "input_shapes": [list(sizes) for sizes in other.input_shapes]}


def whatif(
    model: str | nn.Module,
    inputs: Any = None,
    *,
    hw: str | Path | Hardware,
    target_s: float | None = None,
    **options: Any,
) -> WhatIf:
    """How the latency of a model on a device answers to the hardware and to how the network is run.

    Args:
        model, inputs, hw: As `roofline.analyze` takes them.
        target_s: A latency to reach, seconds a pass.
        options: As `roofline.analyze` takes them: `batch`, `input_size`, `dtype`, `fusion`, `arguments`.

    Raises:
        RooflineError: Anything wrong with the model, the device or the target, in one line; another estimator than the
            roofline.

    >>> result = whatif("mobilenetv4_conv_m", hw="pixel6_tpu", target_s=0.5e-3)
    >>> [(item.quantity, round(item.better, 3)) for item in result.elasticities]
    [('peak', -0.06), ('bandwidth', -0.94)]
    >>> [(way.name, way.peak_factor and round(way.bandwidth_factor, 2)) for way in result.ways]
    [('peak', None), ('bandwidth', 1.29), ('both', 1.25), ('cheapest', 1.49)]
    """
    if target_s is not None and not (isinstance(target_s, int | float) and 0 < target_s < math.inf):
        raise RooflineError(f"a target is a number of seconds, more than 0 (got {target_s!r})")
    if (estimator := options.pop("estimator", None)) not in (None, "roofline"):
        raise RooflineError(
            f"what-if is by the roofline, as kernels measured here say nothing of another device (got {estimator!r})"
        )
    hardware = load_profile(hw) if isinstance(hw, str | Path) else hw
    set_aside = hardware.calibration if isinstance(hardware, Hardware) else None
    analysis = analyze(
        model, inputs, hw=hardware if set_aside is None else replace(hardware, calibration=None), **options
    )
    network = Network.of(model, inputs, analysis, options)
    times = Times.of(analysis.prediction)
    goal_s = float(analysis.prediction.latency_s) if target_s is None else float(target_s)
    iso = iso_latency(times, goal_s)
    return WhatIf(
        analysis=analysis,
        times=times,
        elasticities=tuple(elasticities(analysis, times)),
        target_s=None if target_s is None else goal_s,
        ways=tuple(ways(analysis, times, goal_s, iso)),
        iso=iso,
        alternatives=tuple(alternatives(analysis, network)),
        layers=tuple(savings(analysis, times)),
        profiles=tuple(placed(analysis, options.get("fusion"))),
        set_aside=set_aside,
    )
