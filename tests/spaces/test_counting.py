"""Networks counted by their parts must cost what a trace of all of them says, to the last byte."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from roofline.curves import Curve
from roofline.engine import predict
from roofline.errors import RooflineError
from roofline.exploring.rows import rows
from roofline.hardware import Hardware
from roofline.layers import COLUMNS, LayerTable, lower
from roofline.loading import build_on_meta
from roofline.profiles import load_profile
from roofline.spaces import BUILT_IN, Config, Part, RandomChooser, Size, Space
from roofline.spaces import counting as counting_module
from roofline.spaces.counting import TOTALS, Counter, counted, differences
from roofline.spaces.space import Chooser
from roofline.trace import trace

EVERY = pytest.mark.parametrize("name", list(BUILT_IN))
DEVICES = ("nvidia_a100", "xeon_8380", "pixel6_cpu", "pixel6_tpu", "coral_edgetpu_usb", "apple_m1_ane")  # a GPU, CPUs,
# accelerators; the last two keep on the chip what fits
CHOICES = {
    "none": {"fusion": "none", "dtype": "fp32"},
    "epilogue": {"fusion": "epilogue", "dtype": "int8"},
    "all activations": {
        "fusion": "epilogue",
        "dtype": "fp16",
        "fused_activations": frozenset({"relu", "relu6", "hardswish", "silu", "sigmoid", "hardsigmoid"}),
        "transposes": True,
    },
}


@cache
def counter(choice: str) -> Counter:
    """One for all tests: what it has learnt from one network has to hold for the others."""
    return Counter(**CHOICES[choice])  # type: ignore[arg-type]


@cache
def device(name: str) -> Hardware:
    return load_profile(name)


def networks(space: Space, count: int, seed: int = 0) -> list[Config]:
    """The first that are valid; the larger ones are left out, as their traces take their time."""
    found: list[Config] = []
    index = 0
    while len(found) < count:
        config = space.draw(RandomChooser(seed, index))
        depth = config.get("depth", 0) if "depths" not in config else sum(config["depths"])  # type: ignore[arg-type]
        found += [config] * (space.why_invalid(config) == "" and depth <= 30)  # type: ignore[operator]
        index += 1
    return found


def traced(space: Space, config: Config, choice: str, batch: int = 1) -> LayerTable:
    module = build_on_meta(lambda: space.build(config))
    image = torch.empty(batch, *space.input_shape[1:], device="meta")
    return lower(trace(module, image), **CHOICES[choice])  # type: ignore[arg-type]


# --- equal to a trace -------------------------------------------------------------------------------------------------


@EVERY
@pytest.mark.parametrize("choice", list(CHOICES))
@pytest.mark.sampled(3)
def test_parts_cost_what_a_trace_of_the_whole_network_says(name: str, choice: str) -> None:
    space = BUILT_IN[name]
    for number, config in enumerate(networks(space, 2, seed=len(choice))):
        assert differences(space, config, counter(choice), batch=1 + 2 * number) == []


@settings(deadline=None, max_examples=20)  # the first one of a space is traced in parts
@given(st.sampled_from(list(BUILT_IN)), st.integers(0, 2**32))
def test_any_network_of_any_space_does(name: str, seed: int) -> None:
    (config,) = networks(BUILT_IN[name], 1, seed)
    assert differences(BUILT_IN[name], config, counter("epilogue")) == []


@EVERY
def test_every_column_but_the_name_is_exact(name: str) -> None:
    """Here column by column, without `differences`."""
    space = BUILT_IN[name]
    (config,) = networks(space, 1, seed=9)
    ours, theirs = counted(space, config, counter("epilogue"), 2), traced(space, config, "epilogue", 2)
    for column in COLUMNS:
        if column != "name":
            assert getattr(ours, column).tolist() == getattr(theirs, column).tolist(), column
    assert ours.reuse is not None
    assert theirs.reuse is not None
    assert ours.reuse().tolist() == theirs.reuse().tolist()
    assert ours.unfused_bytes.tolist() == theirs.unfused_bytes.tolist()
    for column in ("params", "peak_activation_bytes", "uncounted_ops", "fusion", "dtype", "transposes"):
        assert getattr(ours, column) == getattr(theirs, column), column
    assert len(set(ours.name)) == len(ours)


@EVERY
def test_latencies_are_those_of_the_traced_network(name: str) -> None:
    space = BUILT_IN[name]
    configs = networks(space, 2, seed=5)
    found = rows(space, configs, [0, 1], counter("epilogue"), [device(name) for name in DEVICES], [0, 20, 400.0])
    for number, config in enumerate(configs):
        layers = traced(space, config, "epilogue")
        for device_name in DEVICES:
            prediction = predict(layers, device(device_name))
            assert found[f"latency_s:{device_name}"][number] == pytest.approx(float(prediction.latency_s), rel=1e-12)
            share = found[f"compute_bound_share:{device_name}"][number]
            assert share == pytest.approx(float(prediction.compute_bound_share), rel=1e-9, abs=1e-12)
        curve = Curve.from_layers(layers.macs, layers.mem_bytes)
        for ridge in (0, 20, 400):
            assert found[f"latency_s:ridge={ridge}"][number] == curve.time(ridge)
            share = found[f"compute_bound_share:ridge={ridge}"][number]
            assert share == pytest.approx(1 - float(curve.memory_bound_share(ridge)))


@EVERY
def test_totals_are_those_of_the_table(name: str) -> None:
    space = BUILT_IN[name]
    configs = networks(space, 4, seed=7)
    counts = counter("epilogue").counts([space.parts(config, 1) for config in configs])
    for number, config in enumerate(configs):
        table = counted(space, config, counter("epilogue"))
        totals = {name: int(column[number]) for name, column in counts.totals.items()}
        assert totals["macs"] == table.macs.sum()
        assert totals["weight_bytes"] == table.weight_bytes.sum()
        assert totals["activation_bytes"] == table.activation_bytes.sum()
        assert (totals["params"], totals["layers"]) == (table.params, len(table))
        assert totals["peak_activation_bytes"] == table.peak_activation_bytes
    assert set(counts.totals) == set(TOTALS)


# --- what a counter keeps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["regnetx", "uib"])
def test_traces_of_a_few_networks_serve_for_all(name: str) -> None:
    space, fresh = BUILT_IN[name], Counter(fusion="epilogue", dtype="int8")
    fresh.counts([space.parts(config, 1) for config in networks(space, 300)])
    learnt, known = fresh.misses, fresh.hits
    fresh.counts([space.parts(config, 1) for config in networks(space, 300, seed=1)])
    assert fresh.misses - learnt <= 0.3 * learnt  # a rare form or two
    assert fresh.hits - known > 1000


def test_results_do_not_depend_on_what_was_counted_before() -> None:
    space = BUILT_IN["regnety"]
    configs = networks(space, 6)
    arguments: tuple[Any, ...] = ([device(name) for name in DEVICES], [10.0])
    fresh = rows(space, configs[3:], [3, 4, 5], Counter(fusion="epilogue", dtype="int8"), *arguments)
    after = rows(space, configs, range(6), counter("epilogue"), *arguments)
    for name, column in fresh.items():
        assert list(column) == list(after[name][3:]), name


def test_few_forms_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting_module, "MOST_FORMS", 3)
    space, small = BUILT_IN["regnetx"], Counter(fusion="epilogue", dtype="int8")
    for config in networks(space, 2):
        assert differences(space, config, small) == []
        assert len(small._known) <= 3


# --- parts of one's own -----------------------------------------------------------------------------------------------


def rounded(*, chans: int, out: int) -> nn.Module:
    """Costs that are no polynomial: the convolution has a multiple of 12 channels inside."""
    width = -(-chans // 12) * 12
    return nn.Sequential(nn.Conv2d(chans, width, 1), nn.Conv2d(width, out, 1))


def squared(*, chans: int, out: int) -> nn.Module:
    return nn.Sequential(nn.Conv2d(chans, chans, 3, padding=1), nn.Conv2d(chans, out, 1))


class Chain(Space):
    """Two parts that `make` makes."""

    name = "chain"
    summary = "for these tests"
    input_shape = (1, 3, 8, 8)

    def __init__(self, make: Any, degree: int = 1) -> None:
        self.make, self.degree = make, degree

    def draw(self, choose: Chooser) -> Config:
        return {"chans": choose.integer("chans", 1, 50), "out": choose.integer("out", 1, 50)}

    def build(self, config: Config) -> nn.Module:
        chans, out = int(config["chans"]), int(config["out"])  # type: ignore[arg-type]
        return nn.Sequential(nn.Conv2d(3, chans, 3, padding=1), self.make(chans=chans, out=out))

    def parts(self, config: Config, batch: int) -> Iterator[Part]:
        chans, out = int(config["chans"]), int(config["out"])  # type: ignore[arg-type]
        yield Part(stem, (), (batch, 3, 8, 8), (Size("chans", chans),))
        yield Part(self.make, (), (batch, "chans", 8, 8), (Size("chans", chans, self.degree), Size("out", out)))


def stem(*, chans: int) -> nn.Module:
    return nn.Conv2d(3, chans, 3, padding=1)


@pytest.mark.parametrize(
    ("space", "traces"),
    [
        (Chain(squared, degree=2), 1 + 2 + 1 + 6),  # of both forms one part, and as many nodes as have a polynomial
        (Chain(squared, degree=1), 1 + 2 + 20 + 1 + 4),  # a degree that is too low: one trace each, after the nodes
        (Chain(rounded), 1 + 2 + 20 + 1 + 4),
    ],
    ids=["polynomial", "of a higher degree", "none"],
)
def test_what_is_no_polynomial_is_traced_each(space: Space, traces: int) -> None:
    fresh = Counter()
    for size in range(2, 22):
        assert differences(space, {"chans": size, "out": size + 1}, fresh, batch=2) == []
    assert fresh.misses == traces


def test_a_size_of_one_is_a_form_of_its_own() -> None:
    for chans, out in ((1, 1), (1, 7), (7, 1), (2, 2), (50, 50)):
        assert differences(Chain(squared, degree=2), {"chans": chans, "out": out}, Counter()) == []


def activated(*, chans: int, out: int) -> nn.Module:
    return nn.Sequential(nn.ReLU(), nn.Conv2d(chans, out, 1))


def test_parts_that_end_where_a_compiler_fuses_are_found_out() -> None:
    config = {"chans": 8, "out": 16}
    assert differences(Chain(activated), config, Counter(fusion="none")) == []
    (found,) = differences(Chain(activated), config, Counter(fusion="epilogue"))
    assert found == "its parts have 3 layers, a trace of the whole network has 2"


class Wider(Chain):
    """Its parts are those of another network."""

    def build(self, config: Config) -> nn.Module:
        return super().build({"chans": config["chans"], "out": int(config["out"]) + 1})  # type: ignore[arg-type]


def test_differences_say_where() -> None:
    found = differences(Wider(squared), {"chans": 8, "out": 16}, Counter())
    assert any(line.startswith("macs of layer 1.1: 8192 by parts, 8704 in a trace of the whole") for line in found)
    assert any(line.startswith("params: ") for line in found)


class Two(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x + 2


def forked(*, chans: int, out: int) -> nn.Module:
    return Two()


def broken(*, chans: int, out: int) -> nn.Module:
    raise ValueError("no such network")


def test_parts_that_cannot_be_counted() -> None:
    config = {"chans": 8, "out": 16}
    with pytest.raises(RooflineError, match="a part of a network must take one tensor and return one"):
        counted(Chain(forked), config, Counter())
    with pytest.raises(RooflineError, match=r"a part of the space fails to build: .*no such network"):
        counted(Chain(broken), config, Counter())


def test_counts_that_leave_64_bits() -> None:
    space, known = Chain(squared, degree=2), Counter()
    counted(space, {"chans": 8, "out": 8}, known)
    assert int(counted(space, {"chans": 2**20, "out": 2**20}, known).macs[1]) == 9 * 64 * 2**40
    with pytest.raises(RooflineError, match="the counts of a network of this space leave 64 bits"):
        counted(space, {"chans": 2**28, "out": 2**28}, known)
