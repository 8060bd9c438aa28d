"""The page of a comparison, as a reader uses it."""

from __future__ import annotations

import copy
import csv
import io
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pytest

import roofline
from roofline.comparison import Comparison, Difference, compare, compare_models
from roofline.comparison_words import letters, notes, of_two
from roofline.reports.figures import colors
from roofline.reports.pages import render_page, seconds
from tests.browser.controls import put_choice, put_text

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

    from .conftest import Opener

pytestmark = pytest.mark.usefixtures("traced_once")

EVIL = "<script>alert(1)</script>"
MODELS = ("mobilenetv4_conv_small", "mobilenetv3_large_100")
DEVICES = ("pixel6_tpu", "pixel6_cpu")


@pytest.fixture(scope="module")
def two() -> Comparison:
    return compare_models(["mobilenetv4_conv_medium", "mobilenetv4_conv_small"], hw="pixel6_tpu")


@pytest.fixture(scope="module")
def many() -> Comparison:
    return compare_models(MODELS, hw=DEVICES)


@pytest.fixture(scope="module")
def opened(open_page: Opener, two: Comparison) -> Page:
    return open_page(two.to_dict(), command="roofline compare a b", permissions=["clipboard-read", "clipboard-write"])


@pytest.fixture(scope="module")
def opened_many(open_page: Opener, many: Comparison) -> Page:
    return open_page(many.to_dict())


@pytest.fixture
def page(opened: Page) -> Iterator[Page]:
    """One page for all tests, put back as it was after each."""
    yield opened
    restore(opened)


@pytest.fixture
def many_page(opened_many: Page) -> Iterator[Page]:
    yield opened_many
    put_choice(opened_many.locator("#pair"), "0")
    restore(opened_many)


def restore(page: Page) -> None:
    page.keyboard.press("Escape")
    page.mouse.move(0, 0)
    put_text(page.get_by_label("Search"), "")
    for label in ("status", "kind", "bound"):
        put_choice(page.get_by_label(label, exact=True), "")
    page.locator("#only-changed").check()
    page.locator("#as-share").uncheck()
    put_choice(page.locator("#group"), "kind")
    if heading(page, "rank").get_attribute("aria-sort") != "ascending":
        heading(page, "rank").locator("button").click()
        if heading(page, "rank").get_attribute("aria-sort") != "ascending":
            heading(page, "rank").locator("button").click()
    settle(page)


def settle(page: Page) -> None:
    """Wait for what a frame of animation puts off, and have drawn what is out of sight."""
    page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    page.evaluate("Roofline.drawHidden()")


def heading(page: Page, key: str) -> Locator:
    return page.locator(f"#layers thead th[data-key='{key}']")


def column(page: Page, key: str, table: str = "layers") -> list[str]:
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


def numbers(values: Sequence[str]) -> list[float]:
    return [float(value) for value in values if value]


def dots(page: Page, side: str) -> dict[int, tuple[float, float, float]]:
    """Item -> intensity, rate and size of the dots of a side, as plotly has them."""
    points: list[tuple[int, float, float, float]] = page.evaluate(
        """side => document.getElementById('plot-roofline').data
            .filter(trace => trace.meta?.role === 'dots' && trace.meta.side === side)
            .flatMap(({customdata, x, y, marker: {size}}) =>
                customdata.map((item, i) => [item, x[i], y[i], size[i]]))""",
        side,
    )
    return {item: (x, y, size) for item, x, y, size in points}


def ranked(difference: Difference) -> list[Any]:
    """The layers in the order of the table."""
    return [*difference.changes(), *(layer for layer in difference.layers if layer.status == "same")]


def with_macs(rows: Sequence[Any]) -> list[Any]:
    return [row for row in rows if row["macs"]]


def place_of(page: Page, item: int, side: str) -> tuple[float, float]:
    """Where in the window the dot of an item is."""
    x, y = page.evaluate(
        """([item, side]) => {
            const plot = document.getElementById('plot-roofline');
            plot.scrollIntoView({block: 'center', behavior: 'instant'});
            const box = plot.getBoundingClientRect();
            for (const trace of plot._fullData) {
                const at = trace.meta?.side === side ? (trace.customdata ?? []).indexOf(item) : -1;
                if (at < 0) continue;
                const {xaxis, yaxis} = plot._fullLayout;
                const [x, y] = [xaxis.c2p(trace.x[at]), yaxis.c2p(trace.y[at])];
                return [box.left + xaxis._offset + x, box.top + yaxis._offset + y];
            }
        }""",
        [item, side],
    )
    return x, y


# --- what is drawn --------------------------------------------------------------------------------------------------


def test_the_text_says_what_the_result_says(page: Page, two: Comparison) -> None:
    assert page.title() == "mobilenetv4_conv_small against mobilenetv4_conv_medium"
    assert page.locator("#verdict").inner_text() == two.verdict()
    assert not page.locator("#sentence").is_visible()
    footer = page.locator("footer").inner_text()
    for note in notes(two, list(letters(two).values())):
        assert note in footer
    for part in (
        "roofline compare a b",
        "Google Pixel 6 EdgeTPU",
        "Caches, and on-chip memory",
        "roofline 0",
        "peak_macs_per_s.int8",
    ):
        assert part in footer


def test_the_tiles_have_the_numbers(page: Page, two: Comparison) -> None:
    def tile(name: str) -> float:
        return float(page.locator(f"#tile-{name} data").get_attribute("value") or "nan")

    (difference,) = two.differences
    assert tile("latency-baseline") == difference.baseline.latency_s
    assert tile("latency-other") == difference.other.latency_s
    assert tile("delta") == difference.delta_s
    assert tile("ratio") == difference.ratios()["latency_s"]
    assert tile("changed") == len(difference.changes())
    assert page.locator("#tile-latency-other .badge").inner_text() == "prediction"


def test_the_dots_number_the_layers_of_both(page: Page, two: Comparison) -> None:
    (difference,) = two.differences
    for side, of in (("baseline", difference.baseline), ("other", difference.other)):
        drawn = dots(page, side)
        assert len(drawn) == len(with_macs(of.layers))
        for item, (x, y, size) in drawn.items():
            index = getattr(ranked(difference)[item], side)
            row = of.layers[index]
            assert x == pytest.approx(row["macs"] / (row["weight_bytes"] + row["activation_bytes"]))
            assert y == pytest.approx(row["macs"] / row["latency_s"])
            assert size == row["latency_s"]
    both = len(with_macs(difference.baseline.layers)) + len(with_macs(difference.other.layers))
    assert page.locator("#plot-roofline .scatterlayer .points path.point").count() >= both


def test_both_sides_have_their_own_markers(page: Page) -> None:
    symbols = page.evaluate(
        """() => Object.fromEntries(['baseline', 'other'].map(side => [side, [...new Set(
            document.getElementById('plot-roofline').data
                .filter(trace => trace.meta?.side === side && trace.meta.role === 'dots')
                .flatMap(trace => trace.marker.symbol))].sort()]))"""
    )
    assert symbols == {"baseline": ["circle-open", "diamond-open"], "other": ["circle", "diamond"]}


def test_an_arrow_leads_from_each_layer_that_moved_to_where_it_is(page: Page, two: Comparison) -> None:
    before, after = dots(page, "baseline"), dots(page, "other")
    moved = [item for item in before if item in after and before[item][:2] != after[item][:2]]
    ends = page.evaluate(
        """() => document.getElementById('plot-roofline').data.filter(trace => trace.meta?.role === 'arrows')
            .flatMap(({x, y, marker: {size}}) =>
                x.map((value, i) => [value, y[i], size[i]]).filter(point => point[2]))"""
    )
    assert len(ends) == len(moved) > 10
    assert sorted(end[0] for end in ends) == pytest.approx(sorted(after[item][0] for item in moved), rel=1e-4)
    texts = page.locator("#plot-roofline .annotation-text").all_text_contents()
    shares = [text for text in texts if text.endswith("%")]
    assert len(shares) >= 3
    owns = [value for value in column(page, "own_change") if value]
    shown = {f"{100 * abs(float(value)):.0f}" for value in owns}
    assert {text[1:-2] for text in shares} <= shown


def test_the_bars_are_the_times_by_kind(page: Page, two: Comparison) -> None:
    times = page.evaluate("document.getElementById('plot-bars').data.map(({x, y}) => [y, x])")
    kinds = two.by("kind")
    for number, (names, values) in enumerate(times):
        assert dict(zip(names, values, strict=True)) == {kind: of[number] for kind, of in kinds.items()}
    assert page.locator("#plot-bars .barlayer .point path").count() == 2 * len(kinds)


@pytest.mark.parametrize("group", ["kind", "stage"])
def test_the_steps_of_the_difference_add_up(page: Page, two: Comparison, group: str) -> None:
    page.locator("#group").select_option(group)
    settle(page)
    (difference,) = two.differences
    (names, values) = page.evaluate("(({y, x}) => [y, x])(document.getElementById('plot-change').data[0])")
    parts = [part for part in difference.by(group) if part.delta_s]
    assert names[1:-1] == [part.name for part in parts]
    assert sum(values) == difference.other.latency_s
    assert page.locator("#plot-change .waterfalllayer .point path").count() == len(parts) + 2
    assert page.locator("#plot-change").bounding_box()["height"] > 27 * len(names)  # type: ignore[index]
    assert column(page, "name", "changes") == [part.name for part in difference.by(group)]
    assert numbers(column(page, "delta_s", "changes")) == [part.delta_s for part in difference.by(group)]


def test_a_share_of_each_latency_in_place_of_the_time(page: Page, two: Comparison) -> None:
    page.locator("#as-share").check()
    settle(page)
    sums = page.evaluate("document.getElementById('plot-bars').data.map(({x}) => x.reduce((a, b) => a + b))")
    assert sums == pytest.approx([1, 1])
    assert "share" in (page.locator("#plot-bars .xtitle").text_content() or "")
    page.locator("#as-share").uncheck()
    settle(page)
    sums = page.evaluate("document.getElementById('plot-bars').data.map(({x}) => x.reduce((a, b) => a + b))")
    assert sums == pytest.approx([side.latency_s for side in two.sides])


# --- the table ------------------------------------------------------------------------------------------------------


def test_the_table_shows_what_changed_and_all_when_asked(page: Page, two: Comparison) -> None:
    (difference,) = two.differences
    assert column(page, "name") == [change.name for change in difference.changes()]
    assert "same" not in column(page, "status")
    assert (
        page.locator("[data-count=layers]").inner_text()
        == f"{len(difference.changes())} of {len(difference.changes())}"
    )
    page.locator("#only-changed").uncheck()
    assert column(page, "name") == [change.name for change in ranked(difference)]
    assert column(page, "status").count("same") == len(difference.layers) - len(difference.changes()) > 0
    assert "same" in page.get_by_label("status", exact=True).locator("option").all_inner_texts()
    page.locator("#only-changed").check()
    assert column(page, "name") == [change.name for change in difference.changes()]


def test_what_changed_most_is_first(page: Page) -> None:
    deltas = [abs(value) for value in numbers(column(page, "delta_s"))]
    assert deltas == sorted(deltas, reverse=True)
    assert heading(page, "rank").get_attribute("aria-sort") == "ascending"


@pytest.mark.parametrize("key", ["delta_s", "latency_s", "own_change", "mem_bytes"])
def test_headings_sort(page: Page, key: str) -> None:
    heading(page, key).locator("button").click()
    values = numbers(column(page, key))
    assert values == sorted(values, reverse=True)
    heading(page, key).locator("button").click()
    assert numbers(column(page, key)) == values[::-1] or numbers(column(page, key)) == sorted(values)
    page.locator("#only-changed").uncheck()
    values = numbers(column(page, key))
    assert values == sorted(values), "the order stays when rows come"


def test_the_filters_filter(page: Page, two: Comparison) -> None:
    (difference,) = two.differences
    page.get_by_label("status", exact=True).select_option("added")
    added = [change for change in difference.changes() if change.status == "added"]
    assert column(page, "name") == [change.name for change in added]
    assert page.locator("[data-count=layers]").inner_text() == f"{len(added)} of {len(difference.changes())}"
    assert set(column(page, "baseline_latency_s")) == {""}
    page.get_by_label("kind", exact=True).select_option("depthwise_conv")
    assert column(page, "name") == [change.name for change in added if change.kind == "depthwise_conv"]
    page.get_by_label("status", exact=True).select_option("")
    page.get_by_label("kind", exact=True).select_option("")
    page.get_by_label("Search").fill("stages.2 expand")
    assert column(page, "name") == [c.name for c in difference.changes() if "stages.2" in c.name and "expand" in c.name]


def test_a_filter_stays_when_all_layers_are_shown(page: Page) -> None:
    page.get_by_label("Search").fill("stem")
    before = column(page, "name")
    page.locator("#only-changed").uncheck()
    assert column(page, "name") == before == ["stem.conv"]


def test_what_is_shown_is_copied_as_csv(page: Page, two: Comparison) -> None:
    page.get_by_label("status", exact=True).select_option("changed")
    page.locator("[data-copy=layers]").click()
    page.locator("[data-copy=layers]:text-is('Copied')").wait_for()
    rows = list(csv.DictReader(io.StringIO(page.evaluate("navigator.clipboard.readText()"))))
    changed = [change for change in two.differences[0].changes() if change.status == "changed"]
    assert [row["name"] for row in rows] == [change.name for change in changed]
    assert [float(row["delta_s"]) for row in rows] == [change.delta_s for change in changed]
    assert [float(row["share"]) for row in rows] == pytest.approx([change.share for change in changed])


def test_a_layer_highlights_its_dots_and_its_row(page: Page, two: Comparison) -> None:
    changed = [i for i, change in enumerate(two.differences[0].changes()) if change.status == "changed"]
    item = next(i for i in changed if i in dots(page, "other"))
    page.locator(f"#layers tr[data-item='{item}'] th").hover()
    settle(page)
    assert page.locator("#plot-roofline .ring").count() == 2
    name = two.differences[0].changes()[item].name
    assert name in (page.locator("#plot-roofline .hoverlayer").text_content() or "")
    page.mouse.move(0, 0)
    settle(page)
    assert page.locator("#plot-roofline .ring").count() == 0


def test_a_dot_shows_its_layer_and_highlights_its_row(page: Page, two: Comparison) -> None:
    removed = next(i for i, change in enumerate(two.differences[0].changes()) if change.status == "removed")
    page.mouse.move(*place_of(page, removed, "baseline"))
    page.wait_for_selector("#plot-roofline .hovertext")
    settle(page)
    said = page.locator("#plot-roofline .hoverlayer").text_content() or ""
    assert two.differences[0].changes()[removed].name in said
    assert "removed" in said
    assert page.locator("#layers tr.is-linked").get_attribute("data-item") == str(removed)


def test_the_keyboard_reaches_all_of_it(page: Page) -> None:
    page.locator("#only-changed").focus()
    page.keyboard.press("Space")
    assert "same" in column(page, "status")
    heading(page, "delta_s").locator("button").focus()
    page.keyboard.press("Enter")
    assert heading(page, "delta_s").get_attribute("aria-sort") == "descending"
    assert page.locator("#layers tbody tr[tabindex='0']").count() == 1
    page.locator("#layers tbody tr").first.focus()
    page.keyboard.press("ArrowDown")
    settle(page)
    second = page.locator("#layers tbody tr").nth(1)
    assert second.evaluate("row => row === document.activeElement")
    assert "is-linked" in (second.get_attribute("class") or "")


# --- several pairs --------------------------------------------------------------------------------------------------


def test_the_matrix_says_who_is_fastest_where(many_page: Page, many: Comparison) -> None:
    matrix = many.matrix()
    table = many_page.locator("#matrix")
    assert table.locator("thead th").all_inner_texts() == ["model", *matrix.devices]
    values = table.locator("td").evaluate_all("cells => cells.map(cell => Number(cell.dataset.value))")
    assert values == [many.sides[number or 0].latency_s for row in matrix.sides for number in row]
    bold = table.locator("strong").all_inner_texts()
    assert bold == [seconds(many.sides[2 * i + j].latency_s) for i in (0, 1) for j in (0, 1) if matrix.ranks[i][j] == 1]
    heat = table.locator("td").evaluate_all("cells => cells.map(cell => Number(cell.dataset.heat))")
    for rank, hot in zip((rank for row in matrix.ranks for rank in row), heat, strict=True):
        assert (hot == 0) == (rank == 1)
    backgrounds = table.locator("td").evaluate_all("cells => cells.map(cell => getComputedStyle(cell).backgroundColor)")
    assert len(set(backgrounds)) > 1


def test_each_pair_is_drawn_when_it_is_picked(many_page: Page, many: Comparison) -> None:
    options = many_page.locator("#pair option").all_inner_texts()
    assert [option.split(":")[0] for option in options] == ["B against A", "C against A", "D against B"]
    for number, difference in reversed(list(enumerate(many.differences))):
        many_page.locator("#pair").select_option(str(number))
        settle(many_page)
        assert many_page.locator("#sentence").inner_text() == of_two(difference)
        assert column(many_page, "name") == [change.name for change in difference.changes()]
        assert numbers(column(many_page, "delta_s")) == [change.delta_s for change in difference.changes()]
        assert numbers(column(many_page, "delta_s", "changes")) == [part.delta_s for part in difference.by("kind")]
        assert len(dots(many_page, "baseline")) == len(with_macs(difference.baseline.layers))
        assert len(dots(many_page, "other")) == len(with_macs(difference.other.layers))
        ends = many_page.evaluate("document.getElementById('plot-change').data[0].x")
        assert sum(ends) == difference.other.latency_s


def test_a_row_of_another_pair_highlights_its_dots(many_page: Page, many: Comparison) -> None:
    many_page.locator("#pair").select_option("1")
    settle(many_page)
    item = next(iter(dots(many_page, "other")))
    many_page.locator(f"#layers tr[data-item='{item}'] th").hover()
    settle(many_page)
    assert many_page.locator("#plot-roofline .ring").count() >= 1
    assert many_page.locator(f"#layers tr[data-item='{item}']").get_attribute("class") == "is-linked"


def test_the_group_stays_when_the_pair_changes(many_page: Page, many: Comparison) -> None:
    many_page.locator("#group").select_option("stage")
    many_page.locator("#pair").select_option("2")
    settle(many_page)
    assert column(many_page, "name", "changes") == [part.name for part in many.differences[2].by("stage")]


# --- themes, sizes, names -------------------------------------------------------------------------------------------


def test_dark_and_light(open_page: Opener, two: Comparison) -> None:
    page = open_page(two.to_dict(), color_scheme="dark", plotlyjs="directory")
    fill = "document.querySelector('#plot-change .waterfalllayer .point path').style.fill"
    normal = "name => { const i = document.createElement('i'); i.style.fill = name; return i.style.fill }"
    for theme in ("dark", "light"):
        expected = page.evaluate(normal, colors(theme)["muted"])
        settle(page)
        assert page.evaluate(fill) == expected
        page.locator("#theme").click()


@pytest.mark.parametrize("which", ["two", "many"])
def test_it_reads_on_a_phone(open_page: Opener, request: pytest.FixtureRequest, which: str) -> None:
    page = open_page(
        request.getfixturevalue(which).to_dict(), viewport={"width": 360, "height": 740}, plotlyjs="directory"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for plot in page.locator(".plot").all():
        box = plot.bounding_box()
        assert box is not None
        assert box["width"] <= 360
    assert not [text for text in page.locator("#plot-roofline .annotation-text").all_text_contents() if "%" in text]


def test_names_are_text(open_page: Opener, two: Comparison) -> None:
    """As names of models, devices, layers and ops, in text, figures, tables, and after a pair was picked."""
    analyses = []
    for i, side in enumerate((*two.sides, two.sides[1])):
        data = copy.deepcopy(dict(side.data))
        data["model"]["name"] = f"{EVIL}{i}"
        data["hardware"]["id"] = data["hardware"]["name"] = f"{EVIL}&amp;"
        data["uncounted_ops"] = [{"name": EVIL, "calls": 1, "mem_bytes": 1}]
        for layer in data["layers"]:
            layer["name"] = f"{EVIL}.{layer['name']}"
            layer["ops"] = EVIL
        data["layers"][0]["kind"] = EVIL
        analyses.append(data)
    page = open_page(compare(analyses).to_dict(), command=EVIL)
    page.locator("#only-changed").uncheck()
    for pair in ("1", "0"):
        for group in ("stage", "kind"):
            page.locator("#pair").select_option(pair)
            page.locator("#group").select_option(group)
            settle(page)
            assert all(name.startswith(EVIL) for name in column(page, "name"))
    assert EVIL in page.locator("h1").inner_text() + page.locator("#verdict").inner_text()
    assert f"{EVIL}&amp;" in page.locator("#sides").inner_text()
    assert any(EVIL in text for text in page.locator("#plot-bars .legendtext").all_text_contents())
    assert any(text.startswith(EVIL) for text in page.locator("#plot-bars .ytick").all_text_contents())
    assert any(EVIL in text for text in page.locator("#plot-roofline .annotation-text").all_text_contents())
    assert page.locator("main script, footer script").count() == 0


def test_a_comparison_of_no_layers_is_drawn(open_page: Opener, two: Comparison) -> None:
    data = copy.deepcopy(dict(two.sides[0].data))
    data["layers"] = []
    data["totals"]["latency_s"] = 0
    page = open_page(compare([data, data]).to_dict(), plotlyjs="directory")
    assert "have the same predicted latency, 0 s" in page.locator("#verdict").inner_text()


def test_equal_analyses_are_drawn(open_page: Opener, two: Comparison) -> None:
    page = open_page(compare([two.sides[0].data, two.sides[0].data]).to_dict(), plotlyjs="directory")
    assert column(page, "name") == []
    page.locator("#only-changed").uncheck()
    assert len(column(page, "name")) == len(two.sides[0].layers)


def test_a_bound_beside_a_prediction_has_no_ratio(open_page: Opener, two: Comparison) -> None:
    data = [copy.deepcopy(dict(side.data)) for side in two.sides]
    data[1]["latency_kind"] = "bound"
    page = open_page(compare(data).to_dict(), plotlyjs="directory")
    assert page.locator("#tile-ratio").count() == 0
    assert page.locator(".badge").all_inner_texts() == ["prediction", "bound"]
    assert column(page, "ratio", "sides") == ["", ""]
    assert "unlike numbers" in page.locator("#verdict").inner_text()


def test_a_saved_comparison_is_drawn_the_same(two: Comparison) -> None:
    import json

    again = json.loads(two.to_json())
    assert render_page(again, plotlyjs="directory") == render_page(two.to_dict(), plotlyjs="directory")


def test_three_hundred_layers_stay_below_a_megabyte(two: Comparison) -> None:
    data = [copy.deepcopy(dict(two.sides[0].data)) for _ in range(2)]
    for number, analysis in enumerate(data):
        rows = analysis["layers"]
        analysis["layers"] = [
            {
                **rows[i % len(rows)],
                "name": f"backbone.stages.{i}.block.{rows[i % len(rows)]['name']}",
                "macs": 10**6 + i + number,
            }
            for i in range(300)
        ]
        analysis["totals"]["latency_s"] = sum(row["latency_s"] for row in analysis["layers"])
    text = render_page(compare(data).to_dict(), plotlyjs="directory")
    assert len(re.findall(r"<tr data-item=", text)) == 300
    assert len(text.encode()) < 1e6


def test_a_broken_comparison_is_one_clear_line(two: Comparison) -> None:
    data = two.to_dict()
    del data["analyses"][0]["layers"]
    with pytest.raises(roofline.RooflineError, match="it lacks 'layers'"):
        render_page(data)
