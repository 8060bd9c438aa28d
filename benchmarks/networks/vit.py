"""Vision transformer: an image as a row of patches, each attending to all others.

Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, arXiv:2010.11929 (B/32), and Touvron et al., "Training
data-efficient image transformers", ICML 2021, arXiv:2012.12877, Table 1 (tiny and small). There is a learned vector for
each position, so the size of the image is part of the network.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roofline.models.blocks import init_weights


class Attention(nn.Module):
    """Multi-head self-attention; (B, tokens, chans) -> the same shape."""

    def __init__(self, chans: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(chans, 3 * chans)
        self.project = nn.Linear(chans, chans)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, chans = x.shape
        q, k, v = self.qkv(x).reshape(batch, tokens, 3, self.heads, chans // self.heads).permute(2, 0, 3, 1, 4)
        y: Tensor = self.project(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(x.shape))
        return y


class Block(nn.Module):
    """Attention, then a network of 4 times the width at each position, both added; norms come first."""

    def __init__(self, chans: int, heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(chans, eps=1e-6)
        self.attention = Attention(chans, heads)
        self.norm2 = nn.LayerNorm(chans, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(chans, 4 * chans), nn.GELU(), nn.Linear(4 * chans, chans))

    def forward(self, x: Tensor) -> Tensor:
        """(B, tokens, chans) -> the same shape."""
        x = x + self.attention(self.norm1(x))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class VisionTransformer(nn.Module):
    """Patches and a class token -> blocks -> norm -> classifier; (B, 3, image, image) -> (B, num_classes)."""

    def __init__(
        self, chans: int, depth: int, heads: int, *, patch: int = 16, image: int = 224, num_classes: int = 1000
    ) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, chans, patch, patch)
        self.class_token = nn.Parameter(torch.empty(1, 1, chans))
        self.positions = nn.Parameter(torch.empty(1, 1 + (image // patch) ** 2, chans))
        self.blocks = nn.Sequential(*(Block(chans, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(chans, eps=1e-6)
        self.classifier = nn.Linear(chans, num_classes)
        init_weights(self)
        for each in (self.class_token, self.positions):
            nn.init.normal_(each, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patches(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_token.expand(x.shape[0], -1, -1), x], 1) + self.positions
        y: Tensor = self.classifier(self.norm(self.blocks(x))[:, 0])
        return y


def deit_tiny() -> nn.Module:
    return VisionTransformer(192, 12, 3)


def deit_tiny_160() -> nn.Module:
    return VisionTransformer(192, 12, 3, image=160)


def deit_tiny_288() -> nn.Module:
    return VisionTransformer(192, 12, 3, image=288)


def deit_small() -> nn.Module:
    return VisionTransformer(384, 12, 6)


def vit_small_32() -> nn.Module:
    return VisionTransformer(384, 12, 6, patch=32)


def vit_base_32() -> nn.Module:
    return VisionTransformer(768, 12, 12, patch=32)
