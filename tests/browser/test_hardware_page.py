"""The page of a list of devices, as a reader uses it."""

from __future__ import annotations

import copy
import csv
import io
import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

from roofline import hardware_words as words
from roofline.hardware_list import HardwareList
from roofline.reports.figures import colors
from tests.browser.controls import put_choice, put_text

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from .conftest import Opener

EVIL = "<script>alert(1)</script>"
CHOICES = ("default", "fp32", "fp16", "bf16", "int8", "every")


@pytest.fixture(scope="module")
def listed() -> HardwareList:
    return HardwareList.of()


@pytest.fixture(scope="module")
def opened(open_page: Opener, listed: HardwareList) -> Page:
    return open_page(listed.to_dict(), command="roofline hw", permissions=["clipboard-read", "clipboard-write"])


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    """One page for all tests, put back as it was after each."""
    yield opened
    opened.keyboard.press("Escape")
    opened.mouse.move(0, 0)
    for search in opened.get_by_label("Search").all():
        put_text(search, "")
    for choice in opened.locator("[data-choice]").all():
        put_choice(choice, "")
    for button in opened.locator("[data-class][aria-pressed=false]").all():
        button.click()
    put_choice(opened.locator("#dtype"), "default")
    opened.evaluate(
        """() => {
            const [given, now] = [Roofline.specs.map.layout, document.getElementById('plot-map')._fullLayout];
            const ranges = ({ xaxis, yaxis }) => ({ 'xaxis.range': xaxis.range, 'yaxis.range': yaxis.range });
            if (JSON.stringify(ranges(given)) !== JSON.stringify(ranges(now)))
                return Plotly.relayout('plot-map', ranges(given)).then(() => null);
        }"""
    )
    if heading(opened, "id").get_attribute("aria-sort") != "ascending":
        heading(opened, "id").locator("button").click()
    settle(opened)


def settle(page: Page) -> None:
    """Wait for what a frame of animation puts off, and have drawn what is out of sight."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate("Roofline.drawHidden()")


def heading(page: Page, key: str) -> Locator:
    return page.locator(f"#profiles thead th[data-key='{key}']")


def column(page: Page, key: str, table: str = "profiles") -> list[str]:
    """The values of a column, in the order and as far as the rows are shown."""
    values: list[str] = page.evaluate(
        """([id, key]) => {
            const table = document.getElementById(id);
            const at = [...table.tHead.rows[0].cells].findIndex(heading => heading.dataset.key === key);
            return [...table.tBodies[0].rows].filter(row => !row.hidden)
                .map(row => row.cells[at].dataset.value ?? row.cells[at].textContent);
        }""",
        [table, key],
    )
    return values


def dots(page: Page) -> dict[int, tuple[float, float, str]]:
    """Row of the table -> bandwidth, peak and class of each dot that is shown, as plotly has them."""
    points: list[tuple[int, float, float, str]] = page.evaluate(
        """() => document.getElementById('plot-map').data
            .filter(trace => trace.meta.role === 'dots' && trace.visible !== false)
            .flatMap(trace => trace.customdata.map((item, i) => [item, trace.x[i], trace.y[i], trace.meta.class]))"""
    )
    return {item: (x, y, group) for item, x, y, group in points}


def names(page: Page) -> list[str]:
    return [text for text in page.locator("#plot-map .textpoint text").all_text_contents() if text]


def place_of(page: Page, item: int) -> tuple[float, float]:
    """Where a dot is in the window."""
    page.locator("#plot-map").scroll_into_view_if_needed()
    settle(page)
    place: list[float] = page.evaluate(
        """item => {
            const plot = document.getElementById('plot-map');
            const { xaxis, yaxis } = plot._fullLayout;
            const trace = plot.data.find(trace => trace.customdata?.includes(item));
            const i = trace.customdata.indexOf(item);
            const box = plot.getBoundingClientRect();
            return [box.left + xaxis._offset + xaxis.d2p(trace.x[i]), box.top + yaxis._offset + yaxis.d2p(trace.y[i])];
        }""",
        item,
    )
    return place[0], place[1]


def rows_of(listed: HardwareList, choice: str) -> list[tuple[int, dict[str, Any]]]:
    return [
        (item, row)
        for item, row in enumerate(listed.rows())
        if choice in ("every", row["dtype"]) or (choice == "default" and row["is_default_dtype"])
    ]


# --- what is shown ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("choice", CHOICES)
def test_one_choice_of_a_dtype_is_that_of_dots_and_rows(page: Page, listed: HardwareList, choice: str) -> None:
    page.locator("#dtype").select_option(choice)
    settle(page)
    expected = rows_of(listed, choice)
    assert dots(page) == {
        item: (row["bandwidth_bytes_per_s"], row["peak_macs_per_s"], row["class"]) for item, row in expected
    }
    assert sorted(column(page, "id")) == sorted(row["id"] for _, row in expected)
    assert page.locator("[data-count=profiles]").inner_text() == f"{len(expected)} of {len(expected)}"


def test_the_axes_stay_when_the_dtype_changes(page: Page) -> None:
    ranges = "['xaxis', 'yaxis'].map(axis => document.getElementById('plot-map')._fullLayout[axis].range)"
    before = page.evaluate(ranges)
    page.locator("#dtype").select_option("int8")
    settle(page)
    assert page.evaluate(ranges) == before


def test_a_class_can_be_hidden_and_shown_again(page: Page, listed: HardwareList) -> None:
    before = dots(page)
    button = page.locator("[data-class=gpu]")
    button.click()
    settle(page)
    assert button.get_attribute("aria-pressed") == "false"
    assert dots(page) == {item: dot for item, dot in before.items() if dot[2] != "gpu"}
    gpus = {device.id for device in listed.devices if device.device_class == "gpu"}
    assert not gpus & set(names(page))
    page.locator("#dtype").select_option("int8")
    settle(page)
    assert "gpu" not in {group for *_, group in dots(page).values()}, "it stays hidden at another dtype"
    button.click()
    settle(page)
    assert "gpu" in {group for *_, group in dots(page).values()}


def test_names_stand_apart_and_within_the_figure(page: Page, listed: HardwareList) -> None:
    shown = names(page)
    assert 20 < len(shown) < len(listed.devices)
    assert set(shown) <= {device.id for device in listed.devices}
    boxes: list[list[float]] = page.evaluate(
        """() => [...document.querySelectorAll('#plot-map .textpoint text')].map(text => text.getBoundingClientRect())
            .map(box => [box.left, box.top, box.right, box.bottom])"""
    )
    plot = page.locator("#plot-map").bounding_box()
    assert plot is not None
    for i, (left, top, right, bottom) in enumerate(boxes):
        assert plot["x"] <= left
        assert right <= plot["x"] + plot["width"] + 1
        for a, b, c, d in boxes[:i]:
            assert not (left < c - 2 and a + 2 < right and top < d - 3 and b + 3 < bottom)


def test_zooming_in_names_what_had_no_room(page: Page) -> None:
    before = set(names(page))
    box = page.locator("#plot-map").bounding_box()
    assert box is not None
    page.locator("#plot-map").scroll_into_view_if_needed()
    settle(page)
    box = page.locator("#plot-map").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 0.36 * box["width"], box["y"] + 0.4 * box["height"])
    page.mouse.down()
    page.mouse.move(box["x"] + 0.66 * box["width"], box["y"] + 0.75 * box["height"], steps=5)
    page.mouse.up()
    page.wait_for_function(
        """before => [...document.querySelectorAll('#plot-map .textpoint text')]
            .some(text => !before.includes(text.textContent))""",
        arg=sorted(before),
    )
    assert set(names(page)) - before


# --- one device, everywhere -------------------------------------------------------------------------------------------


def test_a_row_highlights_its_dot_and_says_where_its_figures_come_from(page: Page, listed: HardwareList) -> None:
    item, row = next((i, row) for i, row in rows_of(listed, "default") if row["id"] == "pixel4_dsp")
    page.locator(f"#profiles tr[data-item='{item}'] th").hover()
    settle(page)
    assert page.locator("#plot-map .ring").count() == 1
    said = page.locator("#plot-map .hoverlayer").text_content() or ""
    for told in (
        row["name"],
        words.value("peak_macs_per_s.int8", row["peak_macs_per_s"]) + " (fitted)",
        "a prediction",
        "2404.10518",
    ):
        assert told in said


def test_a_dot_highlights_its_row(page: Page, listed: HardwareList) -> None:
    item, row = next((i, row) for i, row in rows_of(listed, "default") if row["id"] == "groq_lpu")
    page.mouse.move(*place_of(page, item))
    page.wait_for_selector("#plot-map .hovertext")
    settle(page)
    assert row["name"] in (page.locator("#plot-map .hoverlayer").text_content() or "")
    assert page.locator("#profiles tr.is-linked").get_attribute("data-item") == str(item)


# --- the tables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["peak_macs_per_s", "bandwidth_bytes_per_s", "ridge_point_macs_per_byte"])
def test_numbers_sort_from_large_to_small_and_back(page: Page, key: str) -> None:
    for sign in (-1, 1):
        heading(page, key).locator("button").click()
        values = [sign * float(value) for value in column(page, key)]
        assert values == sorted(values)


def test_the_order_stays_when_the_dtype_changes(page: Page) -> None:
    heading(page, "ridge_point_macs_per_byte").locator("button").click()
    page.locator("#dtype").select_option("int8")
    settle(page)
    values = [float(value) for value in column(page, "ridge_point_macs_per_byte")]
    assert values == sorted(values, reverse=True)


def test_rows_can_be_filtered_and_copied(page: Page, listed: HardwareList) -> None:
    page.locator("#dtype").select_option("int8")
    page.locator("#profiles-class").select_option("edgetpu")
    expected = [row for _, row in rows_of(listed, "int8") if row["class"] == "edgetpu"]
    assert column(page, "id") == [row["id"] for row in expected]
    page.locator("#profiles-latency_kind").select_option("prediction")
    assert set(column(page, "id")) == {row["id"] for row in expected if row["latency_kind"] == "prediction"}
    page.locator("[data-copy=profiles]").click()
    page.locator("[data-copy=profiles]:text-is('Copied')").wait_for()
    rows = list(csv.DictReader(io.StringIO(page.evaluate("navigator.clipboard.readText()"))))
    assert [float(row["ridge_point_macs_per_byte"]) for row in rows] == [
        row["ridge_point_macs_per_byte"] for row in expected if row["latency_kind"] == "prediction"
    ]


def test_a_source_can_be_searched_for(page: Page, listed: HardwareList) -> None:
    page.locator("#figures-search").fill("2404.10518 fitted")
    expected = {
        device.id
        for device in listed.devices
        for figure in device.figures.values()
        if "2404.10518" in figure.source and (figure.kind == "fitted" or "fitted" in figure.source)
    }
    assert set(column(page, "id", "figures")) == expected


def test_the_keyboard_reaches_all_of_it(page: Page) -> None:
    page.locator("#dtype").focus()
    page.keyboard.press("End")
    settle(page)
    assert len(set(column(page, "dtype"))) == 4
    page.locator("[data-class=cpu]").focus()
    page.keyboard.press("Space")
    settle(page)
    assert "cpu" not in {group for *_, group in dots(page).values()}
    page.locator("#profiles tbody tr").first.focus()
    page.keyboard.press("ArrowDown")
    settle(page)
    second = page.locator("#profiles tbody tr").nth(1)
    assert second.evaluate("row => row === document.activeElement")
    assert "is-linked" in (second.get_attribute("class") or "")


# --- themes, sizes, names ---------------------------------------------------------------------------------------------


def test_dark_and_light(open_page: Opener, listed: HardwareList) -> None:
    page = open_page(listed.to_dict(), color_scheme="dark", plotlyjs="directory")
    fill = "document.querySelector('#plot-map .scatterlayer .trace:nth-of-type(7) .point').style.fill"
    normal = "name => { const i = document.createElement('i'); i.style.fill = name; return i.style.fill }"
    for theme in ("dark", "light"):
        settle(page)
        assert page.evaluate(fill) == page.evaluate(normal, colors(theme)["series-0"]), "of the CPUs"
        page.locator("#theme").click()


def test_it_reads_on_a_phone(open_page: Opener, listed: HardwareList) -> None:
    page = open_page(listed.to_dict(), viewport={"width": 360, "height": 740}, plotlyjs="directory")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    box = page.locator("#plot-map").bounding_box()
    assert box is not None
    assert box["width"] <= 360
    page.locator("#formulas summary").click()
    page.locator("#formulas dd").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("(e => e.scrollWidth <= e.clientWidth)(document.getElementById('formulas'))")
    labels = page.locator("#plot-map .annotation-text").all_text_contents()
    assert {"1", "10", "100", "1000"} <= set(labels)
    assert names(page)


def test_a_page_of_one_device_is_drawn(open_page: Opener) -> None:
    page = open_page(HardwareList.of(["pixel6_tpu"]).to_dict(), plotlyjs="directory")
    assert page.locator("h1").inner_text() == "Google Pixel 6 EdgeTPU (Tensor G1)"
    assert names(page) == ["pixel6_tpu"]
    told = page.locator("#formulas").inner_text()
    assert "A layer takes the longer of its MACs at the peak" in told
    assert "int8, epilogue fusion, relu, relu6 in the epilogue" in told
    ((x, y, _),) = dots(page).values()
    low, high = page.evaluate("document.getElementById('plot-map')._fullLayout.xaxis.range")
    assert low < math.log10(x) < high
    assert y > x


def test_names_are_text(open_page: Opener) -> None:
    """As id, name, source, notes and command; in text, figure and table."""
    data = copy.deepcopy(HardwareList.of(["pixel6_tpu", "nvidia_a100"]).to_dict())
    for profile in data["profiles"]:
        profile["id"] = f"{EVIL}{profile['id']}"
        profile["name"] = profile["notes"] = f"{EVIL}&amp;"
        for figure in profile["figures"].values():
            figure["source"] = EVIL
    page = open_page(data, command=EVIL)
    assert all(name.startswith(EVIL) for name in column(page, "id") + names(page))
    page.locator("#profiles tbody tr").first.locator("th").hover()
    settle(page)
    assert f"{EVIL}&amp;" in (page.locator("#plot-map .hoverlayer").text_content() or "")
    assert f"{EVIL}&amp;" in page.locator("#notes").inner_text()
    assert page.locator("main script, footer script").count() == 0
