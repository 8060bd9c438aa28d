"""SqueezeNet: fire modules, which squeeze channels with a 1x1 convolution before a 3x3 sees them.

Iandola et al., "SqueezeNet: AlexNet-level accuracy with 50x fewer parameters and <0.5MB model size", 2016,
arXiv:1602.07360, Table 1; 1.1 is the authors' own smaller stem and earlier pools (github.com/forresti/SqueezeNet).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from roofline.models.blocks import init_weights


class Fire(nn.Module):
    """1x1 to `squeeze`, then 1x1 and 3x3 side by side; (B, in_chans, H, W) -> (B, 2 expand, H, W)."""

    def __init__(self, in_chans: int, squeeze: int, expand: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_chans, squeeze, 1)
        self.expand1x1 = nn.Conv2d(squeeze, expand, 1)
        self.expand3x3 = nn.Conv2d(squeeze, expand, 3, padding=1)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.squeeze(x))
        return torch.cat([self.act(self.expand1x1(x)), self.act(self.expand3x3(x))], 1)


class SqueezeNet(nn.Module):
    """Fire modules and pools -> 1x1 convolution to the classes -> pool; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(self, features: nn.Sequential, *, num_classes: int = 1000) -> None:
        super().__init__()
        self.features = features
        self.classifier = nn.Sequential(
            nn.Dropout(), nn.Conv2d(512, num_classes, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1)
        )
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.features(x))
        return y.flatten(1)


def _pool() -> nn.Module:
    return nn.MaxPool2d(3, 2, ceil_mode=True)


def squeezenet1_0() -> nn.Module:
    return SqueezeNet(
        nn.Sequential(
            *(nn.Conv2d(3, 96, 7, stride=2), nn.ReLU(), _pool()),
            *(Fire(96, 16, 64), Fire(128, 16, 64), Fire(128, 32, 128), _pool()),
            *(Fire(256, 32, 128), Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), _pool()),
            Fire(512, 64, 256),
        )
    )


def squeezenet1_1() -> nn.Module:
    return SqueezeNet(
        nn.Sequential(
            *(nn.Conv2d(3, 64, 3, stride=2), nn.ReLU(), _pool()),
            *(Fire(64, 16, 64), Fire(128, 16, 64), _pool()),
            *(Fire(128, 32, 128), Fire(256, 32, 128), _pool()),
            *(Fire(256, 48, 192), Fire(384, 48, 192), Fire(384, 64, 256), Fire(512, 64, 256)),
        )
    )
