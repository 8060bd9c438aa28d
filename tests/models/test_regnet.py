from __future__ import annotations

import csv
import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from roofline.loading import build_on_meta
from roofline.models.activations import SqueezeExcite
from roofline.models.blocks import ConvNorm
from roofline.models.regnet import VARIANTS, AnyNet, Bottleneck, regnet, regnet_widths
from tests.flops import macs_of

SIZES = "002 004 006 008 016 032 040 064 080 120 160 320".split()
REGNETS = [f"regnet{kind}_{size}" for kind in "xy" for size in SIZES]


@dataclass(frozen=True)
class Row:
    """One network of facebookresearch/pycls, as its configuration and dev/model_complexity.json have it."""

    name: str
    generator: dict[str, float]
    depths: list[int]
    widths_before: list[int]
    widths: list[int]
    group_widths: list[int]
    se_ratio: float
    params: int
    flops: int  # MACs, and one for every element a bias is added to
    acts: int  # output elements of convolutions and linear layers


def read(row: dict[str, str]) -> Row:
    kind, size = row["model"].removeprefix("RegNet").split("-")
    mega = float(size[:-2]) * (1 if size.endswith("MF") else 1000)
    depths, before, widths, groups = (
        [int(number) for number in row[key].split("|")]
        for key in ("depths", "widths_before_group_adjust", "widths", "group_widths_used")
    )
    return Row(
        name=f"regnet{kind.lower()}_{mega / 100:03.0f}",
        generator={key: float(row[key]) for key in ("w0", "wa", "wm", "group_width")} | {"depth": sum(depths)},
        depths=depths,
        widths_before=before,
        widths=widths,
        group_widths=groups,
        se_ratio=float(row["se_ratio"]),
        params=int(row["params_exact"]),
        flops=int(row["flops_exact"]),
        acts=int(row["acts_exact"]),
    )


with (Path(__file__).parent / "regnet_configs.csv").open(encoding="utf-8") as file:
    PYCLS = [read(row) for row in csv.DictReader(file)]

EVERY = pytest.mark.parametrize("row", PYCLS, ids=lambda row: row.name)


def build(factory: Callable[..., nn.Module], **kwargs: Any) -> AnyNet:
    model = build_on_meta(lambda: factory(**kwargs))
    assert isinstance(model, AnyNet)
    return model.eval()


@cache
def meta_model(name: str) -> AnyNet:
    return build(VARIANTS[name])


def blocks(model: AnyNet) -> list[list[Bottleneck]]:
    stages = [list(stage.children()) for stage in model.stages]
    assert all(isinstance(block, Bottleneck) for stage in stages for block in stage)
    return stages  # type: ignore[return-value]


def shape(model: AnyNet) -> tuple[list[int], list[int], list[int]]:
    """Depths, widths and group widths of the stages, each stage uniform, as the modules have them."""
    depths, widths, groups = [], [], []
    for stage in blocks(model):
        grouped = [block.grouped.conv for block in stage]
        (width,) = {block.project.conv.out_channels for block in stage}
        (group,) = {conv.in_channels // conv.groups for conv in grouped}
        depths.append(len(grouped))
        widths.append(width)
        groups.append(group)
    return depths, widths, groups


def cost(model: AnyNet, px: int, in_chans: int = 3) -> tuple[int, int, int]:
    """Parameters, MACs and output elements of convolutions and linear layers, as PyTorch has them."""
    acts = 0

    def add(module: nn.Module, args: Any, out: torch.Tensor) -> None:
        nonlocal acts
        acts += out.numel()

    hooks = [m.register_forward_hook(add) for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    macs = macs_of(model, 1, in_chans, px, px).total()
    for hook in hooks:
        hook.remove()
    return sum(p.numel() for p in model.parameters()), macs, acts


def closed_form(
    *,
    depths: Sequence[int],
    widths: Sequence[int],
    bottlenecks: Sequence[int],
    group_widths: Sequence[int],
    px: int,
    strides: Sequence[int] = (2, 2, 2, 2, 2, 2, 2, 2, 2, 2),
    se_ratio: float = 0.0,
    stem: int = 32,
    in_chans: int = 3,
    num_classes: int = 1000,
) -> tuple[int, int, int, int]:
    """Parameters, MACs, output elements and elements with a bias, from the configuration by arithmetic."""
    params = macs = acts = biased = 0

    def conv(c_in: int, c_out: int, kernel: int, groups: int, side: int, bias: bool = False) -> None:
        nonlocal params, macs, acts, biased
        weights = kernel * kernel * (c_in // groups) * c_out
        params += weights + c_out * (1 if bias else 2)  # a bias, or a norm's scale and shift
        macs += weights * side * side
        acts += c_out * side * side
        biased += c_out * side * side * bias

    side, chans = math.ceil(px / 2), stem
    conv(in_chans, stem, 3, 1, side)
    for depth, width, inner, group, stride in zip(depths, widths, bottlenecks, group_widths, strides, strict=False):
        for step in [stride] + [1] * (depth - 1):
            out = math.ceil(side / step)
            conv(chans, inner, 1, 1, side)
            conv(inner, inner, 3, inner // group, out)
            if se_ratio:
                squeeze = max(1, int(np.round(chans * se_ratio)))
                conv(inner, squeeze, 1, 1, 1, bias=True)
                conv(squeeze, inner, 1, 1, 1, bias=True)
            conv(inner, width, 1, 1, out)
            if chans != width or step != 1:
                conv(chans, width, 1, 1, out)
            side, chans = out, width
    conv(chans, num_classes, 1, 1, 1, bias=True)
    return params, macs, acts, biased


def test_there_are_24_and_anynets() -> None:
    assert [row.name for row in PYCLS] == REGNETS
    assert list(VARIANTS) == [*REGNETS, "anynetx", "anynety"]


@EVERY
def test_generator(row: Row) -> None:
    arguments = inspect.signature(VARIANTS[row.name]).parameters
    assert {key: arguments[key].default for key in row.generator} == row.generator
    assert arguments["se_ratio"].default == row.se_ratio


@EVERY
def test_stages(row: Row) -> None:
    depth, w0, wa, wm = (row.generator[key] for key in ("depth", "w0", "wa", "wm"))
    assert regnet_widths(depth=int(depth), w0=int(w0), wa=wa, wm=wm) == (row.depths, row.widths_before)
    assert shape(meta_model(row.name)) == (row.depths, row.widths, row.group_widths)


@EVERY
@pytest.mark.sampled(4)
def test_exact_cost_of_pycls(row: Row) -> None:
    params, macs, acts, biased = closed_form(
        depths=row.depths,
        widths=row.widths,
        bottlenecks=row.widths,
        group_widths=row.group_widths,
        se_ratio=row.se_ratio,
        px=224,
    )
    assert (params, macs + biased, acts) == (row.params, row.flops, row.acts)
    assert cost(meta_model(row.name), 224) == (row.params, row.flops - biased, row.acts)
    assert row.se_ratio or biased == 1000


def generate(
    depth: int, w0: int, wa: float, wm: float, group_width: int, multiplier: float
) -> tuple[list[int], list[int], list[int], list[int]]:
    """Depths, widths, bottlenecks and group widths by the steps of pycls: in numpy, with b = 1 / bottleneck ratio."""
    line = w0 + wa * np.arange(depth)
    powers = np.round(np.log(line / w0) / np.log(wm))
    stairs = (np.round(w0 * np.power(wm, powers) / 8) * 8).astype(int)
    widths, depths = np.unique(stairs, return_counts=True)
    inner = np.maximum(1, widths * multiplier).astype(int)
    groups = np.minimum(group_width, inner)
    unit = np.lcm(groups, int(multiplier)) if multiplier > 1 else groups
    inner = np.maximum(unit, (np.round(inner / unit) * unit).astype(int))
    fitted = (inner / multiplier).astype(int)
    return depths.tolist(), fitted.tolist(), inner.tolist(), groups.tolist()


@settings(max_examples=20, deadline=None)
@given(
    depth=st.integers(1, 24),
    w0=st.integers(1, 32).map(lambda n: 8 * n),
    wa=st.floats(0, 256, allow_nan=False).map(lambda wa: round(wa, 1)),
    wm=st.integers(150, 300).map(lambda wm: wm / 100),
    group_width=st.one_of(st.sampled_from([1, 2, 4, 8, 16, 32, 64, 128]), st.integers(1, 128)),
    bottleneck_ratio=st.sampled_from([1, 2, 4, 0.5, 0.25]),
    se_ratio=st.sampled_from([0.0, 0.25, 0.1]),
    stem_width=st.integers(1, 48),
    in_chans=st.integers(1, 4),
    num_classes=st.integers(1, 50),
    px=st.integers(32, 120),
)
def test_any_point_of_the_space_in_closed_form(
    depth: int,
    w0: int,
    wa: float,
    wm: float,
    group_width: int,
    bottleneck_ratio: float,
    se_ratio: float,
    stem_width: int,
    in_chans: int,
    num_classes: int,
    px: int,
) -> None:
    depths, widths, inner, groups = generate(depth, w0, wa, wm, group_width, 1 / bottleneck_ratio)
    model = build(
        regnet,
        depth=depth,
        w0=w0,
        wa=wa,
        wm=wm,
        group_width=group_width,
        bottleneck_ratio=bottleneck_ratio,
        se_ratio=se_ratio,
        stem_width=stem_width,
        in_chans=in_chans,
        num_classes=num_classes,
    )
    assert shape(model) == (depths, widths, groups)
    *want, _ = closed_form(
        depths=depths,
        widths=widths,
        bottlenecks=inner,
        group_widths=groups,
        strides=[2] * len(depths),
        se_ratio=se_ratio,
        stem=stem_width,
        in_chans=in_chans,
        num_classes=num_classes,
        px=px,
    )
    assert cost(model, px, in_chans) == tuple(want)


@st.composite
def stages(draw: st.DrawFn) -> dict[str, Any]:
    number = draw(st.integers(1, 5))
    table: dict[str, list[Any]] = {key: [] for key in ("depths", "widths", "strides", "group_widths", "ratios")}
    for _ in range(number):
        group = draw(st.integers(1, 24))
        inner = group * draw(st.integers(1, 8)) * 4
        ratio = draw(st.sampled_from([1, 2, 3, 0.5, 0.25]))
        row = (draw(st.integers(1, 3)), int(inner * ratio), draw(st.integers(1, 3)), group, ratio)
        for key, value in zip(table, row, strict=True):
            table[key].append(value)
    return table


@settings(max_examples=15, deadline=None)
@given(table=stages(), se_ratio=st.sampled_from([0.0, 0.25, 1.0]), px=st.integers(32, 120))
def test_any_anynet_in_closed_form(table: dict[str, Any], se_ratio: float, px: int) -> None:
    ratios = table.pop("ratios")
    model = build(AnyNet, **table, bottleneck_ratios=ratios, se_ratio=se_ratio)
    inner = [int(width / ratio) for width, ratio in zip(table["widths"], ratios, strict=True)]
    *want, _ = closed_form(**table, bottlenecks=inner, se_ratio=se_ratio, px=px)
    assert cost(model, px) == tuple(want)


def test_halves_round_to_even() -> None:
    # 40 x 2.5 / 8 = 12.5, 8 x 2.5 / 8 = 2.5 and 24 x 2.5 / 8 = 7.5 widths of 8
    assert regnet_widths(depth=2, w0=40, wa=60, wm=2.5)[1] == [40, 96]
    assert regnet_widths(depth=2, w0=8, wa=12, wm=2.5)[1] == [8, 16]
    assert regnet_widths(depth=2, w0=24, wa=36, wm=2.5)[1] == [24, 64]
    # 40 / 16 and 56 / 16 groups; 0.25 x 10 and 0.25 x 14 channels
    assert shape(build(regnet, depth=1, w0=40, wa=0, wm=2, group_width=16))[1:] == ([32], [16])
    assert shape(build(regnet, depth=1, w0=56, wa=0, wm=2, group_width=16))[1:] == ([64], [16])
    for stem, squeeze in ((10, 2), (14, 4)):
        model = build(AnyNet, depths=[1], widths=[8], group_widths=8, se_ratio=0.25, stem_width=stem)
        se = blocks(model)[0][0].se
        assert isinstance(se, SqueezeExcite)
        assert se.reduce.out_channels == squeeze


def test_squeeze_excite_takes_a_quarter_of_what_enters_the_block() -> None:
    model = meta_model("regnety_002")
    entering, squeezed = [], []
    for stage in blocks(model):
        for block in stage:
            assert isinstance(block.se, SqueezeExcite)
            entering.append(block.reduce.conv.in_channels)
            squeezed.append(block.se.reduce.out_channels)
            assert block.se.expand.out_channels == block.grouped.conv.out_channels
    assert entering == [32, 24, 56, *[152] * 4, *[368] * 6]
    assert squeezed == [8, 6, 14, *[38] * 4, *[92] * 6]
    assert not any(isinstance(m, SqueezeExcite) for m in meta_model("regnetx_002").modules())


@pytest.mark.parametrize(("name", "se"), [("anynetx", 0.0), ("anynety", 0.25)])
def test_anynets_have_the_stages_of_regnetx_600mf(name: str, se: float) -> None:
    (row,) = (row for row in PYCLS if row.name == "regnetx_006")
    assert shape(meta_model(name)) == (row.depths, row.widths, row.group_widths)
    arguments: dict[str, Any] = {"depths": row.depths, "widths": row.widths, "group_widths": row.group_widths}
    *want, _ = closed_form(**arguments, bottlenecks=row.widths, se_ratio=se, px=224)
    assert cost(meta_model(name), 224) == tuple(want)
    if not se:
        assert tuple(want) == (row.params, row.flops - 1000, row.acts)


def test_arguments_override_those_of_a_variant() -> None:
    model = build(VARIANTS["anynetx"], depths=[1, 2, 4, 2], widths=[32, 64, 160, 384], group_widths=16)
    assert shape(model) == ([1, 2, 4, 2], [32, 64, 160, 384], [16] * 4)
    assert sum(shape(build(VARIANTS["regnetx_002"], depth=20))[0]) == 20
    assert shape(build(VARIANTS["regnety_002"], group_width=1))[2] == [1] * 4
    narrow = build(VARIANTS["regnety_002"], bottleneck_ratio=4, group_width=8)
    assert [stage[0].grouped.conv.out_channels for stage in blocks(narrow)] == [6, 16, 40, 96]
    assert shape(narrow)[1:] == ([24, 64, 160, 384], [6, 8, 8, 8])


@pytest.mark.parametrize("name", ["regnetx_002", "regnety_004", "anynetx", "anynety"])
@pytest.mark.parametrize("px", [32, 65, 224])
@pytest.mark.usefixtures("shapes_alone")
def test_a_stage_per_resolution(name: str, px: int) -> None:
    model = meta_model(name)
    x = model.stem(torch.empty(1, 3, px, px, device="meta"))
    for i, stage in enumerate(model.stages):
        x = stage(x)
        side = math.ceil(px / 2 ** (i + 2))
        assert x.shape[2:] == (side, side)


def test_layers_have_telling_names() -> None:
    names = {name for name, _ in meta_model("regnety_002").named_modules()}
    parts = ["reduce.conv", "grouped.norm", "se.reduce", "se.gate", "project.conv", "shortcut.conv", "act"]
    assert {"stem.conv", "stem.act", "pool", "classifier", *(f"stages.2.0.{part}" for part in parts)} < names
    assert "stages.2.1.shortcut.conv" not in names


@pytest.mark.parametrize("name", ["regnetx_002", "regnety_002"])
def test_act_replaces_every_activation_but_the_gate(name: str) -> None:
    def kinds(model: nn.Module) -> dict[type, int]:
        return {kind: sum(type(m) is kind for m in model.modules()) for kind in (nn.ReLU, nn.SiLU, nn.Sigmoid)}

    blocks, per_block = 13, 4 if name == "regnety_002" else 3
    gates = blocks if name == "regnety_002" else 0
    relu, silu = kinds(meta_model(name)), kinds(build(VARIANTS[name], act="silu"))
    assert relu == {nn.ReLU: 1 + per_block * blocks, nn.SiLU: 0, nn.Sigmoid: gates}
    assert silu == {nn.ReLU: 0, nn.SiLU: 1 + per_block * blocks, nn.Sigmoid: gates}


@pytest.mark.usefixtures("shapes_alone")
def test_num_classes_and_in_chans() -> None:
    model = build(VARIANTS["regnety_004"], num_classes=5, in_chans=1)
    assert model(torch.empty(2, 1, 64, 64, device="meta")).shape == (2, 5)
    params, full = cost(model, 64, in_chans=1)[0], cost(meta_model("regnety_004"), 64)[0]
    assert full - params == 995 * 441 + 2 * 9 * 32


class TestBottleneck:
    def test_a_block_is_its_formula(self) -> None:
        torch.manual_seed(0)
        block = Bottleneck(6, 8, width=4, group_width=2, stride=2, se_ratio=0.5).double().eval()
        x = torch.randn(2, 6, 5, 7, dtype=torch.float64)
        assert isinstance(block.se, SqueezeExcite)
        assert isinstance(block.shortcut, ConvNorm)
        with torch.no_grad():
            y = block.grouped.norm(block.grouped.conv(block.reduce.norm(block.reduce.conv(x)).relu())).relu()
            squeezed = block.se.reduce(y.mean(dim=(2, 3), keepdim=True)).relu()
            y = y * block.se.expand(squeezed).sigmoid()
            y = block.project.norm(block.project.conv(y)) + block.shortcut.norm(block.shortcut.conv(x))
            torch.testing.assert_close(block(x), y.relu())
        assert y.shape == (2, 8, 3, 4)
        assert block.se.reduce.out_channels == 3

    @pytest.mark.parametrize(("in_chans", "stride", "identity"), [(8, 1, True), (8, 2, False), (6, 1, False)])
    def test_shortcut(self, in_chans: int, stride: int, identity: bool) -> None:
        block = Bottleneck(in_chans, 8, width=4, group_width=2, stride=stride)
        assert isinstance(block.shortcut, nn.Identity) == identity


@pytest.mark.parametrize("name", ["regnetx_002", "regnety_004"])
def test_forward_and_backward(name: str) -> None:
    torch.manual_seed(0)
    model, x = VARIANTS[name](num_classes=7), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        assert model.eval()(x).isfinite().all()
    logits = model.train()(x)
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"depth": 0}, r"^depth must be a whole number of at least 1 \(got 0\)$"),
        ({"w0": 0}, r"^w0 must be a whole number of at least 1 \(got 0\)$"),
        ({"w0": 20}, r"^w0 must be a multiple of 8 \(got 20\); 16 is$"),
        ({"w0": 3}, r"^w0 must be a multiple of 8 \(got 3\); 8 is$"),
        ({"wa": -0.1}, r"^wa must be 0 or more, as widths do not fall with depth \(got -0.1\)$"),
        ({"wa": math.nan}, "^wa must be 0 or more"),
        ({"wm": 1.0}, r"^wm must be above 1, as each stage is wider than the one before \(got 1.0\)$"),
        ({"wm": math.inf}, "^wm must be above 1"),
        ({"group_width": 0}, "^group_width must be a whole number of at least 1"),
        ({"bottleneck_ratio": 1.5}, r"^bottleneck_ratio must be a whole number, or 1 over one \(got 1.5\)$"),
        ({"bottleneck_ratio": 1e-320}, "^bottleneck_ratio must be a whole number, or 1 over one"),
        ({"bottleneck_ratio": 0}, "^bottleneck_ratio must be a number above 0"),
        ({"se_ratio": -0.1}, r"^se_ratio must be from 0 \(none\) to 1 \(got -0.1\)$"),
        ({"se_ratio": 1.1}, "^se_ratio must be from 0"),
        ({"stem_width": 0}, "^stem_width must be a whole number"),
        ({"num_classes": 0}, "^num_classes must be a whole number"),
        ({"in_chans": 0}, "^in_chans must be a whole number"),
    ],
)
def test_what_is_no_regnet(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(VARIANTS["regnetx_002"], **kwargs)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        (
            {"group_widths": 20},
            r"^stages\.0: group width 20 does not divide bottleneck width 48 \(width 48 / ratio 1\); "
            r"the nearest that do are 16 and 24$",
        ),
        (
            {"group_widths": [24, 24, 24, 40], "bottleneck_ratios": 2},
            r"^stages\.3: group width 40 does not divide bottleneck width 264 \(width 528 / ratio 2\); "
            r"the nearest that do are 33 and 44$",
        ),
        ({"group_widths": 96}, r"^stages\.0: group width 96 does not .* nearest that do are 24 and 48$"),
        ({"bottleneck_ratios": 5}, r"^stages\.0: bottleneck ratio 5 does not divide width 48$"),
        ({"bottleneck_ratios": [1, 1, 0.3, 1]}, r"^bottleneck_ratios\[2\] must be a whole number, or 1 over one"),
        ({"widths": [48, 96]}, r"^widths has 2 values for the 4 stages that depths has$"),
        ({"depths": [1, 2]}, r"^widths has 4 values for the 2 stages that depths has$"),
        ({"strides": [2, 2, 2]}, "^strides has 3 values"),
        ({"group_widths": [24]}, "^group_widths has 1 values"),
        ({"depths": []}, "^depths must have a number of blocks for each stage"),
        ({"depths": 4}, r"^depths must have a number of blocks for each stage, as in \[1, 2, 4\] \(got 4\)$"),
        ({"depths": [1, 0, 1, 1]}, r"^depths\[1\] must be a whole number of at least 1 \(got 0\)$"),
        ({"widths": [48, 96, 240, -8]}, r"^widths\[3\] must be"),
        ({"strides": 0}, r"^strides\[0\] must be"),
        ({"group_widths": 0}, r"^group_widths\[0\] must be"),
    ],
)
def test_what_is_no_anynet(kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(VARIANTS["anynetx"], **kwargs)
