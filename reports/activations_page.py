"""The page of a comparison of activations: times over that of ReLU, of what the differences are made, and costs.

Where a profile makes all activations equal, its section says why, and there are no bars of one length to look at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from roofline.activation_words import TERM_WORDS
from roofline.measurement.result import DOUBTFUL
from roofline.reports.figures import card, color, escape, layout
from roofline.reports.pages import Device, Page, seconds, shape
from roofline.reports.tables import Cell, Column, Table, time_column
from roofline.units import si, significant

Plain = Mapping[str, Any]

TIMES, MINUS, NONE = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}", "\N{EN DASH}"
TERM_COLORS: Mapping[str, str] = {
    "macs": "compute",
    "activation_bytes": "memory",
    "weight_bytes": "pointwise_conv",
    "class_bytes": "grouped_conv",
    "vector_ops": "activation",
    "layer_overhead": "muted",
}
PALE = 0.35  # of what is not to be judged by
PLACE_COLORS = ("series-0", "series-4", "series-2", "series-5", "series-9", "series-7")
FUSIONS = {"none": "unfused", "epilogue": "epilogue fusion"}


def page(data: Plain) -> Page:
    """The page of a comparison of activations."""
    told = [place for place in data["profiles"] if not place["are_equal"]]
    figures: dict[str, go.Figure] = {}
    is_measured = any(row["measured_s"] is not None for row in data["rows"])
    if told or any(row["ratio_to_relu_measured"] is not None for row in data["rows"]):
        figures["ratios"] = _ratios(data, told)
    sections = []
    for number, place in enumerate(data["profiles"]):
        name = f"parts-{number}"
        if not place["are_equal"]:
            figures[name] = _parts(data, place)
        sections.append(
            {
                "id": name,
                "name": place["id"],
                "kind": place["latency_kind"],
                "heading": f"{_kind(place)} on {place['name']}",
                "subtitle": f"{place['dtype']}, {FUSIONS.get(place['fusion'], place['fusion'])}",
                "reasons": place["reasons"],
                "are_equal": place["are_equal"],
                "height": _height(data, 2),
                "table": _place_table(data, place, name),
            }
        )
    if is_measured:
        figures["measured"] = _measured(data)
    model = data["model"]
    return Page(
        template="activations.html.j2",
        title=f"Activations in {model['name']}",
        context={
            "title": f"Activation functions in {model['name']}",
            "subtitle": ", ".join((_shapes(model["input_shape"]), f"batch {data['batch']}")),
            "verdict": data["verdict"],
            "has_ratios": "ratios" in figures,
            "ratio_height": _height(data, len(told) + is_measured),
            "ratio_table": _ratio_table(data),
            "sections": sections,
            "measured": _measurement(data),
            "is_measured": is_measured,
            "measured_height": _height(data, 1),
            "measured_table": _measured_table(data),
            "cost_table": _cost_table(data),
            "cost_caption": f"{data['counted']['dtype']}, "
            f"{FUSIONS.get(data['counted']['fusion'], data['counted']['fusion'])}",
            "published_table": _published_table(data),
            "agreements": [item["meaning"] for item in data["agreements"]],
            "notes": data["notes"],
        },
        figures=figures,
        devices=[Device(name=place["name"], figures=place["figures"]) for place in data["profiles"]],
        versions=data["versions"],
    )


def _kind(place: Plain) -> str:
    return "Predicted" if place["latency_kind"] == "prediction" else "Bound"


def _shapes(sizes: Sequence[Any]) -> str:
    several = sizes if sizes and isinstance(sizes[0], list) else [sizes]
    return " and ".join(map(shape, several))


def _height(data: Plain, bars: int) -> int:
    return 90 + (14 + 18 * max(1, bars)) * len(data["rows"])


def _labels(data: Plain) -> list[str]:
    return [escape(row["label"]) for row in data["rows"]]


def _factor(value: float | None) -> str:
    return NONE if value is None else f"{significant(value)}{TIMES}"


def _interval(limits: Sequence[float] | None, show: Any = significant) -> str:
    return NONE if limits is None else f"{show(limits[0])} to {show(limits[1])}"


# --- figures ----------------------------------------------------------------------------------------------------------


def _bars(**settings: Any) -> go.Layout:
    return layout(
        margin={"l": 8, "r": 60, "t": 30, "b": 8}, bargap=0.25, legend={"traceorder": "normal"},
        yaxis={"autorange": "reversed", "ticks": "", "ticklabelstandoff": 4, "title": None, "showgrid": False},
        **settings,
    )  # fmt: skip


def _ratios(data: Plain, told: Sequence[Plain]) -> go.Figure:
    """The time of each activation over that of ReLU, at each place that tells them apart, and as it was measured."""
    traces = [_ratio_bars(data, place, PLACE_COLORS[i % len(PLACE_COLORS)]) for i, place in enumerate(told)]
    if data["measurement"]:
        traces.append(_measured_ratio_bars(data))
    return go.Figure(
        data=traces,
        layout=_bars(
            barmode="group", showlegend=True,
            xaxis={"title": {"text": "time over that of ReLU"}, "tickformat": "~g", "rangemode": "tozero"},
            shapes=[{"type": "line", "x0": 1, "x1": 1, "y0": 0, "y1": 1, "yref": "y domain", "layer": "below",
                     "line": {"color": color("muted"), "width": 1, "dash": "dot"}}],
        ),
    )  # fmt: skip


def _ratio_bars(data: Plain, place: Plain, shade: str) -> go.Bar:
    rows = data["rows"]
    ratios = [row["ratio_to_relu_predicted"][place["id"]] for row in rows]
    return go.Bar(
        x=ratios, y=_labels(data), orientation="h", name=escape(f"{place['id']} ({place['latency_kind']})"),
        marker={"color": color(shade)}, text=[f" {_factor(ratio)}" for ratio in ratios], textposition="outside",
        cliponaxis=False, hoverinfo="text",
        hovertext=[
            card(f"{row['label']} on {place['id']}", [
                f"{seconds(row['predicted_s'][place['id']])} ({place['latency_kind']})", f"{_factor(ratio)} ReLU",
            ])
            for row, ratio in zip(rows, ratios, strict=True)
        ],
        meta={"role": "ratios", "place": place["id"]},
    )  # fmt: skip


def _measured_ratio_bars(data: Plain) -> go.Bar:
    rows = [row for row in data["rows"] if row["ratio_to_relu_measured"] is not None]
    ratios = [row["ratio_to_relu_measured"] for row in rows]
    limits = [row["ratio_to_relu_measured_ci95"] for row in rows]
    return go.Bar(
        x=ratios, y=[escape(row["label"]) for row in rows], orientation="h",
        name=escape(f"this {data['measurement']['device']} (measurement)"), error_x=_errors(ratios, limits),
        marker={"color": color("measurement"), "opacity": [PALE if _doubt(data, row) else 1 for row in rows]},
        hoverinfo="text", textposition="inside", insidetextanchor="start", insidetextfont={"color": color("text")},
        text=[f" {_doubt(data, row)}" for row in rows],
        hovertext=[
            card(f"{row['label']} on this {data['measurement']['device']}", [
                f"{seconds(row['measured_s'])} measured",
                f"{_factor(ratio)} ReLU, 95 %: {_interval(limit)}",
                *([] if row["status"] == "ok" else [row["status"]]),
                *([] if not _doubt(data, row) or row["status"] in DOUBTFUL else [f"ReLU is {_relu(data)['status']}"]),
            ])
            for row, ratio, limit in zip(rows, ratios, limits, strict=True)
        ],
        meta={"role": "ratios", "place": "measured"},
    )  # fmt: skip


def _doubt(data: Plain, row: Plain) -> str:
    """Why a measured ratio is not to be judged by: its own status, or that of ReLU; empty if it may be."""
    relu = _relu(data)["status"]
    if row["status"] in DOUBTFUL:
        return str(row["status"])
    return f"ReLU {relu}" if relu in DOUBTFUL else ""


def _errors(values: Sequence[float], intervals: Sequence[Sequence[float] | None]) -> dict[str, Any]:
    """Error bars from each value to its limits; none where there are none."""
    limits = [interval or (value, value) for value, interval in zip(values, intervals, strict=True)]
    return {
        "type": "data", "symmetric": False, "color": color("text"), "thickness": 1.5, "width": 4,
        "array": [high - value for value, (_, high) in zip(values, limits, strict=True)],
        "arrayminus": [value - low for value, (low, _) in zip(values, limits, strict=True)],
    }  # fmt: skip


def _parts(data: Plain, place: Plain) -> go.Figure:
    """Of what the time of each activation is made at one place."""
    rows, at = data["rows"], place["id"]
    used = [term for term in TERM_COLORS if any(row["parts_s"][at].get(term) for row in rows)]
    traces = [
        go.Bar(
            x=[row["parts_s"][at][term] for row in rows], y=_labels(data), orientation="h",
            name=TERM_WORDS[term], marker={"color": color(TERM_COLORS[term])}, hoverinfo="text", textposition="none",
            hovertext=[
                card(f"{row['label']}: {TERM_WORDS[term]}", [
                    f"{seconds(row['parts_s'][at][term])} of {seconds(row['predicted_s'][at])}",
                    _more(row["parts_s"][at][term], _relu(data)["parts_s"][at][term]),
                ])
                for row in rows
            ],
            meta={"role": "parts", "term": term},
        )
        for term in used
    ]  # fmt: skip
    return go.Figure(
        data=traces,
        layout=_bars(
            barmode="stack", showlegend=True,
            xaxis={"title": {"text": "latency"}, "tickformat": "~s", "ticksuffix": "s", "rangemode": "tozero"},
        ),
    )  # fmt: skip


def _relu(data: Plain) -> Plain:
    found: Plain = {row["activation"]: row for row in data["rows"]}["relu"]
    return found


def _more(value: float, of_relu: float) -> str:
    sign = "+" if value >= of_relu else MINUS
    return f"{sign}{seconds(abs(value - of_relu))} against ReLU"


def _measured(data: Plain) -> go.Figure:
    """The median of each activation as the stopwatch had it, with its interval."""
    rows = [row for row in data["rows"] if row["measured_s"] is not None]
    values, limits = [row["measured_s"] for row in rows], [row["measured_ci95_s"] for row in rows]
    return go.Figure(
        data=[
            go.Scatter(
                x=values, y=[escape(row["label"]) for row in rows], mode="markers+text",
                text=[row["status"] if row["status"] in DOUBTFUL else "" for row in rows], textposition="top center",
                cliponaxis=False, marker={"color": color("measurement"), "size": 9, "symbol": [
                    "circle-open" if row["status"] in DOUBTFUL else "circle" for row in rows]},
                error_x=_errors(values, limits), hoverinfo="text",
                hovertext=[
                    card(row["label"], [f"{seconds(row['measured_s'])} measured",
                                        f"95 %: {_interval(row['measured_ci95_s'], seconds)}", str(row["status"])])
                    for row in rows
                ],
                meta={"role": "measured"},
            )
        ],
        layout=_bars(
            showlegend=False,
            xaxis={"title": {"text": "latency, median and its 95 % interval"}, "tickformat": "~s", "ticksuffix": "s",
                   "rangemode": "tozero"},
        ),
    )  # fmt: skip


# --- tables -----------------------------------------------------------------------------------------------------------


def _ratio_table(data: Plain) -> Table:
    places = data["profiles"]
    columns = [Column(key="activation", label="activation")]
    columns += [
        Column(key=f"ratio_{place['id']}", label=place["id"], unit=f"{TIMES} ReLU", numeric=True) for place in places
    ]
    if data["measurement"]:
        columns.append(Column(key="ratio_measured", label="measured", unit=f"{TIMES} ReLU", numeric=True))
        columns.append(Column(key="ratio_measured_ci95", label="95 %", numeric=True))
    rows = []
    for row in data["rows"]:
        cells: list[Cell | str] = [row["label"]]
        cells += [_ratio_cell(row["ratio_to_relu_predicted"][place["id"]]) for place in places]
        if data["measurement"]:
            cells.append(_ratio_cell(row["ratio_to_relu_measured"]))
            cells.append(_interval(row["ratio_to_relu_measured_ci95"]))
        rows.append(cells)
    return Table(id="ratios", caption="Time over that of ReLU", columns=columns, rows=rows)


def _ratio_cell(ratio: float | None) -> Cell:
    return Cell(NONE) if ratio is None else Cell(significant(ratio), ratio)


def _place_table(data: Plain, place: Plain, name: str) -> Table:
    at = place["id"]
    times_s = [time_s for row in data["rows"] for time_s in (row["predicted_s"][at], *row["fusion_s"][at].values())]
    scale, unit, decimals = time_column(max(times_s, default=0.0))

    def cell(value_s: float) -> Cell:
        return Cell(f"{value_s / scale:.{decimals}f}", value_s)

    used = [term for term in TERM_COLORS if any(row["parts_s"][at].get(term) for row in data["rows"])]
    columns = [
        Column(key="activation", label="activation"),
        Column(key="latency_s", label=place["latency_kind"], unit=unit, numeric=True),
        Column(key="ratio_to_relu", label="ratio", unit=f"{TIMES} ReLU", numeric=True),
        *(Column(key=f"{term}_s", label=TERM_WORDS[term], unit=unit, numeric=True) for term in used),
        Column(key="unfused_s", label="without fusion", unit=unit, numeric=True),
        Column(key="all_fused_s", label="all fused", unit=unit, numeric=True),
    ]
    rows = [
        [
            Cell(row["label"]), cell(row["predicted_s"][at]), _ratio_cell(row["ratio_to_relu_predicted"][at]),
            *(cell(row["parts_s"][at][term]) for term in used), cell(row["fusion_s"][at]["none"]),
            cell(row["fusion_s"][at]["all"]),
        ]
        for row in data["rows"]
    ]  # fmt: skip
    return Table(id=f"{name}-table", caption=f"{_kind(place)} on {at}", columns=columns, rows=rows)


def _cost_table(data: Plain) -> Table:
    keys = (
        ("params", "params", ""),
        ("macs", "MACs", ""),
        ("vector_ops", "vector ops", ""),
        ("mem_bytes", "bytes", "B"),
    )
    relu = _relu(data)
    columns = [Column(key="activation", label="activation")]
    for key, label, _ in keys:
        columns.append(Column(key=key, label=label, numeric=True))
        columns.append(Column(key=f"{key}_over_relu", label="over ReLU", numeric=True))
    rows = []
    for row in data["rows"]:
        cells = [Cell(row["label"])]
        for key, _, unit in keys:
            more = row[key] - relu[key]
            sign = "+" if more > 0 else MINUS if more < 0 else ""
            cells += [Cell(si(row[key], unit, 4), row[key]), Cell(f"{sign}{si(abs(more), unit)}", more)]
        rows.append(cells)
    return Table(id="costs", caption="What each activation costs", columns=columns, rows=rows, searchable=True)


def _measurement(data: Plain) -> dict[str, Any] | None:
    run = data["measurement"]
    if not run:
        return None
    return {"heading": f"Measured on this {'GPU' if run['device'] == 'cuda' else 'CPU'}", "subtitle": _machine(run)}


def _machine(run: Plain) -> str:
    """What it was measured on, and how."""
    how = [
        f"{first['dtype']}, {first['mode']}, {first['threads']} thread{'s' if first['threads'] != 1 else ''}"
        for first in run["measurements"][:1]
    ]
    return "; ".join([*filter(None, [machine_name(run["environment"])]), *how])


def machine_name(environment: Plain) -> str:
    """What the device is called in the record of a measurement; empty where that does not tell."""
    device = environment.get("device")
    return str(device.get("name", "")) if isinstance(device, Mapping) else ""


def _measured_table(data: Plain) -> Table | None:
    if not data["measurement"]:
        return None
    columns = [
        Column(key="activation", label="activation"),
        Column(key="measured_s", label="measured", numeric=True),
        Column(key="measured_ci95_s", label="95 %"),
        Column(key="reference_s", label="at the reference state", numeric=True),
        Column(key="status", label="status"),
    ]
    rows: list[list[Cell | str]] = []
    for row in data["rows"]:
        if row["measured_s"] is None:
            rows.append([row["label"], NONE, NONE, NONE, "not measured"])
            continue
        rows.append(
            [
                row["label"], Cell(seconds(row["measured_s"]), row["measured_s"]),
                _interval(row["measured_ci95_s"], seconds), Cell(seconds(row["reference_s"]), row["reference_s"]),
                row["status"],
            ]
        )  # fmt: skip
    return Table(id="measured-table", caption="Measured latencies", columns=columns, rows=rows)


def _published_table(data: Plain) -> Table | None:
    if not data["published"]:
        return None
    columns = [
        Column(key="activation", label="activation"),
        Column(key="latency_s", label="published", numeric=True),
        Column(key="ratio_to_relu", label="ratio", unit=f"{TIMES} ReLU", numeric=True),
        Column(key="device", label="device"),
        Column(key="runtime", label="runtime"),
        Column(key="source", label="source", wrap=True),
        Column(key="confidence", label="confidence"),
        Column(key="note", label="note", wrap=True),
    ]
    return Table(id="published", caption="Published latencies", columns=columns, rows=list(_published(data)))


def _published(data: Plain) -> Iterator[list[Cell | str]]:
    for row in data["published"]:
        yield [
            row["label"], Cell(seconds(row["latency_s"]), row["latency_s"]), _ratio_cell(row["ratio_to_relu"]),
            row["device"], row["runtime"], row["source"], row["confidence"], row["note"],
        ]  # fmt: skip
