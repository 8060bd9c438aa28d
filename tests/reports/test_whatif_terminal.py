"""A what-if on 80 columns and as Markdown: what stands on it, and that nobody's names can disturb it."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from rich.console import Console, RenderableType
from torch import nn

import roofline
from roofline.reports.whatif_export import render_whatif_csv, render_whatif_markdown
from roofline.reports.whatif_terminal import render_whatif
from roofline.whatif import COLUMNS, WhatIf, whatif
from roofline.whatif_words import in_words

pytestmark = pytest.mark.usefixtures("traced_once")

Golden = Callable[[str, str], None]
EVIL = "x\x1b[31m[red]<b>|`*_\u202e\n| a | b |"


@pytest.fixture(scope="module")
def target() -> WhatIf:
    return whatif("mobilenetv4_hybrid_medium", hw="raspberrypi_5", target_s=2e-3)


@pytest.fixture(scope="module")
def bare() -> WhatIf:
    return whatif("mobilenetv4_conv_medium", hw="pixel6_tpu")


@pytest.fixture(scope="module")
def terms() -> WhatIf:
    """A device with every term that a terminal shows."""
    plain = roofline.load_profile("pixel6_tpu")
    device = replace(
        plain, id="every_term", vector_ops_per_s=2e11, weight_bandwidth_bytes_per_s=2e10, layer_overhead_s=2e-6,
        inference_overhead_s=1e-4, figures={},
    )  # fmt: skip
    return whatif("mobilenetv3_large_100", hw=device, target_s=0.5e-3, batch=2)


ALL = ["target", "bare", "terms"]


def drawn(renderable: RenderableType, width: int = 80) -> str:
    """As it leaves through a pipe."""
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, highlight=False).print(renderable)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def cells(text: str, name: str) -> list[str]:
    """The cells of the line that begins with this."""
    (line,) = (line for line in text.splitlines() if line.startswith(f"{name}  "))
    return re.split(r" {2,}", line)


# --- golden files -----------------------------------------------------------------------------------------------------


def without_profiles(text: str) -> str:
    """The bundled profiles grow in number, which is nothing of this page."""
    return re.sub(r"(?s)Of the \d+ other bundled.*?\n\n", "N bundled profiles.\n\n", text)


@pytest.mark.parametrize("what", ALL)
def test_the_screen_is_as_it_was(what: str, request: pytest.FixtureRequest, golden: Golden) -> None:
    golden(without_profiles(drawn(render_whatif(request.getfixturevalue(what)))), f"whatif_{what}.txt")


def test_the_markdown_is_as_it_was(target: WhatIf, golden: Golden) -> None:
    golden(render_whatif_markdown(target), "whatif_target_md.txt")


# --- what stands on it ------------------------------------------------------------------------------------------------


def test_the_verdict_comes_first(target: WhatIf) -> None:
    head, verdict = drawn(render_whatif(target), width=500).splitlines()[:2]
    assert head == "mobilenetv4_hybrid_medium  1x3x256x256  on raspberrypi_5, int8, epilogue fusion"
    assert verdict == target.verdict()


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("what", ALL)
def test_no_line_is_longer_than_the_terminal(what: str, width: int, request: pytest.FixtureRequest) -> None:
    text = drawn(render_whatif(request.getfixturevalue(what), width=width), width=width)
    assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize("what", ALL)
def test_no_name_is_cut_on_80_columns(what: str, request: pytest.FixtureRequest) -> None:
    result = request.getfixturevalue(what)
    text = drawn(render_whatif(result))
    for other in result.alternatives:
        assert re.search(rf"^{re.escape(in_words(other.group, other.name))} ", text, re.MULTILINE)
    for layer in result.best_layers():
        assert re.search(rf"^{re.escape(layer.name)} ", text, re.MULTILINE)
    assert "…" not in text


def test_the_numbers_are_those_of_the_result(target: WhatIf) -> None:
    text = drawn(render_whatif(target), width=120)
    peak = target.elasticities[0]
    assert cells(text, "peak") == ["peak", "307 GMAC/s", "-0.871", "-7.9 %", "1.86 ms", "1.09x"]
    assert f"{peak.better:.3f}" == "-0.871"
    assert f"{100 * (1 - peak.step_latency_s / target.latency_s):.1f}" == "7.9"
    assert cells(text, "peak alone")[:3] == ["peak alone", "1.12 TMAC/s", "3.65x"]
    assert cells(text, "bandwidth alone") == ["bandwidth alone", "-", "-"]
    assert cells(text, "fp16") == ["fp16", "9.21", "2x", "2x bytes, 0.5x peak"]
    assert cells(text, "bf16")[-1] == "the profile has no peak for it"
    assert cells(text, "stages.0.0.expand.conv")[1:] == ["conv", "491.5", "0", "-245.8"]
    within = [profile.latency_kind for profile in target.profiles if profile.latency_s <= 2e-3]
    assert (
        f"Of the {len(target.profiles)} other bundled profiles with a peak at int8, {within.count('prediction')} are "
        f"predicted to be within 2 ms, and the bounds of {within.count('bound')} leave it possible."
    ) in text.replace("\n", " ")
    assert "input 160x160              1.86 ?" in text
    assert "? a bound within 2 ms: possible" in text


def test_without_a_target_there_is_none_to_reach(bare: WhatIf) -> None:
    text = drawn(render_whatif(bare))
    assert "To 0.626 ms" not in text
    assert "bundled profiles" not in text
    assert "Next: --target 5ms says which peak and bandwidth reach it" in text


def test_a_prediction_within_the_target_is_marked_otherwise_than_a_bound() -> None:
    text = drawn(render_whatif(whatif("mobilenetv4_conv_medium", hw="pixel6_tpu", target_s=0.5e-3)))
    assert re.search(r"^input 128x128 +[\d.]+ \* ", text, re.MULTILINE)
    assert "* a pass is within 0.5 ms" in text
    assert "?" not in text


LONG = {
    "peak_macs_per_s": {"fp32": 3.456e12, "int8": 3.456e12},
    "bandwidth_bytes_per_s": 204.8e9,
    "weight_bandwidth_bytes_per_s": 123.4e9,
    "vector_ops_per_s": 456.7e9,
    "layer_overhead_s": 0.1234e-6,
    "inference_overhead_s": 0.1234e-6,
}


@pytest.mark.parametrize("width", [60, 66, 70, 76, 80])
@pytest.mark.parametrize("terms", [{}, LONG], ids=["plain", "long"])
def test_long_figures_cost_blanks_then_columns_and_are_never_cut(width: int, terms: dict[str, Any]) -> None:
    device = replace(roofline.load_profile("epyc_7763"), **terms)
    result = whatif("mobilenetv4_conv_small", hw=device, target_s=1e-4)
    text = drawn(render_whatif(result, width=width), width=width)
    assert "…" not in text
    assert max(map(len, text.splitlines())) <= width
    (header,) = (line for line in text.splitlines() if line.startswith("The latency answers to"))
    assert header.endswith("next knee") == (width >= 76)
    assert "10 % better" in header


def test_sizes_that_a_model_refuses_are_one_row() -> None:
    flat = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 32 * 32, 10))
    result = whatif(flat, torch.empty(1, 3, 32, 32), hw="pixel6_tpu")
    text = drawn(render_whatif(result))
    assert cells(text, "4 other sizes")[-1] == "the model does not run at this size"
    assert "Linear" not in text
    assert "| 4 other sizes | - | - | the model does not run at this size |" in render_whatif_markdown(result)


def test_the_layers_can_be_left_out_and_more_be_shown(target: WhatIf) -> None:
    assert "half its bytes" not in drawn(render_whatif(target, top=0))
    assert "12 of 162 layers" in drawn(render_whatif(target, top=12))


def test_nothing_is_said_of_a_model_that_does_nothing() -> None:
    text = drawn(render_whatif(whatif(nn.Identity(), torch.empty(1, 3, 8, 8), hw="pixel6_tpu", target_s=1e-3)))
    assert "it does nothing, whatever the device" in text
    assert "elasticity" not in text


def test_names_of_unknown_origin_steer_nothing() -> None:
    device = replace(roofline.load_profile("pixel6_tpu"), id=EVIL, name=EVIL, figures={})

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.add_module(EVIL.replace(".", ""), nn.Conv2d(3, 8, 3))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return next(iter(self.children()))(x)  # type: ignore[no-any-return]

    result = whatif(Named(), torch.empty(1, 3, 16, 16), hw=device, target_s=1e-9)
    for text in (drawn(render_whatif(result)), render_whatif_markdown(result)):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert not re.search(r"^\| a \| b \|$", render_whatif_markdown(result), re.MULTILINE)


# --- other forms ------------------------------------------------------------------------------------------------------


def test_the_csv_has_a_line_an_alternative(terms: WhatIf) -> None:
    lines = list(csv.DictReader(io.StringIO(render_whatif_csv(terms))))
    assert list(lines[0]) == list(COLUMNS)
    assert len(lines) == len(terms.alternatives)
    present = [line for line in lines if line["is_present"] == "True"]
    assert {line["latency_s"] for line in present} == {str(terms.latency_s)}
    assert {line["input_shapes"] for line in present} == {"2x3x224x224"}


def test_the_markdown_has_a_table_of_each(terms: WhatIf, bare: WhatIf) -> None:
    text = render_whatif_markdown(terms)
    for heading in ("the latency answers to", "to 0.5 ms by", "run it as", "layer"):
        assert f"| {heading} |" in text
    assert "| to " not in render_whatif_markdown(bare)
    assert "half its bytes" not in render_whatif_markdown(bare, top=0)
    widths = {line.count("|") for line in text.splitlines() if line.startswith("| fp32")}
    assert widths == {7}
    assert "| run it as | ms an image | ratio | within 0.5 ms | top-1, % | for one image |" in text
    assert "| 10 % better, ms | at best, ms |" in text
    assert re.search(r"^\| input 256x256 \| .* \| no \| 77.2 \| ", text, re.MULTILINE)
    assert "within" not in render_whatif_markdown(bare)
