"""Comparisons: small ones worked out by hand, sums that are exact, words that never mix a bound with a prediction."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import fields
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import roofline
from roofline import Analysis, Hardware, ModelError, ProfileError, RooflineError
from roofline.analysis import GROUPS
from roofline.comparison import (
    COLUMNS,
    OUTSIDE,
    WHAT_CHANGES,
    Comparison,
    Difference,
    Unlike,
    compare,
    compare_models,
    from_dict,
    is_saved,
)
from roofline.comparison_words import notes, of_two, where
from roofline.errors import SavedError
from roofline.hardware import NO_TERMS
from roofline.saved import load_saved

pytestmark = pytest.mark.usefixtures("traced_once")

US = 1e-6
Layer = tuple[str, str, float]  # name, kind, microseconds


def layer(name: str, kind: str, us: float, macs: int = 100, mem_bytes: int = 10, **fields: Any) -> dict[str, Any]:
    return {
        "name": name, "kind": kind, "ops": kind, "input_shape": [1, 8, 4, 4], "output_shape": [1, 8, 4, 4],
        "macs": macs, "vector_ops": 0, "weight_bytes": mem_bytes, "activation_bytes": 0,
        "mac_time_s": us * US, "mem_time_s": us * US / 2, "latency_s": us * US, "bound": "compute", **fields,
    }  # fmt: skip


def plain(
    layers: Sequence[dict[str, Any] | Layer],
    *,
    model: str = "net",
    device: str = "dev",
    kind: str = "prediction",
    dtype: str = "int8",
    fusion: str = "epilogue",
    batch: int = 1,
    input_shape: Sequence[Any] = (1, 3, 8, 8),
    params: int = 50,
    peak: float = 1e12,
    figures: str = "fitted",
    uncounted: Sequence[tuple[str, int, int]] = (),
    extra_us: float = 0.0,
    version: str = "1.0",
) -> dict[str, Any]:
    """An analysis, with totals that are the sums of its layers."""
    rows = [dict(item) if isinstance(item, dict) else layer(*item) for item in layers]
    sums = {
        key: sum(row[key] for row in rows)
        for key in ("macs", "vector_ops", "weight_bytes", "activation_bytes", "mac_time_s", "mem_time_s", "latency_s")
    }
    return {
        "schema": "roofline/analysis/1",
        "model": {"reference": model, "name": model, "input_shape": list(input_shape), "params": params},
        "hardware": {
            "id": device, "name": device.title(), "dtype": dtype,
            "peak_macs_per_s": peak, "bandwidth_bytes_per_s": 1e10, "ridge_point_macs_per_byte": peak / 1e10,
            "figures": {"bandwidth_bytes_per_s": {"value": 1e10, "kind": figures, "source": "here"}},
        },
        "fusion": fusion, "batch": batch, "latency_kind": kind,
        "totals": {
            **sums, "latency_s": sums["latency_s"] + extra_us * US, "compute_bound_share": 1.0,
            "operational_intensity_macs_per_byte": 1.0, "peak_activation_bytes": 1, "energy_j": None,
        },
        "layers": rows,
        "uncounted_ops": [dict(zip(("name", "calls", "mem_bytes"), op, strict=True)) for op in uncounted],
        "versions": {"roofline": version},
    }  # fmt: skip


BEFORE = [("stem", "conv", 10), ("blocks.0.dw", "depthwise_conv", 40), ("blocks.1.dw", "depthwise_conv", 20),
          ("head", "linear", 30)]  # fmt: skip
AFTER = [("stem", "conv", 10), ("blocks.0.dw", "depthwise_conv", 15), ("blocks.1.dw", "depthwise_conv", 20),
         ("blocks.1.se", "pool", 5), ("head", "linear", 31)]  # fmt: skip


def two(before: Sequence[Any] = BEFORE, after: Sequence[Any] = AFTER, **options: Any) -> Difference:
    return compare([plain(before, model="a"), plain(after, **{"model": "b", **options})]).differences[0]


@pytest.fixture
def difference() -> Difference:
    return two()


def labels(*analyses: dict[str, Any], names: Sequence[str | None] | None = None) -> list[str]:
    return [side.label for side in compare(analyses, names=names).sides]


# --- one difference, by hand ----------------------------------------------------------------------------------------


def test_totals_and_ratios(difference: Difference) -> None:
    assert difference.delta_s == pytest.approx(-19 * US)
    assert difference.ratios() == pytest.approx({"latency_s": 0.81, "macs": 5 / 4, "mem_bytes": 5 / 4, "params": 1.0})
    assert difference.baseline.totals() == {
        "label": "a", "model": "a", "device": "dev", "latency_kind": "prediction", "latency_s": pytest.approx(100 * US),
        "estimator": "roofline", "interval90_s": None, "macs": 400, "mem_bytes": 40, "params": 50,
        "compute_bound_share": 1.0,
    }  # fmt: skip


def test_what_changed_first_is_what_changed_most(difference: Difference) -> None:
    assert [(c.name, c.status, c.kind) for c in difference.changes()] == [
        ("blocks.0.dw", "changed", "depthwise_conv"), ("blocks.1.se", "added", "pool"), ("head", "changed", "linear"),
    ]  # fmt: skip
    assert [c.delta_s for c in difference.changes()] == pytest.approx([-25 * US, 5 * US, 1 * US])
    assert [c.share for c in difference.changes()] == pytest.approx([-0.25, 0.05, 0.01])


def test_all_layers_stand_in_the_order_of_the_other(difference: Difference) -> None:
    assert [(c.name, c.baseline, c.other, c.status) for c in difference.layers] == [
        ("stem", 0, 0, "same"), ("blocks.0.dw", 1, 1, "changed"), ("blocks.1.dw", 2, 2, "same"),
        ("blocks.1.se", None, 3, "added"), ("head", 3, 4, "changed"),
    ]  # fmt: skip


def test_the_other_way_round_signs_change_and_added_is_removed(difference: Difference) -> None:
    back = two(AFTER, BEFORE)
    assert back.delta_s == -difference.delta_s
    assert {(c.name, c.status, -c.delta_s) for c in back.changes()} == {
        (c.name, {"added": "removed"}.get(c.status, c.status), c.delta_s) for c in difference.changes()
    }


def test_kinds_and_stages_explain_the_difference(difference: Difference) -> None:
    kinds = {part.name: part for part in difference.by("kind")}
    assert list(kinds) == ["depthwise_conv", "pool", "linear", "conv"]
    assert (kinds["depthwise_conv"].baseline_layers, kinds["depthwise_conv"].layers) == (2, 2)
    assert (kinds["pool"].baseline_layers, kinds["pool"].layers, kinds["pool"].baseline_s) == (0, 1, 0.0)
    assert [part.delta_s for part in kinds.values()] == pytest.approx([-25 * US, 5 * US, US, 0.0])
    assert [part.share for part in kinds.values()] == pytest.approx([-0.25, 0.05, 0.01, 0.0])
    assert [part.name for part in difference.by("stage")] == ["blocks.0", "blocks.1", "head", "stem"]
    with pytest.raises(RooflineError, match="unknown group 'size': choose one of kind, stage"):
        difference.by("size")


def test_the_times_of_all_sides_by_kind() -> None:
    times = compare([plain(BEFORE), plain(AFTER), plain([])]).by("kind")
    assert list(times) == ["depthwise_conv", "linear", "conv", "pool"]
    assert times["pool"] == pytest.approx((0, 5 * US, 0))
    assert times["depthwise_conv"] == pytest.approx((60 * US, 35 * US, 0))


@pytest.mark.parametrize("key", WHAT_CHANGES)
def test_a_layer_changes_by_whatever_is_counted_of_it(key: str) -> None:
    value = {"kind": "pool", "ops": "x", "input_shape": [1, 9, 4, 4], "output_shape": [1, 9, 4, 4]}.get(key, 7)
    old = layer("a", "conv", 1)
    assert [c.status for c in two([old], [{**old, key: value}]).layers] == ["changed"]
    assert [c.status for c in two([old], [{**old, "name": "renamed"}]).layers] == ["same"]


def test_time_in_no_layer_is_a_part_of_its_own() -> None:
    difference = two([("a", "conv", 10)], [("a", "conv", 10)], extra_us=7)
    assert difference.delta_s == pytest.approx(7 * US)
    assert difference.changes() == []
    (part, _) = difference.by("kind")
    assert (part.name, part.baseline_layers, part.layers) == (OUTSIDE, 0, 0)
    assert part.delta_s == difference.delta_s
    assert where(difference) == "All of the difference is outside the layers."


def test_nothing_against_something() -> None:
    difference = two([], [("a", "conv", 10)])
    assert difference.ratios()["latency_s"] is None
    assert [c.share for c in difference.changes()] == [None]
    assert of_two(difference).startswith("a is predicted to take no time, unlike b: 0 s against 10 us.")
    assert of_two(two([], [])) == "a and b have the same predicted latency, 0 s, and no layer differs."
    assert json.loads(compare([plain([]), plain([])]).to_json())


# --- sums are exact -------------------------------------------------------------------------------------------------

TIMES = st.floats(0, 1e3, allow_subnormal=False) | st.floats(0, 1e-3, allow_subnormal=False)
KINDS = st.sampled_from(["conv", "linear", "pool"])
NETS = st.lists(st.tuples(st.integers(0, 5).map(lambda i: f"stages.{i}"), KINDS, TIMES), max_size=30)


@settings(deadline=None)
@given(NETS, NETS, st.randoms())
def test_parts_add_up_to_the_difference_to_the_last_bit(before: list[Layer], after: list[Layer], chance: Any) -> None:
    difference = two([layer(n, k, t / US) for n, k, t in before], [layer(n, k, t / US) for n, k, t in after])
    for parts in (difference.by("kind"), difference.by("stage"), list(difference.layers)):
        chance.shuffle(parts)
        assert sum(part.delta_s for part in parts) == difference.delta_s
    for side in (difference.baseline, difference.other):
        exact = sum(map(Fraction, side.layer_latency_s))
        assert Fraction(side.latency_s) == exact
    total = Fraction(difference.other.latency_s) - Fraction(difference.baseline.latency_s)
    assert Fraction(difference.delta_s) == total


@given(NETS, NETS)
def test_the_grid_is_too_fine_to_see(before: list[Layer], after: list[Layer]) -> None:
    """No time moves by more than 2^-51 of the larger sum."""
    result = compare([plain(before), plain(after)])
    largest = max(sum(us for *_, us in side) for side in (before, after)) * US
    for side, given_layers in zip(result.sides, (before, after), strict=True):
        for gridded, (*_, us) in zip(side.layer_latency_s, given_layers, strict=True):
            assert abs(gridded - us * US) <= max(2**-51 * largest, 2**-1022)


@given(NETS)
def test_the_same_analysis_twice_is_no_difference(net: list[Layer]) -> None:
    difference = compare([plain(net), copy.deepcopy(plain(net))]).differences[0]
    assert difference.delta_s == 0
    assert difference.changes() == []
    assert difference.unlike == ()
    assert {part.delta_s for kind in GROUPS for part in difference.by(kind)} <= {0.0}
    assert "no layer differs" in of_two(difference)


@given(NETS, NETS)
def test_swapped_sides_swap_all_signs(before: list[Layer], after: list[Layer]) -> None:
    forth, back = two(before, after), two(after, before)
    assert forth.delta_s == -back.delta_s
    for group in GROUPS:
        assert {(p.name, p.delta_s) for p in forth.by(group)} == {(p.name, -p.delta_s) for p in back.by(group)}
    assert sorted(
        (c.baseline or -1, c.other or -1, c.delta_s) for c in forth.layers if c.status == "changed"
    ) == sorted((c.other or -1, c.baseline or -1, -c.delta_s) for c in back.layers if c.status == "changed")


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1.0, 1e30, 1e290])
def test_times_of_any_size_add_up(scale: float) -> None:
    before, after = ([layer(f"l{i}", "conv", t * scale / US) for i, t in enumerate(times)]
                     for times in ([0.1, 0.2, 0.3], [0.7, 0.2]))  # fmt: skip
    difference = two(before, after)
    assert sum(part.delta_s for part in difference.layers) == difference.delta_s
    assert difference.delta_s == pytest.approx(0.3 * scale)


# --- labels ---------------------------------------------------------------------------------------------------------


def test_labels_are_as_short_as_tells_them_apart() -> None:
    net = [("a", "conv", 1.0)]
    assert labels(plain(net, model="x"), plain(net, model="y")) == ["x", "y"]
    assert labels(plain(net, device="p"), plain(net, device="q")) == ["p", "q"]
    assert labels(plain(net, model="x", device="p"), plain(net, model="y", device="q")) == ["x on p", "y on q"]
    assert labels(plain(net), plain(net, dtype="fp32")) == ["dev int8", "dev fp32"]
    assert labels(plain(net), plain(net, fusion="none")) == ["dev epilogue fusion", "dev unfused"]
    assert labels(plain(net), plain(net, dtype="fp16"), plain(net, device="q")) == ["dev int8", "dev fp16", "q"]
    assert labels(plain(net), plain(net, batch=2)) == ["net batch 1", "net batch 2"]
    assert labels(plain(net), plain(net, input_shape=(1, 3, 9, 9))) == ["net 3x8x8", "net 3x9x9"]
    assert labels(plain(net), plain(net)) == ["net", "net#2"]
    assert labels(plain(net), plain(net), names=["before", "after"]) == ["net before", "net after"]
    assert labels(plain(net), plain(net), names=[None, "ci"]) == ["net", "net ci"]
    assert labels(plain(net), plain(net, model="y"), names=["before", "after"]) == ["net", "y"]
    assert labels(plain(net), plain(net, peak=2e12)) == ["dev", "dev#2"]
    assert labels(plain(net, input_shape=[[1, 3], [1]]), plain(net)) == ["net 3 scalar", "net 3x8x8"]


@given(
    st.lists(
        st.builds(
            plain, st.just([]), model=st.sampled_from("ab"), device=st.sampled_from("pq"),
            dtype=st.sampled_from(["int8", "fp32"]), batch=st.sampled_from([1, 2]), params=st.sampled_from([1, 2]),
        ),
        min_size=2, max_size=8,
    )
)  # fmt: skip
def test_no_two_sides_are_called_the_same(analyses: list[dict[str, Any]]) -> None:
    result = compare(analyses)
    assert len({side.label for side in result.sides}) == len(analyses)
    assert len({(side.model, side.device) for side in result.sides}) == len(analyses)
    placed = [number for row in result.matrix().sides for number in row if number is not None]
    assert sorted(placed) == list(range(len(analyses)))


# --- several sides --------------------------------------------------------------------------------------------------


def grid(*rows: Sequence[float], kinds: str = "ppp") -> Comparison:
    """Models a, b ... by devices p, q ..., of these latencies; each model of one layer."""
    kind = {"p": "prediction", "b": "bound"}
    return compare(
        [
            plain([("l", "conv", us)], model="abc"[i], device="pqr"[j], kind=kind[kinds[j]])
            for i, row in enumerate(rows)
            for j, us in enumerate(row)
        ]
    )


def test_the_matrix_has_models_by_devices_and_ranks_on_each() -> None:
    matrix = grid([3, 30], [1, 40], [3, 20]).matrix()
    assert (matrix.models, matrix.devices) == (("a", "b", "c"), ("p", "q"))
    assert matrix.sides == ((0, 1), (2, 3), (4, 5))
    assert matrix.ranks == ((2, 2), (1, 3), (2, 1))
    assert [time for row in matrix.latency_s for time in row] == pytest.approx(
        [3 * US, 30 * US, US, 40 * US, 3 * US, 20 * US]
    )


def test_a_pair_that_was_not_run_is_a_hole_in_the_matrix() -> None:
    net = [("l", "conv", 1.0)]
    matrix = compare([plain(net, model="a", device="p"), plain(net, model="b", device="q")]).matrix()
    assert matrix.sides == ((0, None), (None, 1))
    assert matrix.ranks == ((1, None), (None, 1))
    assert matrix.latency_s[0][1] is None


def test_each_is_compared_with_the_first_on_its_device_else_the_first_of_all() -> None:
    pairs = [(d.baseline.label, d.other.label) for d in grid([3, 30], [1, 40]).differences]
    assert pairs == [("a on p", "a on q"), ("a on p", "b on p"), ("a on q", "b on q")]


def test_bounds_and_predictions_on_one_device_have_no_ranks() -> None:
    net = [("l", "conv", 1.0)]
    result = compare(
        [plain(net, model=m, kind=k) for m, k in zip("abc", ("bound", "prediction", "bound"), strict=True)]
    )
    assert result.matrix().ranks == ((None,), (None,), (None,))


# --- what differs beside ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("option", "value", "what", "values", "said"),
    [
        ("kind", "bound", "latency_kind", ("prediction", "bound"), "B: a bound, a roofline on"),
        ("dtype", "fp32", "dtype", ("int8", "fp32"), "Not alike in dtype: int8 (A), fp32 (B)."),
        ("fusion", "none", "fusion", ("epilogue", "none"), "Not alike in fusion: epilogue (A), none (B)."),
        ("batch", 4, "batch", (1, 4), "Not alike in batch, and times are of a whole batch: 1 (A), 4 (B)."),
        ("input_shape", (1, 3, 9, 9), "input", ("3x8x8", "3x9x9"), "Not alike in input: 3x8x8 (A), 3x9x9 (B)."),
        ("peak", 2e12, "figures", ([1e12, 1e10], [2e12, 1e10]), "1 TMAC/s and 10 GB/s (A), 2 TMAC/s and 10 GB/s (B)."),
        ("uncounted", [("sort", 2, 10)], "uncounted_ops", ([], ["sort"]),
         "Not counted in B, but for their bytes (100 % of the traffic): sort (2x)."),
        ("version", "2", "roofline", ("1.0", "2"), "Not alike in the version of roofline: 1.0 (A), 2 (B)."),
    ],
    ids=lambda value: value if isinstance(value, str) and " " not in value else "",
)  # fmt: skip
def test_what_differs_beside_is_a_value_and_a_note(
    option: str, value: Any, what: str, values: tuple[Any, Any], said: str
) -> None:
    net = [("l", "conv", 1.0)]
    result = compare([plain(net), plain(net, **{option: value})])
    assert result.differences[0].unlike == (Unlike(what=what, baseline=values[0], other=values[1]),)
    assert any(said in note for note in notes(result, ["A", "B"])), notes(result, ["A", "B"])


def test_sides_that_are_alike_have_no_such_notes() -> None:
    result = compare([plain(BEFORE, model="a"), plain(AFTER, model="b")])
    assert result.differences[0].unlike == ()
    assert notes(result) == [
        "The latencies are predictions: each a roofline whose figures are fitted to latencies or measured."
    ]


def test_figures_of_two_devices_are_no_caution() -> None:
    net = [("l", "conv", 1.0)]
    assert compare([plain(net), plain(net, device="q", peak=2e12)]).differences[0].unlike == ()
    (dtype,) = compare([plain(net), plain(net, dtype="fp32", peak=2e12)]).differences[0].unlike
    assert dtype.what == "dtype"


def with_terms(terms: dict[str, Any], **options: Any) -> dict[str, Any]:
    data = plain([("l", "conv", 1.0)], **options)
    return {**data, "hardware": {**data["hardware"], **terms}}


TERMS: list[tuple[dict[str, Any], dict[str, Any], str]] = [  # of the two sides, and how the note tells them apart
    ({}, {"combine": "add"}, 'nothing (A), combine "add" (B)'),
    ({"peak_share_by_class": {"conv": 0.5}}, {}, 'peak_share_by_class {"conv": 0.5} (A), nothing (B)'),
    ({"inference_overhead_s": 1e-5}, {"inference_overhead_s": 2e-5}, "_s 1e-05 (A), inference_overhead_s 2e-05 (B)"),
    (
        {"onchip_holds": ["weights"], "onchip_bytes": 8},
        {"onchip_holds": ["weights"], "onchip_bytes": 9},
        'onchip_holds ["weights"], onchip_bytes 8 (A), onchip_holds ["weights"], onchip_bytes 9 (B)',
    ),
]


@pytest.mark.parametrize(("old", "new", "said"), TERMS)
def test_one_device_that_adds_two_things_to_eq_1_is_two_and_the_reader_is_told(
    old: dict[str, Any], new: dict[str, Any], said: str
) -> None:
    result = compare([with_terms(old), with_terms(new)])
    assert [side.device for side in result.sides] == ["dev", "dev#2"]
    assert result.differences[0].unlike == (Unlike(what="terms", baseline=old, other=new),)
    assert any(
        note.startswith("Not alike in what a device adds to eq. 1: ") and said in note for note in notes(result, "AB")
    )
    assert json.loads(result.to_json())["differences"][0]["unlike"] == [
        {"what": "terms", "baseline": old, "other": new}
    ]
    other_device = compare([with_terms(old), with_terms(new, device="q")])
    assert other_device.differences[0].unlike == ()


@pytest.mark.parametrize("terms", [{}, dict(NO_TERMS), {"onchip_bytes": 8}, {**NO_TERMS, "overhead_layers": "macs"}])
def test_terms_that_make_no_difference_tell_no_two_devices_apart(terms: dict[str, Any]) -> None:
    """An older result lacks the keys; the size of a memory that nothing stays in, and who has no overhead, are idle."""
    result = compare([with_terms({}), with_terms(terms)], names=["x", "y"])
    assert {side.device for side in result.sides} == {"dev"}
    assert result.differences[0].unlike == ()


def test_the_overhead_of_an_inference_is_outside_the_layers() -> None:
    net, image = nn.Conv2d(3, 8, 3), torch.zeros(1, 3, 8, 8)
    slow, fast = (
        roofline.analyze(net, image, hw=toy("dev", inference_overhead_s=overhead_s)) for overhead_s in (5e-3, 1e-3)
    )
    (difference,) = compare([slow, fast]).differences
    assert [side.outside_s for side in (difference.baseline, difference.other)] == pytest.approx([5e-3, 1e-3])
    assert difference.delta_s == pytest.approx(-4e-3)
    parts = {part.name: part.delta_s for part in difference.by("kind")}
    assert parts == {OUTSIDE: difference.delta_s, "conv": 0.0}
    assert [layer.status for layer in difference.layers] == ["same"]
    assert where(difference) == "All of the difference is outside the layers."
    assert [unlike.what for unlike in difference.unlike] == ["terms"]


@pytest.mark.parametrize(
    ("terms", "added"),
    [
        ({"combine": "add"}, "times that add up"),
        ({"layer_overhead_s": 1e-6}, "an overhead on top"),
        ({"combine": "add", "inference_overhead_s": 1e-6}, "times that add up and an overhead on top"),
        ({"peak_share_by_class": {"conv": 0.5}}, "rates for single kinds of work"),
    ],
)
def test_a_bound_on_more_than_ceilings_is_not_said_to_be_unbeatable(terms: dict[str, Any], added: str) -> None:
    options: dict[str, Any] = {"kind": "bound", "figures": "datasheet"}
    both = notes(compare([with_terms(terms, **options), with_terms(terms, model="b", **options)]))
    assert both[0] == f"The latencies are bounds: each a roofline on the vendor's figures, with {added}."
    one = notes(compare([with_terms(terms, **options), with_terms({}, device="q", **options)]), ["A", "B"])
    assert one == [
        "B: a bound, a roofline on the vendor's figures, which no run can beat.",
        f"A: a bound, a roofline on the vendor's figures, with {added}.",
    ]


def test_the_size_of_a_memory_that_holds_something_may_make_a_bound_an_estimate() -> None:
    sized = {"bandwidth_bytes_per_s": "datasheet", "onchip_bytes": "estimate"}
    figures = {path: {"value": 1.0, "kind": kind, "source": "here"} for path, kind in sized.items()}
    options: dict[str, Any] = {"kind": "bound"}
    holding = with_terms({"figures": figures, "onchip_holds": ["weights"], "onchip_bytes": 8}, device="q", **options)
    idle = with_terms({"figures": figures, "onchip_bytes": 8}, **options)
    assert notes(compare([idle, holding]), ["A", "B"]) == [
        "A: a bound, a roofline on the vendor's figures, by the traffic of the memory bus; a run that keeps more in "
        "on-chip memory may be faster.",
        "B: a bound, a roofline on estimated figures, and as good as these.",
    ]


def test_bounds_on_estimates_are_called_so() -> None:
    net = [("l", "conv", 1.0)]
    result = compare(
        [plain(net, kind="bound", figures="estimate"), plain(net, device="q", kind="bound", figures="datasheet")]
    )
    assert notes(result, ["A", "B"]) == [
        "B: a bound, a roofline on the vendor's figures, which no run can beat.",
        "A: a bound, a roofline on estimated figures, and as good as these.",
    ]


# --- words ----------------------------------------------------------------------------------------------------------


def test_the_verdict_names_the_faster_by_how_much_and_why(difference: Difference) -> None:
    assert of_two(difference) == (
        "b is predicted to be 1.23x as fast as a: 81 us against 100 us. "
        "The difference in depthwise_conv is larger, 25 us; the others take 6 us of it back."
    )
    assert of_two(two(AFTER, BEFORE)).startswith("a is predicted to be 1.23x as fast as b: 81 us against 100 us.")
    assert of_two(two([("x", "conv", 10), ("y", "pool", 10)], [("x", "conv", 4), ("y", "pool", 9)])) == (
        "b is predicted to be 1.54x as fast as a: 13 us against 20 us. 6 us of the 7 us difference is in conv."
    )
    assert of_two(two([("x", "conv", 10)], [("x", "conv", 9.9)])) == (
        "b is predicted to take 1 % less time than a: 9.9 us against 10 us. All of the difference is in conv."
    )


def test_times_that_are_almost_the_same_are_told_apart() -> None:
    assert of_two(two([("x", "conv", 719.3)], [("x", "conv", 719.4)])).startswith(
        "a is predicted to take 0.014 % less time than b: 0.7193 ms against 0.7194 ms."
    )


def test_what_makes_a_difference_goes_the_same_way() -> None:
    """The largest change is another one, in the other direction."""
    difference = two([("x", "conv", 30)], [("x", "conv", 10), ("y", "pool", 16), ("z", "linear", 14)])
    assert where(difference) == "The difference in pool is larger, 16 us; the others take 6 us of it back."


def test_equal_times_are_called_equal() -> None:
    assert of_two(two([layer("x", "conv", 10)], [layer("x", "conv", 10, macs=7)])) == (
        "a and b have the same predicted latency, 10 us, though a layer differs."
    )


def test_a_lower_bound_is_not_called_faster() -> None:
    said = compare([plain(BEFORE, model="a", kind="bound"), plain(AFTER, model="b", kind="bound")]).verdict()
    assert said.startswith(
        "b has a lower latency bound than a: 81 us against 100 us, a factor of 1.23. The difference in"
    )


@pytest.mark.parametrize("swapped", [False, True])
def test_a_bound_and_a_prediction_are_not_ranked_silently(swapped: bool) -> None:
    net = [plain([("x", "conv", 5)], model="a", kind="bound"), plain([("x", "conv", 9)], model="b")]
    assert compare(net[::-1] if swapped else net).verdict() == (
        "a has a latency bound of 5 us, b a predicted latency of 9 us: unlike numbers. "
        "Which of the two is the faster, they do not say."
    )
    net[0] = plain([("x", "conv", 15)], model="a", kind="bound")
    assert compare(net[::-1] if swapped else net).verdict() == (
        "a has a latency bound of 15 us, b a predicted latency of 9 us: unlike numbers. "
        "As even the bound is no shorter, b is predicted to be the faster."
    )


def test_of_several_the_fastest_is_named() -> None:
    assert grid([30, 10, 20]).verdict() == (
        "Of 3, q is predicted to be the fastest: 10 us against 30 us of p, a factor of 3."
    )
    assert grid([10], [30], [20]).verdict() == (
        "Of 3, a is predicted to be the fastest: 10 us against 20 us of c, a factor of 2."
    )
    assert grid([10, 30, 10]).verdict() == "p and r have the same predicted latency, 10 us, and none a lower one."
    assert grid([30, 10, 20], kinds="bbb").verdict() == (
        "Of 3, q has the lowest latency bound: 10 us against 30 us of p, a factor of 3."
    )
    assert grid([30, 10, 20], kinds="pbp").verdict() == (
        "p has a predicted latency of 30 us, q has a latency bound of 10 us and r has a predicted latency of 20 us: "
        "bounds and predictions have no common order."
    )


def test_models_by_devices_have_a_winner_on_each_device() -> None:
    assert grid([3, 30, 5], [1, 40, 4], [2, 30, 9]).verdict() == (
        "Predicted to be the fastest: b on p and r; a and c on q."
    )
    assert grid([3, 30], [1, 40], kinds="pb").verdict() == (
        "Predicted to be the fastest: b on p. The lowest latency bound: a on q."
    )
    net = [("l", "conv", 5)]
    assert compare([plain(net, model=m, device=d) for m, d in ("ap", "bp", "cq")]).verdict() == (
        "Predicted to be the fastest: a and b on p."
    )
    assert compare([plain(net, model=m, device=d) for m, d in ("ap", "bq", "cr")]).verdict() == (
        "a on p, b on q and c on r have the same predicted latency, 5 us, and none a lower one."
    )
    assert [of_two(d).split(" predicted")[0] for d in grid([3, 30], [1, 40]).differences] == [
        "For a, p is", "On p, b is", "On q, a is",
    ]  # fmt: skip


def test_the_representation_is_the_verdict() -> None:
    result = compare([plain(BEFORE, model="a"), plain(AFTER, model="b")])
    assert repr(result) == f"<Comparison of a, b: {result.verdict()}>"


WORDS = {"prediction": re.compile("[Pp]redict"), "bound": re.compile(r"\bbounds?\b")}


SIDES = st.tuples(st.sampled_from("abc"), st.sampled_from("pq"), st.sampled_from(list(WORDS)), st.integers(1, 9))


@given(st.lists(SIDES, min_size=2, max_size=6))
def test_every_verdict_says_what_its_numbers_are(sides: list[tuple[str, str, str, int]]) -> None:
    net = [plain([("l", "conv", us)], model=model, device=device, kind=kind) for model, device, kind, us in sides]
    result = compare(net)
    kinds = {kind for *_, kind, _ in sides}
    for said in (result.verdict(), *map(of_two, result.differences)):
        assert any(WORDS[kind].search(said) for kind in kinds), said
        assert all(not WORDS[kind].search(said) for kind in WORDS if kind not in kinds), said
        assert "\n" not in said


# --- as data --------------------------------------------------------------------------------------------------------


def test_the_plain_data_has_all_of_it(difference: Difference) -> None:
    result = grid([3, 30], [1, 40])
    data = result.to_dict()
    assert json.loads(result.to_json()) == data
    assert (data["schema"], len(data["analyses"]), len(data["differences"])) == ("roofline/comparison/1", 4, 3)
    assert [(d["baseline"], d["other"]) for d in data["differences"]] == [(0, 1), (0, 2), (1, 3)]
    assert data["matrix"]["sides"] == [[0, 1], [2, 3]]
    assert data["totals"][3] == result.sides[3].totals()
    assert set(data["versions"]) == {"roofline", "python", "torch", "numpy"}
    first = data["differences"][0]
    assert first["delta_s"] == sum(part["delta_s"] for part in first["by_kind"])
    assert set(first["layers"][0]) == {field.name for field in fields(difference.layers[0])}


def test_a_saved_comparison_is_the_comparison_again(tmp_path: Path) -> None:
    result = compare([plain(BEFORE, model="a"), plain(AFTER, model="b", batch=2), plain(BEFORE, device="q")])
    file = tmp_path / "comparison.json"
    file.write_text(result.to_json(), encoding="utf-8")
    again = from_dict(load_saved(file))
    assert again.to_dict() == result.to_dict()
    assert (again.verdict(), notes(again)) == (result.verdict(), notes(result))


def test_a_saved_comparison_keeps_the_match_it_was_made_with() -> None:
    data = compare([plain(BEFORE, model="a"), plain(AFTER, model="b")]).to_dict()
    layers = data["differences"][0]["layers"]
    layers[0]["other"], layers[2]["other"] = layers[2]["other"], layers[0]["other"]
    assert [(c.baseline, c.other) for c in from_dict(data).differences[0].layers][:3] == [(0, 2), (1, 1), (2, 0)]


def test_the_frame_has_a_row_for_each_layer_of_each_difference() -> None:
    result = compare([plain(BEFORE, model="a"), plain(AFTER, model="b"), plain(BEFORE, model="c")])
    frame = result.to_frame()
    assert list(frame.columns) == list(COLUMNS)
    assert len(frame) == 5 + 4
    assert frame["delta_s"].sum() == pytest.approx(sum(d.delta_s for d in result.differences))
    added = frame[frame["status"] == "added"].iloc[0]
    assert (added["name"], added["mem_bytes"], added["baseline"], added["other"]) == ("blocks.1.se", 10, "a", "b")
    assert added[["baseline_name", "baseline_latency_s", "baseline_bound"]].isna().all()
    removed = compare([plain(AFTER), plain(BEFORE)]).rows()
    assert [(row["name"], row["baseline_name"]) for row in removed if row["status"] == "removed"] == [
        (None, "blocks.1.se")
    ]


# --- the ways in ----------------------------------------------------------------------------------------------------


def small(channels: int = 8) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, channels, 3), nn.ReLU(), nn.Conv2d(channels, 4, 1))


IMAGE = torch.empty(1, 3, 16, 16, device="meta")


def toy(id: str, peak: float = 1e12, **fields: Any) -> Hardware:
    return Hardware(
        id=id, name=id.title(), device_class="abstract", peak_macs_per_s={"int8": peak, "fp32": peak / 4},
        bandwidth_bytes_per_s=1e10, default_dtype="int8", default_fusion="epilogue",
        fused_activations=frozenset({"relu"}), **fields,
    )  # fmt: skip


def test_analyses_and_their_plain_data_compare_alike() -> None:
    analyses = [roofline.analyze(small(channels), IMAGE, hw=toy("t")) for channels in (8, 16)]
    mixed: list[Analysis | dict[str, Any]] = [analyses[0], analyses[1].to_dict()]
    assert compare(analyses).to_dict() == compare(mixed).to_dict()


def test_the_latency_of_a_side_is_that_of_its_analysis() -> None:
    analysis = roofline.analyze("mobilenetv4_conv_small", hw="pixel6_tpu")
    result = compare([analysis, roofline.analyze("mobilenetv4_conv_small", hw="pixel6_cpu")])
    side = result.sides[0]
    assert side.outside_s == 0
    assert side.latency_s == pytest.approx(analysis.totals()["latency_s"], rel=1e-14)
    assert {part.name: part.baseline_s for part in result.differences[0].by("kind")} == pytest.approx(
        {total.name: total.latency_s for total in analysis.by("kind")}, rel=1e-12
    )


def test_one_model_on_two_devices_matches_every_layer() -> None:
    result = compare_models(["mobilenetv4_hybrid_medium"], hw=["pixel6_tpu", "pixel6_cpu"])
    layers = result.differences[0].layers
    assert all(change.baseline == change.other for change in layers)
    assert {change.status for change in layers} == {"changed"}


def test_one_block_with_another_kernel_is_all_that_changed() -> None:
    def net(kernel: int, blocks: int = 4, at: int = 2) -> nn.Module:
        def block(i: int) -> nn.Module:
            k = kernel if i == at else 3
            return nn.Sequential(
                nn.Conv2d(8, 16, 1),
                nn.ReLU(),
                nn.Conv2d(16, 16, k, padding=k // 2, groups=16),
                nn.ReLU(),
                nn.Conv2d(16, 8, 1),
            )

        return nn.Sequential(nn.Conv2d(3, 8, 3), *(block(i) for i in range(blocks)))

    analyses = [roofline.analyze(module, IMAGE, hw=toy("t")) for module in (net(3), net(5), net(3, blocks=5))]
    kernel, deeper = compare(analyses).differences
    assert [(c.name, c.status) for c in kernel.changes()] == [("3.2", "changed")]
    assert [(c.name, c.status) for c in sorted(deeper.changes(), key=lambda c: c.other or 0)] == [
        ("5.0", "added"), ("5.2", "added"), ("5.4", "added"),
    ]  # fmt: skip


def test_every_model_runs_on_every_device() -> None:
    result = compare_models([small(8), small(16)], hw=[toy("p"), toy("q", 1e9)], inputs=IMAGE, dtype="fp32")
    assert result.matrix().sides == ((0, 1), (2, 3))
    assert {side.data["hardware"]["dtype"] for side in result.sides} == {"fp32"}
    assert [side.data["hardware"]["id"] for side in result.sides] == ["p", "q", "p", "q"]


def test_a_device_need_not_be_in_a_list() -> None:
    result = compare_models(
        ["mobilenetv4_conv_small", "mobilenetv3_large_100"], hw="pixel6_tpu", input_size=(3, 64, 64)
    )
    assert [side.label for side in result.sides] == ["mobilenetv4_conv_small", "mobilenetv3_large_100"]
    assert result.differences[0].unlike == ()


def test_saved_analyses_stand_beside_new_ones(tmp_path: Path) -> None:
    analysis = roofline.analyze(small(), IMAGE, hw=toy("t"))
    before, after = tmp_path / "before.json", tmp_path / "after.json"
    before.write_text(analysis.to_json(), encoding="utf-8")
    after.write_text(roofline.analyze(small(), IMAGE, hw=toy("t")).to_json(), encoding="utf-8")
    assert [s.label for s in compare_models([before, str(after)]).sides] == ["Sequential before", "Sequential after"]
    assert [s.label for s in compare_models([analysis, after]).sides] == ["Sequential", "Sequential after"]
    mixed = compare_models([before, small(16)], hw=toy("u"), inputs=IMAGE)
    assert [s.label for s in mixed.sides] == ["Sequential before on t", "Sequential on u"]


def test_saved_analyses_compare_without_torch_being_imported(tmp_path: Path) -> None:
    import subprocess
    import sys

    file = tmp_path / "a.json"
    file.write_text(json.dumps(plain(BEFORE)), encoding="utf-8")
    code = (
        "import sys\nfrom roofline.comparison import compare_models\n"
        "from roofline.reports.comparison_terminal import render_comparison\n"
        f"result = compare_models([{str(file)!r}] * 2)\nrender_comparison(result)\nprint(*sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "pandas", "plotly", "jinja2"} & set(modules)


def test_what_is_a_saved_result_and_what_a_reference() -> None:
    assert is_saved("a.json")
    assert is_saved(Path("x/b.JSON"))
    assert not any(
        map(is_saved, ("hf:config.json", "mobilenetv4_conv_s", "net.py:make", Path("net.py"), small(), None))
    )


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: compare([]), ModelError, "a comparison needs at least two: models, devices or saved analyses"),
        (lambda: compare([plain([])]), ModelError, "a comparison needs at least two"),
        (lambda: compare([plain([]), plain([])], names=["x"]), ModelError, "2 analyses cannot have 1 names"),
        (lambda: compare_models([]), ModelError, "a comparison needs at least two"),
        (lambda: compare_models(["mobilenetv4_conv_small"], hw="pixel6_tpu"), ModelError, "at least two"),
        (lambda: compare_models(["mobilenetv4_conv_small"]), ProfileError, "small needs a device to run on"),
        (lambda: compare_models(["mobilenetv4_conv_x"], hw="pixel6_tpu"), ModelError, "mobilenetv4_conv_x"),
        (lambda: compare_models(["mobilenetv4_conv_s"], hw="pixel66"), ProfileError, "pixel66"),
        (lambda: compare_models(["nothing.json", "x.json"]), SavedError, "there is no file nothing.json"),
        (lambda: compare_models([small(), small()]), ProfileError, "Sequential needs a device to run on"),
        (lambda: compare_models(["a.json", "b.json"], hw="pixel6_tpu"), ProfileError, "keeps the device it was made"),
    ],
)  # fmt: skip
def test_bad_input_is_one_line(call: Callable[[], Any], error: type[RooflineError], said: str) -> None:
    with pytest.raises(error, match=re.escape(said)) as raised:
        call()
    assert "\n" not in str(raised.value)


def test_the_examples_in_the_documentation_are_true() -> None:
    import doctest

    from roofline import comparison, comparison_words

    assert [doctest.testmod(module) for module in (comparison, comparison_words)] == [(0, 3), (0, 1)]


def test_it_is_not_changed_by_what_is_done_with_it() -> None:
    data = [plain(BEFORE), plain(AFTER, model="b")]
    kept = copy.deepcopy(data)
    result = compare(data)
    result.to_json(), result.verdict(), result.to_frame(), result.matrix(), result.by("stage")
    assert data == kept
    assert math.isfinite(result.differences[0].delta_s)


# --- predictions with intervals ---------------------------------------------------------------------------------------


def estimated(us: float, off: float, *, estimator: str = "learned", **options: Any) -> dict[str, Any]:
    """An analysis by an estimator that is off by such a factor in one of ten cases."""
    data = plain([layer("a", "conv", us)], **options)
    bounds = [us * 1e-6 / off, us * 1e-6 * off]
    chosen = {"estimator": estimator, "is_chosen": True, "interval90_s": bounds}
    by_roofline = {"estimator": "roofline", "is_chosen": False, "interval90_s": None}
    return {**data, "latency_kind": "prediction", "estimates": [by_roofline, chosen]}


@pytest.mark.parametrize(
    ("ratio", "is_told_apart"),
    [(1.0017, False), (1.14, False), (1.15, True), (2.0, True), (0.8, True)],  # 1.1 ** sqrt(2) = 1.1443
)
def test_no_winner_is_named_within_the_intervals(ratio: float, is_told_apart: bool) -> None:
    (difference,) = compare([estimated(1000, 1.1, model="a"), estimated(1000 * ratio, 1.1, model="b")]).differences
    assert difference.is_told_apart is is_told_apart
    said = of_two(difference)
    assert ("Which is the faster, the predictions do not tell" in said) is not is_told_apart
    assert ("beyond their 90 % intervals" in said) is is_told_apart
    assert ("is predicted to" in said) is is_told_apart


def test_without_intervals_nothing_is_said_of_them() -> None:
    bound, prediction = plain(BEFORE), estimated(1000, 1.1, model="b")
    (difference,) = compare([bound, prediction]).differences
    assert difference.is_told_apart is None
    assert "interval" not in of_two(difference)


def test_of_many_the_fastest_is_told_from_those_that_are_slower_for_sure() -> None:
    sides = [estimated(us, 1.1, model=name) for name, us in {"a": 1010, "b": 1000, "c": 3000}.items()]
    said = compare(sides).verdict()
    assert "Of 3, b has the lowest predicted latency: 1 ms against 1.01 ms of a" in said
    assert said.endswith("Their 90 % intervals do not tell b from a.")
    sides = [estimated(us, 1.1, model=name) for name, us in {"a": 2000, "b": 1000, "c": 3000}.items()]
    assert "Of 3, b is predicted to be the fastest" in compare(sides).verdict()
    assert "interval" not in compare(sides).verdict()


def test_the_estimator_its_intervals_and_its_warnings_are_told_once() -> None:
    warning = "The calibration of local is of another environment, and may not hold here."
    one, other = ({**estimated(us, 1.1, model=name), "warnings": [warning]} for name, us in (("a", 1000), ("b", 3000)))
    result = compare([one, other])
    said = notes(result)
    (by,) = [note for note in said if "The latencies are predictions" in note]
    assert by.endswith("each by the learned estimator of this machine's calibration, at its reference state.")
    assert "In 90 % of cases: a 0.909 ms to 1.1 ms, b 2.73 ms to 3.3 ms." in said
    assert said.count(warning) == 1
    totals = result.to_dict()["totals"]
    assert [side["estimator"] for side in totals] == ["learned", "learned"]
    assert totals[0]["interval90_s"] == pytest.approx([1e-3 / 1.1, 1.1e-3])


def test_two_estimators_are_named_each() -> None:
    result = compare([estimated(1000, 1.1, model="a", estimator="calibrated"), estimated(3000, 1.1, model="b")])
    assert [unlike.what for unlike in result.differences[0].unlike] == ["estimator"]
    said = " ".join(notes(result))
    assert "a: a prediction, by the calibrated estimator" in said
    assert "b: a prediction, by the learned estimator" in said
