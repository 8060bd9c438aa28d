"""The pages as text: what is in them, and that nothing in them can be more than text. tests/browser/ opens them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import roofline
from roofline import Analysis, RooflineError
from roofline.layers import KINDS
from roofline.reports import figures, pages
from roofline.reports.pages import draw, embed, page_of, plotly_source, render_page, write_page
from roofline.reports.tables import Cell, Column, Table

pytestmark = pytest.mark.usefixtures("traced_once")

EVIL = "</script><script>alert(1)</script>"


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return roofline.analyze("mobilenetv4_hybrid_large", hw="pixel6_tpu")


@pytest.fixture(scope="module")
def data(analysis: Analysis) -> dict[str, Any]:
    return json.loads(analysis.to_json())  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def small(data: dict[str, Any]) -> str:
    return render_page(data, command="roofline analyze x", plotlyjs="directory")


@pytest.mark.parametrize(("chosen", "has_sliders"), [("roofline", True), ("learned", False)])
def test_other_rates_are_not_asked_of_a_calibration(data: dict[str, Any], chosen: str, has_sliders: bool) -> None:
    """Its times are not those of the formula that the page's script knows."""
    estimates = [{"estimator": name, "is_chosen": name == chosen} for name in ("roofline", "calibrated", "learned")]
    page = Outline(render_page({**data, "estimates": estimates}, command="roofline analyze x", plotlyjs="directory"))
    assert any(attributes.get("id") == "what-if" for _, attributes in page.elements) == has_sliders
    assert ("does not follow from a calibration" in page.text) == (not has_sliders)
    assert any("data-kind" in attributes for _, attributes in page.elements)


class Outline(HTMLParser):
    """The elements of a page, the text of its scripts, and all other text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.text = ""
        self._in: list[str] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._in.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        if tag in ("script", "style"):
            self._in.pop()

    def handle_data(self, data: str) -> None:
        if self._in[-1:] == ["script"]:
            self.scripts[-1] += data
        elif not self._in:
            self.text += data


# --- what is in a page ------------------------------------------------------------------------------------------------


def test_beside_plotly_a_large_network_stays_small(data: dict[str, Any], small: str) -> None:
    layers = len(data["layers"])
    assert layers > 200
    assert len(small.encode()) / layers * 300 < 1_000_000


def test_the_inline_page_is_the_small_one_with_plotly_once(data: dict[str, Any], small: str) -> None:
    inline = render_page(data, command="roofline analyze x")
    assert inline.count(plotly_source()) == 1
    assert len(inline) - len(plotly_source()) == pytest.approx(len(small), rel=0.01)


def test_nothing_is_loaded_from_anywhere(data: dict[str, Any]) -> None:
    html = render_page(data).replace(plotly_source(), "")
    for tag, attributes in Outline(html).elements:
        assert tag not in ("iframe", "object", "embed", "base", "form") or not attributes.get("action")
        assert not attributes.get("src")
        assert attributes.get("href", "#").startswith(("#", "data:,"))  # type: ignore[union-attr]
        assert not any(name.startswith("on") for name in attributes)
    assert "@import" not in html
    assert "url(" not in html


def test_the_policy_lists_the_scripts_that_are_there(data: dict[str, Any]) -> None:
    outline = Outline(render_page(data))
    (policy,) = (a["content"] for t, a in outline.elements if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    listed = set(re.findall(r"'(sha256-[^']+)'", policy))
    kinds = [a.get("type") for t, a in outline.elements if t == "script"]
    programs = [text for text, kind in zip(outline.scripts, kinds, strict=True) if kind is None]
    hashes = {f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}" for text in programs}
    assert hashes == listed
    assert len(programs) == 3
    assert "unsafe-eval" not in policy


def test_plotly_from_a_cdn_is_pinned_by_its_hash(data: dict[str, Any]) -> None:
    html = render_page(data, plotlyjs="cdn")
    (script,) = (attributes for tag, attributes in Outline(html).elements if attributes.get("src"))
    assert script["src"] == f"https://cdn.plot.ly/plotly-{pages._plotly_version()}.min.js"
    assert script["integrity"] == pages._hash(plotly_source())
    assert "https://cdn.plot.ly" in html.partition("</head>")[0]


def test_plotly_lies_beside_the_page_if_asked(data: dict[str, Any], tmp_path: Path) -> None:
    write_page(tmp_path / "report.html", data, plotlyjs="directory")
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "plotly.min.js"}
    assert (tmp_path / "plotly.min.js").read_text("utf-8") == plotly_source()


def test_the_page_says_all_of_it_without_a_script(analysis: Analysis, data: dict[str, Any], small: str) -> None:
    text = Outline(small).text
    for line in (analysis.verdict(), *data["notes"], *data["conventions"], *data["left_out"], "roofline analyze x"):
        assert line in text
    for layer in data["layers"]:
        assert layer["name"] in text
    for figure in data["hardware"]["figures"].values():
        assert figure["source"] in text


def test_every_layer_is_a_dot_a_bar_and_a_box(data: dict[str, Any]) -> None:
    drawn = page_of(data).figures
    everyone = list(range(len(data["layers"])))
    dots = [item for trace in drawn["roofline"].data if trace.meta["role"] == "dots" for item in trace.customdata]
    assert sorted(dots) == everyone
    (bars,) = drawn["course"].data
    assert list(bars.customdata) == everyone
    assert list(bars.x) == [layer["latency_s"] for layer in data["layers"]]
    (tree,) = drawn["tree"].data
    assert [item for item in tree.customdata if item is not None] == everyone
    assert sum(tree.values) == pytest.approx(data["totals"]["latency_s"])
    assert set(tree.parents) - {""} <= set(tree.ids)
    kinds = sum(sum(trace.x) for trace in drawn["kinds"].data)
    assert kinds == pytest.approx(data["totals"]["latency_s"])


def test_the_waterfall_names_only_as_many_parts_as_have_room() -> None:
    net = nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(300)))
    many = roofline.analyze(net, torch.zeros(1, 3, 8, 8), hw="pixel6_tpu").to_dict()
    assert len(page_of(many).figures["course"].layout.yaxis.ticktext) <= 25


def test_a_module_with_an_op_of_its_own_name_keeps_its_layers_in_the_tree(data: dict[str, Any]) -> None:
    first = {**data["layers"][0], "name": "stages"}
    (tree,) = page_of({**data, "layers": [first, *data["layers"][1:]]}).figures["tree"].data
    assert tree.parents[tree.ids.index("layer 0")] == "model.stages"


def test_unfused_there_are_no_lines_from_unfused_traffic() -> None:
    eager = roofline.analyze("mobilenetv4_conv_s", hw="pixel6_tpu", fusion="none").to_dict()
    page = page_of(eager)
    assert all(trace.meta["role"] != "unfused" for trace in page.figures["roofline"].data)
    assert "unfused_bytes" not in [column.key for column in page.context["layer_table"].columns]
    assert 'id="unfused"' not in render_page(eager, plotlyjs="directory")


def test_ops_that_no_rule_knows_stand_in_the_footer(data: dict[str, Any]) -> None:
    html = render_page(
        {**data, "uncounted_ops": [{"name": "lib::spin", "calls": 2, "mem_bytes": 3_000}]}, plotlyjs="directory"
    )
    assert "The work of lib::spin (2 calls), which no rule knows; its 3 kB are counted." in Outline(html).text


def test_several_inputs_have_several_shapes(data: dict[str, Any]) -> None:
    model = {**data["model"], "input_shape": [[1, 8], [1, 4, 4]]}
    assert page_of({**data, "model": model}).context["subtitle"].startswith("1\xd78 and 1\xd74\xd74 on ")


# --- text stays text --------------------------------------------------------------------------------------------------


def test_text_of_unknown_origin_stays_text(data: dict[str, Any]) -> None:
    evil = json.loads(json.dumps(data))
    plain = Outline(render_page(data, command="x", plotlyjs="directory"))
    evil["model"]["name"] = evil["hardware"]["name"] = evil["verdict"] = evil["notes"][0] = EVIL
    evil["hardware"]["notes"] = evil["conventions"][0] = evil["versions"]["torch"] = EVIL
    for figure in evil["hardware"]["figures"].values():
        figure["source"] = EVIL
    for layer in evil["layers"]:
        layer["name"], layer["kind"], layer["ops"] = f"a.{EVIL}", f'"{EVIL}', EVIL
    for group in (*evil["groups"]["kind"], *evil["groups"]["stage"]):
        group["name"] = f"'{EVIL}"
    html = render_page(evil, command=EVIL, plotlyjs="directory")
    outline = Outline(html)
    tags = [tag for tag, _ in outline.elements if tag != "option"]  # of the choices of a kind there is one left
    assert tags == [tag for tag, _ in plain.elements if tag != "option"]
    assert outline.text.count(EVIL) > len(evil["layers"])
    assert "<script>alert" not in html


def test_labels_of_plotly_hold_no_markup_but_ours() -> None:
    net = nn.ModuleDict({"<i>x</i>": nn.Conv2d(3, 3, 1)})
    net.forward = lambda x: net["<i>x</i>"](x)
    named = roofline.analyze(net, torch.zeros(1, 3, 8, 8), hw="pixel6_tpu").to_dict()
    for figure in page_of(named).figures.values():
        text = json.dumps({"data": [{**t.to_plotly_json(), "meta": None} for t in figure.data]})
        assert "<i>" not in text
    (tree,) = page_of(named).figures["tree"].data
    assert "&lt;i&gt;x&lt;/i&gt;" in tree.labels


@pytest.mark.parametrize(
    "text", ["</script>", "<!--", "]]>", "\u2028\u2029", "&lt;", "quotes \"'\\", "\x00\ud800", "é"]
)
def test_embedded_data_reads_back_and_cannot_end_its_element(text: str) -> None:
    embedded = embed({text: [text]})
    assert json.loads(embedded) == {text: [text]}
    assert not set(embedded) & set("<>&\u2028\u2029")


def test_embedded_data_has_no_number_that_json_lacks() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        embed(float("nan"))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "message"),
    [
        ({}, r"no result of roofline: it has no 'schema'"),
        ([], r"no result of roofline"),
        ({"schema": 1}, r"no result of roofline"),
        ({"schema": "roofline/crosscheck/1"}, r"no report draws .* 'roofline/crosscheck/1' \(known: roofline/analysis"),
        ({"schema": "nonsense"}, r"no report draws"),
        ({"schema": "roofline/analysis/0"}, r"this release draws roofline/analysis/1, and the result is .*analysis/0'"),
        ({"schema": "roofline/analysis/1"}, r"it lacks 'model': it was cut short, edited, or saved by an older"),
    ],
)
def test_what_is_no_result_is_refused_in_one_line(result: Any, message: str) -> None:
    with pytest.raises(RooflineError, match=message) as caught:
        render_page(result)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("key", ["layers", "totals", "hardware", "groups", "verdict", "notes", "conventions"])
def test_a_result_that_lacks_a_part_is_refused_in_one_line(key: str, data: dict[str, Any]) -> None:
    for broken in ({k: v for k, v in data.items() if k != key}, *([] if key == "verdict" else [{**data, key: 7}])):
        with pytest.raises(RooflineError, match="cut short, edited, or saved by an older roofline") as caught:
            render_page(broken, plotlyjs="directory")
        assert "\n" not in str(caught.value)


def test_a_result_with_a_number_that_json_lacks_is_refused(data: dict[str, Any]) -> None:
    broken = {**data, "totals": {**data["totals"], "latency_s": float("nan")}}
    with pytest.raises(RooflineError, match="not JSON compliant"):
        render_page(broken, plotlyjs="directory")


def test_an_unknown_place_for_plotly_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(RooflineError, match="unknown plotlyjs 'local': choose one of inline, cdn, directory"):
        render_page(data, plotlyjs="local")


def test_a_page_that_cannot_be_written_is_told(data: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(RooflineError, match="there is no folder"):
        write_page(tmp_path / "missing" / "x.html", data, plotlyjs="directory")


# --- the parts --------------------------------------------------------------------------------------------------------


def contrast(one: str, other: str) -> float:
    """Of two colours, as WCAG 2 has it."""

    def luminance(color: str) -> float:
        channels = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_can_be_read_in_both_themes(theme: str) -> None:
    palette = figures.colors(theme)
    for name in ("text", "muted", "link", "memory", "compute", "bound", "prediction", "measurement", "better", "worse"):
        assert contrast(palette[name], palette["page"]) >= 4.5, name
        assert contrast(palette[name], palette["panel"]) >= 4.5, name


def test_every_kind_has_a_colour_of_its_own() -> None:
    assert set(figures.KIND_COLORS) == set(KINDS)
    for theme in ("light", "dark"):
        palette = figures.colors(theme)
        assert len({palette[kind.replace("_", "-")] for kind in KINDS}) == len(KINDS)


def test_a_picture_has_the_colours_of_its_theme(data: dict[str, Any]) -> None:
    for theme, text in (("light", "#1b1f24"), ("dark", "#e4e7eb")):
        for figure in draw(data, theme).values():
            assert "var(--" not in figure.to_json()
            assert figure.layout.template.layout.font.color == text


def test_a_table_is_drawn_with_what_sorts_and_filters_it() -> None:
    table = Table(
        id="t", caption="Things & others", sorted_by="size", searchable=True, linked=True,
        columns=(
            Column(key="name", label="name", filter=True),
            Column(key="size", label="size", unit="B", numeric=True),
        ),
        rows=[["<b>", Cell("1 k", 1000, share=0.5)], ["a", Cell("2", 2)], ["a", "3"]],
    )  # fmt: skip
    assert table.choices(0) == ["<b>", "a"]
    macros = pages.environment().get_template("macros.html.j2").module
    html = str(macros.data_table(table))  # type: ignore[attr-defined]
    assert 'aria-sort="descending"' in html
    assert "Things &amp; others" in html
    assert "&lt;b&gt;" in html
    assert '<td class="number" data-value="1000" style="--part: 0.5000">1 k</td>' in html
    assert [a["data-item"] for t, a in Outline(html).elements if t == "tr" and "data-item" in a] == ["0", "1", "2"]
