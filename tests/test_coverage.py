"""The comparison of docs/coverage.md: that the other counter is right where it stands in, and how rows make a page."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import coverage
from benchmarks._harness import filled
from roofline.trace import trace


class Extras(nn.Module):
    """All that fvcore calls flops and that is no MAC, on shapes that none of them share."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.norms = nn.ModuleList([nn.BatchNorm2d(8), nn.BatchNorm2d(8, affine=False), nn.GroupNorm(2, 8)])
        self.tokens = nn.ModuleList([nn.LayerNorm(8), nn.LayerNorm(8, elementwise_affine=False)])

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        for norm in self.norms:
            x = norm(x)
        x = F.instance_norm(x)
        x = F.interpolate(x, scale_factor=2)
        x = F.interpolate(x, size=9, mode="bilinear")
        y = x.flatten(2).transpose(1, 2)
        for norm in self.tokens:
            y = norm(y)
        return y.sum() + F.adaptive_avg_pool2d(x, 2).sum()


@pytest.mark.filterwarnings("ignore")  # importing fvcore warns
def test_what_fvcore_adds_is_what_it_says_it_adds() -> None:
    from fvcore.nn import FlopCountAnalysis

    model, x = Extras().eval(), torch.zeros(1, 3, 16, 16)
    graph = trace(model, x)
    counter = FlopCountAnalysis(model, x).unsupported_ops_warnings(False).uncalled_modules_warnings(False)
    assert coverage.our_macs(graph).total() + coverage.fvcore_extras(graph) == counter.total()


@pytest.mark.parametrize(
    ("product", "shapes", "macs"),
    [
        (torch.mv, [(3, 4), (4,)], 12),
        (torch.dot, [(5,), (5,)], 5),
        (torch.addmv, [(3,), (3, 4), (4,)], 12),
        (F.linear, [(2, 3, 8), (4, 8)], 2 * 3 * 4 * 8),
    ],
)
def test_products_that_flop_counter_mode_lacks_are_counted_by_hand(
    product: Any, shapes: list[tuple[int, ...]], macs: int
) -> None:
    class Product(nn.Module):
        def forward(self, *operands: Tensor) -> Any:
            return product(*operands)

    counted = coverage.counter_macs(Product(), [torch.empty(shape, device="meta") for shape in shapes])
    assert counted == {"product": macs}


# --- from rows to the page --------------------------------------------------------------------------------------------


def row(name: str, ours: int = 10, theirs: int = 10, **more: Any) -> coverage.Row:
    return {
        "reference": f"timm:{name}", "module": "resnet", "input": [[1, 3, 8, 8]], "params": 1_000_000,
        "ours": {"convolution": ours}, "theirs": {"convolution": theirs}, "unknown": [], "printed": [], **more,
    }  # fmt: skip


def figure(gmacs: str, ours: float, *, attention: float = 0, params: str = "1.00") -> coverage.Row:
    return {"px": 224, "gmacs": gmacs, "params": params, "ours": [by_fvcore(ours, attention)]}


def by_fvcore(gmacs: float, attention: float = 0, params: int = 1_000_000) -> coverage.Row:
    return {"params": params, "flops": gmacs * 1e9, "attention": attention * 1e9}


@pytest.mark.parametrize(
    ("given", "off"),
    [
        (figure("1.82", 1.8151), 0),
        (figure("1.82", 1.92, attention=0.1), 0),
        (figure("1.8", 1.84), 0),
        (figure("1.82", 1.80), 0.015),
        (figure("1.82", 1.83), 0.005),
    ],
)
def test_a_printed_figure_stands_for_what_rounds_to_it(given: coverage.Row, off: float) -> None:
    assert coverage.off_by(given) == pytest.approx(off, abs=1e-8)


def test_a_figure_of_another_network_is_none() -> None:
    assert coverage.of_same_network(figure("1", 1, params="1.00"))
    assert not coverage.of_same_network(figure("1", 1, params="1.02"))
    assert coverage.off_by(figure("1", 1, params="1.02")) == float("inf")


def test_a_folded_network_stands_for_its_own_figure() -> None:
    both = {**figure("1.00", 1.3, params="0.90"), "ours": [by_fvcore(1.3), by_fvcore(1.001, params=900_100)]}
    assert coverage.off_by(both) == 0
    assert coverage.nearest_gmacs(both) == pytest.approx(1.001)


def test_the_tables_count_and_name_what_differs() -> None:
    rows = [
        row("a"),
        row("b", 1_000_500, 1_000_000),
        row("c", 12, 10, unknown=["strange"]),
        {"reference": "timm:d", "failed": {"stage": "trace", "why": "depends on | data"}},
        {"reference": "timm:e", "failed": {"stage": "build", "why": "no"}},
        row("f", printed=[figure("1.82", 1.82), figure("2.00", 1.5), figure("9.9", 1.5, params="3")]),
    ]
    made = coverage.parts(rows)
    assert made["summary"].splitlines()[-1] == "| timm | 6 | 5 | 4 | 4 | 2 | 1 | 1 | 1 |"
    assert "| timm:c | convolution | 12 | 10 | +20.00% | not explained |" in made["differing"]
    assert "depends on \\| data" in made["failures"]
    assert made["unknown"].splitlines()[-1] == "| `strange` | 1 | timm:c |"
    assert made["printed"].splitlines()[-1] == "| 3 | 1 | 2 | 1 | 0 | 1 |"
    assert "| f | 224 | 2.00 | 1.500 | -25.0% | not explained |" in made["printed differing"]
    assert made["printed others"].splitlines()[-1] == "| f | 3 | 1.00 |"
    assert coverage.parts(rows[::-1])["modules"] == made["modules"]
    assert [target.met for target in coverage.targets(rows)] == [False, False]
    assert [target.met for target in coverage.targets(rows[:1])] == [True, True]


def test_the_page_has_a_place_for_each_table_and_leaves_nothing_unexplained() -> None:
    page = coverage.PAGE.read_text(encoding="utf-8")
    assert re.findall(r"<!-- made: (.*?) -->", page) == list(coverage.parts([row("a")]))
    assert filled(page, coverage.parts([row("a")]))
    assert "not explained" not in page


# --- going on ---------------------------------------------------------------------------------------------------------


def test_what_is_done_is_not_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is what was done by other code taken over, nor the line at which a run was ended."""
    results = tmp_path / "results.jsonl"
    monkeypatch.setattr(coverage, "fingerprint", lambda: "now")
    lines = [json.dumps({"key": key, **row(name)}) for key, name in (("now", "a"), ("before", "b"), ("now", "c"))]
    results.write_text("\n".join([*lines, '{"key": "now", "refer']))
    kept = list(coverage._kept(results, "now"))
    assert [item["reference"] for item in kept] == ["timm:a", "timm:c"]
    assert all("key" not in item for item in kept)
    assert coverage.examine_all(["timm:a", "timm:c"], results, 1) == kept


@pytest.mark.skipif(
    not coverage.versions().startswith("timm"), reason="timm is not installed: pip install --no-deps timm"
)
@pytest.mark.parametrize("name", ["lcnet_050", "levit_128s", "mobileone_s0", "mobilevit_xxs", "nf_resnet26"])
def test_a_network_is_counted_alike_and_as_printed(name: str) -> None:
    found = coverage.examine(f"timm:{name}", coverage.printed_figures().get(name, ()))
    assert "failed" not in found
    assert found["ours"] == found["theirs"]
    assert [coverage.off_by(each) for each in found["printed"]] == [0] * len(found["printed"])


def test_what_cannot_be_built_is_a_row_too() -> None:
    failed = coverage.examine("timm:no_such_network", ())["failed"]
    assert failed["stage"] == "build"
    assert "no_such_network" in failed["why"] or "not installed" in failed["why"]
