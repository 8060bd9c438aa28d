"""A decoder in the manner of GPT-2: causal attention, norms first, and the table of tokens as the last layer.

Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (117M is GPT-2's smallest). The input is
the tokens' vectors, (B, 1, tokens, width), already looked up: the table is in the network once, as its last layer.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from roofline.models.blocks import init_weights

CONTEXT = 1024


class Block(nn.Module):
    """Causal attention, then a network of 4 times the width, both added; (B, tokens, width) -> the same shape."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(approximate="tanh"), nn.Linear(4 * width, width))

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        q, k, v = (
            each.view(batch, tokens, self.heads, width // self.heads).transpose(1, 2)
            for each in self.qkv(self.norm1(x)).split(width, -1)
        )
        attended = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.project(attended.transpose(1, 2).reshape(x.shape))
        y: Tensor = x + self.mlp(self.norm2(x))
        return y


class GPT(nn.Module):
    """Adds positions -> blocks -> norm -> a score for each token; (B, 1, tokens, width) -> (B, tokens, vocabulary)."""

    def __init__(self, width: int, depth: int, heads: int, *, vocabulary: int = 50257) -> None:
        super().__init__()
        self.positions = nn.Embedding(CONTEXT, width)
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)
        init_weights(self)
        nn.init.normal_(self.positions.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        x = x.squeeze(1)
        x = x + self.positions(torch.arange(x.shape[1], device=x.device))
        y: Tensor = self.head(self.norm(self.blocks(x)))
        return y


def gpt2() -> nn.Module:
    return GPT(768, 12, 12)


def gpt_mini() -> nn.Module:
    """6 layers of 384 with a vocabulary of 8192."""
    return GPT(384, 6, 6, vocabulary=8192)
