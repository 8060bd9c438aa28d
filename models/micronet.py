"""MicroNet: networks of 4 to 21 million multiply-adds, wide for their cost, as their convolutions are factorised.

Li et al., "MicroNet: Improving Image Recognition with Extremely Low FLOPs", ICCV 2021, arXiv:2108.05894.

A depthwise k x k convolution becomes a (k, 1) and a (1, k) one with a norm each. A 1x1 convolution becomes two with
groups, to a narrower width and back, and a channel shuffle between them so that every input still reaches every output.
The activation is Dynamic Shift-Max, which lets the groups see each other once more. The paper has three blocks,
Micro-Block-A to C:

    A   depthwise to 4 times the channels -> grouped 1x1 to fewer
    B   as A -> grouped 1x1 to more
    C   depthwise -> grouped 1x1 to fewer -> grouped 1x1 to more

A network is a stem, then blocks A, one B, and blocks C. Its code cuts the same chain before each expansion instead of
after it, so that a residual add can join the narrow ends where their shapes agree, and so do the tables below:
`MicroBlockA` up to the compression in B, then `MicroBlockC` = expand -> depthwise -> project, then the expansion of
the last block C on its own. (The code has one class and no such names: that its rows are the paper's blocks cut
elsewhere is our reading.)

The stem is a 3x3 convolution of stride 2 in two halves, (3, 1) and grouped (1, 3). The head is ReLU6, global pool,
h-swish, and two linear layers with dropout between them, each followed by a norm and h-swish: the logits too.
Where the code has no Dynamic Shift-Max there is ReLU6, or nothing after a 1x1 that compresses. M0 to M2 have two lines
to take the maximum of after expansions and depthwise convolutions, but for the first of these, and one line after
compressions and at the end; M3 has it after depthwise convolutions only. `act` replaces ReLU6, h-swish and Dynamic
Shift-Max alike; the shuffles stay.

The numbers are those of liyunsheng13/micronet backbone/micronet.py, microconfig.py, activation.py and
scripts/eval_micronet_m*.sh. The published multiply-adds (4, 6, 12 and 21 M) count the multiplications within Dynamic
Shift-Max; those of convolutions and linear layers alone are 3.45, 5.31, 10.34 and 18.24 M. All shuffles of the code are
here, also where two follow each other: they are data movement that a compiler may or may not merge. A width
multiplier does not apply: groups and widths are chosen together, row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from roofline.models.activations import Activation, DynamicShiftMax, make_activation
from roofline.models.blocks import ConvNorm, check_counts, init_weights, make_divisible


class ChannelShuffle(nn.Module):
    """Deal the channels out: the first of every group, then the second of every group, and so on.

    (B, C, H, W) -> the same shape; output channel k * groups + i is channel k of group i.
    """

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, x: Tensor) -> Tensor:
        """Transpose (groups, channels of a group)."""
        batch, chans, height, width = x.shape
        return x.reshape(batch, self.groups, chans // self.groups, height, width).transpose(1, 2).reshape(x.shape)


def shuffles(*groups: int) -> nn.Sequential:
    """Return one ChannelShuffle after the other."""
    return nn.Sequential(*(ChannelShuffle(g) for g in groups))


class FactorizedConv(nn.Module):
    """A k x k convolution as (k, 1) and (1, k), each with a norm and a share of the stride; activation at the end.

    (B, in_chans, H, W) -> (B, out_chans, ceil(H / stride), ceil(W / stride))

    Args:
        in_chans: Channels of the input.
        mid_chans: Channels between the two.
        out_chans: Channels of the output.
        kernel: Size of the kernel, odd.
        stride: The first does it vertically, the second horizontally.
        groups: Of the first; the second has a group for each of `mid_chans`.
        act: Activation after the second, or None for none; there is none after the first.
    """

    def __init__(
        self,
        in_chans: int,
        mid_chans: int,
        out_chans: int,
        kernel: int,
        *,
        stride: int,
        groups: int,
        act: Activation | None = None,
    ) -> None:
        super().__init__()
        self.vertical = ConvNorm(in_chans, mid_chans, (kernel, 1), stride=(stride, 1), groups=groups)
        self.horizontal = ConvNorm(mid_chans, out_chans, (1, kernel), stride=(1, stride), groups=mid_chans, act=act)

    def forward(self, x: Tensor) -> Tensor:
        """Columns, then rows."""
        y: Tensor = self.horizontal(self.vertical(x))
        return y


class Stem(nn.Module):
    """conv -> shuffle -> act at half the resolution; `chans` = (after the vertical half, factor of the horizontal)."""

    def __init__(self, in_chans: int, chans: tuple[int, int], *, act: Activation) -> None:
        super().__init__()
        mid, factor = chans
        self.conv = FactorizedConv(in_chans, mid, mid * factor, 3, stride=2, groups=1)
        self.shuffle = ChannelShuffle(mid)
        self.act = make_activation(act, mid * factor)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, product of `chans`, ceil(H / 2), ceil(W / 2))."""
        y: Tensor = self.act(self.shuffle(self.conv(x)))
        return y


@dataclass(frozen=True, slots=True, kw_only=True)
class Activations:
    """Makes the activations of a network's blocks.

    Attributes:
        init_a: Initial a of the two lines of Dynamic Shift-Max.
        init_b: Initial b of them.
        instead: Activation in place of all, or None for the architecture's own.
    """

    init_a: tuple[float, float]
    init_b: tuple[float, float]
    instead: Activation | None

    def relu6(self) -> Activation:
        """Return ReLU6, or what replaces it."""
        return self.instead or "relu6"

    def shift_max(self, lines: int, *, groups: int, reduction: int) -> Activation | None:
        """Return a Dynamic Shift-Max of so many lines, or what replaces it; None for 0 lines.

        Args:
            lines: Lines to take the maximum of.
            groups: The channels are shifted by one of these groups, and by one channel.
            reduction: The channels' means are squeezed by this factor, to a multiple of 4.
        """
        if not lines or self.instead:
            return self.instead if lines else None
        init_a, init_b = (self.init_a, self.init_b) if lines == 2 else ((1.0,), (0.0,))

        def make(chans: int) -> nn.Module:
            squeeze = make_divisible(chans // reduction, 4)
            return DynamicShiftMax(chans, groups=groups, squeeze=squeeze, branches=lines, init_a=init_a, init_b=init_b)

        return make


# The tables: a row is a block. Rows of A have 2 x 2 times the channels in the middle.


class A(NamedTuple):
    """A row of the table: a MicroBlockA, which is also how the paper's Micro-Block-B begins.

    `shift` is the groups of the shift and shuffle after the depthwise convolution, `groups` those of the projection
    and what follows it; `lines` of Dynamic Shift-Max are after (depthwise, project), 0 for none.
    """

    out: int
    kernel: int
    stride: int
    shift: int
    groups: int
    lines: tuple[int, int] = (2, 1)


class C(NamedTuple):
    """A row of the table: a MicroBlockC, with `expand` times the channels in the middle.

    `groups` are those of (expand, project) and what follows them; `lines` of Dynamic Shift-Max are after (expand,
    depthwise, project), 0 for none; means are squeezed by `reduction`.
    """

    out: int
    kernel: int
    stride: int
    expand: int
    groups: tuple[int, int]
    reduction: int
    lines: tuple[int, int, int] = (2, 2, 1)


class Last(NamedTuple):
    """The last row of the table: the expansion of the paper's last Micro-Block-C, with one line or none."""

    expand: int
    groups: int
    reduction: int = 16
    lines: int = 1


class MicroBlockA(nn.Module):
    """depthwise -> depthwise_shuffle -> project -> project_shuffle, plus the input where the shapes agree.

    The lite combination: the depthwise convolution expands. (B, in_chans, H, W) -> (B, row.out, ceil(H / row.stride),
    ceil(W / row.stride)).
    """

    def __init__(self, in_chans: int, row: A, acts: Activations) -> None:
        super().__init__()
        after_depthwise, after_project = row.lines
        width = 4 * in_chans
        shift_max = acts.shift_max(after_depthwise, groups=row.shift, reduction=8)
        self.depthwise = FactorizedConv(
            in_chans,
            2 * in_chans,
            width,
            row.kernel,
            stride=row.stride,
            groups=in_chans,
            act=shift_max or acts.relu6(),
        )
        self.depthwise_shuffle = shuffles(row.shift, *((width // 2,) if after_depthwise else ()))
        shift_max = acts.shift_max(after_project, groups=row.groups, reduction=4)
        self.project = ConvNorm(width, row.out, 1, groups=row.groups, act=shift_max)
        self.project_shuffle = shuffles(row.groups, *((row.out // 2,) if after_project else ()))
        self.residual = row.stride == 1 and in_chans == row.out

    def forward(self, x: Tensor) -> Tensor:
        """Expand and mix space, then compress."""
        y: Tensor = self.depthwise_shuffle(self.depthwise(x))
        y = self.project_shuffle(self.project(y))
        return x + y if self.residual else y


class MicroBlockC(nn.Module):
    """expand -> expand_shuffle -> depthwise -> depthwise_shuffle -> project -> project_shuffle, plus the input.

    The regular combination. The input is added where the shapes agree. (B, in_chans, H, W) -> (B, row.out,
    ceil(H / row.stride), ceil(W / row.stride)).
    """

    def __init__(self, in_chans: int, row: C, acts: Activations) -> None:
        super().__init__()
        expand_groups, project_groups = row.groups
        width = in_chans * row.expand
        after_expand, after_depthwise, after_project = row.lines
        shift_max = acts.shift_max(after_expand, groups=expand_groups, reduction=row.reduction)
        self.expand = ConvNorm(in_chans, width, 1, groups=expand_groups, act=shift_max or acts.relu6())
        self.expand_shuffle = shuffles(expand_groups)
        # the shuffle has made the groups of the expansion into the channels of a group
        shift_max = acts.shift_max(after_depthwise, groups=width // expand_groups, reduction=row.reduction)
        self.depthwise = FactorizedConv(
            width, width, width, row.kernel, stride=row.stride, groups=width, act=shift_max or acts.relu6()
        )
        dynamic = (after_expand > 0) + (after_depthwise > 0)
        self.depthwise_shuffle = shuffles(*((width // (2 * dynamic),) if dynamic else ()))
        reduction = row.reduction // 2 if row.out < width else row.reduction
        shift_max = acts.shift_max(after_project, groups=project_groups, reduction=reduction)
        self.project = ConvNorm(width, row.out, 1, groups=project_groups, act=shift_max)
        self.project_shuffle = shuffles(project_groups, *((row.out // 2,) if after_project else ()))
        self.residual = row.stride == 1 and in_chans == row.out

    def forward(self, x: Tensor) -> Tensor:
        """Expand, mix space, compress."""
        y: Tensor = self.depthwise(self.expand_shuffle(self.expand(x)))
        y = self.project_shuffle(self.project(self.depthwise_shuffle(y)))
        return x + y if self.residual else y


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of the four networks.

    Attributes:
        stem: Channels after the vertical half of the stem, and the factor of the horizontal half.
        blocks: The rows of the blocks.
        last: The last row.
        features: Channels between the two linear layers of the head.
        dropout: Probability of the dropout between them.
        init_a: Initial a of the two lines of Dynamic Shift-Max.
        init_b: Initial b of them.
    """

    stem: tuple[int, int]
    blocks: tuple[A | C, ...]
    last: Last
    features: int
    dropout: float
    init_a: tuple[float, float] = (1.0, 1.0)
    init_b: tuple[float, float] = (0.0, 0.0)


# fmt: off
M0 = Variant(stem=(2, 2), features=640, dropout=0.05, blocks=(
    # out  k  s shift groups
    A(  8, 3, 2,    4,     2, lines=(0, 1)),
    A( 12, 3, 2,    8,     4),
    A( 16, 5, 2,   12,     4),                  # here begins Micro-Block-B
    # out  k  s expand  groups reduction
    C( 32, 5, 1,     4, ( 4,  4),  8),
    C( 64, 5, 2,     4, ( 8,  8),  8),
    C( 96, 3, 1,     4, ( 8,  8), 16),
), last=Last(4, 12))

M1 = Variant(stem=(3, 2), features=960, dropout=0.05, blocks=(
    A(  8, 3, 2,    6,     2, lines=(0, 1)),
    A( 16, 3, 2,    8,     4),
    A( 16, 5, 2,   16,     4),
    C( 32, 5, 1,     6, ( 4,  4),  8),
    C( 64, 5, 2,     6, ( 8,  8),  8),
    C( 96, 3, 1,     6, ( 8,  8), 16),
), last=Last(6, 12))

M2 = Variant(stem=(4, 2), features=1024, dropout=0.1, blocks=(
    A( 12, 3, 2,    8,     4, lines=(0, 1)),
    A( 16, 3, 2,   12,     4),
    A( 24, 3, 1,   16,     4),
    C( 32, 5, 2,     6, ( 6,  4),  8),
    C( 32, 5, 1,     6, ( 8,  4), 16),
    C( 64, 5, 1,     6, ( 8,  8), 16),
    C( 96, 5, 2,     6, ( 8,  8), 16),
    C(128, 3, 1,     6, (12,  8), 16),
), last=Last(6, 16))

M3 = Variant(stem=(4, 3), features=1024, dropout=0.1, init_a=(1.0, 0.5), init_b=(0.0, 0.5), blocks=(
    A( 16, 3, 2,   12,     4, lines=(2, 0)),
    A( 24, 3, 2,   16,     4, lines=(2, 0)),
    A( 24, 3, 1,   24,     4, lines=(2, 0)),
    C( 32, 5, 2,     6, ( 6,  4),  8, lines=(0, 2, 0)),
    C( 32, 5, 1,     6, ( 8,  4), 16, lines=(0, 2, 0)),
    C( 64, 5, 1,     6, ( 8,  8), 16, lines=(0, 2, 0)),
    C( 80, 5, 1,     6, ( 8,  8), 16, lines=(0, 2, 0)),
    C( 80, 5, 1,     6, (10,  8), 16, lines=(0, 2, 0)),
    C(120, 5, 2,     6, (10, 10), 16, lines=(0, 2, 0)),
    C(120, 5, 1,     6, (12, 10), 16, lines=(0, 2, 0)),
    C(144, 3, 1,     6, (12, 12), 16, lines=(0, 2, 0)),
), last=Last(6, 12, lines=0))
# fmt: on


class MicroNet(nn.Module):
    """stem -> blocks -> conv_head -> act -> pool -> pool_act -> pre_logits -> dropout -> classifier.

    (B, in_chans, H, W) -> (B, num_classes)

    Args:
        variant: The table of blocks.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        act: Activation in place of ReLU6, h-swish and Dynamic Shift-Max.

    Raises:
        ValueError: An argument that makes no sense.
    """

    def __init__(
        self, variant: Variant, *, num_classes: int = 1000, in_chans: int = 3, act: Activation | None = None
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_chans=in_chans)
        acts = Activations(init_a=variant.init_a, init_b=variant.init_b, instead=act)
        hardswish = "hardswish" if act is None else act
        chans = variant.stem[0] * variant.stem[1]
        self.stem = Stem(in_chans, variant.stem, act=acts.relu6())
        blocks: list[nn.Module] = []
        for row in variant.blocks:
            blocks.append(MicroBlockA(chans, row, acts) if isinstance(row, A) else MicroBlockC(chans, row, acts))
            chans = row.out
        self.blocks = nn.Sequential(*blocks)
        last = variant.last
        shift_max = acts.shift_max(last.lines, groups=last.groups, reduction=last.reduction)
        self.conv_head = ConvNorm(chans, chans * last.expand, 1, groups=last.groups, act=shift_max)
        chans *= last.expand
        self.act = make_activation(acts.relu6(), chans)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.pool_act = make_activation(hardswish, chans)
        self.pre_logits = ConvNorm(chans, variant.features, 1, act=hardswish, bias=True)
        self.dropout = nn.Dropout(variant.dropout)
        self.classifier = ConvNorm(variant.features, num_classes, 1, act=hardswish, bias=True)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.act(self.conv_head(self.blocks(self.stem(x))))
        x = self.pre_logits(self.pool_act(self.pool(x)))
        logits: Tensor = self.classifier(self.dropout(x))
        return logits.flatten(1)


# fmt: off
VARIANTS: Mapping[str, Callable[..., nn.Module]] = {
    "micronet_m0": partial(MicroNet, M0),
    "micronet_m1": partial(MicroNet, M1),
    "micronet_m2": partial(MicroNet, M2),
    "micronet_m3": partial(MicroNet, M3),
}
# fmt: on
