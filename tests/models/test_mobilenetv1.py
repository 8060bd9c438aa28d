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
from roofline.models.mobilenetv1 import VARIANTS, MobileNetV1
from tests.flops import macs_of

# a network is counted for each example, so shrinking those that fail would take minutes
laws = settings(deadline=None, max_examples=20, derandomize=True, phases=[Phase.explicit, Phase.generate])

# Table 1 of the paper: output channels and stride of the 13 pairs. The last stride is 1, as in the code and as the
# table's own sizes say.
PAIRS = [
    *[(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)],
    *[(512, 1)] * 5,
    *[(1024, 2), (1024, 1)],
]


@cache
def meta_model(name: str) -> MobileNetV1:
    model = build_on_meta(VARIANTS[name])
    assert isinstance(model, MobileNetV1)
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
        ("mobilenetv1_100", 4_231_976, {224: 568.7404, 192: 418.1217, 160: 290.6752, 128: 186.4008}),
        ("mobilenetv1_075", 2_585_560, {224: 325.4004, 192: 239.2735, 160: 166.3968, 128: 106.7704}),
        ("mobilenetv1_050", 1_331_592, {224: 149.4971, 192: 109.9704, 160: 76.5248, 128: 49.1602}),
        ("mobilenetv1_025", 470_072, {224: 41.0303, 192: 30.2126, 160: 21.0592, 128: 13.57}),
    ],
)
def test_cost(name: str, params: int, mega_macs: dict[int, float]) -> None:
    # official code counted with fvcore
    assert param_count(meta_model(name)) == params
    assert {px: round(macs(meta_model(name), 3, px, px) / 1e6, 4) for px in mega_macs} == mega_macs


def test_exact_cost() -> None:
    # the paper prints 569 M and 4.2 M; of 1.5 nothing is published
    assert macs(meta_model("mobilenetv1_100"), 3, 224, 224) == 568_740_352
    assert macs(meta_model("mobilenetv1_150"), 3, 224, 224) == 1_257_729_792
    assert param_count(meta_model("mobilenetv1_150")) == 8_702_152


@pytest.mark.parametrize(
    ("name", "px", "weights", "conv_macs"),
    [("mobilenetv1_100", 224, 3_185_088, 567_716_352), ("mobilenetv1_075", 128, 1_800_144, 106_002_432)],
)
def test_convolutions_as_the_official_code_lists_them(name: str, px: int, weights: int, conv_macs: int) -> None:
    # tensorflow/models mobilenet_v1.py, totals in its head: convolutions without norms and without the classifier
    model = meta_model(name)
    assert sum(param_count(m) for m in model.modules() if isinstance(m, nn.Conv2d)) == weights
    assert macs(model, 3, px, px) - model.classifier.weight.numel() == conv_macs


def test_parameters_as_timm_prints_them() -> None:
    # timm results-imagenet.csv: mobilenetv1_125 with 6.27 M
    assert round(param_count(build_on_meta(lambda: MobileNetV1(width_mult=1.25))) / 1e6, 2) == 6.27


def closed_form(width_mult: float, height: int, width: int, num_classes: int, in_chans: int) -> tuple[int, int]:
    """Return parameters and MACs by arithmetic on Table 1."""

    def chans(base: int) -> int:
        return max(8, math.floor(base * Fraction(width_mult)))

    def pixels(halvings: int) -> int:
        step = 1 << halvings
        return math.ceil(height / step) * math.ceil(width / step)

    c, halvings = chans(32), 1
    params = 9 * in_chans * c + 2 * c
    total = 9 * in_chans * c * pixels(1)
    for base, stride in PAIRS:
        n, halvings = chans(base), halvings + (stride == 2)
        params += (9 + 2) * c + (c + 2) * n
        total += (9 * c + c * n) * pixels(halvings)
        c = n
    return params + (c + 1) * num_classes, total + c * num_classes


@laws
@given(
    width_mult=st.floats(0.05, 2.5),
    height=st.integers(32, 300),
    width=st.integers(32, 300),
    num_classes=st.integers(1, 2000),
    in_chans=st.integers(1, 5),
)
def test_closed_form(width_mult: float, height: int, width: int, num_classes: int, in_chans: int) -> None:
    model = build_on_meta(lambda: MobileNetV1(width_mult=width_mult, num_classes=num_classes, in_chans=in_chans)).eval()
    want = closed_form(width_mult, height, width, num_classes, in_chans)
    assert (param_count(model), macs(model, in_chans, height, width)) == want


def test_every_pair_is_a_row_of_table_1() -> None:
    pairs: list[Any] = [pair for stage in meta_model("mobilenetv1_100").stages for pair in stage.children()]
    got = []
    for pair in pairs:
        dw, pw = pair.depthwise.conv, pair.pointwise.conv
        assert dw.groups == dw.in_channels == dw.out_channels == pw.in_channels
        assert (dw.kernel_size, pw.kernel_size, pw.stride, pw.groups) == ((3, 3), (1, 1), (1, 1), 1)
        got.append((pw.out_channels, dw.stride[0]))
    assert got == PAIRS


def test_a_stage_per_resolution() -> None:
    model = meta_model("mobilenetv1_100")
    x = model.stem(torch.empty(1, 3, 100, 75, device="meta"))
    sizes = [(50, 38), (25, 19), (13, 10), (7, 5), (4, 3)]  # odd ones round up
    assert x.shape == (1, 32, *sizes[0])
    for stage, chans, size in zip(model.stages, (64, 128, 256, 512, 1024), sizes, strict=True):
        x = stage(x)
        assert x.shape == (1, chans, *size)


@pytest.mark.parametrize(
    ("width_mult", "stem", "last"), [(0.7, 22, 716), (0.01, 8, 10), (0.001, 8, 8), (1.3, 41, 1331)]
)
def test_channels_round_down_and_not_to_multiples_of_8(width_mult: float, stem: int, last: int) -> None:
    model = build_on_meta(lambda: MobileNetV1(width_mult=width_mult))
    assert isinstance(model, MobileNetV1)
    assert (model.stem.conv.out_channels, model.classifier.in_features) == (stem, last)


def test_norm_and_activation_follow_every_convolution() -> None:
    layers: list[Any] = [m for m in meta_model("mobilenetv1_100").modules() if isinstance(m, ConvNorm)]
    assert len(layers) == 27
    assert all(isinstance(m.norm, nn.BatchNorm2d) and isinstance(m.act, nn.ReLU6) for m in layers)
    assert {(m.norm.eps, m.norm.momentum) for m in layers} == {(1e-3, 0.01)}


def test_act_replaces_every_activation() -> None:
    model = build_on_meta(lambda: VARIANTS["mobilenetv1_025"](act="relu"))
    assert sum(isinstance(m, nn.ReLU) for m in model.modules()) == 27
    assert not any(isinstance(m, nn.ReLU6) for m in model.modules())


def test_layers_have_telling_names() -> None:
    names = {name for name, _ in meta_model("mobilenetv1_100").named_modules()}
    assert {"stem.conv", "stages.0.0.depthwise.conv", "stages.3.5.pointwise.norm", "pool", "classifier"} < names
    assert "stages.4.1.pointwise.conv.weight" in meta_model("mobilenetv1_100").state_dict()


def test_forward_and_backward() -> None:
    torch.manual_seed(0)
    model = VARIANTS["mobilenetv1_025"](num_classes=7, in_chans=1)
    logits = model(torch.randn(2, 1, 64, 48))
    assert logits.shape == (2, 7)
    loss = nn.functional.cross_entropy(logits, torch.tensor([1, 6]))
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(loss, list(model.parameters())))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width_mult": 0}, r"width_mult must be a number above 0 \(got 0\)"),
        ({"width_mult": -0.5}, r"width_mult must be a number above 0 \(got -0.5\)"),
        ({"num_classes": 0}, r"num_classes must be a whole number of at least 1 \(got 0\)"),
        ({"in_chans": 1.5}, r"in_chans must be a whole number of at least 1 \(got 1.5\)"),
        ({"act": "rellu"}, "act 'rellu' is unknown"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VARIANTS["mobilenetv1_100"](**arguments)
