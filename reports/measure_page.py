"""The page of a measurement: both latencies of each model, their intervals, the samples over time, and the machine.

Everything is drawn from the plain data of `roofline.measurement.result.Run.to_dict`; the samples where it has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from roofline.measurement import words
from roofline.measurement.conditions import FLAGS
from roofline.reports.figures import card, color, escape, kind_color, layout, series
from roofline.reports.pages import Page, seconds
from roofline.reports.tables import Cell, Column, Table
from roofline.units import percent, significant

Plain = Mapping[str, Any]

LATENCIES = (  # key, name, colour
    ("reference_latency_s", "at reference", "measurement"),
    ("latency_s", "as timed", "muted"),
    ("kernel_latency_s", "in kernels", "compute"),
)
NONE, PLUS_MINUS = "\N{EN DASH}", "\N{PLUS-MINUS SIGN}"
SHOWN_LAYERS = 25
BAR_PX = 26
BAR_GAP = 0.3  # of what a model has of the axis
MOST_OVER = 2.0  # how far the axis of latencies goes beyond the longest at the reference state; longer bars are cut
CONVENTIONS = (
    "A sample is the time of a block of calls over their number, less what the loop and reading the clock cost. Blocks "
    "are 0.2 ms or longer.",
    "The interval is the 95 % confidence interval of the median by order statistics, which assumes no distribution. It "
    "says how well this run knows its median; what another process or day would give differs by more.",
    "At reference: each sample over how many times as long as at the machine's reference state the anchor took, the "
    "median of the anchors nearest in time. The anchor is a matrix product, a chain of convolutions and a copy; its "
    "factor is the geometric mean of the ratios of the first two to that state, with weights of 0.4 and 0.6.",
    "Samples under heavy contention are kept and marked, and are not in the medians.",
    "Models run in eval mode under torch.inference_mode, with weights and inputs drawn at random.",
)


def page(data: Plain) -> Page:
    """The page of a measurement."""
    found = data["measurements"]
    title = words.name(found[0]) if len(found) == 1 else f"{len(found)} models"
    layered = [each for each in found if each["layers"]]
    figures = {"latencies": _latencies(found)} if found else {}
    if any(each.get("samples") for each in found):
        figures["samples"] = _samples(found)
    figures.update({f"layers-{i}": _layers(each["layers"]) for i, each in enumerate(layered)})
    return Page(
        template="measure.html.j2",
        title=f"Measured: {title}",
        context={
            "title": f"{title}, measured",
            "subtitle": "; ".join(filter(None, (words.where(data), _how_all(found)))),
            "verdict": words.verdict(data),
            "tiles": _tiles(data),
            "two_latencies": words.TWO_LATENCIES,
            "machine": words.machine(data),
            "remarks": list(words.remarks(data)),
            "model_table": _model_table(found) if found else None,
            "latency_height": 110 + 2 * BAR_PX * max(1, len(found)),
            "has_samples": "samples" in figures,
            "flag_table": _flag_table(found),
            "layered": [
                {"id": f"layers-{i}", "name": words.name(each), "gap": words.gap(each["layers"]),
                 "table": _layer_table(f"layer-table-{i}", each["layers"]),
                 "height": 90 + 22 * max(1, len(_slowest(each["layers"])))}
                for i, each in enumerate(layered)
            ],
            "environment_table": environment_table(words.environments(data)),
        },
        figures=figures,
        data={},
        conventions=CONVENTIONS,
        versions=data["versions"],
    )  # fmt: skip


# --- figures ----------------------------------------------------------------------------------------------------------


def _latencies(found: Sequence[Plain]) -> go.Figure:
    """Two bars a model, each with its interval, in the order of the models."""
    names = [escape(_label(found, each)) for each in found]
    kinds = [kind for kind in LATENCIES if any(each[kind[0]] is not None for each in found)]
    end_s = _end_s(found, [key for key, _, _ in kinds])
    figure = go.Figure(
        layout=layout(
            barmode="group", bargap=BAR_GAP, hovermode="closest",
            xaxis={"title": {"text": "latency, ms"}, **({"rangemode": "tozero"} if end_s is None else {
                "range": [0, end_s * 1e3]})},
            yaxis={"autorange": "reversed", "type": "category"},
        )
    )  # fmt: skip
    for number, (key, label, hue) in enumerate(kinds):
        shown = [(name, each, each[key]) for name, each in zip(names, found, strict=True) if each[key] is not None]
        medians = [summary["median"] * 1e3 for _, _, summary in shown]
        lows, highs = zip(*(summary["ci95"] for _, _, summary in shown), strict=True)
        figure.add_bar(
            orientation="h",
            name=label,
            x=medians,
            y=[name for name, _, _ in shown],
            marker={"color": color(hue)},
            error_x={
                "type": "data", "symmetric": False, "color": color("mark"), "thickness": 1.2, "width": 4,
                "array": [high * 1e3 - middle for high, middle in zip(highs, medians, strict=True)],
                "arrayminus": [middle - low * 1e3 for low, middle in zip(lows, medians, strict=True)],
            },
            hovertext=[card(f"{words.name(each)}, {label}", _summary_lines(summary)) for _, each, summary in shown],
            hoverinfo="text",
        )  # fmt: skip
        for name, _, summary in shown:
            if end_s is not None and summary["median"] > end_s:
                middle_px = BAR_PX * 2 * (1 - BAR_GAP) * ((len(kinds) - 1) / 2 - number) / len(kinds)
                figure.add_annotation(
                    text=f"{seconds(summary['median'])} \N{RIGHTWARDS ARROW}", x=end_s * 1e3, y=name, xanchor="right",
                    yshift=middle_px, showarrow=False, bgcolor=color("page"), borderpad=0, font={"size": 11},
                )  # fmt: skip
    return figure


def _end_s(found: Sequence[Plain], keys: Sequence[str]) -> float | None:
    """Where the axis of latencies ends, if a bar is so long that those at the reference state would be slivers."""
    reference_s = max(each["reference_latency_s"]["ci95"][1] for each in found)
    longest_s = max(each[key]["median"] for each in found for key in keys if each[key] is not None)
    end_s = MOST_OVER * reference_s
    return end_s if longest_s > end_s > 0 else None


def _label(found: Sequence[Plain], measurement: Plain) -> str:
    """Its name, and how it ran where another has the same."""
    same = [each for each in found if words.name(each) == words.name(measurement)]
    return words.name(measurement) if len(same) == 1 else f"{words.name(measurement)}, {measurement['mode']}"


def _summary_lines(summary: Plain) -> list[str]:
    low, high = summary["ci95"]
    return [
        f"median {seconds(summary['median'])}",
        f"95 % interval {seconds(low)} to {seconds(high)}",
        f"10th to 90th percentile {seconds(summary['p10'])} to {seconds(summary['p90'])}",
        f"{summary['n']} samples",
    ]


def _samples(found: Sequence[Plain]) -> go.Figure:
    """Each sample over its model's median at the reference state, as timed, in the order of time."""
    figure = go.Figure(
        layout=layout(
            xaxis={"title": {"text": "seconds into the session"}},
            yaxis={"title": {"text": "time of a sample / median at reference"}, "rangemode": "tozero"},
        )
    )
    for number, each in enumerate(found):
        samples, middle = each.get("samples") or (), each["reference_latency_s"]["median"] or 1.0
        figure.add_scatter(
            mode="markers",
            name=escape(_label(found, each)),
            x=[sample["at_s"] for sample in samples],
            y=[sample["wall_s"] / middle for sample in samples],
            marker={
                "size": 6,
                "color": series(number)["color"],
                "symbol": ["x" if "contended" in sample["flags"] else "circle" for sample in samples],
            },
            hovertext=[
                card(
                    f"{words.name(each)}, process {sample['process']}, round {sample['round'] + 1}",
                    [
                        f"{seconds(sample['wall_s'])} as timed",
                        f"{seconds(sample['wall_s'] / sample['factor'])} at reference",
                        f"the machine was {significant(sample['factor'])} times as slow",
                        *sample["flags"],
                    ],
                )
                for sample in samples
            ],
            hoverinfo="text",
        )
    return figure


def _slowest(layers: Plain) -> list[Plain]:
    rows = [row for row in layers["rows"] if row["latency_s"]]
    return sorted(rows, key=lambda row: -row["latency_s"])[:SHOWN_LAYERS]


def _layers(layers: Plain) -> go.Figure:
    rows = _slowest(layers)
    figure = go.Figure(
        layout=layout(
            xaxis={"title": {"text": "latency, µs"}, "rangemode": "tozero"},
            yaxis={"autorange": "reversed", "type": "category"},
            showlegend=False,
        )
    )
    figure.add_bar(
        orientation="h",
        x=[row["latency_s"] * 1e6 for row in rows],
        y=[escape(row["name"]) for row in rows],
        marker={"color": [kind_color(row["kind"]) for row in rows]},
        hovertext=[card(row["name"], [row["kind"], row["ops"], seconds(row["latency_s"])]) for row in rows],
        hoverinfo="text",
    )
    return figure


# --- tiles and tables -------------------------------------------------------------------------------------------------


def _tiles(data: Plain) -> list[dict[str, Any]]:
    found = data["measurements"]
    tiles: list[dict[str, Any]] = []
    if len(found) == 1:
        one = found[0]
        reference, timed, width = one["reference_latency_s"], one["latency_s"], words.half_width(one)
        tiles += [
            {"id": "reference", "name": "At reference", "value": seconds(reference["median"]),
             "number": reference["median"], "note": _interval(reference)},
            {"id": "timed", "name": "As timed", "value": seconds(timed["median"]), "number": timed["median"],
             "note": _interval(timed)},
            {"id": "width", "name": "Half interval", "value": NONE if width is None else f"{width * 100:.1f} %",
             "number": width or 0, "note": f"of the median, {reference['n']} samples"},
        ]  # fmt: skip
        if one["kernel_latency_s"] is not None:
            kernel = one["kernel_latency_s"]
            tiles.append({"id": "kernel", "name": "In kernels", "value": seconds(kernel["median"]),
                          "number": kernel["median"], "note": _interval(kernel)})  # fmt: skip
        tiles.append({"id": "status", "name": "Status", "value": one["status"]})
    if data["anchor"]:
        factor = data["anchor"]["factor"]["median"]
        tiles.append({"id": "factor", "name": "Machine factor", "value": significant(factor), "number": factor,
                      "note": "times as slow as at reference"})  # fmt: skip
    return tiles


def _interval(summary: Plain) -> str:
    return " to ".join(map(seconds, summary["ci95"]))


def _how_all(found: Sequence[Plain]) -> str:
    """Input, dtype and mode, if all have the same; else empty, and a column of the table has them."""
    ways = {words.how(each) for each in found}
    return ways.pop() if len(ways) == 1 else ""


def _model_table(found: Sequence[Plain]) -> Table:
    """What decides whether a figure may be used stands first; what none of the models has is left out."""
    columns = [column for column, _ in MODEL_COLUMNS]
    rows = [[cell(each) for _, cell in MODEL_COLUMNS] for each in found]
    if _how_all(found):
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    shown = [i for i in range(len(columns)) if columns[i].key not in SOMETIMES or any(r[i].text != NONE for r in rows)]
    return Table(id="models", caption="The models", columns=[columns[i] for i in shown],
                 rows=[[row[i] for i in shown] for row in rows], searchable=len(rows) > 1)  # fmt: skip


def _seconds_cell(value_s: float | None) -> Cell:
    return Cell(NONE, "") if value_s is None else Cell(seconds(value_s), value_s)


def _percent_cell(share: float | None, text: str = "") -> Cell:
    return Cell(NONE, "") if share is None else Cell(text or percent(share), share)


def _width_cell(each: Plain) -> Cell:
    width = words.half_width(each)
    return _percent_cell(width, "" if width is None else f"{width * 100:.1f} %")


SOMETIMES = ("left_out", "between_process", "kernel_latency_s")
MODEL_COLUMNS: tuple[tuple[Column, Callable[[Plain], Cell]], ...] = (
    (Column(key="model", label="model"), lambda each: Cell(words.name(each))),
    (Column(key="status", label="status", filter=True), lambda each: Cell(each["status"])),
    (Column(key="reference_latency_s", label="at reference", numeric=True),
     lambda each: _seconds_cell(each["reference_latency_s"]["median"])),
    (Column(key="interval", label="95 % interval"), lambda each: Cell(_interval(each["reference_latency_s"]))),
    (Column(key="half_width", label=PLUS_MINUS, numeric=True), _width_cell),
    (Column(key="latency_s", label="as timed", numeric=True),
     lambda each: _seconds_cell(each["latency_s"]["median"])),
    (Column(key="kernel_latency_s", label="kernels", numeric=True),
     lambda each: _seconds_cell(each["kernel_latency_s"] and each["kernel_latency_s"]["median"])),
    (Column(key="n", label="samples", numeric=True),
     lambda each: Cell(str(each["reference_latency_s"]["n"]), each["reference_latency_s"]["n"])),
    (Column(key="left_out", label="left out", numeric=True),
     lambda each: Cell(str(each["left_out"]) if each["left_out"] else NONE, each["left_out"])),
    (Column(key="between_process", label="processes", unit="differ by", numeric=True),
     lambda each: _percent_cell(each["between_process"])),
    (Column(key="cores_used", label="cores", numeric=True),
     lambda each: Cell(significant(each["cores_used"]), each["cores_used"])),
    (Column(key="p90_s", label="p90", unit="at reference", numeric=True),
     lambda each: _seconds_cell(each["reference_latency_s"]["p90"])),
    (Column(key="how", label="how"), lambda each: Cell(words.how(each))),
)  # fmt: skip


def _flag_table(found: Sequence[Plain]) -> Table | None:
    columns = (
        Column(key="model", label="model"),
        Column(key="flag", label="flag"),
        Column(key="samples", label="samples", numeric=True),
        Column(key="meaning", label="meaning", wrap=True),
    )
    rows = [
        [Cell(words.name(each)), Cell(flag), Cell(str(count), count), Cell(FLAGS.get(flag, ""))]
        for each in found
        for flag, count in each["flags"].items()
    ]
    return Table(id="flags", caption="What made samples doubtful", columns=columns, rows=rows) if rows else None


def _layer_table(id: str, layers: Plain) -> Table:
    total_s = sum(row["latency_s"] or 0.0 for row in layers["rows"]) or 1.0
    columns = (
        Column(key="layer", label="layer"),
        Column(key="kind", label="kind", filter=True),
        Column(key="ops", label="ops"),
        Column(key="latency_s", label="latency", numeric=True),
        Column(key="interval", label="95 % interval"),
        Column(key="share", label="share", numeric=True),
    )
    rows = []
    for row in layers["rows"]:
        time_s = row["latency_s"]
        rows.append(
            [
                Cell(row["name"], color=kind_color(row["kind"])),
                Cell(row["kind"]),
                Cell(row["ops"]),
                Cell(NONE if time_s is None else seconds(time_s), "" if time_s is None else time_s),
                Cell(NONE if time_s is None else " to ".join(map(seconds, row["ci95_s"]))),
                Cell(NONE, "") if time_s is None else Cell(percent(time_s / total_s), time_s / total_s),
            ]
        )
    return Table(id=id, caption="The layers, in order", columns=columns, rows=rows, searchable=True)


def environment_table(environment: Plain) -> Table:
    """The record of where something was measured, a row a value."""
    columns = (Column(key="what", label="what"), Column(key="value", label="value", wrap=True))
    return Table(id="environment", caption="Where it was measured", columns=columns,
                 rows=[[Cell(path), Cell(value)] for path, value in _flat(environment)])  # fmt: skip


def _flat(record: Plain, path: str = "") -> Iterator[tuple[str, str]]:
    """The record as dotted paths and texts; what is unknown is left out."""
    for key, value in record.items():
        at = f"{path}.{key}" if path else key
        if isinstance(value, Mapping):
            yield from _flat(value, at)
        elif isinstance(value, list) and value and isinstance(value[0], Mapping):
            yield at, "; ".join(", ".join(f"{name} {item}" for name, item in each.items()) for each in value)
        elif isinstance(value, list):
            yield at, ", ".join(map(str, value))
        elif value is not None:
            yield at, str(value)
