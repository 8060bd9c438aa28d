"""The schemas of what sets predictions beside measurements, fits and validations: as much of each as is drawn.

A key that came later, which an older file lacks, is `NotRequired`.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from annotated_types import Gt, Lt, MinLen
from typing_extensions import TypedDict  # pydantic takes that of typing from Python 3.12 on

from roofline.saved_analysis import Figure
from roofline.saved_fields import Count, InputShape, Interval, Many, Number, Positive, Shape, Signed
from roofline.saved_measurement import Anchor, Failure
from roofline.units import printable


class _FittedParameter(TypedDict):
    name: str
    value: Number
    unit: str
    low: Number | None
    high: Number | None
    limited: Literal["both", "below", "above", "none"]


class _RidgeBand(TypedDict):
    dtype: str
    value: Positive
    low: Positive | None
    high: Positive | None
    curve: Annotated[Many[Interval], MinLen(1)]


class _FittedRow(TypedDict):
    line: Count
    model: str
    name: str
    input_size: Shape | None
    batch: Count
    dtype: str
    note: str
    macs: Count
    latency_s: Positive
    predicted_s: Positive
    error: Signed
    loo_predicted_s: Positive
    loo_error: Signed
    loo_terms: Many[str]


class Fit(TypedDict):
    """`roofline.fit.Fit.to_dict`."""

    device: str
    source: str
    ops: str
    fusion: str
    fused_activations: Many[str]
    terms: Many[str]
    terms_chosen: bool
    parameters: Annotated[Many[_FittedParameter], MinLen(1)]
    ridge_point_macs_per_byte: _RidgeBand
    ridge_points: Annotated[Many[_RidgeBand], MinLen(1)]
    spearman_roofline: Signed | None
    spearman_macs: Signed | None
    loo_mape: Number
    loo_median: Number
    loo_spearman: Signed | None
    rows: Annotated[Many[_FittedRow], MinLen(1)]
    remarks: Many[str]
    versions: dict[str, str]
    unseen_classes: NotRequired[Many[str]]


class _Estimate(TypedDict):
    estimator: str
    predicted_s: Positive
    interval90_s: Interval | None
    measured_s: Positive
    measured_ci95_s: Interval
    error: Signed
    verdict: Literal["right", "wrong", "undecided"]


class _ValidationRow(_Estimate):
    model: str
    family: str
    input_shape: InputShape
    machine_factor: Positive
    between_process: Number | None
    reason: str
    notes: Many[str]


class _Statistics(TypedDict):
    n: Count
    median_error: Number | None
    mape: Number | None
    p90_error: Number | None
    within_5: Number | None
    within_10: Number | None
    within_10_ci95: Interval | None
    within_20: Number | None
    bias: Signed | None
    spearman: Signed | None
    kendall: Signed | None
    coverage_80: Number | None
    width_80: Number | None
    coverage_90: Number | None
    width_90: Number | None


class _ValidationSummary(_Statistics):
    estimator: str
    decided: Count
    right: Count
    undecided: Count
    steady: _Statistics


class _NoiseCeiling(TypedDict):
    n: Count
    median_difference: Number | None
    within_5: Number | None
    within_10: Number | None


class _JudgedSummary(_ValidationSummary):
    noise_ceiling: _NoiseCeiling


class _ValidatedFamily(TypedDict):
    family: str
    n: Count
    right: Count
    wrong: Count
    undecided: Count
    median_error: Number
    worst_error: Number
    bias: Signed


class _KernelClass(TypedDict):
    kernel: str
    layers: Count
    share: Number
    predicted_s: Number
    measured_s: Number
    error: Signed
    median_error: Number


class _ValidatedLayer(TypedDict):
    name: str
    kind: str
    kernel: str
    macs: Count
    mem_bytes: Count
    predicted_s: Number | None
    measured_s: Number | None
    error: Signed | None


class _ValidatedLayers(TypedDict):
    model: str
    rows: Many[_ValidatedLayer]


class _WorstLayer(TypedDict):
    model: str
    layer: str
    kind: str
    kernel: str
    predicted_s: Number
    measured_s: Number
    excess_s: Signed
    error: Signed
    reason: str


class _FrozenRecord(TypedDict):
    frozen_at: str


class _Frozen(TypedDict):
    sha256: str
    record: _FrozenRecord


class _ValidationHardware(TypedDict):
    id: str
    name: str
    peak_macs_per_s: Positive
    bandwidth_bytes_per_s: Positive
    figures: dict[str, Figure]


class _Setup(TypedDict):
    mode: str
    dtype: str
    threads: Count | None


class Validation(TypedDict):
    """`roofline.validation.Validation.to_dict`."""

    verdict: str
    estimator: str
    estimators: Many[str]
    limit: Annotated[float, Gt(0), Lt(1)]
    summary: _JudgedSummary
    summaries: Many[_ValidationSummary]
    rows: Many[_ValidationRow]
    families: Many[_ValidatedFamily]
    kernels: Many[_KernelClass]
    worst_layers: Many[_WorstLayer]
    layers: Many[_ValidatedLayers]
    frozen: _Frozen
    hardware: _ValidationHardware
    setup: _Setup
    failures: Many[Failure]
    is_interrupted: bool
    anchor: Anchor
    environment: dict[str, object]
    notes: Many[str]
    versions: dict[str, str]


def validation_fits(validation: Validation) -> Validation:
    """The judged rows are those that the summary and the families are of, and what the summary decides it tells."""
    summary = validation["summary"]
    judged = [row for row in validation["rows"] if row["estimator"] == validation["estimator"]]
    if len(judged) != summary["n"]:
        raise ValueError(f"summary.n must be {len(judged)}, the rows of the judged estimator (got {summary['n']})")
    known = {group["family"] for group in validation["families"]}
    for row in judged:
        if row["family"] not in known:
            raise ValueError(f"families must have {printable(row['family'][:60])}, the family of a row")
    told = ("median_error", "mape", "p90_error", "within_5", "within_10", "within_10_ci95", "within_20", "bias")
    for name in told if summary["decided"] else ():
        if summary[name] is None:  # type: ignore[literal-required]
            raise ValueError(f"summary.{name} must be a number where rows are decided")
    return validation
