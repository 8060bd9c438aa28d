from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from roofline.loading import build_on_meta
from roofline.models.activations import DynamicShiftMax
from roofline.models.micronet import VARIANTS, ChannelShuffle, FactorizedConv, MicroBlockA, MicroBlockC, MicroNet
from tests.flops import macs_of

NAMES = ["micronet_m0", "micronet_m1", "micronet_m2", "micronet_m3"]


@dataclass(frozen=True)
class Published:
    """What the networks' own code has at 224 px, counted; and the multiply-adds that its README prints."""

    params: int
    macs: int  # of convolutions and linear layers
    madds: float  # in millions, with the multiplications of Dynamic Shift-Max
    printed: int
    shift_max: int
    shuffles: int


PUBLISHED = {
    "micronet_m0": Published(1_019_590, 3_448_880, 4.05, 4, 15, 24),
    "micronet_m1": Published(1_777_587, 5_314_080, 6.12, 6, 15, 24),
    "micronet_m2": Published(2_393_876, 10_338_128, 12.74, 12, 21, 32),
    "micronet_m3": Published(2_622_960, 18_236_000, 20.81, 21, 11, 34),
}


@cache
def meta_model(name: str) -> MicroNet:
    model = build_on_meta(VARIANTS[name])
    assert isinstance(model, MicroNet)
    return model.eval()


def param_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def macs(model: nn.Module, px: int = 224) -> int:
    return macs_of(model, 1, 3, px, px).total()


@pytest.mark.parametrize("name", NAMES)
def test_exact_cost(name: str) -> None:
    want = PUBLISHED[name]
    assert (param_count(meta_model(name)), macs(meta_model(name))) == (want.params, want.macs)


@pytest.mark.parametrize("name", NAMES)
def test_number_of_shift_max_and_shuffles(name: str) -> None:
    modules = list(meta_model(name).modules())
    assert sum(isinstance(m, DynamicShiftMax) for m in modules) == PUBLISHED[name].shift_max
    assert sum(isinstance(m, ChannelShuffle) for m in modules) == PUBLISHED[name].shuffles


@pytest.mark.parametrize("name", NAMES)
def test_published_madds_count_the_multiplications_of_shift_max(name: str) -> None:
    multiplies = 0

    def count(module: nn.Module, _: Any, out: Tensor) -> None:
        nonlocal multiplies
        assert isinstance(module, DynamicShiftMax)
        multiplies += 2 * len(module.init_a) * out.numel()  # a x and b x' on each line

    model = copy.deepcopy(meta_model(name))
    for m in model.modules():
        if isinstance(m, DynamicShiftMax):
            m.register_forward_hook(count)
    model(torch.empty(1, 3, 224, 224, device="meta"))
    want = PUBLISHED[name]
    assert round((want.macs + multiplies) / 1e6, 2) == want.madds
    assert want.madds == pytest.approx(want.printed, rel=0.07)  # the README's whole millions


# The rows of the code's own tables (liyunsheng13/micronet backbone/microconfig.py), number by number:
# s n c ks | c1 c2 g1 g2 | c3 g3 g4 | y1 y2 y3 | r
# stride, repeats, output channels, kernel; factors of the channels, groups of the first 1x1 and of its shift; unused,
# groups of the last 1x1 and of its shift; lines of Dynamic Shift-Max after each, 0 for none; factor of the reduction.
ROWS = {
    "micronet_m0": """
        2 1   8 3  2 2  0  4   8  2  2  2 0 1  1
        2 1  12 3  2 2  0  8  12  4  4  2 2 1  1
        2 1  16 5  2 2  0 12  16  4  4  2 2 1  1
        1 1  32 5  1 4  4  4  32  4  4  2 2 1  1
        2 1  64 5  1 4  8  8  64  8  8  2 2 1  1
        1 1  96 3  1 4  8  8  96  8  8  2 2 1  2
        1 1 384 3  1 4 12 12   0  0  0  2 2 1  2""",
    "micronet_m1": """
        2 1   8 3  2 2  0  6   8  2  2  2 0 1  1
        2 1  16 3  2 2  0  8  16  4  4  2 2 1  1
        2 1  16 5  2 2  0 16  16  4  4  2 2 1  1
        1 1  32 5  1 6  4  4  32  4  4  2 2 1  1
        2 1  64 5  1 6  8  8  64  8  8  2 2 1  1
        1 1  96 3  1 6  8  8  96  8  8  2 2 1  2
        1 1 576 3  1 6 12 12   0  0  0  2 2 1  2""",
    "micronet_m2": """
        2 1  12 3  2 2  0  8  12  4  4  2 0 1  1
        2 1  16 3  2 2  0 12  16  4  4  2 2 1  1
        1 1  24 3  2 2  0 16  24  4  4  2 2 1  1
        2 1  32 5  1 6  6  6  32  4  4  2 2 1  1
        1 1  32 5  1 6  8  8  32  4  4  2 2 1  2
        1 1  64 5  1 6  8  8  64  8  8  2 2 1  2
        2 1  96 5  1 6  8  8  96  8  8  2 2 1  2
        1 1 128 3  1 6 12 12 128  8  8  2 2 1  2
        1 1 768 3  1 6 16 16   0  0  0  2 2 1  2""",
    "micronet_m3": """
        2 1  16 3  2 2  0 12  16  4  4  0 2 0  1
        2 1  24 3  2 2  0 16  24  4  4  0 2 0  1
        1 1  24 3  2 2  0 24  24  4  4  0 2 0  1
        2 1  32 5  1 6  6  6  32  4  4  0 2 0  1
        1 1  32 5  1 6  8  8  32  4  4  0 2 0  2
        1 1  64 5  1 6  8  8  48  8  8  0 2 0  2
        1 1  80 5  1 6  8  8  80  8  8  0 2 0  2
        1 1  80 5  1 6 10 10  80  8  8  0 2 0  2
        2 1 120 5  1 6 10 10 120 10 10  0 2 0  2
        1 1 120 5  1 6 12 12 120 10 10  0 2 0  2
        1 1 144 3  1 6 12 12 144 12 12  0 2 0  2
        1 1 864 3  1 6 12 12   0  0  0  0 2 0  2""",
}
STEM_AND_FEATURES = {
    "micronet_m0": (2, 2, 640),
    "micronet_m1": (3, 2, 960),
    "micronet_m2": (4, 2, 1024),
    "micronet_m3": (4, 3, 1024),
}

Layer = tuple[Any, ...]


def layers_of_the_rows(name: str) -> Iterator[Layer]:
    """Convolutions, shuffles and activations in the order in which they run, from the rows."""

    def conv(c_in: int, c_out: int, kernel: tuple[int, int], stride: tuple[int, int], groups: int) -> Layer:
        return "conv", c_in, c_out, kernel, stride, groups

    def factorized(c_in: int, mid: int, c_out: int, k: int, s: int, groups: int) -> list[Layer]:
        return [conv(c_in, mid, (k, 1), (s, 1), groups), conv(mid, c_out, (1, k), (1, s), mid)]

    def shift_max(y: int, chans: int, groups: int, reduction: int) -> Layer:
        squeeze = max(4, math.floor(chans // reduction / 4 + 0.5) * 4)
        if squeeze < 0.9 * (chans // reduction):
            squeeze += 4
        return "shift_max", y, chans, groups, squeeze

    g_a, g_b, features = STEM_AND_FEATURES[name]
    yield from factorized(3, g_a, g_a * g_b, 3, 2, 1)
    yield from [("shuffle", g_a), ("relu6",)]
    c_in = g_a * g_b
    for row in ROWS[name].strip().splitlines():
        s, n, c, k, c1, c2, g1, g2, _, g3, g4, y1, y2, y3, r = map(int, row.split())
        assert n == 1
        h = c_in * c1 * c2
        if g1 == 0:
            yield from factorized(c_in, c_in * c1, h, k, s, c_in)
            yield shift_max(y2, h, g2, 8 * r) if y2 else ("relu6",)
            yield "shuffle", g2
            if y2:
                yield "shuffle", h // 2
        else:
            yield conv(c_in, h, (1, 1), (1, 1), g1)
            if g4 == 0:
                if y3:
                    yield shift_max(1, h, g2, 8 * r)
                c_in = h
                continue
            yield shift_max(y1, h, g2, 8 * r) if y1 else ("relu6",)
            yield "shuffle", g2
            yield from factorized(h, h, h, k, s, h)
            yield shift_max(y2, h, h // g2, 8 * r) if y2 else ("relu6",)
            if y1 or y2:
                yield "shuffle", h // (4 if y1 and y2 else 2)
        yield conv(h, c, (1, 1), (1, 1), g3)
        if y3:
            yield shift_max(1, c, g4, 4 * r if g1 == 0 or c < h else 8 * r)
        yield "shuffle", g4
        if y3:
            yield "shuffle", c // 2
        if s == 1 and c_in == c:
            yield ("add",)
        c_in = c
    yield from [("relu6",), ("pool",), ("hardswish",)]
    yield from [conv(c_in, features, (1, 1), (1, 1), 1), ("hardswish",)]
    yield from [conv(features, 1000, (1, 1), (1, 1), 1), ("hardswish",)]


def layers_of_the_network(model: nn.Module) -> Iterator[Layer]:
    """The same of a network, from the order of its attributes."""
    for m in model.children():
        if isinstance(m, nn.Conv2d):
            yield "conv", m.in_channels, m.out_channels, m.kernel_size, m.stride, m.groups
        elif isinstance(m, DynamicShiftMax):
            lines, squeeze = len(m.init_a), m.coefficients.reduce.out_features
            yield "shift_max", lines, m.chans, m.groups, squeeze
        elif isinstance(m, ChannelShuffle):
            yield "shuffle", m.groups
        elif isinstance(m, (nn.ReLU6, nn.Hardswish)):
            yield (type(m).__name__.lower(),)
        elif isinstance(m, nn.AdaptiveAvgPool2d):
            yield ("pool",)
        else:
            yield from layers_of_the_network(m)
            if isinstance(m, (MicroBlockA, MicroBlockC)) and m.residual:
                yield ("add",)


@pytest.mark.parametrize("name", NAMES)
def test_layers(name: str) -> None:
    assert list(layers_of_the_network(meta_model(name))) == list(layers_of_the_rows(name))


@pytest.mark.parametrize("px", [224, 160])
@pytest.mark.parametrize("name", NAMES)
def test_cost_in_closed_form(name: str, px: int) -> None:
    params = total = 0
    height = width = px
    for layer in layers_of_the_rows(name):
        match layer:
            case "conv", c_in, c_out, kernel, stride, groups:
                height, width = math.ceil(height / stride[0]), math.ceil(width / stride[1])
                weights = math.prod(kernel) * c_in * c_out // groups
                params, total = params + weights + 2 * c_out, total + weights * height * width
            case "shift_max", lines, chans, _, squeeze:
                weights = chans * squeeze + squeeze * 2 * lines * chans
                params, total = params + weights + squeeze + 2 * lines * chans, total + weights
            case ("pool",):
                height = width = 1
    params += STEM_AND_FEATURES[name][2] + 1000  # biases of the two linear layers
    assert (params, total) == (param_count(meta_model(name)), macs(meta_model(name), px))


@pytest.mark.parametrize("name", NAMES)
def test_blocks_of_the_paper(name: str) -> None:
    # A ... A, then B (the depthwise convolution of the last MicroBlockA and the expansion after it), then C ... C
    kinds = "".join("A" if isinstance(m, MicroBlockA) else "C" for m in meta_model(name).blocks)
    assert kinds == {"micronet_m2": "AAACCCCC", "micronet_m3": "AAACCCCCCCC"}.get(name, "AAACCC")


@pytest.mark.parametrize("name", NAMES)
def test_resolution_is_32_times_lower_and_odd_sizes_round_up(name: str) -> None:
    model = meta_model(name)
    x = model.blocks(model.stem(torch.empty(2, 3, 225, 97, device="meta")))
    assert x.shape[2:] == (8, 4)


@pytest.mark.parametrize("name", NAMES)
def test_initial_coefficients(name: str) -> None:
    inits = {(m.init_a, m.init_b) for m in meta_model(name).modules() if isinstance(m, DynamicShiftMax)}
    one_line = ((1.0,), (0.0,))
    assert inits == ({((1.0, 0.5), (0.0, 0.5))} if name == "micronet_m3" else {((1.0, 1.0), (0.0, 0.0)), one_line})


def pattern(start: int, count: int) -> Tensor:
    """Numbers in [-1, 1] that are all over the place, but always the same."""
    return torch.arange(start, start + count, dtype=torch.float64).mul(7919).remainder(10007) / 5003 - 1


@pytest.mark.parametrize(
    ("name", "logits"),
    [
        ("micronet_m0", [0.22956438863658818, 0.0, 0.22344460979429048, -0.2588720863339745]),
        ("micronet_m1", [0.7266257993715259, 0.0, -0.28939264026285677, 4.030235637991969]),
        ("micronet_m2", [-0.17272112397325715, 0.0, 5.228058495774692, -0.29092484874939184]),
        ("micronet_m3", [0.0, 0.0, 6.198067276940091, -0.06914119261305633]),
    ],
)
def test_logits_of_the_official_code(name: str, logits: list[float]) -> None:
    # liyunsheng13/micronet @ed89b26 with these weights, in float64: shifts, shuffles and coefficients are where its are
    model = VARIANTS[name](num_classes=4).double().eval()
    start = 0
    for key, tensor in model.state_dict().items():
        if tensor.is_floating_point():
            values = pattern(start, tensor.numel()).reshape(tensor.shape)
            start += tensor.numel()
            if key.endswith(("norm.weight", "running_var")):
                tensor.copy_(1 + values / 2)
            elif tensor.dim() > 1:
                tensor.copy_(values * 2 / math.sqrt(math.prod(tensor.shape[1:])))
            else:
                tensor.copy_(values / 4)
    with torch.no_grad():
        out = model(2 * pattern(0, 3 * 64 * 64).reshape(1, 3, 64, 64))
    torch.testing.assert_close(out, torch.tensor([logits], dtype=torch.float64), rtol=1e-8, atol=1e-9)


# its parts


def test_channel_shuffle_deals_the_channels_out() -> None:
    x = torch.tensor([11.0, 12, 13, 21, 22, 23]).reshape(1, 6, 1, 1)  # two groups of three
    assert ChannelShuffle(2)(x).flatten().tolist() == [11, 21, 12, 22, 13, 23]
    assert torch.equal(ChannelShuffle(3)(ChannelShuffle(2)(x)), x)


def test_factorized_convolution_is_one_with_a_kernel_of_rank_one() -> None:
    torch.manual_seed(0)
    conv = FactorizedConv(4, 4, 4, 5, stride=2, groups=4).double().eval()
    for half in (conv.vertical, conv.horizontal):
        assert isinstance(half.norm, nn.BatchNorm2d)
        half.norm.eps = 0.0  # so that a norm that saw no data changes nothing
    x = torch.randn(2, 4, 11, 8, dtype=torch.float64)
    kernel = conv.vertical.conv.weight * conv.horizontal.conv.weight  # (4, 1, 5, 1) x (4, 1, 1, 5)
    with torch.no_grad():
        torch.testing.assert_close(conv(x), nn.functional.conv2d(x, kernel, stride=2, padding=2, groups=4))


@pytest.mark.parametrize("name", NAMES)
def test_residual_where_the_shapes_agree(name: str) -> None:
    have = [i for i, m in enumerate(meta_model(name).blocks) if m.residual]
    assert have == {"micronet_m2": [4], "micronet_m3": [2, 4, 7, 9]}.get(name, [])


def test_a_residual_adds_the_input() -> None:
    torch.manual_seed(0)
    model = VARIANTS["micronet_m2"]().eval()
    assert isinstance(model, MicroNet)
    block = model.blocks[4]
    assert isinstance(block, MicroBlockC)
    x = torch.randn(2, 32, 6, 6)
    with torch.no_grad():
        added = block(x)
        block.residual = False
        torch.testing.assert_close(added, x + block(x))


# what every network has


@pytest.mark.parametrize("name", ["micronet_m0", "micronet_m3"])
def test_forward_and_backward(name: str) -> None:
    torch.manual_seed(0)
    model, x = VARIANTS[name](num_classes=7), torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        logits = copy.deepcopy(model).eval()(x)
    assert logits.shape == (4, 7)
    assert logits.isfinite().all()
    model.train()(x).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key


@pytest.mark.parametrize("name", NAMES)
def test_act_replaces_every_activation(name: str) -> None:
    own = nn.ReLU6, nn.Hardswish, DynamicShiftMax
    count = sum(isinstance(m, own) for m in meta_model(name).modules())
    model = build_on_meta(lambda: VARIANTS[name](act=nn.SiLU)).eval()
    assert not any(isinstance(m, own) for m in model.modules())
    assert sum(isinstance(m, nn.SiLU) for m in model.modules()) == count
    assert sum(isinstance(m, ChannelShuffle) for m in model.modules()) == PUBLISHED[name].shuffles


@pytest.mark.parametrize("act", ["dynamic_relu_a", "se_relu", "dynamic_shift_max", "prelu"])
def test_act_with_weights(act: str) -> None:
    model = build_on_meta(lambda: VARIANTS["micronet_m0"](act=act)).eval()
    assert model(torch.empty(2, 3, 64, 64, device="meta")).shape == (2, 1000)


@pytest.mark.parametrize("name", NAMES)
def test_num_classes_and_in_chans(name: str) -> None:
    model = build_on_meta(lambda: VARIANTS[name](num_classes=5, in_chans=1)).eval()
    assert model(torch.empty(2, 1, 64, 64, device="meta")).shape == (2, 5)
    g_a, _, features = STEM_AND_FEATURES[name]
    assert param_count(meta_model(name)) - param_count(model) == 995 * (features + 3) + 2 * 3 * g_a


@pytest.mark.parametrize(("name", "dropout"), [("micronet_m0", 0.05), ("micronet_m3", 0.1)])
def test_dropout(name: str, dropout: float) -> None:
    assert meta_model(name).dropout.p == dropout


def test_layers_have_telling_names() -> None:
    names = {name for name, _ in meta_model("micronet_m0").named_modules()}
    depthwise = ["vertical.conv", "vertical.norm", "horizontal.conv", "horizontal.act.coefficients.reduce"]
    assert {f"blocks.3.depthwise.{part}" for part in depthwise} < names
    parts = ["expand.act", "expand_shuffle.0", "depthwise_shuffle.0", "project.conv", "project_shuffle.1"]
    assert {f"blocks.5.{part}" for part in parts} < names
    assert {"stem.conv.horizontal.conv", "stem.shuffle", "conv_head.act", "pool", "pre_logits.conv"} < names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_classes": 0}, "num_classes must be a whole number of at least 1"),
        ({"in_chans": 1.5}, "in_chans must be a whole number of at least 1"),
        ({"act": "rulu"}, "act 'rulu' is unknown"),
    ],
)
def test_bad_input(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VARIANTS["micronet_m0"](**arguments)
