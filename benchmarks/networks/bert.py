"""BERT: an encoder with attention written out, norms after each sum, and a classifier on the first token.

Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", NAACL 2019,
arXiv:1810.04805; the smaller ones are of Turc et al., "Well-Read Students Learn Better", 2019, arXiv:1908.08962. The
input is the tokens' vectors, (B, 1, tokens, width), already looked up: the table of 30 522 is not in the network.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from roofline.models.blocks import init_weights

CONTEXT, SEGMENTS, HEAD = 512, 2, 64  # positions, segments, channels a head
EPS = 1e-12  # of the norms


class Attention(nn.Module):
    """Self-attention of separate query, key and value layers; (B, tokens, width) -> the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(width, width) for _ in range(3))
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (self._by_head(layer(x)) for layer in (self.query, self.key, self.value))
        weights = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(HEAD), -1)
        y: Tensor = self.project((weights @ v).transpose(1, 2).reshape(x.shape))
        return y

    @staticmethod
    def _by_head(x: Tensor) -> Tensor:
        return x.view(*x.shape[:2], -1, HEAD).transpose(1, 2)


class Layer(nn.Module):
    """norm(x + attention(x)), then norm(x + mlp(x)); (B, tokens, width) -> the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attention = Attention(width)
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm2 = nn.LayerNorm(width, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x + self.attention(x))
        y: Tensor = self.norm2(x + self.mlp(x))
        return y


class Bert(nn.Module):
    """Adds positions and segments -> layers -> pooler -> classifier; (B, 1, tokens, width) -> (B, num_classes)."""

    def __init__(self, width: int, depth: int, *, num_classes: int = 2) -> None:
        super().__init__()
        self.positions = nn.Embedding(CONTEXT, width)
        self.segments = nn.Embedding(SEGMENTS, width)
        self.norm = nn.LayerNorm(width, eps=EPS)
        self.layers = nn.Sequential(*(Layer(width) for _ in range(depth)))
        self.pooler = nn.Sequential(nn.Linear(width, width), nn.Tanh())
        self.classifier = nn.Linear(width, num_classes)
        init_weights(self)
        for table in (self.positions, self.segments):
            nn.init.normal_(table.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = x.squeeze(1)
        place = torch.arange(x.shape[1], device=x.device)
        x = self.norm(x + self.positions(place) + self.segments(torch.zeros_like(place)))
        y: Tensor = self.classifier(self.pooler(self.layers(x)[:, 0]))
        return y


def bert_mini() -> nn.Module:
    return Bert(256, 4)


def bert_small() -> nn.Module:
    return Bert(512, 4)


def bert_base() -> nn.Module:
    return Bert(768, 12)
