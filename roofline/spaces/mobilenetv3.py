"""MobileNetV3-like networks: stages of inverted residuals, with squeeze-excite and an activation to choose.

Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244; the blocks are those of
`roofline.models.mobilenetv3`. A stage is drawn as a whole, as in the factorised hierarchical space that MobileNetV3's
search took over from MnasNet (Tan et al., CVPR 2019, arXiv:1807.11626): all its blocks share kernel, expansion,
squeeze-excite and activation. Those two have kernels of 3 and 5; 7, and expansions of 3, 4 and 6, are from the
MobileNetV3 space of Once-for-All (Cai et al., ICLR 2020, arXiv:1908.09791), as are 2 to 4 blocks a stage.

    stem          16 channels, stride 2, h-swish; one block of 16 channels without expansion
    five stages   of strides 2, 2, 2, 1, 2 and 16 ... 32, 24 ... 56, 48 ... 112, 80 ... 144 and 112 ... 208 channels,
                  multiples of 8 around Large's 24, 40, 80, 112 and 160
    head          960 and 1280 channels, 1000 classes

All is equally likely. The odd widths of the published networks, such as 184 of 80 channels, came afterwards, of
NetAdapt, and are no points of the space. Squeeze-excite squeezes to a quarter of the expanded width, a multiple of 8.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn

from roofline.models.activations import SqueezeExcite, make_activation
from roofline.models.blocks import make_divisible
from roofline.models.mobilenetv2 import InvertedResidual
from roofline.models.mobilenetv3 import HS, RE, STEM, ConvNorm, MobileNetV3, Row, Variant
from roofline.spaces.space import Chooser, Config, Part, Size, Space

STRIDES = (2, 2, 2, 1, 2)
WIDTHS = ((16, 32), (24, 56), (48, 112), (80, 144), (112, 208))
DEPTHS = (2, 4)
KERNELS = (3, 5, 7)
EXPANSIONS = (3, 4, 6)
ACTIVATIONS = (RE, HS)
HEAD, PRE_LOGITS, CLASSES = 960, 1280, 1000


class MobileNetV3Space(Space):
    """Stages of inverted residuals; see the head of the module."""

    name = "mobilenetv3"
    summary = (
        "MobileNetV3-like inverted residuals: kernel, expansion, width, depth, squeeze-excite, activation by stage"
    )

    def draw(self, choose: Chooser) -> Config:
        """Lists have one value a stage."""
        stages = range(len(STRIDES))
        return {
            "depths": tuple(choose.integer(f"depths[{i}]", *DEPTHS) for i in stages),
            "widths": tuple(choose.integer(f"widths[{i}]", *WIDTHS[i], step=8) for i in stages),
            "kernels": tuple(choose.choice(f"kernels[{i}]", KERNELS) for i in stages),
            "expansions": tuple(choose.choice(f"expansions[{i}]", EXPANSIONS) for i in stages),
            "squeeze_excite": tuple(choose.choice(f"squeeze_excite[{i}]", (0, 1)) for i in stages),
            "nonlinearities": tuple(choose.choice(f"nonlinearities[{i}]", ACTIVATIONS) for i in stages),
        }

    def build(self, config: Config) -> nn.Module:
        """See `roofline.models.mobilenetv3.MobileNetV3`."""
        stages = ((_FIRST,), *(tuple(rows) for rows in _rows(config)))
        return MobileNetV3(Variant(stages=stages, head=HEAD, pre_logits=PRE_LOGITS), num_classes=CLASSES)

    def parts(self, config: Config, batch: int) -> Iterator[Part]:
        """Stem and first block, for each stage its first block and the others, two parts of the head."""
        _, in_chans, *image = self.input_shape
        yield Part(_stem, (("in_chans", in_chans),), (batch, in_chans, *image))
        image, chans = [-(-size // 2) for size in image], STEM
        yield Part(_narrow, (), (batch, STEM, *image))
        for first, *others in _rows(config):
            form = (("kernel", first.kernel), ("stride", first.stride), ("act", first.act))
            if first.stride == 1 and chans == first.out:
                yield Part(_further, form, (batch, "chans", *image), (Size("chans", chans), *_inner(first)))
            else:
                ends = (Size("in_chans", chans), Size("out_chans", first.out))
                yield Part(_first, form, (batch, "in_chans", *image), (*ends, *_inner(first)))
            image, chans = [-(-size // first.stride) for size in image], first.out
            form = (("kernel", first.kernel), ("stride", 1), ("act", first.act))
            sizes = (Size("chans", chans), *_inner(others[0]))
            yield Part(_further, form, (batch, "chans", *image), sizes, repeats=len(others))
        yield Part(_conv_head, (), (batch, "chans", *image), (Size("chans", chans),))
        yield Part(_head, (), (batch, HEAD, *image))


_FIRST = Row(3, STEM, STEM, 1, False, RE)  # the first block of Large


def _rows(config: Config) -> list[list[Row]]:
    """The blocks of each stage."""
    numbers: dict[str, Any] = dict(config)
    names = ("depths", "widths", "kernels", "expansions", "squeeze_excite", "nonlinearities")
    found, chans = [], STEM
    for stride, depth, out, kernel, expand, se, act in zip(STRIDES, *(numbers[name] for name in names), strict=True):
        rows = []
        for i in range(depth):
            rows.append(Row(kernel, chans * expand, out, 1 if i else stride, bool(se), act))
            chans = out
        found.append(rows)
    return found


def _inner(row: Row) -> tuple[Size, ...]:
    """Sizes within a block."""
    width = Size("width", row.width)
    return (width, Size("squeeze", make_divisible(row.width / 4))) if row.se else (width,)


def _stem(*, in_chans: int) -> nn.Module:
    return ConvNorm(in_chans, STEM, 3, stride=2, act=HS)


def _narrow() -> nn.Module:
    """The first block."""
    return InvertedResidual(STEM, STEM, STEM, kernel=_FIRST.kernel, act=_FIRST.act)


def _first(
    *, in_chans: int, out_chans: int, width: int, kernel: int, stride: int, act: str, squeeze: int = 0
) -> nn.Module:
    """The first block of a stage."""

    def squeeze_excite(chans: int) -> nn.Module:
        return SqueezeExcite(chans, squeeze, act=RE, gate="hardsigmoid")

    se = squeeze_excite if squeeze else None
    return InvertedResidual(in_chans, width, out_chans, kernel=kernel, stride=stride, act=act, se=se)


def _further(*, chans: int, width: int, kernel: int, stride: int, act: str, squeeze: int = 0) -> nn.Module:
    """A block to whose output its input is added."""
    return _first(in_chans=chans, out_chans=chans, width=width, kernel=kernel, stride=stride, act=act, squeeze=squeeze)


def _conv_head(*, chans: int) -> nn.Module:
    return ConvNorm(chans, HEAD, 1, act=HS)


def _head() -> nn.Module:
    pre_logits = nn.Conv2d(HEAD, PRE_LOGITS, 1)
    act = make_activation(HS, PRE_LOGITS)
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), pre_logits, act, nn.Flatten(1), nn.Linear(PRE_LOGITS, CLASSES))
