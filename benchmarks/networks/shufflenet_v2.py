"""ShuffleNetV2: half of the channels pass each unit as they are, and a shuffle mixes the halves.

Ma et al., "ShuffleNet V2: Practical Guidelines for Efficient CNN Architecture Design", ECCV 2018, arXiv:1807.11164,
Table 5.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from roofline.models.blocks import ConvNorm, depthwise, init_weights


class Unit(nn.Module):
    """1x1, depthwise 3x3, 1x1 on half of the channels, or on all beside a second branch where the stride is 2."""

    def __init__(self, in_chans: int, out_chans: int, *, stride: int) -> None:
        super().__init__()
        half = out_chans // 2
        self.halves = stride == 1
        self.side = (
            nn.Identity()
            if self.halves
            else nn.Sequential(depthwise(in_chans, 3, stride=stride), ConvNorm(in_chans, half, 1, act="relu"))
        )
        self.main = nn.Sequential(
            ConvNorm(half if self.halves else in_chans, half, 1, act="relu"),
            depthwise(half, 3, stride=stride),
            ConvNorm(half, half, 1, act="relu"),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_chans, H, W) -> (B, out_chans, H / stride, W / stride)."""
        left, right = x.chunk(2, 1) if self.halves else (x, x)
        y = torch.cat([self.side(left), self.main(right)], 1)
        batch, chans, height, width = y.shape
        return y.view(batch, 2, chans // 2, height, width).transpose(1, 2).reshape(batch, chans, height, width)


class ShuffleNetV2(nn.Module):
    """3x3 stem and max pool -> three stages -> 1x1 -> mean -> classifier; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(self, widths: Sequence[int], head: int, *, num_classes: int = 1000) -> None:
        super().__init__()
        chans = 24
        self.stem = nn.Sequential(ConvNorm(3, chans, 3, stride=2, act="relu"), nn.MaxPool2d(3, 2, 1))
        units = []
        for out, depth in zip(widths, (4, 8, 4), strict=True):
            for j in range(depth):
                units.append(Unit(chans, out, stride=1 if j else 2))
                chans = out
        self.units = nn.Sequential(*units)
        self.head = ConvNorm(chans, head, 1, act="relu")
        self.classifier = nn.Linear(head, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.head(self.units(self.stem(x))).mean((2, 3)))
        return y


def shufflenet_v2_x0_5() -> nn.Module:
    return ShuffleNetV2((48, 96, 192), 1024)


def shufflenet_v2_x1_0() -> nn.Module:
    return ShuffleNetV2((116, 232, 464), 1024)


def shufflenet_v2_x1_5() -> nn.Module:
    return ShuffleNetV2((176, 352, 704), 1024)


def shufflenet_v2_x2_0() -> nn.Module:
    return ShuffleNetV2((244, 488, 976), 2048)
