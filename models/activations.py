"""Activation functions as interchangeable modules: (B, C, ...) -> the same shape, each made for a number of channels.

    make_activation("hardswish", 64)      one by name; `ACTIVATIONS` lists the names
    make_activation(nn.SiLU, 64)          a class of torch.nn
    make_activation(my_factory, 64)       any callable that takes the number of channels and returns a module

Most work on each element alone and have no weights. PReLU learns one slope a channel. Four look at the whole map first
(global average pool, two small linear layers) and so cost matrix products as well as elementwise work:

    SE-ReLU             squeeze-and-excitation, then ReLU. Hu et al., arXiv:1709.01507
    Dynamic ReLU A, B   max_k (a_k x + b_k), coefficients by image (A) or by image and channel (B). Chen et al.,
                        "Dynamic ReLU", ECCV 2020, arXiv:2003.10027
    Dynamic Shift-Max   max_k (a_k x + b_k x'), x' another group's channel. Li et al., "MicroNet", ICCV 2021,
                        arXiv:2108.05894
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Activation = str | type[nn.Module] | Callable[[int], nn.Module]


class SqueezeExcite(nn.Module):
    """Scale each channel by a gate in [0, 1] that two small layers compute from all channels' means.

    pool -> reduce -> [norm] -> act -> expand -> gate -> times the input; (B, chans, H, W) -> the same shape.
    Hu et al., "Squeeze-and-Excitation Networks", CVPR 2018, arXiv:1709.01507.

    Args:
        chans: Channels of the input.
        squeeze: Channels between the two layers.
        act: Activation between them.
        gate: ``"sigmoid"`` or ``"hardsigmoid"``.
        norm: Whether a batch norm follows the first layer.
    """

    def __init__(
        self, chans: int, squeeze: int, *, act: Activation = "relu", gate: Activation = "sigmoid", norm: bool = False
    ) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(chans, squeeze, 1)
        self.norm: nn.Module = nn.BatchNorm2d(squeeze) if norm else nn.Identity()
        self.act = make_activation(act, squeeze)
        self.expand = nn.Conv2d(squeeze, chans, 1)
        self.gate = make_activation(gate, chans)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh the channels."""
        y: Tensor = self.gate(self.expand(self.act(self.norm(self.reduce(self.pool(x))))))
        return x * y


class SEReLU(nn.Module):
    """Squeeze-and-excitation with a squeeze of C / 16 (that paper's default), then ReLU."""

    def __init__(self, chans: int, reduction: int = 16) -> None:
        super().__init__()
        self.se = SqueezeExcite(chans, max(1, chans // reduction))

    def forward(self, x: Tensor) -> Tensor:
        """(B, chans, H, W) -> the same shape."""
        return F.relu(self.se(x))


class Coefficients(nn.Module):
    """Coefficients of a dynamic activation from the mean of each channel: (B, chans, H, W) -> (B, count).

    pool -> linear -> ReLU -> linear -> gate
    """

    def __init__(self, chans: int, squeeze: int, count: int, gate: nn.Module) -> None:
        super().__init__()
        self.reduce = nn.Linear(chans, squeeze)
        self.act = nn.ReLU()
        self.expand = nn.Linear(squeeze, count)
        self.gate = gate

    def forward(self, x: Tensor) -> Tensor:
        """Pool and transform."""
        y: Tensor = self.gate(self.expand(self.act(self.reduce(x.mean(dim=(2, 3))))))
        return y


class DynamicReLU(nn.Module):
    """max over k = 1, 2 of a_k x + b_k, where a and b depend on the image; a ReLU (a = 1, 0; b = 0) at the start.

    a_k = alpha_k + d, b_k = d / 2, with d in [-1, 1] from `Coefficients`: alpha = (1, 0), lambda_a = 1 and
    lambda_b = 0.5 as in the paper. (B, chans, H, W) -> the same shape.

    Args:
        chans: Channels of the input.
        shared: Whether all channels share the four coefficients (variant A) or have four each (variant B).
        reduction: Channels are squeezed to `chans // reduction`.
    """

    def __init__(self, chans: int, *, shared: bool, reduction: int = 8) -> None:
        super().__init__()
        self.outputs = 1 if shared else chans
        self.coefficients = Coefficients(chans, max(1, chans // reduction), 4 * self.outputs, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        """The larger of two lines."""
        delta = 2 * self.coefficients(x) - 1
        a1, a2, b1, b2 = delta.reshape(-1, 4, self.outputs, 1, 1).unbind(1)
        return torch.maximum((1 + a1) * x + 0.5 * b1, a2 * x + 0.5 * b2)


class DynamicShiftMax(nn.Module):
    """max over k = 1, 2 of a_k x + b_k x', where x' is x moved on by one group, and by one channel within the group.

    It joins the groups of the grouped convolutions around it. Coefficients lie within +-2 of their initial values.
    (B, chans, H, W) -> the same shape. The numbers are those of the paper's code (liyunsheng13/micronet); the default
    groups and squeeze are for use outside MicroNet, whose table has its own.

    Args:
        chans: Channels of the input.
        groups: Groups the channels are in; by default the divisor of `chans` next below its square root, so that
            there are about as many groups as channels in one (the paper's rule for a convolution's groups).
        squeeze: Channels between the two layers that compute the coefficients; `chans // 8` by default.
        branches: Lines to take the maximum of; with 1 there is no maximum.
        init_a, init_b: Initial a_k and b_k, one a branch.

    Raises:
        ValueError: The groups do not divide the channels, or there are other than one or two branches.
    """

    def __init__(
        self,
        chans: int,
        *,
        groups: int | None = None,
        squeeze: int | None = None,
        branches: int = 2,
        init_a: tuple[float, ...] = (1.0, 1.0),
        init_b: tuple[float, ...] = (0.0, 0.0),
    ) -> None:
        super().__init__()
        groups = groups or max(d for d in range(1, math.isqrt(chans) + 1) if chans % d == 0)
        if branches not in (1, 2):
            raise ValueError(f"Dynamic Shift-Max has one branch or two (got {branches})")
        if chans % groups:
            raise ValueError(f"{groups} groups do not divide {chans} channels")
        self.chans, self.groups, self.init_a, self.init_b = chans, groups, init_a[:branches], init_b[:branches]
        gate = nn.Hardsigmoid()
        self.coefficients = Coefficients(chans, squeeze or max(1, chans // 8), 2 * branches * chans, gate)

    def forward(self, x: Tensor) -> Tensor:
        """Shift, weigh, and take the larger."""
        batch, chans, height, width = x.shape
        grouped = x.reshape(batch, self.groups, chans // self.groups, height, width)
        shifted = grouped.roll((-1, -1), dims=(1, 2)).reshape(x.shape)
        weights = 4 * (self.coefficients(x) - 0.5)
        pairs = weights.reshape(batch, -1, 2, chans, 1, 1).unbind(1)
        lines = [
            (a + pair[:, 0]) * x + (b + pair[:, 1]) * shifted
            for a, b, pair in zip(self.init_a, self.init_b, pairs, strict=True)
        ]
        return lines[0] if len(lines) == 1 else torch.maximum(*lines)


# fmt: off
ACTIVATIONS: Mapping[str, Callable[[int], nn.Module]] = {
    "relu":              lambda chans: nn.ReLU(),
    "relu6":             lambda chans: nn.ReLU6(),
    "hardswish":         lambda chans: nn.Hardswish(),
    "hardsigmoid":       lambda chans: nn.Hardsigmoid(),
    "silu":              lambda chans: nn.SiLU(),
    "gelu":              lambda chans: nn.GELU(),
    "elu":               lambda chans: nn.ELU(),
    "mish":              lambda chans: nn.Mish(),
    "prelu":             nn.PReLU,
    "leaky_relu":        lambda chans: nn.LeakyReLU(),
    "tanh":              lambda chans: nn.Tanh(),
    "sigmoid":           lambda chans: nn.Sigmoid(),
    "se_relu":           SEReLU,
    "dynamic_relu_a":    partial(DynamicReLU, shared=True),
    "dynamic_relu_b":    partial(DynamicReLU, shared=False),
    "dynamic_shift_max": DynamicShiftMax,
}
# fmt: on
_SHORT = {"hswish": "hardswish", "hsigmoid": "hardsigmoid", "swish": "silu"}
_BY_LETTERS = {name.replace("_", ""): name for name in ACTIVATIONS} | _SHORT


def name_of(act: str) -> str:
    """The name in `ACTIVATIONS` of what people call it; case, ``-`` and ``_`` do not matter.

    >>> name_of("h-swish"), name_of("ReLU6")
    ('hardswish', 'relu6')

    Raises:
        ValueError: An unknown name.
    """
    name = _BY_LETTERS.get(act.lower().replace("-", "").replace("_", "").replace(" ", ""))
    if name is None:
        raise ValueError(f"act {act!r} is unknown; there are {', '.join(ACTIVATIONS)}")
    return name


def make_activation(act: Activation | None, chans: int) -> nn.Module:
    """Make an activation for `chans` channels; an Identity for None.

    Args:
        act: A name in `ACTIVATIONS` (case, ``-`` and ``_`` do not matter; ``h-swish`` and ``swish`` are known too), a
            class of torch.nn, or a callable that takes the number of channels and returns a module.
        chans: Channels of the tensors it will see.

    Raises:
        ValueError: An unknown name.
    """
    if act is None:
        return nn.Identity()
    if isinstance(act, str):
        return ACTIVATIONS[name_of(act)](chans)
    if isinstance(act, type) and act.__module__ == nn.ReLU.__module__ and act is not nn.PReLU:
        made: nn.Module = act()  # torch's own classes take options, not channels
        return made
    if not callable(act) or isinstance(act, nn.Module):
        raise ValueError(f"act must be a name, a class of torch.nn, or a callable that makes a module (got {act!r})")
    return act(chans)
