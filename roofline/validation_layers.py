"""The layers of models, predicted and measured, and why the worst of them are so.

A layer's time is that of its op in the recorded sequence (`roofline.measurement.per_layer`), without what the host
takes beside it; predictions of ops mean the same. Layers are timed once, by the stopwatch, after the models: so that
they can be compared, each is scaled by the whole at the reference state over the whole that was timed beside it. And
medians of skewed times do not add up: so that they do, as those of a calibration, each is scaled by what all layers
took together over the sum of their medians.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from roofline.measurement.result import Measurement
from roofline.units import percent, si
from roofline.validation_predictions import PredictedLayer, PredictedModel

WORST = 25  # layers that are named
FEW_LAYERS = 3  # of a class, below which it has no error of its own
UNCLASSED = "other"  # the kernel class of ops that have none, `roofline.calibration.kernels.FALLBACK`
STRIDED = "/strided"  # how the classes end whose input is not contiguous


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerPair:
    """One layer.

    Attributes:
        predicted: What it is, and its prediction.
        measured_s: At the reference state; None where its op did not run as it was traced.
        measured_ci95_s: Its 95 % interval.
    """

    predicted: PredictedLayer
    measured_s: float | None
    measured_ci95_s: tuple[float, float] | None

    @property
    def error(self) -> float | None:
        """predicted / measured - 1; None where either is not known."""
        if self.predicted.latency_s is None or not self.measured_s:
            return None
        return self.predicted.latency_s / self.measured_s - 1

    @property
    def excess_s(self) -> float:
        """predicted - measured, in seconds; 0 where either is not known."""
        return 0.0 if self.error is None else (self.predicted.latency_s or 0.0) - (self.measured_s or 0.0)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        plain = self.predicted.to_dict()
        plain["predicted_s"] = plain.pop("latency_s")
        return {
            **plain,
            "measured_s": self.measured_s,
            "measured_ci95_s": None if self.measured_ci95_s is None else list(self.measured_ci95_s),
            "error": self.error,
        }


def layer_pairs(model: PredictedModel, measurement: Measurement) -> tuple[LayerPair, ...]:
    """The layers of a model; empty if they were not timed, or if others ran than were predicted."""
    layers = measurement.layers
    if not layers or len(layers["rows"]) != len(model.layers) or not layers["gap"]["whole_s"] > 0:
        return ()
    scale = measurement.reference_latency_s.median / layers["gap"]["whole_s"]
    medians_s = math.fsum(row["latency_s"] or 0.0 for row in layers["rows"])
    scale *= layers["gap"]["layers_s"] / medians_s if medians_s > 0 else 1.0
    return tuple(
        LayerPair(
            predicted=predicted,
            measured_s=None if row["latency_s"] is None else row["latency_s"] * scale,
            measured_ci95_s=None if row["latency_s"] is None else (row["ci95_s"][0] * scale, row["ci95_s"][1] * scale),
        )
        for predicted, row in zip(model.layers, layers["rows"], strict=True)
    )


def kernel_rows(models: Sequence[Sequence[LayerPair]]) -> list[dict[str, Any]]:
    """Predicted and measured by kernel class, over all models, as plain data; that with most measured time first."""
    classes: dict[str, list[LayerPair]] = {}
    for layers in models:
        for layer in layers:
            if layer.error is not None:
                classes.setdefault(layer.predicted.kernel or UNCLASSED, []).append(layer)
    total_s = sum(layer.measured_s or 0.0 for layers in classes.values() for layer in layers) or 1.0
    found = []
    for kernel, layers in classes.items():
        predicted_s = sum(layer.predicted.latency_s or 0.0 for layer in layers)
        measured_s = sum(layer.measured_s or 0.0 for layer in layers)
        found.append(
            {
                "kernel": kernel,
                "layers": len(layers),
                "predicted_s": predicted_s,
                "measured_s": measured_s,
                "share": measured_s / total_s,
                "error": predicted_s / measured_s - 1,
                "median_error": float(np.median([abs(layer.error or 0.0) for layer in layers])),
            }
        )
    return sorted(found, key=lambda row: -float(row["measured_s"]))


def worst_layers(
    models: Sequence[tuple[str, Sequence[LayerPair]]], kernels: Sequence[Mapping[str, Any]], most: int = WORST
) -> list[dict[str, Any]]:
    """The layers that cost models most of their error, in seconds, and why; as plain data, the worst first.

    Args:
        models: A name, and its layers.
        kernels: What `kernel_rows` gave for them.
        most: How many at most.
    """
    of_class = {row["kernel"]: row for row in kernels}
    known = [(name, layer) for name, layers in models for layer in layers if layer.error is not None]
    known.sort(key=lambda pair: -abs(pair[1].excess_s))
    return [
        {
            "model": name,
            "layer": layer.predicted.name,
            "kind": layer.predicted.kind,
            "kernel": layer.predicted.kernel,
            "predicted_s": layer.predicted.latency_s,
            "measured_s": layer.measured_s,
            "excess_s": layer.excess_s,
            "error": layer.error,
            "reason": reason(layer, of_class[layer.predicted.kernel or UNCLASSED]),
        }
        for name, layer in known[:most]
        if layer.excess_s
    ]


def reason(layer: LayerPair, kernel: Mapping[str, Any]) -> str:
    """What is known of why a layer's prediction is off, as a clause.

    Args:
        layer: Whose error is known.
        kernel: Of its class, as `kernel_rows` has it.
    """
    assert layer.error is not None
    assert layer.measured_s is not None
    low, high = layer.measured_ci95_s or (layer.measured_s, layer.measured_s)
    if high - low > abs(layer.excess_s):
        return f"its own time is known to {percent((high - low) / 2 / layer.measured_s)} only, either way"
    if (layer.predicted.kernel or UNCLASSED) == UNCLASSED:
        return "an op that has no kernel class of its own, and is predicted from ops in general"
    strided = "; its input is not contiguous" if layer.predicted.kernel.endswith(STRIDED) else ""
    if not layer.predicted.latency_s:
        return "it is predicted to cost nothing"
    own, common = math.log1p(layer.error), math.log1p(kernel["error"])
    if kernel["layers"] >= FEW_LAYERS and own * common > 0 and abs(common) > abs(own) / 2:
        return f"like its whole class, whose {kernel['layers']} layers are predicted {_off(kernel['error'])}{strided}"
    is_few = kernel["layers"] < FEW_LAYERS
    unlike = "one of few in its class" if is_few else f"unlike its class, which is predicted {_off(kernel['error'])}"
    return f"{unlike}: {_rates(layer)}{strided}"


def _rates(layer: LayerPair) -> str:
    """What it reaches, and what it was predicted to reach."""
    work, unit = (layer.predicted.macs, "MACs/s") if layer.predicted.macs else (layer.predicted.mem_bytes, "B/s")
    assert layer.predicted.latency_s
    assert layer.measured_s
    predicted_s, measured_s = layer.predicted.latency_s, layer.measured_s
    return f"it reaches {si(work / measured_s, unit)}, predicted {si(work / predicted_s, unit)}"


def _off(error: float) -> str:
    """An error in words.

    >>> _off(-0.44), _off(0.001)
    ('44 % too fast', 'well')
    """
    return "well" if abs(error) < 0.005 else f"{percent(abs(error))} too {'slow' if error > 0 else 'fast'}"
