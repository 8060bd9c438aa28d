"""PoolFormer: a transformer's blocks with an average pool where its attention would be.

Yu et al., "MetaFormer Is Actually What You Need for Vision", CVPR 2022, arXiv:2111.11418, Table 1.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from roofline.models.blocks import init_weights

WIDTHS = (64, 128, 320, 512)


def _norm(chans: int) -> nn.Module:
    return nn.GroupNorm(1, chans)


class Block(nn.Module):
    """x + a (pool(n) - n), n = norm(x); then x + b mlp(norm(x)); (B, chans, H, W) -> the same shape."""

    def __init__(self, chans: int) -> None:
        super().__init__()
        self.norm1 = _norm(chans)
        self.pool = nn.AvgPool2d(3, 1, 1, count_include_pad=False)
        self.norm2 = _norm(chans)
        self.mlp = nn.Sequential(nn.Conv2d(chans, 4 * chans, 1), nn.GELU(), nn.Conv2d(4 * chans, chans, 1))
        self.scale1 = nn.Parameter(torch.empty(chans, 1, 1))
        self.scale2 = nn.Parameter(torch.empty(chans, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm1(x)
        x = x + self.scale1 * (self.pool(y) - y)
        z: Tensor = x + self.scale2 * self.mlp(self.norm2(x))
        return z


class PoolFormer(nn.Module):
    """7x7 stem of stride 4 -> four stages -> norm -> mean -> classifier; (B, 3, H, W) -> (B, num_classes)."""

    def __init__(self, depths: Sequence[int], *, num_classes: int = 1000) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.Conv2d(3, WIDTHS[0], 7, 4, 2)]
        for i, (depth, chans) in enumerate(zip(depths, WIDTHS, strict=True)):
            if i:
                layers.append(nn.Conv2d(WIDTHS[i - 1], chans, 3, 2, 1))
            layers += [Block(chans) for _ in range(depth)]
        self.layers = nn.Sequential(*layers)
        self.norm = _norm(WIDTHS[-1])
        self.classifier = nn.Linear(WIDTHS[-1], num_classes)
        init_weights(self)
        for module in self.modules():
            if isinstance(module, Block):
                nn.init.constant_(module.scale1, 0.1)
                nn.init.constant_(module.scale2, 0.1)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.norm(self.layers(x)).mean((-2, -1)))
        return y


def poolformer_s12() -> nn.Module:
    return PoolFormer((2, 2, 6, 2))


def poolformer_s24() -> nn.Module:
    return PoolFormer((4, 4, 12, 4))
