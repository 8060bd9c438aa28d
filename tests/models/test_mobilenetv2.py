from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from roofline.loading import build_on_meta
from roofline.models.blocks import ConvNorm
from roofline.models.mobilenetv2 import VARIANTS, InvertedResidual, MobileNetV2
from tests.flops import macs_of

# a network is counted for each example, so shrinking those that fail would take minutes
laws = settings(deadline=None, max_examples=20, derandomize=True, phases=[Phase.explicit, Phase.generate])

# Table 2 of the paper, a block a triple: expansion, output channels, stride
BLOCKS = [
    *[(1, 16, 1)],
    *[(6, 24, 2), (6, 24, 1)],
    *[(6, 32, 2), (6, 32, 1), (6, 32, 1)],
    *[(6, 64, 2), (6, 64, 1), (6, 64, 1), (6, 64, 1)],
    *[(6, 96, 1), (6, 96, 1), (6, 96, 1)],
    *[(6, 160, 2), (6, 160, 1), (6, 160, 1)],
    *[(6, 320, 1)],
]


@cache
def meta_model(name: str) -> MobileNetV2:
    model = build_on_meta(VARIANTS[name])
    assert isinstance(model, MobileNetV2)
    return model.eval()


def param_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def macs(model: nn.Module, *shape: int) -> int:
    """Return the MACs of one image on the meta device, as PyTorch's own counter has them."""
    by_op = macs_of(model, 1, *shape)
    assert by_op.keys() == {torch.ops.aten.convolution, torch.ops.aten.addmm}
    return by_op.total()


@pytest.mark.parametrize(
    ("name", "params", "mega_macs"),
    [
        ("mobilenetv2_140", 6_108_776, {224: 582.1958}),
        ("mobilenetv2_100", 3_504_872, {224: 300.7743, 192: 221.3166, 160: 154.0832, 128: 99.074, 96: 56.2892}),
        ("mobilenetv2_075", 2_636_424, {224: 209.0698}),
        ("mobilenetv2_050", 1_968_680, {224: 97.1318}),
        ("mobilenetv2_035", 1_677_128, {224: 59.2858}),
    ],
)
def test_cost(name: str, params: int, mega_macs: dict[int, float]) -> None:
    # official code counted with fvcore
    assert param_count(meta_model(name)) == params
    assert {px: round(macs(meta_model(name), 3, px, px) / 1e6, 4) for px in mega_macs} == mega_macs


@pytest.mark.parametrize(
    ("name", "params", "mega_macs"),
    [
        ("mobilenetv2_140", 6.06, {224: 582}),
        ("mobilenetv2_130", 5.34, {224: 509}),
        ("mobilenetv2_100", 3.47, {224: 300, 192: 221, 160: 154, 128: 99, 96: 56}),
        ("mobilenetv2_075", 2.61, {224: 209, 192: 153, 160: 107, 128: 69, 96: 39}),
        ("mobilenetv2_050", 1.95, {224: 97, 192: 71, 160: 50, 128: 32, 96: 18}),
        ("mobilenetv2_035", 1.66, {224: 59, 192: 43, 160: 30, 128: 20, 96: 11}),
    ],
)
@pytest.mark.sampled(2)
def test_cost_as_the_official_code_prints_it(name: str, params: float, mega_macs: dict[int, int]) -> None:
    # tensorflow/models research/slim/nets/mobilenet/README.md: all of it agrees if parameters leave out batch norm
    # and MACs are rounded down
    assert round(params_without_norm(meta_model(name)) / 1e6, 2) == params
    assert {px: int(macs(meta_model(name), 3, px, px) / 1e6) for px in mega_macs} == mega_macs


@pytest.mark.parametrize(
    ("name", "params", "giga_macs"),
    [
        ("mobilenetv2_050", 2.0, 0.1),
        ("mobilenetv2_100", 3.5, 0.3),
        ("mobilenetv2_150", 6.8, 0.7),
        ("mobilenetv2_200", 11.2, 1.1),
    ],
)
def test_cost_as_the_paper_of_mobilenetv4_prints_it(name: str, params: float, giga_macs: float) -> None:
    # arXiv:2404.10518v2, Table 6; parameters again without batch norm
    assert round(params_without_norm(meta_model(name)) / 1e6, 1) == params
    assert round(macs(meta_model(name), 3, 224, 224) / 1e9, 1) == giga_macs


def params_without_norm(model: nn.Module) -> int:
    return param_count(model) - sum(param_count(m) for m in model.modules() if isinstance(m, nn.BatchNorm2d))


def nearest_multiple_of_8(chans: float) -> int:
    """Round half up, then up by 8 if that took away more than a tenth."""
    nearest = max(8, 8 * math.floor(Fraction(chans) / 8 + Fraction(1, 2)))
    return nearest if 10 * nearest >= 9 * Fraction(chans) else nearest + 8


def closed_form(width_mult: float, height: int, width: int, num_classes: int, in_chans: int) -> tuple[int, int]:
    """Return parameters and MACs by arithmetic on Table 2."""

    def pixels(halvings: int) -> int:
        step = 1 << halvings
        return math.ceil(height / step) * math.ceil(width / step)

    c, halvings = nearest_multiple_of_8(32 * width_mult), 1
    params = (9 * in_chans + 2) * c
    total = 9 * in_chans * c * pixels(1)
    for t, base, stride in BLOCKS:
        n, wide = nearest_multiple_of_8(base * width_mult), t * c
        if t > 1:
            params += (c + 2) * wide
            total += c * wide * pixels(halvings)
        halvings += stride == 2
        params += (9 + 2) * wide + (wide + 2) * n
        total += (9 + n) * wide * pixels(halvings)
        c = n
    head = 1280 if width_mult < 1 else nearest_multiple_of_8(1280 * width_mult)
    params += (c + 2) * head + (head + 1) * num_classes
    total += c * head * pixels(5) + head * num_classes
    return params, total


@laws
@given(
    width_mult=st.floats(0.05, 2.5),
    height=st.integers(32, 300),
    width=st.integers(32, 300),
    num_classes=st.integers(1, 2000),
    in_chans=st.integers(1, 5),
)
def test_closed_form(width_mult: float, height: int, width: int, num_classes: int, in_chans: int) -> None:
    model = build_on_meta(lambda: MobileNetV2(width_mult=width_mult, num_classes=num_classes, in_chans=in_chans)).eval()
    want = closed_form(width_mult, height, width, num_classes, in_chans)
    assert (param_count(model), macs(model, in_chans, height, width)) == want


@pytest.mark.parametrize("name", list(VARIANTS))
def test_closed_form_of_the_variants(name: str) -> None:
    want = closed_form(int(name[-3:]) / 100, 224, 224, 1000, 3)
    assert (param_count(meta_model(name)), macs(meta_model(name), 3, 224, 224)) == want


def test_every_block_is_one_of_table_2() -> None:
    blocks: list[Any] = [block for stage in meta_model("mobilenetv2_100").stages for block in stage.children()]
    assert {type(block) for block in blocks} == {InvertedResidual}
    got = []
    for block in blocks:
        dw, project = block.depthwise.conv, block.project.conv
        assert (dw.kernel_size, dw.groups) == ((3, 3), dw.in_channels)
        in_chans = block.expand.conv.in_channels if isinstance(block.expand, ConvNorm) else dw.in_channels
        assert block.residual == (dw.stride == (1, 1) and in_chans == project.out_channels)
        assert isinstance(block.se, nn.Identity)
        got.append((dw.in_channels // in_chans, project.out_channels, dw.stride[0]))
    assert got == BLOCKS
    assert sum(block.residual for block in blocks) == 10


def test_stages_are_the_rows_of_table_2() -> None:
    model = meta_model("mobilenetv2_100")
    x = model.stem(torch.empty(1, 3, 100, 75, device="meta"))
    rows = [(16, 50, 38), (24, 25, 19), (32, 13, 10), (64, 7, 5), (96, 7, 5), (160, 4, 3), (320, 4, 3)]
    assert x.shape == (1, 32, 50, 38)
    for stage, row in zip(model.stages, rows, strict=True):  # odd sizes round up
        x = stage(x)
        assert x.shape == (1, *row)
    assert [len(list(stage.children())) for stage in model.stages] == [1, 2, 3, 4, 3, 3, 1]


@pytest.mark.parametrize(
    ("name", "stem", "chans", "head"),
    [
        ("mobilenetv2_035", 16, [8, 8, 16, 24, 32, 56, 112], 1280),
        ("mobilenetv2_050", 16, [8, 16, 16, 32, 48, 80, 160], 1280),
        ("mobilenetv2_075", 24, [16, 24, 24, 48, 72, 120, 240], 1280),
        ("mobilenetv2_140", 48, [24, 32, 48, 88, 136, 224, 448], 1792),
    ],
)
def test_width_multiplier(name: str, stem: int, chans: list[int], head: int) -> None:
    # tensorflow/models and timm have these channels
    model = meta_model(name)
    assert model.stem.conv.out_channels == stem
    assert out_chans(model) == chans
    assert model.conv_head.conv.out_channels == model.classifier.in_features == head


class TestInvertedResidual:
    def test_adds_the_input_where_the_shapes_agree(self) -> None:
        x = torch.randn(2, 8, 6, 5)
        block = InvertedResidual(8, 48, 8).eval()
        with torch.no_grad():
            torch.testing.assert_close(block(x), x + block.project(block.depthwise(block.expand(x))))
        assert not InvertedResidual(8, 48, 8, stride=2).residual
        assert not InvertedResidual(8, 48, 16).residual

    def test_the_projection_is_linear(self) -> None:
        block = InvertedResidual(8, 48, 8, act="silu")
        acts = [type(layer.act) for layer in (block.expand, block.depthwise, block.project)]
        assert acts == [nn.SiLU, nn.SiLU, nn.Identity]

    def test_no_expansion_to_the_same_width(self) -> None:
        assert isinstance(InvertedResidual(8, 8, 16).expand, nn.Identity)

    def test_the_stride_is_on_the_depthwise_convolution(self) -> None:
        block = InvertedResidual(8, 48, 16, kernel=5, stride=2)
        assert block(torch.randn(1, 8, 7, 6)).shape == (1, 16, 4, 3)
        assert block.expand(torch.randn(2, 8, 7, 6)).shape == (2, 48, 7, 6)

    def test_what_stands_before_the_projection(self) -> None:
        block = InvertedResidual(8, 48, 16, se=lambda chans: nn.PReLU(chans))
        assert isinstance(block.se, nn.PReLU)
        assert block.se.num_parameters == 48
        x = torch.randn(2, 8, 5, 5)
        block.eval()
        torch.testing.assert_close(block(x), block.project(block.se(block.depthwise(block.expand(x)))))


def out_chans(model: MobileNetV2) -> list[int]:
    last: list[Any] = [list(stage.children())[-1] for stage in model.stages]
    return [block.project.conv.out_channels for block in last]


def test_norm_is_that_of_the_official_code() -> None:
    norms = [m for m in meta_model("mobilenetv2_100").modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 1 + 2 + 16 * 3 + 1
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}


def test_act_replaces_every_activation() -> None:
    relu6 = sum(isinstance(m, nn.ReLU6) for m in meta_model("mobilenetv2_035").modules())
    model = build_on_meta(lambda: VARIANTS["mobilenetv2_035"](act=nn.Hardswish))
    assert relu6 == 1 + 1 + 16 * 2 + 1
    assert sum(isinstance(m, nn.Hardswish) for m in model.modules()) == relu6
    assert not any(isinstance(m, nn.ReLU6) for m in model.modules())


def test_layers_have_telling_names() -> None:
    names = {name for name, _ in meta_model("mobilenetv2_100").named_modules()}
    parts = ["expand.conv", "expand.act", "depthwise.conv", "project.norm"]
    assert {"stem.conv", "conv_head.act", "pool", "classifier", *(f"stages.3.1.{part}" for part in parts)} < names
    assert "stages.0.0.expand.conv" not in names


def test_forward_and_backward() -> None:
    torch.manual_seed(0)
    model = VARIANTS["mobilenetv2_035"](num_classes=7, in_chans=1)
    logits = model(torch.randn(2, 1, 64, 48))
    assert logits.shape == (2, 7)
    loss = nn.functional.cross_entropy(logits, torch.tensor([1, 6]))
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width_mult": 0.0}, r"width_mult must be a number above 0 \(got 0.0\)"),
        ({"width_mult": "1.0"}, r"width_mult must be a number above 0 \(got '1.0'\)"),
        ({"num_classes": 0}, r"num_classes must be a whole number of at least 1 \(got 0\)"),
        ({"in_chans": -3}, r"in_chans must be a whole number of at least 1 \(got -3\)"),
        ({"act": "rellu"}, "act 'rellu' is unknown"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VARIANTS["mobilenetv2_100"](**arguments)
