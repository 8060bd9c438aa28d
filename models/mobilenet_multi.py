"""Multi-hardware MobileNets: inverted residuals searched for one network to be fast on a phone's CPU, GPU, DSP and TPU.

Chu et al., "Discovering Multi-Hardware Mobile Models via Architecture Search", CVPR Workshops 2021, arXiv:2008.08178.

The search space has only what all of that hardware runs: here, MobileNetV2's inverted residuals with kernels of 3x3 or
5x5 and ReLU, without squeeze-and-excitation and h-swish. AVG was found for the average of the latencies on the devices,
MAX for the worst of them. Each is a table, a row a block: kernel, expansion, channels and stride. The stem has 32
channels. After the blocks come a 1x1 convolution to 960 channels, the global average pool, and the widest layer, a 1x1
convolution to 1280 channels that is cheap at 1x1. Every convolution has a batch norm.

A width multiplier rounds all channels to multiples of 8 (to the nearest, never below 90 %), then expands the rounded
ones. The last 1280 widen with multipliers above 1, but below 1 they stay.

The numbers are those of tensorflow/models official/vision/modeling/backbones/mobilenet.py, MobileNetMultiAVG and
MobileNetMultiMAX. The layer of 1280 has a batch norm there, for training with quantization; it had a bias at first, as
MobileNetV3's still has. Padding is symmetric: TensorFlow's "same" gives the same shapes, shifted by a pixel where the
stride is 2. There is no dropout.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

from torch import Tensor, nn

from roofline.models import blocks
from roofline.models.activations import Activation
from roofline.models.blocks import TensorFlowNorm, check_counts, check_positive, init_weights, make_divisible
from roofline.models.mobilenetv2 import InvertedResidual

ConvNorm = partial(blocks.ConvNorm, norm=TensorFlowNorm)

STEM, HEAD, PRE_LOGITS = 32, 960, 1280


class Row(NamedTuple):
    """A row of the table: one InvertedResidual."""

    kernel: int
    expand: int
    out: int
    stride: int = 1


Stages = tuple[tuple[Row, ...], ...]

# fmt: off
MAX: Stages = (
    #    k  t  out
    (Row(3, 3,  32, stride=2),),
    (Row(5, 6,  64, stride=2),
     Row(3, 2,  64),
     Row(3, 2,  64)),
    (Row(5, 6, 128, stride=2),
     Row(3, 4, 128),
     Row(3, 3, 128),
     Row(3, 3, 128),
     Row(3, 6, 128),
     Row(3, 3, 128)),
    (Row(3, 6, 160, stride=2),
     Row(5, 4, 160),
     Row(3, 5, 160),
     Row(5, 4, 160)),
)

AVG: Stages = (
    #    k  t  out
    (Row(3, 3,  32, stride=2),
     Row(3, 2,  32)),
    (Row(5, 5,  64, stride=2),
     Row(3, 3,  64),
     Row(3, 2,  64),
     Row(3, 3,  64)),
    (Row(5, 6, 128, stride=2),
     Row(3, 3, 128),
     Row(3, 3, 128),
     Row(3, 3, 128),
     Row(3, 6, 160),
     Row(3, 4, 160)),
    (Row(3, 6, 192, stride=2),
     Row(5, 4, 192),
     Row(5, 4, 192),
     Row(5, 4, 192)),
)
# fmt: on


class MobileNetMulti(nn.Module):
    """stem -> stages -> conv_head -> pool -> pre_logits -> classifier.

    (B, in_chans, H, W) -> (B, num_classes). `stages.<i>.<j>` is block j of resolution 1 / 2**(i + 2).

    Args:
        stages: The table of blocks, the rows of each resolution together.
        num_classes: Outputs of the classifier.
        in_chans: Channels of the image.
        width_mult: Factor of all channels, but not of the last 1280 if it is below 1.
        act: Activation in place of ReLU.

    Raises:
        ValueError: An argument that makes no sense.
    """

    def __init__(
        self,
        stages: Stages,
        *,
        num_classes: int = 1000,
        in_chans: int = 3,
        width_mult: float = 1.0,
        act: Activation | None = None,
    ) -> None:
        super().__init__()
        check_counts(num_classes=num_classes, in_chans=in_chans)
        check_positive(width_mult=width_mult)
        act = "relu" if act is None else act
        chans = make_divisible(STEM * width_mult)
        self.stem = ConvNorm(in_chans, chans, 3, stride=2, act=act)
        built = []
        for rows in stages:
            stage = []
            for row in rows:
                out = make_divisible(row.out * width_mult)
                stage.append(
                    InvertedResidual(chans, chans * row.expand, out, kernel=row.kernel, stride=row.stride, act=act)
                )
                chans = out
            built.append(nn.Sequential(*stage))
        self.stages = nn.Sequential(*built)
        head = make_divisible(HEAD * width_mult)
        self.conv_head = ConvNorm(chans, head, 1, act=act)
        self.pool = nn.AdaptiveAvgPool2d(1)
        features = make_divisible(PRE_LOGITS * max(1.0, width_mult))
        self.pre_logits = ConvNorm(head, features, 1, act=act)
        self.classifier = nn.Linear(features, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> logits (B, num_classes)."""
        x = self.stages(self.stem(x))
        x = self.pre_logits(self.pool(self.conv_head(x)))
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


# fmt: off
VARIANTS: Mapping[str, Callable[..., nn.Module]] = {
    "mobilenet_multi_max_100": partial(MobileNetMulti, MAX, width_mult=1.0),
    "mobilenet_multi_max_150": partial(MobileNetMulti, MAX, width_mult=1.5),
    "mobilenet_multi_avg_100": partial(MobileNetMulti, AVG, width_mult=1.0),
    "mobilenet_multi_avg_150": partial(MobileNetMulti, AVG, width_mult=1.5),
}
# fmt: on
