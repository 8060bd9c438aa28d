from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from roofline.models.activations import (
    ACTIVATIONS,
    DynamicReLU,
    DynamicShiftMax,
    SEReLU,
    SqueezeExcite,
    make_activation,
)

X = torch.tensor([-30.0, -6, -3, -2.999, -1, -0.5, -1e-3, 0, 1e-3, 0.5, 1, 2.5, 2.999, 3, 5.999, 6, 30]).double()

ELEMENTWISE: dict[str, Callable[[float], float]] = {
    "relu": lambda x: max(x, 0.0),
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "hardswish": lambda x: x * min(max(x + 3, 0.0), 6.0) / 6,
    "hardsigmoid": lambda x: min(max(x / 6 + 0.5, 0.0), 1.0),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "gelu": lambda x: x * (1 + math.erf(x / math.sqrt(2))) / 2,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "mish": lambda x: x * math.tanh(math.log1p(math.exp(x))),
    "prelu": lambda x: x if x > 0 else 0.25 * x,  # the initial slope
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "tanh": lambda x: (math.exp(x) - math.exp(-x)) / (math.exp(x) + math.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
}
POOLING = {"se_relu", "dynamic_relu_a", "dynamic_relu_b", "dynamic_shift_max"}


def maps(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def param_count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_all_activations_are_tested_here() -> None:
    assert ELEMENTWISE.keys() | POOLING == ACTIVATIONS.keys()


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_values(name: str) -> None:
    want = torch.tensor([ELEMENTWISE[name](x) for x in X.tolist()], dtype=torch.float64)
    act = make_activation(name, X.numel()).double()
    with torch.no_grad():
        torch.testing.assert_close(act(X.reshape(1, -1, 1, 1)).flatten(), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("chans", [1, 7, 24])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_shape_and_gradient(name: str, chans: int) -> None:
    act = make_activation(name, chans).double()
    x = maps(2, chans, 5, 3).requires_grad_()
    y = act(x)
    assert y.shape == x.shape
    assert y.isfinite().all()
    y.square().sum().backward()
    for key, tensor in [("input", x), *act.named_parameters()]:
        assert tensor.grad is not None, key
        assert tensor.grad.isfinite().all(), key
    assert x.grad is not None
    assert x.grad.any()


@pytest.mark.parametrize("chans", [1, 8, 24, 100, 512])
def test_parameter_counts(chans: int) -> None:
    def two_layers(squeeze: int, outputs: int) -> int:
        return chans * squeeze + squeeze + squeeze * outputs + outputs

    want = dict.fromkeys(ACTIVATIONS, 0) | {
        "prelu": chans,
        "se_relu": two_layers(max(1, chans // 16), chans),
        "dynamic_relu_a": two_layers(max(1, chans // 8), 4),
        "dynamic_relu_b": two_layers(max(1, chans // 8), 4 * chans),
    }
    have = {name: param_count(make_activation(name, chans)) for name in ACTIVATIONS}
    del want["dynamic_shift_max"], have["dynamic_shift_max"]
    assert have == want
    assert param_count(DynamicShiftMax(chans, squeeze=12)) == two_layers(12, 4 * chans)
    assert param_count(DynamicShiftMax(chans, squeeze=8, branches=1)) == two_layers(8, 2 * chans)


@pytest.mark.parametrize("name", sorted(POOLING))
def test_gradients_are_those_of_the_function(name: str) -> None:
    torch.manual_seed(0)
    act = make_activation(name, 6).double()
    for p in act.parameters():
        nn.init.normal_(p, std=0.5)
    x = maps(2, 6, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(act, (x,))


# squeeze-and-excitation


def random_weights(module: nn.Module, std: float = 0.5, seed: int = 0) -> None:
    generator = torch.Generator().manual_seed(seed)
    for p in module.parameters():
        nn.init.normal_(p, std=std, generator=generator)


def two_layers(x: Tensor, first: nn.Module, second: nn.Module) -> Tensor:
    """Mean of each channel -> linear -> ReLU -> linear; first and second have the weights. (B, C, H, W) -> (B, out)."""
    means = x.sum(dim=(2, 3)) / (x.shape[2] * x.shape[3])
    for layer, last in ((first, False), (second, True)):
        assert isinstance(layer, nn.Linear | nn.Conv2d)
        assert layer.bias is not None
        means = means @ layer.weight.flatten(1).T + layer.bias
        means = means if last else means.clamp(min=0)
    return means


def test_squeeze_excite_and_se_relu() -> None:
    act = SEReLU(32).double()
    random_weights(act)
    assert act.se.reduce.out_channels == 2
    x = maps(3, 32, 4, 5)
    gate = 1 / (1 + torch.exp(-two_layers(x, act.se.reduce, act.se.expand)))
    scaled = x * gate[:, :, None, None]
    with torch.no_grad():
        torch.testing.assert_close(act.se(x), scaled)
        torch.testing.assert_close(act(x), torch.where(scaled > 0, scaled, 0.0))


def test_squeeze_excite_options() -> None:
    se = SqueezeExcite(8, 4, act="silu", gate="hardsigmoid", norm=True)
    assert [type(m) for m in (se.act, se.gate, se.norm)] == [nn.SiLU, nn.Hardsigmoid, nn.BatchNorm2d]
    assert param_count(se) == 8 * 4 + 4 + 2 * 4 + 4 * 8 + 8
    assert se(torch.randn(2, 8, 3, 3)).shape == (2, 8, 3, 3)


# Dynamic ReLU


def zero_coefficients(act: DynamicReLU | DynamicShiftMax) -> None:
    """Make every coefficient its initial value: the sigmoid of 0 is in the middle."""
    nn.init.zeros_(act.coefficients.expand.weight)
    nn.init.zeros_(act.coefficients.expand.bias)


@pytest.mark.parametrize("shared", [True, False])
def test_dynamic_relu_is_a_relu_when_nothing_moves_it(shared: bool) -> None:
    act, x = DynamicReLU(16, shared=shared).double(), maps(2, 16, 5, 5)
    zero_coefficients(act)
    with torch.no_grad():
        torch.testing.assert_close(act(x), x.clamp(min=0), rtol=0, atol=1e-15)


@pytest.mark.parametrize("shared", [True, False])
def test_dynamic_relu_is_the_larger_of_two_lines(shared: bool) -> None:
    act, x = DynamicReLU(16, shared=shared).double(), maps(3, 16, 4, 2)
    random_weights(act)
    logits = two_layers(x, act.coefficients.reduce, act.coefficients.expand)
    assert logits.shape == (3, 4 if shared else 64)
    delta = (2 / (1 + torch.exp(-logits)) - 1).reshape(3, 4, -1)  # (images, a1 a2 b1 b2, channels or 1)
    want = torch.empty_like(x)
    for b in range(3):
        for c in range(16):
            a1, a2, b1, b2 = delta[b, :, 0 if shared else c]
            want[b, c] = torch.maximum((1 + a1) * x[b, c] + b1 / 2, (0 + a2) * x[b, c] + b2 / 2)
    with torch.no_grad():
        torch.testing.assert_close(act(x), want)


@pytest.mark.parametrize(
    ("biases", "line"),
    [  # what saturated sigmoids make of a1, a2, b1, b2: at most 2, 1, 1/2, 1/2 and at least 0, -1, -1/2, -1/2
        ((99, 99, 99, 99), lambda x: max(2 * x + 0.5, x + 0.5)),
        ((-99, -99, -99, -99), lambda x: max(-0.5, -x - 0.5)),
        ((-99, 99, 99, -99), lambda x: max(0.5, x - 0.5)),
        ((99, -99, -99, 99), lambda x: max(2 * x - 0.5, -x + 0.5)),
    ],
)
def test_range_of_the_coefficients_of_dynamic_relu(biases: tuple[int, ...], line: Callable[[float], float]) -> None:
    act = DynamicReLU(1, shared=True).double()
    zero_coefficients(act)
    with torch.no_grad():
        act.coefficients.expand.bias.copy_(torch.tensor(biases))
        got = act(X.reshape(1, 1, -1, 1)).flatten()
    torch.testing.assert_close(got, torch.tensor([line(x) for x in X.tolist()], dtype=torch.float64))


def test_dynamic_relu_b_has_coefficients_for_each_channel_and_image() -> None:
    act, x = DynamicReLU(16, shared=False).double(), maps(2, 16, 5, 5)
    random_weights(act)
    with torch.no_grad():
        a, b = act.coefficients(x)
    assert not torch.allclose(a, b)
    assert DynamicReLU(16, shared=True).coefficients(x.float()).shape == (2, 4)


# Dynamic Shift-Max


def six_channels() -> Tensor:
    return torch.tensor([11.0, 12, 13, 21, 22, 23]).reshape(1, 6, 1, 1).double()  # group, channel in it


def shifted(groups: int, chans: Tensor) -> list[float]:
    act = DynamicShiftMax(6, groups=groups, branches=1, init_a=(0.0,), init_b=(1.0,)).double()
    zero_coefficients(act)
    with torch.no_grad():
        return list(act(chans).flatten().tolist())


def test_shift_by_one_group_and_one_channel() -> None:
    assert shifted(2, six_channels()) == [22, 23, 21, 12, 13, 11]  # channel j becomes j + 1 of the next group
    assert shifted(3, six_channels()) == [21, 13, 23, 22, 12, 11]  # groups (11 12) (13 21) (22 23)
    assert shifted(1, six_channels()) == [12, 13, 21, 22, 23, 11]
    assert shifted(6, six_channels()) == [12, 13, 21, 22, 23, 11]


def test_shift_max_is_the_larger_of_its_lines() -> None:
    act = DynamicShiftMax(6, groups=2, init_a=(1.0, 0.0), init_b=(0.0, 1.0)).double()
    zero_coefficients(act)
    with torch.no_grad():
        assert act(six_channels()).flatten().tolist() == [22, 23, 21, 21, 22, 23]
        assert act(-six_channels()).flatten().tolist() == [-11, -12, -13, -12, -13, -11]


@pytest.mark.parametrize("branches", [1, 2])
def test_shift_max_by_the_definition(branches: int) -> None:
    init_a, init_b = (1.0, 0.5), (0.0, 0.25)
    act = DynamicShiftMax(12, groups=3, squeeze=4, branches=branches, init_a=init_a, init_b=init_b).double()
    random_weights(act)
    x = maps(2, 12, 3, 2)
    logits = two_layers(x, act.coefficients.reduce, act.coefficients.expand)
    delta = 4 * ((logits + 3).clamp(0, 6) / 6 - 0.5)  # of blocks of 12 channels: a1 b1 a2 b2
    want = torch.full_like(x, -math.inf)
    for c in range(12):
        group, place = divmod(c, 4)
        other = (group + 1) % 3 * 4 + (place + 1) % 4
        for k in range(branches):
            a = init_a[k] + delta[:, 24 * k + c, None, None]
            b = init_b[k] + delta[:, 24 * k + 12 + c, None, None]
            want[:, c] = torch.maximum(want[:, c], a * x[:, c] + b * x[:, other])
    with torch.no_grad():
        torch.testing.assert_close(act(x), want)


@pytest.mark.parametrize(("bias", "want"), [(99, 3 * 5 + 2 * 7), (-99, -1 * 5 - 2 * 7)])
def test_coefficients_of_shift_max_stay_within_two_of_their_initial_values(bias: int, want: int) -> None:
    act = DynamicShiftMax(2, groups=1, branches=1)  # a starts at 1, b at 0
    zero_coefficients(act)
    nn.init.constant_(act.coefficients.expand.bias, bias)
    with torch.no_grad():
        assert act(torch.tensor([5.0, 7.0]).reshape(1, 2, 1, 1))[0, 0].item() == want


@pytest.mark.parametrize(("chans", "groups"), [(1, 1), (6, 2), (7, 1), (12, 3), (16, 4), (48, 6), (512, 16)])
def test_by_default_about_as_many_groups_as_channels_in_one(chans: int, groups: int) -> None:
    assert DynamicShiftMax(chans).groups == groups


def test_groups_of_shift_max_divide_the_channels() -> None:
    with pytest.raises(ValueError, match="4 groups do not divide 6 channels"):
        DynamicShiftMax(6, groups=4)


# make_activation


@pytest.mark.parametrize(
    ("spelling", "kind"),
    [
        ("relu", nn.ReLU),
        ("ReLU", nn.ReLU),
        ("relu-6", nn.ReLU6),
        ("h-swish", nn.Hardswish),
        ("h_swish", nn.Hardswish),
        ("hswish", nn.Hardswish),
        ("Hard Swish", nn.Hardswish),
        ("HardSwish", nn.Hardswish),
        ("H-Sigmoid", nn.Hardsigmoid),
        ("swish", nn.SiLU),
        ("SiLU", nn.SiLU),
        ("GELU", nn.GELU),
        ("leakyrelu", nn.LeakyReLU),
        ("Leaky-ReLU", nn.LeakyReLU),
        ("SE-ReLU", SEReLU),
        ("Dynamic ReLU A", DynamicReLU),
        ("dynamic-relu-b", DynamicReLU),
        ("DynamicShiftMax", DynamicShiftMax),
    ],
)
def test_spellings(spelling: str, kind: type[nn.Module]) -> None:
    assert type(make_activation(spelling, 8)) is kind


def test_the_two_dynamic_relus_are_told_apart() -> None:
    a, b = (make_activation(f"dynamic_relu_{letter}", 8) for letter in "ab")
    assert isinstance(a, DynamicReLU)
    assert isinstance(b, DynamicReLU)
    assert (a.outputs, b.outputs) == (1, 8)


def test_classes_and_callables() -> None:
    without_weights: list[Any] = [nn.SiLU, nn.Softplus]
    for kind in without_weights:
        assert type(make_activation(kind, 8)) is kind
    prelu = make_activation(nn.PReLU, 8)
    assert isinstance(prelu, nn.PReLU)
    assert prelu.num_parameters == 8
    assert isinstance(make_activation(SEReLU, 8), SEReLU)
    assert isinstance(make_activation(lambda chans: nn.Hardtanh(0, chans), 8), nn.Hardtanh)
    assert isinstance(make_activation(None, 8), nn.Identity)


@pytest.mark.parametrize("bad", ["", "rulu", "relu7", "dynamic_relu"])
def test_unknown_name(bad: str) -> None:
    with pytest.raises(ValueError, match=f"act '{bad}' is unknown; there are relu, relu6, hardswish"):
        make_activation(bad, 8)


@pytest.mark.parametrize("bad", [3, ["relu"], nn.ReLU()])
def test_neither_a_name_nor_a_factory(bad: Any) -> None:
    with pytest.raises(ValueError, match="act must be a name"):
        make_activation(bad, 8)
