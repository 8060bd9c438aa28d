"""MobileNetV2: inverted residuals, wide where a depthwise convolution works and narrow where blocks meet.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, arXiv:1801.04381.

A block expands its few channels sixfold with a 1x1 convolution, filters each with a 3x3 depthwise one, and projects
back to few with another 1x1. ReLU6 follows the first two; the projection has none, as it would lose what few channels
hold. The input is added where it has the shape of the output: only the narrow tensors live that long. The network is a
stem of 32 channels, 17 blocks, a 1x1 convolution to 1280 channels, a global average pool and a linear layer. From
Table 2 of the paper, with expansion t, channels c, repeats n and the stride s of the first of them:

    t    c    n    s
    1    16   1    1    without the expanding convolution
    6    24   2    2
    6    32   3    2
    6    64   4    2
    6    96   3    1
    6    160  3    2
    6    320  1    1

A width multiplier rounds all channels to multiples of 8 (to the nearest, never below 90 %), then expands the rounded
ones. The last 1280 widen with multipliers above 1, but below 1 they stay.

The numbers are those of tensorflow/models research/slim/nets/mobilenet/mobilenet_v2.py; timm's mobilenetv2_* agree.
Padding is symmetric, as in timm: TensorFlow's "same" gives the same shapes, shifted by a pixel where the stride is 2.
There is no dropout (the code keeps 80 % before the classifier while training).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from roofline.models import blocks
from roofline.models.activations import Activation
from roofline.models.blocks import TensorFlowNorm, check_counts, check_positive, init_weights, make_divisible

ConvNorm = partial(blocks.ConvNorm, norm=TensorFlowNorm)
depthwise = partial(blocks.depthwise, norm=TensorFlowNorm)


class InvertedResidual(nn.Module):
    """[expand] -> depthwise -> [se] -> project, plus the input where the shapes agree.

    (B, in_chans, H, W) -> (B, out_chans, ceil(H / stride), ceil(W / stride))

    Args:
        in_chans: Channels of the input.
        width: Channels of the depthwise convolution; if they are those of the input, there is no `expand`.
        out_chans: Channels of the output.
        kernel: Of the depthwise convolution.
        stride: Of the depthwise convolution, so that `expand` runs at the resolution of the input.
        act: Activation after `expand` and `depthwise`; there is none after `project`.
        se: Makes what stands before `project`, for a number of channels; None for nothing.
    """

    def __init__(
        self,
        in_chans: int,
        width: int,
        out_chans: int,
        *,
        kernel: int = 3,
        stride: int = 1,
        act: Activation = "relu6",
        se: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        self.expand: nn.Module = nn.Identity() if width == in_chans else ConvNorm(in_chans, width, 1, act=act)
        self.depthwise = depthwise(width, kernel, stride=stride, act=act)
        self.se: nn.Module = nn.Identity() if se is None else se(width)
        self.project = ConvNorm(width, out_chans, 1)
        self.residual = stride == 1 and in_chans == out_chans

    def forward(self, x: Tensor) -> Tensor:
        """Expand, filter each channel, project."""
        y: Tensor = self.project(self.se(self.depthwise(self.expand(x))))
        return x + y if self.residual else y


class Row(NamedTuple):
    """A row of the table: `times` blocks, of which the first has the stride."""

    expand: int
    out: int
    times: int
    stride: int


STEM = 32
STAGES = (
    Row(1, 16, 1, 1),
    Row(6, 24, 2, 2),
    Row(6, 32, 3, 2),
    Row(6, 64, 4, 2),
    Row(6, 96, 3, 1),
    Row(6, 160, 3, 2),
    Row(6, 320, 1, 1),
)
HEAD = 1280


class MobileNetV2(nn.Module):
    """stem -> stages -> conv_head -> pool -> classifier.

    (B, in_chans, H, W) -> (B, num_classes). `stages.<i>.<j>` is block j of row i of the table.

    Args:
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        width_mult: Factor of all channels, but not of the last 1280 if it is below 1.
        act: Activation in place of ReLU6.

    Raises:
        ValueError: An argument that makes no sense.
    """

    def __init__(
        self, *, num_classes: int = 1000, in_chans: int = 3, width_mult: float = 1.0, act: Activation | None = None
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_chans=in_chans)
        check_positive(width_mult=width_mult)
        act = "relu6" if act is None else act
        chans = make_divisible(STEM * width_mult)
        self.stem = ConvNorm(in_chans, chans, 3, stride=2, act=act)
        stages = []
        for row in STAGES:
            out = make_divisible(row.out * width_mult)
            stage = []
            for j in range(row.times):
                stride = 1 if j else row.stride
                stage.append(InvertedResidual(chans, chans * row.expand, out, stride=stride, act=act))
                chans = out
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        head = make_divisible(HEAD * max(1.0, width_mult))
        self.conv_head = ConvNorm(chans, head, 1, act=act)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(head, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.pool(self.conv_head(self.stages(self.stem(x))))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


# fmt: off
VARIANTS: Mapping[str, Callable[..., nn.Module]] = {
    "mobilenetv2_035": partial(MobileNetV2, width_mult=0.35),
    "mobilenetv2_050": partial(MobileNetV2, width_mult=0.5),
    "mobilenetv2_075": partial(MobileNetV2, width_mult=0.75),
    "mobilenetv2_100": partial(MobileNetV2, width_mult=1.0),
    "mobilenetv2_130": partial(MobileNetV2, width_mult=1.3),
    "mobilenetv2_140": partial(MobileNetV2, width_mult=1.4),
    "mobilenetv2_150": partial(MobileNetV2, width_mult=1.5),
    "mobilenetv2_200": partial(MobileNetV2, width_mult=2.0),
}
# fmt: on
