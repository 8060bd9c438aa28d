"""The page of a what-if: the iso-latency curve of a target, what the latency answers to, and other ways to run it.

Everything is drawn from the plain data of `WhatIf.to_dict`. The page's script (`whatif.js`) has the same piecewise
linear functions as `roofline.response`, to draw the curve of any other target.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go

from roofline import whatif_words as words
from roofline.reports.figures import bound_symbol, card, color, escape, kind_color, layout, log_axis
from roofline.reports.pages import Device, Page, seconds, shape
from roofline.reports.tables import Cell, Column, Table
from roofline.response import Times
from roofline.units import si, significant

Plain = Mapping[str, Any]
Point = tuple[float, float]

TIMES, MINUS, NONE = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}", "\N{EN DASH}"
RAYS, END_DECADES = 160, 3  # points of a curve beside its knees, and how far beyond the last of these it is drawn
FACTORS = (1 / 8, 64)  # of the figure that lets a rate grow
FACTOR_STEPS = 90
SHOWN_LAYERS = 12
WITHIN_COLORS = {"yes": "better", "possible": "bound", "no": "worse"}
WAY_SYMBOLS = {"peak": "triangle-up", "bandwidth": "triangle-right", "both": "square", "cheapest": "star-diamond"}
GROUPS = {"dtype": "Dtype", "batch": "Batch", "input": "Input size", "fusion": "Fusion"}
QUANTITY_COLORS = {
    "peak": "compute",
    "bandwidth": "memory",
    "weight_bandwidth": "pointwise_conv",
    "vector_rate": "activation",
    "layer_overhead": "muted",
    "inference_overhead": "reduce",
}


def page(data: Plain) -> Page:
    """The page of a what-if."""
    analysis = data["analysis"]
    model, hardware = analysis["model"], analysis["hardware"]
    times = _times(analysis)
    goal_s = _goal(data)
    return Page(
        template="whatif.html.j2",
        title=f"What if: {model['name']} on {hardware['name']}",
        context={
            "title": f"{model['name']} on {hardware['name']}: what if",
            "subtitle": _subtitle(analysis),
            "verdict": data["verdict"],
            "answers": data["answers"],
            "tiles": _tiles(data),
            "has_target": data["target_s"] is not None,
            "has_weights": any(item["quantity"] == "weight_bandwidth" for item in data["elasticities"]),
            "dtype": hardware["dtype"],
            "profile_count": len(data["profiles"]),
            "can_ask": bool(analysis["layers"]) and analysis["totals"]["latency_s"] > 0,
            "way_table": _way_table(data),
            "profile_table": _profile_table(data),
            "elasticity_table": _elasticity_table(data),
            "elasticity_height": 80 + 34 * max(1, len(data["elasticities"])),
            "response_table": _response_table(times),
            "alternative_table": _alternative_table(data),
            "alternative_height": 70 + 22 * max(1, sum(not other["skipped"] for other in data["alternatives"])),
            "layer_table": _layer_table(data),
            "saving_height": 90 + 30 * max(1, len(_best(data))),
            "notes": data["notes"],
        },
        figures={
            "iso": _iso(data),
            "response": _response(times, goal_s if data["target_s"] is not None else None),
            "elasticity": _elasticity(data),
            "alternatives": _alternatives(data),
            "savings": _savings(data),
        },
        data={
            "layers": {
                "name": [layer["name"] for layer in analysis["layers"]],
                "mac_s": times.mac_s.tolist(),
                "vector_s": times.vector_s.tolist(),
                "mem_s": times.mem_s.tolist(),
            },
            "add": times.add,
            "overhead_s": times.overhead_s,
            "peak": hardware["peak_macs_per_s"],
            "bandwidth": hardware["bandwidth_bytes_per_s"],
            "latency_s": analysis["totals"]["latency_s"],
            "latency_kind": analysis["latency_kind"],
            "target_s": data["target_s"],
            "ways": words.WAYS,
            "curve": {"rays": RAYS, "end_decades": END_DECADES},
            "symbols": WAY_SYMBOLS,
            "colors": WITHIN_COLORS,
            "profiles": [
                {key: profile[key] for key in ("id", "name", "latency_s", "latency_kind")}
                for profile in data["profiles"]
            ],
            "alternatives": [
                {
                    "name": words.in_words(other["group"], other["name"]),
                    "latency_s": other["latency_s"],
                    "latency_kind": other["latency_kind"],
                    "is_present": other["is_present"],
                }
                for other in data["alternatives"]
            ],
        },
        script="whatif.js",
        devices=[Device(name=hardware["name"], figures=hardware["figures"])],
        conventions=analysis.get("conventions", ()),
        not_counted=[*_uncounted(analysis), *analysis.get("left_out", ())],
        versions=data["versions"],
    )


def _times(analysis: Plain) -> Times:
    """The times of the layers, as `Times.of` has them; those of weights are in those of all bytes."""
    hardware, layers = analysis["hardware"], analysis["layers"]

    def column(key: str) -> np.ndarray[Any, np.dtype[np.float64]]:
        return np.array([layer[key] for layer in layers], dtype=np.float64)

    rate = hardware.get("vector_ops_per_s")
    started = len(layers) if hardware.get("overhead_layers", "all") == "all" else int((column("macs") > 0).sum())
    return Times(
        mac_s=column("mac_time_s"),
        vector_s=column("vector_ops") / (rate or math.inf),
        mem_s=column("mem_time_s"),
        weight_s=np.zeros(len(layers)),
        add=hardware.get("combine") == "add",
        layers_overhead_s=started * hardware.get("layer_overhead_s", 0.0),
        inference_overhead_s=hardware.get("inference_overhead_s", 0.0),
    )


def _goal(data: Plain) -> float:
    """The target; without one, the present latency."""
    return float(data["analysis"]["totals"]["latency_s"] if data["target_s"] is None else data["target_s"])


# --- numbers in words -------------------------------------------------------------------------------------------------


def _subtitle(analysis: Plain) -> str:
    sizes = analysis["model"]["input_shape"]
    several = sizes if sizes and isinstance(sizes[0], list) else [sizes]
    fused = "unfused" if analysis["fusion"] == "none" else f"{analysis['fusion']} fusion"
    return ", ".join((" and ".join(map(shape, several)), analysis["hardware"]["dtype"], fused))


def _uncounted(analysis: Plain) -> Iterator[str]:
    for op in analysis["uncounted_ops"]:
        yield f"The work of {op['name']} ({op['calls']}{TIMES}), which no rule knows; its bytes are counted."


def _name_of(quantity: str) -> str:
    return words.FIGURES.get(quantity, (quantity, ""))[0]


def _figure_of(item: Plain) -> str:
    """The figure itself, as people read it."""
    if item["quantity"] in words.OVERHEADS:
        return seconds(item["value"])
    return si(item["value"], words.FIGURES.get(item["quantity"], ("", ""))[1])


def _factor(value: float | None) -> str:
    return NONE if value is None else f"{significant(value)}{TIMES}"


def _signed(value: float) -> str:
    return words.signed(value).replace("-", MINUS)


def _tiles(data: Plain) -> list[dict[str, Any]]:
    analysis = data["analysis"]
    latency_s = analysis["totals"]["latency_s"]
    tiles = [
        {"id": "latency", "name": "Latency", "value": seconds(latency_s), "number": latency_s,
         "kind": analysis["latency_kind"]},
    ]  # fmt: skip
    if data["target_s"] is not None:
        ratio = latency_s / data["target_s"]
        tiles.append(
            {"id": "target", "name": "Target", "value": seconds(data["target_s"]), "number": data["target_s"],
             "note": f"the latency is {significant(ratio)}{TIMES} that"}
        )  # fmt: skip
    for item in data["elasticities"]:
        name = _name_of(item["quantity"])
        tiles.append(
            {"id": f"elasticity-{item['quantity']}", "name": f"{name[:1].upper()}{name[1:]}",
             "value": _signed(item["better"]), "number": item["better"], "note": "elasticity of the latency"}
        )  # fmt: skip
    for item in data["elasticities"][:2]:
        tiles.append(
            {"id": f"limit-{item['quantity']}", "name": f"Infinite {_name_of(item['quantity'])}",
             "value": seconds(item["limit_latency_s"]), "number": item["limit_latency_s"], "note": "would be left"}
        )  # fmt: skip
    return tiles


def _percent(share: float) -> str:
    return words._percent(share)


# --- tables -----------------------------------------------------------------------------------------------------------


def _way_table(data: Plain) -> Table:
    """The ways to the target; `whatif.js` fills it anew when that moves."""
    columns = (
        Column(key="way", label="by"),
        Column(key="peak_macs_per_s", label="peak", unit="MACs/s", numeric=True),
        Column(key="peak_factor", label="peak", unit="of the present", numeric=True),
        Column(key="bandwidth_bytes_per_s", label="bandwidth", unit="bytes/s", numeric=True),
        Column(key="bandwidth_factor", label="bandwidth", unit="of the present", numeric=True),
    )
    rows = [[Cell(words.WAYS.get(way["name"], way["name"])), *_way_cells(way)] for way in data["ways"]]
    return Table(id="ways", caption="The smallest peak and bandwidth that reach the target", columns=columns, rows=rows)


def _way_cells(way: Plain) -> Iterator[Cell]:
    """Figures and factors, rounded up, so that they are enough."""
    for factor, value in (("peak_factor", "peak_macs_per_s"), ("bandwidth_factor", "bandwidth_bytes_per_s")):
        if way["peak_factor"] is None or way["bandwidth_factor"] is None:
            yield Cell("not enough" if way["name"] in (value.partition("_")[0], "both") else NONE, "")
            yield Cell(NONE, "")
        elif way[factor] in (0, 1):
            yield Cell(si(way[value]) if way[factor] else "any", way[value])
            yield Cell(f"{way[factor]:g}{TIMES}", way[factor])
        else:
            yield Cell(si(words.at_least(way[value])), way[value])
            yield Cell(f"{significant(words.at_least(way[factor]))}{TIMES}", way[factor])


def _profile_table(data: Plain) -> Table:
    goal_s = _goal(data)
    columns = (
        Column(key="profile", label="profile"),
        Column(key="latency_s", label="latency", numeric=True),
        Column(key="latency_kind", label="is a", filter=True),
        Column(key="within", label="within the target", filter=True),
        Column(key="peak_macs_per_s", label="peak", unit="MACs/s", numeric=True),
        Column(key="bandwidth_bytes_per_s", label="bandwidth", unit="bytes/s", numeric=True),
        Column(key="name", label="device"),
    )
    rows = [
        [
            Cell(profile["id"]),
            Cell(seconds(profile["latency_s"]), profile["latency_s"]),
            Cell(profile["latency_kind"]),
            Cell(_within(profile, goal_s)),
            Cell(si(profile["peak_macs_per_s"]), profile["peak_macs_per_s"]),
            Cell(si(profile["bandwidth_bytes_per_s"]), profile["bandwidth_bytes_per_s"]),
            Cell(profile["name"]),
        ]
        for profile in data["profiles"]
    ]
    return Table(
        id="profiles", caption="The bundled profiles, and the latency of this model on each", columns=columns,
        rows=rows, searchable=True, linked=True,
    )  # fmt: skip


def _elasticity_table(data: Plain) -> Table:
    latency_s = data["analysis"]["totals"]["latency_s"] or 1.0
    columns = (
        Column(key="quantity", label="figure"),
        Column(key="value", label="now", numeric=True),
        Column(key="better", label="elasticity", unit="as it improves", numeric=True),
        Column(key="worse", label="elasticity", unit="as it gets worse", numeric=True),
        Column(key="step_latency_s", label="10 % better", numeric=True),
        Column(key="limit_latency_s", label="at best", numeric=True),
        Column(key="knee_factor", label="next knee", numeric=True),
        Column(key="meaning", label="in words", wrap=True),
    )
    rows = [
        [
            Cell(_name_of(item["quantity"])),
            Cell(_figure_of(item), item["value"]),
            Cell(_signed(item["better"]), item["better"]),
            Cell(_signed(item["worse"]), item["worse"]),
            Cell(f"{MINUS}{_percent(1 - item['step_latency_s'] / latency_s)}", item["step_latency_s"]),
            Cell(seconds(item["limit_latency_s"]), item["limit_latency_s"]),
            Cell(_factor(item["knee_factor"]), "" if item["knee_factor"] is None else item["knee_factor"]),
            Cell(item["meaning"]),
        ]
        for item in data["elasticities"]
    ]
    return Table(id="elasticities", caption="What the latency answers to", columns=columns, rows=rows)


def _response_table(times: Times) -> Table:
    factors = [0.5, 1, 1.1, 1.5, 2, 4, 8, 16, 32, 64]
    columns = [
        Column(key="factor", label="factor", numeric=True),
        *(Column(key=f"{name}_latency_s", label=label, numeric=True) for name, label, _ in RESPONSES),
    ]
    found = [response.latency_s(factors).tolist() for response in _responses(times)]
    rows = [
        [Cell(f"{significant(factor)}{TIMES}", factor), *(Cell(seconds(column[i]), column[i]) for column in found)]
        for i, factor in enumerate(factors)
    ]
    return Table(id="responses", caption="Latency as rates grow by a factor", columns=columns, rows=rows)


def _alternative_table(data: Plain) -> Table:
    goal_s = _goal(data)
    columns = (
        Column(key="name", label="run it as"),
        Column(key="image_latency_s", label="latency", unit="of an image", numeric=True),
        Column(key="ratio", label="ratio", unit="to the present", numeric=True),
        Column(key="latency_s", label="latency", unit="of a pass", numeric=True),
        Column(key="within", label="within the target", filter=True),
        Column(key="top1_percent", label="top-1", unit="%", numeric=True),
        Column(key="group", label="what is changed", filter=True),
        Column(key="what_changes", label="for one image", wrap=True),
    )
    rows = []
    for other in data["alternatives"]:
        image_s, ratio, top1 = other["image_latency_s"], other["ratio"], other["top1"]
        rows.append(
            [
                Cell(words.in_words(other["group"], other["name"])),
                Cell(NONE if image_s is None else seconds(image_s), "" if image_s is None else image_s),
                Cell(_factor(ratio), "" if ratio is None else ratio),
                Cell(NONE if image_s is None else seconds(other["latency_s"]),
                     "" if image_s is None else other["latency_s"]),
                Cell(_within(other, goal_s)),
                Cell(NONE if top1 is None else f"{top1:.1f}", "" if top1 is None else top1),
                Cell(GROUPS.get(other["group"], other["group"])),
                Cell(other["what_changes"]),
            ]
        )  # fmt: skip
    return Table(
        id="alternatives", caption="Other ways to run the model on this device", columns=columns, rows=rows,
        searchable=True,
    )  # fmt: skip


def _layer_table(data: Plain) -> Table:
    latency_s = data["analysis"]["totals"]["latency_s"] or 1.0
    most = max((max(layer["half_bytes_s"], layer["half_macs_s"]) for layer in data["layers"]), default=0.0) or 1.0
    columns = (
        Column(key="name", label="layer"),
        Column(key="kind", label="kind", filter=True),
        Column(key="bound", label="bound", filter=True),
        Column(key="latency_s", label="time", numeric=True),
        Column(key="most_saved_s", label="the larger", unit="of the two savings", numeric=True),
        Column(key="half_bytes_s", label="half its bytes", unit="would save", numeric=True),
        Column(key="half_macs_s", label="half its MACs", unit="would save", numeric=True),
        Column(key="share", label="the larger", unit="of the latency", numeric=True),
    )
    rows = []
    for layer, row in zip(data["layers"], data["analysis"]["layers"], strict=True):
        saved_s = max(layer["half_bytes_s"], layer["half_macs_s"])
        rows.append(
            [
                Cell(layer["name"]),
                Cell(layer["kind"], color=kind_color(layer["kind"])),
                Cell(row["bound"]),
                Cell(seconds(layer["latency_s"]), layer["latency_s"]),
                Cell(seconds(saved_s), saved_s, share=saved_s / most),
                Cell(seconds(layer["half_bytes_s"]), layer["half_bytes_s"]),
                Cell(seconds(layer["half_macs_s"]), layer["half_macs_s"]),
                Cell(_percent(saved_s / latency_s), saved_s / latency_s),
            ]
        )
    rows.sort(key=lambda cells: -float(cells[4].value or 0.0))
    return Table(
        id="layers", caption="What smaller layers would save", columns=columns, rows=rows, sorted_by="most_saved_s",
        searchable=True,
    )  # fmt: skip


# --- figures ----------------------------------------------------------------------------------------------------------


def _curve(times: Times, target_s: float) -> list[Point]:
    """Factors of peak and bandwidth along an iso-latency curve, from a large peak to a large bandwidth.

    Each lies on a ray of one ratio of the two, so that the points are evenly spaced on logarithmic axes; `whatif.js`
    draws the same.
    """
    ratios = [m / q for m, q in zip(times.mac_s.tolist(), times.mem_s.tolist(), strict=True) if m and q] or [1.0]
    ends = max(ratios) * 10**END_DECADES, min(ratios) / 10**END_DECADES
    points = []
    for ray in sorted({*np.geomspace(*ends, RAYS).tolist(), *ratios}, reverse=True):
        along = times.scaled(peak=ray).response("peak", "bandwidth").factor_for(target_s)
        if along:
            points.append((along * ray, along))
    return points


def _iso(data: Plain) -> go.Figure:
    """All peaks and bandwidths that take one latency, and where devices stand beside them."""
    analysis, goal_s = data["analysis"], _goal(data)
    hardware, times = analysis["hardware"], _times(analysis)
    peak, bandwidth = hardware["peak_macs_per_s"], hardware["bandwidth_bytes_per_s"]
    latency_s = analysis["totals"]["latency_s"]
    knees = (data["iso_latency"] or {"points": ()})["points"]
    ways = [way for way in data["ways"] if way["peak_factor"] and way["bandwidth_factor"]]
    ways = [] if data["target_s"] is None else ways  # to the present latency, all of them lead nowhere
    x_range, y_range = _iso_ranges(data, ways)
    curves = [("present", latency_s), ("target", data["target_s"] or 0.0)]
    return go.Figure(
        data=[
            *(
                _line(name, _curve(times, target_s) if target_s else [], peak, bandwidth, target_s)
                for name, target_s in curves
            ),
            go.Scatter(
                x=[point["bandwidth_bytes_per_s"] for point in knees], y=[point["peak_macs_per_s"] for point in knees],
                mode="markers", marker={"color": color("accent"), "size": 5, "symbol": "line-ns-open"},
                hovertext=[_knee_card(point["layers"]) for point in knees], hoverinfo="text",
                meta={"role": "knees"}, showlegend=False,
            ),
            _profile_dots(data, goal_s),
            go.Scatter(
                x=[way["bandwidth_bytes_per_s"] for way in ways], y=[way["peak_macs_per_s"] for way in ways],
                mode="markers", hoverinfo="text",
                hovertext=[card(words.WAYS.get(way["name"], way["name"]), [way["meaning"]]) for way in ways],
                marker={"size": 11, "color": color("page"), "line": {"width": 2, "color": color("accent")},
                        "symbol": [WAY_SYMBOLS.get(way["name"], "circle") for way in ways]},
                meta={"role": "ways"}, showlegend=False,
            ),
            go.Scatter(
                x=[bandwidth], y=[peak], mode="markers+text", text=[escape(hardware["id"])],
                textposition="bottom right", hoverinfo="text", cliponaxis=False,
                hovertext=[card(hardware["name"], [f"{si(peak, 'MAC/s')}, {si(bandwidth, 'B/s')}",
                                                   f"{seconds(latency_s)} ({analysis['latency_kind']})"])],
                marker={"size": 14, "color": color("mark"), "symbol": "x"}, textfont={"size": 13},
                meta={"role": "present"}, showlegend=False,
            ),
        ],
        layout=layout(
            showlegend=True, margin={"l": 8, "r": 12, "t": 30, "b": 8},
            xaxis=log_axis("memory bandwidth, bytes/s", range=x_range),
            yaxis=log_axis(f"peak at {hardware['dtype']}, MACs/s", range=y_range),
        ),
    )  # fmt: skip


def _line(name: str, points: Sequence[Point], peak: float, bandwidth: float, target_s: float) -> go.Scatter:
    style = {"color": color("accent"), "width": 2.5} if name == "target" else {
        "color": color("muted"), "width": 1.5, "dash": "dash"}  # fmt: skip
    return go.Scatter(
        x=[bandwidth * b for _, b in points], y=[peak * p for p, _ in points], mode="lines", line=style,
        name=f"{seconds(target_s)}, {'the target' if name == 'target' else 'as it is'}", hoverinfo="skip",
        meta={"role": f"{name} curve"},
    )  # fmt: skip


def _iso_ranges(data: Plain, ways: Sequence[Plain]) -> tuple[list[float], list[float]]:
    """Axes that show the device, what reaches the target, and the bundled profiles about them."""
    hardware = data["analysis"]["hardware"]
    ranges = []
    for key, present in (
        ("bandwidth_bytes_per_s", hardware["bandwidth_bytes_per_s"]),
        ("peak_macs_per_s", hardware["peak_macs_per_s"]),
    ):
        shown = [present, *(way[key] for way in ways)]
        ranges.append([math.log10(min(shown)) - 0.8, math.log10(max(shown)) + 1.3])
    return ranges[0], ranges[1]


def _knee_card(layers: Sequence[str]) -> str:
    """Which layers turn at a knee of the curve; `whatif.js` words it the same way."""
    shown = [*layers[:6], *([f"and {len(layers) - 6} more"] if len(layers) > 6 else [])]
    return card(f"{len(layers)} layer{'s' if len(layers) > 1 else ''} at the ridge here", shown)


def _profile_dots(data: Plain, goal_s: float) -> go.Scatter:
    """One dot a bundled profile; its colour says whether the model on it is within the target."""
    profiles = data["profiles"]
    return go.Scatter(
        x=[profile["bandwidth_bytes_per_s"] for profile in profiles],
        y=[profile["peak_macs_per_s"] for profile in profiles],
        mode="markers", customdata=list(range(len(profiles))), hoverinfo="text",
        hovertext=[
            card(profile["name"], [
                profile["id"],
                f"{si(profile['peak_macs_per_s'], 'MAC/s')}, {si(profile['bandwidth_bytes_per_s'], 'B/s')}",
                f"{seconds(profile['latency_s'])} ({profile['latency_kind']})",
            ])
            for profile in profiles
        ],
        marker={
            "size": 8, "opacity": 0.85, "symbol": [bound_symbol(_round(profile)) for profile in profiles],
            "color": [color(WITHIN_COLORS[_within(profile, goal_s)]) for profile in profiles],
            "line": {"width": 1, "color": color("page")},
        },
        meta={"role": "profiles"}, showlegend=False,
    )  # fmt: skip


def _within(item: Plain, goal_s: float) -> str:
    return words.within(item["latency_s"], item["latency_kind"], goal_s)


def _round(profile: Plain) -> str:
    """Round where the latency is a bound, a diamond where it is a prediction."""
    return "memory" if profile["latency_kind"] == "bound" else "compute"


RESPONSES = (("peak", "peak", "compute"), ("bandwidth", "bandwidth", "memory"), ("both", "both", "text"))


def _responses(times: Times) -> list[Any]:
    return [times.response("peak"), times.response("bandwidth"), times.response("peak", "bandwidth")]


def _response(times: Times, target_s: float | None) -> go.Figure:
    """How far the latency comes down as the peak, the bandwidth or both grow."""
    factors = np.geomspace(*FACTORS, FACTOR_STEPS + 1)
    factors[np.argmin(np.abs(np.log(factors)))] = 1.0
    target, columns = target_s or 0.0, [response.latency_s(factors).tolist() for response in _responses(times)]
    ticks = [step * 10.0**decade for decade in range(-9, 3) for step in (1, 2, 5)]
    return go.Figure(
        data=[
            go.Scatter(
                x=factors.tolist(), y=column, mode="lines", name=label,
                line={"color": color(shade), "width": 2, "dash": "dot" if name == "both" else "solid"},
                hovertext=[
                    card(f"{significant(factor)}{TIMES} the {label if name != 'both' else 'peak and the bandwidth'}",
                         [seconds(latency_s)])
                    for factor, latency_s in zip(factors.tolist(), column, strict=True)
                ],
                hoverinfo="text", meta={"role": "response", "of": name},
            )
            for (name, label, shade), column in zip(RESPONSES, columns, strict=True)
        ],
        layout=layout(
            height=400, showlegend=True, margin={"l": 8, "r": 12, "t": 30, "b": 8},
            xaxis={"type": "log", "title": {"text": "times the present figure"}, "tickformat": "~g",
                   "tickvals": [1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8, 16, 32, 64],
                   "ticktext": ["1/8", "1/4", "1/2", "1", "2", "4", "8", "16", "32", "64"],
                   "range": [math.log10(FACTORS[0]), math.log10(FACTORS[1])]},
            yaxis={"type": "log", "title": {"text": "latency"}, "tickvals": ticks,
                   "ticktext": list(map(seconds, ticks))},
            shapes=[
                {"type": "line", "name": "present", "x0": 1, "x1": 1, "y0": 0, "y1": 1, "yref": "y domain",
                 "layer": "below", "line": {"color": color("line"), "width": 1}},
                {"type": "line", "name": "target", "x0": 0, "x1": 1, "xref": "x domain", "y0": target or 1,
                 "y1": target or 1, "visible": bool(target),
                 "line": {"color": color("accent"), "width": 1.5, "dash": "dash"}},
            ],
        ),
    )  # fmt: skip


def _elasticity(data: Plain) -> go.Figure:
    """The share of the latency that each figure sets, which is the size of its elasticity."""
    items = data["elasticities"]
    return go.Figure(
        data=[
            go.Bar(
                x=[abs(item["better"]) for item in items], y=[escape(_name_of(item["quantity"])) for item in items],
                orientation="h", text=[f" {_signed(item['better'])}" for item in items], textposition="outside",
                cliponaxis=False,
                hovertext=[card(_name_of(item["quantity"]), [item["meaning"]]) for item in items], hoverinfo="text",
                marker={"color": [color(QUANTITY_COLORS.get(item["quantity"], "muted")) for item in items]},
                meta={"role": "elasticity"},
            )
        ],
        layout=layout(
            showlegend=False, margin={"l": 8, "r": 50, "t": 10, "b": 8}, bargap=0.35,
            xaxis={"title": {"text": "share of the latency that it sets"}, "tickformat": ".0%", "range": [0, 1]},
            yaxis={"autorange": "reversed", "ticks": "", "ticklabelstandoff": 4, "title": None},
        ),
    )  # fmt: skip


def _alternatives(data: Plain) -> go.Figure:
    """The latency of an image, run in each of the other ways."""
    goal_s = _goal(data)
    shown = [(i, other) for i, other in enumerate(data["alternatives"]) if other["image_latency_s"] is not None]
    names = [words.in_words(other["group"], other["name"]) for _, other in shown]
    return go.Figure(
        data=[
            go.Bar(
                x=[other["image_latency_s"] for _, other in shown], y=list(range(len(shown))), orientation="h",
                hoverinfo="text", textposition="outside", cliponaxis=False,
                text=[f" {_factor(other['ratio'])}" for _, other in shown],
                hovertext=[
                    card(name, [f"{seconds(other['image_latency_s'])} an image, {seconds(other['latency_s'])} a pass",
                                other["what_changes"]])
                    for name, (_, other) in zip(names, shown, strict=True)
                ],
                marker={"color": [_alternative_color(other, goal_s) for _, other in shown]},
                meta={"role": "alternatives", "items": [i for i, _ in shown]},
            )
        ],
        layout=layout(
            showlegend=False, margin={"l": 8, "r": 50, "t": 10, "b": 8}, bargap=0.25,
            xaxis={"title": {"text": "latency of an image"}, "tickformat": "~s", "ticksuffix": "s",
                   "rangemode": "tozero"},
            yaxis={"range": [len(shown) - 0.4, -0.6], "tickvals": list(range(len(shown))), "ticks": "",
                   "ticktext": list(map(escape, names)), "ticklabelstandoff": 4, "showgrid": False},
        ),
    )  # fmt: skip


def _alternative_color(other: Plain, goal_s: float) -> str:
    if other["is_present"]:
        return color("accent")
    within = _within(other, goal_s)
    return color("muted" if within == "no" else WITHIN_COLORS[within])


def _best(data: Plain) -> list[Plain]:
    saving = [layer for layer in data["layers"] if max(layer["half_bytes_s"], layer["half_macs_s"]) > 0]
    return sorted(saving, key=lambda layer: -max(layer["half_bytes_s"], layer["half_macs_s"]))[:SHOWN_LAYERS]


def _savings(data: Plain) -> go.Figure:
    """What half the bytes and half the MACs of the layers would save that save the most."""
    layers = _best(data)
    return go.Figure(
        data=[
            go.Bar(
                x=[layer[key] for layer in layers], y=[escape(layer["name"]) for layer in layers], orientation="h",
                name=f"half its {what}", marker={"color": color(shade)}, hoverinfo="text", textposition="none",
                hovertext=[
                    card(layer["name"], [f"{layer['kind']}, {seconds(layer['latency_s'])}",
                                         f"half its {what} would save {seconds(layer[key])}"])
                    for layer in layers
                ],
                meta={"role": "saving"},
            )
            for key, what, shade in (("half_bytes_s", "bytes", "memory"), ("half_macs_s", "MACs", "compute"))
        ],
        layout=layout(
            barmode="group", bargap=0.25, margin={"l": 8, "r": 16, "t": 30, "b": 8}, legend={"traceorder": "normal"},
            xaxis={"title": {"text": "saved"}, "tickformat": "~s", "ticksuffix": "s", "rangemode": "tozero"},
            yaxis={"autorange": "reversed", "ticks": "", "ticklabelstandoff": 4, "title": None},
        ),
    )  # fmt: skip
