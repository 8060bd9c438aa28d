"""MobileNetV1: a chain of depthwise separable convolutions, whose width and input size are set by one number each.

Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017,
arXiv:1704.04861.

A 3x3 convolution splits into a depthwise one, which mixes space, and a 1x1, which mixes channels. With N output
channels that takes 1/N + 1/9 of the arithmetic. The network is a stem of 32 channels, 13 such pairs of 64, 128 x 2,
256 x 2, 512 x 6 and 1024 x 2 channels, a global average pool and a linear layer. The stem and the first pair of every
width but 64 halve the resolution. Norm and activation follow both halves of a pair; there are no residual adds.

The width multiplier takes every number of channels C to C * width_mult, rounded down and at least 8, but not to
multiples of 8 as in the later MobileNets. (timm does round to multiples of 8; at the five multipliers here that is the
same.) The paper's resolution multiplier is the input size: 224, 192, 160 or 128.

The numbers are those of tensorflow/models research/slim/nets/mobilenet_v1.py; timm's mobilenetv1_* agree. Both have
ReLU6 where the paper says ReLU; `act="relu"` gives that. Table 1 of the paper prints a stride of 2 for the last
depthwise convolution, but its input and output as 7x7: the stride is 1, as in the code. Padding is symmetric, as in
timm: TensorFlow's "same" gives the same shapes, shifted by a pixel where the stride is 2. There is no dropout (the code
keeps 99.9 % while training).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from torch import Tensor, nn

from roofline.models.activations import Activation
from roofline.models.blocks import (
    ConvNorm,
    DepthwiseSeparable,
    TensorFlowNorm,
    check_counts,
    check_positive,
    init_weights,
)

STEM = 32
STAGES = ((64, 1), (128, 2), (256, 2), (512, 6), (1024, 2))  # channels, and how many pairs have them


class MobileNetV1(nn.Module):
    """stem -> stages -> pool -> classifier.

    (B, in_chans, H, W) -> (B, num_classes). `stages.<i>.<j>` is a pair, `depthwise` and `pointwise`, at resolution
    1 / 2**(i + 1).

    Args:
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        width_mult: Factor of all channels: the paper's alpha.
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
        chans = scale(STEM, width_mult)
        self.stem = ConvNorm(in_chans, chans, 3, stride=2, act=act, norm=TensorFlowNorm)
        pair = partial(DepthwiseSeparable, depthwise_act=act, pointwise_act=act, norm=TensorFlowNorm)
        stages = []
        for i, (base, pairs) in enumerate(STAGES):
            out = scale(base, width_mult)
            stage = []
            for j in range(pairs):
                stage.append(pair(chans, out, stride=2 if i > 0 and j == 0 else 1))
                chans = out
            stages.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*stages)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.pool(self.stages(self.stem(x)))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


def scale(chans: int, width_mult: float) -> int:
    """Return the channels at a width multiplier: rounded down, but at least 8.

    >>> scale(512, 0.75), scale(32, 0.7), scale(32, 0.1)
    (384, 22, 8)
    """
    return max(8, int(chans * width_mult))


# fmt: off
VARIANTS: Mapping[str, Callable[..., nn.Module]] = {
    "mobilenetv1_025": partial(MobileNetV1, width_mult=0.25),
    "mobilenetv1_050": partial(MobileNetV1, width_mult=0.5),
    "mobilenetv1_075": partial(MobileNetV1, width_mult=0.75),
    "mobilenetv1_100": partial(MobileNetV1, width_mult=1.0),
    "mobilenetv1_150": partial(MobileNetV1, width_mult=1.5),
}
# fmt: on
