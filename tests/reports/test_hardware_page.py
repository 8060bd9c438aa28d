"""The page of a list of devices as text and figures; tests/browser/ opens it."""

from __future__ import annotations

import copy
import json
import math
import re
from html.parser import HTMLParser
from typing import Any, get_args

import pytest

from roofline import RooflineError
from roofline.hardware import DeviceClass
from roofline.hardware_list import HardwareList
from roofline.hardware_words import defaults, formula, kind
from roofline.profiles import bundled, load_profile
from roofline.reports.figures import colors
from roofline.reports.hardware_page import CLASS_COLORS, NAMED
from roofline.reports.pages import Page, draw, page_of, render_page

EVIL = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def listed() -> HardwareList:
    return HardwareList.of()


@pytest.fixture(scope="module")
def data(listed: HardwareList) -> dict[str, Any]:
    return json.loads(json.dumps(listed.to_dict()))  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def page(data: dict[str, Any]) -> Page:
    return page_of(data)


@pytest.fixture(scope="module")
def html(data: dict[str, Any]) -> str:
    return render_page(data, command="roofline hw --html x", plotlyjs="directory")


class Text(HTMLParser):
    """The tags of a page, and all text that a reader sees without a script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self._hidden = 0
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._hidden += tag in ("script", "style")

    def handle_endtag(self, tag: str) -> None:
        self._hidden -= tag in ("script", "style")

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self.text += data


def dots(traces: Any) -> dict[int, tuple[float, float, str, str]]:
    """Row of the table -> bandwidth, peak, class and marker of its dot."""
    plain = [trace if isinstance(trace, dict) else trace.to_plotly_json() for trace in traces]
    return {
        item: (x, y, trace["name"], symbol)
        for trace in plain
        if trace["meta"]["role"] == "dots"
        for item, x, y, symbol in zip(
            trace["customdata"], trace["x"], trace["y"], trace["marker"]["symbol"], strict=True
        )
    }


# --- the map ----------------------------------------------------------------------------------------------------------


def test_every_dtype_of_every_device_is_a_row_and_a_dot_where_its_figures_are(page: Page, listed: HardwareList) -> None:
    rows = listed.rows()
    shown = page.context["profile_table"].cells()
    drawn = dots(page.data["dots"]["every"])
    assert len(rows) == len(shown) == len(drawn) == len(page.data["cards"])
    for item, (row, cells) in enumerate(zip(rows, shown, strict=True)):
        assert [cell.text for cell in cells[:4]] == [row["id"], row["name"], row["class"], row["dtype"]]
        assert [cell.value for cell in cells[4:7]] == [
            row["peak_macs_per_s"], row["bandwidth_bytes_per_s"], row["ridge_point_macs_per_byte"],
        ]  # fmt: skip
        assert [cell.text for cell in cells[7:]] == [row["figures"], row["latency_kind"]]
        x, y, group, symbol = drawn[item]
        assert (x, y, group) == (row["bandwidth_bytes_per_s"], row["peak_macs_per_s"], row["class"])
        assert (symbol == "diamond") == (row["latency_kind"] == "prediction")
        assert (symbol == "circle-open") == (row["figures"] == "estimate")
        card = page.data["cards"][item]
        assert row["name"] in card
        assert f"a time at {row['dtype']} is a {row['latency_kind']}" in card


def test_each_choice_of_a_dtype_has_the_devices_that_have_it(page: Page, listed: HardwareList) -> None:
    rows = listed.rows()
    choices = {choice: set(dots(traces)) for choice, traces in page.data["dots"].items()}
    assert list(choices) == ["default", "fp32", "fp16", "bf16", "int8", "every"]
    assert choices["default"] == {i for i, row in enumerate(rows) if row["is_default_dtype"]}
    assert len(choices["default"]) == len(bundled())
    for dtype in ("fp32", "fp16", "bf16", "int8"):
        assert choices[dtype] == {i for i, row in enumerate(rows) if row["dtype"] == dtype}
    assert set(dots(page.figures["map"].data)) == choices["default"]


def test_a_dtype_that_was_asked_for_is_shown_first() -> None:
    page = page_of(HardwareList.of(dtype="int8").to_dict())
    assert page.data["first"] == "int8"
    assert next(iter(page.context["choices"])) == "int8"
    assert set(dots(page.figures["map"].data)) == set(dots(page.data["dots"]["int8"]))


def test_along_a_diagonal_the_ridge_point_is_what_its_label_says(page: Page) -> None:
    figure = page.figures["map"]
    lines = {t.meta["ridge point"]: t for t in figure.data if t.meta["role"] == "ridge"}
    assert {1, 10, 100, 1000} <= set(lines)
    for point, line in lines.items():
        assert [y / x for x, y in zip(line.x, line.y, strict=True)] == pytest.approx([point, point])
    (low, high), (bottom, top) = figure.layout.xaxis.range, figure.layout.yaxis.range
    words = [note for note in figure.layout.annotations if note.name == "wide"]
    assert {"1 MACs/byte", "10 MACs/byte", "100 MACs/byte", "1000 MACs/byte"} <= {note.text for note in words}
    for note in words:
        assert 10 ** (note.y - note.x) == pytest.approx(float(note.text.removesuffix(" MACs/byte")))
        assert low < note.x <= high
        assert bottom < note.y <= top
    narrow = [note.text for note in figure.layout.annotations if note.name == "narrow"]
    assert narrow == [note.text.removesuffix(" MACs/byte") for note in words]


def test_all_dots_of_all_choices_are_within_the_axes(page: Page) -> None:
    layout = page.figures["map"].layout
    for x, y, *_ in dots(page.data["dots"]["every"]).values():
        assert layout.xaxis.range[0] < math.log10(x) < layout.xaxis.range[1]
        assert layout.yaxis.range[0] < math.log10(y) < layout.yaxis.range[1]


def test_each_class_has_a_colour_of_its_own_in_both_themes() -> None:
    assert set(CLASS_COLORS) == set(get_args(DeviceClass))
    for theme in ("light", "dark"):
        assert len({colors(theme)[name] for name in CLASS_COLORS.values()}) == len(CLASS_COLORS)


def test_a_picture_needs_no_page(data: dict[str, Any]) -> None:
    (figure,) = draw(data).values()
    assert "var(--" not in figure.to_json()
    assert figure.layout.showlegend
    assert {t.name for t in figure.data if t.showlegend is not False} == {row["class"] for row in data["profiles"]}


def test_few_devices_are_named_in_a_picture_too() -> None:
    few = HardwareList.of(["pixel*_tpu"])
    assert len(few.devices) <= NAMED
    (names,) = (t for t in page_of(few.to_dict()).figures["map"].data if t.meta["role"] == "names")
    assert sorted(names.text) == ["pixel6_tpu", "pixel8_tpu"]


# --- the text ---------------------------------------------------------------------------------------------------------


def test_the_page_says_all_of_it_without_a_script(html: str, listed: HardwareList) -> None:
    text = Text(html).text
    assert listed.verdict() in text
    assert "roofline hw --html x" in text
    for device in listed.devices:
        assert device.id in text
        assert device.name in text
        assert device.notes in text
        assert formula(device) in text
        assert defaults(device) in text
        for figure in device.figures.values():
            assert figure.source in text


def test_every_figure_is_a_row_with_its_kind_and_source(page: Page, listed: HardwareList) -> None:
    rows = page.context["figure_table"].cells()
    assert len(rows) == sum(len(device.figures) for device in listed.devices)
    sources = [(device.id, kind(f, ""), f.source) for device in listed.devices for f in device.figures.values()]
    assert {row[3].text for row in rows} > {"datasheet", "datasheet, second-hand", "derived"}
    assert sorted((row[0].text, row[3].text, row[4].text) for row in rows) == sorted(sources)


def test_one_device_gives_a_page_of_its_name() -> None:
    html = render_page(HardwareList.of(["pixel6_tpu"]).to_dict(), plotlyjs="directory")
    text = Text(html).text
    assert f"<h1>{load_profile('pixel6_tpu').name}</h1>" in html
    assert "pixel6_tpu has a ridge point of 96.3 MACs/byte at int8." in text


def test_a_device_without_sources_or_notes_is_drawn(data: dict[str, Any]) -> None:
    bare = {**copy.deepcopy(data["profiles"][0]), "figures": {}, "notes": ""}
    page = page_of({**data, "profiles": [bare]})
    assert all(row[3].text == "\N{EN DASH}" for row in page.context["figure_table"].cells())
    assert "Notes on" not in render_page({**data, "profiles": [bare]}, plotlyjs="directory")


def test_it_stays_small_beside_plotly(html: str) -> None:
    assert len(html.encode()) < 1_000_000


def test_a_list_that_was_read_back_gives_the_same_page(data: dict[str, Any], listed: HardwareList) -> None:
    assert render_page(data, plotlyjs="directory") == render_page(listed.to_dict(), plotlyjs="directory")


# --- text of unknown origin, and what is no list ----------------------------------------------------------------------


def test_text_of_unknown_origin_stays_text(data: dict[str, Any]) -> None:
    evil = copy.deepcopy(data)
    for profile in evil["profiles"]:
        profile["id"] = profile["name"] = profile["notes"] = EVIL
        for figure in profile["figures"].values():
            figure["source"] = f"{EVIL}{figure['source']}"
    evil["versions"] = {"roofline": EVIL}
    html = render_page(evil, command=EVIL, plotlyjs="directory")
    assert Text(html).tags == Text(render_page(data, command="x", plotlyjs="directory")).tags
    assert "<script>alert" not in html
    assert Text(html).text.count(EVIL) > len(data["profiles"])


def test_labels_of_plotly_hold_no_markup_but_ours() -> None:
    plain = HardwareList.of(["pixel6_tpu"]).to_dict()
    plain["profiles"][0] |= {"id": "<i>x</i>", "name": "<i>y</i>"}
    page = page_of(plain)
    assert "<i>" not in "".join(page.data["cards"])
    (names,) = (t for t in page.figures["map"].data if t.meta["role"] == "names")
    assert list(names.text) == ["&lt;i&gt;x&lt;/i&gt;"]


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("profiles", 0, "peak_macs_per_s"), None, "cut short, edited, or saved by an older roofline"),
        (("profiles", 0, "figures"), 3, "cut short, edited, or saved by an older roofline"),
        (("profiles",), [], "cut short, edited, or saved by an older roofline"),
        (("versions",), None, "cut short, edited, or saved by an older roofline"),
        (("profiles", 0, "bandwidth_bytes_per_s"), -1, "bandwidth_bytes_per_s must be positive and finite"),
        (("schema",), "roofline/hardware-list/2", "this release draws roofline/hardware-list/1"),
    ],
)
def test_what_is_no_list_is_one_line(data: dict[str, Any], path: tuple[Any, ...], value: Any, told: str) -> None:
    broken = copy.deepcopy(data)
    place: Any = broken
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(RooflineError, match=re.escape(told)) as error:
        render_page(broken, plotlyjs="directory")
    assert "\n" not in str(error.value)
