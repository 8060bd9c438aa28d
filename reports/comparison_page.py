"""The page of a comparison: who is the fastest, what makes the difference, and what became of each layer.

One difference at a time is drawn in full. Python makes the figures and rows of all of them; the page's script
(`comparison.js`) only puts in those of the pair that the reader picks.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import plotly.graph_objects as go

from roofline import comparison_words as words
from roofline.comparison import Comparison, Contribution, Difference, LayerChange, Side, from_dict, traits
from roofline.reports.figures import (
    bound_symbol,
    card,
    color,
    escape,
    kind_color,
    layout,
    log_axis,
    log_limits,
    series,
)
from roofline.reports.pages import Device, Page, seconds
from roofline.reports.tables import Cell, Column, Table, layer_bytes, time_column
from roofline.units import percent, si, significant

Layer = Mapping[str, Any]
Letters = Mapping[Side, str]
Point = tuple[float, float]

MINUS, TIMES, NONE = "\u2212", "\u00d7", "\u2013"
GROUPS = {"kind": "kind of layer", "stage": "part of the network"}
LARGEST_DOT_PX, ARROW_PX = 28, 8
ARC_STEPS, ARC_SAG = 8, 0.22  # of an arrow between two dots: its pieces, and how far it sags for its length in x
LABELS, LABEL_ROOM = 8, (0.2, 0.12)  # arrows that say how much, and how near, in decades, two of these may stand
HOTTEST = 40  # per cent of colour in the cell that is the slowest


def page(data: Mapping[str, Any]) -> Page:
    """The page of a comparison."""
    comparison = from_dict(data)
    letters = words.letters(comparison)
    unit = _time_column(comparison)
    pairs = [_pair(difference, letters, unit) for difference in comparison.differences]
    first, matrix = comparison.differences[0], comparison.matrix()
    return Page(
        template="comparison.html.j2",
        title=_title(comparison),
        context={
            "title": _title(comparison),
            "subtitle": _subtitle(comparison),
            "verdict": comparison.verdict(),
            "notes": words.notes(comparison, list(letters.values())),
            "tiles": _tiles(first, letters) if len(pairs) == 1 else [],
            "sides_table": _sides_table(comparison, letters),
            "heat": _heat(comparison, letters) if len(matrix.models) > 1 and len(matrix.devices) > 1 else None,
            "bars_table": _bars_table(comparison, letters),
            "bars_height": 90 + len(comparison.by("kind")) * max(30, 13 * len(comparison.sides) + 10),
            "pairs": [pair.name for pair in pairs],
            "sentence": pairs[0].sentence,
            "groups": GROUPS,
            "change_table": pairs[0].tables["kind"],
            "change_height": pairs[0].figures["kind"].layout.height,
            "layer_table": pairs[0].tables["layers"],
        },
        figures={
            "bars": _bars(comparison, letters),
            "change": pairs[0].figures["kind"],
            "roofline": pairs[0].figures["roofline"],
        },
        data={
            "labels": {letter: side.label for side, letter in letters.items()},
            "pairs": [pair.plain(first=not number) for number, pair in enumerate(pairs)],
        },
        script="comparison.js",
        devices=_devices(comparison),
        conventions=_merged(comparison, letters, "conventions"),
        not_counted=[*_uncounted(comparison, letters), *_merged(comparison, letters, "left_out")],
        versions=data["versions"],
    )


class Pair(NamedTuple):
    """What is drawn of one difference.

    Attributes:
        name: For the list of pairs.
        sentence: What the difference is, in words.
        figures: ``roofline``, and the change by ``kind`` and by ``stage``.
        tables: ``layers``, and the change by ``kind`` and by ``stage``.
    """

    name: str
    sentence: str
    figures: Mapping[str, go.Figure]
    tables: Mapping[str, Table]

    def plain(self, first: bool) -> dict[str, Any]:
        """For the script; a cell is its text, value, colour and share, as many as are given.

        Args:
            first: Whether it is the first pair, of which figures and layers stand in the page already.
        """
        tables = {name: table for name, table in self.tables.items() if not first or name != "layers"}
        figures = {name: figure for name, figure in self.figures.items() if not first or name == "stage"}
        return {
            "sentence": self.sentence,
            "figures": {name: figure.to_plotly_json() for name, figure in figures.items()},
            "rows": {name: [list(map(_trimmed, row)) for row in table.cells()] for name, table in tables.items()},
        }


def _trimmed(cell: Cell) -> list[Any]:
    values = [cell.text, cell.value, cell.color, cell.share]
    while len(values) > 1 and values[-1] in (None, ""):
        values.pop()
    return values


def _pair(difference: Difference, letters: Letters, unit: tuple[float, str, int]) -> Pair:
    old, new = difference.baseline, difference.other
    return Pair(
        name=f"{letters[new]} against {letters[old]}: {new.label} against {old.label}",
        sentence=words.of_two(difference),
        figures={
            "roofline": _roofline(difference, letters),
            **{group: _change(difference, group, letters) for group in GROUPS},
        },
        tables={
            "layers": _layer_table(difference, unit),
            **{group: _group_table(difference, group) for group in GROUPS},
        },
    )


# --- words and numbers ----------------------------------------------------------------------------------------------


def _title(comparison: Comparison) -> str:
    sides, matrix = comparison.sides, comparison.matrix()
    if len(sides) == 2:
        return f"{sides[1].label} against {sides[0].label}"
    models = matrix.models[0] if len(matrix.models) == 1 else f"{len(matrix.models)} models"
    devices = matrix.devices[0] if len(matrix.devices) == 1 else f"{len(matrix.devices)} devices"
    return f"{models} on {devices}"


def _subtitle(comparison: Comparison) -> str:
    """What all sides have in common."""
    matrix = comparison.matrix()
    common = [matrix.models[0]] if len(matrix.models) == 1 else []
    if len(matrix.devices) == 1:
        common.append(f"on {comparison.sides[0].data['hardware']['name']}")
    forms = {"dtype": "{}", "fusion": "{} fusion", "input": "input {}", "batch": "batch {}"}
    for key, form in forms.items():
        values = {str(traits(side.data)[key]) for side in comparison.sides}
        if len(values) == 1:
            (value,) = values
            common.append("unfused" if key == "fusion" and value == "none" else form.format(value.replace("x", TIMES)))
    return ", ".join(common)


def _signed(share: float | None) -> str:
    """A change as a percentage; tenths below 10 %."""
    if share is None:
        return ""
    value = abs(100 * share)
    shown = "<0.1" if 0 < value < 0.05 else f"{value:.{1 if value < 9.95 else 0}f}"
    return f"{'+' if share > 0 else MINUS}{shown} %" if share else "0 %"


def _delta(value_s: float) -> str:
    return f"{'+' if value_s > 0 else MINUS if value_s else ''}{seconds(abs(value_s))}"


def _own_change(before_s: float, after_s: float) -> float | None:
    return (after_s - before_s) / before_s if before_s else None


def _tiles(difference: Difference, letters: Letters) -> list[dict[str, Any]]:
    """Of a comparison of two."""
    old, new = difference.baseline, difference.other
    ratio = difference.ratios()["latency_s"]
    tiles = [
        {
            "id": f"latency-{name}", "name": f"Latency {letters[side]}", "value": seconds(side.latency_s),
            "number": side.latency_s, "kind": side.latency_kind, "note": side.label,
        }
        for name, side in (("baseline", old), ("other", new))
    ]  # fmt: skip
    tiles.append(
        {"id": "delta", "name": "Difference", "value": _delta(difference.delta_s), "number": difference.delta_s,
         "note": f"{letters[new]} less {letters[old]}"}
    )  # fmt: skip
    if difference.is_like and ratio is not None:
        tiles.append(
            {"id": "ratio", "name": "Ratio", "value": f"{significant(ratio)}{TIMES}", "number": ratio,
             "note": f"of the latency of {letters[old]}"}
        )  # fmt: skip
    changed, layers = len(difference.changes()), len(difference.layers)
    note = f"of {layers} that either has"
    tiles.append({"id": "changed", "name": "Layers changed", "value": str(changed), "number": changed, "note": note})
    return tiles


def _devices(comparison: Comparison) -> list[Device]:
    """Each once, as long as its figures are the same."""
    devices = [Device(name=s.data["hardware"]["name"], figures=s.data["hardware"]["figures"]) for s in comparison.sides]
    return [device for i, device in enumerate(devices) if device not in devices[:i]]


def _merged(comparison: Comparison, letters: Letters, key: str) -> list[str]:
    """The sentences of all sides, each once; one that not all share says whose it is."""
    owners: dict[str, list[str]] = {}
    for side in comparison.sides:
        for sentence in side.data.get(key, ()):
            owners.setdefault(sentence, []).append(letters[side])
    everyone = len(comparison.sides)
    return [text if len(who) == everyone else f"{', '.join(who)}: {text}" for text, who in owners.items()]


def _uncounted(comparison: Comparison, letters: Letters) -> Iterator[str]:
    for side in comparison.sides:
        for op in side.data["uncounted_ops"]:
            size = si(op["mem_bytes"], "B")
            yield f"{letters[side]}: the work of {op['name']} ({op['calls']}{TIMES}); its {size} are counted."


# --- tables ---------------------------------------------------------------------------------------------------------


def _sides_table(comparison: Comparison, letters: Letters) -> Table:
    longest = max(side.latency_s for side in comparison.sides) or 1.0
    baseline = {difference.other: difference for difference in comparison.differences}
    columns = (
        Column(key="side", label="as"),
        Column(key="model", label="model"),
        Column(key="device", label="device"),
        Column(key="latency_s", label="latency", numeric=True),
        Column(key="latency_kind", label="is a"),
        Column(key="ratio", label="ratio", numeric=True),
        Column(key="memory_bound_share", label="memory-bound", numeric=True),
        Column(key="macs", label="MACs", numeric=True),
        Column(key="params", label="parameters", numeric=True),
        Column(key="mem_bytes", label="traffic", unit="bytes", numeric=True),
    )
    rows = []
    for side in comparison.sides:
        totals = side.totals()
        memory_share = 1 - totals["compute_bound_share"] if side.latency_s else 0.0
        difference = baseline.get(side)
        ratio = difference.ratios()["latency_s"] if difference and difference.is_like else None
        rows.append(
            [
                Cell(letters[side]),
                Cell(side.model),
                Cell(side.device),
                Cell(seconds(side.latency_s), totals["latency_s"], share=side.latency_s / longest),
                Cell(side.latency_kind),
                Cell("" if difference is None or ratio is None else
                     f"{significant(ratio)}{TIMES} {letters[difference.baseline]}", "" if ratio is None else ratio),
                Cell(percent(memory_share), memory_share),
                Cell(si(totals["macs"]), totals["macs"]),
                Cell(si(totals["params"]), totals["params"]),
                Cell(si(totals["mem_bytes"]), totals["mem_bytes"]),
            ]
        )  # fmt: skip
    return Table(id="sides", caption="What is compared", columns=columns, rows=rows)


def _heat(comparison: Comparison, letters: Letters) -> dict[str, Any]:
    """Models by devices: what each cell says, and how hot it is beside the fastest of its column, 0 to `HOTTEST`."""
    matrix = comparison.matrix()
    fastest = [min(time for time in column if time is not None) for column in zip(*matrix.latency_s, strict=True)]
    slower = [
        [time / best if time and best else 1.0 for time, best in zip(row, fastest, strict=True)]
        for row in matrix.latency_s
    ]
    most = math.log(max(max(row) for row in slower)) or 1.0
    rows = []
    for model, numbers, ranks, ratios in zip(matrix.models, matrix.sides, matrix.ranks, slower, strict=True):
        cells = []
        for number, rank, ratio in zip(numbers, ranks, ratios, strict=True):
            side = None if number is None else comparison.sides[number]
            cells.append(
                side and {
                    "letter": letters[side],
                    "text": seconds(side.latency_s),
                    "value": side.latency_s,
                    "rank": rank,
                    "ratio": f"{significant(ratio)}{TIMES}" if rank not in (None, 1) else "",
                    "heat": round(HOTTEST * math.log(ratio) / most) if rank is not None else 0,
                }
            )  # fmt: skip
        rows.append({"model": model, "cells": cells})
    return {"devices": matrix.devices, "rows": rows}


def _bars_table(comparison: Comparison, letters: Letters) -> Table:
    columns = [
        Column(key="kind", label="kind"),
        *(Column(key=f"latency_s_{letter}", label=letter, numeric=True) for letter in letters.values()),
    ]
    rows = [
        [Cell(kind, color=kind_color(kind)), *(Cell(seconds(time) if time else NONE, time) for time in times)]
        for kind, times in comparison.by("kind").items()
    ]
    return Table(id="by-kind", caption="Time by kind of layer", columns=columns, rows=rows)


def _group_table(difference: Difference, group: str) -> Table:
    columns = (
        Column(key="name", label="kind or part"),
        Column(key="baseline_layers", label="layers before", numeric=True),
        Column(key="layers", label="after", numeric=True),
        Column(key="baseline_s", label="time before", numeric=True),
        Column(key="latency_s", label="after", numeric=True),
        Column(key="delta_s", label="change", numeric=True),
        Column(key="share", label="of the whole before", numeric=True),
    )
    rows = [
        [
            Cell(part.name, color=kind_color(part.name) if group == "kind" else ""),
            Cell(str(part.baseline_layers)),
            Cell(str(part.layers)),
            Cell(seconds(part.baseline_s), part.baseline_s),
            Cell(seconds(part.latency_s), part.latency_s),
            Cell(_delta(part.delta_s), part.delta_s),
            Cell(_signed(part.share), "" if part.share is None else part.share),
        ]
        for part in difference.by(group)
    ]
    return Table(id="changes", caption="What makes the difference", columns=columns, rows=rows)


def _time_column(comparison: Comparison) -> tuple[float, str, int]:
    """`time_column` for the layers of every side."""
    return time_column(max((time_s for side in comparison.sides for time_s in side.layer_latency_s), default=0.0))


def _ranked(difference: Difference) -> list[LayerChange]:
    """All layers, those that make most of a difference first: item i of the figures and of the table."""
    changed = difference.changes()
    return [*changed, *(layer for layer in difference.layers if layer.status == "same")]


def _layer_table(difference: Difference, unit: tuple[float, str, int]) -> Table:
    scale, name, decimals = unit
    columns = (
        Column(key="name", label="layer"),
        Column(key="rank", label="rank", numeric=True),
        Column(key="status", label="status", filter=True),
        Column(key="kind", label="kind", filter=True),
        Column(key="baseline_latency_s", label="before", unit=name, numeric=True),
        Column(key="latency_s", label="after", unit=name, numeric=True),
        Column(key="delta_s", label="change", unit=name, numeric=True),
        Column(key="own_change", label="change", unit="of its own", numeric=True),
        Column(key="share", label="change", unit="of the whole", numeric=True),
        Column(key="bound", label="bound", filter=True),
        Column(key="baseline_macs", label="MACs", unit="before", numeric=True),
        Column(key="macs", label="MACs", unit="after", numeric=True),
        Column(key="baseline_mem_bytes", label="bytes", unit="before", numeric=True),
        Column(key="mem_bytes", label="bytes", unit="after", numeric=True),
        Column(key="baseline_name", label="its name before"),
    )
    rows = []
    for rank, change in enumerate(_ranked(difference), 1):
        old, new = _layers_of(difference, change)
        before_s, after_s = _times_of(difference, change)
        own = None if old is None or new is None else _own_change(before_s, after_s)
        sign = "+" if change.delta_s > 0 else MINUS if change.delta_s else ""
        rows.append(
            [
                Cell(change.name),
                Cell(str(rank)),
                Cell(change.status),
                Cell(change.kind, color=kind_color(change.kind)),
                *(Cell(NONE if layer is None else f"{time_s / scale:.{decimals}f}", "" if layer is None else time_s)
                  for layer, time_s in ((old, before_s), (new, after_s))),
                Cell(f"{sign}{abs(change.delta_s) / scale:.{decimals}f}", change.delta_s),
                Cell(_signed(own) or NONE, "" if own is None else own),
                Cell(_signed(change.share) or NONE, "" if change.share is None else change.share),
                Cell(_bounds(old, new)),
                *(Cell(NONE if layer is None else si(layer["macs"]), "" if layer is None else layer["macs"])
                  for layer in (old, new)),
                *(Cell(NONE if layer is None else si(layer_bytes(layer)), "" if layer is None else layer_bytes(layer))
                  for layer in (old, new)),
                Cell(old["name"] if old and old["name"] != change.name else ""),
            ]
        )  # fmt: skip
    return Table(
        id="layers", caption="The layers, what changed most first", columns=columns, rows=rows,
        sorted_by="rank", ascending=True, searchable=True, linked=True,
    )  # fmt: skip


def _bounds(old: Layer | None, new: Layer | None) -> str:
    found = dict.fromkeys(layer["bound"] for layer in (old, new) if layer is not None)
    return " → ".join(found)


def _layers_of(difference: Difference, change: LayerChange) -> tuple[Layer | None, Layer | None]:
    return (
        None if change.baseline is None else difference.baseline.layers[change.baseline],
        None if change.other is None else difference.other.layers[change.other],
    )


def _times_of(difference: Difference, change: LayerChange) -> tuple[float, float]:
    return (
        0.0 if change.baseline is None else difference.baseline.layer_latency_s[change.baseline],
        0.0 if change.other is None else difference.other.layer_latency_s[change.other],
    )


# --- figures --------------------------------------------------------------------------------------------------------


def _bars(comparison: Comparison, letters: Letters) -> go.Figure:
    """The time of each kind of layer, a bar a side; as shares of each latency when the reader asks for it."""
    kinds = {kind: times for kind, times in comparison.by("kind").items() if any(times)}
    traces = []
    for number, side in enumerate(comparison.sides):
        times, total_s = [times[number] for times in kinds.values()], side.latency_s or 1.0
        hovers = [
            card(
                f"{letters[side]} {side.label}", (f"{kind}: {seconds(time)}, {percent(time / total_s)} of its latency",)
            )
            for kind, time in zip(kinds, times, strict=True)
        ]
        traces.append(
            go.Bar(
                x=times, y=[escape(kind) for kind in kinds], orientation="h",
                name=f"{letters[side]} {escape(side.label)}",
                marker={"color": series(number)["color"]}, hovertext=hovers, hoverinfo="text", textposition="none",
                meta={"role": "side", "total_s": total_s},
            )
        )  # fmt: skip
    return go.Figure(
        data=traces,
        layout=layout(
            barmode="group", bargap=0.25, margin={"l": 8, "r": 16, "t": 30, "b": 8},
            legend={"traceorder": "normal"}, hovermode="closest",
            xaxis={"title": {"text": "time"}, "tickformat": "~s", "ticksuffix": "s", "rangemode": "tozero"},
            yaxis={"autorange": "reversed", "ticks": "", "title": None},
        ),
    )  # fmt: skip


def _change(difference: Difference, group: str, letters: Letters) -> go.Figure:
    """From one latency to the other: what each kind or part adds or takes."""
    old, new = difference.baseline, difference.other
    parts = [part for part in difference.by(group) if part.delta_s]
    ends = [f"{letters[side]}, {'predicted' if side.latency_kind == 'prediction' else 'bound'}" for side in (old, new)]
    names = [ends[0], *(part.name for part in parts), ends[1]]
    hovers = [
        card(old.label, (seconds(old.latency_s),)),
        *(_change_card(part) for part in parts),
        card(new.label, (seconds(new.latency_s),)),
    ]
    texts = [seconds(old.latency_s), *(_delta(part.delta_s) for part in parts), seconds(new.latency_s)]
    height = 80 + 27 * len(names)
    return go.Figure(
        data=[
            go.Waterfall(
                orientation="h", measure=["absolute", *("relative" for _ in parts), "total"],
                x=[old.latency_s, *(part.delta_s for part in parts), 0.0], y=list(map(escape, names)),
                text=texts, textposition="outside", cliponaxis=False, hovertext=hovers, hoverinfo="text",
                increasing={"marker": {"color": color("worse")}}, decreasing={"marker": {"color": color("better")}},
                totals={"marker": {"color": color("muted")}},
                connector={"line": {"color": color("line"), "width": 1}, "mode": "between"},
                meta={"role": "change"},
            )
        ],
        layout=layout(
            height=height, showlegend=False, margin={"l": 8, "r": 70, "t": 10, "b": 8}, waterfallgap=0.3,
            xaxis={"title": {"text": "time"}, "tickformat": "~s", "ticksuffix": "s", "rangemode": "tozero"},
            yaxis={"autorange": "reversed", "ticks": "", "title": None, "type": "category"},
        ),
    )  # fmt: skip


def _change_card(part: Contribution) -> str:
    return card(
        part.name,
        (
            f"{seconds(part.baseline_s)} in {part.baseline_layers} layers before",
            f"{seconds(part.latency_s)} in {part.layers} after",
            f"{_delta(part.delta_s)}, {_signed(part.share) or NONE} of the whole before",
        ),
    )


class Dot(NamedTuple):
    """A layer of one of the two sides, under a roof."""

    item: int
    layer: Layer
    x: float
    y: float
    hover: str


def _roofline(difference: Difference, letters: Letters) -> go.Figure:
    """Both rooflines: open dots before, filled ones after, and an arrow from one to the other where a layer moved."""
    sides = (difference.baseline, difference.other)
    dots = [list(_dots(difference, which, letters)) for which in (0, 1)]
    longest = max((dot.layer["latency_s"] for of_side in dots for dot in of_side), default=0.0) or 1.0
    low, high = log_limits(
        [
            *(dot.x for of_side in dots for dot in of_side),
            *(s.data["hardware"]["ridge_point_macs_per_byte"] for s in sides),
        ]
    )
    bottom, top = log_limits(
        [*(dot.y for of_side in dots for dot in of_side), *(s.data["hardware"]["peak_macs_per_s"] for s in sides)]
    )
    same_roof = _roof_of(sides[0]) == _roof_of(sides[1])
    traces = [_roof(sides[which], which, low, high, same_roof) for which in range(same_roof, 2)]
    traces += _arrows(difference, dots)
    for kind in dict.fromkeys(dot.layer["kind"] for of_side in dots for dot in of_side):
        traces.append(
            go.Scatter(
                x=[None], y=[None], mode="markers", name=escape(kind), legendgroup=kind, hoverinfo="skip",
                marker={"color": kind_color(kind), "size": 11}, meta={"role": "key"},
            )
        )  # fmt: skip
    for which in (0, 1):
        for kind in dict.fromkeys(dot.layer["kind"] for dot in dots[which]):
            chosen = [dot for dot in dots[which] if dot.layer["kind"] == kind]
            traces.append(
                go.Scatter(
                    x=[dot.x for dot in chosen], y=[dot.y for dot in chosen], mode="markers", name=escape(kind),
                    legendgroup=kind, showlegend=False, customdata=[dot.item for dot in chosen],
                    hovertext=[dot.hover for dot in chosen], hoverinfo="text",
                    marker={
                        "color": kind_color(kind), "opacity": 0.85 if which else 1.0,
                        "line": {"color": color("page") if which else kind_color(kind), "width": 1 if which else 1.5},
                        "size": [dot.layer["latency_s"] for dot in chosen], "sizemode": "area", "sizemin": 3.5,
                        "sizeref": 2 * longest / LARGEST_DOT_PX**2,
                        "symbol": [_symbol(dot.layer["bound"], which) for dot in chosen],
                    },
                    meta={"role": "dots", "side": ("baseline", "other")[which], "kind": kind},
                )
            )  # fmt: skip
    figure = go.Figure(
        data=traces,
        layout=layout(
            margin={"l": 8, "r": 12, "t": 30, "b": 8}, legend={"itemsizing": "constant"},
            xaxis=log_axis("operational intensity, MACs/byte", range=[math.log10(low), math.log10(high)]),
            yaxis=log_axis("attained, MACs/s", range=[math.log10(bottom), math.log10(top)]),
            annotations=[
                *_roof_labels(sides, letters, high),
                *_percentages(difference, dots),
            ],
        ),
    )  # fmt: skip
    return figure


def _dots(difference: Difference, which: int, letters: Letters) -> Iterator[Dot]:
    """The layers of one side that have a place on logarithmic axes."""
    side = (difference.baseline, difference.other)[which]
    total_s = side.latency_s or 1.0
    for item, change in enumerate(_ranked(difference)):
        layer = _layers_of(difference, change)[which]
        if layer is None or not (layer["macs"] and layer_bytes(layer) and layer["latency_s"]):
            continue
        x, y = layer["macs"] / layer_bytes(layer), layer["macs"] / layer["latency_s"]
        before_s, after_s = _times_of(difference, change)
        own = _own_change(before_s, after_s)
        fate = {
            "same": "the same in both",
            "added": "added",
            "removed": "removed",
            "changed": f"{seconds(before_s)} before, {seconds(after_s)} after: {_signed(own) or NONE}",
        }[change.status]
        hover = card(
            layer["name"],
            (
                f"{letters[side]} {side.label}",
                f"{layer['kind']}: {layer['ops'].replace('+', ' + ')}",
                f"{si(layer['macs'])} MACs, {si(layer_bytes(layer), 'B')}, {significant(x)} MACs/byte",
                f"{seconds(layer['latency_s'])}, {percent(layer['latency_s'] / total_s)} of the latency, "
                f"{layer['bound']}-bound",
                fate,
            ),
        )
        yield Dot(item, layer, x, y, hover)


def _symbol(bound: str, which: int) -> str:
    """Round where memory sets the time, else a diamond, as in the page of an analysis; open on the baseline."""
    return f"{bound_symbol(bound)}{'' if which else '-open'}"


def _roof_of(side: Side) -> tuple[float, float]:
    hardware = side.data["hardware"]
    return hardware["peak_macs_per_s"], hardware["bandwidth_bytes_per_s"]


def _roof(side: Side, which: int, low: float, high: float, same: bool) -> go.Scatter:
    peak, bandwidth = _roof_of(side)
    style = {"color": color("text" if which else "muted"), "width": 2, "dash": "solid" if which else "dash"}
    return go.Scatter(
        x=[low / 1e3, peak / bandwidth, high * 1e3], y=[low / 1e3 * bandwidth, peak, peak], mode="lines",
        name=escape(side.device), line=style, hoverinfo="skip", showlegend=False,
        meta={"role": "roof", "side": "both" if same else ("baseline", "other")[which]},
    )  # fmt: skip


def _roof_labels(sides: Sequence[Side], letters: Letters, high: float) -> Iterator[dict[str, Any]]:
    """Above the higher roof, below the lower one, clear of the dots that stand on them."""
    roofs = {_roof_of(side): side for side in sides}
    for (peak, bandwidth), side in roofs.items():
        above = (peak, bandwidth) == max(roofs)
        place = {
            "x": math.log10(high), "y": math.log10(peak), "xanchor": "right", "showarrow": False,
            "yanchor": "bottom" if above else "top", "yshift": 14 if above else -14,
            "font": {"color": color("muted"), "size": 12},
        }  # fmt: skip
        ridge = f"ridge point {significant(peak / bandwidth)}"
        name = f"{letters[side]} {side.device}" if len(roofs) > 1 else side.device
        yield {**place, "text": escape(f"{name}, {ridge}"), "name": "wide"}
        yield {**place, "text": letters[side] if len(roofs) > 1 else ridge, "name": "narrow"}


def _moves(difference: Difference, dots: Sequence[Sequence[Dot]]) -> Iterator[tuple[LayerChange, Dot, Dot]]:
    """The matched layers that stand elsewhere after than before."""
    before = {dot.item: dot for dot in dots[0]}
    changes = _ranked(difference)
    for after in sorted(dots[1], key=lambda dot: dot.item):
        start = before.get(after.item)
        if start is not None and (start.x, start.y) != (after.x, after.y):
            yield changes[after.item], start, after


def _arrows(difference: Difference, dots: Sequence[Sequence[Dot]]) -> list[go.Scatter]:
    """Curves from before to after, in the colour of what they did to the time."""
    paths: dict[str, list[tuple[Point | None, int]]] = {"better": [], "worse": []}
    for change, start, end in _moves(difference, dots):
        steps = 1 if start.x == end.x else ARC_STEPS
        path = [_along(start, end, step / steps) for step in range(steps + 1)]
        paths["worse" if change.delta_s > 0 else "better"] += [
            *((point, ARROW_PX if i == steps else 0) for i, point in enumerate(path)), (None, 0),
        ]  # fmt: skip
    return [
        go.Scatter(
            x=[point and _short(point[0]) for point, _ in path], y=[point and _short(point[1]) for point, _ in path],
            mode="lines+markers", line={"color": color(role), "width": 1}, opacity=0.7, hoverinfo="skip",
            showlegend=False, marker={
                "color": color(role), "symbol": "arrow", "angleref": "previous", "size": [size for _, size in path],
            },
            meta={"role": "arrows", "to": role, "count": sum(size > 0 for _, size in path)},
        )
        for role, path in paths.items()
    ]  # fmt: skip


def _short(value: float) -> float:
    """As exact as a screen can show; the numbers themselves are those of the dots."""
    return float(f"{value:.5g}")


def _along(start: Dot, end: Dot, part: float) -> Point:
    """A point of the way on logarithmic axes; it sags below the roof, on which most layers stand."""
    wide = abs(math.log10(end.x / start.x))
    sag = 10 ** (-ARC_SAG * wide * 4 * part * (1 - part))
    return start.x * (end.x / start.x) ** part, start.y * (end.y / start.y) ** part * sag


def _percentages(difference: Difference, dots: Sequence[Sequence[Dot]]) -> list[dict[str, Any]]:
    """How much the layers that changed most did, beside their arrows; not where two would cover each other."""
    placed: list[Point] = []
    labels = []
    for change, start, end in _moves(difference, dots):
        own = _own_change(*_times_of(difference, change))
        x, y = map(math.log10, _along(start, end, 0.5))
        if own is None or any(abs(x - a) < LABEL_ROOM[0] and abs(y - b) < LABEL_ROOM[1] for a, b in placed):
            continue
        placed.append((x, y))
        labels.append(
            {
                "text": _signed(own), "x": x, "y": y, "showarrow": False, "xanchor": "left", "xshift": 11, "yshift": -5,
                "name": "wide", "bgcolor": color("page"), "opacity": 0.9,
                "font": {"color": color("worse" if own > 0 else "better"), "size": 11},
            }
        )  # fmt: skip
        if len(labels) == LABELS:
            break
    return labels
