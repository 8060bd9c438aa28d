"""The page of a design space as text and figures; tests/browser/ opens it."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest

from roofline import RooflineError
from roofline.exploring import analysis
from roofline.exploring.analysis import LISTED, summary
from roofline.reports.figures import card
from roofline.reports.pages import page_of, render_page
from roofline.reports.space_page import DRAWN
from tests.explored import networks, write_run
from tests.reports.drawn import table, traces

EVIL = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = write_run(tmp_path_factory.mktemp("run") / "out", [networks(300)])
    data: dict[str, Any] = json.loads(summary(folder, best=5).to_json())
    return data


@pytest.fixture
def data(saved: dict[str, Any]) -> dict[str, Any]:
    return copy.deepcopy(saved)


# --- what the figures show --------------------------------------------------------------------------------------------


def test_each_device_has_its_distribution_function(data: dict[str, Any]) -> None:
    page = page_of(data)
    curves = [*traces(page, "latency", "distribution"), *traces(page, "ridge", "distribution")]
    assert [curve.meta["place"] for curve in curves] == ["fast_npu", "slow_cpu", "ridge=10"]
    for curve, place in zip(curves, data["places"], strict=True):
        assert list(curve.x) == [place["latency_s"]["values"][0], *place["latency_s"]["values"]]
        assert list(curve.y) == [0, *place["latency_s"]["shares"]]
        assert curve.line.shape == "hv", "it jumps at each value, and is level between"
    assert curves[0].hovertext[-1] == card("Fast NPU (prediction)", ["100 % take at most 0.973 ms"]) or (
        "100 % take at most" in curves[0].hovertext[-1]
    )
    (macs,) = traces(page, "macs", "distribution")
    assert macs.x[-1] == data["macs"]["values"][-1]


def test_without_devices_there_are_ridge_points_alone(data: dict[str, Any]) -> None:
    data["places"] = data["places"][2:]
    assert set(page_of(data).figures) == {"ridge", "macs", "front", "correlation", "importance"}
    assert 'id="figure-latency"' not in render_page(data, plotlyjs="cdn")


def test_the_front_of_each_place_is_over_its_dots(data: dict[str, Any]) -> None:
    page = page_of(data)
    for dots, line, place in zip(
        traces(page, "front", "dots"), traces(page, "front", "front"), data["places"], strict=True
    ):
        assert dots.meta["place"] == line.meta["place"] == place["id"]
        assert dots.visible == line.visible == (place["id"] == "fast_npu"), "one place at a time"
        sampled = dict(zip(data["sample"]["index"], data["sample"][place["id"]], strict=True))
        others = {f"network {index}": y for index, y in sampled.items() if index not in place["front"]["index"]}
        assert list(dots.text) == list(others), "a network has one mark, and one card"
        assert list(dots.y) == pytest.approx(list(others.values()), rel=1e-4)
        assert list(line.y) == place["front"]["latency_s"] == sorted(place["front"]["latency_s"])
        assert list(line.x) == place["front"]["value"] == sorted(place["front"]["value"])
        items = zip(line.customdata, place["front"]["index"], strict=True)
        linked = {index: data["rows"][item]["index"] for item, index in items if item is not None}
        assert list(linked) == list(linked.values()), "a mark is a row of the table"
        assert len(linked) >= min(len(line.x), LISTED)
        for x, y in zip(dots.x, dots.y, strict=True):
            assert min(b for a, b in zip(line.x, line.y, strict=True) if a >= x * 0.9999) <= y * 1.0001, (
                "none is below it"
            )


def test_a_sample_says_that_it_is_one(data: dict[str, Any]) -> None:
    assert page_of(data).context["dots"] == "A dot is a network, all 300 are drawn."
    data["networks"] = 1_000_000
    assert "a fair sample of 300 of the 1,000,000 networks. The front is of all" in page_of(data).context["dots"]


def test_the_parameters_are_in_the_order_of_what_they_tell(data: dict[str, Any]) -> None:
    page = page_of(data)
    shown = page.data["names"]["correlation"]["wide"]
    strongest = [max(abs(p["rank_correlation"]["features"][name]) for p in data["places"]) for name in shown]
    assert strongest == sorted(strongest, reverse=True)
    assert len(shown) == min(DRAWN, len(data["of_feature"]))
    assert len(table(page, "feature").rows) == len(data["of_feature"])
    for trace, place in zip(traces(page, "importance", "importance"), data["places"], strict=True):
        assert list(trace.x) == [place["importance"][name] for name in page.data["names"]["importance"]["wide"]]
    assert page.figures["correlation"].layout.yaxis.autorange == "reversed"


def test_without_a_forest_one_sentence_says_what_it_takes(data: dict[str, Any]) -> None:
    data["forest"] = None
    for place in data["places"]:
        place |= {"importance": {}, "forest_r2": None}
    assert "importance" not in page_of(data).figures
    assert "roofline-profiler[learn]" in render_page(data, plotlyjs="cdn")


# --- tables and words -------------------------------------------------------------------------------------------------


def test_each_network_of_the_table_is_whole(data: dict[str, Any]) -> None:
    page = page_of(data)
    listed = table(page, "network")
    keys = [column.key for column in listed.columns]
    assert keys == [
        "index", "fronts", "macs", "params", "latency_s:fast_npu", "latency_s:slow_cpu", "latency_s:ridge=10",
        "stem", "widths", "depths", "blocks", "activation", "always",
    ]  # fmt: skip
    for cells, row in zip(listed.cells(), data["rows"], strict=True):
        assert cells[0].value == row["index"]
        assert cells[1].value == sum(row["index"] in place["front"]["index"] for place in data["places"])
        assert cells[4].value == row["latency_s:fast_npu"]
        assert cells[8].text == ", ".join(map(str, row["widths"]))


def test_places_have_their_quantiles(data: dict[str, Any]) -> None:
    cells = table(page_of(data), "place").cells()
    assert [row[0].text for row in cells] == ["Fast NPU", "Slow CPU", "ridge point 10 MACs/byte"]
    for row, place in zip(cells, data["places"], strict=True):
        values, shares = place["latency_s"]["values"], place["latency_s"]["shares"]
        assert (row[2].value, row[6].value) == (values[0], values[-1])
        assert row[4].value == next(value for value, share in zip(values, shares, strict=True) if share >= 0.5)


def test_what_was_asked_and_what_came_of_it_is_told(data: dict[str, Any]) -> None:
    page = page_of(data)
    asked = {row[0].text: row[1].text for row in table(page, "asked").cells()}
    assert asked["n"] == "1,000"
    assert asked["hw"] == "fast_npu, slow_cpu"
    assert asked["seed"] == "0"
    tiles = {tile["id"]: tile for tile in page.context["tiles"]}
    assert tiles["networks"]["note"] == "of 1,500 drawn, 20 %"
    assert (tiles["invalid"]["value"], tiles["outside"]["value"]) == ("300", "200")
    assert tiles["median"]["kind"] == "prediction"
    text = render_page(data, plotlyjs="cdn")
    assert "torch 2.9.0" in text
    assert "a table" in text, "the source of a figure of the device"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("macs", [180e6, 220e6], "180 M..220 M"),
        ("params", [None, 5e6], "..5 M"),
        ("latency", {"tpu": [None, 0.005]}, "tpu: ..0.005"),
        ("hw", ["a", "b"], "a, b"),
        ("ridge", [10.0, 30.0], "10.0, 30.0"),
        ("settings", {"act": "relu", "depths": [2, 2, 6]}, "act: relu, depths: 2, 2, 6"),
    ],
)
def test_a_request_reads_as_it_was_written(data: dict[str, Any], name: str, value: object, said: str) -> None:
    data["request"] = {name: value, "batch": None, "nothing": []}
    assert [[cell.text for cell in row] for row in table(page_of(data), "asked").cells()] == [[name, said]]


def test_a_run_that_says_nothing_of_itself_is_drawn(data: dict[str, Any]) -> None:
    for key in ("space", "request", "counts", "devices", "versions", "ridge_points_macs_per_byte", "complete"):
        del data[key]
    text = render_page(data, plotlyjs="cdn")
    assert "<h1>Design space</h1>" in text
    assert "What was asked" not in text


def test_an_accuracy_takes_the_place_of_macs(tmp_path: Path) -> None:
    data = json.loads(summary(write_run(tmp_path / "out", [networks(100, accuracy=True)])).to_json())
    page = page_of(data)
    assert page.figures["front"].layout.xaxis.title.text == "accuracy"
    assert page.figures["front"].layout.xaxis.type != "log"
    assert [column.key for column in table(page, "network").columns][2:4] == ["accuracy", "reward"]
    text = render_page(data, plotlyjs="cdn")
    assert "Latency against accuracy" in text
    assert "No accuracy is known here" not in text


def test_one_network_is_drawn_too(tmp_path: Path) -> None:
    data = json.loads(summary(write_run(tmp_path / "out", [networks(1)])).to_json())
    assert "All networks have the same parameters" in render_page(data, plotlyjs="cdn")


# --- a page that is only text and data --------------------------------------------------------------------------------


def test_nothing_of_a_dataset_becomes_markup(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(analysis, "has_forest", lambda: False)
    table = networks(80)
    named = table.rename_columns([EVIL if name == "activation" else name for name in table.column_names])
    description = {
        "schema": "roofline/space/1", "space": {"name": EVIL, "summary": EVIL}, "request": {EVIL: EVIL},
        "devices": [{"id": "fast_npu", "name": EVIL, "latency_kind": EVIL}], "versions": {EVIL: EVIL},
    }  # fmt: skip
    text = render_page(
        json.loads(summary(write_run(tmp_path / "out", [named], description=description)).to_json()),
        command=EVIL,
        plotlyjs="cdn",
    )
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text


def test_it_takes_nothing_from_elsewhere(data: dict[str, Any]) -> None:
    text = re.sub(r"<script>.*?</script>", "", render_page(data), flags=re.DOTALL)
    assert not re.search(r"""(src|href)=["'](?!#|data:)""", text)
    assert "default-src &#39;none&#39;" in text


@pytest.mark.parametrize("key", ["places", "rows", "macs", "sample", "verdict"])
def test_a_summary_that_was_cut_is_refused_in_one_line(data: dict[str, Any], key: str) -> None:
    del data[key]
    with pytest.raises(RooflineError, match=rf"lacks '{key}'"):
        render_page(data, plotlyjs="cdn")


def test_a_search_is_no_sample_of_the_space(data: dict[str, Any]) -> None:
    assert "of the whole space lies within 7.8 percentage points of each" in " ".join(
        render_page(data, plotlyjs="cdn").split()
    )
    data["search"] = {"objective": "reward", "target_s": 0.005}
    text = render_page(data, plotlyjs="cdn")
    assert "this is not how the space is distributed" in text
    assert ["objective", "reward"] in [[cell.text for cell in row] for row in table(page_of(data), "asked").cells()]
