"""A comparison of activations on 80 columns, as Markdown and as CSV; and functions element by element."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console, RenderableType

from roofline import load_profile
from roofline.activation_comparison import ActivationComparison
from roofline.elementwise import Elementwise
from roofline.reports.activations_export import COLUMNS, render_activations_csv, render_activations_markdown
from roofline.reports.activations_terminal import render_activations
from roofline.reports.elementwise_terminal import (
    render_elementwise,
    render_elementwise_csv,
    render_elementwise_markdown,
)
from tests.timed_activations import compared, interrupted, measurement, run_of, timed_each

Golden = Callable[[str, str], None]
EVIL = "x\x1b[31m[red]<b>|`*_\u202e\n| a | b |"


@pytest.fixture(scope="module")
def both() -> ActivationComparison:
    """Predicted on three devices, of which one makes all but SE-ReLU equal, and measured."""
    tpu = load_profile("pixel6_tpu")
    vector = replace(tpu, id="vector", vector_ops_per_s=6e10, bandwidth_bytes_per_s_by_class={"hardswish": 2e10},
                     figures={})  # fmt: skip
    return compared(acts=["relu", "silu", "hardswish", "se_relu"], hw=["pixel6_tpu", "iphone12_ane", vector])


@pytest.fixture(scope="module")
def equal() -> ActivationComparison:
    """Nothing to tell apart."""
    return compared(acts=["relu", "silu", "gelu"], hw=["iphone12_ane"], device=None)


@pytest.fixture(scope="module")
def each() -> Elementwise:
    return timed_each()


def drawn(renderable: RenderableType, width: int = 80) -> str:
    """As it leaves through a pipe."""
    file = io.StringIO()
    Console(file=file, width=width, color_system=None, highlight=False).print(renderable)
    return "".join(f"{line.rstrip()}\n" for line in file.getvalue().splitlines())


def cells(text: str, name: str, table: int = 0) -> list[str]:
    """The cells of the line that begins with this, in one of the tables."""
    lines = [line for line in text.splitlines() if line.startswith(f"{name}  ")]
    return re.split(r" {2,}", lines[table])


# --- golden files -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["both", "equal"])
def test_the_screen_is_as_it_was(what: str, request: pytest.FixtureRequest, golden: Golden) -> None:
    golden(drawn(render_activations(request.getfixturevalue(what))), f"activations_{what}.txt")


def test_the_markdown_is_as_it_was(both: ActivationComparison, golden: Golden) -> None:
    golden(render_activations_markdown(both), "activations_both_md.txt")


def test_the_screen_of_each_function_is_as_it_was(each: Elementwise, golden: Golden) -> None:
    golden(drawn(render_elementwise(each)), "elementwise.txt")


# --- what stands on it ------------------------------------------------------------------------------------------------


def test_the_verdict_comes_first(both: ActivationComparison) -> None:
    head, verdict = drawn(render_activations(both), width=2000).splitlines()[:2]
    assert head == "activation_probe  1x3x224x224"
    assert verdict == both.verdict()


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("what", ["both", "equal"])
def test_no_line_is_longer_than_the_terminal(what: str, width: int, request: pytest.FixtureRequest) -> None:
    text = drawn(render_activations(request.getfixturevalue(what), width=width), width=width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text


def test_every_activation_there_is_fits_on_80_columns() -> None:
    from roofline.models.activations import ACTIVATIONS

    text = drawn(render_activations(compared(acts=list(ACTIVATIONS), hw=["pixel6_tpu"])))
    assert max(map(len, text.splitlines())) <= 80
    assert cells(text, "Dynamic Shift-Max")[0] == "Dynamic Shift-Max"
    assert "…" not in text


def test_the_numbers_are_those_of_the_result(both: ActivationComparison) -> None:
    text = drawn(render_activations(both), width=120)
    assert cells(text, "ReLU")[:5] == ["ReLU", "17.8 M", "3.13 G", "4.69 M", "27.3 MB"]
    assert cells(text, "SE-ReLU")[:3] == ["SE-ReLU", "+268 k", "+262 k"]
    silu = both.rows[1].predictions["pixel6_tpu"]
    assert f"{silu.latency_s * 1e6:,.1f}" == "1,191.4"
    assert cells(text, "SiLU", 1)[:3] == ["SiLU", "1,191.4", "1.23"]
    assert cells(text, "SiLU", 4)[:5] == ["SiLU", "60.00", "59.4..60.6", "1.2", "1.18..1.22"]


def test_equal_bars_are_not_drawn_and_it_is_said_why(equal: ActivationComparison) -> None:
    text = drawn(render_activations(equal), width=2000)
    assert "\u2588" not in text
    assert "x ReLU" not in text
    assert "ReLU, SiLU and GELU take the same, at least 1.33 ms: each runs inside the op before it" in text


def test_bars_are_of_ascii_where_the_terminal_has_no_more(both: ActivationComparison) -> None:
    text = drawn(render_activations(both, unicode=False))
    assert "\u2588" not in text
    assert "########" in text


def test_a_doubtful_measurement_is_marked() -> None:
    def doubtful(factories: Any, request: Any, *, labels: Any = (), **_: Any) -> Any:
        return run_of([measurement(label, 0.05, status="noisy") for label in labels])

    text = drawn(render_activations(compared(measure=doubtful)))
    assert cells(text, "SiLU", 2)[5] == "noisy"
    assert "SiLU is noisy: its samples scatter widely." in text


def test_what_was_not_measured_has_dashes() -> None:
    text = drawn(render_activations(compared(measure=interrupted)))
    assert cells(text, "SiLU", 2)[:5] == ["SiLU", "-", "-", "-", "-"]


def test_names_of_unknown_origin_steer_nothing() -> None:
    device = replace(load_profile("pixel6_tpu"), id=EVIL, name=EVIL, figures={})
    comparison = replace(compared(hw=[device], device=None), name=EVIL)
    for text in (drawn(render_activations(comparison)), render_activations_markdown(comparison)):
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", text)
    assert not re.search(r"^\| a \| b \|$", render_activations_markdown(comparison), re.MULTILINE)


# --- other forms ------------------------------------------------------------------------------------------------------


def test_the_csv_has_a_line_an_activation_and_place(both: ActivationComparison) -> None:
    lines = list(csv.DictReader(io.StringIO(render_activations_csv(both))))
    assert list(lines[0]) == list(COLUMNS)
    assert len(lines) == 4 * (3 + 1)
    assert {line["latency_kind"] for line in lines} == {"prediction", "bound", "measurement"}
    for line in lines[:3]:
        assert float(line["latency_s"]) == both.rows[0].predictions[line["where"]].latency_s


def test_the_markdown_has_one_table_with_as_many_cells_a_line(both: ActivationComparison) -> None:
    table = [line for line in render_activations_markdown(both).splitlines() if line.startswith("|")]
    assert len(table) == 2 + 4
    assert len({line.count(" | ") for line in table}) == 1


def test_each_function_is_marked_by_what_it_waits_for(each: Elementwise) -> None:
    text = drawn(render_elementwise(each))
    assert cells(text, "ReLU")[1].endswith(" o")
    assert cells(text, "ReLU")[2].endswith(" m")
    assert cells(text, "SiLU")[2].endswith(" c")
    assert max(map(len, text.splitlines())) <= 80


def test_the_csv_of_each_function(each: Elementwise) -> None:
    lines = list(csv.DictReader(io.StringIO(render_elementwise_csv(each))))
    assert len(lines) == len(each.timings)
    for line, timing in zip(lines, each.timings, strict=True):
        assert float(line["bytes_per_s"]) == timing.bytes_per_s
        assert (line["bound"], line["level"]) == (timing.bound, timing.level)


def test_the_markdown_of_each_function(each: Elementwise) -> None:
    text = render_elementwise_markdown(each)
    assert "| out of place, GB/s | L1 | L2 | memory |" in text
    assert re.search(r"^\| copy \| [\d.]+ \| [\d.]+ \| [\d.]+ \|$", text, re.MULTILINE)
    assert re.search(r"^\| SiLU \| [\d.]+ [mco] \|", text, re.MULTILINE)
