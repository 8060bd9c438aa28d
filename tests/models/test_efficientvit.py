from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from roofline.layers import lower
from roofline.loading import build_on_meta
from roofline.models.activations import SEReLU
from roofline.models.blocks import ConvNorm
from roofline.models.efficientvit import (
    B1,
    VARIANTS,
    AttentionBlock,
    EfficientViT,
    InvertedResidual,
    LinearAttention,
    LiteMLA,
    Variant,
)
from roofline.trace import trace
from tests.flops import macs_of

# mit-han-lab/efficientvit @de7d773 and timm 1.0.31, both counted with fvcore: parameters; MACs by resolution
COSTS = {
    "efficientvit_b0": (3_410_008, {224: 100_233_216, 256: 130_123_776, 288: 163_999_744}),
    "efficientvit_b1": (9_102_024, {224: 519_214_592, 256: 676_915_712, 288: 855_643_648}),
    "efficientvit_b2": (24_330_712, {224: 1_584_937_984, 256: 2_067_533_824, 288: 2_614_475_776}),
    "efficientvit_b3": (48_646_056, {224: 3_953_822_208, 256: 5_161_586_688, 288: 6_530_386_432}),
}
# efficientvit/models/efficientvit/backbone.py and cls.py of that code: widths, depths, dimensions of a head; head
SHAPES = {
    "efficientvit_b0": ((8, 16, 32, 64, 128), (1, 2, 2, 2, 2), 16, (1024, 1280)),
    "efficientvit_b1": ((16, 32, 64, 128, 256), (1, 2, 3, 3, 4), 16, (1536, 1600)),
    "efficientvit_b2": ((24, 48, 96, 192, 384), (1, 3, 4, 4, 6), 32, (2304, 2560)),
    "efficientvit_b3": ((32, 64, 128, 256, 512), (1, 4, 6, 6, 9), 32, (2304, 2560)),
}


@cache
def meta_model(name: str) -> EfficientViT:
    model = build_on_meta(VARIANTS[name])
    assert isinstance(model, EfficientViT)
    return model.eval()


def param_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def macs(model: nn.Module, px: int) -> tuple[int, int]:
    """MACs of one image, all and those in products of activations, as PyTorch's own counter has them."""
    by_op = macs_of(model, 1, 3, px, px)
    return by_op.total(), by_op[torch.ops.aten.bmm]


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.sampled(2)
def test_exact_cost(name: str) -> None:
    params, by_px = COSTS[name]
    assert param_count(meta_model(name)) == params
    assert {px: macs(meta_model(name), px)[0] for px in by_px} == by_px


@pytest.mark.parametrize(
    ("name", "px", "params_m", "giga_macs"),
    [
        ("efficientvit_b1", 224, 9.1, 0.5),
        ("efficientvit_b2", 256, 24.3, 2.1),  # printed: 24.0
        ("efficientvit_b3", 224, 48.6, 4.0),  # printed: 49.0
    ],
)
def test_cost_as_the_paper_of_mobilenetv4_prints_it(name: str, px: int, params_m: float, giga_macs: float) -> None:
    # arXiv:2404.10518v2, Table 6, which adds a zero to the parameters that the authors print as 24M and 49M
    assert round(param_count(meta_model(name)) / 1e6, 1) == params_m
    assert round(macs(meta_model(name), px)[0] / 1e9, 1) == giga_macs


def closed_form(name: str, px: int) -> tuple[int, int, int]:
    """Parameters, MACs and those of the attention's products, block by block from the description of the network."""
    widths, depths, dim, (head, features) = SHAPES[name]
    params = total = attention = 0

    def conv(c_in: int, c_out: int, kernel: int, groups: int = 1, *, per_chan: int) -> None:
        nonlocal params, total
        weights = kernel**2 * c_in // groups * c_out
        params, total = params + weights + per_chan * c_out, total + weights * px**2

    def block(c_in: int, c_out: int, stride: int, expand: int, per_chan: int) -> None:
        nonlocal px
        wide = expand * c_in
        if expand > 1:
            conv(c_in, wide, 1, per_chan=per_chan)
        px = math.ceil(px / stride)
        conv(wide, wide, 3, wide, per_chan=per_chan)
        conv(wide, c_out, 1, per_chan=2)

    px = math.ceil(px / 2)
    conv(3, widths[0], 3, per_chan=2)
    for _ in range(depths[0]):
        block(widths[0], widths[0], 1, 1, per_chan=2)
    c = widths[0]
    for i, (width, depth) in enumerate(zip(widths[1:], depths[1:], strict=True), start=1):
        per_chan = 2 if i < 3 else 1  # scale and shift of a norm, or a bias
        block(c, width, 2, 4, per_chan)
        c = width
        for _ in range(depth - 1 if i < 3 else depth):
            if i >= 3:
                conv(c, 3 * c, 1, per_chan=0)
                conv(3 * c, 3 * c, 5, 3 * c, per_chan=0)
                conv(3 * c, 3 * c, 1, 3 * c // dim, per_chan=0)
                # two sets of c / dim heads; M (D + 1) D for the state and as much for the queries
                attention += 2 * (c // dim) * 2 * px**2 * (dim + 1) * dim
                conv(2 * c, c, 1, per_chan=2)
            block(c, c, 1, 4, per_chan)
    conv(c, head, 1, per_chan=2)
    params += head * features + 2 * features + (features + 1) * 1000
    return params, total + attention + head * features + features * 1000, attention


@settings(max_examples=12, deadline=None, derandomize=True)
@given(name=st.sampled_from(list(COSTS)), px=st.integers(32, 320))
def test_closed_form(name: str, px: int) -> None:
    model = meta_model(name)
    assert (param_count(model), *macs(model, px)) == closed_form(name, px)


def test_attention_is_linear_in_the_number_of_positions() -> None:
    small, large = (macs(meta_model("efficientvit_b1"), px)[1] for px in (224, 448))
    assert large == 4 * small


# The attention


def by_definition(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """(N, D, M) each: the mean of the values by the weights relu(q) . relu(k), all M x M of them; 0 if all are 0."""
    weights = query.relu().transpose(1, 2) @ key.relu()  # (N, M queries, M keys)
    return value @ (weights / weights.sum(-1, keepdim=True)).nan_to_num(0).transpose(1, 2)


class TestLinearAttention:
    def test_equals_the_definition(self) -> None:
        generator = torch.Generator().manual_seed(0)
        query, key, value = torch.randn(3, 5, 8, 30, dtype=torch.float64, generator=generator)
        torch.testing.assert_close(LinearAttention()(query, key, value), by_definition(query, key, value))

    def test_by_hand(self) -> None:
        # one dimension, two positions: weights 2 * 1 and 2 * 3 for the first query, and 0 for the second
        query, key, value = (torch.tensor([[row]]) for row in ([2.0, -1.0], [1.0, 3.0], [10.0, 20.0]))
        assert LinearAttention()(query, key, value).tolist() == [[[(2 * 10 + 6 * 20) / 8, 0.0]]]

    def test_a_constant_value_passes_through(self) -> None:
        query, key = torch.rand(2, 3, 4, 9, generator=torch.Generator().manual_seed(0)) + 0.1
        torch.testing.assert_close(
            LinearAttention()(query, key, torch.full((3, 4, 9), 7.0)), torch.full((3, 4, 9), 7.0)
        )

    def test_the_scale_of_queries_and_keys_does_not_matter(self) -> None:
        query, key, value = torch.randn(3, 2, 4, 9, generator=torch.Generator().manual_seed(0))
        attention = LinearAttention()
        torch.testing.assert_close(attention(10 * query, key / 4, value), attention(query, key, value))

    def test_it_has_no_weights(self) -> None:
        assert param_count(LinearAttention()) == 0


class TestLiteMLA:
    @pytest.mark.parametrize("size", [(4, 4), (5, 7)])
    def test_equals_the_definition(self, size: tuple[int, int]) -> None:
        torch.manual_seed(0)
        mla = LiteMLA(12, key_dim=4).double().eval()
        x = torch.randn(2, 12, *size, dtype=torch.float64)
        with torch.no_grad():
            got = mla(x)
            qkv = mla.qkv(x)
            outs = []
            for maps in (qkv, mla.aggregate(qkv)):  # two sets of three heads, each with 4 of q, 4 of k, 4 of v
                for head in range(3):
                    q, k, v = (maps[:, 12 * head + 4 * j :][:, :4].flatten(2) for j in range(3))
                    outs.append(by_definition(q, k, v).reshape(2, 4, *size))
            want = x + mla.project(torch.cat(outs, dim=1))
        torch.testing.assert_close(got, want)

    def test_aggregation_stays_within_a_heads_queries_keys_or_values(self) -> None:
        depthwise, pointwise = LiteMLA(64, key_dim=16).aggregate
        assert isinstance(depthwise, nn.Conv2d)
        assert isinstance(pointwise, nn.Conv2d)
        assert (depthwise.kernel_size, depthwise.padding, depthwise.groups) == ((5, 5), (2, 2), 192)
        assert (pointwise.kernel_size, pointwise.groups) == ((1, 1), 3 * 4)

    def test_only_cat_and_pad_copy(self) -> None:
        layers = lower(trace(build_on_meta(lambda: LiteMLA(64, key_dim=16)), torch.empty(1, 64, 14, 14, device="meta")))
        frame = layers.to_frame()
        assert frame["ops"][frame["kind"] == "copy"].tolist() == ["cat", "pad"]
        assert frame["ops"][frame["kind"] == "matmul"].tolist() == ["bmm", "bmm"]
        assert not layers.uncounted_ops

    def test_heads_must_divide_the_channels(self) -> None:
        with pytest.raises(ValueError, match="heads of 5 dimensions do not divide 64 channels"):
            LiteMLA(64, key_dim=5)


# The network


@pytest.mark.parametrize("name", SHAPES)
def test_blocks(name: str) -> None:
    widths, depths, dim, head = SHAPES[name]
    model: Any = meta_model(name)
    assert model.stem[0].conv.out_channels == widths[0]
    assert len(model.stem) == 1 + depths[0]
    for i, stage in enumerate(model.stages):
        blocks: list[Any] = list(stage)
        attends = i >= 2
        assert [type(b) for b in blocks[1:]] == (
            [AttentionBlock] * depths[i + 1] if attends else [InvertedResidual] * (depths[i + 1] - 1)
        )
        residuals = [b.local if isinstance(b, AttentionBlock) else b for b in blocks]
        assert [b.depthwise.conv.stride[0] for b in residuals] == [2] + [1] * (len(blocks) - 1)
        assert [b.residual for b in residuals] == [False] + [True] * (len(blocks) - 1)
        assert {b.depthwise.conv.in_channels for b in residuals} == {4 * widths[i], 4 * widths[i + 1]}
        assert {b.project.conv.out_channels for b in residuals} == {widths[i + 1]}
        assert all(b.attention.key_dim == dim for b in blocks if isinstance(b, AttentionBlock))
    assert (model.pre_logits.in_features, model.pre_logits.out_features) == head


def test_the_last_two_stages_have_biases_for_norms() -> None:
    model = meta_model("efficientvit_b1")
    for name, block in model.named_modules():
        if isinstance(block, InvertedResidual):
            late = name.startswith(("stages.2", "stages.3"))
            for part in (block.expand, block.depthwise, block.project):
                if isinstance(part, ConvNorm):
                    has_bias = late and part is not block.project
                    assert (part.conv.bias is not None) == has_bias, name
                    assert isinstance(part.norm, nn.Identity if has_bias else nn.BatchNorm2d), name


def test_a_stage_per_resolution() -> None:
    model = meta_model("efficientvit_b1")
    x = model.stem(torch.empty(1, 3, 100, 75, device="meta"))
    shapes = [x.shape]
    for stage in model.stages:  # odd sizes round up
        x = stage(x)
        shapes.append(x.shape)
    assert shapes == [(1, 16, 50, 38), (1, 32, 25, 19), (1, 64, 13, 10), (1, 128, 7, 5), (1, 256, 4, 3)]


def test_activations() -> None:
    model = meta_model("efficientvit_b1")
    # the stem's convolution, a block without expansion, 2 + 3 blocks, and 1 + 3 and 1 + 4 in the last stages; the head
    assert sum(isinstance(m, nn.Hardswish) for m in model.modules()) == 1 + 1 + 2 * (5 + 4 + 5) + 2
    assert all(isinstance(b.project.act, nn.Identity) for b in model.modules() if isinstance(b, InvertedResidual))
    assert all(isinstance(b.project.act, nn.Identity) for b in model.modules() if isinstance(b, LiteMLA))


def test_act_replaces_h_swish_but_not_the_relu_of_the_attention() -> None:
    model = build_on_meta(lambda: VARIANTS["efficientvit_b0"](act="silu")).eval()
    assert not any(isinstance(m, nn.Hardswish) for m in model.modules())
    ops = lower(trace(model, torch.empty(1, 3, 64, 64, device="meta"))).ops
    assert sum(op == "relu" for op in ops) == 2 * 4  # of queries and keys in four blocks
    assert "hardswish" not in ops


def test_an_activation_that_looks_at_the_whole_map() -> None:
    model = build_on_meta(lambda: VARIANTS["efficientvit_b0"](act=lambda chans: SEReLU(chans))).eval()
    assert model(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 1000)


def test_layers_have_telling_names() -> None:
    names = {name for name, _ in meta_model("efficientvit_b1").named_modules()}
    assert {
        "stem.0.conv", "stem.1.depthwise.norm", "stages.0.0.expand.conv", "stages.2.1.attention.qkv",
        "stages.3.4.attention.aggregate.0", "stages.3.4.attention.attention", "stages.3.4.attention.project.conv",
        "stages.3.4.local.depthwise.act", "conv_head.conv", "pool", "pre_logits", "norm", "act", "classifier",
    } < names  # fmt: skip


def test_a_variant_of_your_own() -> None:
    variant = Variant(widths=(4, 8, 8, 12, 12), depths=(2, 1, 1, 1, 1), key_dim=6, head=(20, 10))
    model = EfficientViT(variant, num_classes=5, in_chans=1)
    assert model(torch.randn(2, 1, 64, 40)).shape == (2, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, r"num_classes must be a whole number of at least 1 \(got 0\)"),
        ({"in_chans": True}, r"in_chans must be a whole number of at least 1 \(got True\)"),
        ({"act": "rellu"}, "act 'rellu' is unknown"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EfficientViT(B1, **arguments)
