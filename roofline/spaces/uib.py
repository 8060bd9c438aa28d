"""Universal inverted bottlenecks: the space that MobileNetV4's networks were searched in, without attention.

Qin et al., "MobileNetV4: Universal Models for the Mobile Ecosystem", ECCV 2024, arXiv:2404.10518. The blocks, and what
start and mid kernels are, stand in the head of `roofline.models.mobilenetv4`.

The paper's search first finds widths, with inverted bottlenecks of kernel 3 and expansion 4, and then for each block
which of the two depthwise convolutions there are, and whether they are 3x3 or 5x5, with that expansion. It does not
print the candidates of widths and depths. Here all is drawn at once, each with the same likelihood, expansions too,
within what the released networks have (tensorflow/models official/vision/modeling/backbones/mobilenet.py), and somewhat
around:

    stem          24 or 32 channels, stride 2: Conv-L, and Conv-S and Conv-M
    1/4           a FusedIB of expansion 4 to 32 ... 64 channels (48 in Conv-M and Conv-L)
    1/8 to 1/32   1 to 4, 4 to 12 and 6 to 14 blocks (2, 8, 11 in Conv-M; 2, 11, 13 in Conv-L) of 48 ... 128,
                  96 ... 256 and 160 ... 640 channels (80, 160, 256; 96, 192, 512), all multiples of 16
    a block       start and mid kernels of 0 (none), 3 or 5, and an expansion of 2, 3, 4 or 6
    head          960 and 1280 channels, 1000 classes

A stage's first block has the stride, which in all released networks is on its mid convolution: it has one. Conv-M and
Conv-L are points of the space. The input is 224 x 224, as for Conv-S; theirs is 256 and 384.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from roofline.models.mobilenetv4 import (
    UIB,
    ConvNorm,
    Fused,
    FusedIB,
    MobileNetV4,
    Row,
    UniversalInvertedBottleneck,
    Variant,
)
from roofline.spaces.space import Chooser, Config, Part, Size, Space

STEMS = (24, 32)
FUSED_WIDTHS = (32, 64)  # the narrowest and the widest
FUSED_EXPAND = 4
DEPTHS = ((1, 4), (4, 12), (6, 14))
WIDTHS = ((48, 128), (96, 256), (160, 640))
WIDTH_STEP = 16
KERNELS = (0, 3, 5)
STRIDE_KERNELS = (3, 5)
EXPANSIONS = (2, 3, 4, 6)
HEAD, PRE_LOGITS, CLASSES = 960, 1280, 1000


class UIBSpace(Space):
    """Networks of universal inverted bottlenecks; see the head of the module."""

    name = "uib"
    summary = (
        "MobileNetV4's universal inverted bottlenecks: two depthwise convolutions at will, expansion, width, depth"
    )

    def draw(self, choose: Chooser) -> Config:
        """Numbers of all blocks stand one after the other, stage by stage."""
        stem = choose.choice("stem", STEMS)
        fused = choose.integer("fused", *FUSED_WIDTHS, step=WIDTH_STEP)
        depths = tuple(choose.integer(f"depths[{i}]", *span) for i, span in enumerate(DEPTHS))
        widths = tuple(choose.integer(f"widths[{i}]", *span, step=WIDTH_STEP) for i, span in enumerate(WIDTHS))
        firsts = {sum(depths[:i]) for i in range(len(depths))}
        blocks = range(sum(depths))
        return {
            "stem": stem,
            "fused": fused,
            "depths": depths,
            "widths": widths,
            "starts": tuple(choose.choice(f"starts[{i}]", KERNELS) for i in blocks),
            "mids": tuple(choose.choice(f"mids[{i}]", STRIDE_KERNELS if i in firsts else KERNELS) for i in blocks),
            "expansions": tuple(choose.choice(f"expansions[{i}]", EXPANSIONS) for i in blocks),
        }

    def build(self, config: Config) -> nn.Module:
        """See `roofline.models.mobilenetv4.MobileNetV4`."""
        numbers: dict[str, Any] = dict(config)
        fused = Fused(numbers["fused"], 3, FUSED_EXPAND, stride=2)
        stages: tuple[tuple[Row, ...], ...] = ((fused,), *(tuple(rows) for rows in _rows(config)))
        return MobileNetV4(Variant(stem=numbers["stem"], stages=stages), num_classes=CLASSES)

    def parts(self, config: Config, batch: int) -> Iterator[Part]:
        """Stem, fused block, each block, two parts of the head."""
        numbers: dict[str, Any] = dict(config)
        _, in_chans, *image = self.input_shape
        stem, chans = numbers["stem"], numbers["fused"]
        yield Part(_stem, (("in_chans", in_chans),), (batch, in_chans, *image), (Size("out_chans", stem),))
        image = [_halved(size) for size in image]
        yield Part(_fused, (), (batch, "in_chans", *image), (Size("in_chans", stem, 2), Size("out_chans", chans)))
        image = [_halved(size) for size in image]
        for rows in _rows(config):
            for out, start, mid, expand, stride, _ in rows:
                form = (("start", start), ("mid", mid), ("stride", stride))
                width = Size("width", chans * expand)
                if stride == 1:
                    yield Part(_further, form, (batch, "chans", *image), (Size("chans", chans), width))
                else:
                    ends = (Size("in_chans", chans), Size("out_chans", out))
                    yield Part(_first, form, (batch, "in_chans", *image), (*ends, width))
                    image, chans = [_halved(size) for size in image], out
        yield Part(_conv_head, (), (batch, "chans", *image), (Size("chans", chans),))
        yield Part(_head, (), (batch, HEAD, *image))


def _rows(config: Config) -> list[list[UIB]]:
    """The blocks of each stage."""
    numbers: dict[str, Any] = dict(config)
    blocks = zip(numbers["starts"], numbers["mids"], numbers["expansions"], strict=True)
    return [
        [UIB(width, *next(blocks), stride=1 if i else 2) for i in range(depth)]
        for depth, width in zip(numbers["depths"], numbers["widths"], strict=True)
    ]


def _halved(size: int) -> int:
    return -(-size // 2)


def _stem(*, in_chans: int, out_chans: int) -> nn.Module:
    return ConvNorm(in_chans, out_chans, 3, stride=2, act="relu")


def _fused(*, in_chans: int, out_chans: int) -> nn.Module:
    return FusedIB(in_chans, out_chans, 3, expand=FUSED_EXPAND, stride=2, act="relu")


def _first(*, in_chans: int, out_chans: int, width: int, start: int, mid: int, stride: int) -> nn.Module:
    """The first block of a stage."""
    expand = width / in_chans
    return UniversalInvertedBottleneck(in_chans, out_chans, start=start, mid=mid, expand=expand, stride=stride)


def _further(*, chans: int, width: int, start: int, mid: int, stride: int) -> nn.Module:
    """Any other block of a stage, to whose output its input is added."""
    return _first(in_chans=chans, out_chans=chans, width=width, start=start, mid=mid, stride=stride)


def _conv_head(*, chans: int) -> nn.Module:
    return ConvNorm(chans, HEAD, 1, act="relu")


def _head() -> nn.Module:
    pre_logits = ConvNorm(HEAD, PRE_LOGITS, 1, act="relu")
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), pre_logits, nn.Flatten(1), nn.Linear(PRE_LOGITS, CLASSES))
