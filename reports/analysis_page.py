"""The page of an analysis: where its layers stand under the roofline, where the time goes, and what if.

Everything is drawn from the plain data of `Analysis.to_dict`. The page's script (`analysis.js`) has one formula, eq. 1
with the terms of the profile, to draw the same again for another peak or bandwidth.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from roofline.analysis import stage_of
from roofline.hardware import NO_TERMS, terms_in_force
from roofline.reports.figures import bound_symbol, card, color, escape, kind_color, layout, log_axis, log_limits
from roofline.reports.pages import Device, Page, seconds, shape
from roofline.reports.tables import Cell, Column, Table, layer_bytes, time_column
from roofline.units import percent, si, significant

Layer = Mapping[str, Any]

LARGEST_DOT_PX = 30
STRIP_PX, STRIP_GAP_PX, DRAWN_PX = 46, 66, 1100  # of the strip for layers without MACs, its axis, a figure in Python
ARC_STEPS, ARC_SAG = 8, 0.25  # of a line from unfused to fused traffic: its pieces, and how far it sags for its length
STAGE_NAMES = 24  # at most so many fit beside the waterfall


def page(data: Mapping[str, Any]) -> Page:
    """The page of an analysis."""
    model, hardware, layers = data["model"], data["hardware"], data["layers"]
    fused = data["fusion"] != "none"
    terms = {key: hardware.get(key, absent) for key, absent in NO_TERMS.items()}
    subtitle = ", ".join(
        (
            f"{_shapes(model['input_shape'])} on {hardware['name']}",
            hardware["dtype"],
            f"{data['fusion']} fusion" if fused else "unfused",
        )
    )
    return Page(
        template="analysis.html.j2",
        title=f"{model['name']} on {hardware['name']}",
        context={
            "model": model,
            "subtitle": subtitle,
            "verdict": data["verdict"],
            "tiles": _tiles(data),
            "hardware": hardware,
            "layer_count": len(layers),
            "zero_count": sum(not layer["macs"] for layer in layers),
            "kinds": [{"name": group["name"], "color": kind_color(group["name"])} for group in data["groups"]["kind"]],
            "by_calibration": _is_by_calibration(data),
            "fused": fused,
            "has_terms": bool(terms_in_force(terms)),
            "notes": data["notes"],
            "layer_table": _layer_table(data),
            "kind_table": _group_table(data, "kind", "Time by kind of layer"),
            "stage_table": _group_table(data, "stage", "Time by part of the network"),
        },
        figures={
            "roofline": _roofline(data),
            "course": _course(data),
            "tree": _tree(data),
            "kinds": _kinds(data["groups"]["kind"]),
        },
        data={
            "layers": {
                "name": [layer["name"] for layer in layers],
                "kind": [layer["kind"] for layer in layers],
                "stage": [stage_of(layer["name"]) for layer in layers],
                "ops": [layer["ops"] for layer in layers],
                "macs": [layer["macs"] for layer in layers],
                "vector_ops": [layer["vector_ops"] for layer in layers],
                "mac_time_s": [layer["mac_time_s"] for layer in layers],
                "mem_time_s": [layer["mem_time_s"] for layer in layers],
                "mem_bytes": [layer_bytes(layer) for layer in layers],
                "unfused_bytes": [layer["unfused_bytes"] for layer in layers],
            },
            "hardware": {
                **{key: hardware[key] for key in ("dtype", "peak_macs_per_s", "bandwidth_bytes_per_s")},
                **terms,
            },
            "latency_s": data["totals"]["latency_s"],
            "latency_kind": data["latency_kind"],
            "time": dict(zip(("scale", "unit", "decimals"), _time_column(layers), strict=True)),
            "strip": {"width_px": STRIP_PX, "gap_px": STRIP_GAP_PX},
            "arc": {"steps": ARC_STEPS, "sag": ARC_SAG},
        },
        script="analysis.js",
        devices=[Device(name=hardware["name"], figures=hardware["figures"])],
        conventions=data["conventions"],
        not_counted=[*_uncounted(data["uncounted_ops"]), *data["left_out"]],
        versions=data["versions"],
    )


# --- numbers in words -------------------------------------------------------------------------------------------------


def _is_by_calibration(data: Mapping[str, Any]) -> bool:
    """Whether the times are those of an estimator that knows this machine; an older result has none."""
    chosen = (each["estimator"] for each in data.get("estimates") or () if each["is_chosen"])
    return any(name != "roofline" for name in chosen)


def _shapes(given: Sequence[Any]) -> str:
    """One shape, or those of several inputs."""
    several = given if given and isinstance(given[0], Sequence) else [given]
    return " and ".join(shape(sizes) for sizes in several)


def _uncounted(ops: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """One line an op that no rule knows."""
    for op in ops:
        calls = "1 call" if op["calls"] == 1 else f"{op['calls']} calls"
        yield f"The work of {op['name']} ({calls}), which no rule knows; its {si(op['mem_bytes'], 'B')} are counted."


def _tiles(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The totals."""
    totals, hardware, params = data["totals"], data["hardware"], data["model"]["params"]
    memory_share = 1 - totals["compute_bound_share"] if totals["latency_s"] else 0.0
    overhead_s = _overhead(data)
    intensity = totals["operational_intensity_macs_per_byte"]

    def tile(id: str, name: str, value: str, number: float, note: str = "", kind: str = "") -> dict[str, Any]:
        return {"id": id, "name": name, "value": value, "number": number, "note": note, "kind": kind}

    tiles = [
        tile("latency", "Latency", seconds(totals["latency_s"]), totals["latency_s"], "", data["latency_kind"]),
        tile("memory", "Memory-bound", percent(memory_share), memory_share,
             "of what the layers take" if overhead_s else "of the latency"),
        tile("mac-time", "MACs at the peak", seconds(totals["mac_time_s"]), totals["mac_time_s"], "MACTime"),
        tile("mem-time", "Bytes at the bandwidth", seconds(totals["mem_time_s"]), totals["mem_time_s"], "MemTime"),
        tile("macs", "MACs", si(totals["macs"]), totals["macs"], f"{totals['macs']:,}"),
        tile("params", "Parameters", si(params), params, f"{params:,}"),
        tile("weights", "Weight traffic", si(totals["weight_bytes"], "B"), totals["weight_bytes"], "read"),
        tile("activations", "Activation traffic", si(totals["activation_bytes"], "B"), totals["activation_bytes"],
             "read and written"),
        tile("intensity", "Operational intensity", significant(intensity), intensity, "MACs/byte"),
        tile("ridge", "Ridge point", significant(hardware["ridge_point_macs_per_byte"]),
             hardware["ridge_point_macs_per_byte"], "MACs/byte"),
        tile("alive", "Activation memory", si(totals["peak_activation_bytes"], "B"),
             totals["peak_activation_bytes"], "alive at once, at most"),
    ]  # fmt: skip
    if overhead_s:
        tiles.insert(1, tile("overhead", "In no layer", seconds(overhead_s), overhead_s, "overhead of an inference"))
    if totals["energy_j"] is not None:
        tiles.append(tile("energy", "Energy", si(1e3 * totals["energy_j"], "mJ"), totals["energy_j"]))
    return tiles


def _overhead(data: Mapping[str, Any]) -> float:
    """What of the latency is in no layer, seconds; an older result may not say."""
    overhead_s: float = data["totals"].get("inference_overhead_s", 0.0)
    return overhead_s


# --- tables -----------------------------------------------------------------------------------------------------------


def _time_column(layers: Sequence[Layer]) -> tuple[float, str, int]:
    """`time_column` for the times of the layers."""
    return time_column(max((layer["latency_s"] for layer in layers), default=0.0))


def _layer_table(data: Mapping[str, Any]) -> Table:
    layers, total_s = data["layers"], data["totals"]["latency_s"] or 1.0
    longest = max((layer["latency_s"] for layer in layers), default=0.0) or 1.0
    scale, unit, decimals = _time_column(layers)
    columns = [
        Column(key="name", label="layer"),
        Column(key="number", label="#", numeric=True),
        Column(key="kind", label="kind", filter=True),
        Column(key="latency_s", label="time", unit=unit, numeric=True),
        Column(key="share", label="share", numeric=True),
        Column(key="bound", label="bound", filter=True),
        Column(key="macs", label="MACs", numeric=True),
        Column(key="operational_intensity_macs_per_byte", label="intensity", unit="MACs/byte", numeric=True),
        Column(key="weight_bytes", label="weights", unit="bytes", numeric=True),
        Column(key="activation_bytes", label="activations", unit="bytes", numeric=True),
        Column(key="unfused_bytes", label="unfused", unit="bytes", numeric=True),
        Column(key="output_shape", label="output"),
        Column(key="ops", label="ops", wrap=True),
    ]
    if data["fusion"] == "none":  # then unfused is what the layer moves
        columns = [column for column in columns if column.key != "unfused_bytes"]
    rows = []
    for number, layer in enumerate(layers, start=1):
        time_s, intensity = layer["latency_s"], layer["operational_intensity_macs_per_byte"]
        cells = {
            "name": Cell(layer["name"]),
            "number": Cell(str(number)),
            "kind": Cell(layer["kind"], color=kind_color(layer["kind"])),
            "output_shape": Cell(shape(layer["output_shape"])),
            "macs": Cell(si(layer["macs"]), layer["macs"]),
            "weight_bytes": Cell(si(layer["weight_bytes"]), layer["weight_bytes"]),
            "activation_bytes": Cell(si(layer["activation_bytes"]), layer["activation_bytes"]),
            "unfused_bytes": Cell(si(layer["unfused_bytes"]), layer["unfused_bytes"]),
            "operational_intensity_macs_per_byte": Cell(significant(intensity), intensity),
            "latency_s": Cell(f"{time_s / scale:.{decimals}f}", time_s, share=time_s / longest),
            "share": Cell(percent(time_s / total_s), time_s / total_s),
            "bound": Cell(layer["bound"]),
            "ops": Cell(layer["ops"]),
        }
        rows.append([cells[column.key] for column in columns])
    return Table(
        id="layers", caption="The layers, in order of execution", columns=columns, rows=rows,
        sorted_by="number", ascending=True, searchable=True, linked=True,
    )  # fmt: skip


def _group_table(data: Mapping[str, Any], group: str, caption: str) -> Table:
    total_s = data["totals"]["latency_s"] or 1.0
    columns = (
        Column(key="name", label=group if group == "kind" else "part"),
        Column(key="layers", label="layers", numeric=True),
        Column(key="macs", label="MACs", numeric=True),
        Column(key="mem_bytes", label="traffic", unit="bytes", numeric=True),
        Column(key="latency_s", label="time", numeric=True),
        Column(key="share", label="share", numeric=True),
        Column(key="memory_bound_share", label="memory-bound", unit="of its time", numeric=True),
    )
    rows = [
        [
            Cell(part["name"], color=kind_color(part["name"]) if group == "kind" else ""),
            Cell(str(part["layers"])),
            Cell(si(part["macs"]), part["macs"]),
            Cell(si(part["mem_bytes"]), part["mem_bytes"]),
            Cell(seconds(part["latency_s"]), part["latency_s"]),
            Cell(percent(part["latency_s"] / total_s), part["latency_s"] / total_s),
            Cell(percent(_memory_share(part)), _memory_share(part)),
        ]
        for part in data["groups"][group]
    ]
    return Table(id=f"by-{group}", caption=caption, columns=columns, rows=rows, sorted_by="latency_s")


def _memory_share(part: Mapping[str, Any]) -> float:
    share: float = part["memory_bound_s"] / part["latency_s"] if part["latency_s"] else 0.0
    return share


# --- figures ----------------------------------------------------------------------------------------------------------


def _card(layer: Layer, total_s: float) -> str:
    """What a layer's hover box says; `analysis.js` words it the same way."""
    return card(
        layer["name"],
        (
            f"{layer['kind']}: {layer['ops'].replace('+', ' + ')}",
            f"{si(layer['macs'])} MACs, {si(layer_bytes(layer), 'B')}, "
            f"{significant(layer['operational_intensity_macs_per_byte'])} MACs/byte",
            f"{seconds(layer['latency_s'])}, {percent(layer['latency_s'] / (total_s or 1.0))} of the latency, "
            f"{layer['bound']}-bound",
        ),
    )


def _roofline(data: Mapping[str, Any]) -> go.Figure:
    """One dot a layer, under the roofs of every dtype; layers without MACs stand in a strip of their own."""
    hardware, layers = data["hardware"], data["layers"]
    peak, bandwidth = hardware["peak_macs_per_s"], hardware["bandwidth_bytes_per_s"]
    ridge, used = hardware["ridge_point_macs_per_byte"], hardware["dtype"]
    with_macs = [(i, layer) for i, layer in enumerate(layers) if layer["macs"]]
    without = [(i, layer) for i, layer in enumerate(layers) if not layer["macs"]]
    start = (STRIP_PX + STRIP_GAP_PX) / DRAWN_PX if without else 0.0

    peaks = {dtype: rate for dtype, rate in hardware["peaks_macs_per_s"].items() if dtype != used} | {used: peak}
    low, high = log_limits(
        [
            *(layer["macs"] / b for _, layer in with_macs for b in (layer_bytes(layer), layer["unfused_bytes"]) if b),
            *(rate / bandwidth for rate in peaks.values()),
        ],
        above=6,
    )
    bottom, top = log_limits([*(_rate(layer) for _, layer in with_macs), *peaks.values()], above=2.5)

    traces: list[go.Scatter] = [
        go.Scatter(
            x=[low / 1e3, rate / bandwidth, high * 1e3], y=[low / 1e3 * bandwidth, rate, rate], mode="lines",
            name=f"{escape(dtype)} roof",
            line={"color": color("text" if dtype == used else "muted"), "width": 2 if dtype == used else 1,
                  "dash": "solid" if dtype == used else "dash"},
            meta={"role": "roof" if dtype == used else "other roof", "peak": rate}, hoverinfo="skip", showlegend=False,
        )
        for dtype, rate in peaks.items()
    ]  # fmt: skip
    if data["fusion"] != "none":
        xs, ys = _arcs([layer for _, layer in with_macs], peak, bandwidth)
        traces.append(
            go.Scatter(
                x=xs, y=ys, mode="lines", name="without fusion", hoverinfo="skip", showlegend=False, opacity=0.6,
                line={"color": color("muted"), "width": 1}, meta={"role": "unfused"},
            )
        )  # fmt: skip
    total_s = data["totals"]["latency_s"]
    longest = max((layer["latency_s"] for layer in layers), default=0.0) or 1.0
    dots = list(_dots(with_macs, without))
    for kind, strip, chosen in dots:
        traces.append(
            go.Scatter(
                x=[(i * 0.618034) % 1 for i, _ in chosen] if strip else [_intensity(layer) for _, layer in chosen],
                y=[i + 1 for i, _ in chosen] if strip else [_rate(layer) for _, layer in chosen],
                mode="markers", name=escape(kind), legendgroup=kind, customdata=[i for i, _ in chosen],
                hovertext=[_card(layer, total_s) for _, layer in chosen], hoverinfo="text",
                marker={
                    "color": kind_color(kind), "opacity": 0.8, "line": {"color": color("page"), "width": 1},
                    "size": [layer["latency_s"] for _, layer in chosen], "sizemode": "area", "sizemin": 3,
                    "sizeref": 2 * longest / LARGEST_DOT_PX**2,
                    "symbol": [bound_symbol(layer["bound"]) for _, layer in chosen],
                },
                cliponaxis=not strip,
                meta={"role": "dots", "kind": kind},
                showlegend=not strip or kind not in [other for other, in_strip, _ in dots if not in_strip],
                **({"xaxis": "x2", "yaxis": "y2"} if strip else {}),
            )
        )  # fmt: skip

    figure = go.Figure(
        data=traces,
        layout=layout(
            showlegend=False,
            height=520, meta={"legend in pictures": True}, margin={"l": 14, "r": 12, "t": 30, "b": 8},
            xaxis=log_axis("operational intensity, MACs/byte", domain=[start, 1],
                           range=[math.log10(low), math.log10(high)]),
            yaxis=log_axis("attained, MACs/s", anchor="x", range=[math.log10(bottom), math.log10(top)]),
            shapes=[_zone("memory", low / 1e3, ridge), _zone("compute", ridge, high * 1e3),
                    {"type": "line", "name": "ridge", "x0": ridge, "x1": ridge, "y0": 0, "y1": 1, "yref": "y domain",
                     "layer": "below", "line": {"color": color("muted"), "width": 1, "dash": "dot"}}],
            annotations=[
                _label("ridge", f"ridge point {significant(ridge)}", ridge, y=1, yref="y domain", yanchor="bottom"),
                _label("memory", "memory-bound", ridge, y=0, yref="y domain", yanchor="bottom", xanchor="right",
                       xshift=-6, font={"color": color("memory"), "size": 13}),
                _label("compute", "compute-bound", ridge, y=0, yref="y domain", yanchor="bottom", xanchor="left",
                       xshift=6, font={"color": color("compute"), "size": 13}),
                _label(f"{used} peak", f"{used} {si(peak, 'MAC/s')}", high, y=math.log10(peak), xanchor="right",
                       yanchor="bottom", yshift=2),
                *(_label("other peak", f"{', '.join(dtypes)} {si(rate, 'MAC/s')}", high, y=math.log10(rate),
                         xanchor="right", yanchor="top") for rate, dtypes in _others(peaks, used)),
            ],
        ),
    )  # fmt: skip
    if without:
        plain = {"showgrid": False, "zeroline": False, "showticklabels": False, "ticks": "", "fixedrange": True}
        figure.update_layout(
            xaxis2={**plain, "domain": [0, STRIP_PX / DRAWN_PX], "range": [-0.35, 1.35], "anchor": "y2",
                    "title": {"text": "no MACs", "font": {"size": 13}, "standoff": 8}},
            yaxis2={**plain, "range": [1 + 1.03 * len(layers), -0.03 * len(layers)], "anchor": "x2"},
        )  # fmt: skip
        figure.add_shape(type="rect", xref="x2 domain", yref="y2 domain", x0=0, x1=1, y0=0, y1=1, layer="below",
                         fillcolor=color("panel"), line={"width": 0})  # fmt: skip
    return figure


def _dots(
    with_macs: Sequence[tuple[int, Layer]], without: Sequence[tuple[int, Layer]]
) -> Iterator[tuple[str, bool, list[tuple[int, Layer]]]]:
    """Kind, whether in the strip, and the layers of each trace of dots."""
    for strip, chosen in ((False, with_macs), (True, without)):
        for kind in dict.fromkeys(layer["kind"] for _, layer in chosen):
            yield kind, strip, [(i, layer) for i, layer in chosen if layer["kind"] == kind]


def _others(peaks: Mapping[str, float], used: str) -> list[tuple[float, list[str]]]:
    """The peaks of the dtypes that were not used, with those that have it."""
    rates = dict.fromkeys(rate for dtype, rate in peaks.items() if dtype != used)
    return [(rate, [dtype for dtype in peaks if dtype != used and peaks[dtype] == rate]) for rate in rates]


def _intensity(layer: Layer) -> float:
    """MACs/byte; of a layer that moves nothing, so much that it stands at the right."""
    return float(layer["operational_intensity_macs_per_byte"]) or 1e6


def _rate(layer: Layer) -> float:
    rate: float = layer["macs"] / layer["latency_s"]
    return rate


def _arcs(layers: Iterable[Layer], peak: float, bandwidth: float) -> tuple[list[float | None], list[float | None]]:
    """Lines that sag below the roof, from where a layer would stand unfused to where it stands."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for layer in layers:
        if layer["unfused_bytes"] > layer_bytes(layer) > 0:
            left, right = layer["macs"] / layer["unfused_bytes"], _intensity(layer)
            for step in range(ARC_STEPS + 1):
                along = step / ARC_STEPS
                x = left * (right / left) ** along
                xs.append(x)
                ys.append(min(peak, bandwidth * x) * (left / right) ** (ARC_SAG * 4 * along * (1 - along)))
            xs.append(None)
            ys.append(None)
    return xs, ys


def _zone(name: str, x0: float, x1: float) -> dict[str, Any]:
    return {
        "type": "rect", "name": name, "x0": x0, "x1": x1, "y0": 0, "y1": 1, "yref": "y domain", "layer": "below",
        "fillcolor": color(f"{name}-zone"), "line": {"width": 0},
    }  # fmt: skip


def _label(name: str, text: str, x: float, **settings: Any) -> dict[str, Any]:
    given = {"yanchor": "middle", "font": {"size": 12, "color": color("muted")}, "yref": "y", **settings}
    return {"name": name, "text": escape(text), "x": math.log10(x), "showarrow": False, **given}


def _course(data: Mapping[str, Any]) -> go.Figure:
    """One bar a layer, from when it starts to when it ends; the network runs downwards."""
    layers, total_s = data["layers"], data["totals"]["latency_s"]
    times = [layer["latency_s"] for layer in layers]
    ends = [0.0, *itertools.accumulate(times)]
    parts = _parts(layers)
    named = _named(parts, len(layers))
    return go.Figure(
        data=[
            go.Bar(
                x=times, base=ends[:-1], y=list(range(1, len(layers) + 1)), orientation="h", width=1,
                marker={"color": [kind_color(layer["kind"]) for layer in layers], "line": {"width": 0}},
                customdata=list(range(len(layers))), hovertext=[_card(layer, total_s) for layer in layers],
                hoverinfo="text", textposition="none", meta={"role": "bars"},
            ),
        ],
        layout=layout(
            height=round(min(640, max(300, 2.2 * len(layers) + 80))), showlegend=False, bargap=0, hovermode="y",
            hoverdistance=40, margin={"l": 8, "r": 16, "t": 8, "b": 8},
            meta={"parts": [[first, last] for _, first, last in parts]},
            xaxis={"title": {"text": f"time from the start of the {'first layer' if _overhead(data) else 'pass'}"},
                   "tickformat": "~s", "ticksuffix": "s", "range": [0, 1.02 * (ends[-1] or 1.0)]},
            yaxis={"range": [len(layers) + 0.5, 0.5], "showgrid": False, "ticks": "",
                   "ticklabelstandoff": 4,
                   "tickvals": [(first + last) / 2 + 1 for _, first, last in named],
                   "ticktext": [escape(_short(part)) for part, _, _ in named]},
            shapes=[{"type": "rect", "layer": "below", "x0": ends[first], "x1": ends[last + 1], "y0": first + 0.5,
                     "y1": last + 1.5, "fillcolor": color("memory-zone"), "line": {"width": 0}}
                    for _, first, last in parts],
        ),
    )  # fmt: skip


def _parts(layers: Sequence[Layer]) -> list[tuple[str, int, int]]:
    """Runs of layers in one part of the network: its name, the first layer and the last."""
    runs = itertools.groupby(range(len(layers)), key=lambda number: stage_of(layers[number]["name"]))
    return [(name, run[0], run[-1]) for name, run in ((name, list(numbers)) for name, numbers in runs)]


def _named(parts: Sequence[tuple[str, int, int]], layers: int) -> list[tuple[str, int, int]]:
    """Those that have room for their name beside the waterfall, the longest runs first."""
    chosen: list[tuple[str, int, int]] = []
    for part in sorted(parts, key=lambda part: part[1] - part[2]):
        middle = (part[1] + part[2]) / 2
        if all(abs(middle - (first + last) / 2) >= layers / STAGE_NAMES for _, first, last in chosen):
            chosen.append(part)
    return sorted(chosen, key=lambda part: part[1])


def _short(name: str, length: int = 18) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"


def _tree(data: Mapping[str, Any]) -> go.Figure:
    """Modules above the layers in them, each as wide as the time it takes."""
    layers, total_s = data["layers"], data["totals"]["latency_s"] or 1.0
    paths = [tuple(layer["name"].split(".")) for layer in layers]
    times = dict.fromkeys((path[:depth] for path in paths for depth in range(len(path))), 0.0)
    for path, layer in zip(paths, layers, strict=True):
        for module in (path[:depth] for depth in range(len(path) + 1)):
            if module in times:  # a layer may have the name of a module
                times[module] += layer["latency_s"]
    nodes: dict[str, dict[str, Any]] = {}

    def add(id: str, parent: str, label: str, **fields: Any) -> None:
        nodes[id] = {"ids": id, "parents": parent, "labels": escape(label), **fields}

    def add_module(path: tuple[str, ...]) -> str:
        id = ".".join(("model", *path))
        if id not in nodes:
            parent = add_module(path[:-1]) if path else ""
            name = ".".join(path) or "the whole model"
            took = f"{seconds(times[path])}, {percent(times[path] / total_s)} of the latency"
            add(id, parent, path[-1] if path else name, values=0.0, colors=color("module"), customdata=None,
                hovertext=card(name, [took]))  # fmt: skip
        return id

    for number, (path, layer) in enumerate(zip(paths, layers, strict=True)):
        parent = add_module(path if path in times else path[:-1])
        add(f"layer {number}", parent, path[-1], values=layer["latency_s"], colors=kind_color(layer["kind"]),
            customdata=number, hovertext=_card(layer, total_s))  # fmt: skip
    columns = {key: [node[key] for node in nodes.values()] for key in next(iter(nodes.values()), {})}
    return go.Figure(
        data=[
            go.Icicle(
                **{key: column for key, column in columns.items() if key != "colors"},
                marker={"colors": columns.get("colors", []), "line": {"color": color("page"), "width": 0.5}},
                hoverinfo="text", branchvalues="remainder", sort=False, tiling={"orientation": "v", "pad": 0},
                pathbar={"visible": True}, leaf={"opacity": 1}, meta={"role": "tree"},
            )
        ] if nodes else [],
        layout=layout(
            height=380, margin={"l": 2, "r": 2, "t": 26, "b": 2}, uniformtext={"minsize": 10, "mode": "hide"}
        ),
    )  # fmt: skip


def _kinds(groups: Sequence[Mapping[str, Any]]) -> go.Figure:
    """The time of each kind, split by what sets it."""
    shown = [group for group in groups if group["latency_s"]]
    parts = {
        "memory": [group["memory_bound_s"] for group in shown],
        "compute": [group["latency_s"] - group["memory_bound_s"] for group in shown],
    }
    hovers = [
        card(
            group["name"],
            (
                f"{seconds(group['latency_s'])} in {group['layers']} layers",
                f"{percent(_memory_share(group))} of it memory-bound",
            ),
        )
        for group in shown
    ]
    return go.Figure(
        data=[
            go.Bar(
                x=times, y=[escape(group["name"]) for group in shown], orientation="h", name=f"{bound}-bound",
                marker={"color": color(bound)}, hovertext=hovers, hoverinfo="text", textposition="none",
                meta={"role": "kind", "bound": bound, "names": [group["name"] for group in shown]},
            )
            for bound, times in parts.items()
        ],
        layout=layout(
            height=90 + 34 * len(groups), barmode="stack", bargap=0.3,
            margin={"l": 8, "r": 16, "t": 30, "b": 8}, legend={"traceorder": "normal"},
            xaxis={"title": {"text": "time"}, "tickformat": "~s", "ticksuffix": "s", "rangemode": "tozero"},
            yaxis={"autorange": "reversed", "ticks": "", "ticklabelstandoff": 4, "title": None},
        ),
    )  # fmt: skip
