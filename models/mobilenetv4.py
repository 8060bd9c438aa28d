"""MobileNetV4: five networks, searched to be near-optimal on phones' CPUs, GPUs, DSPs and accelerators alike.

Qin et al., "MobileNetV4: Universal Models for the Mobile Ecosystem", ECCV 2024, arXiv:2404.10518.

Nearly everything is one block, the Universal Inverted Bottleneck (UIB): expand with a 1x1 convolution, project back
with another, and put a depthwise convolution before the expansion, in the middle, at both places or at neither:

    start   mid     is then called
    -       3 or 5  Inverted Bottleneck (IB), as in MobileNetV2
    3 or 5  -       ConvNeXt-like: mixes space where channels are few
    3 or 5  3 or 5  ExtraDW: sees further, at little cost in arithmetic
    -       -       FFN: two 1x1 convolutions, which accelerators like

A stride sits on the middle depthwise convolution if there is one. The two hybrids also have Mobile MQA, attention whose
heads share one key and one value, so that there is more arithmetic to each byte read.

The numbers are those of the released networks: tensorflow/models official/vision/modeling/backbones/mobilenet.py and
official/vision/modeling/layers/nn_blocks.py; timm's mobilenetv4_* agree. For Hybrid-M they differ from Table 13 of the
paper (11.17 M parameters instead of 11.07 M); the release is what can be downloaded and timed, so it is what is here.
Padding is symmetric, as in timm: TensorFlow's "same" gives the same shapes, shifted by a pixel where the stride is 2. A
width multiplier rounds channels to multiples of 8; below 1 it spares the stem, and always the 1280 features before the
classifier. There is no dropout.

The ablations of the paper are forms of these networks. Table 1 compares networks searched with fewer kinds of block and
prints none of them: here `uib` turns every UIB of a network into the named one. Table 2 adds three attention blocks to
the last resolution of a network like Conv-L without printing where: here they alternate with the last three blocks, as
in Hybrid-L. Table 3 takes the downsampling of keys and values out of Hybrid-M: `kv_stride`. With `attention="mhsa"`
every head has keys and values of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from roofline.models import blocks
from roofline.models.activations import Activation
from roofline.models.blocks import TensorFlowNorm, check_counts, check_positive, init_weights, make_divisible

ConvNorm = partial(blocks.ConvNorm, norm=TensorFlowNorm)
depthwise = partial(blocks.depthwise, norm=TensorFlowNorm)


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
    (B, in_chans, H, W) -> (B, out_chans, ceil(H / stride), ceil(W / stride)), plus the input where the shapes agree
    (in the five networks they never do).
    """

    def __init__(
        self, in_chans: int, out_chans: int, kernel: int, *, expand: int, stride: int, act: Activation
    ) -> None:
        super().__init__()
        width = make_divisible(in_chans * expand)
        self.expand = ConvNorm(in_chans, width, kernel, stride=stride, act=act)
        self.project = ConvNorm(width, out_chans, 1)
        self.residual = stride == 1 and in_chans == out_chans

    def forward(self, x: Tensor) -> Tensor:
        """Expand and downsample, then project."""
        y: Tensor = self.project(self.expand(x))
        return x + y if self.residual else y


class UniversalInvertedBottleneck(nn.Module):
    """UIB: [start_dw] -> expand -> [mid_dw] -> project -> [layer_scale], plus the input where the shapes agree.

    (B, in_chans, H, W) -> (B, out_chans, ceil(H / stride), ceil(W / stride))

    Args:
        in_chans: Channels of the input.
        out_chans: Channels of the output.
        start: Kernel of the depthwise convolution before the expansion; 0 for none. It has no activation.
        mid: Kernel of the depthwise convolution between expansion and projection; 0 for none.
        expand: The expanded width is `in_chans * expand`, rounded to a multiple of 8.
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
        expand: float,
        stride: int = 1,
        act: Activation = "relu",
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        if stride > 1 and not start and not mid:
            raise ValueError("a stride needs a depthwise convolution: give 'start' or 'mid' a kernel")
        width = make_divisible(in_chans * expand)
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


class Attention(nn.Module):
    """softmax(q k^T / sqrt(D)) v, for any number of queries and M keys and values of D dimensions, N times.

    It has no weights: it is a module so that its two matrix products have a name of their own.
    """

    def __init__(self, key_dim: int) -> None:
        super().__init__()
        self.scale = key_dim**-0.5

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Query (N, D, Q), key (N, D, M) and value (N, D, M) -> (N, D, Q)."""
        key = key * self.scale  # the smallest of the three tensors that could be scaled
        scores = torch.bmm(query.transpose(1, 2), key)  # (N, Q, M)
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

    Args:
        chans: Channels of the input and the output.
        heads: Heads of the query.
        key_dim: Dimensions of a head's queries, keys and values.
        kv_heads: Heads of keys and values; a divisor of `heads`. 1 is multi-query attention, `heads` is multi-head
            self-attention (MHSA).
        kv_stride: Of the depthwise convolutions before `key` and `value`; there are none at 1.
        layer_scale: Initial factor of each channel before the residual add, or None for no layer scale.
    """

    def __init__(
        self,
        chans: int,
        *,
        heads: int,
        key_dim: int,
        kv_heads: int = 1,
        kv_stride: int = 1,
        layer_scale: float | None = None,
    ) -> None:
        super().__init__()
        if heads % kv_heads:
            raise ValueError(f"{kv_heads} heads of keys and values do not divide {heads} heads")
        self.heads, self.key_dim, self.kv_heads = heads, key_dim, kv_heads
        self.norm = TensorFlowNorm(chans)
        self.query = nn.Conv2d(chans, heads * key_dim, 1, bias=False)
        self.key_dw: nn.Module = depthwise(chans, 3, stride=kv_stride) if kv_stride > 1 else nn.Identity()
        self.key = nn.Conv2d(chans, kv_heads * key_dim, 1, bias=False)
        self.value_dw: nn.Module = depthwise(chans, 3, stride=kv_stride) if kv_stride > 1 else nn.Identity()
        self.value = nn.Conv2d(chans, kv_heads * key_dim, 1, bias=False)
        self.attention = Attention(key_dim)
        self.project = nn.Conv2d(heads * key_dim, chans, 1, bias=False)
        self.layer_scale = layer_scale_or_none(chans, layer_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Let every position look at every (downsampled) position."""
        batch, _, height, width = x.shape
        y: Tensor = self.norm(x)
        sets = batch * self.kv_heads  # of keys and values
        query = self.query(y).reshape(sets, self.key_dim, self.heads // self.kv_heads * height * width)
        key = self.key(self.key_dw(y)).reshape(sets, self.key_dim, -1)
        value = self.value(self.value_dw(y)).reshape(sets, self.key_dim, -1)
        y = self.attention(query, key, value).reshape(batch, self.heads * self.key_dim, height, width)
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
    kv_heads: int = 1


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
    stages: tuple[tuple[Row, ...], ...]
    act: Activation = "relu"
    layer_scale: float | None = None


Row = Conv | Fused | UIB | MQA


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

HYBRID_LARGE = Variant(stem=24, layer_scale=1e-5, act="gelu", stages=(
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
# for Table 2 of the paper: attention of Hybrid-L's heads and dimensions alternates with the last three blocks
CONV_LARGE_ATTENTION = replace(CONV_LARGE, stages=(
    *CONV_LARGE.stages[:-1],
    (*CONV_LARGE.stages[-1][:-1], *(MQA(512, heads=8, key_dim=64), UIB(512, 5, 0, 4)) * 3),
))
# fmt: on


class MobileNetV4(nn.Module):
    """stem -> stages -> conv_head -> pool -> pre_logits -> classifier.

    (B, in_chans, H, W) -> (B, num_classes). `stages.<i>.<j>` is block j of resolution 1 / 2**(i + 2).

    Args:
        variant: The table of blocks.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        width_mult: Factor of all channels but the 1280 before the classifier and, below 1, those of the stem.
        act: Activation in place of the variant's own, e.g. ``"hardswish"``.
        uib: Turn every UIB into this one of `UIB_FORMS`; its kernels stay, 3 where it had none.
        attention: ``"mqa"`` (one set of keys and values for all heads, the default) or ``"mhsa"`` (one for each).
        kv_stride: Of all attention blocks, in place of the variant's own.

    Raises:
        ValueError: An argument that makes no sense.
    """

    def __init__(
        self,
        variant: Variant,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        width_mult: float = 1.0,
        act: Activation | None = None,
        uib: str | None = None,
        attention: str | None = None,
        kv_stride: int | None = None,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_chans=in_chans, kv_stride=1 if kv_stride is None else kv_stride)
        check_positive(width_mult=width_mult)
        if uib is not None and uib not in list(UIB_FORMS):
            raise ValueError(f"uib is one of {', '.join(UIB_FORMS)} (got {uib!r})")
        if attention not in (None, "mqa", "mhsa"):
            raise ValueError(f"attention is mqa or mhsa (got {attention!r})")
        if (attention or kv_stride) and not any(isinstance(row, MQA) for rows in variant.stages for row in rows):
            raise ValueError("attention and kv_stride are for the hybrids: this network has no attention")
        act = variant.act if act is None else act
        chans = variant.stem if width_mult < 1 else make_divisible(variant.stem * width_mult)
        self.stem = ConvNorm(in_chans, chans, 3, stride=2, act=act)
        stages = []
        for rows in variant.stages:
            stage: list[nn.Module] = []
            for row in rows:
                row = row._replace(out=make_divisible(row.out * width_mult))
                if isinstance(row, UIB) and uib is not None:
                    row = UIB_FORMS[uib](row)
                if isinstance(row, MQA):
                    kv_heads = row.heads if attention == "mhsa" else 1
                    row = row._replace(kv_heads=kv_heads, kv_stride=kv_stride or row.kv_stride)
                for _ in range(row.times):
                    stage.append(make_block(row, chans, act, variant.layer_scale))
                    chans = row.out
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        head = make_divisible(960 * width_mult)
        self.conv_head = ConvNorm(chans, head, 1, act=act)
        self.pool = nn.AdaptiveAvgPool2d(1)
        # after the pool: at 1x1 the widest layer costs its weights and next to no arithmetic
        self.pre_logits = ConvNorm(head, 1280, 1, act=act)
        self.classifier = nn.Linear(1280, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.stages(self.stem(x))
        x = self.pre_logits(self.pool(self.conv_head(x)))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


def make_block(row: Row, in_chans: int, act: Activation, layer_scale: float | None) -> nn.Module:
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
        case MQA(_, heads, key_dim, kv_stride, _, kv_heads):
            return MobileMQA(
                in_chans,
                heads=heads,
                key_dim=key_dim,
                kv_heads=kv_heads,
                kv_stride=kv_stride,
                layer_scale=layer_scale,
            )


# fmt: off
UIB_FORMS: Mapping[str, Callable[[UIB], Row]] = {
    "ib":       lambda row: row._replace(start=0, mid=row.mid or row.start or 3),
    "convnext": lambda row: row._replace(start=row.start or row.mid or 3, mid=0),
    "extradw":  lambda row: row._replace(start=row.start or row.mid or 3, mid=row.mid or row.start or 3),
    "ffn":      lambda row: row if row.stride > 1 else row._replace(start=0, mid=0),  # it cannot have a stride
    "fused_ib": lambda row: Fused(row.out, row.mid or row.start or 3, row.expand, row.stride, row.times),
}

VARIANTS: Mapping[str, Callable[..., nn.Module]] = {
    "mobilenetv4_conv_small":             partial(MobileNetV4, CONV_SMALL),      # Table 11 of the paper
    "mobilenetv4_conv_medium":            partial(MobileNetV4, CONV_MEDIUM),     # Table 12
    "mobilenetv4_conv_large":             partial(MobileNetV4, CONV_LARGE),      # Table 14
    "mobilenetv4_hybrid_medium":          partial(MobileNetV4, HYBRID_MEDIUM),   # as released, not Table 13
    "mobilenetv4_hybrid_large":           partial(MobileNetV4, HYBRID_LARGE),    # Table 15
    # forms for Table 1
    "mobilenetv4_conv_large:ib":          partial(MobileNetV4, CONV_LARGE, uib="ib"),
    "mobilenetv4_conv_large:convnext":    partial(MobileNetV4, CONV_LARGE, uib="convnext"),
    "mobilenetv4_conv_large:extradw":     partial(MobileNetV4, CONV_LARGE, uib="extradw"),
    "mobilenetv4_conv_large:ffn":         partial(MobileNetV4, CONV_LARGE, uib="ffn"),
    "mobilenetv4_conv_large:fused_ib":    partial(MobileNetV4, CONV_LARGE, uib="fused_ib"),
    # Table 2
    "mobilenetv4_conv_large:mqa3":        partial(MobileNetV4, CONV_LARGE_ATTENTION),
    "mobilenetv4_conv_large:mhsa3":       partial(MobileNetV4, CONV_LARGE_ATTENTION, attention="mhsa"),
    # Table 3, and the same questions of MHSA and of the larger hybrid
    "mobilenetv4_hybrid_medium:kv1":      partial(MobileNetV4, HYBRID_MEDIUM, kv_stride=1),
    "mobilenetv4_hybrid_medium:mhsa":     partial(MobileNetV4, HYBRID_MEDIUM, attention="mhsa"),
    "mobilenetv4_hybrid_medium:mhsa_kv1": partial(MobileNetV4, HYBRID_MEDIUM, attention="mhsa", kv_stride=1),
    "mobilenetv4_hybrid_large:kv1":       partial(MobileNetV4, HYBRID_LARGE, kv_stride=1),
    "mobilenetv4_hybrid_large:mhsa":      partial(MobileNetV4, HYBRID_LARGE, attention="mhsa"),
    "mobilenetv4_hybrid_large:mhsa_kv1":  partial(MobileNetV4, HYBRID_LARGE, attention="mhsa", kv_stride=1),
}
# fmt: on
