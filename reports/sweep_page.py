"""The page of a sweep: latency over the ridge point, the accuracy it buys, and what it is spent on.

Everything is drawn from the plain data of `RidgeSweep.to_dict`. The page's script (`sweep.js`) has the layers of each
model, merged where they share their intensity, and evaluates the same piecewise-linear curves at any ridge point.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from roofline.curves import Curve
from roofline.reports.figures import card, color, escape, layout, series
from roofline.reports.pages import Page
from roofline.reports.sweep_terminal import how, intervals, relative_latencies, told_points
from roofline.reports.tables import Cell, Column, Table
from roofline.sweep import OPERATIONS, Interval, RidgeSweep, Standing
from roofline.units import percent, si, significant

OPERATION_COLORS = {  # the kinds that fill them give them theirs
    "conv": "conv",
    "depthwise": "depthwise_conv",
    "pointwise": "pointwise_conv",
    "fc": "linear",
    "attention": "attention",
    "other": "norm",
}
SHOWN_OPERATIONS = {name: "FC" if name == "fc" else name for name in OPERATIONS}
BLANK_TICKS = {"ticks": "outside", "ticklen": 6, "tickcolor": "rgba(0,0,0,0)", "zeroline": False}  # beside names
NONE = "\N{EN DASH}"
GRID = 120  # steps of a curve as Python draws it, for pictures; the page's script draws its own, finer
DRAWN_PX, MARK_ROW_PX, MARK_ROWS, CHARACTER_PX = 660, 15, 4, 6.3  # the labels of profiles above a chart
DASHES = {"solid": "", "dash": "6 4", "dot": "2 2", "dashdot": "6 3 2 3"}  # as the key of the models draws them

NORMALISED = {
    "peak": "a peak of 1 MAC per unit of time is held while the bandwidth changes, so a latency is in units of the "
    "time of one MAC, it starts at the number of MACs and rises with the ridge point",
    "bandwidth": "a bandwidth of 1 byte per unit of time is held while the peak changes, so a latency is in units of "
    "the time of one byte, it falls with the ridge point and ends at the number of bytes",
}
UNITS = {"peak": "MACs at the peak", "bandwidth": "bytes at the bandwidth"}


def page(data: Mapping[str, Any]) -> Page:
    """The page of a sweep."""
    sweep = RidgeSweep.from_dict(data)
    start = _start(sweep)
    named = [f"{model.name}" for model in sweep.models]
    count = len(named)
    return Page(
        template="sweep.html.j2",
        title=f"Ridge-point sweep: {', '.join(named[:3])}{' and more' if count > 3 else ''}",
        context={
            "headline": named[0] if count == 1 else f"{count} models over the ridge point",
            "subtitle": how(sweep),
            "verdict": sweep.verdict(),
            "normalised": NORMALISED[sweep.normalisation],
            "unit": UNITS[sweep.normalisation],
            "keys": [_key(number, name) for number, name in enumerate(named)],
            "log": sweep.scale == "log",
            "start": significant(start, 4),
            "profiles": sweep.profiles,
            "without_top1": sweep.without_top1,
            "placed": len(sweep.pareto_intervals),
            "latency_table": _latency_table(sweep),
            "standing_table": _standing_table(sweep, start),
            "front_table": _front_table(sweep),
            "front_height": 90 + 28 * max(2, len(sweep.pareto_intervals)),
            "crossing_table": _crossing_table(data["crossings"]),
            "crossing_count": len(data["crossings"]),
            "ties": [
                f"{tie['a']} and {tie['b']}, from {significant(tie['low'])} to {significant(tie['high'])}"
                for tie in data["coincidences"]
            ],
            "operations": [
                {"name": shown, "color": color(OPERATION_COLORS[name])} for name, shown in SHOWN_OPERATIONS.items()
            ],
            "operations_table": _operations_table(sweep, start),
            "operations_height": 70 + 28 * max(2, count),
            "along_table": _along_table(sweep, 0),
            "profile_table": _profile_table(sweep),
        },
        figures={
            "latency": _latency(sweep, start),
            "tradeoff": _tradeoff(sweep, start),
            "front": _front(sweep, start),
            "operations": _operations(sweep, start),
            "along": _along(sweep, 0, start),
        },
        data={
            "ridge_range": list(sweep.ridge_range),
            "scale": sweep.scale,
            "normalisation": sweep.normalisation,
            "unit": UNITS[sweep.normalisation],
            "start": start,
            "operations": SHOWN_OPERATIONS,
            "models": [
                {
                    "name": model.name,
                    "top1": model.top1,
                    "macs": model.macs,
                    "mem_bytes": model.mem_bytes,
                    "parts": {name: _merged(part) for name, part in model.by_operation().items()},
                }
                for model in sweep.models
            ],
            "profiles": [
                {"id": mark.id, "name": mark.name, "dtype": mark.dtype, "ridge_point": mark.ridge_point,
                 "kind": mark.kind}
                for mark in sweep.profiles
            ],
            "crossings": [crossing["ridge_point"] for crossing in data["crossings"]],
            "told_points": told_points(sweep),
            "marks": {"row_px": MARK_ROW_PX, "rows": MARK_ROWS, "character_px": CHARACTER_PX},
        },
        script="sweep.js",
        conventions=data.get("conventions") or sweep.conventions(),
        not_counted=[*_uncounted(sweep), *data.get("left_out", ())],
        versions=data["versions"],
    )  # fmt: skip


def _start(sweep: RidgeSweep) -> float:
    """The ridge point that is chosen at first: of one device its own, else one amid the range."""
    low, high = sweep.ridge_range
    inside = [mark.ridge_point for mark in sweep.profiles if low <= mark.ridge_point <= high]
    if len(inside) == 1:
        return inside[0]
    amid = math.sqrt(low * high) if sweep.scale == "log" else low + (high - low) / 8
    return float(f"{amid:.2g}") if low <= float(f"{amid:.2g}") <= high else amid


def _merged(part: Curve) -> list[list[int]]:
    """MACs and bytes of its layers, those of equal intensity as one: the same curve, in fewer numbers."""
    sums: dict[tuple[int, int], list[int]] = {}
    macs, mem_bytes = (np.diff(part.macs_beyond) * -1).tolist(), np.diff(part.bytes_below).tolist()
    for work, traffic in zip(macs, mem_bytes, strict=True):
        if work or traffic:
            divisor = math.gcd(work, traffic)
            one = sums.setdefault((work // divisor, traffic // divisor), [0, 0])
            one[0] += work
            one[1] += traffic
    return [[one[column] for one in sums.values()] for column in (0, 1)]


def _uncounted(sweep: RidgeSweep) -> Iterator[str]:
    for model in sweep.models:
        for op in model.layers.uncounted_ops:
            share = percent(op.mem_bytes / max(1, model.mem_bytes))
            yield f"The work of {op.name} in {model.name}, which no rule knows; its bytes ({share} of all) are counted."


def _key(number: int, name: str) -> dict[str, Any]:
    style = series(number)
    return {"number": number, "name": name, "color": style["color"], "dashes": DASHES[style["dash"]]}


# --- tables -----------------------------------------------------------------------------------------------------------


def _top1(percent: float | None) -> Cell:
    return Cell(NONE if percent is None else f"{percent:.1f}", "" if percent is None else percent)


def _times(ratio: float | None) -> str:
    """A latency relative to the fastest; `sweep.js` words it the same way."""
    if ratio is None:
        return NONE
    return f"{ratio:.2f}" if ratio < 9.995 else significant(ratio, 3)


def _latency_table(sweep: RidgeSweep) -> Table:
    points = told_points(sweep)
    columns = [
        Column(key="model", label="model"),
        Column(key="at_0", label="0", unit="MACs", numeric=True),
        *(Column(key=f"at_{significant(p)}", label=significant(p), numeric=True) for p in points),
        Column(key="at_inf", label="∞", unit="bytes", numeric=True),
    ]
    rows = [
        [_named(number, model.name), *(Cell(_times(ratio), "" if ratio is None else ratio) for ratio in ratios)]
        for number, (model, ratios) in enumerate(zip(sweep.models, relative_latencies(sweep, points), strict=True))
    ]
    return Table(
        id="latencies", caption="Latency relative to the fastest, by ridge point in MACs/byte", columns=columns,
        rows=rows, linked=True,
    )  # fmt: skip


def _named(number: int, name: str) -> Cell:
    return Cell(name, color=series(number)["color"])


STANDING_FRONT = {True: "on the front", False: "dominated", None: "no top-1"}


def _standing_table(sweep: RidgeSweep, ridge_point: float) -> Table:
    """One row a model, in their order, at one ridge point; `sweep.js` fills it anew when that moves."""
    ranked = {standing.name: (rank, standing) for rank, standing in enumerate(sweep.at(ridge_point), start=1)}
    fastest = _fastest(ranked[model.name][1].latency for model in sweep.models)
    rows = []
    for number, model in enumerate(sweep.models):
        rank, standing = ranked[model.name]
        ratio = standing.latency / fastest if fastest and math.isfinite(standing.latency) else None
        share = standing.memory_bound_share
        rows.append(
            [
                _named(number, model.name),
                _top1(model.top1),
                Cell(str(rank), rank),
                Cell(_times(ratio), "" if ratio is None else ratio),
                Cell(si(standing.latency), standing.latency if math.isfinite(standing.latency) else ""),
                Cell(percent(share), share),
                Cell(STANDING_FRONT[standing.on_front]),
                Cell(si(model.macs), model.macs),
                Cell(si(model.mem_bytes), model.mem_bytes),
            ]
        )
    return Table(
        id="standing", caption="The models at the chosen ridge point",
        columns=(
            Column(key="model", label="model"),
            Column(key="top1_percent", label="top-1", unit="%", numeric=True),
            Column(key="rank", label="rank", numeric=True),
            Column(key="relative_latency", label="latency", unit="times the fastest", numeric=True),
            Column(key="latency", label="latency", unit=UNITS[sweep.normalisation], numeric=True),
            Column(key="memory_bound_share", label="memory-bound", unit="of its time", numeric=True),
            Column(key="front", label="Pareto front", filter=True),
            Column(key="macs", label="MACs", unit="in all", numeric=True),
            Column(key="mem_bytes", label="traffic", unit="bytes", numeric=True),
        ),
        rows=rows, searchable=True, linked=True,
    )  # fmt: skip


def _fastest(times: Iterable[float]) -> float:
    """The least that takes time."""
    return min((time for time in times if 0 < time < math.inf), default=0.0)


def _front_table(sweep: RidgeSweep) -> Table:
    rows = []
    for model in sweep.models:
        found = sweep.pareto_intervals.get(model.name)
        for low, high in found or [(None, None)]:
            ends = [Cell("", "") if end is None else Cell(significant(end, 4), end) for end in (low, high)]
            on = intervals(model, sweep) if not found else "on the front"
            rows.append([Cell(model.name), _top1(model.top1), Cell(on), *ends])
    columns = (
        Column(key="model", label="model"),
        Column(key="top1_percent", label="top-1", unit="%", numeric=True),
        Column(key="front", label="Pareto front"),
        Column(key="from_macs_per_byte", label="from", unit="MACs/byte", numeric=True),
        Column(key="to_macs_per_byte", label="to", unit="MACs/byte", numeric=True),
    )
    return Table(id="fronts", caption="Where each model is on the Pareto front", columns=columns, rows=rows)


def _crossing_table(crossings: Sequence[Mapping[str, Any]]) -> Table:
    columns = (
        Column(key="faster_below", label="faster below", filter=True),
        Column(key="faster_beyond", label="faster beyond", filter=True),
        Column(key="ridge_point_macs_per_byte", label="ridge point", unit="MACs/byte", numeric=True),
    )
    rows = [
        [Cell(cross["a"]), Cell(cross["b"]), Cell(significant(cross["ridge_point"], 4), cross["ridge_point"])]
        for cross in crossings
    ]
    return Table(
        id="crossings", caption="Ridge points at which two models change their order", columns=columns, rows=rows,
        sorted_by="ridge_point_macs_per_byte", ascending=True, searchable=True,
    )  # fmt: skip


def _share_columns(first: Column) -> tuple[Column, ...]:
    return first, *(Column(key=f"{name}_share", label=shown, numeric=True) for name, shown in SHOWN_OPERATIONS.items())


def _shares(parts: Mapping[str, Curve], ridge_point: float) -> list[Cell]:
    times = [float(part.time(ridge_point)) for part in parts.values()]
    whole = math.fsum(times) or 1.0
    return [Cell(percent(time / whole), time / whole, share=time / whole) for time in times]


def _operations_table(sweep: RidgeSweep, ridge_point: float) -> Table:
    rows = [[Cell(model.name), *_shares(model.by_operation(), ridge_point)] for model in sweep.models]
    return Table(
        id="by-operation", caption="Share of each model's time by operation, at the chosen ridge point",
        columns=_share_columns(Column(key="model", label="model")), rows=rows,
    )  # fmt: skip


def _along_table(sweep: RidgeSweep, number: int) -> Table:
    parts = sweep.models[number].by_operation()
    rows = [[Cell(significant(point), point), *_shares(parts, point)] for point in told_points(sweep)]
    first = Column(key="ridge_point_macs_per_byte", label="ridge point", unit="MACs/byte", numeric=True)
    caption = "Share of the chosen model's time by operation, along the sweep"
    return Table(id="along-operation", caption=caption, columns=_share_columns(first), rows=rows)


def _profile_table(sweep: RidgeSweep) -> Table:
    columns = (
        Column(key="profile", label="profile"),
        Column(key="name", label="device"),
        Column(key="dtype", label="dtype"),
        Column(key="ridge_point_macs_per_byte", label="ridge point", unit="MACs/byte", numeric=True),
        Column(key="kind", label="figures"),
    )
    rows = [
        [Cell(mark.id), Cell(mark.name), Cell(mark.dtype), Cell(significant(mark.ridge_point, 4), mark.ridge_point),
         Cell(mark.kind)]
        for mark in sweep.profiles
    ]  # fmt: skip
    return Table(
        id="profiles", caption="Ridge points of the devices that are marked", columns=columns, rows=rows,
        sorted_by="ridge_point_macs_per_byte", ascending=True,
    )  # fmt: skip


# --- the axis of ridge points -----------------------------------------------------------------------------------------


def _grid(sweep: RidgeSweep, *also: float) -> list[float]:
    """Where curves are drawn."""
    low, high = _shown(sweep)
    log = sweep.scale == "log"
    steps = np.geomspace(low, high, GRID + 1) if log else np.linspace(low, high, GRID + 1)
    corners = sorted({crossing.ridge_point for crossing in sweep.crossings})
    more = [*also, *(corners if len(corners) <= GRID else ())]  # so many lines hide where each two of them cross
    return sorted({*steps.tolist(), *(point for point in more if low < point < high)})


def _shown(sweep: RidgeSweep) -> Interval:
    """The range that the axis shows; a logarithmic one has no 0."""
    low, high = sweep.ridge_range
    return (max(low, high / 1e3), high) if sweep.scale == "log" else (low, high)


def _axis(sweep: RidgeSweep, **settings: Any) -> dict[str, Any]:
    low, high = _shown(sweep)
    log = sweep.scale == "log"
    return {
        "type": "log" if log else "linear",
        "range": [math.log10(low), math.log10(high)] if log else [low, high],
        "title": {"text": "ridge point, MACs/byte"},
        **settings,
    }


def _rounded(values: Iterable[float]) -> list[float]:
    """As many digits as a drawing shows."""
    return [float(f"{value:.6g}") for value in values]


def _lines(sweep: RidgeSweep, ridge_point: float) -> list[dict[str, Any]]:
    """The chosen ridge point, and those of the profiles."""
    low, high = sweep.ridge_range
    marks = [("profile", mark.ridge_point) for mark in sweep.profiles if low <= mark.ridge_point <= high]
    return [
        {
            "type": "line", "name": name, "x0": point, "x1": point, "y0": 0, "y1": 1, "yref": "paper",
            "layer": "below" if name == "profile" else "above",
            "line": {"color": color("line" if name == "profile" else "accent"),
                     "width": 1 if name == "profile" else 1.5},
        }
        for name, point in [*marks, ("chosen", ridge_point)]
    ]  # fmt: skip


def _labels(sweep: RidgeSweep) -> list[dict[str, Any]]:
    """Names of profiles above the axes, in as many rows as keep them apart; one without room goes without its name.

    `sweep.js` places them again for the width of the page.
    """
    low, high = _shown(sweep)
    log = sweep.scale == "log"
    ends = [-math.inf] * MARK_ROWS
    labels = []
    for mark in sweep.profiles:
        if not low <= mark.ridge_point <= high:
            continue
        part = (
            math.log(mark.ridge_point / low) / math.log(high / low) if log else (mark.ridge_point - low) / (high - low)
        )
        width = len(mark.id) * CHARACTER_PX + 8
        left = part * DRAWN_PX if part * DRAWN_PX + width <= DRAWN_PX else part * DRAWN_PX - width
        row = next((row for row, end in enumerate(ends) if end <= left), None)
        if row is None:
            continue
        ends[row] = left + width
        labels.append(
            {
                "name": "profile", "text": escape(mark.id), "y": 1, "yref": "paper",
                "x": math.log10(mark.ridge_point) if log else mark.ridge_point,
                "showarrow": True, "arrowhead": 0, "arrowwidth": 1, "arrowcolor": color("line"),
                "ax": 0, "ay": -(10 + MARK_ROW_PX * row), "borderpad": 0, "bgcolor": color("page"),
                "xanchor": "left" if left == part * DRAWN_PX else "right",
                "font": {"size": 11, "color": color("muted")},
            }
        )  # fmt: skip
    return labels


def _top_margin(labels: Sequence[Mapping[str, Any]]) -> int:
    return round(12 - min((label["ay"] for label in labels), default=0))


# --- figures ----------------------------------------------------------------------------------------------------------


def _latency(sweep: RidgeSweep, ridge_point: float) -> go.Figure:
    """One curve a model, relative to the fastest at each ridge point."""
    points = _grid(sweep, ridge_point)
    times = np.array([model.curve.time(points) for model in sweep.models])
    fastest = np.min(times, axis=0, initial=np.inf, where=times > 0)
    relative = np.divide(times, fastest, out=np.zeros_like(times), where=np.isfinite(fastest))
    labels = _labels(sweep)
    return go.Figure(
        data=[
            go.Scatter(
                x=_rounded(points), y=_rounded(row.tolist()), mode="lines", name=escape(model.name),
                line={**series(number), "width": 2}, meta={"role": "curve", "model": number},
                customdata=[number] * len(points), hoverinfo="none",
            )
            for number, (model, row) in enumerate(zip(sweep.models, relative, strict=True))
        ],
        layout=layout(
            legend={"orientation": "v", "x": 1.01, "y": 1, "xanchor": "left", "yanchor": "top"}, showlegend=True,
            shapes=_lines(sweep, ridge_point), annotations=labels,
            margin={"l": 8, "r": 12, "t": _top_margin(labels), "b": 8},
            xaxis=_axis(sweep),
            yaxis={"type": "log", "title": {"text": "latency, times the fastest"}, "tickformat": "~s", "dtick": "D2"},
        ),
    )  # fmt: skip


def _tradeoff(sweep: RidgeSweep, ridge_point: float) -> go.Figure:
    """Top-1 over latency at one ridge point; what has no top-1 stands in a strip below."""
    standings = {standing.name: standing for standing in sweep.at(ridge_point)}
    fastest = _fastest(standing.latency for standing in standings.values()) or 1.0
    points = _grid(sweep)
    times = np.array([model.curve.time(points) for model in sweep.models])
    least = np.min(times, axis=0, initial=np.inf, where=times > 0)
    widest = float(np.max(times / least, initial=1.0, where=np.isfinite(least)))
    front = sorted(
        (standing.latency / fastest, standing.top1)
        for standing in standings.values()
        if standing.on_front and standing.top1 is not None
    )
    aside = bool(sweep.without_top1)
    base = 0.2 if aside else 0.0
    accuracies = [model.top1 for model in sweep.models if model.top1 is not None]
    dots = [
        _dots(sweep, standings, fastest, numbers, strip)
        for strip, numbers in enumerate(
            [number for number, model in enumerate(sweep.models) if (model.top1 is None) == without]
            for without in (False, True)
        )
        if numbers
    ]
    right = math.log10(widest * 1.6)
    figure = go.Figure(
        data=[
            go.Scatter(
                x=[front[0][0], *(x for x, _ in front), 10**right * 10] if front else [],
                y=[min(accuracies) - 100, *(y for _, y in front), front[-1][1]] if front else [],
                mode="lines", line={"color": color("accent"), "width": 1.5, "shape": "hv"}, hoverinfo="skip",
                meta={"role": "front"},
            ),
            *dots,
        ],
        layout=layout(
            showlegend=False, margin={"l": 8, "r": 12, "t": 12, "b": 8},
            xaxis={"type": "log", "range": [-0.06 * max(1.0, right), right], "tickformat": "~s", "dtick": "D2",
                   "title": {"text": f"latency at {significant(ridge_point, 4)} MACs/byte, times the fastest"},
                   "anchor": "y2" if aside else "y"},
            yaxis={"title": {"text": "ImageNet top-1, %"}, "domain": [base, 1],
                   "range": _padded(accuracies), "visible": bool(accuracies)},
        ),
    )  # fmt: skip
    if aside:
        figure.update_layout(
            yaxis2={"domain": [0, base - 0.06], "range": [0, 1], "showticklabels": False, "showgrid": False,
                    "ticks": "", "zeroline": False, "fixedrange": True, "anchor": "x"},
        )  # fmt: skip
        figure.add_shape(type="rect", xref="x domain", yref="y2 domain", x0=0, x1=1, y0=0, y1=1, layer="below",
                         fillcolor=color("panel"), line={"width": 0})  # fmt: skip
        figure.add_annotation(name="aside", text="no published top-1 at this size", xref="x domain", x=0.004,
                              yref="y2 domain", y=1, yanchor="top", xanchor="left", showarrow=False,
                              font={"size": 11, "color": color("muted")})  # fmt: skip
    return figure


def _dots(
    sweep: RidgeSweep, standings: Mapping[str, Standing], fastest: float, numbers: Sequence[int], strip: int
) -> go.Scatter:
    chosen = [(number, sweep.models[number], standings[sweep.models[number].name]) for number in numbers]
    return go.Scatter(
        x=[standing.latency / fastest for *_, standing in chosen],
        y=[0.4 if model.top1 is None else model.top1 for _, model, _ in chosen],
        mode="markers+text", customdata=list(numbers), hoverinfo="text",
        hovertext=[card(model.name, ()) for _, model, _ in chosen],
        text=[escape(model.name) if standing.on_front or strip else "" for _, model, standing in chosen],
        textposition=[("top center", "bottom center")[i % 2] if strip else "bottom right" for i in range(len(chosen))],
        textfont={"size": 11}, cliponaxis=False,
        marker={
            "color": [series(number)["color"] for number in numbers], "size": 11,
            "opacity": [0.3 if standing.on_front is False else 1 for *_, standing in chosen],
            "symbol": ["circle" if standing.on_front else "circle-open" for *_, standing in chosen],
            "line": {"width": 1.5, "color": [series(number)["color"] for number in numbers]},
        },
        meta={"role": "aside" if strip else "dots"},
        **({"yaxis": "y2"} if strip else {}),
    )  # fmt: skip


def _padded(values: Sequence[float]) -> list[float]:
    low, high = min(values, default=0.0), max(values, default=100.0)
    room = 0.12 * (high - low) or 1.0
    return [low - room, high + room]


def _front(sweep: RidgeSweep, ridge_point: float) -> go.Figure:
    """One bar for each interval of ridge points in which a model is on the front."""
    placed = sorted(
        ((model.top1, number) for number, model in enumerate(sweep.models) if model.top1 is not None), reverse=True
    )
    least, _ = _shown(sweep)
    bars = []
    for row, (_, number) in enumerate(placed):
        for low, high in sweep.pareto_intervals[sweep.models[number].name]:
            if high > least:
                bars.append((row, number, max(low, least), low, high))
    names = [f"{sweep.models[number].name}  {top1:.1f} %" for top1, number in placed]
    labels = _labels(sweep)
    return go.Figure(
        data=[
            go.Bar(
                y=[row for row, *_ in bars], base=[left for _, _, left, _, _ in bars], orientation="h", width=0.55,
                x=[high - left for _, _, left, _, high in bars],
                marker={"color": [series(number)["color"] for _, number, *_ in bars], "line": {"width": 0}},
                customdata=[number for _, number, *_ in bars],
                hovertext=[
                    card(
                        sweep.models[number].name,
                        [f"on the front from {significant(low, 4)} to {significant(high, 4)} MACs/byte"],
                    )
                    for _, number, _, low, high in bars
                ],
                hoverinfo="text", textposition="none",
                meta={"role": "intervals", "low": [low for _, _, _, low, _ in bars],
                      "high": [high for *_, high in bars]},
            )
        ],
        layout=layout(
            showlegend=False, shapes=_lines(sweep, ridge_point), annotations=labels,
            margin={"l": 8, "r": 12, "t": _top_margin(labels), "b": 8},
            meta={"names": names},
            xaxis=_axis(sweep),
            yaxis={"range": [len(names) - 0.4, -0.6], "tickvals": list(range(len(names))), **BLANK_TICKS,
                   "ticktext": [escape(name) for name in names]},
        ),
    )  # fmt: skip


def _operations(sweep: RidgeSweep, ridge_point: float) -> go.Figure:
    """One stacked bar a model at one ridge point, in units of the fastest model's time."""
    parts = [model.by_operation() for model in sweep.models]
    totals = [float(model.curve.time(ridge_point)) for model in sweep.models]
    fastest = _fastest(totals) or 1.0
    rows = list(range(len(parts)))
    names = [model.name for model in sweep.models]
    return go.Figure(
        data=[
            *(
                go.Bar(
                    y=rows, x=_rounded(float(part[name].time(ridge_point)) / fastest for part in parts),
                    orientation="h", name=SHOWN_OPERATIONS[name],
                    marker={"color": color(OPERATION_COLORS[name]), "line": {"width": 0}},
                    hoverinfo="text", textposition="none", width=0.66, meta={"role": "operation", "operation": name},
                )
                for name in OPERATIONS
            ),
            go.Scatter(
                x=_rounded(total / fastest for total in totals), y=rows, mode="text", customdata=rows,
                text=[f" {_times(total / fastest)}" for total in totals], textposition="middle right",
                hoverinfo="skip", showlegend=False, cliponaxis=False, meta={"role": "totals"},
            ),
        ],
        layout=layout(
            barmode="stack", legend={"traceorder": "normal"},
            margin={"l": 8, "r": 44, "t": 30, "b": 8},
            meta={"names": names},
            xaxis={"title": {"text": "latency, times the fastest"}, "rangemode": "tozero"},
            yaxis={"range": [len(names) - 0.4, -0.6], "tickvals": rows, **BLANK_TICKS,
                   "ticktext": [escape(name) for name in names]},
        ),
    )  # fmt: skip


def _along(sweep: RidgeSweep, number: int, ridge_point: float) -> go.Figure:
    """The share of each operation in one model's time, along the sweep."""
    points = _grid(sweep, ridge_point)
    parts = sweep.models[number].by_operation()
    times = {name: part.time(points) for name, part in parts.items()}
    whole = np.maximum(sum(times.values(), np.zeros(len(points))), np.finfo(float).tiny)
    return go.Figure(
        data=[
            go.Scatter(
                x=_rounded(points), y=_rounded((time / whole).tolist()), mode="lines",
                name=SHOWN_OPERATIONS[name], stackgroup="whole",
                line={"width": 0.5, "color": color(OPERATION_COLORS[name])},
                fillcolor=color(OPERATION_COLORS[name]),
                hoverinfo="none", meta={"role": "operation", "operation": name},
            )
            for name, time in times.items()
        ],
        layout=layout(
            legend={"traceorder": "normal"}, margin={"l": 8, "r": 12, "t": 30, "b": 8},
            shapes=[{**line, "layer": "above"} for line in _lines(sweep, ridge_point)],
            xaxis=_axis(sweep),
            yaxis={"title": {"text": "share of the time"}, "tickformat": ".0%", "range": [0, 1]},
        ),
    )  # fmt: skip
