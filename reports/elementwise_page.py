"""The page of activation functions element by element: bytes a second over the size of the buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from roofline.elementwise import COPY, SCALE
from roofline.measurement.result import DOUBTFUL
from roofline.reports.activations_page import machine_name
from roofline.reports.elementwise_terminal import binary_size, label_of
from roofline.reports.figures import card, color, escape, layout, log_axis, series
from roofline.reports.measure_page import environment_table
from roofline.reports.pages import Page, seconds
from roofline.reports.tables import Cell, Column, Table
from roofline.units import si, significant

Plain = Mapping[str, Any]

NONE = "\N{EN DASH}"
FIGURES = (("out-of-place", False, "From one buffer into another"), ("in-place", True, "In place"))
SYMBOLS = {"memory": "circle", "compute": "diamond", "overhead": "circle-open"}
RING_PX = 2.5  # around a timing that is not to be judged by


def page(data: Plain) -> Page:
    """The page of activation functions element by element."""
    names = [name for name in dict.fromkeys(row["activation"] for row in data["rows"]) if name not in (COPY, SCALE)]
    return Page(
        template="elementwise.html.j2",
        title="Activation functions, element by element",
        context={
            "subtitle": f"{data['dtype']}, one thread; {machine_name(data['environment']) or 'this CPU'}",
            "verdict": data["verdict"],
            "figures": [{"id": id, "title": title} for id, _, title in FIGURES],
            "table": _table(data),
            "has_doubt": any(row["status"] in DOUBTFUL for row in data["rows"]),
            "environment_table": environment_table(data["environment"]),
            "notes": data["notes"],
        },
        figures={id: _figure(data, names, in_place) for id, in_place, _ in FIGURES},
        versions=data["versions"],
    )


def _figure(data: Plain, names: Sequence[str], in_place: bool) -> go.Figure:
    """One line a function, and a dashed one of the reference."""
    reference = SCALE if in_place else COPY
    traces = [_line(data, reference, in_place, {"color": color("text"), "dash": "dash"})]
    traces += [_line(data, name, in_place, series(number)) for number, name in enumerate(names)]
    levels = data["levels"]
    return go.Figure(
        data=traces,
        layout=layout(
            showlegend=True, margin={"l": 8, "r": 12, "t": 60, "b": 8},
            xaxis={"type": "log", "title": {"text": "size of all buffers"},
                   "tickvals": [level["footprint_bytes"] for level in levels],
                   "ticktext": [f"{escape(level['name'])}<br>{binary_size(level['footprint_bytes'])}"
                                for level in levels]},
            yaxis=log_axis("read and written, bytes/s", dtick="D2"),
        ),
    )  # fmt: skip


def _line(data: Plain, name: str, in_place: bool, line: Mapping[str, Any]) -> go.Scatter:
    rows = [row for row in data["rows"] if row["activation"] == name and row["in_place"] == in_place]
    return go.Scatter(
        x=[row["footprint_bytes"] for row in rows], y=[row["bytes_per_s"] for row in rows], mode="lines+markers",
        name=escape(label_of(name)), line={**line, "width": 2}, hoverinfo="text",
        marker={"size": 8, "symbol": [SYMBOLS.get(row["bound"], "circle") for row in rows], "color": line["color"],
                "line": {"color": [color("worse") if row["status"] in DOUBTFUL else line["color"] for row in rows],
                         "width": [RING_PX if row["status"] in DOUBTFUL else 1 for row in rows]}},
        hovertext=[
            card(f"{label_of(name)} in {row['level']}", [
                f"{si(row['bytes_per_s'], 'B/s')}, {seconds(row['latency_s'])} a call",
                _waits(row),
                *([] if row["status"] == "ok" else [row["status"]]),
            ])
            for row in rows
        ],
        meta={"role": "line", "activation": name},
    )  # fmt: skip


def _waits(row: Plain) -> str:
    if row["bound"] == "overhead":
        return f"the call itself takes {seconds(row['overhead_s'])}"
    return f"{row['bound']}-bound, {significant(row['speed'])} of the speed of its reference"


def _table(data: Plain) -> Table:
    columns = [
        Column(key="activation", label="function", filter=True),
        Column(key="level", label="level", filter=True),
        Column(key="in_place", label="in place", filter=True),
        Column(key="bytes_per_s", label="achieved", unit="bytes/s", numeric=True),
        Column(key="speed", label="speed", unit="copy = 1", numeric=True),
        Column(key="bound", label="waits for", filter=True),
        Column(key="latency_s", label="a call", numeric=True),
        Column(key="overhead_s", label="on one element", numeric=True),
        Column(key="vector_ops_per_s", label="vector ops", unit="1/s", numeric=True),
        Column(key="status", label="status", filter=True),
    ]
    rows = [
        [
            label_of(row["activation"]), row["level"], "yes" if row["in_place"] else "no",
            Cell(si(row["bytes_per_s"]), row["bytes_per_s"]), _number(row["speed"], significant), row["bound"],
            Cell(seconds(row["latency_s"]), row["latency_s"]), Cell(seconds(row["overhead_s"]), row["overhead_s"]),
            _number(row["vector_ops_per_s"], si), row["status"],
        ]
        for row in data["rows"]
    ]  # fmt: skip
    return Table(id="timings", caption="All timings", columns=columns, rows=rows, searchable=True)


def _number(value: float | None, show: Any) -> Cell:
    return Cell(NONE) if value is None else Cell(show(value), value)
