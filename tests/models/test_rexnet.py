from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import nn

from roofline.layers import lower
from roofline.loading import build_on_meta
from roofline.models.activations import SqueezeExcite
from roofline.models.blocks import ConvNorm, DepthwiseSeparable, fold_norms
from roofline.models.rexnet import VARIANTS, RankExpansionBlock, ReXNet, ReXNetLite, ReXNetPlain
from roofline.trace import trace
from tests.flops import macs_of

FULL = [f"rexnet_{width}" for width in ("090", "100", "130", "150", "200", "220", "300")]
LITE = [f"rexnet_lite_{width}" for width in ("090", "100", "130", "150", "200")]

# parameters and millions of MACs at 224 x 224: clovaai/rexnet rexnetv1.py and rexnetv1_lite.py @61debcc counted with
# fvcore, which timm 1.0.31 agrees with where it has the network
COUNTED = [
    ("rexnet_090", 4_091_257, 347.6914),
    ("rexnet_100", 4_796_873, 398.3704),
    ("rexnet_130", 7_557_091, 662.2291),
    ("rexnet_150", 9_728_593, 875.8282),
    ("rexnet_200", 16_366_620, 1528.8508),
    ("rexnet_220", 19_485_308, 1842.5082),
    ("rexnet_300", 34_708_792, 3395.9806),
    ("rexnet_lite_100", 4_740_056, 406.8066),
    ("rexnet_lite_130", 6_747_960, 646.4484),
    ("rexnet_lite_150", 8_332_296, 836.3507),
    ("rexnet_lite_200", 12_966_200, 1498.2536),
]

# stem, outputs of the 16 blocks, last convolution, of the same code
CHANNELS = {
    "rexnet_090": (32, "16 26 36 46 56 67 77 87 97 107 117 127 138 148 158 168", 1152),
    "rexnet_100": (32, "16 27 38 50 61 72 84 95 106 117 128 140 151 162 174 185", 1280),
    "rexnet_130": (42, "21 35 50 65 79 94 109 123 138 152 167 182 196 211 226 240", 1664),
    "rexnet_150": (48, "24 41 58 75 92 108 125 142 159 176 193 210 226 243 260 277", 1920),
    "rexnet_200": (64, "32 54 77 100 122 144 167 190 212 234 257 280 302 324 347 370", 2560),
    "rexnet_300": (96, "48 82 116 149 183 217 250 284 318 352 386 419 453 487 520 554", 3840),
    "rexnet_lite_100": (32, "16 32 40 48 64 72 80 96 104 112 128 136 144 160 168 184", 1280),
    "rexnet_lite_130": (40, "24 32 48 64 80 96 104 120 136 152 160 176 192 208 224 232", 1664),
    "rexnet_lite_150": (48, "24 40 56 72 88 104 120 136 152 176 192 208 224 240 256 272", 1920),
    "rexnet_lite_200": (64, "32 56 80 96 120 144 160 184 208 232 248 272 296 320 336 360", 2560),
}


def build(factory: Callable[..., nn.Module], **kwargs: Any) -> nn.Module:
    return build_on_meta(lambda: factory(**kwargs)).eval()


@cache
def meta_model(name: str) -> nn.Module:
    return build(VARIANTS[name])


def blocks(model: nn.Module) -> list[RankExpansionBlock]:
    return [module for module in model.modules() if isinstance(module, RankExpansionBlock)]


def cost(model: nn.Module, px: int, in_chans: int = 3) -> tuple[int, int]:
    """Parameters and MACs, as PyTorch has them."""
    return sum(p.numel() for p in model.parameters()), macs_of(model, 1, in_chans, px, px).total()


class Count:
    """Parameters and MACs of layer after layer, by arithmetic."""

    def __init__(self, px: int) -> None:
        self.side, self.params, self.macs = px, 0, 0

    def conv(self, c_in: int, c_out: int, kernel: int = 1, *, groups: int = 1, stride: int = 1) -> int:
        """A convolution and its norm."""
        self.side = math.ceil(self.side / stride)
        self.linear(kernel * kernel * c_in // groups, c_out, at=self.side**2, bias=False)
        self.params += 2 * c_out
        return c_out

    def linear(self, c_in: int, c_out: int, *, at: int = 1, bias: bool = True) -> None:
        self.params += c_in * c_out + c_out * bias
        self.macs += c_in * c_out * at


def closed_form(
    *, lite: bool, w: float, d: float, px: int, squeeze: int = 12, in_chans: int = 3, num_classes: int = 1000
) -> tuple[int, int]:
    """Parameters and MACs from the multipliers, by the rule of the authors' code."""

    def eighths(chans: int) -> int:
        near = max(8, (chans + 4) // 8 * 8)
        return near + 8 if near < 0.9 * chans else near

    depths = [math.ceil(n * d) for n in (1, 2, 2, 3, 3, 5)]
    step = 164 / (sum(depths) - 1) if lite else 180 / sum(depths)
    stem, width = (32 / w, 16 / w) if w < 1 else (32, 16)
    fit = eighths if lite else (lambda chans: chans)
    count = Count(px)
    chans = count.conv(in_chans, fit(round(stem * w)), 3, stride=2)
    for stage, (depth, first_stride) in enumerate(zip(depths, (1, 2, 2, 2, 1, 2), strict=True)):
        for j in range(depth):
            inner = chans
            if stage:
                inner = count.conv(chans, 6 * chans)
            count.conv(inner, inner, 3, groups=inner, stride=first_stride if j == 0 else 1)
            if stage >= 2 and squeeze and not lite:
                count.linear(inner, inner // squeeze)
                count.params += 2 * (inner // squeeze)
                count.linear(inner // squeeze, inner)
            chans = count.conv(inner, fit(round(width * w)))
            width += step
    features = count.conv(chans, int(1280 * w) if w > 1 or not lite else 1280)
    if lite:
        count.linear(features, 1024)
        count.params += 2 * 1024
        features = 1024
    count.linear(features, num_classes)
    return count.params, count.macs


def test_variants() -> None:
    assert list(VARIANTS) == [*FULL, *LITE, "rexnet_plain_100"]


@pytest.mark.parametrize(("name", "params", "macs_m"), COUNTED)
def test_exact_cost_of_the_authors_code(name: str, params: int, macs_m: float) -> None:
    counted = cost(meta_model(name), 224)
    assert (counted[0], round(counted[1] / 1e6, 4)) == (params, macs_m)


def test_cost_at_0_6() -> None:
    params, macs = cost(build(ReXNet, width_mult=0.6), 224)
    assert (params, round(macs / 1e6, 3)) == (2_289_825, 222.525)


@pytest.mark.parametrize("name", [*FULL, *LITE])
def test_variants_in_closed_form(name: str) -> None:
    width = int(name[-3:]) / 100
    assert cost(meta_model(name), 224) == closed_form(lite=name in LITE, w=width, d=1, px=224)


@settings(max_examples=8, deadline=None)
@given(
    lite=st.booleans(),
    w=st.floats(0.1, 4.0),
    d=st.floats(0.05, 2.5),
    se=st.sampled_from([(1 / 12, 12), (0.25, 4), (1 / 3, 3), (0.0, 0)]),
    in_chans=st.integers(1, 4),
    num_classes=st.integers(1, 50),
    px=st.integers(32, 120),
)
@example(lite=False, w=1.7, d=1.3, se=(1 / 12, 12), in_chans=3, num_classes=1000, px=224)
@example(lite=True, w=0.35, d=1.0, se=(0.0, 0), in_chans=3, num_classes=1000, px=224)
def test_any_width_and_depth_in_closed_form(
    lite: bool, w: float, d: float, se: tuple[float, int], in_chans: int, num_classes: int, px: int
) -> None:
    kwargs: dict[str, Any] = {} if lite else {"se_ratio": se[0]}
    factory = ReXNetLite if lite else ReXNet
    model = build(factory, width_mult=w, depth_mult=d, in_chans=in_chans, num_classes=num_classes, **kwargs)
    want = closed_form(lite=lite, w=w, d=d, px=px, squeeze=se[1], in_chans=in_chans, num_classes=num_classes)
    assert cost(model, px, in_chans) == want


@pytest.mark.parametrize("name", CHANNELS)
def test_channels(name: str) -> None:
    model, (stem, outputs, head) = meta_model(name), CHANNELS[name]
    assert isinstance(model, ReXNet | ReXNetLite)
    assert model.stem.conv.out_channels == stem
    assert " ".join(str(block.project.conv.out_channels) for block in blocks(model)) == outputs
    assert model.conv_head.conv.out_channels == head


@pytest.mark.parametrize("name", ["rexnet_100", "rexnet_lite_100"])
def test_blocks(name: str) -> None:
    rows = blocks(meta_model(name))
    depthwise = [block.depthwise.conv for block in rows]
    strided = [i for i, conv in enumerate(depthwise) if conv.stride == (2, 2)]
    assert strided == [1, 3, 5, 11]
    assert {conv.kernel_size for conv in depthwise} == {(3, 3)}
    assert all(conv.groups == conv.in_channels for conv in depthwise)
    expanded = [conv.in_channels // c_in for conv, c_in in zip(depthwise, chans_in(rows), strict=True)]
    assert expanded == [1] + [6] * 15
    assert [isinstance(block.expand, nn.Identity) for block in rows] == [True] + [False] * 15
    assert [i for i, block in enumerate(rows) if block.residual] == [2, 4, 6, 7, 8, 9, 10, 12, 13, 14, 15]
    with_se = [i for i, block in enumerate(rows) if isinstance(block.se, SqueezeExcite)]
    assert with_se == (list(range(3, 16)) if name == "rexnet_100" else [])


def chans_in(rows: Sequence[RankExpansionBlock]) -> list[int]:
    return [32, *(block.project.conv.out_channels for block in rows[:-1])]


def test_squeeze_is_a_twelfth_rounded_down() -> None:
    rows = blocks(meta_model("rexnet_100"))
    squeezed = [block.se.reduce.out_channels for block in rows if isinstance(block.se, SqueezeExcite)]
    assert squeezed == [19, 25, 30, 36, 42, 47, 53, 58, 64, 70, 75, 81, 87]
    assert all(isinstance(block.se.norm, nn.BatchNorm2d) for block in rows if isinstance(block.se, SqueezeExcite))


def test_activations() -> None:
    model = meta_model("rexnet_100")
    for block in blocks(model):
        if isinstance(block.expand, ConvNorm):
            assert isinstance(block.expand.act, nn.SiLU)
        assert isinstance(block.act, nn.ReLU6)
        assert isinstance(block.depthwise.act, nn.Identity)
        assert isinstance(block.project.act, nn.Identity)
        if isinstance(block.se, SqueezeExcite):
            assert (type(block.se.act), type(block.se.gate)) == (nn.ReLU, nn.Sigmoid)
    assert isinstance(model, ReXNet)
    assert (type(model.stem.act), type(model.conv_head.act)) == (nn.SiLU, nn.SiLU)
    kinds = {type(m) for m in meta_model("rexnet_lite_100").modules() if type(m).__module__.endswith("activation")}
    assert kinds == {nn.ReLU6}


@pytest.mark.parametrize("name", ["rexnet_100", "rexnet_lite_100", "rexnet_plain_100"])
def test_act_replaces_every_activation_but_the_gate(name: str) -> None:
    def count(model: nn.Module, *kinds: type[nn.Module]) -> int:
        return sum(isinstance(m, kinds) for m in model.modules())

    model, own = build(VARIANTS[name], act="hardswish"), meta_model(name)
    assert count(model, nn.ReLU, nn.ReLU6, nn.SiLU) == 0
    assert count(model, nn.Hardswish) == count(own, nn.ReLU, nn.ReLU6, nn.SiLU) > 13
    assert count(model, nn.Sigmoid) == count(own, nn.Sigmoid) == (13 if name == "rexnet_100" else 0)


def test_depth_multiplier_rounds_up() -> None:
    def depths(model: nn.Module) -> list[int]:
        assert isinstance(model, ReXNet | ReXNetLite)
        return [sum(1 for _ in stage.children()) for stage in model.stages]

    assert depths(meta_model("rexnet_100")) == [1, 2, 2, 3, 3, 5]
    assert depths(build(ReXNet, depth_mult=0.5)) == [1, 1, 1, 2, 2, 3]
    assert depths(build(ReXNet, depth_mult=1.1)) == [2, 3, 3, 4, 4, 6]
    assert depths(build(ReXNetLite, depth_mult=2.0)) == [2, 4, 4, 6, 6, 10]
    last = blocks(build(ReXNet, depth_mult=2.0))[-1].project.conv.out_channels
    assert last == round(16 + 31 * 180 / 32)


class TestPartialResidual:
    @pytest.mark.parametrize(("in_chans", "out_chans"), [(4, 4), (4, 6), (3, 7)])
    def test_first_channels_get_the_input_and_the_others_nothing(self, in_chans: int, out_chans: int) -> None:
        torch.manual_seed(0)
        block = RankExpansionBlock(in_chans, out_chans, expand=6, se_ratio=1 / 12).double().eval()
        x = torch.randn(2, in_chans, 5, 6, dtype=torch.float64)
        given = x.clone()
        with torch.no_grad():
            out = block(x)
            block.residual = False
            without = block(x)
        assert torch.equal(x, given)  # the input is not written to
        torch.testing.assert_close(out[:, :in_chans], without[:, :in_chans] + x)
        assert torch.equal(out[:, in_chans:], without[:, in_chans:])

    @pytest.mark.parametrize(("out_chans", "stride"), [(6, 2), (3, 1)])
    def test_none_where_it_strides_or_narrows(self, out_chans: int, stride: int) -> None:
        block = RankExpansionBlock(4, out_chans, expand=6, stride=stride).eval()
        assert not block.residual
        assert block(torch.randn(2, 4, 5, 6)).shape == (2, out_chans, 5 if stride == 1 else 3, 6 // stride)

    @pytest.mark.parametrize(("train", "folded"), [(True, False), (False, True)])
    def test_gradients(self, train: bool, folded: bool) -> None:
        torch.manual_seed(0)
        block = RankExpansionBlock(2, 3, expand=2, se_ratio=0.5, act="silu", se_act="silu").double()
        block = fold_norms(block) if folded else block  # type: ignore[assignment]
        x = torch.randn(2, 2, 3, 3, dtype=torch.float64, requires_grad=True)
        assert torch.autograd.gradcheck(block.train(train), x, fast_mode=True)

    def test_it_moves_the_first_channels_only(self) -> None:
        block = build(lambda: RankExpansionBlock(4, 8, expand=6))
        table = lower(trace(block, (torch.empty(1, 4, 10, 10, device="meta"),)), dtype="fp32")
        four = 4 * 100 * 4  # bytes of four channels
        assert (table.input_bytes[-1], table.output_bytes[-1]) == (2 * four, four)


@pytest.mark.parametrize("name", ["rexnet_100", "rexnet_lite_130"])
@pytest.mark.parametrize("px", [32, 65, 224])
@pytest.mark.usefixtures("shapes_alone")
def test_a_stage_per_resolution_but_the_fifth(name: str, px: int) -> None:
    model = meta_model(name)
    assert isinstance(model, ReXNet | ReXNetLite)
    x = model.stem(torch.empty(1, 3, px, px, device="meta"))
    for stage, halvings in zip(model.stages, (1, 2, 3, 4, 4, 5), strict=True):
        x = stage(x)
        assert x.shape[2:] == (math.ceil(px / 2**halvings),) * 2


def test_layers_have_telling_names() -> None:
    names = {name for name, _ in meta_model("rexnet_100").named_modules()}
    parts = ["expand.conv", "depthwise.norm", "se.reduce", "se.norm", "act", "project.conv"]
    assert {"stem.conv", "conv_head.act", "pool", "classifier", *(f"stages.3.2.{part}" for part in parts)} < names
    names = {name for name, _ in meta_model("rexnet_lite_100").named_modules()}
    assert {"stages.5.4.project.norm", "pre_logits.conv", "pre_logits.act", "classifier"} < names
    names = {name for name, _ in meta_model("rexnet_plain_100").named_modules()}
    assert {"stem.conv", "blocks.12.depthwise.conv", "blocks.12.pointwise.act", "classifier"} < names


class TestPlain:
    WIDTHS = (96, 144, 192, 240, 288, 336, 384, 432, 480, 528, 576, 624, 1024)
    STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)  # MobileNetV1's

    def closed_form(self, w: float, px: int) -> tuple[int, int]:
        count = Count(px)
        chans = count.conv(3, round(32 * w), 3, stride=2)
        for width, stride in zip(self.WIDTHS, self.STRIDES, strict=True):
            count.conv(chans, chans, 3, groups=chans, stride=stride)
            chans = count.conv(chans, round(width * w))
        count.linear(chans, 1000)
        return count.params, count.macs

    def test_cost(self) -> None:
        assert cost(meta_model("rexnet_plain_100"), 224) == self.closed_form(1.0, 224) == (3_399_240, 564_669_040)

    @settings(max_examples=5, deadline=None)
    @given(w=st.floats(0.1, 3), px=st.integers(32, 120))
    def test_any_width_in_closed_form(self, w: float, px: int) -> None:
        assert cost(build(ReXNetPlain, width_mult=w), px) == self.closed_form(w, px)

    def test_layers(self) -> None:
        model = meta_model("rexnet_plain_100")
        assert isinstance(model, ReXNetPlain)
        rows = [block for block in model.blocks if isinstance(block, DepthwiseSeparable)]
        assert tuple(row.pointwise.conv.out_channels for row in rows) == self.WIDTHS
        assert tuple(row.depthwise.conv.stride[0] for row in rows) == self.STRIDES
        assert {(type(row.depthwise.act), type(row.pointwise.act)) for row in rows} == {(nn.ReLU, nn.SiLU)}
        assert isinstance(model.stem.act, nn.SiLU)


@pytest.mark.parametrize("name", ["rexnet_100", "rexnet_lite_100", "rexnet_plain_100"])
@pytest.mark.usefixtures("shapes_alone")
def test_num_classes_and_in_chans(name: str) -> None:
    model = build(VARIANTS[name], num_classes=5, in_chans=1)
    assert model(torch.empty(2, 1, 64, 64, device="meta")).shape == (2, 5)
    features = 1280 if name == "rexnet_100" else 1024
    params, full = cost(model, 64, in_chans=1)[0], cost(meta_model(name), 64)[0]
    assert full - params == 995 * (features + 1) + 2 * 9 * 32


@pytest.mark.parametrize("name", ["rexnet_100", "rexnet_plain_100"])
def test_forward_and_backward(name: str) -> None:
    torch.manual_seed(0)
    model, x = VARIANTS[name](num_classes=7), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        logits = model.eval()(x)
        torch.testing.assert_close(fold_norms(model)(x), logits, rtol=1e-3, atol=1e-4)
    assert logits.isfinite().all()
    logits = model.train()(x)
    assert logits.shape == (2, 7)
    logits.square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("rexnet_100", {"width_mult": 0}, r"^width_mult must be a number above 0 \(got 0\)$"),
        ("rexnet_100", {"depth_mult": -1.0}, r"^depth_mult must be a number above 0 \(got -1.0\)$"),
        ("rexnet_100", {"se_ratio": -0.1}, r"^se_ratio must be from 0 \(none\) to 1 \(got -0.1\)$"),
        ("rexnet_100", {"se_ratio": 12}, r"^se_ratio must be from 0 .* \(got 12\)$"),
        ("rexnet_100", {"num_classes": 0}, "^num_classes must be a whole number of at least 1"),
        ("rexnet_lite_100", {"in_chans": 0}, "^in_chans must be a whole number of at least 1"),
        ("rexnet_lite_100", {"width_mult": math.nan}, "^width_mult must be a number above 0"),
        ("rexnet_lite_100", {"depth_mult": 0}, "^depth_mult must be a number above 0"),
        ("rexnet_plain_100", {"width_mult": -1}, "^width_mult must be a number above 0"),
        ("rexnet_plain_100", {"num_classes": 2.5}, "^num_classes must be a whole number of at least 1"),
    ],
)
def test_bad_arguments(name: str, kwargs: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(VARIANTS[name], **kwargs)
