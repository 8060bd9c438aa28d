"""One call from a model to its times: what it takes, what it returns, and what docs/json.md says of it."""

from __future__ import annotations

import json
import math
import re
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import roofline
from roofline import Analysis, Hardware, RooflineError, comparison_words
from roofline.analysis import LAYER_COLUMNS, SCHEMA
from roofline.comparison import compare
from roofline.errors import ModelError, ProfileError, TraceError
from roofline.layers import KINDS

pytestmark = pytest.mark.usefixtures("traced_once")

ROOT = Path(__file__).parents[1]


def device(**fields: Any) -> Hardware:
    """1 TMAC/s in fp32, twice and four times that in fp16 and int8, at 10 GB/s; eager."""
    given: dict[str, Any] = {
        "id": "toy",
        "name": "Toy",
        "device_class": "abstract",
        "peak_macs_per_s": {"fp32": 1e12, "fp16": 2e12, "int8": 4e12},
        "bandwidth_bytes_per_s": 1e10,
        "default_dtype": "fp32",
        "default_fusion": "none",
        "fused_activations": frozenset({"relu"}),
    }
    return Hardware(**{**given, **fields})


TOY = device()
EVERY_TERM: dict[str, Any] = {
    "combine": "add",
    "peak_share_by_class": {"conv": 0.5},
    "vector_ops_per_s": 1e9,
    "weight_bandwidth_bytes_per_s": 4e9,
    "bandwidth_bytes_per_s_by_class": {"transpose": 2e9, "silu": 5e9},
    "layer_overhead_s": 1e-6,
    "overhead_layers": "macs",
    "inference_overhead_s": 2e-5,
    "onchip_bytes": 9000,
    "onchip_holds": frozenset({"weights", "activations"}),
    "energy_per_mac_j": 1e-12,
    "energy_per_byte_j": 1e-10,
}


class Shuffled(nn.Module):
    """A convolution, an activation, a channel shuffle and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.act = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.SiLU()
        self.head = nn.Linear(288, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(self.conv(x))).unflatten(1, (2, 4)).transpose(1, 2).flatten(1)
        logits: Tensor = self.head(x)
        return logits


@pytest.fixture(scope="module")
def mobile() -> Analysis:
    return roofline.analyze("mobilenetv4_hybrid_m", hw="pixel6_tpu")


@pytest.fixture(
    scope="module", params=["mobilenetv4_conv_s", "mobilenetv4_hybrid_m", "a small net", "every term", "nothing"]
)
def analysis(request: pytest.FixtureRequest) -> Analysis:
    if request.param == "a small net":
        net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.SiLU(), nn.Flatten(), nn.Linear(288, 10))
        hardware = device(vector_ops_per_s=1e9, layer_overhead_s=1e-6, energy_per_mac_j=1e-12, energy_per_byte_j=1e-10)
        return roofline.analyze(net, torch.zeros(2, 3, 8, 8), hw=hardware)
    if request.param == "every term":
        return roofline.analyze(Shuffled(), torch.zeros(2, 3, 8, 8), hw=device(**EVERY_TERM))
    if request.param == "nothing":
        return roofline.analyze(nn.Identity(), torch.zeros(1, 3), hw=TOY)
    return roofline.analyze(request.param, hw="pixel6_tpu")


class Bessel(nn.Module):
    """An op that no rule knows."""

    def forward(self, x: Tensor) -> Tensor:
        waves: Tensor = torch.special.bessel_j0(x)
        return waves


# --- what it takes: a reference ---------------------------------------------------------------------------------------


def test_a_reference_brings_its_size_and_the_profile_its_choices(mobile: Analysis) -> None:
    assert (mobile.reference, mobile.name) == ("mobilenetv4_hybrid_m", "mobilenetv4_hybrid_medium")
    assert mobile.input_shapes == ((1, 3, 256, 256),)
    assert (mobile.batch, mobile.layers.dtype, mobile.layers.fusion) == (1, "int8", "epilogue")
    assert mobile.hardware.id == "pixel6_tpu"
    assert mobile.entry is not None
    assert mobile.layers.params == mobile.entry.params
    assert mobile.totals()["macs"] == mobile.entry.macs


def test_what_was_chosen_for_the_user_is_told(mobile: Analysis) -> None:
    assert mobile.defaults == (
        "input 3x256x256 (the published size)",
        "batch 1",
        "dtype int8 (the profile's)",
        "fusion epilogue (the profile's)",
    )
    own = roofline.analyze("mnv4_conv_s", hw=TOY, batch=2, input_size=(3, 64, 64), dtype="fp16", fusion="epilogue")
    assert own.defaults == ()


def test_a_device_is_a_name_a_path_or_an_object(mobile: Analysis) -> None:
    path = ROOT / "hwprofiles" / "pixel6_tpu.yaml"
    for hw in ("pixel6_tpu.yaml", path, str(path), mobile.hardware):
        assert roofline.analyze("mnv4_conv_s", hw=hw).hardware == mobile.hardware


@pytest.mark.parametrize("size", [(3, 64, 96), [3, 64, 96]])
def test_an_input_size_is_any_sequence(size: Any) -> None:
    assert roofline.analyze("mnv4_conv_s", hw=TOY, input_size=size).input_shapes == ((1, 3, 64, 96),)


def test_twice_the_batch_is_twice_the_work_and_the_same_weights() -> None:
    one, two = (roofline.analyze("mnv4_conv_s", hw=TOY, batch=batch).totals() for batch in (1, 2))
    for key in ("macs", "vector_ops", "activation_bytes", "peak_activation_bytes"):
        assert two[key] == 2 * one[key]
    assert two["weight_bytes"] == one["weight_bytes"]
    assert one["latency_s"] < two["latency_s"] <= 2 * one["latency_s"]


def test_a_narrower_dtype_moves_fewer_bytes_and_computes_as_much() -> None:
    wide, half, narrow = (
        roofline.analyze("mnv4_conv_s", hw=TOY, dtype=dtype).totals() for dtype in ("fp32", "fp16", "int8")
    )
    assert wide["macs"] == half["macs"] == narrow["macs"]
    assert wide["weight_bytes"] == 2 * half["weight_bytes"] == 4 * narrow["weight_bytes"]
    assert wide["activation_bytes"] == 2 * half["activation_bytes"] == 4 * narrow["activation_bytes"]
    assert wide["mac_time_s"] == pytest.approx(2 * half["mac_time_s"])


def test_a_batch_beyond_any_machine_is_refused_before_sums_wrap_around() -> None:
    with pytest.raises(ModelError, match=r"an input of 50000000000x3x224x224 .* is beyond any machine"):
        roofline.analyze("mnv4_conv_s", hw=TOY, batch=50_000_000_000)


@pytest.mark.parametrize("batch", [10**7, 10**9, 10**13])
def test_more_work_than_fits_a_layer_is_refused_or_counted(batch: int) -> None:
    try:
        totals = roofline.analyze("mnv4_conv_s", hw=TOY, batch=batch).totals()
    except RooflineError:
        return
    assert totals["macs"] == batch * 186_005_568


@pytest.mark.parametrize("rows", [2**22, 2**24], ids=["together", "each"])
def test_layers_of_more_than_2_to_the_63_macs_are_refused_or_counted(rows: int) -> None:
    wide = nn.Sequential(*(nn.Linear(2**20, 2**20, device="meta") for _ in range(4)))
    try:
        totals = roofline.analyze(wide, torch.empty(rows, 2**20, device="meta"), hw=TOY).totals()
    except RooflineError:
        return
    assert totals["macs"] == 4 * rows * 2**40


@pytest.mark.parametrize("group", ["kind", "stage"])
def test_the_groups_add_up_to_the_totals(group: str) -> None:
    analysis = roofline.analyze("mnv4_hybrid_m", hw="pixel6_cpu")
    groups, totals = analysis.by(group), analysis.totals()
    assert sum(part.layers for part in groups) == len(analysis.layers)
    assert sum(part.macs for part in groups) == totals["macs"]
    assert sum(part.mem_bytes for part in groups) == totals["weight_bytes"] + totals["activation_bytes"]
    assert sum(part.latency_s for part in groups) == pytest.approx(totals["latency_s"])
    memory_s = sum(part.memory_bound_s for part in groups)
    assert 1 - memory_s / totals["latency_s"] == pytest.approx(totals["compute_bound_share"])
    assert [part.latency_s for part in groups] == sorted((part.latency_s for part in groups), reverse=True)


def test_an_unknown_order_or_group_is_refused() -> None:
    analysis = roofline.analyze("mnv4_conv_s", hw="pixel6_cpu")
    with pytest.raises(RooflineError, match="unknown sort 'size': choose one of time, macs, bytes, order"):
        analysis.sorted_rows("size")
    with pytest.raises(RooflineError, match="unknown group 'block': choose one of kind, stage"):
        analysis.by("block")


# --- what it takes: a module ------------------------------------------------------------------------------------------


class Pair(nn.Module):
    """Adds the projection of one input to another."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 4)

    def forward(self, left: Tensor, right: Tensor, scale: float = 1.0) -> Tensor:
        return F.relu(self.project(left) * scale + right)


PAIR = (torch.zeros(5, 8), torch.zeros(5, 4))


@pytest.mark.parametrize(
    "inputs",
    [PAIR, list(PAIR), {"left": PAIR[0], "right": PAIR[1]}, {"right": PAIR[1], "left": PAIR[0]}, (*PAIR, 2.0)],
    ids=["a tuple", "a list", "by name", "by name, turned", "with a number"],
)
def test_inputs_come_in_the_ways_a_module_is_called(inputs: Any) -> None:
    analysis = roofline.analyze(Pair(), inputs, hw=TOY)
    assert analysis.totals()["macs"] == 5 * 8 * 4
    assert analysis.batch == 5
    assert set(analysis.input_shapes) == {(5, 8), (5, 4)}
    assert (analysis.reference, analysis.name, analysis.entry) == ("Pair", "Pair", None)


def test_one_tensor_needs_no_tuple() -> None:
    alone, wrapped = (roofline.analyze(nn.Linear(8, 4), inputs, hw=TOY).to_dict() for inputs in (PAIR[0], (PAIR[0],)))
    assert alone == wrapped
    assert alone["model"]["input_shape"] == [5, 8]


def test_several_inputs_have_several_shapes() -> None:
    assert roofline.analyze(Pair(), PAIR, hw=TOY).to_dict()["model"]["input_shape"] == [[5, 8], [5, 4]]


def test_integer_inputs_keep_their_width() -> None:
    analysis = roofline.analyze(nn.Embedding(100, 16), torch.zeros(2, 5, dtype=torch.int64), hw=TOY, dtype="int8")
    assert analysis.totals()["activation_bytes"] == 10 * 8 + 10 * 16


def test_the_model_is_left_as_it_was() -> None:
    net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout())
    net.train()
    net[1].eval()
    seen: list[int] = []
    net.register_forward_hook(lambda *_: seen.append(1))
    before = {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in net.state_dict().items()}
    attributes = {key: value for module in net.modules() for key, value in module.__dict__.items()}
    image = torch.randn(2, 3, 8, 8)
    pixels, state = image.clone(), torch.get_rng_state()

    roofline.analyze(net, image, hw=TOY)

    assert [module.training for module in net] == [True, False, True, True]
    assert {key for module in net.modules() for key in module.__dict__} == set(attributes)
    for name, tensor in net.state_dict().items():
        address, values = before[name]
        assert tensor.data_ptr() == address
        assert torch.equal(tensor, values)
    assert torch.equal(image, pixels)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())
    seen.clear()
    assert net(image).requires_grad
    assert seen == [1], "its own hooks still run, once"


def test_grad_mode_and_training_mode_make_no_difference() -> None:
    net, image = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout()), torch.zeros(1, 3, 8, 8)
    expected = roofline.analyze(net.eval(), image, hw=TOY).rows()
    assert roofline.analyze(net.train(), image, hw=TOY).rows() == expected
    with torch.no_grad():
        assert roofline.analyze(net, image, hw=TOY).rows() == expected
    with torch.inference_mode():
        assert roofline.analyze(net, image, hw=TOY).rows() == expected


# --- what it refuses --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"model": "mobilenetv5"}, ModelError, r"unknown model 'mobilenetv5'\. Did you mean"),
        ({"model": "mnv4_conv_s", "hw": "pixel6_npu"}, ProfileError, r"unknown hardware 'pixel6_npu'\. Did you mean"),
        ({"model": "mnv4_conv_s", "dtype": "bf16"}, ProfileError, r"toy has no peak for dtype 'bf16' \(it lists: fp32"),
        ({"model": "mnv4_conv_s", "fusion": "all"}, RooflineError, r"unknown fusion 'all': choose one of none"),
        ({"model": "mnv4_conv_s", "batch": 0}, ModelError, r"batch must be at least 1"),
        ({"model": "mnv4_conv_s", "input_size": (3, 0, 9)}, ModelError, r"positive lengths \(got 3x0x9\)"),
        ({"model": "mnv4_conv_s", "inputs": PAIR}, ModelError, r"a model reference brings its own inputs"),
        ({"model": Pair()}, ModelError, r"a module needs example inputs: analyze\(module, inputs, hw=\.\.\.\)"),
        ({"model": Pair(), "inputs": PAIR[0]}, TraceError, r"Pair fails on input 5x8: TypeError: .*'right'"),
        ({"model": Pair(), "inputs": PAIR[::-1]}, TraceError, r"layer 'project', Linear\(in_features=8.*got 5x4"),
        ({"model": Pair(), "inputs": PAIR, "batch": 8}, ModelError, r"batch"),
        ({"model": Pair(), "inputs": PAIR, "input_size": (3, 9, 9)}, ModelError, r"input_size"),
        ({"model": Pair, "inputs": PAIR}, ModelError, r"Pair"),
        ({"model": F.relu, "inputs": PAIR[0]}, ModelError, r"nn\.Module"),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(
    arguments: dict[str, Any], error: type[RooflineError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        roofline.analyze(**{"hw": TOY, **arguments})
    assert "\n" not in str(caught.value)


def test_a_missing_dtype_is_known_before_any_work() -> None:
    with pytest.raises(ProfileError, match="no peak"):
        roofline.analyze("missing.py:make", hw=TOY, dtype="bf16")


class Verbose(nn.Module):
    """Describes itself in three lines, and fails in two."""

    def extra_repr(self) -> str:
        return "width=3\ndepth=4"

    def forward(self, x: Tensor) -> Tensor:
        raise ValueError("no\nway")


class Undecided(nn.Module):
    """Looks at its data."""

    def forward(self, x: Tensor) -> Tensor:
        return x if x.sum() > 0 else -x


def test_a_forward_that_fails_is_one_line_with_layer_and_shape() -> None:
    with pytest.raises(TraceError, match=r"layer '0', Verbose\(.*got 5x8: ValueError: no way") as caught:
        roofline.analyze(nn.Sequential(Verbose()), PAIR[0], hw=TOY)
    assert "\n" not in str(caught.value)


def test_a_forward_that_depends_on_data_is_told_how_to_proceed() -> None:
    with pytest.raises(
        TraceError, match=r"depends on data values: .*test_analysis\.py:\d+.*Decide by shapes"
    ) as caught:
        roofline.analyze(nn.Sequential(Undecided()), PAIR[0], hw=TOY)
    assert "in layer '0' (Undecided)" in str(caught.value)


# --- what it returns: sums --------------------------------------------------------------------------------------------


def test_totals_are_the_sums_over_the_layers(analysis: Analysis) -> None:
    rows, totals = analysis.rows(), analysis.totals()
    for key in ("macs", "vector_ops", "weight_bytes", "activation_bytes"):
        assert totals[key] == sum(row[key] for row in rows)
        assert isinstance(totals[key], int)
    for key in ("mac_time_s", "mem_time_s"):
        assert totals[key] == pytest.approx(math.fsum(row[key] for row in rows), rel=1e-12)
    layers_s = math.fsum(row["latency_s"] for row in rows)
    assert totals["inference_overhead_s"] == analysis.hardware.inference_overhead_s
    assert totals["latency_s"] == pytest.approx(layers_s + totals["inference_overhead_s"], rel=1e-12)
    compute_s = sum(row["latency_s"] for row in rows if row["bound"] == "compute")
    assert totals["compute_bound_share"] == pytest.approx(compute_s / (layers_s or 1))
    mem_bytes = totals["weight_bytes"] + totals["activation_bytes"]
    assert totals["operational_intensity_macs_per_byte"] == pytest.approx(totals["macs"] / max(1, mem_bytes))


def test_each_time_follows_from_the_counts_and_the_figures(analysis: Analysis) -> None:
    hardware = analysis.hardware
    if hardware.onchip_holds:
        pytest.skip("by hand, below")
    peak = hardware.peak(analysis.layers.dtype)
    for row in analysis.rows():
        mem_bytes = row["weight_bytes"] + row["activation_bytes"]
        vector_s = row["vector_ops"] / hardware.vector_ops_per_s if hardware.vector_ops_per_s else 0
        assert row["mac_time_s"] == pytest.approx(row["macs"] / peak)
        assert row["mem_time_s"] == pytest.approx(mem_bytes / hardware.bandwidth_bytes_per_s)
        times = (row["mac_time_s"], row["mem_time_s"], vector_s)
        assert row["latency_s"] == pytest.approx(max(times) + hardware.layer_overhead_s)
        assert row["bound"] == ("memory" if row["mem_time_s"] > max(row["mac_time_s"], vector_s) else "compute")


def test_the_ridge_point_is_peak_over_bandwidth(analysis: Analysis) -> None:
    expected = analysis.hardware.peak(analysis.layers.dtype) / analysis.hardware.bandwidth_bytes_per_s
    assert analysis.ridge_point == expected
    assert analysis.to_dict()["hardware"]["ridge_point_macs_per_byte"] == expected


def test_the_profile_is_told_as_far_as_a_reader_needs_it_to_recompute(analysis: Analysis) -> None:
    told, hardware = analysis.to_dict()["hardware"], analysis.hardware
    assert told["peaks_macs_per_s"] == dict(hardware.peak_macs_per_s)
    assert told["peak_macs_per_s"] == told["peaks_macs_per_s"][told["dtype"]]
    assert told.items() >= hardware.terms().items()
    assert (told["class"], told["notes"]) == (hardware.device_class, hardware.notes)


def test_intensity_and_unfused_traffic_of_each_layer(analysis: Analysis) -> None:
    for row in analysis.rows():
        moved = row["weight_bytes"] + row["activation_bytes"]
        assert row["operational_intensity_macs_per_byte"] == pytest.approx(row["macs"] / max(1, moved))
        assert row["unfused_bytes"] >= moved
        if "+" not in row["ops"]:
            assert row["unfused_bytes"] == moved
    if analysis.layers.fusion == "none":
        assert all(row["unfused_bytes"] == row["weight_bytes"] + row["activation_bytes"] for row in analysis.rows())


def test_the_groups_of_the_json_are_those_of_the_result(mobile: Analysis) -> None:
    told = mobile.to_dict()["groups"]
    assert set(told) == {"kind", "stage"}
    for group, parts in told.items():
        assert [part["name"] for part in parts] == [total.name for total in mobile.by(group)]
        assert [part["latency_s"] for part in parts] == [total.latency_s for total in mobile.by(group)]


def test_energy_needs_both_figures() -> None:
    both = device(energy_per_mac_j=1e-12, energy_per_byte_j=1e-10)
    totals = roofline.analyze(nn.Linear(8, 4), PAIR[0], hw=both).totals()
    mem_bytes = totals["weight_bytes"] + totals["activation_bytes"]
    assert totals["energy_j"] == pytest.approx(160 * 1e-12 + mem_bytes * 1e-10)
    for one in (device(energy_per_mac_j=1e-12), device(energy_per_byte_j=1e-10), TOY):
        assert roofline.analyze(nn.Linear(8, 4), PAIR[0], hw=one).totals()["energy_j"] is None


def test_what_stays_on_the_chip_takes_no_energy_of_memory() -> None:
    """Of 4 x (5 x 8 + 5 x 4 + 8 x 4 + 4) bytes, the 144 of the weights stay; in- and outputs are the model's own."""
    given: dict[str, Any] = {"energy_per_mac_j": 1e-12, "energy_per_byte_j": 1e-10, "onchip_bytes": 1000}
    outside, inside = (
        roofline.analyze(nn.Linear(8, 4), PAIR[0], hw=device(**given, onchip_holds=frozenset(holds))).totals()
        for holds in ((), ("weights", "activations"))
    )
    assert outside["energy_j"] == pytest.approx(160e-12 + 384e-10)
    assert inside["energy_j"] == pytest.approx(160e-12 + 240e-10)
    assert inside["weight_bytes"] == outside["weight_bytes"] == 144, "the traffic of the layers is what it was"


def test_every_term_by_hand() -> None:
    """At 4 bytes an element; 576 elements behind the convolution, of which all activations fit the 9000 bytes.

    The largest layer moves 4608 bytes and leaves 4392: room for the weights of convolution and norm, 1024 bytes, and
    not for the 11560 of the head. The last two of the layers are a copy and the head.
    """
    analysis = roofline.analyze(Shuffled(), torch.zeros(2, 3, 8, 8), hw=device(**EVERY_TERM))
    rows = analysis.rows()
    assert [row["ops"] for row in rows] == ["convolution", "batch_norm", "silu", "transpose", "linear"]
    assert [row["mac_time_s"] for row in rows] == pytest.approx(
        [15552 / 0.5e12, 0, 0, 0, 5760 / 1e12], rel=1e-12, abs=0
    )
    assert [row["mem_time_s"] for row in rows] == pytest.approx(
        [1536 / 1e10, 0, 0, 0, 80 / 1e10 + 11560 / 4e9], rel=1e-12, abs=0
    )
    conv_s, norm_s, act_s, head_s = 31.104e-9 + 153.6e-9 + 1e-6, 1152e-9, 8640e-9, 5.76e-9 + 8e-9 + 2890e-9 + 1e-6
    assert [row["latency_s"] for row in rows] == pytest.approx([conv_s, norm_s, act_s, 0, head_s], rel=1e-12, abs=0)
    assert analysis.totals()["latency_s"] == pytest.approx(conv_s + norm_s + act_s + head_s + 20e-6)
    assert analysis.totals()["energy_j"] == pytest.approx(21312 * 1e-12 + (1536 + 80 + 11560) * 1e-10)


def test_views_that_reorder_are_layers_where_the_profile_says_how_fast_they_are() -> None:
    views, copies = (
        roofline.analyze(Shuffled(), torch.zeros(2, 3, 8, 8), hw=hardware)
        for hardware in (TOY, device(bandwidth_bytes_per_s_by_class={"transpose": 1e9}))
    )
    assert [row["ops"] for row in views.rows()][3:] == ["flatten", "linear"]  # in PyTorch it is this that copies
    assert [row["ops"] for row in copies.rows()][3:] == ["transpose", "linear"]
    assert copies.rows()[3]["latency_s"] == pytest.approx(2 * 2304 / 1e9)
    assert copies.rows()[3]["unfused_bytes"] == 2 * 2304
    assert copies.totals()["macs"] == views.totals()["macs"]


@pytest.mark.parametrize("group", ["kind", "stage"])
def test_the_groups_and_what_is_in_no_layer_add_up_to_the_latency(group: str) -> None:
    analysis = roofline.analyze(Shuffled(), torch.zeros(2, 3, 8, 8), hw=device(**EVERY_TERM))
    parts_s = sum(part.latency_s for part in analysis.by(group))
    assert parts_s + analysis.totals()["inference_overhead_s"] == pytest.approx(analysis.totals()["latency_s"])


def test_a_model_without_work_takes_no_time() -> None:
    analysis = roofline.analyze(nn.Identity(), torch.zeros(1, 3), hw=TOY)
    totals = analysis.totals()
    assert totals["latency_s"] == totals["compute_bound_share"] == totals["operational_intensity_macs_per_byte"] == 0
    assert json.loads(analysis.to_json())["layers"] == []
    assert len(analysis.to_frame()) == 0
    assert "it does nothing" in analysis.verdict()


def test_an_op_without_a_rule_is_named_and_its_bytes_count() -> None:
    analysis = roofline.analyze(nn.Sequential(nn.Conv2d(3, 3, 1), Bessel()), torch.zeros(1, 3, 8, 8), hw=TOY)
    (op,) = analysis.to_dict()["uncounted_ops"]
    last = analysis.rows()[-1]
    assert op == {"name": "special_bessel_j0", "calls": 1, "mem_bytes": last["weight_bytes"] + last["activation_bytes"]}
    assert op["mem_bytes"] == 4 * 2 * (3 * 8 * 8)
    assert analysis.totals()["activation_bytes"] == sum(row["activation_bytes"] for row in analysis.rows())


# --- what it returns: one set of numbers in every form ----------------------------------------------------------------


def test_json_frame_and_rows_agree(analysis: Analysis) -> None:
    rows = analysis.rows()
    assert [list(row) for row in rows] == [list(LAYER_COLUMNS)] * len(rows)
    frame = analysis.to_frame()
    assert list(frame.columns) == list(LAYER_COLUMNS)
    assert frame.to_dict("records") == rows
    layers = json.loads(analysis.to_json())["layers"]
    assert [
        {**row, "input_shape": tuple(row["input_shape"]), "output_shape": tuple(row["output_shape"])} for row in layers
    ] == rows


def test_the_frame_can_be_computed_with(mobile: Analysis) -> None:
    frame = mobile.to_frame()
    assert frame["latency_s"].sum() == pytest.approx(mobile.totals()["latency_s"])
    assert frame.groupby("kind")["macs"].sum().sum() == mobile.totals()["macs"]
    assert frame.dtypes["macs"] == np.int64
    assert frame.dtypes["latency_s"] == np.float64


def test_names_are_unique_and_kinds_are_known(analysis: Analysis) -> None:
    names = [row["name"] for row in analysis.rows()]
    assert len(set(names)) == len(names)
    assert {row["kind"] for row in analysis.rows()} <= set(KINDS)
    assert {row["bound"] for row in analysis.rows()} <= {"memory", "compute"}


def test_json_is_strict_and_reads_back(analysis: Analysis) -> None:
    def refuse(constant: str) -> float:
        raise AssertionError(constant)

    text = analysis.to_json()
    assert json.loads(text, parse_constant=refuse) == analysis.to_dict()
    assert text.isascii()
    assert "\n" not in analysis.to_json(indent=None)
    assert json.loads(analysis.to_json(indent=None)) == json.loads(text)


def test_json_has_no_type_but_jsons_own(analysis: Analysis) -> None:
    def check(value: Any) -> None:
        assert type(value) in (dict, list, str, int, float, type(None)), type(value)
        for item in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(item)

    check(analysis.to_dict())


def test_a_result_cannot_be_changed(mobile: Analysis) -> None:
    with pytest.raises(FrozenInstanceError):
        mobile.batch = 2  # type: ignore[misc]
    with pytest.raises(ValueError, match="read-only"):
        mobile.layers.macs[0] = 0
    mobile.rows()[0]["macs"] = -1
    mobile.to_dict()["totals"]["macs"] = -1
    assert mobile.totals()["macs"] == sum(row["macs"] for row in mobile.rows())


# --- what it returns: words -------------------------------------------------------------------------------------------


def figures(kind: str) -> dict[str, Any]:
    from roofline.hardware import Figure

    paths = {"peak_macs_per_s.fp32": 1e12, "bandwidth_bytes_per_s": 1e10}
    return {path: Figure(value=value, kind=kind, source="x") for path, value in paths.items()}  # type: ignore[arg-type]


def test_a_bound_is_called_a_bound_and_a_prediction_a_prediction(mobile: Analysis) -> None:
    assert mobile.latency_kind == mobile.to_dict()["latency_kind"] == "prediction"
    assert mobile.verdict().startswith("Predicted latency 0.772 ms: 95 % of it in memory-bound layers, 5 % in compute")
    assert "below the ridge point of 96.3" in mobile.verdict()
    bound = roofline.analyze("mnv4_conv_s", hw=device(figures=figures("datasheet")))
    assert bound.latency_kind == bound.to_dict()["latency_kind"] == "bound"
    assert bound.verdict().startswith("Latency bound: at least ")
    assert "redict" not in bound.verdict()


SOURCED = {"figures": figures("datasheet")}
BUS = "by the traffic of the memory bus; a run that keeps more in on-chip memory may be faster."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "a bound: a roofline on the vendor's figures, which no run can beat."),
        ({"onchip_bytes": 8}, f"a bound: a roofline on the vendor's figures, {BUS}"),
        (
            {"onchip_bytes": 8, "onchip_holds": frozenset({"activations"})},
            f"a bound: a roofline on the vendor's figures, {BUS}",
        ),
        (
            {"onchip_bytes": 8, "onchip_holds": frozenset({"activations", "weights"})},
            "a bound: a roofline on the vendor's figures, which no run can beat.",
        ),
        ({"combine": "add"}, "a bound: a roofline on the vendor's figures, with times that add up."),
        ({"layer_overhead_s": 1e-6}, "a bound: a roofline on the vendor's figures, with an overhead on top."),
        ({"inference_overhead_s": 1e-6}, "a bound: a roofline on the vendor's figures, with an overhead on top."),
        (
            {"combine": "add", "inference_overhead_s": 1e-6},
            "a bound: a roofline on the vendor's figures, with times that add up and an overhead on top.",
        ),
        *(
            (
                {name: value, "onchip_bytes": 8},
                "a bound: a roofline on the vendor's figures, with rates for single kinds of work.",
            )
            for name, value in {
                "weight_bandwidth_bytes_per_s": 1e9,
                "bandwidth_bytes_per_s_by_class": {"norm": 1e9},
                "peak_share_by_class": {"conv": 0.5},
                "vector_ops_per_s": 1e9,
            }.items()
        ),
        ({"figures": figures("estimate")}, "a bound: a roofline on estimated figures, and as good as these."),
        ({"figures": figures("fitted"), "combine": "add"}, "a prediction: "),
    ],
)
def test_the_notes_say_what_kind_of_number_it_is(changes: dict[str, Any], said: str) -> None:
    """And a comparison, which reads the plain data, says the same."""
    analysis = roofline.analyze(nn.Linear(8, 4), PAIR[0], hw=device(**SOURCED | changes))
    assert analysis.to_dict()["notes"][0].startswith(f"This is {said}")
    (note, *_) = comparison_words.notes(compare([analysis.to_dict()] * 2))
    assert note.startswith(f"The latencies are {said.removeprefix('a ').replace(': ', 's: each ', 1)}")


def test_a_bound_on_an_estimated_size_of_the_chips_memory_says_so_where_that_counts() -> None:
    from roofline.hardware import Figure

    given = figures("datasheet") | {"onchip_bytes": Figure(value=8.0, kind="estimate", source="x")}
    idle = device(figures=given, onchip_bytes=8)
    assert roofline.analyze(nn.Linear(8, 4), PAIR[0], hw=idle).verdict().startswith("Latency bound: at least")
    holding = device(figures=given, onchip_bytes=8, onchip_holds=frozenset({"weights"}))
    assert roofline.analyze(nn.Linear(8, 4), PAIR[0], hw=holding).verdict().startswith("Latency bound, on estimated")


def test_the_verdict_parts_the_overhead_of_an_inference_from_the_layers() -> None:
    """5 x 8 x 4 MACs take 0.16 ns, 384 bytes 38.4 ns; the overhead 20 us."""
    hardware = device(**SOURCED, inference_overhead_s=20e-6)
    verdict = roofline.analyze(nn.Linear(8, 4), PAIR[0], hw=hardware).verdict()
    assert verdict.startswith(
        "Latency bound: at least 20 us: 20 us of it overhead of the inference, 100 % of what the layers take in "
        "memory-bound layers, 0 % in compute-bound ones. It does 0.417 MACs/byte, below"
    )
    nothing = roofline.analyze(nn.Identity(), torch.zeros(1, 3), hw=hardware)
    assert nothing.verdict().startswith("Latency bound: at least 20 us: it does nothing.")


def test_the_terminal_says_where_the_time_is_that_is_in_no_layer() -> None:
    from rich.console import Console

    from roofline.reports.terminal import render_analysis

    def shown(hardware: Hardware) -> str:
        console = Console(width=80)
        analysis = roofline.analyze(Shuffled(), torch.zeros(2, 3, 8, 8), hw=hardware)
        with console.capture() as capture:
            console.print(render_analysis(analysis))
        return capture.get()

    table, _, below = shown(device(**EVERY_TERM)).partition("In no layer: ")
    shares = [int(share) for share in re.findall(r" (\d+) % +\d+ %", table.rpartition("share")[2])]
    assert len(shares) == 5
    assert sum(shares) == pytest.approx(100 - 57, abs=2)
    assert " ".join(below.split()).startswith("20 us, 57 % of the latency, which an inference takes whatever it runs.")
    assert "In no layer" not in shown(TOY)


def test_the_verdict_and_the_representation_are_one_line(analysis: Analysis) -> None:
    assert "\n" not in analysis.verdict()
    assert repr(analysis) == f"<Analysis of {analysis.name}: {analysis.verdict()}>"


def test_the_verdict_sees_when_a_network_stands_above_the_ridge() -> None:
    verdict = roofline.analyze(nn.Linear(512, 512), torch.zeros(512, 512), hw=device(bandwidth_bytes_per_s=1e11))
    assert ": 0 % of it in memory-bound layers, 100 % in compute-bound ones" in verdict.verdict()
    assert "at or above the ridge point of 10." in verdict.verdict()


def test_a_saved_result_says_what_it_means(analysis: Analysis) -> None:
    told = analysis.to_dict()
    assert told["verdict"] == analysis.verdict()
    assert told["defaults"] == list(analysis.defaults)
    assert any(f"({analysis.layers.dtype})" in line for line in told["conventions"])
    fusion = next(line for line in told["conventions"] if "usion" in line)
    assert fusion.startswith("No fusion" if analysis.layers.fusion == "none" else "Epilogue fusion")
    for sentence in (*told["notes"], *told["conventions"], *told["left_out"]):
        assert sentence[0].isupper()
        assert sentence.endswith(".")
        assert "\n" not in sentence


def test_the_conventions_name_the_terms_that_the_profile_adds() -> None:
    plain, more = (
        roofline.analyze(nn.Linear(8, 4), PAIR[0], hw=hardware).to_dict()["conventions"]
        for hardware in (TOY, device(vector_ops_per_s=1e9, layer_overhead_s=1e-6))
    )
    assert plain[0].startswith(
        "Time of a layer: the larger of its MACs at the peak and its bytes at the memory bandwidth"
    )
    assert "vector ops at their rate" in more[0]
    assert "plus an overhead" in more[0]
    assert "they cost their bytes alone" in plain[1]
    assert "they cost their bytes alone" not in more[1]


# --- docs/json.md -----------------------------------------------------------------------------------------------------

DOC = (ROOT / "docs" / "json.md").read_text(encoding="utf-8")
HEADING = {
    "The whole": (),
    "`model`": ("model",),
    "`hardware`": ("hardware",),
    "`hardware.figures.*`": ("hardware", "figures", "*"),
    "`totals`": ("totals",),
    "`layers[]`": ("layers", "*"),
    "`groups.*[]`": ("groups", "*", "*"),
    "`uncounted_ops[]`": ("uncounted_ops", "*"),
    "`versions`": ("versions",),
}
ISSUED = {  # what version 1 promises
    (): "schema model hardware fusion batch totals layers uncounted_ops versions",
    ("model",): "reference name input_shape params",
    ("hardware",): "id name dtype peak_macs_per_s bandwidth_bytes_per_s ridge_point_macs_per_byte",
    ("totals",): (
        "macs vector_ops weight_bytes activation_bytes mac_time_s mem_time_s latency_s compute_bound_share "
        "operational_intensity_macs_per_byte peak_activation_bytes"
    ),
    ("layers", "*"): (
        "name kind ops input_shape output_shape macs vector_ops weight_bytes activation_bytes mac_time_s mem_time_s "
        "latency_s bound"
    ),
}


def objects(document: Any, path: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The objects at a path; ``*`` is any element of a list, any value of a mapping."""
    if not path:
        yield document
    elif path[0] == "*":
        for item in document.values() if isinstance(document, dict) else document:
            yield from objects(item, path[1:])
    else:
        yield from objects(document[path[0]], path[1:])


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    result: dict[str, Any] = json.loads(roofline.analyze(Bessel(), torch.zeros(1, 8, 8), hw="pixel6_tpu").to_json())
    return result


@pytest.mark.parametrize(("heading", "path"), HEADING.items(), ids=HEADING)
def test_the_documented_keys_are_the_real_ones(heading: str, path: tuple[str, ...], document: dict[str, Any]) -> None:
    section = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#|\Z)", DOC, re.MULTILINE | re.DOTALL)
    assert section is not None
    documented = re.findall(r"^\| `(\w+)` \|", section[1], re.MULTILINE)
    found = list(objects(document, path))
    assert found
    assert all(list(item) == documented for item in found)


def test_every_table_of_the_document_is_checked() -> None:
    assert re.findall(r"^#+ (.*)\n(?=(?:[^#]*\n)?\| key)", DOC, re.MULTILINE) == list(HEADING)


@pytest.mark.parametrize(("path", "keys"), ISSUED.items(), ids=lambda value: ".".join(value) if value else "whole")
def test_version_1_keeps_its_promised_keys(path: tuple[str, ...], keys: str, document: dict[str, Any]) -> None:
    assert document["schema"] == SCHEMA == "roofline/analysis/1"
    for item in objects(document, path):
        assert set(keys.split()) <= set(item)


def test_every_kind_is_documented() -> None:
    row = re.search(r"^\| `kind` \| \| (`conv`.*) \|$", DOC, re.MULTILINE)
    assert row is not None
    assert re.findall(r"`(\w+)`", row[1]) == list(KINDS)


def test_the_documented_example_is_what_the_command_prints(
    command: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    (net,) = re.findall(r"```python\n(.*?)```", DOC, re.DOTALL)
    (arguments,) = re.findall(r"^`roofline (.*)` prints$", DOC, re.MULTILINE)
    (profile,) = re.findall(r"```yaml\n(schema.*?)```", (ROOT / "docs/profiles.md").read_text("utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    Path("net.py").write_text(net)
    Path("my_device.yaml").write_text(profile)
    printed = json.loads(command(*arguments.split()).stdout)

    block = re.compile(r"(?<=```json\n).*?(?=```)", re.DOTALL)
    if request.config.getoption("overwrite"):
        text = re.sub(
            r"\[\s+(\d[\d,\s]*?)\s+\]", lambda m: f"[{' '.join(m[1].split())}]", json.dumps(printed, indent=2)
        )
        (ROOT / "docs" / "json.md").write_text(block.sub(lambda _: f"{text}\n", DOC), encoding="utf-8")
    else:
        (shown,) = block.findall(DOC)
        example = json.loads(shown)
        assert example.pop("versions").keys() == printed.pop("versions").keys()
        assert example == printed
