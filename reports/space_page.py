"""The page of a design space: how latency is distributed, its front against MACs, and which parameters explain it.

The figures are those of the RegNet paper (arXiv:2003.13678) for latency in place of error: distribution functions, and
networks as dots. Distributions and fronts are of all networks; dots are a sample where there are many, and it says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from roofline.exploring.networks import LATENCY
from roofline.reports.figures import card, color, escape, layout, log_axis, series
from roofline.reports.pages import Device, Page
from roofline.reports.space_tables import (
    asked_table,
    count_table,
    feature_table,
    importance_table,
    macs_table,
    network_table,
    place_table,
    quantile,
    ranked_parameters,
    shown_value,
    time_of,
)
from roofline.units import percent, si, significant

Plain = Mapping[str, Any]

DRAWN = 16  # features in the figure of correlations; the table has all
HOVER_ITEMS = 9  # of a list beside a dot; the table has all
NAME_CHARACTERS = {"wide": 40, "narrow": 17}  # of a parameter beside its dots
WORTH = {"macs": "MACs"}  # what a front weighs against latency; an accuracy is called as it is
KEY_IN_PAGE = {"showlegend": False, "meta": {"legend in pictures": True}}
LINEAR = 10  # an axis whose ends are within this factor is not logarithmic
FEW_DECADES = 1.5  # one of so few decades has ticks between them
FIRMNESS = {
    "bound": "no run is faster, if the device is what its figures say",
    "prediction": "by figures that are fitted to latencies or measured",
}


def page(data: Plain) -> Page:
    """The page of the summary of a run."""
    places = data["places"]
    devices = [place for place in places if place["ridge_point_macs_per_byte"] is None]
    ridges = [place for place in places if place["ridge_point_macs_per_byte"] is not None]
    space = data.get("space", {})
    figures = {
        **({"latency": _latencies(data, devices, "latency")} if devices else {}),
        **({"ridge": _latencies(data, ridges, "time, in MACs at the peak")} if ridges else {}),
        "macs": _macs(data),
        "front": _front(data),
        "correlation": _correlations(data),
    }
    if data["forest"]:
        figures["importance"] = _importances(data)
    features = _features(data)
    names = {"correlation": features[:DRAWN], "importance": ranked_parameters(data)}
    return Page(
        template="space.html.j2",
        title=f"Design space {space.get('name', '')}".strip(),
        context={
            "subtitle": _subtitle(data),
            "verdict": data["verdict"],
            "tiles": _tiles(data),
            "has": set(figures),
            "band": "" if "search" in data else f"{100 * data['band95']:.1f}",
            "places": {place["id"]: place["name"] for place in places},
            "worth": WORTH.get(data["value"], data["value"]),
            "is_worth_macs": data["value"] == "macs",
            "dots": _dots_text(data),
            "keys": [{"name": _legend(place), "color": series(number)["color"]} for number, place in enumerate(places)],
            "place_table": place_table(data),
            "count_table": count_table(data),
            "macs_table": macs_table(data),
            "feature_table": feature_table(data, features),
            "importance_table": importance_table(data) if data["forest"] else None,
            "feature_count": (min(DRAWN, len(features)), len(features)),
            "explained": _explained(data),
            "heights": {name: 76 + 24 * len(rows) for name, rows in names.items()},
            "network_table": network_table(data),
            "listed": _listed_text(data),
            "asked_table": asked_table(data),
        },
        figures=figures,
        data={
            "axes": {place["id"]: _time_axis(place) for place in places},
            "names": {
                name: {width: [_shortened(row, most) for row in rows] for width, most in NAME_CHARACTERS.items()}
                for name, rows in names.items()
                if name in figures
            },
        },
        script="space.js",
        devices=[
            Device(name=device["name"], figures=device["figures"])
            for device in data.get("devices", ())
            if device.get("figures")
        ],
        conventions=_conventions(data),
        not_counted=(
            "Whether a network learns: there is no accuracy here"
            if data["value"] == "macs"
            else "Accuracy: it is what the user's table or function says",
            "Anything that an analysis of a single network leaves out: 'roofline analyze' of one of them lists it.",
        ),
        versions=data.get("versions", {}),
    )


# --- words and numbers ------------------------------------------------------------------------------------------------


def _axis_title(place: Plain) -> str:
    if place["ridge_point_macs_per_byte"] is not None:
        return f"time in MACs at the peak, {escape(place['name'])}"
    kind = f" ({escape(place['latency_kind'])})" if place["latency_kind"] else ""
    return f"latency on {escape(place['name'])}{kind}"


def _subtitle(data: Plain) -> str:
    space = data.get("space", {})
    size = "\N{MULTIPLICATION SIGN}".join(map(str, space.get("input_shape", ())))
    return ", ".join(part for part in (space.get("summary", "").rstrip("."), size and f"input {size}") if part)


def _tiles(data: Plain) -> list[dict[str, Any]]:
    counts, first = data.get("counts", {}), data["places"][0]
    tiles = [{"id": "networks", "name": "Networks", "value": f"{data['networks']:,}", "number": data["networks"]}]
    tried = counts.get("tried")
    if tried:
        how = "proposed" if "search" in data else "drawn"
        tiles[0]["note"] = f"of {tried:,} {how}, {percent(data['networks'] / tried)}"
        for key, name, note in (
            ("invalid", "Invalid", "not of the space"),
            ("outside", "Outside", "of what was asked"),
        ):
            if isinstance(counts.get(key), int):
                tiles.append({"id": key, "name": name, "value": f"{counts[key]:,}", "note": note})
    if counts.get("checked"):
        tiles.append(
            {"id": "checked", "name": "Checked", "value": f"{counts['checked']:,}", "note": "traced whole: equal"}
        )
    middle = quantile(first["latency_s"], 0.5)
    tiles.append(
        {"id": "median", "name": "Median", "value": time_of(first, middle), "number": middle,
         "note": f"on {first['id']}", "kind": first["latency_kind"]}
    )  # fmt: skip
    if len(data["places"]) > 1:
        common = {"value": f"{data['on_every_front']:,}", "note": f"of {len(data['places'])}"}
        tiles.append({"id": "common", "name": "On every front", **common})
    return tiles


def _dots_text(data: Plain) -> str:
    drawn, all_of_them = len(data["sample"]["index"]), data["networks"]
    if drawn == all_of_them:
        return f"A dot is a network, all {all_of_them:,} are drawn."
    return f"Dots: a fair sample of {drawn:,} of the {all_of_them:,} networks. The front is of all of them."


def _listed_text(data: Plain) -> str:
    by = data["by"]
    best = f"fastest on {by.removeprefix(LATENCY)}" if by.startswith(LATENCY) else f"best by {by}"
    shown, all_of_them = sum(map(bool, data["on_fronts"])), data["on_a_front"]
    if shown < all_of_them:
        some = f"{shown:,} of the {all_of_them:,} networks on a front, spread evenly along each"
    else:
        some = f"The {all_of_them:,} networks on a front"
    return f"{some}, and the {len(data['best']):,} {best}, which have a mark." if data["best"] else f"{some}."


def _explained(data: Plain) -> str:
    """How far the forest is to be believed."""
    if not data["forest"]:
        return ""
    each = ", ".join(f"{place['name']} {percent(max(0.0, place['forest_r2']))}" for place in data["places"])
    seen, unseen = data["forest"]["seen"], data["forest"]["unseen"]
    return (
        f"The forest learned from {seen:,} networks. Of the variance of log latency in {unseen:,} others it explains: "
        f"{each}."
    )


def _conventions(data: Plain) -> tuple[str, ...]:
    worth = "as many MACs" if data["value"] == "macs" else f"the same {data['value']}"
    kinds = {place["latency_kind"] for place in data["places"]}
    lines = [
        *(f"A {kind}: {why}." for kind, why in FIRMNESS.items() if kind in kinds),
        "Distribution function: the share of networks that take at most so long (RegNet, arXiv:2003.13678, eq. 1, of "
        "latency in place of error). Its band is that of Dvoretzky, Kiefer and Wolfowitz, with Massart's constant "
        "(doi:10.1214/aop/1176990746).",
        f"Pareto front: a network is on it unless another has at least {worth} and at most its latency, and betters it "
        "in one of the two.",
        "Rank correlation: Spearman's (doi:10.2307/1412159). Of a list of numbers, it is that of its mean, first, last "
        "and length; of a list of words, of how often each is there.",
        "Importance: of a random forest (Breiman, doi:10.1023/A:1010933404324), by shuffling all that is made of one "
        "parameter together (Gregorutti, Michel and Saint-Pierre, doi:10.1016/j.csda.2015.04.002).",
        f"Correlations are of {data['sampled']:,} networks, distributions and fronts of all {data['networks']:,}.",
    ]
    if any(place["ridge_point_macs_per_byte"] is not None for place in data["places"]):
        lines.append(
            "A ridge point R stands for every machine that does R MACs in the time it moves one byte; a time there is "
            "given in MACs at its peak."
        )
    return tuple(lines)


def _shortened(name: str, most: int) -> str:
    return escape(name if len(name) <= most else f"{name[: most - 1]}\N{HORIZONTAL ELLIPSIS}")


# --- distributions ----------------------------------------------------------------------------------------------------


def _axis(title: str, values: Sequence[float], **settings: Any) -> dict[str, Any]:
    """Of numbers that these are the ends of, with a little room beside them."""
    low, high = min(values), max(values)
    if high < LINEAR * low:
        room = 0.03 * (high - low) or 0.1 * high
        return {
            "title": {"text": title},
            "tickformat": "~s",
            "range": [low - room, high + room],
            "nticks": 7,
            **settings,
        }
    ends = [math.log10(low), math.log10(high)]
    room, few = 0.03 * (ends[1] - ends[0]), ends[1] - ends[0] < FEW_DECADES
    return log_axis(title, range=[ends[0] - room, ends[1] + room], dtick="D2" if few else 1, **settings)


def _latencies(data: Plain, places: Sequence[Plain], title: str) -> go.Figure:
    """RegNet's figure, of latency: one curve a device."""
    numbers = {place["id"]: number for number, place in enumerate(data["places"])}
    is_device = places[0]["ridge_point_macs_per_byte"] is None
    return go.Figure(
        data=[
            _curve(
                place["latency_s"], series(numbers[place["id"]]), _legend(place),
                [f"{percent(share)} take at most {time_of(place, t)}" for t, share in _steps(place["latency_s"])],
                {"role": "distribution", "place": place["id"]},
            )
            for place in places
        ],
        layout=_distribution_layout(
            title, [place["latency_s"] for place in places], ticksuffix="s" if is_device else ""
        ),
    )  # fmt: skip


def _legend(place: Plain) -> str:
    kind = f" ({place['latency_kind']})" if place["latency_kind"] else ""
    return f"{place['name']}{kind}"


def _macs(data: Plain) -> go.Figure:
    macs = data["macs"]
    hover = [f"{percent(share)} have at most {si(value)} MACs" for value, share in _steps(macs)]
    curve = _curve(macs, {"color": color("text"), "dash": "solid"}, "MACs", hover, {"role": "distribution"})
    return go.Figure(data=[curve], layout=_distribution_layout("MACs", [macs]))


def _steps(distribution: Plain) -> Iterator[tuple[float, float]]:
    return zip(distribution["values"], distribution["shares"], strict=True)


def _curve(
    distribution: Plain, line: Mapping[str, str], name: str, hover: Sequence[str], meta: Mapping[str, Any]
) -> go.Scatter:
    """A staircase that starts at 0."""
    return go.Scatter(
        x=[distribution["values"][0], *distribution["values"]], y=[0, *distribution["shares"]],
        mode="lines", line={**line, "width": 2, "shape": "hv"}, name=escape(name), meta=meta,
        hoverinfo="text", hovertext=[card(name, [hover[0]]), *(card(name, [line]) for line in hover)],
    )  # fmt: skip


def _distribution_layout(title: str, shown: Sequence[Plain], **axis: Any) -> go.Layout:
    ends = [value for one in shown for value in (one["values"][0], one["values"][-1])]
    return layout(
        margin={"l": 8, "r": 12, "t": 16, "b": 8}, xaxis=_axis(title, ends, **axis), **KEY_IN_PAGE,
        yaxis={"title": {"text": "share of networks"}, "tickformat": ".0%", "range": [0, 1.02], "dtick": 0.25},
    )  # fmt: skip


# --- the front --------------------------------------------------------------------------------------------------------


def _front(data: Plain) -> go.Figure:
    """Latency over MACs, or over accuracy, on each place: its dots and its front, of which the page shows one place."""
    items = {row["index"]: item for item, row in enumerate(data["rows"])}
    traces = []
    for number, place in enumerate(data["places"]):
        shown = number == 0
        traces += [_dots(data, place, shown), _front_line(data, place, number, items, shown)]
    first = data["places"][0]
    return go.Figure(
        data=traces,
        layout=layout(
            margin={"l": 8, "r": 12, "t": 40, "b": 8}, showlegend=True, uirevision=first["id"],
            xaxis=_worth_axis(data),
            yaxis=_time_axis(first),
        ),
    )  # fmt: skip


def _time_axis(place: Plain) -> dict[str, Any]:
    """Of the figure of a front; the page's script takes that of another place when the reader does."""
    return _axis(_axis_title(place), place["latency_s"]["values"], ticksuffix=_suffix(place))


def _suffix(place: Plain) -> str:
    return "s" if place["ridge_point_macs_per_byte"] is None else ""


def _worth_axis(data: Plain) -> dict[str, Any]:
    if data["value"] == "macs":
        return _axis("MACs", data["macs"]["values"])
    return {"title": {"text": escape(data["value"])}}


def _worth(data: Plain, value: float) -> str:
    return f"{si(value)} MACs" if data["value"] == "macs" else f"{data['value']} {significant(value, 4)}"


def _dots(data: Plain, place: Plain, visible: bool) -> go.Scatter:
    """The sample, less what is on the front, whose marks say more of a network."""
    sample, on_front = data["sample"], set(place["front"]["index"])
    columns = (sample["index"], sample[data["value"]], sample[place["id"]])
    networks = [network for network in zip(*columns, strict=True) if network[0] not in on_front]
    unit = "MACs" if data["value"] == "macs" else escape(data["value"])
    x = "%{x:.3s} " + unit if data["value"] == "macs" else unit + " %{x:.4~r}"
    return go.Scatter(
        x=[None if value is None else _short(value) for _, value, _ in networks],
        y=[_short(latency_s) for *_, latency_s in networks],
        text=[f"network {index}" for index, *_ in networks],
        hovertemplate=f"<b>%{{text}}</b><br>{x}<br>%{{y:.3s}}{_suffix(place)}<extra></extra>",
        mode="markers", name="networks", visible=visible, meta={"role": "dots", "place": place["id"]},
        marker={"color": color("muted"), "size": 4, "opacity": 0.45},
    )  # fmt: skip


def _short(value: float) -> float:
    """As exact as a screen can show."""
    return float(f"{value:.5g}")


def _front_line(data: Plain, place: Plain, number: int, items: Mapping[int, int], visible: bool) -> go.Scatter:
    """The least latency at which there is a network with at least so much: level up to each, then a step."""
    front = place["front"]
    points = list(zip(front["index"], front["latency_s"], front["value"], strict=True))
    shade = series(number)["color"]
    return go.Scatter(
        x=[value for *_, value in points], y=[latency_s for _, latency_s, _ in points],
        customdata=[items.get(index) for index, *_ in points], mode="lines+markers",
        line={"color": shade, "width": 1.5, "shape": "vh"}, marker={"color": shade, "size": 7},
        name="Pareto front", visible=visible, meta={"role": "front", "place": place["id"]}, hoverinfo="text",
        hovertext=[
            card(f"network {index}", [_worth(data, value), f"{time_of(place, latency_s)} on {place['name']}",
                                      *(_configuration(data, items, index))])
            for index, latency_s, value in points
        ],
    )  # fmt: skip


def _configuration(data: Plain, items: Mapping[int, int], index: int) -> Iterator[str]:
    """A line a parameter, of a network that is listed."""
    if index in items:
        row = data["rows"][items[index]]
        for name in data["parameters"][:12]:
            yield f"{name}: {shown_value(row[name], HOVER_ITEMS)}"


# --- what explains latency --------------------------------------------------------------------------------------------


def _features(data: Plain) -> list[str]:
    """By how well they rank latency anywhere, the best first."""
    strongest = {
        name: max(abs(place["rank_correlation"]["features"][name]) for place in data["places"])
        for name in data["of_feature"]
    }
    return sorted(strongest, key=lambda name: -strongest[name])


def _correlations(data: Plain) -> go.Figure:
    names = _features(data)[:DRAWN]
    return _dot_plot(
        data, names, lambda place, name: place["rank_correlation"]["features"][name], "correlation",
        {"title": {"text": "rank correlation with latency"}, "range": [-1.04, 1.04], "dtick": 0.5, "zeroline": True},
        lambda value: f"{value:+.2f}".replace("-", "\N{MINUS SIGN}"),
    )  # fmt: skip


def _importances(data: Plain) -> go.Figure:
    return _dot_plot(
        data, ranked_parameters(data), lambda place, name: place["importance"][name], "importance",
        {"title": {"text": "loss of R\N{SUPERSCRIPT TWO}, if shuffled"}, "rangemode": "tozero", "zeroline": True},
        lambda value: significant(value, 2),
    )  # fmt: skip


def _dot_plot(data: Plain, names: Sequence[str], of: Any, role: str, axis: Mapping[str, Any], said: Any) -> go.Figure:
    """A row a name, a dot a place: as readable with one place as with eight."""
    rows = list(range(len(names)))
    traces = []
    for number, place in enumerate(data["places"]):
        values = [of(place, name) for name in names]
        symbol = "circle" if place["ridge_point_macs_per_byte"] is None else "diamond-open"
        traces.append(
            go.Scatter(
                x=values, y=rows, mode="markers", name=escape(place["name"]), cliponaxis=False, hoverinfo="text",
                marker={"color": series(number)["color"], "size": 9, "symbol": symbol, "opacity": 0.9},
                hovertext=[
                    card(name, [f"{said(value)} on {place['name']}"]) for name, value in zip(names, values, strict=True)
                ],
                meta={"role": role, "place": place["id"]},
            )
        )  # fmt: skip
    return go.Figure(
        data=traces,
        layout=layout(
            margin={"l": 8, "r": 16, "t": 16, "b": 8}, xaxis=axis, **KEY_IN_PAGE,
            yaxis={
                "autorange": "reversed", "tickmode": "array", "tickvals": rows, "ticks": "", "zeroline": False,
                "ticktext": [_shortened(name, NAME_CHARACTERS["wide"]) for name in names],
            },
        ),
    )  # fmt: skip
