"""Swin transformer: attention within windows, which every second block shifts by half a window.

Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021, arXiv:2103.14030. The
maps must be divisible by the window in every stage that has more than one. Positions that a shift joined, though they
were apart, are masked with -30 where the original has -100: both leave nothing of them in single precision, but e^-100
is a subnormal number and makes the products that follow many times slower on some processors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from roofline.models.blocks import init_weights

MASKED = -30.0


class WindowAttention(nn.Module):
    """Self-attention with a learned bias for each offset; (windows, tokens, chans) -> the same shape."""

    offset: Tensor

    def __init__(self, chans: int, heads: int, window: int) -> None:
        super().__init__()
        self.heads, self.tokens = heads, window * window
        self.qkv = nn.Linear(chans, 3 * chans)
        self.project = nn.Linear(chans, chans)
        self.bias = nn.Parameter(torch.empty((2 * window - 1) ** 2, heads))
        self.register_buffer("offset", _offsets(window), persistent=False)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """`mask` is (windows of one image, tokens, tokens), added to the scores."""
        windows, tokens, chans = x.shape
        q, k, v = self.qkv(x).reshape(windows, tokens, 3, self.heads, chans // self.heads).permute(2, 0, 3, 1, 4)
        scores = (q * (chans // self.heads) ** -0.5) @ k.transpose(-2, -1)
        scores = scores + self.bias[self.offset].view(tokens, tokens, self.heads).permute(2, 0, 1)
        if mask is not None:
            scores = scores.view(-1, len(mask), self.heads, tokens, tokens) + mask.unsqueeze(1)
            scores = scores.view(windows, self.heads, tokens, tokens)
        y: Tensor = self.project((scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape))
        return y


class Block(nn.Module):
    """Window attention, then a network of 4 times the width, both added; (B, side, side, chans) -> the same shape."""

    def __init__(self, chans: int, heads: int, *, side: int, window: int, shift: int) -> None:
        super().__init__()
        self.side, self.window, self.shift = side, window, shift
        self.norm1 = nn.LayerNorm(chans)
        self.attention = WindowAttention(chans, heads, window)
        self.norm2 = nn.LayerNorm(chans)
        self.mlp = nn.Sequential(nn.Linear(chans, 4 * chans), nn.GELU(), nn.Linear(4 * chans, chans))
        self.register_buffer("mask", _mask(side, window, shift) if shift else None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        batch, chans, count, window = len(x), x.shape[-1], self.side // self.window, self.window
        y = self.norm1(x)
        if self.shift:
            y = y.roll((-self.shift, -self.shift), (1, 2))
        y = y.view(batch, count, window, count, window, chans).transpose(2, 3).reshape(-1, window * window, chans)
        y = self.attention(y, self.mask).view(batch, count, count, window, window, chans)
        y = y.transpose(2, 3).reshape(x.shape)
        if self.shift:
            y = y.roll((self.shift, self.shift), (1, 2))
        x = x + y
        z: Tensor = x + self.mlp(self.norm2(x))
        return z


class Merge(nn.Module):
    """Four neighbours become one; (B, side, side, chans) -> (B, side / 2, side / 2, 2 chans)."""

    def __init__(self, chans: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * chans)
        self.reduce = nn.Linear(4 * chans, 2 * chans, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        corners = [x[:, i::2, j::2] for j in (0, 1) for i in (0, 1)]
        y: Tensor = self.reduce(self.norm(torch.cat(corners, -1)))
        return y


class Swin(nn.Module):
    """4x4 patches -> four stages -> norm -> mean -> classifier; (B, 3, image, image) -> (B, num_classes)."""

    def __init__(
        self,
        chans: int,
        depths: Sequence[int],
        *,
        window: int,
        image: int,
        head_chans: int = 32,
        num_classes: int = 1000,
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, chans, 4, 4)
        self.patch_norm = nn.LayerNorm(chans)
        side, layers = image // 4, list[nn.Module]()
        for i, depth in enumerate(depths):
            if i:
                layers.append(Merge(chans))
                chans, side = 2 * chans, side // 2
            for j in range(depth):
                shift = window // 2 if j % 2 and side > window else 0
                layers.append(Block(chans, chans // head_chans, side=side, window=window, shift=shift))
        self.layers = nn.Sequential(*layers)
        self.norm = nn.LayerNorm(chans)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)
        for module in self.modules():
            if isinstance(module, WindowAttention):
                nn.init.normal_(module.bias, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_norm(self.patches(x).permute(0, 2, 3, 1))
        y: Tensor = self.classifier(self.norm(self.layers(x)).mean((1, 2)))
        return y


def _offsets(window: int) -> Tensor:
    """For each pair of positions in a window, the row of the table of biases; (window^4,)."""
    place = torch.arange(window)
    row, column = place.repeat_interleave(window), place.repeat(window)
    down, right = row[:, None] - row + window - 1, column[:, None] - column + window - 1
    return (down * (2 * window - 1) + right).flatten()


def _mask(side: int, window: int, shift: int) -> Tensor:
    """0 between positions that were together before the shift, else `MASKED`; (windows, window^2, window^2)."""
    place = torch.arange(side)
    strip = (place >= side - window).long() + (place >= side - shift).long()
    region = 3 * strip[:, None] + strip
    count = side // window
    region = region.view(count, window, count, window).transpose(1, 2).reshape(count * count, window * window)
    return MASKED * (region[:, :, None] != region[:, None]).float()


def swin_tiny() -> nn.Module:
    return Swin(96, (2, 2, 6, 2), window=7, image=224)


def swin_tiny_128() -> nn.Module:
    return Swin(96, (2, 2, 6, 2), window=4, image=128)


def swin_nano_256() -> nn.Module:
    """Two thirds of the smallest published width, with windows of 8."""
    return Swin(64, (2, 2, 6, 2), window=8, image=256)
