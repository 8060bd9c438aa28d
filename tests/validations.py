"""Validations to draw and to save, of models that were neither traced nor timed: always the same figures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from roofline.graph import Graph
from roofline.hardware import Figure, Hardware
from roofline.measurement.result import Failure, Measurement, Run, Summary
from roofline.validation import Setup, Validation, joined
from roofline.validation_predictions import Asked, Guess, PredictedLayer, PredictedModel, Predictions
from tests.measurement.runs import ENVIRONMENT

SHAPE = (1, 3, 8, 8)
ANCHOR = {
    "names": ["sgemm", "blocks", "copy"], "weights": [0.0, 1.0, 0.0], "reference_s": [1e-3, 2e-3, 5e-4],
    "reference_source": "given", "factor": {"median": 1.2, "p10": 1.1, "p90": 1.4, "n": 50},
    "part_factors": [1.2, 1.2, 1.1],
}  # fmt: skip
HARDWARE = Hardware(
    id="mybox", name="My box", device_class="cpu", peak_macs_per_s={"fp32": 1e11}, bandwidth_bytes_per_s=2e10,
    default_dtype="fp32", default_fusion="none", fused_activations=frozenset(),
    figures={"peak_macs_per_s.fp32": Figure(value=1e11, kind="measured", source="roofline calibrate")},
)  # fmt: skip


@dataclass(frozen=True)
class FakeEstimator:
    """So many seconds a layer, and a band around the sum."""

    name: str
    layer_s: float = 1e-3
    band: float | None = 0.1

    def estimate(self, graph: Graph) -> Any:
        ops = [index for index, op in enumerate(graph.ops) if not op.is_view]
        latency_s = self.layer_s * len(ops)
        ends = (float("nan"),) * 2 if self.band is None else (latency_s * (1 - self.band), latency_s * (1 + self.band))
        return SimpleNamespace(
            estimator=self.name,
            latency_s=latency_s,
            op_s=np.full(len(ops), self.layer_s),
            kernels=SimpleNamespace(op=np.array(ops), kernel=np.array(["conv_1x1"] * len(ops)), flags=()),
            host_s=0.0,
            interval80_s=ends,
            interval90_s=ends,
            fallback_share=0.0,
            outside_share=0.0,
            notes=(f"by {self.name}",),
        )


ESTIMATORS = {
    "roofline": FakeEstimator("roofline", 0.5e-3, None),
    "calibrated": FakeEstimator("calibrated", 0.9e-3),
    "learned": FakeEstimator("learned"),
}


def summary(median_s: float, half_width: float = 0.01, n: int = 40) -> Summary:
    low, high = median_s * (1 - half_width), median_s * (1 + half_width)
    return Summary(median=median_s, ci95=(low, high), p10=low, p90=high, min=low, iqr=high - low, n=n)


def measured(
    name: str, median_s: float, *, between: float | None = 0.02, half_width: float = 0.01, **changed: Any
) -> Measurement:
    """A model that took so long at the reference state, and 1.2 times that as timed."""
    medians = () if between is None else (median_s, median_s * (1 + between))
    made = Measurement(
        name=name, reference=name, input_shapes=(SHAPE,), params=1000, threads=2,
        latency_s=summary(1.2 * median_s, half_width), reference_latency_s=summary(median_s, half_width),
        between_process=between, process_medians_s=medians, machine_factor=1.2, environment=ENVIRONMENT,
    )  # fmt: skip
    return replace(made, **changed)


def predicted(name: str, latency_s: float, family: str = "net", **changed: Any) -> PredictedModel:
    """By three estimators; the last, which is judged, says `latency_s`."""
    guesses = (
        Guess(estimator="roofline", latency_s=latency_s / 2),
        Guess(estimator="calibrated", latency_s=latency_s * 0.9, interval80_s=(latency_s * 0.8, latency_s),
              interval90_s=(latency_s * 0.7, latency_s * 1.1)),
        Guess(estimator="learned", latency_s=latency_s, interval80_s=(latency_s * 0.95, latency_s * 1.05),
              interval90_s=(latency_s * 0.9, latency_s * 1.1), notes=("intervals of few networks",)),
    )  # fmt: skip
    model = PredictedModel(
        asked=Asked(reference=name), name=name, family=family, input_shapes=(SHAPE,), guesses=guesses
    )
    return replace(model, **changed)


def frozen(models: Sequence[PredictedModel], failures: Sequence[Failure] = ()) -> Predictions:
    return Predictions(
        judged="learned", models=tuple(models), frozen_at="2026-11-27T10:00:00Z", failures=tuple(failures)
    )


def run_of(measurements: Sequence[Measurement], **changed: Any) -> Run:
    environment = {**ENVIRONMENT, "processes": 2}
    return replace(Run(measurements=tuple(measurements), environment=environment, anchor=ANCHOR), **changed)


def validation_of(pairs: Sequence[tuple[PredictedModel, Measurement]], **changed: Any) -> Validation:
    """Of models that are both predicted and measured."""
    made = joined(frozen([one for one, _ in pairs]), [run_of([other for _, other in pairs])], hardware=HARDWARE,
                  how=Setup(threads=2))  # fmt: skip
    return replace(made, **changed)


def pair(name: str, error: float, measured_s: float = 10e-3, family: str = "net", **of: Any) -> tuple[Any, Any]:
    """A model whose prediction is that far from its measurement."""
    return predicted(name, measured_s * (1 + error), family), measured(name, measured_s, **of)


def made_validation() -> Validation:
    """Eight models of three families: right, wrong, and undecided for each reason."""
    return validation_of(
        [
            pair("aa_small", 0.02, 5e-3, "aa"),
            pair("aa_large", -0.04, 20e-3, "aa"),
            pair("bb_small", 0.25, 8e-3, "bb"),
            pair("bb_large", 0.095, 40e-3, "bb", half_width=0.02),
            pair("cc_small", 0.01, 3e-3, "cc", between=0.3, status="noisy"),
            pair("cc_large", -0.2, 30e-3, "cc"),
            pair("cc_xl", 0.0, 60e-3, "cc", status="contended"),
            pair("cc_xxl", 0.045, 90e-3, "cc"),
        ]
    )


LAYERS = (  # name, kind, kernel, MACs, bytes, predicted s, measured s
    ("stem", "conv", "conv_few_channels", 10_000_000, 1_000_000, 1e-3, 1.1e-3),
    ("b0.dw", "depthwise_conv", "conv_depthwise", 2_000_000, 800_000, 0.5e-3, 1.0e-3),
    ("b1.dw", "depthwise_conv", "conv_depthwise", 2_000_000, 800_000, 0.5e-3, 0.9e-3),
    ("b2.dw", "depthwise_conv", "conv_depthwise/strided", 1_000_000, 400_000, 0.3e-3, 1.5e-3),
    ("b3.dw", "depthwise_conv", "conv_depthwise", 2_000_000, 800_000, 0.5e-3, 0.8e-3),
    ("act", "activation", "elementwise_cheap", 0, 500_000, 0.2e-3, 0.2e-3),
    ("odd", "other", "other", 0, 500_000, 0.1e-3, 0.4e-3),
    ("unseen", "other", "", 0, 100, None, None),
)


def layered(name: str = "layered", error: float = 0.05) -> tuple[PredictedModel, Measurement]:
    """A model with layers, whose ops and host add up to 96 % of the whole that was timed beside them."""
    layers = tuple(
        PredictedLayer(name=layer, kind=kind, ops=kind, kernel=kernel, macs=macs, mem_bytes=size, latency_s=predicted_s)
        for layer, kind, kernel, macs, size, predicted_s, _ in LAYERS
    )
    rows = [
        {"name": layer, "kind": kind, "ops": kind, "latency_s": took_s and took_s * 1.2,
         "ci95_s": [took_s and took_s * 1.19, took_s and took_s * 1.21]}
        for layer, kind, _, _, _, _, took_s in LAYERS
    ]  # fmt: skip
    layers_s = math.fsum(1.2 * took_s for *_, took_s in LAYERS if took_s)
    gap = {"whole_s": 12e-3, "layers_s": layers_s, "unexplained_s": 0.48e-3}
    one, other = pair(name, error, 10e-3, "layered")
    return replace(one, layers=layers), replace(other, layers={"rows": rows, "gap": gap, "notes": []})


def with_everything() -> Validation:
    """A validation in which whatever may be said is said."""
    made = made_validation()
    pairs = [(model.predicted, model.measurement) for model in made.models]
    several = replace(predicted("two_inputs", 1e-3), input_shapes=(SHAPE, (1,)))
    pairs += [layered(), (several, replace(measured("two_inputs", 1e-3), input_shapes=(SHAPE, (1,)), notes=("odd",)))]
    return replace(
        validation_of(pairs), failures=(Failure(model="nope", reason="unknown model 'nope'"),), is_interrupted=True,
        notes=("The predictions are for another environment than this one: versions.torch is 3, and 2 before",),
        setup=Setup(threads=2, calibration={"made_at": "2026-11-27T09:00:00+00:00", "ops": 900, "networks": 22}),
    )  # fmt: skip
