"""The page of a measurement in a browser: it draws, follows the theme, and fits a phone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.measurement.runs import with_everything

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from .conftest import Opener

EVIL = "<img src=x onerror=alert(1)><script>alert(1)</script>"


@pytest.fixture(scope="module")
def page(open_page: Opener) -> Page:
    return open_page(with_everything().to_dict(samples=True), command="roofline measure a")


def drawn(page: Page, figure: str) -> None:
    page.locator(f"#figure-{figure}").scroll_into_view_if_needed()
    page.wait_for_selector(f"#plot-{figure} .main-svg")


def test_every_figure_is_drawn(page: Page) -> None:
    for figure in ("latencies", "samples", "layers-0"):
        drawn(page, figure)
    assert page.locator("#plot-latencies .bars .point").count() == 7  # three models, two latencies, one with kernels
    assert page.locator("#plot-layers-0 .bars .point").count() == 2


def test_it_fits_a_phone(open_page: Opener) -> None:
    phone = open_page(with_everything().to_dict(samples=True), viewport={"width": 360, "height": 740})
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360


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
