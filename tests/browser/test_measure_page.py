"""The page of a measurement in a browser: it draws, follows the theme, and fits a phone."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

import pytest

from tests.measurement.runs import made_run, with_everything

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from .conftest import Opener

EVIL = "<img src=x onerror=alert(1)><script>alert(1)</script>"


@pytest.fixture(scope="module")
def page(open_page: Opener) -> Page:
    return open_page(with_everything().to_dict(samples=True), command="roofline measure a")


@pytest.fixture(scope="module")
def one_model(open_page: Opener) -> Callable[[int], Page]:
    """The page of one model on a CPU, in a window that wide; opened once for all tests, which only read it."""

    @cache
    def opened(width: int) -> Page:
        data = made_run(None, "mobilenetv4_conv_medium").to_dict()
        return open_page(data, viewport={"width": width, "height": 740}, plotlyjs="directory")

    return opened


def drawn(page: Page, figure: str) -> None:
    page.locator(f"#figure-{figure}").scroll_into_view_if_needed()
    page.wait_for_selector(f"#plot-{figure} .main-svg")


def test_every_figure_is_drawn(page: Page) -> None:
    for figure in ("latencies", "samples", "layers-0"):
        drawn(page, figure)
    assert page.locator("#plot-latencies .bars .point").count() == 7  # three models, two latencies, one with kernels
    assert page.locator("#plot-layers-0 .bars .point").count() == 2


def test_it_fits_a_phone(open_page: Opener) -> None:
    phone = open_page(
        with_everything().to_dict(samples=True), viewport={"width": 360, "height": 740}, plotlyjs="directory"
    )
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("width", [360, 1200])
def test_no_tile_runs_into_the_next_and_the_status_is_in_sight(one_model: Callable[[int], Page], width: int) -> None:
    page = one_model(width)
    cut = page.evaluate(
        "[...document.querySelectorAll('.tile > *')].filter(e => e.scrollWidth > e.clientWidth).map(e => e.innerText)"
    )
    assert cut == []
    status = page.locator("#models thead th[data-key=status]").bounding_box()
    assert status is not None
    assert status["x"] + status["width"] <= width


def test_the_table_of_one_model_on_a_cpu_fits_a_wide_window(one_model: Callable[[int], Page]) -> None:
    page = one_model(1200)
    assert page.evaluate("(e => e.scrollWidth <= e.clientWidth)(document.querySelector('#models').parentElement)")


def test_the_table_is_sorted_by_a_click(page: Page) -> None:
    page.locator("#models thead button", has_text="as timed").click()
    cells = page.locator("#models tbody tr th").all_inner_texts()
    assert cells == ["layered", "slow", "fast"]


def test_names_run_no_script(open_page: Opener) -> None:
    text = json.dumps(with_everything().to_dict(samples=True))
    for name in ('"fast"', '"conv"', '"A CPU"'):
        text = text.replace(name, json.dumps(EVIL))
    page = open_page(json.loads(text))
    drawn(page, "latencies")
    assert EVIL in page.locator("body").inner_text()
