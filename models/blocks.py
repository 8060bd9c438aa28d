"""The blocks that the families share, and what they have in common.

Convolutions keep the resolution, or divide it by their stride and round up: padding is (kernel - 1) // 2 on each side.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from roofline.models.activations import Activation, SqueezeExcite, make_activation

Norm = Callable[[int], nn.Module]

# The values of the MobileNets' own code, not PyTorch's defaults. TensorFlow's momentum is the share kept (there 0.99),
# PyTorch's the share replaced.
TensorFlowNorm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


class ConvNorm(nn.Module):
    """Convolution, batch norm, and an activation if `act` is given.

    (B, in_chans, H, W) -> (B, out_chans, ceil(H / stride), ceil(W / stride))

    Args:
        in_chans: Channels of the input.
        out_chans: Channels of the output.
        kernel: Size of the kernel, odd: one number, or (height, width).
        stride: The same, of the steps.
        groups: Groups of the convolution; it divides both channels.
        act: Activation at the end, or None for none.
        norm: Makes the norm for a number of channels.
        bias: Whether the convolution has one; the norm takes it out again, but some networks have it.

    Raises:
        ValueError: The groups do not divide the channels.
    """

    def __init__(
        self,
        in_chans: int,
        out_chans: int,
        kernel: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        groups: int = 1,
        act: Activation | None = None,
        norm: Norm = nn.BatchNorm2d,
        bias: bool = False,
    ) -> None:
        super().__init__()
        if in_chans % groups or out_chans % groups:
            raise ValueError(f"{groups} groups do not divide {in_chans} and {out_chans} channels")
        height, width = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = ((height - 1) // 2, (width - 1) // 2)
        self.conv = nn.Conv2d(in_chans, out_chans, (height, width), stride, padding, groups=groups, bias=bias)
        self.norm = norm(out_chans)
        self.act = make_activation(act, out_chans)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise, activate."""
        y: Tensor = self.act(self.norm(self.conv(x)))
        return y


def depthwise(
    chans: int, kernel: int, *, stride: int = 1, act: Activation | None = None, norm: Norm = nn.BatchNorm2d
) -> ConvNorm:
    """Return a convolution of each channel on its own, with batch norm and an activation if `act` is given."""
    return ConvNorm(chans, chans, kernel, stride=stride, groups=chans, act=act, norm=norm)


class DepthwiseSeparable(nn.Module):
    """A 3x3 depthwise convolution with the stride, then a 1x1, both with norm and activation: MobileNetV1's block.

    (B, in_chans, H, W) -> (B, out_chans, ceil(H / stride), ceil(W / stride))
    """

    def __init__(
        self,
        in_chans: int,
        out_chans: int,
        *,
        stride: int,
        depthwise_act: Activation,
        pointwise_act: Activation,
        norm: Norm = nn.BatchNorm2d,
    ) -> None:
        super().__init__()
        self.depthwise = depthwise(in_chans, 3, stride=stride, act=depthwise_act, norm=norm)
        self.pointwise = ConvNorm(in_chans, out_chans, 1, act=pointwise_act, norm=norm)

    def forward(self, x: Tensor) -> Tensor:
        """Mix space, then channels."""
        y: Tensor = self.pointwise(self.depthwise(x))
        return y


def make_divisible(chans: float, divisor: int = 8) -> int:
    """Round to the nearest multiple of `divisor`, at least one of it, and never below 90 % of `chans`.

    The rule of the MobileNets' code since V2: widths that vector units like.

    >>> make_divisible(32 * 0.35), make_divisible(24 * 0.75), make_divisible(60 * 0.25)
    (16, 24, 16)
    """
    rounded = max(divisor, int(chans + divisor / 2) // divisor * divisor)
    return rounded if rounded >= 0.9 * chans else rounded + divisor


def init_weights(model: nn.Module) -> None:
    """Draw convolutions from N(0, 2 / fan_out) and linear layers from N(0, 0.01^2), and set biases to 0.

    The fan-out of a grouped convolution is counted within its group, which torch.nn.init does not do.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
            nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
        if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
            nn.init.zeros_(module.bias)


def fold_norms(model: nn.Module) -> nn.Module:
    """Return a copy for inference in which every norm that follows a convolution is part of its weights and a bias.

    What compilers for inference do, and what roofline's epilogue fusion counts. The output is the same up to rounding.
    Norms that follow no convolution stay.
    """
    folded = copy.deepcopy(model).eval()
    for module in folded.modules():
        if isinstance(module, ConvNorm) and isinstance(module.norm, nn.BatchNorm2d):
            module.conv = fuse_conv_bn_eval(module.conv, module.norm)
            module.norm = nn.Identity()
        elif isinstance(module, SqueezeExcite) and isinstance(module.norm, nn.BatchNorm2d):
            module.reduce = fuse_conv_bn_eval(module.reduce, module.norm)
            module.norm = nn.Identity()
    return folded


MOST = {"factor": 1000, "count": 1_000_000, "depth": 1000}  # beyond any network, and before sizes overflow


def check_positive(**values: float) -> None:
    """Raise a ValueError unless each value is a number above 0, and at most 1000; it names the argument."""
    for name, value in values.items():
        if not _is_number(value) or not 0 < value < math.inf:
            raise ValueError(f"{name} must be a number above 0 (got {_shown(value)})")
        if value > MOST["factor"]:
            raise ValueError(f"{name} must be at most {MOST['factor']} (got {_shown(value)})")


def check_share(**values: float) -> None:
    """Raise a ValueError unless each value is a number from 0 to 1; it names the argument."""
    for name, value in values.items():
        if not _is_number(value) or not 0 <= value <= 1:
            raise ValueError(f"{name} must be from 0 (none) to 1 (got {_shown(value)})")


def check_counts(**values: int) -> None:
    """Raise a ValueError unless each value is a whole number from 1 to a million; it names the argument."""
    _check_whole(values, MOST["count"])


def check_depths(**values: int) -> None:
    """Raise a ValueError unless each value is a whole number from 1 to 1000; it names the argument."""
    _check_whole(values, MOST["depth"])


def check_flags(**values: bool) -> None:
    """Raise a ValueError unless each value is True or False; it names the argument."""
    for name, value in values.items():
        if not isinstance(value, bool):
            raise ValueError(f"{name} must be True or False (got {_shown(value)})")


def _check_whole(values: Mapping[str, int], most: int) -> None:
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1 (got {_shown(value)})")
        if value > most:
            raise ValueError(f"{name} must be at most {most} (got {_shown(value)})")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**30 else "a number of more than 30 digits"
    return text if len(text) <= 60 else f"{text[:57]}..."
