"""FastViT: its cost against the authors' code and in closed form, and that both forms are one function."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from functools import cache, partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from roofline.layers import LayerTable, lower
from roofline.loading import build_on_meta
from roofline.models.activations import SqueezeExcite
from roofline.models.blocks import fold_norms
from roofline.models.fastvit import (
    VARIANTS,
    Block,
    ConvFFN,
    FastViT,
    PositionBranches,
    RepMixerBranches,
    SelfAttention,
    branches_or_conv,
    patch_embedding,
)
from roofline.models.mobileone import Branches
from roofline.trace import trace
from tests.flops import macs_of

SIZES = ("t8", "t12", "s12", "sa12", "sa24", "sa36", "ma36")
INFERENCE = [f"fastvit_{size}" for size in SIZES]
TRAIN = [f"{name}:train" for name in INFERENCE]
ATTENDING = ("sa12", "sa24", "sa36", "ma36")

COSTS = {  # parameters and MACs at 256 px of apple/ml-fastvit models/fastvit.py @8af5928, and of timm 1.0.31
    "fastvit_t8": (3_996_040, 685_160_448),
    "fastvit_t12": (7_508_840, 1_390_944_256),
    "fastvit_s12": (9_428_712, 1_793_597_440),
    "fastvit_sa12": (11_545_320, 1_937_219_584),
    "fastvit_sa24": (21_501_288, 3_762_069_504),
    "fastvit_sa36": (31_457_256, 5_586_919_424),
    "fastvit_ma36": (43_984_632, 7_814_930_432),
    "fastvit_t8:train": (4_026_232, 690_149_376),
    "fastvit_t12:train": (7_553_704, 1_397_727_232),
    "fastvit_s12:train": (9_473_576, 1_800_380_416),
    "fastvit_sa12:train": (11_580_968, 1_943_937_024),
    "fastvit_sa24:train": (21_554_216, 3_769_966_592),
    "fastvit_sa36:train": (31_527_464, 5_595_996_160),
    "fastvit_ma36:train": (44_068_004, 7_825_709_056),
}
PRINTED = {  # parameters in M and MACs in G as the paper prints them; Table 6 of arXiv:2404.10518 repeats five of them
    "fastvit_t8": ("3.6", "0.7"),
    "fastvit_t12": ("6.8", "1.4"),
    "fastvit_s12": ("8.8", "1.8"),
    "fastvit_sa12": ("10.9", "1.9"),
    "fastvit_sa24": ("20.6", "3.8"),
    "fastvit_sa36": ("30.4", "5.6"),
    "fastvit_ma36": ("42.7", "7.9"),
}
TABLE = {  # depths, widths, expansion and whether stage 4 attends: Table 2 of the paper, and its code
    "t8": ((2, 2, 4, 2), (48, 96, 192, 384), 3, False),
    "t12": ((2, 2, 6, 2), (64, 128, 256, 512), 3, False),
    "s12": ((2, 2, 6, 2), (64, 128, 256, 512), 4, False),
    "sa12": ((2, 2, 6, 2), (64, 128, 256, 512), 4, True),
    "sa24": ((4, 4, 12, 4), (64, 128, 256, 512), 4, True),
    "sa36": ((6, 6, 18, 6), (64, 128, 256, 512), 4, True),
    "ma36": ((6, 6, 18, 6), (76, 152, 304, 608), 4, True),
}


@cache
def meta_model(name: str) -> FastViT:
    model = build_on_meta(VARIANTS[name])
    assert isinstance(model, FastViT)
    return model.eval()


@cache
def fused(name: str) -> LayerTable:
    graph = trace(meta_model(name), torch.empty(1, 3, 256, 256, device="meta"))
    return lower(graph, fusion="epilogue", dtype="int8", fused_activations=("relu", "sigmoid", "gelu"))


def param_count(*modules: nn.Module) -> int:
    return sum(p.numel() for module in modules for p in module.parameters())


def macs(model: nn.Module, px: int) -> int:
    return macs_of(model, 1, 3, px, px).total()


@pytest.mark.parametrize("name", COSTS)
@pytest.mark.sampled(4)
def test_exact_cost(name: str) -> None:
    model = meta_model(name)
    assert (param_count(model), macs(model, 256)) == COSTS[name]


def test_every_variant_has_a_cost() -> None:
    assert VARIANTS.keys() == COSTS.keys()


@pytest.mark.parametrize("name", PRINTED)
def test_the_printed_parameters_are_those_that_merging_leaves_to_train(name: str) -> None:
    # reparameterize() of the authors' code detaches what it merges; so a count of what requires a gradient misses
    # MobileOne's blocks (squeeze-and-excitation is within one), RepMixers and the positional encoding. Without the
    # 7x7 convolutions of ConvFFN as well, it is the printed one, for all seven networks.
    model = meta_model(name)
    detached: list[nn.Module] = [model.stem, model.conv_head]
    for key, module in model.named_modules():
        if key.endswith(("embed.pointwise", "position")) or (key.endswith("mixer") and isinstance(module, nn.Conv2d)):
            detached.append(module)
        if isinstance(module, ConvFFN):
            detached.append(module.depthwise)
    assert f"{(param_count(model) - param_count(*detached)) / 1e6:.1f}" == PRINTED[name][0]


@pytest.mark.parametrize("name", PRINTED)
def test_the_printed_macs(name: str) -> None:
    exact = f"{COSTS[name][1] / 1e9:.1f}"
    assert exact == {"fastvit_ma36": "7.8"}.get(name, PRINTED[name][1])  # printed: 7.9


def closed_form(
    depths: Sequence[int], widths: Sequence[int], expand: int, attends: bool, px: int, *, inference: bool
) -> tuple[int, int]:
    """Parameters and MACs, layer by layer from the description of the network."""
    params = conv_macs = 0

    def conv(c_in: int, c_out: int, kernel: int, groups: int = 1, *, bias: bool = True, norm: bool = False) -> None:
        nonlocal params, conv_macs
        weights = kernel**2 * c_in // groups * c_out
        params += weights + c_out * bias + 2 * c_out * norm
        conv_macs += weights * px**2

    def branches(c_in: int, c_out: int, kernel: int, groups: int, *, beside: int = 1, skip: bool = False) -> None:
        nonlocal params
        if inference:
            conv(c_in, c_out, kernel, groups)
            return
        for size in (kernel, beside) if kernel > 1 else (kernel,):
            conv(c_in, c_out, size, groups, bias=False, norm=True)
        params += 2 * c_out * skip

    c = widths[0]
    px = math.ceil(px / 2)
    branches(3, c, 3, 1)
    px = math.ceil(px / 2)
    branches(c, c, 3, c)
    branches(c, c, 1, 1, skip=True)
    for i, (depth, width) in enumerate(zip(depths, widths, strict=True)):
        if i > 0:
            px = math.ceil(px / 2)
            branches(c, width, 7, c, beside=3)
            branches(width, width, 1, 1, skip=True)
        c = width
        if attends and i == 3:
            conv(c, c, 7, c)
        for _ in range(depth):
            if attends and i == 3:
                conv(c, 3 * c, 1, bias=False)
                conv(c, c, 1)
                params += 2 * c + c  # norm, layer scale
                conv_macs += 2 * c * px**4  # every position with every other: scores, and the sum they weigh
            else:
                branches(c, c, 3, c, skip=True)
                params += 0 if inference else 3 * c  # norm, scale
            conv(c, c, 7, c, bias=False, norm=True)
            conv(c, expand * c, 1)
            conv(expand * c, c, 1)
            params += c  # layer scale
    branches(c, 2 * c, 3, c)
    px = 1
    conv(2 * c, 2 * c // 16, 1)
    conv(2 * c // 16, 2 * c, 1)
    conv(2 * c, 1000, 1)
    return params, conv_macs


@pytest.mark.parametrize("inference", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_the_closed_form_is_the_authors_count(size: str, inference: bool) -> None:
    assert closed_form(*TABLE[size], 256, inference=inference) == COSTS[f"fastvit_{size}" + ":train" * (not inference)]


@settings(max_examples=12, deadline=None)
@given(
    depths=st.lists(st.integers(1, 3), min_size=4, max_size=4),
    width=st.sampled_from([8, 12, 24]),
    expand=st.integers(1, 5),
    attends=st.booleans(),
    px=st.integers(32, 300),
    inference=st.booleans(),
)
def test_cost_in_closed_form(
    depths: list[int], width: int, expand: int, attends: bool, px: int, inference: bool
) -> None:
    widths = [width, 2 * width, 4 * width, 8 * width]
    build = partial(FastViT, depths=depths, widths=widths, expand=expand, attention=attends, inference=inference)
    model = build_on_meta(build).eval()
    want = closed_form(depths, widths, expand, attends, px, inference=inference)
    assert (param_count(model), macs(model, px)) == want


# the structure


@pytest.mark.parametrize("name", [*INFERENCE, *TRAIN])
@pytest.mark.usefixtures("shapes_alone")
def test_a_stage_per_resolution(name: str) -> None:
    model = meta_model(name)
    depths, widths, expand, attends = TABLE[name.removeprefix("fastvit_").removesuffix(":train")]
    x = model.stem(torch.empty(1, 3, 256, 256, device="meta"))
    assert x.shape == (1, widths[0], 64, 64)
    for i, (depth, width, px, stage) in enumerate(zip(depths, widths, (64, 32, 16, 8), model.stages, strict=True)):
        assert isinstance(stage, nn.Sequential)
        x = stage(x)
        assert x.shape == (1, width, px, px)
        blocks = [module for module in stage if isinstance(module, Block)]
        assert len(blocks) == depth
        names = [key for key, _ in stage.named_children()]
        assert names[: len(names) - depth] == ["embed"] * (i > 0) + ["position"] * (attends and i == 3)
        mixer = nn.Conv2d if name in INFERENCE else RepMixerBranches
        assert {type(block.mixer) for block in blocks} == {SelfAttention if attends and i == 3 else mixer}
        assert {block.ffn.expand.out_channels for block in blocks} == {expand * width}
    assert model.conv_head(x).shape == (1, 2 * widths[-1], 8, 8)


@pytest.mark.parametrize("name", INFERENCE)
def test_what_the_inference_form_has(name: str) -> None:
    size = name.removeprefix("fastvit_")
    depths, attends = TABLE[size][0], size in ATTENDING
    convs = [m for m in meta_model(name).modules() if isinstance(m, nn.Conv2d)]
    grouped = Counter(conv.kernel_size[0] for conv in convs if conv.groups > 1)
    mixers = sum(depths[: 3 if attends else 4])
    # one 3x3 in the stem and one before the pool; the 7x7 of ConvFFNs, embeddings and the positional encoding
    assert grouped == {3: mixers + 2, 7: sum(depths) + 3 + attends}
    norms = sum(isinstance(m, nn.BatchNorm2d) for m in meta_model(name).modules())
    assert norms == sum(depths) + depths[3] * attends  # after each 7x7 of a ConvFFN, before each attention


def test_initial_layer_scale() -> None:
    for name, want in (("fastvit_t8", 1e-5), ("fastvit_sa24:train", 1e-5), ("fastvit_sa36", 1e-6)):
        block = next(m for m in VARIANTS[name](num_classes=2).modules() if isinstance(m, Block))
        torch.testing.assert_close(block.layer_scale.gamma, torch.full_like(block.layer_scale.gamma, want))


# the layers of a device that fuses


def test_layers_of_a_block_with_repmixer() -> None:
    rows = fused("fastvit_t8").to_frame().set_index("name")
    rows = rows[rows.index.str.startswith("stages.1.1.")]
    assert rows.ops.to_dict() == {
        "stages.1.1.mixer": "convolution",
        "stages.1.1.ffn.depthwise.conv": "convolution+batch_norm",
        "stages.1.1.ffn.expand": "convolution+gelu",
        "stages.1.1.ffn.project": "convolution+mul+add",
    }
    # at 32 x 32: 96 channels, 288 between; the residual add reads its other branch
    mapped, between = 96 * 32 * 32, 288 * 32 * 32
    assert rows.input_bytes.tolist() == [mapped, mapped, mapped, between + mapped]
    assert rows.output_bytes.tolist() == [mapped, mapped, between, mapped]
    assert rows.weight_bytes.tolist() == [(9 + 1) * 96, (49 + 1) * 96, (96 + 1) * 288, (288 + 1) * 96]


def test_layers_of_a_block_with_attention() -> None:
    rows = fused("fastvit_sa12").to_frame().set_index("name")
    rows = rows[rows.index.str.startswith("stages.3.1.mixer.")]
    assert rows.ops.tolist() == ["batch_norm", "convolution", "mul", "bmm", "softmax", "bmm", "convolution+mul+add"]
    # at 8 x 8: 512 channels in 16 heads of 32
    positions, chans, heads = 64, 512, 16
    mapped, scores = chans * positions, heads * positions**2
    assert rows.input_bytes.tolist() == [mapped, mapped, mapped, 2 * mapped, scores, mapped + scores, 2 * mapped]
    assert rows.output_bytes.tolist() == [mapped, 3 * mapped, mapped, scores, scores, mapped, mapped]
    assert rows.macs.tolist() == [0, 3 * chans**2 * 64, 0, chans * positions**2, 0, chans * positions**2, chans**2 * 64]


@pytest.mark.parametrize("name", INFERENCE)
def test_nothing_elementwise_is_left_but_gates_and_the_scale_of_keys(name: str) -> None:
    kinds = Counter(fused(name).to_frame().kind)
    size = name.removeprefix("fastvit_")
    blocks = TABLE[size][0][3] if size in ATTENDING else 0
    assert kinds["elementwise"] == 1 + blocks
    assert (kinds["matmul"], kinds["softmax"], kinds["norm"]) == (2 * blocks, blocks, blocks)
    assert kinds["copy"] == kinds["other"] == 0


# reparameterize()


def randomize(module: nn.Module, seed: int = 0) -> None:
    """Random weights, and norms that have seen data; scaled so that activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():  # also factors and biases
        nn.init.normal_(parameter, 0.2, 0.3, generator=generator)
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            assert m.running_mean is not None
            assert m.running_var is not None
            m.reset_running_stats()
            m.running_mean.normal_(0, 0.2, generator=generator)
            m.running_var.uniform_(0.5, 4, generator=generator)
            nn.init.uniform_(m.weight, -1, 1, generator=generator)
        elif isinstance(m, nn.Conv2d | nn.Linear):
            nn.init.normal_(m.weight, 0, m.weight[0].numel() ** -0.5, generator=generator)


def images(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


SMALL: dict[str, Any] = {"depths": (1, 2, 1, 2), "widths": (8, 16, 32, 64), "num_classes": 10}


@pytest.mark.parametrize("arguments", [{}, {"attention": True}], ids=["repmixer", "attention"])
def test_both_forms_compute_the_same(arguments: dict[str, Any]) -> None:
    build = partial(FastViT, **SMALL, **arguments)
    train = build(inference=False).double()
    randomize(train)
    before = {key: value.clone() for key, value in train.state_dict().items()}
    inference = train.reparameterize()

    assert train.training  # the network itself stays as it is
    assert train.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in train.state_dict().items())

    x = images(2, 3, 96, 64)
    with torch.no_grad():
        want, got = train.eval()(x), inference(x)
    assert want.std() > 1e-2
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10 * want.abs().max().item())
    torch.testing.assert_close(fold_norms(inference)(x), want, rtol=1e-9, atol=1e-10 * want.abs().max().item())

    # the structure, and so the state dict, of the network that is built in this form
    built = build(inference=True).double().eval()
    assert [(key, type(m)) for key, m in inference.named_modules()] == [
        (key, type(m)) for key, m in built.named_modules()
    ]
    built.load_state_dict(inference.state_dict(), strict=True)
    with torch.no_grad():
        assert torch.equal(built(x), got)


@pytest.mark.parametrize("name", TRAIN)
def test_merging_gives_the_structure_of_the_inference_form(name: str) -> None:
    with torch.device("meta"):
        merged = meta_model(name).reparameterize()
    want = meta_model(name.removesuffix(":train"))
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (merged, want)]
    assert shapes[0] == shapes[1]


def test_repmixer_is_what_the_paper_says_and_merges() -> None:
    block = RepMixerBranches(6, 0.5).double().eval()
    randomize(block)
    x = images(2, 6, 7, 9)
    with torch.no_grad():
        mixer, norm = block.mixer, block.norm
        assert mixer.scale is not None
        assert mixer.skip is not None
        mixed = mixer.convs[0](x) + mixer.scale(x) + mixer.skip(x)
        want = x + block.scale * (mixed - norm(x))
        torch.testing.assert_close(block(x), want)
        merged = block.merge()
        assert (merged.kernel_size, merged.groups) == ((3, 3), 6)
        torch.testing.assert_close(merged(x), want, rtol=1e-12, atol=1e-12)
        nn.init.zeros_(block.scale)
        torch.testing.assert_close(block.merge()(x), x)  # a factor of 0 leaves the input


def test_the_positional_encoding_merges() -> None:
    block = PositionBranches(6).double()
    x = images(2, 6, 8, 9)
    with torch.no_grad():
        before = block.conv.weight.clone()
        torch.testing.assert_close(block.merge()(x), x + F.conv2d(x, before, block.conv.bias, padding=3, groups=6))
        assert torch.equal(block.conv.weight, before)


def test_the_patch_embedding_merges_its_3x3_into_its_7x7() -> None:
    embed = patch_embedding(4, 8, act="gelu", inference=False).double().eval()
    randomize(embed)
    large = embed.get_submodule("depthwise")
    assert isinstance(large, Branches)
    assert large.scale is not None
    assert large.skip is None
    kernels = [m.kernel_size for m in (*large.convs.modules(), *large.scale.modules()) if isinstance(m, nn.Conv2d)]
    assert kernels == [(7, 7), (3, 3)]
    x = images(2, 4, 15, 10)
    with torch.no_grad():
        torch.testing.assert_close(large.merge()(x), large(x), rtol=1e-11, atol=1e-12)
    assert large(x).shape == (2, 8, 8, 5)


def test_one_convolution_where_there_is_no_other_branch() -> None:
    conv = branches_or_conv(4, 8, 3, groups=4, inference=True)
    assert isinstance(conv, nn.Conv2d)
    assert (conv.padding, conv.bias is None) == ((1, 1), False)


def test_attention_is_that_of_torch() -> None:
    chans, heads, positions = 96, 3, 20
    block = SelfAttention(chans, 0.5).double().eval()
    randomize(block)
    x = images(2, chans, 4, 5)
    with torch.no_grad():
        sequence = block.norm(x).flatten(2).transpose(1, 2)  # (2, 20, 96)
        weights = block.qkv.weight.reshape(heads, 3, 32, chans)  # head after head
        query, key, value = (
            (sequence @ weights[:, i].reshape(chans, chans).T).reshape(2, positions, heads, 32).transpose(1, 2)
            for i in range(3)
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(2, positions, chans)
        projected = F.linear(mixed, block.project.weight.flatten(1), block.project.bias)
        want = x + block.layer_scale(projected.transpose(1, 2).reshape(x.shape))
        torch.testing.assert_close(block(x), want, rtol=1e-10, atol=1e-12)


def test_reparameterizing_twice_changes_nothing() -> None:
    once = FastViT(**SMALL)
    twice = once.reparameterize()
    assert twice is not once
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), twice.parameters(), strict=True))


def test_the_result_can_be_trained_and_is_independent() -> None:
    train = FastViT(**SMALL, attention=True, inference=False)
    inference = train.reparameterize()
    inference(torch.randn(1, 3, 64, 64)).sum().backward()
    assert all(p.grad is not None for p in inference.parameters())
    assert all(p.grad is None for p in train.parameters())
    with torch.no_grad():
        inference.classifier.weight.zero_()
    assert train.classifier.weight.any()


# what every network has


@pytest.mark.parametrize("name", ["fastvit_t8", "fastvit_sa12", "fastvit_sa12:train"])
def test_act_replaces_every_activation(name: str) -> None:
    model = build_on_meta(lambda: VARIANTS[name](act="hardswish"))
    activations = [m for m in meta_model(name).modules() if isinstance(m, nn.GELU | nn.ReLU)]
    # the stem's three, one an embedding and a ConvFFN, the head's, and the one within squeeze-and-excitation
    assert len(activations) == 3 + 3 + sum(TABLE[name.removeprefix("fastvit_").removesuffix(":train")][0]) + 1 + 1
    assert sum(isinstance(m, nn.Hardswish) for m in model.modules()) == len(activations)
    assert not any(isinstance(m, nn.GELU | nn.ReLU) for m in model.modules())


def test_squeeze_and_excitation_is_in_the_head_alone() -> None:
    have = {key: m for key, m in meta_model("fastvit_sa24").named_modules() if isinstance(m, SqueezeExcite)}
    assert list(have) == ["conv_head.se"]
    se = have["conv_head.se"]
    assert (se.reduce.in_channels, se.reduce.out_channels) == (1024, 64)
    assert isinstance(se.act, nn.ReLU)
    assert isinstance(se.gate, nn.Sigmoid)


def test_no_activation_follows_the_large_kernel() -> None:
    embed = meta_model("fastvit_s12").get_submodule("stages.1.embed")
    assert [key for key, m in embed.named_modules() if isinstance(m, nn.GELU)] == ["pointwise.act"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"expand": 0}, "expand must be a whole number of at least 1"),
        ({"num_classes": 0}, "num_classes must be a whole number"),
        ({"in_chans": -3}, "in_chans must be a whole number"),
        ({"layer_scale": 0}, "layer_scale must be a number above 0"),
        ({"inference": 1}, "inference must be True or False"),
        ({"attention": "no"}, "attention must be True or False"),
        ({"widths": (8, 16)}, r"widths is a list of one number a stage, 4 in all \(got \(8, 16\)\)"),
        ({"depths": 2}, r"depths is a list of one number a stage, 4 in all \(got 2\)"),
        ({"depths": "abcd"}, r"depths\[0\] must be a whole number of at least 1 \(got 'a'\)"),
        ({"widths": (8, 16, 0, 64)}, r"widths\[2\] must be a whole number of at least 1"),
        ({"widths": (8, 16, 24, 96)}, r"each of widths must be a multiple of the one before \(got 16, then 24\)"),
        ({"widths": (8, 16, 32, 128), "attention": True, "act": "x"}, "act 'x' is unknown"),
        ({"widths": (5, 10, 20, 40), "attention": True}, r"widths\[3\] must be a multiple of 32.* \(got 40\)"),
    ],
)
def test_bad_input(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VARIANTS["fastvit_t8"](**arguments)
