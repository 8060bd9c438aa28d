"""One model, or one prediction of it, beside its measurement: is it right, wrong, or undecided.

A prediction is *right* if it is within 10 % of the measured time wherever that lies in its interval, *wrong* if it is
so nowhere, and *undecided* in between, or if the machine was not fit to tell: the processes differ by more than 10 %,
other work was in the way, or there was but one process, whose own noise nobody knows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from roofline.measurement.result import Measurement
from roofline.measurement.stopping import MAX_BETWEEN_PROCESSES
from roofline.units import percent, seconds
from roofline.validation_layers import LayerPair, layer_pairs
from roofline.validation_predictions import Guess, PredictedModel
from roofline.validation_statistics import Interval, errors

LIMIT = 0.10  # an error up to which a prediction is right
COMPOSED = "composed"  # measured ops and host costs put together: what is left to whoever predicts those perfectly

Verdict = Literal["right", "wrong", "undecided"]


def verdict_of(predicted_s: float, measured_ci95_s: Interval, limit: float = LIMIT) -> Verdict:
    """Whether a prediction is within the limit of the measured time, wherever in its interval that is.

    >>> verdict_of(1.0, (0.98, 1.02)), verdict_of(1.0, (1.2, 1.3)), verdict_of(1.0, (1.08, 1.2))
    ('right', 'wrong', 'undecided')
    """
    low, high = measured_ci95_s
    fastest, slowest = predicted_s / (1 + limit), predicted_s / (1 - limit)  # measured times that it is right for
    if fastest <= low and high <= slowest:
        return "right"
    return "wrong" if high < fastest or low > slowest else "undecided"


def why_unfit(measurement: Measurement, mode: str) -> str:
    """Why nothing is to be judged by a measurement, in words; empty if it is fit."""
    between = measurement.between_process
    if measurement.is_interrupted:
        return "it was interrupted"
    if measurement.status in ("contended", "throttled"):
        return f"the machine was not fit to measure it: {measurement.status}"
    if measurement.mode != mode:
        return f"it ran in mode {measurement.mode}, and the prediction is for {mode}"
    if between is None:
        return "it was measured in one process, whose own noise is not known"
    if between > MAX_BETWEEN_PROCESSES:
        return f"{len(measurement.process_medians_s)} processes differ by {percent(between)}"
    return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One prediction of one model against its measurement.

    Attributes:
        model: What was predicted.
        measurement: What the stopwatch said.
        guess: The prediction.
        unfit: Why nothing is to be judged by the measurement; empty if it is fit.
    """

    model: PredictedModel
    measurement: Measurement
    guess: Guess
    unfit: str

    @property
    def measured_s(self) -> float:
        """At the machine's reference state, as the prediction is."""
        return self.measurement.reference_latency_s.median

    @property
    def error(self) -> float:
        """predicted / measured - 1."""
        return float(errors(self.guess.latency_s, self.measured_s))

    @property
    def verdict(self) -> Verdict:
        """Right, wrong or undecided."""
        if self.unfit:
            return "undecided"
        return verdict_of(self.guess.latency_s, self.measurement.reference_latency_s.ci95)

    @property
    def reason(self) -> str:
        """Why it is undecided, in words; empty if it is not."""
        if self.verdict != "undecided" or self.unfit:
            return self.unfit
        low, high = self.measurement.reference_latency_s.ci95
        return f"its measurement, {seconds(low)} to {seconds(high)}, is on both sides of {percent(LIMIT)}"

    def to_dict(self) -> dict[str, Any]:
        """As plain data, a row of the JSON."""
        measured, guess = self.measurement, self.guess
        plain = guess.to_dict()
        return {
            "model": self.model.name,
            "reference": self.model.asked.reference,
            "family": self.model.family,
            "input_shape": self.model.input_shape,
            "batch": measured.batch,
            "mode": self.model.asked.mode,
            "dtype": measured.dtype,
            "estimator": guess.estimator,
            "predicted_s": guess.latency_s,
            "interval80_s": plain["interval80_s"],
            "interval90_s": plain["interval90_s"],
            "fallback_share": guess.fallback_share,
            "outside_share": guess.outside_share,
            "measured_s": self.measured_s,
            "measured_ci95_s": list(measured.reference_latency_s.ci95),
            "timed_s": measured.latency_s.median,
            "machine_factor": measured.machine_factor,
            "between_process": measured.between_process,
            "status": measured.status,
            "error": self.error,
            "verdict": self.verdict,
            "reason": self.reason,
            "notes": list(dict.fromkeys((*guess.notes, *self.model.risks, *measured.notes))),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidatedModel:
    """One model, predicted and measured."""

    predicted: PredictedModel
    measurement: Measurement

    @property
    def unfit(self) -> str:
        """Why nothing is to be judged by its measurement; empty if it is fit."""
        return why_unfit(self.measurement, self.predicted.asked.mode)

    @property
    def rows(self) -> tuple[Row, ...]:
        """One a prediction; where its layers were timed, what these add up to as well."""
        guesses = (*self.predicted.guesses, *filter(None, [self._composed]))
        return tuple(
            Row(model=self.predicted, measurement=self.measurement, guess=guess, unfit=self.unfit) for guess in guesses
        )

    @property
    def _composed(self) -> Guess | None:
        """Its measured ops and host costs put together, as a share of the whole that was timed beside them."""
        gap = (self.measurement.layers or {}).get("gap")
        if not gap or not gap["whole_s"] > 0:
            return None
        explained = 1 - gap["unexplained_s"] / gap["whole_s"]
        if explained <= 0:
            return None
        return Guess(estimator=COMPOSED, latency_s=explained * self.measurement.reference_latency_s.median)

    @property
    def layers(self) -> tuple[LayerPair, ...]:
        """Its layers, predicted and measured; empty if they were not timed."""
        return layer_pairs(self.predicted, self.measurement)
