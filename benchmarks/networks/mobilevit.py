"""MobileViT: inverted residuals, and transformers on a map taken apart so that each pixel of a patch has its own row.

Mehta & Rastegari, "MobileViT: Light-weight, General-purpose, and Mobile-friendly Vision Transformer", ICLR 2022,
arXiv:2110.02178, Table 4 (appendix A). The maps of the last three stages must be even: images are multiples of 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roofline.models import blocks
from roofline.models.blocks import init_weights

HEADS, PATCH = 4, 2
DEPTHS = (2, 4, 3)  # transformer layers of the last three stages
ConvNorm, depthwise = partial(blocks.ConvNorm, act="silu"), partial(blocks.depthwise, act="silu")


class InvertedResidual(nn.Module):
    """1x1 to `expand` times the channels, depthwise, 1x1.

    (B, in_chans, H, W) -> (B, out_chans, H / stride, W / stride)
    """

    def __init__(self, in_chans: int, out_chans: int, *, expand: int, stride: int) -> None:
        super().__init__()
        width = in_chans * expand
        self.layers = nn.Sequential(
            ConvNorm(in_chans, width, 1), depthwise(width, 3, stride=stride), blocks.ConvNorm(width, out_chans, 1)
        )
        self.residual = stride == 1 and in_chans == out_chans

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.layers(x)
        return x + y if self.residual else y


class TransformerLayer(nn.Module):
    """Attention, then a network of twice the width, both added; (rows, tokens, chans) -> the same shape."""

    def __init__(self, chans: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(chans)
        self.qkv = nn.Linear(chans, 3 * chans)
        self.project = nn.Linear(chans, chans)
        self.norm2 = nn.LayerNorm(chans)
        self.mlp = nn.Sequential(nn.Linear(chans, 2 * chans), nn.SiLU(), nn.Linear(2 * chans, chans))

    def forward(self, x: Tensor) -> Tensor:
        rows, tokens, chans = x.shape
        q, k, v = self.qkv(self.norm1(x)).reshape(rows, tokens, 3, HEADS, chans // HEADS).permute(2, 0, 3, 1, 4)
        x = x + self.project(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class MobileViTBlock(nn.Module):
    """3x3, 1x1, transformer, 1x1, and a 3x3 on that and the input; (B, chans, H, W) -> the same shape."""

    def __init__(self, chans: int, width: int, depth: int) -> None:
        super().__init__()
        self.local = nn.Sequential(ConvNorm(chans, chans, 3), nn.Conv2d(chans, width, 1, bias=False))
        self.layers = nn.Sequential(*(TransformerLayer(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.project = ConvNorm(width, chans, 1)
        self.fuse = ConvNorm(2 * chans, chans, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.local(x)
        batch, width, height, across = y.shape
        high, wide = height // PATCH, across // PATCH
        y = y.reshape(batch * width * high, PATCH, wide, PATCH).transpose(1, 2)
        y = y.reshape(batch, width, high * wide, PATCH * PATCH).transpose(1, 3)
        y = self.norm(self.layers(y.reshape(batch * PATCH * PATCH, high * wide, width)))
        y = y.view(batch, PATCH * PATCH, high * wide, width).transpose(1, 3)
        y = y.reshape(batch * width * high, wide, PATCH, PATCH).transpose(1, 2).reshape(batch, width, height, across)
        z: Tensor = self.fuse(torch.cat([x, self.project(y)], 1))
        return z


class MobileViT(nn.Module):
    """3x3 stem -> five stages -> 1x1 -> pool -> classifier; (B, 3, H, W) -> (B, num_classes).

    Args:
        widths: Channels of each stage.
        inner: Channels of the transformers in the last three.
        head: Channels before the pool.
        expand: Of the inverted residuals.
        num_classes: Outputs of the classifier.
    """

    def __init__(
        self, widths: Sequence[int], inner: Sequence[int], *, head: int, expand: int, num_classes: int = 1000
    ) -> None:
        super().__init__()
        residual = partial(InvertedResidual, expand=expand)
        layers: list[nn.Module] = [
            ConvNorm(3, 16, 3, stride=2),
            residual(16, widths[0], stride=1),
            residual(widths[0], widths[1], stride=2),
            residual(widths[1], widths[1], stride=1),
            residual(widths[1], widths[1], stride=1),
        ]
        for before, chans, width, depth in zip(widths[1:-1], widths[2:], inner, DEPTHS, strict=True):
            layers += [residual(before, chans, stride=2), MobileViTBlock(chans, width, depth)]
        self.features = nn.Sequential(*layers, ConvNorm(widths[-1], head, 1))
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(head, num_classes)
        init_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.classifier(self.pool(self.features(x)).flatten(1))
        return y


def mobilevit_xxs() -> nn.Module:
    return MobileViT((16, 24, 48, 64, 80), (64, 80, 96), head=320, expand=2)


def mobilevit_xs() -> nn.Module:
    return MobileViT((32, 48, 64, 80, 96), (96, 120, 144), head=384, expand=4)


def mobilevit_s() -> nn.Module:
    return MobileViT((32, 64, 96, 128, 160), (144, 192, 240), head=640, expand=4)
