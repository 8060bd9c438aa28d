"""ConvMixer: patches, then equal blocks of a large depthwise convolution and a 1x1 one at one resolution.

Trockman & Kolter, "Patches Are All You Need?", TMLR 2023, arXiv:2201.09792: ConvMixer-1024/20 with 9x9 kernels and
patches of 14 (Table 1), and the 256/8 of its experiments on CIFAR-10.
"""

from __future__ import annotations

from torch import Tensor, nn

from roofline.models.blocks import init_weights

BRANCH_SCALE = 0.3  # of norms before a residual add: the sum over all blocks stays near 1


class ActNorm(nn.Module):
    """Convolution, GELU, batch norm, in this order; plus the input if `residual`."""

    def __init__(self, conv: nn.Conv2d, *, residual: bool = False) -> None:
        super().__init__()
        self.conv = conv
        self.act = nn.GELU()
        self.norm = nn.BatchNorm2d(conv.out_channels)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(self.act(self.conv(x)))
        return x + y if self.residual else y


class ConvMixer(nn.Module):
    """Patches -> blocks -> pool -> classifier; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(self, chans: int, depth: int, *, kernel: int, patch: int, num_classes: int = 1000) -> None:
        super().__init__()
        layers = [ActNorm(nn.Conv2d(3, chans, patch, patch))]
        for _ in range(depth):
            layers += [
                ActNorm(nn.Conv2d(chans, chans, kernel, padding=kernel // 2, groups=chans), residual=True),
                ActNorm(nn.Conv2d(chans, chans, 1)),
            ]
        self.layers = nn.Sequential(*layers)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)
        for layer in layers:
            nn.init.kaiming_normal_(layer.conv.weight)
            if layer.residual:
                nn.init.constant_(layer.norm.get_parameter("weight"), BRANCH_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.pool(self.layers(x)).flatten(1))
        return y


def convmixer_1024_20() -> nn.Module:
    return ConvMixer(1024, 20, kernel=9, patch=14)


def convmixer_256_8() -> nn.Module:
    return ConvMixer(256, 8, kernel=7, patch=7)
