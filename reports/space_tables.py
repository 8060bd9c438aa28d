"""The tables of the page of a design space, and how its numbers are written."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from roofline.exploring.networks import COUNTS, JUDGEMENTS, LATENCY
from roofline.reports.figures import color, series
from roofline.reports.pages import seconds
from roofline.reports.tables import Cell, Column, Table, time_column
from roofline.units import percent, si, significant

Plain = Mapping[str, Any]

NONE = "\N{EN DASH}"
QUANTILES = {0.0: "fastest", 0.1: "10 %", 0.5: "median", 0.9: "90 %", 1.0: "slowest"}
COUNT_NAMES = {
    "macs": "MACs",
    "params": "parameters",
    "weight_bytes": "weight bytes",
    "activation_bytes": "activation bytes",
    "activations": "activations",
    "layers": "layers",
}


def place_table(data: Plain) -> Table:
    """How latency is distributed at each place."""
    columns = [
        Column(key="place", label="device or ridge point"),
        Column(key="kind", label="a time is a"),
        *(Column(key=f"q{int(100 * share)}", label=name, numeric=True) for share, name in QUANTILES.items()),
        Column(key="compute_bound_share", label="compute-bound", numeric=True),
        Column(key="front", label="on the front", numeric=True),
    ]
    rows = []
    for place in data["places"]:
        quantiles = [quantile(place["latency_s"], share) for share in QUANTILES]
        share = place["compute_bound_share"]
        rows.append(
            [
                _place_cell(data, place),
                Cell(place["latency_kind"] or NONE),
                *(Cell(time_of(place, value), value) for value in quantiles),
                Cell(NONE) if share is None else Cell(percent(share), share),
                Cell(f"{place['front']['count']:,}", place["front"]["count"]),
            ]
        )
    return Table(id="places", caption="Latency by device and ridge point", columns=columns, rows=rows)


def _place_cell(data: Plain, place: Plain) -> Cell:
    return Cell(place["name"], color=series(data["places"].index(place))["color"])


def count_table(data: Plain) -> Table:
    """How well each count alone ranks latency."""
    counts = [name for name in COUNTS if name in data["places"][0]["rank_correlation"]["counts"]]
    columns = [
        Column(key="place", label="device or ridge point"),
        *(Column(key=f"rank_{name}", label=COUNT_NAMES[name], numeric=True) for name in counts),
    ]
    rows = [
        [
            _place_cell(data, place),
            *(_correlation_cell(place["rank_correlation"]["counts"][name]) for name in counts),
        ]
        for place in data["places"]
    ]
    return Table(id="counts", caption="Rank correlation of counts with latency", columns=columns, rows=rows)


def _correlation_cell(value: float) -> Cell:
    return Cell(f"{value:.2f}".replace("-", "\N{MINUS SIGN}"), value, share=min(1.0, abs(value)))


def macs_table(data: Plain) -> Table:
    """How MACs are distributed."""
    rows = [
        [Cell(name.replace("fastest", "fewest").replace("slowest", "most")), Cell(si(value), value)]
        for share, name in QUANTILES.items()
        for value in [quantile(data["macs"], share)]
    ]
    columns = (Column(key="share", label="share of networks"), Column(key="macs", label="MACs at most", numeric=True))
    return Table(id="macs-table", caption="Distribution of MACs", columns=columns, rows=rows)


def feature_table(data: Plain, features: Sequence[str]) -> Table:
    """How well what is made of each parameter ranks latency."""
    columns = [
        Column(key="feature", label="made of the parameter"),
        *(
            Column(key=f"rank_{place['id']}", label=place["id"], unit="rank corr.", numeric=True)
            for place in data["places"]
        ),
    ]
    rows = [
        [
            Cell(name),
            *(_correlation_cell(place["rank_correlation"]["features"][name]) for place in data["places"]),
        ]
        for name in features
    ]
    return Table(id="features", caption="Rank correlation of parameters with latency", columns=columns, rows=rows)


def importance_table(data: Plain) -> Table:
    """What a forest loses where a parameter is shuffled."""
    columns = [
        Column(key="parameter", label="parameter"),
        *(
            Column(
                key=f"importance_{place['id']}", label=place["id"], unit="loss of R\N{SUPERSCRIPT TWO}", numeric=True
            )
            for place in data["places"]
        ),
    ]
    rows = [
        [Cell(name), *(Cell(significant(value, 2), value) for value in (p["importance"][name] for p in data["places"]))]
        for name in ranked_parameters(data)
    ]
    return Table(id="importances", caption="Importance of parameters", columns=columns, rows=rows)


def network_table(data: Plain) -> Table:
    """Networks on a front, and the best."""
    places, rows = data["places"], data["rows"]
    judged = [name for name in JUDGEMENTS if any(row.get(name) is not None for row in rows)]
    units = {place["id"]: _unit(place) for place in places}
    columns = [
        Column(key="index", label="network"),
        Column(key="fronts", label="fronts", numeric=True),
        *(Column(key=name, label=name, numeric=True) for name in judged),
        Column(key="macs", label="MACs", numeric=True),
        Column(key="params", label="params", numeric=True),
        *(
            Column(key=f"{LATENCY}{place['id']}", label=place["id"], unit=units[place["id"]][1], numeric=True)
            for place in places
        ),
        *(Column(key=name, label=name) for name in data["parameters"]),
    ]
    best = set(data["best"])
    cells = [
        [
            Cell(f"{row['index']}", row["index"], color=color("accent") if row["index"] in best else "transparent"),
            Cell(f"{on} of {len(places)}" if on else NONE, on),
            *(_number(row.get(name)) for name in judged),
            Cell(si(row["macs"]), row["macs"]),
            Cell(si(row.get("params") or 0), row.get("params") or 0),
            *(_time_cell(row[f"{LATENCY}{place['id']}"], units[place["id"]][0]) for place in places),
            *(Cell(shown_value(row.get(name))) for name in data["parameters"]),
        ]
        for row, on in zip(rows, map(len, data["on_fronts"]), strict=True)
    ]
    return Table(
        id="networks",
        caption="Networks on a front, and the best",
        columns=columns,
        rows=cells,
        sorted_by=f"{LATENCY}{places[0]['id']}",
        ascending=True,
        searchable=True,
        linked=True,
    )


def _unit(place: Plain) -> tuple[float, str]:
    """In seconds, and its name, of a column of latencies; 0 and what stands for it at a ridge point."""
    if place["ridge_point_macs_per_byte"] is not None:
        return 0.0, "MACs at peak"
    scale, unit, _ = time_column(place["latency_s"]["values"][-1])
    return scale, unit


def _time_cell(value: float, scale: float) -> Cell:
    return Cell(significant(value / scale) if scale else si(value), value)


def _number(value: float | None) -> Cell:
    return Cell(NONE) if value is None else Cell(significant(value, 4), value)


def shown_value(value: Any, most: int | None = None) -> str:
    """A parameter's value: a number with four digits, a list as its items, or so many of them."""
    if value is None or value == []:
        return NONE
    if isinstance(value, float):
        return significant(value, 4)
    if isinstance(value, list):
        items = [shown_value(item) for item in value]
        if most is not None and len(items) > most:
            items = [*items[: most - 2], "\N{HORIZONTAL ELLIPSIS}", items[-1]]
        return ", ".join(items)
    return str(value)


def asked_table(data: Plain) -> Table | None:
    """The request, as it was; what was not asked is left out."""
    told = {**data.get("request", {}), **data.get("search", {})}
    asked = [(name, _asked(name, value)) for name, value in told.items()]
    rows = [[Cell(name.replace("_", " ")), Cell(said)] for name, said in asked if said]
    if not rows:
        return None
    columns = (Column(key="name", label="asked"), Column(key="value", label="value", wrap=True))
    return Table(id="asked", caption="What was asked", columns=columns, rows=rows)


def _asked(name: str, value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return ""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_asked(key, item)}" for key, item in value.items())
    if isinstance(value, list) and len(value) == 2 and all(isinstance(item, int | float | None) for item in value):
        if name in ("macs", "params"):
            return "..".join("" if end is None else si(end) for end in value)
        if name not in ("hw", "ridge"):
            return "..".join("" if end is None else significant(end) for end in value)
    if isinstance(value, list):
        return ", ".join(_asked("", item) for item in value)
    if isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value):
        return f"{value[:12]}\N{HORIZONTAL ELLIPSIS}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) and name == "n" else str(value)


def ranked_parameters(data: Plain) -> list[str]:
    """By how much is lost of what is known of latency anywhere, the most first."""
    names = data["places"][0]["importance"]
    return sorted(names, key=lambda name: -max(place["importance"][name] for place in data["places"]))


def time_of(place: Plain, value: float) -> str:
    """A latency; at a ridge point it has no unit of its own."""
    return seconds(value) if place["ridge_point_macs_per_byte"] is None else si(value)


def quantile(distribution: Plain, share: float) -> float:
    """As `roofline.exploring.statistics.Distribution.quantile`."""
    pairs = zip(distribution["values"], distribution["shares"], strict=True)
    reached = (value for value, part in pairs if part >= share * (1 - 1e-12))
    return float(next(reached, distribution["values"][-1]))
