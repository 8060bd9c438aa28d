"""The page of a sweep, as a reader uses it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from roofline.reports.pages import draw
from roofline.sweep import OPERATIONS, Candidate, MarkedProfile, RidgeSweep, SavedLayers, sweep, sweep_layers
from roofline.units import significant
from tests.browser.controls import put_choice, put_text

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from .conftest import Opener

pytestmark = pytest.mark.usefixtures("traced_once")

ZOO = (
    "mobilenetv1_100 mobilenetv1_150 mobilenetv2_100 mobilenetv3_large_100 mobilenetv3_large_150 "
    "mobilenetv4_conv_small mobilenetv4_conv_medium mobilenetv4_conv_large mobilenetv4_hybrid_medium"
).split()
EVIL = "<script>alert(1)</script>"
TINY = 1e-12


@pytest.fixture(scope="module")
def mobile() -> RidgeSweep:
    return sweep(ZOO)


@pytest.fixture(scope="module")
def opened(open_page: Opener, mobile: RidgeSweep) -> Page:
    return open_page(mobile.to_dict(), command="roofline sweep 'mobilenet*' --html sweep.html",
                     permissions=["clipboard-read", "clipboard-write"])  # fmt: skip


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    """One page for all tests, put back as it was after each."""
    yield opened
    opened.keyboard.press("Escape")
    opened.mouse.move(0, 0)
    for table in ("standing", "crossings"):
        put_text(opened.locator(f"#{table}-search"), "")
    put_choice(opened.locator("#relative"), "fastest")
    for box, on in (("log-latency", True), ("log-ridge", False), ("operation-shares", False), ("along-shares", True)):
        opened.locator(f"#{box}").set_checked(on)
    put_choice(opened.locator("#along-model"), "0")
    put_text(opened.get_by_label("Ridge point, MACs/byte"), "62")
    settle(opened)


def settle(page: Page) -> None:
    """Wait for what a frame of animation puts off, and have drawn what is out of sight."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate("Roofline.drawHidden()")


def go_to(page: Page, point: float) -> None:
    page.get_by_label("Ridge point, MACs/byte").fill(repr(point))
    settle(page)


def table(page: Page, id: str) -> dict[str, dict[str, str]]:
    """The shown rows of a table by their first cell, each by the CSV names of its columns."""
    rows: list[list[tuple[str, str]]] = page.evaluate(
        """id => {
            const table = document.getElementById(id);
            const keys = [...table.tHead.rows[0].cells].map(heading => heading.dataset.key);
            return [...table.tBodies[0].rows].filter(row => !row.hidden)
                .map(row => [...row.cells].map((cell, i) => [keys[i], cell.dataset.value ?? cell.textContent]));
        }""",
        id,
    )
    return {row[0][1]: dict(row) for row in rows}


def curves(page: Page) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = page.evaluate(
        "Roofline.specs.latency.data.map(({x, y, visible}) => ({x: x.slice(2), y: y.slice(2), visible}))"
    )
    return found


# --- the curves -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("normalisation", ["peak", "bandwidth"])
def test_the_pages_curves_are_those_of_python(open_page: Opener, mobile: RidgeSweep, normalisation: str) -> None:
    random = np.random.default_rng(5)
    models = [
        Candidate(
            name=f"random {number}",
            layers=SavedLayers(
                kind=random.choice(["conv", "linear", "pool", "softmax"], 80).astype(object),
                macs=np.where(random.random(80) < 0.2, 0, random.integers(0, 10**12, 80)),
                mem_bytes=np.where(random.random(80) < 0.1, 0, random.integers(0, 10**9, 80)),
                fusion="none", dtype="int8", fused_activations=frozenset(),
            ),
            top1=float(number),
        )
        for number in range(3)
    ]  # fmt: skip
    candidates = [*(model.candidate for model in mobile.models), *models]
    result = sweep_layers(candidates, normalisation=normalisation)
    page = open_page(result.to_dict(), plotlyjs="directory")
    knees = np.concatenate([model.curve.knees for model in result.models])
    points = [0.0, *random.choice(knees, 20), *random.uniform(0, 500, 20), *10 ** random.uniform(-3, 18, 20), 1e18]
    found = page.evaluate(
        "points => points.map(point => Roofline.sweep.at(point).map((standing, i) =>"
        " ({...standing, latency: String(standing.latency), parts: Roofline.sweep.parts(i, point).map(String)})))",
        list(map(float, points)),
    )
    for point, there in zip(points, found, strict=True):
        standings = {standing.name: (rank, standing) for rank, standing in enumerate(result.at(point), start=1)}
        for model, shown in zip(result.models, there, strict=True):
            rank, standing = standings[model.name]
            latency = math.inf if shown["latency"] == "Infinity" else float(shown["latency"])
            assert latency == pytest.approx(standing.latency, rel=TINY)
            assert shown["memory"] == pytest.approx(standing.memory_bound_share, rel=TINY, abs=TINY)
            assert (shown["rank"], shown["onFront"]) == (rank, standing.on_front)
            for part, curve in zip(shown["parts"], model.by_operation().values(), strict=True):
                expected = float(curve.time(point, normalisation=normalisation))
                assert float(part.replace("Infinity", "inf")) == pytest.approx(expected, rel=TINY)


def test_the_lines_are_relative_to_the_fastest_to_a_model_or_as_they_are(page: Page, mobile: RidgeSweep) -> None:
    points = curves(page)[0]["x"]
    times = np.array([model.curve.time(points) for model in mobile.models])
    for choice, base in (("fastest", times.min(axis=0)), ("", 1.0), ("3", times[3])):
        page.locator("#relative").select_option(choice)
        settle(page)
        drawn = page.evaluate("document.getElementById('plot-latency').data.map(trace => trace.y.slice(2))")
        for row, expected in zip(drawn, times / base, strict=True):
            assert row == pytest.approx(expected, rel=TINY)


def test_both_axes_switch_between_linear_and_logarithmic(page: Page) -> None:
    kinds = """(() => {
        const {xaxis, yaxis} = document.getElementById('plot-latency')._fullLayout;
        return [xaxis.type, yaxis.type];
    })()"""
    assert page.evaluate(kinds) == ["linear", "log"]
    page.get_by_label("ridge point on a log scale").check()
    page.get_by_label("latency on a log scale").uncheck()
    settle(page)
    assert page.evaluate(kinds) == ["log", "linear"]
    assert curves(page)[0]["x"][0] == 0.5, "a logarithmic axis has no 0"
    for plot in ("front", "along"):
        assert page.evaluate(f"document.getElementById('plot-{plot}')._fullLayout.xaxis.type") == "log"
    marks = page.evaluate("document.getElementById('plot-latency').layout.annotations.map(mark => mark.x)")
    assert marks
    assert max(marks) < 3


def test_a_click_on_a_name_hides_its_line(page: Page) -> None:
    button = page.locator("[data-model='2']")
    button.click()
    settle(page)
    assert [curve["visible"] for curve in curves(page)].count(False) == 1
    assert button.get_attribute("aria-pressed") == "false"
    button.click()
    settle(page)
    assert page.locator("#plot-latency .scatterlayer .trace").count() == len(ZOO)


# --- the ridge point that is chosen -----------------------------------------------------------------------------------


@pytest.mark.parametrize("point", [0.0, 7.5, 62.5, 433.8, 499.0, 12345.0])
def test_everything_follows_the_ridge_point(page: Page, mobile: RidgeSweep, point: float) -> None:
    go_to(page, point)
    standings = mobile.at(point)
    fastest = standings[0].latency
    rows = table(page, "standing")
    assert list(rows) == [standing.name for standing in standings], "sorted by rank"
    for standing in standings:
        row = rows[standing.name]
        assert float(row["relative_latency"]) == pytest.approx(standing.latency / fastest, rel=TINY)
        assert float(row["latency"]) == pytest.approx(standing.latency, rel=TINY)
        assert float(row["memory_bound_share"]) == pytest.approx(standing.memory_bound_share, rel=TINY)
        assert row["front"] == {True: "on the front", False: "dominated", None: "no top-1"}[standing.on_front]
    dots = page.evaluate(
        "Object.fromEntries(document.getElementById('plot-tradeoff').data.filter(trace => trace.customdata)"
        ".flatMap(({customdata, x, y, marker}) => customdata.map((i, n) => [i, [x[n], y[n], marker.opacity[n]]])))"
    )
    front = page.evaluate("document.getElementById('plot-tradeoff').data.find(t => t.meta.role === 'front').x")
    by_name = {standing.name: standing for standing in standings}
    for number, model in enumerate(mobile.models):
        x, y, opacity = dots[str(number)]
        standing = by_name[model.name]
        assert x == pytest.approx(standing.latency / fastest, rel=TINY)
        assert y == (0.4 if model.top1 is None else model.top1)
        assert (opacity < 1) == (standing.on_front is False), "the dominated are muted"
        assert (x in front) == bool(standing.on_front)
    bars = page.evaluate("document.getElementById('plot-operations').data.map(trace => trace.x)")
    for number, model in enumerate(mobile.models):
        parts = [float(part.time(point)) / fastest for part in model.by_operation().values()]
        assert [bar[number] for bar in bars[: len(OPERATIONS)]] == pytest.approx(parts, rel=TINY)
    lines = page.evaluate("document.getElementById('plot-latency').layout.shapes.filter(s => s.name === 'chosen')")
    assert [(line["x0"], line["visible"]) for line in lines] == [(point, point <= 500)]
    sentence = page.locator("#standing-sentence").inner_text()
    assert f"At {significant(point, 4)} MACs/byte" in sentence
    assert f"the fastest is {standings[0].name}" in sentence
    assert ", ".join(standing.name for standing in standings if standing.on_front) in sentence


def test_the_slider_moves_by_key_and_is_finer_at_low_ridge_points(page: Page) -> None:
    slider = page.locator("#ridge-slider")
    steps = []
    for key in ("Home", "ArrowRight", "ArrowRight", "End"):
        slider.press(key)
        settle(page)
        steps.append(float(page.evaluate("Roofline.specs.latency.data[0].x[0]")))
    assert steps[0] == 0 < steps[1] < steps[2] < 0.01
    assert steps[3] == 500
    assert slider.get_attribute("aria-valuetext") == "500 MACs/byte"


def test_what_is_no_ridge_point_changes_nothing(page: Page) -> None:
    before = table(page, "standing")
    for nonsense in ("", "-1", "1e30"):
        page.get_by_label("Ridge point, MACs/byte").fill(nonsense)
        settle(page)
        assert table(page, "standing") == before
        assert page.locator("#ridge-number").get_attribute("aria-invalid") == "true"


def test_a_device_brings_its_ridge_point(page: Page, mobile: RidgeSweep) -> None:
    mark = mobile.profiles[-1]
    page.locator("#ridge-profile").select_option(label=f"{mark.name}, {mark.dtype} ({significant(mark.ridge_point)})")
    settle(page)
    assert page.evaluate("Roofline.specs.latency.data[0].x[0]") == mark.ridge_point
    assert f"({mark.name}, {mark.dtype})" in page.locator("#standing-sentence").inner_text()
    go_to(page, 33.0)
    assert page.locator("#ridge-profile").input_value() == ""


def test_every_profile_is_marked_and_named(page: Page, mobile: RidgeSweep) -> None:
    layout = page.evaluate("document.getElementById('plot-latency').layout")
    points = [mark.ridge_point for mark in mobile.profiles]
    assert [line["x0"] for line in layout["shapes"] if line["name"] == "profile"] == points
    assert [mark["text"] for mark in layout["annotations"]] == [mark.id for mark in mobile.profiles]
    boxes = [box for label in page.locator("#plot-latency .annotation-text").all() if (box := label.bounding_box())]
    assert len(boxes) == len(points)
    assert not overlapping(boxes)


def overlapping(boxes: list[Any]) -> bool:
    return any(
        a["x"] < b["x"] + b["width"] and b["x"] < a["x"] + a["width"]
        and a["y"] + 2 < b["y"] + b["height"] and b["y"] + 2 < a["y"] + a["height"]
        for i, a in enumerate(boxes) for b in boxes[i + 1 :]
    )  # fmt: skip


@pytest.mark.parametrize("width", [1200, 360])
def test_60_profiles_keep_their_names_apart(open_page: Opener, mobile: RidgeSweep, width: int) -> None:
    random = np.random.default_rng(2)
    marks = [
        MarkedProfile(id=f"some_device_{i}", name=f"Device {i}", dtype="int8", ridge_point=float(point))
        for i, point in enumerate(sorted(10 ** random.uniform(0, 2.7, 60)))
    ]
    page = open_page(
        replace(mobile, profiles=tuple(marks)).to_dict(), viewport={"width": width, "height": 800}, plotlyjs="directory"
    )
    for log in (False, True):
        page.locator("#log-ridge").set_checked(log)
        settle(page)
        boxes = page.evaluate(
            "[...document.querySelectorAll('#plot-latency .annotation-text')]"
            ".map(label => label.getBoundingClientRect().toJSON())"
        )
        assert len(boxes) >= 4
        assert not overlapping(boxes)
    assert page.evaluate("document.documentElement.scrollWidth") == width


# --- fronts, crossings, operations ------------------------------------------------------------------------------------


def test_what_has_no_top1_stands_aside(page: Page, mobile: RidgeSweep) -> None:
    assert page.locator("#plot-tradeoff .xy2 .scatterlayer .points path").count() == len(mobile.without_top1) > 0
    assert "no published top-1 at this size" in (page.locator("#plot-tradeoff").text_content() or "")
    caption = page.locator("#figure-tradeoff figcaption").inner_text()
    assert all(name in caption for name in mobile.without_top1)


def test_each_front_is_a_bar(page: Page, mobile: RidgeSweep) -> None:
    count = sum(len(parts) for parts in mobile.pareto_intervals.values())
    assert page.locator("#plot-front .barlayer .point path").count() == count
    names = page.locator("#plot-front .ytick > text").all_text_contents()
    assert len(names) == len(mobile.pareto_intervals)


def test_the_crossings_sort_filter_and_lead_to_their_ridge_points(page: Page, mobile: RidgeSweep) -> None:
    def shown() -> list[float]:
        found: list[float] = page.evaluate(
            "[...document.querySelectorAll('#crossings tr:not([hidden]) [data-value]')].map(c => +c.dataset.value)"
        )
        return found

    points = [crossing.ridge_point for crossing in mobile.crossings]
    assert shown() == points
    heading = page.locator("#crossings th[data-key='ridge_point_macs_per_byte'] button")
    heading.click()
    assert shown() == points[::-1]
    heading.click()
    page.locator("#crossings-search").fill("mobilenetv3_large_150 conv_medium")
    wanted = [c for c in mobile.crossings if {c.a, c.b} == {"mobilenetv3_large_150", "mobilenetv4_conv_medium"}]
    assert shown() == [crossing.ridge_point for crossing in wanted]
    page.locator("#crossings tbody tr:not([hidden]) button").click()
    settle(page)
    assert page.evaluate("Roofline.specs.latency.data[0].x[0]") == wanted[0].ridge_point
    page.locator("#crossings-search").fill("")
    page.locator("#crossings-faster_below").select_option("mobilenetv2_100")
    assert shown() == [c.ridge_point for c in mobile.crossings if c.a == "mobilenetv2_100"]
    page.locator("#crossings-faster_below").select_option("")
    page.locator("[data-copy=crossings]").click()
    page.locator("[data-copy=crossings]", has_text="Copied").wait_for()
    copied = csv.DictReader(io.StringIO(page.evaluate("navigator.clipboard.readText()")))
    assert [float(row["ridge_point_macs_per_byte"]) for row in copied] == points


def test_operations_as_shares(page: Page, mobile: RidgeSweep) -> None:
    go_to(page, 100.0)
    page.get_by_label("as shares of each model").check()
    settle(page)
    bars = page.evaluate("document.getElementById('plot-operations').data.map(trace => trace.x)")
    rows = table(page, "by-operation")
    for number, model in enumerate(mobile.models):
        times = {name: float(part.time(100.0)) for name, part in model.by_operation().items()}
        shares = [time / sum(times.values()) for time in times.values()]
        assert [bar[number] for bar in bars[: len(OPERATIONS)]] == pytest.approx(shares, rel=TINY)
        found = [float(rows[model.name][f"{name}_share"]) for name in OPERATIONS]
        assert found == pytest.approx(shares, rel=TINY)


def test_operations_along_the_sweep_of_a_chosen_model(page: Page, mobile: RidgeSweep) -> None:
    page.locator("#along-model").select_option("mobilenetv4_hybrid_medium")
    model = mobile.models[-1]
    for shares in (True, False):
        page.locator("#along-shares").set_checked(shares)
        settle(page)
        areas = page.evaluate("document.getElementById('plot-along').data.map(({x, y}) => [x, y])")
        whole = model.curve.time(areas[0][0]) if shares else 1.0
        for (x, y), part in zip(areas, model.by_operation().values(), strict=True):
            assert y == pytest.approx(part.time(x) / whole, rel=TINY)


# --- highlights, themes, names ----------------------------------------------------------------------------------------


def test_a_row_its_dot_and_its_line_highlight_together(page: Page) -> None:
    page.locator("#standing tr[data-item='3']").hover()
    settle(page)
    assert page.locator("#plot-latency .ring").count() == 1
    assert page.locator("#plot-tradeoff .ring").count() == 1
    assert ZOO[3] in (page.locator("#plot-tradeoff .hoverlayer").text_content() or "")
    faded = page.evaluate(
        "[...document.querySelectorAll('#plot-latency .scatterlayer .trace')].map(line => line.style.opacity)"
    )
    assert [number for number, opacity in enumerate(faded) if opacity in ("", "1")] == [3]


def test_hovering_a_line_names_its_model(page: Page) -> None:
    settle(page)
    at: list[float] = page.evaluate(
        """() => {
            const plot = document.getElementById('plot-latency');
            plot.scrollIntoView({block: 'center', behavior: 'instant'});
            const box = plot.getBoundingClientRect();
            const {xaxis, yaxis} = plot._fullLayout;
            const {x, y} = plot._fullData[7];
            return [box.left + xaxis._offset + xaxis.d2p(x[60]), box.top + yaxis._offset + yaxis.d2p(y[60])];
        }"""
    )
    settle(page)  # what came into sight is drawn
    page.mouse.move(at[0] - 3, at[1])
    page.mouse.move(*at, steps=3)
    page.locator("#plot-latency .hovertext").wait_for()
    text = page.locator("#plot-latency .hoverlayer").text_content() or ""
    assert ZOO[7] in text
    assert "times the fastest" in text
    page.locator("#standing tr.is-linked[data-item='7']").wait_for()


def test_dark_mode_and_print_draw_again(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    settle(page)
    line = "getComputedStyle(document.querySelector('#plot-latency .scatterlayer .js-line')).stroke"
    assert page.evaluate(line) == "rgb(74, 159, 219)"
    page.emulate_media(color_scheme="light")
    settle(page)
    assert page.evaluate(line) == "rgb(0, 114, 178)"
    assert page.pdf()[:4] == b"%PDF"
    settle(page)


def test_names_that_are_markup_show_as_text_on_a_phone_too(open_page: Opener, mobile: RidgeSweep) -> None:
    names = [EVIL, "<img src=x onerror=alert(3)>", "%{x} &amp; ${1}", "</script><script>alert(2)</script>"]
    candidates = [replace(model.candidate, name=name) for model, name in zip(mobile.models[2:], names, strict=False)]
    candidates[1] = replace(candidates[1], top1=None)
    mark = MarkedProfile(id=EVIL, name=EVIL, dtype="int8", ridge_point=90.0, kind=EVIL)
    result = sweep_layers(candidates, profiles=[mark])
    page = open_page(result.to_dict(), command=EVIL, viewport={"width": 360, "height": 740})
    assert page.locator("img").count() == 0
    assert page.locator("script").count() == 5
    assert set(table(page, "standing")) == set(names)
    assert page.locator("#plot-latency .annotation-text").all_text_contents() == [EVIL]
    page.locator("#standing tr[data-item='0']").hover()
    settle(page)
    for plot in ("latency", "tradeoff"):
        assert EVIL in (page.locator(f"#plot-{plot} .hoverlayer").text_content() or "")
    page.locator("#relative").select_option("0")
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_a_phone_has_no_sideways_scroll(open_page: Opener, mobile: RidgeSweep) -> None:
    page = open_page(
        mobile.to_dict(), viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True, plotlyjs="directory"
    )
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for figure in page.locator(".plot").all():
        box = figure.bounding_box()
        assert box is not None
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 360


def test_sweeps_of_little_have_pages(open_page: Opener) -> None:
    def layers(count: int) -> SavedLayers:
        return SavedLayers(
            kind=np.full(count, "conv", dtype=object), macs=np.full(count, 9), mem_bytes=np.full(count, 3),
            fusion="none", dtype="int8", fused_activations=frozenset(),
        )  # fmt: skip

    for counts, normalisation in (((0,), "peak"), ((0, 1), "bandwidth")):
        candidates = [Candidate(name=f"net {i}", layers=layers(count)) for i, count in enumerate(counts)]
        page = open_page(sweep_layers(candidates, normalisation=normalisation).to_dict(), plotlyjs="directory")
        go_to(page, 0.0)
        assert len(table(page, "standing")) == len(counts)


def test_the_pictures_of_python_are_those_of_the_page(page: Page, mobile: RidgeSweep) -> None:
    figures = draw(mobile.to_dict())
    drawn = page.evaluate("Object.keys(Roofline.specs)")
    assert sorted(figures) == sorted(drawn)
    lines = [trace for trace in figures["latency"].data if trace.meta["role"] == "curve"]
    on_page = page.evaluate(
        "Roofline.specs.latency.data.map(({y}) => [Math.min(...y.slice(2)), Math.max(...y.slice(2))])"
    )
    for trace, (low, high) in zip(lines, on_page, strict=True):
        assert (min(trace.y), max(trace.y)) == pytest.approx((low, high), rel=1e-2)
