"""EfficientNet: inverted residuals with squeeze-and-excitation and SiLU, scaled in depth and width together.

Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019, arXiv:1905.11946, Table
1. The gate squeezes to a quarter of the block's input channels. Lite0 has neither gate nor SiLU (ReLU6 instead):
tensorflow/tpu models/official/efficientnet/lite.
"""

from __future__ import annotations

import math
from functools import partial

from torch import Tensor, nn

from roofline.models import blocks
from roofline.models.activations import SqueezeExcite
from roofline.models.blocks import init_weights, make_divisible

STAGES = (  # expansion, channels, repeats, stride, kernel
    (1, 16, 1, 1, 3),
    (6, 24, 2, 2, 3),
    (6, 40, 2, 2, 5),
    (6, 80, 3, 2, 3),
    (6, 112, 3, 1, 5),
    (6, 192, 4, 2, 5),
    (6, 320, 1, 1, 3),
)
BRANCH_SCALE = 0.2  # of the last norm of a block that adds its input: the sum over all blocks stays near 1
GATED_SCALE = 1.5  # of the others, as a gate halves what it weighs
Norm = partial(nn.BatchNorm2d, eps=1e-3)
ConvNorm, depthwise = partial(blocks.ConvNorm, norm=Norm), partial(blocks.depthwise, norm=Norm)


class MBConv(nn.Module):
    """[1x1], depthwise, [gate], 1x1; (B, in_chans, H, W) -> (B, out_chans, H / stride, W / stride)."""

    def __init__(
        self, in_chans: int, out_chans: int, *, expand: int, stride: int, kernel: int, act: str, se: bool
    ) -> None:
        super().__init__()
        width = in_chans * expand
        self.layers = nn.Sequential(
            *([ConvNorm(in_chans, width, 1, act=act)] if expand > 1 else []),
            depthwise(width, kernel, stride=stride, act=act),
            *([SqueezeExcite(width, in_chans // 4, act=act)] if se else []),
        )
        self.project = ConvNorm(width, out_chans, 1)
        self.residual = stride == 1 and in_chans == out_chans

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.project(self.layers(x))
        return x + y if self.residual else y


class EfficientNet(nn.Module):
    """3x3 stem -> seven stages -> 1x1 -> pool -> classifier; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(
        self, width_mult: float, depth_mult: float, *, act: str = "silu", se: bool = True, num_classes: int = 1000
    ) -> None:
        super().__init__()
        chans = make_divisible(32 * width_mult)
        layers: list[nn.Module] = [ConvNorm(3, chans, 3, stride=2, act=act)]
        for expand, width, depth, stride, kernel in STAGES:
            out = make_divisible(width * width_mult)
            for j in range(math.ceil(depth * depth_mult)):
                first = 1 if j else stride
                layers.append(MBConv(chans, out, expand=expand, stride=first, kernel=kernel, act=act, se=se))
                chans = out
        head = make_divisible(1280 * width_mult)
        self.features = nn.Sequential(*layers, ConvNorm(chans, head, 1, act=act))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(head, num_classes))
        init_weights(self)
        for module in self.modules():
            if isinstance(module, blocks.ConvNorm):
                nn.init.kaiming_normal_(module.conv.weight)
            elif isinstance(module, MBConv):
                scale = BRANCH_SCALE if module.residual else GATED_SCALE if se else 1.0
                nn.init.constant_(module.project.norm.get_parameter("weight"), scale)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return y


def efficientnet_b0() -> nn.Module:
    return EfficientNet(1.0, 1.0)


def efficientnet_b1() -> nn.Module:
    return EfficientNet(1.0, 1.1)


def efficientnet_b2() -> nn.Module:
    return EfficientNet(1.1, 1.2)


def efficientnet_lite0() -> nn.Module:
    return EfficientNet(1.0, 1.0, act="relu6", se=False)
