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
from roofline.reports.fit_page import shortened, signed
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
DRAWN_KERNELS = 15  # those that cost most; the others are folded into two bars
DRAWN_LAYERS = 60  # of a model: those that take longest
CLIPPED = (
    3  # limits from no error, and the error that a tenth of the models exceeds: farther out, a mark is at the edge
)
TICKS = ((1, 2, 5), (1, 3), (1,))  # of a decade, from many to few
MOST_TICKS = {"wide": 12, "narrow": 5}  # of an axis of times
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


def times(rows: Sequence[Plain]) -> tuple[float, float]:
    """The ends of both axes of the scatter, in seconds."""
    return log_limits([row[key] for row in rows for key in ("predicted_s", "measured_s")])


def time_ticks(ends: tuple[float, float]) -> dict[str, dict[str, list[Any]]]:
    """The ticks of a logarithmic axis of seconds, each with its unit, for a wide window and for a phone.

    They go on for a decade beyond either end, for those who zoom out.
    """
    low, high = map(math.log10, ends)
    found: dict[str, dict[str, list[Any]]] = {}
    for width, most in MOST_TICKS.items():
        digits = next((each for each in TICKS if (high - low) * len(each) <= most), TICKS[-1])
        decades = range(math.floor(low) - 1, math.ceil(high) + 1)
        values = [float(f"{digit}e{decade}") for decade in decades for digit in digits]
        found[width] = {"tickvals": values, "ticktext": [seconds(value) for value in values]}
    return found


def scatter(data: Plain, rows: Sequence[Plain]) -> go.Figure:
    """Predicted over measured, both axes alike, with the line of no error and the band of the limit."""
    limit = data["limit"]
    ends = times(rows)
    line = [ends[0] / 10, ends[1] * 10]
    axis = {"range": [*map(math.log10, ends)], "tickmode": "array", **time_ticks(ends)["wide"]}
    figure = go.Figure(
        layout=layout(
            margin=MARGIN,
            xaxis=log_axis("measured at the reference state", **axis),
            yaxis=log_axis("predicted", **axis),
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
    """The error of each model in the line of its family; the family of the largest median at the top.

    A few errors that would leave no room for the others are marked at the edge, with their figures beside.
    """
    place = {group["family"]: number for number, group in enumerate(data["families"])}
    end = edge(rows, data["limit"])
    figure = go.Figure(
        layout=layout(
            margin=MARGIN, shapes=[_band(data["limit"])],
            xaxis={
                "title": {"text": f"predicted / measured {MINUS} 1"}, "tickformat": "+.0%", "zeroline": True,
                **({"range": [-1.04 * end, 1.04 * end]} if end < math.inf else {}),
            },
            yaxis=_names_axis(list(place)),
        )
    )  # fmt: skip
    for verdict, (hue, symbol) in VERDICTS.items():
        items = [(number, row) for number, row in enumerate(rows) if row["verdict"] == verdict]
        outer = [(number, row) for number, row in items if abs(row["error"]) > end]
        inner = [(number, row) for number, row in items if abs(row["error"]) <= end]
        for role, some, symbols in (
            ("verdict", inner, symbol),
            ("clipped", outer, [f"triangle-{'right' if row['error'] > 0 else 'left'}" for _, row in outer]),
        ):
            if some:
                figure.add_scatter(
                    x=[max(-end, min(end, row["error"])) for _, row in some],
                    y=[place[row["family"]] for _, row in some], mode="markers", name=verdict, legendgroup=verdict,
                    showlegend=role == "verdict" or not inner, customdata=[number for number, _ in some],
                    marker={
                        "color": color(hue), "symbol": symbols, "size": 9, "line": {"width": 1.5, "color": color(hue)},
                    },
                    hovertext=[hover(row) for _, row in some], hoverinfo="text",
                    meta={"role": role, "verdict": verdict},
                )  # fmt: skip
    beyond = [row for row in rows if abs(row["error"]) > end]
    if beyond:
        figure.add_trace(_figures_at_the_edge(beyond, place, end))
    return figure


def edge(rows: Sequence[Plain], limit: float) -> float:
    """The error at which the axis is cut off; infinite if there is room for all."""
    sizes = sorted(abs(row["error"]) for row in rows)
    usual = sizes[math.ceil(0.9 * len(sizes)) - 1] if sizes else 0.0
    end = max(CLIPPED * limit, usual)
    return end if sizes and sizes[-1] > 1.5 * end else math.inf


def _figures_at_the_edge(rows: Sequence[Plain], place: Mapping[str, int], end: float) -> go.Scatter:
    """The errors of what is beyond an edge, beside the marks: one text a family and side."""
    texts: dict[tuple[float, int], list[float]] = {}
    for row in rows:
        texts.setdefault((math.copysign(end, row["error"]), place[row["family"]]), []).append(row["error"])
    return go.Scatter(
        x=[x for x, _ in texts], y=[y for _, y in texts], mode="text", hoverinfo="skip", showlegend=False,
        text=[f" {', '.join(map(signed, sorted(errors)))} " for errors in texts.values()],
        textposition=[f"middle {'left' if x > 0 else 'right'}" for x, _ in texts],
        textfont={"color": color("text"), "size": 11}, meta={"role": "beyond"},
    )  # fmt: skip


def excess_s(row: Plain) -> float:
    """predicted - measured, in seconds."""
    return float(row["predicted_s"] - row["measured_s"])


def costliest(kernels: Sequence[Plain]) -> list[Plain]:
    """The classes of kernels, that with most seconds of difference first."""
    return sorted(kernels, key=lambda row: -abs(excess_s(row)))


def kernel_bars(kernels: Sequence[Plain]) -> list[Plain]:
    """What is drawn of the classes of kernels: the costliest, and the others as two sums, too slow and too fast."""
    ordered = costliest(kernels)
    if len(ordered) <= DRAWN_KERNELS + 2:
        return ordered
    shown, rest = ordered[:DRAWN_KERNELS], ordered[DRAWN_KERNELS:]
    for word, some in (
        ("slow", [row for row in rest if excess_s(row) > 0]),
        ("fast", [row for row in rest if excess_s(row) <= 0]),
    ):
        if some:
            sums = {key: sum(row[key] for row in some) for key in ("layers", "share", "predicted_s", "measured_s")}
            error = sums["predicted_s"] / sums["measured_s"] - 1
            name = f"{words.counted(len(some), 'other')}, {word}"
            shown.append({**sums, "kernel": name, "error": error, "median_error": None})
    return shown


def kernels(data: Plain) -> go.Figure:
    """What each kernel class costs, in seconds, with its relative error at the other side of zero; most at the top."""
    rows = kernel_bars(data["kernels"])
    excess = [excess_s(row) for row in rows]
    reach = 1.15 * max(map(abs, excess)) or 1.0
    figure = go.Figure(
        layout=layout(
            margin=MARGIN, showlegend=False,
            xaxis={
                "title": {"text": f"predicted {MINUS} measured"}, "tickformat": "~s", "ticksuffix": "s",
                "zeroline": True, "range": [-reach, reach],
            },
            yaxis=_names_axis([row["kernel"] for row in rows]),
        )
    )  # fmt: skip
    figure.add_bar(
        orientation="h", x=excess, y=list(range(len(rows))), width=0.6, marker={"color": color("prediction")},
        hovertext=[_kernel_card(row) for row in rows], hoverinfo="text", meta={"role": "excess"},
    )  # fmt: skip
    figure.add_scatter(
        x=[0.0] * len(rows), y=list(range(len(rows))), mode="text", hoverinfo="skip", meta={"role": "error"},
        text=[f" {signed(row['error'])} " for row in rows],
        textposition=[f"middle {'left' if each > 0 else 'right'}" for each in excess],
        textfont={"color": color("muted"), "size": 11},
    )  # fmt: skip
    return figure


def difference(row: Plain) -> str:
    """predicted - measured, as a duration with its sign."""
    rounded = round(excess_s(row), 12)  # to a picosecond: sums of the same figures may differ by less
    return f"{'+' if rounded > 0 else MINUS if rounded else ''}{seconds(abs(rounded))}"


def _kernel_card(row: Plain) -> str:
    of_a_layer = "" if row["median_error"] is None else f"; of a layer {words.tenth(row['median_error'])} in the median"
    return card(
        row["kernel"],
        [
            f"{words.counted(row['layers'], 'layer')}, {percent(row['share'])} of the time of all",
            f"predicted {seconds(row['predicted_s'])}, measured {seconds(row['measured_s'])}: {difference(row)}",
            f"error {signed(row['error'])}{of_a_layer}",
        ],
    )


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
