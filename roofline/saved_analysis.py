"""The schemas of saved analyses, sweeps, comparisons and what-ifs: as much of each as is drawn.

A key that came later, which an older file lacks, is `NotRequired`.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from annotated_types import MinLen
from typing_extensions import TypedDict  # pydantic takes that of typing from Python 3.12 on

from roofline.saved_fields import (
    Count,
    InputShape,
    Interval,
    Many,
    Number,
    Positive,
    Shape,
    Signed,
    check_length,
)


class _Uncounted(TypedDict):
    name: str
    calls: Count
    mem_bytes: Count


class _Group(TypedDict):
    name: str
    layers: Count
    macs: Count
    mem_bytes: Count
    latency_s: Number
    memory_bound_s: Number


class _Groups(TypedDict):
    kind: Many[_Group]
    stage: Many[_Group]


class Figure(TypedDict):
    """A figure of a profile, and where it comes from."""

    value: Number
    kind: str
    source: str


class _Model(TypedDict):
    reference: str
    name: str
    input_shape: InputShape
    params: Count
    arguments: NotRequired[dict[str, object]]


_Class = TypedDict("_Class", {"class": str}, total=False)


class _Hardware(_Class):
    id: str
    name: str
    dtype: str
    peak_macs_per_s: Positive
    bandwidth_bytes_per_s: Positive
    ridge_point_macs_per_byte: Positive
    figures: dict[str, Figure]
    peaks_macs_per_s: NotRequired[dict[str, Positive]]
    vector_ops_per_s: NotRequired[Positive | None]
    layer_overhead_s: NotRequired[Number]
    overhead_layers: NotRequired[Literal["all", "macs"]]
    combine: NotRequired[Literal["max", "add"]]
    inference_overhead_s: NotRequired[Number]
    notes: NotRequired[str]


class _Cost(TypedDict):
    macs: Count
    vector_ops: Count
    weight_bytes: Count
    activation_bytes: Count
    mac_time_s: Number
    mem_time_s: Number
    latency_s: Number


class _Totals(_Cost):
    inference_overhead_s: NotRequired[Number]
    compute_bound_share: Number
    operational_intensity_macs_per_byte: Number
    peak_activation_bytes: Count
    energy_j: Number | None


class _Layer(_Cost):
    name: str
    kind: str
    ops: str
    input_shape: Shape
    output_shape: Shape
    bound: Literal["memory", "compute"]
    operational_intensity_macs_per_byte: NotRequired[Number]
    unfused_bytes: NotRequired[Count]


class _Estimator(TypedDict):
    estimator: str
    is_chosen: bool
    interval90_s: NotRequired[Interval | None]


class Analysis(TypedDict):
    """`roofline.analysis.Analysis.to_dict`."""

    model: _Model
    hardware: _Hardware
    fusion: str
    batch: Count
    latency_kind: Literal["bound", "prediction"]
    totals: _Totals
    layers: Many[_Layer]
    uncounted_ops: Many[_Uncounted]
    versions: dict[str, str]
    verdict: NotRequired[str]
    estimates: NotRequired[Many[_Estimator] | None]
    warnings: NotRequired[Many[str]]
    groups: NotRequired[_Groups]
    defaults: NotRequired[Many[str]]
    notes: NotRequired[Many[str]]
    conventions: NotRequired[Many[str]]
    left_out: NotRequired[Many[str]]


class _SweptLayers(TypedDict):
    kind: Many[str]
    macs: Many[Count]
    mem_bytes: Many[Count]


class _Swept(TypedDict):
    name: str
    top1: Number | None
    macs: Count
    mem_bytes: Count
    input_shapes: Many[Shape]
    dtype: str
    fusion: str
    latency: Many[Number | None]
    pareto_intervals: Many[Interval] | None
    layers: _SweptLayers
    uncounted_ops: Many[_Uncounted]
    fused_activations: NotRequired[Many[str]]


class _Crossing(TypedDict):
    a: str
    b: str
    ridge_point: Number


class _Coincidence(TypedDict):
    a: str
    b: str
    low: Number
    high: Number


class _Profile(TypedDict):
    id: str
    name: str
    dtype: str
    ridge_point: Number
    figures: dict[str, Figure]
    kind: NotRequired[str]


class Sweep(TypedDict):
    """`roofline.sweep.RidgeSweep.to_dict`."""

    normalisation: Literal["peak", "bandwidth"]
    scale: Literal["linear", "log"]
    ridge_range: Interval
    ridge_points: Many[Number]
    models: Annotated[Many[_Swept], MinLen(1)]
    crossings: Many[_Crossing]
    coincidences: Many[_Coincidence]
    versions: dict[str, str]
    profiles: NotRequired[Many[_Profile]]


class _Side(TypedDict):
    label: str
    model: str
    device: str


class _Pair(TypedDict):
    baseline: Count | None
    other: Count | None


class _Difference(TypedDict):
    baseline: Count
    other: Count
    layers: Many[_Pair]


class Comparison(TypedDict):
    """`roofline.comparison.Comparison.to_dict`."""

    totals: Many[_Side]
    analyses: Annotated[Many[Analysis], MinLen(2)]
    differences: Many[_Difference]
    versions: dict[str, str]


class _Elasticity(TypedDict):
    quantity: str
    value: Positive
    better: Signed
    worse: Signed
    step_latency_s: Number
    limit_latency_s: Number
    knee_factor: Positive | None
    knee_layer: str | None
    meaning: str


class _Way(TypedDict):
    name: str
    peak_factor: Number | None
    bandwidth_factor: Number | None
    peak_macs_per_s: Number | None
    bandwidth_bytes_per_s: Number | None
    limit_latency_s: Number
    meaning: str


class _IsoPoint(TypedDict):
    peak_macs_per_s: Positive
    bandwidth_bytes_per_s: Positive
    layers: Many[str]


class _Iso(TypedDict):
    latency_s: Positive
    least_peak_macs_per_s: Positive
    least_bandwidth_bytes_per_s: Positive
    points: Many[_IsoPoint]


class _Alternative(TypedDict):
    group: str
    name: str
    is_present: bool
    dtype: str
    fusion: str
    batch: Count
    input_shapes: Many[Shape]
    skipped: str
    latency_s: Number | None
    image_latency_s: Number | None
    ratio: Number | None
    latency_kind: Literal["bound", "prediction"] | None
    scales: dict[str, Number | None] | None
    top1: Number | None
    what_changes: str


class _Saving(TypedDict):
    name: str
    kind: str
    latency_s: Number
    half_bytes_s: Number
    half_macs_s: Number


class _Placed(TypedDict):
    id: str
    name: str
    peak_macs_per_s: Positive
    bandwidth_bytes_per_s: Positive
    latency_s: Number
    latency_kind: Literal["bound", "prediction"]


class WhatIf(TypedDict):
    """`roofline.whatif.WhatIf.to_dict`."""

    verdict: str
    answers: Many[str]
    target_s: Positive | None
    elasticities: Many[_Elasticity]
    ways: Many[_Way]
    iso_latency: _Iso | None
    alternatives: Many[_Alternative]
    layers: Many[_Saving]
    profiles: Many[_Placed]
    notes: Many[str]
    analysis: Analysis
    versions: dict[str, str]


def sweep_fits(sweep: Sweep) -> Sweep:
    """The columns of each model are as long as they have to be."""
    for number, model in enumerate(sweep["models"]):
        layers = model["layers"]
        check_length(model["latency"], f"models[{number}].latency", sweep["ridge_points"])
        check_length(layers["macs"], f"models[{number}].layers.macs", layers["kind"])
        check_length(layers["mem_bytes"], f"models[{number}].layers.mem_bytes", layers["kind"])
    return sweep


def comparison_fits(comparison: Comparison) -> Comparison:
    """Each layer of both sides is in one pair: else the parts would not add up to the whole."""
    analyses = comparison["analyses"]
    check_length(comparison["totals"], "totals", analyses)
    for number, difference in enumerate(comparison["differences"]):
        key, pairs = f"differences[{number}]", difference["layers"]
        sides: tuple[Literal["baseline", "other"], ...] = ("baseline", "other")
        for side in sides:
            if difference[side] >= len(analyses):
                raise ValueError(f"{key}.{side} must be below {len(analyses)} (got {difference[side]})")
            layers = len(analyses[difference[side]]["layers"])
            if sorted(at for pair in pairs if (at := pair[side]) is not None) != list(range(layers)):
                raise ValueError(f"{key}.layers must hold each of the {layers} layers of its {side} once")
        for place, pair in enumerate(pairs):
            if pair["baseline"] is None and pair["other"] is None:
                raise ValueError(f"{key}.layers[{place}] is a pair of nothing")
    return comparison


def whatif_fits(whatif: WhatIf) -> WhatIf:
    """Each layer of the analysis has its savings."""
    check_length(whatif["layers"], "layers", whatif["analysis"]["layers"])
    return whatif
