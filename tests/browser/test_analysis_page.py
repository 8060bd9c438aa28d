"""The page of an analysis, as a reader uses it."""

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
from roofline import Analysis, Hardware
from roofline.engine import predict
from roofline.reports.pages import seconds
from roofline.units import percent, si, significant
from tests.browser.controls import put_choice, put_text

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from .conftest import Opener

pytestmark = pytest.mark.usefixtures("traced_once")

EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return roofline.analyze("mobilenetv4_hybrid_m", hw="pixel6_tpu")


@pytest.fixture(scope="module")
def opened(open_page: Opener, analysis: Analysis) -> Page:
    page = open_page(analysis.to_dict(), command="roofline analyze mobilenetv4_hybrid_m --hw pixel6_tpu --html x.html",
                     permissions=["clipboard-read", "clipboard-write"])  # fmt: skip
    return page


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    """One page for all tests, put back as it was after each."""
    yield opened
    opened.keyboard.press("Escape")
    opened.mouse.move(0, 0)
    put_text(opened.get_by_label("Search"), "")
    for label in ("kind", "bound"):
        put_choice(opened.get_by_label(label, exact=True), "")
    if opened.locator("#reset").is_enabled():
        opened.locator("#reset").click()
        settle(opened)
    sort(opened, "#", "ascending")


def settle(page: Page) -> None:
    """Wait for what a frame of animation puts off, and have drawn what is out of sight."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate("Roofline.drawHidden()")


def heading(page: Page, name: str) -> Locator:
    return page.locator("#layers thead th").filter(has=page.locator(f".label:text-is('{name}')"))


def sort(page: Page, name: str, direction: str) -> None:
    for _ in range(2):
        if heading(page, name).get_attribute("aria-sort") != direction:
            heading(page, name).locator("button").click()


def column(page: Page, name: str) -> list[str]:
    """The values of a column, in the order and as far as the rows are shown."""
    values: list[str] = page.evaluate(
        """name => {
            const table = document.getElementById('layers');
            const headings = [...table.tHead.querySelectorAll('.label')];
            const at = headings.findIndex(label => label.textContent === name);
            return [...table.tBodies[0].rows].filter(row => !row.hidden)
                .map(row => row.cells[at].dataset.value ?? row.cells[at].textContent);
        }""",
        name,
    )
    return values


def tile(page: Page, name: str) -> float:
    return float(page.locator(f"#tile-{name} data").get_attribute("value") or "nan")


def drawn(page: Page, selector: str) -> int:
    return page.locator(selector).count()


def dot(page: Page, item: int) -> tuple[float, float]:
    """Where in the window the dot of a layer is."""
    place: list[float] = page.evaluate(
        """item => {
            const plot = document.getElementById('plot-roofline');
            plot.scrollIntoView({block: 'center', behavior: 'instant'});
            const box = plot.getBoundingClientRect();
            for (const trace of plot._fullData) {
                const at = (trace.customdata ?? []).indexOf(item);
                if (at < 0) continue;
                const x = plot._fullLayout[trace.xaxis.replace('x', 'xaxis')];
                const y = plot._fullLayout[trace.yaxis.replace('y', 'yaxis')];
                return [box.left + x._offset + x.c2p(trace.x[at]), box.top + y._offset + y.c2p(trace.y[at])];
            }
        }""",
        item,
    )
    return place[0], place[1]


# --- what is drawn ----------------------------------------------------------------------------------------------------


def test_the_dots_number_the_layers_and_so_do_bars_and_rows(page: Page, analysis: Analysis) -> None:
    layers = len(analysis.layers)
    without_macs = int((analysis.layers.macs == 0).sum())
    assert without_macs, "the strip at the left is part of this test"
    assert drawn(page, "#plot-roofline .scatterlayer .points path") == layers
    assert drawn(page, "#plot-roofline .x2y2 .scatterlayer .points path") == without_macs
    assert drawn(page, "#plot-course .barlayer .point path") == layers
    assert drawn(page, "#layers tbody tr") == layers
    assert (
        page.evaluate("document.getElementById('plot-tree').data[0].customdata.filter(i => i !== null).length")
        == layers
    )
    assert drawn(page, "#plot-kinds .barlayer .trace") == 2


def test_dots_stand_at_their_intensity_and_rate(page: Page, analysis: Analysis) -> None:
    points: dict[str, list[float]] = page.evaluate(
        """() => Object.fromEntries(document.getElementById('plot-roofline').data
            .filter(trace => trace.meta?.role === 'dots' && trace.xaxis !== 'x2')
            .flatMap(({customdata: items, x, y, marker: {size}}) =>
                items.map((item, i) => [item, [x[i], y[i], size[i]]])))"""
    )
    rows = analysis.rows()
    assert len(points) == sum(row["macs"] > 0 for row in rows)
    for item, (x, y, size) in points.items():
        row = rows[int(item)]
        assert x == pytest.approx(row["macs"] / (row["weight_bytes"] + row["activation_bytes"]))
        assert y == pytest.approx(row["macs"] / row["latency_s"])
        assert size == row["latency_s"]


def test_the_text_says_what_the_result_says(page: Page, analysis: Analysis) -> None:
    assert page.title() == f"{analysis.name} on {analysis.hardware.name}"
    assert page.locator("#verdict").text_content() == analysis.verdict()
    assert tile(page, "latency") == analysis.totals()["latency_s"]
    footer = page.locator("footer").inner_text()
    assert "roofline analyze mobilenetv4_hybrid_m --hw pixel6_tpu --html x.html" in footer
    for figure in analysis.hardware.figures.values():
        assert figure.source in footer
    for line in analysis.to_dict()["conventions"]:
        assert line in footer
    assert f"roofline {roofline.__version__}" in footer


def test_every_chart_has_a_name_and_a_table(page: Page) -> None:
    figures = page.locator("figure")
    assert figures.count() == 4
    for figure in figures.all():
        assert figure.locator("figcaption h3").inner_text()
        assert len(figure.locator("[role=img]").get_attribute("aria-label") or "") > 20
        link = figure.locator("p.alternative a")
        table = page.locator(link.get_attribute("href") or "") if link.count() else figure.locator("details table")
        assert table.locator("tbody tr").count() > 3


# --- one layer, everywhere --------------------------------------------------------------------------------------------


def test_hover_shows_the_layer_and_highlights_its_row(page: Page, analysis: Analysis) -> None:
    rows = analysis.rows()
    item = max(range(len(rows)), key=lambda i: rows[i]["latency_s"] if rows[i]["macs"] else 0)
    page.mouse.move(*dot(page, item))
    hover = page.locator("#plot-roofline .hoverlayer")
    hover.locator(".hovertext").wait_for()
    shown = int(page.evaluate("Number(document.querySelector('#layers tr.is-linked').dataset.item)"))
    text = hover.text_content() or ""
    assert rows[shown]["name"] in text
    assert f"{rows[shown]['bound']}-bound" in text
    assert seconds(rows[shown]["latency_s"]) in text
    page.mouse.move(0, 0)
    page.locator("#layers tr.is-linked").wait_for(state="detached")


def test_a_row_highlights_its_dot_its_bar_and_its_box(page: Page, analysis: Analysis) -> None:
    for item in (
        0,
        next(i for i, row in enumerate(analysis.rows()) if not row["macs"]),
    ):  # one under the roof, one beside
        page.locator(f"#layers tr[data-item='{item}']").hover()
        settle(page)
        name = analysis.rows()[item]["name"]
        for plot in ("roofline", "course"):
            page.locator(f"#plot-{plot} .hoverlayer .hovertext").wait_for()
            assert name in (page.locator(f"#plot-{plot} .hoverlayer").text_content() or "")
            assert drawn(page, f"#plot-{plot} .ring") == 1
        assert drawn(page, "#plot-tree .slice.is-linked") == 1


def test_a_click_keeps_the_highlight_until_escape(page: Page) -> None:
    page.mouse.move(*dot(page, 0))
    page.locator("#plot-roofline .hovertext").wait_for()
    settle(page)
    page.mouse.down()
    page.mouse.up()
    page.mouse.move(0, 0)
    row = page.locator("#layers tr[data-item='0']")
    page.locator("#layers tr.is-pinned").wait_for()
    assert "is-linked" in (row.get_attribute("class") or "")
    page.keyboard.press("Escape")
    page.locator("#layers tr.is-linked").wait_for(state="detached")


# --- the table --------------------------------------------------------------------------------------------------------


def test_sorting_sorts(page: Page, analysis: Analysis) -> None:
    times = [row["latency_s"] for row in analysis.rows()]
    heading(page, "time").locator("button").click()
    assert heading(page, "time").get_attribute("aria-sort") == "descending"
    assert [float(value) for value in column(page, "time")] == sorted(times, reverse=True)
    heading(page, "time").locator("button").click()
    assert [float(value) for value in column(page, "time")] == sorted(times)
    heading(page, "layer").locator("button").click()
    names = column(page, "layer")
    assert sorted(names) == sorted(row["name"] for row in analysis.rows())
    assert names.index("stages.2.2.project.conv") < names.index("stages.2.10.project"), "numbers sort as numbers"
    assert page.locator("#layers [aria-sort]").count() == 1


def test_sorting_by_keyboard(page: Page) -> None:
    heading(page, "#").locator("button").focus()
    while "MACs" not in page.evaluate("document.activeElement.textContent"):
        page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    assert heading(page, "MACs").get_attribute("aria-sort") == "descending"
    macs = [int(value) for value in column(page, "MACs")]
    assert macs == sorted(macs, reverse=True)
    assert "MACs, descending" in page.locator("#status").inner_text()


def test_the_filters_filter(page: Page, analysis: Analysis) -> None:
    rows = analysis.rows()
    page.get_by_label("Search").fill("stages.2 expand")
    wanted = [row["name"] for row in rows if "stages.2" in row["name"] and "expand" in row["name"]]
    assert 0 < len(wanted) < len(rows)
    assert column(page, "layer") == wanted
    assert page.locator("[data-count=layers]").inner_text() == f"{len(wanted)} of {len(rows)}"
    page.get_by_label("Search").fill("")
    page.get_by_label("kind", exact=True).select_option("depthwise_conv")
    page.get_by_label("bound", exact=True).select_option("memory")
    assert column(page, "layer") == [
        row["name"] for row in rows if (row["kind"], row["bound"]) == ("depthwise_conv", "memory")
    ]
    page.get_by_label("Search").fill("no such layer")
    assert column(page, "layer") == []


def test_copy_as_csv_copies_what_is_shown_unrounded(page: Page, analysis: Analysis) -> None:
    page.get_by_label("kind", exact=True).select_option("conv")
    sort(page, "time", "descending")
    page.get_by_role("button", name="Copy as CSV").click()
    page.get_by_role("button", name="Copied").wait_for()
    copied = list(csv.DictReader(io.StringIO(page.evaluate("navigator.clipboard.readText()"))))
    wanted = sorted((row for row in analysis.rows() if row["kind"] == "conv"), key=lambda row: -row["latency_s"])
    assert [row["name"] for row in copied] == [row["name"] for row in wanted]
    for key in ("macs", "weight_bytes", "activation_bytes", "unfused_bytes", "latency_s"):
        assert [float(row[key]) for row in copied] == [row[key] for row in wanted]


def test_arrow_keys_go_from_row_to_row(page: Page) -> None:
    page.locator("#layers tr[data-item='0']").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.locator("#layers tr.is-pinned[data-item='2']").wait_for()


# --- what if ----------------------------------------------------------------------------------------------------------


def engine(analysis: Analysis, *, peak: float = 1.0, bandwidth: float = 1.0) -> Any:
    """The engine's prediction with the profile's peak times this, and all its rates of memory times that."""
    hardware = analysis.hardware
    of_weights, of_classes = hardware.weight_bandwidth_bytes_per_s, hardware.bandwidth_bytes_per_s_by_class
    moved = replace(
        hardware,
        peak_macs_per_s={analysis.layers.dtype: hardware.peak(analysis.layers.dtype) * peak},
        bandwidth_bytes_per_s=hardware.bandwidth_bytes_per_s * bandwidth,
        weight_bandwidth_bytes_per_s=of_weights and of_weights * bandwidth,
        bandwidth_bytes_per_s_by_class={name: rate * bandwidth for name, rate in of_classes.items()},
    )
    return predict(analysis.layers, moved)


def test_the_sliders_change_everything_by_what_the_engine_gives(page: Page, analysis: Analysis) -> None:
    hovers = "Object.values(Roofline.specs).map(({data}) => data.map(trace => trace.hovertext ?? null))"
    before = page.evaluate(hovers)
    page.locator("#bandwidth").fill("2")
    page.locator("#peak").fill("-1")
    settle(page)
    expected = engine(analysis, peak=0.5, bandwidth=4.0)
    assert tile(page, "latency") == pytest.approx(float(expected.latency_s), rel=1e-12)
    assert tile(page, "memory") == pytest.approx(1 - float(expected.compute_bound_share), rel=1e-12)
    assert tile(page, "mac-time") == pytest.approx(float(expected.mac_time_s.sum()), rel=1e-12)
    assert tile(page, "mem-time") == pytest.approx(float(expected.mem_time_s.sum()), rel=1e-12)
    assert tile(page, "ridge") == pytest.approx(analysis.ridge_point / 8)
    assert [float(value) for value in column(page, "time")] == pytest.approx(
        expected.layer_latency_s.tolist(), rel=1e-14
    )
    assert column(page, "bound") == ["memory" if memory else "compute" for memory in expected.memory_bound]
    bars = page.evaluate("document.getElementById('plot-course').data[0].x")
    assert bars == pytest.approx(expected.layer_latency_s.tolist(), rel=1e-14)
    kinds = page.evaluate("document.getElementById('plot-kinds').data.map(trace => trace.x.reduce((a, b) => a + b, 0))")
    assert sum(kinds) == pytest.approx(float(expected.latency_s))
    assert kinds[1] / sum(kinds) == pytest.approx(float(expected.compute_bound_share))
    verdict = page.locator("#verdict").inner_text()
    assert verdict.startswith("What if the peak were 2 TMAC/s and the bandwidth 166 GB/s: ")
    assert seconds(float(expected.latency_s)) in verdict
    assert f"instead of the predicted {seconds(analysis.totals()['latency_s'])}" in verdict
    assert "what if" in page.locator("#tile-latency").inner_text().lower()
    assert "prediction" not in page.locator("#tile-latency").inner_text()
    symbols = page.evaluate(
        "document.getElementById('plot-roofline').data"
        ".filter(trace => trace.meta?.role === 'dots').flatMap(trace => trace.marker.symbol)"
    )
    assert symbols.count("diamond") == int((~expected.memory_bound).sum())

    page.locator("#reset").click()
    settle(page)
    assert page.locator("#verdict").inner_text() == analysis.verdict()
    assert tile(page, "latency") == pytest.approx(analysis.totals()["latency_s"], rel=1e-14)
    assert page.locator("#reset").is_disabled()
    assert page.evaluate(hovers) == before, "the page and Python word a layer alike"


def test_a_zoom_and_a_hidden_kind_outlast_a_slider(page: Page) -> None:
    shown = "document.getElementById('plot-roofline').layout.xaxis.range"
    x, y = dot(page, 0)
    whole = page.evaluate(shown)
    page.mouse.move(x - 200, y + 60)
    page.mouse.down()
    page.mouse.move(x + 100, y - 60, steps=4)
    page.mouse.up()
    zoomed = page.evaluate(shown)
    assert zoomed[1] - zoomed[0] < (whole[1] - whole[0]) / 2
    kind = page.get_by_role("button", name="depthwise_conv")
    dots = drawn(page, "#plot-roofline .scatterlayer .points path")
    kind.click()
    settle(page)
    fewer = drawn(page, "#plot-roofline .scatterlayer .points path")
    assert 0 < fewer < dots
    page.locator("#peak").fill("1")
    settle(page)
    assert page.evaluate(shown) == zoomed
    assert drawn(page, "#plot-roofline .scatterlayer .points path") == fewer
    kind.click()
    page.mouse.dblclick(*dot(page, 0))
    settle(page)
    assert page.evaluate(shown) == whole


def test_a_number_typed_is_the_bandwidth(page: Page, analysis: Analysis) -> None:
    page.get_by_label("Bandwidth, GB/s").fill("20")
    settle(page)
    factor = 20e9 / analysis.hardware.bandwidth_bytes_per_s
    expected = engine(analysis, bandwidth=factor)
    assert tile(page, "latency") == pytest.approx(float(expected.latency_s), rel=1e-12)
    for nonsense in ("", "0", "-3"):
        page.get_by_label("Bandwidth, GB/s").fill(nonsense)
        settle(page)
        assert tile(page, "latency") == pytest.approx(float(expected.latency_s), rel=1e-12)


def test_a_slider_moves_by_key(page: Page, analysis: Analysis) -> None:
    page.locator("#bandwidth").focus()
    page.keyboard.press("ArrowRight")
    settle(page)
    assert tile(page, "latency") == pytest.approx(float(engine(analysis, bandwidth=2**0.05).latency_s), rel=1e-12)
    assert "1.04 times the profile's" in (page.locator("#bandwidth").get_attribute("aria-valuetext") or "")


def test_the_page_writes_numbers_as_python_does(page: Page) -> None:
    values = [
        0,
        1,
        0.5,
        2.5,
        12.25,
        1234.5,
        99.96,
        999.5,
        0.012345,
        1.08e9,
        9.995e8,
        41e9,
        3e-9,
        31.2e-6,
        1e-4,
        2.3,
        7e15,
    ]
    shares = [0, 0.0004, 0.005, 0.051, 0.125, 0.245, 0.5, 0.995, 0.9999, 1]
    assert page.evaluate("v => v.map(x => Roofline.significant(x))", values) == [significant(x) for x in values]
    assert page.evaluate("v => v.map(x => Roofline.si(x, 'B'))", values) == [si(x, "B") for x in values]
    assert page.evaluate("v => v.map(x => Roofline.seconds(x))", values) == [seconds(x) for x in values]
    assert page.evaluate("v => v.map(x => Roofline.percent(x))", shares) == [percent(x) for x in shares]


def test_a_vector_rate_an_overhead_several_dtypes_and_plotly_in_a_file_beside(open_page: Opener) -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.SiLU(), nn.Flatten(), nn.Linear(288, 10))
    hardware = Hardware(
        id="toy", name="Toy", device_class="abstract", peak_macs_per_s={"fp32": 1e9, "fp16": 4e9, "int8": 8e9},
        bandwidth_bytes_per_s=1e10, default_dtype="fp16", default_fusion="epilogue", fused_activations=frozenset(),
        vector_ops_per_s=1e8, layer_overhead_s=1e-6,
    )  # fmt: skip
    analysis = roofline.analyze(net, torch.zeros(1, 3, 8, 8), hw=hardware)
    page = open_page(analysis.to_dict(), plotlyjs="directory")
    assert drawn(page, "#plot-roofline .scatterlayer .points path") == len(analysis.layers)
    assert page.evaluate(
        "document.getElementById('plot-roofline').data"
        ".filter(trace => trace.meta?.role.endsWith('roof')).map(trace => [trace.meta.role, trace.y[1]])"
    ) == [["other roof", 1e9], ["other roof", 8e9], ["roof", 4e9]]
    page.locator("#peak").fill("-4")
    settle(page)
    assert tile(page, "latency") == pytest.approx(float(engine(analysis, peak=1 / 16).latency_s), rel=1e-12)


class Shuffled(nn.Module):
    """Convolutions with a channel shuffle between them, an activation, attention and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.depthwise = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 7, padding=3, groups=8)
        self.norm, self.act, self.attend = nn.BatchNorm2d(8), nn.GELU(), nn.MultiheadAttention(8, 2, batch_first=True)
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv(x).unflatten(1, (2, 4)).transpose(1, 2).flatten(1, 2)
        x = self.act(self.norm(self.depthwise(x))).flatten(2).transpose(1, 2)
        logits: torch.Tensor = self.head(self.attend(x, x, x, need_weights=False)[0].mean(1))
        return logits


TERMS: dict[str, Any] = {
    "combine": "add",
    "peak_share_by_class": {"depthwise_conv_k7": 0.125, "attention": 0.5},
    "vector_ops_per_s": 3e9,
    "weight_bandwidth_bytes_per_s": 0.4e9,
    "bandwidth_bytes_per_s_by_class": {"transpose": 0.5e9, "gelu": 3e9},
    "layer_overhead_s": 1e-6,
    "overhead_layers": "macs",
    "inference_overhead_s": 30e-6,
    "onchip_bytes": 4000,
    "onchip_holds": frozenset({"weights", "activations"}),
}


@pytest.mark.parametrize("combine", ["add", "max"])
def test_every_term_of_a_profile_is_in_the_page_as_in_the_engine(open_page: Opener, combine: str) -> None:
    hardware = Hardware(
        id="toy", name="Toy", device_class="abstract", peak_macs_per_s={"int8": 8e9}, bandwidth_bytes_per_s=1e9,
        default_dtype="int8", default_fusion="epilogue", fused_activations=frozenset({"relu"}),
        **TERMS | {"combine": combine},
    )  # fmt: skip
    analysis = roofline.analyze(Shuffled(), torch.zeros(2, 3, 8, 8), hw=hardware)
    page = open_page(analysis.to_dict(), plotlyjs="directory")
    hovers = "Object.values(Roofline.specs).map(({data}) => data.map(trace => trace.hovertext ?? null))"
    before = page.evaluate(hovers)
    assert page.locator("#verdict").text_content() == analysis.verdict()
    assert tile(page, "overhead") == 30e-6
    assert "what this profile adds to them moves layers off" in page.locator("#figure-roofline").inner_text()
    assert "first layer" in (page.locator("#plot-course .xtitle").text_content() or "")

    def is_what_the_engine_gives(peak: float, bandwidth: float) -> None:
        expected = engine(analysis, peak=peak, bandwidth=bandwidth)
        times = [float(value) for value in column(page, "time")]
        assert times == pytest.approx(expected.layer_latency_s.tolist(), rel=1e-12, abs=0)
        assert column(page, "bound") == ["memory" if memory else "compute" for memory in expected.memory_bound]
        assert tile(page, "latency") == pytest.approx(float(expected.latency_s), rel=1e-12)
        assert tile(page, "memory") == pytest.approx(1 - float(expected.compute_bound_share), rel=1e-12)
        assert tile(page, "mac-time") == pytest.approx(float(expected.mac_time_s.sum()), rel=1e-12)
        assert tile(page, "mem-time") == pytest.approx(float(expected.mem_time_s.sum()), rel=1e-12)
        shares = [float(value) for value in column(page, "share")]
        assert sum(shares) == pytest.approx(float(expected.layers_s / expected.latency_s), rel=1e-12)
        groups = page.evaluate(
            "[...document.querySelectorAll('#by-kind tbody tr')].map(row => +row.cells[4].dataset.value)"
        )
        assert sum(groups) == pytest.approx(float(expected.layers_s), rel=1e-12)

    is_what_the_engine_gives(1.0, 1.0)
    for octaves_of_bandwidth, octaves_of_peak in ((2, -1), (-3, 4), (0.35, -0.65), (-4, -4)):
        page.locator("#bandwidth").fill(str(octaves_of_bandwidth))
        page.locator("#peak").fill(str(octaves_of_peak))
        settle(page)
        is_what_the_engine_gives(2.0**octaves_of_peak, 2.0**octaves_of_bandwidth)
    verdict = page.locator("#verdict").inner_text()
    assert "the bandwidth 62.5 MB/s, with all its rates of memory in proportion: " in verdict
    assert "of what the layers take in memory-bound layers" in verdict

    page.locator("#reset").click()
    settle(page)
    is_what_the_engine_gives(1.0, 1.0)
    assert tile(page, "latency") == pytest.approx(analysis.totals()["latency_s"], rel=1e-14)
    assert page.evaluate(hovers) == before, "the page and Python word a layer alike"


# --- light and dark, narrow, hostile ----------------------------------------------------------------------------------


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


def ink(page: Page) -> str:
    """The colour of a chart's text."""
    return str(page.evaluate("getComputedStyle(document.querySelector('#plot-kinds .ytick text')).fill"))


def test_dark_mode_follows_the_system_and_the_button(page: Page) -> None:
    assert background(page) == "rgb(255, 255, 255)"
    light = ink(page)
    page.emulate_media(color_scheme="dark")
    settle(page)
    assert background(page) == "rgb(20, 23, 28)"
    assert ink(page) == "rgb(228, 231, 235)" != light
    page.get_by_role("button", name="Switch to the light theme").click()
    settle(page)
    assert background(page) == "rgb(255, 255, 255)"
    assert ink(page) == light
    page.emulate_media(color_scheme="light")
    page.get_by_role("button", name="Switch to the dark theme").click()
    assert background(page) == "rgb(20, 23, 28)"
    page.evaluate("localStorage.clear(); delete document.documentElement.dataset.theme; Roofline.drawAll()")


class Hostile(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name in (EVIL, "</script><script>alert(2)</script>", "<img src=x onerror=alert(3)>", "%{x} &amp; ${1}"):
            self.add_module(name, nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.SiLU()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for child in self.children():
            x = child(x)
        return x


def test_names_that_are_markup_show_as_text_on_a_phone_too(open_page: Opener) -> None:
    data = roofline.analyze(Hostile(), torch.zeros(1, 4, 8, 8), hw="pixel6_tpu").to_dict()
    data["model"]["name"] = data["hardware"]["name"] = EVIL
    data["layers"][0]["kind"] = data["notes"][0] = '"><img src=x onerror=alert(4)>'
    page = open_page(data, command=EVIL, viewport={"width": 360, "height": 740})
    assert page.locator("h1").inner_text() == EVIL
    assert page.title() == f"{EVIL} on {EVIL}"
    assert column(page, "layer") == [layer["name"] for layer in data["layers"]]
    assert drawn(page, "img") == 0
    assert drawn(page, "script") == 5, "two of data, plotly.js, the script of all pages and that of this one"
    page.locator("#layers tr[data-item='0']").hover()
    settle(page)
    for plot in ("roofline", "course"):
        assert f"{EVIL}.0" in (page.locator(f"#plot-{plot} .hoverlayer").text_content() or "")
    boxes = page.locator("#plot-tree .slicetext")
    assert {EVIL, "%{x} &amp; ${1}"} <= set(boxes.all_text_contents())
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def widths(page: Page) -> list[float]:
    """Of the charts as drawn."""
    found: list[float] = page.evaluate(
        "[...document.querySelectorAll('.plot > * .main-svg:first-child')].map(svg => svg.clientWidth)"
    )
    return found


def test_a_phone_has_no_sideways_scroll(page: Page) -> None:
    wide = page.viewport_size
    assert wide is not None
    page.set_viewport_size({"width": 360, "height": 740})
    settle(page)
    settle(page)
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    assert max(widths(page)) <= 360 - 32
    assert page.locator("#plot-roofline .annotation-text").all_text_contents()[1:3] == ["memory", "compute"]
    page.set_viewport_size(wide)
    settle(page)
    settle(page)
    assert min(widths(page)) > 1000


def test_paper_is_light_and_narrow(page: Page) -> None:
    page.emulate_media(color_scheme="dark")
    settle(page)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")  # comes while the media are still a screen's
    page.emulate_media(media="print")
    assert ink(page) == "rgb(27, 31, 36)"
    assert set(widths(page)) == {690}
    assert background(page) == "rgb(255, 255, 255)"
    assert page.locator("#what-if").is_hidden()
    assert page.locator("#layers tbody tr").last.is_visible()
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    settle(page)
    assert ink(page) == "rgb(228, 231, 235)"
    page.emulate_media(color_scheme="light")
    settle(page)
    assert min(widths(page)) > 1000


def test_a_model_that_does_nothing_has_a_page(open_page: Opener) -> None:
    page = open_page(
        roofline.analyze(nn.Identity(), torch.zeros(1, 3), hw="pixel6_tpu").to_dict(), plotlyjs="directory"
    )
    assert "nothing to draw" in page.locator("main").inner_text()
    assert tile(page, "latency") == 0


def test_a_calibrated_prediction_has_no_sliders_and_all_else(open_page: Opener, analysis: Analysis) -> None:
    page = open_page(
        {**analysis.to_dict(), "estimates": [{"estimator": "learned", "is_chosen": True}]}, plotlyjs="directory"
    )
    assert drawn(page, "#what-if") == 0
    assert "does not follow from a calibration" in page.inner_text("main")
    dots = "plot => plot._fullData.filter(trace => trace.meta?.role === 'dots' && trace.visible === true).length"
    before = page.locator("#plot-roofline").evaluate(dots)
    button = page.locator("[data-kind]").first
    button.click()
    settle(page)
    assert button.get_attribute("aria-pressed") == "false"
    assert page.locator("#plot-roofline").evaluate(dots) < before
