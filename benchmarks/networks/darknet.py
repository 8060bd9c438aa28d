"""Darknet-53: pairs of a 1x1 and a 3x3 convolution with leaky ReLU, each pair added to its input.

Redmon & Farhadi, "YOLOv3: An Incremental Improvement", 2018, arXiv:1804.02767, Table 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn

from roofline.models import blocks
from roofline.models.blocks import init_weights

BRANCH_SCALE = 0.2  # of a pair's last norm: the sum over all pairs stays near 1
ConvNorm = partial(blocks.ConvNorm, act=lambda _: nn.LeakyReLU(0.1))


class Pair(nn.Module):
    """1x1 to half the channels, 3x3 back, plus the input; (B, chans, H, W) -> the same shape."""

    def __init__(self, chans: int) -> None:
        super().__init__()
        self.reduce, self.expand = ConvNorm(chans, chans // 2, 1), ConvNorm(chans // 2, chans, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = x + self.expand(self.reduce(x))
        return y


class Darknet(nn.Module):
    """3x3 -> five stages, each a 3x3 of stride 2 and pairs -> pool -> classifier; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(self, depths: Sequence[int], *, num_classes: int = 1000) -> None:
        super().__init__()
        chans = 32
        layers: list[nn.Module] = [ConvNorm(3, chans, 3)]
        for depth in depths:
            layers.append(ConvNorm(chans, 2 * chans, 3, stride=2))
            chans *= 2
            layers += [Pair(chans) for _ in range(depth)]
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)
        for module in self.modules():
            if isinstance(module, Pair):
                nn.init.constant_(module.expand.norm.get_parameter("weight"), BRANCH_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.pool(self.layers(x)).flatten(1))
        return y


def darknet53() -> nn.Module:
    return Darknet((1, 2, 8, 8, 4))
