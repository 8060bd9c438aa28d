"""The schema of a saved summary of a design space: as much of it as is drawn."""

from __future__ import annotations

from typing import Annotated, NotRequired

from annotated_types import Ge, Le, MinLen
from typing_extensions import TypedDict  # pydantic takes that of typing from Python 3.12 on

from roofline.saved_analysis import Figure
from roofline.saved_fields import Count, Many, Number, Positive, Shape, Signed, check_length

Share = Annotated[float, Ge(0), Le(1)]
Correlation = Annotated[float, Ge(-1.000001), Le(1.000001)]  # a sum of rounded products


class _Space(TypedDict):
    name: NotRequired[str]
    summary: NotRequired[str]
    input_shape: NotRequired[Shape]


class _Device(TypedDict):
    id: str
    name: str
    latency_kind: NotRequired[str]
    figures: NotRequired[dict[str, Figure]]


class _Distribution(TypedDict):
    count: Count
    values: Annotated[Many[Positive], MinLen(1)]
    shares: Annotated[Many[Share], MinLen(1)]


class _Correlations(TypedDict):
    counts: dict[str, Correlation]
    features: dict[str, Correlation]


class _Front(TypedDict):
    count: Count
    index: Many[Count]
    latency_s: Many[Positive]
    value: Many[Signed]


class _Place(TypedDict):
    id: str
    name: str
    latency_kind: str
    ridge_point_macs_per_byte: Positive | None
    latency_s: _Distribution
    compute_bound_share: Number | None
    rank_correlation: _Correlations
    forest_r2: Signed | None
    importance: dict[str, Signed]
    front: _Front


class _Forest(TypedDict):
    seen: Count
    unseen: Count


class Exploration(TypedDict):
    """`roofline.exploring.analysis.Summary.to_dict`."""

    verdict: str
    networks: Annotated[int, Ge(1)]
    band95: Number
    value: str
    by: str
    macs: _Distribution
    places: Annotated[Many[_Place], MinLen(1)]
    parameters: Many[str]
    of_feature: dict[str, str]
    sampled: Count
    forest: _Forest | None
    sample: dict[str, Many[Signed | None]]
    on_a_front: Count
    on_every_front: Count
    best: Many[Count]
    rows: Many[dict[str, object]]
    on_fronts: Many[Many[str]]
    complete: NotRequired[bool]
    space: NotRequired[_Space]
    request: NotRequired[dict[str, object]]
    search: NotRequired[dict[str, object]]
    counts: NotRequired[dict[str, object]]
    devices: NotRequired[Many[_Device]]
    versions: NotRequired[dict[str, str]]


def exploration_fits(exploration: Exploration) -> Exploration:
    """Check what a schema of single keys cannot say.

    Raises:
        ValueError: Lists that belong together differ in length, or something named is not there; it names the key.
    """
    places, sample = exploration["places"], exploration["sample"]
    columns = ("index", "macs", exploration["value"], *(place["id"] for place in places))
    for name in columns:
        if name not in sample:
            raise ValueError(f"sample.{name} is missing")
        check_length(sample[name], f"sample.{name}", sample["index"])
    for number, place in enumerate(places):
        at = f"places[{number}]"
        check_length(place["latency_s"]["shares"], f"{at}.latency_s.shares", place["latency_s"]["values"])
        check_length(place["front"]["latency_s"], f"{at}.front.latency_s", place["front"]["index"])
        check_length(place["front"]["value"], f"{at}.front.value", place["front"]["index"])
        if place["rank_correlation"]["features"].keys() != exploration["of_feature"].keys():
            raise ValueError(f"{at}.rank_correlation.features must have the keys of of_feature")
    check_length(exploration["macs"]["shares"], "macs.shares", exploration["macs"]["values"])
    check_length(exploration["on_fronts"], "on_fronts", exploration["rows"])
    for number, row in enumerate(exploration["rows"]):
        for name in ("index", "macs", *(f"latency_s:{place['id']}" for place in places), *exploration["parameters"]):
            if name not in row:
                raise ValueError(f"rows[{number}].{name} is missing")
            if name not in exploration["parameters"] and not isinstance(row[name], int | float):
                raise ValueError(f"rows[{number}].{name} must be a number")
    return exploration
