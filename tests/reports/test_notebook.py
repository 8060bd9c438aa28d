"""What a notebook shows: a fragment of HTML in which nothing of the user's is markup."""

from __future__ import annotations

import re
from collections import OrderedDict
from html.parser import HTMLParser

import pytest
import torch
from torch import nn

import roofline
from roofline import Analysis, Hardware
from roofline.reports.notebook import SHOWN_LAYERS
from roofline.units import milliseconds, si

SCRIPT = "<script>alert(1)</script>"
TAGS = {"div", "p", "strong", "br", "table", "thead", "tbody", "tr", "th", "td", "code"}


class Fragment(HTMLParser):
    """The tags of a fragment, checked to be balanced, and the texts between them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert attrs == []
        self.tags.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def mobile() -> Analysis:
    return roofline.analyze("mobilenetv4_conv_m", hw="pixel6_tpu")


def hostile() -> Analysis:
    net = nn.Sequential(OrderedDict([(SCRIPT, nn.Conv2d(3, 3, 1)), ('"><img src=x>', nn.Conv2d(3, 3, 1))]))
    net.__class__ = type(SCRIPT, (nn.Sequential,), {})
    hardware = Hardware(
        id="toy",
        name=f"R&D {SCRIPT}",
        device_class="abstract",
        peak_macs_per_s={"int8": 1e12},
        bandwidth_bytes_per_s=1e10,
        default_dtype="int8",
        default_fusion="none",
        fused_activations=frozenset(),
    )
    return roofline.analyze(net, torch.zeros(1, 3, 8, 8), hw=hardware)


def test_a_notebook_gets_a_whole_fragment(mobile: Analysis) -> None:
    page = Fragment(mobile._repr_html_())
    assert set(page.tags) <= TAGS
    assert page.tags[0] == "div"
    assert mobile.name in page.text
    assert mobile.hardware.name in page.text
    assert mobile.verdict() in page.text


def test_it_shows_the_slowest_layers_and_says_how_many_more_there_are(mobile: Analysis) -> None:
    page = Fragment(mobile._repr_html_())
    header, *lines = page.rows
    assert header == ["layer", "kind", "MACs", "bytes", "ms", "share", "bound"]
    slowest = sorted(mobile.rows(), key=lambda row: -row["latency_s"])[:SHOWN_LAYERS]
    assert [line[0] for line in lines] == [row["name"] for row in slowest]
    for line, row in zip(lines, slowest, strict=True):
        assert line[2] == si(row["macs"])
        assert line[3] == si(row["weight_bytes"] + row["activation_bytes"], "B")
        assert line[4] == milliseconds(row["latency_s"])
        assert line[6] == row["bound"]
    assert f"{len(mobile.layers) - SHOWN_LAYERS} more layers: .to_frame()" in page.text


def test_a_small_network_is_shown_whole() -> None:
    analysis = roofline.analyze(nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 8, 8), hw="pixel6_tpu")
    page = Fragment(analysis._repr_html_())
    assert len(page.rows) == 2
    assert "more layers" not in page.text


def test_names_are_text_and_never_markup() -> None:
    html = hostile()._repr_html_()
    page = Fragment(html)
    assert set(page.tags) <= TAGS
    assert "<script" not in html
    assert "<img" not in html
    assert {row[0] for row in page.rows[1:]} == {SCRIPT, '"><img src=x>'}
    assert page.text.count(SCRIPT) == 3  # the model, the device, the layer
    assert "R&D" in page.text


def test_a_network_without_layers_has_an_empty_table() -> None:
    page = Fragment(roofline.analyze(nn.Identity(), torch.zeros(1, 3), hw="pixel6_tpu")._repr_html_())
    assert len(page.rows) == 1
    assert "it does nothing" in page.text


def test_it_needs_nothing_from_outside(mobile: Analysis) -> None:
    assert not re.search(r"https?:|src=|href=|url\(", mobile._repr_html_())
