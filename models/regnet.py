"""RegNet X and Y: networks whose widths follow a line, the good region of the AnyNet design space.

Radosavovic, Kosaraju, Girshick, He, Dollár, "Designing Network Design Spaces", CVPR 2020, arXiv:2003.13678.

An AnyNet is a 3x3 convolution of stride 2 (the stem, 32 channels), some stages of equal blocks, the mean over the image
and one linear layer. A block is a residual bottleneck with grouped convolution: 1x1, 3x3 with the stride, 1x1, the
second of width / bottleneck_ratio channels in groups of group_width. A stage's first block has stride 2, and a 1x1
convolution on its shortcut. AnyNetX leaves all stages free; AnyNetY adds squeeze-excite after the 3x3, which squeezes
to se_ratio (a quarter) of the channels that enter the block, not of those it scales.

A RegNet is an AnyNet that five numbers generate. Block j of `depth` blocks gets

    u_j = w0 + wa j                                  a line
    s_j = round(log(u_j / w0) / log(wm))             the nearest power of wm
    w_j = w0 wm^s_j, to the nearest multiple of 8    a staircase

and blocks of equal w_j are a stage. Then widths are fitted to the groups: group_width is at most the bottleneck's, and
the bottleneck is rounded to the nearest multiple of it. Halves round to even throughout. The paper keeps the points
with four stages, which end at 1/32 of the input's resolution; other points are built too, and halve it once a stage.

The 24 networks are those of facebookresearch/pycls configs/dds_baselines, their numbers those of its models/regnet.py
and models/anynet.py. Parameters, and output elements of convolutions and the linear layer (there "acts"), agree
exactly; so do MACs, less the one that its "flops" have for each element a bias is added to. bottleneck_ratio is the
paper's b; pycls and timm have 1 / b. There is no dropout or stochastic depth.

anynetx and anynety are stages to change at will; by default both have those of RegNetX-600MF.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from functools import partial
from itertools import groupby
from typing import TypeVar

from torch import Tensor, nn

from roofline.models.activations import Activation, SqueezeExcite, make_activation
from roofline.models.blocks import (
    MOST,
    ConvNorm,
    check_counts,
    check_depths,
    check_positive,
    check_share,
    init_weights,
)

Number = TypeVar("Number", int, float)

QUANTUM = 8  # of widths, before they are fitted to the groups


def regnet_widths(*, depth: int, w0: int, wa: float, wm: float) -> tuple[list[int], list[int]]:
    r"""Depths and widths of the stages by the generation rule, before widths are fitted to groups.

    .. math:: w_j = 8 \lfloor w_0 w_m^{s_j} / 8 \rceil, \quad s_j = \lfloor \log_{w_m}(1 + w_a j / w_0) \rceil

    Equations 2 to 4 of the paper, for blocks j = 0 .. depth - 1. Halves round to even, as in numpy and so in pycls.

    Args:
        depth: Blocks of the whole network.
        w0: Width of the first block, a multiple of 8.
        wa: How much wider each further block is, on the line.
        wm: Ratio of a stage's width to the one before.

    Raises:
        ValueError: An argument outside of the space.

    >>> regnet_widths(depth=13, w0=24, wa=36.44, wm=2.49)
    ([1, 1, 4, 7], [24, 56, 152, 368])
    """
    check_depths(depth=depth)
    check_counts(w0=w0)
    if w0 % QUANTUM:
        raise ValueError(f"w0 must be a multiple of {QUANTUM} (got {w0}); {max(1, round(w0 / QUANTUM)) * QUANTUM} is")
    if not isinstance(wa, int | float) or not 0 <= wa <= MOST["count"]:
        raise ValueError(f"wa must be 0 or more, as widths do not fall with depth (got {wa!r})")
    if not isinstance(wm, int | float) or not 1 < wm <= MOST["factor"]:
        raise ValueError(f"wm must be above 1, as each stage is wider than the one before (got {wm!r})")
    steps = [round(math.log((w0 + wa * j) / w0) / math.log(wm)) for j in range(depth)]
    widths = [round(w0 * wm**step / QUANTUM) * QUANTUM for step in steps]
    stages = [(len(list(blocks)), width) for width, blocks in groupby(widths)]
    return [blocks for blocks, _ in stages], [width for _, width in stages]


def fit_to_groups(width: int, group_width: int, ratio: Fraction) -> tuple[int, int]:
    """The width and group width nearest to these at which the groups divide the bottleneck and the ratio the width.

    >>> fit_to_groups(152, 16, Fraction(1)), fit_to_groups(80, 120, Fraction(1)), fit_to_groups(104, 16, Fraction(4))
    ((160, 16), (80, 80), (128, 16))
    """
    bottleneck = max(1, int(width / ratio))
    group_width = min(group_width, bottleneck)
    step = math.lcm(group_width, ratio.denominator)
    bottleneck = max(1, round(bottleneck / step)) * step
    return int(bottleneck * ratio), group_width


class Bottleneck(nn.Module):
    """reduce -> grouped -> [se] -> project, plus the shortcut, then act.

    (B, in_chans, H, W) -> (B, out_chans, ceil(H / stride), ceil(W / stride)). The shortcut is the input itself where
    the shapes agree, else a 1x1 convolution with the stride.

    Args:
        in_chans: Channels of the input.
        out_chans: Channels of the output.
        width: Channels of the grouped convolution.
        group_width: Channels of each of its groups; a divisor of `width`.
        stride: Of the grouped convolution, so that `reduce` runs at the resolution of the input.
        se_ratio: Squeeze-excite squeezes to this share of `in_chans`; 0 for none.
        act: Activation after `reduce`, `grouped` and the addition, and inside squeeze-excite.
    """

    def __init__(
        self,
        in_chans: int,
        out_chans: int,
        *,
        width: int,
        group_width: int,
        stride: int = 1,
        se_ratio: float = 0.0,
        act: Activation = "relu",
    ) -> None:
        super().__init__()
        self.reduce = ConvNorm(in_chans, width, 1, act=act)
        self.grouped = ConvNorm(width, width, 3, stride=stride, groups=width // group_width, act=act)
        squeeze = max(1, round(in_chans * se_ratio))
        self.se: nn.Module = SqueezeExcite(width, squeeze, act=act) if se_ratio else nn.Identity()
        self.project = ConvNorm(width, out_chans, 1)
        same = stride == 1 and in_chans == out_chans
        self.shortcut: nn.Module = nn.Identity() if same else ConvNorm(in_chans, out_chans, 1, stride=stride)
        self.act = make_activation(act, out_chans)

    def forward(self, x: Tensor) -> Tensor:
        """Mix channels, space within groups, and channels again."""
        y: Tensor = self.project(self.se(self.grouped(self.reduce(x))))
        y = self.act(self.shortcut(x) + y)
        return y


class AnyNet(nn.Module):
    """stem -> stages -> pool -> classifier.

    (B, in_chans, H, W) -> (B, num_classes). `stages.<i>.<j>` is block j of stage i. Where an argument has one value a
    stage, one number stands for the same in each.

    Args:
        depths: Blocks of each stage.
        widths: Channels of each stage's output.
        strides: Of the first block of each stage.
        group_widths: Channels of a group of the 3x3 convolutions; a divisor of width / bottleneck ratio.
        bottleneck_ratios: Width over the channels of the 3x3 convolutions: a whole number, or 1 over one.
        se_ratio: Squeeze-excite squeezes to this share of the channels that enter a block; 0 for none.
        stem_width: Channels of the first convolution, which halves the resolution.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        act: Activation in place of ReLU, e.g. ``"silu"``.

    Raises:
        ValueError: An argument that makes no sense.
    """

    def __init__(
        self,
        *,
        depths: Sequence[int],
        widths: Sequence[int],
        group_widths: int | Sequence[int],
        strides: int | Sequence[int] = 2,
        bottleneck_ratios: float | Sequence[float] = 1.0,
        se_ratio: float = 0.0,
        stem_width: int = 32,
        num_classes: int = 1000,
        in_chans: int = 3,
        act: Activation | None = None,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_chans=in_chans, stem_width=stem_width)
        check_share(se_ratio=se_ratio)
        if not isinstance(depths, Sequence) or not depths:
            raise ValueError(f"depths must have a number of blocks for each stage, as in [1, 2, 4] (got {depths!r})")
        table = zip(
            depths,
            one_a_stage(len(depths), "widths", widths),
            one_a_stage(len(depths), "strides", strides),
            one_a_stage(len(depths), "group_widths", group_widths),
            one_a_stage(len(depths), "bottleneck_ratios", bottleneck_ratios),
            strict=True,
        )
        act = "relu" if act is None else act
        self.stem = ConvNorm(in_chans, stem_width, 3, stride=2, act=act)
        chans, stages = stem_width, []
        for i, (depth, width, stride, group_width, ratio) in enumerate(table):
            check_depths(**{f"depths[{i}]": depth})
            check_counts(**{f"widths[{i}]": width, f"strides[{i}]": stride})
            block = partial(
                Bottleneck,
                width=bottleneck_width(i, width, group_width, ratio),
                group_width=group_width,
                se_ratio=se_ratio,
                act=act,
            )
            first = block(chans, width, stride=stride)
            stages.append(nn.Sequential(first, *(block(width, width) for _ in range(depth - 1))))
            chans = width
        self.stages = nn.Sequential(*stages)
        self.reduction = 2 * math.prod(one_a_stage(len(depths), "strides", strides))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.pool(self.stages(self.stem(x)))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


def one_a_stage(stages: int, name: str, values: Number | Sequence[Number]) -> Sequence[Number]:
    """One value for each stage, from such a list or from one number for all."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        return [values] * stages
    if len(values) != stages:
        raise ValueError(f"{name} has {len(values)} values for the {stages} stages that depths has")
    return values


def as_fraction(name: str, ratio: float) -> Fraction:
    """A bottleneck ratio as an exact number."""
    check_positive(**{name: ratio})
    exact = Fraction(ratio).limit_denominator(1024)
    if 1 not in (exact.numerator, exact.denominator) or not math.isclose(exact, ratio, rel_tol=1e-6):
        raise ValueError(f"{name} must be a whole number, or 1 over one (got {ratio!r})")
    return exact


def bottleneck_width(stage: int, width: int, group_width: int, ratio: float) -> int:
    """Channels of a stage's 3x3 convolutions: width / ratio, if that is possible and a number of whole groups."""
    check_counts(**{f"group_widths[{stage}]": group_width})
    bottleneck = width / as_fraction(f"bottleneck_ratios[{stage}]", ratio)
    if bottleneck.denominator > 1:
        raise ValueError(f"stages.{stage}: bottleneck ratio {ratio:g} does not divide width {width}")
    chans = int(bottleneck)
    if chans % group_width:
        divisors = [d for d in range(1, chans + 1) if chans % d == 0]
        nearest = sorted(divisors, key=lambda d: abs(d - group_width))[:2]
        raise ValueError(
            f"stages.{stage}: group width {group_width} does not divide bottleneck width {chans} "
            f"(width {width} / ratio {ratio:g}); the nearest that do are {' and '.join(map(str, sorted(nearest)))}"
        )
    return chans


def regnet(
    *,
    depth: int,
    w0: int,
    wa: float,
    wm: float,
    group_width: int,
    bottleneck_ratio: float = 1.0,
    se_ratio: float = 0.0,
    stem_width: int = 32,
    num_classes: int = 1000,
    in_chans: int = 3,
    act: Activation | None = None,
) -> AnyNet:
    """The AnyNet at one point of the RegNet space, with a stride of 2 a stage.

    Args:
        depth: Blocks of the whole network.
        w0: Width of the first block, a multiple of 8.
        wa: How much wider each further block is, before widths are made into stages.
        wm: Ratio of a stage's width to the one before.
        group_width: Channels of a group, where the bottleneck has as many.
        bottleneck_ratio: Width over the channels of the 3x3 convolutions: a whole number, or 1 over one.
        se_ratio: Squeeze-excite squeezes to this share of the channels that enter a block; 0 (X) for none, 0.25 for Y.
        stem_width: Channels of the first convolution.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        act: Activation in place of ReLU.

    Raises:
        ValueError: An argument outside of the space.
    """
    check_counts(group_width=group_width)
    ratio = as_fraction("bottleneck_ratio", bottleneck_ratio)
    depths, widths = regnet_widths(depth=depth, w0=w0, wa=wa, wm=wm)
    fitted = [fit_to_groups(width, group_width, ratio) for width in widths]
    return AnyNet(
        depths=depths,
        widths=[width for width, _ in fitted],
        group_widths=[group for _, group in fitted],
        bottleneck_ratios=bottleneck_ratio,
        se_ratio=se_ratio,
        stem_width=stem_width,
        num_classes=num_classes,
        in_chans=in_chans,
        act=act,
    )


anynetx = partial(AnyNet, depths=(1, 3, 5, 7), widths=(48, 96, 240, 528), group_widths=24)
anynety = partial(anynetx, se_ratio=0.25)
regnety = partial(regnet, se_ratio=0.25)

# fmt: off
VARIANTS: Mapping[str, Callable[..., nn.Module]] = {
    "regnetx_002": partial(regnet,  depth=13, w0= 24, wa= 36.44, wm=2.49, group_width=  8),
    "regnetx_004": partial(regnet,  depth=22, w0= 24, wa= 24.48, wm=2.54, group_width= 16),
    "regnetx_006": partial(regnet,  depth=16, w0= 48, wa= 36.97, wm=2.24, group_width= 24),
    "regnetx_008": partial(regnet,  depth=16, w0= 56, wa= 35.73, wm=2.28, group_width= 16),
    "regnetx_016": partial(regnet,  depth=18, w0= 80, wa= 34.01, wm=2.25, group_width= 24),
    "regnetx_032": partial(regnet,  depth=25, w0= 88, wa= 26.31, wm=2.25, group_width= 48),
    "regnetx_040": partial(regnet,  depth=23, w0= 96, wa= 38.65, wm=2.43, group_width= 40),
    "regnetx_064": partial(regnet,  depth=17, w0=184, wa= 60.83, wm=2.07, group_width= 56),
    "regnetx_080": partial(regnet,  depth=23, w0= 80, wa= 49.56, wm=2.88, group_width=120),
    "regnetx_120": partial(regnet,  depth=19, w0=168, wa= 73.36, wm=2.37, group_width=112),
    "regnetx_160": partial(regnet,  depth=22, w0=216, wa= 55.59, wm=2.10, group_width=128),
    "regnetx_320": partial(regnet,  depth=23, w0=320, wa= 69.86, wm=2.00, group_width=168),
    "regnety_002": partial(regnety, depth=13, w0= 24, wa= 36.44, wm=2.49, group_width=  8),
    "regnety_004": partial(regnety, depth=16, w0= 48, wa= 27.89, wm=2.09, group_width=  8),
    "regnety_006": partial(regnety, depth=15, w0= 48, wa= 32.54, wm=2.32, group_width= 16),
    "regnety_008": partial(regnety, depth=14, w0= 56, wa= 38.84, wm=2.40, group_width= 16),
    "regnety_016": partial(regnety, depth=27, w0= 48, wa= 20.71, wm=2.65, group_width= 24),
    "regnety_032": partial(regnety, depth=21, w0= 80, wa= 42.63, wm=2.66, group_width= 24),
    "regnety_040": partial(regnety, depth=22, w0= 96, wa= 31.41, wm=2.24, group_width= 64),
    "regnety_064": partial(regnety, depth=25, w0=112, wa= 33.22, wm=2.27, group_width= 72),
    "regnety_080": partial(regnety, depth=17, w0=192, wa= 76.82, wm=2.19, group_width= 56),
    "regnety_120": partial(regnety, depth=19, w0=168, wa= 73.36, wm=2.37, group_width=112),
    "regnety_160": partial(regnety, depth=18, w0=200, wa=106.23, wm=2.48, group_width=112),
    "regnety_320": partial(regnety, depth=20, w0=232, wa=115.89, wm=2.53, group_width=232),
    "anynetx":     anynetx,
    "anynety":     anynety,
}
# fmt: on
