"""Inception v3: branches whose large kernels are made of small and of one-dimensional ones.

Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", CVPR 2016, arXiv:1512.00567, Table 1 and
figures 5 to 7, at torchvision's widths; without the auxiliary classifier. Convolutions that no branch runs beside are
not padded, which is why the usual input has 299 pixels.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from roofline.models.blocks import init_weights

WIDE, TALL = (1, 7), (7, 1)


class ConvNorm(nn.Module):
    """Convolution, batch norm, ReLU; padded to keep the resolution if `same`."""

    def __init__(
        self, in_chans: int, out_chans: int, kernel: int | tuple[int, int], *, stride: int = 1, same: bool = True
    ) -> None:
        super().__init__()
        size = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (size[0] // 2, size[1] // 2) if same else (0, 0)
        self.conv = nn.Conv2d(in_chans, out_chans, size, stride, padding, bias=False)
        self.norm = nn.BatchNorm2d(out_chans, eps=1e-3)
        self.act = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(self.conv(x)))
        return y


Halving = partial(ConvNorm, kernel=3, stride=2, same=False)


class Branches(nn.Module):
    """Modules side by side on the same input, their outputs concatenated along the channels."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.branches = nn.ModuleList(branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([branch(x) for branch in self.branches], 1)


def _pooled(in_chans: int, out_chans: int) -> nn.Module:
    return nn.Sequential(nn.AvgPool2d(3, 1, 1), ConvNorm(in_chans, out_chans, 1))


def _large(chans: int, pool: int) -> nn.Module:
    """At 35x35: 1x1; 5x5; two 3x3; pool."""
    return Branches(
        ConvNorm(chans, 64, 1),
        nn.Sequential(ConvNorm(chans, 48, 1), ConvNorm(48, 64, 5)),
        nn.Sequential(ConvNorm(chans, 64, 1), ConvNorm(64, 96, 3), ConvNorm(96, 96, 3)),
        _pooled(chans, pool),
    )


def _middle(width: int) -> nn.Module:
    """At 17x17, 768 channels: 1x1; 7x7 as a row and a column; that twice; pool."""
    once = [ConvNorm(768, width, 1), ConvNorm(width, width, WIDE), ConvNorm(width, 192, TALL)]
    twice = [
        *(ConvNorm(768, width, 1), ConvNorm(width, width, TALL), ConvNorm(width, width, WIDE)),
        *(ConvNorm(width, width, TALL), ConvNorm(width, 192, WIDE)),
    ]
    return Branches(ConvNorm(768, 192, 1), nn.Sequential(*once), nn.Sequential(*twice), _pooled(768, 192))


def _small(chans: int) -> nn.Module:
    """At 8x8: 1x1; a row beside a column; the same after a 3x3; pool."""
    return Branches(
        ConvNorm(chans, 320, 1),
        nn.Sequential(ConvNorm(chans, 384, 1), _cross(384)),
        nn.Sequential(ConvNorm(chans, 448, 1), ConvNorm(448, 384, 3), _cross(384)),
        _pooled(chans, 192),
    )


def _cross(chans: int) -> nn.Module:
    return Branches(ConvNorm(chans, chans, (1, 3)), ConvNorm(chans, chans, (3, 1)))


class InceptionV3(nn.Module):
    """Stem -> eleven blocks -> pool -> classifier; (B, 3, H, W) -> (B, num_classes), H and W at least 75."""

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *(Halving(3, 32), ConvNorm(32, 32, 3, same=False), ConvNorm(32, 64, 3), nn.MaxPool2d(3, 2)),
            *(ConvNorm(64, 80, 1), ConvNorm(80, 192, 3, same=False), nn.MaxPool2d(3, 2)),
            *(_large(192, 32), _large(256, 64), _large(288, 64)),
            Branches(
                Halving(288, 384),
                nn.Sequential(ConvNorm(288, 64, 1), ConvNorm(64, 96, 3), Halving(96, 96)),
                nn.MaxPool2d(3, 2),
            ),
            *(_middle(128), _middle(160), _middle(160), _middle(192)),
            Branches(
                nn.Sequential(ConvNorm(768, 192, 1), Halving(192, 320)),
                nn.Sequential(
                    *(ConvNorm(768, 192, 1), ConvNorm(192, 192, WIDE), ConvNorm(192, 192, TALL), Halving(192, 192))
                ),
                nn.MaxPool2d(3, 2),
            ),
            *(_small(1280), _small(2048)),
        )
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(2048, num_classes))
        init_weights(self)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)  # by inputs, which concatenation makes the more numerous

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return y


def inception_v3() -> nn.Module:
    return InceptionV3()
