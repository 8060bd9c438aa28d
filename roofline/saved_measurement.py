"""The schemas of saved measurements, and of activations compared and timed one by one: as much of each as is drawn.

A key that came later, which an older file lacks, is `NotRequired`.
"""

from __future__ import annotations

from typing import Annotated, Literal, NotRequired

from annotated_types import Gt, Lt, MinLen
from typing_extensions import TypedDict  # pydantic takes that of typing from Python 3.12 on

from roofline.saved_analysis import Figure
from roofline.saved_fields import Count, InputShape, Interval, Many, Number, Positive, Signed
from roofline.units import printable


class _MeasuredModel(TypedDict):
    reference: str
    name: str
    input_shape: InputShape
    params: Count | None


class _Summary(TypedDict):
    median: Number
    ci95: Interval
    p10: Number
    p90: Number
    min: Number
    iqr: Number
    n: Count


class _Sample(TypedDict):
    wall_s: Number
    factor: Positive
    at_s: Number
    flags: Many[str]
    round: Count
    process: Count


class _LayerTime(TypedDict):
    name: str
    kind: str
    ops: str
    latency_s: Number | None
    ci95_s: Many[Number | None]


class _Gap(TypedDict):
    whole_s: Number
    layers_s: Number
    free_ops: Count
    free_ops_s: Number
    ops: Count
    module_calls: Count
    dispatch_s: Number
    modules_s: Number
    unexplained_s: Signed


class _LayerTimes(TypedDict):
    rows: Many[_LayerTime]
    gap: _Gap


class _Measurement(TypedDict):
    model: _MeasuredModel
    device: str
    mode: str
    dtype: str
    batch: Count
    threads: Count
    latency_s: _Summary
    reference_latency_s: _Summary
    kernel_latency_s: _Summary | None
    between_process: Number | None
    process_medians_s: Many[Number]
    status: str
    flags: dict[str, Count]
    left_out: Count
    cores_used: Number
    is_interrupted: bool
    notes: Many[str]
    layers: _LayerTimes | None
    samples: NotRequired[Many[_Sample]]
    tag: NotRequired[str]
    worker: NotRequired[str]
    anchor: NotRequired[Anchor]
    environment: NotRequired[dict[str, object]]


class Failure(TypedDict):
    """A model that has no measurement, and why."""

    model: str
    reason: str
    tag: NotRequired[str]


class _Factor(TypedDict):
    median: Positive
    p10: Positive
    p90: Positive
    n: Count


class Anchor(TypedDict, total=False):
    """`anchor` of a run: what was timed beside each sample."""

    names: Many[str]
    reference_s: Many[Positive]
    reference_source: str
    factor: _Factor


class Run(TypedDict):
    """`roofline.measurement.result.Run.to_dict`."""

    measurements: Many[_Measurement]
    failures: Many[Failure]
    is_interrupted: bool
    anchor: Anchor
    environment: dict[str, object]
    versions: dict[str, str]


class _Fusions(TypedDict):
    none: Number
    epilogue: Number
    all: Number


class _Parts(TypedDict):
    macs: Number
    activation_bytes: Number
    weight_bytes: Number
    class_bytes: Number
    vector_ops: Number
    layer_overhead: Number


class _ActivationRow(TypedDict):
    activation: str
    label: str
    params: Count
    macs: Count
    vector_ops: Count
    mem_bytes: Count
    predicted_s: dict[str, Number]
    ratio_to_relu_predicted: dict[str, Number | None]
    fusion_s: dict[str, _Fusions]
    parts_s: dict[str, _Parts]
    measured_s: Number | None
    measured_ci95_s: Interval | None
    reference_s: Number | None
    reference_ci95_s: Interval | None
    ratio_to_relu_measured: Number | None
    ratio_to_relu_measured_ci95: Interval | None
    status: str | None


class _ActivationPlace(TypedDict):
    id: str
    name: str
    dtype: str
    fusion: str
    latency_kind: Literal["bound", "prediction"]
    are_equal: bool
    reasons: Many[str]
    figures: dict[str, Figure]


class _ActivationRun(TypedDict):
    device: str
    measurements: Many[_Measurement]
    failures: Many[Failure]
    is_interrupted: bool
    anchor: Anchor
    environment: dict[str, object]


class _PublishedLatency(TypedDict):
    label: str
    device: str
    runtime: str
    latency_s: Number
    ratio_to_relu: Number | None
    source: str
    confidence: str
    note: str


class _Agreement(TypedDict):
    meaning: str


class _ComparedModel(TypedDict):
    reference: str
    name: str
    input_shape: InputShape
    arguments: dict[str, object]


class _Counted(TypedDict):
    dtype: str
    fusion: str


class Activations(TypedDict):
    """`roofline.activation_comparison.ActivationComparison.to_dict`."""

    verdict: str
    model: _ComparedModel
    batch: Count
    counted: _Counted
    rows: Annotated[Many[_ActivationRow], MinLen(1)]
    profiles: Many[_ActivationPlace]
    measurement: _ActivationRun | None
    published: Many[_PublishedLatency]
    agreements: Many[_Agreement]
    notes: Many[str]
    versions: dict[str, str]


class _Level(TypedDict):
    name: str
    footprint_bytes: Count


class _ElementwiseRow(TypedDict):
    activation: str
    level: str
    footprint_bytes: Annotated[int, Gt(0), Lt(2**63)]
    in_place: bool
    latency_s: Number
    overhead_s: Number
    bytes_per_s: Positive
    speed: Positive | None
    bound: Literal["memory", "compute", "overhead"]
    vector_ops_per_s: Positive | None
    status: str


class Elementwise(TypedDict):
    """`roofline.elementwise.Elementwise.to_dict`."""

    verdict: str
    dtype: str
    levels: Many[_Level]
    rows: Many[_ElementwiseRow]
    environment: dict[str, object]
    notes: Many[str]
    versions: dict[str, str]


def activations_fit(comparison: Activations) -> Activations:
    """ReLU is there, each row has a time and its parts at each profile, and what is measured is whole."""
    if not any(row["activation"] == "relu" for row in comparison["rows"]):
        raise ValueError("rows must hold one of relu, with which the others are compared")
    for number, row in enumerate(comparison["rows"]):
        for place in comparison["profiles"]:
            for key in ("predicted_s", "ratio_to_relu_predicted", "fusion_s", "parts_s"):
                if place["id"] not in row[key]:
                    raise ValueError(f"rows[{number}].{key} must have {printable(place['id'][:60])}")
        if len({row[key] is None for key in ("measured_s", "reference_s", "status")}) > 1:
            raise ValueError(f"rows[{number}] must have all of what is measured, or nothing")
    return comparison


def elementwise_fits(result: Elementwise) -> Elementwise:
    """Each row is told a speed where it is bound by one."""
    for number, row in enumerate(result["rows"]):
        if row["speed"] is None and row["bound"] != "overhead":
            raise ValueError(f"rows[{number}].speed must be a number where it is {row['bound']}-bound")
    return result
