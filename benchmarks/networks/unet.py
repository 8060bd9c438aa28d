"""U-Net: down four times and up again, each resolution joined to itself across the valley.

Ronneberger et al., "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, arXiv:1505.04597,
with padded convolutions and a batch norm after each, as is usual since; `unet_medium` and `unet_small` have half and a
quarter of its channels.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from roofline.models.blocks import ConvNorm, init_weights

LEVELS = 4


def _twice(in_chans: int, out_chans: int) -> nn.Module:
    return nn.Sequential(ConvNorm(in_chans, out_chans, 3, act="relu"), ConvNorm(out_chans, out_chans, 3, act="relu"))


class UNet(nn.Module):
    """(B, in_chans, H, W) -> (B, classes, H, W), H and W multiples of 16; the first level has `chans` channels."""

    def __init__(self, chans: int, *, in_chans: int = 3, classes: int = 2) -> None:
        super().__init__()
        widths = [chans << i for i in range(LEVELS + 1)]
        self.stem = _twice(in_chans, chans)
        self.downs = nn.ModuleList(nn.Sequential(nn.MaxPool2d(2), _twice(a, b)) for a, b in pairwise(widths))
        steps = [(widths[i + 1], widths[i]) for i in reversed(range(LEVELS))]
        self.raises = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, 2) for a, b in steps)
        self.joins = nn.ModuleList(_twice(2 * b, b) for _, b in steps)
        self.head = nn.Conv2d(chans, classes, 1)
        init_weights(self)
        for module in self.raises:
            assert isinstance(module, nn.ConvTranspose2d)
            nn.init.normal_(module.weight, std=module.in_channels**-0.5)  # an output is one weight an input channel

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.stem(x)]
        for down in self.downs:
            maps.append(down(maps[-1]))
        y = maps.pop()
        for upward, join in zip(self.raises, self.joins, strict=True):
            y = join(torch.cat([maps.pop(), upward(y)], 1))
        z: Tensor = self.head(y)
        return z


def unet() -> nn.Module:
    return UNet(64)


def unet_medium() -> nn.Module:
    return UNet(32)


def unet_small() -> nn.Module:
    return UNet(16)
