"""The page of a what-if, as a reader uses it: its script draws for any target what Python would."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import roofline
from roofline import whatif_words as words
from roofline.reports.pages import page_of, seconds
from roofline.response import iso_latency
from roofline.units import si
from roofline.whatif import WhatIf, whatif
from roofline.whatif_words import at_least

if TYPE_CHECKING:
    from playwright.sync_api import Page

    from .conftest import Opener

pytestmark = pytest.mark.usefixtures("traced_once")

EVIL = "<img src=x onerror=alert(1)><script>alert(1)</script>"
MODEL = "mobilenetv3_large_100"


def device(**terms: Any) -> roofline.Hardware:
    """All the terms that a page has to compute with."""
    plain = roofline.load_profile("raspberrypi_5")
    given = {"vector_ops_per_s": 5e10, "layer_overhead_s": 2e-6, "inference_overhead_s": 5e-5}
    return replace(plain, **(given | terms))


@pytest.fixture(scope="module")
def result() -> WhatIf:
    return whatif("mobilenetv4_hybrid_medium", hw="raspberrypi_5", target_s=2e-3)


@pytest.fixture(scope="module")
def opened(open_page: Opener, result: WhatIf) -> Page:
    return open_page(result.to_dict(), command="roofline whatif a", permissions=["clipboard-read", "clipboard-write"])


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    """One page for all tests, put back as it was after each."""
    yield opened
    opened.keyboard.press("Escape")
    opened.mouse.move(0, 0)
    if opened.locator("#reset").is_enabled():
        opened.locator("#reset").click()
    opened.emulate_media(color_scheme="light", media="screen")
    settle(opened)


def settle(page: Page) -> None:
    """Wait for what a frame of animation puts off, and have drawn what is out of sight."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate("Roofline.drawHidden()")


def aim(page: Page, target_s: float) -> None:
    page.locator("#target-number").fill(repr(target_s * 1e3))
    settle(page)


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


def trace(page: Page, figure: str, role: str) -> dict[str, Any]:
    """As plotly has it."""
    found: dict[str, Any] = page.evaluate(
        """([figure, role]) => {
            const {x, y, name, marker, hovertext, visible} = document.getElementById(`plot-${figure}`).data
                .find(trace => trace.meta?.role === role);
            return {x, y, name, marker, hovertext, visible};
        }""",
        [figure, role],
    )
    return found


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_the_text_says_what_the_result_says(page: Page, result: WhatIf) -> None:
    data = result.to_dict()
    assert page.title() == "What if: mobilenetv4_hybrid_medium on Raspberry Pi 5 (4x Cortex-A76, 2.4 GHz)"
    assert page.locator("#verdict").inner_text() == result.verdict()
    assert page.locator("#answers li").all_inner_texts() == data["answers"]
    assert page.locator("#tile-latency data").get_attribute("value") == repr(result.latency_s)
    assert page.locator("#tile-latency .badge").inner_text() == "bound"
    assert page.locator("#tile-target data").get_attribute("value") == "0.002"
    footer = page.locator("footer").inner_text()
    for part in (*data["notes"], "roofline whatif a", "peak_macs_per_s.int8", "Caches"):
        assert part in footer


def test_every_chart_has_a_name_and_a_table(page: Page) -> None:
    figures = page.locator("figure.figure")
    assert figures.count() == 5
    for number in range(figures.count()):
        figure = figures.nth(number)
        assert figure.locator("[role=img]").get_attribute("aria-label")
        assert figure.locator("details table, .alternative a").count() == 1


def test_the_page_is_first_as_python_draws_it(page: Page, result: WhatIf) -> None:
    for name, figure in page_of(result.to_dict()).figures.items():
        for number, drawn in enumerate(figure.data):
            x = page.evaluate("([id, n]) => document.getElementById(`plot-${id}`).data[n].x", [name, number])
            assert x == pytest.approx(list(drawn.x))


def test_the_answer_beside_the_slider_has_the_figures_of_the_verdict(page: Page) -> None:
    assert page.locator("#target-answer").inner_text() == "2 ms: peak 1.12 TMAC/s (3.65\u00d7) or both 2.31\u00d7"
    assert page.locator("#reset").is_disabled()


# --- another target ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target_s", [0.3e-3, 1e-3, 1.9e-3, 4.2e-3, 4.7e-3, 20e-3])
@pytest.mark.sampled(3)
def test_the_ways_are_those_of_python(page: Page, result: WhatIf, target_s: float) -> None:
    aim(page, target_s)
    expected = whatif("mobilenetv4_hybrid_medium", hw="raspberrypi_5", target_s=target_s)
    for key, name in (
        ("peak_factor", "peak_factor"),
        ("bandwidth_factor", "bandwidth_factor"),
        ("peak_macs_per_s", "peak_macs_per_s"),
        ("bandwidth_bytes_per_s", "bandwidth_bytes_per_s"),
    ):
        values = [getattr(way, name) for way in expected.ways]
        shown = [float(value) if value else None for value in column(page, "ways", key)]
        assert [v is None for v in shown] == [v is None for v in values]
        assert [v for v in shown if v] == pytest.approx([v for v in values if v], rel=1e-9)
    ways = trace(page, "iso", "ways")
    assert len(ways["x"]) == sum(way.peak_factor is not None for way in expected.ways)
    assert f"{seconds(target_s)}, the target" == trace(page, "iso", "target curve")["name"]


@pytest.mark.parametrize(
    "terms",
    [{"combine": "add", "overhead_layers": "macs"}, {"vector_ops_per_s": 2e9}],
    ids=["add", "vector"],
)
def test_curves_and_knees_are_those_of_python_on_a_device_with_all_terms(open_page: Opener, terms: Any) -> None:
    hardware = device(**terms)
    asked = whatif(MODEL, hw=hardware)
    page = open_page(asked.to_dict(), plotlyjs="directory")
    for part in (0.2, 1.5):
        floor = asked.times.response("peak", "bandwidth").limit_s
        target_s = float(f"{floor + part * (asked.latency_s - floor):.6g}")
        aim(page, target_s)
        expected = whatif(MODEL, hw=hardware, target_s=target_s)
        curve = iso_latency(expected.times, target_s)
        assert curve is not None
        knees = trace(page, "iso", "knees")
        assert knees["y"] == pytest.approx([point.peak * 307.2e9 for point in curve.points], rel=1e-9)
        assert knees["x"] == pytest.approx([point.bandwidth * 17e9 for point in curve.points], rel=1e-9)
        figure = page_of(expected.to_dict()).figures["iso"]
        (line,) = (drawn for drawn in figure.data if drawn.meta["role"] == "target curve")
        shown = trace(page, "iso", "target curve")
        assert shown["x"] == pytest.approx(list(line.x), rel=1e-9)
        assert shown["y"] == pytest.approx(list(line.y), rel=1e-9)
        (of_knees,) = (drawn for drawn in figure.data if drawn.meta["role"] == "knees")
        assert knees["hovertext"] == list(of_knees.hovertext)
        factors = [float(value) if value else None for value in column(page, "ways", "peak_factor")]
        values = [way.peak_factor for way in expected.ways]
        assert [v or 0 for v in factors] == pytest.approx([v or 0 for v in values], rel=1e-6)


def test_what_is_within_follows_the_target(page: Page, result: WhatIf) -> None:
    aim(page, 3e-3)
    within = dict(zip(column(page, "profiles", "profile"), column(page, "profiles", "within"), strict=True))
    assert within == {item.id: words.within(item.latency_s, item.latency_kind, 3e-3) for item in result.profiles}
    colors = trace(page, "iso", "profiles")["marker"]["color"]
    assert len(set(zip(colors, within.values(), strict=True))) == len(set(colors)) == 3  # yes, possible and no
    shown = column(page, "alternatives", "within")
    assert shown == [words.within(other.latency_s, other.latency_kind, 3e-3) for other in result.alternatives]
    bars = trace(page, "alternatives", "alternatives")["marker"]["color"]
    kinds = [
        "present" if x.is_present else within_ for x, within_ in zip(result.alternatives, shown, strict=True) if within_
    ]
    assert len(set(zip(bars, kinds, strict=True))) == len(set(bars)) == len(set(kinds)) == 3
    line = page.evaluate("document.getElementById('plot-response').layout.shapes.find(s => s.name === 'target').y0")
    assert line == pytest.approx(3e-3)


def test_reset_brings_the_given_target_back(page: Page) -> None:
    before = column(page, "ways", "peak_factor"), trace(page, "iso", "target curve")
    aim(page, 1e-3)
    assert page.locator("#target").get_attribute("class") == "what-if is-moved"
    assert column(page, "ways", "peak_factor") != before[0]
    page.locator("#reset").click()
    settle(page)
    assert page.locator("#target-number").input_value() == "2"
    assert page.locator("#reset").is_disabled()
    after = [float(value) if value else None for value in column(page, "ways", "peak_factor")]
    assert after == pytest.approx([float(value) if value else None for value in before[0]])
    assert trace(page, "iso", "target curve")["x"] == pytest.approx(before[1]["x"])


def test_the_slider_moves_by_key_in_factors_of_the_present_latency(page: Page, result: WhatIf) -> None:
    slider = page.locator("#target-slider")
    slider.focus()
    slider.press("End")
    settle(page)
    assert float(page.locator("#target-number").input_value()) == pytest.approx(4 * result.latency_s * 1e3, rel=1e-4)
    slider.press("Home")
    settle(page)
    assert "4.61 ms" not in page.locator("#target-answer").inner_text()
    assert "both 64" in page.locator("#target-answer").inner_text()
    assert (
        slider.get_attribute("aria-valuetext") == f"{seconds(result.latency_s / 64)}, 0.0156 times the present latency"
    )


@pytest.mark.parametrize("text", ["0", "-1", "", "1e999"])
def test_what_is_no_target_changes_nothing(page: Page, text: str) -> None:
    before = column(page, "ways", "peak_factor")
    page.locator("#target-number").fill(text)
    settle(page)
    assert page.locator("#target-number").get_attribute("aria-invalid") == "true"
    assert column(page, "ways", "peak_factor") == before
    page.locator("#target-number").blur()
    assert page.locator("#target-number").input_value() == "2"


def test_the_axes_widen_for_a_far_target_and_keep_a_zoom(page: Page) -> None:
    def ranges() -> list[list[float]]:
        found: list[list[float]] = page.evaluate(
            "(({xaxis, yaxis}) => [xaxis.range, yaxis.range])(document.getElementById('plot-iso').layout)"
        )
        return found

    home = ranges()
    aim(page, 0.1e-3)
    wide = ranges()
    assert wide[1][1] > home[1][1]
    x, y, width, height = page.evaluate(
        """() => {
            document.getElementById('plot-iso').scrollIntoView({block: 'center', behavior: 'instant'});
            const box = document.querySelector('#plot-iso .nsewdrag').getBoundingClientRect();
            return [box.x, box.y, box.width, box.height];
        }"""
    )
    page.mouse.move(x + 0.3 * width, y + 0.3 * height)
    page.mouse.down()
    page.mouse.move(x + 0.6 * width, y + 0.6 * height, steps=4)
    page.mouse.up()
    zoomed = ranges()
    assert zoomed[0][1] - zoomed[0][0] < (wide[0][1] - wide[0][0]) / 2
    aim(page, 0.08e-3)
    assert ranges() == zoomed
    page.wait_for_timeout(400)  # longer than the 300 ms in which plotly.js takes the drag for the first of three clicks
    page.mouse.dblclick(x + 0.5 * width, y + 0.5 * height)
    settle(page)
    assert ranges() == home
    aim(page, 0.1e-3)
    assert ranges() == wide


def test_figures_are_rounded_up_so_that_they_are_enough(page: Page, result: WhatIf) -> None:
    values = [1.0000000001e12, 999.5, 860.4e9, 1.23, 2.0]
    for value in values:
        assert at_least(value) >= value
    aim(page, 1.9e-3)
    expected = whatif("mobilenetv4_hybrid_medium", hw="raspberrypi_5", target_s=1.9e-3).ways[0].peak_macs_per_s
    assert expected is not None
    assert f"peak {si(at_least(expected), 'MAC/s')} " in page.locator("#target-answer").inner_text()


# --- without a target, and little ------------------------------------------------------------------------------------


def test_without_a_target_a_first_one_can_be_asked_for(open_page: Opener) -> None:
    asked = whatif("mobilenetv4_conv_small", hw="pixel6_tpu")
    page = open_page(asked.to_dict(), plotlyjs="directory")
    assert page.locator("#target-answer").inner_text() == f"{seconds(asked.latency_s)}, as it is"
    assert trace(page, "iso", "target curve")["x"] == []
    aim(page, 0.1e-3)
    assert len(trace(page, "iso", "target curve")["x"]) > 100
    assert "bandwidth" in page.locator("#target-answer").inner_text()
    page.locator("#reset").click()
    settle(page)
    assert trace(page, "iso", "target curve")["x"] == []
    assert page.locator("#target-answer").inner_text() == f"{seconds(asked.latency_s)}, as it is"


def test_where_nothing_is_enough_the_page_says_what_stays(open_page: Opener) -> None:
    asked = whatif(MODEL, hw=device(), target_s=1e-5)
    page = open_page(asked.to_dict(), plotlyjs="directory")
    stays = asked.times.response("peak", "bandwidth").limit_s
    assert page.locator("#target-answer").inner_text() == (
        f"10 µs: no peak and bandwidth are enough; {seconds(stays)} stay"
    )
    aim(page, 2e-5)
    assert trace(page, "iso", "target curve")["x"] == []


def test_models_of_little_have_pages(open_page: Opener) -> None:
    nothing = open_page(whatif(nn.Identity(), torch.empty(1, 3, 8, 8), hw="pixel6_tpu").to_dict(), plotlyjs="directory")
    assert "nothing would change it" in nothing.locator("main").inner_text()
    pooling = open_page(
        whatif(nn.AvgPool2d(2), torch.empty(1, 3, 8, 8), hw="pixel6_tpu", target_s=1e-9).to_dict(), plotlyjs="directory"
    )
    assert "bandwidth" in pooling.locator("#target-answer").inner_text()
    aim(pooling, 1e-6)
    assert column(pooling, "ways", "peak_factor")[0] == "0"


# --- tables, light and dark, narrow, hostile --------------------------------------------------------------------------


def test_a_row_and_its_dot_highlight_together(page: Page, result: WhatIf) -> None:
    item = next(i for i, profile in enumerate(result.profiles) if profile.id == "pixel6_cpu")
    page.locator(f"#profiles tr[data-item='{item}']").hover()
    settle(page)
    assert page.locator("#plot-iso .ring").count() == 1
    assert "Pixel 6" in (page.locator("#plot-iso .hoverlayer").text_content() or "")
    assert page.locator("tr.is-linked").count() == 1


def test_the_layers_copy_as_csv_unrounded(page: Page, result: WhatIf) -> None:
    page.locator("[data-copy='layers']").click()
    page.get_by_role("button", name="Copied").wait_for()
    lines = list(csv.DictReader(io.StringIO(page.evaluate("navigator.clipboard.readText()"))))
    assert len(lines) == len(result.layers)
    assert lines[0]["name"] == result.best_layers(1)[0].name
    assert float(lines[0]["half_macs_s"]) == result.best_layers(1)[0].half_macs_s


def test_the_alternatives_filter(page: Page, result: WhatIf) -> None:
    choice = page.locator("#alternatives-group")
    choice.select_option("Batch")
    assert page.locator("[data-count='alternatives']").inner_text() == f"7 of {len(result.alternatives)}"
    choice.select_option("")


def test_dark_mode_draws_again(page: Page) -> None:
    def ink() -> str:
        return str(page.evaluate("getComputedStyle(document.querySelector('#plot-iso .ytick text')).fill"))

    light = ink()
    page.emulate_media(color_scheme="dark")
    settle(page)
    assert ink() == "rgb(228, 231, 235)" != light


def test_paper_hides_the_control(page: Page) -> None:
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.emulate_media(media="print")
    assert page.locator("#target").is_hidden()
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    settle(page)


def test_names_that_are_markup_show_as_text_on_a_phone_too(open_page: Opener) -> None:
    hostile = replace(roofline.load_profile("raspberrypi_5"), id=EVIL, name=EVIL, notes=EVIL)

    class Hostile(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(EVIL, nn.Conv2d(4, 4, 3, padding=1))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return next(iter(self.children()))(x)  # type: ignore[no-any-return]

    data = whatif(Hostile(), torch.zeros(1, 4, 32, 32), hw=hostile, target_s=1e-6).to_dict()
    data["analysis"]["model"]["name"] = data["profiles"][0]["name"] = data["verdict"] = EVIL
    data["alternatives"][0]["what_changes"] = data["alternatives"][0]["name"] = EVIL
    page = open_page(data, command=EVIL, viewport={"width": 360, "height": 740}, plotlyjs="directory")
    assert page.locator("h1").inner_text() == f"{EVIL} on {EVIL}: what if"
    assert page.locator("#verdict").inner_text() == EVIL
    assert page.locator("img").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    aim(page, 2e-6)
    assert page.locator("img").count() == 0


@pytest.mark.parametrize("target_s", [None, 0.4e-3])
def test_a_phone_has_no_sideways_scroll(open_page: Opener, target_s: float | None) -> None:
    asked = whatif(MODEL, hw=device(weight_bandwidth_bytes_per_s=1e10), target_s=target_s)
    page = open_page(asked.to_dict(), viewport={"width": 360, "height": 740}, plotlyjs="directory")
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    aim(page, 0.7e-3)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
