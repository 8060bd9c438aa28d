"""GhostNet: half of each layer's maps come from a 1x1 convolution, the others from a depthwise 3x3 on those.

Han et al., "GhostNet: More Features from Cheap Operations", CVPR 2020, arXiv:1911.11907, Table 7.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from roofline.models.activations import SqueezeExcite
from roofline.models.blocks import ConvNorm, depthwise, init_weights, make_divisible

BLOCKS = (  # kernel, expanded channels, output channels, whether gated, stride
    (3, 16, 16, False, 1),
    (3, 48, 24, False, 2),
    (3, 72, 24, False, 1),
    (5, 72, 40, True, 2),
    (5, 120, 40, True, 1),
    (3, 240, 80, False, 2),
    (3, 200, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 184, 80, False, 1),
    (3, 480, 112, True, 1),
    (3, 672, 112, True, 1),
    (5, 672, 160, True, 2),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
    (5, 960, 160, False, 1),
    (5, 960, 160, True, 1),
)
LINEAR_SCALE = 0.5  # of norms that no activation follows: the sum over all blocks stays near 1


class Ghost(nn.Module):
    """(B, in_chans, H, W) -> (B, out_chans, H, W), of even `out_chans`."""

    def __init__(self, in_chans: int, out_chans: int, *, act: str | None) -> None:
        super().__init__()
        self.primary = ConvNorm(in_chans, out_chans // 2, 1, act=act)
        self.cheap = depthwise(out_chans // 2, 3, act=act)

    def forward(self, x: Tensor) -> Tensor:
        x = self.primary(x)
        return torch.cat([x, self.cheap(x)], 1)


class Bottleneck(nn.Module):
    """Ghost, [depthwise with the stride], [gate], ghost, plus the input.

    (B, in_chans, H, W) -> (B, out_chans, H / stride, W / stride)
    """

    def __init__(self, in_chans: int, width: int, out_chans: int, *, kernel: int, stride: int, se: bool) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            Ghost(in_chans, width, act="relu"),
            *([depthwise(width, kernel, stride=stride)] if stride > 1 else []),
            *([SqueezeExcite(width, make_divisible(width / 4, 4), gate="hardsigmoid")] if se else []),
            Ghost(width, out_chans, act=None),
        )
        same = stride == 1 and in_chans == out_chans
        self.shortcut = (
            nn.Identity()
            if same
            else nn.Sequential(depthwise(in_chans, kernel, stride=stride), ConvNorm(in_chans, out_chans, 1))
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x) + self.shortcut(x)
        return y


class GhostNet(nn.Module):
    """3x3 stem -> bottlenecks -> 1x1 -> pool -> 1x1 -> classifier; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        chans = 16
        layers: list[nn.Module] = [ConvNorm(3, chans, 3, stride=2, act="relu")]
        for kernel, width, out, se, stride in BLOCKS:
            layers.append(Bottleneck(chans, width, out, kernel=kernel, stride=stride, se=se))
            chans = out
        self.features = nn.Sequential(*layers, ConvNorm(chans, 960, 1, act="relu"))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Sequential(nn.Conv2d(960, 1280, 1), nn.ReLU())
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, num_classes))
        init_weights(self)
        for module in self.modules():
            if isinstance(module, ConvNorm):
                nn.init.kaiming_normal_(module.conv.weight)
                if isinstance(module.act, nn.Identity):
                    nn.init.constant_(module.norm.get_parameter("weight"), LINEAR_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.head(self.pool(self.features(x))).flatten(1))
        return y


def ghostnet() -> nn.Module:
    return GhostNet()
