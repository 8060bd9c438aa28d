from __future__ import annotations

import math
from fractions import Fraction
from functools import cache, partial
from typing import Any

import pytest
import torch
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from torch import nn

from roofline.loading import build_on_meta
from roofline.models.mobilenet_multi import AVG, MAX, VARIANTS, MobileNetMulti, Stages
from roofline.models.mobilenetv2 import InvertedResidual
from tests.flops import macs_of

# a network is counted for each example, so shrinking those that fail would take minutes
laws = settings(deadline=None, max_examples=20, derandomize=True, phases=[Phase.explicit, Phase.generate])

# MobileNetMultiMAX and MobileNetMultiAVG of tensorflow/models official/vision/modeling/backbones/mobilenet.py @001ec92,
# a block a tuple: kernel, expansion, output channels, stride
BLOCKS = {
    "max": [
        (3, 3, 32, 2),
        (5, 6, 64, 2), (3, 2, 64, 1), (3, 2, 64, 1),
        (5, 6, 128, 2), (3, 4, 128, 1), (3, 3, 128, 1), (3, 3, 128, 1), (3, 6, 128, 1), (3, 3, 128, 1),
        (3, 6, 160, 2), (5, 4, 160, 1), (3, 5, 160, 1), (5, 4, 160, 1),
    ],
    "avg": [
        (3, 3, 32, 2), (3, 2, 32, 1),
        (5, 5, 64, 2), (3, 3, 64, 1), (3, 2, 64, 1), (3, 3, 64, 1),
        (5, 6, 128, 2), (3, 3, 128, 1), (3, 3, 128, 1), (3, 3, 128, 1), (3, 6, 160, 1), (3, 4, 160, 1),
        (3, 6, 192, 2), (5, 4, 192, 1), (5, 4, 192, 1), (5, 4, 192, 1),
    ],
}  # fmt: skip
TABLES = {"max": MAX, "avg": AVG}


@cache
def meta_model(name: str) -> MobileNetMulti:
    model = build_on_meta(VARIANTS[name])
    assert isinstance(model, MobileNetMulti)
    return model.eval()


def param_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def macs(model: nn.Module, *shape: int) -> int:
    """Return the MACs of one image on the meta device, as PyTorch's own counter has them."""
    return macs_of(model, 1, *shape).total()


@pytest.mark.parametrize(
    ("kind", "width_mult", "params"),
    [("avg", 1.0, 4_982_857), ("avg", 0.75, 3_628_145), ("max", 1.0, 4_453_001), ("max", 0.75, 3_324_257)],
)
def test_parameters_that_the_official_tests_ask_for(kind: str, width_mult: float, params: int) -> None:
    # tensorflow/models official/vision/beta/modeling/classification_model_test.py @0cc5919: with 1001 classes and the
    # running averages of the norms. The layer of 1280 had a bias then, and has a norm of four values a channel since.
    model = build_on_meta(partial(MobileNetMulti, TABLES[kind], width_mult=width_mult, num_classes=1001))
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    averages = sum(2 * m.num_features for m in norms)
    assert param_count(model) + averages - (4 - 1) * 1280 == params


@pytest.mark.parametrize(
    ("name", "params_m", "giga_macs"), [("mobilenet_multi_max_150", 8.9, 0.76), ("mobilenet_multi_avg_150", 10.0, 0.95)]
)
def test_cost_as_the_paper_of_mobilenetv4_prints_it(name: str, params_m: float, giga_macs: float) -> None:
    # arXiv:2404.10518v2, Table 6: 8.9M, 0.8G and 10.0M, 1.0G; parameters without batch norm
    model = meta_model(name)
    norms = sum(param_count(m) for m in model.modules() if isinstance(m, nn.BatchNorm2d))
    assert round((param_count(model) - norms) / 1e6, 1) == params_m
    assert round(macs(model, 3, 224, 224) / 1e9, 2) == giga_macs


def nearest_multiple_of_8(chans: float) -> int:
    """Round half up, then up by 8 if that took away more than a tenth."""
    nearest = max(8, 8 * math.floor(Fraction(chans) / 8 + Fraction(1, 2)))
    return nearest if 10 * nearest >= 9 * Fraction(chans) else nearest + 8


def closed_form(kind: str, width_mult: float, px: int, num_classes: int = 1000, in_chans: int = 3) -> tuple[int, int]:
    """Return parameters and MACs by arithmetic on the table of blocks."""
    c, px = nearest_multiple_of_8(32 * width_mult), math.ceil(px / 2)
    params, total = (9 * in_chans + 2) * c, 9 * in_chans * c * px**2
    for k, t, base, stride in BLOCKS[kind]:
        n, wide = nearest_multiple_of_8(base * width_mult), t * c
        params, total = params + (c + 2) * wide, total + c * wide * px**2
        px = math.ceil(px / stride)
        params, total = params + (k**2 + 2) * wide + (wide + 2) * n, total + (k**2 + n) * wide * px**2
        c = n
    head, features = nearest_multiple_of_8(960 * width_mult), nearest_multiple_of_8(1280 * max(1, width_mult))
    params += (c + 2) * head + (head + 2) * features + (features + 1) * num_classes
    return params, total + c * head * px**2 + head * features + features * num_classes


@laws
@given(
    kind=st.sampled_from(list(BLOCKS)),
    width_mult=st.floats(0.05, 2.5),
    px=st.integers(32, 300),
    num_classes=st.integers(1, 2000),
    in_chans=st.integers(1, 5),
)
def test_closed_form(kind: str, width_mult: float, px: int, num_classes: int, in_chans: int) -> None:
    model = build_on_meta(
        lambda: MobileNetMulti(TABLES[kind], width_mult=width_mult, num_classes=num_classes, in_chans=in_chans)
    ).eval()
    want = closed_form(kind, width_mult, px, num_classes, in_chans)
    assert (param_count(model), macs(model, in_chans, px, px)) == want


@pytest.mark.parametrize("name", VARIANTS)
def test_closed_form_of_the_variants(name: str) -> None:
    kind, width = name.split("_")[2:]
    want = closed_form(kind, int(width) / 100, 224)
    assert (param_count(meta_model(name)), macs(meta_model(name), 3, 224, 224)) == want


@pytest.mark.parametrize("kind", BLOCKS)
def test_every_block_is_one_of_the_table(kind: str) -> None:
    stages: Any = meta_model(f"mobilenet_multi_{kind}_100").stages
    blocks = [block for stage in stages for block in stage]
    assert {type(block) for block in blocks} == {InvertedResidual}
    got = []
    for block in blocks:
        expand, dw, project = block.expand, block.depthwise, block.project
        chans, out = expand.conv.in_channels, project.conv.out_channels
        assert dw.conv.groups == dw.conv.in_channels
        assert block.residual == (dw.conv.stride == (1, 1) and chans == out)
        assert [type(part.act) for part in (expand, dw, project)] == [nn.ReLU, nn.ReLU, nn.Identity]
        assert isinstance(block.se, nn.Identity)
        got.append((dw.conv.kernel_size[0], dw.conv.in_channels // chans, out, dw.conv.stride[0]))
    assert got == BLOCKS[kind]


def test_the_residuals_of_avg_stop_where_its_width_changes() -> None:
    stage: Any = meta_model("mobilenet_multi_avg_100").stages[2]
    assert [block.residual for block in stage] == [False, True, True, True, False, True]


@pytest.mark.parametrize(
    ("name", "chans"),
    [
        ("mobilenet_multi_max_100", [32, 32, 64, 128, 160, 960, 1280]),
        ("mobilenet_multi_max_150", [48, 48, 96, 192, 240, 1440, 1920]),
        ("mobilenet_multi_avg_100", [32, 32, 64, 160, 192, 960, 1280]),
        ("mobilenet_multi_avg_150", [48, 48, 96, 240, 288, 1440, 1920]),
    ],
)
def test_a_stage_per_resolution(name: str, chans: list[int]) -> None:
    model = meta_model(name)
    x = model.stem(torch.empty(1, 3, 100, 75, device="meta"))
    shapes = [x.shape]
    for stage in model.stages:  # odd sizes round up
        x = stage(x)
        shapes.append(x.shape)
    sizes = [(50, 38), (25, 19), (13, 10), (7, 5), (4, 3)]
    assert shapes == [(1, c, *size) for c, size in zip(chans, sizes, strict=False)]
    assert [model.conv_head.conv.out_channels, model.pre_logits.conv.out_channels] == chans[5:]
    assert model.classifier.in_features == chans[-1]


def test_the_widest_layer_does_not_narrow() -> None:
    model: Any = build_on_meta(lambda: MobileNetMulti(MAX, width_mult=0.5))
    assert (model.stem.conv.out_channels, model.conv_head.conv.out_channels) == (16, 480)
    assert model.pre_logits.conv.out_channels == model.classifier.in_features == 1280


def test_every_convolution_has_a_norm_and_no_bias() -> None:
    model = meta_model("mobilenet_multi_avg_100")
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    assert len(convs) == len(norms) == 3 + 3 * 16
    assert all(conv.bias is None for conv in convs)
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}  # Keras has 1e-3, 0.99


def test_act_replaces_every_activation() -> None:
    model = build_on_meta(lambda: VARIANTS["mobilenet_multi_max_100"](act="hardswish"))
    assert not any(isinstance(m, nn.ReLU) for m in model.modules())
    assert sum(isinstance(m, nn.Hardswish) for m in model.modules()) == 3 + 2 * 14


def test_layers_have_telling_names() -> None:
    names = {name for name, _ in meta_model("mobilenet_multi_max_100").named_modules()}
    shared = {"stem.conv", "conv_head.norm", "pool", "pre_logits.conv", "classifier"}
    assert shared | {"stages.0.0.expand.conv", "stages.2.5.depthwise.act", "stages.3.3.project.norm"} < names


def test_rows_of_your_own() -> None:
    rows: Stages = (MAX[0], MAX[1][:1])
    model = MobileNetMulti(rows, num_classes=5)
    assert model(torch.randn(2, 3, 32, 32)).shape == (2, 5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width_mult": 0}, r"width_mult must be a number above 0 \(got 0\)"),
        ({"num_classes": 0}, r"num_classes must be a whole number of at least 1 \(got 0\)"),
        ({"in_chans": 1.5}, r"in_chans must be a whole number of at least 1 \(got 1.5\)"),
        ({"act": "rellu"}, "act 'rellu' is unknown"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VARIANTS["mobilenet_multi_avg_100"](**arguments)
