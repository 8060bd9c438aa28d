"""GoogLeNet (Inception v1) with batch norm: four branches side by side in every block.

Szegedy et al., "Going Deeper with Convolutions", CVPR 2015, arXiv:1409.4842, Table 1. As in torchvision, every
convolution has a batch norm, the branch of the 5x5 convolutions has 3x3 ones, and there are no auxiliary classifiers.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from roofline.models import blocks
from roofline.models.blocks import init_weights

ConvNorm = partial(blocks.ConvNorm, norm=partial(nn.BatchNorm2d, eps=1e-3), act="relu")


class Inception(nn.Module):
    """1x1; 1x1, 3x3; 1x1, 3x3; max pool, 1x1; (B, in_chans, H, W) -> (B, sum of the branches, H, W).

    Args:
        in_chans: Channels of the input.
        one: Channels of the first branch.
        three, five: Channels of the second and third branch: of the 1x1 convolution, and of the 3x3.
        pool: Channels of the last branch.
    """

    def __init__(self, in_chans: int, one: int, three: tuple[int, int], five: tuple[int, int], pool: int) -> None:
        super().__init__()
        self.one = ConvNorm(in_chans, one, 1)
        self.three = nn.Sequential(ConvNorm(in_chans, three[0], 1), ConvNorm(*three, 3))
        self.five = nn.Sequential(ConvNorm(in_chans, five[0], 1), ConvNorm(*five, 3))
        self.pool = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), ConvNorm(in_chans, pool, 1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)


class GoogLeNet(nn.Module):
    """Stem -> nine blocks -> pool -> classifier; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        pool = partial(nn.MaxPool2d, 3, 2, ceil_mode=True)
        self.features = nn.Sequential(
            *(ConvNorm(3, 64, 7, stride=2), pool(), ConvNorm(64, 64, 1), ConvNorm(64, 192, 3), pool()),
            Inception(192, 64, (96, 128), (16, 32), 32),
            Inception(256, 128, (128, 192), (32, 96), 64),
            pool(),
            Inception(480, 192, (96, 208), (16, 48), 64),
            Inception(512, 160, (112, 224), (24, 64), 64),
            Inception(512, 128, (128, 256), (24, 64), 64),
            Inception(512, 112, (144, 288), (32, 64), 64),
            Inception(528, 256, (160, 320), (32, 128), 128),
            nn.MaxPool2d(2, 2, ceil_mode=True),
            Inception(832, 256, (160, 320), (32, 128), 128),
            Inception(832, 384, (192, 384), (48, 128), 128),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1024, num_classes))
        init_weights(self)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)  # by inputs, which concatenation makes the more numerous

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return y


def googlenet() -> nn.Module:
    return GoogLeNet()
