"""The page of a fit: predictions against published latencies, what it misses, and what the rows tell of the device.

Everything is drawn from the plain data of `Fit.to_dict`. A row of the table of latencies is an item of the figures; the
items are the rows, the worst first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from roofline.fit import parameter_text
from roofline.fit_profile import ridge_text
from roofline.fit_regression import BAND, Parameter, RidgePoint
from roofline.fit_terms import TERMS
from roofline.reports.figures import card, color, escape, layout, log_axis, log_limits, series
from roofline.reports.fit_terminal import signed_percent
from roofline.reports.pages import Page, seconds, shape
from roofline.reports.tables import Cell, Column, Table
from roofline.units import si, significant

Plain = Mapping[str, Any]

AT_LEAST, AT_MOST = "\N{GREATER-THAN OR EQUAL TO}", "\N{LESS-THAN OR EQUAL TO}"
MINUS, NONE = "\N{MINUS SIGN}", "\N{EN DASH}"
UNSEEN = "unseen: left out of the fit"
TENTH = 0.1  # the lines beside that of no error
NAME_CHARACTERS = {"wide": 34, "narrow": 16}  # of a model beside its bar
DECADES_WITH_FEW_TICKS = 2.5


def page(data: Plain) -> Page:
    """The page of a fit."""
    rows = sorted(data["rows"], key=lambda row: -abs(row["loo_error"]))
    ridges = [RidgePoint(**{**ridge, "curve": tuple(map(tuple, ridge["curve"]))}) for ridge in data["ridge_points"]]
    parameters = [_parameter(given) for given in data["parameters"]]
    named = len(ridges) > 1
    return Page(
        template="fit.html.j2",
        title=f"{data['device']}: fitted to {_latencies(data)}",
        context={
            "title": data["device"],
            "subtitle": _subtitle(data),
            "verdict": " ".join([_quality(data), *(ridge_text(ridge, named=named) for ridge in ridges)]),
            "tiles": _tiles(data, ridges[0]),
            "remarks": data["remarks"],
            "bars_height": 90 + 26 * len(rows),
            "row_table": _row_table(rows),
            "parameter_table": _parameter_table(parameters),
            "curve_table": _curve_table(ridges),
            "band": f"{100 * (BAND - 1):.0f}",
        },
        figures={"scatter": _scatter(rows), "residuals": _residuals(rows), "ridge": _ridge(ridges)},
        data={
            "names": {width: [shortened(row["name"], most) for row in rows] for width, most in NAME_CHARACTERS.items()}
        },
        script="fit.js",
        conventions=_conventions(data),
        not_counted=(
            "The peak and the bandwidth of the chip: these are effective rates of the device with its runtime, at "
            "which predictions come nearest to the published latencies.",
        ),
        versions=data["versions"],
    )


# --- words and numbers ----------------------------------------------------------------------------------------------


def _parameter(given: Plain) -> Parameter:
    return Parameter(**{key: given[key] for key in ("name", "value", "unit", "low", "high")})


def _latencies(data: Plain) -> str:
    count = len(data["rows"])
    return f"{count} {'latency' if count == 1 else 'latencies'}"


def _subtitle(data: Plain) -> str:
    source = f" of {data['source']}" if data["source"] else ""
    terms = "".join(f", {term}" for term in data["terms"])
    how = "chosen by leave-one-out error" if data["terms_chosen"] else "as given"
    only = "; convolutions and linear layers alone" if data["ops"] != "all" else ""
    return f"Fitted to {_latencies(data)}{source}; peak and bandwidth{terms} ({how}){only}"


def _quality(data: Plain) -> str:
    mean, median = (f"{100 * data[key]:.1f} %" for key in ("loo_mape", "loo_median"))
    anew = ", terms chosen anew each time" if data["terms_chosen"] else ""
    return (
        f"Predictions of rows that the fit has not seen{anew} are off by {mean} on average, by {median} in the median."
    )


def _tiles(data: Plain, ridge: RidgePoint) -> list[dict[str, Any]]:
    ranks, macs = data["loo_spearman"], data["spearman_macs"]
    if ridge.low is not None and ridge.high is not None:
        value, note = significant(ridge.value), f"{significant(ridge.low)} to {significant(ridge.high)} MACs/byte"
    elif ridge.low is not None:
        value, note = f"{AT_LEAST} {significant(ridge.low)}", "MACs/byte; no upper limit"
    elif ridge.high is not None:
        value, note = f"{AT_MOST} {significant(ridge.high)}", "MACs/byte; no lower limit"
    else:
        value, note = NONE, "the rows do not tell"
    return [
        {"id": "error", "name": "Error", "value": f"{100 * data['loo_mape']:.1f} %", "number": data["loo_mape"],
         "note": f"of unseen rows; median {100 * data['loo_median']:.1f} %", "kind": "prediction"},
        {"id": "ranks", "name": "Rank correlation", "value": NONE if ranks is None else f"{ranks:.3f}",
         "note": "" if macs is None else f"of the MACs alone {macs:.3f}"},
        {"id": "ridge", "name": f"Ridge point, {ridge.dtype}", "value": value, "note": note},
        {"id": "rows", "name": "Latencies", "value": str(len(data["rows"])), "note": "published"},
        {"id": "parameters", "name": "Parameters", "value": str(len(data["parameters"])),
         "note": f"{len(data['terms'])} terms beside eq. 1"},
    ]  # fmt: skip


def _conventions(data: Plain) -> tuple[str, ...]:
    fused = ", ".join(data["fused_activations"]) or "no activation"
    fusion = f"Epilogue fusion, with {fused}" if data["fusion"] == "epilogue" else "No fusion"
    chosen = (
        "The terms are the simplest whose leave-one-out error is within 2 % of the least, and are chosen again for "
        "each row that is left out, without it."
        if data["terms_chosen"]
        else "The terms were given."
    )
    return (
        "Parameters minimise a robust sum of squares of ln(predicted / published): soft L1 with scale 0.1.",
        chosen,
        "Intervals of 95 % are those of the profile likelihood: a parameter is held away from its best value, and all "
        "others are fitted again.",
        f"{fusion}; layers, MACs and bytes are counted as in an analysis.",
    )


def shortened(name: str, most: int) -> str:
    """A name with no more characters than that: variants differ at their ends."""
    head = (most - 1) // 2
    return escape(name if len(name) <= most else f"{name[:head]}\N{HORIZONTAL ELLIPSIS}{name[head + 1 - most :]}")


def signed(share: float) -> str:
    """A share with its sign, in percent."""
    return signed_percent(share).replace("-", MINUS)


# --- tables -----------------------------------------------------------------------------------------------------------


def _row_table(rows: Sequence[Plain]) -> Table:
    longest_s = max(max(row["latency_s"], row["loo_predicted_s"]) for row in rows)
    unit, decimals = "ms", min(3, max(1, 4 - len(str(int(longest_s * 1e3)))))
    largest = max(abs(row["loo_error"]) for row in rows) or 1.0

    def time(value: float) -> Cell:
        return Cell(f"{value * 1e3:.{decimals}f}", value)

    columns: list[tuple[Column, Callable[[Plain], Cell]]] = [
        (Column(key="model", label="model"), lambda row: Cell(row["name"], color=color("prediction"))),
        (
            Column(key="input_size", label="input"),
            lambda row: Cell(NONE if row["input_size"] is None else shape(row["input_size"])),
        ),
        (Column(key="batch", label="batch", numeric=True), lambda row: Cell(str(row["batch"]))),
        (Column(key="dtype", label="dtype", filter=True), lambda row: Cell(row["dtype"])),
        (Column(key="macs", label="MACs", numeric=True), lambda row: Cell(si(row["macs"]), row["macs"])),
        (Column(key="latency_s", label="published", unit=unit, numeric=True), lambda row: time(row["latency_s"])),
        (Column(key="predicted_s", label="prediction", unit=unit, numeric=True), lambda row: time(row["predicted_s"])),
        (Column(key="error", label="error", numeric=True), lambda row: Cell(signed(row["error"]), row["error"])),
        (
            Column(key="loo_predicted_s", label="unseen", unit=unit, numeric=True),
            lambda row: time(row["loo_predicted_s"]),
        ),
        (
            Column(key="loo_error", label="error, unseen", numeric=True),
            lambda row: Cell(
                signed(row["loo_error"]), row["loo_error"], share=min(1.0, abs(row["loo_error"]) / largest)
            ),
        ),
        (Column(key="loo_terms", label="terms, unseen"), lambda row: Cell(", ".join(row["loo_terms"]) or NONE)),
        (Column(key="note", label="from", wrap=True), lambda row: Cell(row["note"] or NONE)),
    ]
    usual = {  # a column that would say the same of every row is left out
        "input_size": all(row["input_size"] is None for row in rows),
        "batch": all(row["batch"] == 1 for row in rows),
        "dtype": len({row["dtype"] for row in rows}) == 1,
        "note": not any(row["note"] for row in rows),
    }
    shown = [(column, cell) for column, cell in columns if not usual.get(column.key)]
    return Table(
        id="rows",
        caption="Published latencies and predictions",
        columns=[column for column, _ in shown],
        rows=[[cell(row) for _, cell in shown] for row in rows],
        searchable=True,
        linked=True,
    )


def _parameter_table(parameters: Sequence[Parameter]) -> Table:
    limits = {"both": "both sides", "below": "below", "above": "above", "none": "neither side"}
    meanings = {"bandwidth": "of memory traffic", **{term: what.meaning for term, what in TERMS.items()}}
    cells = [
        [
            Cell(parameter.name),
            Cell(parameter_text(parameter).replace(" us", " \N{MICRO SIGN}s"), parameter.value),
            Cell(limits[parameter.limited]),
            Cell(meanings.get(parameter.name, "dense rate of MACs")),
        ]
        for parameter in parameters
    ]
    columns = (
        Column(key="parameter", label="parameter"),
        Column(key="value", label="value (95 % interval)", wrap=True),
        Column(key="limited", label="limited from"),
        Column(key="meaning", label="what it is", wrap=True),
    )
    return Table(id="parameters", caption="Parameters", columns=columns, rows=cells)


def _curve_table(ridges: Sequence[RidgePoint]) -> Table:
    cells = [
        [Cell(ridge.dtype), Cell(significant(point), point), Cell(f"{100 * error:.2f} %", error)]
        for ridge in ridges
        for point, error in ridge.curve
    ]
    columns = (
        Column(key="dtype", label="dtype"),
        Column(key="ridge_point_macs_per_byte", label="ridge point", unit="MACs/byte", numeric=True),
        Column(key="error", label="error", numeric=True),
    )
    return Table(id="curve", caption="Error over ridge point", columns=columns, rows=cells)


# --- figures ----------------------------------------------------------------------------------------------------------


def _hover(row: Plain) -> str:
    of_input = "" if row["input_size"] is None else f", {shape(row['input_size'])}"
    lines = [
        f"{row['dtype']}, batch {row['batch']}{of_input}, {si(row['macs'])} MACs",
        f"published {seconds(row['latency_s'])}",
        f"prediction {seconds(row['predicted_s'])}, {signed(row['error'])}",
        f"unseen {seconds(row['loo_predicted_s'])}, {signed(row['loo_error'])}",
    ]
    return card(row["name"], lines)


def time_axis(title: str, limits: tuple[float, float]) -> dict[str, Any]:
    """A logarithmic axis of seconds between these."""
    low, high = map(math.log10, limits)
    few = high - low < DECADES_WITH_FEW_TICKS
    return log_axis(title, range=[low, high], ticksuffix="s", dtick="D2" if few else 1)


def _scatter(rows: Sequence[Plain]) -> go.Figure:
    """Both axes alike, so that no error is a diagonal."""
    values = [row[key] for row in rows for key in ("latency_s", "predicted_s", "loo_predicted_s")]
    limits = log_limits(values)
    ends = [limits[0] / 10, limits[1] * 10]
    lines = [
        go.Scatter(
            x=ends, y=[factor * end for end in ends], mode="lines", hoverinfo="skip", showlegend=False,
            line={"color": color("muted"), "width": width, "dash": dash}, meta={"role": "error", "factor": factor},
        )
        for factor, width, dash in ((1, 1.5, "solid"), (1 + TENTH, 1, "dot"), (1 - TENTH, 1, "dot"))
    ]  # fmt: skip
    ring = {"color": color("prediction"), "size": 10, "line": {"width": 1.5, "color": color("prediction")}}
    marks = [
        go.Scatter(
            x=[row["latency_s"] for row in rows], y=[row[key] for row in rows], mode="markers", name=name,
            customdata=list(range(len(rows))), hovertext=[_hover(row) for row in rows], hoverinfo="text",
            marker={**ring, "symbol": symbol}, meta={"role": key},
        )
        for key, name, symbol in (("loo_predicted_s", UNSEEN, "circle-open"), ("predicted_s", "fitted", "circle"))
    ]  # fmt: skip
    return go.Figure(
        data=[*lines, *marks],
        layout=layout(
            margin={"l": 8, "r": 12, "t": 40, "b": 8},
            xaxis=time_axis("published latency", limits), yaxis=time_axis("prediction", limits),
        ),
    )  # fmt: skip


def _residuals(rows: Sequence[Plain]) -> go.Figure:
    """The errors of rows, the largest of the unseen ones at the top."""
    places = list(range(len(rows)))
    hover = [_hover(row) for row in rows]
    return go.Figure(
        data=[
            go.Bar(
                x=[row["error"] for row in rows], y=places, orientation="h", name="fitted", customdata=places,
                marker={"color": color("prediction")}, width=0.6, hovertext=hover, hoverinfo="text",
                meta={"role": "error"},
            ),
            go.Scatter(
                x=[row["loo_error"] for row in rows], y=places, mode="markers", name=UNSEEN,
                customdata=places, hovertext=hover, hoverinfo="text", meta={"role": "loo_error"},
                marker={"color": color("text"), "size": 9, "symbol": "circle-open", "line": {"width": 1.5}},
            ),
        ],
        layout=layout(
            margin={"l": 8, "r": 12, "t": 40, "b": 8}, bargap=0.3,
            xaxis={"title": {"text": f"prediction / published {MINUS} 1"}, "tickformat": "+.0%", "zeroline": True},
            yaxis={
                "autorange": "reversed", "tickmode": "array", "tickvals": places, "ticks": "",
                "ticktext": [shortened(row["name"], NAME_CHARACTERS["wide"]) for row in rows], "showgrid": False,
            },
        ),
    )  # fmt: skip


def _ridge(ridges: Sequence[RidgePoint]) -> go.Figure:
    """The least error at each ridge point, with its band; of a band without an end, up to the edge."""
    points = [point for ridge in ridges for point, _ in ridge.curve]
    low, high = min(points), max(points)
    if low == high:
        low, high = low / 2, high * 2
    top = 1.1 * max(error for ridge in ridges for _, error in ridge.curve) or 1.0
    traces, shapes, notes = [], [], []
    for number, ridge in enumerate(ridges):
        style = series(number)
        traces.append(
            go.Scatter(
                x=[point for point, _ in ridge.curve], y=[error for _, error in ridge.curve], mode="lines",
                name=escape(ridge.dtype), line={**style, "width": 2}, hoverinfo="text",
                hovertext=[card(f"{significant(point)} MACs/byte", [ridge.dtype, f"error {100 * error:.2f} %"])
                           for point, error in ridge.curve],
                meta={"role": "curve", "dtype": ridge.dtype},
            )
        )  # fmt: skip
        ends = [low if ridge.low is None else ridge.low, high if ridge.high is None else ridge.high]
        shapes.append(
            {
                "type": "rect", "x0": ends[0], "x1": ends[1], "y0": 0, "y1": 1, "yref": "paper", "layer": "below",
                "fillcolor": color("share"), "line": {"width": 0}, "name": f"band of {ridge.dtype}",
            }
        )  # fmt: skip
        least = min(error for _, error in ridge.curve)
        traces.append(
            go.Scatter(
                x=[low, high], y=[least * BAND] * 2, mode="lines", hoverinfo="skip", showlegend=False,
                line={"color": color("muted"), "width": 1, "dash": "dot"}, meta={"role": "limit", "dtype": ridge.dtype},
            )
        )  # fmt: skip
        if ridge.low is not None and ridge.high is not None:
            notes.append(
                {
                    "x": math.log10(ridge.value), "y": 0, "yanchor": "bottom", "text": significant(ridge.value),
                    "showarrow": False, "font": {"color": style["color"], "size": 12},
                }
            )  # fmt: skip
    return go.Figure(
        data=traces,
        layout=layout(
            margin={"l": 8, "r": 12, "t": 40, "b": 8}, showlegend=len(ridges) > 1, shapes=shapes, annotations=notes,
            xaxis=log_axis("ridge point, MACs/byte", range=[math.log10(low), math.log10(high)], tickformat="~g"),
            yaxis={"title": {"text": "error"}, "tickformat": ".0%", "range": [0, top]},
        ),
    )  # fmt: skip
