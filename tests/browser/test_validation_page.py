"""The page of a validation in a browser: it draws, links its parts, follows the theme, and fits a phone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from roofline.reports.figures import colors
from roofline.reports.pages import render_page
from tests.validations import layered, made_validation, pair, validation_of, with_everything

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from .conftest import Opener

EVIL = "<img src=x onerror=alert(1)><script>alert(1)</script>"
FIGURES = ("scatter", "families", "kernels", "roofline")


def data() -> dict[str, Any]:
    made = with_everything()
    pairs = [(model.predicted, model.measurement) for model in made.models]
    return validation_of([*pairs, layered("another", 0.4)]).to_dict()


@pytest.fixture(scope="module")
def page(open_page: Opener) -> Page:
    return open_page(data(), command="roofline validate a")


def settle(page: Page) -> None:
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate("Roofline.drawHidden()")


def drawn(page: Page, figure: str) -> None:
    page.locator(f"#figure-{figure}").scroll_into_view_if_needed()
    page.wait_for_selector(f"#plot-{figure} .main-svg")


def test_every_figure_is_drawn(page: Page) -> None:
    for figure in FIGURES:
        drawn(page, figure)
    assert page.locator("#plot-scatter .scatterlayer .point").count() == 11, "one a model; others wait in the legend"
    assert page.locator("#plot-families .scatterlayer .point").count() == 11
    assert page.locator("#plot-kernels .bars .point").count() == 5
    assert page.locator("#plot-roofline .scatterlayer .point").count() == 10, "five layers with MACs, twice"


def test_a_row_rings_its_marks(page: Page) -> None:
    page.locator("#models tbody tr").nth(1).hover()
    page.wait_for_selector("#plot-scatter > .ring")
    page.mouse.move(0, 0)
    settle(page)
    assert page.locator("#plot-scatter > .ring").count() == 0


def test_another_model_goes_under_the_roofline(page: Page) -> None:
    drawn(page, "roofline")
    choice = page.locator("#layered-model")
    assert choice.locator("option").all_inner_texts() == ["another", "layered"]
    before: list[float] = page.evaluate("document.getElementById('plot-roofline').data[3].y")
    choice.select_option("1")
    settle(page)
    assert page.locator("#status").inner_text() == "Layers of layered"
    assert page.evaluate("document.getElementById('plot-roofline').data[3].y") == pytest.approx(before)
    choice.select_option("0")
    settle(page)


def test_the_worst_layers_can_be_searched(page: Page) -> None:
    page.locator("#worst-layers-search").fill("strided")
    rows = page.locator("#worst-layers tbody tr:visible th").all_inner_texts()
    page.locator("#worst-layers-search").fill("")
    assert set(rows) == {"b2.dw"}


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_has_both_themes(open_page: Opener, scheme: str) -> None:
    page = open_page(made_validation().to_dict(), color_scheme=scheme, plotlyjs="directory")
    color: str = page.evaluate("document.getElementById('plot-scatter').data.at(-1).marker.color")
    assert color == colors(scheme)["worse"]


def test_it_fits_a_phone_and_has_short_names(open_page: Opener) -> None:
    phone = open_page(data(), viewport={"width": 360, "height": 740}, has_touch=True, plotlyjs="directory")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360
    labels = phone.locator("#plot-kernels .ytick text").all_text_contents()
    assert max(map(len, labels)) == 16
    ticks = phone.locator("#plot-scatter .xtick text").all_text_contents()
    assert ticks
    assert all(tick.endswith(" ms") for tick in ticks)
    room: float = phone.evaluate("document.getElementById('plot-kernels')._fullLayout.xaxis._length")
    assert room > 130


def test_names_of_files_do_not_push_a_phone_wide(open_page: Opener) -> None:
    text = json.dumps(data()).replace(
        json.dumps("layered"), json.dumps("a_folder/of_networks/with_long_names.py:layered")
    )
    phone = open_page(json.loads(text), viewport={"width": 360, "height": 740}, has_touch=True, plotlyjs="directory")
    assert phone.evaluate("document.documentElement.scrollWidth") <= 360


def right(page: Page, selector: str) -> float:
    """Where an element ends, in pixels from the left."""
    box = page.locator(selector).first.bounding_box()
    assert box is not None
    return box["x"] + box["width"]


def test_a_phone_shows_which_model_and_its_error(open_page: Opener) -> None:
    """Two that differ at their ends alone: neither is cut."""
    names = [f"a_folder/of_networks.py:a_network_of_a_long_name at {batch}x3x224x224" for batch in (2, 4)]
    made = validation_of([pair(name, 0.3) for name in names]).to_dict()
    phone = open_page(made, viewport={"width": 360, "height": 740}, has_touch=True, plotlyjs="directory")
    cells = phone.locator("#models tbody th")
    assert cells.all_text_contents() == names, "searched and copied as a whole"
    assert cells.first.get_attribute("title") == names[0]
    assert cells.first.evaluate("cell => cell.scrollWidth <= cell.clientWidth")
    assert right(phone, '#models thead [data-key="error"]') <= 360


def test_the_table_of_estimators_fits_a_window(page: Page) -> None:
    fits: bool = page.evaluate(
        "(() => { const box = document.getElementById('estimators').parentElement;"
        " return box.scrollWidth <= box.clientWidth; })()"
    )
    assert fits


def test_names_run_no_script(open_page: Opener) -> None:
    text = json.dumps(data())
    for name in ("bb_small", "bb", "layered", "another", "conv_depthwise", "b2.dw", "My box", "A CPU"):
        text = text.replace(json.dumps(name), json.dumps(EVIL + name))
    page = open_page(json.loads(text))
    for figure in FIGURES:
        drawn(page, figure)
    assert f"{EVIL}bb_small" in (page.locator("#models").text_content() or "")


def test_without_scripts_there_are_sentences_and_tables(browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.set_content(render_page(data(), plotlyjs="cdn"))
    assert page.locator("#verdict").is_visible()
    assert page.locator("#models tbody tr").count() == 11
    context.close()
