"""Budgets by hand arithmetic: what is within, what is over, by which layers; and a baseline of something else."""

from __future__ import annotations

import json
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from markdown_it import MarkdownIt
from torch import nn

import roofline
from roofline import RooflineError, SavedError
from roofline.check import _called, against, check, load_baseline, write_baseline
from roofline.hardware import Hardware
from roofline.reports.check_export import render_check_markdown
from roofline.reports.check_terminal import check_text


# 1 GMAC/s and 1 kB/s: the time of each layer below is its bytes in milliseconds
def device(**fields: Any) -> Hardware:
    given: dict[str, Any] = {
        "id": "slow_memory",
        "name": "Slow memory",
        "device_class": "abstract",
        "peak_macs_per_s": {"int8": 1e9},
        "bandwidth_bytes_per_s": 1e3,
        "default_dtype": "int8",
        "default_fusion": "none",
        "fused_activations": frozenset(),
    }
    return Hardware(**{**given, **fields})


SLOW_MEMORY = device()


def meta(*shape: int) -> torch.Tensor:
    return torch.empty(shape, device="meta")


def linear(*widths: int) -> nn.Module:
    """Of widths a, b, c: a x b + b x c MACs and weight bytes; activations a + b + b + c bytes, one image."""
    return nn.Sequential(*(nn.Linear(a, b, bias=False) for a, b in pairwise(widths)))


def run(*widths: int, **budgets: Any) -> Any:
    return check(linear(*widths), meta(1, widths[0]), hw=SLOW_MEMORY, **budgets)


def saved(*widths: int) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(roofline.analyze(linear(*widths), meta(1, widths[0]), hw=SLOW_MEMORY).to_json())
    return data


# --- boundaries -------------------------------------------------------------------------------------------------------
# 10 -> 10 -> 5: 100 + 50 = 150 MACs and weight bytes; 10 + 10 + 10 + 5 = 35 activation bytes; 185 bytes in 0.185 s


def test_the_totals_are_those_of_the_hand() -> None:
    values = {budget.name: budget.value for budget in run(10, 10, 5, baseline=saved(10, 10, 5)).budgets}
    assert values == {"macs": 150, "weights": 150, "activations": 35, "latency": pytest.approx(0.185, rel=1e-12)}


@pytest.mark.parametrize(
    ("budget", "within", "over"),
    [
        ("macs", 150, 149),
        ("macs", "0.15k", "149"),
        ("weights", "150B", "149B"),
        ("activations", "0.035kB", "34.999 B"),
        ("latency", "185ms", "184.999ms"),
        ("latency", 0.185, 0.1849),
    ],
)
def test_a_limit_may_be_reached_and_not_be_passed(budget: str, within: str, over: str) -> None:
    assert run(10, 10, 5, **{budget: within}).is_met
    broken = run(10, 10, 5, **{budget: over})
    assert [found.name for found in broken.broken] == [budget]


def test_a_latency_may_be_above_its_limit_by_the_last_bits_of_a_float() -> None:
    value = next(b.value for b in run(10, 10, 5, latency="1s").budgets)
    assert run(10, 10, 5, latency=value * (1 - 1e-10)).is_met
    assert not run(10, 10, 5, latency=value * (1 - 1e-8)).is_met


@pytest.mark.parametrize(
    ("tolerance", "is_met"),
    [
        (None, False),  # 100 -> 110 weights are 10 % more
        ("9.99%", False),
        ("10%", True),  # 100 x 1.1 in floats is 110.00000000000001, and here 110
        (0.1, True),
        ("0.1", True),
        ("150%", True),
    ],
)
def test_the_tolerance_is_of_the_baseline_and_exact(tolerance: str | None, is_met: bool) -> None:
    result = run(10, 11, baseline=saved(10, 10), tolerance=tolerance)
    weights = next(budget for budget in result.budgets if budget.name == "weights")
    assert (weights.baseline, weights.value, weights.is_met) == (100, 110, is_met)
    assert weights.change == pytest.approx(0.1)


def test_a_part_of_a_byte_over_is_over() -> None:
    """The 150 weight bytes are within 148 x 1.02 = 150.96, and over 147 x 1.02 = 149.94."""
    data = saved(10, 10, 5)
    for value, is_met in ((148, True), (147, False)):
        data["totals"]["weight_bytes"] = value
        result = run(10, 10, 5, baseline=data, tolerance="2%")
        weights = next(budget for budget in result.budgets if budget.name == "weights")
        assert weights.is_met is is_met
    assert weights.limit == Fraction(14994, 100)
    assert "weight bytes 150 B, +2.0 % on the baseline" in result.verdict()


def test_of_a_limit_and_a_baseline_the_smaller_counts() -> None:
    by_limit = run(10, 10, weights="90B", baseline=saved(10, 10), tolerance="50%")
    by_baseline = run(10, 10, weights="900B", baseline=saved(10, 9))
    assert [budget.limit for r in (by_limit, by_baseline) for budget in r.budgets if budget.name == "weights"] == [
        90, 90,
    ]  # fmt: skip
    assert "weight bytes 100 B, at most 90 B" in by_limit.verdict()
    assert "weight bytes 100 B, +11 % on the baseline" in by_baseline.verdict()


def test_less_than_the_baseline_is_within() -> None:
    assert run(10, 5, baseline=saved(10, 10)).is_met


def test_a_value_and_the_limit_that_it_is_just_over_are_told_apart() -> None:
    text = check("mobilenetv4_conv_s", hw="pixel6_tpu", macs=186_005_567).verdict()
    assert text == "Over budget: MACs 186.005568 M, at most 186.005567 M."


# --- which layers did it ----------------------------------------------------------------------------------------------


def parts(result: Any, name: str) -> list[tuple[str, str, float]]:
    (budget,) = (budget for budget in result.budgets if budget.name == name)
    return [(part.name, part.status, part.delta) for part in budget.parts]


def test_without_a_baseline_those_that_take_the_most_come_first() -> None:
    result = run(5, 10, 20, 3, weights="1B", macs="1G")
    assert parts(result, "weights") == [("1", "held", 200), ("2", "held", 60), ("0", "held", 50)]
    assert parts(result, "macs") == []  # a budget that is met has nobody to name


def test_against_a_baseline_those_that_grew_or_came_come_first_and_all_add_up() -> None:
    before, after = saved(10, 10, 20, 5), run(10, 10, 40, 5, 8, baseline=saved(10, 10, 20, 5))
    changed = parts(after, "weights")
    assert changed == [("1", "changed", 200), ("2", "changed", 100), ("3", "added", 40)]
    assert sum(delta for *_, delta in changed) == 10 * 10 + 10 * 40 + 40 * 5 + 5 * 8 - before["totals"]["weight_bytes"]


def test_what_was_removed_is_told_of_too() -> None:
    result = run(10, 30, baseline=saved(10, 10, 5))
    statuses = {status for _, status, _ in parts(result, "weights")}
    assert "removed" in statuses
    assert sum(delta for *_, delta in parts(result, "weights")) == 300 - 150


def test_what_is_in_no_layer_is_a_part_of_the_latency() -> None:
    result = check(linear(10, 10), meta(1, 10), hw=device(inference_overhead_s=0.5), baseline=saved(10, 10))
    ((name, status, delta),) = parts(result, "latency")
    assert (name, status) == ("outside the layers", "changed")
    assert delta == pytest.approx(0.5)
    assert any("adds to eq. 1" in note for note in result.to_dict()["notes"])


def test_the_last_row_of_a_table_is_what_all_others_add() -> None:
    result = run(10, 10, 20, 30, 5, weights="1B")  # 100, 200, 600, 150
    text = check_text(result, top=1)
    assert "1 of 4 layers" in text
    assert [line.split()[:3] for line in text.splitlines() if "more" in line] == [["3", "more", "450"]]
    assert "more" not in check_text(result, top=4)
    assert "1 of 4" not in check_text(result, top=0)


# --- baselines --------------------------------------------------------------------------------------------------------


def test_a_baseline_is_written_whole_and_read_back(tmp_path: Path) -> None:
    file = tmp_path / "ci.json"
    analysis = roofline.analyze("mobilenetv4_conv_s", hw="pixel6_tpu")
    write_baseline(analysis, file)
    assert load_baseline(file) == json.loads(analysis.to_json())
    assert check("mobilenetv4_conv_s", hw="pixel6_tpu", baseline=file).is_met
    write_baseline(analysis, file)  # once more, over itself
    assert [path.name for path in tmp_path.iterdir()] == ["ci.json"]


@pytest.mark.parametrize(
    ("aspect", "value", "message"),
    [
        (("model", "name"), "Other", r"the baseline has the model Other, and this is Sequential"),
        (("hardware", "id"), "jetson", r"has the profile jetson, and this is slow_memory"),
        (("hardware", "dtype"), "fp16", r"has the dtype fp16, and this is int8"),
        (("fusion",), "epilogue", r"has the fusion epilogue, and this is none"),
        (("batch",), 8, r"has the batch 8, and this is 1"),
        (("latency_kind",), "prediction", r"has the latency prediction, and this is bound"),
    ],
)
def test_a_baseline_of_something_else_is_no_baseline(aspect: tuple[str, ...], value: Any, message: str) -> None:
    data: Any = saved(10, 10)
    *outer, last = aspect
    (data[outer[0]] if outer else data)[last] = value
    with pytest.raises(SavedError, match=message):
        run(10, 10, baseline=data)


@pytest.mark.parametrize(
    ("before", "now", "is_same"),
    [
        ("nets/net.py:make", "net.py:make", True),  # another working directory
        ("/builds/ci/net.py:make(width=64)", "nets/net.py:make(width=64)", True),
        ("nets/net.py:make(width=64)", "nets/net.py:make(width=32)", False),
        ("nets/net.py:make", "nets/net.py:other", False),
        ("nets/net.py:make", "nets/other.py:make", False),
        ("build/net.pt2", "net.pt2", True),
        ("net.pt2", "net.onnx", False),
        ("hf:a/gpt2/config.json", "hf:b/gpt2/config.json", True),
        ("hf:a/gpt2/config.json", "hf:a/llama/config.json", False),
        ("timm:resnet18", "timm:resnet34", False),
    ],
)
def test_a_model_is_the_same_wherever_its_file_lies(before: str, now: str, is_same: bool) -> None:
    old, new = ({"reference": name.partition("(")[0], "name": name} for name in (before, now))
    assert (_called(old) == _called(new)) is is_same


def test_another_input_size_is_a_change_and_said() -> None:
    result = check(linear(10, 10), meta(1, 7, 10), hw=SLOW_MEMORY, baseline=saved(10, 10))
    assert not result.is_met
    assert "Not as in the baseline: input." in result.to_dict()["notes"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, r"there is no baseline .*ci\.json: .*--update-baseline' writes one"),
        ("", r"ci\.json:1:1: not JSON"),
        ('{"schema": "roofline/analysis/1", "mod', r"ci\.json:1:\d+: not JSON"),
        ('{"schema": "roofline/analysis/9"}', r"made by a newer roofline"),
        ('{"schema": "roofline/analysis/1"}', r"model is missing"),
        ('{"schema": "roofline/check/1"}', r"schema 'roofline/check/1', which is none of"),
        ("[1]", r"no saved result"),
    ],
)
def test_a_baseline_that_cannot_be_read_says_so(text: str | None, message: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "ci.json").write_text(text)
    with pytest.raises(SavedError, match=message):
        check("mobilenetv4_conv_s", hw="pixel6_tpu", baseline=tmp_path / "ci.json")


def test_what_is_no_baseline_is_not_overwritten(tmp_path: Path) -> None:
    file = tmp_path / "net.py"
    file.write_text("precious = 1\n")
    with pytest.raises(SavedError, match=r"left as it is: remove it first"):
        write_baseline(roofline.analyze("mobilenetv4_conv_s", hw="pixel6_tpu"), file)
    assert file.read_text() == "precious = 1\n"


# --- what is asked wrongly --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ({}, r"nothing to check: give a baseline, or the most of latency, macs, weights, activations"),
        ({"tolerance": "2%", "macs": "1G"}, r"tolerance is of a baseline"),
        ({"latency": "5"}, r"latency: '5' has no unit"),
        ({"weights": "10Mb"}, r"weights: '10Mb' has the unit 'Mb'"),
        ({"macs": -1}, r"macs: a limit must be 0 or more"),
        ({"macs": float("nan")}, r"macs: a limit must be 0 or more and finite"),
        ({"macs": True}, r"macs: a limit is text or a number \(got a bool\)"),
    ],
)
def test_what_is_no_budget_is_said(budgets: dict[str, Any], message: str) -> None:
    with pytest.raises(RooflineError, match=message):
        run(10, 10, **budgets)


def test_limits_of_pure_arithmetic() -> None:
    analysis = roofline.analyze(linear(10, 10), meta(1, 10), hw=SLOW_MEMORY)
    result = against(analysis, {"macs": Fraction(199, 2)})
    assert result.to_dict()["budgets"][0] | {"layers": []} == {
        "name": "macs", "unit": "MACs", "value": 100, "limit": 99.5, "given": 99.5, "baseline": None, "change": None,
        "is_met": False, "layers": [],
    }  # fmt: skip


# --- forms ------------------------------------------------------------------------------------------------------------

HOSTILE = "a|b`c*<img src=x onerror=alert(1)>&lt;_[x](http://e) @octocat #1\\"


class Net(nn.Module):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.add_module(name, nn.Linear(10, 10, bias=False))

    def forward(self, x: Any) -> Any:
        return next(iter(self.children()))(x)


def test_nothing_of_a_layers_name_is_markup() -> None:
    result = check(Net(HOSTILE), meta(1, 10), hw=SLOW_MEMORY, weights="1B")
    html = MarkdownIt("commonmark").enable("table").render(render_check_markdown(result))  # a renderer of its own
    shown = HOSTILE.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f"<td><code>{shown}</code></td>" in html
    assert "<img" not in html
    assert "<a " not in html
    tables = html.split("<table>")[1:]
    assert len(tables) == 2
    for table in tables:
        cells = [row.count("<td") + row.count("<th") for row in table.split("<tr>")[1:]]
        assert len(set(cells)) == 1, "a bar in a name makes no column"


def test_the_markdown_is_a_table_of_budgets_and_one_of_layers() -> None:
    result = run(10, 11, weights="1kB", baseline=saved(10, 10), tolerance="2%")
    lines = render_check_markdown(result).splitlines()
    assert lines[0].startswith("**Over budget: latency bound 131 ms, +9.2 % on the baseline; MACs 110, +10 % on")
    assert "| Budget | value | limit | baseline | change |  |" in lines
    assert "| weight bytes | 110 B | 102 B | 100 B | +10 % | **OVER** |" in lines
    assert "| <code>0</code> | linear | 100 B | 110 B | +10 B | +10 % |" in lines


def test_a_name_cannot_steer_a_terminal() -> None:
    result = check(Net("\x1b[31mred\n"), meta(1, 10), hw=SLOW_MEMORY, weights="1B")
    for text in (check_text(result), render_check_markdown(result)):
        assert "\x1b" not in text


def test_the_json_says_what_was_checked() -> None:
    data = json.loads(run(10, 11, baseline=saved(10, 10), tolerance="2%").to_json())
    assert data["schema"] == "roofline/check/1"
    assert (data["is_met"], data["tolerance"], data["batch"]) == (False, 0.02, 1)
    assert data["baseline"]["totals"]["macs"] == 100
    assert {budget["name"]: budget["is_met"] for budget in data["budgets"]} == {
        "latency": False, "macs": False, "weights": False, "activations": False,  # 20 -> 21 bytes are 5 %
    }  # fmt: skip
    assert json.loads(run(10, 10, macs="1k").to_json())["baseline"] is None


def test_a_bound_within_its_budget_promises_nothing() -> None:
    assert any("bound within a budget" in note for note in run(10, 10, latency="1s").to_dict()["notes"])
