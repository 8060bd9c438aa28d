"""The page of a fit, as a reader uses it."""

from __future__ import annotations

import copy
import csv
import io
import json
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from roofline.fit import infer
from roofline.reports.figures import colors
from tests.browser.controls import put_text
from tests.fit_rows import known, network

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from .conftest import Opener

EVIL = "<script>alert(1)</script>"
FIGURES = ("scatter", "residuals", "ridge")


@cache
def _data() -> dict[str, Any]:
    rows = known(("inference_overhead",), [network(seed) for seed in range(9)], noise=0.08, seed=1)
    result = infer(rows, device="Some NPU", source="some.csv", terms=["inference_overhead"])
    data: dict[str, Any] = json.loads(result.to_json())
    for number, row in enumerate(data["rows"]):
        row["note"] = f"Table {number}, of a paper with a long title that takes more than one line"
        row["name"] = f"a_family_of_networks_{number}_large_seg"
    return data


@pytest.fixture
def data() -> dict[str, Any]:
    return copy.deepcopy(_data())


@pytest.fixture(scope="module")
def opened(open_page: Opener) -> Page:
    return open_page(_data(), command="roofline fit", permissions=["clipboard-read", "clipboard-write"])


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    """One page for all tests, put back as it was after each."""
    yield opened
    opened.keyboard.press("Escape")
    opened.mouse.move(0, 0)
    put_text(opened.get_by_label("Search"), "")
    settle(opened)


def settle(page: Page) -> None:
    """Wait for what a frame of animation puts off, and have drawn what is out of sight."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate("Roofline.drawHidden()")


def worst_first() -> list[dict[str, Any]]:
    return sorted(_data()["rows"], key=lambda row: -abs(row["loo_error"]))


def names(page: Page) -> list[str]:
    return [row.locator("th").inner_text() for row in page.locator("#rows tbody tr:visible").all()]


def place_of(page: Page, figure: str, item: int) -> tuple[float, float]:
    """Where the last mark of a row is in the window."""
    page.locator(f"#plot-{figure}").scroll_into_view_if_needed()
    settle(page)
    place: list[float] = page.evaluate(
        """([figure, item]) => {
            const plot = document.getElementById(`plot-${figure}`);
            const { xaxis, yaxis } = plot._fullLayout;
            const trace = plot.data.findLast(trace => trace.customdata?.includes(item));
            const i = trace.customdata.indexOf(item);
            const box = plot.getBoundingClientRect();
            return [box.left + xaxis._offset + xaxis.d2p(trace.x[i]), box.top + yaxis._offset + yaxis.d2p(trace.y[i])];
        }""",
        [figure, item],
    )
    return place[0], place[1]


def rings(page: Page, figure: str) -> int:
    return page.locator(f"#plot-{figure} > .ring").count()


def linked(page: Page) -> Locator:
    return page.locator("#rows tr.is-linked")


# --- what is shown ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", FIGURES)
def test_every_figure_is_drawn_in_the_colours_of_the_theme(page: Page, figure: str) -> None:
    drawn = page.locator(f"#plot-{figure} .main-svg").first
    assert drawn.is_visible()
    assert "var(" not in page.locator(f"#plot-{figure}").inner_html()


def test_both_marks_of_a_row_are_over_its_published_latency(page: Page) -> None:
    first = worst_first()[0]
    marks: list[list[float]] = page.evaluate(
        """() => document.getElementById('plot-scatter').data.filter(trace => trace.customdata)
            .map(trace => [trace.x[0], trace.y[0]])"""
    )
    assert sorted(marks) == sorted(
        [[first["latency_s"], first["predicted_s"]], [first["latency_s"], first["loo_predicted_s"]]]
    )


def test_no_error_is_on_the_diagonal_of_the_figure(page: Page) -> None:
    """Within a pixel, from corner to corner."""
    off: float = page.evaluate(
        """() => {
            const { xaxis, yaxis } = document.getElementById('plot-scatter')._fullLayout;
            return Math.max(...[0, 0.3, 1].map(part => {
                const value = 10 ** (xaxis.range[0] + part * (xaxis.range[1] - xaxis.range[0]));
                return Math.abs(yaxis.d2p(value) - (1 - part) * yaxis._length);
            }));
        }"""
    )
    assert off < 1


def test_the_worst_row_is_at_the_top_of_what_is_missed(page: Page) -> None:
    top: str = page.evaluate(
        """() => [...document.querySelectorAll('#plot-residuals .ytick text')]
            .map(text => [text.getBoundingClientRect().top, text.textContent]).sort(([a], [b]) => a - b)[0][1]"""
    )
    assert top == worst_first()[0]["name"]


# --- one row, everywhere ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("figure", ["scatter", "residuals"])
def test_pointing_at_a_mark_shows_its_row_and_its_other_marks(page: Page, figure: str) -> None:
    page.mouse.move(*place_of(page, figure, 0))
    page.wait_for_selector("#rows tr.is-linked")
    assert linked(page).locator("th").inner_text() == worst_first()[0]["name"]
    assert (rings(page, "scatter"), rings(page, "residuals")) == (2, 2)


def test_a_click_on_a_row_keeps_it_until_escape(page: Page) -> None:
    page.locator("#rows tbody tr").nth(2).click()
    page.mouse.move(0, 0)
    settle(page)
    assert linked(page).count() == 1
    assert rings(page, "scatter") == 2
    page.keyboard.press("Escape")
    settle(page)
    assert linked(page).count() == 0
    assert rings(page, "scatter") == 0


# --- the table --------------------------------------------------------------------------------------------------------


def test_rows_are_sorted_by_any_column(page: Page) -> None:
    rows = _data()["rows"]
    for key in ("latency_s", "loo_error", "macs"):
        page.locator(f"#rows thead th[data-key='{key}'] button").click()
        expected = [row["name"] for row in sorted(rows, key=lambda row: -row[key])]
        assert names(page) == expected, key


def test_rows_are_found_by_any_word(page: Page) -> None:
    page.get_by_label("Search").fill("networks_4")
    assert names(page) == ["a_family_of_networks_4_large_seg"]
    assert page.locator("[data-count=rows]").inner_text() == "1 of 9"


def test_copied_rows_are_csv_in_base_units(page: Page) -> None:
    page.locator("[data-copy=rows]").click()
    text: str = page.evaluate("navigator.clipboard.readText()")
    copied = {line["model"]: line for line in csv.DictReader(io.StringIO(text))}
    for row in _data()["rows"]:
        line = copied[row["name"]]
        assert float(line["latency_s"]) == row["latency_s"]
        assert float(line["loo_predicted_s"]) == row["loo_predicted_s"]
        assert float(line["error"]) == row["error"]
        assert line["note"] == row["note"]


# --- other readers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_has_both_themes(page: Page, open_page: Opener, data: dict[str, Any], scheme: str) -> None:
    if scheme != "light":  # which is what a browser asks for
        page = open_page(data, color_scheme=scheme, plotlyjs="directory")
    color: str = page.evaluate("document.getElementById('plot-scatter')._fullData.at(-1).marker.color")
    assert color == colors(scheme)["prediction"]


def test_a_phone_needs_no_sideways_scroll_and_has_short_names(open_page: Opener, data: dict[str, Any]) -> None:
    page = open_page(data, viewport={"width": 360, "height": 740}, has_touch=True, plotlyjs="directory")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    labels = page.locator("#plot-residuals .ytick text").all_text_contents()
    assert max(map(len, labels)) == 16
    assert len(set(labels)) == 9 or "_seg" in labels[0]
    room: float = page.evaluate("document.getElementById('plot-residuals')._fullLayout.xaxis._length")
    assert room > 130


def test_hostile_names_do_nothing(open_page: Opener, data: dict[str, Any]) -> None:
    for row in data["rows"]:
        row |= {"name": EVIL, "note": EVIL, "dtype": EVIL, "loo_terms": [EVIL]}
    data |= {"device": EVIL, "source": EVIL, "remarks": [EVIL], "terms": [EVIL]}
    data["ridge_points"].append({**data["ridge_points"][0], "dtype": EVIL})
    page = open_page(data, command=EVIL)
    page.mouse.move(*place_of(page, "scatter", 0))
    page.wait_for_selector("#rows tr.is-linked")
    assert page.locator("h1").inner_text() == EVIL
    assert page.locator("#plot-scatter .hovertext").first.text_content() is not None


def test_without_scripts_there_are_sentences_and_tables(open_page: Opener, data: dict[str, Any], browser: Any) -> None:
    from roofline.reports.pages import render_page

    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(render_page(data, plotlyjs="cdn"))
    assert page.locator("#verdict").is_visible()
    assert page.locator("#rows tbody tr").count() == 9
    assert page.locator("#parameters tbody tr").count() == 3
    context.close()
