"""The figures of a validation, from its plain data.

The customdata of a point is the number of its model in the page's table, which has the misses first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from roofline import validation_words as words
from roofline.reports.figures import card, color, escape, kind_color, layout, log_axis, log_limits, series
from roofline.reports.fit_page import shortened, signed, time_axis
from roofline.reports.pages import seconds
from roofline.units import percent, si, significant

Plain = Mapping[str, Any]

MINUS = "\N{MINUS SIGN}"
VERDICTS: Mapping[str, tuple[str, str]] = {  # colour and symbol
    "right": ("better", "circle"),
    "undecided": ("muted", "circle-open"),
    "wrong": ("worse", "x"),
}
NAME_CHARACTERS = {"wide": 34, "narrow": 16}  # of a kernel class or family beside its bar
DRAWN_LAYERS = 60  # of a model: those that take longest
MARGIN = {"l": 8, "r": 12, "t": 40, "b": 8}


def hover(row: Plain) -> str:
    """The card of one model."""
    lines = [
        f"predicted {seconds(row['predicted_s'])} ({row['estimator']})",
        f"measured {seconds(row['measured_s'])}, {' to '.join(map(seconds, row['measured_ci95_s']))}",
        f"error {signed(row['error'])}: {row['verdict']}",
    ]
    if row["interval90_s"] is not None:
        lines.insert(1, f"90 % interval {' to '.join(map(seconds, row['interval90_s']))}")
    if row["reason"]:
        lines.append(row["reason"])
    return card(row["model"], lines)


def scatter(data: Plain, rows: Sequence[Plain]) -> go.Figure:
    """Predicted over measured, both axes alike, with the line of no error and the band of the limit."""
    limit = data["limit"]
    ends = log_limits([row[key] for row in rows for key in ("predicted_s", "measured_s")])
    line = [ends[0] / 10, ends[1] * 10]
    figure = go.Figure(
        layout=layout(
            margin=MARGIN,
            xaxis=time_axis("measured at the reference state", ends),
            yaxis=time_axis("predicted", ends),
        )
    )
    for factor, fill in ((1 - limit, None), (1 + limit, "tonexty")):
        figure.add_scatter(
            x=line, y=[factor * end for end in line], mode="lines", hoverinfo="skip", fill=fill,
            fillcolor=color("share"), line={"width": 0}, showlegend=fill is not None, name=f"within {percent(limit)}",
            meta={"role": "band", "factor": factor},
        )  # fmt: skip
    figure.add_scatter(
        x=line, y=line, mode="lines", hoverinfo="skip", showlegend=False,
        line={"color": color("muted"), "width": 1.5}, meta={"role": "identity"},
    )  # fmt: skip
    others = [name for name in data["estimators"] if name != data["estimator"]]
    for number, name in enumerate(others):
        of_it = [row for row in data["rows"] if row["estimator"] == name]
        figure.add_scatter(
            x=[row["measured_s"] for row in of_it], y=[row["predicted_s"] for row in of_it], mode="markers",
            name=escape(name), visible="legendonly", marker={"color": series(number)["color"], "size": 7},
            hovertext=[hover(row) for row in of_it], hoverinfo="text", meta={"role": "other", "estimator": name},
        )  # fmt: skip
    for verdict, (hue, symbol) in VERDICTS.items():
        items = [number for number, row in enumerate(rows) if row["verdict"] == verdict]
        if items:
            figure.add_trace(_marks([(number, rows[number]) for number in items], verdict, hue, symbol))
    return figure


def _marks(items: Sequence[tuple[int, Plain]], verdict: str, hue: str, symbol: str) -> go.Scatter:
    rows = [row for _, row in items]
    whiskers = {"type": "data", "symmetric": False, "color": color(hue), "thickness": 1.2, "width": 0}
    intervals = [row["interval90_s"] or (row["predicted_s"], row["predicted_s"]) for row in rows]
    return go.Scatter(
        x=[row["measured_s"] for row in rows],
        y=[row["predicted_s"] for row in rows],
        mode="markers",
        name=verdict,
        customdata=[number for number, _ in items],
        marker={"color": color(hue), "symbol": symbol, "size": 10, "line": {"width": 1.5, "color": color(hue)}},
        error_x={
            **whiskers,
            "array": [row["measured_ci95_s"][1] - row["measured_s"] for row in rows],
            "arrayminus": [row["measured_s"] - row["measured_ci95_s"][0] for row in rows],
        },
        error_y={
            **whiskers,
            "array": [high - row["predicted_s"] for row, (_, high) in zip(rows, intervals, strict=True)],
            "arrayminus": [row["predicted_s"] - low for row, (low, _) in zip(rows, intervals, strict=True)],
        },
        hovertext=[hover(row) for row in rows],
        hoverinfo="text",
        meta={"role": "verdict", "verdict": verdict},
    )


def families(data: Plain, rows: Sequence[Plain]) -> go.Figure:
    """The error of each model in the line of its family; the family of the largest median at the top."""
    place = {group["family"]: number for number, group in enumerate(data["families"])}
    figure = go.Figure(
        layout=layout(
            margin=MARGIN, shapes=[_band(data["limit"])],
            xaxis={"title": {"text": f"predicted / measured {MINUS} 1"}, "tickformat": "+.0%", "zeroline": True},
            yaxis=_names_axis(list(place)),
        )
    )  # fmt: skip
    for verdict, (hue, symbol) in VERDICTS.items():
        items = [(number, row) for number, row in enumerate(rows) if row["verdict"] == verdict]
        if not items:
            continue
        figure.add_scatter(
            x=[row["error"] for _, row in items], y=[place[row["family"]] for _, row in items], mode="markers",
            name=verdict, customdata=[number for number, _ in items],
            marker={"color": color(hue), "symbol": symbol, "size": 9, "line": {"width": 1.5, "color": color(hue)}},
            hovertext=[hover(row) for _, row in items], hoverinfo="text", meta={"role": "verdict", "verdict": verdict},
        )  # fmt: skip
    return figure


def kernels(data: Plain) -> go.Figure:
    """The error of the sum of each kernel class; the class with most time at the top."""
    rows = data["kernels"]
    figure = go.Figure(
        layout=layout(
            margin=MARGIN, showlegend=False, shapes=[_band(data["limit"])],
            xaxis={
                "title": {"text": f"predicted / measured {MINUS} 1, of the sum"},
                "tickformat": "+.0%", "zeroline": True,
            },
            yaxis=_names_axis([row["kernel"] for row in rows]),
        )
    )  # fmt: skip
    figure.add_bar(
        orientation="h", x=[row["error"] for row in rows], y=list(range(len(rows))), width=0.6,
        marker={"color": [color("better" if abs(row["error"]) <= data["limit"] else "worse") for row in rows]},
        hovertext=[
            card(
                row["kernel"],
                [
                    f"{words.counted(row['layers'], 'layer')}, {percent(row['share'])} of the time of all",
                    f"predicted {seconds(row['predicted_s'])}, measured {seconds(row['measured_s'])}",
                    f"error {signed(row['error'])}; of a layer {words.tenth(row['median_error'])} in the median",
                ],
            )
            for row in rows
        ],
        hoverinfo="text",
    )  # fmt: skip
    return figure


def _band(limit: float) -> dict[str, Any]:
    return {
        "type": "rect", "x0": -limit, "x1": limit, "y0": 0, "y1": 1, "yref": "paper", "layer": "below",
        "fillcolor": color("share"), "line": {"width": 0}, "name": "limit",
    }  # fmt: skip


def _names_axis(names: Sequence[str]) -> dict[str, Any]:
    return {
        "tickmode": "array", "tickvals": list(range(len(names))), "ticks": "", "showgrid": False, "zeroline": False,
        "ticktext": clipped(names)["wide"], "range": [len(names) - 0.5, -0.5],
    }  # fmt: skip


def clipped(names: Sequence[str]) -> dict[str, list[str]]:
    """Names as there is room for them, in a wide window and on a phone."""
    return {width: [shortened(name, most) for name in names] for width, most in NAME_CHARACTERS.items()}


# --- the roofline -----------------------------------------------------------------------------------------------------


def drawn_layers(layers: Sequence[Plain]) -> list[Plain]:
    """The layers of a model that have a place under the roofline and take longest; the longest first."""
    known = [row for row in layers if all(row[key] for key in ("macs", "mem_bytes", "predicted_s", "measured_s"))]
    return sorted(known, key=lambda row: -row["measured_s"])[:DRAWN_LAYERS]


def roofline(data: Plain, shown: Sequence[Plain]) -> go.Figure:
    """Each layer twice, where it was predicted and where it was measured to be, joined; of the first model."""
    intensity, rates = _limits(data, shown)
    axes = {
        "xaxis": log_axis("operational intensity, MACs/byte", range=[*map(math.log10, intensity)], tickformat="~g"),
        "yaxis": log_axis("MACs/s", range=[*map(math.log10, rates)]),
    }
    return go.Figure(
        data=roofline_traces(data, drawn_layers(shown[0]["rows"]), intensity), layout=layout(margin=MARGIN, **axes)
    )


def rooflines(data: Plain, shown: Sequence[Plain]) -> list[list[dict[str, Any]]]:
    """The traces of each model, as the page swaps them."""
    intensity, _ = _limits(data, shown)
    return [
        [trace.to_plotly_json() for trace in roofline_traces(data, drawn_layers(model["rows"]), intensity)]
        for model in shown
    ]


def _limits(data: Plain, shown: Sequence[Plain]) -> tuple[tuple[float, float], tuple[float, float]]:
    """The ends of both axes, the same for all models: intensities and rates."""
    every = [row for model in shown for row in drawn_layers(model["rows"])]
    peak, bandwidth = data["hardware"]["peak_macs_per_s"], data["hardware"]["bandwidth_bytes_per_s"]
    return (
        log_limits([*(row["macs"] / row["mem_bytes"] for row in every), peak / bandwidth]),
        log_limits([*(row["macs"] / row[key] for row in every for key in ("predicted_s", "measured_s")), peak]),
    )


def roofline_traces(data: Plain, rows: Sequence[Plain], ends: tuple[float, float]) -> list[go.Scatter]:
    """The ceilings, the joints, and the two points of each layer."""
    hardware = data["hardware"]
    peak, bandwidth = hardware["peak_macs_per_s"], hardware["bandwidth_bytes_per_s"]
    x = [row["macs"] / row["mem_bytes"] for row in rows]
    rate = {key: [row["macs"] / row[key] for row in rows] for key in ("predicted_s", "measured_s")}
    joints_x = [place for at in x for place in (at, at, None)]
    joints_y = [place for pair in zip(rate["predicted_s"], rate["measured_s"], strict=True) for place in (*pair, None)]
    cards = [
        card(
            row["name"],
            [
                row["kernel"] or row["kind"],
                f"predicted {seconds(row['predicted_s'])}, {si(row['macs'] / row['predicted_s'], 'MACs/s')}",
                f"measured {seconds(row['measured_s'])}, {si(row['macs'] / row['measured_s'], 'MACs/s')}",
                f"error {signed(row['error'])}; {significant(row['macs'] / row['mem_bytes'])} MACs/byte",
            ],
        )
        for row in rows
    ]
    hues = [kind_color(row["kind"]) for row in rows]
    ridge = peak / bandwidth
    corners = sorted({ends[0], min(max(ridge, ends[0]), ends[1]), ends[1]})
    traces = [
        go.Scatter(
            x=corners, y=[min(peak, bandwidth * at) for at in corners], mode="lines", hoverinfo="skip",
            name="the profile's ceilings", line={"color": color("muted"), "width": 1.5}, meta={"role": "ceiling"},
        ),
        go.Scatter(
            x=joints_x, y=joints_y, mode="lines", hoverinfo="skip", showlegend=False,
            line={"color": color("line"), "width": 1.5}, meta={"role": "joint"},
        ),
    ]  # fmt: skip
    for key, name, symbol in (("predicted_s", "predicted", "circle-open"), ("measured_s", "measured", "circle")):
        traces.append(
            go.Scatter(
                x=x, y=rate[key], mode="markers", name=name, hovertext=cards, hoverinfo="text",
                marker={"color": hues, "symbol": symbol, "size": 9, "line": {"width": 1.5, "color": hues}},
                meta={"role": key},
            )
        )  # fmt: skip
    return traces
