from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from roofline.loading import build_on_meta
from roofline.models.activations import SqueezeExcite
from roofline.models.blocks import ConvNorm
from roofline.models.mobilenetv2 import InvertedResidual
from roofline.models.mobilenetv3 import LARGE, SMALL, VARIANTS, MobileNetV3, Row, Variant
from tests.flops import macs_of

# a network is counted for each example, so shrinking those that fail would take minutes
laws = settings(deadline=None, max_examples=20, derandomize=True, phases=[Phase.explicit, Phase.generate])

# Tables 1 and 2 of the paper with the squeezed widths of the code: kernel, expanded width, output channels, channels
# between the layers of squeeze-and-excitation (0: there is none), activation, stride.
BLOCKS = {
    "mobilenetv3_large_100": """
        3  16  16   0 RE 1
        3  64  24   0 RE 2
        3  72  24   0 RE 1
        5  72  40  24 RE 2
        5 120  40  32 RE 1
        5 120  40  32 RE 1
        3 240  80   0 HS 2
        3 200  80   0 HS 1
        3 184  80   0 HS 1
        3 184  80   0 HS 1
        3 480 112 120 HS 1
        3 672 112 168 HS 1
        5 672 160 168 HS 2
        5 960 160 240 HS 1
        5 960 160 240 HS 1
    """,
    "mobilenetv3_small_100": """
        3  16  16   8 RE 2
        3  72  24   0 RE 2
        3  88  24   0 RE 1
        5  96  40  24 HS 2
        5 240  40  64 HS 1
        5 240  40  64 HS 1
        5 120  48  32 HS 1
        5 144  48  40 HS 1
        5 288  96  72 HS 2
        5 576  96 144 HS 1
        5 576  96 144 HS 1
    """,
}
RATIOS: dict[str, list[int | Fraction]] = {  # of the expanded width to the block's input, as the official code has them
    "large": [*(1, 4, 3, 3, 3, 3, 6), *(Fraction(5, 2), Fraction(184, 80), Fraction(184, 80)), *(6, 6, 6, 6, 6)],
    "small": [*(1, Fraction(72, 16), Fraction(88, 24)), *(4, 6, 6, 3, 3, 6, 6, 6)],
}


def table(name: str) -> list[list[str]]:
    return [line.split() for line in BLOCKS[name].strip().splitlines()]


@cache
def meta_model(name: str) -> MobileNetV3:
    model = build_on_meta(VARIANTS[name])
    assert isinstance(model, MobileNetV3)
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
        ("mobilenetv3_large_100", 5_483_032, 216.5898),
        ("mobilenetv3_large_075", 3_993_528, 154.5606),
        ("mobilenetv3_small_100", 2_542_856, 56.5104),
        ("mobilenetv3_small_075", 2_041_872, 43.3993),
        ("mobilenetv3_large_minimal_100", 3_924_288, 209.1367),
        ("mobilenetv3_small_minimal_100", 2_044_736, 52.2884),
    ],
)
def test_cost(name: str, params: int, mega_macs: float) -> None:
    # official code counted with fvcore
    assert param_count(meta_model(name)) == params
    assert round(macs(meta_model(name), 3, 224, 224) / 1e6, 4) == mega_macs


def test_half_the_width_as_the_paper_of_mobilenetv4_prints_it() -> None:
    # arXiv:2404.10518v2, Table 6: MobileNet-V3L-0.5x has 2.7 M parameters and 0.1 G MACs
    model = meta_model("mobilenetv3_large_050")
    assert round(param_count(model) / 1e6, 1) == 2.7
    assert round(macs(model, 3, 224, 224) / 1e9, 1) == 0.1


def test_half_the_width_of_small_as_timm_prints_it() -> None:
    # timm results-imagenet.csv: mobilenetv3_small_050 with 1.59 M
    assert round(param_count(build_on_meta(lambda: MobileNetV3(SMALL, width_mult=0.5))) / 1e6, 2) == 1.59


def test_the_widest_layer_stays_above_1() -> None:
    # timm results-imagenet.csv: mobilenetv3_large_150d with 14.62 M. It is 1.5 times as wide and 1.2 times as deep:
    # one more block of every width (not the first one of its kind), and a second 1x1 convolution in the head. With
    # 1920 channels before the classifier it would have 16.18 M.
    more = ((0,), (0, 1, 1), (0, 1, 2, 2), (0, 1, 1, 2, 3), (0, 1, 1), (0, 1, 2, 2))
    stages = [[stage[i] for i in which] for stage, which in zip(LARGE.stages, more, strict=True)]
    stages[0] *= 2
    deep = Variant(stages=tuple(map(tuple, stages)), head=LARGE.head, pre_logits=LARGE.pre_logits)
    model = build_on_meta(lambda: MobileNetV3(deep, width_mult=1.5))
    second = 1440 * 1440 + 2 * 1440
    assert round((param_count(model) + second) / 1e6, 2) == 14.62
    assert meta_model("mobilenetv3_large_150").classifier.in_features == 1280


def nearest_multiple_of_8(chans: float | Fraction) -> int:
    """Round half up, then up by 8 if that took away more than a tenth."""
    nearest = max(8, 8 * math.floor(Fraction(chans) / 8 + Fraction(1, 2)))
    return nearest if 10 * nearest >= 9 * Fraction(chans) else nearest + 8


def closed_form(
    size: str, *, minimal: bool, width_mult: float, height: int, width: int, num_classes: int, in_chans: int
) -> tuple[int, int]:
    """Return parameters and MACs by arithmetic on the tables."""

    def pixels(halvings: int) -> int:
        step = 1 << halvings
        return math.ceil(height / step) * math.ceil(width / step)

    c = 16 if width_mult < 0.75 else nearest_multiple_of_8(16 * width_mult)  # timm's fix_stem
    halvings = 1
    params = (9 * in_chans + 2) * c
    total = 9 * in_chans * c * pixels(1)
    for ratio, (k, _, base, squeeze, _, stride) in zip(RATIOS[size], table(f"mobilenetv3_{size}_100"), strict=True):
        taps = 9 if minimal else int(k) ** 2
        n, wide = nearest_multiple_of_8(int(base) * width_mult), nearest_multiple_of_8(c * ratio)
        if ratio > 1:
            params += (c + 2) * wide
            total += c * wide * pixels(halvings)
        halvings += stride == "2"
        params += (taps + 2) * wide + (wide + 2) * n
        total += (taps + n) * wide * pixels(halvings)
        if int(squeeze) and not minimal:
            narrow = nearest_multiple_of_8(Fraction(wide, 4))
            params += 2 * wide * narrow + narrow + wide
            total += 2 * wide * narrow
        c = n
    head = nearest_multiple_of_8((960 if size == "large" else 576) * width_mult)
    last = 1280 if size == "large" else 1024
    params += (c + 2) * head + (head + 1) * last + (last + 1) * num_classes
    total += c * head * pixels(5) + head * last + last * num_classes
    return params, total


@laws
@given(
    size=st.sampled_from(["large", "small"]),
    minimal=st.booleans(),
    width_mult=st.floats(0.05, 2.5),
    height=st.integers(32, 300),
    width=st.integers(32, 300),
    num_classes=st.integers(1, 2000),
    in_chans=st.integers(1, 5),
)
def test_closed_form(
    size: str, minimal: bool, width_mult: float, height: int, width: int, num_classes: int, in_chans: int
) -> None:
    build = VARIANTS[f"mobilenetv3_{size}_minimal_100" if minimal else f"mobilenetv3_{size}_100"]
    model = build_on_meta(lambda: build(width_mult=width_mult, num_classes=num_classes, in_chans=in_chans)).eval()
    assert (param_count(model), macs(model, in_chans, height, width)) == closed_form(
        size,
        minimal=minimal,
        width_mult=width_mult,
        height=height,
        width=width,
        num_classes=num_classes,
        in_chans=in_chans,
    )


def blocks(model: nn.Module) -> list[Any]:
    assert isinstance(model, MobileNetV3)
    found = [block for stage in model.stages for block in stage.children()]
    assert {type(block) for block in found} == {InvertedResidual}
    return found


def describe(block: Any) -> list[str]:
    dw = block.depthwise.conv
    assert dw.groups == dw.in_channels
    squeeze = block.se.reduce.out_channels if isinstance(block.se, SqueezeExcite) else 0
    act = {nn.ReLU: "RE", nn.Hardswish: "HS"}[type(block.depthwise.act)]
    if isinstance(block.expand, ConvNorm):
        assert type(block.expand.act) is type(block.depthwise.act)
    assert isinstance(block.project.act, nn.Identity)
    numbers = [dw.kernel_size[0], dw.in_channels, block.project.conv.out_channels, squeeze]
    return [*map(str, numbers), act, str(dw.stride[0])]


@pytest.mark.parametrize("name", list(BLOCKS))
def test_blocks(name: str) -> None:
    assert [describe(block) for block in blocks(meta_model(name))] == table(name)


@pytest.mark.parametrize("size", ["large", "small"])
def test_minimalistic_blocks(size: str) -> None:
    # the same table with 3x3 kernels, no squeeze-and-excitation and ReLU only
    want = [["3", width, out, "0", "RE", s] for _, width, out, _, _, s in table(f"mobilenetv3_{size}_100")]
    model = meta_model(f"mobilenetv3_{size}_minimal_100")
    assert [describe(block) for block in blocks(model)] == want
    assert not any(isinstance(m, (nn.Hardswish, nn.Hardsigmoid)) for m in model.modules())


@pytest.mark.parametrize(("name", "residuals"), [("mobilenetv3_large_100", 10), ("mobilenetv3_small_100", 6)])
def test_residuals(name: str, residuals: int) -> None:
    before, found = 16, 0
    for block, (_, _, out, _, _, stride) in zip(blocks(meta_model(name)), table(name), strict=True):
        assert block.residual == (stride == "1" and int(out) == before)
        before, found = int(out), found + block.residual
    assert found == residuals


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        (
            "mobilenetv3_large_100",
            [(16, 50, 38), (24, 25, 19), (40, 13, 10), (80, 7, 5), (112, 7, 5), (160, 4, 3)],
        ),
        ("mobilenetv3_small_100", [(16, 25, 19), (24, 13, 10), (40, 7, 5), (48, 7, 5), (96, 4, 3)]),
    ],
)
def test_stages_are_the_blocks_of_a_width(name: str, rows: list[tuple[int, int, int]]) -> None:
    model = meta_model(name)
    x = model.stem(torch.empty(1, 3, 100, 75, device="meta"))
    assert x.shape == (1, 16, 50, 38)
    for stage, row in zip(model.stages, rows, strict=True):  # odd sizes round up
        x = stage(x)
        assert x.shape == (1, *row)


@pytest.mark.parametrize(
    ("name", "stem", "chans", "head", "last"),
    [
        ("mobilenetv3_large_050", 16, [8, 16, 24, 40, 56, 80], 480, 1280),
        ("mobilenetv3_large_075", 16, [16, 24, 32, 64, 88, 120], 720, 1280),
        ("mobilenetv3_large_150", 24, [24, 40, 64, 120, 168, 240], 1440, 1280),
        ("mobilenetv3_small_075", 16, [16, 24, 32, 40, 72], 432, 1024),
    ],
)
def test_width_multiplier(name: str, stem: int, chans: list[int], head: int, last: int) -> None:
    model = meta_model(name)
    assert model.stem.conv.out_channels == stem
    ends: list[Any] = [list(stage.children())[-1] for stage in model.stages]
    assert [block.project.conv.out_channels for block in ends] == chans
    assert model.conv_head.conv.out_channels == head
    assert model.classifier.in_features == last


def test_the_head_runs_on_one_pixel_with_a_bias_and_without_norm() -> None:
    model, shapes = meta_model("mobilenetv3_large_100"), []
    conv, act = model.pre_logits.children()
    assert isinstance(conv, nn.Conv2d)
    handle = conv.register_forward_hook(lambda _, __, out: shapes.append(out.shape))
    model(torch.empty(2, 3, 96, 96, device="meta"))
    handle.remove()
    assert shapes == [(2, 1280, 1, 1)]
    assert conv.bias is not None
    assert all(isinstance(m, nn.Hardswish) for m in (model.stem.act, model.conv_head.act, act))


def test_block_with_squeeze_and_excitation_as_its_definition_reads() -> None:
    torch.manual_seed(0)
    model = VARIANTS["mobilenetv3_small_100"]().eval().double()
    block, x = blocks(model)[4], torch.randn(2, 40, 6, 5, dtype=torch.float64)

    def hard_sigmoid(y: Tensor) -> Tensor:
        return F.relu6(y + 3) / 6

    def gate(y: Tensor) -> Tensor:
        mean = y.sum(dim=(2, 3), keepdim=True) / 30
        return hard_sigmoid(block.se.expand(F.relu(block.se.reduce(mean))))

    with torch.no_grad():
        for bias in (block.se.reduce.bias, block.se.expand.bias):
            assert bias is not None
            bias.normal_(std=2.0)  # zero at first, where the gate is almost one half
        y = block.expand.norm(block.expand.conv(x))
        y = block.depthwise.norm(block.depthwise.conv(y * hard_sigmoid(y)))
        y = y * hard_sigmoid(y)
        want = x + block.project.norm(block.project.conv(y * gate(y)))
        torch.testing.assert_close(block(x), want)


@pytest.mark.parametrize("name", list(VARIANTS))
def test_act_replaces_every_activation_but_the_gates(name: str) -> None:
    def count(model: nn.Module, *kinds: type[nn.Module]) -> int:
        return sum(isinstance(m, kinds) for m in model.modules())

    model = build_on_meta(lambda: VARIANTS[name](act="silu"))
    assert count(model, nn.SiLU) == count(meta_model(name), nn.ReLU, nn.Hardswish)
    assert count(model, nn.ReLU, nn.Hardswish) == 0
    gates = count(meta_model(name), nn.Hardsigmoid)
    assert count(model, nn.Hardsigmoid) == gates
    assert gates == (0 if "minimal" in name else 8 if "large" in name else 9)


def test_kernel_and_se_are_arguments_of_their_own() -> None:
    model = build_on_meta(lambda: VARIANTS["mobilenetv3_large_100"](kernel=7))
    assert {block.depthwise.conv.kernel_size for block in blocks(model)} == {(7, 7)}
    assert any(isinstance(m, SqueezeExcite) for m in model.modules())
    model = build_on_meta(lambda: VARIANTS["mobilenetv3_large_100"](se=False))
    assert not any(isinstance(m, SqueezeExcite) for m in model.modules())
    assert any(isinstance(m, nn.Hardswish) for m in model.modules())


def test_norm_is_that_of_the_official_code() -> None:
    norms = [m for m in meta_model("mobilenetv3_large_100").modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(norms) == 1 + 2 + 14 * 3 + 1
    assert {(m.eps, m.momentum) for m in norms} == {(1e-3, 0.01)}


def test_layers_have_telling_names() -> None:
    names = {name for name, _ in meta_model("mobilenetv3_large_100").named_modules()}
    parts = ["expand.conv", "depthwise.act", "se.reduce", "se.gate", "project.norm"]
    assert {"stem.conv", "conv_head.act", "pool", "pre_logits.conv", "classifier"} < names
    assert {f"stages.2.1.{part}" for part in parts} < names
    assert "stages.0.0.expand.conv" not in names


@pytest.mark.parametrize("name", ["mobilenetv3_small_075", "mobilenetv3_small_minimal_100"])
def test_forward_and_backward(name: str) -> None:
    torch.manual_seed(0)
    model = VARIANTS[name](num_classes=7, in_chans=1)
    logits = model(torch.randn(2, 1, 64, 48))
    assert logits.shape == (2, 7)
    loss = nn.functional.cross_entropy(logits, torch.tensor([1, 6]))
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss, list(model.parameters())))


def test_rows_of_your_own() -> None:
    variant = Variant(stages=((Row(3, 32, 16, 2, True, "gelu"),),), head=64, pre_logits=40)
    model = MobileNetV3(variant, num_classes=5)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    assert isinstance(blocks(model)[0].depthwise.act, nn.GELU)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width_mult": 0}, r"width_mult must be a number above 0 \(got 0\)"),
        ({"num_classes": 0}, r"num_classes must be a whole number of at least 1 \(got 0\)"),
        ({"in_chans": 0}, r"in_chans must be a whole number of at least 1 \(got 0\)"),
        ({"kernel": 0}, r"kernel must be a whole number of at least 1 \(got 0\)"),
        ({"kernel": 4}, r"kernel must be odd, so that it has a middle \(got 4\)"),
        ({"act": "rellu"}, "act 'rellu' is unknown"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VARIANTS["mobilenetv3_small_100"](**arguments)
