"""MobileNetV4: five networks, searched to be near-optimal on phones' CPUs, GPUs, DSPs and accelerators alike.

Qin et al., "MobileNetV4: Universal Models for the Mobile Ecosystem", ECCV 2024, arXiv:2404.10518.

Nearly everything is one block, the Universal Inverted Bottleneck (UIB): expand with a 1x1 convolution, project back
with another, and put a depthwise convolution before the expansion, in the middle, at both places or at neither:

    start  mid     is then called
    -      3 or 5  Inverted Bottleneck (IB), as in MobileNetV2
    3 or 5 -       ConvNeXt-like: spatial mixing before the expansion, where it is cheap
    3 or 5 3 or 5  ExtraDW: a larger receptive field at little cost, as depthwise layers wait for memory anyway
    -      -       FFN: two 1x1 convolutions, the friendliest to accelerators

A stride sits on the middle depthwise convolution if there is one. The two hybrids also have Mobile MQA, attention whose
heads share one key and one value, so that there is more arithmetic to each byte read.

The numbers in the tables below are those of the released networks: tensorflow/models
official/vision/modeling/backbones/mobilenet.py and official/vision/modeling/layers/nn_blocks.py; timm's mobilenetv4_*
agree. For Hybrid-M they differ from Table 13 of the paper (11.17 M parameters instead of 11.07 M); the release is what
can be downloaded and timed, so it is what is here. Padding is symmetric, as in timm: TensorFlow's "same" gives the same
shapes, shifted by a pixel where the stride is 2. Width multipliers and dropout are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

# The values of the paper's own code, not PyTorch's defaults. TensorFlow's momentum is the share kept (there 0.99),
# PyTorch's the share replaced.
BatchNorm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, and an activation if `act` is given.

    (B, in_chans, H, W) -> (B, out_chans, ceil(H / stride), ceil(W / stride))
    """

    def __init__(
        self,
        in_chans: int,
        out_chans: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        act: type[nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chans, out_chans, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = BatchNorm(out_chans)
        self.act: nn.Module = act() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Convolve, normalise, activate."""
        y: Tensor = self.act(self.norm(self.conv(x)))
        return y


def depthwise(chans: int, kernel: int, *, stride: int = 1, act: type[nn.Module] | None = None) -> ConvNorm:
    """Return a convolution of each channel on its own, with batch norm and an activation if `act` is given."""
    return ConvNorm(chans, chans, kernel, stride=stride, groups=chans, act=act)


class LayerScale(nn.Module):
    """A learned factor for each channel, near zero at first, so that a deep network starts as almost the identity."""

    def __init__(self, chans: int, init: float) -> None:
        super().__init__()
        self.init = init
        self.gamma = nn.Parameter(torch.empty(chans, 1, 1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set every factor to its initial value."""
        nn.init.constant_(self.gamma, self.init)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return x * self.gamma


def layer_scale_or_none(chans: int, init: float | None) -> nn.Module:
    """Return a LayerScale, or an Identity where the architecture has none."""
    return nn.Identity() if init is None else LayerScale(chans, init)


class FusedIB(nn.Module):
    """Fused inverted bottleneck: a full convolution expands, a 1x1 projects.

    For the first layers, where the resolution is high and channels are few: the expanded tensor is written once and
    already downsampled, where an expansion and a depthwise convolution would first write it at full resolution.
    (B, in_chans, H, W) -> (B, out_chans, ceil(H / stride), ceil(W / stride)). No residual: all of them have a stride.
    """

    def __init__(
        self, in_chans: int, out_chans: int, kernel: int, *, expand: int, stride: int, act: type[nn.Module]
    ) -> None:
        super().__init__()
        self.expand = ConvNorm(in_chans, in_chans * expand, kernel, stride=stride, act=act)
        self.project = ConvNorm(in_chans * expand, out_chans, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Expand and downsample, then project."""
        y: Tensor = self.project(self.expand(x))
        return y


class UniversalInvertedBottleneck(nn.Module):
    """UIB: [start_dw] -> expand -> [mid_dw] -> project -> [layer_scale], plus the input where the shapes agree.

    (B, in_chans, H, W) -> (B, out_chans, ceil(H / stride), ceil(W / stride))

    Args:
        in_chans: Channels of the input.
        out_chans: Channels of the output.
        start: Kernel of the depthwise convolution before the expansion; 0 for none. It has no activation.
        mid: Kernel of the depthwise convolution between expansion and projection; 0 for none.
        expand: The expanded width is `in_chans * expand` (a multiple of 8 in all five networks, so never rounded).
        stride: On `mid_dw` if there is one, so that `start_dw` and `expand` run at the resolution of the input;
            else on `start_dw`.
        act: Activation after `expand` and `mid_dw`.
        layer_scale: Initial factor of each channel before the residual add, or None for no layer scale.
    """

    def __init__(
        self,
        in_chans: int,
        out_chans: int,
        *,
        start: int,
        mid: int,
        expand: int,
        stride: int = 1,
        act: type[nn.Module] = nn.ReLU,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        if stride > 1 and not start and not mid:
            raise ValueError("a stride needs a depthwise convolution: give 'start' or 'mid' a kernel")
        width = in_chans * expand
        self.start_dw: nn.Module = depthwise(in_chans, start, stride=1 if mid else stride) if start else nn.Identity()
        self.expand = ConvNorm(in_chans, width, 1, act=act)
        self.mid_dw: nn.Module = depthwise(width, mid, stride=stride, act=act) if mid else nn.Identity()
        self.project = ConvNorm(width, out_chans, 1)
        self.layer_scale = layer_scale_or_none(out_chans, layer_scale)
        self.residual = stride == 1 and in_chans == out_chans

    def forward(self, x: Tensor) -> Tensor:
        """Mix space and channels, in the order the attributes have."""
        y: Tensor = self.expand(self.start_dw(x))
        y = self.layer_scale(self.project(self.mid_dw(y)))
        return x + y if self.residual else y


class MultiQueryAttention(nn.Module):
    """softmax(q k^T / sqrt(D)) v, for any number of queries and one set of M keys and values of D dimensions.

    It has no weights: it is a module so that its two matrix products have a name of their own.
    """

    def __init__(self, key_dim: int) -> None:
        super().__init__()
        self.scale = key_dim**-0.5

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Query (B, D, Q), key (B, D, M) and value (B, D, M) -> (B, D, Q)."""
        key = key * self.scale  # the smallest of the three tensors that could be scaled
        scores = torch.bmm(query.transpose(1, 2), key)  # (B, Q, M)
        return torch.bmm(value, scores.softmax(dim=-1).transpose(1, 2))


class MobileMQA(nn.Module):
    """Mobile multi-query attention: norm -> query, key, value -> attention -> project -> layer_scale, plus the input.

    As all heads share the keys and values, a head is no more than a further set of queries. So the heads of all
    positions line up in one matrix, and attention is two matrix products however many heads there are. `query` puts
    its channels in the order (key_dim, heads), which makes that line-up a view of the convolution's (B, C, H, W) output
    and its inverse a view too: nothing is copied or transposed in memory. (By the same thought, with the order
    (heads, key_dim) that suits a (B, H, W, C) layout, the paper's Table 17 takes 68 % off what attention adds to the
    latency on a Pixel 7.)

    With `kv_stride` 2, keys and values have each a depthwise convolution that halves their resolution, rounding up.
    (B, chans, H, W) -> the same shape. No biases, no positional encoding.
    """

    def __init__(
        self, chans: int, *, heads: int, key_dim: int, kv_stride: int = 1, layer_scale: float | None = None
    ) -> None:
        super().__init__()
        self.heads, self.key_dim = heads, key_dim
        self.norm = BatchNorm(chans)
        self.query = nn.Conv2d(chans, heads * key_dim, 1, bias=False)
        self.key_dw: nn.Module = depthwise(chans, 3, stride=kv_stride) if kv_stride > 1 else nn.Identity()
        self.key = nn.Conv2d(chans, key_dim, 1, bias=False)
        self.value_dw: nn.Module = depthwise(chans, 3, stride=kv_stride) if kv_stride > 1 else nn.Identity()
        self.value = nn.Conv2d(chans, key_dim, 1, bias=False)
        self.attention = MultiQueryAttention(key_dim)
        self.project = nn.Conv2d(heads * key_dim, chans, 1, bias=False)
        self.layer_scale = layer_scale_or_none(chans, layer_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Let every position look at every (downsampled) position."""
        batch, _, height, width = x.shape
        y: Tensor = self.norm(x)
        query = self.query(y).reshape(batch, self.key_dim, self.heads * height * width)
        key = self.key(self.key_dw(y)).flatten(2)
        value = self.value(self.value_dw(y)).flatten(2)
        y = self.attention(query, key, value).reshape(batch, self.key_dim * self.heads, height, width)
        y = self.layer_scale(self.project(y))
        return x + y


# The tables: a variant is its stem and one tuple of rows a resolution; a row is a block, or `times` equal ones.


class Conv(NamedTuple):
    """A row of the table: a plain ConvNorm with activation."""

    out: int
    kernel: int
    stride: int = 1
    times: int = 1


class Fused(NamedTuple):
    """A row of the table: a FusedIB."""

    out: int
    kernel: int
    expand: int
    stride: int
    times: int = 1


class UIB(NamedTuple):
    """A row of the table: a UniversalInvertedBottleneck. `start` and `mid` are kernels, 0 for none."""

    out: int
    start: int
    mid: int
    expand: int
    stride: int = 1
    times: int = 1


class MQA(NamedTuple):
    """A row of the table: a MobileMQA, as wide as the row above it."""

    out: int
    heads: int
    key_dim: int
    kv_stride: int = 1
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of the five networks.

    Attributes:
        stem: Channels of the first convolution, which halves the resolution.
        stages: The rows of each further resolution: 1/4, 1/8, 1/16 and 1/32 of the input's.
        act: Activation after every convolution that has one.
        layer_scale: Initial layer scale of every UIB and MQA, or None for no layer scale.
    """

    stem: int
    stages: tuple[tuple[Conv | Fused | UIB | MQA, ...], ...]
    act: type[nn.Module] = nn.ReLU
    layer_scale: float | None = None


# fmt: off
CONV_SMALL = Variant(stem=32, stages=(
    (Conv(32, 3, stride=2), Conv(32, 1)),   # Table 11 prints these two pairs as FusedIB, but both halves are activated
    (Conv(96, 3, stride=2), Conv(64, 1)),
    #     out start mid expand
    (UIB( 96,    5,  5, 3, stride=2),
     UIB( 96,    0,  3, 2, times=4),
     UIB( 96,    3,  0, 4)),
    (UIB(128,    3,  3, 6, stride=2),
     UIB(128,    5,  5, 4),
     UIB(128,    0,  5, 4),
     UIB(128,    0,  5, 3),
     UIB(128,    0,  3, 4, times=2)),
))

CONV_MEDIUM = Variant(stem=32, stages=(
    (Fused(48, 3, expand=4, stride=2),),
    #     out start mid expand
    (UIB( 80,    3,  5, 4, stride=2),
     UIB( 80,    3,  3, 2)),
    (UIB(160,    3,  5, 6, stride=2),
     UIB(160,    3,  3, 4, times=2),
     UIB(160,    3,  5, 4),
     UIB(160,    3,  3, 4),
     UIB(160,    3,  0, 4),
     UIB(160,    0,  0, 2),
     UIB(160,    3,  0, 4)),
    (UIB(256,    5,  5, 6, stride=2),
     UIB(256,    5,  5, 4),
     UIB(256,    3,  5, 4, times=2),
     UIB(256,    0,  0, 4),
     UIB(256,    3,  0, 4),
     UIB(256,    3,  5, 2),
     UIB(256,    5,  5, 4),
     UIB(256,    0,  0, 4, times=2),
     UIB(256,    5,  0, 2)),
))

CONV_LARGE = Variant(stem=24, stages=(
    (Fused(48, 3, expand=4, stride=2),),
    #     out start mid expand
    (UIB( 96,    3,  5, 4, stride=2),
     UIB( 96,    3,  3, 4)),
    (UIB(192,    3,  5, 4, stride=2),
     UIB(192,    3,  3, 4, times=3),
     UIB(192,    3,  5, 4),
     UIB(192,    5,  3, 4, times=5),
     UIB(192,    3,  0, 4)),
    (UIB(512,    5,  5, 4, stride=2),
     UIB(512,    5,  5, 4, times=3),
     UIB(512,    5,  0, 4),
     UIB(512,    5,  3, 4),
     UIB(512,    5,  0, 4, times=2),
     UIB(512,    5,  3, 4),
     UIB(512,    5,  5, 4),
     UIB(512,    5,  0, 4, times=3)),
))

HYBRID_MEDIUM = Variant(stem=32, layer_scale=1e-5, stages=(
    (Fused(48, 3, expand=4, stride=2),),
    #     out start mid expand
    (UIB( 80,    3,  5, 4, stride=2),
     UIB( 80,    3,  3, 2)),
    (UIB(160,    3,  5, 6, stride=2),
     UIB(160,    0,  0, 2),
     UIB(160,    3,  3, 4),
     UIB(160,    3,  5, 4),
     MQA(160, heads=4, key_dim=64, kv_stride=2),
     UIB(160,    3,  3, 4),
     MQA(160, heads=4, key_dim=64, kv_stride=2),
     UIB(160,    3,  0, 4),
     MQA(160, heads=4, key_dim=64, kv_stride=2),
     UIB(160,    3,  3, 4),
     MQA(160, heads=4, key_dim=64, kv_stride=2),
     UIB(160,    3,  0, 4)),
    (UIB(256,    5,  5, 6, stride=2),
     UIB(256,    5,  5, 4),
     UIB(256,    3,  5, 4, times=2),
     UIB(256,    0,  0, 2),
     UIB(256,    3,  5, 2),
     UIB(256,    0,  0, 2),
     UIB(256,    0,  0, 4),
     MQA(256, heads=4, key_dim=64),
     UIB(256,    3,  0, 4),
     MQA(256, heads=4, key_dim=64),
     UIB(256,    5,  5, 4),
     MQA(256, heads=4, key_dim=64),
     UIB(256,    5,  0, 4),
     MQA(256, heads=4, key_dim=64),
     UIB(256,    5,  0, 4)),
))

HYBRID_LARGE = Variant(stem=24, layer_scale=1e-5, act=nn.GELU, stages=(
    (Fused(48, 3, expand=4, stride=2),),
    #     out start mid expand
    (UIB( 96,    3,  5, 4, stride=2),
     UIB( 96,    3,  3, 4)),
    (UIB(192,    3,  5, 4, stride=2),
     UIB(192,    3,  3, 4, times=3),
     UIB(192,    3,  5, 4),
     UIB(192,    5,  3, 4, times=2),
     MQA(192, heads=8, key_dim=48, kv_stride=2),
     UIB(192,    5,  3, 4),
     MQA(192, heads=8, key_dim=48, kv_stride=2),
     UIB(192,    5,  3, 4),
     MQA(192, heads=8, key_dim=48, kv_stride=2),
     UIB(192,    5,  3, 4),
     MQA(192, heads=8, key_dim=48, kv_stride=2),
     UIB(192,    3,  0, 4)),
    (UIB(512,    5,  5, 4, stride=2),
     UIB(512,    5,  5, 4, times=3),
     UIB(512,    5,  0, 4),
     UIB(512,    5,  3, 4),
     UIB(512,    5,  0, 4, times=2),
     UIB(512,    5,  3, 4),
     UIB(512,    5,  5, 4),
     MQA(512, heads=8, key_dim=64),
     UIB(512,    5,  0, 4),
     MQA(512, heads=8, key_dim=64),
     UIB(512,    5,  0, 4),
     MQA(512, heads=8, key_dim=64),
     UIB(512,    5,  0, 4),
     MQA(512, heads=8, key_dim=64),
     UIB(512,    5,  0, 4)),
))
# fmt: on


class MobileNetV4(nn.Module):
    """stem -> stages -> conv_head -> pool -> pre_logits -> classifier.

    (B, in_chans, H, W) -> (B, num_classes). `stages.<i>.<j>` is block j of resolution 1 / 2**(i + 2).

    Args:
        variant: The table of blocks.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        act: Activation in place of the variant's own, e.g. ``nn.Hardswish``.
    """

    def __init__(
        self, variant: Variant, *, num_classes: int = 1000, in_chans: int = 3, act: type[nn.Module] | None = None
    ) -> None:
        super().__init__()
        act = act or variant.act
        self.stem = ConvNorm(in_chans, variant.stem, 3, stride=2, act=act)
        chans = variant.stem
        stages = []
        for rows in variant.stages:
            blocks: list[nn.Module] = []
            for row in rows:
                for _ in range(row.times):
                    blocks.append(make_block(row, chans, act, variant.layer_scale))
                    chans = row.out
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.conv_head = ConvNorm(chans, 960, 1, act=act)
        self.pool = nn.AdaptiveAvgPool2d(1)
        # after the pool: at 1x1 the widest layer costs its weights and next to no arithmetic
        self.pre_logits = ConvNorm(960, 1280, 1, act=act)
        self.classifier = nn.Linear(1280, num_classes)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw convolutions from N(0, 2 / fan_out), the classifier from N(0, 0.01^2); norms and layer scales are set.

        The fan-out of a grouped convolution is counted within its group, which torch.nn.init does not do.
        """
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                fan_out = math.prod(module.kernel_size) * module.out_channels // module.groups
                nn.init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        nn.init.normal_(self.classifier.weight, std=0.01)
        nn.init.zeros_(self.classifier.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.stages(self.stem(x))
        x = self.pre_logits(self.pool(self.conv_head(x)))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


def make_block(
    row: Conv | Fused | UIB | MQA, in_chans: int, act: type[nn.Module], layer_scale: float | None
) -> nn.Module:
    """Build one block of a row of the table, for an input of `in_chans` channels."""
    match row:
        case Conv(out, kernel, stride):
            return ConvNorm(in_chans, out, kernel, stride=stride, act=act)
        case Fused(out, kernel, expand, stride):
            return FusedIB(in_chans, out, kernel, expand=expand, stride=stride, act=act)
        case UIB(out, start, mid, expand, stride):
            return UniversalInvertedBottleneck(
                in_chans, out, start=start, mid=mid, expand=expand, stride=stride, act=act, layer_scale=layer_scale
            )
        case MQA(_, heads, key_dim, kv_stride):
            return MobileMQA(in_chans, heads=heads, key_dim=key_dim, kv_stride=kv_stride, layer_scale=layer_scale)


def mobilenetv4_conv_small(
    *, num_classes: int = 1000, in_chans: int = 3, act: type[nn.Module] | None = None
) -> MobileNetV4:
    """MNv4-Conv-S (Table 11), trained at 224 x 224: 3.77 M parameters, 0.186 GMACs."""
    return MobileNetV4(CONV_SMALL, num_classes=num_classes, in_chans=in_chans, act=act)


def mobilenetv4_conv_medium(
    *, num_classes: int = 1000, in_chans: int = 3, act: type[nn.Module] | None = None
) -> MobileNetV4:
    """MNv4-Conv-M (Table 12), trained at 256 x 256: 9.72 M parameters, 1.080 GMACs."""
    return MobileNetV4(CONV_MEDIUM, num_classes=num_classes, in_chans=in_chans, act=act)


def mobilenetv4_conv_large(
    *, num_classes: int = 1000, in_chans: int = 3, act: type[nn.Module] | None = None
) -> MobileNetV4:
    """MNv4-Conv-L (Table 14), trained at 384 x 384: 32.59 M parameters, 6.376 GMACs."""
    return MobileNetV4(CONV_LARGE, num_classes=num_classes, in_chans=in_chans, act=act)


def mobilenetv4_hybrid_medium(
    *, num_classes: int = 1000, in_chans: int = 3, act: type[nn.Module] | None = None
) -> MobileNetV4:
    """MNv4-Hybrid-M as released (not Table 13), trained at 256 x 256: 11.07 M parameters, 1.271 GMACs."""
    return MobileNetV4(HYBRID_MEDIUM, num_classes=num_classes, in_chans=in_chans, act=act)


def mobilenetv4_hybrid_large(
    *, num_classes: int = 1000, in_chans: int = 3, act: type[nn.Module] | None = None
) -> MobileNetV4:
    """MNv4-Hybrid-L (Table 15), trained at 384 x 384, with GELU: 37.76 M parameters, 7.712 GMACs."""
    return MobileNetV4(HYBRID_LARGE, num_classes=num_classes, in_chans=in_chans, act=act)
