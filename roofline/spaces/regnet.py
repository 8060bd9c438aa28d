"""AnyNetX A to E, and RegNet X and Y: the spaces through which RegNet was found.

Radosavovic, Kosaraju, Girshick, He, Dollár, "Designing Network Design Spaces", CVPR 2020, arXiv:2003.13678.
The networks are those of `roofline.models.regnet`, whose head says what a block and a stage are.

AnyNetX (section 3.2) has four stages. Of each it draws depth (at most 16), width (at most 1024, a multiple of 8),
bottleneck ratio (1, 2 or 4) and group width (1, 2, 4, ... 32), sizes by their logarithm. Each further space adds one
constraint:

    A   none: 16 degrees of freedom
    B   all stages share the bottleneck ratio
    C   and the group width
    D   and widths do not fall from stage to stage
    E   and depths do not fall

What is to rise is drawn and then sorted. That is the distribution of draws that happen to rise, but that equal values
in two stages come out less often.

RegNet draws depth, w0, wa, wm, bottleneck ratio and group width, and keeps what has four stages. `regnet` has the
ranges of section 3.3 (depth < 64, w0 and wa < 256, wm from 1.5 to 3) and the ratios and group widths of AnyNetX.
`regnetx` and `regnety` (which has squeeze-excite) have the constraints of sections 4 and 5: no bottleneck, 12 to 28
blocks, wm of at least 2; those on parameters and activations are left to the user. The other ends of ranges, how w0,
wa, wm and group widths are distributed, and the rule that no power of wm is left out between the four stages, are of
facebookresearch/pycls, pycls/sweep/config.py (REGNET_SAMPLER) and samplers.py; only w0 and group widths go further, to
hold the largest published networks (320 in RegNetX-32GF, 232 in RegNetY-32GF), for which that file says that its ranges
are too small. wa and wm have two decimals, as in the published networks; pycls' sampler has one of wa and three of wm.

Where group widths do not divide a bottleneck, both are fitted to each other as in pycls: `fit_to_groups`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any, NamedTuple

from torch import nn

from roofline.models.blocks import ConvNorm
from roofline.models.regnet import AnyNet, Bottleneck, fit_to_groups, regnet_widths
from roofline.spaces.space import Chooser, Config, Part, Size, Space

STAGES = 4
STEM_WIDTH = 32
CLASSES = 1000
SE_RATIO = 0.25  # of the Y networks, as in facebookresearch/pycls configs/dds_baselines
BOTTLENECK_RATIOS = (1, 2, 4)
GROUP_WIDTHS = (1, 2, 4, 8, 16, 32)


class _Stage(NamedTuple):
    """Blocks of one width, which fits the groups."""

    depth: int
    width: int
    group_width: int
    ratio: int


# --- spaces -----------------------------------------------------------------------------------------------------------


class AnyNetSpace(Space):
    """One of the spaces AnyNetX A to E.

    Args:
        letter: Which of them, ``a`` to ``e``.
    """

    def __init__(self, letter: str) -> None:
        self.letter = letter
        self.name = f"anynetx{letter}"
        self.summary = {
            "a": "four stages of residual bottlenecks, each with its own depth, width, ratio and group width",
            "b": "AnyNetX A with one bottleneck ratio",
            "c": "AnyNetX B with one group width",
            "d": "AnyNetX C with widths that do not fall",
            "e": "AnyNetX D with depths that do not fall",
        }[letter]

    def draw(self, choose: Chooser) -> Config:
        """See the head of the module."""
        stages = range(STAGES)
        depths = [choose.integer(f"depths[{i}]", 1, 16, log=True) for i in stages]
        widths = [choose.integer(f"widths[{i}]", 8, 1024, step=8, log=True) for i in stages]
        drawn: dict[str, Any] = {
            "depths": tuple(sorted(depths) if self.letter >= "e" else depths),
            "widths": tuple(sorted(widths) if self.letter >= "d" else widths),
        }
        if self.letter >= "b":
            drawn["bottleneck_ratio"] = choose.choice("bottleneck_ratio", BOTTLENECK_RATIOS)
        else:
            ratios = (choose.choice(f"bottleneck_ratios[{i}]", BOTTLENECK_RATIOS) for i in stages)
            drawn["bottleneck_ratios"] = tuple(ratios)
        if self.letter >= "c":
            drawn["group_width"] = choose.choice("group_width", GROUP_WIDTHS)
        else:
            drawn["group_widths"] = tuple(choose.choice(f"group_widths[{i}]", GROUP_WIDTHS) for i in stages)
        return drawn

    def build(self, config: Config) -> nn.Module:
        """See `roofline.models.regnet.AnyNet`."""
        return _anynet(_anynet_stages(config))

    def parts(self, config: Config, batch: int) -> Iterator[Part]:
        """Stem, for each stage its first block and the others, head."""
        return _parts(_anynet_stages(config), (batch, *self.input_shape[1:]))


class RegNetSpace(Space):
    """RegNet: AnyNets whose widths follow a line, which is quantised.

    Args:
        letter: ``x``, ``y`` (with squeeze-excite), or empty for the space before the last constraints.
    """

    def __init__(self, letter: str = "") -> None:
        self.name = f"regnet{letter}"
        self.is_constrained = letter != ""
        self.se_ratio = SE_RATIO if letter == "y" else 0.0
        self.summary = {
            "": "widths on a quantised line: depth, w0, wa, wm, bottleneck ratio and group width",
            "x": "RegNet without bottleneck, 12 to 28 blocks and wm of at least 2",
            "y": "RegNetX with squeeze-excite",
        }[letter]

    def draw(self, choose: Chooser) -> Config:
        """See the head of the module."""
        if self.is_constrained:
            return {
                "depth": choose.integer("depth", 12, 28),
                "w0": choose.integer("w0", 8, 320, step=8, log=True),
                "wa": round(choose.number("wa", 8.0, 256.0, log=True), 2),
                "wm": round(choose.number("wm", 2.0, 3.0, log=True), 2),
                "bottleneck_ratio": choose.choice("bottleneck_ratio", (1,)),
                "group_width": choose.integer("group_width", 8, 232, step=8, log=True),
            }
        return {
            "depth": choose.integer("depth", STAGES, 63),
            "w0": choose.integer("w0", 8, 248, step=8, log=True),
            "wa": round(choose.number("wa", 8.0, 255.0, log=True), 2),
            "wm": round(choose.number("wm", 1.5, 3.0, log=True), 2),
            "bottleneck_ratio": choose.choice("bottleneck_ratio", BOTTLENECK_RATIOS),
            "group_width": choose.choice("group_width", GROUP_WIDTHS),
        }

    def why_invalid(self, config: Config) -> str:
        """Whether there are four stages, and no power of wm is left out between them."""
        numbers: dict[str, Any] = dict(config)
        depth, w0, wa, wm = (numbers[name] for name in ("depth", "w0", "wa", "wm"))
        last = round(math.log((w0 + wa * (depth - 1)) / w0) / math.log(wm))  # the power of wm of the last block
        stages = len(_regnet_stages(**numbers)) if last == STAGES - 1 else None
        if stages == STAGES:
            return ""
        if stages is None:
            return f"widths reach the power {last} of wm, not {STAGES - 1}: there would not be {STAGES} stages"
        return f"it has {stages} stages, not {STAGES}"

    def build(self, config: Config) -> nn.Module:
        """See `roofline.models.regnet.regnet`."""
        numbers: dict[str, Any] = dict(config)
        return _anynet(_regnet_stages(**numbers), self.se_ratio)

    def parts(self, config: Config, batch: int) -> Iterator[Part]:
        """Stem, for each stage its first block and the others, head."""
        numbers: dict[str, Any] = dict(config)
        return _parts(_regnet_stages(**numbers), (batch, *self.input_shape[1:]), self.se_ratio)


def _anynet_stages(config: Config) -> tuple[_Stage, ...]:
    """The stages of an AnyNetX, fitted to their groups."""
    numbers: dict[str, Any] = dict(config)
    ratios = numbers.get("bottleneck_ratios") or (numbers["bottleneck_ratio"],) * STAGES
    group_widths = numbers.get("group_widths") or (numbers["group_width"],) * STAGES
    return tuple(map(_fitted, numbers["depths"], numbers["widths"], group_widths, ratios))


@lru_cache(maxsize=4096)  # a draw is asked whether it is valid, and then for its parts
def _regnet_stages(
    depth: int, w0: int, wa: float, wm: float, bottleneck_ratio: int, group_width: int
) -> tuple[_Stage, ...]:
    """The stages of a RegNet, fitted to their groups."""
    depths, widths = regnet_widths(depth=depth, w0=w0, wa=wa, wm=wm)
    stages = zip(depths, widths, strict=True)
    return tuple(_fitted(blocks, width, group_width, bottleneck_ratio) for blocks, width in stages)


def _fitted(depth: int, width: int, group_width: int, ratio: int) -> _Stage:
    return _Stage(depth, *fit_to_groups(width, group_width, Fraction(ratio)), ratio)


def _anynet(stages: Sequence[_Stage], se_ratio: float = 0.0) -> AnyNet:
    return AnyNet(
        depths=[stage.depth for stage in stages],
        widths=[stage.width for stage in stages],
        group_widths=[stage.group_width for stage in stages],
        bottleneck_ratios=[float(stage.ratio) for stage in stages],
        se_ratio=se_ratio,
        stem_width=STEM_WIDTH,
        num_classes=CLASSES,
    )


# --- parts ------------------------------------------------------------------------------------------------------------


def _parts(stages: Sequence[_Stage], input_shape: Sequence[int], se_ratio: float = 0.0) -> Iterator[Part]:
    batch, in_chans, *image = input_shape
    yield Part(_stem, (("in_chans", in_chans),), (batch, in_chans, *image))
    image, chans = [_halved(size) for size in image], STEM_WIDTH
    for stage in stages:
        groups = stage.width // stage.ratio // stage.group_width
        inner = (Size("groups", groups), Size("group_width", stage.group_width, degree=2))
        yield Part(
            _first,
            (),
            (batch, "in_chans", *image),
            (Size("in_chans", chans), Size("out_chans", stage.width), *inner, *_squeeze(chans, se_ratio)),
        )
        image, chans = [_halved(size) for size in image], stage.width
        if stage.depth > 1:
            sizes = (Size("chans", chans), *inner, *_squeeze(chans, se_ratio))
            yield Part(_further, (), (batch, "chans", *image), sizes, repeats=stage.depth - 1)
    yield Part(_head, (), (batch, "chans", *image), (Size("chans", chans),))


def _halved(size: int) -> int:
    return -(-size // 2)


def _squeeze(in_chans: int, se_ratio: float) -> tuple[Size, ...]:
    return (Size("squeeze", max(1, round(in_chans * se_ratio))),) if se_ratio else ()


def _stem(*, in_chans: int) -> nn.Module:
    return ConvNorm(in_chans, STEM_WIDTH, 3, stride=2, act="relu")


def _first(*, in_chans: int, out_chans: int, groups: int, group_width: int, squeeze: int = 0) -> nn.Module:
    """The first block of a stage."""
    width, se_ratio = groups * group_width, squeeze / in_chans
    return Bottleneck(in_chans, out_chans, width=width, group_width=group_width, stride=2, se_ratio=se_ratio)


def _further(*, chans: int, groups: int, group_width: int, squeeze: int = 0) -> nn.Module:
    """Any other block of a stage."""
    return Bottleneck(chans, chans, width=groups * group_width, group_width=group_width, se_ratio=squeeze / chans)


def _head(*, chans: int) -> nn.Module:
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(chans, CLASSES))
