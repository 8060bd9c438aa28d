"""ReXNets: inverted bottlenecks whose width grows by the same number of channels with every block.

Han, Yun, Heo, Yoo, "Rethinking Channel Dimensions for Efficient Model Design", CVPR 2021, arXiv:2007.00992. The rule,
and what the multipliers do, stand in the head of `roofline.models.rexnet`. Drawn are, all equally likely,

    width_mult   0.5 to 3, by its logarithm, in two decimals: the published networks have 0.9 to 3
    depth_mult   1 to 2, in one decimal: 16 to 32 blocks; the published networks have 16
    se_ratio     0 (no squeeze-excite), 1/24, 1/12 (the published one), 1/8 or 1/4 of the expanded channels
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

from torch import nn

from roofline.models.blocks import ConvNorm
from roofline.models.rexnet import STAGES, RankExpansionBlock, ReXNet, count_blocks, line
from roofline.spaces.space import Chooser, Config, Part, Size, Space

SE_RATIOS = (0.0, 1 / 24, 1 / 12, 1 / 8, 1 / 4)
CLASSES = 1000


class ReXNetSpace(Space):
    """ReXNets; see the head of the module."""

    name = "rexnet"
    summary = "ReXNet's linear channel rule: width and depth multipliers, squeeze-excite ratio"

    def draw(self, choose: Chooser) -> Config:
        """See the head of the module."""
        return {
            "width_mult": round(choose.number("width_mult", 0.5, 3.0, log=True), 2),
            "depth_mult": round(choose.number("depth_mult", 1.0, 2.0), 1),
            "se_ratio": choose.choice("se_ratio", SE_RATIOS),
        }

    def build(self, config: Config) -> nn.Module:
        """See `roofline.models.rexnet.ReXNet`."""
        numbers: dict[str, Any] = dict(config)
        return ReXNet(**numbers, num_classes=CLASSES)

    def parts(self, config: Config, batch: int) -> Iterator[Part]:
        """Stem, each block, head."""
        numbers: dict[str, Any] = dict(config)
        width_mult, depth_mult, se_ratio = (numbers[name] for name in ("width_mult", "depth_mult", "se_ratio"))
        _, in_chans, *image = self.input_shape
        chans, blocks = round(32 * max(1.0, width_mult)), count_blocks(depth_mult)
        widths = iter(line(sum(blocks), growth=180 / sum(blocks), width_mult=width_mult))
        yield Part(_stem, (("in_chans", in_chans),), (batch, in_chans, *image), (Size("chans", chans),))
        image = [-(-size // 2) for size in image]
        for stage, count in zip(STAGES, blocks, strict=True):
            for i, out in enumerate(islice(widths, count)):
                stride = 1 if i else stage.stride
                form = (("expand", stage.expand), ("stride", stride), ("narrows", out < chans))
                squeeze = max(1, int(chans * stage.expand * se_ratio)) if stage.se and se_ratio else 0
                inner = (Size("squeeze", squeeze),) if squeeze else ()
                if out == chans and stride == 1:
                    sizes = (Size("in_chans", chans, 2), *inner)
                else:  # which is added to which depends on which is the larger: in this order, the smaller is first
                    ends = (Size("in_chans", chans, 2), Size("out_chans", out))
                    sizes = (*(ends if out >= chans else reversed(ends)), *inner)
                yield Part(_block, form, (batch, "in_chans", *image), sizes)
                image, chans = [-(-size // stride) for size in image], out
        sizes = (Size("chans", chans), Size("width", max(1, int(1280 * width_mult))))
        yield Part(_head, (), (batch, "chans", *image), sizes)


def _stem(*, in_chans: int, chans: int) -> nn.Module:
    return ConvNorm(in_chans, chans, 3, stride=2, act="silu")


def _block(
    *, in_chans: int, expand: int, stride: int, narrows: bool, out_chans: int | None = None, squeeze: int = 0
) -> nn.Module:
    """A block; `narrows` tells those apart that add nothing for it."""
    se_ratio = (squeeze + 0.5) / (in_chans * expand) if squeeze else 0.0  # which is rounded down
    return RankExpansionBlock(in_chans, out_chans or in_chans, expand=expand, stride=stride, se_ratio=se_ratio)


def _head(*, chans: int, width: int) -> nn.Module:
    conv_head = ConvNorm(chans, width, 1, act="silu")
    return nn.Sequential(conv_head, nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.Linear(width, CLASSES))
