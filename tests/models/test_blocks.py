from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from roofline.models import activation_probe, micronet, mobilenetv4, mobileone
from roofline.models.blocks import (
    ConvNorm,
    TensorFlowNorm,
    check_counts,
    check_depths,
    check_flags,
    check_positive,
    check_share,
    depthwise,
    fold_norms,
    init_weights,
    make_divisible,
)

# make_divisible


@pytest.mark.parametrize(
    ("chans", "want"),
    [(32, 32), (32 * 0.35, 16), (24 * 0.75, 24), (60 * 0.25, 16), (1, 8), (11.9, 16), (12, 16), (96 * 0.75, 72)],
)
def test_make_divisible(chans: float, want: int) -> None:
    assert make_divisible(chans) == want


def test_widths_of_mobilenetv2_140() -> None:
    # 1.4 times the channels of MobileNetV2, as tensorflow/models and timm have them
    widths = [make_divisible(1.4 * c) for c in (32, 16, 24, 32, 64, 96, 160, 320, 1280)]
    assert widths == [48, 24, 32, 48, 88, 136, 224, 448, 1792]


@given(chans=st.floats(0.1, 5000), divisor=st.sampled_from([1, 2, 4, 8, 16]))
def test_properties_of_make_divisible(chans: float, divisor: int) -> None:
    got = make_divisible(chans, divisor)
    assert got % divisor == 0
    assert got >= divisor
    assert got >= 0.9 * chans
    nearest = max(divisor, math.floor(chans / divisor + 0.5) * divisor)
    assert got in (nearest, nearest + divisor)
    assert (got == nearest) == (nearest >= 0.9 * chans)


@given(chans=st.integers(1, 600), divisor=st.sampled_from([4, 8]))
def test_multiples_stay_and_wider_is_not_narrower(chans: int, divisor: int) -> None:
    assert make_divisible(chans * divisor, divisor) == chans * divisor
    assert make_divisible(chans + 1, divisor) >= make_divisible(chans, divisor) - divisor


# ConvNorm


@pytest.mark.parametrize("size", [(7, 9), (8, 8), (5, 6), (1, 1)])
@pytest.mark.parametrize(
    ("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 2), ((3, 1), (2, 1)), ((1, 5), (1, 2)), ((1, 3), 1)]
)
def test_sizes_stay_or_are_divided_and_rounded_up(
    size: tuple[int, int], kernel: int | tuple[int, int], stride: int | tuple[int, int]
) -> None:
    down, across = stride if isinstance(stride, tuple) else (stride, stride)
    y = ConvNorm(3, 4, kernel, stride=stride)(torch.randn(2, 3, *size).repeat(2, 1, 1, 1))
    assert y.shape == (4, 4, math.ceil(size[0] / down), math.ceil(size[1] / across))


def test_convolution_then_norm_then_activation() -> None:
    block, x = ConvNorm(3, 4, 3, act="hardswish").eval(), torch.randn(2, 3, 5, 5)
    assert [name for name, _ in block.named_children()] == ["conv", "norm", "act"]
    assert block.conv.bias is None
    with torch.no_grad():
        torch.testing.assert_close(block(x), nn.functional.hardswish(block.norm(block.conv(x))))
    assert isinstance(ConvNorm(3, 4, 3).act, nn.Identity)


def test_norm_of_ones_choice() -> None:
    norm = ConvNorm(3, 4, 3, norm=TensorFlowNorm).norm
    assert isinstance(norm, nn.BatchNorm2d)
    assert (norm.num_features, norm.eps, norm.momentum) == (4, 1e-3, 0.01)


def test_depthwise() -> None:
    block = depthwise(6, 5, stride=2, act="relu6")
    assert (block.conv.groups, block.conv.kernel_size, block.conv.stride) == (6, (5, 5), (2, 2))
    assert block.conv.weight.shape == (6, 1, 5, 5)
    assert isinstance(block.act, nn.ReLU6)


@pytest.mark.parametrize("chans", [(6, 8), (8, 6), (6, 6)])
def test_groups_divide_both_channels(chans: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=f"4 groups do not divide {chans[0]} and {chans[1]} channels"):
        ConvNorm(*chans, 1, groups=4)


# init_weights


def test_initial_weights() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(64, 256, 3), nn.Conv2d(512, 256, 3, groups=4), depthwise(4096, 3).conv, nn.Linear(256, 256)]
    for layer, std in zip(layers, [(2 / (9 * 256)) ** 0.5, (2 / (9 * 64)) ** 0.5, (2 / 9) ** 0.5, 0.01], strict=True):
        init_weights(layer)
        assert isinstance(layer.weight, Tensor)
        assert layer.weight.std().item() == pytest.approx(std, rel=0.03)
        assert layer.weight.mean().item() == pytest.approx(0, abs=std / 10)
        assert layer.bias is None or not torch.any(layer.bias)  # type: ignore[arg-type]


# fold_norms


def as_if_trained(model: nn.Module) -> nn.Module:
    """Norms that have seen data, and weights that keep activations of the size of the input."""
    generator = torch.Generator().manual_seed(0)
    for m in model.modules():
        if isinstance(m, nn.BatchNorm2d):
            assert m.running_mean is not None
            assert m.running_var is not None
            m.running_mean.normal_(0, 0.3, generator=generator)
            m.running_var.uniform_(0.5, 2, generator=generator)
            nn.init.uniform_(m.weight, 0.5, 1.5, generator=generator)
            nn.init.normal_(m.bias, 0, 0.3, generator=generator)
        elif isinstance(m, nn.Conv2d | nn.Linear):
            nn.init.normal_(m.weight, 0, m.weight[0].numel() ** -0.5, generator=generator)
    return model


@pytest.mark.parametrize(
    ("family", "name", "norms_left"),
    [
        (mobilenetv4, "mobilenetv4_conv_small", 0),
        (mobilenetv4, "mobilenetv4_hybrid_medium", 8),  # before the queries, keys and values of its attention blocks
        (mobileone, "mobileone_s0:train", 35),  # on the skip branches
        (micronet, "micronet_m0", 0),
        (micronet, "micronet_m3", 0),
        (activation_probe, "activation_probe", 0),
    ],
)
def test_folding_norms_keeps_the_function(family: Any, name: str, norms_left: int) -> None:
    build: Callable[..., nn.Module] = family.VARIANTS[name]
    model = as_if_trained(build(num_classes=8)).double()
    before = copy.deepcopy(model.state_dict())
    folded = fold_norms(model)
    assert sum(isinstance(m, nn.BatchNorm2d) for m in folded.modules()) == norms_left
    assert not folded.training
    assert model.training  # and has all its norms and weights
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())

    x = torch.randn(2, 3, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        want, got = model.eval()(x), folded(x)
    assert want.std() > 1e-2
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10 * want.abs().max().item())


def test_a_folded_convolution_has_the_weights_of_convolution_and_norm() -> None:
    block = ConvNorm(2, 3, 1, act="relu")
    as_if_trained(block)
    folded = fold_norms(block)
    assert isinstance(folded, ConvNorm)
    assert isinstance(block.norm, nn.BatchNorm2d)
    assert isinstance(folded.norm, nn.Identity)
    assert isinstance(folded.act, nn.ReLU)
    assert folded.conv.bias is not None
    assert block.norm.running_var is not None
    assert block.norm.running_mean is not None
    factor = block.norm.weight / torch.sqrt(block.norm.running_var + block.norm.eps)
    torch.testing.assert_close(folded.conv.weight, block.conv.weight * factor.reshape(-1, 1, 1, 1))
    torch.testing.assert_close(folded.conv.bias, block.norm.bias - block.norm.running_mean * factor)


def test_folding_twice_changes_nothing() -> None:
    once = fold_norms(as_if_trained(ConvNorm(2, 3, 1)))
    twice = fold_norms(once)
    assert all(torch.equal(a, b) for a, b in zip(once.parameters(), twice.parameters(), strict=True))


# check_positive, check_counts


@pytest.mark.parametrize("value", [1, 0.5, 1e-9, 1000])
def test_numbers_above_0(value: float) -> None:
    check_positive(width_mult=value)


@pytest.mark.parametrize("value", [0, -1, 0.0, -0.5, math.nan, math.inf, True, "1", None])
def test_other_than_numbers_above_0(value: Any) -> None:
    with pytest.raises(ValueError, match="width_mult must be a number above 0") as raised:
        check_positive(depth_mult=1, width_mult=value)
    assert str(raised.value) == f"width_mult must be a number above 0 (got {value!r})"


@pytest.mark.parametrize("value", [1, 2, 10**6])
def test_whole_numbers_of_at_least_1(value: int) -> None:
    check_counts(num_classes=value)


@pytest.mark.parametrize("value", [0, -1, 1.0, 2.5, math.nan, True, "3", None])
def test_other_than_whole_numbers(value: Any) -> None:
    with pytest.raises(ValueError, match="in_chans must be") as raised:
        check_counts(num_classes=1, in_chans=value)
    assert str(raised.value) == f"in_chans must be a whole number of at least 1 (got {value!r})"


class TestChecks:
    """Of arguments: one line that names the argument, says what would be right, and shows what was given, shortened."""

    def test_shares(self) -> None:
        check_share(se_ratio=0, other=1, third=0.25)
        for bad in (-0.1, 1.1, math.nan, True, "x", None):
            with pytest.raises(ValueError, match=r"^se_ratio must be from 0 \(none\) to 1 \(got "):
                check_share(se_ratio=bad)  # type: ignore[arg-type]

    def test_flags(self) -> None:
        check_flags(se=True, inference=False)
        for bad in (1, "false", None):
            with pytest.raises(ValueError, match=r"^se must be True or False"):
                check_flags(se=bad)  # type: ignore[arg-type]

    def test_limits(self) -> None:
        check_positive(width_mult=1000)
        check_counts(num_classes=1_000_000)
        check_depths(depth=1000)
        with pytest.raises(ValueError, match=r"^width_mult must be at most 1000 \(got 1000\.5\)$"):
            check_positive(width_mult=1000.5)
        with pytest.raises(ValueError, match=r"^num_classes must be at most 1000000 \(got 1000001\)$"):
            check_counts(num_classes=1_000_001)
        with pytest.raises(ValueError, match=r"^depth must be at most 1000 \(got a number of more than 30 digits\)$"):
            check_depths(depth=10**400)
