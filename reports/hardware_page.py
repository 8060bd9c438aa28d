"""The page of a list of devices: peak over bandwidth, ridge points as diagonals, and every figure with its source.

A dot is a device at a dtype, and so is a row. Python draws them for each choice of dtypes; the page's script
(`hardware.js`) shows the choice that the reader picks, and names as many dots as there is room for.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, get_args

import plotly.graph_objects as go

from roofline import hardware_words as words
from roofline.hardware import DTYPES, DeviceClass, Hardware
from roofline.hardware_list import HardwareList, basis
from roofline.reports.figures import card, color, escape, layout, log_axis, log_limits
from roofline.reports.pages import Page
from roofline.reports.tables import Cell, Column, Table
from roofline.units import si, significant

CLASS_COLORS: Mapping[str, str] = {
    "cpu": "series-0", "gpu": "series-1", "npu": "series-2", "dsp": "series-7", "edgetpu": "series-4",
    "abstract": "muted",
}  # fmt: skip
SYMBOLS: Mapping[str, str] = {  # by what the figures are; see `basis`
    "datasheet": "circle", "derived": "circle", "estimate": "circle-open", "fitted": "diamond", "measured": "diamond",
}  # fmt: skip
RIDGE_POINTS = (0.1, 1.0, 10.0, 100.0, 1000.0, 10_000.0)  # MACs/byte, of the diagonals
DOT_PX = 10
DEFAULT, EVERY = "default", "every"
HOVER_CHARACTERS, HOVER_LINES = 48, 3  # of a source beside its dot; the table has all of it
NAMED = 12  # as many devices Python names in the figure; the page's script names those that have room
NONE = "\N{EN DASH}"


class Dot(NamedTuple):
    """A device at a dtype.

    Attributes:
        item: Its row in the table.
        device: What stands there.
        dtype: Of its peak.
    """

    item: int
    device: Hardware
    dtype: str

    @property
    def kind(self) -> str:
        """What its figures are."""
        return basis(self.device, self.dtype)


def page(data: Mapping[str, Any]) -> Page:
    """The page of a list of devices."""
    listed = HardwareList.from_dict(data)
    dots = list(_dots(listed))
    limits = _limits(dots)
    choices = _choices(dots, listed.dtype)
    first = next(iter(choices))
    title = listed.devices[0].name if len(listed.devices) == 1 else f"{len(listed.devices)} hardware profiles"
    return Page(
        template="hardware.html.j2",
        title=title,
        context={
            "verdict": listed.verdict(),
            "choices": {choice: _choice_name(choice) for choice in choices},
            "classes": [{"name": name, "color": _class_color(name)} for name in _classes(listed)],
            "profile_table": _profile_table(dots),
            "figure_table": _figure_table(listed),
            "formulas": [(device.id, f"{words.formula(device)} {words.defaults(device)}") for device in listed.devices],
            "notes": [(device.id, device.notes) for device in listed.devices if device.notes],
        },
        figures={"map": _map(choices[first], limits)},
        data={
            "first": first,
            "dots": {choice: [trace.to_plotly_json() for trace in _traces(some)] for choice, some in choices.items()},
            "cards": [_card(dot) for dot in dots],
        },
        script="hardware.js",
        conventions=(
            "Peaks are dense multiply-accumulates; 1 MAC = 2 FLOPs. SI prefixes are decimal: 1 GB/s is 1e9 bytes/s.",
            "Ridge point: peak / memory bandwidth, in MACs/byte. A layer that does fewer MACs for each byte that it "
            "moves is memory-bound on that device.",
            "Figures are datasheet (printed by the vendor; second-hand where a third party is quoted), derived "
            "(arithmetic on such), fitted (so that predictions meet latencies), measured (on the device) or estimate "
            "(none of these). A row names the kind that decides what a time is: from fitted or measured figures a "
            "prediction, from all others a bound.",
        ),
        versions=data["versions"],
    )


def _dots(listed: HardwareList) -> Iterator[Dot]:
    pairs = [(device, dtype) for device in listed.devices for dtype in device.peak_macs_per_s]
    for item, (device, dtype) in enumerate(pairs):
        yield Dot(item, device, dtype)


def _choices(dots: Sequence[Dot], dtype: str | None) -> dict[str, list[Dot]]:
    """The dots of each choice of dtypes; the one that was asked for first."""
    known = [*DTYPES, *dict.fromkeys(dot.dtype for dot in dots if dot.dtype not in DTYPES)]
    chosen = {
        DEFAULT: [dot for dot in dots if dot.dtype == dot.device.default_dtype],
        **{name: [dot for dot in dots if dot.dtype == name] for name in known},
        EVERY: list(dots),
    }
    return {name: chosen[name] for name in ([dtype] if dtype else []) + list(chosen) if chosen[name]}


def _choice_name(choice: str) -> str:
    return {DEFAULT: "each profile's default", EVERY: "every dtype"}.get(choice, choice)


def _classes(listed: HardwareList) -> list[str]:
    present = {device.device_class for device in listed.devices}
    return [name for name in get_args(DeviceClass) if name in present]


def _class_color(name: str) -> str:
    return color(CLASS_COLORS.get(name, "muted"))


# --- tables -----------------------------------------------------------------------------------------------------------


def _profile_table(dots: Sequence[Dot]) -> Table:
    ids = [dot.device.id for dot in dots]
    rows = [
        [
            Cell(dot.device.id, color=_class_color(dot.device.device_class)),
            Cell(dot.device.name),
            Cell(dot.device.device_class),
            Cell(dot.dtype),
            Cell(si(peak := dot.device.peak(dot.dtype)), peak),
            Cell(si(dot.device.bandwidth_bytes_per_s), dot.device.bandwidth_bytes_per_s),
            Cell(significant(point := dot.device.ridge_point(dot.dtype)), point),
            Cell(dot.kind or NONE),
            Cell(dot.device.latency_kind(dot.dtype)),
        ]
        for dot in dots
    ]
    return Table(
        id="profiles", caption="Hardware profiles, a row for each dtype",
        columns=(
            Column(key="id", label="profile"),
            Column(key="name", label="device", wrap=True),
            Column(key="class", label="class", filter=True),
            Column(key="dtype", label="dtype"),
            Column(key="peak_macs_per_s", label="peak", unit="MACs/s", numeric=True),
            Column(key="bandwidth_bytes_per_s", label="bandwidth", unit="bytes/s", numeric=True),
            Column(key="ridge_point_macs_per_byte", label="ridge point", unit="MACs/byte", numeric=True),
            Column(key="figures", label="figures", filter=True),
            Column(key="latency_kind", label="a time is a", filter=True),
        ),
        rows=rows, sorted_by="id" if ids == sorted(ids) else "", ascending=True, searchable=True, linked=True,
    )  # fmt: skip


def _figure_table(listed: HardwareList) -> Table:
    """Every figure of every device, with its source."""
    rows = [
        [
            Cell(device.id, color=_class_color(device.device_class)),
            Cell(words.name(path)),
            Cell(words.value(path, number).replace(" us", " µs"), number),
            Cell(_kind(device, path)),
            Cell(_source(device, path)),
        ]
        for device in listed.devices
        for path, number, _ in words.figures(device)
    ]
    columns = (
        Column(key="id", label="profile"),
        Column(key="figure", label="figure", filter=True),
        Column(key="value", label="value", numeric=True),
        Column(key="kind", label="kind", filter=True),
        Column(key="source", label="source", wrap=True),
    )
    return Table(id="figures", caption="Every figure and its source", columns=columns, rows=rows, searchable=True)


def _kind(device: Hardware, path: str) -> str:
    return words.kind(device.figures.get(path), NONE)


def _source(device: Hardware, path: str) -> str:
    figure = device.figures.get(path)
    return figure.source if figure else NONE


# --- the map ----------------------------------------------------------------------------------------------------------


class Limits(NamedTuple):
    """The ends of both axes, the same for every choice of dtypes, so that a change of it moves only dots."""

    low: float
    high: float
    bottom: float
    top: float


def _limits(dots: Sequence[Dot]) -> Limits:
    low, high = log_limits(dot.device.bandwidth_bytes_per_s for dot in dots)
    bottom, top = log_limits(dot.device.peak(dot.dtype) for dot in dots)
    return Limits(low, high, bottom, top)


def _map(dots: Sequence[Dot], limits: Limits) -> go.Figure:
    """One dot a device and dtype, in the colour of its class; as the script does it, with what is beside each dot."""
    traces = _traces(dots)
    for trace in traces:
        trace.hovertext = [_card(dot) for dot in dots if dot.device.device_class == trace.name]
    named = dots if len(dots) <= NAMED else ()
    return go.Figure(
        data=[*(_diagonal(point, limits) for point in RIDGE_POINTS), *traces, _names(named)],
        layout=layout(
            showlegend=False, meta={"legend in pictures": True}, margin={"l": 8, "r": 12, "t": 16, "b": 8},
            xaxis=log_axis("memory bandwidth, bytes/s", range=[math.log10(limits.low), math.log10(limits.high)]),
            yaxis=log_axis("peak, MACs/s", range=[math.log10(limits.bottom), math.log10(limits.top)]),
            annotations=[label for point in RIDGE_POINTS for label in _diagonal_labels(point, limits)],
        ),
    )  # fmt: skip


def _traces(dots: Sequence[Dot]) -> list[go.Scatter]:
    by_class = {name: [dot for dot in dots if dot.device.device_class == name] for name in get_args(DeviceClass)}
    return [_class_dots(name, some) for name, some in by_class.items() if some]


def _class_dots(name: str, dots: Sequence[Dot]) -> go.Scatter:
    return go.Scatter(
        x=[dot.device.bandwidth_bytes_per_s for dot in dots], y=[dot.device.peak(dot.dtype) for dot in dots],
        mode="markers", name=name, customdata=[dot.item for dot in dots], hoverinfo="text",
        marker={
            "color": _class_color(name), "size": DOT_PX,
            "symbol": [SYMBOLS.get(dot.kind, "circle-open") for dot in dots],
            "line": {"width": 1.5, "color": _class_color(name)},
        },
        meta={"role": "dots", "class": name, "names": [dot.device.id for dot in dots]},
    )  # fmt: skip


def _names(dots: Sequence[Dot]) -> go.Scatter:
    """A trace of its own, of named dots alone: plotly does not draw a text that was empty when it drew last."""
    return go.Scatter(
        x=[dot.device.bandwidth_bytes_per_s for dot in dots], y=[dot.device.peak(dot.dtype) for dot in dots],
        text=[escape(dot.device.id) for dot in dots], textposition="top center", hoverinfo="skip",
        textfont={"size": 11, "color": color("muted")}, showlegend=False, meta={"role": "names"},
        mode="markers+text", marker={"size": DOT_PX, "color": "rgba(0,0,0,0)"},  # as large as the dot, to keep off it
    )  # fmt: skip


def _card(dot: Dot) -> str:
    device, dtype = dot.device, dot.dtype
    paths = {
        f"peak_macs_per_s.{dtype}": device.peak(dtype),
        "bandwidth_bytes_per_s": device.bandwidth_bytes_per_s,
    }
    told = [
        f"{words.name(path)}: {words.value(path, number)} ({_kind(device, path)})" for path, number in paths.items()
    ]
    sources = [line for source in dict.fromkeys(_source(device, path) for path in paths) for line in _clipped(source)]
    return card(
        device.name,
        (
            f"{device.id}, {device.device_class}", *told,
            f"ridge point: {significant(device.ridge_point(dtype))} MACs/byte",
            f"a time at {dtype} is a {device.latency_kind(dtype)}", *sources,
        ),
    )  # fmt: skip


def _clipped(text: str) -> list[str]:
    return textwrap.wrap(text, HOVER_CHARACTERS, max_lines=HOVER_LINES, placeholder=" \N{HORIZONTAL ELLIPSIS}")


def _diagonal(point: float, limits: Limits) -> go.Scatter:
    """Where the ridge point is the same, far beyond the axes on either side."""
    ends = [limits.low / 1e6, limits.high * 1e6]
    return go.Scatter(
        x=ends, y=[point * end for end in ends], mode="lines", hoverinfo="skip", showlegend=False,
        line={"color": color("muted"), "width": 1, "dash": "dot"}, opacity=0.6,
        meta={"role": "ridge", "ridge point": point},
    )  # fmt: skip


def _diagonal_labels(point: float, limits: Limits) -> Iterator[dict[str, Any]]:
    """Where a diagonal leaves the axes at the top or at the right, in words and for a phone; none for one outside."""
    over_the_top = point * limits.high > limits.top
    x = limits.top / point if over_the_top else limits.high
    if x <= limits.low * 1.3 or x * point <= limits.bottom * 1.3:
        return
    place = {
        "x": math.log10(x), "y": math.log10(x * point), "showarrow": False, "xanchor": "right",
        "yanchor": "top" if over_the_top else "bottom", "font": {"size": 11, "color": color("muted")},
    }  # fmt: skip
    yield {**place, "text": f"{significant(point)} MACs/byte", "name": "wide"}
    yield {**place, "text": significant(point), "name": "narrow", "visible": False}
