"""The arithmetic that `explain` writes out, done again: every line must come to what the table says."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import roofline
from roofline import Analysis, Hardware
from roofline.errors import ModelError
from roofline.explain import explain
from roofline.hardware import Figure
from roofline.units import seconds, significant

pytestmark = pytest.mark.usefixtures("traced_once")

PREFIX = {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12, "P": 1e15}
SECONDS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
ROUNDING = 0.0051  # of three digits
DURATION = r"([\d.]+ (?:s|ms|us|ns))"
TRANSFER = re.compile(
    r"(reads|writes) +(weight|input|output) +([\dx]+|scalar) +([\d,]+) x (\d+) = +([\d,]+) B(?:  (.+))?"
)


def toy(**fields: Any) -> Hardware:
    given: dict[str, Any] = {
        "id": "toy",
        "name": "Toy",
        "device_class": "abstract",
        "peak_macs_per_s": {"fp32": 1e12, "fp16": 2e12, "int8": 4e12},
        "bandwidth_bytes_per_s": 1e10,
        "default_dtype": "fp16",
        "default_fusion": "epilogue",
        "fused_activations": frozenset({"relu", "relu6"}),
        "figures": {
            "peak_macs_per_s.fp16": Figure(value=2e12, kind="datasheet", source="a leaflet"),
            "bandwidth_bytes_per_s": Figure(value=1e10, kind="measured", source="a stopwatch"),
        },
    }
    return Hardware(**{**given, **fields})


class Zoo(nn.Module):
    """A network of everything: maps, a transposed and a grouped convolution, tokens, attention, a recurrence."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8), nn.ReLU6())
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=4)
        self.depthwise = nn.Conv2d(8, 8, 5, padding=2, groups=8)
        self.up = nn.ConvTranspose2d(8, 12, 4, stride=2, padding=1, groups=2)
        self.line = nn.Conv1d(12, 16, 3, dilation=2)
        self.words = nn.Embedding(50, 16)
        self.memory = nn.LSTM(16, 8, num_layers=2, bidirectional=True, batch_first=True)
        self.attend = nn.MultiheadAttention(16, 4, batch_first=True)
        self.norm = nn.LayerNorm(16)
        self.act = nn.GELU()
        self.head = nn.Linear(16, 10)

    def forward(self, image: Tensor, tokens: Tensor) -> Tensor:
        x = self.stem(image)
        x = F.relu(self.grouped(x) + x)
        x = torch.cat([x, self.depthwise(x)], dim=1)[:, :8] * 2
        x = F.max_pool2d(self.up(x), 2).flatten(2)
        x = self.line(x).transpose(1, 2)
        y = self.memory(self.words(tokens))[0]
        x = F.scaled_dot_product_attention(x, y, y)
        x = x + self.attend(x, y, y, need_weights=False)[0]
        logits: Tensor = self.head(self.act(self.norm(x)))
        return F.softmax(logits.mean(1), dim=-1) @ torch.ones(10, 3)


INPUTS = (torch.zeros(2, 3, 8, 8), torch.zeros(2, 5, dtype=torch.int64))
BUSY = toy(vector_ops_per_s=3e9, layer_overhead_s=2e-6)


@pytest.fixture(
    scope="module",
    params=["hybrid, fused", "hybrid, unfused", "zoo, fused", "zoo, unfused", "zoo, vector unit and overhead"],
)
def analysis(request: pytest.FixtureRequest) -> Analysis:
    model, _, how = str(request.param).partition(", ")
    fusion = "none" if how == "unfused" else "epilogue"
    if model == "hybrid":
        return roofline.analyze("mobilenetv4_hybrid_m", hw="pixel6_tpu", fusion=fusion)
    return roofline.analyze(Zoo(), INPUTS, hw=BUSY if "vector" in how else toy(), fusion=fusion)


@dataclass(frozen=True)
class Written:
    """One explanation, as a reader takes it in."""

    row: dict[str, Any]
    headings: list[str]
    place: str
    macs: str
    traffic: Sequence[str]
    times: str
    sources: Sequence[str]

    @property
    def transfers(self) -> list[tuple[str, str, str, int, int, int]]:
        """Verb, role, shape, elements, bytes an element, bytes."""
        found = [TRANSFER.fullmatch(line) for line in self.traffic]
        return [
            (m[1], m[2], m[3], number(m[4]), number(m[5]), number(m[6])) for m in found if m is not None
        ]  # fmt: skip


@pytest.fixture(scope="module")
def explanations(analysis: Analysis) -> list[Written]:
    written = []
    for row in analysis.rows():
        headings, (place, macs, traffic, times, sources) = zip(*explain(analysis, row["name"]), strict=True)
        (where,) = place
        written.append(Written(row, list(headings), where, "\n".join(macs), traffic, "\n".join(times), sources))
    return written


def number(text: str) -> int:
    return int(text.replace(",", ""))


def quantity(text: str) -> float:
    """``"4.005 TMAC/s"`` as 4.005e12."""
    value, _, unit = text.partition(" ")
    return float(value) * PREFIX[unit[0] if unit[0] in PREFIX else ""]


def duration(text: str) -> float:
    value, unit = text.split()
    return float(value) * SECONDS[unit]


def product(factors: str) -> int:
    return math.prod(number(factor) for factor in factors.split(" x "))


# --- the arithmetic ---------------------------------------------------------------------------------------------------


def test_the_networks_have_all_kinds_of_layers(analysis: Analysis) -> None:
    kinds = {row["kind"] for row in analysis.rows()}
    if analysis.name == "Zoo":
        assert {"conv", "grouped_conv", "depthwise_conv", "linear", "attention", "embedding", "norm", "pool"} <= kinds
        assert {"copy", "elementwise", "softmax", "reduce", "matmul"} <= kinds
    else:
        assert {"conv", "depthwise_conv", "pointwise_conv", "matmul", "softmax"} <= kinds


def test_the_macs_multiply_to_those_of_the_table(explanations: list[Written]) -> None:
    for written in explanations:
        if not written.row["macs"]:
            assert written.macs == "it multiplies nothing: 0 MACs"
            continue
        sums = re.findall(r"([\d,]+(?: x [\d,]+)+) = ([\d,]+) MACs", written.macs)
        assert len(sums) == 1, written.row["name"]
        assert product(sums[0][0]) == number(sums[0][1]) == written.row["macs"]


def test_the_work_of_an_element_is_spelt_out(explanations: list[Written]) -> None:
    said = re.compile(r"each of the ([\d,]+) (?:in|out)put elements \(([\dx]+)\) (?:takes|sums) (.*) (?:MACs|products)")
    for written in explanations:
        if written.row["macs"] and written.row["ops"] not in ("scaled_dot_product_attention", "lstm"):
            each = said.match(written.macs)
            assert each is not None, written.macs
            assert number(each[1]) == math.prod(int(size) for size in each[2].split("x"))
            assert number(each[1]) * product(each[3]) == written.row["macs"]


def test_the_bytes_add_up_to_those_of_the_table(analysis: Analysis, explanations: list[Written]) -> None:
    for index, written in enumerate(explanations):
        sums = {"weight": 0, "input": 0, "output": 0}
        for verb, role, _, elements, width, size in written.transfers:
            assert elements * width == size
            assert verb == ("writes" if role == "output" else "reads")
            sums[role] += size
        layers = analysis.layers
        assert sums["weight"] == layers.weight_bytes[index] == written.row["weight_bytes"]
        assert sums["input"] == layers.input_bytes[index]
        assert sums["output"] == layers.output_bytes[index]
        assert sums["input"] + sums["output"] == written.row["activation_bytes"]
        together = next(number(m[1]) for m in map(re.compile(r"together ([\d,]+) B").fullmatch, written.traffic) if m)
        assert together == sum(sums.values())


def test_elements_are_those_of_the_shape_or_the_rows_that_are_looked_up(explanations: list[Written]) -> None:
    for written in explanations:
        for _, _, shape, elements, _, _ in written.transfers:
            whole = 1 if shape == "scalar" else math.prod(int(size) for size in shape.split("x"))
            assert elements == whole or written.row["kind"] in ("embedding", "copy", "elementwise"), written.row["name"]


def test_every_line_about_bytes_is_understood(analysis: Analysis, explanations: list[Written]) -> None:
    for written in explanations:
        rest = [line for line in written.traffic if not TRANSFER.fullmatch(line)]
        assert rest[0].startswith("together ")
        assert all("=" not in line for line in rest)


def test_the_times_follow_from_the_macs_and_the_bytes(analysis: Analysis, explanations: list[Written]) -> None:
    for written in explanations:
        row = written.row
        mac = re.search(rf"^MACTime = ([\d,]+) MACs / (.*) = {DURATION}$", written.times, re.MULTILINE)
        mem = re.search(rf"^MemTime = ([\d,]+) B / (.*) = {DURATION}$", written.times, re.MULTILINE)
        assert mac is not None
        assert mem is not None
        assert number(mac[1]) == row["macs"]
        assert number(mem[1]) == row["weight_bytes"] + row["activation_bytes"]
        assert quantity(mac[2]) == pytest.approx(analysis.hardware.peak(analysis.layers.dtype), rel=1e-3)
        assert quantity(mem[2]) == pytest.approx(analysis.hardware.bandwidth_bytes_per_s, rel=1e-3)
        assert (mac[3], mem[3]) == (seconds(row["mac_time_s"]), seconds(row["mem_time_s"]))


def test_the_latency_is_what_the_lines_above_it_come_to(analysis: Analysis, explanations: list[Written]) -> None:
    """The largest of the times, plus the overhead: said, and true to the rounding."""
    for written in explanations:
        named = dict(re.findall(rf"^(\w+Time) = .* = {DURATION}$", written.times, re.MULTILINE))
        assert ("VectorTime" in named) == (analysis.hardware.vector_ops_per_s is not None)
        overhead = re.search(rf"overhead of a layer: {DURATION}", written.times)
        assert (overhead is not None) == (analysis.hardware.layer_overhead_s > 0)
        latency = re.search(
            rf"^.*(?:predicted|at least) {DURATION}, (memory|compute)-bound$", written.times, re.MULTILINE
        )
        assert latency is not None
        largest_s = max(duration(time) for time in named.values())
        total_s = largest_s + (duration(overhead[1]) if overhead else 0)
        assert duration(latency[1]) == pytest.approx(total_s, rel=2 * ROUNDING)
        assert latency[1] == seconds(written.row["latency_s"])
        assert latency[2] == written.row["bound"]


def test_the_overhead_is_part_of_the_sum_where_there_is_one() -> None:
    lines = explain(roofline.analyze(Zoo(), INPUTS, hw=BUSY), "grouped")[3][1]
    (latency,) = [line for line in lines if "-bound" in line]
    assert "overhead" in latency, "the larger of the times alone is not the latency"


def test_the_side_of_the_ridge_is_the_true_one(analysis: Analysis, explanations: list[Written]) -> None:
    for written in explanations:
        row = written.row
        mem_bytes = row["weight_bytes"] + row["activation_bytes"]
        said = re.search(
            r"its ([\d.]+) MACs/byte are (below|not below) the ridge point, (.*) / (.*) = ([\d.]+) MACs/byte",
            written.times,
        )
        if said is None:
            continue
        intensity = row["macs"] / mem_bytes
        assert said[1] == significant(intensity, 4)
        assert said[2] == ("below" if intensity < analysis.ridge_point else "not below"), row["name"]
        assert quantity(said[3]) / quantity(said[4]) == pytest.approx(float(said[5]), rel=1e-3)


def test_without_a_vector_rate_the_side_of_the_ridge_is_always_told(
    analysis: Analysis, explanations: list[Written]
) -> None:
    if analysis.hardware.vector_ops_per_s is None:
        assert all("the ridge point" in written.times for written in explanations)


def test_the_savings_are_true(analysis: Analysis, explanations: list[Written]) -> None:
    hardware = analysis.hardware
    for written in explanations:
        row = written.row
        vector_s = row["vector_ops"] / (hardware.vector_ops_per_s or math.inf)
        latency_s = max(row["mac_time_s"], row["mem_time_s"], vector_s)
        bytes_s = latency_s - max(row["mac_time_s"], row["mem_time_s"] / 2, vector_s)
        macs_s = latency_s - max(row["mac_time_s"] / 2, row["mem_time_s"], vector_s)
        said = re.search(rf"half its bytes would save {DURATION}, half its MACs {DURATION}$", written.times)
        assert said is not None
        assert duration(said[1]) == pytest.approx(bytes_s, rel=ROUNDING, abs=1e-12)
        assert duration(said[2]) == pytest.approx(macs_s, rel=ROUNDING, abs=1e-12)


# --- the terms that a profile may add ---------------------------------------------------------------------------------

ALL_TERMS: dict[str, Any] = {
    "combine": "add",
    "peak_share_by_class": {"depthwise_conv": 0.25, "grouped_conv": 0.7, "attention": 0.5},
    "vector_ops_per_s": 3e9,
    "weight_bandwidth_bytes_per_s": 4e9,
    "bandwidth_bytes_per_s_by_class": {"transpose": 2e9, "copy": 3e9, "gelu": 5e9, "conv": 7e9},
    "layer_overhead_s": 2e-6,
    "overhead_layers": "macs",
    "inference_overhead_s": 5e-5,
    "onchip_bytes": 3000,
    "onchip_holds": frozenset({"weights", "activations"}),
}
TERM_SETS: dict[str, dict[str, Any]] = {
    **{name: {name: value} for name, value in ALL_TERMS.items() if not name.startswith(("onchip", "overhead"))},
    "onchip_holds": {name: ALL_TERMS[name] for name in ("onchip_bytes", "onchip_holds")},
    "all": ALL_TERMS,
    "all, the largest counting": ALL_TERMS | {"combine": "max", "overhead_layers": "all"},
}
MAC_TIME = re.compile(rf"MACTime = ([\d,]+) MACs / (?:([\d.]+ \S+)|\((\S+ \S+) x ([\d.]+) of (\w+)\)) = {DURATION}")
MEM_TIME = re.compile(
    rf"MemTime = ([\d,]+) B / ([\d.]+ \S+)(?: of (\w+))?(?: \+ ([\d,]+) B of weights / ([\d.]+ \S+))? = {DURATION}"
)
VECTOR_TIME = re.compile(rf"VectorTime = ([\d,]+) vector ops / ([\d.]+ \S+) = {DURATION}")
STAYING = re.compile(r"on the chip stay (?:([\d,]+) B of weights)?(?: and )?(?:([\d,]+) B of activations)?")
LATENCY = re.compile(
    rf"(the largest|the larger|their sum)(, plus the overhead,)? is the latency: (?:predicted|at least) {DURATION}, .*"
)


def only(pattern: re.Pattern[str], lines: Sequence[str]) -> re.Match[str] | None:
    """The one line that is all of the pattern; None where there is none."""
    found = [match for match in map(pattern.fullmatch, lines) if match is not None]
    assert len(found) <= 1
    return found[0] if found else None


@pytest.mark.parametrize("name", TERM_SETS)
def test_with_any_term_the_latency_can_be_added_up_from_the_numbers_that_are_printed(name: str) -> None:
    terms = TERM_SETS[name]
    analysis = roofline.analyze(Zoo(), INPUTS, hw=toy(**terms))
    seen: set[str] = set()
    for row in analysis.rows():
        lines = dict(explain(analysis, row["name"]))["Time on Toy"]
        mac, mem, vector = (only(pattern, lines) for pattern in (MAC_TIME, MEM_TIME, VECTOR_TIME))
        latency, staying = only(LATENCY, lines), only(STAYING, lines)
        assert mac is not None
        assert mem is not None
        assert latency is not None

        peak, share = (mac[2], 1.0) if mac[2] else (mac[3], float(mac[4]))
        assert number(mac[1]) == row["macs"]
        assert share == terms.get("peak_share_by_class", {}).get(mac[5], 1.0)
        assert duration(mac[6]) == pytest.approx(number(mac[1]) / quantity(peak) / share, rel=ROUNDING, abs=1e-15)

        kept = [number(size or "0") for size in staying.groups()] if staying is not None else [0, 0]
        moved, apart = number(mem[1]), number(mem[4] or "0")
        assert moved + apart + sum(kept) == row["weight_bytes"] + row["activation_bytes"]
        mem_s = moved / quantity(mem[2]) + (apart / quantity(mem[5]) if apart else 0)
        assert duration(mem[6]) == pytest.approx(mem_s, rel=ROUNDING, abs=1e-15)
        if mem[3]:
            assert quantity(mem[2]) == terms["bandwidth_bytes_per_s_by_class"][mem[3]]
            assert not apart
        elif "weight_bandwidth_bytes_per_s" in terms:
            assert apart + kept[0] == row["weight_bytes"]

        times_s = [duration(mac[6]), duration(mem[6])]
        if vector is not None:
            assert number(vector[1]) == row["vector_ops"]
            times_s.append(duration(vector[3]))
            assert times_s[-1] == pytest.approx(number(vector[1]) / quantity(vector[2]), rel=ROUNDING, abs=1e-15)
        overhead = only(re.compile(rf"overhead of a layer(?: that does MACs)?: {DURATION}"), lines)
        assert (overhead is not None) == (latency[2] is not None)
        whole_s = sum(times_s) if latency[1] == "their sum" else max(times_s)
        whole_s += duration(overhead[1]) if overhead is not None else 0.0
        assert duration(latency[3]) == pytest.approx(row["latency_s"], rel=ROUNDING) == whole_s
        assert (latency[1] == "their sum") == (terms.get("combine") == "add")
        seen |= {
            *filter(None, (mac[5], mem[3])),
            *(
                part
                for part, there in zip(("apart", "kept", "overhead"), (apart, sum(kept), overhead), strict=True)
                if there
            ),
        }
    expected = {
        "peak_share_by_class": {"depthwise_conv", "grouped_conv", "attention"},
        "weight_bandwidth_bytes_per_s": {"apart"},
        "bandwidth_bytes_per_s_by_class": {"transpose", "copy", "gelu", "conv"},
        "layer_overhead_s": {"overhead"},
        "onchip_holds": {"kept"},
    }
    assert seen == set().union(*(names for term, names in expected.items() if term in terms)), "each term came up"


def test_a_layer_by_hand_with_every_term() -> None:
    sections = dict(explain(roofline.analyze(Zoo(), INPUTS, hw=toy(**ALL_TERMS)), "depthwise"))
    assert sections["Time on Toy"] == [
        "MACTime = 6,400 MACs / (2 TMAC/s x 0.25 of depthwise_conv) = 12.8 ns",
        "on the chip stay 1,024 B of activations",
        "MemTime = 0 B / 10 GB/s + 416 B of weights / 4 GB/s = 0.104 us",
        "VectorTime = 0 vector ops / 3 Gops/s = 0 s",
        "overhead of a layer that does MACs: 2 us",
        "their sum, plus the overhead, is the latency: predicted 2.12 us, memory-bound",
        "half its bytes would save 52 ns, half its MACs 6.4 ns",
    ]
    assert sections["Sources"][-1].endswith("formula: eq. 1 of arXiv:2404.10518 with the terms of this profile")


def test_a_layer_whose_class_has_rates_of_its_own_has_a_ridge_point_of_its_own() -> None:
    hardware = toy(peak_share_by_class={"depthwise_conv": 0.25}, bandwidth_bytes_per_s_by_class={"depthwise_conv": 5e9})
    analysis = roofline.analyze(Zoo(), INPUTS, hw=hardware)
    said = [dict(explain(analysis, name))["Time on Toy"][-2] for name in ("depthwise", "grouped")]
    assert said[0].endswith("are below the ridge point of its class, 500 GMAC/s / 5 GB/s = 100 MACs/byte")
    assert said[1].endswith("are below the ridge point, 2 TMAC/s / 10 GB/s = 200 MACs/byte")


@pytest.mark.parametrize("name", ["onchip_holds", "peak_share_by_class", "bandwidth_bytes_per_s_by_class", "combine"])
def test_the_side_of_the_ridge_agrees_with_the_bound(name: str) -> None:
    analysis = roofline.analyze(Zoo(), INPUTS, hw=toy(**TERM_SETS[name], bandwidth_bytes_per_s=3e11))
    for row in analysis.rows():
        (line,) = [line for line in dict(explain(analysis, row["name"]))["Time on Toy"] if "ridge" in line] or [""]
        if line:
            assert ("not below" in line) == (row["bound"] == "compute"), (row["name"], line)


def test_an_overhead_of_the_inference_lowers_the_share_of_a_layer() -> None:
    analysis = roofline.analyze(Zoo(), INPUTS, hw=toy(inference_overhead_s=1.0))
    assert dict(explain(analysis, "grouped")) != {}
    (place,) = explain(analysis, "grouped")[0][1]
    assert place.endswith(", 0.0% of Zoo's latency")


FUSIONS = {"none": "unfused", "epilogue": "epilogue fusion"}


def test_headings_say_layer_width_fusion_and_device(analysis: Analysis, explanations: list[Written]) -> None:
    for written in explanations:
        row = written.row
        assert written.headings == [
            f"{row['name']}: {row['kind']}, {row['ops'].replace('+', ' + ')}",
            "MACs",
            f"Bytes ({analysis.layers.dtype}, {FUSIONS[analysis.layers.fusion]})",
            f"Time on {analysis.hardware.name}",
            "Sources",
        ]


def test_every_figure_that_was_used_has_its_kind_and_source(analysis: Analysis, explanations: list[Written]) -> None:
    dtype = analysis.layers.dtype
    figures = analysis.hardware.figures
    for written in explanations:
        for path, is_used in ((f"peak_macs_per_s.{dtype}", written.row["macs"] > 0), ("bandwidth_bytes_per_s", True)):
            figure = figures[path]
            assert (f"{path} = {figure.value:g} ({figure.kind}): {figure.source}" in written.sources) == is_used
        assert any("arXiv:2404.10518" in line and dtype in line for line in written.sources)


def test_each_layer_has_its_place_and_its_share(analysis: Analysis, explanations: list[Written]) -> None:
    total_s = analysis.totals()["latency_s"]
    for position, written in enumerate(explanations, start=1):
        share = written.row["latency_s"] / total_s
        assert written.place == f"layer {position} of {len(explanations)}, {share:.1%} of {analysis.name}'s latency"


def test_nothing_that_fuses_is_said_of_a_layer_that_is_alone() -> None:
    unfused = roofline.analyze(Zoo(), INPUTS, hw=toy(), fusion="none")
    assert all("folded" not in line for name in unfused.layers.name for line in explain(unfused, name)[2][1])


# --- one layer by hand ------------------------------------------------------------------------------------------------


def test_a_convolution_by_hand() -> None:
    sections = dict(explain(roofline.analyze(Zoo(), INPUTS, hw=toy()), "stem.0"))
    assert next(iter(sections)) == "stem.0: conv, convolution + batch_norm + relu6"
    assert sections["MACs"] == [
        "each of the 256 output elements (2x8x4x4) takes 3 x 3 x 3 MACs",
        "256 x 27 = 6,912 MACs",
    ]
    assert sections["Bytes (fp16, epilogue fusion)"] == [
        "reads  input         2x3x8x8          384 x 2 =          768 B",
        "reads  weight        8x3x3x3          216 x 2 =          432 B  weight",
        "reads  weight              8            8 x 2 =           16 B  folded bias",
        "writes output        2x8x4x4          256 x 2 =          512 B",
        "together 1,728 B",
        "what passes between the ops of a layer stays inside it",
        "the batch norm is folded into the weights and a bias",
    ]
    mac, mem, vector, latency, ridge, savings = sections["Time on Toy"]
    assert mac == "MACTime = 6,912 MACs / 2 TMAC/s = 3.46 ns"
    assert mem == "MemTime = 1,728 B / 10 GB/s = 0.173 us"
    assert vector == "its 512 vector ops cost nothing: the profile gives no vector rate"
    assert latency.endswith("is the latency: predicted 0.173 us, memory-bound")
    assert ridge == "its 4 MACs/byte are below the ridge point, 2 TMAC/s / 10 GB/s = 200 MACs/byte"
    assert savings == "half its bytes would save 86.4 ns, half its MACs 0 s"
    assert sections["Sources"] == [
        "peak_macs_per_s.fp16 = 2e+12 (datasheet): a leaflet",
        "bandwidth_bytes_per_s = 1e+10 (measured): a stopwatch",
        "fp16: 2 bytes an element; formula: eq. 1 of arXiv:2404.10518",
    ]


def test_no_intensity_is_told_where_vector_ops_or_a_sum_decide() -> None:
    """The ridge point parts two sides; these layers are on neither."""

    def times(**changes: Any) -> str:
        written = explain(roofline.analyze(Zoo(), INPUTS, hw=toy(**changes)), "stem.0")
        return "\n".join(next(lines for head, lines in written if head.startswith("Time")))

    assert "the ridge point" in times()
    assert "the ridge point" in times(vector_ops_per_s=1e15)
    assert "ridge point" not in times(vector_ops_per_s=1e6)
    assert "ridge point" not in times(combine="add")


def test_the_sources_are_those_of_the_figures_that_the_layer_uses() -> None:
    paths = [
        "peak_macs_per_s.fp16", "bandwidth_bytes_per_s", "peak_share_by_class.conv",
        "peak_share_by_class.depthwise_conv", "bandwidth_bytes_per_s_by_class.gelu", "layer_overhead_s",
        "inference_overhead_s", "vector_ops_per_s",
    ]  # fmt: skip
    hardware = toy(
        figures={path: Figure(value=1.0, kind="fitted", source="here") for path in paths},
        peak_share_by_class={"conv": 0.5, "depthwise_conv": 0.25}, bandwidth_bytes_per_s_by_class={"gelu": 1e9},
        layer_overhead_s=1e-6, overhead_layers="macs", inference_overhead_s=1e-3, vector_ops_per_s=1e9,
    )  # fmt: skip
    net = nn.Sequential(nn.Conv2d(4, 4, 3), nn.GELU())
    analysis = roofline.analyze(net, torch.zeros(1, 4, 8, 8), hw=hardware, dtype="fp16")

    def used(layer: str) -> list[str]:
        *lines, _ = dict(explain(analysis, layer))["Sources"]
        return [line.partition(" = ")[0] for line in lines]

    assert used("0") == [
        "peak_macs_per_s.fp16", "bandwidth_bytes_per_s", "peak_share_by_class.conv", "layer_overhead_s",
    ]  # fmt: skip
    assert used("1") == ["bandwidth_bytes_per_s_by_class.gelu", "vector_ops_per_s"]


def test_a_transposed_convolution_spreads_its_input() -> None:
    macs = explain(roofline.analyze(Zoo(), INPUTS, hw=toy()), "up")[1][1]
    assert macs == [
        "each of the 256 input elements (2x8x4x4) takes 6 x 4 x 4 MACs",  # 12 / 2 groups = 6 channels
        "256 x 96 = 24,576 MACs",
    ]


def test_attention_and_a_recurrence_by_hand() -> None:
    encoder = nn.TransformerEncoderLayer(32, 4, 64, batch_first=True)
    analysis = roofline.analyze(encoder, torch.zeros(2, 16, 32), hw=toy())
    assert explain(analysis, "self_attn.scaled_dot_product_attention")[1][1] == [
        "128 queries meet 16 keys each: 2,048 scores",  # 2 sequences of 4 heads of 16
        "a score sums 8 products and weighs 8 elements: 16 MACs",
        "2,048 x 16 = 32,768 MACs",
    ]
    lstm = roofline.analyze(nn.LSTM(8, 16), torch.zeros(5, 2, 8), hw=toy())
    assert explain(lstm, "lstm")[1][1] == [
        "each of 10 steps meets all gate matrices: 64x8 + 64x16 = 1,536",
        "10 x 1,536 = 15,360 MACs",
    ]


def test_an_op_that_nobody_counts_is_not_said_to_multiply_nothing() -> None:
    class Bessel(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            waves: Tensor = torch.special.bessel_j0(x)
            return waves

    analysis = roofline.analyze(Bessel(), torch.zeros(1, 8, 8), hw=toy())
    assert [op.name for op in analysis.layers.uncounted_ops] == ["special_bessel_j0"]
    macs = " ".join(explain(analysis, "special_bessel_j0")[1][1])
    assert "multiplies nothing" not in macs


# --- which layer ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def zoo() -> Analysis:
    return roofline.analyze(Zoo(), INPUTS, hw=toy())


def test_a_module_with_one_layer_names_it(zoo: Analysis) -> None:
    assert explain(zoo, "stem") == explain(zoo, "stem.0")


def test_a_module_with_several_layers_is_asked_which(zoo: Analysis) -> None:
    with pytest.raises(ModelError) as caught:
        explain(zoo, "attend")
    inside = [name for name in zoo.layers.name if name.startswith("attend.")]
    assert str(caught.value) == f"'attend' is {len(inside)} layers; name one: {', '.join(inside)}"


def test_a_long_list_of_layers_says_that_it_goes_on() -> None:
    mobile = roofline.analyze("mnv4_conv_s", hw="pixel6_tpu")
    with pytest.raises(ModelError, match=r"^'stages' is 43 layers; name one: stages\.0\.0\.conv, ") as caught:
        explain(mobile, "stages")
    assert str(caught.value).endswith(("...", "more"))


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("grupped", r"^Zoo has no layer 'grupped'\. Did you mean 'grouped'\?$"),
        ("stem.1", r"^Zoo has no layer 'stem\.1'\."),
        ("Grouped", r"Did you mean 'grouped'"),
        ("ste", r"^Zoo has no layer 'ste'\."),
        ("", r"^Zoo has no layer ''\."),
        (".", r"^Zoo has no layer '\.'\."),
    ],
)
def test_a_layer_that_is_not_there(zoo: Analysis, layer: str, expected: str) -> None:
    with pytest.raises(ModelError, match=expected) as caught:
        explain(zoo, layer)
    assert "\n" not in str(caught.value)


def test_a_second_call_of_a_module_is_a_layer_of_its_own() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            once: Tensor = self.conv(x)
            twice: Tensor = self.conv(F.max_pool2d(once, 2))
            return twice

    analysis = roofline.analyze(Twice(), torch.zeros(1, 3, 8, 8), hw=toy())
    first, second = (explain(analysis, name)[1][1][1] for name in ("conv", "conv#2"))
    assert first == "192 x 3 = 576 MACs"
    assert second == "48 x 3 = 144 MACs"
