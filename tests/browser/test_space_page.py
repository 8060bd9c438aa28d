"""The page of a design space, as a reader uses it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from roofline.exploring.analysis import summary
from roofline.reports.figures import colors
from tests.browser.controls import put_choice
from tests.explored import networks, write_run

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from .conftest import Opener

EVIL = "<script>alert(1)</script>"
FIGURES = ("latency", "macs", "ridge", "front", "importance", "correlation")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    table = networks(200)
    hostile = table.rename_columns([EVIL if name == "activation" else name for name in table.column_names])
    folder = write_run(tmp_path_factory.mktemp("run") / "out", [hostile])
    found: dict[str, Any] = json.loads(summary(folder, best=5).to_json())
    found["space"] |= {"name": EVIL, "summary": EVIL}
    found["places"][2]["name"] = EVIL
    return found


@pytest.fixture(scope="module")
def opened(open_page: Opener, data: dict[str, Any]) -> Page:
    return open_page(data, command="roofline explore regnety", color_scheme="dark")


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    """One page for all tests, put back as it was after each."""
    yield opened
    opened.keyboard.press("Escape")
    opened.mouse.move(0, 0)
    put_choice(opened.get_by_label("On", exact=True), "fast_npu")
    settle(opened)


def settle(page: Page) -> None:
    """Wait for what a frame of animation puts off, and have drawn what is out of sight."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate("Roofline.drawHidden()")


def test_every_figure_is_drawn_in_the_colours_of_the_theme(page: Page) -> None:
    for figure in FIGURES:
        assert page.locator(f"#plot-{figure} .main-svg").first.is_visible(), figure
        assert "var(" not in page.locator(f"#plot-{figure}").inner_html(), figure
    line: str = page.evaluate("document.getElementById('plot-latency')._fullData[0].line.color")
    assert line == colors("dark")["series-0"]
    assert page.locator("h1").inner_text() == f"Design space {EVIL}", "and is no markup"


def test_another_device_has_its_own_front(page: Page, data: dict[str, Any]) -> None:
    page.get_by_label("On", exact=True).select_option("slow_cpu")
    settle(page)
    shown: list[list[float]] = page.evaluate(
        "document.getElementById('plot-front')._fullData.filter(t => t.visible === true && t.customdata).map(t => t.y)"
    )
    assert shown == [data["places"][1]["front"]["latency_s"]]
    assert page.locator("#plot-front .ytitle").text_content() == "latency on Slow CPU (bound)"
    latencies = [float(cell) for cell in page.locator("#networks tbody td:nth-child(6)").all_text_contents()]
    assert latencies == sorted(latencies)


def test_a_network_of_the_table_is_ringed_on_the_front(page: Page, data: dict[str, Any]) -> None:
    first = data["places"][0]["front"]["index"][0]
    item = [row["index"] for row in data["rows"]].index(first)
    page.locator(f"#networks tr[data-item='{item}']").hover()
    page.wait_for_selector("#plot-front > .ring")
    assert page.locator("#plot-front > .ring").count() == 1
    assert f"network {first}" in page.locator("#plot-front .hovertext").first.text_content()  # type: ignore[operator]


def test_a_phone_needs_no_sideways_scroll_and_has_short_names(open_page: Opener, data: dict[str, Any]) -> None:
    page = open_page(data, viewport={"width": 390, "height": 740}, has_touch=True, plotlyjs="directory")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    assert max(map(len, page.locator("#plot-correlation .ytick text").all_text_contents())) <= 17
    for figure in ("correlation", "importance", "front"):
        room: float = page.evaluate(f"document.getElementById('plot-{figure}')._fullLayout.xaxis._length")
        assert room > 150, figure
