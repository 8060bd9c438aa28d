"""ConvNeXt: its cost against the authors' code and in closed form, and that a block is the published one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from roofline.layers import LayerTable, lower
from roofline.loading import build_on_meta
from roofline.models.convnext import VARIANTS, Block, ChannelNorm, ConvNeXt
from roofline.trace import trace
from tests.flops import macs_of

COSTS = {  # parameters and MACs at 224 px: facebookresearch/ConvNeXt @048efce and timm 1.0.31; the first four timm only
    "convnext_atto": (3_695_520, 547_332_480),
    "convnext_femto": (5_217_784, 779_629_824),
    "convnext_pico": (9_045_672, 1_367_055_360),
    "convnext_nano": (15_593_560, 2_445_528_320),
    "convnext_tiny": (28_589_128, 4_455_531_264),  # paper: 29 M, 4.5 G
    "convnext_small": (50_223_688, 8_683_712_256),  # 50 M, 8.7 G
    "convnext_base": (88_591_464, 15_354_729_472),  # 89 M, 15.4 G
}
TABLE = {  # depths and widths: section 3 of the paper for the last three; timm models/convnext.py for the others
    "convnext_atto": ((2, 2, 6, 2), (40, 80, 160, 320)),
    "convnext_femto": ((2, 2, 6, 2), (48, 96, 192, 384)),
    "convnext_pico": ((2, 2, 6, 2), (64, 128, 256, 512)),
    "convnext_nano": ((2, 2, 8, 2), (80, 160, 320, 640)),
    "convnext_tiny": ((3, 3, 9, 3), (96, 192, 384, 768)),
    "convnext_small": ((3, 3, 27, 3), (96, 192, 384, 768)),
    "convnext_base": ((3, 3, 27, 3), (128, 256, 512, 1024)),
}


@cache
def meta_model(name: str) -> ConvNeXt:
    model = build_on_meta(VARIANTS[name])
    assert isinstance(model, ConvNeXt)
    return model.eval()


@cache
def fused(name: str) -> LayerTable:
    graph = trace(meta_model(name), torch.empty(1, 3, 224, 224, device="meta"))
    return lower(graph, fusion="epilogue", dtype="int8", fused_activations=("gelu",))


def param_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def macs(model: nn.Module, height: int, width: int) -> int:
    return macs_of(model, 1, 3, height, width).total()


@pytest.mark.parametrize("name", COSTS)
def test_exact_cost(name: str) -> None:
    model = meta_model(name)
    assert (param_count(model), macs(model, 224, 224)) == COSTS[name]


def test_every_variant_has_a_cost() -> None:
    assert VARIANTS.keys() == COSTS.keys() == TABLE.keys()


def closed_form(depths: Sequence[int], widths: Sequence[int], expand: int, height: int, width: int) -> tuple[int, int]:
    """Parameters and MACs, layer by layer from the description of the network."""
    height, width = height // 4, width // 4
    c = widths[0]
    weights = 3 * 4**2 * c
    params, total = weights + c + 2 * c, weights * height * width  # bias; layer norm
    for i, (depth, out) in enumerate(zip(depths, widths, strict=True)):
        if i > 0:
            height, width = height // 2, width // 2
            weights = c * 2**2 * out
            params, total = params + weights + out + 2 * c, total + weights * height * width
        c = out
        weights = 7**2 * c + 2 * expand * c**2
        params += depth * (weights + c + expand * c + c + 2 * c + c)  # three biases; layer norm; layer scale
        total += depth * weights * height * width
    return params + 2 * c + 1000 * (c + 1), total + 1000 * c


@pytest.mark.parametrize("name", COSTS)
def test_the_closed_form_is_the_authors_count(name: str) -> None:
    assert closed_form(*TABLE[name], 4, 224, 224) == COSTS[name]


@settings(max_examples=12, deadline=None)
@given(
    depths=st.lists(st.integers(1, 3), min_size=4, max_size=4),
    widths=st.lists(st.integers(1, 40), min_size=4, max_size=4),
    expand=st.integers(1, 5),
    height=st.integers(32, 300),
    width=st.integers(32, 300),
)
def test_cost_in_closed_form(depths: list[int], widths: list[int], expand: int, height: int, width: int) -> None:
    model = build_on_meta(lambda: ConvNeXt(depths=depths, widths=widths, expand=expand)).eval()
    assert (param_count(model), macs(model, height, width)) == closed_form(depths, widths, expand, height, width)


@pytest.mark.parametrize("name", TABLE)
def test_a_stage_per_resolution(name: str) -> None:
    model, (depths, widths) = meta_model(name), TABLE[name]
    x = model.stem(torch.empty(1, 3, 224, 224, device="meta"))
    assert x.shape == (1, widths[0], 56, 56)
    for i, (depth, chans, px, stage) in enumerate(zip(depths, widths, (56, 28, 14, 7), model.stages, strict=True)):
        assert isinstance(stage, nn.Sequential)
        x = stage(x)
        assert x.shape == (1, chans, px, px)
        names = [key for key, _ in stage.named_children()]
        assert names == ["downsample"] * (i > 0) + [str(j) for j in range(depth)]
        assert sum(isinstance(module, Block) for module in stage) == depth


def test_a_block_is_that_of_the_paper() -> None:
    # in the order and the layout of the original: a permutation, a norm, two linear layers, a factor, and back
    generator = torch.Generator().manual_seed(0)
    block = Block(6, expand=4, act="gelu", layer_scale=0.5).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, 0.1, 0.5, generator=generator)
    x = torch.randn(2, 6, 9, 8, dtype=torch.float64, generator=generator)
    with torch.no_grad():
        y = F.conv2d(x, block.depthwise.weight, block.depthwise.bias, padding=3, groups=6).permute(0, 2, 3, 1)
        y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
        y = F.linear(y * block.norm.weight + block.norm.bias, block.expand.weight.flatten(1), block.expand.bias)
        y = F.linear(F.gelu(y), block.project.weight.flatten(1), block.project.bias)
        gamma = next(block.layer_scale.parameters())
        want = x + (gamma.flatten() * y).permute(0, 3, 1, 2)
        torch.testing.assert_close(block(x), want, rtol=1e-12, atol=1e-12)
    assert gamma.shape == (6, 1, 1)


def test_the_norm_looks_at_each_position_alone() -> None:
    norm, x = ChannelNorm(16), torch.randn(2, 16, 3, 5, generator=torch.Generator().manual_seed(0)) * 7 + 3
    y = norm(x)
    assert y.shape == x.shape
    torch.testing.assert_close(y.mean(1), torch.zeros(2, 3, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(y.var(1, unbiased=False), torch.ones(2, 3, 5), atol=1e-4, rtol=0)


def test_initial_layer_scale() -> None:
    for module in VARIANTS["convnext_atto"](num_classes=2).modules():
        if isinstance(module, Block):
            gamma = next(module.layer_scale.parameters())
            torch.testing.assert_close(gamma, torch.full_like(gamma, 1e-6))


# the layers of a device that fuses


def test_layers_of_a_block() -> None:
    rows = fused("convnext_small").to_frame().set_index("name")
    rows = rows[rows.index.str.startswith("stages.2.5.")]
    assert rows.ops.to_dict() == {
        "stages.2.5.depthwise": "convolution",
        "stages.2.5.norm": "layer_norm",
        "stages.2.5.expand": "convolution+gelu",
        "stages.2.5.project": "convolution+mul+add",
    }
    # at 14 x 14: 384 channels, 1536 between; the residual add reads its other branch, and the factor is in the weights
    mapped, between = 384 * 14 * 14, 1536 * 14 * 14
    assert rows.input_bytes.tolist() == [mapped, mapped, mapped, between + mapped]
    assert rows.output_bytes.tolist() == [mapped, mapped, between, mapped]
    assert rows.weight_bytes.tolist() == [(49 + 1) * 384, 2 * 384, (384 + 1) * 1536, (1536 + 1) * 384]


@pytest.mark.parametrize("name", COSTS)
def test_there_are_no_other_layers(name: str) -> None:
    blocks = sum(TABLE[name][0])
    assert Counter(fused(name).to_frame().kind) == {
        "conv": 4,  # the stem, and three that halve the resolution
        "depthwise_conv": blocks,
        "pointwise_conv": 2 * blocks,
        "norm": blocks + 5,  # beside the four convolutions, and after the pool
        "pool": 1,
        "linear": 1,
    }


def test_act_replaces_every_activation() -> None:
    model = build_on_meta(lambda: VARIANTS["convnext_pico"](act="relu6"))
    assert sum(isinstance(m, nn.ReLU6) for m in model.modules()) == 12
    assert not any(isinstance(m, nn.GELU) for m in model.modules())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"expand": 0}, "expand must be a whole number of at least 1"),
        ({"num_classes": 0}, "num_classes must be a whole number"),
        ({"in_chans": -3}, "in_chans must be a whole number"),
        ({"layer_scale": 0}, "layer_scale must be a number above 0"),
        ({"widths": (8, 16)}, r"widths is a list of one number a stage, 4 in all \(got \(8, 16\)\)"),
        ({"depths": 2}, r"depths is a list of one number a stage, 4 in all \(got 2\)"),
        ({"depths": (1, 1, 1, 10**9)}, r"depths\[3\] must be at most 1000"),
        ({"widths": "wide"}, r"widths\[0\] must be a whole number of at least 1 \(got 'w'\)"),
        ({"act": "gellu"}, "act 'gellu' is unknown"),
    ],
)
def test_bad_input(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VARIANTS["convnext_tiny"](**arguments)
