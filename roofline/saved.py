"""Results that were saved as JSON, read back as the plain data that reports are drawn from.

Nothing of a file is ever executed. What a drawing needs is checked here, so that nothing later meets a value of the
wrong kind; keys that this version does not know are kept and left alone. Every problem is a `SavedError` of one line
that names the file and, where there is one, the line or the key.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sized
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NotRequired, TypeVar, cast

from annotated_types import Ge, Gt, Len, Lt, MinLen
from typing_extensions import TypedDict  # pydantic takes that of typing from Python 3.12 on

from roofline.errors import SavedError
from roofline.units import printable

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler, TypeAdapter
    from pydantic_core import CoreSchema, ErrorDetails

MAX_BYTES = 256 * 10**6  # a result of 300 layers has 150 kB


def load_saved(path: str | Path) -> dict[str, Any]:
    """Read a saved analysis, sweep, comparison, what-if, fit, measurement, validation or comparison of activations.

    Raises:
        SavedError: There is no such file, it is not JSON, no result of roofline, of a schema that this version does
            not know, or lacks something that its schema asks for.
    """
    from pydantic import ValidationError

    data = _parse(_read(Path(path)), path)
    if not isinstance(data, dict) or not isinstance(data.get("schema"), str):
        raise SavedError(f"{path} is no saved result of roofline: it has no 'schema' (-o result.json saves one)")
    what = _what(data["schema"], path)
    try:
        _checked(what).validate_python(data, strict=True)
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        raise SavedError(f"{path}: {_problem(first)} (schema {data['schema']})") from None
    return data


def load_analysis(path: str | Path) -> dict[str, Any]:
    """Read a saved analysis.

    Raises:
        SavedError: As `load_saved`; or the file holds another kind of result.
    """
    data = load_saved(path)
    what = data["schema"].split("/")[1]
    if what != "analysis":
        raise SavedError(f"{path} holds a saved {what}, and a saved analysis is needed ('roofline report' draws both)")
    return data


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise SavedError(f"there is no file {path}") from None
    except IsADirectoryError:
        raise SavedError(f"{path} is a folder, not a saved result") from None
    except (OSError, ValueError) as error:  # ValueError: a path with a null character
        raise SavedError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from None
    if len(data) > MAX_BYTES:
        raise SavedError(f"{path} is larger than {MAX_BYTES // 10**6} MB, which no saved result is")
    return data


def _parse(data: bytes, path: str | Path) -> object:
    try:
        return json.loads(data.decode(json.detect_encoding(data)), parse_constant=_refuse, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise SavedError(f"{path}:{error.lineno}:{error.colno}: not JSON: {error.msg}") from None
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise SavedError(f"{path}:{line}: not JSON: not {error.encoding} text") from None
    except RecursionError:
        raise SavedError(f"{path}: nested deeper than any result") from None
    except SavedError as refused:
        raise SavedError(f"{path}: {refused}") from None
    except ValueError:  # Python refuses whole numbers of more than 4300 digits
        raise SavedError(f"{path}: holds a number with thousands of digits") from None


def _refuse(constant: str) -> object:
    raise SavedError(f"holds {constant}, which is no number of a result")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise SavedError(f"holds {text[:40]}, which is out of the range of numbers")
    return value


def _what(schema: str, path: str | Path) -> str:
    """The kind of result, a key of `SCHEMAS`, of a schema, which is ``roofline/WHAT/VERSION``."""
    parts = re.fullmatch(r"roofline/([a-z]+)/([0-9]{1,9})", schema)
    what, version = (parts[1], int(parts[2])) if parts else ("", 0)
    known = {what: f"roofline/{what}/{newest}" for what, (newest, *_) in SCHEMAS.items()}
    if what not in known:
        raise SavedError(f"{path} has the schema {schema[:60]!r}, which is none of {', '.join(known.values())}")
    newest = SCHEMAS[what][0]
    if version > newest:
        raise SavedError(
            f"{path} was made by a newer roofline: its schema is {schema}, and this version reads up to {known[what]}"
        )
    if version < newest:
        raise SavedError(
            f"{path} has the schema {schema}, which there never was; known are {', '.join(known.values())}"
        )
    return what


@cache
def _checked(what: str) -> TypeAdapter[Any]:
    from pydantic import AfterValidator, TypeAdapter

    _, schema, fits = SCHEMAS[what]
    checked: Any = Annotated[schema, AfterValidator(fits)]
    return TypeAdapter(checked)


def _problem(error: ErrorDetails) -> str:
    """Which key it is, and in our words, or else in pydantic's, what is wrong with it and what would be right."""
    context = error.get("ctx", {})
    steps = (step for step in error["loc"] if step not in (_InputShape.ONE, _InputShape.SEVERAL))
    key = "".join(f"[{step}]" if isinstance(step, int) else f".{printable(step[:60])}" for step in steps)
    match error["type"]:
        case "value_error":
            return str(context["error"])  # of `_sweep_fits` and its like, which name the key
        case "missing":
            wrong = "is missing"
        case "too_short" | "too_long":
            wrong = error["msg"].replace("List should", "must").replace(" after validation", "")
        case kind:
            right = _RIGHT[kind].format(**context) if kind in _RIGHT else error["msg"].removeprefix("Input should be ")
            wrong = f"must be {right} (got {_shown(error['input'])})"
    return f"{key.removeprefix('.')} {wrong}"


_RIGHT = {
    "dict_type": "an object",
    "list_type": "a list",
    "string_type": "text",
    "int_type": "a whole number, 0 or more",
    "float_type": "a number, 0 or more",
    "greater_than_equal": "{ge:g} or more",
    "greater_than": "more than {gt:g}",
    "less_than": "less than {lt:g}",
}


def _shown(value: object) -> str:
    match value:
        case None | bool():
            return json.dumps(value)
        case dict() | list():
            return "an object" if isinstance(value, dict) else "a list"
        case int() if not -(10**30) < value < 10**30:
            return "a number with many digits"
        case _:
            text = repr(value)
            return text if len(text) <= 40 else f"{text[:36]}...'"


# --- the schemas ----------------------------------------------------------------------------------------------------


class _FirstWrong:
    """Ends the check of a list at its first wrong item: no more are told, and a hostile file has millions."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        return cast("CoreSchema", {**handler(source), "fail_fast": True})


T = TypeVar("T")
Many = Annotated[list[T], _FirstWrong]
Count = Annotated[int, Ge(0), Lt(2**63)]
Number = Annotated[float, Ge(0), Lt(1e300)]  # `_parse` lets no NaN and no infinity in
Positive = Annotated[float, Gt(0), Lt(1e300)]
Signed = Annotated[float, Gt(-1e300), Lt(1e300)]
Shape = Many[Count]
Interval = Annotated[Many[Number], Len(2, 2)]


class _InputShape(list[Any]):
    """Sizes, or a list of such lists for a model with several inputs."""

    ONE, SEVERAL = "<one>", "<several>"  # in the places of errors, beside the keys

    @classmethod
    def __get_pydantic_core_schema__(cls, _: object, handler: GetCoreSchemaHandler) -> CoreSchema:
        from pydantic_core import core_schema

        choices = {cls.ONE: handler.generate_schema(Shape), cls.SEVERAL: handler.generate_schema(Many[Shape])}
        return core_schema.tagged_union_schema(choices, discriminator=cls._choice)

    @classmethod
    def _choice(cls, value: object) -> str:
        several = isinstance(value, list) and any(isinstance(item, list) for item in value)
        return cls.SEVERAL if several else cls.ONE


# A key that came later, which an older file lacks, is `NotRequired`.


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


class _Figure(TypedDict):
    value: Number
    kind: str
    source: str


class _Model(TypedDict):
    reference: str
    name: str
    input_shape: _InputShape
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
    figures: dict[str, _Figure]
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


class _Analysis(TypedDict):
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
    figures: dict[str, _Figure]
    kind: NotRequired[str]


class _Sweep(TypedDict):
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


class _Comparison(TypedDict):
    totals: Many[_Side]
    analyses: Annotated[Many[_Analysis], MinLen(2)]
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


class _WhatIf(TypedDict):
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
    analysis: _Analysis
    versions: dict[str, str]


class _MeasuredModel(TypedDict):
    reference: str
    name: str
    input_shape: _InputShape
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


class _Failure(TypedDict):
    model: str
    reason: str


class _Factor(TypedDict):
    median: Positive
    p10: Positive
    p90: Positive
    n: Count


class _Anchor(TypedDict, total=False):
    names: Many[str]
    reference_s: Many[Positive]
    reference_source: str
    factor: _Factor


class _Run(TypedDict):
    measurements: Many[_Measurement]
    failures: Many[_Failure]
    is_interrupted: bool
    anchor: _Anchor
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
    figures: dict[str, _Figure]


class _ActivationRun(TypedDict):
    device: str
    measurements: Many[_Measurement]
    failures: Many[_Failure]
    is_interrupted: bool
    anchor: _Anchor
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
    input_shape: _InputShape
    arguments: dict[str, object]


class _Counted(TypedDict):
    dtype: str
    fusion: str


class _Activations(TypedDict):
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


class _Elementwise(TypedDict):
    verdict: str
    dtype: str
    levels: Many[_Level]
    rows: Many[_ElementwiseRow]
    environment: dict[str, object]
    notes: Many[str]
    versions: dict[str, str]


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


class _Fit(TypedDict):
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
    input_shape: _InputShape
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
    figures: dict[str, _Figure]


class _Setup(TypedDict):
    mode: str
    dtype: str
    threads: Count | None


class _Validation(TypedDict):
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
    failures: Many[_Failure]
    is_interrupted: bool
    anchor: _Anchor
    environment: dict[str, object]
    notes: Many[str]
    versions: dict[str, str]


def _sweep_fits(sweep: _Sweep) -> _Sweep:
    for number, model in enumerate(sweep["models"]):
        layers = model["layers"]
        _length(model["latency"], f"models[{number}].latency", sweep["ridge_points"])
        _length(layers["macs"], f"models[{number}].layers.macs", layers["kind"])
        _length(layers["mem_bytes"], f"models[{number}].layers.mem_bytes", layers["kind"])
    return sweep


def _comparison_fits(comparison: _Comparison) -> _Comparison:
    """Each layer of both sides is in one pair: else the parts would not add up to the whole."""
    analyses = comparison["analyses"]
    _length(comparison["totals"], "totals", analyses)
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


def _whatif_fits(whatif: _WhatIf) -> _WhatIf:
    _length(whatif["layers"], "layers", whatif["analysis"]["layers"])
    return whatif


def _activations_fit(comparison: _Activations) -> _Activations:
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


def _validation_fits(validation: _Validation) -> _Validation:
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


def _elementwise_fits(result: _Elementwise) -> _Elementwise:
    for number, row in enumerate(result["rows"]):
        if row["speed"] is None and row["bound"] != "overhead":
            raise ValueError(f"rows[{number}].speed must be a number where it is {row['bound']}-bound")
    return result


def _length(items: Sized, key: str, like: Sized) -> None:
    if len(items) != len(like):
        raise ValueError(f"{key} must have {len(like)} items (it has {len(items)})")


SCHEMAS: Mapping[str, tuple[int, Any, Callable[..., object]]] = {  # newest version, what it holds, how that fits
    "analysis": (1, _Analysis, lambda analysis: analysis),
    "sweep": (1, _Sweep, _sweep_fits),
    "comparison": (1, _Comparison, _comparison_fits),
    "whatif": (1, _WhatIf, _whatif_fits),
    "measurement": (1, _Run, lambda run: run),
    "activations": (1, _Activations, _activations_fit),
    "elementwise": (1, _Elementwise, _elementwise_fits),
    "fit": (1, _Fit, lambda fit: fit),
    "validation": (1, _Validation, _validation_fits),
}
