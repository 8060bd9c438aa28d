from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from roofline.loading import build_on_meta
from roofline.models import find
from roofline.models.blocks import ConvNorm
from roofline.models.mobilenetv4 import (
    Attention,
    FusedIB,
    LayerScale,
    MobileMQA,
    MobileNetV4,
    UniversalInvertedBottleneck,
)
from tests.flops import macs_of

CONV = ["mobilenetv4_conv_small", "mobilenetv4_conv_medium", "mobilenetv4_conv_large"]
HYBRID = ["mobilenetv4_hybrid_medium", "mobilenetv4_hybrid_large"]
ALL = [*CONV, *HYBRID]

COUNTED = "tensorflow/models mobilenet.py block specs, counted; timm 1.0.31 counted with fvcore gives the same"
MATMULS = f"{COUNTED}; attention: 2 heads key_dim H W H_kv W_kv a block"


@dataclass(frozen=True)
class Cost:
    """Exact counts at batch 1: convolutions and FC, then q k^T and its product with v; biases excluded."""

    model: str
    px: int
    params: int
    conv_fc_macs: int
    attention_macs: int
    source: str


COSTS = [
    Cost("mobilenetv4_conv_small", 224, 3_774_024, 186_005_568, 0, f"{COUNTED}; paper Table 6: 3.8M, 0.2G"),
    Cost("mobilenetv4_conv_small", 256, 3_774_024, 242_178_048, 0, COUNTED),
    Cost("mobilenetv4_conv_medium", 224, 9_715_512, 827_649_984, 0, COUNTED),
    Cost("mobilenetv4_conv_medium", 256, 9_715_512, 1_080_244_224, 0, f"{COUNTED}; paper Table 6: 9.2M, 1.0G (binary)"),
    Cost("mobilenetv4_conv_large", 256, 32_590_864, 2_835_269_632, 0, COUNTED),
    Cost("mobilenetv4_conv_large", 384, 32_590_864, 6_376_220_672, 0, f"{COUNTED}; paper Table 6: 31M, 5.9G (binary)"),
    Cost("mobilenetv4_hybrid_medium", 224, 11_074_648, 941_725_120, 24_586_240, MATMULS),
    Cost("mobilenetv4_hybrid_medium", 256, 11_074_648, 1_229_240_320, 41_943_040, f"{MATMULS}; paper: 10.5M, 1.2G"),
    Cost("mobilenetv4_hybrid_large", 384, 37_764_624, 7_372_138_496, 339_738_624, f"{MATMULS}; paper: 35.9M, 7.2G"),
    Cost("mobilenetv4_hybrid_large", 448, 37_764_624, 10_033_393_664, 629_407_744, MATMULS),
]


@cache
def meta_model(name: str) -> MobileNetV4:
    with torch.device("meta"):
        model = find(name).build()
    assert isinstance(model, MobileNetV4)
    return model.eval()


@cache
def real_model(name: str) -> nn.Module:
    torch.manual_seed(0)
    return find(name).build(num_classes=7)


def param_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@cache
def macs(name: str, px: int) -> tuple[int, int]:
    """Return the MACs in (convolutions and FC, matrix products of activations), as PyTorch's own counter has them."""
    by_op = macs_of(meta_model(name), 1, 3, px, px)
    attention = by_op.pop(torch.ops.aten.bmm, 0)
    assert by_op.keys() == {torch.ops.aten.convolution, torch.ops.aten.addmm}
    return by_op.total(), attention


@pytest.mark.parametrize("want", COSTS, ids=lambda c: f"{c.model}-{c.px}")
def test_exact_cost(want: Cost) -> None:
    assert param_count(meta_model(want.model)) == want.params, want.source
    assert macs(want.model, want.px) == (want.conv_fc_macs, want.attention_macs), want.source


@pytest.mark.parametrize("name", ALL)
def test_the_catalogue_has_the_exact_cost_at_the_default_input(name: str) -> None:
    entry = find(name)
    (cost,) = [c for c in COSTS if (c.model, 3, c.px, c.px) == (name, *entry.input_size)]
    assert entry.params == cost.params
    assert (entry.macs, entry.attention_macs) == (cost.conv_fc_macs + cost.attention_macs, cost.attention_macs)


@pytest.mark.parametrize(
    ("name", "px", "params_mi", "macs_mi"),
    [
        ("mobilenetv4_conv_small", 224, 3.599, 177.39),
        ("mobilenetv4_conv_small", 256, 3.599, 230.96),
        ("mobilenetv4_conv_medium", 224, 9.265, 789.31),
        ("mobilenetv4_conv_medium", 256, 9.265, 1030.20),
        ("mobilenetv4_conv_large", 256, 31.081, 2703.92),
        ("mobilenetv4_conv_large", 384, 31.081, 6080.84),
        ("mobilenetv4_hybrid_medium", 224, 10.562, 921.55),
        ("mobilenetv4_hybrid_medium", 256, 10.562, 1212.29),
        ("mobilenetv4_hybrid_large", 384, 36.015, 7354.62),
        ("mobilenetv4_hybrid_large", 448, 36.015, 10168.84),
    ],
)
def test_cost_of_timm_in_binary_units(name: str, px: int, params_mi: float, macs_mi: float) -> None:
    # timm 1.0.31 counted with fvcore, attention's matrix products added, in 2^20 params and 2^20 MACs
    assert round(param_count(meta_model(name)) / 2**20, 3) == params_mi
    assert round(sum(macs(name, px)) / 2**20, 2) == macs_mi


@pytest.mark.parametrize("name", ALL)
def test_cost_as_the_paper_prints_it(name: str) -> None:
    # arXiv:2404.10518v2, Table 6. Conv-S agrees in decimal units. The others agree in binary ones, without batch norm,
    # whether its scale and shift are left out or folded into one bias a channel: the paper does not say which.
    entry = find(name)
    figures = entry.reference
    assert figures is not None
    assert figures.published_params is not None
    assert figures.published_macs is not None
    norm = sum(param_count(m) for m in meta_model(name).modules() if isinstance(m, nn.BatchNorm2d))
    if name == "mobilenetv4_conv_small":
        mega, giga, params = 1e6, 1e9, [entry.params]
    else:
        mega, giga, params = 2**20, 2**30, [entry.params - norm, entry.params - norm // 2]
    for count in params:
        assert as_printed(count / mega, like=figures.published_params) == figures.published_params
    assert as_printed(entry.macs / giga, like=figures.published_macs) == figures.published_macs


def as_printed(number: float, *, like: str) -> str:
    digits = len(like[:-1].partition(".")[2])
    return f"{number:.{digits}f}{like[-1]}"


@pytest.mark.parametrize(
    ("name", "px", "want"),
    [
        ("mobilenetv4_hybrid_medium", 256, 4 * 2 * (4 * 64) * 16**2 * 8**2 + 4 * 2 * (4 * 64) * 8**2 * 8**2),
        ("mobilenetv4_hybrid_medium", 224, 4 * 2 * (4 * 64) * 14**2 * 7**2 + 4 * 2 * (4 * 64) * 7**2 * 7**2),
        ("mobilenetv4_hybrid_medium", 240, 4 * 2 * (4 * 64) * 15**2 * 8**2 + 4 * 2 * (4 * 64) * 8**2 * 8**2),
        ("mobilenetv4_hybrid_large", 384, 4 * 2 * (8 * 48) * 24**2 * 12**2 + 4 * 2 * (8 * 64) * 12**2 * 12**2),
    ],
)
def test_attention_macs_in_closed_form(name: str, px: int, want: int) -> None:
    assert macs(name, px)[1] == want


# Blocks by resolution, in order: a UIB is its start kernel, mid kernel and expansion; c a plain convolution and its
# kernel; f a FusedIB, its kernel and expansion; m a Mobile MQA and its key-value stride. From tensorflow/models
# mobilenet.py, which timm 1.0.31 agrees with, and so do Tables 11, 12, 14 and 15 of the paper (Table 13 does not).
BLOCKS = {
    "mobilenetv4_conv_small": "c3 c1 / c3 c1 / 553 032 032 032 032 304 / 336 554 054 053 034 034",
    "mobilenetv4_conv_medium": (
        "f34 / 354 332 / 356 334 334 354 334 304 002 304 / 556 554 354 354 004 304 352 554 004 004 502"
    ),
    "mobilenetv4_conv_large": (
        "f34 / 354 334 / 354 334 334 334 354 534 534 534 534 534 304 / "
        "554 554 554 554 504 534 504 504 534 554 504 504 504"
    ),
    "mobilenetv4_hybrid_medium": (
        "f34 / 354 332 / 356 002 334 354 m2 334 m2 304 m2 334 m2 304 / "
        "556 554 354 354 002 352 002 004 m1 304 m1 554 m1 504 m1 504"
    ),
    "mobilenetv4_hybrid_large": (
        "f34 / 354 334 / 354 334 334 334 354 534 534 m2 534 m2 534 m2 534 m2 304 / "
        "554 554 554 554 504 534 504 504 534 554 m1 504 m1 504 m1 504 m1 504"
    ),
}


def describe(block: nn.Module) -> str:
    if isinstance(block, ConvNorm):
        return f"c{block.conv.kernel_size[0]}"
    if isinstance(block, MobileMQA):
        return f"m{block.key_dw.conv.stride[0] if isinstance(block.key_dw, ConvNorm) else 1}"
    assert isinstance(block, (FusedIB, UniversalInvertedBottleneck))
    expand = block.expand.conv.out_channels // block.expand.conv.in_channels
    if isinstance(block, FusedIB):
        return f"f{block.expand.conv.kernel_size[0]}{expand}"
    start, mid = (m.conv.kernel_size[0] if isinstance(m, ConvNorm) else 0 for m in (block.start_dw, block.mid_dw))
    return f"{start}{mid}{expand}"


@pytest.mark.parametrize("name", ALL)
def test_blocks(name: str) -> None:
    stages = [" ".join(describe(block) for block in stage.children()) for stage in meta_model(name).stages]
    assert " / ".join(stages) == BLOCKS[name]


@pytest.mark.parametrize(
    ("name", "stem", "chans"),
    [
        ("mobilenetv4_conv_small", 32, (32, 64, 96, 128)),
        ("mobilenetv4_conv_medium", 32, (48, 80, 160, 256)),
        ("mobilenetv4_conv_large", 24, (48, 96, 192, 512)),
        ("mobilenetv4_hybrid_medium", 32, (48, 80, 160, 256)),
        ("mobilenetv4_hybrid_large", 24, (48, 96, 192, 512)),
    ],
)
def test_a_stage_per_resolution(name: str, stem: int, chans: tuple[int, ...]) -> None:
    model, px = meta_model(name), find(name).input_size[1]
    x = model.stem(torch.empty(1, 3, px, px, device="meta"))
    assert x.shape == (1, stem, px // 2, px // 2)
    for i, stage in enumerate(model.stages):
        x = stage(x)
        assert x.shape == (1, chans[i], px // 2 ** (i + 2), px // 2 ** (i + 2))


def test_layers_have_telling_names() -> None:
    conv = {name for name, _ in meta_model("mobilenetv4_conv_small").named_modules()}
    assert {"stem.conv", "stem.norm", "stem.act", "stages.0.1.conv", "conv_head.conv", "pool", "pre_logits.norm"} < conv
    parts = ["start_dw.conv", "expand.act", "mid_dw.conv", "project.norm"]
    assert {"classifier", *(f"stages.2.0.{part}" for part in parts)} < conv
    hybrid = {name for name, _ in meta_model("mobilenetv4_hybrid_medium").named_modules()}
    parts = ["norm", "query", "key_dw.conv", "key", "value_dw.norm", "value", "attention", "project", "layer_scale"]
    assert {f"stages.2.4.{part}" for part in parts} < hybrid


@pytest.mark.parametrize("name", ALL)
def test_activation_and_layer_scale(name: str) -> None:
    modules = list(meta_model(name).modules())
    gelu, relu = (sum(isinstance(m, kind) for m in modules) for kind in (nn.GELU, nn.ReLU))
    assert (gelu > 0, relu > 0) == ((True, False) if name == "mobilenetv4_hybrid_large" else (False, True))
    residual_blocks = sum(isinstance(m, (UniversalInvertedBottleneck, MobileMQA)) for m in modules)
    assert sum(isinstance(m, LayerScale) for m in modules) == (residual_blocks if name in HYBRID else 0)


@pytest.mark.parametrize("name", ALL)
def test_act_replaces_every_activation(name: str) -> None:
    with torch.device("meta"):
        model = find(name).build(act=nn.Hardswish)
    count = sum(isinstance(m, (nn.ReLU, nn.GELU)) for m in meta_model(name).modules())
    assert not any(isinstance(m, (nn.ReLU, nn.GELU)) for m in model.modules())
    assert sum(isinstance(m, nn.Hardswish) for m in model.modules()) == count


@pytest.mark.parametrize("name", ALL)
@pytest.mark.usefixtures("shapes_alone")
def test_num_classes_and_in_chans(name: str) -> None:
    with torch.device("meta"):
        model = find(name).build(num_classes=5, in_chans=1)
        assert model(torch.empty(2, 1, 64, 64)).shape == (2, 5)
    (stem,) = (m for m in meta_model(name).modules() if isinstance(m, nn.Conv2d) and m.in_channels == 3)
    assert param_count(meta_model(name)) - param_count(model) == 995 * 1281 + 2 * 9 * stem.out_channels


def test_initial_weights() -> None:
    model = real_model("mobilenetv4_hybrid_medium")
    assert isinstance(model, MobileNetV4)
    weights = dict(model.state_dict())
    # the first block of this stage is an ExtraDW with 5 x 5 kernels, 160 -> 960 -> 256 channels
    for layer, fan_out in (("start_dw", 25), ("expand", 960), ("mid_dw", 25), ("project", 256)):
        std = weights[f"stages.3.0.{layer}.conv.weight"].std().item()
        assert std == pytest.approx(math.sqrt(2 / fan_out), rel=0.05)
    assert torch.equal(weights["stages.3.0.layer_scale.gamma"], torch.full((256, 1, 1), 1e-5))
    assert model.classifier.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert not model.classifier.bias.any()


class TestUniversalInvertedBottleneck:
    @pytest.mark.parametrize("start", [0, 3, 5])
    @pytest.mark.parametrize("mid", [0, 3, 5])
    def test_layers_and_shapes(self, start: int, mid: int) -> None:
        block = UniversalInvertedBottleneck(8, 8, start=start, mid=mid, expand=4, layer_scale=0.5)
        kernels = [(m.kernel_size, m.groups, m.out_channels) for m in convs(block)]
        want = [((start, start), 8, 8), ((1, 1), 1, 32), ((mid, mid), 32, 32), ((1, 1), 1, 8)]
        assert kernels == [row for row in want if row[0] != (0, 0)]
        assert block(torch.randn(2, 8, 7, 9)).shape == (2, 8, 7, 9)

    @pytest.mark.parametrize(("start", "mid", "strides"), [(3, 5, (1, 2)), (0, 3, (2,)), (5, 0, (2,))])
    def test_stride_is_on_the_middle_one_if_there_is_one(self, start: int, mid: int, strides: tuple[int, ...]) -> None:
        block = UniversalInvertedBottleneck(8, 8, start=start, mid=mid, expand=2, stride=2)
        assert tuple(m.stride[0] for m in convs(block) if m.groups > 1) == strides
        assert block(torch.randn(2, 8, 7, 6)).shape == (2, 8, 4, 3)
        assert not block.residual

    def test_residual_and_layer_scale(self) -> None:
        x = torch.randn(2, 8, 6, 6)
        plain = UniversalInvertedBottleneck(8, 8, start=3, mid=3, expand=2).eval()
        scaled = UniversalInvertedBottleneck(8, 8, start=3, mid=3, expand=2, layer_scale=0.25).eval()
        scaled.load_state_dict(plain.state_dict(), strict=False)
        with torch.no_grad():
            torch.testing.assert_close(scaled(x) - x, 0.25 * (plain(x) - x))
        assert not UniversalInvertedBottleneck(8, 16, start=3, mid=3, expand=2).residual

    def test_no_activation_after_start_dw_and_project(self) -> None:
        block = UniversalInvertedBottleneck(8, 16, start=3, mid=3, expand=2, act="hardswish")
        acts = {key: type(m.act) for key, m in block.named_children() if isinstance(m, ConvNorm)}
        assert acts == {"start_dw": nn.Identity, "expand": nn.Hardswish, "mid_dw": nn.Hardswish, "project": nn.Identity}

    def test_a_stride_needs_a_depthwise_convolution(self) -> None:
        with pytest.raises(ValueError, match="give 'start' or 'mid' a kernel"):
            UniversalInvertedBottleneck(8, 8, start=0, mid=0, expand=2, stride=2)


def convs(module: nn.Module) -> list[nn.Conv2d]:
    return [m for m in module.modules() if isinstance(m, nn.Conv2d)]


def mqa_one_head_at_a_time(block: MobileMQA, x: Tensor) -> Tensor:
    """Mobile MQA as its definition reads: every image, head and position on its own."""
    y = block.norm(x)
    queries, keys, values = block.query(y), block.key(block.key_dw(y)), block.value(block.value_dw(y))
    mixed = torch.zeros_like(queries)
    for b in range(x.shape[0]):
        k, v = keys[b].flatten(1), values[b].flatten(1)
        for head in range(block.heads):
            channels = slice(head, None, block.heads)  # the channels of a head are `heads` apart
            for row in range(x.shape[2]):
                for col in range(x.shape[3]):
                    q = queries[b, channels, row, col]
                    weights = ((q @ k) / math.sqrt(block.key_dim)).softmax(0)
                    mixed[b, channels, row, col] = v @ weights
    z: Tensor = block.project(mixed)
    return x + z * block.layer_scale.gamma if isinstance(block.layer_scale, LayerScale) else x + z


class TestMobileMQA:
    @pytest.mark.parametrize("layer_scale", [None, 0.5])
    @pytest.mark.parametrize("kv_stride", [1, 2])
    @pytest.mark.parametrize("size", [(4, 6), (5, 7), (1, 1)])
    def test_equals_the_definition(self, size: tuple[int, int], kv_stride: int, layer_scale: float | None) -> None:
        torch.manual_seed(0)
        block = MobileMQA(6, heads=3, key_dim=4, kv_stride=kv_stride, layer_scale=layer_scale).double().eval()
        for norm in (m for m in block.modules() if isinstance(m, nn.BatchNorm2d)):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            nn.init.normal_(norm.running_mean)
            nn.init.uniform_(norm.running_var, 0.5, 2.0)
        x = torch.randn(2, 6, *size, dtype=torch.float64)
        with torch.no_grad():
            torch.testing.assert_close(block(x), mqa_one_head_at_a_time(block, x), rtol=1e-12, atol=1e-12)

    @pytest.mark.parametrize(("size", "kv_size"), [((14, 14), (7, 7)), ((7, 7), (4, 4)), ((5, 9), (3, 5))])
    def test_kv_stride_rounds_up(self, size: tuple[int, int], kv_size: tuple[int, int]) -> None:
        block = MobileMQA(8, heads=2, key_dim=4, kv_stride=2)
        shapes: list[torch.Size] = []
        for layer in (block.key, block.value):
            layer.register_forward_hook(lambda _, __, out: shapes.append(out.shape))
        assert block(torch.randn(3, 8, *size)).shape == (3, 8, *size)
        assert shapes == [(3, 4, *kv_size)] * 2

    def test_keys_and_values_are_downsampled_each_on_its_own(self) -> None:
        block = MobileMQA(8, heads=2, key_dim=4, kv_stride=2)
        assert isinstance(block.key_dw, ConvNorm)
        assert isinstance(block.value_dw, ConvNorm)
        assert block.key_dw is not block.value_dw
        assert isinstance(MobileMQA(8, heads=2, key_dim=4).key_dw, nn.Identity)

    def test_attention_works_on_views_of_what_the_convolutions_wrote(self) -> None:
        block = MobileMQA(8, heads=2, key_dim=4, kv_stride=2)
        storages: dict[str, list[int]] = {}

        def record(name: str, *tensors: Tensor) -> None:
            storages[name] = [tensor.untyped_storage().data_ptr() for tensor in tensors]

        block.query.register_forward_hook(lambda _, __, out: record("query", out))
        block.value.register_forward_hook(lambda _, __, out: record("value", out))
        block.attention.register_forward_pre_hook(lambda _, args: record("into attention", *args))
        block.attention.register_forward_hook(lambda _, __, out: record("out of attention", out))
        block.project.register_forward_pre_hook(lambda _, args: record("into project", *args))
        block(torch.randn(3, 8, 6, 6))
        assert storages["into attention"][::2] == [*storages["query"], *storages["value"]]
        assert storages["into project"] == storages["out of attention"]

    def test_channels_last_gives_the_same(self) -> None:
        block, x = MobileMQA(8, heads=2, key_dim=4, kv_stride=2).double().eval(), torch.randn(2, 8, 6, 5).double()
        with torch.no_grad():
            torch.testing.assert_close(block(x.to(memory_format=torch.channels_last)), block(x))

    def test_attention_has_no_weights(self) -> None:
        assert not list(Attention(4).parameters())

    def test_with_heads_of_their_own_it_is_multi_head_attention(self) -> None:
        torch.manual_seed(0)
        block = MobileMQA(6, heads=3, kv_heads=3, key_dim=4, kv_stride=2).double().eval()
        x = torch.randn(2, 6, 5, 4, dtype=torch.float64)
        with torch.no_grad():
            y = block.norm(x)
            q, k, v = (
                t.reshape(2, 3, 4, -1).transpose(2, 3)  # images, heads, positions, dimensions
                for t in (block.query(y), block.key(block.key_dw(y)), block.value(block.value_dw(y)))
            )
            mixed = nn.functional.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(2, 12, 5, 4)
            torch.testing.assert_close(block(x), x + block.project(mixed), rtol=1e-12, atol=1e-12)

    def test_heads_of_keys_and_values_divide_those_of_the_query(self) -> None:
        with pytest.raises(ValueError, match="3 heads of keys and values do not divide 4 heads"):
            MobileMQA(8, heads=4, key_dim=4, kv_heads=3)


class TestAblations:
    """What the forms of the networks change, against what Tables 1 to 3 of the paper print."""

    @pytest.mark.parametrize(
        ("form", "want"),
        [
            ("ib", "f34 / 054 034 / 054 034"),
            ("convnext", "f34 / 304 304 / 304 304"),
            ("extradw", "f34 / 354 334 / 354 334"),
            ("ffn", "f34 / 354 004 / 354 004"),  # a stride needs a depthwise convolution
            ("fused_ib", "f34 / f54 f34 / f54 f34"),
        ],
    )
    def test_every_uib_becomes_the_one_named(self, form: str, want: str) -> None:
        stages = [
            " ".join(describe(b) for b in stage.children())
            for stage in meta_model(f"mobilenetv4_conv_large:{form}").stages
        ]
        assert " / ".join(stages).startswith(want)

    def test_a_fused_ib_without_stride_has_a_residual(self) -> None:
        x = torch.randn(2, 8, 5, 5)
        block = FusedIB(8, 8, 3, expand=4, stride=1, act="relu").eval()
        with torch.no_grad():
            torch.testing.assert_close(block(x), x + block.project(block.expand(x)))
        assert not FusedIB(8, 8, 3, expand=4, stride=2, act="relu").residual

    def test_what_mhsa_costs_beyond_mqa(self) -> None:
        # Table 2, in 2^20 params and 2^30 MACs: 36.0M - 34.7M, 6.7G - 6.5G
        mqa, mhsa = find("mobilenetv4_conv_large:mqa3"), find("mobilenetv4_conv_large:mhsa3")
        assert round((mhsa.params - mqa.params) / 2**20, 1) == 1.3
        assert round((mhsa.macs - mqa.macs) / 2**30, 1) == 0.2

    def test_attention_for_table_2_joins_conv_large(self) -> None:
        base, more = (
            [describe(block) for block in meta_model(f"mobilenetv4_conv_large{form}").stages[3].children()]
            for form in ("", ":mqa3")
        )
        assert [block for block in more if block != "m1"] == base
        assert more[-6:] == ["m1", "504"] * 3
        # batch norm, query and project of 8 heads of 64, key and value of one
        block = 2 * 512 + 2 * 512 * 512 + 2 * 512 * 64
        assert find("mobilenetv4_conv_large:mqa3").params - find("mobilenetv4_conv_large").params == 3 * block

    def test_without_downsampling_of_keys_and_values(self) -> None:
        # Table 3: each of the four blocks at 16x16 loses two 3x3 depthwise convolutions and gains 192 positions
        with_stride, without = find("mobilenetv4_hybrid_medium"), find("mobilenetv4_hybrid_medium:kv1")
        assert with_stride.params - without.params == 4 * 2 * 160 * (9 + 2)
        convs = 2 * 160 * 64 * (16**2 - 8**2) - 2 * 160 * 9 * 8**2
        attention = 2 * (4 * 64) * 16**2 * (16**2 - 8**2)
        assert without.macs - with_stride.macs == 4 * (convs + attention)

    def test_mhsa_and_downsampling_are_independent(self) -> None:
        names = ["", ":kv1", ":mhsa", ":mhsa_kv1"]
        strides = [(1, 2), (1,), (1, 2), (1,)]
        for form, want in zip(names, strides, strict=True):
            blocks = [m for m in meta_model(f"mobilenetv4_hybrid_medium{form}").modules() if isinstance(m, MobileMQA)]
            assert {int(describe(block)[1:]) for block in blocks} == set(want)
            assert {block.kv_heads for block in blocks} == ({4} if "mhsa" in form else {1})


@pytest.mark.parametrize(("width_mult", "params"), [(0.5, 2_238_952), (1.0, 3_774_024)])
def test_width_multiplier(width_mult: float, params: int) -> None:
    # timm 1.0.31 lists mobilenetv4_conv_small_050 with 2.24 M parameters
    model = build_on_meta(lambda: find("mobilenetv4_conv_small").build(width_mult=width_mult))
    assert param_count(model) == params
    assert isinstance(model, MobileNetV4)
    assert (model.stem.conv.out_channels, model.classifier.in_features) == (32, 1280)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"uib": "dw"}, "uib is one of ib, convnext, extradw, ffn, fused_ib"),
        ({"attention": "linear"}, r"attention is mqa or mhsa \(got 'linear'\)"),
        ({"kv_stride": 0.5}, "kv_stride must be a whole number of at least 1"),
        ({"width_mult": 0}, r"width_mult must be a number above 0 \(got 0\)"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        find("mobilenetv4_hybrid_medium").build(**arguments)
