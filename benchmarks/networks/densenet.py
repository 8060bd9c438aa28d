"""DenseNet: every layer reads all maps made before it in its block, and adds 32 of its own.

Huang et al., "Densely Connected Convolutional Networks", CVPR 2017, arXiv:1608.06993, Table 1 (growth rate 32, the BC
form: a 1x1 convolution to 128 channels before each 3x3, and half the channels after each block).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from roofline.models.blocks import ConvNorm, init_weights

GROWTH, BOTTLENECK = 32, 4


class NormConv(nn.Module):
    """Batch norm, ReLU, convolution; (B, in_chans, H, W) -> (B, out_chans, H, W)."""

    def __init__(self, in_chans: int, out_chans: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(in_chans)
        self.act = nn.ReLU()
        self.conv = nn.Conv2d(in_chans, out_chans, kernel, padding=kernel // 2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.act(self.norm(x)))
        return y


class DenseBlock(nn.Module):
    """`depth` layers; (B, in_chans, H, W) -> (B, in_chans + depth * GROWTH, H, W)."""

    def __init__(self, in_chans: int, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            nn.Sequential(
                NormConv(in_chans + i * GROWTH, BOTTLENECK * GROWTH, 1), NormConv(BOTTLENECK * GROWTH, GROWTH, 3)
            )
            for i in range(depth)
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.layers:
            maps.append(layer(torch.cat(maps, 1)))
        return torch.cat(maps, 1)


class DenseNet(nn.Module):
    """7x7 stem and max pool -> dense blocks -> pool -> classifier; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(self, depths: Sequence[int], *, num_classes: int = 1000) -> None:
        super().__init__()
        chans = 2 * GROWTH
        self.stem = nn.Sequential(ConvNorm(3, chans, 7, stride=2, act="relu"), nn.MaxPool2d(3, 2, 1))
        features: list[nn.Module] = []
        for i, depth in enumerate(depths):
            if i:
                features += [NormConv(chans, chans // 2, 1), nn.AvgPool2d(2)]
                chans //= 2
            features.append(DenseBlock(chans, depth))
            chans += depth * GROWTH
        self.features = nn.Sequential(*features, nn.BatchNorm2d(chans), nn.ReLU())
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)  # by inputs, which concatenation makes the more numerous

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.pool(self.features(self.stem(x))).flatten(1))
        return y


def densenet121() -> nn.Module:
    return DenseNet((6, 12, 24, 16))


def densenet169() -> nn.Module:
    return DenseNet((6, 12, 32, 32))
