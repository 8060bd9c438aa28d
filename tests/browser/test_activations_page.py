"""The pages of activations, as a reader uses them."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from roofline import load_profile
from roofline.activation_comparison import ActivationComparison
from roofline.elementwise import Elementwise
from roofline.reports.figures import colors
from roofline.reports.pages import page_of
from tests.timed_activations import compared, timed_each

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from .conftest import Opener

pytestmark = pytest.mark.usefixtures("traced_once")

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def result() -> ActivationComparison:
    vector = replace(load_profile("pixel6_tpu"), id="vector", name=EVIL, vector_ops_per_s=6e10, figures={})
    acts = ["relu", "silu", "hardswish", "se_relu", "dynamic_shift_max"]
    return compared(acts=acts, hw=["pixel6_tpu", "iphone12_ane", vector])


@pytest.fixture(scope="module")
def data(result: ActivationComparison) -> dict[str, Any]:
    plain: dict[str, Any] = json.loads(result.to_json())
    return plain


@pytest.fixture(scope="module")
def page(open_page: Opener, data: dict[str, Any]) -> Page:
    return open_page(data, command="roofline activations", permissions=["clipboard-read", "clipboard-write"])


@pytest.fixture(scope="module")
def each() -> Elementwise:
    return timed_each()


def column(page: Page, table: str, key: str) -> list[str]:
    """The values of a column, unrounded where the page has them."""
    values: list[str] = page.evaluate(
        """([id, key]) => {
            const table = document.getElementById(id);
            const at = [...table.tHead.rows[0].cells].findIndex(heading => heading.dataset.key === key);
            return [...table.tBodies[0].rows].map(row => row.cells[at].dataset.value ?? row.cells[at].textContent);
        }""",
        [table, key],
    )
    return values


# --- activations compared ---------------------------------------------------------------------------------------------


def test_the_text_says_what_the_result_says(page: Page, data: dict[str, Any]) -> None:
    assert page.title() == "Activations in activation_probe"
    assert page.locator("#verdict").inner_text() == data["verdict"]
    sections = page.locator("section.place")
    assert sections.count() == 3
    for number, place in enumerate(data["profiles"]):
        assert sections.nth(number).locator(".reasons li").all_inner_texts() == place["reasons"]
    assert sections.nth(2).locator("h2").inner_text() == f"Bound on {EVIL}"
    footer = page.locator("footer").inner_text()
    for part in (*data["notes"], "roofline activations", "peak_macs_per_s.int8"):
        assert part in footer


def test_every_chart_has_a_name_and_a_table(page: Page) -> None:
    figures = page.locator("figure.figure")
    assert figures.count() == 5  # the ratios, three places, and the measurement
    for number in range(figures.count()):
        figure = figures.nth(number)
        assert figure.locator("[role=img]").get_attribute("aria-label")
        assert figure.locator("details table, .alternative a").count() == 1


def test_the_charts_are_drawn_as_python_gives_them(page: Page, data: dict[str, Any]) -> None:
    for name, figure in page_of(data).figures.items():
        for number, drawn in enumerate(figure.data):
            x = page.evaluate("([id, n]) => document.getElementById(`plot-${id}`).data[n].x", [name, number])
            assert x == pytest.approx(list(drawn.x))


def test_measured_bars_have_intervals(page: Page, data: dict[str, Any]) -> None:
    assert page.locator("#plot-ratios .errorbar").count() == len(data["rows"])
    assert page.locator("#plot-measured .errorbar").count() == len(data["rows"])


def test_the_tables_are_unrounded_and_copy_as_csv(page: Page, data: dict[str, Any]) -> None:
    assert column(page, "costs", "mem_bytes") == [str(row["mem_bytes"]) for row in data["rows"]]
    page.get_by_role("button", name="Copy as CSV").click()
    copied = page.evaluate("navigator.clipboard.readText()")
    lines = list(csv.reader(io.StringIO(copied)))
    assert len(lines) == 1 + len(data["rows"])
    assert lines[0][:2] == ["activation", "params"]
    assert lines[1][:2] == ["ReLU", "17805768"]


def test_a_heading_sorts(page: Page) -> None:
    heading = page.locator("#costs thead th[data-key=vector_ops] button")
    heading.click()
    ops = list(map(int, column(page, "costs", "vector_ops")))
    assert ops == sorted(ops, reverse=True)


def test_a_hover_tells_the_time(page: Page, data: dict[str, Any]) -> None:
    page.locator("#plot-ratios").scroll_into_view_if_needed()
    page.evaluate("Plotly.Fx.hover('plot-ratios', [{curveNumber: 0, pointNumber: 1}])")
    text = page.locator("#plot-ratios .hoverlayer").text_content()
    assert text is not None
    assert "SiLU on pixel6_tpu" in text
    assert "1.19 ms (prediction)" in text


def test_the_dark_theme_draws_anew(open_page: Opener, data: dict[str, Any]) -> None:
    dark = open_page(data, color_scheme="dark", plotlyjs="directory")
    shade = dark.evaluate("document.getElementById('plot-ratios').data.at(-1).marker.color")
    assert shade == colors("dark")["measurement"]


@pytest.mark.parametrize("width", [360, 768])
def test_nothing_is_wider_than_a_small_screen(open_page: Opener, data: dict[str, Any], width: int) -> None:
    narrow = open_page(data, viewport={"width": width, "height": 780}, plotlyjs="directory")
    assert narrow.evaluate("document.documentElement.scrollWidth") <= width


def test_where_all_are_equal_there_is_a_reason_and_no_chart(open_page: Opener) -> None:
    equal = compared(acts=["relu", "silu"], hw=["iphone12_ane"], device=None)
    opened = open_page(json.loads(equal.to_json()), plotlyjs="directory")
    assert opened.locator("figure").count() == 0
    assert "each runs inside the op before it" in opened.locator(".notice").inner_text()


def test_without_a_script_it_still_says_all(browser: Any, tmp_path: Any, data: dict[str, Any]) -> None:
    from roofline.reports.pages import write_page

    write_page(tmp_path / "report.html", data)
    context = browser.new_context(java_script_enabled=False, offline=True)
    bare = context.new_page()
    bare.goto((tmp_path / "report.html").as_uri())
    text = bare.locator("main").inner_text()
    assert data["verdict"] in text
    assert "SE-ReLU" in text
    context.close()


# --- element by element -----------------------------------------------------------------------------------------------


def test_the_page_of_each_function(open_page: Opener, each: Elementwise) -> None:
    data = json.loads(each.to_json())
    opened = open_page(data, plotlyjs="directory")
    assert opened.locator("#verdict").inner_text() == each.verdict()
    assert opened.locator("#plot-out-of-place .scatterlayer .trace").count() == 4
    assert column(opened, "timings", "bytes_per_s") == [str(row["bytes_per_s"]) for row in data["rows"]]
    opened.locator("#timings-bound").select_option("compute")
    shown = opened.locator("#timings tbody tr:visible").count()
    assert shown == sum(row["bound"] == "compute" for row in data["rows"])
    opened.evaluate("Plotly.Fx.hover('plot-in-place', [{curveNumber: 3, pointNumber: 1}])")
    assert "compute-bound" in (opened.locator("#plot-in-place .hoverlayer").text_content() or "")


def test_the_page_of_each_function_on_a_phone(open_page: Opener, each: Elementwise) -> None:
    narrow = open_page(json.loads(each.to_json()), viewport={"width": 360, "height": 780}, plotlyjs="directory")
    assert narrow.evaluate("document.documentElement.scrollWidth") <= 360
