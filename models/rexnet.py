"""ReXNet: inverted bottlenecks whose width grows by the same number of channels with every block, not once a stage.

Han, Yun, Heo, Yoo, "Rethinking Channel Dimensions for Efficient Model Design", CVPR 2021, arXiv:2007.00992.

A layer that narrows its input, or keeps its width, limits the rank of the features: so every block widens them a
little. Of n blocks (16 = 1 + 2 + 2 + 3 + 3 + 5 in six stages, whose first blocks have strides 1, 2, 2, 2, 1, 2 after a
stem with stride 2), block i = 0 .. n - 1 has

    ReXNet        round(width_mult (16 + 180 i / n)) channels
    ReXNet-lite   round(width_mult (16 + 164 i / (n - 1))), to a multiple of 8

where halves round to even. Few of ReXNet's are multiples of 8, as accelerators would have them. The stem has
32 width_mult channels, the last convolution 1280 width_mult. A width_mult below 1 spares the 32, and in lite the 1280,
and it scales the growth alone: block i has 16 + 180 i width_mult / n.
depth_mult multiplies the blocks of each stage and rounds up, as the code of ReXNet does; for lite it is an addition.

A block expands six times (the first does not), has a 3x3 depthwise convolution, and projects. Where it neither strides
nor narrows, its input is added to the first channels of its output, as many as there are: a partial residual. ReXNet
has SiLU after the stem, expansions and the last convolution, ReLU6 before projections, and from the third stage on
squeeze-excite (to a twelfth, with a norm inside) before that ReLU6. Lite has ReLU6 throughout, no squeeze-excite, and
one more layer of 1024 before the classifier. The numbers are those of clovaai/rexnet rexnetv1.py and rexnetv1_lite.py.
The classifier is a linear layer, there a 1x1 convolution; dropout before it is left out.

ReXNet plain is MobileNetV1 redesigned: depthwise separable blocks whose width grows by a constant. It is an assumption.
There is no official code, and neither the paper's table of its layers nor its figures were at hand to check it with.
From another's code (ffiirree/cv-models cvm/models/rexnet.py) are the widths, 32, then 96 + 48 i of twelve blocks, then
1024, and the activations: SiLU after the stem and 1x1 convolutions, ReLU after depthwise ones. The strides and the head
are MobileNetV1's, as the redesign is said to keep its cost, and so it does: 565 M MACs beside 569 M. (That code strides
one block earlier and has a layer of 1280 before the classifier: 4.97 M parameters and 442 M MACs in place of 3.40 and
565.) That width_mult multiplies every width and rounds is an assumption too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate, islice, pairwise, repeat
from typing import NamedTuple

from torch import Tensor, nn

from roofline.models.activations import Activation, SqueezeExcite, make_activation
from roofline.models.blocks import (
    ConvNorm,
    DepthwiseSeparable,
    check_counts,
    check_positive,
    check_share,
    depthwise,
    init_weights,
    make_divisible,
)


class Stage(NamedTuple):
    """A row of the table: how many blocks, the stride of the first, their expansion, whether ReXNet has SE there."""

    blocks: int
    stride: int
    expand: int
    se: bool


STAGES = (
    Stage(blocks=1, stride=1, expand=1, se=False),
    Stage(blocks=2, stride=2, expand=6, se=False),
    Stage(blocks=2, stride=2, expand=6, se=True),
    Stage(blocks=3, stride=2, expand=6, se=True),
    Stage(blocks=3, stride=1, expand=6, se=True),
    Stage(blocks=5, stride=2, expand=6, se=True),
)

PLAIN_WIDTHS = (*range(96, 625, 48), 1024)
PLAIN_STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1)


def line(blocks: int, *, growth: float, width_mult: float) -> list[int]:
    """Channels of each block: 16, and `growth` more with each further one, times `width_mult`.

    Below 1, the multiplier spares the first 16 and scales the growth alone.

    >>> line(16, growth=180 / 16, width_mult=1.0)
    [16, 27, 38, 50, 61, 72, 84, 95, 106, 117, 128, 140, 151, 162, 174, 185]
    """
    # summed up, not multiplied, as in the code of the authors: halves that rounding decides come out the same
    widths = accumulate(repeat(growth, blocks - 1), initial=16 / min(1.0, width_mult))
    return [round(width * width_mult) for width in widths]


class RankExpansionBlock(nn.Module):
    """[expand] -> depthwise -> [se] -> act -> project, plus the input on the first channels.

    (B, in_chans, H, W) -> (B, out_chans, ceil(H / stride), ceil(W / stride))

    Args:
        in_chans: Channels of the input.
        out_chans: Channels of the output. The input is added to the first `in_chans` of them if there are as many and
            the stride is 1.
        expand: Factor of the expanded width; there is no expansion at 1.
        stride: Of the depthwise convolution.
        se_ratio: Squeeze-excite squeezes to this share of the expanded channels, rounded down; 0 for none.
        expand_act: Activation after the expansion.
        act: Activation before the projection, after squeeze-excite.
        se_act: Activation inside squeeze-excite.
    """

    def __init__(
        self,
        in_chans: int,
        out_chans: int,
        *,
        expand: int,
        stride: int = 1,
        se_ratio: float = 0.0,
        expand_act: Activation = "silu",
        act: Activation = "relu6",
        se_act: Activation = "relu",
    ) -> None:
        super().__init__()
        width = in_chans * expand
        self.expand: nn.Module = ConvNorm(in_chans, width, 1, act=expand_act) if expand > 1 else nn.Identity()
        self.depthwise = depthwise(width, 3, stride=stride)
        squeeze = max(1, int(width * se_ratio))
        self.se: nn.Module = SqueezeExcite(width, squeeze, act=se_act, norm=True) if se_ratio else nn.Identity()
        self.act = make_activation(act, width)
        self.project = ConvNorm(width, out_chans, 1)
        self.residual = stride == 1 and in_chans <= out_chans

    def forward(self, x: Tensor) -> Tensor:
        """Expand, mix space, weigh, project; add the input where it fits."""
        y: Tensor = self.project(self.act(self.se(self.depthwise(self.expand(x)))))
        if self.residual:
            # In place, on a view: it reads and writes the first channels only, as the authors' code does. A copy with
            # torch.cat would move all channels again, and a roofline would count that. Autograd allows it, as neither
            # a norm nor a convolution needs its output for the backward pass.
            y[:, : x.shape[1]].add_(x)
        return y


def count_blocks(depth_mult: float) -> list[int]:
    """Blocks of each stage, rounded up."""
    return [math.ceil(stage.blocks * depth_mult) for stage in STAGES]


def make_stages(
    block: Callable[..., nn.Module], stem: int, widths: Sequence[int], blocks: Sequence[int], *, se_ratio: float = 0.0
) -> nn.Sequential:
    """All stages, for the channels of the stem, the width of each block, and the number of blocks of each stage."""
    ins_and_outs = pairwise([stem, *widths])
    return nn.Sequential(
        *(
            nn.Sequential(
                *(
                    block(
                        in_chans,
                        out_chans,
                        expand=stage.expand,
                        stride=1 if j else stage.stride,
                        se_ratio=se_ratio if stage.se else 0.0,
                    )
                    for j, (in_chans, out_chans) in enumerate(islice(ins_and_outs, count))
                )
            )
            for stage, count in zip(STAGES, blocks, strict=True)
        )
    )


class ReXNet(nn.Module):
    """stem -> stages -> conv_head -> pool -> classifier.

    (B, in_chans, H, W) -> (B, num_classes). `stages.<i>.<j>` is block j of stage i.

    Args:
        width_mult: Factor of all channels; below 1, those of the stem and the first block stay.
        depth_mult: Factor of the blocks of each stage, rounded up.
        se_ratio: Squeeze-excite squeezes to this share of the expanded channels, rounded down; 0 for none.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        act: Activation in place of SiLU, ReLU6 and squeeze-excite's ReLU, e.g. ``"hardswish"``.

    Raises:
        ValueError: An argument that makes no sense.
    """

    def __init__(
        self,
        *,
        width_mult: float = 1.0,
        depth_mult: float = 1.0,
        se_ratio: float = 1 / 12,
        num_classes: int = 1000,
        in_chans: int = 3,
        act: Activation | None = None,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_chans=in_chans)
        check_positive(width_mult=width_mult, depth_mult=depth_mult)
        check_share(se_ratio=se_ratio)
        blocks = count_blocks(depth_mult)
        stem = round(32 * max(1.0, width_mult))
        widths = line(sum(blocks), growth=180 / sum(blocks), width_mult=width_mult)
        head = max(1, int(1280 * width_mult))
        self.stem = ConvNorm(in_chans, stem, 3, stride=2, act="silu" if act is None else act)
        block = partial(
            RankExpansionBlock,
            expand_act="silu" if act is None else act,
            act="relu6" if act is None else act,
            se_act="relu" if act is None else act,
        )
        self.stages = make_stages(block, stem, widths, blocks, se_ratio=se_ratio)
        self.conv_head = ConvNorm(widths[-1], head, 1, act="silu" if act is None else act)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(head, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.pool(self.conv_head(self.stages(self.stem(x))))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


class ReXNetLite(nn.Module):
    """stem -> stages -> conv_head -> pool -> pre_logits -> classifier.

    (B, in_chans, H, W) -> (B, num_classes). `stages.<i>.<j>` is block j of stage i.

    Args:
        width_mult: Factor of all channels, which are rounded to multiples of 8; the 1024 before the classifier stay,
            and below 1 also those of the stem, the first block and the last convolution.
        depth_mult: Factor of the blocks of each stage, rounded up.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        act: Activation in place of ReLU6, e.g. ``"hardswish"``.

    Raises:
        ValueError: An argument that makes no sense.
    """

    def __init__(
        self,
        *,
        width_mult: float = 1.0,
        depth_mult: float = 1.0,
        num_classes: int = 1000,
        in_chans: int = 3,
        act: Activation | None = None,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_chans=in_chans)
        check_positive(width_mult=width_mult, depth_mult=depth_mult)
        act = "relu6" if act is None else act
        blocks = count_blocks(depth_mult)
        stem = make_divisible(round(32 * max(1.0, width_mult)))
        exact = line(sum(blocks), growth=164 / (sum(blocks) - 1), width_mult=width_mult)
        widths = [make_divisible(width) for width in exact]
        head = int(1280 * max(1.0, width_mult))
        self.stem = ConvNorm(in_chans, stem, 3, stride=2, act=act)
        self.stages = make_stages(partial(RankExpansionBlock, expand_act=act, act=act), stem, widths, blocks)
        self.conv_head = ConvNorm(widths[-1], head, 1, act=act)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.pre_logits = ConvNorm(head, 1024, 1, act=act, bias=True)
        self.classifier = nn.Linear(1024, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.pool(self.conv_head(self.stages(self.stem(x))))
        logits: Tensor = self.classifier(self.pre_logits(x).flatten(1))
        return logits


class ReXNetPlain(nn.Module):
    """stem -> blocks -> pool -> classifier; what is assumed stands in the module's head.

    (B, in_chans, H, W) -> (B, num_classes)

    Args:
        width_mult: Factor of all channels, rounded.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        act: Activation in place of SiLU and ReLU, e.g. ``"hardswish"``.

    Raises:
        ValueError: An argument that makes no sense.
    """

    def __init__(
        self, *, width_mult: float = 1.0, num_classes: int = 1000, in_chans: int = 3, act: Activation | None = None
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_chans=in_chans)
        check_positive(width_mult=width_mult)
        stem, *widths = (max(1, round(width * width_mult)) for width in (32, *PLAIN_WIDTHS))
        self.stem = ConvNorm(in_chans, stem, 3, stride=2, act="silu" if act is None else act)
        self.blocks = nn.Sequential(
            *(
                DepthwiseSeparable(
                    in_chans,
                    out_chans,
                    stride=stride,
                    depthwise_act="relu" if act is None else act,
                    pointwise_act="silu" if act is None else act,
                )
                for (in_chans, out_chans), stride in zip(pairwise([stem, *widths]), PLAIN_STRIDES, strict=True)
            )
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(widths[-1], num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.pool(self.blocks(self.stem(x)))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


# fmt: off
VARIANTS: Mapping[str, Callable[..., nn.Module]] = {
    "rexnet_090":       partial(ReXNet, width_mult=0.9),
    "rexnet_100":       partial(ReXNet),
    "rexnet_130":       partial(ReXNet, width_mult=1.3),
    "rexnet_150":       partial(ReXNet, width_mult=1.5),
    "rexnet_200":       partial(ReXNet, width_mult=2.0),
    "rexnet_220":       partial(ReXNet, width_mult=2.2),
    "rexnet_300":       partial(ReXNet, width_mult=3.0),
    "rexnet_lite_090":  partial(ReXNetLite, width_mult=0.9),
    "rexnet_lite_100":  partial(ReXNetLite),
    "rexnet_lite_130":  partial(ReXNetLite, width_mult=1.3),
    "rexnet_lite_150":  partial(ReXNetLite, width_mult=1.5),
    "rexnet_lite_200":  partial(ReXNetLite, width_mult=2.0),
    "rexnet_plain_100": partial(ReXNetPlain),
}
# fmt: on
