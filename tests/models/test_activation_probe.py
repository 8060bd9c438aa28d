from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from roofline.loading import build_on_meta
from roofline.models.activation_probe import VARIANTS
from roofline.models.activations import ACTIVATIONS
from roofline.models.blocks import ConvNorm
from tests.flops import Macs, macs_of


def build(**arguments: Any) -> nn.Module:
    return build_on_meta(lambda: VARIANTS["activation_probe"](**arguments)).eval()


def cost(model: nn.Module, px: int = 224) -> tuple[int, int]:
    return sum(p.numel() for p in model.parameters()), macs_of(model, 1, 3, px, px).total()


def test_thirty_convolutions_each_with_norm_and_relu() -> None:
    blocks = [m for m in build().modules() if isinstance(m, ConvNorm)]
    assert len(blocks) == 30
    assert all(isinstance(b.norm, nn.BatchNorm2d) and isinstance(b.act, nn.ReLU) for b in blocks)
    assert all(b.conv.kernel_size == (3, 3) and b.conv.groups == 1 for b in blocks)
    assert sum(isinstance(m, nn.Conv2d) for m in build().modules()) == 30


def test_resolutions_and_widths() -> None:
    sizes: list[tuple[int, ...]] = []
    model = build()
    for m in model.modules():
        if isinstance(m, ConvNorm):
            m.register_forward_hook(lambda _, __, out: sizes.append(tuple(out.shape[1:])))
    assert model(torch.empty(1, 3, 224, 224, device="meta")).shape == (1, 1000)
    chans_px = [(32, 112), (64, 56), (128, 28), (256, 14), (512, 7)]
    assert sizes == [(chans, px, px) for chans, px in chans_px for _ in range(6)]


def test_exact_cost() -> None:
    # 25 layers cost the same, the four that double the channels half of it; then the first one and the classifier
    layer = 9 * 32**2 * 112**2
    assert layer == 115_605_504
    macs = 25 * layer + 4 * layer // 2 + 27 * 32 * 112**2 + 512_000
    weights = [9 * 5 * c**2 + 9 * c * c // 2 for c in (64, 128, 256, 512)]
    params = 27 * 32 + 9 * 5 * 32**2 + sum(weights) + 6 * 2 * (32 + 64 + 128 + 256 + 512) + 513_000
    assert cost(build()) == (params, macs) == (17_805_768, 3_132_698_624)


@settings(max_examples=10, deadline=None)
@given(depth=st.integers(5, 60), width=st.integers(1, 40))
def test_depth_and_width(depth: int, width: int) -> None:
    model = build(depth=depth, width=width, num_classes=3)
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    assert len(convs) == depth
    assert [conv.out_channels for conv in convs if conv.stride == (2, 2)] == [width * 2**i for i in range(5)]
    by_width = [sum(conv.out_channels == width * 2**i for conv in convs) for i in range(5)]
    assert by_width == sorted(by_width)
    assert by_width[-1] - by_width[0] <= 1
    with torch.no_grad(), Macs():
        assert model(torch.empty(2, 3, 50, 33, device="meta")).shape == (2, 3)


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.usefixtures("shapes_alone")
def test_any_activation_in_place_of_relu(name: str) -> None:
    model = build(act=name)
    kind = type(ACTIVATIONS[name](4))
    assert sum(isinstance(m.act, kind) for m in model.modules() if isinstance(m, ConvNorm)) == 30
    assert model(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 1000)


@pytest.mark.parametrize("act", [None, "dynamic_shift_max", "dynamic_relu_b", "se_relu"])
def test_forward_and_backward(act: str | None) -> None:
    torch.manual_seed(0)
    model, x = VARIANTS["activation_probe"](width=8, num_classes=7, in_chans=1, act=act), torch.randn(2, 1, 64, 64)
    model.train()(x).square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.isfinite().all(), key
    with torch.no_grad():
        logits = model.eval()(x)
    assert logits.shape == (2, 7)
    assert logits.isfinite().all()


def test_layers_have_telling_names() -> None:
    names = {name for name, _ in build().named_modules()}
    assert {"stages.0.0.conv", "stages.4.5.norm", "stages.4.5.act", "pool", "classifier"} < names


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"depth": 4}, r"depth must be at least 5, one convolution a resolution \(got 4\)"),
        ({"depth": 7.5}, "depth must be a whole number of at least 1"),
        ({"width": 0}, "width must be a whole number of at least 1"),
        ({"num_classes": 0}, "num_classes must be"),
        ({"in_chans": 0}, "in_chans must be"),
        ({"act": "rulu"}, "act 'rulu' is unknown"),
    ],
)
def test_bad_input(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**arguments)
