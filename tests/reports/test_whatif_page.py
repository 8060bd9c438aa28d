"""The page of a what-if as text; tests/browser/ opens it."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from roofline import RooflineError
from roofline.engine import predict
from roofline.profiles import load_profile
from roofline.reports.pages import draw, page_of, render_page
from roofline.units import seconds
from roofline.whatif import WhatIf, scaled, whatif

pytestmark = pytest.mark.usefixtures("traced_once")

EVIL = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def result() -> WhatIf:
    return whatif("mobilenetv4_hybrid_medium", hw="raspberrypi_5", target_s=2e-3)


@pytest.fixture(scope="module")
def data(result: WhatIf) -> dict[str, Any]:
    return json.loads(result.to_json())  # type: ignore[no-any-return]


def traces(data: dict[str, Any], figure: str, role: str) -> list[Any]:
    return [trace for trace in page_of(data).figures[figure].data if (trace.meta or {}).get("role") == role]


def test_every_point_of_the_curves_takes_its_latency(data: dict[str, Any], result: WhatIf) -> None:
    """By the engine, on devices that have grown to where the lines are drawn."""
    device = load_profile("raspberrypi_5")
    for role, latency_s in (("target curve", 2e-3), ("present curve", result.latency_s)):
        (line,) = traces(data, "iso", role)
        assert seconds(latency_s) in line.name
        for bandwidth, peak in list(zip(line.x, line.y, strict=True))[::9]:
            there = scaled(device, dtype="int8", peak=peak / 307.2e9, bandwidth=bandwidth / 17e9)
            assert float(predict(result.analysis.layers, there).latency_s) == pytest.approx(latency_s, rel=1e-9)
        assert list(line.x) == sorted(line.x)
        assert list(line.y) == sorted(line.y, reverse=True)


def test_the_device_is_on_its_own_curve_and_the_ways_on_that_of_the_target(data: dict[str, Any]) -> None:
    (present,) = traces(data, "iso", "present")
    assert (list(present.x), list(present.y)) == ([17e9], [307.2e9])
    (ways,) = traces(data, "iso", "ways")
    assert len(ways.x) == sum(way["peak_factor"] is not None for way in data["ways"]) == 3
    (knees,) = traces(data, "iso", "knees")
    assert len(knees.x) == len(data["iso_latency"]["points"])


def test_profiles_are_green_where_a_prediction_is_within_the_target_and_no_bound_is(data: dict[str, Any]) -> None:
    (dots,) = traces(data, "iso", "profiles")
    for color, symbol, profile in zip(dots.marker.color, dots.marker.symbol, data["profiles"], strict=True):
        is_bound = profile["latency_kind"] == "bound"
        within = "bound" if is_bound else "better"
        assert color == (f"var(--{within})" if profile["latency_s"] <= 2e-3 else "var(--worse)")
        assert symbol == ("circle" if is_bound else "diamond")


def test_the_lines_are_the_latency_as_rates_grow(data: dict[str, Any], result: WhatIf) -> None:
    device = load_profile("raspberrypi_5")
    for line in traces(data, "response", "response"):
        grown = {"both": ("peak", "bandwidth")}.get(line.meta["of"], (line.meta["of"],))
        for factor, latency_s in list(zip(line.x, line.y, strict=True))[::15]:
            there = scaled(device, dtype="int8", **dict.fromkeys(grown, factor))
            assert latency_s == pytest.approx(float(predict(result.analysis.layers, there).latency_s), rel=1e-11)
        assert 1.0 in line.x


def test_bars_of_elasticities_are_shares(data: dict[str, Any]) -> None:
    (bars,) = traces(data, "elasticity", "elasticity")
    assert sum(bars.x) == pytest.approx(1)
    assert list(bars.x) == [abs(item["better"]) for item in data["elasticities"]]


def test_every_alternative_that_runs_has_a_bar(data: dict[str, Any]) -> None:
    (bars,) = traces(data, "alternatives", "alternatives")
    runs = [i for i, other in enumerate(data["alternatives"]) if not other["skipped"]]
    assert bars.meta["items"] == runs
    assert list(bars.x) == [data["alternatives"][i]["image_latency_s"] for i in runs]


def test_the_layers_that_save_most_come_first(data: dict[str, Any]) -> None:
    fewer_bytes, fewer_macs = traces(data, "savings", "saving")
    most = [max(pair) for pair in zip(fewer_bytes.x, fewer_macs.x, strict=True)]
    assert most == sorted(most, reverse=True)
    best = max(max(layer["half_bytes_s"], layer["half_macs_s"]) for layer in data["layers"])
    assert most[0] == best


def test_without_a_target_only_the_present_curve_is_drawn() -> None:
    bare = whatif("mobilenetv4_conv_small", hw="pixel6_tpu").to_dict()
    assert not traces(bare, "iso", "target curve")[0].x
    assert traces(bare, "iso", "present curve")[0].x
    assert not traces(bare, "iso", "ways")[0].x
    assert "What reaches another latency" in render_page(bare, plotlyjs="directory")


def test_a_sum_of_times_is_drawn_too() -> None:
    device = replace(load_profile("raspberrypi_5"), combine="add", layer_overhead_s=1e-6)
    summed = whatif("mobilenetv4_conv_small", hw=device, target_s=1e-3)
    (line,) = traces(summed.to_dict(), "iso", "target curve")
    there = scaled(device, dtype="int8", peak=line.y[40] / 307.2e9, bandwidth=line.x[40] / 17e9)
    assert float(predict(summed.analysis.layers, there).latency_s) == pytest.approx(1e-3, rel=1e-9)
    assert not traces(summed.to_dict(), "iso", "knees")[0].x


def test_a_model_that_does_nothing_has_a_page() -> None:
    nothing = whatif(nn.Identity(), torch.empty(1, 3, 8, 8), hw="pixel6_tpu", target_s=1e-3).to_dict()
    assert "nothing would change it" in render_page(nothing, plotlyjs="directory")
    draw(nothing)


def test_a_model_without_macs_has_a_page() -> None:
    pooling = whatif(nn.AvgPool2d(2), torch.empty(1, 3, 8, 8), hw="pixel6_tpu", target_s=1e-9).to_dict()
    assert pooling["iso_latency"] is None
    draw(pooling)
    render_page(pooling, plotlyjs="directory")


def test_pictures_can_be_drawn(data: dict[str, Any]) -> None:
    figures = draw(data, "dark")
    assert list(figures) == ["iso", "response", "elasticity", "alternatives", "savings"]
    for figure in figures.values():
        assert "var(--" not in str(figure.to_plotly_json()["data"])


def test_beside_plotly_the_page_stays_small(data: dict[str, Any]) -> None:
    assert len(render_page(data, plotlyjs="directory").encode()) < 500_000


def renamed(value: Any) -> Any:
    """The same data with every text replaced that a user may write."""
    if isinstance(value, dict):
        return {
            key: f"{EVIL}{item}"
            if isinstance(item, str)
            and key in ("name", "id", "verdict", "meaning", "skipped", "what_changes", "knee_layer", "source", "notes")
            else renamed(item)
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [f"{EVIL}{item}" if isinstance(item, str) else renamed(item) for item in value]
    return value


def test_no_text_becomes_markup_or_script(data: dict[str, Any]) -> None:
    html = render_page(renamed(data), command=EVIL, plotlyjs="directory")
    assert "alert(1)" in html
    assert "<script>alert" not in html
    assert html.lower().count("<script") == render_page(data, plotlyjs="directory").lower().count("<script")
    figures = page_of(renamed(data)).figures
    for figure in figures.values():
        assert not re.search(r"<(?!/?b>|br>)", json.dumps(figure.to_plotly_json()["data"]))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in items for place in [(*path, key), *places(item, (*path, key))]]


SMALL = whatif(
    nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU()), torch.empty(1, 3, 16, 16), hw="raspberrypi_5", target_s=1e-6
).to_dict()
SMALL["profiles"] = SMALL["profiles"][:3]


@settings(deadline=None, max_examples=15)  # each draws a page
@given(st.sampled_from(places(SMALL)), st.one_of(st.none(), st.integers(-5, 5), st.text(max_size=4), st.just([])))
def test_whatever_is_changed_is_drawn_or_refused_in_one_line(path: tuple[Any, ...], value: Any) -> None:
    changed = copy.deepcopy(SMALL)
    place: Any = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    refused = ""
    try:
        render_page(changed, plotlyjs="directory")
    except RooflineError as error:
        refused = str(error)
    assert "\n" not in refused
