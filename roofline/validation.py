"""Predictions judged by the stopwatch: frozen first, measured then, joined last.

    profile + calibration --> estimators --> Predictions, with their hash
    the same models -------> measured in turns, in two fresh processes --> Run
    Predictions + Run -----> Validation

`roofline.validation_rows` says when a prediction is right, wrong or undecided, `roofline.validation_statistics` what
all of them are worth, and `roofline.validation_layers` where the error sits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from roofline.errors import CalibrationError, RooflineError
from roofline.measurement.result import Failure, Run
from roofline.validation_layers import kernel_rows, worst_layers
from roofline.validation_predictions import Asked, PredictedModel, Predictions, family_of, predict_models
from roofline.validation_rows import LIMIT, Row, ValidatedModel, verdict_of
from roofline.validation_setup import PLAIN_DTYPE, Setup, environment_notes, known_estimators, setup
from roofline.validation_statistics import NoiseCeiling, Statistics

if TYPE_CHECKING:
    from roofline.calibration.estimators import Estimator
    from roofline.hardware import Hardware
    from roofline.measurement.session import Progress

__all__ = [
    "Asked",
    "Row",
    "Setup",
    "ValidatedModel",
    "Validation",
    "environment_notes",
    "family_of",
    "joined",
    "known_estimators",
    "setup",
    "validate",
    "verdict_of",
]

SCHEMA = "roofline/validation/1"
MAX_UNFIT = 0.2  # share of models that the machine was not fit to measure; beyond it the whole is too noisy
PROCESSES = 2
MODELS_A_RUN = 16  # that take turns, and are in memory at once


@dataclass(frozen=True, eq=False, kw_only=True)
class Validation:
    """Models, predicted and measured.

    Attributes:
        models: In the order in which they were asked for.
        predictions: As they were frozen.
        hardware: The profile that was predicted on.
        setup: How the models ran.
        anchor, environment: Of the (first) run.
        failures: Models that could not be predicted or measured.
        is_interrupted: Whether it was stopped by hand.
        notes: Sentences on what is unusual about the whole.
    """

    models: tuple[ValidatedModel, ...]
    predictions: Predictions
    hardware: Hardware
    setup: Setup
    anchor: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, Any] = field(default_factory=dict)
    failures: tuple[Failure, ...] = ()
    is_interrupted: bool = False
    notes: tuple[str, ...] = ()

    @property
    def judged(self) -> str:
        """The estimator that is judged."""
        return self.predictions.judged

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """One a model and estimator."""
        return tuple(row for model in self.models for row in model.rows)

    @property
    def estimators(self) -> tuple[str, ...]:
        """Their names, from the plainest to the best; then what measured ops add up to, where these were timed."""
        return tuple(dict.fromkeys(row.guess.estimator for row in self.rows)) or (self.judged,)

    def of(self, estimator: str) -> list[Row]:
        """The rows of one estimator."""
        return [row for row in self.rows if row.guess.estimator == estimator]

    @property
    def is_too_noisy(self) -> bool:
        """Whether the machine was not fit to measure more than a fifth of the models."""
        too_busy = sum(failure.is_contention for failure in self.failures)
        unfit = sum(bool(model.unfit) for model in self.models) + too_busy
        return unfit > MAX_UNFIT * (len(self.models) + too_busy)

    def summary(self, estimator: str | None = None) -> dict[str, Any]:
        """What one estimator, by default the judged one, is worth, as plain data: of the rows that are decided.

        ``steady`` has the same of all rows whose measurement is fit to judge by, which are those of any estimator.
        """
        rows = self.of(estimator or self.judged)
        verdicts = [row.verdict for row in rows]
        return {
            "estimator": estimator or self.judged,
            "n": len(rows),
            "decided": len(rows) - verdicts.count("undecided"),
            "right": verdicts.count("right"),
            "wrong": verdicts.count("wrong"),
            "undecided": verdicts.count("undecided"),
            **_statistics([row for row in rows if row.verdict != "undecided"]).to_dict(),
            "steady": _of_steady(rows),
        }

    def noise_ceiling(self) -> NoiseCeiling:
        """How well the processes agree about the same model."""
        return NoiseCeiling.of([model.measurement.between_process for model in self.models])

    def families(self) -> list[dict[str, Any]]:
        """The judged predictions by family, as plain data; the family of the largest error first."""
        groups: dict[str, list[Row]] = {}
        for row in self.of(self.judged):
            groups.setdefault(row.model.family, []).append(row)
        found = []
        for family, rows in groups.items():
            size = np.abs([row.error for row in rows])
            verdicts = [row.verdict for row in rows]
            found.append(
                {
                    "family": family,
                    "n": len(rows),
                    **{verdict: verdicts.count(verdict) for verdict in ("right", "wrong", "undecided")},
                    "median_error": float(np.median(size)),
                    "worst_error": float(size.max()),
                    "bias": float(np.median(np.log1p([row.error for row in rows]))),
                }
            )
        return sorted(found, key=lambda group: -float(group["median_error"]))

    def to_dict(self) -> dict[str, Any]:
        """As plain data of schema ``"roofline/validation/1"`` (docs/json.md)."""
        from roofline.validation_words import verdict

        kernels = kernel_rows([model.layers for model in self.models])
        data = {
            "schema": SCHEMA,
            "verdict": "",
            "estimator": self.judged,
            "estimators": list(self.estimators),
            "limit": LIMIT,
            "summary": {**self.summary(), "noise_ceiling": self.noise_ceiling().to_dict()},
            "summaries": [self.summary(estimator) for estimator in self.estimators],
            "rows": [row.to_dict() for row in self.rows],
            "families": self.families(),
            "kernels": kernels,
            "worst_layers": worst_layers([(m.predicted.name, m.layers) for m in self.models], kernels),
            "layers": [
                {"model": model.predicted.name, "rows": [layer.to_dict() for layer in model.layers]}
                for model in self.models
                if model.layers
            ],
            "frozen": self.predictions.to_dict(),
            "hardware": self._hardware(),
            "setup": self.setup.to_dict(),
            "failures": [failure.to_dict() for failure in self.failures],
            "is_interrupted": self.is_interrupted,
            "anchor": dict(self.anchor),
            "environment": dict(self.environment),
            "notes": list(self.notes),
            "versions": dict(self.environment.get("versions", {})),
        }
        return {**data, "verdict": verdict(data)}

    def _hardware(self) -> dict[str, Any]:
        dtype = self.setup.dtype or PLAIN_DTYPE
        return {
            "id": self.hardware.id,
            "name": self.hardware.name,
            "dtype": dtype,
            "peak_macs_per_s": self.hardware.peak(dtype),
            "bandwidth_bytes_per_s": self.hardware.bandwidth_bytes_per_s,
            "figures": {path: asdict(figure) for path, figure in self.hardware.figures_of_time(dtype).items()},
        }

    def to_json(self) -> str:
        """`to_dict` as JSON text."""
        return json.dumps(self.to_dict(), indent=2, allow_nan=False)


def _statistics(rows: Sequence[Row]) -> Statistics:
    return Statistics.of(
        [row.guess.latency_s for row in rows],
        [row.measured_s for row in rows],
        [[row.guess.interval80_s for row in rows], [row.guess.interval90_s for row in rows]],
    )


def _of_steady(rows: Sequence[Row]) -> dict[str, Any]:
    steady = [row for row in rows if not row.unfit]
    return {"n": len(steady), **_statistics(steady).to_dict()}


# --- the three steps --------------------------------------------------------------------------------------------------


def validate(
    asked: Sequence[Asked],
    estimators: Mapping[str, Estimator],
    hardware: Hardware,
    *,
    how: Setup | None = None,
    judged: str | None = None,
    processes: int = PROCESSES,
    per_layer: bool = False,
    freeze: Callable[[Predictions], None] | None = None,
    predicting: Callable[[str, int, int], None] | None = None,
    progress: Callable[[Progress], None] | None = None,
    take: Callable[[Validation], None] | None = None,
    notes: Iterable[str] = (),
    **options: Any,
) -> Validation:
    """Predict models, freeze the predictions, measure the models, and join the two.

    Models of one batch, input size and set of arguments take turns; other sizes are measured after them.

    Args:
        asked: The models; how they run is `how`'s to say.
        estimators: By name, as `known_estimators` gives them.
        hardware: The profile.
        how: How models run; eager on the CPU if None.
        judged: The estimator to be judged; the one that knows most if None.
        processes: Fresh processes to measure in.
        per_layer: Whether to predict and time layers, too.
        freeze: Called with the predictions before anything is measured.
        predicting: Called with a reference before it is predicted, its number from 0, and how many there are.
        progress: Called with how far the measuring is.
        take: Called with what there is so far, whenever the models of one size are measured.
        notes: Sentences on what is unusual.
        options: Others of `roofline.measure`.

    Raises:
        RooflineError: Nothing can be predicted, or nothing measured.
    """
    how, notes = how or Setup(), tuple(notes)
    asked = [replace(each, mode=how.mode, dtype=how.dtype) for each in asked]
    predictions = predict_models(asked, estimators, judged=judged, layers=per_layer, progress=predicting)
    if freeze is not None:
        freeze(predictions)
    runs: list[Run] = []
    built_with: list[Mapping[str, Any]] = []
    failures: list[Failure] = []
    reference_s = how.anchor_reference_s

    def so_far() -> Validation:
        return joined(
            predictions, runs, arguments=built_with, hardware=hardware, how=how, failures=failures, notes=notes
        )

    for group in _groups(predictions.models):
        try:
            runs.append(
                _measured(
                    group, how, anchor_reference_s=reference_s,
                    processes=processes, per_layer=per_layer, progress=progress, **options,
                )
            )  # fmt: skip
        except RooflineError as error:
            failures += [Failure(model=model.asked.reference, reason=str(error)) for model in group]
            continue
        except KeyboardInterrupt:  # before it had anything
            if not runs:
                raise
            runs[-1] = replace(runs[-1], is_interrupted=True)
            break
        built_with.append(group[0].asked.arguments)
        if runs[-1].is_interrupted:
            break
        if runs[-1].anchor:  # all at one reference state
            reference_s = tuple(runs[-1].anchor["reference_s"])
        if take is not None:
            take(so_far())
    if not runs:
        raise RooflineError("; ".join(dict.fromkeys(failure.reason for failure in failures)))
    return so_far()


def _groups(models: Sequence[PredictedModel]) -> list[list[PredictedModel]]:
    """Those that one run can measure, in the order of their first; not too many, as all are in memory at once."""
    groups: dict[tuple[Any, ...], list[PredictedModel]] = {}
    for model in models:
        asked = model.asked
        key = (asked.batch, asked.input_size, _told(asked.arguments))
        groups.setdefault(key, []).append(model)
    return [
        group[start : start + MODELS_A_RUN] for group in groups.values() for start in range(0, len(group), MODELS_A_RUN)
    ]


def _measured(group: Sequence[PredictedModel], how: Setup, **options: Any) -> Run:
    """A run of models that `_groups` has put together."""
    from roofline.measurement import api

    first = group[0].asked
    return api.measure_models(
        [model.asked.reference for model in group],
        device=how.device, mode=how.mode, dtype=how.dtype, threads=how.threads, keep_memory=how.keep_memory,
        batch=first.batch, input_size=first.input_size, arguments=dict(first.arguments),
        **options,
    )  # fmt: skip


def _told(arguments: Mapping[str, Any]) -> str:
    """Arguments as part of a key."""
    return repr(sorted(arguments.items()))


def joined(
    predictions: Predictions,
    runs: Sequence[Run],
    *,
    arguments: Sequence[Mapping[str, Any]] | None = None,
    hardware: Hardware,
    how: Setup | None = None,
    failures: Sequence[Failure] = (),
    notes: Iterable[str] = (),
) -> Validation:
    """Predictions beside what the runs measured; a model that no run has is left out.

    Args:
        predictions, runs: The two.
        arguments: Of each run, with which its models were built; none if None.
        hardware: The profile.
        how: How models ran.
        failures, notes: Beside those of the predictions and runs.

    Raises:
        CalibrationError: A run was not measured at the reference state that the predictions are at.
    """
    how = how or Setup()
    for run in runs:
        wanted = how.anchor_reference_s
        if wanted is not None and run.anchor and tuple(run.anchor["reference_s"]) != wanted:
            raise CalibrationError(
                "the models were measured at another reference state of the machine than that of the calibration: "
                "calibrate and measure with the same version of roofline"
            )
    built_with: Sequence[Mapping[str, Any]] = [{}] * len(runs) if arguments is None else arguments
    measured = {
        (each.reference, each.batch, each.input_shapes, _told(given)): each
        for run, given in zip(runs, built_with, strict=True)
        for each in run.measurements
    }
    models = []
    for model in predictions.models:
        asked = model.asked
        found = measured.get((asked.reference, model.batch, model.input_shapes, _told(asked.arguments)))
        if found is not None:
            models.append(ValidatedModel(predicted=model, measurement=found))
    return Validation(
        models=tuple(models),
        predictions=predictions,
        hardware=hardware,
        setup=how,
        anchor=runs[0].anchor if runs else {},
        environment=runs[0].environment if runs else {},
        failures=(*predictions.failures, *failures, *(failure for run in runs for failure in run.failures)),
        is_interrupted=any(run.is_interrupted for run in runs),
        notes=tuple(notes),
    )
