"""The pages of activations compared, and of each on its own, as plain figures: the numbers are those of the result."""

from __future__ import annotations

import copy
import json
import re
from dataclasses import replace
from html import unescape
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from roofline import RooflineError, load_profile
from roofline.activation_comparison import TERMS
from roofline.measurement.result import Failure
from roofline.reports.activations_page import PALE, TERM_COLORS
from roofline.reports.elementwise_page import RING_PX
from roofline.reports.pages import draw, page_of, render_page
from tests.timed_activations import compared, interrupted, measure, run_of, timed_each

EVIL = "<script>alert(1)</script>"
ACTS = ["relu", "silu", "hardswish", "se_relu"]


def plain(result: Any) -> dict[str, Any]:
    """As a saved file holds it."""
    data: dict[str, Any] = json.loads(result.to_json())
    return data


@pytest.fixture(scope="module")
def data() -> dict[str, Any]:
    vector = replace(load_profile("pixel6_tpu"), id="vector", vector_ops_per_s=6e10, figures={})
    return plain(compared(acts=ACTS, hw=["pixel6_tpu", vector]))


@pytest.fixture(scope="module")
def equal() -> dict[str, Any]:
    return plain(compared(acts=["relu", "silu"], hw=["iphone12_ane"], device=None))


@pytest.fixture(scope="module")
def each() -> dict[str, Any]:
    return plain(timed_each())


def traces(data: dict[str, Any], figure: str, role: str) -> list[Any]:
    return [trace for trace in page_of(data).figures[figure].data if (trace.meta or {}).get("role") == role]


# --- activations compared ---------------------------------------------------------------------------------------------


def test_a_bar_for_each_activation_at_each_place_and_one_as_measured(data: dict[str, Any]) -> None:
    bars = {trace.meta["place"]: trace for trace in traces(data, "ratios", "ratios")}
    assert list(bars) == ["pixel6_tpu", "vector", "measured"]
    for place in ("pixel6_tpu", "vector"):
        assert list(bars[place].x) == [row["ratio_to_relu_predicted"][place] for row in data["rows"]]
    measured = bars["measured"]
    assert list(measured.x) == [row["ratio_to_relu_measured"] for row in data["rows"]]
    for value, up, down, row in zip(
        measured.x, measured.error_x.array, measured.error_x.arrayminus, data["rows"], strict=True
    ):
        assert [value - down, value + up] == pytest.approx(row["ratio_to_relu_measured_ci95"])
    assert list(measured.y) == ["ReLU", "SiLU", "h-swish", "SE-ReLU"]


@pytest.mark.parametrize(("figure", "place"), [("parts-0", "pixel6_tpu"), ("parts-1", "vector")])
def test_the_stacked_parts_are_the_whole(data: dict[str, Any], figure: str, place: str) -> None:
    stacked = [sum(parts) for parts in zip(*(trace.x for trace in traces(data, figure, "parts")), strict=True)]
    assert stacked == pytest.approx([row["predicted_s"][place] for row in data["rows"]])
    assert {trace.meta["term"] for trace in traces(data, figure, "parts")} <= set(TERMS) == set(TERM_COLORS)


def test_the_measured_dots_are_the_stopwatchs(data: dict[str, Any]) -> None:
    (dots,) = traces(data, "measured", "measured")
    assert list(dots.x) == [row["measured_s"] for row in data["rows"]]


def doubtful(factories: Any, request: Any, *, progress: Any = None, labels: Any = ()) -> Any:
    run = measure(factories, request, labels=labels)
    relu, silu, hswish, se = run.measurements
    return run_of([relu, replace(silu, status="contended"), replace(hswish, status="capped"), se])


def test_what_is_not_to_be_judged_by_is_seen_to_be_so() -> None:
    data = plain(compared(acts=ACTS, measure=doubtful))
    bars = next(trace for trace in traces(data, "ratios", "ratios") if trace.meta["place"] == "measured")
    assert list(bars.marker.opacity) == [1, PALE, 1, 1]
    assert [text.strip() for text in bars.text] == ["", "contended", "", ""]
    (dots,) = traces(data, "measured", "measured")
    assert list(dots.marker.symbol) == ["circle", "circle-open", "circle", "circle"]
    assert list(dots.text) == ["", "contended", "", ""]


def test_where_nothing_was_measured_nothing_is_drawn() -> None:
    def busy(factories: Any, request: Any, *, progress: Any = None, labels: Any = ()) -> Any:
        return run_of([], failures=tuple(Failure(model=label, reason="too busy", left_out=9) for label in labels))

    data = plain(compared(acts=["relu", "silu"], hw=["iphone12_ane"], measure=busy))
    assert page_of(data).figures == {}
    html = render_page(data, plotlyjs="directory")
    assert "Nothing was measured" in html
    assert "SiLU was not measured: too busy." in html


def test_where_relu_is_doubtful_so_is_every_ratio() -> None:
    def noisy(factories: Any, request: Any, *, progress: Any = None, labels: Any = ()) -> Any:
        relu, *others = measure(factories, request, labels=labels).measurements
        return run_of([replace(relu, status="noisy"), *others])

    bars = traces(plain(compared(acts=ACTS, measure=noisy)), "ratios", "ratios")[-1]
    assert [text.strip() for text in bars.text] == ["noisy", "ReLU noisy", "ReLU noisy", "ReLU noisy"]


def test_where_all_are_equal_there_are_no_bars_but_a_reason(equal: dict[str, Any]) -> None:
    assert page_of(equal).figures == {}
    html = render_page(equal, plotlyjs="directory")
    assert "take the same, at least 1.33 ms: each runs inside the op before it" in html
    assert "data-figure" not in html


def test_one_place_that_is_equal_beside_one_that_is_not() -> None:
    mixed = plain(compared(acts=["relu", "silu"], hw=["iphone12_ane", "pixel6_tpu"], device=None))
    assert list(page_of(mixed).figures) == ["ratios", "parts-1"]
    assert [trace.meta["place"] for trace in traces(mixed, "ratios", "ratios")] == ["pixel6_tpu"]


def test_measured_alone_and_only_in_part() -> None:
    alone = plain(compared(hw=None, device="cpu"))
    assert list(page_of(alone).figures) == ["ratios", "measured"]
    part = plain(compared(measure=interrupted))
    assert [len(trace.x) for trace in traces(part, "ratios", "ratios")] == [3, 1]
    assert "not measured" in render_page(part, plotlyjs="directory")


def test_the_page_tells_all_of_the_result(data: dict[str, Any]) -> None:
    html = render_page(data, command="roofline activations", plotlyjs="directory")
    text = unescape(re.sub(r"<[^>]+>", " ", html))
    for line in (data["verdict"], *data["notes"], *data["profiles"][0]["reasons"]):
        assert line in text
    for item in data["agreements"]:
        assert item["meaning"] in text
    assert "from-memory" in text
    assert "A Processor; fp32, eager, 2 threads" in text


def test_a_network_of_which_nothing_is_published(data: dict[str, Any]) -> None:
    html = render_page(plain(compared(model="mobilenetv2_100", device=None)), plotlyjs="directory")
    assert "What is published" not in html


# --- element by element -----------------------------------------------------------------------------------------------


def test_a_line_for_each_function_and_its_reference(each: dict[str, Any]) -> None:
    for figure, in_place, reference in (("out-of-place", False, "copy"), ("in-place", True, "scale")):
        lines = {trace.meta["activation"]: trace for trace in traces(each, figure, "line")}
        assert list(lines) == [reference, "relu", "hardswish", "silu"]
        for name, line in lines.items():
            rows = [row for row in each["rows"] if row["activation"] == name and row["in_place"] == in_place]
            assert list(line.y) == [row["bytes_per_s"] for row in rows]
            assert list(line.x) == [level["footprint_bytes"] for level in each["levels"]]
        assert list(lines["silu"].marker.symbol) == ["diamond", "diamond", "circle"]


def test_a_timing_that_is_not_to_be_judged_by_has_a_ring(each: dict[str, Any]) -> None:
    assert "Ringed" not in render_page(each, plotlyjs="directory")
    changed = copy.deepcopy(each)
    (row,) = (r for r in changed["rows"] if (r["activation"], r["level"], r["in_place"]) == ("silu", "L2", False))
    row["status"] = "contended"
    line = next(trace for trace in traces(changed, "out-of-place", "line") if trace.meta["activation"] == "silu")
    assert list(line.marker.line.width) == [1, RING_PX, 1]
    assert "Ringed" in render_page(changed, plotlyjs="directory")


def test_the_page_of_each_function_tells_where_it_was_measured(each: dict[str, Any]) -> None:
    table = page_of(each).context["environment_table"]
    assert [[cell.text for cell in row] for row in table.cells()] == [
        ["device.type", "cpu"], ["device.name", "A Processor"], ["versions.torch", "2.0"],
    ]  # fmt: skip


def test_the_page_of_each_function_tells_all(each: dict[str, Any]) -> None:
    html = render_page(each, plotlyjs="directory")
    for line in (each["verdict"], *each["notes"]):
        assert line in unescape(html)
    assert html.count("<tr>") == len(each["rows"]) + 1 + 3 + 1  # and three facts of the machine


# --- all pages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["data", "equal", "each"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_pictures_can_be_drawn(what: str, theme: str, request: pytest.FixtureRequest) -> None:
    for figure in draw(request.getfixturevalue(what), theme).values():
        assert "var(--" not in str(figure.to_plotly_json()["data"])


@pytest.mark.parametrize("what", ["data", "equal", "each"])
def test_beside_plotly_the_page_stays_small(what: str, request: pytest.FixtureRequest) -> None:
    assert len(render_page(request.getfixturevalue(what), plotlyjs="directory").encode()) < 200_000


KEYS = {"activation", "place", "where", "schema", "bound", "latency_kind", "fusion", "level"}


def renamed(value: Any, key: str = "") -> Any:
    """The same data with every text replaced that a user or another release may have written."""
    if isinstance(value, dict):
        return {name: renamed(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [renamed(item, key) for item in value]
    return f"{EVIL}{value}" if isinstance(value, str) and key not in KEYS | {"id"} else value


@pytest.mark.parametrize("what", ["data", "each"])
def test_no_text_becomes_markup_or_script(what: str, request: pytest.FixtureRequest) -> None:
    evil = renamed(request.getfixturevalue(what))
    html = render_page(evil, command=EVIL, plotlyjs="directory")
    assert "alert(1)" in html
    assert "<script>alert" not in html
    for figure in page_of(evil).figures.values():
        assert not re.search(r"<(?!/?b>|br>)", json.dumps(figure.to_plotly_json()["data"]))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, item in items for place in [(*path, key), *places(item, (*path, key))]]


SMALL = [
    plain(compared(acts=["relu", "silu"], hw=["pixel6_tpu", "iphone12_ane"])),
    plain(timed_each(["relu", "silu"])),
]


@settings(deadline=None)
@given(
    st.sampled_from([(i, place) for i, small in enumerate(SMALL) for place in places(small)]),
    st.one_of(st.none(), st.integers(-5, 5), st.text(max_size=4), st.just([])),
)
def test_whatever_is_changed_is_drawn_or_refused_in_one_line(where: tuple[int, tuple[Any, ...]], value: Any) -> None:
    number, path = where
    changed = copy.deepcopy(SMALL[number])
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
