"""MobileNetV3: MobileNetV2's blocks with squeeze-and-excitation and h-swish, searched for the latency on phones.

Howard et al., "Searching for MobileNetV3", ICCV 2019, arXiv:1905.02244.

Platform-aware search found the blocks, NetAdapt trimmed their widths: hence the odd expansions such as 184 of 80
channels. Large and Small are tables of inverted residuals, a row a block: kernel, expanded width, channels, stride,
whether squeeze-and-excitation stands before the projection, and the activation. That is h-swish, x * relu6(x + 3) / 6,
in the stem and from the blocks of 80 channels (in Small, of 40) on, and ReLU in the blocks between.
Squeeze-and-excitation has a quarter of the expanded width, rounded to a multiple of 8, between its two layers, ReLU
after the first, and the hard sigmoid relu6(x + 3) / 6 as its gate. The stem has 16 channels. The last 1x1 convolution
stands after the global average pool, at 1x1 instead of 7x7, with a bias and without norm.

The minimalistic networks are the same tables without what some hardware is slow at: all kernels are 3x3 (`kernel=3`),
there is no squeeze-and-excitation (`se=False`), and ReLU is the only activation (`act="relu"`). `act` replaces ReLU and
h-swish alike, also within squeeze-and-excitation, but not its gate.

A width multiplier rounds all channels to multiples of 8 (to the nearest, never below 90 %), and so the expanded widths
and the squeezed ones that follow from them. The widest layer, 1280 in Large and 1024 in Small, stays as it is, below 1
and above; the stem never falls below 16 channels. This is timm's rule. It gives the published networks at 0.75 and is
carried on to 0.5 and 1.5, where TensorFlow's code can differ: there the stem has 8 channels at 0.5, and the widest
layer stays only in its mode for fine-grained classification.

The numbers are those of tensorflow/models research/slim/nets/mobilenet/mobilenet_v3.py; timm's mobilenetv3_* and
tf_mobilenetv3_*_minimal_100 agree. Small has 1024 channels before the classifier as released, where the paper's Table 2
prints 1280. Padding is symmetric, as in timm: TensorFlow's "same" gives the same shapes, shifted by a pixel where the
stride is 2. There is no dropout (the code keeps 80 % before the classifier while training).
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from roofline.models import blocks
from roofline.models.activations import Activation, SqueezeExcite, make_activation
from roofline.models.blocks import (
    TensorFlowNorm,
    check_counts,
    check_flags,
    check_positive,
    init_weights,
    make_divisible,
)
from roofline.models.mobilenetv2 import InvertedResidual

ConvNorm = partial(blocks.ConvNorm, norm=TensorFlowNorm)

STEM = 16
RE, HS = "relu", "hardswish"


class Row(NamedTuple):
    """A row of the table: one InvertedResidual."""

    kernel: int
    width: int
    out: int
    stride: int
    se: bool
    act: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One of the two networks, at width 1.

    Attributes:
        stages: The rows, those of the same output width together.
        head: Channels of the convolution before the pool.
        pre_logits: Channels of the one after it, whatever the width multiplier.
    """

    stages: tuple[tuple[Row, ...], ...]
    head: int
    pre_logits: int


# fmt: off
LARGE = Variant(head=960, pre_logits=1280, stages=(
    #    k  width  out  s
    (Row(3,    16,  16, 1, False, RE),),
    (Row(3,    64,  24, 2, False, RE),
     Row(3,    72,  24, 1, False, RE)),
    (Row(5,    72,  40, 2, True,  RE),
     Row(5,   120,  40, 1, True,  RE),
     Row(5,   120,  40, 1, True,  RE)),
    (Row(3,   240,  80, 2, False, HS),
     Row(3,   200,  80, 1, False, HS),
     Row(3,   184,  80, 1, False, HS),
     Row(3,   184,  80, 1, False, HS)),
    (Row(3,   480, 112, 1, True,  HS),
     Row(3,   672, 112, 1, True,  HS)),
    (Row(5,   672, 160, 2, True,  HS),
     Row(5,   960, 160, 1, True,  HS),
     Row(5,   960, 160, 1, True,  HS)),
))

SMALL = Variant(head=576, pre_logits=1024, stages=(
    #    k  width  out  s
    (Row(3,    16,  16, 2, True,  RE),),
    (Row(3,    72,  24, 2, False, RE),
     Row(3,    88,  24, 1, False, RE)),
    (Row(5,    96,  40, 2, True,  HS),
     Row(5,   240,  40, 1, True,  HS),
     Row(5,   240,  40, 1, True,  HS)),
    (Row(5,   120,  48, 1, True,  HS),
     Row(5,   144,  48, 1, True,  HS)),
    (Row(5,   288,  96, 2, True,  HS),
     Row(5,   576,  96, 1, True,  HS),
     Row(5,   576,  96, 1, True,  HS)),
))
# fmt: on


class MobileNetV3(nn.Module):
    """stem -> stages -> conv_head -> pool -> pre_logits -> classifier.

    (B, in_chans, H, W) -> (B, num_classes). `stages.<i>.<j>` is block j of those with the i-th output width.

    Args:
        variant: The table of blocks.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        width_mult: Factor of all channels but those before the classifier and, below 1, of the stem.
        act: Activation in place of ReLU and h-swish, e.g. ``"relu"``.
        kernel: Of all depthwise convolutions, in place of the table's.
        se: Whether to have squeeze-and-excitation where the table does.

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
        kernel: int | None = None,
        se: bool = True,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_chans=in_chans, kernel=1 if kernel is None else kernel)
        check_positive(width_mult=width_mult)
        check_flags(se=se)
        if kernel is not None and kernel % 2 == 0:
            raise ValueError(f"kernel must be odd, so that it has a middle (got {kernel})")
        before, chans = STEM, max(STEM, make_divisible(STEM * width_mult))  # at width 1, and at this one
        self.stem = ConvNorm(in_chans, chans, 3, stride=2, act=HS if act is None else act)
        stages = []
        for rows in variant.stages:
            stage = []
            for row in rows:
                out = make_divisible(row.out * width_mult)
                block = InvertedResidual(
                    chans,
                    make_divisible(chans * row.width / before),
                    out,
                    kernel=kernel or row.kernel,
                    stride=row.stride,
                    act=row.act if act is None else act,
                    se=partial(squeeze_excite, act=RE if act is None else act) if se and row.se else None,
                )
                stage.append(block)
                before, chans = row.out, out
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        head = make_divisible(variant.head * width_mult)
        self.conv_head = ConvNorm(chans, head, 1, act=HS if act is None else act)
        self.pool = nn.AdaptiveAvgPool2d(1)
        pre_logits: OrderedDict[str, nn.Module] = OrderedDict()
        pre_logits["conv"] = nn.Conv2d(head, variant.pre_logits, 1)
        pre_logits["act"] = make_activation(HS if act is None else act, variant.pre_logits)
        self.pre_logits = nn.Sequential(pre_logits)
        self.classifier = nn.Linear(variant.pre_logits, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.stages(self.stem(x))
        x = self.pre_logits(self.pool(self.conv_head(x)))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


def squeeze_excite(chans: int, act: Activation) -> SqueezeExcite:
    """Return squeeze-and-excitation as this family has it."""
    return SqueezeExcite(chans, make_divisible(chans / 4), act=act, gate="hardsigmoid")


# fmt: off
MINIMAL = partial(MobileNetV3, kernel=3, se=False, act=RE)

VARIANTS: Mapping[str, Callable[..., nn.Module]] = {
    "mobilenetv3_small_075":         partial(MobileNetV3, SMALL, width_mult=0.75),
    "mobilenetv3_small_minimal_100": partial(MINIMAL,     SMALL, width_mult=1.0),
    "mobilenetv3_small_100":         partial(MobileNetV3, SMALL, width_mult=1.0),
    "mobilenetv3_large_050":         partial(MobileNetV3, LARGE, width_mult=0.5),
    "mobilenetv3_large_075":         partial(MobileNetV3, LARGE, width_mult=0.75),
    "mobilenetv3_large_minimal_100": partial(MINIMAL,     LARGE, width_mult=1.0),
    "mobilenetv3_large_100":         partial(MobileNetV3, LARGE, width_mult=1.0),
    "mobilenetv3_large_150":         partial(MobileNetV3, LARGE, width_mult=1.5),
}
# fmt: on
